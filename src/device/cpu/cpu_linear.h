/* Matrices applied to rows of activations, and the rows of the embedding table: the CPU's `linear` and `embed`.
   Rests on internal.h. linear.c shares the work out; linear_kernels.h names what each instruction set brings. */
#ifndef DEVICE_CPU_CPU_LINEAR_H
#define DEVICE_CPU_CPU_LINEAR_H

#include "device/device.h"

/* See device_ops. Activations stay fp32; weights are expanded to the fp32 values that their blocks stand for. */
void cpu_linear(device *dev, const void *x, int64_t ldx, int64_t n, const linear_job jobs[], int n_jobs);
void cpu_embed(device *dev, float *x, const matrix *table, const int32_t *tokens, const int32_t *made, int64_t n);

/* Bytes of working memory that these need of each thread, aligned to 64. */
size_t cpu_linear_scratch(void);

#endif
