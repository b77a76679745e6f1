/* Decoding: ids to text, at once or id by id, by one state machine. Output is always well-formed: bytes that may still
   become a character are held back, bytes that cannot are U+FFFD. In byte-level vocabularies all tokens together are one
   text, and a maximal ill-formed part is one U+FFFD; byte tokens of other vocabularies that form no character are one U+FFFD
   each, as in SentencePiece.
   Rests on utf8.c. encode.c is the other direction. */
#include "text/tokenizer.h"

#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>

struct lariat_stream {
    const lariat_tokenizer *t;
    bool special;
    buffer out;              /* output of the last call */
    char waiting[UTF8_MAX];  /* held back: an unfinished character */
    size_t n_waiting;
    bool begun;              /* a token has been decoded */
    bool shown;              /* text has been output */
    bool space_taken;        /* FIRST_DUMMY: the dummy prefix has been removed */
    int32_t strip;           /* FIRST_STRIP: spaces that may still be removed */
};

/* Outputs text; removes leading spaces by the first rule. */
static lariat_status let_out(lariat_stream *s, const char *text, size_t size)
{
    while (s->strip && size) {
        if (*text != ' ') {
            s->strip = 0;
            break;
        }
        s->strip--;
        text++;
        size--;
    }
    s->shown = s->shown || size;
    return buffer_append(&s->out, text, size);
}

/* Outputs the held bytes as far as they are decided; all of them at the `end`. */
static lariat_status put_decided(lariat_stream *s, bool end)
{
    bool one_by_one = !s->t->v.byte_level;

    while (s->n_waiting) {
        int length;
        int32_t code = utf8_decode(s->waiting, s->n_waiting, &length);
        if (code == UTF8_PARTIAL && !end) {
            return LARIAT_OK;
        }
        if (code < 0) {
            length = one_by_one ? 1 : length;
            TRY(let_out(s, UTF8_REPLACEMENT, strlen(UTF8_REPLACEMENT)));
        } else {
            TRY(let_out(s, s->waiting, (size_t)length));
        }
        s->n_waiting -= (size_t)length;
        memmove(s->waiting, s->waiting + length, s->n_waiting);
    }
    return LARIAT_OK;
}

static lariat_status put_bytes(lariat_stream *s, const char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        s->waiting[s->n_waiting++] = bytes[i];
        TRY(put_decided(s, false));
    }
    return LARIAT_OK;
}

/* Outputs the first token without its space marks. */
static lariat_status put_without_marks(lariat_stream *s, const token *k)
{
    for (uint32_t at = 0; at < k->size;) {
        bool mark = k->size - at >= SPACE_MARK_SIZE && memcmp(k->text + at, SPACE_MARK, SPACE_MARK_SIZE) == 0;
        uint32_t n = mark ? SPACE_MARK_SIZE : 1;
        if (!mark) {
            TRY(let_out(s, k->text + at, 1));
        }
        at += n;
    }
    return LARIAT_OK;
}

static lariat_status put_text(lariat_stream *s, const token *k)
{
    first_rule first = s->t->v.first;
    bool marked = k->size >= SPACE_MARK_SIZE && memcmp(k->text, SPACE_MARK, SPACE_MARK_SIZE) == 0;

    if (first == FIRST_METASPACE && !s->begun) {
        return put_without_marks(s, k);
    }
    if (marked && !s->shown && !k->special && (first == FIRST_SPACES || (first == FIRST_DUMMY && !s->space_taken))) {
        s->space_taken = true;
        return let_out(s, k->shown + 1, k->shown_size - 1);
    }
    return let_out(s, k->shown, k->shown_size);
}

static lariat_status take(lariat_stream *s, int32_t id)
{
    const vocabulary *v = &s->t->v;
    const token *k;
    char byte;

    if (id < 0) {
        return fail(LARIAT_BAD_ARGUMENT, "id %d: ids are not negative, give those of a model", id);
    }
    if (!vocabulary_has(v, id)) { /* models have more ids than tokenizers: rows that pad the vocabulary */
        return LARIAT_OK;
    }
    k = &v->tokens[id];
    if (k->special && !s->special) {
        return LARIAT_OK;
    }
    if (v->spaced && s->begun) {
        TRY(let_out(s, " ", 1));
    }
    if (v->byte_level) {
        TRY(put_bytes(s, k->shown, k->shown_size));
    } else if (k->byte >= 0) {
        byte = (char)k->byte;
        TRY(put_bytes(s, &byte, 1));
    } else {
        TRY(put_decided(s, true));
        TRY(put_text(s, k));
    }
    s->begun = true;
    return LARIAT_OK;
}

static void begin(lariat_stream *s, const lariat_tokenizer *t, bool special)
{
    *s = (lariat_stream){ .t = t, .special = special, .strip = t->v.first == FIRST_STRIP ? t->v.strip : 0 };
}

lariat_status lariat_stream_open(const lariat_tokenizer *t, bool special, lariat_stream **out)
{
    lariat_stream *s = malloc(sizeof *s);

    TRY_MEMORY(s, "tokenizer: no memory for a stream" FREE_MEMORY);
    begin(s, t, special);
    *out = s;
    return LARIAT_OK;
}

void lariat_stream_close(lariat_stream *s)
{
    if (s) {
        buffer_free(&s->out);
        free(s);
    }
}

static lariat_status hand_out(lariat_stream *s, const char **text, size_t *size)
{
    TRY(buffer_terminate(&s->out));
    *text = s->out.data;
    *size = s->out.size;
    return LARIAT_OK;
}

lariat_status lariat_stream_put(lariat_stream *s, int32_t id, const char **text, size_t *size)
{
    s->out.size = 0;
    TRY(take(s, id));
    return hand_out(s, text, size);
}

lariat_status lariat_stream_flush(lariat_stream *s, const char **text, size_t *size)
{
    s->out.size = 0;
    TRY(put_decided(s, true));
    return hand_out(s, text, size);
}

lariat_status lariat_decode(const lariat_tokenizer *t, const int32_t *ids, int64_t n, bool special, char **text, size_t *size)
{
    lariat_stream s;
    lariat_status status = LARIAT_OK;

    begin(&s, t, special);
    for (int64_t i = 0; i < n && status == LARIAT_OK; i++) {
        status = take(&s, ids[i]);
    }
    NEXT(status, put_decided(&s, true));
    NEXT(status, buffer_terminate(&s.out));
    if (status != LARIAT_OK) {
        buffer_free(&s.out);
        return status;
    }
    *text = s.out.data;
    *size = s.out.size;
    return LARIAT_OK;
}
