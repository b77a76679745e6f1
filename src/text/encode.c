/* Encoding text: lossy UTF-8, added tokens, normalization, words, merging.
   Rests on normalizer.c, pretokenizer.c and merge.c. Read on in pretokenizer.c. */
#include "text/encode.h"

#include "text/utf8.h"

#include <string.h>

/* A text in which added tokens are searched for: raw, or normalized. */
typedef struct span {
    const char *text;
    size_t size, origin;
    size_t done; /* what stands before it has its ids */
} span;

typedef lariat_status (*part_fn)(encoder *e, const char *text, size_t size, size_t origin);

size_t spaces_before(const char *text, size_t from, size_t at)
{
    while (at > from) {
        size_t back = at - 1;
        int length;
        while (back > from && ((unsigned char)text[back] & 0xC0) == 0x80) {
            back--;
        }
        if (!utf8_is_white_space(utf8_decode(text + back, at - back, &length))) {
            break;
        }
        at = back;
    }
    return at;
}

size_t spaces_after(const char *text, size_t size, size_t at)
{
    int length;

    while (at < size && utf8_is_white_space(utf8_decode(text + at, size - at, &length))) {
        at += (size_t)length;
    }
    return at;
}

/* Is the character [at, end) one of a word? */
static lariat_status is_of_word(encoder *e, const char *text, size_t at, size_t end, bool *out)
{
    size_t start, stop;

    return search_next(e->word, text + at, end - at, 0, out, &start, &stop);
}

/* Is there no character of a word on either side of [start, end)? */
static lariat_status is_single_word(encoder *e, const char *text, size_t size, size_t start, size_t end, bool *out)
{
    bool before = false, after = false;
    size_t at = start;

    while (at > 0 && (at == start || ((unsigned char)text[at] & 0xC0) == 0x80)) {
        at--;
    }
    TRY(start > 0 ? is_of_word(e, text, at, start, &before) : LARIAT_OK);
    TRY(end < size ? is_of_word(e, text, end, end + (size_t)utf8_length(text + end), &after) : LARIAT_OK);
    *out = !before && !after;
    return LARIAT_OK;
}

/* Is an added token that stands at [start, end) taken for its id? */
static lariat_status is_taken(encoder *e, const added_token *a, const char *text, size_t size, size_t start, bool *out)
{
    *out = !a->special || (e->flags & LARIAT_ENCODE_SPECIAL);
    return *out && a->single_word ? is_single_word(e, text, size, start, start + a->size, out) : LARIAT_OK;
}

static bool is_own(const hidden_tokens *h, const char *text, size_t size)
{
    const uint8_t *origin = h->origin + (text - h->text);
    size_t n = 0;

    while (n < size && origin[n] == h->own) {
        n++;
    }
    return n == size;
}

/* Has a token of raw text, which is partly a content, a byte of a marker that is found in normalized text? The template's
   marker is looked for as it is written. */
static bool covers_marker(const encoder *e, const span *s, size_t start, size_t end)
{
    const hidden_tokens *h = e->hidden;
    const lariat_tokenizer *t = e->splitter.t;

    if (!h || !e->normalizer.follows || is_own(h, s->text + start, end - start)) {
        return false;
    }
    for (size_t at = start; at < end; at++) {
        for (int64_t i = 0; i < t->added_normalized.n; i++) {
            const added_token *a = &t->v.added[t->added_normalized.list[i].value];
            if (h->added[a - t->v.added] && a->written_size <= s->size - at &&
                memcmp(s->text + at, a->written, a->written_size) == 0 && is_own(h, s->text + at, a->written_size)) {
                return true;
            }
        }
    }
    return false;
}

/* Appends the ids of the text up to `end`. */
static lariat_status put_text(encoder *e, span *s, size_t end, part_fn part)
{
    size_t from = s->done;

    s->done = end;
    return end > from ? part(e, s->text + from, end - from, s->origin > from ? s->origin - from : 0) : LARIAT_OK;
}

/* Appends an added token at [start, end), with the white space that it includes, after the text before it. */
static lariat_status put_added(encoder *e, span *s, const added_token *a, size_t start, size_t end, part_fn part)
{
    start = a->lstrip ? spaces_before(s->text, s->done, start) : start;
    end = a->rstrip ? spaces_after(s->text, s->size, end) : end;
    TRY(put_text(e, s, start, part));
    s->done = end;
    return id_list_append(&e->splitter.ids, a->id);
}

/* Appends the ids of added tokens in text and calls `part` for the text between them. A token that stays text hides tokens that
   begin within it, as in Hugging Face's tokenizers. */
static lariat_status cut_added(encoder *e, const prefix_set *set, span s, part_fn part)
{
    const vocabulary *v = &e->splitter.t->v;
    size_t at = 0;

    while (set->n && (at += prefix_set_begin(set, s.text + at, s.size - at)) < s.size) {
        const prefix *found = prefix_set_longest(set, s.text + at, s.size - at);
        const added_token *a = found ? &v->added[found->value] : NULL;
        size_t start = at;
        bool taken = false;
        at += found ? found->size : 1;
        bool hidden = a && e->hidden && e->hidden->added[found->value];
        if (a && !hidden && !a->normalized && covers_marker(e, &s, start, at)) {
            at = start + 1;
            continue;
        }
        TRY(a && !hidden ? is_taken(e, a, s.text, s.size, start, &taken) : LARIAT_OK);
        if (taken) {
            TRY(put_added(e, &s, a, start, at, part));
        }
    }
    return put_text(e, &s, s.size, part);
}

static lariat_status encode_words(encoder *e, const char *text, size_t size, size_t origin)
{
    return split_text(&e->splitter, text, size, origin);
}

static lariat_status encode_normalized(encoder *e, const char *text, size_t size, size_t origin)
{
    return cut_added(e, &e->splitter.t->added_normalized, (span){ text, size, origin, 0 }, encode_words);
}

/* The end of the template's bytes that begin at `at`. *end: that of an earlier one. */
static size_t run_end(const hidden_tokens *h, const uint8_t *origins, size_t size, size_t at, size_t *end)
{
    for (*end = *end > at ? *end : at; *end < size && origins[*end] == h->own;) {
        ++*end;
    }
    return *end;
}

/* Appends the ids of the hidden tokens that the template wrote, and of the text between them. What Prepend puts before a token
   may also be a content's. `origins`: of its bytes. */
static lariat_status cut_own(encoder *e, span s, const uint8_t *origins)
{
    const hidden_tokens *h = e->hidden;
    const lariat_tokenizer *t = e->splitter.t;
    size_t run = 0, led = 0;

    for (size_t at = 0; at < s.size;) {
        const prefix *p =
            prefix_set_longest(&t->added_normalized, s.text + at, run_end(h, origins, s.size, at, &run) - at);
        if (!p && t->lead && t->lead < s.size - at) {
            size_t end = run_end(h, origins, s.size, at + t->lead, &led);
            p = prefix_set_longest(&t->added_normalized, s.text + at, end - at);
            p = p && t->v.added[p->value].lead == t->lead ? p : NULL;
        }
        size_t end = at + (p ? p->size : 1);
        if (p && h->added[p->value]) {
            TRY(put_added(e, &s, &t->v.added[p->value], at, end, encode_normalized));
        }
        at = end;
    }
    return put_text(e, &s, s.size, encode_normalized);
}

static lariat_status encode_part(encoder *e, const char *text, size_t size, size_t origin)
{
    normalizer *n = &e->normalizer;
    const hidden_tokens *h = e->hidden;

    if (!normalizes(&e->splitter.t->v)) {
        return n->follows ? cut_own(e, (span){ text, size, origin, 0 }, h->origin + (text - h->text))
                          : encode_normalized(e, text, size, origin);
    }
    TRY(normalize(n, text, size, origin));
    merger_show(&e->splitter.merger, n->text.data, n->shown, n->n_shown);
    return n->follows ? cut_own(e, (span){ n->text.data, n->text.size, n->origin, 0 }, (const uint8_t *)n->marks.data)
                      : encode_normalized(e, n->text.data, n->text.size, n->origin);
}

/* Is an added token of normalized text hidden? */
static bool hides_normalized(const lariat_tokenizer *t, const hidden_tokens *h)
{
    bool any = false;

    for (int64_t i = 0; h && i < t->added_normalized.n; i++) {
        any = any || h->added[t->added_normalized.list[i].value];
    }
    return any;
}

lariat_status encoder_open(encoder *e, const lariat_tokenizer *t, int flags, const hidden_tokens *hidden)
{
    *e = (encoder){ .flags = flags, .hidden = hidden };
    TRY(splitter_open(&e->splitter, t));
    TRY(normalizer_open(&e->normalizer, t));
    e->normalizer.hidden = hidden;
    e->normalizer.follows = hides_normalized(t, hidden);
    e->splitter.merger.hidden = hidden ? hidden->ids : NULL;
    return t->word ? search_open(t->word, &e->word) : LARIAT_OK;
}

void encoder_close(encoder *e)
{
    splitter_close(&e->splitter);
    normalizer_close(&e->normalizer);
    search_close(e->word);
    id_list_free(&e->splitter.ids);
    buffer_free(&e->lossy);
}

lariat_status encoder_text(encoder *e, const char *text, size_t size)
{
    if (!utf8_valid(text, size)) {
        e->lossy.size = 0;
        TRY(utf8_append_lossy(&e->lossy, text, size));
        text = e->lossy.data;
        size = e->lossy.size;
    }
    encoder_begin(e, text, size);
    return encoder_part(e, text, size, true);
}

void encoder_begin(encoder *e, const char *text, size_t size)
{
    for (int i = 0; i < MAX_SPLIT_STEPS; i++) {
        search_within(e->splitter.searches[i], text, size);
    }
    for (int i = 0; i < MAX_RULES; i++) {
        search_within(e->normalizer.searches[i], text, size);
    }
}

lariat_status encoder_part(encoder *e, const char *text, size_t size, bool first)
{
    size_t origin = first && size ? (size_t)utf8_length(text) : 0;

    return cut_added(e, &e->splitter.t->added, (span){ text, size, origin, 0 }, encode_part);
}

lariat_status encoder_id(encoder *e, int32_t id)
{
    return id_list_append(&e->splitter.ids, id);
}

lariat_status encoder_take(encoder *e, int32_t **ids, int64_t *n)
{
    id_list *l = &e->splitter.ids;

    GROW(l->data, l->capacity, 1); /* never NULL, also without ids */
    *ids = l->data;
    *n = l->n;
    *l = (id_list){ 0 };
    return LARIAT_OK;
}

/* The ids that the tokenizer puts before a text: those of its template, or BOS alone. */
static lariat_status encode_before(encoder *e, const vocabulary *v)
{
    if (v->before.n == 0 && v->after.n == 0) {
        return v->bos >= 0
                   ? encoder_id(e, v->bos)
                   : fail(LARIAT_BAD_ARGUMENT, "tokenizer: the model names no token that begins a text: encode without it");
    }
    for (int64_t i = 0; i < v->before.n; i++) {
        TRY(encoder_id(e, v->before.data[i]));
    }
    return LARIAT_OK;
}

lariat_status lariat_encode(const lariat_tokenizer *t, const char *text, size_t size, int flags, int32_t **ids, int64_t *n)
{
    encoder e;
    bool around = flags & LARIAT_ENCODE_BOS;
    lariat_status status = encoder_open(&e, t, flags, NULL);

    NEXT(status, around ? encode_before(&e, &t->v) : LARIAT_OK);
    NEXT(status, encoder_text(&e, text, size));
    for (int64_t i = 0; around && i < t->v.after.n; i++) {
        NEXT(status, encoder_id(&e, t->v.after.data[i]));
    }
    NEXT(status, encoder_take(&e, ids, n));
    encoder_close(&e);
    return status;
}
