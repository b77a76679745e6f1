/* Tracing of an engine: a buffer a rank, handed to all that write into it.
   Rests on base/trace.h. See include/lariat/trace.h. */
#include "engine/internal.h"

/* Room for so many passes is made where nobody says how much: a reply of some thousand tokens. */
enum { PASSES = 4096, SPANS_MOST = 1 << 22 };

/* The most that a rank records of a pass whose head has one block. By slices a layer has itself, two projections, attention, merge,
   feed-forward and a wait in each of five gathers; where keys travel, instead of the waits in gathers, attention, wait and hop for
   each rank; where queries travel, two hops each. */
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
    for (int32_t i = 0; i < e->plan.shown.ranks; i++) {
        transformer_trace(&e->ranks[i].transformer, on ? &e->ranks[i].trace : NULL);
    }
}

lariat_status lariat_trace_start(lariat_engine *e, int64_t spans)
{
    double zero = clock_now();

    if (e->plan.shown.cards) {
        return fail(LARIAT_UNSUPPORTED, "trace: ranks on GPUs are not traced: run on CPUs (--device cpu), or under nsys, which shows "
                                        "their work by the same names");
    }
    if (spans < 0) {
        return fail(LARIAT_BAD_ARGUMENT, "trace: room for %lld spans makes no sense, ask for 0 (automatic) or more",
                    (long long)spans);
    }
    lariat_trace_stop(e);
    for (int32_t i = 0; i < e->plan.shown.ranks; i++) {
        TRY(trace_open(&e->ranks[i].trace, spans ? spans : default_room(e), zero));
    }
    hand_out(e, true);
    return LARIAT_OK;
}

void lariat_trace_stop(lariat_engine *e)
{
    hand_out(e, false);
}

static const trace *trace_of(const lariat_engine *e, int32_t rank)
{
    return rank >= 0 && rank < e->plan.shown.ranks ? &e->ranks[rank].trace : NULL;
}

const lariat_span *lariat_trace_spans(const lariat_engine *e, int32_t rank, int64_t *n)
{
    const trace *t = trace_of(e, rank);

    *n = t ? t->whole.n : 0;
    return *n ? t->spans : NULL;
}

int64_t lariat_trace_lost(const lariat_engine *e, int32_t rank)
{
    const trace *t = trace_of(e, rank);

    return t ? t->whole.lost : 0;
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
