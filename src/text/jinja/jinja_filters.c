/* Filters of texts and single values. A filter of jinja2 that is not here is refused by name.
   Rests on jinja_methods.c and jinja_json.c. Read on in jinja_sequences.c. */
#include "text/jinja/jinja_rendering.h"

#include "text/utf8.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef lariat_status (*filter_fn)(rendering *r, const value *v, const call_arguments *given, value *out);

static lariat_status as_text(rendering *r, const value *v, value *out)
{
    jinja_text text;

    TRY(value_str(r, v, &text));
    *out = value_text(text);
    out->safe = v->kind == VALUE_TEXT && v->safe;
    return LARIAT_OK;
}

/* A method of the value's text. */
static lariat_status by_method(rendering *r, const char *name, const value *v, const call_arguments *given, value *out)
{
    method m = {.name = name};

    TRY(as_text(r, v, &m.self));
    return call_method(r, &m, given, out);
}

static lariat_status filter_trim(rendering *r, const value *v, const call_arguments *given, value *out)
{
    value set;

    TRY(arguments_bind(given, "trim", "chars", &set));
    return by_method(r, "strip", v, &(call_arguments){.positional = &set, .n = argument_is_given(&set)}, out);
}

static lariat_status filter_upper(rendering *r, const value *v, const call_arguments *given, value *out)
{
    return by_method(r, "upper", v, given, out);
}

static lariat_status filter_lower(rendering *r, const value *v, const call_arguments *given, value *out)
{
    return by_method(r, "lower", v, given, out);
}

static lariat_status filter_capitalize(rendering *r, const value *v, const call_arguments *given, value *out)
{
    return by_method(r, "capitalize", v, given, out);
}

static lariat_status filter_center(rendering *r, const value *v, const call_arguments *given, value *out)
{
    value width;

    TRY(arguments_bind(given, "center", "width", &width));
    width = argument_is_given(&width) ? width : value_int(80, true);
    return by_method(r, "center", v, &(call_arguments){.positional = &width, .n = 1}, out);
}

/* Words begin behind white space, -, and opening brackets. */
static lariat_status filter_title(rendering *r, const value *v, const call_arguments *given, value *out)
{
    value text;
    bool begins = true;
    maker m;
    int length;

    TRY(arguments_bind(given, "title", "", NULL));
    TRY(as_text(r, v, &text));
    maker_open(&m, r);
    for (size_t i = 0; i < text.as.text.size; i += (size_t)length) {
        int32_t code = utf8_decode(text.as.text.text + i, text.as.text.size - i, &length);
        jinja_text changed;
        TRY(jinja_text_change_case(r, jinja_text_part(text.as.text, i, i + (size_t)length), begins, &changed));
        TRY(maker_add(&m, changed));
        begins = is_python_space(code) || (code < 0x80 && code && strchr("-({[<", code));
    }
    *out = value_text(maker_take(&m));
    return LARIAT_OK;
}

static lariat_status filter_string(rendering *r, const value *v, const call_arguments *given, value *out)
{
    TRY(arguments_bind(given, "string", "", NULL));
    return as_text(r, v, out);
}

static lariat_status filter_safe(rendering *r, const value *v, const call_arguments *given, value *out)
{
    TRY(filter_string(r, v, given, out));
    out->safe = true;
    return LARIAT_OK;
}

static lariat_status filter_escape(rendering *r, const value *v, const call_arguments *given, value *out)
{
    TRY(filter_string(r, v, given, out));
    if (!out->safe) {
        TRY(escape_text(r, out->as.text, &out->as.text));
    }
    out->safe = true;
    return LARIAT_OK;
}

static lariat_status filter_replace(rendering *r, const value *v, const call_arguments *given, value *out)
{
    value text, a[3], old, fresh;

    TRY(arguments_bind(given, "replace", "old new count", a));
    if (!argument_is_given(&a[0]) || !argument_is_given(&a[1])) {
        return jinja_fail("replace: the old and the new text are wanted");
    }
    TRY(as_text(r, v, &text));
    TRY(as_text(r, &a[0], &old));
    TRY(as_text(r, &a[1], &fresh));
    *out = text;
    out->safe = false;
    return replace_text(r, text.as.text, old.as.text, fresh.as.text, a[2].kind == VALUE_INT ? a[2].as.integer : -1,
                        &out->as.text);
}

static lariat_status filter_default(rendering *r, const value *v, const call_arguments *given, value *out)
{
    value a[2];

    TRY(arguments_bind(given, "default", "default_value boolean", a));
    *out = *v;
    if (v->kind == VALUE_UNDEFINED || (value_truth(&a[1]) && !value_truth(v))) {
        *out = a[0];
        if (!argument_is_given(&a[0])) {
            jinja_text none;
            TRY(jinja_text_from(r, "", 0, ORIGIN_TEMPLATE, &none));
            *out = value_text(none);
        }
    }
    return LARIAT_OK;
}

static lariat_status filter_length(rendering *r, const value *v, const call_arguments *given, value *out)
{
    size_t n;

    TRY(arguments_bind(given, "length", "", NULL));
    if (v->kind == VALUE_TEXT) {
        n = characters(v->as.text);
    } else if (v->kind == VALUE_DICT) {
        n = v->as.dict->n;
    } else if (value_is_sequence(v) && v->kind != VALUE_GENERATOR) {
        n = v->as.list->n;
    } else if (v->kind == VALUE_UNDEFINED) {
        n = 0;
    } else {
        return jinja_fail("object of type '%s' has no len()", value_type(v));
    }
    *out = value_int((int64_t)n, true);
    return rendering_work(r, v->kind == VALUE_TEXT ? n / 64 : 0);
}

/* Digits may be grouped by single underscores, as in Python's source; they are removed. */
static void join_digits(char *text, int base)
{
    size_t n = 0;

    for (size_t i = 0; text[i]; i++) {
        int before = i ? (unsigned char)text[i - 1] : 0, behind = (unsigned char)text[i + 1];
        bool within = base == 16 ? (isxdigit(before) || tolower(before) == 'x') && isxdigit(behind)
                                 : isdigit(before) && isdigit(behind);
        if (text[i] != '_' || !within) {
            text[n++] = text[i];
        }
    }
    text[n] = '\0';
}

/* A copy for the C library, with the decimal digits of all scripts in ASCII. *out: NULL where Python reads no number either. */
static lariat_status number_letters(rendering *r, jinja_text text, int base, char **out)
{
    char *copy, *word;
    size_t n = 0;
    int length;

    *out = NULL;
    text = jinja_text_strip(text, NULL, true, true);
    TAKE(r, copy, text.size + 1);
    for (size_t i = 0; i < text.size; i += (size_t)length) {
        int32_t code = utf8_decode(text.text + i, text.size - i, &length);
        int digit = decimal_digit(code);
        if ((digit < 0 && code >= 0x80) || code == 0) {
            return LARIAT_OK;
        }
        copy[n++] = (char)(digit < 0 ? code : '0' + digit);
    }
    word = copy + (*copy == '+' || *copy == '-');
    if (n && (strspn(copy, "+-0123456789abcdefABCDEF.xX_") == n || strcasecmp(word, "inf") == 0 ||
              strcasecmp(word, "infinity") == 0 || strcasecmp(word, "nan") == 0)) {
        join_digits(copy, base);
        *out = copy;
    }
    return LARIAT_OK;
}

static lariat_status whole_number(double d, bool own, value *out)
{
    if (isfinite(d) && !(d > -9e18 && d < 9e18)) {
        return jinja_fail("int: a number of more than 64 bits");
    }
    *out = isfinite(d) ? value_int((int64_t)d, own) : *out;
    return LARIAT_OK;
}

/* *out, which is the default, becomes the number where the value is or has one. */
static lariat_status to_number(rendering *r, const value *v, bool real, int base, value *out)
{
    char *text = NULL, *end;

    TRY(value_refuse_undefined(v));
    TRY(rendering_work(r, v->kind == VALUE_TEXT ? v->as.text.size / 8 + 1 : 1));
    if (value_is_number(v)) {
        if (!real && v->kind == VALUE_FLOAT) {
            return isinf(v->as.real) ? jinja_fail("int: cannot convert float infinity to integer")
                                     : whole_number(v->as.real, v->own, out);
        }
        *out = real ? value_float(value_real(v), v->own) : value_int(value_integer(v), v->own);
        return LARIAT_OK;
    }
    TRY(v->kind == VALUE_TEXT ? number_letters(r, v->as.text, base, &text) : LARIAT_OK);
    if (!text) {
        return LARIAT_OK;
    }
    errno = 0;
    long long integer = strtoll(text, &end, base);
    if (!real && !*end) {
        *out = value_int(integer, false);
        return errno ? jinja_fail("int: a number of more than 64 bits") : LARIAT_OK;
    }
    double d = strtod(text, &end);
    if (*end || strpbrk(text, "xX")) {
        return LARIAT_OK;
    }
    *out = real ? value_float(d, false) : *out;
    return real ? LARIAT_OK : whole_number(d, false, out);
}

static lariat_status filter_int(rendering *r, const value *v, const call_arguments *given, value *out)
{
    value a[2];

    TRY(arguments_bind(given, "int", "default base", a));
    *out = argument_is_given(&a[0]) ? a[0] : value_int(0, true);
    value base = argument_is_given(&a[1]) ? a[1] : value_int(10, true);
    if (base.kind != VALUE_INT || (base.as.integer != 10 && base.as.integer != 16)) {
        return jinja_fail("int: bases other than 10 and 16 are not supported");
    }
    return to_number(r, v, false, (int)base.as.integer, out);
}

static lariat_status filter_float(rendering *r, const value *v, const call_arguments *given, value *out)
{
    value a;

    TRY(arguments_bind(given, "float", "default", &a));
    *out = argument_is_given(&a) ? a : value_float(0, true);
    return to_number(r, v, true, 10, out);
}

static lariat_status filter_abs(rendering *r, const value *v, const call_arguments *given, value *out)
{
    value zero = value_int(0, true);

    TRY(arguments_bind(given, "abs", "", NULL));
    TRY(value_refuse_undefined(v));
    if (!value_is_number(v)) {
        return jinja_fail("abs: a number is wanted, not %s", value_type(v));
    }
    if (v->kind == VALUE_FLOAT) {
        *out = value_float(fabs(v->as.real), v->own);
        return LARIAT_OK;
    }
    *out = value_int(value_integer(v), v->own);
    return value_integer(v) < 0 ? binary(r, "-", &zero, v, out) : LARIAT_OK;
}

/* The decimal nearest to a number, a tie to the even digit. */
static double nearest_decimal(double real, int64_t precision)
{
    char text[768];

    if (!isfinite(real) || precision > 323) { /* no number has so many decimals */
        return real;
    }
    snprintf(text, sizeof text, "%.*f", (int)precision, real);
    return strtod(text, NULL);
}

static lariat_status filter_round(rendering *r, const value *v, const call_arguments *given, value *out)
{
    value a[2];

    TRY(arguments_bind(given, "round", "precision method", a));
    TRY(value_refuse_undefined(v));
    int64_t precision = a[0].kind == VALUE_INT ? a[0].as.integer : 0;
    bool up = a[1].kind == VALUE_TEXT && jinja_text_is(a[1].as.text, "ceil");
    bool down = a[1].kind == VALUE_TEXT && jinja_text_is(a[1].as.text, "floor");
    if (!value_is_number(v) || (argument_is_given(&a[0]) && a[0].kind != VALUE_INT)) {
        return jinja_fail("round: numbers are wanted");
    }
    if (precision < 0) {
        return jinja_fail("round: a negative precision is not supported");
    }
    if (argument_is_given(&a[1]) && !up && !down && !(a[1].kind == VALUE_TEXT && jinja_text_is(a[1].as.text, "common"))) {
        return jinja_fail("round: method must be common, ceil or floor");
    }
    if (up || down) {
        double scale = pow(10, (double)precision), scaled = value_real(v) * scale;
        if (!isfinite(scaled)) {
            return jinja_fail("round: the number is too large");
        }
        *out = value_float((up ? ceil(scaled) : floor(scaled)) / scale + 0.0, v->own); /* of a whole number, so not -0.0 */
    } else {
        *out = v->kind == VALUE_FLOAT ? value_float(nearest_decimal(v->as.real, precision), v->own)
                                      : value_int(value_integer(v), v->own);
    }
    return rendering_work(r, 1);
}

static lariat_status filter_indent(rendering *r, const value *v, const call_arguments *given, value *out)
{
    value text, a[3], lines;
    jinja_text by, newline;
    maker m;

    TRY(arguments_bind(given, "indent", "width first blank", a));
    TRY(as_text(r, v, &text));
    int64_t width = a[0].kind == VALUE_INT ? a[0].as.integer : 4;
    if (width < 0 || width > 64 || v->kind != VALUE_TEXT) {
        return jinja_fail("indent: a text, and a width in 0 to 64, are wanted");
    }
    TRY(jinja_text_from(r, "                                                                ", (size_t)width, ORIGIN_TEMPLATE,
                        &by));
    by = a[0].kind == VALUE_TEXT ? a[0].as.text : by;
    TRY(jinja_text_from(r, "\n", 1, ORIGIN_FOREIGN, &newline));
    maker_open(&m, r);
    TRY(maker_add(&m, text.as.text)); /* jinja2 adds a newline, which keeps an empty last line */
    TRY(maker_add(&m, newline));
    TRY(split_lines(r, maker_take(&m), false, &lines));
    maker_open(&m, r);
    for (size_t i = 0; i < lines.as.list->n; i++) {
        jinja_text line = lines.as.list->items[i].as.text;
        bool wanted = i == 0 ? value_truth(&a[1]) : line.size > 0 || value_truth(&a[2]);
        TRY(i ? maker_add(&m, newline) : LARIAT_OK);
        TRY(wanted ? maker_add(&m, by) : LARIAT_OK);
        TRY(maker_add(&m, line));
    }
    *out = value_text(maker_take(&m));
    out->safe = text.safe;
    return LARIAT_OK;
}

static lariat_status filter_format(rendering *r, const value *v, const call_arguments *given, value *out)
{
    value text, values;
    value_list *l;

    TRY(as_text(r, v, &text));
    if (given->n_named) {
        return jinja_fail("format with names is not supported");
    }
    TRY(list_make(r, &l));
    for (size_t i = 0; i < given->n; i++) {
        TRY(list_add(r, l, given->positional[i]));
    }
    values = value_sequence(VALUE_TUPLE, l);
    return format_percent(r, &text, &values, out);
}

/* Words of letters, digits and underscores. */
static lariat_status filter_wordcount(rendering *r, const value *v, const call_arguments *given, value *out)
{
    bool within = false;
    int64_t words = 0;
    value text;
    int length;

    TRY(arguments_bind(given, "wordcount", "", NULL));
    TRY(as_text(r, v, &text));
    TRY(rendering_work(r, text.as.text.size / 16));
    for (size_t i = 0; i < text.as.text.size; i += (size_t)length) {
        int32_t code = utf8_decode(text.as.text.text + i, text.as.text.size - i, &length);
        bool word = code == '_' || is_python_letter(code) || python_number_kind(code) != NUMBER_NONE;
        words += word && !within;
        within = word;
    }
    *out = value_int(words, true);
    return LARIAT_OK;
}

/* --- tojson --- */

static lariat_status terminated(rendering *r, const value *v, const char **out)
{
    char *copy;

    TAKE(r, copy, v->as.text.size + 1);
    memcpy(copy, v->as.text.text, v->as.text.size);
    *out = copy;
    return LARIAT_OK;
}

static lariat_status json_form_of(rendering *r, const value a[4], json_form *form)
{
    *form = (json_form){.item = ", ", .pair = ": ", .ascii = value_truth(&a[0]), .sorted = value_truth(&a[3])};
    if (a[1].kind == VALUE_INT) {
        static const char spaces[] = "                                                                ";
        if (a[1].as.integer > 64) {
            return jinja_fail("tojson: an indent in 0 to 64 is wanted");
        }
        form->indent = a[1].as.integer < 0 ? "" : spaces + sizeof spaces - 1 - a[1].as.integer;
    } else if (a[1].kind == VALUE_TEXT) {
        TRY(terminated(r, &a[1], &form->indent));
    }
    form->item = form->indent ? "," : form->item;
    if (value_is_sequence(&a[2])) {
        const value_list *l = a[2].as.list;
        if (l->n != 2 || l->items[0].kind != VALUE_TEXT || l->items[1].kind != VALUE_TEXT) {
            return jinja_fail("tojson: separators are two texts");
        }
        TRY(terminated(r, &l->items[0], &form->item));
        TRY(terminated(r, &l->items[1], &form->pair));
    }
    return LARIAT_OK;
}

static lariat_status filter_tojson(rendering *r, const value *v, const call_arguments *given, value *out)
{
    value a[4];
    json_form form;
    maker m;

    TRY(arguments_bind(given, "tojson", "ensure_ascii indent separators sort_keys", a));
    TRY(json_form_of(r, a, &form));
    maker_open(&m, r);
    TRY(value_to_json(&m, v, &form, 0));
    *out = value_text(maker_take(&m));
    return LARIAT_OK;
}

/* --- by name --- */

static const struct {
    const char *name;
    filter_fn apply;
} filters[] = {
    {"trim", filter_trim},
    {"upper", filter_upper},
    {"lower", filter_lower},
    {"title", filter_title},
    {"capitalize", filter_capitalize},
    {"string", filter_string},
    {"safe", filter_safe},
    {"escape", filter_escape},
    {"e", filter_escape},
    {"replace", filter_replace},
    {"default", filter_default},
    {"d", filter_default},
    {"length", filter_length},
    {"count", filter_length},
    {"int", filter_int},
    {"float", filter_float},
    {"abs", filter_abs},
    {"center", filter_center},
    {"round", filter_round},
    {"indent", filter_indent},
    {"format", filter_format},
    {"wordcount", filter_wordcount},
    {"tojson", filter_tojson},
};

static filter_fn find_filter(const char *name)
{
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++) {
        if (strcmp(name, filters[i].name) == 0) {
            return filters[i].apply;
        }
    }
    return NULL;
}

bool filter_is_known(const char *name)
{
    return find_filter(name) || sequence_filter_is_known(name);
}

lariat_status apply_filter(rendering *r, const char *name, const value *v, const call_arguments *given, value *out)
{
    filter_fn apply = find_filter(name);
    bool known = true;

    TRY(rendering_work(r, 1));
    if (++r->depth > MAX_JINJA_DEPTH) { /* map applies a filter, which may be map */
        return jinja_fail("more than %d filters within filters", MAX_JINJA_DEPTH);
    }
    TRY(apply ? apply(r, v, given, out) : apply_sequence_filter(r, name, v, given, &known, out));
    r->depth--;
    return known ? LARIAT_OK : jinja_fail("there is no filter '%s'", name);
}
