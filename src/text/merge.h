/* Byte pair encoding: one word becomes ids by merging neighbours, the best merge first.
   Rests on tokenizer.h's tables. */
#ifndef TEXT_MERGE_H
#define TEXT_MERGE_H

#include "text/tokenizer.h"

/* A stretch of the word that is one token so far, or a character that no token has. */
typedef struct symbol {
    uint32_t start, size;   /* bytes; size 0: merged into its left neighbour */
    int32_t previous, next; /* places, -1 at the ends */
    int32_t id;             /* -1: unknown */
    bool frozen;            /* a user-defined symbol: not merged any further */
} symbol;

/* Two neighbours that could merge. */
typedef struct candidate {
    uint64_t key;           /* rank << 32 | place of the left one: the smallest is the next to merge */
    uint32_t size;          /* bytes of both: if it is not what they have by now, they have changed and this is void */
    int32_t result;
} candidate;

/* The same, waiting for its rank's turn; several together, so that going through a queue is not a wait for memory each. */
typedef struct waiting {
    int32_t place;          /* of the left symbol; -1: free */
    uint32_t size;
    int32_t result;
} waiting;

enum { WAITING_BLOCK = 5 }; /* with `next` one cache line */
typedef struct waiting_block {
    waiting list[WAITING_BLOCK];
    int32_t next;           /* block, -1 at the end */
} waiting_block;

/* Memory that one thread reuses from word to word. */
typedef struct merger {
    const lariat_tokenizer *t;
    symbol *symbols;
    int64_t n, capacity;
    int64_t rank;           /* whose turn it is: candidates of later ranks wait in queues, others lie in the heap */
    candidate *heap;
    int64_t n_heap, heap_capacity;
    waiting_block *blocks;
    int64_t n_blocks, block_capacity;
    int32_t *heads, *tails; /* [t->n_ranks] the first and the last block that waits for a rank; -1: none */
    waiting *turn;          /* those of one rank */
    int64_t turn_capacity;
    bool after_unknown;     /* by score: the last id was the unknown token's */
} merger;

/* Appends the ids of one word of well-formed text. Time is O(n log n) in its size. */
lariat_status merge_word(merger *m, const char *word, size_t size, id_list *ids);
void merger_free(merger *m);

#endif
