/* What the machine could do at best: the figures that a share of the hardware is taken of.
   Rests on status.h. Used by `lariat bench` and by the last line of a run. */
#ifndef LARIAT_MEASURE_H
#define LARIAT_MEASURE_H

#include "lariat/status.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lariat_ceilings {
    char cpu[96];             /* the processor's own name */
    char kernels[16];         /* kernel family in use: "AVX-512" */
    int32_t threads;          /* that these figures are for, together */
    double fma_flops;         /* fp32 multiply-adds at two operations each, a second, in registers */
    double read_memory;       /* bytes a second, over a buffer far larger than the caches */
    double read_cache;        /* the same over a buffer of `cache_bytes`, which the last cache holds */
    int64_t cache_bytes;
} lariat_ceilings;

/* The processor's own name, or the kind of machine where the system does not tell it. */
LARIAT_API void lariat_cpu_name(char *out, size_t size);

/* Measures for `threads` threads, 0 for as many as this process may use: about a second. */
LARIAT_API lariat_status lariat_measure_ceilings(int32_t threads, lariat_ceilings *out);

/* Bytes a second of reading a buffer of `bytes` again and again with `threads` threads: the ceiling of decode for weights of
   that size. 0 threads: as before. */
LARIAT_API lariat_status lariat_measure_read(int32_t threads, int64_t bytes, double *bytes_per_s);

#ifdef __cplusplus
}
#endif
#endif
