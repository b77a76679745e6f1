/* Parsing the text of a value into an option's field.
   Rests on options.h. parse.c uses it for the command line, the environment and the defaults. */
#pragma once

#include "cli/options.h"

/* Sets one option's field in `values`; `where` names it in messages: "-c", "LARIAT_RANKS". Flags need no text. Returns 0, or
   EXIT_BAD_USAGE after a message. */
int value_set(options *values, const option *o, const char *where, const char *text);
