/* A pool of threads that share out pieces of work, and the waiting that ranks do for one another.
   Rests on the Linux futex. A piece is claimed when a thread is free for it, so that a thread which the system took away
   is waited for with one piece at most; a waiter spins a bounded time, then sleeps, so that it does not burn the very core
   that the other thread needs. */
#pragma once

#include "base/fail.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct pool pool;

/* `thread` is in [0, pool_threads): for scratch memory, never for choices that change results. */
typedef void (*pool_fn)(void *arg, int64_t piece, int thread);

/* A pool of n_threads, the calling one included (n_threads - 1 are started). */
lariat_status pool_open(int n_threads, pool **out);
void pool_close(pool *p);
int pool_threads(const pool *p);

/* Calls fn(arg, piece, thread) once for every piece in [0, n_pieces), on all threads of the pool, and returns when all
   calls have returned. One caller at a time; fn must not call pool_run on the same pool. */
void pool_run(pool *p, int64_t n_pieces, pool_fn fn, void *arg);

/* Poll hook: from the next pool_run on, fn(arg) is called on the caller's thread after each piece that this thread has
   computed, and at least every 100 us while it waits for pieces of other threads. fn is short and does not use the pool. NULL:
   none. */
typedef void (*poll_fn)(void *arg);
void pool_poll(pool *p, poll_fn fn, void *arg);

/* A number that only grows, on which threads wait. */
typedef struct {
    _Alignas(64) _Atomic uint32_t value;
    _Atomic uint32_t sleepers;
} epoch;

/* Sets the value (release) and wakes those who wait. */
void epoch_set(epoch *e, uint32_t value);
/* Waits until the value has reached `value` (acquire; wraps around after 2^32, compared by difference). */
void epoch_wait(epoch *e, uint32_t value);
/* The same, but gives up (returns false) soon after *stop has become true. */
bool epoch_wait_unless(epoch *e, uint32_t value, const _Atomic bool *stop);

/* Starts a thread that takes no signals but those it brings on itself, so that a handler runs in a thread of the program's own.
   Returns an errno value. */
int thread_start(pthread_t *thread, void *(*fn)(void *), void *arg);
