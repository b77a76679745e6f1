/* The pool and the epochs: every piece once, whatever the threads do.
   Rests on base/threads.h; the thread sanitizer runs it too. */
#include "base/threads.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MOST_PIECES = 1000 };

typedef struct job {
    _Atomic int calls[MOST_PIECES];
    int threads;
    _Atomic int wrong_thread;
} job;

static void count_piece(void *arg, int64_t piece, int thread)
{
    job *j = arg;

    atomic_fetch_add(&j->calls[piece], 1);
    if (thread < 0 || thread >= j->threads) {
        atomic_fetch_add(&j->wrong_thread, 1);
    }
}

static void every_piece_is_called_once(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 5; threads++) {
        pool *p;
        assert_int_equal(pool_open(threads, &p), LARIAT_OK);
        assert_int_equal(pool_threads(p), threads);
        /* Many short jobs of changing size: late wakers meet the next job. */
        for (int round = 0; round < 3000; round++) {
            static job j;
            int pieces = round % 7 == 0 ? MOST_PIECES : round % 11;
            j = (job){.threads = threads};
            pool_run(p, pieces, count_piece, &j);
            for (int i = 0; i < MOST_PIECES; i++) {
                assert_int_equal(j.calls[i], i < pieces ? 1 : 0);
            }
            assert_int_equal(j.wrong_thread, 0);
        }
        pool_close(p);
    }
}

typedef struct relay {
    epoch there, back;
    int sum; /* handed from thread to thread: the epochs are its only protection */
} relay;

static void *answer(void *arg)
{
    relay *r = arg;

    for (uint32_t i = 1; i <= 2000; i++) {
        epoch_wait(&r->there, i);
        r->sum += 1;
        epoch_set(&r->back, i);
    }
    return NULL;
}

static void an_epoch_hands_data_from_thread_to_thread(void **state)
{
    (void)state;
    static relay r;
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, answer, &r), 0);
    for (uint32_t i = 1; i <= 2000; i++) {
        r.sum += 1;
        epoch_set(&r.there, i);
        epoch_wait(&r.back, i);
        assert_int_equal(r.sum, 2 * i);
    }
    pthread_join(thread, NULL);
}

static void an_epoch_wraps_around(void **state)
{
    (void)state;
    static epoch e;

    atomic_store(&e.value, UINT32_MAX - 1);
    epoch_wait(&e, UINT32_MAX - 5);
    epoch_set(&e, 3);
    epoch_wait(&e, UINT32_MAX);
    epoch_wait(&e, 2);
}

static void nothing(void *arg, int64_t piece, int thread)
{
    (void)arg;
    (void)piece;
    (void)thread;
}

/* --- the poll hook --- */

typedef struct hook {
    pthread_t owner;
    int calls, elsewhere;
    int enough;        /* calls, until which a piece takes */
    _Atomic bool open; /* there were so many */
} hook;

static void count_poll(void *arg)
{
    hook *h = arg;

    h->elsewhere += !pthread_equal(pthread_self(), h->owner);
    atomic_store(&h->open, ++h->calls >= h->enough);
}

/* Ends only after many polls, on another thread than the owner's, which has no piece of its own then. */
static void wait_for_polls(void *arg, int64_t piece, int thread)
{
    hook *h = arg;

    while (thread != 0 && piece == 1 && !atomic_load(&h->open)) {
        sched_yield();
    }
}

static void the_owner_polls_after_each_piece_of_its_own(void **state)
{
    (void)state;
    for (int pieces = 0; pieces <= 3; pieces++) {
        hook h = {.owner = pthread_self()};
        pool *p;

        assert_int_equal(pool_open(1, &p), LARIAT_OK);
        pool_poll(p, count_poll, &h);
        pool_run(p, pieces, nothing, NULL);
        assert_int_equal(h.calls, pieces);
        pool_poll(p, NULL, NULL);
        pool_run(p, pieces, nothing, NULL);
        assert_int_equal(h.calls, pieces);
        pool_close(p);
    }
}

static void the_owner_polls_while_it_waits_and_no_other_thread_does(void **state)
{
    (void)state;
    hook h = {.owner = pthread_self()};
    pool *p;

    assert_int_equal(pool_open(3, &p), LARIAT_OK);
    pool_poll(p, count_poll, &h);
    for (int round = 0; round < 1000; round++) {
        h.calls = 0;
        h.enough = round % 50 ? 100 : 1100; /* of these the last with sleep between them */
        atomic_store(&h.open, false);
        pool_run(p, 2, wait_for_polls, &h); /* would not return if nobody polled */
        assert_int_equal(h.elsewhere, 0);
    }
    pool_close(p);
}

/* A thread that wakes late for the last job finds the end beside it. */
static void a_pool_ends_right_behind_its_last_job(void **state)
{
    (void)state;
    for (int round = 0; round < (TEST_QUICK ? 2000 : 20000); round++) {
        pool *p;
        assert_int_equal(pool_open(4, &p), LARIAT_OK);
        pool_run(p, 2, nothing, NULL);
        pool_close(p);
    }
}

static void a_pool_without_threads_is_refused(void **state)
{
    (void)state;
    pool *p = NULL;

    assert_int_equal(pool_open(0, &p), LARIAT_BAD_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_piece_is_called_once),
        cmocka_unit_test(an_epoch_hands_data_from_thread_to_thread),
        cmocka_unit_test(an_epoch_wraps_around),
        cmocka_unit_test(the_owner_polls_after_each_piece_of_its_own),
        cmocka_unit_test(the_owner_polls_while_it_waits_and_no_other_thread_does),
        cmocka_unit_test(a_pool_ends_right_behind_its_last_job),
        cmocka_unit_test(a_pool_without_threads_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
