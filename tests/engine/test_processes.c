/* A ring whose ranks are in several processes: the same bits as the same ring in one, whatever is done to its sessions; and
   how it ends where something fails.
   Rests on support/played_processes.h, and on transformer_pass(), which cancels or fails when it is told to:
   tests/CMakeLists.txt wraps it. */
#include "comm/comm.h"
#include "engine/engine.h"
#include "lariat/launch.h"
#include "lariat/trace.h"
#include "model/transformer.h"
#include "support/played_processes.h"
#include "support/reference.h"
#include "support/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RANKS_MOST = 8, SESSIONS = 4, CAPACITY = 128, VOCAB_MOST = 2048, FLOATS_MOST = 1 << 16, IDS_MOST = 512, MOST = 12 };
enum { FOLLOWER_THREADS = 3, RUBBISH = 200 };

/* --- a pass that is cancelled, or fails --- */

static _Atomic int passes_left = -1;      /* until one fails on that rank; negative: none does */
static _Atomic int failing_rank;
static lariat_session *_Atomic to_cancel; /* by rank 0, inside its next pass */

lariat_status __real_transformer_pass(transformer *t, const pass_input *in);
lariat_status __wrap_transformer_pass(transformer *t, const pass_input *in);
lariat_status __wrap_transformer_pass(transformer *t, const pass_input *in)
{
    lariat_session *s = comm_rank(t->comm) == 0 ? atomic_exchange(&to_cancel, NULL) : NULL;
    if (s) {
        lariat_session_cancel(s);
    }
    if (comm_rank(t->comm) == atomic_load(&failing_rank) && atomic_load(&passes_left) >= 0 &&
        atomic_fetch_sub(&passes_left, 1) == 0) {
        give_reason("so it was told");
        return LARIAT_IO;
    }
    return __real_transformer_pass(t, in);
}

static _Atomic int hashings, by_followers;

lariat_status __real_model_hash(const model *m, int threads, uint64_t out[]);
lariat_status __wrap_model_hash(const model *m, int threads, uint64_t out[]);
lariat_status __wrap_model_hash(const model *m, int threads, uint64_t out[])
{
    atomic_fetch_add(&hashings, 1);
    atomic_fetch_add(&by_followers, threads == FOLLOWER_THREADS);
    return __real_model_hash(m, threads, out);
}

/* --- what is done, and what comes of it --- */

typedef struct results {
    float *logits; /* [n_logits] */
    size_t n_logits;
    int32_t ids[IDS_MOST];
    int n_ids;
} results;

typedef struct trial {
    lariat_options options;
    const char *path, *other_path; /* the model of process 0, and of the others */
    lariat_options follower_options;
    bool too_large_first; /* before its engine process 0 opens one that fits nowhere */
    const char *agreed, *other_agreed;
    const char *next_path; /* process 0's second engine; NULL: it opens one */
    void (*play)(lariat_engine *e, const processes *others, results *out);
    results *out;
    lariat_status opened; /* of process 0; its reason */
    char reason[512];
    lariat_status followed[PLAYED_MOST];
    char follow_reason[PLAYED_MOST][512];
} trial;

static void *memory_or_fail(size_t n)
{
    void *memory = calloc(1, n);

    assert_non_null(memory);
    return memory;
}

static void prompt_of(int32_t *ids, int n, int which, int32_t vocab)
{
    for (int i = 0; i < n; i++) {
        ids[i] = (which * 131 + i * 37 + 5) % vocab;
    }
}

static bool take_id(void *user, int32_t item, int32_t id)
{
    results *out = user;

    (void)item;
    out->ids[out->n_ids++] = id;
    return true;
}

static float *room_for(results *out, int64_t rows, int32_t vocab)
{
    float *at = out->logits + out->n_logits;

    out->n_logits += (size_t)rows * (size_t)vocab;
    assert_true(out->n_logits <= FLOATS_MOST);
    return at;
}

/* Reads a prompt; logits of its last tokens are results. */
static void read_prompt(lariat_engine *e, lariat_session *s, int which, int n, int64_t rows, results *out)
{
    int32_t ids[CAPACITY], vocab = lariat_engine_model(e)->vocab;
    lariat_work w = {.session = s, .tokens = ids, .count = n, .n_logits = rows};

    w.logits = rows ? room_for(out, rows, vocab) : NULL;
    prompt_of(ids, n, which, vocab);
    assert_int_equal(lariat_step(e, &w, 1), LARIAT_OK);
}

static const lariat_bias bias = {3, 1.5f};
static const lariat_sampling settings[3] = {
    {.top_p = 1},
    {.temperature = 1.2f, .top_k = 50, .top_p = 0.95f, .seed = 3},
    {.temperature = 0.7f, .top_p = 1, .seed = 4, .bias = &bias, .n_bias = 1, .repeat = 1.5f, .frequency = 0.5f, .presence = 1}};

/* Two sessions go on together, one by chance; the other one's logits are changed. */
static void generate_two(lariat_engine *e, lariat_session *a, lariat_session *b, int64_t most, results *out)
{
    static const int32_t first[2] = {11, 12};
    lariat_sampler *samplers[2];
    lariat_reply replies[2];

    for (int i = 0; i < 2; i++) {
        assert_int_equal(lariat_sampler_open(&settings[i ? 1 : 2], lariat_engine_model(e)->vocab, &samplers[i]), LARIAT_OK);
        replies[i] = (lariat_reply){
            .session = i ? b : a, .tokens = &first[i], .count = 1, .sampler = samplers[i], .most = most};
    }
    assert_int_equal(lariat_generate(e, replies, 2, take_id, out), LARIAT_OK);
    lariat_sampler_close(samplers[0]);
    lariat_sampler_close(samplers[1]);
}

/* A result's log-probability, and the most probable tokens with theirs. */
static void take_result(results *out, const lariat_result *r, int32_t n_top)
{
    assert_int_equal(r->status, LARIAT_OK);
    out->ids[out->n_ids++] = r->token;
    *room_for(out, 1, 1) = r->logprob;
    for (int32_t i = 0; i < n_top; i++) {
        out->ids[out->n_ids++] = r->top[i].token;
        *room_for(out, 1, 1) = r->top[i].logprob;
    }
}

/* Passes that go on from one another, two under way; the last is taken back. */
static void chain(lariat_engine *e, lariat_session *s, const lariat_sampling *by, results *out)
{
    static const int32_t first = 9;
    lariat_sampler *sampler;
    lariat_result result;
    int32_t n;

    assert_int_equal(lariat_sampler_open(by, lariat_engine_model(e)->vocab, &sampler), LARIAT_OK);
    lariat_work w = {.session = s, .tokens = &first, .count = 1, .sampler = sampler, .n_top = 5};
    assert_int_equal(lariat_submit(e, &w, 1), LARIAT_OK);
    w.tokens = NULL;
    for (int i = 0; i < 6; i++) {
        assert_int_equal(lariat_submit(e, &w, 1), LARIAT_OK);
        assert_int_equal(lariat_collect(e, &result, 1, &n), LARIAT_OK);
        take_result(out, &result, w.n_top);
    }
    assert_int_equal(lariat_session_rewind(s, lariat_session_length(s) - 1), LARIAT_OK);
    assert_int_equal(lariat_collect(e, &result, 1, &n), LARIAT_OK);
    assert_int_equal(result.status, LARIAT_CANCELLED);
    lariat_sampler_close(sampler);
}

static void cancel_next(void *session, int64_t done, int64_t total)
{
    (void)done;
    (void)total;
    atomic_store(&to_cancel, session);
}

/* A prompt is cancelled while its second pass is computed. */
static void cancel(lariat_engine *e, lariat_session *s)
{
    int64_t before = lariat_session_length(s);
    int32_t ids[CAPACITY], vocab = lariat_engine_model(e)->vocab;
    lariat_work w = {.session = s, .tokens = ids, .count = 70};

    prompt_of(ids, 70, 8, vocab);
    lariat_engine_on_progress(e, cancel_next, s);
    assert_int_equal(lariat_step(e, &w, 1), LARIAT_CANCELLED);
    lariat_engine_on_progress(e, NULL, NULL);
    assert_int_equal(lariat_session_length(s), before);
}

static void play_all(lariat_engine *e, const processes *others, results *out)
{
    lariat_session *s[SESSIONS], *fork;

    (void)others;
    for (int i = 0; i < SESSIONS - 1; i++) {
        assert_int_equal(lariat_session_open(e, CAPACITY, &s[i]), LARIAT_OK);
        read_prompt(e, s[i], i, i == 1 ? 1 : 17 + 40 * i, 1, out);
    }
    generate_two(e, s[0], s[2], MOST, out);
    assert_int_equal(lariat_session_rewind(s[0], 9), LARIAT_OK);
    read_prompt(e, s[0], 4, 5, 3, out);
    assert_int_equal(lariat_session_fork(s[2], 20, &fork), LARIAT_OK);
    generate_two(e, fork, s[1], 3, out);
    cancel(e, fork);
    generate_two(e, fork, s[1], MOST, out);
    lariat_session_close(s[1]);
    assert_int_equal(lariat_session_open(e, CAPACITY, &s[1]), LARIAT_OK);
    cancel(e, s[1]);
    read_prompt(e, s[1], 8, 70, 2, out);
    for (int i = 0; i < 3; i++) {
        chain(e, s[1], &settings[i], out);
    }
    generate_two(e, s[1], s[0], 3, out);
    for (int i = 0; i < SESSIONS - 1; i++) {
        lariat_session_close(s[i]);
    }
    lariat_session_close(fork);
}

/* --- processes --- */

static void open_too_large(const trial *t)
{
    lariat_options o = t->options;
    lariat_engine *e;

    o.chunk = 1 << 22;
    o.context = 1 << 24;
    o.sessions = 1 << 16;
    if (t->too_large_first) {
        assert_int_equal(lariat_engine_open(t->path, &o, &e), LARIAT_NO_MEMORY);
    }
}

static void lead(processes *self, void *arg)
{
    trial *t = arg;
    lariat_engine *e;

    t->opened = processes_adopt(self, t->agreed, &t->options.processes);
    if (t->opened == LARIAT_OK) {
        open_too_large(t);
        t->opened = lariat_engine_open(t->path, &t->options, &e);
        snprintf(t->reason, sizeof t->reason, "%s", lariat_error());
        if (t->opened == LARIAT_OK) {
            t->play(e, self, t->out);
            assert_int_equal(lariat_engine_close(e), LARIAT_OK);
        }
        if (t->next_path) {
            t->opened = lariat_engine_open(t->next_path, &t->options, &e);
            snprintf(t->reason, sizeof t->reason, "%s", lariat_error());
            assert_int_equal(lariat_engine_close(e), LARIAT_OK);
        }
        lariat_processes_end(t->options.processes);
        return;
    }
    snprintf(t->reason, sizeof t->reason, "%s", lariat_error());
}

static void follow(processes *self, void *arg)
{
    trial *t = arg;
    int32_t me = processes_number(self);
    lariat_processes *p;

    t->followed[me] = processes_adopt(self, t->other_agreed ? t->other_agreed : t->agreed, &p);
    if (t->followed[me] == LARIAT_OK) {
        t->followed[me] = lariat_follow(p, t->other_path ? t->other_path : t->path, &t->follower_options);
        snprintf(t->follow_reason[me], sizeof t->follow_reason[me], "%s", lariat_error());
        lariat_processes_end(p);
        return;
    }
    snprintf(t->follow_reason[me], sizeof t->follow_reason[me], "%s", lariat_error());
}

typedef struct mix {
    int32_t count, ranks[PLAYED_MOST];
} mix;

static int32_t ring_of(const mix *m)
{
    int32_t sum = 0;

    for (int32_t i = 0; i < m->count; i++) {
        sum += m->ranks[i];
    }
    return sum;
}

static lariat_options options_of(int32_t ranks)
{
    return (lariat_options){.device = LARIAT_DEVICE_CPU, .ranks = ranks, .threads = ranks, .chunk = 48, .kv = LARIAT_KV_F32,
                            .context = SESSIONS * (CAPACITY + 128), .sessions = SESSIONS};
}

/* In processes; threads as ranks. */
static void run_trial(trial *t, const mix *m)
{
    t->options.ranks = t->options.threads = 0;
    t->follower_options.threads = FOLLOWER_THREADS;
    played_run(m->count, m->ranks, lead, follow, t);
}

static results *new_results(void)
{
    results *r = memory_or_fail(sizeof *r);

    r->logits = memory_or_fail(FLOATS_MOST * sizeof *r->logits);
    return r;
}

static void free_results(results *r)
{
    free(r->logits);
    free(r);
}

static results *play_alone(const char *path, lariat_options o)
{
    results *out = new_results();
    lariat_engine *e;

    assert_int_equal(lariat_engine_open(path, &o, &e), LARIAT_OK);
    play_all(e, NULL, out);
    assert_int_equal(lariat_engine_close(e), LARIAT_OK);
    return out;
}

static const mix mixes[] = {{2, {1, 1}}, {1, {2}}, {2, {2, 2}}, {3, {1, 1, 1}}, {2, {2, 1}}, {4, {2, 2, 2, 2}}};

static void compare(const char *path, const mix *m, lariat_layout layout, lariat_side side)
{
    lariat_options o = options_of(ring_of(m));
    o.layout = layout;
    o.side = side;
    results *alone = play_alone(path, o);
    trial t = {.path = path, .options = o, .play = play_all, .out = new_results()};

    run_trial(&t, m);
    if (t.opened != LARIAT_OK) {
        fail_msg("%s", t.reason);
    }
    for (int32_t i = 1; i < m->count; i++) {
        if (t.followed[i] != LARIAT_OK) {
            fail_msg("process %d: %s", i, t.follow_reason[i]);
        }
    }
    assert_int_equal(t.out->n_ids, alone->n_ids);
    assert_memory_equal(t.out->ids, alone->ids, (size_t)alone->n_ids * sizeof *alone->ids);
    assert_int_equal(t.out->n_logits, alone->n_logits);
    assert_memory_equal(t.out->logits, alone->logits, alone->n_logits * sizeof *alone->logits);
    free_results(t.out);
    free_results(alone);
}

static void processes_give_the_bits_of_the_same_ring_in_one(void **unused)
{
    static const char *const models[] = {"mha-bf16", "gqa-llama3-fp16-sharded"};

    (void)unused;
    for (size_t k = 0; k < sizeof models / sizeof *models; k++) {
        char name[64];
        snprintf(name, sizeof name, "reference/models/%s", models[k]);
        char *path = reference_path(name);
        assert_non_null(path);
        for (size_t i = 0; i < sizeof mixes / sizeof *mixes; i++) {
            if (TEST_QUICK && k == 0 && i > 0) {
                continue;
            }
            compare(path, &mixes[i], LARIAT_LAYOUT_TOKENS, LARIAT_SIDE_KV);
            compare(path, &mixes[i], LARIAT_LAYOUT_TOKENS, LARIAT_SIDE_Q);
            compare(path, &mixes[i], LARIAT_LAYOUT_SLICES, LARIAT_SIDE_KV);
        }
        free(path);
    }
}

static trial *new_trial(void (*play)(lariat_engine *e, const processes *others, results *out))
{
    trial *t = memory_or_fail(sizeof *t);

    t->path = reference_path("reference/models/mha-bf16");
    t->options = options_of(0);
    t->play = play;
    t->out = new_results();
    assert_non_null(t->path);
    return t;
}

static void free_trial(trial *t)
{
    free_results(t->out);
    free((char *)(uintptr_t)t->path);
    free((char *)(uintptr_t)t->other_path);
    free(t);
}

/* --- calls that fail --- */

static bool fails; /* does a call fail in between? */

static void go_on(lariat_engine *e, const processes *others, results *out)
{
    lariat_session *s[2];

    (void)others;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(lariat_session_open(e, CAPACITY, &s[i]), LARIAT_OK);
        read_prompt(e, s[i], i, 17 + i, 0, out);
    }
    generate_two(e, s[0], s[1], 3, out);
    if (fails) {
        cancel(e, s[0]);
    }
    generate_two(e, s[0], s[1], MOST, out);
    read_prompt(e, s[0], 4, 5, 3, out);
    for (int i = 0; i < 2; i++) {
        for (int32_t r = 0; r < RANKS_MOST; r++) {
            out->ids[out->n_ids++] = (int32_t)lariat_session_shard(s[i], r);
        }
        lariat_session_close(s[i]);
    }
}

/* Also not in the other processes; passes of both layouts, so that a rewind would forget where a block of decoded tokens is. */
static void a_call_that_fails_leaves_no_trace(void **unused)
{
    trial *t[] = {new_trial(go_on), new_trial(go_on)};

    (void)unused;
    for (int i = 0; i < 2; i++) {
        fails = i == 1;
        run_trial(t[i], &mixes[4]);
        assert_int_equal(t[i]->opened, LARIAT_OK);
        assert_int_equal(t[i]->followed[1], LARIAT_OK);
    }
    assert_int_equal(t[0]->out->n_ids, t[1]->out->n_ids);
    assert_memory_equal(t[0]->out->ids, t[1]->out->ids, (size_t)t[0]->out->n_ids * sizeof *t[0]->out->ids);
    assert_int_equal(t[0]->out->n_logits, t[1]->out->n_logits);
    assert_memory_equal(t[0]->out->logits, t[1]->out->logits, t[0]->out->n_logits * sizeof *t[0]->out->logits);
    free_trial(t[0]);
    free_trial(t[1]);
}

/* --- messages --- */

static void count_messages(lariat_engine *e, const processes *others, results *out)
{
    static const int32_t first = 5;
    lariat_session *s;
    lariat_sampler *sampler;

    assert_int_equal(lariat_session_open(e, CAPACITY, &s), LARIAT_OK);
    assert_int_equal(lariat_sampler_open(&settings[0], lariat_engine_model(e)->vocab, &sampler), LARIAT_OK);
    lariat_reply r = {.session = s, .tokens = &first, .count = 1, .sampler = sampler, .most = MOST};
    int before = played_told(others);
    assert_int_equal(lariat_generate(e, &r, 1, take_id, out), LARIAT_OK);
    assert_int_equal(played_told(others) - before, MOST);
    lariat_sampler_close(sampler);
    lariat_session_close(s);
}

static void a_decoded_token_is_one_message(void **unused)
{
    trial *t = new_trial(count_messages);

    (void)unused;
    run_trial(t, &mixes[3]);
    assert_int_equal(t->opened, LARIAT_OK);
    free_trial(t);
}

static void count_hops(lariat_engine *e, const processes *others, results *out)
{
    lariat_session *s;
    lariat_stats stats;

    (void)others;
    assert_int_equal(lariat_session_open(e, CAPACITY, &s), LARIAT_OK);
    read_prompt(e, s, 1, 48, 0, out);
    lariat_engine_stats(e, &stats);
    assert_int_equal(stats.passes_tokens, 1);
    /* Each of three ranks takes the keys of two others in all layers but the last, where nothing is wanted. */
    assert_int_equal(stats.hops, 3 * 2 * (lariat_engine_model(e)->n_layers - 1));
    for (int32_t r = 0; r < 3; r++) {
        assert_int_equal(lariat_session_shard(s, r), 16);
    }
    lariat_session_close(s);
}

static void hops_of_all_processes_are_counted(void **unused)
{
    trial *t = new_trial(count_hops);

    (void)unused;
    t->options.layout = LARIAT_LAYOUT_TOKENS;
    t->options.side = LARIAT_SIDE_KV;
    run_trial(t, &mixes[4]);
    assert_int_equal(t->opened, LARIAT_OK);
    free_trial(t);
}

/* In a pass each rank needs what all others have computed in it: so all have begun before one has ended. */
static void trace_passes(lariat_engine *e, const processes *others, results *out)
{
    enum { RANKS = 3, PASSES = 2 };
    double latest[PASSES + 1] = {0}, earliest[PASSES + 1] = {0};
    lariat_session *s;
    int64_t n;

    (void)others;
    assert_int_equal(lariat_session_open(e, CAPACITY, &s), LARIAT_OK);
    assert_int_equal(lariat_trace_start(e, 0), LARIAT_OK);
    read_prompt(e, s, 1, 48, 1, out);
    read_prompt(e, s, 2, 3, 1, out);
    lariat_trace_stop(e);
    for (int32_t r = 0; r < RANKS; r++) {
        const lariat_span *spans = lariat_trace_spans(e, r, &n);
        int passes = 0;
        assert_int_equal(lariat_trace_lost(e, r), 0);
        for (int64_t i = 0; i < n; i++) {
            if (spans[i].kind != LARIAT_SPAN_PASS) {
                continue;
            }
            uint32_t p = spans[i].pass;
            passes++;
            assert_in_range(p, 1, PASSES);
            latest[p] = r == 0 || spans[i].begin > latest[p] ? spans[i].begin : latest[p];
            earliest[p] = r == 0 || spans[i].end < earliest[p] ? spans[i].end : earliest[p];
        }
        assert_int_equal(passes, PASSES);
    }
    for (int p = 1; p <= PASSES; p++) {
        assert_true(latest[p] < earliest[p]);
    }
    assert_int_equal(lariat_trace_start(e, 1), LARIAT_OK);
    read_prompt(e, s, 3, 3, 1, out);
    lariat_trace_stop(e);
    for (int32_t r = 0; r < RANKS; r++) {
        (void)lariat_trace_spans(e, r, &n);
        assert_int_equal(n, 1);
        assert_true(lariat_trace_lost(e, r) > 1);
    }
    lariat_session_close(s);
}

static void spans_of_all_processes_come_to_process_0_on_one_clock(void **unused)
{
    (void)unused;
    for (int i = 3; i <= 4; i++) { /* mixes with three ranks */
        trial *t = new_trial(trace_passes);
        run_trial(t, &mixes[i]);
        assert_int_equal(t->opened, LARIAT_OK);
        for (int32_t p = 1; p < mixes[i].count; p++) {
            assert_int_equal(t->followed[p], LARIAT_OK);
        }
        free_trial(t);
    }
}

/* --- failures --- */

static char failing_reason[64];

static void fail_in_a_pass(lariat_engine *e, const processes *others, results *out)
{
    int32_t ids[CAPACITY];
    lariat_session *s;
    lariat_work w = {.tokens = ids, .count = 40};

    (void)others;
    assert_int_equal(lariat_session_open(e, CAPACITY, &s), LARIAT_OK);
    read_prompt(e, s, 0, 20, 0, out);
    w.session = s;
    prompt_of(ids, 40, 1, lariat_engine_model(e)->vocab);
    atomic_store(&passes_left, 0);
    lariat_status status = lariat_step(e, &w, 1);
    out->ids[out->n_ids++] = (int32_t)status;
    assert_true(status == LARIAT_FAILED || status == LARIAT_IO);
    snprintf(failing_reason, sizeof failing_reason, "rank %d (played): so it was told", atomic_load(&failing_rank));
    assert_string_equal(lariat_error(), failing_reason);
    assert_int_equal(lariat_session_length(s), 20); /* as before the pass */
    assert_int_not_equal(lariat_step(e, &w, 1), LARIAT_OK);
    atomic_store(&passes_left, -1);
    lariat_session_close(s);
}

static void a_rank_that_fails_ends_the_run_in_all_processes(void **unused)
{
    (void)unused;
    for (int rank = 0; rank < 3; rank++) {
        trial *t = new_trial(fail_in_a_pass);
        atomic_store(&failing_rank, rank);
        run_trial(t, &mixes[3]);
        assert_int_equal(t->opened, LARIAT_OK);
        for (int32_t i = 1; i < 3; i++) {
            assert_int_not_equal(t->followed[i], LARIAT_OK);
            assert_string_equal(t->follow_reason[i], failing_reason);
        }
        free_trial(t);
    }
}

static void nothing(lariat_engine *e, const processes *others, results *out)
{
    (void)e;
    (void)others;
    (void)out;
}

static void assert_opening_fails(trial *t, const char *says)
{
    run_trial(t, &mixes[3]);
    assert_int_not_equal(t->opened, LARIAT_OK);
    if (!strstr(t->reason, says)) {
        fail_msg("%s", t->reason);
    }
    free_trial(t);
}

static void another_model_is_refused_by_its_fingerprint(void **unused)
{
    trial *t = new_trial(nothing);

    (void)unused;
    t->other_path = reference_path("reference/models/gqa-llama3-fp16-sharded");
    assert_non_null(t->other_path);
    assert_opening_fails(t, "model: rank 0 (played) has one of fingerprint");
}

/* The model with one bit of a tensor's middle turned over, which the fingerprint's samples leave out. Its path. */
static char *altered_model(const char *path, const char *name)
{
    static const char *const parts[] = {"config.json", "generation_config.json"};
    char from[512], to[64];
    size_t size;
    model *m;

    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        snprintf(from, sizeof from, "%s/%s", path, parts[i]);
        snprintf(to, sizeof to, "altered/%s", parts[i]);
        scratch_copy(from, to);
    }
    snprintf(from, sizeof from, "%s/model.safetensors", path);
    unsigned char *image = scratch_read(from, &size);
    assert_accepted(model_describe(path, &m));
    const tensor *x = tensors_find(m->table, name);
    assert_non_null(x);
    image[(const unsigned char *)x->data - m->table->files[0].data + (ptrdiff_t)x->bytes / 2] ^= 1;
    model_close(m);
    scratch_write("altered/model.safetensors", image, size);
    free(image);
    return scratch_path("altered");
}

static void a_bit_that_samples_leave_out_is_found_where_all_values_are_compared(void **unused)
{
    static const char name[] = "model.layers.1.mlp.up_proj.weight";

    (void)unused;
    for (int verify = 0; verify < 3; verify++) {
        trial *t = new_trial(nothing);
        t->options.verify = verify > 0;
        t->other_path = verify < 2 ? altered_model(t->path, name) : strdup(t->path);
        if (verify == 1) {
            char says[128];
            snprintf(says, sizeof says, "model: tensor %s has other values: rank 0 (played) has some with the hash ", name);
            assert_opening_fails(t, says);
            continue;
        }
        run_trial(t, &mixes[3]);
        assert_int_equal(t->opened, LARIAT_OK);
        free_trial(t);
    }
}

static void values_are_hashed_once_for_all_engines_on_a_model(void **unused)
{
    static const char name[] = "model.layers.1.mlp.up_proj.weight";
    trial *t = new_trial(nothing);

    (void)unused;
    t->options.verify = true;
    t->next_path = t->path;
    atomic_store(&hashings, 0);
    atomic_store(&by_followers, 0);
    run_trial(t, &mixes[3]);
    assert_int_equal(t->opened, LARIAT_OK);
    assert_int_equal(atomic_load(&hashings), 3);
    assert_in_range(atomic_load(&by_followers), 2, 3); /* process 0 has those of the machine */
    free_trial(t);
    t = new_trial(nothing); /* not for a model of the same fingerprint elsewhere */
    t->options.verify = true;
    char *altered = altered_model(t->path, name);
    t->next_path = altered;
    run_trial(t, &mixes[3]);
    assert_int_not_equal(t->opened, LARIAT_OK);
    assert_non_null(strstr(t->reason, "has other values"));
    free_trial(t);
    free(altered);
}

static void what_a_process_cannot_open_is_told_with_its_rank(void **unused)
{
    trial *t = new_trial(nothing);

    (void)unused;
    t->other_path = strdup("/no/such/model");
    assert_opening_fails(t, "rank 1 (played): /no/such/model");
}

static void options_that_differ_are_refused_by_name(void **unused)
{
    trial *t = new_trial(nothing);

    (void)unused;
    t->agreed = "chunk 48\nkv f32\n";
    t->other_agreed = "chunk 48\nkv f16\n";
    assert_opening_fails(t, "kv: rank 0 (played) has f32, rank 1 (played) has f16");
    t = new_trial(nothing);
    t->agreed = "chunk 48\n";
    t->other_agreed = "chunk 48\nkv f16\n";
    assert_opening_fails(t, "kv: rank 1 (played) has f16, rank 0 (played) was not given it");
}

/* An engine that some process cannot open is no reason to end: bench goes on with its next row. */
static void a_second_engine_opens_after_one_that_did_not(void **unused)
{
    trial *t = new_trial(count_messages);

    (void)unused;
    t->too_large_first = true;
    run_trial(t, &mixes[0]);
    assert_int_equal(t->opened, LARIAT_OK);
    assert_int_equal(t->out->n_ids, MOST); /* of the second one */
    assert_int_equal(t->followed[1], LARIAT_OK);
    free_trial(t);
}

/* --- bytes that make no sense --- */

/* Greets as process 0 does, but with rubbish for a verdict. */
static void greet_with_rubbish(processes *self, void *arg)
{
    static const unsigned char rubbish[64] = {0xff, 0xff, 0xff, 0xff};
    process_bytes given[PLAYED_MOST];
    trial *t = arg;

    assert_int_equal(processes_collect(self, (process_bytes){rubbish, sizeof rubbish}, given), LARIAT_OK);
    assert_int_equal(processes_tell(self, rubbish, sizeof rubbish), LARIAT_OK);
    t->opened = processes_collect(self, (process_bytes){rubbish, sizeof rubbish}, given); /* which no other one gives */
    snprintf(t->reason, sizeof t->reason, "%s", lariat_error());
}

static void a_verdict_that_cannot_be_read_ends_the_run_in_all_processes(void **unused)
{
    trial *t = new_trial(nothing);

    (void)unused;
    played_run(mixes[0].count, mixes[0].ranks, greet_with_rubbish, follow, t);
    assert_int_equal(t->followed[1], LARIAT_FAILED);
    assert_int_equal(t->opened, LARIAT_FAILED);
    assert_non_null(strstr(t->reason, "rank 1 (played): processes: an order from process 0 that makes no sense"));
    free_trial(t);
}

/* The message has no room for a command: the others miss it. */
static void lose_a_command(lariat_engine *e, const processes *others, results *out)
{
    static const int32_t first = 5;
    size_t room = e->told.room;
    lariat_session *s;

    (void)others;
    (void)out;
    e->told.room = 4;
    assert_int_equal(lariat_session_open(e, CAPACITY, &s), LARIAT_OK);
    e->told.room = room;
    assert_int_equal(lariat_trace_start(e, 0), LARIAT_FAILED);
    assert_null(e->local[0].transformer.trace); /* it starts in all processes or in none */
    for (int i = 0; i < 2; i++) {
        assert_int_equal(lariat_step(e, &(lariat_work){.session = s, .tokens = &first, .count = 1}, 1), LARIAT_FAILED);
        assert_non_null(strstr(lariat_error(), "processes: an order that is longer than its message"));
    }
    lariat_session_close(s);
}

static void a_command_that_is_not_told_ends_the_run(void **unused)
{
    trial *t = new_trial(lose_a_command);

    (void)unused;
    run_trial(t, &mixes[0]);
    assert_int_equal(t->opened, LARIAT_OK);
    assert_int_equal(t->followed[1], LARIAT_FAILED);
    free_trial(t);
}

/* A command that exists, with fields by chance. Followers may obey some of these. */
static void make_rubbish(unsigned char *rubbish, size_t n)
{
    static uint64_t state = 7;

    for (size_t k = 0; k < n; k++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        rubbish[k] = (unsigned char)(state >> 62 ? 0 : state >> 33);
    }
    int32_t kind = (int32_t)(TOLD_SESSION_OPEN + state % (TOLD_TAKE_BACK - TOLD_SESSION_OPEN));
    memcpy(rubbish, &kind, sizeof kind);
}

static void send_commands_by_chance(lariat_engine *e, const processes *others, results *out)
{
    unsigned char rubbish[RUBBISH];
    lariat_session *s;

    (void)others;
    assert_int_equal(lariat_session_open(e, CAPACITY, &s), LARIAT_OK);
    read_prompt(e, s, 0, 20, 0, out);
    for (int i = 0; i < 4; i++) {
        make_rubbish(rubbish, sizeof rubbish);
        (void)processes_tell(e->processes->others, rubbish, sizeof rubbish);
    }
    lariat_session_close(s);
}

static void send_no_command(lariat_engine *e, const processes *others, results *out)
{
    unsigned char rubbish[RUBBISH];

    (void)others;
    (void)out;
    memset(rubbish, 0xff, sizeof rubbish);
    (void)processes_tell(e->processes->others, rubbish, sizeof rubbish);
}

static void assert_ends_with_reason(void (*send)(lariat_engine *e, const processes *others, results *out), const char *reason)
{
    trial *t = new_trial(send);

    run_trial(t, &mixes[0]);
    assert_int_equal(t->opened, LARIAT_OK);
    assert_int_not_equal(t->followed[1], LARIAT_OK);
    if (!strstr(t->follow_reason[1], reason)) {
        fail_msg("%s", t->follow_reason[1]);
    }
    free_trial(t);
}

static void a_follower_ends_with_a_reason_where_it_is_told_rubbish(void **unused)
{
    (void)unused;
    assert_ends_with_reason(send_no_command, "rank 1 (played): processes: a command of something that cannot be read, please");
    for (int i = 0; i < (TEST_QUICK ? 20 : 100); i++) {
        assert_ends_with_reason(send_commands_by_chance, ": ");
    }
}

int main(void)
{
    if (!reference_models_found()) {
        return TEST_SKIPPED;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(processes_give_the_bits_of_the_same_ring_in_one),
        cmocka_unit_test(a_call_that_fails_leaves_no_trace),
        cmocka_unit_test(a_decoded_token_is_one_message),
        cmocka_unit_test(hops_of_all_processes_are_counted),
        cmocka_unit_test(spans_of_all_processes_come_to_process_0_on_one_clock),
        cmocka_unit_test(a_rank_that_fails_ends_the_run_in_all_processes),
        cmocka_unit_test(another_model_is_refused_by_its_fingerprint),
        cmocka_unit_test(a_bit_that_samples_leave_out_is_found_where_all_values_are_compared),
        cmocka_unit_test(values_are_hashed_once_for_all_engines_on_a_model),
        cmocka_unit_test(what_a_process_cannot_open_is_told_with_its_rank),
        cmocka_unit_test(options_that_differ_are_refused_by_name),
        cmocka_unit_test(a_second_engine_opens_after_one_that_did_not),
        cmocka_unit_test(a_verdict_that_cannot_be_read_ends_the_run_in_all_processes),
        cmocka_unit_test(a_command_that_is_not_told_ends_the_run),
        cmocka_unit_test(a_follower_ends_with_a_reason_where_it_is_told_rubbish),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
