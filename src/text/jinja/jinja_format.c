/* Texts from texts: replacing, splitting, joining, escaping, str.format and %.
   Rests on jinja_text.c. Read on in jinja_methods.c. */
#include "text/jinja/jinja_rendering.h"

#include "text/utf8.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

lariat_status replace_text(rendering *r, jinja_text text, jinja_text old, jinja_text fresh, int64_t most, jinja_text *out)
{
    size_t done = 0, at = 0;
    maker m;

    maker_open(&m, r);
    while (most != 0) {
        int64_t found = jinja_text_find(text, old, at);
        if (found < 0) {
            break;
        }
        TRY(rendering_work(r, 1));
        TRY(maker_add(&m, jinja_text_part(text, done, (size_t)found)));
        TRY(maker_add(&m, fresh));
        done = (size_t)found + old.size;
        at = done;
        if (old.size == 0) { /* before every character, and at the end */
            if (at == text.size) {
                break;
            }
            at += (size_t)utf8_length(text.text + at);
        }
        most -= most > 0;
    }
    TRY(maker_add(&m, jinja_text_part(text, done, text.size)));
    *out = maker_take(&m);
    return rendering_work(r, text.size / 64);
}

static void reverse_list(value_list *l)
{
    for (size_t i = 0; i < l->n / 2; i++) {
        value v = l->items[i];
        l->items[i] = l->items[l->n - 1 - i];
        l->items[l->n - 1 - i] = v;
    }
}

/* Words between white space. */
static lariat_status split_words(rendering *r, jinja_text text, int64_t most, bool from_right, value_list *l)
{
    for (;; most -= most > 0) {
        size_t end = 0, length;
        text = jinja_text_strip(text, NULL, !from_right, from_right);
        if (text.size == 0) {
            break;
        }
        if (most == 0) {
            return list_add(r, l, value_text(text));
        }
        if (from_right) {
            size_t begin = text.size;
            while (begin > 0) {
                size_t back = begin - 1;
                while (back && ((unsigned char)text.text[back] & 0xC0) == 0x80) {
                    back--;
                }
                int n;
                if (is_python_space(utf8_decode(text.text + back, text.size - back, &n))) {
                    break;
                }
                begin = back;
            }
            TRY(list_add(r, l, value_text(jinja_text_part(text, begin, text.size))));
            text.size = begin;
            continue;
        }
        for (; end < text.size; end += length) {
            int n;
            int32_t code = utf8_decode(text.text + end, text.size - end, &n);
            length = (size_t)n;
            if (is_python_space(code)) {
                break;
            }
        }
        TRY(list_add(r, l, value_text(jinja_text_part(text, 0, end))));
        text = jinja_text_part(text, end, text.size);
    }
    return LARIAT_OK;
}

lariat_status find_last(rendering *r, jinja_text text, jinja_text part, int64_t *out)
{
    size_t end = text.size >= part.size ? text.size - part.size + 1 : 0; /* behind the last place where it may begin */
    const char *found = part.size ? NULL : text.text + text.size;

    while (!found && part.size && end > 0) {
        const char *at = memrchr(text.text, *part.text, end);
        TRY(rendering_work(r, (end - (at ? (size_t)(at - text.text) : 0)) / 64 + part.size / 64 + 1));
        found = at && memcmp(at, part.text, part.size) == 0 ? at : NULL;
        end = at ? (size_t)(at - text.text) : 0;
    }
    *out = found ? found - text.text : -1;
    return LARIAT_OK;
}

lariat_status split_text_value(rendering *r, jinja_text text, const value *separator, int64_t most, bool from_right, value *out)
{
    value_list *l;

    TRY(list_make(r, &l));
    *out = value_sequence(VALUE_LIST, l);
    TRY(rendering_work(r, text.size / 64));
    if (!argument_is_given(separator) || separator->kind == VALUE_NONE) {
        TRY(split_words(r, text, most, from_right, l));
        if (from_right) {
            reverse_list(l);
        }
        return LARIAT_OK;
    }
    TRY(value_refuse_undefined(separator));
    if (separator->kind != VALUE_TEXT || separator->as.text.size == 0) {
        return jinja_fail("split: the separator must be a text, and not empty");
    }
    jinja_text part = separator->as.text;
    int64_t found;
    for (; most != 0; most -= most > 0) {
        if (from_right) {
            TRY(find_last(r, text, part, &found));
        } else {
            found = jinja_text_find(text, part, 0);
        }
        if (found < 0) {
            break;
        }
        jinja_text left = jinja_text_part(text, 0, (size_t)found);
        jinja_text right = jinja_text_part(text, (size_t)found + part.size, text.size);
        TRY(list_add(r, l, value_text(from_right ? right : left)));
        text = from_right ? left : right;
    }
    TRY(list_add(r, l, value_text(text)));
    if (from_right) {
        reverse_list(l);
    }
    return LARIAT_OK;
}

/* strict: str.join, which takes texts only. */
lariat_status join_texts(rendering *r, jinja_text separator, const value_list *l, bool strict, jinja_text *out)
{
    jinja_text text;
    maker m;

    maker_open(&m, r);
    for (size_t i = 0; i < l->n; i++) {
        if (strict && l->items[i].kind != VALUE_TEXT) {
            return jinja_fail("join: item %zu is no text but %s", i, value_type(&l->items[i]));
        }
        TRY(rendering_work(r, 1));
        TRY(i ? maker_add(&m, separator) : LARIAT_OK);
        TRY(value_str(r, &l->items[i], &text));
        TRY(maker_add(&m, text));
    }
    *out = maker_take(&m);
    return LARIAT_OK;
}

lariat_status escape_text(rendering *r, jinja_text text, jinja_text *out)
{
    static const char from[] = "&<>\"'", *const to[] = {"&amp;", "&lt;", "&gt;", "&#34;", "&#39;"};
    maker m;

    maker_open(&m, r);
    for (size_t i = 0; i < text.size; i++) {
        const char *found = text.text[i] ? strchr(from, text.text[i]) : NULL;
        TRY(found ? maker_words(&m, to[found - from], text.origins[i]) : maker_add(&m, jinja_text_part(text, i, i + 1)));
    }
    *out = maker_take(&m);
    return LARIAT_OK;
}

/* --- str.format --- */

/* *next is the number of fields without a name so far, -1 where they have numbers: a text has one kind only. */
static lariat_status field_value(jinja_text name, const call_arguments *given, int64_t *next, value *out)
{
    size_t end = 0;

    while (end < name.size && name.text[end] != '.' && name.text[end] != '[') {
        end++;
    }
    bool number = end > 0 && strspn(name.text, "0123456789") >= end;
    if (end == 0 || number) {
        if (*next != 0 && (*next < 0) != number) {
            return jinja_fail("format: {} and {0} in one text");
        }
        size_t index = number ? (size_t)strtoul(name.text, NULL, 10) : (size_t)*next;
        *next = number ? -1 : *next + 1;
        if (index >= given->n) {
            return jinja_fail("format: there is no argument %zu", index);
        }
        *out = given->positional[index];
    } else {
        size_t i = 0;
        while (i < given->n_named && !jinja_text_is(jinja_text_part(name, 0, end), given->names[i])) {
            i++;
        }
        if (i == given->n_named) {
            return jinja_fail("format: there is no argument '%.*s'", (int)(end < 64 ? end : 64), name.text);
        }
        *out = given->named[i];
    }
    return end == name.size ? LARIAT_OK : jinja_fail("format: attributes within braces are not supported");
}

lariat_status inserted_text(rendering *r, bool safe, const value *v, jinja_text *out)
{
    TRY(value_str(r, v, out));
    return safe && !(v->kind == VALUE_TEXT && v->safe) ? escape_text(r, *out, out) : LARIAT_OK;
}

lariat_status format_braces(rendering *r, const value *whole, const call_arguments *given, value *out)
{
    jinja_text form = whole->as.text;
    int64_t next = 0;
    size_t done = 0;
    maker m;

    maker_open(&m, r);
    for (size_t i = 0; i < form.size; i++) {
        char c = form.text[i];
        if (c != '{' && c != '}') {
            continue;
        }
        TRY(maker_add(&m, jinja_text_part(form, done, i)));
        if (i + 1 < form.size && form.text[i + 1] == c) {
            TRY(maker_add(&m, jinja_text_part(form, i, i + 1)));
            done = ++i + 1;
            continue;
        }
        const char *end = c == '{' ? memchr(form.text + i, '}', form.size - i) : NULL;
        if (!end) {
            return jinja_fail("format: a single '%c'", c);
        }
        jinja_text field = jinja_text_part(form, i + 1, (size_t)(end - form.text)), text;
        value v;
        if (memchr(field.text, ':', field.size) || memchr(field.text, '!', field.size)) {
            return jinja_fail("format: '{%.*s}' is not supported, only names and numbers",
                              (int)(field.size < 64 ? field.size : 64), field.text);
        }
        TRY(rendering_work(r, given->n_named / 8 + 1));
        TRY(field_value(field, given, &next, &v));
        TRY(inserted_text(r, whole->safe, &v, &text));
        TRY(maker_add(&m, text));
        i = (size_t)(end - form.text);
        done = i + 1;
    }
    TRY(maker_add(&m, jinja_text_part(form, done, form.size)));
    *out = value_text(maker_take(&m));
    return LARIAT_OK;
}

/* --- % --- */

/* Flags, then a width and a precision of at most 64. */
static bool is_form(const char *spec)
{
    char *end = (char *)spec + strspn(spec, "-+ #0");

    if (*end != '.' && *end && strtol(end, &end, 10) > 64) {
        return false;
    }
    return *end == '.' ? strspn(end + 1, "0123456789") == strlen(end + 1) && atoi(end + 1) <= 64 : !*end;
}

/* %s and %r. Width and precision count characters; of the flags only - means something. */
static lariat_status convert_text(maker *m, const char *spec, char kind, const value *v, bool safe)
{
    static const char spaces[] = "                                                                "; /* is_form's 64 */
    const char *point = strchr(spec, '.');
    size_t width = strtoul(spec + strspn(spec, "-+ #0"), NULL, 10), n;
    bool left = strchr(spec, '-') != NULL;
    jinja_text text;
    maker repr;

    maker_open(&repr, m->r);
    TRY(kind == 's' ? inserted_text(m->r, safe, v, &text) : value_repr(&repr, v, 0));
    text = kind == 's' ? text : maker_take(&repr);
    TRY(kind != 's' && safe ? escape_text(m->r, text, &text) : LARIAT_OK);
    if (point) {
        text = jinja_text_part(text, 0, character_offset(text, strtoul(point + 1, NULL, 10)));
    }
    n = width ? characters(text) : 0;
    n = n < width ? width - n : 0;
    TRY(left ? LARIAT_OK : maker_fill(m, spaces, n, ORIGIN_TEMPLATE));
    TRY(maker_add(m, text));
    return left ? maker_fill(m, spaces, n, ORIGIN_TEMPLATE) : LARIAT_OK;
}

/* One conversion, with its flags, width and precision. */
static lariat_status convert(maker *m, const char *spec, char kind, const value *v, bool safe)
{
    char text[512], form[32]; /* 309 digits, and up to 64 behind the point */
    int n;

    if (kind == 's' || kind == 'r') {
        return convert_text(m, spec, kind, v, safe);
    }
    TRY(value_refuse_undefined(v));
    if (!value_is_number(v)) {
        return jinja_fail("%%%c format: a number is required, not %s", kind, value_type(v));
    }
    if (strchr("fFeEgG", kind)) {
        double real = value_real(v);
        if (!isfinite(real) && strspn(spec, "-+ #") < strspn(spec, "-+ #0")) {
            return jinja_fail("%%%s%c of %s is not supported", spec, kind, isnan(real) ? "nan" : "inf");
        }
        snprintf(form, sizeof form, "%%%s%c", spec, kind);
        n = snprintf(text, sizeof text, form, isnan(real) ? fabs(real) : real); /* Python's nan has no sign */
    } else {
        bool real = v->kind == VALUE_FLOAT, decimal = kind == 'd' || kind == 'i';
        if (real && (!decimal || !(v->as.real > -9e18 && v->as.real < 9e18))) {
            return jinja_fail("%%%c format: an integer of 64 bits is required, not float", kind);
        }
        int64_t integer = real ? (int64_t)v->as.real : value_integer(v);
        bool minus = !decimal && integer < 0; /* Python writes a sign and the number's bits, C two's complement */
        if (strchr(spec, '#') || (minus && *spec)) {
            return jinja_fail("%%%s%c of a number is not supported", spec, kind);
        }
        snprintf(form, sizeof form, "%s%%%sll%c", minus ? "-" : "", spec, kind == 'i' ? 'd' : kind);
        n = snprintf(text, sizeof text, form, minus ? -(uint64_t)integer : (uint64_t)integer);
    }
    if (n < 0 || (size_t)n >= sizeof text) {
        return jinja_fail("%%%s%c: a number of more than %zu characters", spec, kind, sizeof text - 1);
    }
    return maker_words(m, text, v->own ? ORIGIN_TEMPLATE : ORIGIN_FOREIGN);
}

static lariat_status next_value(const value *given, jinja_text name, bool named, size_t *next, value *out)
{
    if (named) {
        for (size_t i = 0; given->kind == VALUE_DICT && i < given->as.dict->n; i++) {
            const value *key = &given->as.dict->keys[i];
            if (key->kind == VALUE_TEXT && key->as.text.size == name.size &&
                memcmp(key->as.text.text, name.text, name.size) == 0) {
                *out = given->as.dict->values[i];
                return LARIAT_OK;
            }
        }
        return jinja_fail("%% has no value for '%.*s'", (int)(name.size < 64 ? name.size : 64), name.text);
    }
    bool tuple = given->kind == VALUE_TUPLE;
    if (*next >= (tuple ? given->as.list->n : 1)) {
        return jinja_fail("not enough arguments for format string");
    }
    *out = tuple ? given->as.list->items[*next] : *given;
    ++*next;
    return LARIAT_OK;
}

lariat_status format_percent(rendering *r, const value *whole, const value *given, value *out)
{
    jinja_text form = whole->as.text;
    size_t next = 0;
    maker m;

    maker_open(&m, r);
    for (size_t i = 0; i < form.size; i++) {
        char spec[16] = "";
        size_t n = 0;
        jinja_text name = {0};
        bool named = false;
        value v;
        if (form.text[i] != '%') {
            TRY(maker_add(&m, jinja_text_part(form, i, i + 1)));
            continue;
        }
        i++;
        if (i < form.size && form.text[i] == '(') {
            const char *end = memchr(form.text + i, ')', form.size - i);
            if (!end) {
                return jinja_fail("%%( without )");
            }
            name = jinja_text_part(form, i + 1, (size_t)(end - form.text));
            named = true;
            i = (size_t)(end - form.text) + 1;
        }
        while (i < form.size && strchr("-+ #0123456789.", form.text[i]) && form.text[i] && n < 6) {
            spec[n++] = form.text[i++];
        }
        char kind = i < form.size ? form.text[i] : 0;
        if (kind == '%') {
            TRY(maker_words(&m, "%", form.origins[i]));
            continue;
        }
        if (!kind || !strchr("srdifFeEgGxXo", kind) || !is_form(spec)) {
            return jinja_fail("unsupported format '%%%s%.*s'", spec, i < form.size ? utf8_length(form.text + i) : 0,
                              form.text + i);
        }
        TRY(rendering_work(r, named && given->kind == VALUE_DICT ? given->as.dict->n / 8 + 1 : 1));
        TRY(next_value(given, name, named, &next, &v));
        TRY(convert(&m, spec, kind, &v, whole->safe));
    }
    if (given->kind == VALUE_TUPLE ? next < given->as.list->n
                                   : next == 0 && given->kind != VALUE_DICT && given->kind != VALUE_LIST) {
        return jinja_fail("not all arguments converted during string formatting");
    }
    *out = value_text(maker_take(&m));
    out->safe = whole->safe;
    return LARIAT_OK;
}
