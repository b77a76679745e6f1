/* The CPU's ceilings: peak multiply-adds and read bandwidth.
   Rests on base/threads.h. */
#pragma once

#include "device/cpu/cpu.h"
#include "device/device.h"

/* Operations a second of all threads: fp32 multiply-adds in registers, two operations each; the best of several short
   bursts. */
lariat_status cpu_measure_fma(int threads, cpu_isa isa, double *flops);

/* Bytes a second of reading a buffer of `bytes` with all threads: the best of several rounds. */
lariat_status cpu_measure_read(int threads, cpu_isa isa, int64_t bytes, double *bytes_per_s);

/* Reads `bytes` from `at` (a multiple of 8) once, with the threads of a CPU device and the loop of cpu_measure_read. Returns
   a checksum of all bytes. */
uint64_t cpu_read(device *dev, const void *at, int64_t bytes);
