/* JSON in and out: messages and variables become values, and tojson writes values as Python's json.dumps does.
   Rests on jansson and jinja_value.c. Read on in jinja_filters.c. */
#include "text/jinja/jinja_rendering.h"

#include "text/utf8.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

size_t json_bytes(const json_t *json, int depth)
{
    size_t n = 16;
    const char *key;
    json_t *member;

    if (json_is_string(json)) {
        n += json_string_length(json);
    }
    for (size_t i = 0; json_is_array(json) && depth < MAX_JINJA_VALUES && i < json_array_size(json); i++) {
        n += json_bytes(json_array_get(json, i), depth + 1);
    }
    if (json_is_object(json) && depth < MAX_JINJA_VALUES) {
        json_object_foreach((json_t *)json, key, member)
        {
            n += strlen(key) + json_bytes(member, depth + 1);
        }
    }
    return n;
}

static lariat_status from_json(rendering *r, const json_t *json, uint8_t origin, value *out, int depth);

static lariat_status text_from_json(rendering *r, const json_t *json, uint8_t origin, value *out)
{
    jinja_text text;

    TRY(jinja_text_from(r, json_string_value(json), json_string_length(json), origin, &text));
    *out = value_text(text);
    return LARIAT_OK;
}

static lariat_status list_from_json(rendering *r, const json_t *json, value *out, int depth)
{
    value_list *l;
    value v;

    TRY(list_make(r, &l));
    for (size_t i = 0; i < json_array_size(json); i++) {
        TRY(from_json(r, json_array_get(json, i), ORIGIN_FOREIGN, &v, depth + 1));
        TRY(list_add(r, l, v));
    }
    *out = value_sequence(VALUE_LIST, l);
    return LARIAT_OK;
}

/* Keys are different already: they are appended unseen, so that a large object takes time in proportion. */
static lariat_status add_member(rendering *r, dict *d, const char *key, size_t size, value v)
{
    size_t capacity = d->capacity;
    jinja_text name;

    TRY(jinja_text_from(r, key, size, ORIGIN_FOREIGN, &name));
    MAKE_ROOM(r, d->keys, d->n, capacity);
    MAKE_ROOM(r, d->values, d->n, d->capacity);
    d->keys[d->n] = value_text(name);
    d->values[d->n++] = v;
    return LARIAT_OK;
}

static lariat_status dict_from_json(rendering *r, const json_t *json, value *out, int depth)
{
    const char *key;
    json_t *member;
    dict *d;
    value v;

    TRY(dict_make(r, &d));
    json_object_foreach((json_t *)json, key, member)
    {
        TRY(from_json(r, member, ORIGIN_FOREIGN, &v, depth + 1));
        TRY(add_member(r, d, key, strlen(key), v));
    }
    *out = value_dict(d);
    return LARIAT_OK;
}

static lariat_status from_json(rendering *r, const json_t *json, uint8_t origin, value *out, int depth)
{
    if (depth > MAX_JINJA_VALUES) {
        return jinja_fail("messages or variables are nested too deeply");
    }
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        return dict_from_json(r, json, out, depth);
    case JSON_ARRAY:
        return list_from_json(r, json, out, depth);
    case JSON_STRING:
        return text_from_json(r, json, origin, out);
    case JSON_INTEGER:
        *out = value_int(json_integer_value(json), false);
        return LARIAT_OK;
    case JSON_REAL:
        *out = value_float(json_real_value(json), false);
        return LARIAT_OK;
    case JSON_NULL:
        *out = value_none();
        return LARIAT_OK;
    default:
        *out = value_bool(json_is_true(json));
        return LARIAT_OK;
    }
}

lariat_status value_from_json(rendering *r, const json_t *json, value *out)
{
    return from_json(r, json, ORIGIN_FOREIGN, out, 0);
}

/* The name of a role is chosen by the program that holds the conversation, not by who takes part in it: templates put it
   between the ends of a marker. It cannot be more than a word. */
static bool is_role_name(const json_t *json)
{
    const char *text = json_string_value(json);

    if (!text || json_string_length(json) == 0 || json_string_length(json) > 32) {
        return false;
    }
    for (size_t i = 0; i < json_string_length(json); i++) {
        char c = text[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-')) {
            return false;
        }
    }
    return true;
}

/* The text of a message that was generated here, its first byte jinja_text. */
static lariat_status reply_from_json(rendering *r, const json_t *content, value *out)
{
    const char *text = json_string_value(content);
    size_t size = json_string_length(content);
    maker m;

    maker_open(&m, r);
    if (size) {
        TRY(maker_fill(&m, text, 1, ORIGIN_REPLY_BEGINS));
        TRY(maker_fill(&m, text + 1, size - 1, ORIGIN_REPLY));
    }
    *out = value_text(maker_take(&m));
    return LARIAT_OK;
}

static lariat_status message_from_json(rendering *r, const json_t *message, value *out)
{
    bool reply = json_object_get(message, "ids") != NULL;
    const char *key;
    json_t *member;
    dict *d;
    value v;

    TRY(dict_make(r, &d));
    json_object_foreach((json_t *)message, key, member)
    {
        if (strcmp(key, "ids") == 0) {
            continue;
        }
        if (reply && strcmp(key, "content") == 0 && json_is_string(member)) {
            TRY(reply_from_json(r, member, &v));
        } else {
            bool role = strcmp(key, "role") == 0 && is_role_name(member);
            TRY(from_json(r, member, role ? ORIGIN_TEMPLATE : ORIGIN_FOREIGN, &v, 1));
        }
        TRY(add_member(r, d, key, strlen(key), v));
    }
    *out = value_dict(d);
    return LARIAT_OK;
}

lariat_status messages_from_json(rendering *r, const json_t *messages, value *out)
{
    value_list *l;
    value v;

    TRY(list_make(r, &l));
    for (size_t i = 0; i < json_array_size(messages); i++) {
        const json_t *m = json_array_get(messages, i);
        if (json_is_object(m)) {
            TRY(message_from_json(r, m, &v));
        } else {
            TRY(value_from_json(r, m, &v));
        }
        TRY(list_add(r, l, v));
    }
    *out = value_sequence(VALUE_LIST, l);
    return LARIAT_OK;
}

/* --- out --- */

static const char *short_escape(int32_t code)
{
    switch (code) {
    case '"':
        return "\\\"";
    case '\\':
        return "\\\\";
    case '\n':
        return "\\n";
    case '\r':
        return "\\r";
    case '\t':
        return "\\t";
    case '\f':
        return "\\f";
    case '\b':
        return "\\b";
    default:
        return NULL;
    }
}

static lariat_status write_text(maker *m, jinja_text text, bool ascii)
{
    size_t done = 0;
    int length;

    TRY(maker_words(m, "\"", ORIGIN_FOREIGN));
    for (size_t i = 0; i < text.size; i += (size_t)length) {
        int32_t code = utf8_decode(text.text + i, text.size - i, &length);
        const char *escape = short_escape(code);
        char number[16];
        if (!escape && code >= ' ' && (!ascii || code < 127)) {
            continue;
        }
        if (!escape && code > 0xFFFF) {
            snprintf(number, sizeof number, "\\u%04x\\u%04x", (unsigned)(0xD800 + ((code - 0x10000) >> 10)),
                     (unsigned)(0xDC00 + ((code - 0x10000) & 0x3FF)));
        } else if (!escape) {
            snprintf(number, sizeof number, "\\u%04x", (unsigned)code);
        }
        TRY(maker_add(m, jinja_text_part(text, done, i)));
        TRY(maker_words(m, escape ? escape : number, text.origins[i]));
        done = i + (size_t)length;
    }
    TRY(maker_add(m, jinja_text_part(text, done, text.size)));
    return maker_words(m, "\"", ORIGIN_FOREIGN);
}

static lariat_status write_break(maker *m, const json_form *form, int depth)
{
    if (!form->indent) {
        return LARIAT_OK;
    }
    TRY(maker_words(m, "\n", ORIGIN_FOREIGN));
    for (int i = 0; i < depth; i++) {
        TRY(maker_words(m, form->indent, ORIGIN_FOREIGN));
    }
    return LARIAT_OK;
}

static lariat_status write_list(maker *m, const value_list *l, const json_form *form, int depth)
{
    TRY(maker_words(m, "[", ORIGIN_FOREIGN));
    for (size_t i = 0; i < l->n; i++) {
        TRY(maker_words(m, i ? form->item : "", ORIGIN_FOREIGN));
        TRY(write_break(m, form, depth + 1));
        TRY(value_to_json(m, &l->items[i], form, depth + 1));
    }
    if (l->n) {
        TRY(write_break(m, form, depth));
    }
    return maker_words(m, "]", ORIGIN_FOREIGN);
}

static void scalar_text(const value *v, char out[32])
{
    if (v->kind == VALUE_FLOAT && (isnan(v->as.real) || isinf(v->as.real))) {
        snprintf(out, 32, "%s", isnan(v->as.real) ? "NaN" : v->as.real < 0 ? "-Infinity" : "Infinity");
    } else if (v->kind == VALUE_NONE || v->kind == VALUE_BOOL) {
        snprintf(out, 32, "%s", v->kind == VALUE_NONE ? "null" : v->as.truth ? "true" : "false");
    } else {
        number_text(v, out);
    }
}

static lariat_status write_key(maker *m, const value *key, const json_form *form)
{
    char text[32];
    jinja_text name = {0};

    if (key->kind == VALUE_TEXT) {
        name = key->as.text;
    } else if (value_is_number(key) || key->kind == VALUE_NONE) {
        scalar_text(key, text);
        TRY(jinja_text_from(m->r, text, strlen(text), ORIGIN_FOREIGN, &name));
    } else {
        return jinja_fail("keys must be str, int, float, bool or None, not %s", value_type(key));
    }
    return write_text(m, name, form->ascii);
}

static lariat_status write_dict(maker *m, const dict *d, const json_form *form, int depth)
{
    value *keys = d->keys, *values = d->values;

    if (form->sorted && d->n) {
        TAKE(m->r, keys, d->n);
        TAKE(m->r, values, d->n);
        memcpy(keys, d->keys, d->n * sizeof *keys);
        memcpy(values, d->values, d->n * sizeof *values);
        TRY(sort_values(m->r, keys, values, d->n, false));
    }
    TRY(maker_words(m, "{", ORIGIN_FOREIGN));
    for (size_t i = 0; i < d->n; i++) {
        TRY(maker_words(m, i ? form->item : "", ORIGIN_FOREIGN));
        TRY(write_break(m, form, depth + 1));
        TRY(write_key(m, &keys[i], form));
        TRY(maker_words(m, form->pair, ORIGIN_FOREIGN));
        TRY(value_to_json(m, &values[i], form, depth + 1));
    }
    if (d->n) {
        TRY(write_break(m, form, depth));
    }
    return maker_words(m, "}", ORIGIN_FOREIGN);
}

lariat_status value_to_json(maker *m, const value *v, const json_form *form, int depth)
{
    char text[32];

    if (depth > MAX_JINJA_VALUES) {
        return jinja_fail("values are nested too deeply");
    }
    TRY(rendering_work(m->r, 1));
    switch (v->kind) {
    case VALUE_TEXT:
        return write_text(m, v->as.text, form->ascii);
    case VALUE_LIST:
    case VALUE_TUPLE:
        return write_list(m, v->as.list, form, depth);
    case VALUE_DICT:
        return write_dict(m, v->as.dict, form, depth);
    case VALUE_NONE:
    case VALUE_BOOL:
    case VALUE_INT:
    case VALUE_FLOAT:
        scalar_text(v, text);
        return maker_words(m, text, v->own ? ORIGIN_TEMPLATE : ORIGIN_FOREIGN);
    default:
        return jinja_fail("Object of type %s is not JSON serializable", value_type(v));
    }
}
