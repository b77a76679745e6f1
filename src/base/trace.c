/* A buffer of spans: taken once, filled in the order in which spans begin, never longer.
   Rests on arena.h and clock.h. See trace.h. */
#include "base/trace.h"

lariat_status trace_open(trace *t, int64_t room, double zero)
{
    size_t bytes = bytes_of(room, 1, sizeof *t->spans);

    trace_close(t);
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
        t->pass = number;
        t->layer = -1;
    }
    return trace_begin(t, LARIAT_SPAN_PASS);
}

void trace_pass_end(trace *t, int64_t at)
{
    trace_end(t, at);
    if (t) {
        t->whole = t->now;
    }
}
