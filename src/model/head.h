/* The end of a pass: the rows whose outputs are wanted, to logits or chosen tokens, block by block.
   Rests on transformer.h. Used by transformer.c alone; transformer_memory.c sizes its buffers. */
#ifndef MODEL_HEAD_H
#define MODEL_HEAD_H

#include "model/transformer.h"

enum {
    HEAD_ROWS = 128,  /* outputs of a block whose logits are wanted: unpacking the head is spread over so many */
    HEAD_CHOICES = 16 /* outputs of a block whose tokens are chosen: every rank has all of their logits then */
};

/* How many outputs the block has that begins with output `at`. */
int64_t head_rows(const pass_input *in, int64_t at);

/* Logits of n outputs from `at` on, each rank its slice of the vocabulary, in either layout; and the tokens, where they are
   chosen. Collective. */
lariat_status head(transformer *t, const pass_input *in, int64_t at, int64_t n);

/* Brings this rank's slice of the logits of the last block to the host. */
void head_deliver(transformer *t, const pass_output out[], int64_t n);

#endif
