/* Common to the benchmarks of single operations: ending at a failure, the median, names of kernel families.
   Rests on base/fail.h and device/cpu/cpu.h. BENCH is defined before, the program's name for messages. */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include "base/fail.h"
#include "device/cpu/cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ends the program where memory is NULL, or after a failure. */
static inline void *check_memory(void *p)
{
    if (!p) {
        fprintf(stderr, BENCH ": no memory\n");
        exit(EXIT_FAILURE);
    }
    return p;
}

static inline void demand(lariat_status status)
{
    if (status != LARIAT_OK) {
        fprintf(stderr, BENCH ": %s\n", lariat_error());
        exit(EXIT_FAILURE);
    }
}

static inline int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* The median; sorts the values. */
static inline double median_of(double values[], size_t n)
{
    qsort(values, n, sizeof *values, by_size);
    return values[n / 2];
}

/* "scalar", "avx2", "avx512"; CPU_BEST for any other name. */
static inline cpu_isa isa_of(const char *name)
{
    return strcmp(name, "scalar") == 0   ? CPU_SCALAR
           : strcmp(name, "avx2") == 0   ? CPU_AVX2
           : strcmp(name, "avx512") == 0 ? CPU_AVX512
                                         : CPU_BEST;
}

#endif
