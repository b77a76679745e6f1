/* Traces of the ranks of other processes, brought to process 0 and to its clock.
   Rests on comm/processes.h and trace/spans.h. See tracing.c; follow.c calls the others' reports.

   A clock is read by asking: process 0 notes its own before and after. The answer belongs to the middle, give or take half of
   the time between; of ROUNDS questions the fastest one counts. Two readings, when tracing starts and when it stops, give the
   difference of the clocks and of their pace. Where a clock is within its error of one's own it is the same clock, as between
   processes of a host. */
#include "base/clock.h"
#include "engine/engine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 32 };

/* Seconds: now and when tracing started, on the clock of the process that reports. */
typedef struct clock_report {
    double now, zero;
} clock_report;

typedef struct spans_report {
    int64_t n, lost;
} spans_report;

/* --- the others --- */

lariat_status tracing_report_clock(const lariat_engine *e)
{
    const clock_report report = {.now = clock_now(), .zero = e->trace_zero};

    return processes_collect(e->processes->others, (process_bytes){&report, sizeof report}, NULL);
}

/* A count, then the spans: those that one message holds. */
lariat_status tracing_report_spans(const lariat_engine *e, int64_t local)
{
    enum { MOST = PROCESSES_MESSAGE_MAX / sizeof(lariat_span) };
    const trace *t = local >= 0 && local < e->ranks.n ? tracing_of(e, e->ranks.first + (int32_t)local) : NULL;
    int64_t n = !t ? 0 : t->whole.n < MOST ? t->whole.n : MOST;
    const spans_report report = {.n = n, .lost = t ? t->whole.lost + t->whole.n - n : 0};

    TRY(processes_collect(e->processes->others, (process_bytes){&report, sizeof report}, NULL));
    return processes_collect(e->processes->others, (process_bytes){n ? t->spans : NULL, (size_t)n * sizeof(lariat_span)}, NULL);
}

/* --- clocks --- */

static lariat_status ask(lariat_engine *e, const command *c, const void *mine, size_t n)
{
    tell(e, c);
    TRY(tell_now(e));
    return processes_collect(e->processes->others, (process_bytes){mine, n}, e->processes->given);
}

/* Of all processes: a moment on their clock and on this one's, both since tracing started. */
static lariat_status read_clocks(lariat_engine *e, trace_anchor anchors[])
{
    const clock_report mine = {0};
    double least = INFINITY;

    for (int round = 0; round < ROUNDS; round++) {
        double before = clock_now();
        TRY(ask(e, &(command){.kind = TOLD_CLOCK}, &mine, sizeof mine));
        double error = (clock_now() - before) / 2;
        if (error >= least) {
            continue;
        }
        least = error;
        for (int32_t i = 1; i < processes_count(e->processes->others); i++) {
            clock_report his;
            if (e->processes->given[i].n != sizeof his) {
                return fail(LARIAT_FAILED, "trace: process %d has no clock, please report this", i);
            }
            memcpy(&his, e->processes->given[i].at, sizeof his);
            bool is_same = fabs(his.now - (before + error)) <= error;
            anchors[i] = (trace_anchor){.device = his.now - his.zero,
                                        .host = (is_same ? his.now : before + error) - e->trace_zero};
        }
    }
    return LARIAT_OK;
}

lariat_status tracing_start_all(lariat_engine *e, int64_t spans)
{
    trace_anchor *clocks = calloc((size_t)processes_count(e->processes->others), sizeof *clocks);
    lariat_status status = clocks ? tracing_start_local(e, spans) : fail(LARIAT_NO_MEMORY, "trace: no memory" FREE_MEMORY);

    if (status != LARIAT_OK) {
        free(clocks);
        return status;
    }
    tracing_forget(e);
    e->clocks = clocks;
    tell(e, &(command){.kind = TOLD_TRACE, .length = spans});
    status = read_clocks(e, clocks);
    if (status != LARIAT_OK) {
        tracing_stop_local(e);
        tracing_forget(e);
    }
    return status;
}

/* --- spans --- */

static void take_spans(far_trace *out, const spans_report *r, process_bytes spans, trace_anchor first, trace_anchor now)
{
    trace t = {.whole = {.n = r->n, .lost = r->lost}, .settled = r->n, .first = first};

    *out = (far_trace){.lost = r->lost + r->n};
    if (r->n < 1 || spans.n != (size_t)r->n * sizeof *t.spans) {
        return;
    }
    t.spans = malloc(spans.n);
    if (!t.spans) {
        return;
    }
    memcpy(t.spans, spans.at, spans.n);
    trace_align(&t, now);
    *out = (far_trace){.spans = t.spans, .n = t.whole.n, .lost = t.whole.lost};
}

/* One rank of every process: the `local`th. */
static lariat_status gather_ranks(lariat_engine *e, int32_t local, const trace_anchor now[])
{
    const processes *others = e->processes->others;
    int32_t count = processes_count(others);
    const process_bytes *given = e->processes->given;
    spans_report mine = {0}, *reports = calloc((size_t)count, sizeof *reports);

    TRY_MEMORY(reports, "trace: no memory" FREE_MEMORY);
    lariat_status status = ask(e, &(command){.kind = TOLD_SPANS, .length = local}, &mine, sizeof mine);
    for (int32_t i = 1; i < count && status == LARIAT_OK; i++) {
        if (given[i].n == sizeof *reports) {
            memcpy(&reports[i], given[i].at, sizeof *reports);
        }
    }
    NEXT(status, processes_collect(e->processes->others, (process_bytes){0}, e->processes->given));
    for (int32_t i = 1; i < count && status == LARIAT_OK; i++) {
        const process_info *info = processes_of(others, i);
        if (local < info->n_ranks) {
            take_spans(&e->far[info->first_rank + local], &reports[i], given[i], e->clocks[i], now[i]);
        }
    }
    free(reports);
    return status;
}

static lariat_status gather_all(lariat_engine *e, trace_anchor now[])
{
    const processes *others = e->processes->others;
    int32_t most = 0;

    TRY_MEMORY(e->far && now, "trace: no memory" FREE_MEMORY);
    tell(e, &(command){.kind = TOLD_TRACE_STOP});
    TRY(read_clocks(e, now));
    for (int32_t i = 1; i < processes_count(others); i++) {
        int32_t n = processes_of(others, i)->n_ranks;
        most = n > most ? n : most;
    }
    for (int32_t local = 0; local < most; local++) {
        TRY(gather_ranks(e, local, now));
    }
    return LARIAT_OK;
}

/* A failure is the run's, which the next call finds; there are no spans of the others then. */
void tracing_gather(lariat_engine *e)
{
    if (!e->clocks) {
        return;
    }
    trace_anchor *now = calloc((size_t)processes_count(e->processes->others), sizeof *now);
    e->far = calloc((size_t)e->plan.shown.ranks, sizeof *e->far);
    (void)gather_all(e, now);
    free(now);
    free(e->clocks);
    e->clocks = NULL;
}

void tracing_forget(lariat_engine *e)
{
    for (int32_t i = 0; e->far && i < e->plan.shown.ranks; i++) {
        free(e->far[i].spans);
    }
    free(e->far);
    free(e->clocks);
    e->far = NULL;
    e->clocks = NULL;
}
