/* tokenizer.json, the file of Hugging Face's tokenizers.
   Rests on vocabulary.h and base/json.h. */
#pragma once

#include "text/vocabulary.h"

/* Fills an empty vocabulary. An entry that would change ids and is unsupported is refused by name. */
lariat_status tokenizer_json_read(const char *path, vocabulary *v);
/* The same from memory; `path` is for messages. */
lariat_status tokenizer_json_parse(const char *path, const char *data, size_t size, vocabulary *v);
