/* The spans of one rank: a buffer of fixed size that is filled during passes. Where tracing is off the pointer is NULL, and
   a span costs one comparison.
   Rests on include/lariat/trace.h, which defines spans. engine/tracing.c starts and stops it; model/transformer.c,
   ring/attention.c and the transports record into it.

   On the host a span's times are known when it ends. Work on a stream is queued: there a span holds the numbers of two
   timestamps until they have passed; trace_settle reads their times on the device's clock, trace_align converts them to the
   host's. */
#pragma once

#include "base/arena.h"
#include "base/clock.h"
#include "lariat/trace.h"

/* Spans stored, and spans dropped because the buffer was full. */
typedef struct trace_count {
    int64_t n, lost;
} trace_count;

/* Timestamps of a device with streams: see stamp in device.h. */
typedef struct trace_clock {
    void *of;                                                   /* the device; NULL: times are the host's */
    int64_t (*stamp)(void *of);                                 /* a new timestamp's number; -1: none is free */
    bool (*stamped)(void *of, int64_t number, double *seconds); /* false: not yet passed; NAN: overwritten */
} trace_clock;

/* One moment on both clocks, in seconds; the host's since tracing started. */
typedef struct trace_anchor {
    double device, host;
} trace_anchor;

typedef struct trace {
    arena memory;
    lariat_span *spans; /* [room] */
    int64_t room;
    trace_count now, whole; /* so far; at the end of the last pass, to which a failed pass returns */
    double zero;            /* the host's clock when tracing started; 0 for a device's spans, which are aligned later */
    uint32_t pass;          /* being recorded */
    int32_t layer;          /* of the next spans, -1: none */
    trace_clock clock;
    trace_anchor first;     /* at the start of tracing */
    int32_t every, among;   /* layers recorded: one of `every`, `among` included; 0: all */
    int64_t settled, aligned; /* spans whose times are on the device's clock; of those, on the host's since `zero` */
} trace;

/* An empty buffer for `room` spans, whose time 0 is `zero` on the host's clock. */
lariat_status trace_open(trace *t, int64_t room, double zero);
/* The spans are a device's. A timestamp costs its stream time: one layer of every TRACE_LAYERS is recorded, `among`
   included. */
enum { TRACE_LAYERS = 8 };
void trace_of_device(trace *t, trace_clock clock, trace_anchor first, int32_t among);
void trace_close(trace *t); /* safe on a zeroed one */

/* Are spans recorded in the current layer? */
static inline bool trace_looks(const trace *t)
{
    return t && (t->every == 0 || t->layer < 0 || (t->layer - t->among) % t->every == 0);
}

/* Stores a span whose times are the clock's, or numbers of timestamps; pass and layer are filled in. Returns its index, -1:
   full. */
int64_t trace_take(trace *t, lariat_span span);

/* The time, or the number of a new timestamp. Negative: none is free, and no span begins or ends here. */
static inline double trace_now(const trace *t)
{
    return t->clock.of ? (double)t->clock.stamp(t->clock.of) : clock_now();
}

/* Begins a span of rank `owner`, -1: none. Returns its index, for trace_end. */
static inline int64_t trace_begin_of(trace *t, lariat_span_kind kind, int owner)
{
    if (!trace_looks(t)) {
        return -1;
    }
    double now = trace_now(t);
    return now >= 0 ? trace_take(t, (lariat_span){.begin = now, .end = -1, .kind = kind, .owner = owner}) : -1;
}

static inline int64_t trace_begin(trace *t, lariat_span_kind kind)
{
    return trace_begin_of(t, kind, -1);
}

static inline void trace_end(const trace *t, int64_t at)
{
    if (t && at >= 0) {
        t->spans[at].end = trace_now(t) - t->zero;
    }
}

/* Sets the layer of the next spans; -1: none. */
static inline void trace_layer(trace *t, int32_t layer)
{
    if (t) {
        t->layer = layer;
    }
}

/* Begin and end the pass of that number and its span. Spans of a pass that does not reach trace_pass_end are dropped. */
int64_t trace_pass(trace *t, uint32_t number);
void trace_pass_end(trace *t);

/* Reads the times of passed timestamps into their spans. Best called while the device is busy; NULL is allowed. */
void trace_settle(trace *t);

/* Converts settled times from the device's clock to the host's, linearly between the first anchor and `now`. Spans whose
   timestamps were overwritten are dropped. */
void trace_align(trace *t, trace_anchor now);
