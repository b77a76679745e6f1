/* The pool: one job at a time, its pieces claimed one by one.
   Rests on C11 atomics and the Linux futex. See threads.h.

   A job has a number. `claim` holds the job's number in its upper half and how many pieces are unclaimed in its lower half,
   and a piece is taken by compare-and-swap of both: a thread that wakes late, with an old job in its hands, cannot take a
   piece of the new one, and as long as a claim succeeds the job's description cannot have changed. The caller waits for
   finished pieces, not for threads: a worker that the system took away before it claimed anything is not waited for at all. */
#include "base/threads.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

/* Spins before sleeping: 15 to 50 us by the length of a pause, several times what starting or ending a piece of decode takes,
   and short against a time slice: a waiter that sleeps gives its core to the thread it waits for. */
enum { SPINS = 1000 };

/* The longest sleep between two calls of a poll hook: a message of a transport waits so long at most. */
static const struct timespec POLL_EVERY = {.tv_nsec = 100000};

static inline void cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

static void futex_wait(_Atomic uint32_t *word, uint32_t seen, const struct timespec *most)
{
    /* EAGAIN (it changed), EINTR and ETIMEDOUT are all answered by looking again. */
    (void)syscall(SYS_futex, (uint32_t *)word, FUTEX_WAIT_PRIVATE, seen, most, NULL, 0);
}

static void futex_wake_all(_Atomic uint32_t *word)
{
    (void)syscall(SYS_futex, (uint32_t *)word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* --- epochs --- */

void epoch_set(epoch *e, uint32_t value)
{
    atomic_store(&e->value, value); /* sequentially consistent, so that it is ordered before the look at the sleepers */
    if (atomic_load(&e->sleepers)) {
        futex_wake_all(&e->value);
    }
}

static bool epoch_reached(uint32_t now, uint32_t value)
{
    return (int32_t)(now - value) >= 0;
}

/* Sleeps until the epoch changes, `most` has passed (NULL: no bound) or no reason at all; not where it has reached `value`. */
static void sleep_on(epoch *e, uint32_t value, const struct timespec *most)
{
    atomic_fetch_add(&e->sleepers, 1);
    uint32_t now = atomic_load(&e->value);
    if (!epoch_reached(now, value)) {
        futex_wait(&e->value, now, most);
    }
    atomic_fetch_sub(&e->sleepers, 1);
}

bool epoch_wait_unless(epoch *e, uint32_t value, const _Atomic bool *stop)
{
    /* Whoever sets *stop need not know which epochs are waited for: sleepers look every 20 ms. */
    static const struct timespec most = {.tv_nsec = 20000000};

    for (int i = 0; i < SPINS; i++) {
        if (epoch_reached(atomic_load_explicit(&e->value, memory_order_acquire), value)) {
            return true;
        }
        cpu_relax();
    }
    while (!epoch_reached(atomic_load(&e->value), value)) {
        if (stop && atomic_load(stop)) {
            return false;
        }
        sleep_on(e, value, stop ? &most : NULL);
    }
    return true;
}

void epoch_wait(epoch *e, uint32_t value)
{
    (void)epoch_wait_unless(e, value, NULL);
}

/* --- the pool --- */

struct pool {
    /* The job: written by the caller before `job` is set, read by workers between two looks at `claim`. */
    _Atomic(pool_fn) fn;
    _Atomic(void *) arg;
    _Atomic uint32_t n_pieces;
    epoch job;                            /* number of the newest job */
    _Alignas(64) _Atomic uint64_t claim;  /* job number << 32 | unclaimed pieces */
    _Alignas(64) epoch done;              /* number of the newest finished job */
    _Alignas(64) _Atomic uint32_t left;   /* pieces not yet finished */
    int n_threads;
    _Atomic bool stop;
    pthread_t *threads; /* [n_threads - 1] */
    struct worker *workers;
    poll_fn poll; /* the caller's, read by its thread alone; NULL: none */
    void *poll_arg;
};

struct worker {
    pool *p;
    int index;
};

/* Takes one of the unclaimed pieces of job `number`; *unclaimed is how many there were. False when there is none. */
static bool claim_piece(pool *p, uint32_t number, uint32_t *unclaimed)
{
    uint64_t seen = atomic_load_explicit(&p->claim, memory_order_acquire);

    while ((uint32_t)(seen >> 32) == number && (uint32_t)seen > 0) {
        if (atomic_compare_exchange_weak_explicit(&p->claim, &seen, seen - 1, memory_order_acq_rel, memory_order_acquire)) {
            *unclaimed = (uint32_t)seen;
            return true;
        }
    }
    return false;
}

static void work_on(pool *p, uint32_t number, int thread)
{
    /* These may be the next job's already; then the claim fails and they are not used. */
    pool_fn fn = atomic_load_explicit(&p->fn, memory_order_acquire);
    void *arg = atomic_load_explicit(&p->arg, memory_order_acquire);
    uint32_t n_pieces = atomic_load_explicit(&p->n_pieces, memory_order_acquire);
    uint32_t unclaimed;

    while (claim_piece(p, number, &unclaimed)) {
        fn(arg, n_pieces - unclaimed, thread);
        if (atomic_fetch_sub_explicit(&p->left, 1, memory_order_acq_rel) == 1) {
            epoch_set(&p->done, number);
        }
        if (thread == 0 && p->poll) {
            p->poll(p->poll_arg);
        }
    }
}

/* The caller's wait for the pieces of other threads. */
static void wait_for_job(pool *p, uint32_t number)
{
    if (!p->poll) {
        epoch_wait(&p->done, number);
        return;
    }
    for (int64_t i = 0; !epoch_reached(atomic_load_explicit(&p->done.value, memory_order_acquire), number); i++) {
        p->poll(p->poll_arg);
        if (i < SPINS) {
            cpu_relax();
        } else {
            sleep_on(&p->done, number, &POLL_EVERY);
        }
    }
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    pool *p = w->p;

    for (uint32_t seen = 0;;) {
        epoch_wait(&p->job, seen + 1);
        /* The number first: looked at the other way round, the end could be set in between and be taken for a job that was
           seen. */
        seen = atomic_load_explicit(&p->job.value, memory_order_acquire);
        if (atomic_load(&p->stop)) {
            return NULL;
        }
        work_on(p, seen, w->index);
    }
}

/* Pieces of one job are counted in 32 bits; more are not needed: a piece is microseconds of work. */
void pool_run(pool *p, int64_t n_pieces, pool_fn fn, void *arg)
{
    if (p->n_threads == 1 || n_pieces <= 1 || n_pieces > UINT32_MAX) {
        for (int64_t i = 0; i < n_pieces; i++) {
            fn(arg, i, 0);
            if (p->poll) {
                p->poll(p->poll_arg);
            }
        }
        return;
    }
    uint32_t number = atomic_load_explicit(&p->job.value, memory_order_relaxed) + 1;

    atomic_store_explicit(&p->fn, fn, memory_order_release);
    atomic_store_explicit(&p->arg, arg, memory_order_release);
    atomic_store_explicit(&p->n_pieces, (uint32_t)n_pieces, memory_order_release);
    atomic_store_explicit(&p->left, (uint32_t)n_pieces, memory_order_relaxed);
    atomic_store_explicit(&p->claim, (uint64_t)number << 32 | (uint32_t)n_pieces, memory_order_release);
    epoch_set(&p->job, number);
    work_on(p, number, 0);
    wait_for_job(p, number);
}

void pool_poll(pool *p, poll_fn fn, void *arg)
{
    p->poll = fn;
    p->poll_arg = arg;
}

int thread_start(pthread_t *thread, void *(*fn)(void *), void *arg)
{
    sigset_t all, before;

    sigfillset(&all);
    /* But for those that a thread brings on itself: blocked, they would end the program without a word. */
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGFPE);
    sigdelset(&all, SIGILL);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* a new thread inherits it */
    int error = pthread_create(thread, NULL, fn, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

int pool_threads(const pool *p)
{
    return p->n_threads;
}

lariat_status pool_open(int n_threads, pool **out)
{
    if (n_threads < 1) {
        return fail(LARIAT_BAD_ARGUMENT, "threads: %d: a pool has at least one, ask for 1 or more", n_threads);
    }
    pool *p = aligned_alloc(64, (sizeof *p + 63) / 64 * 64);
    TRY_MEMORY(p, "threads: no memory for a pool" FREE_MEMORY);
    memset(p, 0, sizeof *p);
    p->n_threads = 1;
    p->threads = calloc((size_t)n_threads, sizeof *p->threads);
    p->workers = calloc((size_t)n_threads, sizeof *p->workers);
    for (int i = 1; p->threads && p->workers && i < n_threads; i++) {
        p->workers[i] = (struct worker){p, i};
        int error = thread_start(&p->threads[i - 1], worker_main, &p->workers[i]);
        if (error) {
            pool_close(p);
            return fail(LARIAT_NO_MEMORY, "threads: cannot start thread %d of %d: %s; use fewer (-t)", i + 1, n_threads,
                        strerror(error));
        }
        p->n_threads = i + 1;
    }
    if (!p->threads || !p->workers) {
        pool_close(p);
        return fail(LARIAT_NO_MEMORY, "threads: no memory for a pool of %d" FREE_MEMORY, n_threads);
    }
    *out = p;
    return LARIAT_OK;
}

void pool_close(pool *p)
{
    if (!p) {
        return;
    }
    atomic_store(&p->stop, true);
    epoch_set(&p->job, atomic_load(&p->job.value) + 1);
    for (int i = 1; i < p->n_threads; i++) {
        pthread_join(p->threads[i - 1], NULL);
    }
    free(p->threads);
    free(p->workers);
    free(p);
}
