/* Many replies at once: generate --prompts, --samples and --logprobs.
   Rests on invocation.h. */
#pragma once

#include "cli/invocation.h"

/* Reads all lines first, then runs as many sequences at once as fit. Writes one line for each, in the order of the input: a bad
   one has an error there, and the exit status says so at the end. */
int generate_batch(invocation *inv);

/* The replies to one prompt, which is taken: a line of JSON for each. `input` is for messages. */
int generate_samples(invocation *inv, token_list *prompt, const char *input);
