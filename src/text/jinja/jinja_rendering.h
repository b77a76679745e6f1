/* One rendering: its memory, bounds, scopes and output; and the parts of the interpreter.
   Rests on jinja_tree.h. jinja_lexer.c makes tokens, jinja_parser.c the tree, jinja_statements.c and jinja_expressions.c
   evaluate it, jinja_filters.c, jinja_tests.c, jinja_methods.c and jinja_functions.c have the functions that templates call. */
#pragma once

#include "text/jinja/jinja_tree.h"

#include <locale.h>

enum {
    MAX_JINJA_SOURCE = 4 << 20, /* bytes of a template; the largest published one has 20,000 */
    MAX_JINJA_STEPS = 1 << 21,  /* nodes evaluated, items visited, and 64 bytes looked at, beside 64 for each byte of input */
    MAX_JINJA_DEPTH = 400,      /* nodes within nodes while evaluating: a stack of 1 MB is enough */
    MAX_JINJA_NESTING = 100,    /* of the source's brackets, operators and blocks */
    MAX_JINJA_VALUES = 200,     /* values within values */
    MAX_JINJA_OUTPUT = 64 << 20 /* bytes of the prompt; a million tokens have 4 << 20 */
};
/* Bytes of memory, beside 64 for each byte of template, messages and variables. */
#define MAX_JINJA_MEMORY ((size_t)128 << 20)

typedef struct pool_block pool_block;
typedef struct name_table name_table;

struct scope {
    scope *outer;
    const char **names; /* interned */
    value *values;
    size_t n, capacity;
};

struct rendering {
    pool_block *blocks; /* the newest first */
    size_t memory, memory_limit;
    bool exhausted; /* the limit was reached: the template's fault, not the machine's */
    name_table *names;
    size_t steps, step_limit;
    int depth, line;
    struct tm now;
    locale_t characters, plain;        /* C.UTF-8 and C */
    uint8_t *uniform[ORIGIN_COUNT];    /* of texts with one origin throughout, */
    size_t uniform_size[ORIGIN_COUNT]; /* as many as the longest had */
    scope *globals, *top;
    maker *out;
    const value *captured; /* the body of a block whose filters are applied */
    node_kind jump;        /* BREAK or CONTINUE on its way to its loop, otherwise CONST */
};

/* Zeroed memory of the rendering; NULL after fail(). */
void *rendering_take(rendering *r, size_t n, size_t element);
lariat_status rendering_open(rendering *r, size_t input);
void rendering_close(rendering *r);
/* Counts work; fails when it is too much. */
lariat_status rendering_work(rendering *r, size_t work);
/* The one copy of a name, NULL after fail(). */
const char *rendering_name(rendering *r, const char *text, size_t size);
/* A text in the rendering's memory, for reasons of undefined values; NULL after fail(). */
const char *rendering_format(rendering *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define TAKE(r, out, n)                                                                                                        \
    do {                                                                                                                       \
        (out) = rendering_take((r), (n), sizeof *(out));                                                                       \
        if (!(out)) {                                                                                                          \
            return LARIAT_NO_MEMORY;                                                                                           \
        }                                                                                                                      \
    } while (0)

/* Makes room for one more element. */
#define MAKE_ROOM(r, list, n, capacity)                                                                                        \
    do {                                                                                                                       \
        if ((n) == (capacity)) {                                                                                               \
            size_t room_ = (capacity) ? 2 * (capacity) : 4;                                                                    \
            void *more_ = rendering_take((r), room_, sizeof *(list));                                                          \
            if (!more_) {                                                                                                      \
                return LARIAT_NO_MEMORY;                                                                                       \
            }                                                                                                                  \
            if (n) {                                                                                                           \
                memcpy(more_, (list), (n) * sizeof *(list));                                                                   \
            }                                                                                                                  \
            (list) = more_;                                                                                                    \
            (capacity) = room_;                                                                                                \
        }                                                                                                                      \
    } while (0)

/* A failure of the template or by it. The caller of jinja_render is given the line. */
#define jinja_fail(...) fail(LARIAT_BAD_ARGUMENT, __VA_ARGS__)

/* --- scopes --- */

lariat_status scope_open(rendering *r, scope *outer, scope **out);
lariat_status scope_set(rendering *r, scope *s, const char *name, value v);
/* *out is NULL where there is no such variable. Counts the names looked at. */
lariat_status scope_find(rendering *r, const scope *s, const char *name, const value **out);

/* --- calls --- */

typedef struct call_arguments {
    value *positional;
    size_t n;
    const char **names; /* by name; interned */
    jinja_text *keys;   /* the names with their origins: ** gives names that the template did not write */
    value *named;
    size_t n_named;
} call_arguments;

/* Puts arguments in the order of `parameters` ("width first blank"); those behind '*' are by name only. Missing ones are
   left as out[i].kind UNDEFINED with why NULL. Refuses others and too many. */
lariat_status arguments_bind(const call_arguments *given, const char *what, const char *parameters, value out[]);
bool argument_is_given(const value *v);

lariat_status evaluate(rendering *r, scope *s, const node *n, value *out);
lariat_status evaluate_arguments(rendering *r, scope *s, const argument_list *list, call_arguments *out);
lariat_status call_value(rendering *r, const value *what, const call_arguments *given, value *out);
lariat_status call_macro(rendering *r, const macro *m, const call_arguments *given, value *out);
lariat_status get_attribute(rendering *r, const value *v, const char *name, size_t size, value *out);
lariat_status get_item(rendering *r, const value *v, const value *key, value *out);
lariat_status get_slice(rendering *r, const value *v, const value part[3], value *out);
lariat_status binary(rendering *r, const char *operator, const value * a, const value *b, value *out);
lariat_status compare(rendering *r, const char *operator, const value * a, const value *b, bool *out);
lariat_status is_contained(rendering *r, const value *part, const value *whole, bool *out);

lariat_status execute(rendering *r, scope *s, const node_list *body);
/* Looks for items of a loop until `n` are found. A condition is asked as late as in jinja2: it sees what the body changed. */
lariat_status loop_reach(rendering *r, loop_state *l, size_t n);
/* Assigns to a target; `unpacks` by its shape. */
lariat_status assign(rendering *r, scope *s, const node *target, const value *v);

/* Has the interpreter a filter or test of the name? Those of jinja2 that it lacks are none, so that a template that asks
   takes its other way. */
bool filter_is_known(const char *name);
bool test_is_known(const char *name);
lariat_status apply_filter(rendering *r, const char *name, const value *v, const call_arguments *given, value *out);
lariat_status apply_test(rendering *r, const char *name, const value *v, const call_arguments *given, bool *out);
/* Filters of lists: jinja_sequences.c. *known is false for other names. */
lariat_status apply_sequence_filter(rendering *r, const char *name, const value *v, const call_arguments *given, bool *known,
                                    value *out);
bool sequence_filter_is_known(const char *name);
/* The attribute "a.b.0" of a value, for filters; `otherwise`, which may be NULL, stands for each part that is missing. */
lariat_status get_path(rendering *r, const value *v, const value *path, const value *otherwise, value *out);
lariat_status sort_values(rendering *r, value *keys, value *values, size_t n, bool reverse);

/* Does the type of v have this method? Methods that change their object are unsafe. */
typedef enum method_rule { METHOD_NONE, METHOD_KNOWN, METHOD_UNSAFE, METHOD_REFUSED } method_rule;
method_rule find_method(const value *v, const char *name);
lariat_status call_method(rendering *r, const method *m, const call_arguments *given, value *out);
lariat_status call_text_method(rendering *r, const method *m, const call_arguments *given, value *out);
/* str.splitlines */
lariat_status split_lines(rendering *r, jinja_text text, bool keep, value *out);
/* str.format and the % operator: jinja_format.c. Where `whole` is Markup, what is put in is escaped. */
lariat_status format_braces(rendering *r, const value *whole, const call_arguments *given, value *out);
lariat_status format_percent(rendering *r, const value *whole, const value *given, value *out);
lariat_status replace_text(rendering *r, jinja_text text, jinja_text old, jinja_text fresh, int64_t most, jinja_text *out);
lariat_status split_text_value(rendering *r, jinja_text text, const value *separator, int64_t most, bool from_right,
                               value *out);
lariat_status join_texts(rendering *r, jinja_text separator, const value_list *l, bool strict, jinja_text *out);
lariat_status escape_text(rendering *r, jinja_text text, jinja_text *out);
/* The text of a value that goes into another: escaped where the other is Markup and the value is not. */
lariat_status inserted_text(rendering *r, bool safe, const value *v, jinja_text *out);

lariat_status set_functions(rendering *r);
lariat_status call_function(rendering *r, int function, const call_arguments *given, value *out);
