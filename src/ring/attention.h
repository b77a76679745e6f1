/* Ring attention: every query against every key that it may see, wherever the key is held (Liu et al. 2023, section 3).
   Rests on cache.h (shards and the plan of a pass), comm/comm.h (hops) and device/device.h (the computing). */
#pragma once

#include "trace/spans.h"
#include "comm/comm.h"
#include "device/device.h"
#include "ring/cache.h"

/* The pieces of one hop: the keys and values that one rank holds of the sequences of a pass. */
typedef struct hop_set {
    comm_hop hop;
    comm_piece *pieces;    /* K and V of each source in turn, then of an I8 cache the scales of both likewise */
    comm_view *views;
    kv_segment *segments;  /* [n], by part */
    int32_t *part_begin;   /* [n_parts + 1] into segments */
    int32_t n;
} hop_set;

/* One rank's side of the ring. */
typedef struct ring_rank {
    device *dev;
    comm *comm;
    int32_t rank, n_ranks;
    attention_shape shape;
    shard shard;
    arena memory, lists;     /* the device's; the host's */
    void *merged;            /* carry of this rank's queries */
    unsigned char *partials; /* pass-Q by tokens: a carry of max_rows for each rank's queries, or NULL */
    size_t partial_stride;
    int64_t *slots, *host_slots; /* [max rows] of the pass: where each row's key goes, negative: to another rank */
    size_t *begin;           /* [n_ranks + 1] of a comm_gather */
    hop_set hops[2];         /* own keys, until the third hop; then the one that is used and the one that travels, by turns */
    attention_item *items;
    const pass *pass;
    trace *trace;            /* NULL: off */
} ring_rank;

typedef struct ring_setup {
    int32_t n_layers;
    attention_shape shape;
    int64_t slots;       /* of the shard */
    int64_t max_rows;    /* a rank, by tokens */
    int64_t max_slices;  /* tokens of a pass by slices */
    int64_t max_runs;    /* of one rank in a pass */
    int64_t max_parts;   /* sequences of a pass */
    int64_t max_extents; /* spans of a rank's slots in a pass: cache_extents */
    bool pass_q;         /* queries may travel by tokens */
    int64_t q_row_bytes; /* from one row of queries to the next, where they may travel */
    dtype act;           /* of activations */
} ring_setup;

/* Bytes of a rank beside its shard; the rows of its largest all-gather; and its largest hop of each region. SIZE_MAX on
   overflow. */
size_t ring_memory(const ring_setup *s, int32_t n_ranks);
size_t ring_message(const ring_setup *s, int32_t n_ranks);
void ring_hops(const ring_setup *s, size_t bytes[COMM_REGIONS]);

/* Takes memory and exposes the shard. `dev` and `c` stay the caller's. ring_close is safe on a zeroed one. */
lariat_status ring_open(ring_rank *r, device *dev, comm *c, const ring_setup *s);
void ring_close(ring_rank *r);

/* Says which queries will travel by tokens: up to `rows` rows of q as ring_attend will get them, row t at q + t * ldq. Once,
   before the first pass; only needed where pass_q. */
void ring_expose_queries(ring_rank *r, const void *q, int64_t rows, int64_t ldq);

/* Prepares for a pass, beside comm_begin; the plan stays the caller's and unchanged until the pass has ended on all ranks. */
void ring_begin(ring_rank *r, const pass *p);

/* Stores this rank's share of the pass's keys (after RoPE) and values in its shard and, where keys travel, offers them to the
   ranks that call ring_attend in this layer: attends [n_ranks], NULL for all. k, v: activations, rows as the pass numbers them,
   [n_kv_heads, head_dim] each, row t at k + t * ld. rotate: NULL, or rows to rotate first, of which the
   last heads are k, with v behind them; k is undefined afterwards. ring_stores_rotated: whether the device's op rope_store
   does all of it. */
bool ring_stores_rotated(const ring_rank *r, const rotation *rotate);
void ring_append(ring_rank *r, int32_t layer, const rotation *rotate, const void *k, const void *v, int64_t ld,
                 const bool attends[]);

/* Attention of the pass's queries on this rank: q [rows, n_heads, head_dim], row t at q + t * ldq, into o [rows, n_heads,
   head_dim], row t at o + t * ldo. ring_append of the layer is called before, on all ranks, also on those that do not
   attend. */
lariat_status ring_attend(ring_rank *r, int32_t layer, const void *q, int64_t ldq, void *o, int64_t ldo);

/* The class of this pass's calls of ring_attend with these q and o, by slices, as the device tells it (replay_class): 0 if the
   device does not replay it. Announces the pass's items and segments to the device. */
uint64_t ring_replay_class(ring_rank *r, const void *q, int64_t ldq, void *o, int64_t ldo);

/* The log-sum-exp of the scores of the last ring_attend: lse [rows, n_heads], m + ln(l), -inf where no key was seen. For a
   device that shares the host's memory. */
void ring_lse(const ring_rank *r, float *lse);
