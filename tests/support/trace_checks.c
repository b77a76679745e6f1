/* What a trace must be, see trace_checks.h.
   Rests on the public API; the model is one of the reference's tiny ones, the tokens are random. */
#include "support/trace_checks.h"
#include "base/clock.h"
#include "lariat/trace.h"
#include "support/oracle.h"
#include "support/reference.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TOKENS = 150, DECODED = 4, CHUNK = 60, PASSES = 3 + DECODED, RANKS_MOST = 5, DEPTH = 8 };

static const int32_t rings[] = {1, 2, 3, RANKS_MOST};
#define RINGS ((int)(sizeof rings / sizeof *rings))

typedef enum way { KV, QUERIES, SLICES, WAYS } way;

/* A ring of ranks where `where` says. */
static lariat_engine *open_ring(lariat_options where, int32_t ranks, way w)
{
    char *path = reference_path("reference/models/gqa-llama3-fp16-sharded");
    lariat_options o = where;

    o.ranks = ranks;
    o.threads = where.device == LARIAT_DEVICE_CPU ? ranks : 0;
    o.chunk = CHUNK;
    o.context = TOKENS + DECODED;
    o.layout = w == SLICES ? LARIAT_LAYOUT_SLICES : LARIAT_LAYOUT_TOKENS;
    o.side = w == QUERIES ? LARIAT_SIDE_Q : LARIAT_SIDE_KV;
    lariat_engine *e = open_or_fail(path, o);
    free(path);
    return e;
}

static void step(lariat_engine *e, lariat_session *s, const int32_t *tokens, int64_t n, float *logits)
{
    lariat_work item = {.session = s, .tokens = tokens, .count = n, .n_logits = 1, .logits = logits};

    assert_int_equal(lariat_step(e, &item, 1), LARIAT_OK);
}

/* PASSES passes: a text in three, some tokens one by one. Logits of the last token of each step, [1 + DECODED, vocab]. */
static void run(lariat_engine *e, float *logits)
{
    int32_t tokens[TOKENS + DECODED], vocab = lariat_engine_model(e)->vocab;
    lariat_session *s;

    srand(7);
    for (int i = 0; i < TOKENS + DECODED; i++) {
        tokens[i] = rand() % vocab;
    }
    assert_int_equal(lariat_session_open(e, 0, &s), LARIAT_OK);
    step(e, s, tokens, TOKENS, logits);
    for (int i = 0; i < DECODED; i++) {
        step(e, s, tokens + TOKENS + i, 1, logits + (1 + i) * vocab);
    }
    lariat_session_close(s);
}

static float *new_logits(const lariat_engine *e)
{
    float *logits = calloc((size_t)(1 + DECODED) * (size_t)lariat_engine_model(e)->vocab, sizeof *logits);

    assert_non_null(logits);
    return logits;
}

/* The kind that a span of this kind lies in; LARIAT_SPAN_KINDS: in any. */
static lariat_span_kind outer_of(lariat_span_kind kind)
{
    switch (kind) {
    case LARIAT_SPAN_LAYER:
    case LARIAT_SPAN_EMBEDDING:
    case LARIAT_SPAN_HEAD:
        return LARIAT_SPAN_PASS;
    case LARIAT_SPAN_PROJECTIONS:
    case LARIAT_SPAN_ATTENTION:
    case LARIAT_SPAN_MERGE:
    case LARIAT_SPAN_FEED_FORWARD:
        return LARIAT_SPAN_LAYER;
    default:
        return LARIAT_SPAN_KINDS;
    }
}

/* Where one ends when the other begins: may that have taken no time, at the end of the first? */
static bool holds(const lariat_span *outer, const lariat_span *s)
{
    return s->begin == s->end &&
           (outer_of(s->kind) == outer->kind || (outer_of(s->kind) == LARIAT_SPAN_KINDS && outer->kind != s->kind));
}

static void check_nesting(const lariat_span *spans, int64_t n)
{
    const lariat_span *open[DEPTH], *hop = NULL;
    int depth = 0;

    for (int64_t i = 0; i < n; i++) {
        const lariat_span *s = &spans[i];
        assert_true(s->begin >= 0 && s->begin <= s->end);
        if (s->kind == LARIAT_SPAN_HOP) {
            assert_true(!hop || hop->end <= s->begin);
            hop = s;
            continue;
        }
        while (depth > 0 &&
               (open[depth - 1]->end < s->begin || (open[depth - 1]->end == s->begin && !holds(open[depth - 1], s)))) {
            depth--;
        }
        assert_true((depth == 0) == (s->kind == LARIAT_SPAN_PASS));
        if (depth > 0) {
            const lariat_span *outer = open[depth - 1];
            assert_true(outer->begin <= s->begin && s->end <= outer->end);
            assert_int_not_equal(outer->kind, LARIAT_SPAN_WAIT);
            assert_true(outer_of(s->kind) == LARIAT_SPAN_KINDS || outer_of(s->kind) == outer->kind);
            assert_int_equal(s->pass, outer->pass);
            assert_true(s->layer == outer->layer || (s->kind == LARIAT_SPAN_LAYER && outer->layer == -1));
        }
        assert_in_range(depth, 0, DEPTH - 1);
        open[depth++] = s;
    }
}

/* How often a rank recorded each kind in one layer of one pass, and attention to each rank. */
typedef struct layer_count {
    int kinds[LARIAT_SPAN_KINDS], owners[RANKS_MOST];
} layer_count;

/* The last layer of a rank whose rows nobody wants ends with keys and values. `head`: some output of the pass is wanted. */
static bool check_ended(const layer_count *c, int32_t ranks, bool head, way w)
{
    bool ended = c->kinds[LARIAT_SPAN_ATTENTION] == 0;

    assert_true(ended || head);
    assert_false(ended && head && (w == QUERIES || ranks == 1));
    if (ended) {
        assert_int_equal(c->kinds[LARIAT_SPAN_LAYER], 1);
        assert_int_equal(c->kinds[LARIAT_SPAN_PROJECTIONS], 1);
        assert_int_equal(c->kinds[LARIAT_SPAN_FEED_FORWARD] + c->kinds[LARIAT_SPAN_HOP] + c->kinds[LARIAT_SPAN_MERGE], 0);
    }
    return ended;
}

static void check_layer(const layer_count *c, int32_t ranks, int32_t rank, way w)
{
    int others = ranks - 1;

    assert_int_equal(c->kinds[LARIAT_SPAN_LAYER], 1);
    assert_int_equal(c->kinds[LARIAT_SPAN_PROJECTIONS], 2);
    assert_int_equal(c->kinds[LARIAT_SPAN_FEED_FORWARD], 1);
    assert_int_equal(c->kinds[LARIAT_SPAN_ATTENTION], w == SLICES ? 1 : ranks);
    assert_int_equal(c->kinds[LARIAT_SPAN_HOP], w == SLICES ? 0 : w == KV ? others : 2 * others);
    assert_int_equal(c->kinds[LARIAT_SPAN_MERGE], others == 0 || w == KV ? 0 : w == SLICES ? 1 : ranks);
    for (int32_t r = 0; r < ranks; r++) {
        assert_int_equal(c->owners[r], w != SLICES || r == rank);
    }
}

static void check_rank(const lariat_engine *e, int32_t rank, way w)
{
    int64_t n;
    const lariat_span *spans = lariat_trace_spans(e, rank, &n);
    int32_t layers = lariat_engine_model(e)->n_layers;
    layer_count *counts = calloc((size_t)(PASSES * layers), sizeof *counts);
    int passes = 0, heads = 0, embeddings = 0, looked_into = 0, ended = 0;
    bool has_head[PASSES] = {false};
    const lariat_plan *p = lariat_engine_plan(e);
    /* What comes again is one launch, where no ranks share a card. */
    bool all = w != SLICES || p->cards < p->ranks || (p->ranks > 1 && p->through_host);

    assert_non_null(counts);
    assert_int_equal(lariat_trace_lost(e, rank), 0);
    check_nesting(spans, n);
    for (int64_t i = 0; i < n; i++) {
        const lariat_span *s = &spans[i];
        passes += s->kind == LARIAT_SPAN_PASS;
        heads += s->kind == LARIAT_SPAN_HEAD;
        assert_in_range(s->kind, 0, LARIAT_SPAN_KINDS - 1);
        assert_in_range(passes, 1, PASSES); /* a pass begins before what it has */
        has_head[passes - 1] |= s->kind == LARIAT_SPAN_HEAD;
        embeddings += s->kind == LARIAT_SPAN_EMBEDDING;
        if (s->layer >= 0) {
            assert_in_range(s->layer, 0, layers - 1);
            layer_count *c = &counts[(passes - 1) * layers + s->layer];
            c->kinds[s->kind]++;
            if (s->kind == LARIAT_SPAN_ATTENTION) {
                assert_in_range(s->owner, 0, lariat_engine_plan(e)->ranks - 1);
                c->owners[s->owner]++;
            }
        }
    }
    assert_int_equal(passes, PASSES);
    for (int i = 0; i < PASSES * layers; i++) {
        bool wanted = lariat_engine_plan(e)->cards == 0 || (i % layers - layers / 2) % 8 == 0; /* as trace.h says */
        assert_true(wanted || counts[i].kinds[LARIAT_SPAN_LAYER] == 0);
        if (wanted && (all || counts[i].kinds[LARIAT_SPAN_LAYER])) {
            bool last = i % layers == layers - 1 && w != SLICES;
            if (last && check_ended(&counts[i], p->ranks, has_head[i / layers], w)) {
                ended++;
            } else {
                check_layer(&counts[i], p->ranks, rank, w);
            }
            looked_into += i % layers == layers / 2;
        }
    }
    assert_in_range(looked_into, all ? PASSES : 1, PASSES);
    assert_int_equal(embeddings, looked_into);
    assert_true(ended > 0 || w == SLICES || p->cards > 0); /* there are passes without outputs */
    assert_in_range(heads, all ? 1 + DECODED : 0, 1 + DECODED); /* where logits were wanted */
    free(counts);
}

static void every_layer_of_every_pass_has_its_spans_and_they_nest(lariat_options where)
{
    for (int i = 0; i < RINGS * WAYS; i++) {
        lariat_engine *e = open_ring(where, rings[i / WAYS], (way)(i % WAYS));
        float *logits = new_logits(e);

        assert_int_equal(lariat_trace_start(e, 0), LARIAT_OK);
        run(e, logits);
        lariat_trace_stop(e);
        for (int32_t r = 0; r < rings[i / WAYS]; r++) {
            check_rank(e, r, (way)(i % WAYS));
        }
        free(logits);
        lariat_engine_close(e);
    }
}

/* Seconds in which a rank waited for a hop that was under way. */
static double exposed_of(const lariat_span *spans, int64_t n)
{
    double sum = 0;

    for (int64_t i = 0; i < n; i++) {
        for (int64_t k = 0; k < n && spans[i].kind == LARIAT_SPAN_HOP; k++) {
            const lariat_span *w = &spans[k];
            double both = fmin(w->end, spans[i].end) - fmax(w->begin, spans[i].begin);
            bool for_it = w->kind == LARIAT_SPAN_WAIT && w->owner == spans[i].owner && w->layer == spans[i].layer;
            sum += for_it && w->pass == spans[i].pass && both > 0 ? both : 0;
        }
    }
    return sum;
}

static void spans_and_counters_tell_the_same_times(lariat_options where)
{
    for (int i = 0; i < RINGS * WAYS; i++) {
        int32_t ranks = rings[i / WAYS];
        way w = (way)(i % WAYS);
        lariat_engine *e = open_ring(where, ranks, w);
        float *logits = new_logits(e);
        lariat_stats stats;
        double longest = 0, hop_s = 0, exposed = 0, began = clock_now();
        int64_t hops = 0, bytes = 0, n;

        assert_int_equal(lariat_trace_start(e, 0), LARIAT_OK);
        run(e, logits);
        double spent = clock_now() - began;
        lariat_trace_stop(e);
        for (int32_t r = 0; r < ranks; r++) {
            const lariat_span *spans = lariat_trace_spans(e, r, &n);
            double waited = 0;
            exposed += exposed_of(spans, n);
            for (int64_t k = 0; k < n; k++) {
                bool hop = spans[k].kind == LARIAT_SPAN_HOP;
                assert_true(spans[k].end <= spent + 1e-4); /* on the host's clock, wherever it was */
                waited += spans[k].kind == LARIAT_SPAN_WAIT ? spans[k].end - spans[k].begin : 0;
                hop_s += hop ? spans[k].end - spans[k].begin : 0;
                hops += hop;
                bytes = hop && spans[k].bytes > bytes ? spans[k].bytes : bytes;
            }
            longest = waited > longest ? waited : longest;
        }
        lariat_engine_stats(e, &stats);
        bool on_cards =
            lariat_engine_plan(e)->cards > 0; /* they do not count what all gather, and their clock is not the host's */
        assert_true(on_cards ? stats.wait_s <= spent * ranks : fabs(stats.wait_s - longest) < 1e-6);
        assert_true(on_cards ? stats.hop_s >= hop_s - 1e-5
                             : fabs(stats.hop_s - hop_s) < 1e-6); /* there of all layers, here of some */
        assert_true(on_cards ? stats.hops >= hops : stats.hops == hops);
        assert_int_equal(stats.hop_bytes, bytes);
        assert_true(stats.hop_wait_s >= 0 && stats.hop_wait_s <= stats.hop_s);
        assert_true(exposed <= stats.hop_wait_s + 1e-5 && stats.hop_wait_s <= stats.wait_s * ranks + 1e-5);
        if (ranks > 1 && w != SLICES) {
            assert_true(stats.hops_hidden >= 0 && stats.hops_hidden <= 1);
        } else {
            assert_true(stats.hops == 0 && stats.hops_hidden < 0);
        }
        free(logits);
        lariat_engine_close(e);
    }
}

static void a_traced_run_has_the_bits_of_one_that_is_not(lariat_options where)
{
    for (int i = 0; i < RINGS * WAYS; i++) {
        lariat_engine *e = open_ring(where, rings[i / WAYS], (way)(i % WAYS));
        float *plain = new_logits(e), *traced = new_logits(e);

        run(e, plain);
        assert_int_equal(lariat_trace_start(e, 0), LARIAT_OK);
        run(e, traced);
        assert_memory_equal(plain, traced, (size_t)(1 + DECODED) * (size_t)lariat_engine_model(e)->vocab * sizeof *plain);
        free(plain);
        free(traced);
        lariat_engine_close(e);
    }
}

static void a_full_buffer_counts_what_it_loses(lariat_options where)
{
    enum { ROOM = 33 };
    lariat_engine *e = open_ring(where, 2, KV);
    float *logits = new_logits(e);
    int64_t all[2], n;

    assert_int_equal(lariat_trace_start(e, 0), LARIAT_OK);
    run(e, logits);
    lariat_trace_stop(e);
    for (int32_t r = 0; r < 2; r++) {
        (void)lariat_trace_spans(e, r, &all[r]);
    }
    assert_int_equal(lariat_trace_start(e, ROOM), LARIAT_OK);
    run(e, logits);
    lariat_trace_stop(e);
    for (int32_t r = 0; r < 2; r++) {
        const lariat_span *spans = lariat_trace_spans(e, r, &n);
        assert_int_equal(n, ROOM);
        /* Who comes last to what all gather does not wait: of the head, once where logits were wanted. */
        assert_in_range(n + lariat_trace_lost(e, r), all[r] - 1 - DECODED, all[r] + 1 + DECODED);
        check_nesting(spans, n);
    }
    free(logits);
    lariat_engine_close(e);
}

static void cancel_after_the_second_pass(void *user, int64_t done, int64_t total)
{
    (void)total;
    if (done >= 2 * TOKENS / 3) {
        lariat_session_cancel(user);
    }
}

static void a_pass_that_was_cancelled_leaves_no_spans(lariat_options where)
{
    lariat_engine *e = open_ring(where, 3, KV);
    float *logits = new_logits(e);
    int32_t tokens[TOKENS] = {0};
    lariat_session *s;
    int64_t n;

    assert_int_equal(lariat_session_open(e, 0, &s), LARIAT_OK);
    assert_int_equal(lariat_trace_start(e, 0), LARIAT_OK);
    lariat_engine_on_progress(e, cancel_after_the_second_pass, s);
    lariat_work item = {.session = s, .tokens = tokens, .count = TOKENS};
    assert_int_equal(lariat_step(e, &item, 1), LARIAT_CANCELLED);
    lariat_engine_on_progress(e, NULL, NULL);
    step(e, s, tokens, TOKENS, logits);
    lariat_trace_stop(e);
    for (int32_t r = 0; r < 3; r++) {
        int passes = 0;
        const lariat_span *spans = lariat_trace_spans(e, r, &n);
        for (int64_t i = 0; i < n; i++) {
            passes += spans[i].kind == LARIAT_SPAN_PASS;
        }
        assert_int_equal(passes, 2 + 3); /* of three the last was cancelled; then all three of the next step */
        check_nesting(spans, n);
    }
    lariat_session_close(s);
    free(logits);
    lariat_engine_close(e);
}

static void tracing_starts_stops_and_starts_again(lariat_options where)
{
    lariat_engine *e = open_ring(where, 2, SLICES);
    float *logits = new_logits(e);
    int64_t n, again;

    assert_null(lariat_trace_spans(e, 0, &n)); /* never started */
    assert_int_equal(n, 0);
    lariat_trace_stop(e);
    assert_int_equal(lariat_trace_start(e, -1), LARIAT_BAD_ARGUMENT);
    assert_int_equal(lariat_trace_start(e, INT64_MAX), LARIAT_NO_MEMORY);
    assert_int_equal(lariat_trace_start(e, 0), LARIAT_OK);
    run(e, logits);
    lariat_trace_stop(e);
    assert_non_null(lariat_trace_spans(e, 1, &n));
    run(e, logits); /* nobody looks */
    assert_non_null(lariat_trace_spans(e, 1, &again));
    assert_int_equal(again, n);
    assert_int_equal(lariat_trace_start(e, 0), LARIAT_OK);
    assert_null(lariat_trace_spans(e, 1, &n));
    assert_null(lariat_trace_spans(e, 2, &n)); /* no such rank */
    assert_null(lariat_trace_spans(e, -1, &n));
    assert_int_equal(lariat_trace_lost(e, 2), 0);
    for (int kind = 0; kind < LARIAT_SPAN_KINDS; kind++) {
        assert_non_null(lariat_span_name((lariat_span_kind)kind));
    }
    assert_null(lariat_span_name(LARIAT_SPAN_KINDS));
    free(logits);
    lariat_engine_close(e);
}

static void a_long_run_is_recorded_from_its_first_pass_to_its_last(lariat_options where)
{
    enum { STEPS = 1000 };
    lariat_engine *e = open_ring(where, 2, KV);
    float *logits = new_logits(e);
    int32_t tokens[TOKENS] = {0};
    lariat_session *s;
    lariat_stats stats;
    int64_t n, passes = 0;

    assert_int_equal(lariat_session_open(e, 0, &s), LARIAT_OK);
    assert_int_equal(lariat_trace_start(e, 0), LARIAT_OK);
    step(e, s, tokens, TOKENS, logits);
    for (int i = 0; i < STEPS; i++) {
        assert_int_equal(lariat_session_rewind(s, TOKENS), LARIAT_OK);
        step(e, s, tokens, 1, logits);
    }
    lariat_trace_stop(e);
    lariat_engine_stats(e, &stats);
    assert_true(stats.hops > 0 && stats.hop_s > 0 && isfinite(stats.hop_s));
    assert_true(stats.hops_hidden >= 0 && stats.hops_hidden <= 1);
    const lariat_span *spans = lariat_trace_spans(e, 0, &n);
    check_nesting(spans, n);
    for (int64_t i = 0; i < n; i++) {
        passes += spans[i].kind == LARIAT_SPAN_PASS;
    }
    assert_int_equal(passes, 3 + STEPS);
    assert_int_equal(lariat_trace_lost(e, 0), 0);
    lariat_session_close(s);
    free(logits);
    lariat_engine_close(e);
}

/* --- all of them --- */

static const lariat_options *places;
static int n_places;

#define CHECK(name) {#name, run_check, NULL, NULL, (void *)&(check){name}}

typedef struct check {
    void (*run)(lariat_options where);
} check;

static void run_check(void **state)
{
    for (int i = 0; i < n_places; i++) {
        ((const check *)*state)->run(places[i]);
    }
}

int run_trace_checks(const lariat_options where[], int n)
{
    const struct CMUnitTest tests[] = {
        CHECK(every_layer_of_every_pass_has_its_spans_and_they_nest),
        CHECK(spans_and_counters_tell_the_same_times),
        CHECK(a_traced_run_has_the_bits_of_one_that_is_not),
        CHECK(a_full_buffer_counts_what_it_loses),
        CHECK(a_pass_that_was_cancelled_leaves_no_spans),
        CHECK(a_long_run_is_recorded_from_its_first_pass_to_its_last),
        CHECK(tracing_starts_stops_and_starts_again),
    };
    places = where;
    n_places = n;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
