/* Operators: arithmetic, comparing, containing.
   Rests on jinja_value.c. Read on in jinja_filters.c. */
#include "text/jinja/jinja_rendering.h"

#include <math.h>
#include <string.h>

static lariat_status no_operator(const char *operator, const value * a, const value *b)
{
    TRY(value_refuse_undefined(a));
    TRY(value_refuse_undefined(b));
    return jinja_fail("unsupported operand types for %s: '%s' and '%s'", operator, value_type(a), value_type(b));
}

static lariat_status add_lists(rendering *r, const value *a, const value *b, value *out)
{
    value_list *l;

    TRY(list_make(r, &l));
    for (size_t i = 0; i < a->as.list->n; i++) {
        TRY(list_add(r, l, a->as.list->items[i]));
    }
    for (size_t i = 0; i < b->as.list->n; i++) {
        TRY(list_add(r, l, b->as.list->items[i]));
    }
    *out = value_sequence(a->kind, l);
    return LARIAT_OK;
}

/* Markup escapes a text that is added to it. */
static lariat_status add_texts(rendering *r, const value *a, const value *b, value *out)
{
    jinja_text left = a->as.text, right = b->as.text;
    maker m;

    if (a->safe != b->safe) {
        TRY(escape_text(r, a->safe ? right : left, a->safe ? &right : &left));
    }
    maker_open(&m, r);
    TRY(maker_add(&m, left));
    TRY(maker_add(&m, right));
    *out = value_text(maker_take(&m));
    out->safe = a->safe || b->safe;
    return LARIAT_OK;
}

/* times * a sequence */
static lariat_status repeat(rendering *r, const value *v, int64_t times, value *out)
{
    value_list *l;
    maker m;

    if (v->kind == VALUE_TEXT) {
        maker_open(&m, r);
        for (int64_t i = 0; i < times; i++) {
            TRY(rendering_work(r, 1));
            TRY(maker_add(&m, v->as.text));
        }
        *out = value_text(maker_take(&m));
        out->safe = v->safe;
        return LARIAT_OK;
    }
    TRY(list_make(r, &l));
    for (int64_t i = 0; i < times && v->as.list->n; i++) {
        for (size_t k = 0; k < v->as.list->n; k++) {
            TRY(list_add(r, l, v->as.list->items[k]));
        }
    }
    *out = value_sequence(v->kind, l);
    return LARIAT_OK;
}

static lariat_status divide(const char *operator, int64_t a, int64_t b, int64_t *out)
{
    if (b == 0) {
        return jinja_fail("division by zero");
    }
    if (b == -1) {
        bool overflow = __builtin_sub_overflow((int64_t)0, a, out);
        *out = *operator== '%' ? 0 : * out;
        return overflow && *operator!= '%' ? jinja_fail("a number of more than 64 bits") : LARIAT_OK;
    }
    int64_t quotient = a / b, rest = a % b;
    bool down = rest != 0 && (rest < 0) != (b < 0); /* Python rounds down */
    *out = *operator== '%' ? rest + (down ? b : 0) : quotient - down;
    return LARIAT_OK;
}

/* Python's // and %: the quotient rounded down from the exact one, and a rest of b's sign, of zeros too. */
static double floor_divide(double a, double b, double *rest)
{
    double left = fmod(a, b), quotient = (a - left) / b;

    if (left != 0 && (left < 0) != (b < 0)) {
        left += b;
        quotient -= 1;
    }
    *rest = left != 0 ? left : copysign(0, b);
    if (quotient == 0) {
        return copysign(0, a / b);
    }
    return floor(quotient) + (quotient - floor(quotient) > 0.5);
}

static lariat_status reals(const char *operator, double a, double b, bool own, value *out)
{
    double result, rest;

    if (strcmp(operator, "**") == 0) {
        if (a == 0 && b < 0) {
            return jinja_fail("0.0 cannot be raised to a negative power");
        }
        result = pow(a, b);
        if (isfinite(a) && isfinite(b) && !isfinite(result)) {
            return jinja_fail(isnan(result) ? "a power that is a complex number" : "the result of ** is out of range");
        }
    } else if (*operator== '+') {
        result = a + b;
    } else if (*operator== '-') {
        result = a - b;
    } else if (*operator== '*') {
        result = a * b;
    } else if (b == 0) {
        return jinja_fail("division by zero");
    } else if (strcmp(operator, "//") == 0) {
        result = floor_divide(a, b, &rest);
    } else if (*operator== '/') {
        result = a / b;
    } else {
        floor_divide(a, b, &result);
    }
    *out = value_float(result, own);
    return LARIAT_OK;
}

static lariat_status integers(const char *operator, int64_t a, int64_t b, bool own, value *out)
{
    int64_t result = 1;
    bool overflow = false;

    if (strcmp(operator, "**") == 0) {
        if (b < 0) {
            return reals(operator,(double) a, (double)b, own, out);
        }
        for (int64_t i = 0; i < b && i < 64 && !overflow; i++) {
            overflow = __builtin_mul_overflow(result, a, &result);
        }
        overflow = overflow || (b > 63 && a != 0 && a != 1 && a != -1);
        result = b > 63 && a == -1 ? (b % 2 ? -1 : 1) : result;
    } else if (*operator== '+') {
        overflow = __builtin_add_overflow(a, b, &result);
    } else if (*operator== '-') {
        overflow = __builtin_sub_overflow(a, b, &result);
    } else if (*operator== '*') {
        overflow = __builtin_mul_overflow(a, b, &result);
    } else {
        TRY(divide(operator, a, b, &result));
    }
    *out = value_int(result, own);
    return overflow ? jinja_fail("a number of more than 64 bits") : LARIAT_OK;
}

lariat_status binary(rendering *r, const char *operator, const value * a, const value *b, value *out)
{
    bool own = a->own && b->own;

    if (value_is_number(a) && value_is_number(b)) {
        bool real = a->kind == VALUE_FLOAT || b->kind == VALUE_FLOAT || strcmp(operator, "/") == 0;
        return real ? reals(operator, value_real(a), value_real(b), own, out)
                    : integers(operator, value_integer(a), value_integer(b), own, out);
    }
    if (strcmp(operator, "+") == 0 && a->kind == VALUE_TEXT && b->kind == VALUE_TEXT) {
        return add_texts(r, a, b, out);
    }
    if (strcmp(operator, "+") == 0 && a->kind == b->kind && (a->kind == VALUE_LIST || a->kind == VALUE_TUPLE)) {
        return add_lists(r, a, b, out);
    }
    if (strcmp(operator, "*") == 0) {
        const value *number = a->kind == VALUE_INT ? a : b, *other = number == a ? b : a;
        if (number->kind == VALUE_INT &&
            (other->kind == VALUE_TEXT || other->kind == VALUE_LIST || other->kind == VALUE_TUPLE)) {
            return repeat(r, other, number->as.integer, out);
        }
    }
    if (strcmp(operator, "%") == 0 && a->kind == VALUE_TEXT) {
        return format_percent(r, a, b, out);
    }
    return no_operator(operator, a, b);
}

lariat_status is_contained(rendering *r, const value *part, const value *whole, bool *out)
{
    value_list *l;

    *out = false;
    if (whole->kind == VALUE_TEXT) {
        if (part->kind != VALUE_TEXT) {
            return jinja_fail("'in <string>' requires string as left operand, not %s", value_type(part));
        }
        *out = jinja_text_find(whole->as.text, part->as.text, 0) >= 0;
        return rendering_work(r, whole->as.text.size / 64);
    }
    if (whole->kind == VALUE_DICT || whole->kind == VALUE_KEYS) {
        TRY(value_refuse_unhashable(r, part, 0));
    }
    if (whole->kind == VALUE_DICT) {
        value *found;
        TRY(dict_find(r, whole->as.dict, part, &found));
        *out = found != NULL;
        return LARIAT_OK;
    }
    if (whole->kind == VALUE_NONE || value_is_number(whole) || whole->kind > VALUE_DICT) {
        return jinja_fail("argument of type '%s' is not iterable", value_type(whole));
    }
    TRY(value_iterate(r, whole, &l));
    for (size_t i = 0; i < l->n && !*out; i++) {
        TRY(rendering_work(r, 1));
        TRY(value_equal(r, &l->items[i], part, out));
    }
    return LARIAT_OK;
}

lariat_status compare(rendering *r, const char *operator, const value * a, const value *b, bool *out)
{
    int order;

    if (strcmp(operator, "in") == 0 || strcmp(operator, "not in") == 0) {
        TRY(is_contained(r, a, b, out));
        *out = *out == (*operator== 'i');
        return LARIAT_OK;
    }
    if (strcmp(operator, "==") == 0 || strcmp(operator, "!=") == 0) {
        TRY(value_equal(r, a, b, out));
        *out = *out == (*operator== '=');
        return LARIAT_OK;
    }
    TRY(value_compare(r, a, b, &order));
    bool unordered = (a->kind == VALUE_FLOAT && isnan(a->as.real)) || (b->kind == VALUE_FLOAT && isnan(b->as.real));
    *out = !unordered && ((operator[1] == '=' && order == 0) || (*operator== '<' ? order < 0 : order> 0));
    return LARIAT_OK;
}
