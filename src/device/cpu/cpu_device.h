/* What the files of the CPU device share: the device itself.
   Rests on base/ for the pool and the memory. cpu.c opens it; linear.h, elementwise.h and attention.h name its operations. */
#ifndef DEVICE_CPU_CPU_DEVICE_H
#define DEVICE_CPU_CPU_DEVICE_H

#include "base/arena.h"
#include "base/threads.h"
#include "device/cpu/cpu.h"
#include "device/device.h"

/* Kernels of one family for rows of numbers (elementwise.h) and for a run of keys (attention.h); a piece of attention. */
typedef struct row_kernels row_kernels;
typedef struct attention_block attention_block;
typedef struct key_run key_run;
typedef struct attention_task attention_task;
typedef void (*attend_keys_fn)(const attention_block *b, const key_run *t);

/* What a thread remembers from one piece of a call to the next; each in a cache line of its own. */
typedef struct thread_note {
    _Alignas(64) uint64_t prepared; /* the call of linear whose x it has prepared in its working memory */
} thread_note;

typedef struct cpu_device {
    device base; /* first, so that a device * is a cpu_device * */
    pool *pool;
    cpu_isa isa; /* what the kernels may use, never CPU_BEST */
    /* Working memory of thread i: scratch + i * scratch_stride, aligned to 64 bytes; free for any operation, kept by none. */
    unsigned char *scratch;
    size_t scratch_stride;
    thread_note *notes;
    uint64_t linear_calls; /* so far: each has a number of its own */
    const row_kernels *rows;
    attend_keys_fn attend_keys;
    attention_task *tasks; /* room for the tasks of a call of attention, and for the partial results of those that are split */
    float *partials;
    arena memory; /* holds all of these */
} cpu_device;

#endif
