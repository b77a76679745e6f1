/* The kernels of all-gathers: one pushes a rank's columns to all others and waits for theirs; one copies the others' here.
   Rests on the CUDA runtime. card_gather.c uses them; gather.cu has them.

   Pushing is safe only where no two ranks share a card: a waiting kernel keeps others from starting. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { GATHER_RANKS_MAX = 16 }; /* of a launch */

/* Of one rank. Memory of other cards is reached over the link between them. */
typedef struct gather_push {
    int32_t rank, n;
    const unsigned char *mine; /* [rows] of the all-gather, `stride` bytes apart; aligned to 16 bytes */
    int64_t rows;
    size_t stride, begin, end; /* of each row this rank's bytes are [begin, end) */
    unsigned char *to[GATHER_RANKS_MAX];    /* the same rows on rank r's card, aligned alike */
    uint32_t *arrived[GATHER_RANKS_MAX];    /* the word of rank r's card that counts the all-gathers of this rank */
    const uint32_t *come[GATHER_RANKS_MAX]; /* the words of this card that the others write */
    uint32_t *count;      /* all-gathers so far, on this card: alike on all ranks, since they queue the same ones */
    const uint32_t *stop; /* the host's: not 0 if no rank must wait any longer */
} gather_push;

/* Columns of n other ranks, at the same place of their rows: on a card that can be read from here, or in pinned memory. */
typedef struct gather_copy {
    unsigned char *to; /* as `mine` */
    int64_t rows;
    size_t stride;
    int32_t n;
    const unsigned char *from[GATHER_RANKS_MAX];
    size_t begin[GATHER_RANKS_MAX], end[GATHER_RANKS_MAX];
} gather_copy;

cudaError_t cuda_gather_load(void);
cudaError_t cuda_gather_push(cudaStream_t stream, const gather_push *p);
cudaError_t cuda_gather_copy(cudaStream_t stream, const gather_copy *c);

#ifdef __cplusplus
}
#endif
