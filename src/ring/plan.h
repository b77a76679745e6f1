/* The division of a pass over the ranks: rows, keys and values. Pure arithmetic; every rank of every process computes the same.
   Rests on base/. Read on in cache.h (the shards) and attention.h (the schedule).

   A pass takes tokens of one or several sequences (its parts), flattened. Of each part a rank gets some runs of positions:
   its keys and values go to that rank's shard. By tokens, these runs are also the rows that the rank computes; by slices, every
   rank has the rows of all tokens. */
#pragma once

#include "base/arena.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decoded tokens go to one rank until it has got so many, then to the least-filled one: small enough that shards stay even,
   large enough that a rank's new slots are consecutive. */
enum { DECODE_BLOCK = 32 };

/* Slots [slot, slot + count) of a rank's shard. */
typedef struct slot_span {
    int64_t slot, count;
} slot_span;

/* Positions [first, first + count) of a part, held by one rank in slots [slot, slot + count). */
typedef struct pass_run {
    int32_t part;
    int64_t first, count;
    int64_t row;  /* of position `first` in this rank's activations */
    int64_t slot;
} pass_run;

/* The tokens of one sequence in a pass. */
typedef struct pass_part {
    int64_t first, count; /* positions */
    int64_t token;        /* index of the first in the pass's flat list */
    int64_t capacity;     /* positions: the sequence's limit */
} pass_part;

typedef enum pass_layout { PASS_BY_TOKENS, PASS_BY_SLICES } pass_layout;
typedef enum pass_side { PASS_KV, PASS_Q } pass_side; /* which side travels, by tokens */

typedef struct pass {
    uint32_t number; /* set by whoever carries it out, one more than that of the pass before: steps of the transport follow */
    pass_layout layout;
    pass_side side;
    int32_t n_ranks, n_parts;
    int64_t n_tokens;
    pass_part *parts;    /* [n_parts] */
    pass_run *runs;      /* by rank, then part, then position: those of rank r are [run_begin[r], run_begin[r + 1]) */
    int32_t *run_begin;  /* [n_ranks + 1] */
    /* slots that a rank held of a part's sequence before the pass: [span_begin[p * n_ranks + r], ...[p * n_ranks + r + 1]) */
    slot_span *spans;
    int32_t *span_begin; /* [n_parts * n_ranks + 1] */
    int64_t *rows;       /* [n_ranks]: rows of activations: by tokens the sum of its runs, by slices n_tokens */
    arena memory;           /* of all these lists */
    struct pass_work *work; /* scratch of planning: see pass.c */
} pass;

/* Divides `tokens` over n ranks so that filled[r] + share[r] become as even as they can, with share[r] <= room[r]; a remainder
   goes first to the rank with the fewest `rows`. Returns how many tokens were placed: fewer only where the room ends. */
int64_t plan_shares(int n, const int64_t filled[], const int64_t room[], const int64_t rows[], int64_t tokens, int64_t share[]);

/* One run of a division. */
typedef struct plan_run {
    int32_t rank;
    int64_t first, count;
} plan_run;

/* Zigzag: 2n blocks in order of position, rank r gets blocks r and 2n - 1 - r, which have share[r] tokens together, so that
   even shares have the same causal work. Positions count from `first`. Writes at most 2n runs in order of position, none empty,
   and joins neighbours of one rank. Returns how many. */
int plan_zigzag(int n, const int64_t share[], int64_t first, plan_run runs[]);

/* --- which layout, which side: by prediction from shapes and the transport's kind, so that two runs agree --- */

typedef struct plan_costs {
    int n_ranks;
    double weight_bytes;      /* of all layers */
    double row_bytes;         /* of a token: of its all-gathers of all layers, by slices */
    double read_bytes_per_s;  /* of weights, one rank */
    double flops;             /* of attention, one rank, a second */
    double hop_bytes_per_s;   /* 0: read in place */
    double hop_latency_s;
    int n_layers;
    double kv_bytes;          /* of one token in one layer */
    double q_bytes;           /* of one token's queries and partial results in one layer */
    double qk_flops;          /* of one query against one key in one layer */
} plan_costs;

/* The largest number of tokens for which a pass goes by slices: where gathering rows costs less than reading all weights on
   every rank. At most `most`, at least 1. */
int64_t plan_slices_up_to(const plan_costs *c, int64_t most);

/* Which side travels in a pass of these sequences, each of `count` tokens after `first` cached positions: the one whose hops
   show less beside the computing. A sequence's queries meet its own keys only. */
pass_side plan_side(const plan_costs *c, const pass_part parts[], int32_t n);

/* The first prefix from which queries travel in passes of `tokens` of one sequence, up to `most`; -1: never. */
int64_t plan_q_from(const plan_costs *c, int64_t tokens, int64_t most);
