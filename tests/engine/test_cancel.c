/* A cancel that comes early: after lariat_step or lariat_generate was called, while it still looks at its arguments.
   Rests on a page of tokens that must not be read: the engine's first look at them ends in a handler, which cancels and
   opens the page. */
#include "lariat/lariat.h"
#include "support/oracle.h"
#include "support/reference.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

enum { TOKENS = 8, CHUNK = 16, RANKS_MOST = 8 };

static int32_t ranks; /* of the engine: all tests run on every ring */

/* The handler's: it has no argument of its own. */
static lariat_engine *engine;
static lariat_session *session;
static void *page;
static size_t page_bytes;
static volatile sig_atomic_t looks;

static struct sigaction before;

static void cancel_and_open(int signal_number)
{
    (void)signal_number;
    if (looks++ > 0 || mprotect(page, page_bytes, PROT_READ) != 0) {
        _exit(EXIT_FAILURE); /* a fault that is not the one that was laid out */
    }
    lariat_session_cancel(session);
}

/* Zeros, which are ids; the next look at them cancels. cmocka has a handler of its own while a test runs. */
static const int32_t *lay_out(void)
{
    struct sigaction action = {.sa_handler = cancel_and_open};

    sigemptyset(&action.sa_mask);
    assert_int_equal(sigaction(SIGSEGV, &action, &before), 0);
    looks = 0;
    assert_int_equal(mprotect(page, page_bytes, PROT_NONE), 0);
    return page;
}

static void assert_looked_at(void)
{
    assert_int_equal(sigaction(SIGSEGV, &before, NULL), 0);
    assert_int_equal(looks, 1);
}

static int open_all(void **state)
{
    char *path = reference_path("reference/models/mha-bf16");

    (void)state;
    page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    page = mmap(NULL, page_bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    engine = open_or_fail(path, (lariat_options){.ranks = ranks, .threads = ranks, .context = 6 * CHUNK, .chunk = CHUNK,
                                                   .sessions = 2});
    free(path);
    return page == MAP_FAILED;
}

static int close_all(void **state)
{
    (void)state;
    munmap(page, page_bytes);
    lariat_engine_close(engine);
    return 0;
}

static void a_step_that_looks_at_its_tokens_is_cancelled(void **state)
{
    lariat_session *s;

    (void)state;
    assert_int_equal(lariat_session_open(engine, 0, &s), LARIAT_OK);
    session = s;
    lariat_work item = {.session = s, .tokens = lay_out(), .count = TOKENS};
    assert_int_equal(lariat_step(engine, &item, 1), LARIAT_CANCELLED);
    assert_looked_at();
    assert_int_equal(lariat_session_length(s), 0);
    assert_int_equal(lariat_step(engine, &item, 1), LARIAT_OK); /* the next one is not affected */
    assert_int_equal(lariat_session_length(s), TOKENS);
    lariat_session_close(s);
}

static bool count_token(void *user, int32_t item, int32_t token)
{
    (void)item;
    (void)token;
    ++*(int *)user;
    return true;
}

static void a_reply_that_looks_at_its_prompt_is_cancelled(void **state)
{
    lariat_sampling likeliest = {.top_p = 1};
    lariat_sampler *sampler;
    lariat_session *s;
    int made = 0;

    (void)state;
    assert_int_equal(lariat_session_open(engine, 0, &s), LARIAT_OK);
    assert_int_equal(lariat_sampler_open(&likeliest, lariat_engine_model(engine)->vocab, &sampler), LARIAT_OK);
    session = s;
    lariat_reply reply = {.session = s, .tokens = lay_out(), .count = TOKENS, .sampler = sampler, .most = 3};
    assert_int_equal(lariat_generate(engine, &reply, 1, count_token, &made), LARIAT_CANCELLED);
    assert_looked_at();
    assert_int_equal(made, 0);
    assert_int_equal(lariat_session_length(s), 0);
    assert_int_equal(lariat_generate(engine, &reply, 1, count_token, &made), LARIAT_OK);
    assert_int_equal(made, 3);
    lariat_sampler_close(sampler);
    lariat_session_close(s);
}

/* What came before a call was entered is not its own. */
static void a_cancel_between_two_calls_affects_neither(void **state)
{
    static const int32_t tokens[TOKENS];
    lariat_session *s;

    (void)state;
    assert_int_equal(lariat_session_open(engine, 0, &s), LARIAT_OK);
    lariat_work item = {.session = s, .tokens = tokens, .count = TOKENS};
    lariat_session_cancel(s);
    assert_int_equal(lariat_step(engine, &item, 1), LARIAT_OK);
    lariat_session_close(s);
}

/* Of two items, of which each pass takes one. */
static lariat_session *to_cancel;

static void cancel_in_first_pass(void *user, int64_t done, int64_t total)
{
    (void)total;
    *(int64_t *)user = done;
    lariat_session_cancel(to_cancel);
}

static void a_cancel_of_any_item_ends_the_call(void **state)
{
    static const int32_t tokens[3 * CHUNK];
    lariat_session *s[2];

    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(lariat_session_open(engine, 3 * CHUNK, &s[i]), LARIAT_OK);
    }
    lariat_work items[] = {{.session = s[0], .tokens = tokens, .count = CHUNK},
                           {.session = s[1], .tokens = tokens, .count = 3 * CHUNK}};
    for (int i = 0; i < 2; i++) { /* the one that has been read, and the one that has not */
        int64_t done = 0;
        to_cancel = s[i];
        lariat_engine_on_progress(engine, cancel_in_first_pass, &done);
        assert_int_equal(lariat_step(engine, items, 2), LARIAT_CANCELLED);
        lariat_engine_on_progress(engine, NULL, NULL);
        assert_int_equal(done, CHUNK);
        assert_int_equal(lariat_session_length(s[0]), 0);
        assert_int_equal(lariat_session_length(s[1]), 0);
    }
    lariat_session_close(s[0]);
    lariat_session_close(s[1]);
}

int main(void)
{
    if (!reference_models_found()) {
        return TEST_SKIPPED;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_that_looks_at_its_tokens_is_cancelled),
        cmocka_unit_test(a_reply_that_looks_at_its_prompt_is_cancelled),
        cmocka_unit_test(a_cancel_between_two_calls_affects_neither),
        cmocka_unit_test(a_cancel_of_any_item_ends_the_call),
    };
    int failed = 0;

    for (ranks = 1; ranks <= RANKS_MOST; ranks++) {
        failed += cmocka_run_group_tests(tests, open_all, close_all);
    }
    return failed;
}
