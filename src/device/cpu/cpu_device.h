/* The CPU device, shared by its files.
   Rests on base/ for the pool and the memory. cpu.c opens it; cpu_linear.h, elementwise.h, cpu_attention.h and cpu_sample.h
   declare its operations. */
#pragma once

#include "base/arena.h"
#include "base/threads.h"
#include "device/cpu/cpu.h"
#include "device/device.h"

/* Kernels of one family for rows of numbers (elementwise.h) and for runs of keys (cpu_attention.h); a task of attention. */
typedef struct row_kernels row_kernels;
typedef struct attention_block attention_block;
typedef struct key_range key_range;
typedef struct attention_task attention_task;
typedef void (*attend_keys_fn)(const attention_block *b, const key_range *t);

/* State of a thread between the pieces of a call, one cache line each. */
typedef struct thread_note {
    _Alignas(64) uint64_t prepared; /* number of the call of linear whose x it has prepared */
} thread_note;

typedef struct cpu_device {
    device base; /* first, so that a device * is a cpu_device * */
    pool *pool;
    cpu_isa isa; /* of the kernels, never CPU_BEST */
    /* Scratch of thread i: scratch + i * scratch_stride, aligned to 64 bytes; valid during one operation. */
    unsigned char *scratch;
    size_t scratch_stride;
    thread_note *notes;
    uint64_t linear_calls; /* number of the last call */
    const row_kernels *rows;
    attend_keys_fn attend_keys;
    attention_task *tasks; /* of one call of attention; and partial results of split tasks */
    float *partials;
    arena memory; /* holds all of these */
} cpu_device;
