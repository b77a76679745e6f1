/* The CPU as a device: a pool of threads and the widest instructions that the machine has.
   Rests on base/threads.h. The op table is in cpu.c, the kernels in linear_*.c, attention_*.c and sample.c. */
#ifndef DEVICE_CPU_CPU_H
#define DEVICE_CPU_CPU_H

#include "device/device.h"

/* Kernel families, each a superset of the one before. CPU_BEST is what CPUID allows (and the build contains). No family uses
   an instruction that rounds activations. */
typedef enum cpu_isa { CPU_SCALAR, CPU_AVX2, CPU_AVX512, CPU_BEST } cpu_isa;

/* The best family that this machine and this build have. */
cpu_isa cpu_isa_best(void);
const char *cpu_isa_name(cpu_isa isa);

/* Bytes of working memory that a device of so many threads takes. */
size_t cpu_device_memory(int n_threads);

/* Opens a CPU device of n_threads threads, the one that calls its operations included: calls come from one thread at a time.
   Asking for more than the machine has is LARIAT_UNSUPPORTED. */
lariat_status cpu_device_open(int n_threads, cpu_isa isa, device **out);

/* The token of one row of logits, as the op `sample` chooses it; -1 if one is not finite. */
int32_t cpu_sample_row(const float *logits, int64_t vocab, const sample_setting *s);

#endif
