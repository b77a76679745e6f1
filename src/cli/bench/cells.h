/* What bench measures: one cell for every combination of the axes that the command line names.
   Rests on options.h. measure.h measures a cell, rows.h keeps what came of it. */
#ifndef CLI_BENCH_CELLS_H
#define CLI_BENCH_CELLS_H

#include "cli/options.h"

typedef struct cell {
    int device, kv;                        /* lariat_device, lariat_kv */
    int64_t ranks, threads, chunk;         /* threads, chunk: 0 where the library chooses */
    int64_t block;                         /* tokens of a pass a rank; 0: not given */
    int64_t depth, batch, n_prompt, n_gen; /* tokens of each of `batch` sequences */
    bool cached;                           /* false: every token reads the whole text again */
} cell;

typedef struct cell_list {
    cell *cells;
    int n;
} cell_list;

/* All combinations, the ring's axes outermost. To compare, the rings of one that the others are measured against come first.
   Returns 0, or an exit status after saying why not. */
int cells_list(const options *o, cell_list *out);
void cells_free(cell_list *list);

/* The options of a run of this cell alone. */
options cell_options(const options *o, const cell *c);

/* KV slots that it takes, all sequences together. */
int64_t cell_context(const cell *c);

/* Do two cells differ in the length of the prompt only? */
bool cell_same_series(const cell *a, const cell *b);

/* Is this the ring of one that `ring` is compared with? */
bool cell_is_regular_of(const cell *c, const cell *ring);

#endif
