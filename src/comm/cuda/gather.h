/* The kernels of all-gathers: one pushes a rank's columns to all others and waits for theirs; one copies the others' here.
   Rests on the CUDA runtime. card_gather.c uses them; gather.cu has them.

   Pushing is safe only where no two ranks share a card: a waiting kernel keeps others from starting. Columns travel in packets
   with the number of the all-gather, into memory that nothing else is written to: a packet of that number is there. */
#pragma once

#include "base/dtype.h"
#include "device/cuda/runtime/packets.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { GATHER_RANKS_MAX = PACKET_RANKS };

/* Of one rank. */
typedef struct gather_push {
    packet_links links;
    int64_t rows; /* 0: the ranks wait for one another */
    const unsigned char *mine;          /* [rows] of the all-gather, `stride` bytes apart: this rank's columns are there */
    size_t stride;
    size_t begin[GATHER_RANKS_MAX + 1]; /* of each row rank r's bytes are [begin[r], begin[r + 1]) */
    unsigned char *into;                /* complete rows, into_stride bytes apart; `mine` itself, or another place, ... */
    size_t into_stride;
    bool add;                           /* ... where they are added, as F32, to the values there */
    uint32_t first[GATHER_RANKS_MAX + 1]; /* packets [first[r], first[r + 1]) are rank r's; set by cuda_gather_push */
    uint32_t room;                        /* packets that there is memory for */
} gather_push;

/* Columns of n other ranks, at the same place of their rows: on a card that can be read from here, or in pinned memory. */
typedef struct gather_copy {
    unsigned char *to; /* the rows of the all-gather, aligned to 16 bytes */
    int64_t rows;
    size_t stride;
    int32_t n;
    const unsigned char *from[GATHER_RANKS_MAX];
    size_t begin[GATHER_RANKS_MAX], end[GATHER_RANKS_MAX];
} gather_copy;

cudaError_t cuda_gather_load(void);
cudaError_t cuda_gather_push(cudaStream_t stream, gather_push *p);
/* mine: this rank's carry, O, m and l one behind the other. */
cudaError_t cuda_gather_carries(cudaStream_t stream, const packet_carries *c, const float *mine, dtype act);
/* parts: this rank's, [rows, width] dense. */
cudaError_t cuda_gather_sums(cudaStream_t stream, const packet_sums *s, const float *parts);
cudaError_t cuda_gather_copy(cudaStream_t stream, const gather_copy *c);

#ifdef __cplusplus
}
#endif
