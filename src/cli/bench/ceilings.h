/* What this machine does at best, measured once by `lariat bench --ceilings` and kept in the user's cache by machine.
   Rests on measure.h and options.h. */
#ifndef CLI_BENCH_CEILINGS_H
#define CLI_BENCH_CEILINGS_H

#include "cli/options.h"
#include "lariat/lariat.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* The figures for one number of threads, or for the GPUs of a run together. */
typedef struct ceilings {
    bool known;
    double fma_flops; /* operations a second */
    double read_rate; /* bytes a second, on CPUs over a buffer as large as the weights */
} ceilings;

/* What is kept for as many threads and weights of that size, or for GPUs of those names and that type; not known if something
   of it is missing. */
ceilings ceilings_of(const lariat_plan *plan);

/* Measures for `threads` threads, also reading of `weight_bytes` (0: no model), keeps the figures and reports them (NULL: does
 * not). */
int ceilings_measure(int32_t threads, int64_t weight_bytes, FILE *report);

/* The same of GPUs, for runs of `type`: of each kind one among those named, all of which must be usable, or else (none are
   named) among all that are. That there is none is a failure where one is needed. */
int ceilings_measure_cards(const count_list *named, const char *type, bool needed, FILE *report);

#endif
