/* The progress line of a benchmark: the row, and the time left.
   Rests on terminal.h. */
#pragma once

#include "cli/bench/cells.h"

typedef struct bench_progress {
    bool wanted, shown;
    double began_s, drawn_s;
    double done, total; /* work in prefilled tokens; a decoded token counts as several */
    double now;         /* work of the current sample */
    double part;        /* the fraction done, without warming up */
    bool taking;        /* measuring, after warming up */
    int64_t round, rounds;
    int at, rows;       /* the current row */
} bench_progress;

/* The work of one sample of a cell, warm-up included. */
double progress_cost(const options *o, const cell *c);

/* In order: a sample's warm-up begins, its measurement begins, a step advances, the sample ends. clear removes the line
   before other output. */
void bench_progress_begin(bench_progress *p, double cost);
void bench_progress_take(bench_progress *p);
void bench_progress_at(bench_progress *p, int64_t done, int64_t total);
void bench_progress_done(bench_progress *p);
void bench_progress_clear(bench_progress *p);

/* Shows an activity of unknown length. */
void bench_progress_say(bench_progress *p, const char *what);
