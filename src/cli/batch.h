/* generate --prompts: continuing many texts in parallel.
   Rests on invocation.h. */
#pragma once

#include "cli/invocation.h"

/* Reads and checks all lines first, then runs as many sequences at once as fit. Writes one line for each, in the order of
   the input. */
int generate_batch(invocation *inv);
