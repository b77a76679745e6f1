/* The figures of a run: its last line, and --stats.
   Rests on invocation.h and bench/ceilings.h. */
#pragma once

#include "cli/invocation.h"

/* Prints the line on standard error. */
void stats_print(const invocation *inv);
/* Prints the last line (not with -q) and writes the file of --stats. */
int stats_finish(const invocation *inv);
/* Writes the file of --stats under --plan: the model and the plan. */
int stats_of_plan(const options *o, const lariat_plan *plan);
