/* The end of a pass: the rows whose outputs are wanted, to logits or chosen tokens, block by block.
   Rests on transformer.h. Used by transformer.c alone; transformer_memory.c sizes its buffers. */
#pragma once

#include "model/transformer.h"

enum {
    HEAD_ROWS = 128,   /* outputs of a block: reading the head is spread over so many */
    HEAD_GATHERED = 16 /* outputs of an all-gather of logits */
};

/* How many outputs the block has that begins with output `at`. */
int64_t head_rows(const pass_input *in, int64_t at);

/* Logits of n outputs from `at` on, each rank its slice of the vocabulary, in either layout; and the tokens, where they are
   chosen. A block: `at` is 0 or where the one before ended, n is head_rows(in, at), the same on all ranks. Up to HEAD_GATHERED
   outputs are gathered at once, more where tokens are chosen, in blocks of so many. Collective. */
lariat_status head(transformer *t, const pass_input *in, int64_t at, int64_t n);

/* Copies the logits of the last block to the host, on rank 0 only. More outputs than HEAD_GATHERED are gathered here, in blocks
   of so many. Collective. */
lariat_status head_deliver(transformer *t, const pass_output out[], int64_t n);
