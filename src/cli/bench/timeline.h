/* A picture of one layer of a traced prefill: each rank's work and its hops.
   Rests on lariat/trace.h. cli/trace_file.h writes the whole trace for a viewer. */
#pragma once

#include "lariat/lariat.h"

/* Draws the middle layer of the last recorded pass by tokens (in a ring of one: of the longest pass) as SVG. Returns 0, or 1
   after a message. */
int timeline_draw(const lariat_engine *engine, const char *path);
