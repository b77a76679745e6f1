/* What the files of the CPU device share: the device itself.
   Rests on base/threads.h for the pool. cpu.c opens it; linear.h, elementwise.h and attention.h name its operations. */
#ifndef DEVICE_CPU_INTERNAL_H
#define DEVICE_CPU_INTERNAL_H

#include "base/threads.h"
#include "device/cpu/cpu.h"
#include "device/device.h"

typedef struct cpu_device {
    device base; /* first, so that a device * is a cpu_device * */
    pool *pool;
    cpu_isa isa; /* what the kernels may use, never CPU_BEST */
    /* Working memory of thread i: scratch + i * scratch_stride, aligned to 64 bytes; free for any operation, kept by none. */
    unsigned char *scratch;
    size_t scratch_stride;
} cpu_device;

#endif
