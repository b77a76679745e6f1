/* What is done apart from the caller's thread. Which card is the current one is each thread's own affair in CUDA: what makes a card
   current there runs on a thread of its own, so that the caller's keeps the one that it has, or has none.
   Rests on base/status.h. Used for what no rank does: a rank on a GPU is a thread already. */
#ifndef ENGINE_APART_H
#define ENGINE_APART_H

#include "base/status.h"

/* Calls fn on a thread of its own, waits for it, and hands its status and reason on. LARIAT_NO_MEMORY: no thread could be started,
   and fn was not called. */
lariat_status run_apart(lariat_status (*fn)(void *arg), void *arg);

#endif
