/* Tracing of an engine: a buffer a rank, handed to all that write into it.
   Rests on trace/spans.h. See include/lariat/trace.h; ranks of other processes are traced in tracing_far.c. */
#include "engine/engine.h"

#include <math.h>
#include <stdlib.h>

/* Room for so many passes is made where the caller names none: a reply of some thousand tokens. */
enum { PASSES = 4096, SPANS_MOST = 1 << 22 };

/* The most that a rank records of a pass whose head has one block. By slices a layer has itself, two projections, attention,
   merge, feed-forward and waits in five gathers, one for each other rank; where keys travel, instead of the waits in gathers,
   attention, wait and hop for each rank; where queries travel, two hops each. */
static int64_t spans_of_pass(const lariat_engine *e)
{
    return 8 + e->info.n_layers * (11 + 6 * (int64_t)e->plan.shown.ranks);
}

static int64_t default_room(const lariat_engine *e)
{
    int64_t room = PASSES * spans_of_pass(e);

    return room < SPANS_MOST ? room : SPANS_MOST;
}

static void hand_out(lariat_engine *e, bool on)
{
    for (int32_t i = 0; i < e->ranks.n; i++) {
        transformer_trace(&e->local[i].transformer, on ? &e->local[i].trace : NULL);
    }
}

/* --- clocks of devices --- */

static int64_t device_stamp(void *of)
{
    device *dev = of;

    return dev->ops->stamp(dev, NULL);
}

static bool device_stamped(void *of, int64_t number, double *seconds)
{
    device *dev = of;

    return dev->ops->stamped(dev, number, seconds);
}

/* Now, on the clock of a device and on the host's since `zero`: the narrowest of some looks, a few microseconds. The device has
   nothing else to do. */
static trace_anchor anchor_of(device *dev, double zero)
{
    enum { LOOKS = 10 };
    trace_anchor best = {0};
    double least = INFINITY;

    for (int i = 0; i < LOOKS; i++) {
        double there, before = clock_now();
        int64_t number = dev->ops->stamp(dev, dev->stream);
        while (!dev->ops->stamped(dev, number, &there)) {
        }
        double after = clock_now();
        if (after - before < least) {
            least = after - before;
            best = (trace_anchor){.device = there, .host = (before + after) / 2 - zero};
        }
    }
    return best;
}

static trace *trace_of_rank(const local_rank *r, const lariat_engine *e)
{
    return &e->local[r - r->all->list].trace;
}

static lariat_status begin_rank(local_rank *r, void *engine)
{
    const lariat_engine *e = engine;
    trace_clock clock = {.of = r->dev, .stamp = device_stamp, .stamped = device_stamped};

    if (r->dev->ops->stamp) {
        trace_of_device(trace_of_rank(r, e), clock, anchor_of(r->dev, e->trace_zero), e->info.n_layers / 2);
    }
    return LARIAT_OK;
}

static bool is_aligned(const trace *t)
{
    return !t->clock.of || t->aligned == t->whole.n;
}

static lariat_status align_rank(local_rank *r, void *engine)
{
    const lariat_engine *e = engine;
    trace *t = trace_of_rank(r, e);

    if (!is_aligned(t)) {
        trace_anchor anchor = anchor_of(r->dev, e->trace_zero); /* which waits for the timestamps of passes under way */
        trace_settle(t);
        trace_align(t, anchor);
    }
    return LARIAT_OK;
}

/* --- start, stop, read --- */

/* A new buffer for every rank, or for none: earlier spans are dropped only once all are there. */
static lariat_status renew_buffers(lariat_engine *e, int64_t room)
{
    int32_t n = e->ranks.n, opened = 0;
    double zero = clock_now();
    trace *renewed = calloc((size_t)n, sizeof *renewed);
    lariat_status status = renewed ? LARIAT_OK : fail(LARIAT_NO_MEMORY, "trace: no memory for %d ranks" FREE_MEMORY, n);

    while (status == LARIAT_OK && opened < n) {
        status = trace_open(&renewed[opened], room, zero);
        opened += status == LARIAT_OK;
    }
    for (int32_t i = 0; i < opened; i++) {
        trace *old = status == LARIAT_OK ? &e->local[i].trace : &renewed[i];
        trace_close(old);
        if (status == LARIAT_OK) {
            *old = renewed[i];
        }
    }
    e->trace_zero = status == LARIAT_OK ? zero : e->trace_zero;
    free(renewed);
    return status;
}

lariat_status tracing_start_local(lariat_engine *e, int64_t spans)
{
    TRY(renew_buffers(e, spans ? spans : default_room(e)));
    (void)ranks_run(&e->ranks, begin_rank, e); /* which cannot fail */
    hand_out(e, true);
    return LARIAT_OK;
}

lariat_status lariat_trace_start(lariat_engine *e, int64_t spans)
{
    if (spans < 0) {
        return fail(LARIAT_BAD_ARGUMENT, "trace: room for %lld spans makes no sense, ask for 0 (automatic) or more",
                    (long long)spans);
    }
    return is_told(e) ? tracing_start_all(e, spans) : tracing_start_local(e, spans);
}

void tracing_stop_local(lariat_engine *e)
{
    bool aligned = true;

    hand_out(e, false);
    for (int32_t i = 0; i < e->ranks.n; i++) {
        aligned = aligned && is_aligned(&e->local[i].trace);
    }
    if (!aligned) {
        (void)ranks_run(&e->ranks, align_rank, e); /* which cannot fail */
    }
}

void lariat_trace_stop(lariat_engine *e)
{
    tracing_stop_local(e);
    tracing_gather(e);
}

const trace *tracing_of(const lariat_engine *e, int32_t rank)
{
    int32_t i = rank - e->ranks.first;

    return i >= 0 && i < e->ranks.n ? &e->local[i].trace : NULL;
}

const lariat_span *lariat_trace_spans(const lariat_engine *e, int32_t rank, int64_t *n)
{
    const trace *t = tracing_of(e, rank);
    bool is_far = !t && e->far && rank >= 0 && rank < e->plan.shown.ranks;

    *n = is_far ? e->far[rank].n : !t ? 0 : t->clock.of ? t->aligned : t->whole.n;
    return *n == 0 ? NULL : is_far ? e->far[rank].spans : t->spans;
}

int64_t lariat_trace_lost(const lariat_engine *e, int32_t rank)
{
    const trace *t = tracing_of(e, rank);
    bool is_far = !t && e->far && rank >= 0 && rank < e->plan.shown.ranks;

    return t ? t->whole.lost : is_far ? e->far[rank].lost : 0;
}

const char *lariat_span_name(lariat_span_kind kind)
{
    static const char *const names[] = {
        [LARIAT_SPAN_PASS] = "pass",
        [LARIAT_SPAN_EMBEDDING] = "embedding",
        [LARIAT_SPAN_LAYER] = "layer",
        [LARIAT_SPAN_PROJECTIONS] = "projections",
        [LARIAT_SPAN_ATTENTION] = "attention",
        [LARIAT_SPAN_MERGE] = "merge",
        [LARIAT_SPAN_FEED_FORWARD] = "feed-forward",
        [LARIAT_SPAN_HEAD] = "head",
        [LARIAT_SPAN_WAIT] = "wait",
        [LARIAT_SPAN_HOP] = "hop",
    };

    return (unsigned)kind < LARIAT_SPAN_KINDS ? names[kind] : NULL;
}
