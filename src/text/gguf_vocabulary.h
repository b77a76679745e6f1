/* Reading the vocabulary of a GGUF file.
   Rests on format/gguf.h and vocabulary.h. */
#pragma once

#include "format/gguf.h"
#include "text/vocabulary.h"

/* Fills an empty vocabulary from the tokenizer.ggml.* keys. LARIAT_UNSUPPORTED: the file has none, or an unknown kind. */
lariat_status gguf_vocabulary(const gguf *g, vocabulary *v);
