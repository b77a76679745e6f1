/* Finding a member and its values in the text of a JSON document by brackets and quotes alone.
   Rests on jansson, which parses the parts: invalid JSON makes one of the parts invalid. */
#include "base/json_member.h"

#include <stdio.h>
#include <string.h>

static const char *skip_space(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r')) {
        at++;
    }
    return at;
}

/* The position after the closing quote of the string at `at`; `end`: unterminated. */
static const char *skip_string(const char *at, const char *end)
{
    for (at++; at < end && *at != '"'; at++) {
        at += *at == '\\' && at + 1 < end;
    }
    return at < end ? at + 1 : end;
}

/* The position after the value at `at`, at most `end`. */
static const char *skip_value(const char *at, const char *end)
{
    int64_t depth = 0;

    while (at < end) {
        char c = *at;
        if (depth == 0 && (c == ',' || c == ']' || c == '}')) {
            return at; /* behind a number or a word */
        }
        at = c == '"' ? skip_string(at, end) : at + 1;
        depth += c == '[' || c == '{';
        depth -= c == ']' || c == '}';
        if (depth == 0 && (c == '"' || c == ']' || c == '}')) {
            return at;
        }
    }
    return end;
}

/* A value of a list, or a key and a value of an object. */
typedef struct json_span {
    const char *key, *key_end; /* NULL: of a list */
    const char *value, *value_end;
} json_span;

/* The next value from `at`, which is after the opening bracket or a value. False: none; *at is then the closing bracket, or
   `end` in invalid text. */
static bool next_span(const char **at, const char *begin, const char *end, json_span *out)
{
    bool first = *at == begin + 1;
    const char *p = skip_space(*at, end);

    *out = (json_span){0};
    *at = p < end && (*p == ']' || *p == '}') ? p : end;
    if (*at == p || (!first && *p != ',')) {
        return false;
    }
    p = first ? p : skip_space(p + 1, end);
    if (*begin == '{') {
        out->key = p;
        out->key_end = p < end && *p == '"' ? skip_string(p, end) : p;
        p = skip_space(out->key_end, end);
        if (p >= end || *p != ':') {
            return false;
        }
        p = skip_space(p + 1, end);
    }
    out->value = p;
    out->value_end = skip_value(p, end);
    if (out->value_end == p) {
        return false;
    }
    *at = out->value_end;
    return true;
}

static void find_member(const char *data, size_t size, const char *name, json_member *m)
{
    const char *end = data + size, *begin = skip_space(data, end), *at = begin + 1;
    size_t length = strlen(name);
    json_span s;

    *m = (json_member){0};
    if (begin >= end || *begin != '{') {
        return;
    }
    while (next_span(&at, begin, end, &s)) {
        bool named = (size_t)(s.key_end - s.key) == length + 2 && memcmp(s.key + 1, name, length) == 0;
        if (named && (*s.value == '[' || *s.value == '{')) {
            *m = (json_member){.begin = s.value, .end = s.value_end};
            break;
        }
    }
    if (m->begin) {
        for (at = m->begin + 1; next_span(&at, m->begin, m->end, &s);) {
            m->n++;
        }
    }
}

/* The document around the member, in the order of reading. */
typedef struct around {
    const char *pieces[3];
    size_t sizes[3];
    int next;
} around;

static size_t give(void *buffer, size_t room, void *user)
{
    around *a = user;

    while (a->next < 3 && a->sizes[a->next] == 0) {
        a->next++;
    }
    if (a->next == 3) {
        return 0;
    }
    size_t n = a->sizes[a->next] < room ? a->sizes[a->next] : room;
    memcpy(buffer, a->pieces[a->next], n);
    a->pieces[a->next] += n;
    a->sizes[a->next] -= n;
    return n;
}

json_t *json_load_around(const char *data, size_t size, const char *name, size_t flags, json_member *m, json_error_t *error)
{
    flags |= JSON_REJECT_DUPLICATES;
    find_member(data, size, name, m);
    if (m->begin) {
        around a = {{data, "null", m->end}, {(size_t)(m->begin - data), 4, (size_t)(data + size - m->end)}, 0};
        return json_load_callback(give, &a, flags, error);
    }
    json_t *root = json_loadb(data, size, flags, error);
    const json_t *member = json_object_get(root, name);
    if (json_is_array(member) || json_is_object(member)) { /* present but not found in the text */
        *error = (json_error_t){0}; /* jansson leaves its code unset where it succeeds */
        snprintf(error->text, sizeof error->text, "\"%s\" is written with escapes", name);
        json_decref(root);
        root = NULL;
    }
    return root;
}

static lariat_status broken(const char *path, int64_t i, const char *why)
{
    return fail(LARIAT_BAD_MODEL, "%s: value %lld is not JSON: %s" FETCH_AGAIN, path, (long long)i, why);
}

static lariat_status holds_nul(const char *path, int64_t i)
{
    return fail(LARIAT_BAD_MODEL, "%s: value %lld holds \\u0000, and Lariat reads no text with NUL" CORRECT_IT, path,
                (long long)i);
}

static lariat_status read_span(const char *path, int64_t i, const json_span *s, json_value_fn one, void *user)
{
    size_t flags = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY;
    json_error_t error;
    json_t *key = s->key ? json_loadb(s->key, (size_t)(s->key_end - s->key), flags, &error) : NULL;
    json_t *value = s->key && !key ? NULL : json_loadb(s->value, (size_t)(s->value_end - s->value), flags, &error);
    lariat_status status = value                       ? one(user, json_string_value(key), value)
                           : json_error_is_nul(&error) ? holds_nul(path, i)
                                                       : broken(path, i, error.text);

    json_decref(key);
    json_decref(value);
    return status;
}

lariat_status json_each(const char *path, const json_member *m, char open, json_value_fn one, void *user)
{
    const char *at = m->begin ? m->begin + 1 : NULL, *last = m->end ? m->end - 1 : NULL;
    json_span s;

    if (!m->begin || *m->begin != open) {
        return LARIAT_OK;
    }
    for (int64_t i = 0; next_span(&at, m->begin, m->end, &s); i++) {
        TRY(read_span(path, i, &s, one, user));
    }
    return at == last && *last == (open == '[' ? ']' : '}') ? LARIAT_OK : broken(path, m->n, "no end where it should be");
}
