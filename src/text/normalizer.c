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
    buffer_free(&n->marks);
    buffer_free(&n->other_marks);
    free(n->shown);
}

/* --- origins --- */

/* The next bytes of the result are the bytes [from, from + size) of the text. */
static lariat_status mark_same(normalizer *n, size_t from, size_t size)
{
    return n->follows && size ? buffer_append(&n->other_marks, n->marks.data + from, size) : LARIAT_OK;
}

/* The next `size` bytes of the result stand for the bytes [from, end) of the text. */
static lariat_status mark_changed(normalizer *n, size_t from, size_t end, size_t size)
{
    char own = n->hidden ? (char)n->hidden->own : 0, mark = own;

    if (!n->follows) {
        return LARIAT_OK;
    }
    for (size_t i = from; i < end; i++) {
        mark = n->marks.data[i] == own ? mark : (char)~own;
    }
    for (size_t i = 0; i < size; i++) {
        TRY(buffer_append(&n->other_marks, &mark, 1));
    }
    return LARIAT_OK;
}

/* --- rules --- */

/* Of the bytes [from, to) those before `origin`. */
static size_t overlap(size_t from, size_t to, size_t origin)
{
    return from >= origin ? 0 : (to < origin ? to : origin) - from;
}

lariat_status append_replaced(buffer *out, const char *text, size_t size, const char *pattern, const char *content)
{
    size_t n = strlen(pattern), done = 0;
    const char *next;

    while (n && (next = memmem(text + done, size - done, pattern, n)) != NULL) {
        size_t start = (size_t)(next - text);
        TRY(buffer_append(out, text + done, start - done));
        TRY(buffer_append(out, content, strlen(content)));
        done = start + n;
    }
    return buffer_append(out, text + done, size - done);
}

/* The first match of a rule from `from` on. */
static lariat_status next_match(normalizer *n, int64_t rule, size_t from, bool *found, size_t *start, size_t *end)
{
    const text_rule *r = &n->t->v.rules[rule];
    const char *text = n->text.data;
    size_t size = n->text.size;

    if (r->kind == RULE_EXPRESSION) {
        lariat_status status = search_next(n->searches[rule], text, size, from, found, start, end);
        return status == LARIAT_OK ? status : fail_within(status, "%s", tokenizer_path(n->t));
    }
    const char *at = *r->pattern ? memmem(text + from, size - from, r->pattern, strlen(r->pattern)) : NULL;
    *found = at != NULL;
    *start = at ? (size_t)(at - text) : size;
    *end = at ? *start + strlen(r->pattern) : size;
    return LARIAT_OK;
}

/* Replaces the match [start, end), behind the part of the text from `done` on. What is inserted stands for the match's last
   character. */
static lariat_status replace_match(normalizer *n, const char *content, size_t done, size_t start, size_t end, buffer *out,
                                   size_t *kept)
{
    size_t size = strlen(content);

    TRY(buffer_append(out, n->text.data + done, start - done));
    TRY(mark_same(n, done, start - done));
    *kept += overlap(done, start, n->origin);
    *kept += end == 0 || end <= n->origin ? size : 0;
    TRY(mark_changed(n, start, end, size));
    return buffer_append(out, content, size);
}

static lariat_status append_matches_replaced(normalizer *n, int64_t rule, buffer *out)
{
    const char *text = n->text.data;
    size_t size = n->text.size, from = 0, done = 0, kept = 0;
    bool any = false;

    while (size && from <= size) {
        size_t start, end;
        bool found;
        TRY(next_match(n, rule, from, &found, &start, &end));
        if (!found) {
            break;
        }
        if (start == end && any && end == done) { /* as in pretokenizer.c */
            from = end < size ? end + (size_t)utf8_length(text + end) : size + 1;
            continue;
        }
        TRY(replace_match(n, n->t->v.rules[rule].content, done, start, end, out, &kept));
        any = true;
        from = done = end;
    }
    n->origin = kept + overlap(done, size, n->origin);
    TRY(mark_same(n, done, size - done));
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

static lariat_status append_mapped(buffer *out, const char *text, size_t size, rule_kind kind)
{
    return kind == RULE_LOWERCASE ? append_lowercase(out, text, size)
                                  : append_form(out, text, size, (unicode_form)(FORM_NFC + (kind - RULE_NFC)));
}

/* Origins of what a character becomes, and the marks behind it, [at, end): of all together where a content's marks compose with
   the template's character. */
static lariat_status mark_character(normalizer *n, rule_kind kind, size_t at, size_t end, buffer *whole, buffer *parts)
{
    const char *text = n->text.data;
    size_t cut = at, first;

    while (cut < end && n->marks.data[cut] == n->marks.data[at]) {
        cut++;
    }
    whole->size = parts->size = 0;
    TRY(append_mapped(whole, text + at, end - at, kind));
    TRY(append_mapped(parts, text + at, cut - at, kind));
    first = parts->size;
    TRY(append_mapped(parts, text + cut, end - cut, kind));
    if (parts->size != whole->size || (whole->size && memcmp(parts->data, whole->data, whole->size) != 0)) {
        return mark_changed(n, at, end, whole->size);
    }
    TRY(mark_changed(n, at, cut, first));
    return mark_changed(n, cut, end, whole->size - first);
}

/* Origins of what a rule that maps characters has made: `made` bytes. */
static lariat_status mark_mapped(normalizer *n, rule_kind kind, size_t made)
{
    size_t size = n->text.size, end;
    buffer whole = { 0 }, parts = { 0 };
    lariat_status status = LARIAT_OK;

    for (size_t at = 0; n->follows && at < size && status == LARIAT_OK; at = end) {
        end = at + (size_t)utf8_length(n->text.data + at);
        end = kind == RULE_LOWERCASE ? end : form_end(n->text.data, size, end);
        status = mark_character(n, kind, at, end, &whole, &parts);
    }
    buffer_free(&whole);
    buffer_free(&parts);
    if (status == LARIAT_OK && n->follows && n->other_marks.size != made) { /* none is known */
        n->other_marks.size = 0;
        TRY(buffer_reserve(&n->other_marks, made));
        memset(n->other_marks.data, ~n->hidden->own, made);
        n->other_marks.size = made;
    }
    return status;
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
    size_t size = n->text.size, n_content, space;

    switch (rule->kind) {
    case RULE_PREPEND:
        n_content = size && !n->bare ? strlen(rule->content) : 0;
        TRY(buffer_append(out, rule->content, n_content));
        TRY(mark_changed(n, 0, 0, n_content));
        TRY(mark_same(n, 0, size));
        n->origin += n->origin ? n_content : 0;
        return buffer_append(out, text, size);
    case RULE_REPLACE:
    case RULE_EXPRESSION:
        return append_matches_replaced(n, i, out);
    case RULE_STRIP_LEFT:
        space = space_size(text, size, true);
        n->origin -= space < n->origin ? space : n->origin;
        TRY(mark_same(n, space, size - space));
        return buffer_append(out, text + space, size - space);
    case RULE_STRIP_RIGHT:
        space = space_size(text, size, false);
        n->origin = n->origin < size - space ? n->origin : size - space;
        TRY(mark_same(n, 0, size - space));
        return buffer_append(out, text, size - space);
    case RULE_LOWERCASE:
    case RULE_NFC:
    case RULE_NFD:
    case RULE_NFKC:
    case RULE_NFKD:
        TRY(map_text(n, rule->kind, out));
        return mark_mapped(n, rule->kind, out->size);
    }
    return LARIAT_OK;
}

static lariat_status normalize_by_rules(normalizer *n, const char *text, size_t size)
{
    n->text.size = n->marks.size = 0;
    TRY(buffer_append(&n->text, text, size));
    if (n->follows) {
        TRY(buffer_append(&n->marks, (const char *)n->hidden->origin + (text - n->hidden->text), size));
    }
    for (int64_t i = 0; i < n->t->v.n_rules && n->text.size; i++) {
        buffer swap = n->text, swap_marks = n->marks;
        n->other.size = n->other_marks.size = 0;
        TRY(apply_rule(n, i, &n->other));
        n->text = n->other;
        n->other = swap;
        n->marks = n->other_marks;
        n->other_marks = swap_marks;
    }
    return LARIAT_OK;
}

/* --- SentencePiece --- */

/* Finds the next symbol from `at` on that is hidden and that the template wrote. */
static void seek_own(normalizer *n, const char *text, size_t size, size_t at)
{
    const hidden_tokens *h = n->hidden;
    const uint8_t *origin = h->origin + (text - h->text);
    size_t run = at; /* the end of the template's bytes that begin here */

    for (n->next = (own_symbol){ .at = size }; at < size && !n->next.size;) {
        for (run = run > at ? run : at; run < size && origin[run] == h->own;) {
            run++;
        }
        const prefix *p = prefix_set_longest(&n->t->users, text + at, run - at);
        if (p && h->ids[p->value]) {
            n->next = (own_symbol){ at, p->size, p->value };
        }
        at += p ? p->size : (size_t)utf8_length(text + at);
    }
}

/* The bytes of one unit of text at `at`: a user-defined symbol, or a character. With hidden symbols a symbol ends before the
   next one of the template, which n->next is. */
static size_t unit_size(normalizer *n, const char *text, size_t size, size_t at)
{
    const prefix *user;

    if (!n->hidden) {
        user = prefix_set_longest(&n->t->users, text + at, size - at);
    } else {
        if (n->next.at < at) {
            seek_own(n, text, size, at);
        }
        if (n->next.at == at) {
            return n->next.size;
        }
        user = prefix_set_longest_shown(&n->t->users, text + at, n->next.at - at, n->hidden->ids);
    }
    return user ? user->size : (size_t)utf8_length(text + at);
}

/* Appends a unit without its first `skip` bytes, with marks for spaces; `own`: it is n->next. */
static lariat_status append_unit(normalizer *n, const char *unit, size_t size, size_t skip, bool own)
{
    bool escape = n->t->v.escape_spaces;

    if (own && skip == 0 && !(escape && memchr(unit, ' ', size))) {
        GROW(n->shown, n->shown_capacity, n->n_shown + 1);
        n->shown[n->n_shown++] = (own_symbol){ n->text.size, n->next.size, n->next.id };
    }
    for (size_t i = skip; i < size; i++) {
        bool mark = unit[i] == ' ' && escape;
        TRY(buffer_append(&n->text, mark ? SPACE_MARK : &unit[i], mark ? SPACE_MARK_SIZE : 1));
    }
    return LARIAT_OK;
}

/* With the identity table: adds the dummy prefix, collapses runs of spaces, marks spaces. */
static lariat_status normalize_by_score(normalizer *n, const char *text, size_t size)
{
    const vocabulary *v = &n->t->v;
    const char *space = v->escape_spaces ? SPACE_MARK : " ";
    size_t mark_size = strlen(space), at = 0;
    bool after_space = v->remove_extra_spaces;
    buffer *out = &n->text;

    out->size = 0;
    n->n_shown = 0;
    if (n->hidden) {
        seek_own(n, text, size, 0);
    }
    while (v->remove_extra_spaces && at < size && text[at] == ' ' && unit_size(n, text, size, at) == 1) {
        at++;
    }
    if (at == size) {
        return LARIAT_OK;
    }
    if (v->dummy_prefix) {
        TRY(buffer_append(out, space, mark_size));
    }
    while (at < size) {
        size_t unit = unit_size(n, text, size, at), skip = 0;
        while (after_space && skip < unit && text[at + skip] == ' ') {
            skip++;
        }
        if (skip < unit) {
            TRY(append_unit(n, text + at, unit, skip, n->hidden && n->next.at == at));
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
