/* Values: making them, comparing, iterating, and their texts as Python writes them.
   Rests on jinja_text.c. Read on in jinja_json.c. */
#include "text/jinja/jinja_rendering.h"

#include "text/utf8.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

value value_undefined(const char *why)
{
    return (value){.kind = VALUE_UNDEFINED, .as.why = why};
}

value value_none(void)
{
    return (value){.kind = VALUE_NONE, .own = true};
}

value value_bool(bool truth)
{
    return (value){.kind = VALUE_BOOL, .own = true, .as.truth = truth};
}

value value_int(int64_t integer, bool own)
{
    return (value){.kind = VALUE_INT, .own = own, .as.integer = integer};
}

value value_float(double real, bool own)
{
    return (value){.kind = VALUE_FLOAT, .own = own, .as.real = real};
}

value value_text(jinja_text text)
{
    return (value){.kind = VALUE_TEXT, .as.text = text};
}

value value_sequence(value_kind kind, value_list *list)
{
    return (value){.kind = kind, .as.list = list};
}

value value_dict(dict *d)
{
    return (value){.kind = VALUE_DICT, .as.dict = d};
}

lariat_status list_make(rendering *r, value_list **out)
{
    TAKE(r, *out, 1);
    return LARIAT_OK;
}

lariat_status list_add(rendering *r, value_list *l, value v)
{
    MAKE_ROOM(r, l->items, l->n, l->capacity);
    l->items[l->n++] = v;
    return rendering_work(r, 1);
}

lariat_status dict_make(rendering *r, dict **out)
{
    TAKE(r, *out, 1);
    return LARIAT_OK;
}

lariat_status dict_find(rendering *r, const dict *d, const value *key, value **out)
{
    *out = NULL;
    TRY(rendering_work(r, d->n / 8 + 1));
    for (size_t i = 0; i < d->n; i++) {
        bool same;
        TRY(value_equal(r, &d->keys[i], key, &same));
        if (same) {
            *out = &d->values[i];
            return LARIAT_OK;
        }
    }
    return LARIAT_OK;
}

value *dict_find_words(const dict *d, const char *key)
{
    for (size_t i = 0; i < d->n; i++) {
        if (d->keys[i].kind == VALUE_TEXT && jinja_text_is(d->keys[i].as.text, key)) {
            return &d->values[i];
        }
    }
    return NULL;
}

lariat_status value_refuse_unhashable(rendering *r, const value *v, int depth)
{
    if (v->kind == VALUE_LIST || v->kind == VALUE_DICT || v->kind == VALUE_ITEMS || v->kind == VALUE_KEYS) {
        return jinja_fail("unhashable type: '%s'", value_type(v));
    }
    if (depth > MAX_JINJA_VALUES) {
        return jinja_fail("values are nested too deeply");
    }
    for (size_t i = 0; v->kind == VALUE_TUPLE && i < v->as.list->n; i++) {
        TRY(rendering_work(r, 1));
        TRY(value_refuse_unhashable(r, &v->as.list->items[i], depth + 1));
    }
    return LARIAT_OK;
}

lariat_status dict_set(rendering *r, dict *d, value key, value v)
{
    value *old;

    TRY(value_refuse_unhashable(r, &key, 0));
    TRY(dict_find(r, d, &key, &old));
    if (old) {
        *old = v;
        return LARIAT_OK;
    }
    size_t capacity = d->capacity;
    MAKE_ROOM(r, d->keys, d->n, capacity);
    MAKE_ROOM(r, d->values, d->n, d->capacity);
    d->keys[d->n] = key;
    d->values[d->n++] = v;
    return LARIAT_OK;
}

/* --- asking --- */

bool value_is_sequence(const value *v)
{
    return v->kind >= VALUE_LIST && v->kind <= VALUE_ITEMS;
}

bool value_is_number(const value *v)
{
    return v->kind == VALUE_BOOL || v->kind == VALUE_INT || v->kind == VALUE_FLOAT;
}

bool value_truth(const value *v)
{
    switch (v->kind) {
    case VALUE_UNDEFINED:
    case VALUE_NONE:
        return false;
    case VALUE_BOOL:
        return v->as.truth;
    case VALUE_INT:
        return v->as.integer != 0;
    case VALUE_FLOAT:
        return v->as.real != 0;
    case VALUE_TEXT:
        return v->as.text.size > 0;
    case VALUE_LIST:
    case VALUE_TUPLE:
    case VALUE_RANGE:
    case VALUE_KEYS:
    case VALUE_VALUES:
    case VALUE_ITEMS:
        return v->as.list->n > 0;
    case VALUE_DICT:
        return v->as.dict->n > 0;
    default:
        return true;
    }
}

int64_t value_integer(const value *v)
{
    return v->kind == VALUE_BOOL ? v->as.truth : v->as.integer;
}

double value_real(const value *v)
{
    return v->kind == VALUE_FLOAT ? v->as.real : (double)value_integer(v);
}

const char *value_type(const value *v)
{
    static const char *const names[] = {
        [VALUE_UNDEFINED] = "Undefined", [VALUE_NONE] = "NoneType",
        [VALUE_BOOL] = "bool",           [VALUE_INT] = "int",
        [VALUE_FLOAT] = "float",         [VALUE_TEXT] = "str",
        [VALUE_LIST] = "list",           [VALUE_TUPLE] = "tuple",
        [VALUE_GENERATOR] = "generator", [VALUE_RANGE] = "range",
        [VALUE_KEYS] = "dict_keys",      [VALUE_VALUES] = "dict_values",
        [VALUE_ITEMS] = "dict_items",    [VALUE_DICT] = "dict",
        [VALUE_NAMESPACE] = "Namespace", [VALUE_LOOP] = "LoopContext",
        [VALUE_MACRO] = "Macro",         [VALUE_METHOD] = "builtin_function_or_method",
        [VALUE_FUNCTION] = "function",
    };

    return v->kind == VALUE_TEXT && v->safe ? "Markup" : names[v->kind];
}

lariat_status value_refuse_undefined(const value *v)
{
    return v->kind == VALUE_UNDEFINED ? jinja_fail("%s", v->as.why ? v->as.why : "an undefined value") : LARIAT_OK;
}

static lariat_status lists_equal(rendering *r, const value_list *a, const value_list *b, bool *out)
{
    *out = a->n == b->n;
    for (size_t i = 0; i < a->n && *out; i++) {
        TRY(rendering_work(r, 1));
        TRY(value_equal(r, &a->items[i], &b->items[i], out));
    }
    return LARIAT_OK;
}

static lariat_status dicts_equal(rendering *r, const dict *a, const dict *b, bool *out)
{
    *out = a->n == b->n;
    for (size_t i = 0; i < a->n && *out; i++) {
        value *other;
        TRY(dict_find(r, b, &a->keys[i], &other));
        *out = other != NULL;
        if (other) {
            TRY(value_equal(r, &a->values[i], other, out));
        }
    }
    return LARIAT_OK;
}

static lariat_status same_kind_equal(rendering *r, const value *a, const value *b, bool *out)
{
    *out = true;
    switch (a->kind) {
    case VALUE_UNDEFINED:
    case VALUE_NONE:
        return LARIAT_OK;
    case VALUE_TEXT:
        *out = a->as.text.size == b->as.text.size && memcmp(a->as.text.text, b->as.text.text, a->as.text.size) == 0;
        return rendering_work(r, a->as.text.size / 64);
    case VALUE_LIST:
    case VALUE_TUPLE:
    case VALUE_RANGE:
        return lists_equal(r, a->as.list, b->as.list, out);
    case VALUE_DICT:
        return dicts_equal(r, a->as.dict, b->as.dict, out);
    case VALUE_FUNCTION:
        *out = a->as.function == b->as.function;
        return LARIAT_OK;
    case VALUE_METHOD:
        *out = a->as.method->name == b->as.method->name;
        return LARIAT_OK;
    default:
        *out = a->as.list == b->as.list; /* one object */
        return LARIAT_OK;
    }
}

lariat_status value_equal(rendering *r, const value *a, const value *b, bool *out)
{
    *out = false;
    if (value_is_number(a) && value_is_number(b)) {
        *out = a->kind == VALUE_FLOAT || b->kind == VALUE_FLOAT ? value_real(a) == value_real(b)
                                                                : value_integer(a) == value_integer(b);
        return LARIAT_OK;
    }
    if (a->kind != b->kind) {
        return LARIAT_OK;
    }
    TRY(rendering_work(r, 1));
    lariat_status status =
        ++r->depth > MAX_JINJA_DEPTH ? jinja_fail("values are nested too deeply") : same_kind_equal(r, a, b, out);
    r->depth--;
    return status;
}

static lariat_status lists_compare(rendering *r, const value_list *a, const value_list *b, int *out)
{
    for (size_t i = 0; i < a->n && i < b->n; i++) {
        bool same;
        TRY(rendering_work(r, 1));
        TRY(value_equal(r, &a->items[i], &b->items[i], &same));
        if (!same) {
            return value_compare(r, &a->items[i], &b->items[i], out);
        }
    }
    *out = a->n < b->n ? -1 : a->n > b->n;
    return LARIAT_OK;
}

lariat_status value_compare(rendering *r, const value *a, const value *b, int *out)
{
    TRY(value_refuse_undefined(a));
    TRY(value_refuse_undefined(b));
    TRY(rendering_work(r, 1));
    if (value_is_number(a) && value_is_number(b)) {
        double x = value_real(a), y = value_real(b);
        *out = x < y ? -1 : x > y;
        if (a->kind != VALUE_FLOAT && b->kind != VALUE_FLOAT) {
            *out = value_integer(a) < value_integer(b) ? -1 : value_integer(a) > value_integer(b);
        }
        return LARIAT_OK;
    }
    if (a->kind == VALUE_TEXT && b->kind == VALUE_TEXT) {
        size_t n = a->as.text.size < b->as.text.size ? a->as.text.size : b->as.text.size;
        int order = memcmp(a->as.text.text, b->as.text.text, n);
        *out = order ? (order < 0 ? -1 : 1) : a->as.text.size < b->as.text.size ? -1 : a->as.text.size > b->as.text.size;
        return rendering_work(r, n / 64);
    }
    if (a->kind == b->kind && (a->kind == VALUE_LIST || a->kind == VALUE_TUPLE)) {
        lariat_status status = ++r->depth > MAX_JINJA_DEPTH ? jinja_fail("values are nested too deeply")
                                                            : lists_compare(r, a->as.list, b->as.list, out);
        r->depth--;
        return status;
    }
    return jinja_fail("'%s' and '%s' have no order", value_type(a), value_type(b));
}

static lariat_status iterate_text(rendering *r, jinja_text text, value_list *out)
{
    for (size_t i = 0; i < text.size;) {
        size_t n = (size_t)utf8_length(text.text + i);
        TRY(list_add(r, out, value_text(jinja_text_part(text, i, i + n))));
        i += n;
    }
    return LARIAT_OK;
}

lariat_status value_iterate(rendering *r, const value *v, value_list **out)
{
    if (v->kind == VALUE_GENERATOR) { /* once */
        TRY(list_make(r, out));
        **out = *v->as.list;
        *v->as.list = (value_list){0};
        return LARIAT_OK;
    }
    if (value_is_sequence(v)) {
        *out = v->as.list;
        return LARIAT_OK;
    }
    TRY(list_make(r, out));
    switch (v->kind) {
    case VALUE_UNDEFINED:
        return LARIAT_OK;
    case VALUE_TEXT:
        return iterate_text(r, v->as.text, *out);
    case VALUE_DICT:
        **out = (value_list){v->as.dict->keys, v->as.dict->n, v->as.dict->n};
        return LARIAT_OK;
    default:
        return jinja_fail("'%s' object is not iterable", value_type(v));
    }
}

/* --- texts --- */

/* The shortest decimal that reads back as the same number, in Python's form. */
void float_text(double real, char out[32])
{
    char digits[32];
    int precision = 1, exponent;

    if (isnan(real) || isinf(real)) {
        snprintf(out, 32, "%s", isnan(real) ? "nan" : real < 0 ? "-inf" : "inf");
        return;
    }
    do {
        snprintf(digits, sizeof digits, "%.*e", precision - 1, real);
    } while (strtod(digits, NULL) != real && ++precision <= 17);
    exponent = atoi(strchr(digits, 'e') + 1);
    if (exponent < -4 || exponent >= 16) {
        char *letter = strchr(digits, 'e');
        snprintf(out, 32, "%.*se%c%02d", (int)(letter - digits), digits, exponent < 0 ? '-' : '+', abs(exponent));
        return;
    }
    int after = precision - 1 - exponent;
    snprintf(out, 32, "%.*f", after > 1 ? after : 1, real);
}

void number_text(const value *v, char out[32])
{
    switch (v->kind) {
    case VALUE_BOOL:
        snprintf(out, 32, "%s", v->as.truth ? "True" : "False");
        break;
    case VALUE_INT:
        snprintf(out, 32, "%lld", (long long)v->as.integer);
        break;
    case VALUE_FLOAT:
        float_text(v->as.real, out);
        break;
    default:
        snprintf(out, 32, "None");
    }
}

static lariat_status repr_character(maker *m, int32_t code, jinja_text character, char quote)
{
    char text[16];
    const char *escape = code == '\n' ? "\\n" : code == '\r' ? "\\r" : code == '\t' ? "\\t" : code == '\\' ? "\\\\" : NULL;

    if (escape) {
        return maker_words(m, escape, *character.origins);
    }
    if (code == quote) {
        TRY(maker_words(m, "\\", *character.origins));
    }
    if (is_python_printable(code)) {
        return maker_add(m, character);
    }
    snprintf(text, sizeof text, code < 0x100 ? "\\x%02x" : code < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)code);
    return maker_words(m, text, *character.origins);
}

static lariat_status repr_text(maker *m, jinja_text text)
{
    const char *quote = memchr(text.text, '\'', text.size) && !memchr(text.text, '"', text.size) ? "\"" : "'";
    int length;

    TRY(maker_words(m, quote, ORIGIN_FOREIGN));
    for (size_t i = 0; i < text.size; i += (size_t)length) {
        int32_t code = utf8_decode(text.text + i, text.size - i, &length);
        TRY(repr_character(m, code, jinja_text_part(text, i, i + (size_t)length), *quote));
    }
    return maker_words(m, quote, ORIGIN_FOREIGN);
}

static lariat_status repr_list(maker *m, const value *v, int depth)
{
    bool tuple = v->kind == VALUE_TUPLE, view = v->kind >= VALUE_KEYS;
    const value_list *l = v->as.list;

    TRY(maker_words(m, view ? value_type(v) : "", ORIGIN_FOREIGN));
    TRY(maker_words(m, view ? "([" : tuple ? "(" : "[", ORIGIN_FOREIGN));
    for (size_t i = 0; i < l->n; i++) {
        TRY(maker_words(m, i ? ", " : "", ORIGIN_FOREIGN));
        TRY(value_repr(m, &l->items[i], depth + 1));
    }
    return maker_words(m, view ? "])" : !tuple ? "]" : l->n == 1 ? ",)" : ")", ORIGIN_FOREIGN);
}

static lariat_status repr_dict(maker *m, const dict *d, int depth)
{
    TRY(maker_words(m, "{", ORIGIN_FOREIGN));
    for (size_t i = 0; i < d->n; i++) {
        TRY(maker_words(m, i ? ", " : "", ORIGIN_FOREIGN));
        TRY(value_repr(m, &d->keys[i], depth + 1));
        TRY(maker_words(m, ": ", ORIGIN_FOREIGN));
        TRY(value_repr(m, &d->values[i], depth + 1));
    }
    return maker_words(m, "}", ORIGIN_FOREIGN);
}

lariat_status value_repr(maker *m, const value *v, int depth)
{
    char text[32];

    if (depth > MAX_JINJA_VALUES) {
        return jinja_fail("values are nested too deeply");
    }
    TRY(rendering_work(m->r, 1));
    switch (v->kind) {
    case VALUE_UNDEFINED:
        return maker_words(m, "Undefined", ORIGIN_FOREIGN);
    case VALUE_NONE:
    case VALUE_BOOL:
    case VALUE_INT:
    case VALUE_FLOAT:
        number_text(v, text);
        return maker_words(m, text, v->own ? ORIGIN_TEMPLATE : ORIGIN_FOREIGN);
    case VALUE_TEXT:
        TRY(maker_words(m, v->safe ? "Markup(" : "", ORIGIN_FOREIGN));
        TRY(repr_text(m, v->as.text));
        return maker_words(m, v->safe ? ")" : "", ORIGIN_FOREIGN);
    case VALUE_LIST:
    case VALUE_TUPLE:
    case VALUE_KEYS:
    case VALUE_VALUES:
    case VALUE_ITEMS:
        return repr_list(m, v, depth);
    case VALUE_DICT:
        return repr_dict(m, v->as.dict, depth);
    case VALUE_RANGE:
        return jinja_fail("the text of a range is not supported, that of range()|list is");
    default:
        return jinja_fail("a %s has no text: its text in Python is an address", value_type(v));
    }
}

lariat_status value_str(rendering *r, const value *v, jinja_text *out)
{
    maker m;

    if (v->kind == VALUE_TEXT) {
        *out = v->as.text;
        return LARIAT_OK;
    }
    maker_open(&m, r);
    if (v->kind != VALUE_UNDEFINED) {
        TRY(value_repr(&m, v, 0));
    }
    *out = maker_take(&m);
    return LARIAT_OK;
}
