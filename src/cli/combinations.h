/* The check of parsed options as a whole.
   Rests on options.h. */
#pragma once

#include "cli/options.h"

/* Refuses invalid combinations and missing options, and completes defaults that depend on others. Returns 0, or EXIT_BAD_USAGE
   after a message. */
int options_check(options *values);
