/* Byte pair encoding of one word: neighbours are merged, the best merge first.
   Rests on tokenizer.h's tables. */
#pragma once

#include "text/tokenizer.h"

/* A part of the word: one token so far, or a character without a token. */
typedef struct symbol {
    uint32_t start, size;   /* bytes; size 0: merged into its left neighbour */
    int32_t previous, next; /* indices, -1 at the ends */
    int32_t id;             /* -1: unknown */
    bool frozen;            /* a user-defined symbol, never merged */
} symbol;

/* Two neighbours that may be merged. */
typedef struct candidate {
    uint64_t key;           /* rank << 32 | index of the left symbol: the smallest is merged next */
    uint32_t size;          /* bytes of both; stale if their size has changed since */
    int32_t result;
} candidate;

/* A candidate in its rank's queue; several in a block, so that a queue costs fewer cache misses. */
typedef struct waiting {
    int32_t place;          /* index of the left symbol; -1: free */
    uint32_t size;
    int32_t result;
} waiting;

enum { WAITING_BLOCK = 5 }; /* one cache line, `next` included */
typedef struct waiting_block {
    waiting list[WAITING_BLOCK];
    int32_t next;           /* block, -1 at the end */
} waiting_block;

/* The algorithms, which have the same result. */
typedef enum merge_way {
    MERGE_BEST,  /* by the number of symbols */
    MERGE_SCAN,  /* of at most MERGE_FEW symbols, otherwise the heap */
    MERGE_HEAP,
    MERGE_QUEUES
} merge_way;

enum { MERGE_FEW = 24 }; /* symbols up to which scanning all of them is faster than a heap */

/* Memory of one thread, reused from word to word. */
typedef struct merger {
    const lariat_tokenizer *t;
    merge_way way; /* but for bench_merge.c, MERGE_BEST */
    symbol *symbols;
    int64_t n, capacity;
    int64_t rank;           /* in the heap: candidates up to this rank; later ones are in queues */
    candidate *heap;
    int64_t n_heap, heap_capacity;
    waiting_block *blocks;
    int64_t n_blocks, block_capacity;
    int32_t *heads, *tails; /* [t->n_ranks] first and last block of a rank's queue; -1: empty */
    waiting *turn;          /* the queue of one rank */
    int64_t turn_capacity;
    bool after_unknown;     /* by score: the last id was the unknown token */
    const bool *hidden;     /* [n_tokens] tokens that are no result; NULL: none */
    /* By score: hidden user-defined symbols that are found nevertheless, sorted by their places from `base` on. */
    const char *base;
    const own_symbol *shown;
    int64_t n_shown, next_shown;
} merger;

/* Appends the ids of one word of well-formed text. Time is O(n log n) in the size. */
lariat_status merge_word(merger *m, const char *word, size_t size, id_list *ids);
void merger_free(merger *m);
/* By score: the words to come are of the text at `base`, which has these hidden user-defined symbols, sorted by place. */
void merger_show(merger *m, const char *base, const own_symbol *symbols, int64_t n);
