/* Measuring a cell: an engine for it alone, sequences of made-up tokens, and a clock.
   Rests on lariat.h. rows.h has what comes of it. */
#ifndef CLI_BENCH_TIMING_H
#define CLI_BENCH_TIMING_H

#include "cli/bench/rows.h"

typedef struct measurement {
    const options *options;
    cell cell;
    lariat_engine *engine;
    int32_t vocab;
    lariat_session **sessions; /* [batch] */
    lariat_sampler **samplers; /* [batch] */
    int32_t *texts;            /* [batch, stride]: what is read, from `begin` on what was made */
    int64_t stride, begin;
    int64_t *made;             /* [batch]: tokens that were made */
    lariat_reply *replies;     /* [batch] */
    lariat_work *items;        /* [batch] */
} measurement;

/* Opens an engine for r->cell. Where it does not fit into memory r->reason says so, *m has no engine, and 0 is returned: that is
   a row too. Other failures are said and return an exit status. */
int measurement_open(const options *o, row *r, measurement *m);
void measurement_close(measurement *m);

/* Runs without a clock, so that pages and threads are there: what depth asks for, a short run of each kind. With `check` also
   the whole prompt once, for r->logits. */
int measurement_warm_up(measurement *m, row *r, bool check);

/* One sample; its tokens come to r->ids. EXIT_INTERRUPTED after Ctrl-C. */
int measurement_take(measurement *m, row *r, sample *out);

#endif
