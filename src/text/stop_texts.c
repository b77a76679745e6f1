/* Texts that end a reply, found in a stream of bytes.
   Rests on buffer.h. See lariat/text.h; lariat_stream (decode.c) gives the bytes.

   Each text has an automaton (Knuth, Morris and Pratt 1977): its state is the length of the longest beginning of the text with
   which the bytes so far end. So a byte costs constant time a text, and the longest of the states is held back. */
#include "lariat/text.h"
#include "text/buffer.h"

#include <stdlib.h>
#include <string.h>

typedef struct stop_text {
    char *bytes;
    uint32_t size;
    uint32_t *back; /* [size]: of the beginning of i + 1 bytes, the longest shorter beginning with which it ends */
    uint32_t state;
} stop_text;

struct lariat_stops {
    stop_text *texts;
    int32_t n;
    buffer out;  /* output of the last call */
    buffer held; /* the last bytes, which a text may begin with */
    bool found;
};

static uint32_t next_state(const stop_text *t, uint32_t state, char byte)
{
    while (state == t->size || (state && t->bytes[state] != byte)) {
        state = t->back[state - 1];
    }
    return state + (t->bytes[state] == byte);
}

static lariat_status open_text(stop_text *t, const char *bytes, size_t size)
{
    if (size < 1 || size > LARIAT_STOP_BYTES) {
        return fail(LARIAT_BAD_ARGUMENT, "stop: a text of %zu bytes, give 1 to %d", size, LARIAT_STOP_BYTES);
    }
    t->bytes = malloc(size);
    t->back = calloc(size, sizeof *t->back);
    TRY_MEMORY(t->bytes && t->back, "stop: no memory" FREE_MEMORY);
    memcpy(t->bytes, bytes, size);
    t->size = (uint32_t)size;
    for (uint32_t i = 1; i < t->size; i++) {
        t->back[i] = next_state(t, t->back[i - 1], bytes[i]);
    }
    return LARIAT_OK;
}

lariat_status lariat_stops_open(const lariat_stop_text texts[], int32_t n, lariat_stops **out)
{
    *out = NULL;
    if (n < 1 || n > LARIAT_STOPS_MAX) {
        return fail(LARIAT_BAD_ARGUMENT, "stop: %d texts, give 1 to %d", n, LARIAT_STOPS_MAX);
    }
    lariat_stops *s = calloc(1, sizeof *s);
    TRY_MEMORY(s, "stop: no memory" FREE_MEMORY);
    s->texts = calloc((size_t)n, sizeof *s->texts);
    lariat_status status = s->texts ? LARIAT_OK : fail(LARIAT_NO_MEMORY, "stop: no memory" FREE_MEMORY);
    for (int32_t i = 0; i < n && status == LARIAT_OK; i++) {
        s->n = i + 1;
        status = open_text(&s->texts[i], texts[i].bytes, texts[i].size);
    }
    if (status != LARIAT_OK) {
        lariat_stops_close(s);
        return status;
    }
    *out = s;
    return LARIAT_OK;
}

void lariat_stops_close(lariat_stops *s)
{
    for (int32_t i = 0; s && i < s->n; i++) {
        free(s->texts[i].bytes);
        free(s->texts[i].back);
    }
    if (s) {
        free(s->texts);
        buffer_free(&s->out);
        buffer_free(&s->held);
        free(s);
    }
}

/* Outputs all held bytes but the last `kept`. */
static lariat_status let_out(lariat_stops *s, size_t kept)
{
    size_t n = s->held.size - kept;

    if (n == 0) {
        return LARIAT_OK;
    }
    TRY(buffer_append(&s->out, s->held.data, n));
    s->held.size = kept;
    memmove(s->held.data, s->held.data + n, kept);
    return LARIAT_OK;
}

static lariat_status take(lariat_stops *s, char byte)
{
    size_t kept = 0, ended = 0;

    TRY(buffer_append(&s->held, &byte, 1));
    for (int32_t i = 0; i < s->n; i++) {
        stop_text *t = &s->texts[i];
        t->state = next_state(t, t->state, byte);
        kept = t->state > kept ? t->state : kept;
        ended = t->state == t->size && t->size > ended ? t->size : ended;
    }
    s->found = ended > 0;
    TRY(let_out(s, s->found ? ended : kept));
    s->held.size = s->found ? 0 : kept;
    return LARIAT_OK;
}

static lariat_status hand_out(lariat_stops *s, const char **text, size_t *size)
{
    TRY(buffer_terminate(&s->out));
    *text = s->out.data;
    *size = s->out.size;
    return LARIAT_OK;
}

lariat_status lariat_stops_put(lariat_stops *s, const char *bytes, size_t n, const char **text, size_t *size, bool *found)
{
    s->out.size = 0;
    for (size_t i = 0; i < n && !s->found; i++) {
        TRY(take(s, bytes[i]));
    }
    *found = s->found;
    return hand_out(s, text, size);
}

lariat_status lariat_stops_flush(lariat_stops *s, const char **text, size_t *size)
{
    s->out.size = 0;
    TRY(let_out(s, 0));
    for (int32_t i = 0; i < s->n; i++) {
        s->texts[i].state = 0;
    }
    s->found = false;
    return hand_out(s, text, size);
}
