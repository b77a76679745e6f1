/* lariat_generate beside lariat_step and lariat_sample.
   Rests on cmocka and support/oracle.h. See generate_checks.h. */
#include "support/generate_checks.h"

#include "support/oracle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SESSIONS = 3, CAPACITY = 96, MOST = 80, TURNS = 4 };

static const int64_t prompts[SESSIONS] = {17, 1, 40}, most[SESSIONS] = {30, 45, 80};
static const lariat_sampling settings[SESSIONS] = {{.top_p = 1},
                                                   {.temperature = 1.2f, .top_k = 50, .top_p = 0.95f, .seed = 3},
                                                   {.temperature = 0.8f, .top_p = 1, .min_p = 0.02f, .seed = 4}};

/* One text of a trial, and what was made of it. */
typedef struct writing {
    lariat_session *session;
    lariat_sampler *sampler;
    int32_t prompt[CAPACITY], made[MOST];
    int64_t n, most;
    int32_t end; /* ids that this divides end it; 0: none */
    bool stopped;
} writing;

typedef struct trial {
    lariat_engine *engine;
    writing texts[SESSIONS];
    int n;
    writing *live[SESSIONS]; /* whose items are given to the library */
    int32_t cancel_at;       /* so many tokens, all together; 0: never */
    int32_t tokens;
} trial;

static trial open_trial(const char *path, lariat_options o, int n)
{
    trial t = {.n = n};

    o.threads = o.ranks;
    o.context = SESSIONS * (CAPACITY + 64);
    o.sessions = SESSIONS;
    t.engine = open_or_fail(path, o);
    int32_t vocab = lariat_engine_model(t.engine)->vocab;
    for (int i = 0; i < n; i++) {
        writing *w = &t.texts[i];
        *w = (writing){.most = most[i], .end = 0};
        assert_int_equal(lariat_session_open(t.engine, CAPACITY, &w->session), LARIAT_OK);
        assert_int_equal(lariat_sampler_open(&settings[i], vocab, &w->sampler), LARIAT_OK);
        for (int k = 0; k < CAPACITY; k++) {
            w->prompt[k] = (int32_t)((i * 131 + k * 37 + 5) % vocab);
        }
    }
    return t;
}

static void close_trial(trial *t)
{
    for (int i = 0; i < t->n; i++) {
        lariat_session_close(t->texts[i].session);
        lariat_sampler_close(t->texts[i].sampler);
    }
    lariat_engine_close(t->engine);
}

static void take(writing *w, int32_t token)
{
    assert_in_range(w->n, 0, MOST - 1);
    w->made[w->n++] = token;
    w->stopped = w->n == w->most || (w->end && token % w->end == 0);
}

static const int32_t *next_of(const writing *w)
{
    return w->n ? &w->made[w->n - 1] : w->prompt;
}

/* The same by steps. */
static void write_by_steps(trial *t)
{
    int32_t vocab = lariat_engine_model(t->engine)->vocab;
    float *logits = malloc(SESSIONS * (size_t)vocab * sizeof *logits);

    assert_non_null(logits);
    for (int n = 1; n;) {
        lariat_work items[SESSIONS];
        n = 0;
        for (int i = 0; i < t->n; i++) {
            writing *w = &t->texts[i];
            w->stopped = w->stopped || lariat_session_length(w->session) == CAPACITY;
            if (!w->stopped) {
                items[n] = (lariat_work){.session = w->session,
                                         .tokens = next_of(w),
                                         .count = w->n ? 1 : prompts[i],
                                         .n_logits = 1,
                                         .logits = logits + (int64_t)n * vocab};
                t->live[n++] = w;
            }
        }
        assert_int_equal(lariat_step(t->engine, items, n), LARIAT_OK);
        for (int i = 0; i < n; i++) {
            int32_t token;
            assert_int_equal(lariat_sample(t->live[i]->sampler, items[i].logits, &token), LARIAT_OK);
            take(t->live[i], token);
        }
    }
    free(logits);
}

static bool on_token(void *user, int32_t item, int32_t token)
{
    trial *t = user;
    writing *w = t->live[item];

    assert_false(w->stopped);
    take(w, token);
    if (++t->tokens == t->cancel_at) {
        lariat_session_cancel(w->session);
    }
    return !w->stopped;
}

static lariat_status write_on(trial *t)
{
    lariat_reply items[SESSIONS];
    int n = 0;

    for (int i = 0; i < t->n; i++) {
        writing *w = &t->texts[i];
        w->stopped = w->stopped || lariat_session_length(w->session) == CAPACITY;
        if (!w->stopped) {
            items[n] = (lariat_reply){.session = w->session, .tokens = next_of(w), .count = w->n ? 1 : prompts[i],
                                      .sampler = w->sampler, .most = w->most - w->n};
            t->live[n++] = w;
        }
    }
    return lariat_generate(t->engine, items, n, on_token, t);
}

static bool any_left(const trial *t)
{
    bool left = false;

    for (int i = 0; i < t->n; i++) {
        left = left || !(t->texts[i].stopped || lariat_session_length(t->texts[i].session) == CAPACITY);
    }
    return left;
}

static void assert_same_texts(const trial *a, const trial *b)
{
    for (int i = 0; i < a->n; i++) {
        assert_int_equal(a->texts[i].n, b->texts[i].n);
        assert_memory_equal(a->texts[i].made, b->texts[i].made, (size_t)a->texts[i].n * sizeof a->texts[i].made[0]);
        assert_int_equal(lariat_session_length(a->texts[i].session), lariat_session_length(b->texts[i].session));
        assert_int_equal(lariat_session_length(a->texts[i].session), prompts[i] + a->texts[i].n - 1);
    }
}

void check_tokens_of_steps(const char *path, lariat_options o)
{
    for (int n = 1; n <= SESSIONS; n++) {
        trial steps = open_trial(path, o, n), made = open_trial(path, o, n);
        for (int i = 0; i < n; i++) {
            steps.texts[i].end = made.texts[i].end = i == 1 ? 13 : 0;
        }
        write_by_steps(&steps);
        while (any_left(&made)) {
            int32_t before = made.tokens;
            assert_int_equal(write_on(&made), LARIAT_OK);
            assert_true(made.tokens > before);
        }
        assert_same_texts(&steps, &made);
        close_trial(&steps);
        close_trial(&made);
    }
}

/* Turns end where the caller says so, then something else is read: the sampler goes on as if nothing had been begun beyond. */
void check_turns(const char *path, lariat_options o)
{
    trial steps = open_trial(path, o, 1), made = open_trial(path, o, 1);
    trial *both[] = {&steps, &made};

    for (int i = 0; i < 2; i++) { /* one that draws */
        lariat_sampler_close(both[i]->texts[0].sampler);
        assert_int_equal(
            lariat_sampler_open(&settings[1], lariat_engine_model(steps.engine)->vocab, &both[i]->texts[0].sampler), LARIAT_OK);
    }
    for (int turn = 1; turn <= TURNS; turn++) {
        for (int i = 0; i < 2; i++) {
            writing *w = &both[i]->texts[0];
            assert_int_equal(lariat_session_rewind(w->session, 0), LARIAT_OK);
            w->n = 0;
            w->stopped = false;
            w->most = MOST;
            w->end = turn + 2;
        }
        write_by_steps(&steps);
        while (any_left(&made)) {
            assert_int_equal(write_on(&made), LARIAT_OK);
        }
        assert_same_texts(&steps, &made);
    }
    close_trial(&steps);
    close_trial(&made);
}

static void check_cancelled(const char *path, lariat_options o)
{
    trial steps = open_trial(path, o, 2), made = open_trial(path, o, 2);

    write_by_steps(&steps);
    made.cancel_at = 9;
    assert_int_equal(write_on(&made), LARIAT_CANCELLED);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(lariat_session_length(made.texts[i].session), prompts[i] + made.texts[i].n - 1);
    }
    while (any_left(&made)) { /* and on, as if nothing had been */
        assert_int_equal(write_on(&made), LARIAT_OK);
    }
    assert_same_texts(&steps, &made);
    close_trial(&steps);
    close_trial(&made);
}

void check_ends(const char *path, lariat_options o)
{
    trial t = open_trial(path, o, 1);
    writing *w = &t.texts[0];
    lariat_reply item = {.session = w->session, .tokens = w->prompt, .count = CAPACITY, .sampler = w->sampler, .most = 5};

    t.live[0] = w;
    assert_int_equal(lariat_generate(t.engine, &item, 1, on_token, &t), LARIAT_OK);
    assert_int_equal(w->n, 1); /* the session is full */
    assert_int_equal(lariat_generate(t.engine, &item, 1, on_token, &t), LARIAT_CONTEXT_FULL);
    assert_int_equal(lariat_session_rewind(w->session, 3), LARIAT_OK);
    item.count = 7;
    item.most = 0;
    assert_int_equal(lariat_generate(t.engine, &item, 1, on_token, &t), LARIAT_OK);
    assert_int_equal(w->n, 1);
    assert_int_equal(lariat_session_length(w->session), 10);
    const lariat_reply bad[] = {{w->session, w->prompt, 0, w->sampler, 1, 0},
                                {w->session, w->prompt, 1, NULL, 1, 0},
                                {w->session, w->prompt, 1, w->sampler, -1, 0}};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(lariat_generate(t.engine, &bad[i], 1, on_token, &t), LARIAT_BAD_ARGUMENT);
    }
    const lariat_reply twice[] = {item, item};
    assert_int_equal(lariat_generate(t.engine, twice, 2, on_token, &t), LARIAT_BAD_ARGUMENT);
    assert_int_equal(lariat_session_length(w->session), 10);
    close_trial(&t);
    check_cancelled(path, o);
}

/* --- many sequences --- */

enum { MANY_MOST = 14, MANY_PROMPT = 40 };

typedef struct crowd {
    lariat_session **sessions;
    lariat_reply *replies; /* with a sampler each */
    int32_t (*prompts)[MANY_PROMPT], (*made)[MANY_MOST];
    int32_t *n; /* of each, made */
    int32_t first; /* of those that write, in the lists */
} crowd;

static bool on_token_of_many(void *user, int32_t item, int32_t token)
{
    crowd *c = user;
    int32_t at = c->first + item;

    assert_in_range(c->n[at], 0, MANY_MOST - 1);
    c->made[at][c->n[at]++] = token;
    return true;
}

/* Replies of the sequences from `first` on, to their ends. */
static void write_many(lariat_engine *e, crowd *c, int32_t first, int32_t sequences)
{
    lariat_reply *items = calloc((size_t)sequences, sizeof *items);
    int32_t left = 0;

    assert_non_null(items);
    for (int32_t i = first; i < first + sequences; i++) {
        assert_int_equal(lariat_session_rewind(c->sessions[i], 0), LARIAT_OK);
        c->n[i] = 0;
    }
    do { /* lariat_generate returns when one has ended: those that have go on with nothing */
        left = 0;
        for (int32_t i = 0; i < sequences; i++) {
            int32_t at = first + i, n = c->n[at];
            items[i] = c->replies[at];
            items[i].tokens = n ? &c->made[at][n - 1] : c->prompts[at];
            items[i].count = n ? 1 : items[i].count;
            items[i].most -= n;
            left += items[i].most > 0;
        }
        int32_t live = 0;
        for (int32_t i = 0; i < sequences; i++) { /* the first to end are the last of the list */
            live += items[i].most > 0 && live == i;
        }
        assert_int_equal(live, left);
        c->first = first;
        assert_true(left == 0 || lariat_generate(e, items, live, on_token_of_many, c) == LARIAT_OK);
    } while (left);
    free(items);
}

static crowd open_crowd(lariat_engine *e, int32_t sequences)
{
    size_t n = (size_t)sequences;
    crowd c = {.sessions = calloc(n, sizeof *c.sessions), .replies = calloc(n, sizeof *c.replies), .n = calloc(n, sizeof *c.n),
               .prompts = calloc(n, sizeof *c.prompts), .made = calloc(n, sizeof *c.made)};
    int32_t vocab = lariat_engine_model(e)->vocab;

    assert_true(c.sessions && c.replies && c.n && c.prompts && c.made);
    for (int32_t i = 0; i < sequences; i++) {
        assert_int_equal(lariat_session_open(e, MANY_PROMPT + MANY_MOST, &c.sessions[i]), LARIAT_OK);
        for (int32_t k = 0; k < MANY_PROMPT; k++) {
            c.prompts[i][k] = (i * 131 + k * 37 + 5) % vocab;
        }
        c.replies[i] = (lariat_reply){.session = c.sessions[i], .count = 1 + i * 7 % MANY_PROMPT,
                                      .most = MANY_MOST - i * 5 / sequences};
        assert_int_equal(lariat_sampler_open(&settings[0], vocab, &c.replies[i].sampler), LARIAT_OK);
    }
    return c;
}

void check_many(const char *path, lariat_options o, int32_t sequences)
{
    o.threads = o.ranks;
    o.context = (int64_t)sequences * (MANY_PROMPT + MANY_MOST);
    o.sessions = sequences;
    lariat_engine *e = open_or_fail(path, o);
    crowd c = open_crowd(e, sequences);
    int32_t(*alone)[MANY_MOST] = calloc((size_t)sequences, sizeof *alone);

    assert_non_null(alone);
    for (int32_t i = 0; i < sequences; i++) {
        write_many(e, &c, i, 1);
        memcpy(alone[i], c.made[i], sizeof *alone);
    }
    write_many(e, &c, 0, sequences);
    for (int32_t i = 0; i < sequences; i++) {
        assert_int_equal(c.n[i], c.replies[i].most);
        assert_memory_equal(c.made[i], alone[i], (size_t)c.n[i] * sizeof(int32_t));
        lariat_session_close(c.sessions[i]);
        lariat_sampler_close(c.replies[i].sampler);
    }
    lariat_engine_close(e);
    free(c.sessions);
    free(c.replies);
    free(c.n);
    free(c.prompts);
    free(c.made);
    free(alone);
}
