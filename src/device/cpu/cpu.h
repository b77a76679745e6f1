/* The CPU as a device: a pool of threads and the widest vector instructions of the machine.
   Rests on base/threads.h. The op table is in cpu.c, the kernels in linear_*.c, attention_*.c, elementwise_*.c and
   cpu_sample.c. */
#pragma once

#include "device/device.h"

/* Kernel families, each a superset of the one before. CPU_BEST: the best that CPUID reports and the build contains. No
   family rounds activations. */
typedef enum cpu_isa { CPU_SCALAR, CPU_AVX2, CPU_AVX512, CPU_BEST } cpu_isa;

/* The best family of this machine and build. */
cpu_isa cpu_isa_best(void);
const char *cpu_isa_name(cpu_isa isa);

/* Bytes of working memory of a device with n_threads. */
size_t cpu_device_memory(int n_threads);

/* Opens a CPU device of n_threads threads, the calling one included; its operations are called by one thread at a time.
   LARIAT_UNSUPPORTED: a family that the machine lacks. */
lariat_status cpu_device_open(int n_threads, cpu_isa isa, device **out);

/* The op `sample` for one row of logits; -1: a logit is not finite. */
int32_t cpu_sample_row(const float *logits, int64_t vocab, const sample_setting *s);
