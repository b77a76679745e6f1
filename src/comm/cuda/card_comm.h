/* The transport between cards: what its files share. A rank's endpoint, the group, and the calls that one file makes of another.
   Rests on the CUDA runtime and comm.h. card_transport.c opens and closes; card_order.c has words and waits; card_gather.c the
   all-gathers; card_hops.c the pieces. */
#ifndef COMM_CUDA_CARD_COMM_H
#define COMM_CUDA_CARD_COMM_H

#include "comm/comm.h"

#include "base/threads.h"

#include <cuda.h>
#include <cuda_runtime_api.h>

enum {
    SLOTS = 2,        /* hops between ask and release: the one that is used and the one that travels */
    TIMED = 2048,     /* hops whose times are not read yet: those of a pass of 126 layers on a ring of 8, if queries travel */
    SETS = 3,         /* of blocks that were pushed: the first of a pass, then in turn */
    WORD_STRIDE = 64, /* bytes: a cache line a word */
};

/* A word that a rank's stream writes and others' streams wait on, and how far it has been queued. */
typedef struct mark {
    epoch queued;
    CUdeviceptr word;
} mark;

typedef CUresult (*stream_value_fn)(CUstream, CUdeviceptr, cuuint32_t, unsigned int);

typedef struct cuda_group cuda_group;

typedef struct slot {
    unsigned char *staging; /* [hop_bytes] on this rank's card */
    unsigned char *pinned;  /* the same on the host, where pieces go through it */
    cudaEvent_t brought;    /* the pieces are in staging */
    cudaEvent_t freed;      /* they have been read */
    int64_t left, there;    /* moments of the hop that it is used for: its pieces set out, and have come (device.h) */
} slot;

/* The moments of a hop until it is counted: its pieces set out, have come, are wanted. */
typedef struct timed_hop {
    int64_t left, there, wanted;
} timed_hop;

typedef struct cuda_comm {
    comm base;
    cuda_group *group;
    device *dev;
    cudaStream_t stream, copies;
    cudaStream_t *fetch;    /* [n]: through the host: a stream on the card of each owner ... */
    cudaEvent_t *landed;    /* [n]: ... and that its pieces are in pinned memory */
    unsigned char *blocks;  /* [2, message_bytes]: this rank's side of the all-gathers, on its card or on the host */
    unsigned char *inbox;   /* on its card: [SETS, n, message_bytes]: where others push their blocks, ... */
    unsigned char *counts;  /* ... and [n + 1] words: how many blocks of each rank have come; how many this rank has pushed */
    bool pushing;           /* the pass repeats */
    bool lost;              /* its stream took no more work where nobody could be told */
    uint32_t pushed;        /* blocks of this pass */
    slot slots[SLOTS];
    uint64_t asked, taken, released; /* hops so far */
    timed_hop timed[TIMED];          /* hops from other ranks: number i of them is timed[i % TIMED] */
    uint64_t n_timed, n_counted;     /* so far; those before n_counted are in the counters */
    uint32_t gathers;
    const unsigned char *region[COMM_REGIONS];
    size_t bytes[COMM_REGIONS];
    mark ready[COMM_REGIONS], gathered;
} cuda_comm;

struct cuda_group {
    comm_group base;
    comm_setup setup;
    size_t message_bytes; /* rounded up to whole cache lines */
    bool through_host, pushes; /* pushes: every rank has a card of its own that reaches the others */
    int32_t *ordinals;
    cuda_comm *ranks;
    unsigned char *words; /* pinned: [n, COMM_REGIONS + 1] of WORD_STRIDE bytes, */
    uint32_t *stop;       /* and behind them the word that ends all waiting of kernels */
    stream_value_fn write_value, wait_value;
    _Atomic bool cancelled;
};

/* --- card_transport.c --- */

lariat_status card_checked(cudaError_t error, int rank, const char *what);
/* Of one slot: the most that a hop brings. */
size_t card_staging_bytes(const comm_setup *s);
/* Of the words that all-gathers by pushing count in. */
size_t card_count_bytes(const cuda_comm *c);

/* --- card_order.c --- */

void card_cancel(comm_group *base);
void card_reset(comm_group *base);
/* A failure that its call could not tell. */
lariat_status card_check_lost(const cuda_comm *c);
/* Behind what was queued on the rank's stream so far. */
lariat_status card_set_mark(cuda_comm *c, mark *m, uint32_t value);
/* On the host until it is queued, on the stream until it is done. */
lariat_status card_wait_mark(cuda_comm *c, cudaStream_t stream, mark *m, uint32_t value);

/* --- card_gather.c --- */

void card_begin(comm *base, bool repeats);
lariat_status card_all_gather(comm *base, const void *mine, size_t bytes, const void *theirs[]);
/* A span of the rank's own stream that ends now, if it has a beginning. */
void card_trace_wait(cuda_comm *c, int64_t began, int owner);

/* --- card_hops.c --- */

void card_expose(comm *base, comm_region region, const void *at, size_t bytes);
void card_ready(comm *base, comm_region region, uint32_t step);
lariat_status card_ask(comm *base, const comm_hop *hop);
lariat_status card_take(comm *base, comm_hop *hop);
void card_release(comm *base, const comm_hop *hop);
/* Counts the hops whose pieces have come since it was called last. */
void card_count(comm *base);

#endif
