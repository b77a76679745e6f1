/* The KV cache of the ring: every rank's shard (its memory), and for every sequence which slots of which shard hold which
   positions (known to all ranks alike).
   Rests on plan.h and device/device.h. Read on in attention.h.

   A shard's layer is K [n_kv_heads, slots, head_dim] and V the same, in the type of the cache, keys after RoPE. Slots are
   handed out in blocks; a sequence reserves all that it may need when it opens, as few extents as the pool allows. A rank's
   slots of a sequence are filled in the order in which positions come, so they are always sorted by position: rewinding drops
   the tail on every rank, and what was there before a pass is seen whole by every query of the pass. */
#pragma once

#include "device/device.h"
#include "ring/plan.h"

enum { SLOT_BLOCK = 32 }; /* slots are reserved in such blocks: a sequence wastes half of one a rank on average */

/* The memory of one rank, on its device. */
typedef struct shard {
    arena memory;
    unsigned char *base; /* [n_layers, 2 (K, V), n_kv_heads, slots, head_dim] */
    dtype type;
    int32_t n_kv_heads, head_dim;
    int64_t slots;
    size_t side_bytes;   /* of K (or V) of one layer */
    size_t bytes;        /* in all */
} shard;

/* What one rank holds of a sequence. */
typedef struct holding {
    slot_span *extents;  /* reserved slots, in the order in which they are filled */
    int32_t n_extents;
    int64_t room, used;  /* slots reserved, slots filled */
    int32_t *positions;  /* [room] of the filled slots, ascending */
} holding;

typedef struct sequence {
    int64_t length, capacity; /* positions */
    int32_t decode_rank;      /* that takes single tokens now */
    int64_t decode_left;      /* how many more it takes */
    int64_t slices_from;      /* all positions from here on came by slices, in blocks of DECODE_BLOCK */
    holding *held;            /* [n_ranks] */
} sequence;

/* Which blocks of every rank's shard are taken. */
typedef struct cache {
    int32_t n_ranks;
    int64_t blocks;       /* a rank */
    unsigned char *taken; /* [n_ranks, blocks] */
    int64_t *free_blocks; /* [n_ranks] */
    arena memory;         /* of both */
} cache;

/* Bytes of a shard, SIZE_MAX on overflow; and opening one. */
size_t shard_need(int64_t n_layers, int32_t n_kv_heads, int32_t head_dim, int64_t slots, dtype type);
lariat_status shard_open(shard *s, device *dev, int64_t n_layers, int32_t n_kv_heads, int32_t head_dim, int64_t slots,
                         dtype type);
void shard_close(shard *s, device *dev);

/* Byte offset of KV head 0 of `slot` in K (side 0) or V (side 1) of a layer. */
size_t shard_offset(const shard *s, int32_t layer, int side, int64_t slot);

/* Slots a rank must have for a sequence of `capacity` positions over n ranks: an even share, what decoding may be ahead by,
   whole blocks. */
int64_t cache_slots_for(int n_ranks, int64_t capacity);

lariat_status cache_open(cache *c, int32_t n_ranks, int64_t slots);
void cache_close(cache *c);
/* The most extents that up to `sessions` sequences together can have of a rank's slots; and the bytes of all tables, theirs
   included, SIZE_MAX on overflow. */
int64_t cache_extents(int64_t slots, int32_t sessions);
size_t cache_table_bytes(int32_t n_ranks, int64_t slots, int32_t sessions);
/* The largest capacity that a new sequence could have now. */
int64_t cache_room(const cache *c);

/* Reserves slots for `capacity` positions on every rank. */
lariat_status sequence_open(cache *c, int64_t capacity, sequence *out);
void sequence_close(cache *c, sequence *s);
/* Drops all positions from `length` on. Where all came in one layout the next ones go to the ranks to which those went. */
void sequence_rewind(sequence *s, int32_t n_ranks, int64_t length);
/* Makes it what it was before the passes that came since. `before`: a copy of the struct from then, when it was not longer; its
   lists are not read. */
void sequence_restore(sequence *s, int32_t n_ranks, const sequence *before);
/* Reserves slots for a copy of the first `length` positions of a sequence, of the same capacity, and fills the tables; and
   copies what one rank holds of them. */
lariat_status sequence_fork(cache *c, const sequence *from, int64_t length, sequence *out);
void shard_copy(const shard *s, device *dev, const holding *from, const holding *to);

/* --- building the plan of a pass --- */

typedef struct pass_request {
    sequence *seq;
    int64_t count; /* tokens wanted */
} pass_request;

/* What the largest pass has. Runs and parts are never empty, so there are no more of them than tokens. */
typedef struct pass_limits {
    int64_t runs, parts;
    int64_t extents; /* that all sequences together have of a rank's slots: cache_extents */
} pass_limits;

/* An empty plan, to be used again and again, and its bytes (SIZE_MAX on overflow). */
size_t pass_bytes(int32_t n_ranks, const pass_limits *most);
lariat_status pass_open(pass *p, int32_t n_ranks, const pass_limits *most);
void pass_close(pass *p);

/* Plans a pass over the requests and takes their sequences forward: filled slots and lengths are those after the pass. By
   tokens no rank gets more than max_rows rows: requests[i].count becomes the number of tokens that found room (each request
   asks for no more than its sequence has capacity for, and for one token at least). */
void pass_plan(pass *p, pass_layout layout, pass_request requests[], int32_t n, int64_t max_rows);

/* Instead of planning: one part of which nothing was held before, by tokens, from n runs that somebody else dealt out, listed
   by rank. A rank's rows and slots follow one another in the order of its runs. `number` stays the caller's. */
void pass_from_runs(pass *p, const plan_run runs[], int32_t n);
