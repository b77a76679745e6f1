/* generate --prompts: many texts continued at once.
   Rests on run.h. */
#ifndef CLI_BATCH_H
#define CLI_BATCH_H

#include "cli/run.h"

/* Reads all lines (a bad one is named before anything runs), runs as many sequences at once as fit, writes a line for each in
   the order of the input. */
int generate_batch(run *r);

#endif
