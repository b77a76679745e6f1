/* The records of a ring's ranks, replayed together: in an order that is drawn at random and kept only from running ahead of
   what a rank waits for. A slot stands for a position of a sequence, a carry for the set of keys that each of its queries has
   met.
   Rests on recorder.h and ring/attention.h. Used by ring/test_schedule.c.

   What is asserted on the way: that every pointer leads to a row, a slot or a carry of the layer that its rank is in; that hops
   are read between take and release, while they are still what was asked for; that keys are stored from their own row in an
   empty slot, as planned; that no query meets a key twice, one of another sequence, or one that it may not see but in a run
   with positions; that each offer is taken once by each other rank that it names; and, when a carry is finished, that each
   query has met all keys up to its own position. */
#pragma once

#include "ring/attention.h"
#include "support/recorder.h"

enum {
    RANKS_MOST = 8,
    LAYERS = 2,
    HEADS = 4,
    KV_HEADS = 2,
    HEAD_DIM = 8,
    Q_WIDTH = HEADS * HEAD_DIM,
    KV_WIDTH = KV_HEADS * HEAD_DIM,
    ROW_WIDTH = Q_WIDTH + 2 * KV_WIDTH, /* q, k and v of a token lie together, as in the transformer */
    ROWS_MOST = 20,                     /* of activations */
    SLOTS = 4 * SLOT_BLOCK,             /* a rank */
    CAPACITY = 256,                     /* positions of a sequence, at most */
    WORDS = CAPACITY / 64
};

/* A rank, its record, and what the replay knows of it. Positions are tags: sequence * CAPACITY + position, -1: none. */
typedef struct member {
    struct replay *all;
    int rank;
    recorder rec;
    ring_rank ring;
    uint16_t rows[ROWS_MOST][ROW_WIDTH], out[ROWS_MOST][Q_WIDTH];
    int64_t n_rows;
    int32_t row_tag[ROWS_MOST], planned[SLOTS]; /* of the pass, in rows and in slots: set before its replay */
    int32_t held[LAYERS][2][SLOTS];             /* what was stored: grows by replays, the test drops what is needed no more */
    int next, layer;                            /* event; layer whose rows there are */
    const event *taken[COMM_REGIONS][COMM_OPEN_HOPS]; /* hops, by staging */
    uint32_t gathered;
} member;

/* What a carry stands for: the query of each row, and the keys that it has met. */
typedef struct result {
    const unsigned char *at;
    size_t bytes;
    int64_t rows;
    int rank, layer;
    int32_t query[ROWS_MOST];
    uint64_t met[ROWS_MOST][WORDS];
} result;

typedef struct replay {
    int n;
    member *members; /* [n] */
    result results[RANKS_MOST * (RANKS_MOST + 4)];
    int n_results;
} replay;

/* One event of a rank; false where it waits for another rank. */
bool replay_one(member *m);
/* All events of all ranks: a rank drawn at random does some of its own, often all that it can. */
void replay_run(replay *all);
