/* lariat bench --hops: latency and bandwidth of hops, by kind and size.
   Rests on options.h. */
#pragma once

#include "cli/options.h"

/* Measures every kind of hop at its sizes on each of o->ring_sizes, and writes the table in o->format. After a failure or
   Ctrl-C the table is valid and has the rows so far. Returns the exit status. */
int hops_table(const options *o);
