/* Normalization of spaces and literal replacements. A file with Unicode normal forms or case folding is refused by
   its reader.
   Rests on buffer.c and tables.c. Read on in encode.c. */
#include "text/normalizer.h"

#include "text/utf8.h"

#include <string.h>

bool normalizes(const vocabulary *v)
{
    return v->by_score || v->n_rules > 0;
}

lariat_status append_replaced(buffer *out, const char *text, size_t size, const char *pattern, const char *content)
{
    size_t n = strlen(pattern);
    const char *end = text + size, *next;

    while (n && (next = memmem(text, (size_t)(end - text), pattern, n)) != NULL) {
        TRY(buffer_append(out, text, (size_t)(next - text)));
        TRY(buffer_append(out, content, strlen(content)));
        text = next + n;
    }
    return buffer_append(out, text, (size_t)(end - text));
}

static lariat_status normalize_by_rules(const vocabulary *v, const char *text, size_t size, buffer *out, buffer *other)
{
    out->size = 0;
    TRY(buffer_append(out, text, size));
    for (int64_t i = 0; i < v->n_rules; i++) {
        const text_rule *rule = &v->rules[i];
        buffer swap;
        other->size = 0;
        if (rule->kind == RULE_PREPEND) {
            if (out->size) {
                TRY(buffer_append(other, rule->content, strlen(rule->content)));
            }
            TRY(buffer_append(other, out->data, out->size));
        } else {
            TRY(append_replaced(other, out->data, out->size, rule->pattern, rule->content));
        }
        swap = *out;
        *out = *other;
        *other = swap;
    }
    return LARIAT_OK;
}

/* One unit of text: a user-defined symbol, or a character. */
static size_t unit_size(const lariat_tokenizer *t, const char *text, size_t size)
{
    const prefix *user = prefix_set_longest(&t->users, text, size);

    return user ? user->size : (size_t)utf8_length(text);
}

/* SentencePiece with the identity table: adds the dummy prefix, collapses runs of spaces, marks spaces. */
static lariat_status normalize_by_score(const lariat_tokenizer *t, const char *text, size_t size, buffer *out)
{
    const vocabulary *v = &t->v;
    const char *space = v->escape_spaces ? SPACE_MARK : " ";
    size_t space_size = strlen(space), at = 0;
    bool after_space = v->remove_extra_spaces;

    out->size = 0;
    while (v->remove_extra_spaces && at < size && text[at] == ' ' && unit_size(t, text + at, size - at) == 1) {
        at++;
    }
    if (at == size) {
        return LARIAT_OK;
    }
    if (v->dummy_prefix) {
        TRY(buffer_append(out, space, space_size));
    }
    while (at < size) {
        size_t n = unit_size(t, text + at, size - at), skip = 0;
        while (after_space && skip < n && text[at + skip] == ' ') {
            skip++;
        }
        if (skip < n) {
            for (size_t i = at + skip; i < at + n; i++) {
                bool mark = text[i] == ' ' && v->escape_spaces;
                TRY(buffer_append(out, mark ? SPACE_MARK : &text[i], mark ? SPACE_MARK_SIZE : 1));
            }
            after_space = text[at + n - 1] == ' ' && v->remove_extra_spaces;
        }
        at += n;
    }
    while (v->remove_extra_spaces && out->size >= space_size &&
           memcmp(out->data + out->size - space_size, space, space_size) == 0) {
        out->size -= space_size;
    }
    return LARIAT_OK;
}

lariat_status normalize(const lariat_tokenizer *t, const char *text, size_t size, buffer *out, buffer *other)
{
    return t->v.by_score ? normalize_by_score(t, text, size, out) : normalize_by_rules(&t->v, text, size, out, other);
}
