/* The line on a terminal that says how far a benchmark is and how long it will take.
   Rests on terminal.h. */
#ifndef CLI_BENCH_PROGRESS_H
#define CLI_BENCH_PROGRESS_H

#include "cli/bench/cells.h"

typedef struct bench_progress {
    bool wanted, shown;
    double began_s, drawn_s;
    double done, total; /* in tokens read; one that is made counts as several */
    double now;         /* what the current sample counts */
    double part;        /* how far it is; nothing is said of warming up */
    bool taking;        /* it is warmed up */
    int64_t round, rounds;
    int at, rows;       /* the row that is measured */
} bench_progress;

/* What a sample of a cell counts, warm-up included. */
double progress_cost(const options *o, const cell *c);

/* A sample begins to be warmed up, is taken, a step of it has come so far, it has ended; and takes the line away, before anything
   else is written. */
void bench_progress_begin(bench_progress *p, double cost);
void bench_progress_take(bench_progress *p);
void bench_progress_at(bench_progress *p, int64_t done, int64_t total);
void bench_progress_done(bench_progress *p);
void bench_progress_clear(bench_progress *p);

/* What is done while nothing is known of how long it takes. */
void bench_progress_say(bench_progress *p, const char *what);

#endif
