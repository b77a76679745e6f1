/* The measurements of bench: one cell for every combination of the axes that the command line names.
   Rests on options.h. timing.h measures a cell, rows.h has the results. */
#pragma once

#include "cli/options.h"

typedef struct cell {
    int device, kv;                        /* lariat_device, lariat_kv */
    int64_t ranks, threads, chunk;         /* threads, chunk: 0: the library's default */
    int64_t block;                         /* tokens a rank and pass; 0: not given */
    int64_t depth, batch, n_prompt, n_gen; /* tokens of each of `batch` sequences */
    bool cached;                           /* false: every token prefills the whole text again */
} cell;

typedef struct cell_list {
    cell *cells;
    int n;
} cell_list;

/* All combinations, the ring's axes outermost. With --compare the rings of one, the baseline, are first. Returns 0, or an
   exit status after a message. */
int cells_list(const options *o, cell_list *out);
void cells_free(cell_list *list);

/* The options that run this cell alone. */
options cell_options(const options *o, const cell *c);

/* KV slots of all its sequences together. */
int64_t cell_context(const cell *c);

/* Do two cells differ only in the length of the prompt? */
bool cell_same_series(const cell *a, const cell *b);

/* Is this the ring of one to compare `ring` with? */
bool cell_is_regular_of(const cell *c, const cell *ring);
