/* The key by which a device replays passes: passes of one key differ in nothing but what lies in the device's memory. And which
   rank writes to the host's.
   Rests on model/transformer.h and on support/issued.h, which writes down every argument of every operation. Ranks are taken
   through a pass one after another, as nothing is computed. */
#include "model/transformer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/head.h"
#include "support/issued.h"

enum {
    RANKS_MOST = 3,
    LAYERS = 2,
    VOCAB = 100,
    SEQUENCES = HEAD_GATHERED + 4, /* their choices take two all-gathers of logits */
    CAPACITY = 300,               /* positions of a sequence, at most */
    SLOTS = (SEQUENCES + 4) * SLOT_BLOCK, /* a rank */
    MAX_ROWS = 40,                /* a rank, by tokens */
    MAX_SLICES = HEAD_ROWS + 8,   /* a pass, by slices: logits of all rows take two blocks of the head as well */
    PASSES = 600                  /* in a row */
};

/* The words of the first pass with a key that came, of a rank. */
typedef struct known {
    int rank, n_words;
    uint64_t key;
    uint64_t *words;
} known;

typedef struct world {
    int n;
    model_config config;
    model_weights weights;
    layer_weights layers[LAYERS];
    issued ranks[RANKS_MOST];
    transformer t[RANKS_MOST];
    cache slots;
    sequence seq[SEQUENCES];
    bool open[SEQUENCES];
    pass pass;
    /* Of the pass that is planned: */
    int32_t tokens[MAX_SLICES + RANKS_MOST * MAX_ROWS], made[SEQUENCES];
    pass_output outputs[MAX_SLICES];
    int64_t n_outputs;
    sample_setting settings[SEQUENCES];
    pass_logprob logprobs[SEQUENCES];
    float logits[VOCAB];
    bool chooses, waits; /* rank 0, for logits, while tokens are chosen */
    known known[RANKS_MOST * PASSES];
    int n_known, met_again;
} world;

static matrix matrix_of(int64_t rows, int64_t cols)
{
    static unsigned char addresses[4096]; /* each matrix has one; nobody reads there */
    static int used;

    return (matrix){
        .type = DTYPE_BF16, .rows = rows, .cols = cols, .data = &addresses[used++ % 4096], .row_bytes = (size_t)cols * 2};
}

static void make_model(world *w)
{
    static const float norm[1];
    model_config *c = &w->config;

    *c = (model_config){.family = family_by_type("llama", NULL),
                        .n_layers = LAYERS,
                        .d_model = 64,
                        .n_heads = 4,
                        .n_kv_heads = 2,
                        .head_dim = 16,
                        .rotary_dims = 16,
                        .d_ff = 96,
                        .vocab = VOCAB,
                        .rms_eps = 1e-5f,
                        .attention_scale = 0.25f,
                        .embedding_scale = 1,
                        .residual_eps = 1e-5f,
                        .rope_factor = 1};
    w->weights = (model_weights){
        .embedding = matrix_of(VOCAB, 64), .head = matrix_of(VOCAB, 64), .final_norm = norm, .layers = w->layers};
    for (int l = 0; l < LAYERS; l++) {
        w->layers[l] = (layer_weights){.attn_norm = norm,
                                       .ffn_norm = norm,
                                       .q = matrix_of(64, 64),
                                       .k = matrix_of(32, 64),
                                       .v = matrix_of(32, 64),
                                       .o = matrix_of(64, 64),
                                       .gate = matrix_of(96, 64),
                                       .up = matrix_of(96, 64),
                                       .down = matrix_of(64, 96)};
    }
}

static void world_open(world *w, int n)
{
    const transformer_setup s = {.n_ranks = n,
                                 .max_rows = MAX_ROWS,
                                 .max_slices = MAX_SLICES,
                                 .slots = SLOTS,
                                 .max_parts = SEQUENCES,
                                 .max_extents = cache_extents(SLOTS, SEQUENCES),
                                 .ffn_rows = 8,
                                 .kv_type = DTYPE_BF16,
                                 .act = DTYPE_BF16,
                                 .pass_q = true};
    const pass_limits most = {.runs = MAX_SLICES + (int64_t)n * MAX_ROWS, .parts = SEQUENCES, .extents = s.max_extents};
    comm_setup sizes = {.n_ranks = n, .n_local = n};

    memset(w, 0, sizeof *w);
    w->n = n;
    make_model(w);
    sizes.message_bytes = transformer_message(&w->config, &s);
    transformer_hops(&w->config, &s, sizes.hop_bytes);
    assert_int_equal(cache_open(&w->slots, n, SLOTS), LARIAT_OK);
    assert_int_equal(pass_open(&w->pass, n, &most), LARIAT_OK);
    for (int r = 0; r < n; r++) {
        issued *rank = &w->ranks[r];
        issued_open(rank, r, &sizes);
        assert_int_equal(transformer_open(&w->t[r], &w->config, &w->weights, &rank->dev.base, &rank->comm.base, &s), LARIAT_OK);
    }
}

static void world_close(world *w)
{
    for (int i = 0; i < w->n_known; i++) {
        free(w->known[i].words);
    }
    for (int r = 0; r < w->n; r++) {
        transformer_close(&w->t[r]);
        issued_close(&w->ranks[r]);
    }
    for (int s = 0; s < SEQUENCES; s++) {
        if (w->open[s]) {
            sequence_close(&w->slots, &w->seq[s]);
        }
    }
    pass_close(&w->pass);
    cache_close(&w->slots);
}

static void open_sequence(world *w, int s, int64_t capacity)
{
    int64_t room = cache_most(&w->slots), most = room < capacity ? room : capacity;

    if (!w->open[s] && most > 0) {
        assert_int_equal(sequence_open(&w->slots, most, &w->seq[s]), LARIAT_OK);
        w->open[s] = true;
    }
}

/* --- passes --- */

/* Wanted are: the last row of each sequence, as for choosing its next token; or any rows. */
static void choose_outputs(world *w, bool last_rows)
{
    const pass *p = &w->pass;

    w->n_outputs = 0;
    for (int i = 0; i < p->n_parts; i++) {
        for (int64_t k = 0; k < p->parts[i].count; k++) {
            if (last_rows ? k == p->parts[i].count - 1 : rand() % 4 != 0) {
                w->outputs[w->n_outputs++] = (pass_output){.row = p->parts[i].token + k, .logits = w->logits};
            }
        }
    }
}

static bool never(const void *unused)
{
    (void)unused;
    return false;
}

static void carry_out(world *w, int rank)
{
    const pass_input in = {.plan = &w->pass, .tokens = w->tokens, .outputs = w->outputs, .n_outputs = w->n_outputs,
                           .settings = w->chooses ? w->settings : NULL, .chosen = w->made,
                           .logprobs = w->waits ? w->logprobs : NULL, .row = w->logits, .cancelled = never};

    issued_forget(&w->ranks[rank]);
    assert_int_equal(transformer_pass(&w->t[rank], &in), LARIAT_OK);
}

/* A pass of a key that came before has the words that it had then. */
static void compare(world *w, int rank)
{
    const issued *r = &w->ranks[rank];

    for (int i = 0; i < w->n_known; i++) {
        const known *k = &w->known[i];
        if (k->rank == rank && k->key == r->key) {
            assert_int_equal(k->n_words, r->n_words);
            assert_memory_equal(k->words, r->words, (size_t)r->n_words * sizeof *r->words);
            w->met_again++;
            return;
        }
    }
    known *k = &w->known[w->n_known++];
    *k = (known){.rank = rank, .n_words = r->n_words, .key = r->key};
    k->words = malloc((size_t)r->n_words * sizeof *r->words);
    assert_non_null(k->words);
    memcpy(k->words, r->words, (size_t)r->n_words * sizeof *r->words);
}

/* Some of the sequences, in order; mostly one token of each. */
static int choose_requests(world *w, pass_request requests[], int64_t most, bool single)
{
    int among = 1 + rand() % SEQUENCES, n = 0;

    for (int s = 0; s < among && most > 0; s++) {
        int64_t room = w->open[s] ? w->seq[s].capacity - w->seq[s].length : 0, count = single ? 1 : 1 + rand() % most;
        count = count < room ? count : room;
        if (count > 0 && rand() % 8) {
            requests[n++] = (pass_request){&w->seq[s], count};
            most -= count;
        }
    }
    return n;
}

static void happen(world *w)
{
    for (int s = 0; s < SEQUENCES; s++) {
        open_sequence(w, s, 1 + rand() % CAPACITY);
        if (w->open[s] && rand() % 32 == 0) {
            sequence_close(&w->slots, &w->seq[s]);
            w->open[s] = false;
        } else if (w->open[s] && rand() % 16 == 0) {
            sequence_rewind(&w->slots, &w->seq[s], rand() % (w->seq[s].length + 1));
        }
    }
}

/* A pass of any kind: those by slices have a key. */
static void random_pass(world *w)
{
    pass_request requests[SEQUENCES];
    bool slices = rand() % 4 != 0;
    int n = choose_requests(w, requests, slices ? MAX_SLICES : w->n * MAX_ROWS, slices && rand() % 8);

    if (n == 0) {
        return;
    }
    pass_plan(&w->pass, &w->slots, slices ? PASS_BY_SLICES : PASS_BY_TOKENS, requests, n, MAX_ROWS);
    w->pass.side = rand() % 2 ? PASS_Q : PASS_KV;
    w->chooses = rand() % 2;
    w->waits = w->chooses && rand() % 4 == 0;
    w->logprobs[0].n_top = rand() % 3;
    choose_outputs(w, w->chooses || rand() % 2);
    if (!slices) {
        w->n_outputs = 0;
    }
    bool replays = slices && !w->waits && (w->chooses || w->n == 1 || w->n_outputs <= HEAD_GATHERED);
    for (int r = 0; r < w->n; r++) {
        carry_out(w, r);
        assert_int_equal(w->ranks[r].begun, replays);
        assert_int_equal(w->ranks[r].ended, replays);
        if (replays) {
            compare(w, r);
        }
    }
}

static void passes_of_one_key_differ_in_nothing_but_device_memory(void **state)
{
    static world w;

    (void)state;
    srand(1);
    for (int n = 1; n <= RANKS_MOST; n++) {
        world_open(&w, n);
        for (int i = 0; i < PASSES; i++) {
            happen(&w);
            random_pass(&w);
        }
        assert_true(w.met_again > 20 * n); /* it was tried */
        world_close(&w);
    }
}

/* One token of each of the first `among` sequences. */
static void decode(world *w, int among, bool chooses)
{
    pass_request requests[SEQUENCES];

    for (int s = 0; s < among; s++) {
        requests[s] = (pass_request){&w->seq[s], 1};
    }
    pass_plan(&w->pass, &w->slots, PASS_BY_SLICES, requests, among, MAX_ROWS);
    w->chooses = chooses;
    w->waits = false;
    choose_outputs(w, true);
    for (int r = 0; r < w->n; r++) {
        carry_out(w, r);
    }
}

static void passes_of_different_grids_have_different_keys_and_consecutive_tokens_mostly_the_same(void **state)
{
    static world w;

    (void)state;
    for (int n = 1; n <= RANKS_MOST; n++) {
        int grids = 1, keys = 1;
        world_open(&w, n);
        for (int s = 0; s < 3; s++) {
            open_sequence(&w, s, CAPACITY);
        }
        for (int i = 0; i < CAPACITY; i++) {
            uint64_t key = w.ranks[0].key, grid = w.ranks[0].grid;
            decode(&w, 3, true);
            grids += i > 0 && grid != w.ranks[0].grid;
            keys += i > 0 && key != w.ranks[0].key;
            assert_true(i == 0 || grid == w.ranks[0].grid || key != w.ranks[0].key);
        }
        assert_true(grids > 2 && keys <= grids + 1); /* rank 0 may have had no keys at first */
        world_close(&w);
    }
}

static void rows_outputs_and_choosing_are_part_of_the_key(void **state)
{
    static world w;
    uint64_t key;

    (void)state;
    world_open(&w, 2);
    for (int s = 0; s < 3; s++) {
        open_sequence(&w, s, CAPACITY);
    }
    decode(&w, 2, true);
    decode(&w, 2, true);
    key = w.ranks[1].key;
    decode(&w, 2, true);
    assert_true(key == w.ranks[1].key);
    decode(&w, 3, true);
    assert_true(key != w.ranks[1].key);
    decode(&w, 2, false);
    assert_true(key != w.ranks[1].key);
    decode(&w, 2, true);
    assert_true(key == w.ranks[1].key);
    w.outputs[0] = w.outputs[1]; /* the second row alone */
    w.n_outputs = 1;
    carry_out(&w, 1);
    key = w.ranks[1].key;
    w.outputs[0].row = 0; /* the first one */
    carry_out(&w, 1);
    assert_true(key != w.ranks[1].key);
    world_close(&w);
}

static void a_launched_pass_issues_nothing_and_one_without_a_class_has_no_key(void **state)
{
    static world w;

    (void)state;
    world_open(&w, 3);
    for (int s = 0; s < SEQUENCES; s++) {
        open_sequence(&w, s, 1 + s);
    }
    for (int r = 0; r < 3; r++) {
        w.ranks[r].launches = r != 1;
        w.ranks[r].refuses = r == 2;
    }
    decode(&w, SEQUENCES, true);
    assert_int_equal(w.ranks[0].begun, 1);
    assert_int_equal(w.ranks[0].n_words + w.ranks[0].ended, 0);
    assert_true(w.ranks[1].n_words > 0 && w.ranks[1].ended == 1);
    assert_true(w.ranks[2].n_words > 0 && w.ranks[2].begun == 0);
    world_close(&w);
}

/* Wanted are a few rows, and more than an all-gather of logits holds. */
static void logits_reach_the_host_from_rank_0_alone(void **state)
{
    static const int64_t counts[] = {2, 3 * HEAD_GATHERED, MAX_SLICES};
    static world w;

    (void)state;
    for (int n = 1; n <= RANKS_MOST; n++) {
        world_open(&w, n);
        open_sequence(&w, 0, CAPACITY);
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
            pass_plan(&w.pass, &w.slots, PASS_BY_SLICES, &(pass_request){&w.seq[0], counts[i]}, 1, MAX_ROWS);
            choose_outputs(&w, false);
            for (int r = 0; r < n; r++) {
                carry_out(&w, r);
                assert_int_equal(w.ranks[r].downloaded, r == 0 ? (size_t)w.n_outputs * sizeof w.logits : 0);
            }
        }
        world_close(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passes_of_one_key_differ_in_nothing_but_device_memory),
        cmocka_unit_test(passes_of_different_grids_have_different_keys_and_consecutive_tokens_mostly_the_same),
        cmocka_unit_test(rows_outputs_and_choosing_are_part_of_the_key),
        cmocka_unit_test(a_launched_pass_issues_nothing_and_one_without_a_class_has_no_key),
        cmocka_unit_test(logits_reach_the_host_from_rank_0_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
