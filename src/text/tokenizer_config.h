/* The configuration files beside a tokenizer: BOS, EOS and other end tokens, the chat template.
   Rests on vocabulary.h and base/json.h. */
#pragma once

#include "text/vocabulary.h"

/* Reads the existing ones of tokenizer_config.json, special_tokens_map.json, added_tokens.json, chat_template.jinja,
   generation_config.json and config.json in the folder. The vocabulary is that of tokenizer.json or tokenizer.model, read
   before. */
lariat_status tokenizer_config_read(const char *folder, vocabulary *v);
