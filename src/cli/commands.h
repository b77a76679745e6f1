/* The subcommands; each returns the exit status.
   Rests on options.h. command_NAME is in NAME.c. */
#pragma once

#include "cli/options.h"

int command_generate(const options *o);
int command_chat(const options *o);
int command_logits(const options *o);
int command_perplexity(const options *o);
int command_tokenize(const options *o);
int command_template(const options *o);
int command_inspect(const options *o);
int command_bench(const options *o);
int command_help(const options *o);
