/* What the files beside a tokenizer say about its tokens: which begins a text, which end it, the chat template.
   Rests on vocabulary.h and base/json.h. */
#ifndef TEXT_TOKENIZER_CONFIG_H
#define TEXT_TOKENIZER_CONFIG_H

#include "text/vocabulary.h"

/* Reads, as far as they are in the folder: tokenizer_config.json, special_tokens_map.json, added_tokens.json,
   chat_template.jinja, generation_config.json, config.json. The vocabulary has been read from tokenizer.json or
   tokenizer.model. */
lariat_status tokenizer_config_read(const char *folder, vocabulary *v);

#endif
