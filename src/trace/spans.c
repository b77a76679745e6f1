/* A buffer of spans: allocated once, filled in order of begin.
   Rests on arena.h and clock.h. See spans.h. */
#include "trace/spans.h"

#include <math.h>

lariat_status trace_open(trace *t, int64_t room, double zero)
{
    size_t bytes = bytes_of(room, 1, sizeof *t->spans);

    *t = (trace){0};
    if (bytes == SIZE_MAX) {
        return fail(LARIAT_NO_MEMORY, "trace: %lld spans a rank are more than memory can hold, ask for fewer", (long long)room);
    }
    TRY(arena_open(&t->memory, arena_need(bytes), "trace"));
    t->spans = arena_take(&t->memory, bytes);
    t->room = room;
    t->zero = zero;
    return LARIAT_OK;
}

void trace_close(trace *t)
{
    arena_close(&t->memory);
    *t = (trace){0};
}

int64_t trace_take(trace *t, lariat_span span)
{
    if (t->now.n == t->room) {
        t->now.lost++;
        return -1;
    }
    span.begin -= t->zero;
    span.end -= t->zero;
    span.pass = t->pass;
    span.layer = t->layer;
    t->spans[t->now.n] = span;
    return t->now.n++;
}

int64_t trace_pass(trace *t, uint32_t number)
{
    if (t) {
        t->now = t->whole;
        t->settled = t->settled < t->now.n ? t->settled : t->now.n;
        t->pass = number;
        t->layer = -1;
    }
    return trace_begin(t, LARIAT_SPAN_PASS);
}

void trace_pass_end(trace *t)
{
    if (t) {
        t->whole = t->now;
    }
}

/* --- a device's spans --- */

void trace_of_device(trace *t, trace_clock clock, trace_anchor first, int32_t among)
{
    t->clock = clock;
    t->first = first;
    t->every = TRACE_LAYERS;
    t->among = among;
    t->zero = 0;
}

void trace_settle(trace *t)
{
    double begin, end;

    for (; t && t->clock.of && t->settled < t->now.n; t->settled++) {
        lariat_span *s = &t->spans[t->settled];
        /* The end of the current pass has no timestamp yet. */
        if (s->end < 0 || !t->clock.stamped(t->clock.of, (int64_t)s->begin, &begin) ||
            !t->clock.stamped(t->clock.of, (int64_t)s->end, &end)) {
            return;
        }
        s->begin = begin;
        s->end = end < begin ? begin : end; /* pieces that arrived before the request */
    }
}

void trace_align(trace *t, trace_anchor now)
{
    enum { SHORT_S = 1 }; /* too short to measure the clocks' difference in rate */
    double passed = now.device - t->first.device;
    double pace = passed > SHORT_S ? (now.host - t->first.host) / passed : 1;
    int64_t kept = t->aligned;

    for (int64_t i = t->aligned; i < t->settled && i < t->whole.n; i++) {
        lariat_span s = t->spans[i];
        if (isnan(s.begin) || isnan(s.end)) {
            continue;
        }
        s.begin = t->first.host + (s.begin - t->first.device) * pace;
        s.end = t->first.host + (s.end - t->first.device) * pace;
        t->spans[kept++] = s;
    }
    t->whole.lost += t->whole.n - kept;
    t->whole.n = kept;
    t->now = t->whole;
    t->aligned = t->settled = kept;
}
