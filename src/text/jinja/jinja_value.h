/* Values of a template: Python's, as far as templates see them. All memory is that of one rendering and is freed with
   it, so values are copied freely and texts are shared. No value changes once made, except namespaces, generators
   and the state of a loop.
   Rests on jinja.h. Read on in jinja_rendering.h. */
#pragma once

#include "text/jinja/jinja.h"

#include <stdbool.h>

typedef struct rendering rendering;
typedef struct value value;
typedef struct scope scope;
typedef struct node node;

/* A text with the origin of each byte. */
typedef struct jinja_text {
    const char *text;
    const uint8_t *origins;
    size_t size;
} jinja_text;

typedef enum value_kind {
    VALUE_UNDEFINED,
    VALUE_NONE,
    VALUE_BOOL,
    VALUE_INT,
    VALUE_FLOAT,
    VALUE_TEXT,
    VALUE_LIST,
    VALUE_TUPLE,
    VALUE_GENERATOR, /* the result of map, select and their kind: iterated once */
    VALUE_RANGE,
    VALUE_KEYS, /* keys(), values(), items() of a dictionary */
    VALUE_VALUES,
    VALUE_ITEMS,
    VALUE_DICT,
    VALUE_NAMESPACE,
    VALUE_LOOP,
    VALUE_MACRO,
    VALUE_METHOD,  /* a method with its object */
    VALUE_FUNCTION /* a function of the environment */
} value_kind;

typedef struct value_list {
    value *items;
    size_t n, capacity;
} value_list;

typedef struct dict {
    value *keys, *values; /* in order of insertion */
    size_t n, capacity;
} dict;

typedef struct loop_state loop_state;

typedef struct macro {
    const node *definition;
    scope *outer; /* where it was defined */
} macro;

typedef struct method method;

struct value {
    value_kind kind;
    bool own;  /* BOOL, INT, FLOAT, NONE: made by the template, not from messages */
    bool safe; /* TEXT: Markup, whose + escapes the other text */
    union {
        bool truth;
        int64_t integer;
        double real;
        jinja_text text;
        const char *why; /* UNDEFINED: the error of using it */
        value_list *list;
        dict *dict;
        loop_state *loop;
        macro *macro;
        method *method;
        int function;
    } as;
};

/* The variable "loop". */
struct loop_state {
    value_list *items; /* with a condition: those found so far for which it holds */
    size_t index;
    value changed;            /* arguments of the last changed(), a tuple */
    const value_list *source; /* with a condition: all items, */
    size_t next;              /* the first that was not asked yet, */
    const node *statement;    /* and where the condition is evaluated */
    scope *outer;
    bool asking; /* the condition is being evaluated */
};

struct method {
    value self;
    const char *name;
};

/* A text while it is put together. */
typedef struct maker {
    rendering *r;
    char *text;
    uint8_t *origins;
    size_t size, capacity;
} maker;

/* --- making --- */

value value_undefined(const char *why);
value value_none(void);
value value_bool(bool truth);
value value_int(int64_t integer, bool own);
value value_float(double real, bool own);
value value_text(jinja_text text);
/* A list, a tuple, a generator, a range or a view. */
value value_sequence(value_kind kind, value_list *list);
value value_dict(dict *d);

/* A text with one origin. The bytes are not copied. */
lariat_status jinja_text_from(rendering *r, const char *text, size_t size, uint8_t origin, jinja_text *out);
jinja_text jinja_text_part(jinja_text text, size_t from, size_t to);
bool jinja_text_is(jinja_text text, const char *literal);

void maker_open(maker *m, rendering *r);
lariat_status maker_add(maker *m, jinja_text text);
lariat_status maker_fill(maker *m, const char *text, size_t size, uint8_t origin);
lariat_status maker_words(maker *m, const char *text, uint8_t origin);
jinja_text maker_take(maker *m);

lariat_status list_make(rendering *r, value_list **out);
lariat_status list_add(rendering *r, value_list *l, value v);
lariat_status dict_make(rendering *r, dict **out);
/* *out is NULL where there is no such key. */
lariat_status dict_find(rendering *r, const dict *d, const value *key, value **out);
value *dict_find_words(const dict *d, const char *key);
/* Refuses keys that Python cannot hash. */
lariat_status value_refuse_unhashable(rendering *r, const value *v, int depth);
lariat_status dict_set(rendering *r, dict *d, value key, value v);

/* --- asking --- */

bool value_is_sequence(const value *v); /* has value_list */
bool value_is_number(const value *v);   /* of Python's int (bool included) or float */
bool value_truth(const value *v);
int64_t value_integer(const value *v); /* of INT and BOOL */
double value_real(const value *v);
/* The name of its Python type. */
const char *value_type(const value *v);
lariat_status value_equal(rendering *r, const value *a, const value *b, bool *out);
/* -1, 0, 1; fails for types without an order. */
lariat_status value_compare(rendering *r, const value *a, const value *b, int *out);
/* The values of an iteration: items, keys, characters. */
lariat_status value_iterate(rendering *r, const value *v, value_list **out);
/* Python's str() and repr(). */
lariat_status value_str(rendering *r, const value *v, jinja_text *out);
lariat_status value_repr(maker *m, const value *v, int depth);
/* The text of a number, None, True and False; 32 bytes are enough. */
void number_text(const value *v, char out[32]);
void float_text(double real, char out[32]);
/* Fails with the reason of an undefined value. */
lariat_status value_refuse_undefined(const value *v);

/* --- characters --- */

size_t characters(jinja_text text);
/* The byte at which character `index` begins, at most the size. */
size_t character_offset(jinja_text text, size_t index);
bool is_python_space(int32_t code);
bool is_python_printable(int32_t code);
bool is_python_letter(int32_t code);
bool is_title_case(int32_t code);
/* Each kind is one of those before it too: str.isnumeric, isdigit and isdecimal. */
typedef enum number_kind { NUMBER_NONE, NUMBER_NUMERIC, NUMBER_DIGIT, NUMBER_DECIMAL } number_kind;
number_kind python_number_kind(int32_t code);
/* The value of a decimal digit of any script, or -1. */
int decimal_digit(int32_t code);
lariat_status jinja_text_change_case(rendering *r, jinja_text text, bool upper, jinja_text *out);
jinja_text jinja_text_strip(jinja_text text, const jinja_text *set, bool left, bool right);
/* The first occurrence of `part` from byte `from` on, or -1. */
int64_t jinja_text_find(jinja_text text, jinja_text part, size_t from);
/* The last one; counts its work, which may be the product of the sizes. */
lariat_status find_last(rendering *r, jinja_text text, jinja_text part, int64_t *out);

/* --- JSON --- */

/* Bytes of all texts, and some for each value. */
size_t json_bytes(const json_t *json, int depth);
lariat_status value_from_json(rendering *r, const json_t *json, value *out);
lariat_status messages_from_json(rendering *r, const json_t *messages, value *out);

typedef struct json_form {
    const char *item, *pair; /* separators */
    const char *indent;      /* of one level; NULL: on one line */
    bool ascii, sorted;
} json_form;
lariat_status value_to_json(maker *m, const value *v, const json_form *form, int depth);
