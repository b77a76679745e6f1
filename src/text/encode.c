/* Encoding text: lossy UTF-8, added tokens, normalization, words, merging.
   Rests on normalizer.c, pretokenizer.c and merge.c. Read on in pretokenizer.c. */
#include "text/encode.h"

#include "text/utf8.h"

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

/* Appends the ids of added tokens in text and calls `part` for the text between them. A token that stays text hides tokens that
   begin within it, as in Hugging Face's tokenizers. */
static lariat_status cut_added(encoder *e, const prefix_set *set, const char *text, size_t size, size_t origin, part_fn part)
{
    const vocabulary *v = &e->splitter.t->v;
    size_t done = 0, at = 0;

    while (set->n && (at += prefix_set_begin(set, text + at, size - at)) < size) {
        const prefix *found = prefix_set_longest(set, text + at, size - at);
        const added_token *a = found ? &v->added[found->value] : NULL;
        size_t start = at, end = found ? at + found->size : at + 1;
        bool taken = false;
        at = end;
        bool hidden = a && e->hidden && e->hidden[found->value];
        TRY(a && !hidden ? is_taken(e, a, text, size, start, &taken) : LARIAT_OK);
        if (!taken) {
            continue;
        }
        start = a->lstrip ? spaces_before(text, done, start) : start;
        end = a->rstrip ? spaces_after(text, size, end) : end;
        if (start > done) {
            TRY(part(e, text + done, start - done, origin > done ? origin - done : 0));
        }
        TRY(id_list_append(&e->splitter.ids, a->id));
        done = end;
    }
    return done < size ? part(e, text + done, size - done, origin > done ? origin - done : 0) : LARIAT_OK;
}

static lariat_status encode_words(encoder *e, const char *text, size_t size, size_t origin)
{
    return split_text(&e->splitter, text, size, origin);
}

static lariat_status encode_part(encoder *e, const char *text, size_t size, size_t origin)
{
    const lariat_tokenizer *t = e->splitter.t;

    if (normalizes(&t->v)) {
        TRY(normalize(&e->normalizer, text, size, origin));
        text = e->normalizer.text.data;
        merger_show(&e->splitter.merger, text, e->normalizer.shown, e->normalizer.n_shown);
        size = e->normalizer.text.size;
        origin = e->normalizer.origin;
    }
    return cut_added(e, &t->added_normalized, text, size, origin, encode_words);
}

lariat_status encoder_open(encoder *e, const lariat_tokenizer *t, int flags, const hidden_tokens *hidden)
{
    *e = (encoder){ .flags = flags, .hidden = hidden ? hidden->added : NULL };
    TRY(splitter_open(&e->splitter, t));
    TRY(normalizer_open(&e->normalizer, t));
    e->normalizer.hidden = hidden;
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
    return encoder_part(e, text, size, true);
}

lariat_status encoder_part(encoder *e, const char *text, size_t size, bool first)
{
    return cut_added(e, &e->splitter.t->added, text, size, first && size ? (size_t)utf8_length(text) : 0, encode_part);
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
