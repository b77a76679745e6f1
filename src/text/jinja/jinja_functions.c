/* Functions of the environment: range, dict, namespace, raise_exception, strftime_now.
   Rests on jinja_rendering.h. Read on in jinja_filters.c. */
#include "text/jinja/jinja_rendering.h"

#include <string.h>

enum { FUNCTION_RANGE, FUNCTION_DICT, FUNCTION_NAMESPACE, FUNCTION_RAISE, FUNCTION_NOW, FUNCTION_COUNT };
enum { MAX_RANGE = 100000 }; /* of jinja2's sandbox */
enum { MAX_FORM = 254, FORM_BYTES = 3 * MAX_FORM + 2 }; /* six digits for each %f */

lariat_status set_functions(rendering *r)
{
    static const char *const names[FUNCTION_COUNT] = {"range", "dict", "namespace", "raise_exception", "strftime_now"};

    for (int i = 0; i < FUNCTION_COUNT; i++) {
        const char *name = rendering_name(r, names[i], strlen(names[i]));
        value v = {.kind = VALUE_FUNCTION, .as.function = i};
        TRY(name ? scope_set(r, r->globals, name, v) : LARIAT_NO_MEMORY);
    }
    return LARIAT_OK;
}

static lariat_status make_range(rendering *r, const call_arguments *given, value *out)
{
    int64_t from = 0, to, step = 1;
    value_list *l;

    if (given->n < 1 || given->n > 3 || given->n_named) {
        return jinja_fail("range takes 1 to 3 numbers");
    }
    for (size_t i = 0; i < given->n; i++) {
        TRY(value_refuse_undefined(&given->positional[i]));
        if (given->positional[i].kind != VALUE_INT && given->positional[i].kind != VALUE_BOOL) {
            return jinja_fail("range: '%s' is no integer", value_type(&given->positional[i]));
        }
        if (value_integer(&given->positional[i]) > INT32_MAX || value_integer(&given->positional[i]) < -INT32_MAX) {
            return jinja_fail("range: a number of more than 32 bits");
        }
    }
    to = value_integer(&given->positional[given->n > 1]);
    from = given->n > 1 ? value_integer(&given->positional[0]) : 0;
    step = given->n > 2 ? value_integer(&given->positional[2]) : 1;
    if (step == 0) {
        return jinja_fail("range: a step of 0");
    }
    if ((step > 0 ? to - from : from - to) / (step > 0 ? step : -step) > MAX_RANGE) {
        return jinja_fail("range: more than %d numbers", MAX_RANGE);
    }
    TRY(list_make(r, &l));
    for (int64_t i = from; step > 0 ? i < to : i > to; i += step) {
        TRY(list_add(r, l, value_int(i, true)));
    }
    *out = value_sequence(VALUE_RANGE, l);
    return LARIAT_OK;
}

/* dict() and namespace(): from a dictionary and keyword arguments. */
static lariat_status make_dict(rendering *r, value_kind kind, const call_arguments *given, value *out)
{
    dict *d;

    TRY(dict_make(r, &d));
    if (given->n > 1 || (given->n == 1 && given->positional[0].kind != VALUE_DICT)) {
        return jinja_fail("%s takes a dictionary and keyword arguments", kind == VALUE_DICT ? "dict" : "namespace");
    }
    for (size_t i = 0; given->n && i < given->positional[0].as.dict->n; i++) {
        TRY(dict_set(r, d, given->positional[0].as.dict->keys[i], given->positional[0].as.dict->values[i]));
    }
    for (size_t i = 0; i < given->n_named; i++) {
        TRY(dict_set(r, d, value_text(given->keys[i]), given->named[i]));
    }
    *out = (value){.kind = kind, .as.dict = d};
    return LARIAT_OK;
}

static lariat_status raise(rendering *r, const call_arguments *given)
{
    jinja_text text;

    TRY(given->n == 1 ? value_str(r, &given->positional[0], &text) : jinja_fail("raise_exception takes one text"));
    return jinja_fail("the template refuses: %.*s", text.size < 400 ? (int)text.size : 400, text.text);
}

/* The form for the C library. Python itself writes %f, the microseconds; %z and %Z of a time without a zone are empty. */
static lariat_status plain_form(const value *asked, char form[FORM_BYTES])
{
    size_t n = 0;

    if (asked->kind != VALUE_TEXT || asked->as.text.size > MAX_FORM || memchr(asked->as.text.text, 0, asked->as.text.size)) {
        return jinja_fail("strftime_now takes one form of at most %d bytes without NUL", MAX_FORM);
    }
    for (size_t i = 0; i < asked->as.text.size; i++) {
        char c = asked->as.text.text[i], next = i + 1 < asked->as.text.size ? asked->as.text.text[i + 1] : 0;
        if (c != '%' || !next) {
            form[n++] = c;
            continue;
        }
        const char other[] = {'%', next, '\0'}, *written = next == 'f' ? "000000" : next == 'z' || next == 'Z' ? "" : other;
        while (*written) {
            form[n++] = *written++;
        }
        i++;
    }
    memcpy(form + n, ".", 2); /* so that no result is empty: 0 means that the buffer is too small */
    return LARIAT_OK;
}

/* In English whatever the locale. The template's where the whole form is. */
static lariat_status now(rendering *r, const call_arguments *given, value *out)
{
    char form[FORM_BYTES], text[1024];
    uint8_t origin = ORIGIN_TEMPLATE;
    maker m;

    TRY(given->n == 1 ? plain_form(given->positional, form) : jinja_fail("strftime_now takes one form"));
    jinja_text asked = given->positional[0].as.text;
    for (size_t i = 0; i < asked.size; i++) {
        origin = asked.origins[i] == ORIGIN_TEMPLATE ? origin : ORIGIN_FOREIGN;
    }
    size_t n = r->plain ? strftime_l(text, sizeof text, form, &r->now, r->plain) : strftime(text, sizeof text, form, &r->now);
    if (n == 0) {
        return jinja_fail("strftime_now: the text is longer than %zu bytes", sizeof text - 2);
    }
    maker_open(&m, r);
    TRY(maker_fill(&m, text, n - 1, origin));
    *out = value_text(maker_take(&m));
    return LARIAT_OK;
}

lariat_status call_function(rendering *r, int function, const call_arguments *given, value *out)
{
    switch (function) {
    case FUNCTION_RANGE:
        return make_range(r, given, out);
    case FUNCTION_DICT:
        return make_dict(r, VALUE_DICT, given, out);
    case FUNCTION_NAMESPACE:
        return make_dict(r, VALUE_NAMESPACE, given, out);
    case FUNCTION_RAISE:
        return raise(r, given);
    default:
        return now(r, given, out);
    }
}
