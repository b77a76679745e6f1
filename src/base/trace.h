/* The spans of one rank: a buffer of fixed size that is filled while passes run. Tracing is off where the pointer is NULL, which is
   all that it costs then.
   Rests on include/lariat/trace.h for what a span is. engine/trace.c starts and stops it; transformer.c, ring/attention.c and the
   transport write into it. */
#ifndef BASE_TRACE_H
#define BASE_TRACE_H

#include "base/arena.h"
#include "base/clock.h"
#include "lariat/trace.h"

/* How much there is, and how much found no room. */
typedef struct trace_count {
    int64_t n, lost;
} trace_count;

typedef struct trace {
    arena memory;
    lariat_span *spans; /* [room] */
    int64_t room;
    trace_count now, whole; /* so far; when the last pass ended: one that fails leaves nothing */
    double zero;            /* the clock when tracing started */
    uint32_t pass;          /* that is being recorded */
    int32_t layer;          /* that spans belong to, -1: none */
} trace;

/* Begins anew at `zero`, with room for `room` spans. */
lariat_status trace_open(trace *t, int64_t room, double zero);
void trace_close(trace *t); /* safe on a zeroed one */

/* Takes a span whose times are those of the clock; pass and layer are filled in. Returns its place, -1 if there was no room. */
int64_t trace_take(trace *t, lariat_span span);

/* A span begins, about `owner` or (-1) nobody. Returns its place, for trace_end. */
static inline int64_t trace_begin_of(trace *t, lariat_span_kind kind, int owner)
{
    return t ? trace_take(t, (lariat_span){.begin = clock_now(), .kind = kind, .owner = owner}) : -1;
}

static inline int64_t trace_begin(trace *t, lariat_span_kind kind)
{
    return trace_begin_of(t, kind, -1);
}

static inline void trace_end(const trace *t, int64_t at)
{
    if (t && at >= 0) {
        t->spans[at].end = clock_now() - t->zero;
    }
}

/* Spans belong to this layer from here on; -1: to none. */
static inline void trace_layer(trace *t, int32_t layer)
{
    if (t) {
        t->layer = layer;
    }
}

/* All that comes between these belongs to the pass of that number, and stays if the second one is reached. */
int64_t trace_pass(trace *t, uint32_t number);
void trace_pass_end(trace *t, int64_t at);

#endif
