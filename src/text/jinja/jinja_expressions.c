/* Expressions: names, attributes, items, calls.
   Rests on jinja_rendering.h. Read on in jinja_operators.c. */
#include "text/jinja/jinja_rendering.h"

#include <string.h>

static lariat_status evaluate_name(rendering *r, const scope *s, const node *n, value *out)
{
    const value *found;

    TRY(scope_find(r, s, n->name, &found));
    if (found) {
        *out = *found;
        return LARIAT_OK;
    }
    const char *why = rendering_format(r, "'%.100s' is undefined", n->name);
    *out = value_undefined(why);
    return why ? LARIAT_OK : LARIAT_NO_MEMORY;
}

static lariat_status evaluate_list(rendering *r, scope *s, const node *n, value *out)
{
    value_list *l;
    value v;

    TRY(list_make(r, &l));
    for (size_t i = 0; i < n->items.n; i++) {
        TRY(evaluate(r, s, n->items.items[i], &v));
        TRY(list_add(r, l, v));
    }
    *out = value_sequence(n->kind == NODE_TUPLE ? VALUE_TUPLE : VALUE_LIST, l);
    return LARIAT_OK;
}

static lariat_status evaluate_dict(rendering *r, scope *s, const node *n, value *out)
{
    value key, v;
    dict *d;

    TRY(dict_make(r, &d));
    for (size_t i = 0; i < n->items.n; i += 2) {
        TRY(evaluate(r, s, n->items.items[i], &key));
        TRY(evaluate(r, s, n->items.items[i + 1], &v));
        TRY(dict_set(r, d, key, v));
    }
    *out = value_dict(d);
    return LARIAT_OK;
}

/* --- attributes and items --- */

/* "'dict object' has no attribute 'x'" */
static lariat_status missing(rendering *r, const value *v, const char *what, jinja_text name, value *out)
{
    const char *type = value_type(v);
    bool none = v->kind == VALUE_NONE;
    const char *why = rendering_format(r, "'%s' has no %s '%.*s'", none ? "None" : rendering_format(r, "%s object", type), what,
                                       name.size < 100 ? (int)name.size : 100, name.text);

    *out = value_undefined(why);
    return why ? LARIAT_OK : LARIAT_NO_MEMORY;
}

static lariat_status loop_attribute(rendering *r, const value *v, jinja_text name, value *out)
{
    static const char *const ahead[] = {"last", "nextitem"}, *const all[] = {"revindex", "revindex0", "length"};
    loop_state *l = v->as.loop;

    for (int i = 0; i < 3; i++) {
        TRY(jinja_text_is(name, all[i]) ? loop_reach(r, l, SIZE_MAX) : LARIAT_OK);
        TRY(i < 2 && jinja_text_is(name, ahead[i]) ? loop_reach(r, l, l->index + 2) : LARIAT_OK);
    }
    const struct {
        const char *name;
        int64_t value;
    } numbers[] = {{"index", (int64_t)l->index + 1},
                   {"index0", (int64_t)l->index},
                   {"revindex", (int64_t)(l->items->n - l->index)},
                   {"revindex0", (int64_t)(l->items->n - l->index) - 1},
                   {"length", (int64_t)l->items->n},
                   {"depth", 1}, /* of recursive loops, which are refused */
                   {"depth0", 0}};

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (jinja_text_is(name, numbers[i].name)) {
            *out = value_int(numbers[i].value, true);
            return LARIAT_OK;
        }
    }
    if (jinja_text_is(name, "first") || jinja_text_is(name, "last")) {
        *out = value_bool(jinja_text_is(name, "first") ? l->index == 0 : l->index + 1 == l->items->n);
        return LARIAT_OK;
    }
    if (jinja_text_is(name, "previtem")) {
        *out = l->index ? l->items->items[l->index - 1] : value_undefined("there is no previous item");
        return LARIAT_OK;
    }
    if (jinja_text_is(name, "nextitem")) {
        *out = l->index + 1 < l->items->n ? l->items->items[l->index + 1] : value_undefined("there is no next item");
        return LARIAT_OK;
    }
    return missing(r, v, "attribute", name, out);
}

static lariat_status bind_method(rendering *r, const value *v, jinja_text name, value *out)
{
    method *m;

    TAKE(r, m, 1);
    m->self = *v;
    m->name = rendering_name(r, name.text, name.size);
    *out = (value){.kind = VALUE_METHOD, .as.method = m};
    return m->name ? LARIAT_OK : LARIAT_NO_MEMORY;
}

static lariat_status macro_attribute(rendering *r, const value *v, jinja_text name, value *out)
{
    const node *d = v->as.macro->definition;
    jinja_text text;

    if (jinja_text_is(name, "name")) {
        TRY(jinja_text_from(r, d->name, strlen(d->name), ORIGIN_TEMPLATE, &text));
        *out = value_text(text);
        return LARIAT_OK;
    }
    return missing(r, v, "attribute", name, out);
}

static lariat_status text_attribute(rendering *r, const value *v, jinja_text name, value *out)
{
    const char *own = rendering_name(r, name.text, name.size), *why;
    const value *found;

    TRY(own ? LARIAT_OK : LARIAT_NO_MEMORY);
    TRY(value_refuse_undefined(v));
    switch (find_method(v, own)) {
    case METHOD_KNOWN:
        return bind_method(r, v, name, out);
    case METHOD_UNSAFE:
        why = rendering_format(r, "access to attribute '%s' of '%s' object is unsafe.", own, value_type(v));
        *out = value_undefined(why);
        return why ? LARIAT_OK : LARIAT_NO_MEMORY;
    case METHOD_REFUSED:
        return jinja_fail("the method %s.%s is not supported", value_type(v), own);
    default:
        break;
    }
    if (v->kind == VALUE_LOOP) {
        return loop_attribute(r, v, name, out);
    }
    if (v->kind == VALUE_MACRO) {
        return macro_attribute(r, v, name, out);
    }
    if (v->kind == VALUE_DICT || v->kind == VALUE_NAMESPACE) {
        TRY(rendering_work(r, v->as.dict->n / 8));
        found = dict_find_words(v->as.dict, own);
        if (found) {
            *out = *found;
            return LARIAT_OK;
        }
    }
    return missing(r, v, "attribute", name, out);
}

lariat_status get_attribute(rendering *r, const value *v, const char *name, size_t size, value *out)
{
    jinja_text text;

    TRY(jinja_text_from(r, name, size, ORIGIN_TEMPLATE, &text));
    return text_attribute(r, v, text, out);
}

static lariat_status item_of_list(const value_list *l, int64_t index, value *out)
{
    index += index < 0 ? (int64_t)l->n : 0;
    *out = index >= 0 && index < (int64_t)l->n ? l->items[index] : value_undefined("an index is out of range");
    return LARIAT_OK;
}

static lariat_status item_of_text(rendering *r, const value *v, int64_t index, value *out)
{
    int64_t n = (int64_t)characters(v->as.text);

    TRY(rendering_work(r, v->as.text.size / 64));
    index += index < 0 ? n : 0;
    if (index < 0 || index >= n) {
        *out = value_undefined("an index is out of range");
        return LARIAT_OK;
    }
    size_t from = character_offset(v->as.text, (size_t)index);
    jinja_text rest = jinja_text_part(v->as.text, from, v->as.text.size);
    *out = value_text(jinja_text_part(rest, 0, character_offset(rest, 1)));
    out->safe = v->safe;
    return LARIAT_OK;
}

lariat_status get_item(rendering *r, const value *v, const value *key, value *out)
{
    bool integer = key->kind == VALUE_INT || key->kind == VALUE_BOOL;
    bool indexed = v->kind == VALUE_LIST || v->kind == VALUE_TUPLE || v->kind == VALUE_RANGE;

    TRY(value_refuse_undefined(v));
    if (v->kind == VALUE_DICT) {
        value *found;
        TRY(dict_find(r, v->as.dict, key, &found));
        if (found) {
            *out = *found;
            return LARIAT_OK;
        }
    } else if (integer && indexed) {
        return item_of_list(v->as.list, value_integer(key), out);
    } else if (integer && v->kind == VALUE_TEXT) {
        return item_of_text(r, v, value_integer(key), out);
    }
    if (key->kind == VALUE_TEXT) {
        return text_attribute(r, v, key->as.text, out);
    }
    *out = value_undefined("an object has no such element");
    return LARIAT_OK;
}

/* A bound of a slice as Python clips it. */
static int64_t clip(const value *v, int64_t absent, int64_t n, bool down)
{
    int64_t low = down ? -1 : 0, high = down ? n - 1 : n, i;

    if (v->kind == VALUE_NONE) {
        return absent;
    }
    i = value_integer(v);
    i = i < 0 ? i + n : i;
    return i < low ? low : i > high ? high : i;
}

static lariat_status check_bounds(const value part[3])
{
    for (int i = 0; i < 3; i++) {
        TRY(value_refuse_undefined(&part[i]));
        if (part[i].kind != VALUE_NONE && part[i].kind != VALUE_INT && part[i].kind != VALUE_BOOL) {
            return jinja_fail("slice indices must be integers or None");
        }
        if (part[i].kind == VALUE_INT && (part[i].as.integer > INT32_MAX || part[i].as.integer < -INT32_MAX)) {
            return jinja_fail("a slice index of more than 32 bits");
        }
    }
    return part[2].kind != VALUE_NONE && value_integer(&part[2]) == 0 ? jinja_fail("slice step cannot be zero") : LARIAT_OK;
}

static lariat_status slice_text(rendering *r, const value *v, int64_t from, int64_t to, int64_t step, value *out)
{
    jinja_text text = v->as.text;
    value_list *l;
    maker m;

    if (step == 1) {
        size_t begin = character_offset(text, (size_t)from);
        jinja_text rest = jinja_text_part(text, begin, text.size);
        *out = value_text(jinja_text_part(rest, 0, character_offset(rest, to > from ? (size_t)(to - from) : 0)));
    } else {
        TRY(value_iterate(r, v, &l));
        maker_open(&m, r);
        for (int64_t i = from; step > 0 ? i < to : i > to; i += step) {
            TRY(maker_add(&m, l->items[i].as.text));
        }
        *out = value_text(maker_take(&m));
    }
    out->safe = v->safe;
    return rendering_work(r, text.size / 64);
}

lariat_status get_slice(rendering *r, const value *v, const value part[3], value *out)
{
    bool sequence = v->kind == VALUE_LIST || v->kind == VALUE_TUPLE || v->kind == VALUE_RANGE;
    value_list *l;

    TRY(value_refuse_undefined(v));
    TRY(check_bounds(part));
    if (!sequence && v->kind != VALUE_TEXT) {
        return jinja_fail("'%s' object cannot be sliced", value_type(v));
    }
    int64_t step = part[2].kind == VALUE_NONE ? 1 : value_integer(&part[2]);
    int64_t n = sequence ? (int64_t)v->as.list->n : (int64_t)characters(v->as.text);
    int64_t from = clip(&part[0], step < 0 ? n - 1 : 0, n, step < 0), to = clip(&part[1], step < 0 ? -1 : n, n, step < 0);
    if (!sequence) {
        return slice_text(r, v, from, to, step, out);
    }
    TRY(list_make(r, &l));
    for (int64_t i = from; step > 0 ? i < to : i > to; i += step) {
        TRY(list_add(r, l, v->as.list->items[i]));
    }
    *out = value_sequence(v->kind, l);
    return LARIAT_OK;
}

static lariat_status evaluate_item(rendering *r, scope *s, const node *n, value *out)
{
    value v, part[3], key;

    TRY(evaluate(r, s, n->a, &v));
    if (n->b->kind != NODE_SLICE) {
        TRY(evaluate(r, s, n->b, &key));
        return get_item(r, &v, &key, out);
    }
    for (size_t i = 0; i < 3; i++) {
        part[i] = value_none();
        if (n->b->items.items[i]) {
            TRY(evaluate(r, s, n->b->items.items[i], &part[i]));
        }
    }
    return get_slice(r, &v, part, out);
}

static lariat_status evaluate_attribute(rendering *r, scope *s, const node *n, value *out)
{
    value v;

    TRY(evaluate(r, s, n->a, &v));
    r->line = n->line;
    return get_attribute(r, &v, n->name, strlen(n->name), out);
}

/* --- calls --- */

static lariat_status add_named(rendering *r, call_arguments *out, size_t *capacity, jinja_text key, value v)
{
    const char *name = rendering_name(r, key.text, key.size);
    size_t names = *capacity, keys = names;

    TRY(name ? rendering_work(r, out->n_named / 8 + 1) : LARIAT_NO_MEMORY);
    for (size_t i = 0; i < out->n_named; i++) {
        if (out->names[i] == name) {
            return jinja_fail("two values for the keyword argument '%s'", name);
        }
    }
    MAKE_ROOM(r, out->names, out->n_named, names);
    MAKE_ROOM(r, out->keys, out->n_named, keys);
    MAKE_ROOM(r, out->named, out->n_named, *capacity);
    out->names[out->n_named] = name;
    out->keys[out->n_named] = key;
    out->named[out->n_named++] = v;
    return LARIAT_OK;
}

static lariat_status add_others(rendering *r, call_arguments *out, size_t *capacity, const value *others)
{
    if (others->kind != VALUE_DICT) {
        return jinja_fail("argument after ** must be a mapping, not %s", value_type(others));
    }
    for (size_t i = 0; i < others->as.dict->n; i++) {
        const value *key = &others->as.dict->keys[i];
        if (key->kind != VALUE_TEXT) {
            return jinja_fail("keywords must be strings");
        }
        TRY(add_named(r, out, capacity, key->as.text, others->as.dict->values[i]));
    }
    return LARIAT_OK;
}

lariat_status evaluate_arguments(rendering *r, scope *s, const argument_list *list, call_arguments *out)
{
    value_list positional = {0}, *rest;
    size_t capacity = 0;
    jinja_text key;
    value v;

    *out = (call_arguments){0};
    for (size_t i = 0; i < list->positional.n; i++) {
        TRY(evaluate(r, s, list->positional.items[i], &v));
        TRY(list_add(r, &positional, v));
    }
    if (list->rest) {
        TRY(evaluate(r, s, list->rest, &v));
        TRY(value_iterate(r, &v, &rest));
        for (size_t i = 0; i < rest->n; i++) {
            TRY(list_add(r, &positional, rest->items[i]));
        }
    }
    out->positional = positional.items;
    out->n = positional.n;
    for (size_t i = 0; i < list->named.n; i++) {
        TRY(evaluate(r, s, list->named.items[i], &v));
        TRY(jinja_text_from(r, list->names[i], strlen(list->names[i]), ORIGIN_TEMPLATE, &key));
        TRY(add_named(r, out, &capacity, key, v));
    }
    if (list->others) {
        TRY(evaluate(r, s, list->others, &v));
        TRY(add_others(r, out, &capacity, &v));
    }
    return LARIAT_OK;
}

bool argument_is_given(const value *v)
{
    return v->kind != VALUE_UNDEFINED || v->as.why != NULL;
}

/* The index of a name in "a b *c", or -1; *n is the number of names, *by_place those before '*'. */
static int find_parameter(const char *parameters, const char *name, int *n, int *by_place)
{
    int found = -1;

    *n = 0;
    *by_place = INT32_MAX;
    while (*parameters) {
        if (*parameters == '*') {
            *by_place = *n;
            parameters++;
        }
        size_t size = strcspn(parameters, " ");
        if (name && strlen(name) == size && memcmp(name, parameters, size) == 0) {
            found = *n;
        }
        ++*n;
        parameters += size + (parameters[size] == ' ');
    }
    *by_place = *by_place < *n ? *by_place : *n;
    return found;
}

lariat_status arguments_bind(const call_arguments *given, const char *what, const char *parameters, value out[])
{
    int n, by_place;

    find_parameter(parameters, NULL, &n, &by_place);
    for (int i = 0; i < n; i++) {
        out[i] = value_undefined(NULL);
    }
    if (given->n > (size_t)by_place) {
        return jinja_fail("%s takes at most %d arguments, not %zu", what, by_place, given->n);
    }
    for (size_t i = 0; i < given->n; i++) {
        out[i] = given->positional[i];
    }
    for (size_t i = 0; i < given->n_named; i++) {
        int at = find_parameter(parameters, given->names[i], &n, &by_place);
        if (at < 0 || argument_is_given(&out[at])) {
            return jinja_fail("%s: the argument '%s' is not known, or given twice", what, given->names[i]);
        }
        out[at] = given->named[i];
    }
    return LARIAT_OK;
}

lariat_status call_value(rendering *r, const value *what, const call_arguments *given, value *out)
{
    TRY(value_refuse_undefined(what));
    switch (what->kind) {
    case VALUE_MACRO:
        return call_macro(r, what->as.macro, given, out);
    case VALUE_METHOD:
        return call_method(r, what->as.method, given, out);
    case VALUE_FUNCTION:
        return call_function(r, what->as.function, given, out);
    default:
        return jinja_fail("'%s' object is not callable", value_type(what));
    }
}

static lariat_status evaluate_call(rendering *r, scope *s, const node *n, value *out)
{
    call_arguments given;
    value what;

    TRY(evaluate(r, s, n->a, &what));
    TRY(evaluate_arguments(r, s, &n->arguments, &given));
    r->line = n->line;
    return call_value(r, &what, &given, out);
}

static lariat_status evaluate_filter(rendering *r, scope *s, const node *n, value *out)
{
    call_arguments given;
    value v;

    if (n->a) {
        TRY(evaluate(r, s, n->a, &v));
    } else {
        v = *r->captured;
    }
    TRY(evaluate_arguments(r, s, &n->arguments, &given));
    r->line = n->line;
    return apply_filter(r, n->name, &v, &given, out);
}

static lariat_status evaluate_test(rendering *r, scope *s, const node *n, value *out)
{
    call_arguments given;
    bool truth = false;
    value v;

    TRY(evaluate(r, s, n->a, &v));
    TRY(evaluate_arguments(r, s, &n->arguments, &given));
    r->line = n->line;
    TRY(apply_test(r, n->name, &v, &given, &truth));
    *out = value_bool(truth);
    return LARIAT_OK;
}

/* --- operators --- */

static lariat_status evaluate_if_else(rendering *r, scope *s, const node *n, value *out)
{
    value condition;

    TRY(evaluate(r, s, n->a, &condition));
    if (value_truth(&condition)) {
        return evaluate(r, s, n->b, out);
    }
    if (n->c) {
        return evaluate(r, s, n->c, out);
    }
    *out = value_undefined("the inline if-expression evaluated to false and no else section was defined.");
    return LARIAT_OK;
}

static lariat_status evaluate_concat(rendering *r, scope *s, const node *n, value *out)
{
    jinja_text text;
    maker m;
    value v;

    maker_open(&m, r);
    for (size_t i = 0; i < n->items.n; i++) {
        TRY(evaluate(r, s, n->items.items[i], &v));
        TRY(value_str(r, &v, &text));
        TRY(maker_add(&m, text));
    }
    *out = value_text(maker_take(&m));
    return LARIAT_OK;
}

static lariat_status evaluate_compare(rendering *r, scope *s, const node *n, value *out)
{
    value left, right;
    bool holds = true;

    TRY(evaluate(r, s, n->a, &left));
    for (size_t i = 0; i < n->items.n && holds; i++) {
        TRY(evaluate(r, s, n->items.items[i], &right));
        TRY(compare(r, n->names[i], &left, &right, &holds));
        left = right;
    }
    *out = value_bool(holds);
    return LARIAT_OK;
}

static lariat_status evaluate_binary(rendering *r, scope *s, const node *n, value *out)
{
    value a, b;

    TRY(evaluate(r, s, n->a, &a));
    TRY(evaluate(r, s, n->b, &b));
    return binary(r, n->name, &a, &b, out);
}

static lariat_status evaluate_sign(rendering *r, scope *s, const node *n, value *out)
{
    value v, zero = value_int(0, true);

    TRY(evaluate(r, s, n->a, &v));
    TRY(value_refuse_undefined(&v));
    if (v.kind == VALUE_FLOAT) {
        *out = value_float(n->kind == NODE_NEGATIVE ? -v.as.real : v.as.real, v.own);
        return LARIAT_OK;
    }
    return binary(r, n->kind == NODE_NEGATIVE ? "-" : "+", &zero, &v, out);
}

static lariat_status evaluate_logic(rendering *r, scope *s, const node *n, value *out)
{
    TRY(evaluate(r, s, n->a, out));
    if (n->kind == NODE_NOT) {
        *out = value_bool(!value_truth(out));
        return LARIAT_OK;
    }
    return value_truth(out) == (n->kind == NODE_AND) ? evaluate(r, s, n->b, out) : LARIAT_OK;
}

static lariat_status evaluate_kind(rendering *r, scope *s, const node *n, value *out)
{
    switch (n->kind) {
    case NODE_NAME:
        return evaluate_name(r, s, n, out);
    case NODE_LIST:
    case NODE_TUPLE:
        return evaluate_list(r, s, n, out);
    case NODE_DICT:
        return evaluate_dict(r, s, n, out);
    case NODE_ATTRIBUTE:
        return evaluate_attribute(r, s, n, out);
    case NODE_ITEM:
        return evaluate_item(r, s, n, out);
    case NODE_CALL:
        return evaluate_call(r, s, n, out);
    case NODE_FILTER:
        return evaluate_filter(r, s, n, out);
    case NODE_TEST:
        return evaluate_test(r, s, n, out);
    case NODE_IF_ELSE:
        return evaluate_if_else(r, s, n, out);
    case NODE_AND:
    case NODE_OR:
    case NODE_NOT:
        return evaluate_logic(r, s, n, out);
    case NODE_NEGATIVE:
    case NODE_POSITIVE:
        return evaluate_sign(r, s, n, out);
    case NODE_BINARY:
        return evaluate_binary(r, s, n, out);
    case NODE_CONCAT:
        return evaluate_concat(r, s, n, out);
    case NODE_COMPARE:
        return evaluate_compare(r, s, n, out);
    case NODE_SLICE:
        return jinja_fail("a slice within a tuple of indices is not supported");
    default:
        *out = n->constant;
        return LARIAT_OK;
    }
}

lariat_status evaluate(rendering *r, scope *s, const node *n, value *out)
{
    value result;

    if (++r->depth > MAX_JINJA_DEPTH) {
        return jinja_fail("more than %d steps within steps: a macro that calls itself without end?", MAX_JINJA_DEPTH);
    }
    r->line = n->line;
    TRY(rendering_work(r, 1));
    TRY(evaluate_kind(r, s, n, &result));
    *out = result;
    r->depth--;
    return LARIAT_OK;
}
