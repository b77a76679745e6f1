/* The kernels of all-gathers: one pushes a rank's columns to all others and waits for theirs; one copies the others' here.
   Rests on the CUDA runtime. card_gather.c uses them; gather.cu has them.

   Pushing is safe only where no two ranks share a card: a waiting kernel keeps others from starting. Columns travel in packets
   with the number of the all-gather, into memory that nothing else is written to: a packet of that number is there. */
#pragma once

#include "base/dtype.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { GATHER_RANKS_MAX = 16 /* of a launch */, PACKET_BYTES = 8 /* of data */ };

typedef struct gather_packet {
    unsigned char data[PACKET_BYTES];
    uint32_t number, unused;
} gather_packet;

/* Of one rank. Memory of other cards is reached over the link between them. */
typedef struct gather_push {
    int32_t rank, n;
    int64_t rows; /* 0: the ranks wait for one another */
    const unsigned char *mine;          /* [rows] of the all-gather, `stride` bytes apart: this rank's columns are there */
    size_t stride;
    size_t begin[GATHER_RANKS_MAX + 1]; /* of each row rank r's bytes are [begin[r], begin[r + 1]) */
    unsigned char *into;                /* complete rows, into_stride bytes apart; `mine` itself, or another place, ... */
    size_t into_stride;
    bool add;                           /* ... where they are added, as F32, to the values there */
    gather_packet *to[GATHER_RANKS_MAX];  /* memory of the packets sent to rank r's card, aligned to their size */
    const gather_packet *incoming;        /* of those sent to this one */
    uint32_t first[GATHER_RANKS_MAX + 1]; /* packets [first[r], first[r + 1]) are rank r's; set by cuda_gather_push */
    uint32_t room;                        /* packets that there is memory for */
    uint32_t *count; /* [2] on this card: all-gathers so far, alike on all ranks, since they queue the same ones; and of the
                        present one the blocks that have read that */
    const uint32_t *stop; /* the host's: not 0 if no rank must wait any longer */
} gather_push;

/* The columns of the ranks, instead of bytes for `into`: partial results of attention, of so many heads (of all rows) head_dim
   numbers of O each, then m, then l. They are merged in the order of the ranks and finished. */
typedef struct gather_merge {
    int64_t heads;
    int32_t n_heads, head_dim; /* heads of a row; head_dim is even */
    dtype act;
    void *out; /* row t at out + t * ldo elements */
    int64_t ldo;
} gather_merge;

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
/* p->rows is 1, columns begin and end at whole packets; p->into is not looked at. */
cudaError_t cuda_gather_merge(cudaStream_t stream, gather_push *p, const gather_merge *m);
cudaError_t cuda_gather_copy(cudaStream_t stream, const gather_copy *c);

#ifdef __cplusplus
}
#endif
