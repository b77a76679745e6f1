/* Filters of lists and dictionaries: sorting, selecting, mapping, joining.
   Rests on jinja_rendering.h. Read on in jinja_tests.c. */
#include "text/jinja/jinja_rendering.h"

#include <string.h>

typedef lariat_status (*filter_fn)(rendering *r, const value *v, const call_arguments *given, value *out);

lariat_status get_path(rendering *r, const value *v, const value *path, const value *otherwise, value *out)
{
    *out = *v;
    if (path->kind != VALUE_TEXT) {
        TRY(get_item(r, v, path, out));
        *out = otherwise && out->kind == VALUE_UNDEFINED ? *otherwise : *out;
        return LARIAT_OK;
    }
    for (size_t from = 0; from <= path->as.text.size;) {
        const char *dot = memchr(path->as.text.text + from, '.', path->as.text.size - from);
        size_t to = dot ? (size_t)(dot - path->as.text.text) : path->as.text.size;
        value key = value_text(jinja_text_part(path->as.text, from, to)), part = *out;
        int64_t index = 0;
        size_t i = from;
        while (i < to && path->as.text.text[i] >= '0' && path->as.text.text[i] <= '9' && index < INT32_MAX) {
            index = index * 10 + (path->as.text.text[i++] - '0');
        }
        if (to > from && (i == to || index >= INT32_MAX)) {
            key = value_int(index, true);
        }
        TRY(rendering_work(r, (to - from) / 64 + 1));
        TRY(get_item(r, &part, &key, out));
        *out = otherwise && out->kind == VALUE_UNDEFINED ? *otherwise : *out;
        from = to + 1;
    }
    return LARIAT_OK;
}

static lariat_status fold_case(rendering *r, const value *v, bool sensitive, value *out)
{
    *out = *v;
    return v->kind == VALUE_TEXT && !sensitive ? jinja_text_change_case(r, v->as.text, false, &out->as.text) : LARIAT_OK;
}

/* Merges two sorted halves: equal values keep their order. */
static lariat_status merge_halves(rendering *r, value *keys, value *values, size_t half, size_t n, bool reverse)
{
    value *new_keys, *new_values;
    size_t a = 0, b = half;

    TAKE(r, new_keys, n);
    TAKE(r, new_values, n);
    for (size_t i = 0; i < n; i++) {
        int order = 0;
        if (a < half && b < n) {
            TRY(value_compare(r, &keys[a], &keys[b], &order));
        }
        size_t from = b == n || (a < half && (reverse ? order >= 0 : order <= 0)) ? a++ : b++;
        new_keys[i] = keys[from];
        new_values[i] = values[from];
    }
    memcpy(keys, new_keys, n * sizeof *keys);
    memcpy(values, new_values, n * sizeof *values);
    return LARIAT_OK;
}

lariat_status sort_values(rendering *r, value *keys, value *values, size_t n, bool reverse)
{
    if (n < 2) {
        return LARIAT_OK;
    }
    size_t half = n / 2;
    TRY(sort_values(r, keys, values, half, reverse));
    TRY(sort_values(r, keys + half, values + half, n - half, reverse));
    return merge_halves(r, keys, values, half, n, reverse);
}

static lariat_status copy_list(rendering *r, const value_list *from, value_list **out)
{
    TRY(list_make(r, out));
    for (size_t i = 0; i < from->n; i++) {
        TRY(list_add(r, *out, from->items[i]));
    }
    return LARIAT_OK;
}

/* The keys by which items are sorted or compared: the items, or their attribute, in lower case unless sensitive. */
static lariat_status keys_of(rendering *r, const value_list *l, const value *attribute, bool sensitive, value_list **out)
{
    value key;

    TRY(list_make(r, out));
    for (size_t i = 0; i < l->n; i++) {
        key = l->items[i];
        if (argument_is_given(attribute) && attribute->kind != VALUE_NONE) {
            TRY(get_path(r, &l->items[i], attribute, NULL, &key));
        }
        TRY(fold_case(r, &key, sensitive, &key));
        TRY(list_add(r, *out, key));
    }
    return LARIAT_OK;
}

static lariat_status filter_sort(rendering *r, const value *v, const call_arguments *given, value *out)
{
    value_list *l, *keys, *sorted, *key;
    value a[3];

    TRY(arguments_bind(given, "sort", "reverse case_sensitive attribute", a));
    if (a[2].kind == VALUE_TEXT && memchr(a[2].as.text.text, ',', a[2].as.text.size)) {
        return jinja_fail("sort: several attributes are not supported; sort by the last, then by the one before it");
    }
    TRY(value_iterate(r, v, &l));
    TRY(keys_of(r, l, &a[2], value_truth(&a[1]), &keys));
    for (size_t i = 0; i < keys->n; i++) { /* in lists, as in jinja2: equal ones need no order */
        TRY(list_make(r, &key));
        TRY(list_add(r, key, keys->items[i]));
        keys->items[i] = value_sequence(VALUE_LIST, key);
    }
    TRY(copy_list(r, l, &sorted));
    TRY(sort_values(r, keys->items, sorted->items, sorted->n, value_truth(&a[0])));
    *out = value_sequence(VALUE_LIST, sorted);
    return LARIAT_OK;
}

static lariat_status pairs_of(rendering *r, const dict *d, value_list **out)
{
    value_list *pair;

    TRY(list_make(r, out));
    for (size_t i = 0; i < d->n; i++) {
        TRY(list_make(r, &pair));
        TRY(list_add(r, pair, d->keys[i]));
        TRY(list_add(r, pair, d->values[i]));
        TRY(list_add(r, *out, value_sequence(VALUE_TUPLE, pair)));
    }
    return LARIAT_OK;
}

static lariat_status filter_dictsort(rendering *r, const value *v, const call_arguments *given, value *out)
{
    value_list *pairs, *keys;
    value a[3], key;

    TRY(arguments_bind(given, "dictsort", "case_sensitive by reverse", a));
    if (v->kind != VALUE_DICT) {
        return jinja_fail("dictsort: a dictionary is wanted, not %s", value_type(v));
    }
    bool by_value = a[1].kind == VALUE_TEXT && jinja_text_is(a[1].as.text, "value");
    TRY(pairs_of(r, v->as.dict, &pairs));
    TRY(list_make(r, &keys));
    for (size_t i = 0; i < pairs->n; i++) {
        TRY(fold_case(r, by_value ? &v->as.dict->values[i] : &v->as.dict->keys[i], value_truth(&a[0]), &key));
        TRY(list_add(r, keys, key));
    }
    TRY(sort_values(r, keys->items, pairs->items, pairs->n, value_truth(&a[2])));
    *out = value_sequence(VALUE_LIST, pairs);
    return LARIAT_OK;
}

static lariat_status filter_items(rendering *r, const value *v, const call_arguments *given, value *out)
{
    value_list *l;

    TRY(arguments_bind(given, "items", "", NULL));
    if (v->kind != VALUE_DICT && v->kind != VALUE_UNDEFINED) {
        return jinja_fail("Can only get item pairs from a mapping.");
    }
    TRY(v->kind == VALUE_DICT ? pairs_of(r, v->as.dict, &l) : list_make(r, &l));
    *out = value_sequence(VALUE_GENERATOR, l);
    return LARIAT_OK;
}

static lariat_status filter_list(rendering *r, const value *v, const call_arguments *given, value *out)
{
    value_list *l;

    TRY(arguments_bind(given, "list", "", NULL));
    TRY(value_iterate(r, v, &l));
    *out = value_sequence(VALUE_LIST, l);
    return LARIAT_OK;
}

static lariat_status filter_first(rendering *r, const value *v, const call_arguments *given, value *out)
{
    value_list *l;

    TRY(arguments_bind(given, "first", "", NULL));
    TRY(value_iterate(r, v, &l));
    *out = l->n ? l->items[0] : value_undefined("No first item, sequence was empty.");
    return LARIAT_OK;
}

static lariat_status filter_last(rendering *r, const value *v, const call_arguments *given, value *out)
{
    value_list *l;

    TRY(arguments_bind(given, "last", "", NULL));
    if (v->kind == VALUE_GENERATOR) {
        return jinja_fail("'generator' object is not reversible");
    }
    TRY(value_iterate(r, v, &l));
    *out = l->n ? l->items[l->n - 1] : value_undefined("No last item, sequence was empty.");
    return LARIAT_OK;
}

static lariat_status filter_reverse(rendering *r, const value *v, const call_arguments *given, value *out)
{
    value_list *l, *back;

    TRY(arguments_bind(given, "reverse", "", NULL));
    TRY(value_iterate(r, v, &l));
    TRY(list_make(r, &back));
    for (size_t i = l->n; i-- > 0;) {
        TRY(list_add(r, back, l->items[i]));
    }
    *out = value_sequence(VALUE_GENERATOR, back);
    if (v->kind == VALUE_TEXT) {
        jinja_text none;
        TRY(jinja_text_from(r, "", 0, ORIGIN_TEMPLATE, &none));
        TRY(join_texts(r, none, back, true, &none));
        *out = value_text(none);
        out->safe = v->safe;
    }
    return LARIAT_OK;
}

static lariat_status filter_join(rendering *r, const value *v, const call_arguments *given, value *out)
{
    value_list *l, *parts;
    value a[2];
    jinja_text separator = {"", NULL, 0};

    TRY(arguments_bind(given, "join", "d attribute", a));
    TRY(value_iterate(r, v, &l));
    TRY(keys_of(r, l, &a[1], true, &parts));
    if (argument_is_given(&a[0])) {
        TRY(value_str(r, &a[0], &separator));
    }
    TRY(join_texts(r, separator, parts, false, &separator));
    *out = value_text(separator);
    return LARIAT_OK;
}

static lariat_status least(rendering *r, const value *v, const call_arguments *given, int sign, value *out)
{
    value_list *l, *keys;
    size_t best = 0;
    value a[2];

    TRY(arguments_bind(given, sign < 0 ? "min" : "max", "case_sensitive attribute", a));
    TRY(value_iterate(r, v, &l));
    TRY(keys_of(r, l, &a[1], value_truth(&a[0]), &keys));
    for (size_t i = 1; i < l->n; i++) {
        int order;
        TRY(value_compare(r, &keys->items[i], &keys->items[best], &order));
        best = order == sign ? i : best;
    }
    *out = l->n ? l->items[best] : value_undefined("No aggregated item, sequence was empty.");
    return LARIAT_OK;
}

static lariat_status filter_min(rendering *r, const value *v, const call_arguments *given, value *out)
{
    return least(r, v, given, -1, out);
}

static lariat_status filter_max(rendering *r, const value *v, const call_arguments *given, value *out)
{
    return least(r, v, given, 1, out);
}

static lariat_status filter_sum(rendering *r, const value *v, const call_arguments *given, value *out)
{
    value_list *l, *parts;
    value a[2], sum;

    TRY(arguments_bind(given, "sum", "attribute start", a));
    TRY(value_iterate(r, v, &l));
    TRY(keys_of(r, l, &a[0], true, &parts));
    *out = argument_is_given(&a[1]) ? a[1] : value_int(0, true);
    if (out->kind == VALUE_TEXT) {
        return jinja_fail("sum: texts have no sum, join them");
    }
    for (size_t i = 0; i < parts->n; i++) {
        TRY(binary(r, "+", out, &parts->items[i], &sum));
        *out = sum;
    }
    return LARIAT_OK;
}

static lariat_status filter_unique(rendering *r, const value *v, const call_arguments *given, value *out)
{
    value_list *l, *keys, *kept;
    dict *seen;
    value a[2];

    TRY(arguments_bind(given, "unique", "case_sensitive attribute", a));
    TRY(value_iterate(r, v, &l));
    TRY(keys_of(r, l, &a[1], value_truth(&a[0]), &keys));
    TRY(dict_make(r, &seen));
    TRY(list_make(r, &kept));
    for (size_t i = 0; i < l->n; i++) {
        size_t n = seen->n;
        TRY(dict_set(r, seen, keys->items[i], value_none()));
        TRY(seen->n > n ? list_add(r, kept, l->items[i]) : LARIAT_OK);
    }
    *out = value_sequence(VALUE_GENERATOR, kept);
    return LARIAT_OK;
}

/* --- select and map --- */

/* The name of a filter or test, and the arguments behind it. */
static lariat_status name_and_rest(rendering *r, const char *what, const call_arguments *given, size_t at, const char **name,
                                   call_arguments *rest)
{
    const value *v = &given->positional[at];

    if (v->kind != VALUE_TEXT) {
        return jinja_fail("%s: the name of a filter or test is wanted", what);
    }
    *name = rendering_name(r, v->as.text.text, v->as.text.size);
    *rest = *given;
    rest->positional += at + 1;
    rest->n -= at + 1;
    return *name ? LARIAT_OK : LARIAT_NO_MEMORY;
}

/* Nothing to iterate, as in "none|select", is an empty list. */
static lariat_status iterate_if_any(rendering *r, const value *v, value_list **out)
{
    return value_truth(v) ? value_iterate(r, v, out) : list_make(r, out);
}

/* by_attribute: the first argument is an attribute, whose value is tested. */
static lariat_status keep_items(rendering *r, const value *v, const call_arguments *given, bool by_attribute, bool wanted,
                                value *out)
{
    call_arguments rest = {0};
    value_list *l, *kept;
    const char *test = NULL;

    if (by_attribute && given->n == 0) {
        return jinja_fail("selectattr: an attribute is wanted");
    }
    if (given->n > (size_t)by_attribute) {
        TRY(name_and_rest(r, "select", given, by_attribute, &test, &rest));
    }
    TRY(iterate_if_any(r, v, &l));
    TRY(list_make(r, &kept));
    for (size_t i = 0; i < l->n; i++) {
        value tested = l->items[i];
        bool holds;
        TRY(rendering_work(r, 1));
        if (by_attribute) {
            TRY(get_path(r, &l->items[i], &given->positional[0], NULL, &tested));
        }
        holds = value_truth(&tested);
        if (test) {
            TRY(apply_test(r, test, &tested, &rest, &holds));
        }
        TRY(holds == wanted ? list_add(r, kept, l->items[i]) : LARIAT_OK);
    }
    *out = value_sequence(VALUE_GENERATOR, kept);
    return LARIAT_OK;
}

static lariat_status filter_select(rendering *r, const value *v, const call_arguments *given, value *out)
{
    return keep_items(r, v, given, false, true, out);
}

static lariat_status filter_reject(rendering *r, const value *v, const call_arguments *given, value *out)
{
    return keep_items(r, v, given, false, false, out);
}

static lariat_status filter_selectattr(rendering *r, const value *v, const call_arguments *given, value *out)
{
    return keep_items(r, v, given, true, true, out);
}

static lariat_status filter_rejectattr(rendering *r, const value *v, const call_arguments *given, value *out)
{
    return keep_items(r, v, given, true, false, out);
}

static lariat_status map_attribute(rendering *r, const value_list *l, const call_arguments *given, value_list *mapped)
{
    value a[2], one;

    TRY(arguments_bind(given, "map", "*attribute default", a));
    for (size_t i = 0; i < l->n; i++) {
        TRY(get_path(r, &l->items[i], &a[0], argument_is_given(&a[1]) && a[1].kind != VALUE_NONE ? &a[1] : NULL, &one));
        TRY(list_add(r, mapped, one));
    }
    return LARIAT_OK;
}

static lariat_status filter_map(rendering *r, const value *v, const call_arguments *given, value *out)
{
    value_list *l, *mapped;
    call_arguments rest;
    const char *name;
    value one;

    TRY(iterate_if_any(r, v, &l));
    TRY(list_make(r, &mapped));
    *out = value_sequence(VALUE_GENERATOR, mapped);
    if (given->n == 0) {
        return map_attribute(r, l, given, mapped);
    }
    TRY(name_and_rest(r, "map", given, 0, &name, &rest));
    for (size_t i = 0; i < l->n; i++) {
        TRY(apply_filter(r, name, &l->items[i], &rest, &one));
        TRY(list_add(r, mapped, one));
    }
    return LARIAT_OK;
}

static lariat_status filter_attr(rendering *r, const value *v, const call_arguments *given, value *out)
{
    value name;

    TRY(arguments_bind(given, "attr", "name", &name));
    if (name.kind != VALUE_TEXT) {
        return jinja_fail("attr: a name is wanted");
    }
    if (v->kind == VALUE_DICT && find_method(v, rendering_name(r, name.as.text.text, name.as.text.size)) == METHOD_NONE) {
        *out = value_undefined("attr does not look up items");
        return LARIAT_OK;
    }
    return get_attribute(r, v, name.as.text.text, name.as.text.size, out);
}

static const struct {
    const char *name;
    filter_fn apply;
} filters[] = {
    {"sort", filter_sort},
    {"dictsort", filter_dictsort},
    {"items", filter_items},
    {"list", filter_list},
    {"first", filter_first},
    {"last", filter_last},
    {"reverse", filter_reverse},
    {"join", filter_join},
    {"min", filter_min},
    {"max", filter_max},
    {"sum", filter_sum},
    {"unique", filter_unique},
    {"select", filter_select},
    {"reject", filter_reject},
    {"selectattr", filter_selectattr},
    {"map", filter_map},
    {"rejectattr", filter_rejectattr},
    {"attr", filter_attr},
};

bool sequence_filter_is_known(const char *name)
{
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++) {
        if (strcmp(name, filters[i].name) == 0) {
            return true;
        }
    }
    return false;
}

lariat_status apply_sequence_filter(rendering *r, const char *name, const value *v, const call_arguments *given, bool *known,
                                    value *out)
{
    *known = false;
    for (size_t i = 0; i < sizeof filters / sizeof *filters && !*known; i++) {
        if (strcmp(name, filters[i].name) == 0) {
            *known = true;
            return filters[i].apply(r, v, given, out);
        }
    }
    return LARIAT_OK;
}
