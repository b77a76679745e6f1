/* Statements: a template's output, assignments, loops and definitions.
   Rests on jinja_rendering.h. Read on in jinja_expressions.c. */
#include "text/jinja/jinja_rendering.h"

#include <string.h>

static lariat_status execute_one(rendering *r, scope *s, const node *n);

lariat_status execute(rendering *r, scope *s, const node_list *body)
{
    if (++r->depth > MAX_JINJA_DEPTH) {
        return jinja_fail("more than %d steps within steps: a macro that calls itself without end?", MAX_JINJA_DEPTH);
    }
    for (size_t i = 0; i < body->n && r->jump == NODE_CONST; i++) {
        r->line = body->items[i]->line;
        TRY(rendering_work(r, 1));
        TRY(execute_one(r, s, body->items[i]));
    }
    r->depth--;
    return LARIAT_OK;
}

/* Names that the body sets are its own. */
static lariat_status execute_in_scope(rendering *r, scope *s, const node_list *body)
{
    scope *inner;

    TRY(scope_open(r, s, &inner));
    return execute(r, inner, body);
}

/* Executes a body in a scope of its own, its output taken. */
static lariat_status capture(rendering *r, scope *s, const node_list *body, value *out)
{
    maker *outer = r->out, *text;
    scope *inner;

    TRY(scope_open(r, s, &inner));
    TAKE(r, text, 1);
    maker_open(text, r);
    r->out = text;
    TRY(execute(r, inner, body));
    r->out = outer;
    *out = value_text(maker_take(text));
    return LARIAT_OK;
}

lariat_status assign(rendering *r, scope *s, const node *target, const value *v)
{
    value_list *parts;

    if (target->kind == NODE_NAME) {
        return scope_set(r, s, target->name, *v);
    }
    if (target->kind == NODE_TARGET_ATTRIBUTE) {
        const value *space;
        jinja_text name;
        TRY(scope_find(r, s, target->name, &space));
        if (!space || space->kind != VALUE_NAMESPACE) {
            return jinja_fail("cannot assign attribute %s: '%s' is no namespace", target->attribute, target->name);
        }
        TRY(jinja_text_from(r, target->attribute, strlen(target->attribute), ORIGIN_TEMPLATE, &name));
        return dict_set(r, space->as.dict, value_text(name), *v);
    }
    TRY(value_iterate(r, v, &parts));
    if (parts->n != target->items.n) {
        return jinja_fail("%zu values for %zu names", parts->n, target->items.n);
    }
    for (size_t i = 0; i < parts->n; i++) {
        TRY(assign(r, s, target->items.items[i], &parts->items[i]));
    }
    return LARIAT_OK;
}

static lariat_status execute_output(rendering *r, scope *s, const node *n)
{
    jinja_text text;
    value v;

    TRY(evaluate(r, s, n->a, &v));
    TRY(value_str(r, &v, &text));
    return maker_add(r->out, text);
}

lariat_status loop_reach(rendering *r, loop_state *l, size_t n)
{
    if (l->asking) {
        return jinja_fail("the condition of a loop asks how its own loop goes on");
    }
    while (l->source && l->items->n < n && l->next < l->source->n) {
        const value *item = &l->source->items[l->next++];
        l->asking = true;
        scope *inner;
        value keep;
        TRY(rendering_work(r, 1));
        TRY(scope_open(r, l->outer, &inner));
        TRY(assign(r, inner, l->statement->a, item));
        TRY(evaluate(r, inner, l->statement->c, &keep));
        if (value_truth(&keep)) {
            TRY(list_add(r, l->items, *item));
        }
        l->asking = false;
    }
    return LARIAT_OK;
}

static lariat_status open_loop(rendering *r, scope *s, const node *n, loop_state **out)
{
    value_list *items;
    value over;

    TRY(evaluate(r, s, n->b, &over));
    TRY(value_iterate(r, &over, &items));
    TAKE(r, *out, 1);
    **out = (loop_state){.items = items, .statement = n, .outer = s};
    if (n->c) {
        (*out)->source = items;
        TRY(list_make(r, &(*out)->items));
    }
    return LARIAT_OK;
}

static lariat_status execute_for(rendering *r, scope *s, const node *n)
{
    const char *name = rendering_name(r, "loop", 4);
    loop_state *loop;
    bool completed = false; /* one run of the body, without a jump: jinja2 asks for it, else is for the other case */

    TRY(name ? open_loop(r, s, n, &loop) : LARIAT_NO_MEMORY);
    for (size_t at = 0;; at++) {
        scope *inner;
        TRY(loop_reach(r, loop, at + 1));
        if (at >= loop->items->n) {
            break;
        }
        loop->index = at; /* after the loop that of the last item */
        TRY(rendering_work(r, 1));
        TRY(scope_open(r, s, &inner));
        TRY(scope_set(r, inner, name, (value){.kind = VALUE_LOOP, .as.loop = loop}));
        TRY(assign(r, inner, n->a, &loop->items->items[at]));
        TRY(execute(r, inner, &n->body));
        node_kind jump = r->jump;
        r->jump = NODE_CONST;
        completed = completed || jump == NODE_CONST;
        if (jump == NODE_BREAK) {
            break;
        }
    }
    return completed ? LARIAT_OK : execute_in_scope(r, s, &n->otherwise);
}

static lariat_status execute_if(rendering *r, scope *s, const node *n)
{
    value condition;

    TRY(evaluate(r, s, n->a, &condition));
    return execute(r, s, value_truth(&condition) ? &n->body : &n->otherwise);
}

static lariat_status execute_set(rendering *r, scope *s, const node *n)
{
    value v;

    TRY(evaluate(r, s, n->b, &v));
    return assign(r, s, n->a, &v);
}

/* The body of a block of set or filter, with its filters applied. */
static lariat_status filtered_body(rendering *r, scope *s, const node *n, value *out)
{
    const value *outer = r->captured;
    value *body;

    TAKE(r, body, 1);
    TRY(capture(r, s, &n->body, body));
    *out = *body;
    if (n->b) {
        r->captured = body;
        TRY(evaluate(r, s, n->b, out));
        r->captured = outer;
    }
    return LARIAT_OK;
}

static lariat_status execute_set_block(rendering *r, scope *s, const node *n)
{
    value v;

    TRY(filtered_body(r, s, n, &v));
    return assign(r, s, n->a, &v);
}

static lariat_status execute_filter_block(rendering *r, scope *s, const node *n)
{
    value v;

    TRY(filtered_body(r, s, n, &v));
    return v.kind == VALUE_TEXT ? maker_add(r->out, v.as.text)
                                : jinja_fail("the filter of a block gives no text but %s", value_type(&v));
}

static lariat_status make_macro(rendering *r, scope *s, const node *n, value *out)
{
    macro *m;

    TAKE(r, m, 1);
    *m = (macro){.definition = n, .outer = s};
    *out = (value){.kind = VALUE_MACRO, .as.macro = m};
    return LARIAT_OK;
}

static lariat_status execute_macro(rendering *r, scope *s, const node *n)
{
    value v;

    TRY(make_macro(r, s, n, &v));
    return scope_set(r, s, n->name, v);
}

/* A call with the block as its argument "caller". */
static lariat_status execute_call_block(rendering *r, scope *s, const node *n)
{
    call_arguments given;
    const char **names;
    value *named, what, result;
    jinja_text text, *keys;

    TRY(evaluate(r, s, n->a->a, &what));
    TRY(evaluate_arguments(r, s, &n->a->arguments, &given));
    TAKE(r, names, given.n_named + 1);
    TAKE(r, keys, given.n_named + 1);
    TAKE(r, named, given.n_named + 1);
    for (size_t i = 0; i < given.n_named; i++) {
        names[i] = given.names[i];
        keys[i] = given.keys[i];
        named[i] = given.named[i];
    }
    names[given.n_named] = n->name;
    TRY(jinja_text_from(r, n->name, strlen(n->name), ORIGIN_TEMPLATE, &keys[given.n_named]));
    TRY(make_macro(r, s, n, &named[given.n_named]));
    given.names = names;
    given.keys = keys;
    given.named = named;
    given.n_named++;
    TRY(call_value(r, &what, &given, &result));
    TRY(value_str(r, &result, &text));
    return maker_add(r->out, text);
}

static lariat_status execute_with(rendering *r, scope *s, const node *n)
{
    scope *inner;
    value v;

    TRY(scope_open(r, s, &inner));
    for (size_t i = 0; i < n->items.n; i += 2) {
        TRY(evaluate(r, s, n->items.items[i + 1], &v)); /* values see the names outside only */
        TRY(assign(r, inner, n->items.items[i], &v));
    }
    return execute(r, inner, &n->body);
}

static lariat_status execute_one(rendering *r, scope *s, const node *n)
{
    switch (n->kind) {
    case NODE_TEXT:
        return maker_add(r->out, n->constant.as.text);
    case NODE_OUTPUT:
        return execute_output(r, s, n);
    case NODE_FOR:
        return execute_for(r, s, n);
    case NODE_IF:
        return execute_if(r, s, n);
    case NODE_SET:
        return execute_set(r, s, n);
    case NODE_SET_BLOCK:
        return execute_set_block(r, s, n);
    case NODE_MACRO:
        return execute_macro(r, s, n);
    case NODE_CALL_BLOCK:
        return execute_call_block(r, s, n);
    case NODE_FILTER_BLOCK:
        return execute_filter_block(r, s, n);
    case NODE_WITH:
        return execute_with(r, s, n);
    case NODE_BREAK:
    case NODE_CONTINUE:
        r->jump = n->kind;
        return LARIAT_OK;
    default:
        return execute_in_scope(r, s, &n->body); /* generation, as in Hugging Face's library */
    }
}

/* --- macros --- */

static const value *named_argument(const call_arguments *given, const char *name)
{
    for (size_t i = 0; i < given->n_named; i++) {
        if (strcmp(given->names[i], name) == 0) {
            return &given->named[i];
        }
    }
    return NULL;
}

static bool is_parameter(const node *d, const char *name)
{
    for (size_t i = 0; i < d->items.n; i++) {
        if (strcmp(d->names[i], name) == 0) {
            return true;
        }
    }
    return d->uses_caller && strcmp(name, "caller") == 0;
}

/* varargs, kwargs and caller, where the macro uses them; arguments that have no place are refused otherwise. */
static lariat_status bind_others(rendering *r, scope *s, const node *d, const call_arguments *given)
{
    value_list *rest;
    dict *others;

    if (given->n > d->items.n && !d->uses_rest) {
        return jinja_fail("macro '%s' takes not more than %zu arguments", d->name, d->items.n);
    }
    TRY(list_make(r, &rest));
    for (size_t i = d->items.n; i < given->n; i++) {
        TRY(list_add(r, rest, given->positional[i]));
    }
    TRY(dict_make(r, &others));
    for (size_t i = 0; i < given->n_named; i++) {
        TRY(rendering_work(r, d->items.n / 8 + 1));
        if (is_parameter(d, given->names[i])) {
            continue;
        }
        if (!d->uses_others) {
            return jinja_fail("macro '%s' takes no keyword argument '%s'", d->name, given->names[i]);
        }
        TRY(dict_set(r, others, value_text(given->keys[i]), given->named[i]));
    }
    if (d->uses_rest) {
        TRY(scope_set(r, s, rendering_name(r, "varargs", 7), value_sequence(VALUE_TUPLE, rest)));
    }
    if (d->uses_others) {
        TRY(scope_set(r, s, rendering_name(r, "kwargs", 6), value_dict(others)));
    }
    if (d->uses_caller) {
        const value *caller = named_argument(given, "caller");
        TRY(scope_set(r, s, rendering_name(r, "caller", 6), caller ? *caller : value_undefined("No caller defined")));
    }
    return LARIAT_OK;
}

static lariat_status bind_parameters(rendering *r, scope *s, const node *d, const call_arguments *given)
{
    for (size_t i = 0; i < d->items.n; i++) {
        const value *named = named_argument(given, d->names[i]);
        const char *why;
        value v;
        TRY(rendering_work(r, given->n_named / 8 + 1));
        if (i < given->n) {
            if (named) {
                return jinja_fail("macro '%s' got two values for '%s'", d->name, d->names[i]);
            }
            v = given->positional[i];
        } else if (named) {
            v = *named;
        } else if (d->items.items[i]) {
            TRY(evaluate(r, s, d->items.items[i], &v));
        } else {
            why = rendering_format(r, "parameter '%.100s' was not provided", d->names[i]);
            TRY(why ? LARIAT_OK : LARIAT_NO_MEMORY);
            v = value_undefined(why);
        }
        TRY(scope_set(r, s, d->names[i], v));
    }
    return LARIAT_OK;
}

lariat_status call_macro(rendering *r, const macro *m, const call_arguments *given, value *out)
{
    node_kind jump = r->jump;
    scope *s;
    int line = r->line;

    TRY(scope_open(r, m->outer, &s));
    TRY(bind_others(r, s, m->definition, given));
    TRY(bind_parameters(r, s, m->definition, given));
    TRY(capture(r, s, &m->definition->body, out));
    r->jump = jump;
    r->line = line;
    return LARIAT_OK;
}
