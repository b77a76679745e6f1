/* Measuring a cell: an engine of its own, sequences of random tokens, and a clock.
   Rests on lariat.h; results go into rows.h. */
#pragma once

#include "cli/bench/rows.h"

typedef struct measurement {
    const options *options;
    cell cell;
    lariat_engine *engine;
    int32_t vocab;
    lariat_session **sessions; /* [batch] */
    lariat_sampler **samplers; /* [batch] */
    int32_t *texts;            /* [batch, stride]: prompts; generated tokens from `begin` on */
    int64_t stride, begin;
    int64_t *generated;        /* [batch]: generated tokens */
    lariat_reply *replies;     /* [batch] */
    lariat_work *items;        /* [batch] */
} measurement;

/* Opens an engine for r->cell. Where it does not fit into memory, returns 0 with r->reason set and no engine: that is a row
   too. Other failures return an exit status after a message. */
int measurement_open(const options *o, row *r, measurement *m);
void measurement_close(measurement *m);

/* Runs without measuring, so that pages and threads exist: fills the depth, and runs prefill and decode briefly. With
   `check` also the whole prompt, for r->logits. */
int measurement_warm_up(measurement *m, row *r, bool check);

/* Takes one sample and stores its tokens in r->ids. EXIT_INTERRUPTED after Ctrl-C. */
int measurement_take(measurement *m, row *r, sample *out);
