/* What the CPU could do at best: the rates that shares of the machine are taken of.
   Rests on base/threads.h. */
#ifndef DEVICE_CPU_CPU_CEILINGS_H
#define DEVICE_CPU_CPU_CEILINGS_H

#include "device/cpu/cpu.h"
#include "device/device.h"

/* fp32 multiply-adds in registers, two operations each, a second, of all threads together: the best of several short bursts. */
lariat_status cpu_measure_fma(int threads, cpu_isa isa, double *flops);

/* Bytes a second of reading a buffer of `bytes` over and over, each thread taking pieces of it: the best round of several. */
lariat_status cpu_measure_read(int threads, cpu_isa isa, int64_t bytes, double *bytes_per_s);

/* Reads `bytes` from `at` (a multiple of 8) once, with the threads of a CPU device and the loop of cpu_measure_read. Returns
   something that depends on all of them. */
uint64_t cpu_read(device *dev, const void *at, int64_t bytes);

#endif
