/* tokenizer.model: a SentencePiece model of type BPE.
   Rests on vocabulary.h. */
#pragma once

#include "text/vocabulary.h"

lariat_status sentencepiece_read(const char *path, vocabulary *v);
/* The same from memory; `path` is for messages. */
lariat_status sentencepiece_parse(const char *path, const unsigned char *data, size_t size, vocabulary *v);
