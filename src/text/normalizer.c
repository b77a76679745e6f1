/* Normalization by rules, one after another over the whole text, and SentencePiece's.
   Rests on unicode_forms.c, expression.c and tables.c. Read on in encode.c. */
#include "text/normalizer.h"

#include "text/unicode_forms.h"
#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>

bool normalizes(const vocabulary *v)
{
    return v->by_score || v->n_rules > 0;
}

lariat_status normalizer_open(normalizer *n, const lariat_tokenizer *t)
{
    *n = (normalizer){ .t = t };
    for (int64_t i = 0; i < t->v.n_rules; i++) {
        if (t->rule_expressions[i]) {
            TRY(search_open(t->rule_expressions[i], &n->searches[i]));
        }
    }
    return LARIAT_OK;
}

void normalizer_close(normalizer *n)
{
    for (int i = 0; i < MAX_RULES; i++) {
        search_close(n->searches[i]);
    }
    buffer_free(&n->text);
    buffer_free(&n->other);
    free(n->shown);
}

/* Of the bytes [from, to) those before `origin`. */
static size_t overlap(size_t from, size_t to, size_t origin)
{
    return from >= origin ? 0 : (to < origin ? to : origin) - from;
}

/* Replaces [start, end) of a text, after its part from `done` on. What is inserted stands for the match's last character. */
static lariat_status replace_match(buffer *out, const char *text, size_t done, size_t start, size_t end, const char *content,
                                   size_t origin, size_t *kept)
{
    TRY(buffer_append(out, text + done, start - done));
    *kept += overlap(done, start, origin);
    *kept += end == 0 || end <= origin ? strlen(content) : 0;
    return buffer_append(out, content, strlen(content));
}

lariat_status append_replaced(buffer *out, const char *text, size_t size, const char *pattern, const char *content,
                              size_t *origin)
{
    size_t n = strlen(pattern), done = 0, kept = 0, known = origin ? *origin : 0;
    const char *next;

    while (n && (next = memmem(text + done, size - done, pattern, n)) != NULL) {
        size_t start = (size_t)(next - text);
        TRY(replace_match(out, text, done, start, start + n, content, known, &kept));
        done = start + n;
    }
    if (origin) {
        *origin = kept + overlap(done, size, known);
    }
    return buffer_append(out, text + done, size - done);
}

static lariat_status append_matches_replaced(normalizer *n, int64_t rule, buffer *out)
{
    const char *text = n->text.data, *content = n->t->v.rules[rule].content;
    size_t size = n->text.size, from = 0, done = 0, kept = 0;
    bool any = false;

    while (size && from <= size) {
        size_t start, end;
        bool found;
        TRY(search_next(n->searches[rule], text, size, from, &found, &start, &end));
        if (!found) {
            break;
        }
        if (start == end && any && end == done) { /* as in pretokenizer.c */
            from = end < size ? end + (size_t)utf8_length(text + end) : size + 1;
            continue;
        }
        TRY(replace_match(out, text, done, start, end, content, n->origin, &kept));
        any = true;
        from = done = end;
    }
    n->origin = kept + overlap(done, size, n->origin);
    return buffer_append(out, size ? text + done : "", size - done);
}

/* Bytes of white space at the beginning, or at the end. */
static size_t space_size(const char *text, size_t size, bool left)
{
    size_t n = 0;

    while (n < size) {
        size_t at = left ? n : size - n - 1;
        int length;
        while (!left && at > 0 && ((unsigned char)text[at] & 0xC0) == 0x80) {
            at--;
        }
        if (!utf8_is_white_space(utf8_decode(text + at, size - at, &length))) {
            break;
        }
        n += (size_t)length;
    }
    return n;
}

/* A rule that maps characters. */
static lariat_status map_text(normalizer *n, rule_kind kind, buffer *out)
{
    const char *text = n->text.data;
    size_t size = n->text.size;
    unicode_form form = (unicode_form)(FORM_NFC + (kind - RULE_NFC));

    if (kind == RULE_LOWERCASE) {
        TRY(append_lowercase(out, text, n->origin));
        size_t origin = out->size;
        TRY(append_lowercase(out, text + n->origin, size - n->origin));
        n->origin = origin;
        return LARIAT_OK;
    }
    TRY(n->origin ? form_origin(text, size, &n->origin, form) : LARIAT_OK);
    TRY(append_form(out, text, size, form));
    n->origin = n->origin < out->size ? n->origin : out->size;
    while (n->origin < out->size && ((unsigned char)out->data[n->origin] & 0xC0) == 0x80) {
        n->origin++; /* never within a character, whatever the age of the tables */
    }
    return LARIAT_OK;
}

static lariat_status apply_rule(normalizer *n, int64_t i, buffer *out)
{
    const text_rule *rule = &n->t->v.rules[i];
    const char *text = n->text.data;
    size_t size = n->text.size, space;

    switch (rule->kind) {
    case RULE_PREPEND:
        TRY(buffer_append(out, rule->content, size ? strlen(rule->content) : 0));
        n->origin += n->origin ? strlen(rule->content) : 0;
        return buffer_append(out, text, size);
    case RULE_REPLACE:
        return append_replaced(out, text, size, rule->pattern, rule->content, &n->origin);
    case RULE_EXPRESSION:
        return append_matches_replaced(n, i, out);
    case RULE_STRIP_LEFT:
        space = space_size(text, size, true);
        n->origin -= space < n->origin ? space : n->origin;
        return buffer_append(out, text + space, size - space);
    case RULE_STRIP_RIGHT:
        return buffer_append(out, text, size - space_size(text, size, false));
    case RULE_LOWERCASE:
    case RULE_NFC:
    case RULE_NFD:
    case RULE_NFKC:
    case RULE_NFKD:
        return map_text(n, rule->kind, out);
    }
    return LARIAT_OK;
}

static lariat_status normalize_by_rules(normalizer *n, const char *text, size_t size)
{
    n->text.size = 0;
    TRY(buffer_append(&n->text, text, size));
    for (int64_t i = 0; i < n->t->v.n_rules && n->text.size; i++) {
        buffer swap = n->text;
        n->other.size = 0;
        TRY(apply_rule(n, i, &n->other));
        n->text = n->other;
        n->other = swap;
    }
    return LARIAT_OK;
}

/* Did the template write all bytes? */
static bool is_own(const hidden_tokens *h, const char *text, size_t size)
{
    const uint8_t *origin = h->origin + (text - h->text);

    for (size_t i = 0; i < size; i++) {
        if (origin[i] != h->own) {
            return false;
        }
    }
    return true;
}

/* The bytes of one unit of text: a user-defined symbol, or a character. *own: a hidden symbol that the template wrote. */
static size_t unit_size(const normalizer *n, const char *text, size_t size, bool *own)
{
    const hidden_tokens *h = n->hidden;
    const prefix *user = prefix_set_longest(&n->t->users, text, size);

    *own = h && user && h->ids[user->value] && is_own(h, text, user->size);
    if (h && user && !*own) {
        user = prefix_set_longest_shown(&n->t->users, text, size, h->ids);
    }
    return user ? user->size : (size_t)utf8_length(text);
}

/* Appends a unit without its first `skip` bytes, with marks for spaces. */
static lariat_status append_unit(normalizer *n, const char *unit, size_t size, size_t skip, bool own)
{
    bool escape = n->t->v.escape_spaces;

    if (own) {
        GROW(n->shown, n->shown_capacity, n->n_shown + 1);
        n->shown[n->n_shown++] = n->text.size;
    }
    for (size_t i = skip; i < size; i++) {
        bool mark = unit[i] == ' ' && escape;
        TRY(buffer_append(&n->text, mark ? SPACE_MARK : &unit[i], mark ? SPACE_MARK_SIZE : 1));
    }
    return LARIAT_OK;
}

/* SentencePiece with the identity table: adds the dummy prefix, collapses runs of spaces, marks spaces. */
static lariat_status normalize_by_score(normalizer *n, const char *text, size_t size)
{
    const vocabulary *v = &n->t->v;
    const char *space = v->escape_spaces ? SPACE_MARK : " ";
    size_t mark_size = strlen(space), at = 0;
    bool after_space = v->remove_extra_spaces, own;
    buffer *out = &n->text;

    out->size = 0;
    n->n_shown = 0;
    while (v->remove_extra_spaces && at < size && text[at] == ' ' && unit_size(n, text + at, size - at, &own) == 1) {
        at++;
    }
    if (at == size) {
        return LARIAT_OK;
    }
    if (v->dummy_prefix) {
        TRY(buffer_append(out, space, mark_size));
    }
    while (at < size) {
        size_t unit = unit_size(n, text + at, size - at, &own), skip = 0;
        while (after_space && skip < unit && text[at + skip] == ' ') {
            skip++;
        }
        if (skip < unit) {
            TRY(append_unit(n, text + at, unit, skip, own));
            after_space = text[at + unit - 1] == ' ' && v->remove_extra_spaces;
        }
        at += unit;
    }
    while (v->remove_extra_spaces && out->size >= mark_size &&
           memcmp(out->data + out->size - mark_size, space, mark_size) == 0) {
        out->size -= mark_size;
    }
    return LARIAT_OK;
}

lariat_status normalize(normalizer *n, const char *text, size_t size, size_t origin)
{
    n->origin = origin;
    return n->t->v.by_score ? normalize_by_score(n, text, size) : normalize_by_rules(n, text, size);
}
