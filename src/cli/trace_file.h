/* What an engine recorded, as a file for viewers of traces: Chrome's form, which Perfetto opens.
   Rests on lariat/trace.h. timeline.h draws the same as a picture. */
#ifndef CLI_TRACE_FILE_H
#define CLI_TRACE_FILE_H

#include "lariat/lariat.h"

/* Writes all spans: times in microseconds, a track for each rank's work and one for its hops. The file appears when it is whole.
   Says how many spans found no room. Returns 0, or 1 after saying why not. */
int trace_write(const lariat_engine *engine, const char *path);

#endif
