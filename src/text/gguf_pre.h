/* The pre-tokenizers that GGUF files name (tokenizer.ggml.pre).
   Rests on vocabulary.h. */
#pragma once

#include "text/vocabulary.h"

enum { MAX_PRE_STEPS = MAX_SPLIT_STEPS - 1 }; /* the last step writes bytes */

/* A byte-level pre-tokenizer: expressions that split text one after another, what they match and the rest being words. */
typedef struct gguf_pre {
    const char *names;                      /* separated by spaces */
    const char *expressions[MAX_PRE_STEPS]; /* NULL after the last */
    bool ignore_merges;                     /* a word that is a token is not merged */
    bool adds_bos;                          /* where tokenizer.ggml.add_bos_token is missing */
} gguf_pre;

/* The pre-tokenizer of that name, or NULL. */
const gguf_pre *gguf_pre_find(const char *name, size_t size);
