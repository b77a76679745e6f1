/* Processes of a run as threads of one: comm/processes.h without MPI, for tests, which so run under sanitizers and in a
   debugger.
   Rests on comm/processes.h and support/messages.h: ranks of all processes exchange messages only.

   Process 0 is the caller's thread. A failure is known to all at once; nobody is silent. */
#pragma once

#include "comm/processes.h"

enum { PLAYED_MOST = 8 };

typedef void (*played_fn)(processes *self, void *arg);

/* Runs `first` as process 0 and `others` as processes 1 to count - 1, each with so many ranks, until all have returned. */
void played_run(int32_t count, const int32_t ranks[], played_fn first, played_fn others, void *arg);

/* Messages that process 0 has told so far. */
int played_told(const processes *self);
