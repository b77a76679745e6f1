/* Passes as the unit: submit, collect, cancel, rewind, fork. On CPUs, which compute a pass when it is collected, and on
   cards, which have it when it is submitted.
   Rests on support/played_gpu.h, and on transformer_pass(), which fails on the last rank when it is told to:
   tests/CMakeLists.txt wraps it. What is expected is what lariat_step and lariat_generate give. */
#include "comm/comm.h"
#include "lariat/lariat.h"
#include "model/transformer.h"
#include "support/oracle.h"
#include "support/played_gpu.h"
#include "support/reference.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SESSIONS = 3, CAPACITY = 96, MOST = 20, RANKS_MOST = 8, VOCAB_MOST = 2048 };

static int32_t ranks; /* of all engines: all tests run on every ring */
static lariat_kv kv;

static const int64_t prompts[SESSIONS] = {17, 1, 40};
static const lariat_sampling settings[SESSIONS] = {{.top_p = 1},
                                                   {.temperature = 1.2f, .top_k = 50, .top_p = 0.95f, .seed = 3},
                                                   {.temperature = 0.8f, .top_p = 1, .min_p = 0.02f, .seed = 4}};

/* --- a pass that fails --- */

static _Atomic int passes_left = -1; /* until one fails on the last rank; negative: none does */
static lariat_session *_Atomic to_cancel;        /* by the last rank when it begins a pass */

lariat_status __real_transformer_pass(transformer *t, const pass_input *in);
lariat_status __wrap_transformer_pass(transformer *t, const pass_input *in);
lariat_status __wrap_transformer_pass(transformer *t, const pass_input *in)
{
    lariat_session *s = comm_rank(t->comm) == ranks - 1 ? atomic_exchange(&to_cancel, NULL) : NULL;
    if (s) {
        lariat_session_cancel(s);
    }
    if (comm_rank(t->comm) == ranks - 1 && atomic_load(&passes_left) >= 0 && atomic_fetch_sub(&passes_left, 1) == 0) {
        give_reason("so it was told");
        return LARIAT_IO;
    }
    return __real_transformer_pass(t, in);
}

static void assert_failed_as_told(void)
{
    char expected[64];

    snprintf(expected, sizeof expected, "rank %d: so it was told", ranks - 1);
    assert_string_equal(lariat_error(), expected);
}

/* --- an engine and its texts --- */

typedef struct trial {
    lariat_engine *engine;
    int32_t vocab;
    lariat_session *sessions[SESSIONS];
    lariat_sampler *samplers[SESSIONS];
    int32_t prompt[SESSIONS][CAPACITY], made[SESSIONS][CAPACITY];
    int32_t n_made[SESSIONS];
} trial;

/* `where`: 0 to 2 CPUs in each layout, 3 to 5 cards. */
enum { PLACES = 6 };

static trial *open_trial(int where)
{
    trial *t = calloc(1, sizeof *t);
    char *path = reference_path("reference/models/gqa-llama3-fp16-sharded");
    lariat_options o = {.device = where < 3 ? LARIAT_DEVICE_CPU : LARIAT_DEVICE_CUDA,
                        .dtype = LARIAT_DTYPE_F32,
                        .ranks = ranks,
                        .threads = ranks,
                        .chunk = 64,
                        .context = (SESSIONS + 1) * (CAPACITY + 128),
                        .sessions = SESSIONS + 1,
                        .kv = kv,
                        .layout = (lariat_layout)(where % 3)};

    assert_non_null(t);
    assert_non_null(path);
    t->engine = open_or_fail(path, o);
    free(path);
    t->vocab = lariat_engine_model(t->engine)->vocab;
    assert_in_range(t->vocab, 1, VOCAB_MOST);
    for (int i = 0; i < SESSIONS; i++) {
        assert_int_equal(lariat_session_open(t->engine, CAPACITY, &t->sessions[i]), LARIAT_OK);
        assert_int_equal(lariat_sampler_open(&settings[i], t->vocab, &t->samplers[i]), LARIAT_OK);
        for (int k = 0; k < CAPACITY; k++) {
            t->prompt[i][k] = (i * 131 + k * 37 + 5) % t->vocab;
        }
    }
    return t;
}

static void close_trial(trial *t)
{
    for (int i = 0; i < SESSIONS; i++) {
        lariat_session_close(t->sessions[i]);
        lariat_sampler_close(t->samplers[i]);
    }
    assert_int_equal(lariat_engine_close(t->engine), LARIAT_OK);
    free(t);
}

static lariat_work prompt_of(trial *t, int i)
{
    return (lariat_work){.session = t->sessions[i], .tokens = t->prompt[i], .count = prompts[i], .sampler = t->samplers[i],
                         .user = &t->n_made[i]};
}

/* The token that the session's newest pass chooses. */
static lariat_work next_of(trial *t, int i)
{
    return (lariat_work){.session = t->sessions[i], .count = 1, .sampler = t->samplers[i], .user = &t->n_made[i]};
}

static void submit(trial *t, lariat_work (*of)(trial *t, int i))
{
    lariat_work work[SESSIONS];

    for (int i = 0; i < SESSIONS; i++) {
        work[i] = of(t, i);
    }
    assert_int_equal(lariat_submit(t->engine, work, SESSIONS), LARIAT_OK);
}

/* One result, of a pass of one session. */
static lariat_result collect_one(trial *t)
{
    lariat_result result;
    int32_t n;

    assert_int_equal(lariat_collect(t->engine, &result, 1, &n), LARIAT_OK);
    assert_int_equal(n, 1);
    return result;
}

static void collect(trial *t)
{
    lariat_result results[SESSIONS];
    int32_t n;

    assert_int_equal(lariat_collect(t->engine, results, SESSIONS, &n), LARIAT_OK);
    assert_int_equal(n, SESSIONS);
    for (int i = 0; i < SESSIONS; i++) {
        assert_int_equal(results[i].status, LARIAT_OK);
        assert_ptr_equal(results[i].session, t->sessions[i]);
        assert_ptr_equal(results[i].user, &t->n_made[i]);
        t->made[i][t->n_made[i]++] = results[i].token;
    }
}

static bool on_token(void *user, int32_t item, int32_t token)
{
    trial *t = user;

    t->made[item][t->n_made[item]++] = token;
    return true;
}

static void generate(trial *t, int64_t most)
{
    lariat_reply replies[SESSIONS];

    for (int i = 0; i < SESSIONS; i++) {
        replies[i] = (lariat_reply){.session = t->sessions[i], .tokens = t->prompt[i], .count = prompts[i],
                                    .sampler = t->samplers[i], .most = most};
    }
    assert_int_equal(lariat_generate(t->engine, replies, SESSIONS, on_token, t), LARIAT_OK);
}

/* Logits behind some tokens of one session, alone in its passes. */
static void read_on(trial *t, lariat_session *s, const int32_t *tokens, int64_t n, float *logits)
{
    lariat_work work = {.session = s, .tokens = tokens, .count = n, .n_logits = 1, .logits = logits};

    assert_int_equal(lariat_step(t->engine, &work, 1), LARIAT_OK);
}

static void assert_same_logits(trial *t, const float *a, const float *b)
{
    assert_memory_equal(a, b, (size_t)t->vocab * sizeof *a);
}

static void everywhere(void (*check)(int where))
{
    for (int where = 0; where < PLACES; where++) {
        check(where);
    }
}

/* Which rank the next token goes to, and with it the order of sums, is the same where all came in one layout. */
static void in_one_layout(void (*check)(int where))
{
    for (int where = 0; where < PLACES; where++) {
        if (where % 3 != LARIAT_LAYOUT_AUTO) {
            check(where);
        }
    }
}

/* --- the tests --- */

static void check_chained(int where)
{
    trial *loop = open_trial(where), *passes = open_trial(where);

    generate(loop, MOST);
    submit(passes, prompt_of);
    for (int i = 1; i < MOST; i++) { /* the next one is there before this one's tokens are seen */
        submit(passes, next_of);
        collect(passes);
    }
    collect(passes);
    assert_memory_equal(loop->n_made, passes->n_made, sizeof loop->n_made);
    assert_memory_equal(loop->made, passes->made, sizeof loop->made);
    close_trial(loop);
    close_trial(passes);
}

static void chained_passes_give_the_tokens_of_generate(void **state)
{
    (void)state;
    everywhere(check_chained);
}

static void assert_lengths(const trial *t, int64_t more)
{
    for (int i = 0; i < SESSIONS; i++) {
        assert_int_equal(lariat_session_length(t->sessions[i]), prompts[i] + more);
    }
}

static void check_refused(int where)
{
    trial *t = open_trial(where), *undisturbed = open_trial(where);
    lariat_result results[SESSIONS];
    int32_t n = 7;

    assert_int_equal(lariat_collect(t->engine, results, SESSIONS, &n), LARIAT_OK);
    assert_int_equal(n, 0);
    lariat_work unread = next_of(t, 0);
    assert_int_equal(lariat_submit(t->engine, &unread, 1), LARIAT_BAD_ARGUMENT); /* there is no token to go on from */
    submit(t, prompt_of);
    submit(t, next_of);
    lariat_work third = next_of(t, 0);
    assert_int_equal(lariat_submit(t->engine, &third, 1), LARIAT_BUSY);
    assert_int_equal(lariat_step(t->engine, &third, 1), LARIAT_BUSY);
    assert_lengths(t, 1);
    assert_int_equal(lariat_collect(t->engine, results, SESSIONS - 1, &n), LARIAT_BAD_ARGUMENT);
    assert_int_equal(n, 0);
    collect(t);
    lariat_work full[] = {next_of(t, 1), {.session = t->sessions[2], .tokens = t->prompt[2], .count = CAPACITY - 40}};
    assert_int_equal(lariat_submit(t->engine, full, 2), LARIAT_CONTEXT_FULL);
    lariat_work large[] = {{.session = t->sessions[0], .tokens = t->prompt[0], .count = 60},
                           {.session = t->sessions[1], .tokens = t->prompt[1], .count = 60}};
    assert_int_equal(lariat_submit(t->engine, large, 2), LARIAT_BAD_ARGUMENT);
    assert_lengths(t, 1);
    collect(t);
    assert_int_equal(lariat_collect(t->engine, results, SESSIONS, &n), LARIAT_OK);
    assert_int_equal(n, 0);
    submit(t, next_of);
    collect(t);
    generate(undisturbed, 3);
    assert_memory_equal(t->made, undisturbed->made, sizeof t->made);
    close_trial(t);
    close_trial(undisturbed);
}

static void what_is_refused_is_not_queued(void **state)
{
    (void)state;
    everywhere(check_refused);
}

static void check_cancelled(int where)
{
    static float logits[2][SESSIONS][VOCAB_MOST], again[2][VOCAB_MOST];
    trial *t[] = {open_trial(where), open_trial(where)};
    lariat_result results[SESSIONS];
    int32_t n;

    for (int run = 0; run < 2; run++) {
        lariat_work work[SESSIONS];
        for (int i = 0; i < SESSIONS; i++) {
            work[i] = prompt_of(t[run], i);
            work[i].sampler = NULL;
            work[i].n_logits = 1;
            work[i].logits = logits[run][i];
        }
        lariat_session_cancel(t[run]->sessions[0]); /* of nothing */
        assert_int_equal(lariat_submit(t[run]->engine, work, SESSIONS), LARIAT_OK);
        if (run == 1) {
            lariat_session_cancel(t[run]->sessions[1]);
        }
        assert_int_equal(lariat_collect(t[run]->engine, results, SESSIONS, &n), LARIAT_OK);
    }
    for (int i = 0; i < SESSIONS; i++) {
        assert_int_equal(results[i].status, i == 1 ? LARIAT_CANCELLED : LARIAT_OK);
        assert_int_equal(lariat_session_length(t[1]->sessions[i]), i == 1 ? 0 : prompts[i]);
        if (i != 1) {
            assert_same_logits(t[0], logits[0][i], logits[1][i]);
        }
    }
    assert_int_equal(lariat_session_rewind(t[0]->sessions[1], 0), LARIAT_OK);
    for (int run = 0; run < 2; run++) {
        read_on(t[run], t[run]->sessions[1], t[run]->prompt[1], 30, again[run]);
    }
    assert_same_logits(t[0], again[0], again[1]);
    submit(t[1], prompt_of);
    for (int i = 0; i < SESSIONS; i++) {
        lariat_session_cancel(t[1]->sessions[i]);
    }
    assert_int_equal(lariat_collect(t[1]->engine, results, SESSIONS, &n), LARIAT_OK);
    for (int i = 0; i < SESSIONS; i++) {
        assert_int_equal(results[i].status, LARIAT_CANCELLED);
        assert_int_equal(lariat_session_length(t[1]->sessions[i]), i == 1 ? 30 : prompts[i]);
    }
    close_trial(t[0]);
    close_trial(t[1]);
}

static void a_cancelled_session_leaves_the_others_their_bits(void **state)
{
    (void)state;
    everywhere(check_cancelled);
}

/* Session 1, which draws, goes on for some tokens; before each, a pass is chained and taken back. */
static void go_on_alone(trial *t, bool chains)
{
    lariat_work work = prompt_of(t, 1);

    assert_int_equal(lariat_submit(t->engine, &work, 1), LARIAT_OK);
    for (int i = 0; i < MOST; i++) {
        int64_t length = lariat_session_length(t->sessions[1]);
        work = next_of(t, 1);
        if (chains) {
            assert_int_equal(lariat_submit(t->engine, &work, 1), LARIAT_OK);
            assert_int_equal(lariat_session_length(t->sessions[1]), length + 1);
            assert_int_equal(lariat_session_rewind(t->sessions[1], length), LARIAT_OK);
        }
        t->made[1][t->n_made[1]++] = collect_one(t).token;
        if (chains) {
            lariat_result taken_back = collect_one(t);
            assert_int_equal(taken_back.status, LARIAT_CANCELLED);
            assert_int_equal(taken_back.token, -1);
        }
        assert_int_equal(lariat_session_length(t->sessions[1]), length);
        assert_int_equal(lariat_submit(t->engine, &work, 1), LARIAT_OK);
    }
    (void)collect_one(t);
}

static void check_rewound(int where)
{
    static float logits[2][VOCAB_MOST];
    trial *t[] = {open_trial(where), open_trial(where)};

    for (int run = 0; run < 2; run++) {
        go_on_alone(t[run], run == 1);
        read_on(t[run], t[run]->sessions[1], t[run]->prompt[0], 3, logits[run]);
    }
    assert_memory_equal(t[0]->made, t[1]->made, sizeof t[0]->made);
    assert_same_logits(t[0], logits[0], logits[1]); /* keys are on the same ranks, too */
    lariat_work inside = {.session = t[0]->sessions[2], .tokens = t[0]->prompt[2], .count = 40, .user = t[0]};
    assert_int_equal(lariat_submit(t[0]->engine, &inside, 1), LARIAT_OK);
    assert_int_equal(lariat_session_rewind(t[0]->sessions[2], 20), LARIAT_BAD_ARGUMENT);
    assert_int_equal(lariat_session_length(t[0]->sessions[2]), 40);
    lariat_session_close(t[0]->sessions[2]);
    t[0]->sessions[2] = NULL;
    lariat_result closed = collect_one(t[0]);
    assert_null(closed.session);
    assert_ptr_equal(closed.user, t[0]);
    assert_int_equal(closed.status, LARIAT_CANCELLED);
    close_trial(t[0]);
    close_trial(t[1]);
}

static void a_chained_pass_that_is_taken_back_leaves_no_trace(void **state)
{
    (void)state;
    everywhere(check_rewound);
}

static void check_forked(int where)
{
    static float logits[4][VOCAB_MOST];
    trial *t = open_trial(where);
    lariat_session *parent = t->sessions[0], *anew = t->sessions[2], *fork;
    const int32_t *tokens = t->prompt[0];

    read_on(t, t->sessions[1], tokens, 50, logits[0]);
    read_on(t, parent, tokens, 48, logits[0]);
    read_on(t, parent, tokens + 48, 20, logits[0]);
    lariat_work last = {.session = parent, .tokens = tokens + 68, .count = 2, .sampler = t->samplers[0]};
    assert_int_equal(lariat_submit(t->engine, &last, 1), LARIAT_OK);
    assert_int_equal(lariat_session_fork(parent, 69, &fork), LARIAT_BAD_ARGUMENT); /* not there yet */
    assert_null(fork);
    assert_int_equal(lariat_session_fork(parent, 48, &fork), LARIAT_OK);
    assert_int_equal(collect_one(t).status, LARIAT_OK);
    assert_int_equal(lariat_session_length(fork), 48);
    assert_int_equal(lariat_session_capacity(fork), CAPACITY);
    read_on(t, anew, tokens, 48, logits[0]);
    for (int32_t r = 0; r < ranks; r++) {
        assert_int_equal(lariat_session_shard(fork, r), lariat_session_shard(anew, r));
    }
    for (int i = 0; i < 3; i++) { /* a prompt, then tokens one by one */
        int64_t from = 30 + 9 * i, n = i ? 1 : 9;
        read_on(t, fork, tokens + from, n, logits[1]);
        read_on(t, anew, tokens + from, n, logits[2]);
        assert_same_logits(t, logits[1], logits[2]);
    }
    assert_int_equal(lariat_session_rewind(anew, 0), LARIAT_OK);
    assert_int_equal(lariat_session_length(parent), 70);
    read_on(t, anew, tokens, 48, logits[0]);
    read_on(t, anew, tokens + 48, 20, logits[0]);
    read_on(t, anew, tokens + 68, 2, logits[0]);
    read_on(t, parent, tokens, 5, logits[1]); /* the parent goes on as if nothing had been */
    read_on(t, anew, tokens, 5, logits[2]);
    assert_same_logits(t, logits[1], logits[2]);
    lariat_session_close(fork);
    close_trial(t);
}

static void a_fork_goes_on_as_one_that_has_read_the_prefix(void **state)
{
    (void)state;
    in_one_layout(check_forked);
    kv = LARIAT_KV_Q8; /* whose scales are copied as well */
    in_one_layout(check_forked);
    kv = LARIAT_KV_AUTO;
}

/* A pass of CPUs that was submitted writes to its slots when it is collected: not into those of a session that has got them
   since. */
static void check_slots_of_others(int where)
{
    static float logits[2][VOCAB_MOST];
    trial *t = open_trial(where);
    lariat_session *fork;

    read_on(t, t->sessions[0], t->prompt[0], 48, logits[0]);
    read_on(t, t->sessions[2], t->prompt[0], 48, logits[0]);
    lariat_work work[] = {prompt_of(t, 1), {.session = t->sessions[2], .tokens = t->prompt[2], .count = 1}};
    work[0].count = 40;
    assert_int_equal(lariat_submit(t->engine, work, 2), LARIAT_OK);
    lariat_session_close(t->sessions[1]);
    t->sessions[1] = NULL;
    assert_int_equal(lariat_session_fork(t->sessions[0], 48, &fork), LARIAT_OK);
    lariat_work more = {.session = fork, .tokens = t->prompt[1], .count = 4, .n_logits = 1, .logits = logits[0]};
    assert_int_equal(lariat_submit(t->engine, &more, 1), LARIAT_OK); /* copies what both have to slots of the closed one */
    lariat_result results[2];
    int32_t n;
    assert_int_equal(lariat_collect(t->engine, results, 2, &n), LARIAT_OK);
    assert_int_equal(results[1].status, LARIAT_OK);
    assert_int_equal(collect_one(t).status, LARIAT_OK);
    read_on(t, t->sessions[0], t->prompt[1], 4, logits[1]);
    assert_same_logits(t, logits[0], logits[1]);
    lariat_session_close(fork);
    close_trial(t);
}

static void a_pass_of_a_closed_session_writes_to_nobody(void **state)
{
    (void)state;
    in_one_layout(check_slots_of_others);
}

/* The second of two passes is chained to the first for session 1, and has session 0 of its own. */
static void check_failed(int where)
{
    trial *failing = open_trial(where), *sound = open_trial(where);
    lariat_result results[2];
    int32_t n;

    lariat_work first = prompt_of(failing, 1), second[] = {next_of(failing, 1), prompt_of(failing, 0)};
    atomic_store(&passes_left, where < 3 ? 0 : 1);
    assert_int_equal(lariat_submit(failing->engine, &first, 1), LARIAT_OK);
    lariat_status status = lariat_submit(failing->engine, second, 2);
    assert_int_equal(status, where < 3 ? LARIAT_OK : LARIAT_IO); /* cards have a pass when it is submitted */
    if (status == LARIAT_IO) {
        assert_failed_as_told();
    }
    assert_int_equal(lariat_collect(failing->engine, results, 2, &n), LARIAT_IO);
    assert_int_equal(n, 1);
    assert_int_equal(results[0].status, LARIAT_IO);
    assert_int_equal(lariat_collect(failing->engine, results, 2, &n), LARIAT_OK);
    assert_int_equal(n, where < 3 ? 2 : 0);
    if (where < 3) { /* nobody has begun with it: the session that was chained is lost, the other one is not */
        assert_int_equal(results[0].status, LARIAT_IO);
        assert_int_equal(results[1].status, LARIAT_OK);
        assert_int_equal(lariat_session_rewind(failing->sessions[0], 0), LARIAT_OK);
    }
    assert_int_equal(lariat_session_length(failing->sessions[0]), 0);
    assert_int_equal(lariat_session_length(failing->sessions[1]), 0);
    go_on_alone(failing, false);
    go_on_alone(sound, false);
    assert_memory_equal(failing->made, sound->made, sizeof sound->made);
    close_trial(failing);
    close_trial(sound);
}

static void a_pass_that_fails_leaves_all_where_they_stood(void **state)
{
    (void)state;
    everywhere(check_failed);
}

/* The third pass of session 0 begins in a block that the fork has too, while the second, which chooses its token, is under
   way. */
static void check_fork_of_chained(int where)
{
    trial *t[] = {open_trial(where), open_trial(where)};

    for (int run = 0; run < 2; run++) {
        lariat_session *fork = NULL;
        submit(t[run], prompt_of);
        collect(t[run]);
        submit(t[run], next_of);
        submit(t[run], next_of);
        if (run == 1) {
            assert_int_equal(lariat_session_fork(t[run]->sessions[0], prompts[0], &fork), LARIAT_OK);
        }
        collect(t[run]);
        submit(t[run], next_of);
        collect(t[run]);
        collect(t[run]);
        lariat_session_close(fork);
    }
    assert_memory_equal(t[0]->made, t[1]->made, sizeof t[0]->made);
    close_trial(t[0]);
    close_trial(t[1]);
}

static void a_fork_leaves_chained_passes_their_tokens(void **state)
{
    (void)state;
    everywhere(check_fork_of_chained);
}

/* More passes are taken back than the transport can tell numbers apart by their difference. */
static void check_many_taken_back(int where)
{
    enum { ROUNDS = 20, TAKEN_BACK = 150 };
    static float logits[2][VOCAB_MOST];
    trial *t[] = {open_trial(where), open_trial(where)};

    for (int round = 0; round < ROUNDS; round++) {
        for (int run = 0; run < 2; run++) {
            lariat_session *s = t[run]->sessions[0];
            lariat_work work = {.session = s, .tokens = t[run]->prompt[round % SESSIONS], .count = 40};
            for (int i = 0; run == 1 && where < 3 && i < TAKEN_BACK; i++) {
                assert_int_equal(lariat_submit(t[run]->engine, &work, 1), LARIAT_OK);
                assert_int_equal(lariat_session_rewind(s, 0), LARIAT_OK);
                assert_int_equal(collect_one(t[run]).status, LARIAT_CANCELLED);
            }
            read_on(t[run], s, work.tokens, work.count, logits[run]);
            assert_int_equal(lariat_session_rewind(s, 0), LARIAT_OK);
        }
        assert_same_logits(t[0], logits[0], logits[1]);
    }
    close_trial(t[0]);
    close_trial(t[1]);
}

static void passes_that_nobody_carries_out_count_for_nothing(void **state)
{
    (void)state;
    everywhere(check_many_taken_back);
}

static void cancel_next(void *user, int64_t done, int64_t total)
{
    trial *t = user;

    (void)total;
    if (done < 60) {
        lariat_session_cancel(t->sessions[2]);
    }
}

/* The call that fails comes within a block of decoded tokens: the rest of the block goes where it would have gone. */
static void check_failed_step(int where)
{
    enum { BEFORE = 3 };
    trial *t[] = {open_trial(where), open_trial(where)};

    for (int run = 0; run < 2; run++) {
        submit(t[run], prompt_of);
        collect(t[run]);
        for (int i = 0; i < BEFORE; i++) {
            submit(t[run], next_of);
            collect(t[run]);
        }
        assert_int_equal(lariat_session_rewind(t[run]->sessions[2], 0), LARIAT_OK);
        if (run == 1) { /* sessions 0 and 1 choose a token in the first pass, the second one is cancelled */
            lariat_work work[SESSIONS] = {next_of(t[run], 0), next_of(t[run], 1), prompt_of(t[run], 2)};
            work[2].count = 90;
            lariat_engine_on_progress(t[run]->engine, cancel_next, t[run]);
            assert_int_equal(lariat_step(t[run]->engine, work, SESSIONS), LARIAT_CANCELLED);
            lariat_engine_on_progress(t[run]->engine, NULL, NULL);
            assert_int_equal(lariat_session_length(t[run]->sessions[1]), prompts[1] + BEFORE);
        }
        for (int i = 0; i < MOST; i++) {
            lariat_work work = next_of(t[run], 1);
            assert_int_equal(lariat_submit(t[run]->engine, &work, 1), LARIAT_OK);
            t[run]->made[1][t[run]->n_made[1]++] = collect_one(t[run]).token;
        }
    }
    assert_memory_equal(t[0]->made, t[1]->made, sizeof t[0]->made);
    for (int32_t r = 0; r < ranks; r++) {
        assert_int_equal(lariat_session_shard(t[0]->sessions[1], r), lariat_session_shard(t[1]->sessions[1], r));
    }
    close_trial(t[0]);
    close_trial(t[1]);
}

static void a_step_that_fails_leaves_tokens_samplers_and_their_ranks(void **state)
{
    (void)state;
    for (int where = 0; where < PLACES; where++) {
        check_failed_step(where);
    }
}

/* A fork of session 1, and the prompt of session 0 under way: what the fork does next is to copy a block. On CPUs that first
   carries out what is pending. */
static lariat_session *fork_beside_a_pass(trial *t)
{
    static float logits[VOCAB_MOST];
    lariat_work work = prompt_of(t, 0);
    lariat_session *fork;

    read_on(t, t->sessions[1], t->prompt[1], 8, logits);
    assert_int_equal(lariat_session_fork(t->sessions[1], 8, &fork), LARIAT_OK);
    assert_int_equal(lariat_submit(t->engine, &work, 1), LARIAT_OK);
    return fork;
}

static void a_fork_is_not_cancelled_with_another_session(void **state)
{
    (void)state;
    for (int where = 0; where < 3; where++) {
        trial *t = open_trial(where);
        lariat_session *fork = fork_beside_a_pass(t);
        lariat_work work = {.session = fork, .tokens = t->prompt[1], .count = 1};
        atomic_store(&to_cancel, t->sessions[0]);
        assert_int_equal(lariat_submit(t->engine, &work, 1), LARIAT_OK);
        assert_int_equal(collect_one(t).status, LARIAT_CANCELLED);
        assert_int_equal(collect_one(t).status, LARIAT_OK);
        lariat_session_close(fork);
        close_trial(t);
    }
}

static void a_failed_pass_keeps_its_reason(void **state)
{
    (void)state;
    for (int where = 0; where < 3; where++) {
        trial *t = open_trial(where);
        lariat_session *fork = fork_beside_a_pass(t);
        lariat_work work = {.session = fork, .tokens = t->prompt[1], .count = 1};
        lariat_result result;
        int32_t n;
        atomic_store(&passes_left, 0);
        assert_int_equal(lariat_submit(t->engine, &work, 1), LARIAT_IO);
        (void)lariat_session_rewind(t->sessions[1], 9); /* another reason meanwhile */
        assert_int_equal(lariat_collect(t->engine, &result, 1, &n), LARIAT_IO);
        assert_failed_as_told();
        lariat_session_close(fork);
        close_trial(t);
    }
}

/* One pass of a session; what became of it. */
static lariat_status pass_of(trial *t, lariat_session *s, int64_t count)
{
    lariat_work work = {.session = s, .tokens = t->prompt[0], .count = count};
    lariat_status status = lariat_submit(t->engine, &work, 1);

    if (status == LARIAT_OK) {
        assert_int_equal(collect_one(t).status, LARIAT_OK);
    }
    return status;
}

/* Two sessions of which each could have the whole pool. */
static void check_no_slots(int where)
{
    trial *t = open_trial(where);
    lariat_session **s = t->sessions;
    int64_t room = lariat_engine_room(t->engine), length;

    for (int i = 0; i < 2; i++) {
        lariat_session_close(s[i]);
        assert_int_equal(lariat_session_open(t->engine, 0, &s[i]), LARIAT_OK);
        assert_int_equal(lariat_session_capacity(s[i]), room);
    }
    while (lariat_session_length(s[0]) < room / 2) {
        assert_int_equal(pass_of(t, s[0], 60), LARIAT_OK);
    }
    assert_true(lariat_engine_room(t->engine) < room);
    while (pass_of(t, s[1], 20) == LARIAT_OK) {
    }
    while (pass_of(t, s[1], 1) == LARIAT_OK) {
    }
    length = lariat_session_length(s[1]);
    assert_true(length > 0 && length < lariat_session_capacity(s[1]));
    assert_int_equal(pass_of(t, s[1], 1), LARIAT_CONTEXT_FULL); /* and nothing has moved: */
    assert_int_equal(lariat_session_length(s[1]), length);
    assert_int_equal(lariat_session_rewind(s[0], 1), LARIAT_OK);
    assert_int_equal(pass_of(t, s[1], 60), LARIAT_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(lariat_session_rewind(s[i], 0), LARIAT_OK);
    }
    assert_int_equal(lariat_engine_room(t->engine), room);
    close_trial(t);
}

static void a_pass_that_finds_no_slots_is_refused_until_some_are_given_back(void **state)
{
    (void)state;
    everywhere(check_no_slots);
}

/* Its ids are those of the prompt and those made since, as far as passes that were collected have read them. */
static void assert_tokens(const trial *t, int i, const lariat_session *s, int64_t length)
{
    int64_t n;
    const int32_t *ids = lariat_session_tokens(s, &n);

    assert_int_equal(n, length);
    for (int64_t k = 0; k < n; k++) {
        assert_int_equal(ids[k], k < prompts[i] ? t->prompt[i][k] : t->made[i][k - prompts[i]]);
    }
}

static void check_tokens(int where)
{
    trial *t = open_trial(where);
    lariat_session *fork;

    submit(t, prompt_of);
    for (int made = 0; made < MOST; made++) {
        submit(t, next_of);
        for (int i = 0; i < SESSIONS; i++) {
            assert_tokens(t, i, t->sessions[i], made ? prompts[i] + made - 1 : 0);
        }
        collect(t);
    }
    collect(t);
    assert_int_equal(lariat_session_fork(t->sessions[1], 10, &fork), LARIAT_OK);
    lariat_session_close(t->sessions[1]);
    t->sessions[1] = NULL;
    assert_tokens(t, 1, fork, 10);
    lariat_session_close(fork);
    assert_tokens(t, 2, t->sessions[2], prompts[2] + MOST);
    close_trial(t);
}

static void a_session_has_the_ids_that_it_has_read(void **state)
{
    (void)state;
    everywhere(check_tokens);
}

static void check_reuse(int where)
{
    trial *t = open_trial(where);
    lariat_session *s = t->sessions[2];
    lariat_work work = prompt_of(t, 2);
    int32_t *tokens = t->prompt[2];

    assert_int_equal(lariat_session_reuse(s, tokens, 30), 0);
    assert_int_equal(lariat_submit(t->engine, &work, 1), LARIAT_OK);
    int32_t chosen = collect_one(t).token;
    work = next_of(t, 2);
    assert_int_equal(lariat_submit(t->engine, &work, 1), LARIAT_OK);
    (void)collect_one(t);
    tokens[prompts[2]] = chosen; /* the next turn: what the session has, and more */
    assert_int_equal(lariat_session_reuse(s, tokens, prompts[2] + 2), prompts[2] + 1);
    assert_int_equal(lariat_session_length(s), prompts[2] + 1);
    assert_int_equal(lariat_session_reuse(s, tokens, prompts[2] + 1), prompts[2]); /* one is left to be read */
    work = (lariat_work){.session = s, .tokens = tokens, .count = 5};
    assert_int_equal(lariat_submit(t->engine, &work, 1), LARIAT_OK);
    tokens[20] = (tokens[20] + 1) % t->vocab;
    assert_int_equal(lariat_session_reuse(s, tokens, prompts[2]), 20);
    assert_int_equal(collect_one(t).status, LARIAT_CANCELLED); /* it went on from what is gone */
    work = (lariat_work){.session = s, .tokens = tokens + 20, .count = 10};
    assert_int_equal(lariat_submit(t->engine, &work, 1), LARIAT_OK);
    assert_int_equal(collect_one(t).status, LARIAT_OK);
    assert_tokens(t, 2, s, 30);
    close_trial(t);
}

static void a_prompt_goes_on_from_what_it_has_in_common_with_its_session(void **state)
{
    (void)state;
    everywhere(check_reuse);
}

static void what_makes_no_sense_is_refused_by_name(void **state)
{
    trial *t = open_trial(0);
    lariat_session *s;

    (void)state;
    assert_int_equal(lariat_session_open(t->engine, INT64_MAX, &s), LARIAT_NO_MEMORY);
    lariat_work work[] = {prompt_of(t, 0), prompt_of(t, 1)};
    work[1].sampler = work[0].sampler;
    for (int i = 0; i < 2; i++) { /* twice: the first time leaves nothing behind */
        assert_int_equal(lariat_submit(t->engine, work, 2), LARIAT_BAD_ARGUMENT);
        assert_string_equal(lariat_error(), "work: the sampler of item 1 is that of an item before, open one for each");
    }
    submit(t, prompt_of);
    collect(t);
    close_trial(t);
}

int main(void)
{
    if (!reference_models_found()) {
        return TEST_SKIPPED;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chained_passes_give_the_tokens_of_generate),
        cmocka_unit_test(what_is_refused_is_not_queued),
        cmocka_unit_test(a_cancelled_session_leaves_the_others_their_bits),
        cmocka_unit_test(a_chained_pass_that_is_taken_back_leaves_no_trace),
        cmocka_unit_test(a_fork_goes_on_as_one_that_has_read_the_prefix),
        cmocka_unit_test(a_pass_of_a_closed_session_writes_to_nobody),
        cmocka_unit_test(a_pass_that_fails_leaves_all_where_they_stood),
        cmocka_unit_test(a_fork_leaves_chained_passes_their_tokens),
        cmocka_unit_test(passes_that_nobody_carries_out_count_for_nothing),
        cmocka_unit_test(a_step_that_fails_leaves_tokens_samplers_and_their_ranks),
        cmocka_unit_test(a_fork_is_not_cancelled_with_another_session),
        cmocka_unit_test(a_failed_pass_keeps_its_reason),
        cmocka_unit_test(a_pass_that_finds_no_slots_is_refused_until_some_are_given_back),
        cmocka_unit_test(a_session_has_the_ids_that_it_has_read),
        cmocka_unit_test(a_prompt_goes_on_from_what_it_has_in_common_with_its_session),
        cmocka_unit_test(what_makes_no_sense_is_refused_by_name),
    };
    int failed = 0;

    play_gpus();
    for (ranks = 1; ranks <= RANKS_MOST; ranks = next_ring(ranks)) {
        failed += cmocka_run_group_tests(tests, NULL, NULL);
    }
    return failed;
}
