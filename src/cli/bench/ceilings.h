/* The machine's ceilings: measured by `lariat bench --ceilings` and kept in the user's cache, by machine.
   Rests on measure.h and options.h. */
#pragma once

#include "cli/options.h"
#include "lariat/lariat.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* The ceilings of one number of threads, or the sum over the GPUs of a run. */
typedef struct ceilings {
    bool known;
    double fma_flops; /* operations a second */
    double read_rate; /* bytes a second; CPUs: over a buffer as large as the weights */
} ceilings;

/* The kept ceilings for the plan's threads and weight size, or for its GPUs and type; known is false if any is missing. */
ceilings ceilings_of(const lariat_plan *plan);

/* Measures with `threads` threads, also reading of `weight_bytes` (0: no model), keeps the figures and prints them to
   `report` (may be NULL). */
int ceilings_measure(int32_t threads, int64_t weight_bytes, FILE *report);

/* The same for GPUs and runs of `type`: one GPU of each kind among `named`, all of which must be usable, or, if `named` is
   empty, among all usable ones. No usable GPU is a failure where one is `needed`. */
int ceilings_measure_cards(const count_list *named, const char *type, bool needed, FILE *report);
