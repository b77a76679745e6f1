/* The check of parsed options as a whole.
   Rests on options.h. */
#ifndef CLI_COMBINATIONS_H
#define CLI_COMBINATIONS_H

#include "cli/options.h"

/* Refuses invalid combinations and missing options, and completes defaults that depend on others. Returns 0, or EXIT_BAD_USAGE
   after a message. */
int options_check(options *values);

#endif
