/* The lock around MPI, progress, and waiting.
   Rests on mpi_module.h. See mpi_processes.h. */
#include "comm/mpi/mpi_processes.h"

#include "base/clock.h"

#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <time.h>

/* A wait looks again at once up to SPINS_S, 0.1 to 0.2 us each time, then it sleeps between two looks. Where ranks share CPUs
   it yields after LOOKS looks, for the rank that it waits for may need this CPU. Otherwise it does not: after sched_yield
   another program keeps the CPU for a whole time slice of milliseconds, also one of lower priority. */
enum { LOOKS = 300 };
static const double SPINS_S = 1e-3;

void wire_lock(mpi_processes *p)
{
    atomic_fetch_add(&p->wanted, 1);
    pthread_mutex_lock(&p->lock);
    atomic_fetch_sub(&p->wanted, 1);
}

bool wire_try_lock(mpi_processes *p)
{
    return atomic_load_explicit(&p->wanted, memory_order_relaxed) == 0 && pthread_mutex_trylock(&p->lock) == 0;
}

void wire_unlock(mpi_processes *p)
{
    pthread_mutex_unlock(&p->lock);
}

static void wire_error(mpi_processes *p, int error, const char *what)
{
    char text[256] = "", line[MPI_NEWS_TEXT];

    p->mpi->explain(error, text, sizeof text);
    snprintf(line, sizeof line, "%s: %s: %s", p->world.library, what, text);
    beats_fail(p, p->base.number, -1, line, true);
}

void wire_send(mpi_processes *p, const mpi_message *m)
{
    int error = p->mpi->send(p->wire, m);

    if (error && !beats_is_gone(p, m->peer)) {
        wire_error(p, error, "a message cannot be sent");
    }
}

void wire_receive(mpi_processes *p, const mpi_message *m)
{
    int error = p->mpi->receive(p->wire, m);

    if (error && !beats_is_gone(p, m->peer)) {
        wire_error(p, error, "a message cannot be received");
    }
}

/* A message that failed means a peer that is out of reach: as a rule it has died, on another host. */
static void take_done(void *arg, const mpi_done *d)
{
    mpi_processes *p = arg;
    mpi_note *n = d->note;

    if (d->error && d->peer >= 0 && !atomic_load(&p->ends)) {
        if (!beats_gone(p, d->peer)) {
            beats_fail(p, d->peer, -1, "its connection has broken", true);
        }
    } else if (d->error && !atomic_load(&p->ends)) {
        wire_error(p, d->error, "a message was lost");
    } else {
        n->done(n, d);
    }
}

void wire_progress(mpi_processes *p)
{
    int error = p->mpi->test(p->wire, take_done, p);

    if (error) {
        wire_error(p, error, "messages make no progress");
    }
}

void wire_swap(mpi_processes *p, int to, const void *out, int from, void *in, size_t bytes)
{
    int error = p->mpi->swap(p->wire, to, out, from, in, bytes);

    if (error) {
        wire_error(p, error, "a message cannot be sent");
    }
}

bool wire_swapped(mpi_processes *p)
{
    bool done = false;
    int error = p->mpi->swapped(p->wire, &done);

    if (error) {
        wire_error(p, error, "a message was lost");
    }
    return done || atomic_load(&p->failed);
}

/* The system prolongs sleeps of most threads by 50 us, to wake several at a time. */
static void sleep_for(double seconds)
{
    (void)prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
    nanosleep(&(struct timespec){.tv_nsec = (long)(seconds * 1e9)}, NULL);
    (void)prctl(PR_SET_TIMERSLACK, 0UL, 0UL, 0UL, 0UL); /* the thread's own again */
}

void wire_look(mpi_processes *p, int look, double begin, double sleep_s)
{
    if (wire_try_lock(p)) {
        wire_progress(p);
        wire_unlock(p);
    }
    if (look < LOOKS) {
        return;
    }
    double waited = clock_now() - begin;
    if (waited < SPINS_S) {
        if (p->yields) {
            sched_yield();
        }
        return;
    }
    sleep_for(fmin(waited / 16, sleep_s));
}

bool wire_wait_unless(mpi_processes *p, bool (*holds)(const void *arg), const void *arg, const _Atomic bool *stop,
                      double sleep_s)
{
    double begin = clock_now();

    for (int look = 0; !holds(arg); look += look < LOOKS) {
        if (atomic_load(stop)) {
            return false;
        }
        wire_look(p, look, begin, sleep_s);
    }
    return true;
}

bool wire_wait(mpi_processes *p, bool (*holds)(const void *arg), const void *arg, double sleep_s)
{
    return wire_wait_unless(p, holds, arg, &p->failed, sleep_s);
}
