/* The plan, the segments and the schedule of a ring whose devices have streams, on a machine without one.
   Rests on ring/attention.h, on support/recorder.h (devices and a transport that write down what they are asked) and on
   support/play.h (what that means). Ranks are recorded one after another; what depends on their order, the replay finds. */
#include "ring/attention.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/play.h"

enum {
    SEQUENCES = 3,
    MAX_ROWS = ROWS_MOST, /* a rank, by tokens */
    MAX_SLICES = 12,      /* a pass, by slices */
    PASSES = 25           /* in a row */
};

typedef struct world {
    replay ranks;
    ring_setup setup;
    unsigned char *gathered;
    cache slots;
    sequence seq[SEQUENCES];
    bool open[SEQUENCES];
    pass pass;
    int which[SEQUENCES]; /* sequence of each part */
    bool attends[RANKS_MOST]; /* in the last layer */
} world;

/* A position of a sequence as one number. */
static int32_t tag_of(int seq, int64_t position)
{
    return (int32_t)(seq * CAPACITY + position);
}

/* --- passes --- */

/* Which position each row and each slot of the pass stands for. Every token is dealt out once, and to rows without a gap. */
static void read_plan(world *w)
{
    const pass *p = &w->pass;
    unsigned char times[SEQUENCES][CAPACITY] = {0};
    int64_t dealt = 0;

    for (int r = 0; r < w->ranks.n; r++) {
        member *m = &w->ranks.members[r];
        int64_t rows = 0;
        memset(m->row_tag, -1, sizeof m->row_tag);
        memset(m->planned, -1, sizeof m->planned);
        for (int32_t i = p->run_begin[r]; i < p->run_begin[r + 1]; i++) {
            const pass_run *run = &p->runs[i];
            for (int64_t k = 0; k < run->count; k++) {
                assert_int_equal(m->planned[run->slot + k], -1);
                assert_int_equal(m->row_tag[run->row + k], -1);
                assert_int_equal(times[w->which[run->part]][run->first + k]++, 0);
                m->planned[run->slot + k] = m->row_tag[run->row + k] = tag_of(w->which[run->part], run->first + k);
                rows = run->row + k >= rows ? run->row + k + 1 : rows;
            }
            dealt += run->count;
        }
        assert_true(p->layout == PASS_BY_SLICES || rows == p->rows[r]);
        m->n_rows = p->rows[r];
        for (int i = 0; p->layout == PASS_BY_SLICES && i < p->n_parts; i++) { /* every rank has all queries */
            for (int64_t k = 0; k < p->parts[i].count; k++) {
                m->row_tag[p->parts[i].token + k] = tag_of(w->which[i], p->parts[i].first + k);
            }
        }
        for (int64_t row = 0; row < MAX_ROWS; row++) {
            assert_int_equal(m->row_tag[row] >= 0, row < p->rows[r]);
        }
    }
    assert_int_equal(dealt, p->n_tokens);
}

static bool attends(const world *w, const member *m, int layer)
{
    return layer < LAYERS - 1 || w->attends[m->rank];
}

/* Takes a planned pass through all layers, rank after rank, and replays it. */
static void go(world *w)
{
    read_plan(w);
    w->ranks.n_results = 0;
    for (int r = 0; r < w->ranks.n; r++) {
        member *m = &w->ranks.members[r];
        recorder_forget(&m->rec);
        comm_begin(&m->rec.comm.base, w->pass.number, false);
        ring_begin(&m->ring, &w->pass);
        m->next = 0;
        for (int l = 0; l < LAYERS; l++) {
            recorder_write(&m->rec, l);
            ring_append(&m->ring, l, NULL, &m->rows[0][Q_WIDTH], &m->rows[0][Q_WIDTH + KV_WIDTH], ROW_WIDTH,
                        l == LAYERS - 1 ? w->attends : NULL);
            assert_true(!attends(w, m, l) || ring_attend(&m->ring, l, m->rows, ROW_WIDTH, m->out, Q_WIDTH) == LARIAT_OK);
        }
    }
    replay_run(&w->ranks);
}

static void world_open(world *w, int n, bool pass_q, dtype kv_type)
{
    *w = (world){.ranks.n = n};
    w->setup = (ring_setup){.n_layers = LAYERS,
                            .shape = {.n_heads = HEADS, .n_kv_heads = KV_HEADS, .head_dim = HEAD_DIM, .scale = 1,
                                      .kv_type = kv_type},
                            .slots = SLOTS,
                            .max_rows = MAX_ROWS,
                            .max_slices = MAX_SLICES,
                            .max_runs = MAX_ROWS,
                            .max_parts = SEQUENCES,
                            .max_extents = cache_extents(SLOTS, SEQUENCES),
                            .pass_q = pass_q,
                            .q_row_bytes = ROW_WIDTH * sizeof(uint16_t)};
    comm_setup sizes = {.n_ranks = n, .n_local = n, .message_bytes = ring_message(&w->setup, n)};
    const pass_limits most = {.runs = (int64_t)n * MAX_ROWS, .parts = SEQUENCES, .extents = w->setup.max_extents};

    ring_hops(&w->setup, sizes.hop_bytes);
    w->gathered = calloc(2, sizes.message_bytes + 1);
    w->ranks.members = calloc((size_t)n, sizeof *w->ranks.members);
    assert_true(w->gathered && w->ranks.members);
    assert_int_equal(cache_open(&w->slots, n, SLOTS), LARIAT_OK);
    assert_int_equal(pass_open(&w->pass, n, &most), LARIAT_OK);
    for (int r = 0; r < n; r++) {
        member *m = &w->ranks.members[r];
        m->all = &w->ranks;
        m->rank = r;
        w->attends[r] = true;
        memset(m->held, -1, sizeof m->held);
        recorder_open(&m->rec, r, &w->setup.shape, &sizes, w->gathered);
        assert_int_equal(ring_open(&m->ring, &m->rec.dev.base, &m->rec.comm.base, &w->setup), LARIAT_OK);
        if (pass_q) {
            ring_expose_queries(&m->ring, m->rows, ROWS_MOST, ROW_WIDTH);
        }
    }
}

static void world_close(world *w)
{
    for (int r = 0; r < w->ranks.n; r++) {
        ring_close(&w->ranks.members[r].ring);
        recorder_close(&w->ranks.members[r].rec);
    }
    for (int s = 0; s < SEQUENCES; s++) {
        if (w->open[s]) {
            sequence_close(&w->slots, &w->seq[s]);
        }
    }
    pass_close(&w->pass);
    cache_close(&w->slots);
    free(w->ranks.members);
    free(w->gathered);
}

/* Positions from `length` on are needed no more. */
static void drop(world *w, int s, int64_t length)
{
    for (int r = 0; r < w->ranks.n; r++) {
        int32_t *held = &w->ranks.members[r].held[0][0][0];
        for (int i = 0; i < LAYERS * 2 * SLOTS; i++) {
            held[i] = held[i] >= tag_of(s, length) && held[i] < tag_of(s + 1, 0) ? -1 : held[i];
        }
    }
}

/* Opens, closes or rewinds a sequence. */
static void happen(world *w, int s)
{
    int64_t room = cache_most(&w->slots), most = room < CAPACITY ? room : CAPACITY;

    if (!w->open[s]) {
        w->open[s] = true;
        assert_int_equal(sequence_open(&w->slots, 1 + rand() % most, &w->seq[s]), LARIAT_OK);
    } else if (rand() % 16 == 0) {
        drop(w, s, 0);
        sequence_close(&w->slots, &w->seq[s]);
        w->open[s] = false;
    } else if (rand() % 8 == 0) {
        int64_t length = rand() % (w->seq[s].length + 1);
        drop(w, s, length);
        sequence_rewind(&w->slots, &w->seq[s], length);
    }
}

/* A pass of any kind over some of the sequences; false: none has anything to do. */
static bool random_pass(world *w)
{
    pass_request requests[SEQUENCES];
    bool slices = rand() % 3 == 0;
    int64_t left = 1 + rand() % (slices ? MAX_SLICES : w->ranks.n * MAX_ROWS);
    int n = 0;

    for (int s = 0; s < SEQUENCES; s++) {
        happen(w, s);
        int64_t room = w->open[s] ? w->seq[s].capacity - w->seq[s].length : 0, most = room < left ? room : left;
        int64_t count = most && rand() % 3 ? most : most ? rand() % (most + 1) : 0; /* shards are to become full */
        if (count) {
            w->which[n] = s;
            requests[n++] = (pass_request){&w->seq[s], count};
            left -= count;
        }
    }
    if (n) {
        pass_plan(&w->pass, &w->slots, slices ? PASS_BY_SLICES : PASS_BY_TOKENS, requests, n, MAX_ROWS);
        w->pass.side = w->setup.pass_q && rand() % 3 ? PASS_Q : PASS_KV;
        for (int r = 0; r < w->ranks.n; r++) { /* where keys travel, some ranks end with theirs */
            w->attends[r] = slices || w->pass.side == PASS_Q || rand() % 4;
        }
    }
    return n > 0;
}

typedef void rule(const world *w, const member *m);

/* The replay's own rules, and one more for each rank after each pass. */
static void hold_always(unsigned seed, rule *also)
{
    static world w;

    srand(seed);
    for (int n = 1; n <= RANKS_MOST; n++) {
        for (int kind = 0; kind < 6; kind++) {
            static const dtype types[] = {DTYPE_BF16, DTYPE_F32, DTYPE_I8};
            world_open(&w, n, kind & 1, types[kind / 2]);
            for (int i = 0; i < PASSES; i++) {
                if (!random_pass(&w)) {
                    continue;
                }
                go(&w);
                for (int r = 0; r < n; r++) {
                    also(&w, &w.ranks.members[r]);
                }
            }
            world_close(&w);
        }
    }
}

static bool keys_travel(const world *w)
{
    return w->pass.layout == PASS_BY_TOKENS && w->pass.side == PASS_KV;
}

static bool queries_travel(const world *w)
{
    return w->pass.layout == PASS_BY_TOKENS && w->pass.side == PASS_Q;
}

/* --- what holds --- */

/* All of it is in the replay, and ends in replay_finish: this asks only whether every layer got there in which a rank attends.
 */
static void rule_finished(const world *w, const member *m)
{
    int finished = 0, layer = -1, last = m->rec.n_events - 1;

    for (int i = 0; i < m->rec.n_events; i++) {
        const event *e = &m->rec.events[i];
        finished += e->what == FINISH;
        assert_true(e->what != WRITE || finished == ++layer); /* and nothing but the next layer comes after it */
    }
    assert_int_equal(finished, w->attends[m->rank] ? LAYERS : LAYERS - 1);
    last -= m->rec.events[last].what == RELEASE; /* of the last hop's keys, or of the last partial result */
    assert_true(!w->attends[m->rank] || m->rec.events[last].what == FINISH);
}

static void every_query_meets_every_key_up_to_its_own_once_and_no_other(void **state)
{
    (void)state;
    hold_always(1, rule_finished);
}

static void rule_kept(const world *w, const member *m)
{
    if (m->rank) {
        return;
    }
    for (int at = 0; at < LAYERS * 2; at++) {
        int64_t kept[SEQUENCES] = {0}, lengths[SEQUENCES] = {0};
        unsigned char times[SEQUENCES * CAPACITY] = {0};
        for (int i = 0; i < w->ranks.n * SLOTS; i++) {
            int32_t tag = w->ranks.members[i / SLOTS].held[at / 2][at % 2][i % SLOTS];
            if (tag >= 0) {
                assert_int_equal(times[tag]++, 0);
                assert_true(tag % CAPACITY < w->seq[tag / CAPACITY].length);
                kept[tag / CAPACITY]++;
            }
        }
        for (int s = 0; s < SEQUENCES; s++) {
            lengths[s] = w->open[s] ? w->seq[s].length : 0;
        }
        assert_memory_equal(kept, lengths, sizeof kept);
    }
}

static void every_key_and_value_is_stored_once_in_its_planned_slot_and_kept(void **state)
{
    (void)state;
    hold_always(2, rule_kept);
}

static void rule_hops(const world *w, const member *m)
{
    int asked[LAYERS][COMM_REGIONS][RANKS_MOST] = {0};

    for (int i = 0; i < m->rec.n_events; i++) {
        const event *e = &m->rec.events[i];
        asked[e->layer < 0 ? 0 : e->layer][e->region][e->owner] += e->what == ASK;
    }
    for (int l = 0; l < LAYERS; l++) {
        for (int r = 0; r < w->ranks.n; r++) {
            assert_int_equal(asked[l][COMM_KV][r], keys_travel(w) && r != m->rank && attends(w, m, l));
            assert_int_equal(asked[l][COMM_QUERIES][r], queries_travel(w));
            assert_int_equal(asked[l][COMM_PARTIALS][r], queries_travel(w));
        }
    }
}

static void every_other_rank_is_asked_once_a_layer_and_own_keys_stay(void **state)
{
    (void)state;
    hold_always(3, rule_hops);
}

static void rule_overlap(const world *w, const member *m)
{
    int travelling = 0, used = 0, hop = 0;

    for (int i = 0; i < m->rec.n_events && keys_travel(w); i++) {
        const event *e = &m->rec.events[i];
        hop = e->what == WRITE ? 0 : hop;
        travelling += (e->what == ASK) - (e->what == TAKE);
        used += (e->what == TAKE) - (e->what == RELEASE);
        if (e->what == ATTEND) {
            assert_int_equal(travelling, hop + 1 < w->ranks.n);
            assert_int_equal(used, hop > 0);
            hop++;
        }
        assert_true(e->what != FINISH || hop == w->ranks.n);
    }
}

static void the_next_keys_travel_before_attention_over_the_last_is_queued(void **state)
{
    (void)state;
    hold_always(4, rule_overlap);
}

static bool in_pass(const world *w, int s)
{
    for (int i = 0; i < w->pass.n_parts; i++) {
        if (w->which[i] == s) {
            return true;
        }
    }
    return false;
}

static void rule_bytes(const world *w, const member *m)
{
    size_t key = KV_HEADS * kv_row_bytes(w->setup.shape.kv_type, HEAD_DIM);

    for (int i = 0; i < m->rec.n_events; i++) {
        const event *e = &m->rec.events[i];
        size_t keys = 0, rows = (size_t)w->pass.rows[e->owner];
        for (int s = 0; s < SLOTS; s++) {
            int32_t tag = w->ranks.members[e->owner].held[0][0][s];
            keys += tag >= 0 && in_pass(w, tag / CAPACITY);
        }
        if (e->what == ASK) {
            assert_int_equal(hop_bytes(e), e->region == COMM_KV        ? 2 * keys * key
                                           : e->region == COMM_QUERIES ? rows * Q_WIDTH * sizeof(uint16_t)
                                                                       : carry_bytes(&w->setup.shape, w->pass.rows[m->rank]));
        }
    }
}

static void a_hop_brings_what_is_needed_and_nothing_twice(void **state)
{
    (void)state;
    hold_always(5, rule_bytes);
}

/* How many pieces of consecutive slots hold what a sequence had before the pass, in the order of its positions, and how many
   runs the pass adds. */
static void count_segments(const world *w, const member *holder, int layer, int part, int *whole, int *runs)
{
    int slot_of[CAPACITY], last = -2;

    memset(slot_of, -1, sizeof slot_of);
    for (int s = 0; s < SLOTS; s++) {
        int32_t tag = holder->held[layer][0][s];
        if (tag >= 0 && tag / CAPACITY == w->which[part]) {
            slot_of[tag % CAPACITY] = s;
        }
    }
    *whole = *runs = 0;
    for (int64_t p = 0; p < w->pass.parts[part].first; p++) {
        *whole += slot_of[p] >= 0 && slot_of[p] != last + 1;
        last = slot_of[p] >= 0 ? slot_of[p] : last;
    }
    for (int32_t i = w->pass.run_begin[holder->rank]; i < w->pass.run_begin[holder->rank + 1]; i++) {
        *runs += w->pass.runs[i].part == part;
    }
}

static void rule_segments(const world *w, const member *m)
{
    for (int i = 0; i < m->rec.n_events; i++) {
        const event *e = &m->rec.events[i];
        /* No holder: there is not one key in the call. */
        for (int k = 0; e->what == ATTEND && e->holder >= 0 && k < e->n_items; k++) {
            const attention_item *item = &e->items[k];
            int32_t tag = w->ranks.members[e->asker].row_tag[item->row];
            int part = 0, whole, runs;
            while (w->which[part] != tag / CAPACITY) {
                part++;
            }
            count_segments(w, &w->ranks.members[e->holder], e->layer, part, &whole, &runs);
            for (int s = 0; s < item->n_segments; s++) {
                if (item->segments[s].first == KV_ALL_VISIBLE) {
                    whole--;
                } else {
                    runs--;
                    assert_true(item->segments[s].first >= w->pass.parts[part].first);
                }
            }
            assert_int_equal(whole, 0);
            assert_int_equal(runs, 0);
        }
    }
}

static void what_came_before_is_one_segment_a_span_and_only_new_runs_have_positions(void **state)
{
    (void)state;
    hold_always(6, rule_segments);
}

/* The step that a rank named for a layer's keys, 0 where no other reads them; that it had stored them all by then, and none
   later. */
static uint32_t step_of_keys(const world *w, const member *m, int layer)
{
    int64_t rows = 0, stored = 0;
    int named = 0, readers = 0;
    uint32_t step = 0;

    for (int32_t i = w->pass.run_begin[m->rank]; i < w->pass.run_begin[m->rank + 1]; i++) {
        rows += w->pass.runs[i].count;
    }
    for (int i = 0; i < m->rec.n_events; i++) {
        const event *e = &m->rec.events[i];
        if (e->layer == layer && e->what == STORE) {
            stored += e->rows;
            assert_int_equal(named, 0);
        } else if (e->layer == layer && e->what == OFFER && e->region == COMM_KV) {
            step = e->step;
            named++;
        }
    }
    assert_int_equal(stored, 2 * rows);
    for (int r = 0; r < w->ranks.n; r++) { /* to all at once, or to each that attends */
        readers += r != m->rank && w->attends[r];
    }
    assert_int_equal(named, !keys_travel(w) ? 0 : layer < LAYERS - 1 ? 1 : readers);
    return step;
}

static void rule_steps(const world *w, const member *m)
{
    const event *last[COMM_REGIONS] = {0};

    for (int l = 0; l < LAYERS; l++) {
        uint32_t mine = step_of_keys(w, m, l), others = step_of_keys(w, &w->ranks.members[0], l);
        assert_true(mine == others || mine == 0 || others == 0);
    }
    for (int i = 0; i < m->rec.n_events; i++) {
        const event *e = &m->rec.events[i];
        if (e->what == OFFER) {
            int32_t by = last[e->region] ? (int32_t)(e->step - last[e->region]->step) : 1;
            assert_true(by > 0 || (by == 0 && e->to > last[e->region]->to)); /* the same step to one rank after the other */
            last[e->region] = e;
        } else if (e->what == ASK && e->region == COMM_KV) {
            assert_int_equal(e->step, step_of_keys(w, &w->ranks.members[e->owner], e->layer));
        }
    }
}

static void a_layer_is_offered_behind_both_its_stores_and_steps_grow_alike(void **state)
{
    (void)state;
    hold_always(7, rule_steps);
}

/* Runs of any length, of any rank, in any order: as other engines deal them out. */
static void runs_that_somebody_else_dealt_out_are_covered_too(void **state)
{
    static world w;

    (void)state;
    srand(8);
    for (int round = 0; round < 200; round++) {
        plan_run runs[RANKS_MOST * MAX_ROWS];
        int32_t rank_of[CAPACITY], n = 1 + rand() % RANKS_MOST, n_runs = 0;
        int64_t rows[RANKS_MOST] = {0}, tokens = rand() % (n * MAX_ROWS / 2 + 1);
        world_open(&w, n, false, DTYPE_BF16);
        for (int64_t t = 0; t < tokens; t++) {
            rank_of[t] = t && rand() % 3 ? rank_of[t - 1] : rand() % n;
            while (rows[rank_of[t]] == MAX_ROWS) {
                rank_of[t] = rand() % n;
            }
            rows[rank_of[t]]++;
        }
        for (int r = 0; r < n; r++) {
            for (int64_t t = 0; t < tokens; t++) {
                bool grows = n_runs && runs[n_runs - 1].rank == r && runs[n_runs - 1].first + runs[n_runs - 1].count == t;
                if (rank_of[t] == r && grows) {
                    runs[n_runs - 1].count++;
                } else if (rank_of[t] == r) {
                    runs[n_runs++] = (plan_run){r, t, 1};
                }
            }
        }
        pass_from_runs(&w.pass, runs, n_runs);
        go(&w);
        world_close(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_query_meets_every_key_up_to_its_own_once_and_no_other),
        cmocka_unit_test(every_key_and_value_is_stored_once_in_its_planned_slot_and_kept),
        cmocka_unit_test(every_other_rank_is_asked_once_a_layer_and_own_keys_stay),
        cmocka_unit_test(the_next_keys_travel_before_attention_over_the_last_is_queued),
        cmocka_unit_test(a_hop_brings_what_is_needed_and_nothing_twice),
        cmocka_unit_test(what_came_before_is_one_segment_a_span_and_only_new_runs_have_positions),
        cmocka_unit_test(a_layer_is_offered_behind_both_its_stores_and_steps_grow_alike),
        cmocka_unit_test(runs_that_somebody_else_dealt_out_are_covered_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
