/* Encoding text: lossy UTF-8, added tokens, normalization, words, merging.
   Rests on normalizer.c, pretokenizer.c and merge.c. Read on in pretokenizer.c. */
#include "text/encode.h"

#include "text/utf8.h"

typedef lariat_status (*part_fn)(encoder *e, const char *text, size_t size, bool first);

static size_t spaces_before(const char *text, size_t from, size_t at)
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

static size_t spaces_after(const char *text, size_t size, size_t at)
{
    int length;

    while (at < size && utf8_is_white_space(utf8_decode(text + at, size - at, &length))) {
        at += (size_t)length;
    }
    return at;
}

/* Appends the ids of added tokens in text and calls `part` for the text between them. A special token that stays text hides
   tokens that begin within it, as in Hugging Face's tokenizers. */
static lariat_status cut_added(encoder *e, const prefix_set *set, const char *text, size_t size, bool first, part_fn part)
{
    const vocabulary *v = &e->splitter.t->v;
    size_t done = 0, at = 0;

    while (set->n && at < size) {
        const prefix *found = prefix_set_longest(set, text + at, size - at);
        const added_token *a = found ? &v->added[found->value] : NULL;
        size_t start = at, end = found ? at + found->size : at + 1;
        if (a && (!a->special || (e->flags & LARIAT_ENCODE_SPECIAL))) {
            start = a->lstrip ? spaces_before(text, done, start) : start;
            end = a->rstrip ? spaces_after(text, size, end) : end;
            if (start > done) {
                TRY(part(e, text + done, start - done, first && done == 0));
            }
            TRY(id_list_append(&e->splitter.ids, a->id));
            done = end;
        }
        at = end;
    }
    return done < size ? part(e, text + done, size - done, first && done == 0) : LARIAT_OK;
}

static lariat_status encode_words(encoder *e, const char *text, size_t size, bool first)
{
    return split_text(&e->splitter, text, size, first);
}

static lariat_status encode_part(encoder *e, const char *text, size_t size, bool first)
{
    const lariat_tokenizer *t = e->splitter.t;

    if (normalizes(&t->v)) {
        TRY(normalize(t, text, size, &e->normalized, &e->other));
        text = e->normalized.data;
        size = e->normalized.size;
    }
    return cut_added(e, &t->added_normalized, text, size, first, encode_words);
}

lariat_status encoder_open(encoder *e, const lariat_tokenizer *t, int flags)
{
    *e = (encoder){ .flags = flags };
    return splitter_open(&e->splitter, t);
}

void encoder_close(encoder *e)
{
    splitter_close(&e->splitter);
    id_list_free(&e->splitter.ids);
    buffer_free(&e->lossy);
    buffer_free(&e->normalized);
    buffer_free(&e->other);
}

lariat_status encoder_text(encoder *e, const char *text, size_t size)
{
    if (!utf8_valid(text, size)) {
        e->lossy.size = 0;
        TRY(utf8_append_lossy(&e->lossy, text, size));
        text = e->lossy.data;
        size = e->lossy.size;
    }
    return cut_added(e, &e->splitter.t->added, text, size, true, encode_part);
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

lariat_status lariat_encode(const lariat_tokenizer *t, const char *text, size_t size, int flags, int32_t **ids, int64_t *n)
{
    encoder e;
    lariat_status status = encoder_open(&e, t, flags);

    if (status == LARIAT_OK && (flags & LARIAT_ENCODE_BOS)) {
        status = t->v.bos >= 0
                     ? encoder_id(&e, t->v.bos)
                     : fail(LARIAT_BAD_ARGUMENT, "tokenizer: the model names no token that begins a text: encode without it");
    }
    NEXT(status, encoder_text(&e, text, size));
    NEXT(status, encoder_take(&e, ids, n));
    encoder_close(&e);
    return status;
}
