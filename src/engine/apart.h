/* Work apart from the caller's thread. In CUDA each thread has a current card of its own: code that makes a card current runs
   on another thread, so that the caller's thread keeps the card that it has, or has none. Rests on base/fail.h. Used for work
   of no rank: a rank on a GPU is a thread already. */
#pragma once

#include "base/fail.h"

/* Calls fn on a thread of its own, waits for it, and hands its status and reason on. LARIAT_NO_MEMORY: no thread could be
   started, and fn was not called. */
lariat_status run_apart(lariat_status (*fn)(void *arg), void *arg);
