/* One layer of a traced prefill as a picture: what each rank did, and what travelled to it meanwhile.
   Rests on lariat/trace.h. trace.h writes everything that was recorded, for a viewer. */
#ifndef CLI_BENCH_TIMELINE_H
#define CLI_BENCH_TIMELINE_H

#include "lariat/lariat.h"

/* Draws the middle layer of the last pass by tokens that was recorded (in a ring of one: of the longest pass) as an SVG, which
   appears when it is whole. Returns 0, or 1 after saying why not. */
int timeline_draw(const lariat_engine *engine, const char *path);

#endif
