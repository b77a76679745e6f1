/* The ids of a rendered conversation. Markers become ids only where the template wrote all of their bytes; between two of them
   there is text, in which other added tokens are found as usual. Replies keep the ids with which they were made.
   Rests on encode.h. Read on in encode.c. */
#include "text/chat_template.h"
#include "text/encode.h"
#include "text/unicode_forms.h"
#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>

typedef struct composer {
    const lariat_tokenizer *t;
    const char *text;
    const uint8_t *origins;
    size_t size, done; /* what stands before `done` has its ids */
    size_t own_end;    /* the end of the last run of the template's bytes that was looked at */
    const json_t *messages;
    size_t next_reply; /* the first message that may be the next reply */
    hidden_tokens markers;
    encoder e;
} composer;

/* A single character and white space occur in any template: they are no markers by that. */
static bool is_marker_text(const char *text, size_t size)
{
    return size > (size_t)utf8_length(text) && spaces_after(text, size, 0) < size;
}

static void find_texts(const prefix_set *set, const char *text, size_t size, bool *found)
{
    for (size_t at = 0; at < size; at++) {
        prefix_set_mark(set, text + at, size - at, found);
    }
}

/* Added tokens of normalized text that the template holds, as they are written or in their normal form. */
static lariat_status find_literal_normalized(hidden_tokens *m, const lariat_tokenizer *t, const char *source, size_t size)
{
    normalizer n;

    if (t->added_normalized.n == 0) {
        return LARIAT_OK;
    }
    for (int64_t i = 0; i < t->v.n_added; i++) {
        const added_token *a = &t->v.added[i];
        m->added[i] = m->added[i] || (a->normalized && memmem(source, size, a->written, a->written_size));
    }
    lariat_status status = normalizer_open(&n, t);
    NEXT(status, normalize(&n, source, size, 0));
    if (status == LARIAT_OK) {
        find_texts(&t->added_normalized, n.text.data, n.text.size, m->added);
    }
    normalizer_close(&n);
    return status;
}

/* Texts that the template holds literally. */
static lariat_status find_literal(hidden_tokens *m, const lariat_tokenizer *t, const char *source)
{
    size_t size = strlen(source);

    find_texts(&t->added, source, size, m->added);
    find_texts(&t->users, source, size, m->ids);
    TRY(find_literal_normalized(m, t, source, size));
    for (int64_t i = 0; i < t->v.n_added; i++) {
        m->added[i] = m->added[i] && is_marker_text(t->v.added[i].written, t->v.added[i].written_size);
    }
    for (int64_t i = 0; i < t->users.n; i++) {
        const prefix *p = &t->users.list[i];
        m->ids[p->value] = m->ids[p->value] && is_marker_text(p->text, p->size);
    }
    return LARIAT_OK;
}

static void mark_all(bool *ids, const id_list *l)
{
    for (int64_t i = 0; i < l->n; i++) {
        ids[l->data[i]] = true;
    }
}

/* Control tokens, the beginning and the end of texts, ends of turns, and what the template's text has are markers. */
static lariat_status find_markers(composer *c, const char *source)
{
    const vocabulary *v = &c->t->v;
    hidden_tokens *m = &c->markers;

    *m = (hidden_tokens){.text = c->text, .origin = c->origins, .own = ORIGIN_TEMPLATE};
    m->added = calloc((size_t)v->n_added + 1, sizeof *m->added);
    m->ids = calloc((size_t)v->n_tokens, sizeof *m->ids);
    TRY_MEMORY(m->added && m->ids, "chat: no memory for the markers of %lld tokens" FREE_MEMORY, (long long)v->n_tokens);
    TRY(find_literal(m, c->t, source));
    mark_all(m->ids, &v->ends);
    mark_all(m->ids, &c->t->turn_ends);
    if (v->bos >= 0) {
        m->ids[v->bos] = true;
    }
    for (int64_t i = 0; i < v->n_added; i++) {
        m->added[i] = m->added[i] || v->added[i].special || m->ids[v->added[i].id];
    }
    for (int64_t i = 0; i < v->n_added; i++) {
        m->ids[v->added[i].id] = m->ids[v->added[i].id] || m->added[i];
    }
    return LARIAT_OK;
}

static void composer_close(composer *c)
{
    encoder_close(&c->e);
    free(c->markers.added);
    free(c->markers.ids);
}

/* The end of the template's bytes that begin at `at`. */
static size_t own_end(composer *c, size_t at)
{
    for (c->own_end = c->own_end > at ? c->own_end : at; c->own_end < c->size && c->origins[c->own_end] == ORIGIN_TEMPLATE;) {
        c->own_end++;
    }
    return c->own_end;
}

/* A marker at a position. */
typedef struct found_marker {
    int32_t id;
    size_t size;            /* 0: none */
    const added_token *how; /* NULL: not an added token */
} found_marker;

/* The longest token of `set` of which all bytes are the template's, if it is a marker and longer than `best`: a content behind
   a marker makes no longer token of it. `added`: values are places of added tokens, otherwise ids. */
static void longest_own(composer *c, const prefix_set *set, bool added, size_t at, found_marker *best)
{
    const bool *is_marker = added ? c->markers.added : c->markers.ids;
    const prefix *p = prefix_set_longest(set, c->text + at, own_end(c, at) - at);

    if (p && p->size > best->size && is_marker[p->value]) {
        const added_token *a = added ? &c->t->v.added[p->value] : NULL;
        *best = (found_marker){a ? a->id : p->value, p->size, a};
    }
}

/* Those of normalized text are found by the encoder. */
static found_marker marker_at(composer *c, size_t at)
{
    found_marker best = {-1, 0, NULL};

    longest_own(c, &c->t->added, true, at, &best);
    longest_own(c, &c->t->turn_markers, false, at, &best);
    longest_own(c, &c->t->users, false, at, &best);
    return best;
}

/* SentencePiece's user-defined symbols do not divide a text: the encoder finds them. */
static bool is_symbol(const composer *c, const found_marker *m)
{
    return m->size && !m->how && c->t->v.by_score && c->t->v.tokens[m->id].kind == TOKEN_USER;
}

static lariat_status flush(composer *c, size_t to)
{
    size_t from = c->done;

    c->done = to;
    return to > from ? encoder_part(&c->e, c->text + from, to - from, from == 0) : LARIAT_OK;
}

/* --- replies --- */

static size_t reply_length(const composer *c, size_t at)
{
    size_t n = 1;

    while (at + n < c->size && c->origins[at + n] == ORIGIN_REPLY) {
        n++;
    }
    return n;
}

/* The message with ids whose content is the text, from the next one on; NULL: none. */
static const json_t *find_reply(composer *c, const char *text, size_t size)
{
    for (size_t i = c->next_reply; i < json_array_size(c->messages); i++) {
        const json_t *m = json_array_get(c->messages, i), *content = json_object_get(m, "content");
        if (json_array_size(json_object_get(m, "ids")) && json_is_string(content) && json_string_length(content) == size &&
            memcmp(json_string_value(content), text, size) == 0) {
            c->next_reply = i + 1;
            return json_object_get(m, "ids");
        }
    }
    return NULL;
}

static lariat_status check_id(const json_t *id)
{
    return json_is_integer(id) && json_integer_value(id) >= 0 && json_integer_value(id) <= INT32_MAX
               ? LARIAT_OK
               : fail(LARIAT_BAD_ARGUMENT, "chat: \"ids\" of a message holds what is no id: ids are integers from 0 to %d",
                      INT32_MAX);
}

/* The text of ids where they stand within a text: nothing is removed at their beginning. Ill-formed bytes, as of a reply that
   was cut within a character, become U+FFFD as in the message's content. An id that only the model has, of the rows that pad
   its vocabulary, has no text. */
static lariat_status text_of_ids(const composer *c, const json_t *ids, buffer *out)
{
    buffer bytes = {0};
    lariat_status status = LARIAT_OK;

    for (size_t i = 0; status == LARIAT_OK && i < json_array_size(ids); i++) {
        int64_t id = json_integer_value(json_array_get(ids, i));
        status = check_id(json_array_get(ids, i));
        const token *k = status == LARIAT_OK && vocabulary_has(&c->t->v, id) ? &c->t->v.tokens[id] : NULL;
        char byte = k ? (char)k->byte : '\0';
        if (k && !k->special) {
            status = k->byte >= 0 ? buffer_append(&bytes, &byte, 1) : buffer_append(&bytes, k->shown, k->shown_size);
        }
    }
    NEXT(status, utf8_append_lossy(out, bytes.data, bytes.size));
    buffer_free(&bytes);
    return status;
}

/* The ids of a reply at `at` stand for its text, and for the blank before it that decoding removed. *length is 0 where they
   cannot: the template changed the text. */
static lariat_status put_reply(composer *c, size_t at, size_t *length)
{
    size_t n = reply_length(c, at);
    const json_t *ids = find_reply(c, c->text + at, n);
    buffer text = {0};
    lariat_status status = ids ? text_of_ids(c, ids, &text) : LARIAT_OK;
    size_t more = text.size > n ? text.size - n : 0;

    *length = 0;
    if (status == LARIAT_OK && ids && text.size >= n && more <= at - c->done &&
        (text.size == 0 || memcmp(text.data, c->text + at - more, text.size) == 0)) {
        status = flush(c, at - more);
        for (size_t i = 0; i < json_array_size(ids); i++) {
            NEXT(status, encoder_id(&c->e, (int32_t)json_integer_value(json_array_get(ids, i))));
        }
        c->done = at + n;
        *length = n;
    }
    buffer_free(&text);
    return status;
}

/* --- the whole --- */

static lariat_status put_marker(composer *c, size_t at, const found_marker *m, size_t *next)
{
    size_t start = at, end = at + m->size;

    if (m->how) {
        start = m->how->lstrip ? spaces_before(c->text, c->done, start) : start;
        end = m->how->rstrip ? spaces_after(c->text, c->size, end) : end;
    }
    TRY(flush(c, start));
    c->done = *next = end;
    return encoder_id(&c->e, m->id);
}

/* Is `at` the end of a marker of normalized text, and the beginning of a content that may compose with it? */
static bool composes_with_marker(const composer *c, size_t at)
{
    const vocabulary *v = &c->t->v;
    bool composes = false, ends = false;
    bool in_template = at == 0 || c->origins[at] == ORIGIN_TEMPLATE;

    if (in_template || c->origins[at - 1] != ORIGIN_TEMPLATE || form_end(c->text, c->size, at) == at) {
        return false;
    }
    for (int64_t i = 0; i < v->n_rules; i++) {
        composes = composes || v->rules[i].kind == RULE_NFC || v->rules[i].kind == RULE_NFKC;
    }
    for (int64_t i = 0; i < c->t->added_normalized.n && !ends; i++) {
        int32_t place = c->t->added_normalized.list[i].value;
        const added_token *a = &v->added[place];
        ends = c->markers.added[place] && a->written_size <= at &&
               memcmp(c->text + at - a->written_size, a->written, a->written_size) == 0;
    }
    return composes && ends;
}

static lariat_status compose(composer *c)
{
    size_t at = c->done;

    while (at < c->size) {
        size_t length = 0;
        if (composes_with_marker(c, at)) {
            TRY(flush(c, at));
        }
        if (c->origins[at] == ORIGIN_REPLY_BEGINS) {
            TRY(put_reply(c, at, &length));
            at += length;
        }
        if (length == 0) {
            found_marker m = c->origins[at] == ORIGIN_TEMPLATE ? marker_at(c, at) : (found_marker){-1, 0, NULL};
            size_t next = at + 1;
            if (is_symbol(c, &m)) {
                next = at + m.size;
            } else if (m.size) {
                TRY(put_marker(c, at, &m, &next));
            }
            at = next;
        }
    }
    return flush(c, c->size);
}

/* Close it also after a failure. */
static lariat_status composer_open(composer *c, const lariat_tokenizer *t, const char *source, const jinja_output *rendered)
{
    *c = (composer){
        .t = t, .text = rendered->text.data, .origins = (const uint8_t *)rendered->origins.data, .size = rendered->text.size};
    lariat_status status = find_markers(c, source);
    NEXT(status, encoder_open(&c->e, t, 0, &c->markers));
    if (status == LARIAT_OK) {
        encoder_begin(&c->e, c->text, c->size);
    }
    return status;
}

lariat_status chat_ids(const lariat_tokenizer *t, const char *source, const jinja_output *rendered, const json_t *messages,
                       int32_t **ids, int64_t *n)
{
    composer c;
    lariat_status status = composer_open(&c, t, source, rendered);

    c.messages = messages;
    NEXT(status, compose(&c));
    NEXT(status, encoder_take(&c.e, ids, n));
    composer_close(&c);
    return status;
}

/* The first id of what is left, if it is that of a marker; or -1. */
static int32_t first_marker(composer *c)
{
    const id_list *ids = &c->e.splitter.ids;

    return compose(c) == LARIAT_OK && ids->n && c->markers.ids[ids->data[0]] ? ids->data[0] : -1;
}

int32_t chat_end_of_reply(const lariat_tokenizer *t, const char *source, const jinja_output *rendered)
{
    const char *reply = memchr(rendered->origins.data, ORIGIN_REPLY_BEGINS, rendered->origins.size);
    composer c;
    int32_t end = -1;

    if (composer_open(&c, t, source, rendered) == LARIAT_OK && reply) {
        c.done = spaces_after(c.text, c.size, (size_t)(reply - rendered->origins.data) + 1);
        found_marker m = c.done < c.size ? marker_at(&c, c.done) : (found_marker){-1, 0, NULL};
        end = m.size ? m.id : first_marker(&c);
    }
    composer_close(&c);
    return end;
}
