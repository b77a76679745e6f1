/* Tracing that starts on all ranks or on none, and reading that only reads.
   Rests on support/played_gpu.h, with moments of a clock that is made up, and on trace_open(), which refuses when it is told
   to: tests/CMakeLists.txt wraps it. */
#include "engine/engine.h"
#include "lariat/trace.h"
#include "support/oracle.h"
#include "support/played_gpu.h"
#include "support/reference.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TOKENS = 40, RANKS = 3, MOMENTS = 1 << 14 };

/* --- buffers that are refused --- */

static int refused_from; /* the first call that fails, counted from 1; 0: none */
static int opened;

lariat_status __real_trace_open(trace *t, int64_t room, double zero);
lariat_status __wrap_trace_open(trace *t, int64_t room, double zero);
lariat_status __wrap_trace_open(trace *t, int64_t room, double zero)
{
    if (refused_from && ++opened >= refused_from) {
        give_reason("trace: no memory for rank %d", opened - 1);
        return LARIAT_NO_MEMORY;
    }
    return __real_trace_open(t, room, zero);
}

static lariat_status start_refused_from(lariat_engine *e, int call)
{
    opened = 0;
    refused_from = call;
    lariat_status status = lariat_trace_start(e, 0);
    refused_from = 0;
    return status;
}

/* --- an engine that reads some tokens --- */

static lariat_engine *open_engine(lariat_options o)
{
    char *path = reference_path("reference/models/mha-bf16");

    o.context = 4 * TOKENS;
    lariat_engine *e = open_or_fail(path, o);
    free(path);
    return e;
}

static void read_tokens(lariat_engine *e)
{
    static const int32_t tokens[TOKENS];
    lariat_session *s;

    assert_int_equal(lariat_session_open(e, 0, &s), LARIAT_OK);
    lariat_work item = {.session = s, .tokens = tokens, .count = TOKENS};
    assert_int_equal(lariat_step(e, &item, 1), LARIAT_OK);
    lariat_session_close(s);
}

static void take_counts(const lariat_engine *e, int64_t n[RANKS])
{
    for (int32_t r = 0; r < RANKS; r++) {
        (void)lariat_trace_spans(e, r, &n[r]);
    }
}

static void assert_counts(const lariat_engine *e, const int64_t n[RANKS])
{
    int64_t now[RANKS];

    take_counts(e, now);
    assert_memory_equal(n, now, sizeof now);
}

/* --- starting --- */

static void a_rank_without_room_leaves_no_rank_half_open(void **state)
{
    static const int64_t none[RANKS];
    lariat_engine *e = open_engine((lariat_options){.device = LARIAT_DEVICE_CPU, .ranks = RANKS, .threads = RANKS});

    (void)state;
    for (int call = 1; call <= RANKS; call++) {
        assert_int_equal(start_refused_from(e, call), LARIAT_NO_MEMORY);
        for (int32_t r = 0; r < RANKS; r++) {
            assert_null(e->local[r].trace.spans); /* which nobody would free before the engine ends */
        }
        read_tokens(e);
        assert_counts(e, none);
    }
    assert_int_equal(lariat_engine_close(e), LARIAT_OK);
}

static void a_start_that_is_refused_leaves_tracing_as_it_was(void **state)
{
    lariat_engine *e = open_engine((lariat_options){.device = LARIAT_DEVICE_CPU, .ranks = RANKS, .threads = RANKS});
    int64_t before[RANKS], after[RANKS];

    (void)state;
    assert_int_equal(lariat_trace_start(e, 0), LARIAT_OK);
    read_tokens(e);
    take_counts(e, before);
    assert_true(before[0] > 0 && before[RANKS - 1] > 0);
    for (int call = 1; call <= RANKS; call++) {
        assert_int_equal(start_refused_from(e, call), LARIAT_NO_MEMORY);
        assert_counts(e, before);
    }
    read_tokens(e); /* is recorded still, by every rank */
    take_counts(e, after);
    for (int32_t r = 0; r < RANKS; r++) {
        assert_true(after[r] > before[r]);
    }
    lariat_trace_stop(e);
    assert_int_equal(start_refused_from(e, RANKS), LARIAT_NO_MEMORY);
    read_tokens(e); /* is not */
    assert_counts(e, after);
    assert_int_equal(lariat_engine_close(e), LARIAT_OK);
}

/* --- reading --- */

static const double OTHER_CLOCK_S = 1000; /* that the card's clock is ahead of the host's */

static double moments[MOMENTS];
static int64_t n_moments;

static int64_t played_stamp(device *dev, void *stream)
{
    (void)dev;
    (void)stream;
    assert_true(n_moments < MOMENTS);
    moments[n_moments] = clock_now() + OTHER_CLOCK_S;
    return n_moments++;
}

static bool played_stamped(device *dev, int64_t number, double *seconds)
{
    (void)dev;
    *seconds = moments[number];
    return true;
}

static void reading_spans_of_a_card_commands_no_rank(void **state)
{
    int64_t n;

    (void)state;
    play_gpus();
    played_ops.stamp = played_stamp;
    played_ops.stamped = played_stamped;
    lariat_engine *e = open_engine((lariat_options){.device = LARIAT_DEVICE_CUDA, .dtype = LARIAT_DTYPE_F32, .ranks = 1});
    double began = clock_now();
    assert_int_equal(lariat_trace_start(e, 0), LARIAT_OK);
    read_tokens(e);
    double spent = clock_now() - began;
    uint32_t commands = atomic_load(&e->ranks.go.value);
    int64_t looks = n_moments;

    assert_null(lariat_trace_spans(e, 0, &n)); /* they are on the card's clock still */
    assert_int_equal(n, 0);
    assert_int_equal(lariat_trace_lost(e, 0), 0);
    assert_int_equal(atomic_load(&e->ranks.go.value), commands);
    assert_int_equal(n_moments, looks);
    lariat_trace_stop(e);
    commands = atomic_load(&e->ranks.go.value);
    looks = n_moments;
    const lariat_span *spans = lariat_trace_spans(e, 0, &n);
    assert_true(n > 1);
    assert_int_equal(spans[0].kind, LARIAT_SPAN_PASS);
    for (int64_t i = 0; i < n; i++) {
        assert_true(spans[i].begin >= 0 && spans[i].begin <= spans[i].end && spans[i].end <= spent + 1e-2);
    }
    assert_int_equal(lariat_trace_lost(e, 0), 0);
    lariat_trace_stop(e); /* there is nothing left to do */
    assert_int_equal(atomic_load(&e->ranks.go.value), commands);
    assert_int_equal(n_moments, looks);
    assert_int_equal(lariat_engine_close(e), LARIAT_OK);
}

int main(void)
{
    if (!reference_models_found()) {
        return TEST_SKIPPED;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rank_without_room_leaves_no_rank_half_open),
        cmocka_unit_test(a_start_that_is_refused_leaves_tracing_as_it_was),
        cmocka_unit_test(reading_spans_of_a_card_commands_no_rank),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
