/* What this machine does at best, measured once by `lariat bench --ceilings` and kept in the user's cache by machine.
   Rests on measure.h. */
#ifndef CLI_CEILINGS_H
#define CLI_CEILINGS_H

#include "lariat/lariat.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* The figures for one number of threads. */
typedef struct ceilings {
    bool known;
    double fma_flops; /* operations a second */
    double read_rate; /* bytes a second, over a buffer as large as the weights */
} ceilings;

/* What is kept for as many threads and weights of that size; not known if nothing is, or on GPUs. */
ceilings ceilings_of(const lariat_plan *plan);

/* Measures for `threads` threads, also reading of `weight_bytes` (0: no model), keeps the figures and reports them (NULL: does
 * not). */
int ceilings_measure(int32_t threads, int64_t weight_bytes, FILE *report);

#endif
