/* The KV cache of the ring: every rank's shard (its memory), and for every sequence which slots of which shard hold which
   positions (known to all ranks alike).
   Rests on plan.h and device/device.h. Read on in attention.h.

   A shard's layer is K [n_kv_heads, slots, head_dim] and V the same, in the type of the cache, keys after RoPE; the scales of
   an I8 cache are a plane of their own behind all layers. Slots are handed out in blocks, when positions come: the block behind
   a sequence's last one if it is free, otherwise the lowest free one, so that a sequence alone is contiguous. A rank's slots
   of a sequence are filled in the order in which positions come, so they are always sorted by position: rewinding drops the
   tail on every rank, and what was there before a pass is seen whole by every query of the pass.

   A block knows the one before it. So sequences with the same beginning share its blocks, and each has its own last one:

       fork at 300:    [ 0..127 ] <- [ 128..255 ] <- [ 256.. ]      parent
                                                 <- [ 256..299 ]    fork, once it writes: until then it has the parent's

   A block has as many users as there are sequences that end in it and blocks that follow it; without one it is free. */
#pragma once

#include "device/device.h"
#include "ring/plan.h"

enum { SLOT_BLOCK = 128 }; /* slots of a block: a sequence wastes half of one a rank on average */

/* The memory of one rank, on its device. */
typedef struct shard {
    arena memory;
    unsigned char *base; /* [n_layers, 2 (K, V), n_kv_heads, slots, head_dim] */
    float *scales;       /* of I8: [n_layers, 2, n_kv_heads, slots], behind them; NULL otherwise */
    dtype type;
    int64_t n_layers;
    int32_t n_kv_heads, head_dim;
    int64_t slots;
    size_t side_bytes;   /* of K (or V) of one layer, without scales */
    size_t bytes;        /* in all */
} shard;

/* What one rank holds of a sequence: ceil(used / SLOT_BLOCK) blocks. */
typedef struct holding {
    int64_t used; /* slots filled */
    int32_t last; /* block, -1: none */
} holding;

typedef struct sequence {
    int64_t length, capacity; /* positions */
    int64_t most;             /* slots that it fills on one rank */
    int32_t decode_rank;      /* that takes single tokens now */
    int64_t decode_left;      /* how many more it takes */
    int64_t slices_from;      /* all positions from here on came by slices, in blocks of DECODE_BLOCK */
    holding *held;            /* [n_ranks] */
} sequence;

/* The blocks of every rank's shard, each table [n_ranks, blocks]. */
typedef struct cache {
    int32_t n_ranks;
    int64_t blocks;        /* a rank */
    int32_t *users;        /* 0: it is free */
    int32_t *before;       /* the block before it, -1: none */
    int32_t *positions;    /* [n_ranks, blocks, SLOT_BLOCK] of filled slots */
    int64_t *free_blocks;  /* [n_ranks] */
    int64_t *lowest;       /* [n_ranks]: no block below is free */
    arena memory;          /* of all */
} cache;

/* Bytes of a key or a value of one head, with its scale. */
size_t kv_row_bytes(dtype type, int32_t head_dim);
/* Bytes of a shard, SIZE_MAX on overflow; and opening one. */
size_t shard_need(int64_t n_layers, int32_t n_kv_heads, int32_t head_dim, int64_t slots, dtype type);
lariat_status shard_open(shard *s, device *dev, int64_t n_layers, int32_t n_kv_heads, int32_t head_dim, int64_t slots,
                         dtype type);
void shard_close(shard *s, device *dev);

/* Byte offset of KV head 0 of `slot` in K (side 0) or V (side 1) of a layer. */
size_t shard_offset(const shard *s, int32_t layer, int side, int64_t slot);
/* Its scale; NULL where it has none. */
float *shard_scales(const shard *s, int32_t layer, int side, int64_t slot);

/* Slots a rank must have for up to `sessions` sequences of `capacity` positions together over n ranks: an even share, what
   decoding may be ahead by, whole blocks. */
int64_t cache_slots_for(int32_t n_ranks, int64_t capacity, int32_t sessions);

lariat_status cache_open(cache *c, int32_t n_ranks, int64_t slots);
void cache_close(cache *c);
/* The most spans of consecutive slots that up to `sessions` sequences have in one pass of a rank's slots; and the bytes of all
   tables, those of the sequences included, SIZE_MAX on overflow. */
int64_t cache_extents(int64_t slots, int32_t sessions);
size_t cache_table_bytes(int32_t n_ranks, int64_t slots, int32_t sessions);
/* The largest capacity that a sequence may have; and the most positions that a new one could come to have now. */
int64_t cache_most(const cache *c);
int64_t cache_room(const cache *c);

/* An empty sequence. NO_MEMORY: its capacity is more than cache_most. */
lariat_status sequence_open(cache *c, int64_t capacity, sequence *out);
void sequence_close(cache *c, sequence *s);
/* Slots that a rank has for more positions of it: of its last block, of free blocks, up to `most`. */
int64_t sequence_room(const cache *c, const sequence *s, int32_t rank);
/* The slot for its next position on a rank that has room, which is filled. */
int64_t sequence_append(cache *c, sequence *s, int32_t rank, int64_t position);
/* A rank's slots of it, neighbours joined, in the order in which they were filled. Returns how many spans; -1: more than
   `room`. */
int32_t sequence_spans(const cache *c, const sequence *s, int32_t rank, slot_span out[], int64_t room);
/* Drops all positions from `length` on. Where all came in one layout the next ones go to the ranks to which those went. */
void sequence_rewind(cache *c, sequence *s, int64_t length);
/* Makes it what it was before the passes that came since. `before`: a copy of the struct from then, when it was not longer; its
   lists are not read. */
void sequence_restore(cache *c, sequence *s, const sequence *before);
/* A sequence of the same capacity that shares the blocks of the first `length` positions. */
lariat_status sequence_fork(cache *c, const sequence *from, int64_t length, sequence *out);

/* Slots of a block whose keys another block gets. */
typedef struct block_copy {
    int64_t from, to, count; /* 0: nothing */
} block_copy;

/* Would its next positions be written into a block that others have too? */
bool sequence_is_shared(const cache *c, const sequence *s);
/* Gives it blocks of its own for them, and lists what each rank has to copy: copies [n_ranks]. False, and nothing has changed:
   some rank has no free block. */
bool sequence_unshare(cache *c, sequence *s, block_copy copies[]);
void shard_copy(const shard *s, device *dev, const block_copy *what);

/* --- building the plan of a pass --- */

typedef struct pass_request {
    sequence *seq;
    int64_t count; /* tokens wanted */
} pass_request;

/* Sizes of the largest pass. Runs and parts are never empty, so there are no more of them than tokens. */
typedef struct pass_limits {
    int64_t runs, parts;
    int64_t extents; /* spans of a rank's slots, all parts together: cache_extents */
} pass_limits;

/* An empty plan, to be used again and again, and its bytes (SIZE_MAX on overflow). */
size_t pass_bytes(int32_t n_ranks, const pass_limits *most);
lariat_status pass_open(pass *p, int32_t n_ranks, const pass_limits *most);
void pass_close(pass *p);

/* Plans a pass over the requests and takes their sequences forward: filled slots and lengths are those after the pass. By
   tokens no rank gets more than max_rows rows: requests[i].count becomes the number of tokens that found rows, and slots in
   free blocks (each request asks for no more than its sequence has capacity for, and for one token at least; none of them
   is_shared). */
void pass_plan(pass *p, cache *c, pass_layout layout, pass_request requests[], int32_t n, int64_t max_rows);

/* Instead of planning: one part of which nothing was held before, by tokens, from n runs that somebody else dealt out, listed
   by rank. A rank's rows and slots follow one another in the order of its runs. `number` stays the caller's. */
void pass_from_runs(pass *p, const plan_run runs[], int32_t n);
