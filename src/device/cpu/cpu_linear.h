/* The CPU's `linear` and `embed`: matrices times rows of activations, and rows of the embedding table.
   Rests on cpu_device.h. cpu_linear.c distributes the work; linear_kernels.h is the interface of the kernels. */
#pragma once

#include "device/device.h"

/* See device_ops. Activations stay fp32; weights are unpacked to fp32. */
void cpu_linear(device *dev, const void *x, int64_t ldx, int64_t n, const linear_job jobs[], int n_jobs);
void cpu_embed(device *dev, float *x, const matrix *table, const int32_t *tokens, const int32_t *chosen, int64_t n,
               float scale);

/* Bytes of scratch for each thread, a multiple of 64. */
size_t cpu_linear_scratch(void);
