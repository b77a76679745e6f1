/* The spans of one rank: a buffer of fixed size that is filled while passes run. Tracing is off where the pointer is NULL, which is
   all that it costs then.
   Rests on include/lariat/trace.h for what a span is. api/tracing.c starts and stops it; transformer.c, ring/attention.c and the
   transport write into it.

   On the host a span's times are known when it ends. Work of a device is queued before it is done: there a span is taken with the
   numbers of two moments, and gets its times when they are past (trace_settle), first on the device's clock, at last on the host's
   (trace_align). */
#ifndef TRACE_SPANS_H
#define TRACE_SPANS_H

#include "base/arena.h"
#include "base/clock.h"
#include "lariat/trace.h"

/* How much there is, and how much found no room. */
typedef struct trace_count {
    int64_t n, lost;
} trace_count;

/* Moments of a device, where its work is not done when it is asked for: see device.h. */
typedef struct trace_clock {
    void *of;                                                   /* the device; NULL: times are the host's */
    int64_t (*stamp)(void *of);                                 /* a moment's number; -1: it has none */
    bool (*stamped)(void *of, int64_t number, double *seconds); /* false: still to come; NAN: not known any more */
} trace_clock;

/* The same moment on a device's clock and on the host's, in seconds; the host's since tracing started. */
typedef struct trace_anchor {
    double device, host;
} trace_anchor;

typedef struct trace {
    arena memory;
    lariat_span *spans; /* [room] */
    int64_t room;
    trace_count now, whole; /* so far; when the last pass ended: one that fails leaves nothing */
    double zero;            /* the host's clock when tracing started; 0 for a device's spans, which are aligned later */
    uint32_t pass;          /* that is being recorded */
    int32_t layer;          /* that spans belong to, -1: none */
    trace_clock clock;
    trace_anchor first;     /* when tracing started */
    int32_t every, among;   /* spans of layers: of every so many one, `among` them; 0: of all */
    int64_t settled, aligned; /* spans whose times are on the device's clock; of those, on the host's since `zero` */
} trace;

/* An empty one that begins at `zero` of the host's clock, with room for `room` spans. */
lariat_status trace_open(trace *t, int64_t room, double zero);
/* The spans are a device's. A moment costs it something: so of every TRACE_LAYERS layers one is looked into, and `among` them. */
enum { TRACE_LAYERS = 8 };
void trace_of_device(trace *t, trace_clock clock, trace_anchor first, int32_t among);
void trace_close(trace *t); /* safe on a zeroed one */

/* Are there to be spans of what is done now? */
static inline bool trace_looks(const trace *t)
{
    return t && (t->every == 0 || t->layer < 0 || (t->layer - t->among) % t->every == 0);
}

/* Takes a span whose times are those of the clock, or numbers of moments; pass and layer are filled in. Returns its place, -1 if
   there was no room. */
int64_t trace_take(trace *t, lariat_span span);

/* What the clock says: now, or the number of this moment. Negative: it has none, and no span begins or ends here. */
static inline double trace_now(const trace *t)
{
    return t->clock.of ? (double)t->clock.stamp(t->clock.of) : clock_now();
}

/* A span begins, about `owner` or (-1) nobody. Returns its place, for trace_end. */
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

/* Spans belong to this layer from here on; -1: to none. */
static inline void trace_layer(trace *t, int32_t layer)
{
    if (t) {
        t->layer = layer;
    }
}

/* All that comes between these belongs to the pass of that number, whose span begins with the first, and stays if the second one is
   reached. */
int64_t trace_pass(trace *t, uint32_t number);
void trace_pass_end(trace *t);

/* Reads the times of moments that are past, span after span. Best while the device is busy; NULL is allowed. */
void trace_settle(trace *t);

/* Brings what was settled from the device's clock to the host's: the two run evenly from the first anchor to `now`. Spans whose
   moments were forgotten are lost. */
void trace_align(trace *t, trace_anchor now);

#endif
