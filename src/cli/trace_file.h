/* Writing an engine's trace in Chrome's format, which Perfetto opens.
   Rests on lariat/trace.h. bench/timeline.h draws a picture of it. */
#pragma once

#include "lariat/lariat.h"

/* Writes all spans: times in microseconds, a track for each rank's work and one for its hops. Warns of dropped spans.
   Returns 0, or 1 after a message. */
int trace_write(const lariat_engine *engine, const char *path);
