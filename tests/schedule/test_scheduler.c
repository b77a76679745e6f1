/* Jobs that arrive at random, of random lengths, cancelled at random, in pools of slots of random sizes: each gets the tokens
   that it has alone, and all slots come back. On CPUs, which compute a pass when it is collected, and on cards, where two are
   under way.
   Rests on schedule/scheduler.h and support/played_gpu.h, and on lariat_session_fork(), which is counted: tests/CMakeLists.txt
   wraps it. What is expected is what lariat_generate gives. */
#include "schedule/scheduler.h"
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

enum {
    JOBS = 24,
    PROMPT_MOST = 420,
    MADE_MOST = 40,
    CAPACITY = 512, /* of jobs that may share a beginning */
    CHUNK = 200,    /* more than a budget */
    ROUNDS = TEST_QUICK ? 2 : 8
};

/* Two tokens are as good as equal where their logits are so near that a sum in another order changes which is larger. */
#define NEAR 1e-3f

static int forks, preempted, cancelled_running, cancelled_waiting, near_ties;

lariat_status __real_lariat_session_fork(lariat_session *s, int64_t length, lariat_session **out);
lariat_status __wrap_lariat_session_fork(lariat_session *s, int64_t length, lariat_session **out);
lariat_status __wrap_lariat_session_fork(lariat_session *s, int64_t length, lariat_session **out)
{
    forks++;
    return __real_lariat_session_fork(s, length, out);
}

/* A job, and what it has alone. */
typedef struct trial {
    job job;
    lariat_sampling sampling;
    int32_t prompt[PROMPT_MOST], alone[MADE_MOST], made[MADE_MOST];
    float ahead[MADE_MOST]; /* of the token's log-probability before the next one's */
    int n_alone, n_made, stops_at;
    int arrives; /* with this pass */
    int cancel;  /* before this pass, -1: never */
    bool added, cancelled, ended;
} trial;

typedef struct world {
    lariat_engine *alone, *engine;
    int32_t vocab;
    trial trials[JOBS];
    int32_t beginning[2][PROMPT_MOST]; /* that some have in common */
} world;

/* --- what each has alone --- */

static bool take_alone(void *user, int32_t item, int32_t token)
{
    trial *t = user;

    (void)item;
    t->alone[t->n_alone++] = token;
    return true;
}

static void run_alone(world *w, trial *t)
{
    lariat_session *s;
    lariat_sampler *sampler;

    assert_int_equal(lariat_session_open(w->alone, t->job.capacity, &s), LARIAT_OK);
    assert_int_equal(lariat_sampler_open(&t->sampling, w->vocab, &sampler), LARIAT_OK);
    lariat_sampler_begin(sampler, t->prompt, t->job.n_prompt);
    int32_t newest = 0;
    for (int n = 0; n < t->job.most && t->job.n_prompt + n <= t->job.capacity; n++) { /* one a call, with its lead */
        float logprob;
        lariat_reply item = {.session = s, .tokens = n ? &newest : t->prompt, .count = n ? 1 : t->job.n_prompt,
                             .sampler = sampler, .most = 1, .n_top = 2};
        assert_int_equal(lariat_generate(w->alone, &item, 1, take_alone, t), LARIAT_OK);
        const lariat_top *top = lariat_session_top(s, &logprob);
        t->ahead[n] = top[0].logprob - top[1].logprob;
        newest = t->alone[n];
    }
    lariat_session_close(s);
    lariat_sampler_close(sampler);
}

/* --- jobs --- */

static bool take_token(job *j, const lariat_result *made)
{
    trial *t = j->user;

    assert_false(t->ended);
    assert_true(t->n_made < j->most);
    t->made[t->n_made++] = made->token;
    return t->n_made != t->stops_at;
}

static void take_end(job *j)
{
    trial *t = j->user;

    assert_false(t->ended);
    t->ended = true;
    lariat_sampler_close(j->sampler);
}

/* Some begin alike; some are the same, as samples of one prompt are. */
static void draw_job(world *w, trial *t, int i, int arrives)
{
    const trial *twin = i && rand() % 4 == 0 ? &w->trials[rand() % i] : NULL;
    int64_t n = 1 + rand() % (rand() % 3 ? 60 : PROMPT_MOST), common = rand() % 3 ? 0 : n;

    *t = (trial){.arrives = arrives, .cancel = rand() % 6 ? -1 : arrives + rand() % 20,
                 .stops_at = rand() % 4 ? 0 : 1 + rand() % 9};
    t->sampling = (lariat_sampling){.top_p = 1};
    if (rand() % 4 == 0) {
        t->sampling = (lariat_sampling){.temperature = 1, .top_k = 40, .top_p = 0.95f, .seed = (uint64_t)rand(),
                                        .repeat = 1.1f};
    }
    for (int64_t k = 0; k < n; k++) {
        t->prompt[k] = k < common ? w->beginning[i % 2][k] : rand() % w->vocab;
    }
    t->job = (job){.prompt = t->prompt, .n_prompt = n, .most = rand() % MADE_MOST, .on_token = take_token, .on_end = take_end,
                   .capacity = rand() % 3 || n > CAPACITY - 20 ? CAPACITY : n + rand() % 20, .user = t};
    if (twin && twin->job.capacity == CAPACITY && twin->job.n_prompt > 1) {
        memcpy(t->prompt, twin->prompt, sizeof t->prompt);
        t->job.prompt = twin->job.prompt;
        t->job.n_prompt = twin->job.n_prompt;
        t->job.capacity = CAPACITY;
        t->job.shared = t->job.n_prompt - 1;
    }
}

static void add_job(world *w, scheduler *s, trial *t)
{
    assert_int_equal(lariat_sampler_open(&t->sampling, w->vocab, &t->job.sampler), LARIAT_OK);
    lariat_sampler_begin(t->job.sampler, t->prompt, t->job.n_prompt);
    t->added = true;
    assert_true(scheduler_add(s, &t->job));
}

/* --- a run --- */

/* What a job had before a pass. */
typedef struct before {
    lariat_session *session;
    int made;
    bool decodes; /* it has read all but the token that came last */
} before;

/* On CPUs, where passes are not ahead of their results: every job that decoded and kept its session has one token more, and of
   prompts no more was read than the budget. */
static void check_pass(const world *w, const before was[], const pass_report *report)
{
    int decoded = 0;

    for (int i = 0; i < JOBS; i++) {
        const trial *t = &w->trials[i];
        if (was[i].decodes && (t->ended ? t->n_made > was[i].made : t->job.session == was[i].session)) {
            assert_int_equal(t->n_made, was[i].made + 1);
            decoded++;
        }
    }
    assert_true(decoded == 0 || report->tokens - decoded <= scheduler_budget(w->engine));
    assert_true(report->tokens <= CHUNK);
}

static void note_before(const world *w, before was[])
{
    for (int i = 0; i < JOBS; i++) {
        const trial *t = &w->trials[i];
        const job *j = &t->job;
        bool runs = t->added && !t->ended && j->session;
        was[i] = (before){.session = runs ? j->session : NULL, .made = runs ? t->n_made : 0};
        was[i].decodes = runs && t->n_made && lariat_session_length(j->session) == j->n_prompt + t->n_made - 1;
    }
}

static void cancel_some(world *w, int pass)
{
    for (int i = 0; i < JOBS; i++) {
        trial *t = &w->trials[i];
        if (t->added && !t->ended && t->cancel == pass) {
            t->cancelled = true;
            *(t->job.session ? &cancelled_running : &cancelled_waiting) += 1;
            atomic_store(&t->job.cancelled, true);
        }
    }
}

static void check_one_pass(world *w, scheduler *s, int pass, bool ahead)
{
    before was[JOBS];
    pass_report report;

    cancel_some(w, pass);
    note_before(w, was);
    if (scheduler_pass(s, &report) != LARIAT_OK) {
        fail_msg("%s", lariat_error());
    }
    for (int i = 0; i < JOBS; i++) {
        const trial *t = &w->trials[i];
        /* Within one pass; on cards once those under way are through. */
        assert_true(!t->cancelled || t->ended || (ahead && t->job.under_way));
        preempted += was[i].session && !t->ended && !t->job.session;
        assert_true(!t->cancelled || t->n_made == was[i].made || !was[i].session);
    }
    if (!ahead) {
        check_pass(w, was, &report);
    }
}

/* A near tie makes another text from there on. */
static void check_tokens(const trial *t)
{
    for (int i = 0; i < t->n_made; i++) {
        if (t->made[i] != t->alone[i]) {
            assert_true(t->sampling.temperature == 0 && t->ahead[i] < NEAR);
            near_ties++;
            return;
        }
    }
}

static void check_end(const trial *t)
{
    const job *j = &t->job;
    int most = t->stops_at && t->stops_at < t->n_alone ? t->stops_at : t->n_alone;

    assert_true(t->ended);
    check_tokens(t);
    if (t->cancelled && j->end == JOB_CANCELLED) {
        assert_true(t->n_made <= most);
        return;
    }
    assert_int_equal(t->n_made, most);
    if (t->n_made && t->n_made == t->stops_at) {
        assert_int_equal(j->end, JOB_STOPPED);
    } else {
        assert_int_equal(j->end, t->n_made == j->most ? JOB_MOST : JOB_FULL);
    }
}

static void check_run(world *w, int32_t sessions, bool ahead)
{
    scheduler *s = scheduler_open(&(scheduler_setup){.engine = w->engine, .sessions = sessions});
    int64_t room = lariat_engine_room(w->engine);
    int last = 0;

    assert_non_null(s);
    for (int i = 0, arrives = 0; i < JOBS; i++) {
        arrives += rand() % 2 ? 0 : rand() % 6;
        draw_job(w, &w->trials[i], i, arrives);
        run_alone(w, &w->trials[i]);
        last = arrives;
    }
    for (int pass = 0; pass <= last || scheduler_jobs(s); pass++) {
        for (int i = 0; i < JOBS; i++) {
            if (w->trials[i].arrives == pass) {
                add_job(w, s, &w->trials[i]);
            }
        }
        check_one_pass(w, s, pass, ahead);
        assert_true(pass < 20000);
    }
    for (int i = 0; i < JOBS; i++) {
        check_end(&w->trials[i]);
    }
    assert_int_equal(lariat_engine_room(w->engine), room);
    scheduler_close(s);
}

static void check_where(lariat_options o)
{
    static world w;
    char *path = reference_path("reference/models/gqa-llama3-fp16-sharded");

    assert_non_null(path);
    o.dtype = LARIAT_DTYPE_F32;
    o.kv = o.device == LARIAT_DEVICE_CPU ? LARIAT_KV_F32 : LARIAT_KV_AUTO;
    o.chunk = CHUNK;
    o.threads = o.ranks;
    o.context = CAPACITY;
    w.alone = open_or_fail(path, o);
    o.sessions = 1 + rand() % 8;
    o.context = CAPACITY + rand() % 500;
    w.engine = open_or_fail(path, o);
    free(path);
    w.vocab = lariat_engine_model(w.engine)->vocab;
    for (int i = 0; i < 2 * PROMPT_MOST; i++) {
        w.beginning[i % 2][i / 2] = rand() % w.vocab;
    }
    check_run(&w, o.sessions, o.device == LARIAT_DEVICE_CUDA);
    assert_int_equal(lariat_engine_close(w.engine), LARIAT_OK); /* no session is left */
    assert_int_equal(lariat_engine_close(w.alone), LARIAT_OK);
}

static void each_gets_the_tokens_that_it_has_alone(void **state)
{
    (void)state;
    srand(17);
    for (int round = 0; round < ROUNDS; round++) {
        for (int layout = LARIAT_LAYOUT_TOKENS; layout <= LARIAT_LAYOUT_SLICES; layout++) {
            lariat_options o = {.device = LARIAT_DEVICE_CPU, .ranks = 1 + round % 3, .layout = (lariat_layout)layout};
            check_where(o);
            o.device = LARIAT_DEVICE_CUDA;
            check_where(o);
        }
    }
    printf("%d forks, %d gave their slots back, %d and %d cancelled, %d near ties\n", forks, preempted, cancelled_running,
           cancelled_waiting, near_ties);
    assert_true(forks > ROUNDS && preempted > ROUNDS && cancelled_running > ROUNDS && cancelled_waiting > ROUNDS);
    assert_true(near_ties <= 1);
}

/* --- what fails --- */

enum { GOOD, BAD_ID, TOO_LONG, NO_PROMPT, OTHER_VOCABULARY, GOOD_TOO, KINDS };

/* A job of each kind: those that fail do so for themselves, whatever the others do, and say why. */
static void what_fails_ends_alone(void **state)
{
    static const lariat_status expected[KINDS] = {LARIAT_OK, LARIAT_BAD_ARGUMENT, LARIAT_NO_MEMORY, LARIAT_CONTEXT_FULL,
                                                  LARIAT_BAD_ARGUMENT, LARIAT_OK};
    static world w;
    char *path = reference_path("reference/models/gqa-llama3-fp16-sharded");
    lariat_options o = {.device = LARIAT_DEVICE_CPU, .kv = LARIAT_KV_F32, .threads = 1, .chunk = CHUNK, .sessions = 4,
                        .context = 2 * CAPACITY};

    (void)state;
    assert_non_null(path);
    w.alone = w.engine = open_or_fail(path, o);
    free(path);
    w.vocab = lariat_engine_model(w.engine)->vocab;
    for (int i = 0; i < KINDS; i++) {
        trial *t = &w.trials[i];
        *t = (trial){.sampling = {.top_p = 1}, .prompt = {1 + i, 2, 3}};
        t->job = (job){.prompt = t->prompt, .n_prompt = 3, .most = 10, .capacity = 20, .on_token = take_token,
                       .on_end = take_end, .user = t};
        run_alone(&w, t);
    }
    w.trials[BAD_ID].prompt[2] = w.vocab;
    w.trials[TOO_LONG].job.capacity = LARIAT_CONTEXT_MAX;
    w.trials[NO_PROMPT].job.n_prompt = 0;
    scheduler *s = scheduler_open(&(scheduler_setup){.engine = w.engine, .sessions = 4});
    assert_non_null(s);
    for (int i = 0; i < KINDS; i++) {
        int32_t vocab = w.vocab;
        w.vocab -= i == OTHER_VOCABULARY;
        add_job(&w, s, &w.trials[i]);
        w.vocab = vocab;
    }
    while (scheduler_jobs(s)) {
        pass_report report;
        assert_int_equal(scheduler_pass(s, &report), LARIAT_OK);
    }
    for (int i = 0; i < KINDS; i++) {
        const trial *t = &w.trials[i];
        assert_int_equal(t->job.status, expected[i]);
        assert_int_equal(t->job.end, expected[i] == LARIAT_OK ? JOB_MOST : JOB_FAILED);
        assert_int_equal(t->n_made, expected[i] == LARIAT_OK ? 10 : 0);
        assert_true((expected[i] == LARIAT_OK) == (t->job.why[0] == 0));
        check_tokens(t);
    }
    scheduler_close(s);
    assert_int_equal(lariat_engine_close(w.engine), LARIAT_OK);
}

/* --- the size of the pool --- */

/* Jobs that are the same but for their prompts. */
typedef struct batch {
    int n;
    int64_t n_prompt, most;
} batch;

/* The passes of a batch in a pool for so many positions. None gives its slots back. */
static int count_passes(lariat_options o, const batch *b, int64_t context)
{
    static world w;
    char *path = reference_path("reference/models/gqa-llama3-fp16-sharded");
    int passes = 0, preempted_before = preempted;

    assert_non_null(path);
    o.context = context;
    o.sessions = b->n;
    o.chunk = CHUNK;
    w.engine = open_or_fail(path, o);
    free(path);
    w.vocab = lariat_engine_model(w.engine)->vocab;
    scheduler *s = scheduler_open(&(scheduler_setup){.engine = w.engine, .sessions = b->n});
    assert_non_null(s);
    memset(w.trials, 0, sizeof w.trials);
    for (int i = 0; i < b->n; i++) {
        trial *t = &w.trials[i];
        *t = (trial){.sampling = {.top_p = 1}, .prompt = {1 + i}, .cancel = -1};
        t->job = (job){.prompt = t->prompt, .n_prompt = b->n_prompt, .most = b->most, .capacity = b->n_prompt + b->most,
                       .on_token = take_token, .on_end = take_end, .user = t};
        add_job(&w, s, t);
    }
    for (; scheduler_jobs(s); passes++) {
        check_one_pass(&w, s, passes, false);
    }
    assert_int_equal(preempted, preempted_before);
    for (int i = 0; i < b->n; i++) {
        assert_int_equal(w.trials[i].n_made, b->most);
    }
    scheduler_close(s);
    assert_int_equal(lariat_engine_close(w.engine), LARIAT_OK);
    return passes;
}

/* Whatever the blocks that prompts and replies end in. */
static void a_pool_for_all_positions_of_a_batch_takes_no_more_passes_than_a_large_one(void **state)
{
    static const batch batches[] = {{2, 100, 12}, {2, 130, 12}, {2, 257, 1}, {3, 129, 7}, {5, 255, 40}};

    (void)state;
    for (size_t i = 0; i < sizeof batches / sizeof *batches; i++) {
        const batch *b = &batches[i];
        for (int ranks = 1; ranks <= 3; ranks++) {
            lariat_options o = {.device = LARIAT_DEVICE_CPU, .ranks = ranks, .threads = ranks, .kv = LARIAT_KV_F32};
            int64_t all = b->n * (b->n_prompt + b->most);
            assert_int_equal(count_passes(o, b, all), count_passes(o, b, 4 * all));
        }
    }
}

int main(void)
{
    if (!reference_models_found()) {
        return TEST_SKIPPED;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_gets_the_tokens_that_it_has_alone),
        cmocka_unit_test(what_fails_ends_alone),
        cmocka_unit_test(a_pool_for_all_positions_of_a_batch_takes_no_more_passes_than_a_large_one),
    };

    play_gpus();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
