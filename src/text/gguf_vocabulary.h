/* The vocabulary that a GGUF file carries.
   Rests on format/gguf.h and text/vocabulary.h, which know nothing of each other. */
#ifndef TEXT_GGUF_VOCABULARY_H
#define TEXT_GGUF_VOCABULARY_H

#include "format/gguf.h"
#include "text/vocabulary.h"

/* Fills an empty vocabulary from the tokenizer.ggml.* keys. LARIAT_UNSUPPORTED if the file has none, or of a kind not known. */
lariat_status gguf_vocabulary(const gguf *g, vocabulary *v);

#endif
