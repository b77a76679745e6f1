/* The transport between GPUs, as the program sees it: a part of the CUDA module.
   Rests on device/gpu.h, which opens the module. Read on in cuda/card_transport.c. */
#pragma once

#include "comm/comm.h"

/* The module's functions. */
typedef struct comm_gpu {
    size_t tables; /* COMM_GPU_TABLES of its build */
    /* Rank r has card ordinals[r]; several ranks may share one. through_host: rows and hops go through pinned memory of the
       host, for cards that cannot read one another's memory. The ordinals are copied. */
    lariat_status (*open)(const comm_setup *s, const int32_t ordinals[], bool through_host, comm_group **out);
    /* Bytes that one rank takes of its card's memory, and of the host's pinned memory. SIZE_MAX on overflow. */
    size_t (*memory)(const comm_setup *s, bool through_host);
    size_t (*pinned)(const comm_setup *s, bool through_host);
    comm_speed (*speed)(bool through_host);
} comm_gpu;

/* A module whose tables have another size is of another build, and refused. */
#define COMM_GPU_TABLES (sizeof(comm_gpu) + sizeof(comm_ops) + sizeof(comm) + sizeof(trace))

#define COMM_GPU_ENTRY "lariat_cuda_transport" /* of the type comm_gpu */

/* Opens the module where it is not open yet. */
lariat_status comm_gpu_find(const comm_gpu **out);
