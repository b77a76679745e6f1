/* Steps take no memory: all of it is there when the engine and its sessions are open.
   Rests on the public API and on the C library's own names of its allocator, which stand behind the counting ones here. */
#include "lariat/lariat.h"
#include "support/oracle.h"
#include "support/reference.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { SESSIONS = 3, CAPACITY = 250, STEPS = 60 };

#if defined(__GLIBC__) && !TEST_QUICK /* sanitizers have an allocator of their own */

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t align, size_t size);

static _Atomic bool counting;
static _Atomic int taken;

static void count(void)
{
    if (atomic_load(&counting)) {
        atomic_fetch_add(&taken, 1);
    }
}

void *malloc(size_t size)
{
    count();
    return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    count();
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
    count();
    return __libc_realloc(p, size);
}

void *aligned_alloc(size_t align, size_t size)
{
    count();
    return __libc_memalign(align, size);
}

/* Any of the sessions by any number of tokens, after some were rewound. */
static void random_step(lariat_engine *e, lariat_session *sessions[], const int32_t *tokens, float *logits)
{
    lariat_work items[SESSIONS];
    int32_t n = 0;

    for (int i = 0; i < SESSIONS; i++) {
        if (rand() % 10 == 0) {
            int64_t length = lariat_session_length(sessions[i]);
            assert_int_equal(lariat_session_rewind(sessions[i], rand() % (length + 1)), LARIAT_OK);
        }
        int64_t left = CAPACITY - lariat_session_length(sessions[i]), most = rand() % 2 ? 3 : left;
        int64_t tokens_now = left ? rand() % ((left < most ? left : most) + 1) : 0;
        if (tokens_now) {
            items[n++] = (lariat_work){.session = sessions[i], .tokens = tokens, .count = tokens_now, .n_logits = 1,
                                       .logits = logits};
        }
    }
    atomic_store(&counting, true);
    lariat_status status = lariat_step(e, items, n);
    atomic_store(&counting, false);
    assert_int_equal(status, LARIAT_OK);
}

static bool keep_on(void *user, int32_t item, int32_t token)
{
    (void)user;
    (void)item;
    return token % 7 != 0;
}

/* All of the sessions from empty to some length, or until one stops. */
static void generate(lariat_engine *e, lariat_session *sessions[], lariat_sampler *samplers[], const int32_t *tokens)
{
    lariat_reply items[SESSIONS];

    for (int i = 0; i < SESSIONS; i++) {
        assert_int_equal(lariat_session_rewind(sessions[i], 0), LARIAT_OK);
        items[i] = (lariat_reply){.session = sessions[i], .tokens = tokens, .count = 1 + rand() % 20, .sampler = samplers[i],
                                  .most = 1 + rand() % 20};
    }
    atomic_store(&counting, true);
    lariat_status status = lariat_generate(e, items, SESSIONS, keep_on, NULL);
    atomic_store(&counting, false);
    assert_int_equal(status, LARIAT_OK);
}

/* Opening a session takes memory, which the counters see: so they would see a step's. */
static void open_session(lariat_engine *e, int64_t capacity, lariat_session **out)
{
    int before = atomic_load(&taken);

    atomic_store(&counting, true);
    lariat_status status = lariat_session_open(e, capacity, out);
    atomic_store(&counting, false);
    assert_int_equal(status, LARIAT_OK);
    assert_true(atomic_load(&taken) > before);
    atomic_store(&taken, before);
}

static void check(const char *path, lariat_options o)
{
    static int32_t tokens[CAPACITY];
    lariat_sampler *samplers[SESSIONS];
    lariat_session *sessions[SESSIONS];

    o.threads = 3;
    o.context = SESSIONS * (CAPACITY + 64);
    o.sessions = SESSIONS;
    lariat_engine *e = open_or_fail(path, o);
    int32_t vocab = lariat_engine_model(e)->vocab;
    float *logits = malloc((size_t)vocab * sizeof *logits);
    for (int i = 0; i < CAPACITY; i++) {
        tokens[i] = rand() % vocab;
    }
    for (int i = 0; i < SESSIONS; i++) {
        lariat_sampling settings = {.temperature = 0.5f * (float)i, .top_p = 0.9f, .top_k = 20 * i, .seed = 1};
        assert_int_equal(lariat_sampler_open(&settings, vocab, &samplers[i]), LARIAT_OK);
    }
    for (int round = 0; round < 3; round++) { /* sessions that close leave gaps between those that stay */
        for (int i = 0; i < SESSIONS; i++) {
            if (round == 0 || i != 1) {
                open_session(e, i == 0 ? CAPACITY : CAPACITY + round, &sessions[i]);
            }
        }
        for (int i = 0; i < STEPS; i++) {
            random_step(e, sessions, tokens, logits);
        }
        for (int i = 0; i < STEPS / 10; i++) {
            generate(e, sessions, samplers, tokens);
        }
        for (int i = 0; i < SESSIONS; i++) {
            if (round == 2 || i != 1) {
                lariat_session_close(sessions[i]);
            }
        }
    }
    assert_int_equal(atomic_load(&taken), 0);
    for (int i = 0; i < SESSIONS; i++) {
        lariat_sampler_close(samplers[i]);
    }
    free(logits);
    lariat_engine_close(e);
}

static void no_step_takes_memory(void **state)
{
    char *path = reference_path("reference/models/gqa-llama3-fp16-sharded");

    (void)state;
    assert_non_null(path);
    srand(5);
    for (int32_t ranks = 1; ranks <= 5; ranks += 2) {
        for (int layout = 0; layout < 3; layout++) {
            check(path, (lariat_options){.ranks = ranks, .chunk = 100, .layout = (lariat_layout)layout});
            check(path, (lariat_options){.ranks = ranks, .chunk = 7, .layout = (lariat_layout)layout, .side = LARIAT_SIDE_Q});
        }
    }
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_step_takes_memory)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void)
{
    printf("skipped: the allocator of this build cannot be counted\n");
    return TEST_SKIPPED;
}

#endif
