/* Prompts of generate and perplexity.
   Rests on invocation.h. */
#pragma once

#include "cli/invocation.h"

/* The ids of a text: special tokens in it are text unless --special; BOS where the tokenizer adds it. */
lariat_status prompt_encode(const invocation *inv, const char *data, size_t size, token_list *out);
/* The same, with a message. */
int prompt_tokens(const invocation *inv, const char *data, size_t size, token_list *out);

/* The context for a prompt of `prompt` tokens: -c, or prompt plus -n, or the default. Refuses a prompt that is empty or
   longer; `input` names it in the message. */
int prompt_context(const options *o, const char *input, int64_t prompt, int64_t *out);
