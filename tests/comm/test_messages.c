/* The transport of messages.h finds what it is there to find: each schedule here breaks one rule, and ends its program.
   Rests on support/messages.h and fork. Both ranks are one thread: no call here waits. */
#include "support/messages.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { BYTES = 64, STEPS = 40 };

static unsigned char region[BYTES];
static const comm_piece half = {.bytes = BYTES / 2, .stride = BYTES / 2, .rows = 1},
                        all = {.bytes = BYTES, .stride = BYTES, .rows = 1};

typedef struct pair {
    comm_group *group;
    comm *first, *second;
} pair;

static pair open_pair(void)
{
    const comm_setup setup = {.n_ranks = 2, .n_local = 2, .message_bytes = BYTES, .hop_bytes = {[COMM_KV] = BYTES / 2}};
    pair p;

    if (messages_open(&setup, &p.group) != LARIAT_OK) {
        _exit(EXIT_FAILURE);
    }
    p.first = comm_endpoint(p.group, 0);
    p.second = comm_endpoint(p.group, 1);
    comm_expose(p.first, COMM_KV, region, sizeof region);
    comm_begin(p.first, 1, false);
    comm_begin(p.second, 1, false);
    return p;
}

static void offer(pair p, uint32_t step, const comm_piece *piece)
{
    comm_offer(p.first, 1, &(comm_pieces){COMM_KV, step, piece, 1});
}

static void offer_all_steps(pair p)
{
    for (uint32_t step = 1; step <= STEPS; step++) {
        offer(p, step, &half);
    }
}

/* Another program carries out the schedule, and must be ended by abort() with these words. */
static void expect_refusal(void (*schedule)(void), const char *words)
{
    char said[4096] = "";
    int ends[2], status;
    size_t n = 0;
    ssize_t got;

    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        schedule();
        _exit(EXIT_SUCCESS);
    }
    close(ends[1]);
    while ((got = read(ends[0], said + n, sizeof said - 1 - n)) > 0) {
        n += (size_t)got;
    }
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(said, "messages: seed "));
    assert_non_null(strstr(said, words));
}

/* --- offers that are not taken --- */

static void close_with_an_offer(void)
{
    pair p = open_pair();

    offer(p, 1, &half);
    comm_group_close(p.group);
}

static void ask_in_the_next_pass(void)
{
    pair p = open_pair();
    comm_view view;
    comm_hop hop = {.owner = 0, .offer = {COMM_KV, 1, &half, 1}, .views = &view};

    offer(p, 1, &half);
    comm_begin(p.second, 2, false);
    (void)comm_ask(p.second, &hop);
}

static void end_with_offers(void)
{
    pair p = open_pair();

    offer_all_steps(p);
    (void)comm_end(p.second);
    (void)comm_end(p.first);
}

static void an_offer_that_is_not_taken_is_found(void **state)
{
    (void)state;
    expect_refusal(close_with_an_offer, "rank 1, pass 1: has not taken step 1 of keys from rank 0 in pass 1");
    expect_refusal(ask_in_the_next_pass, "rank 1, pass 2: has not taken step 1 of keys from rank 0 in pass 1");
    expect_refusal(end_with_offers, "rank 0, pass 1: rank 1 has not taken step");
}

/* --- memory that is not there, or not one's own --- */

static void offer_more_than_planned(void)
{
    offer(open_pair(), 1, &all);
}

static void offer_outside(void)
{
    const comm_piece outside = {.offset = BYTES - 8, .bytes = 9, .stride = 9, .rows = 1};

    offer(open_pair(), 1, &outside);
}

static void ask_for_other_sizes(void)
{
    const comm_piece rows = {.bytes = BYTES / 4, .stride = BYTES / 4, .rows = 2}; /* as many bytes */
    pair p = open_pair();
    comm_view view;
    comm_hop hop = {.owner = 0, .offer = {COMM_KV, 1, &rows, 1}, .views = &view};

    offer(p, 1, &half);
    (void)comm_ask(p.second, &hop);
    for (;;) {
        comm_poll(p.first);
        comm_poll(p.second);
    }
}

static void write_columns_of_another(void)
{
    const size_t begin[] = {0, 8, 16};
    pair p = open_pair();

    memset(comm_rows(p.first), 0, 9);
    (void)comm_all_gather(p.first, &(comm_gather){.rows = 1, .stride = 16, .begin = begin});
}

static void sizes_and_columns_that_do_not_agree_are_found(void **state)
{
    (void)state;
    expect_refusal(offer_more_than_planned, "offers 64 bytes of keys, planned were 32");
    expect_refusal(offer_outside, "offers 9 bytes of keys, planned were 32, or bytes that it does not have");
    expect_refusal(ask_for_other_sizes, "expects 2 rows of 16 bytes in piece 0 of step 1 of keys, rank 0 has sent 1 of 32");
    expect_refusal(write_columns_of_another, "has written byte 8 of row 0 of an all-gather, which is another rank's");
}

/* --- the order of calls --- */

static void begin_without_an_end(void)
{
    pair p = open_pair();

    offer_all_steps(p);
    comm_begin(p.first, 2, false);
}

static void offer_a_step_twice(void)
{
    pair p = open_pair();

    offer(p, 1, &half);
    offer(p, 1, &half);
}

static void offer_after_the_end(void)
{
    pair p = open_pair();

    (void)comm_end(p.first);
    offer(p, 1, &half);
}

static void begin_with_an_open_hop(void)
{
    pair p = open_pair();
    comm_hop hop = {.owner = 0, .offer = {COMM_KV, 1, &half, 1}};

    (void)comm_ask(p.second, &hop);
    comm_begin(p.second, 2, false);
}

static void calls_that_break_the_order_are_found(void **state)
{
    (void)state;
    expect_refusal(begin_without_an_end, "begins before what it offered in the pass before has left");
    expect_refusal(offer_a_step_twice, "offers step 1 of keys to rank 1 after step 1");
    expect_refusal(offer_after_the_end, "offers step 1 of keys after the end of the pass");
    expect_refusal(begin_with_an_open_hop, "has not released keys of the pass before");
}

int main(void)
{
    setenv("MESSAGES_SEED", "3", 1); /* pass 1 has delays */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_offer_that_is_not_taken_is_found),
        cmocka_unit_test(sizes_and_columns_that_do_not_agree_are_found),
        cmocka_unit_test(calls_that_break_the_order_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
