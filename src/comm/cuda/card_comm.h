/* The transport between cards, common to its files: a rank's endpoint, the group, the calls that one file makes of another.
   Rests on the CUDA runtime and comm.h. card_transport.c opens and closes; card_order.c has words and waits; card_gather.c the
   all-gathers; card_hops.c the hops. */
#pragma once

#include "comm/comm.h"
#include "comm/cuda/gather.h"

#include "base/threads.h"

#include <cuda.h>
#include <cuda_runtime_api.h>

enum {
    TIMED = 2048,    /* hops whose times are not read yet: those of a pass of 126 layers on a ring of 8, if queries travel */
    ROW_SETS = 3,    /* buffers of rows that are pushed: that of a pass's first all-gather, then two in turn */
    COPIED_SETS = 2, /* buffers of rows that are copied: in turn */
    WORD_STRIDE = 64 /* bytes: a cache line a word */
};

/* A word that a rank's stream writes and others' streams wait on, and how far its writing is queued. */
typedef struct stream_word {
    epoch queued;
    CUdeviceptr at;
} stream_word;

typedef CUresult (*stream_value_fn)(CUstream, CUdeviceptr, cuuint32_t, unsigned int);

typedef struct card_group card_group;

/* Memory for one hop. */
typedef struct hop_staging {
    unsigned char *staging; /* [hop_bytes] on this rank's card */
    unsigned char *pinned;  /* the same on the host, where pieces go through it */
    cudaEvent_t brought;    /* the pieces are in staging */
    cudaEvent_t freed;      /* they have been read */
    int64_t left, there;    /* timestamps of its hop: the copy begins, has ended (device.h) */
} hop_staging;

/* The open hops of one region, by turns. */
typedef struct hop_queue {
    hop_staging list[COMM_OPEN_HOPS];
    /* asked for, but the owner's host had not queued the offer: its copies are not queued either */
    bool pending[COMM_OPEN_HOPS];
} hop_queue;

/* Timestamps of a hop until it is counted: its copy begins, has ended, the rank's stream reaches the wait for it. */
typedef struct timed_hop {
    int64_t left, there, wanted;
} timed_hop;

typedef struct card_comm {
    comm base;
    card_group *group;
    cudaStream_t stream, copies;
    cudaStream_t *fetch;    /* [n]: through the host: a stream on the card of each owner, ... */
    cudaEvent_t *landed;    /* [n]: ... and its event: pieces are in pinned memory */
    unsigned char *rows;    /* [sets, message_bytes] on its card: of all-gathers */
    unsigned char *outbox;  /* [COPIED_SETS, message_bytes]: where others read this rank's columns: rows, or pinned memory */
    gather_packet *packets; /* [ROW_SETS, card_packets] on its card: others write them */
    uint32_t *pass;         /* on its card: the number of the pass, for packets */
    packet_sums sums;       /* that a product exchanges, */
    packet_carries carries; /* that attention does, */
    packet_links links;     /* and of heads, which a product does */
    bool pushing;           /* all-gathers of this pass are pushed */
    bool lost;              /* its stream took no more work where the call could not fail */
    uint32_t pushed;        /* all-gathers of this pass */
    uint32_t copied;        /* all-gathers of other passes, so far */
    hop_queue hops[COMM_REGIONS];
    timed_hop timed[TIMED];      /* hop i from another rank is timed[i % TIMED] */
    uint64_t n_timed, n_counted; /* so far; those before n_counted are in the counters */
    const unsigned char *region[COMM_REGIONS];
    size_t bytes[COMM_REGIONS];
    stream_word offered[COMM_REGIONS], gathered;
} card_comm;

struct card_group {
    comm_group base;
    comm_setup setup;
    size_t message_bytes;      /* of one buffer of rows: rounded up */
    bool through_host, pushes; /* pushes: every rank has a card of its own that reaches the others */
    bool alike;                /* these are of one kind */
    int32_t *ordinals;
    card_comm *ranks;
    unsigned char *words; /* pinned: [n, COMM_REGIONS + 1] of WORD_STRIDE bytes, */
    uint32_t *stop;       /* and behind them the word that ends all waiting of kernels */
    stream_value_fn write_value, wait_value;
    _Atomic bool cancelled;
};

/* --- card_transport.c --- */

lariat_status card_checked(cudaError_t error, int rank, const char *what);

/* --- card_order.c --- */

void card_cancel(comm_group *base);
void card_reset(comm_group *base);
/* A failure of a call without a status, or a cancel: asked by every call that has one. */
lariat_status card_check(const card_comm *c);
/* The same of a call that cannot: the group is cancelled, since others must not wait for work that was not queued. */
void card_lose(card_comm *c);
/* Of the last calls of a pass, which have no status. */
lariat_status card_end(comm *base);
/* Writes the word behind all work queued on the rank's stream so far. */
lariat_status card_write_word(card_comm *c, stream_word *w, uint32_t value);
/* Is the writing of this value, or of a later one, queued? */
bool card_word_queued(const stream_word *w, uint32_t value);
/* The host waits until the writing is queued, the stream until it is done. */
lariat_status card_wait_word(card_comm *c, cudaStream_t stream, stream_word *w, uint32_t value);

/* --- card_gather.c --- */

/* Buffers of rows that a rank has. */
int card_row_sets(int n_ranks, bool through_host);
/* Packets that a rank receives in one all-gather at most; bytes of all its packets, SIZE_MAX on overflow. */
size_t card_packets(int n_ranks, size_t message_bytes);
size_t card_packet_bytes(int n_ranks, size_t message_bytes);
void card_begin(comm *base, bool replays);
void *card_rows(comm *base);
const void *card_exchange(comm *base, const comm_gather *rows);
lariat_status card_all_gather(comm *base, const comm_gather *g);

/* --- card_hops.c --- */

void card_expose(comm *base, comm_region region, const void *at, size_t bytes);
void card_offer(comm *base, int to, const comm_pieces *p);
lariat_status card_ask(comm *base, const comm_hop *hop);
lariat_status card_take(comm *base, comm_hop *hop);
void card_release(comm *base, const comm_hop *hop);
/* Counts the hops that have ended since it was called last. */
void card_count(comm *base);
/* Records a wait of the rank's own stream that ends now; began -1: none. */
void card_trace_wait(card_comm *c, int64_t began, int owner);
