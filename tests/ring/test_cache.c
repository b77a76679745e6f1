/* Shards and passes: every position in one slot of one rank, whatever is opened, stepped, rewound and closed.
   Rests on ring/cache.h. The model of truth is a plain list of who owns which slot. */
#include "ring/cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RANKS = 3, SESSIONS = 5, MOST_POSITIONS = 700 };

/* Where a test thinks that each position of each sequence lies. */
typedef struct truth {
    bool open[SESSIONS];
    sequence seq[SESSIONS];
    int32_t rank[SESSIONS][MOST_POSITIONS];
    int64_t slot[SESSIONS][MOST_POSITIONS];
    int64_t length[SESSIONS];
} truth;

/* No two positions of all open sequences share a slot. */
static void check_slots(const truth *t, const cache *c)
{
    unsigned char *seen = calloc((size_t)(RANKS * c->blocks), SLOT_BLOCK);

    for (int s = 0; s < SESSIONS; s++) {
        for (int64_t p = 0; t->open[s] && p < t->length[s]; p++) {
            int64_t slot = t->slot[s][p];
            assert_in_range(slot, 0, c->blocks * SLOT_BLOCK - 1);
            unsigned char *place = &seen[t->rank[s][p] * c->blocks * SLOT_BLOCK + slot];
            assert_int_equal(*place, 0);
            *place = 1;
        }
    }
    free(seen);
}

/* The spans of a planned part are exactly the slots that its sequence had before. */
static void check_spans(const truth *t, const pass *p, int part, int s)
{
    for (int r = 0; r < RANKS; r++) {
        int64_t held = 0, spanned = 0;
        for (int64_t k = 0; k < p->parts[part].first; k++) {
            bool inside = false;
            for (int32_t i = p->span_begin[part * RANKS + r]; i < p->span_begin[part * RANKS + r + 1]; i++) {
                inside = inside || (t->slot[s][k] >= p->spans[i].slot && t->slot[s][k] < p->spans[i].slot + p->spans[i].count);
            }
            if (t->rank[s][k] == r) {
                assert_true(inside);
                held++;
            }
        }
        for (int32_t i = p->span_begin[part * RANKS + r]; i < p->span_begin[part * RANKS + r + 1]; i++) {
            spanned += p->spans[i].count;
        }
        assert_int_equal(held, spanned);
    }
}

static void note_runs(truth *t, const pass *p, const int which[])
{
    for (int part = 0; part < p->n_parts; part++) {
        check_spans(t, p, part, which[part]);
        int64_t covered = 0;
        for (int r = 0; r < RANKS; r++) {
            for (int32_t i = p->run_begin[r]; i < p->run_begin[r + 1]; i++) {
                const pass_run *run = &p->runs[i];
                if (run->part != part) {
                    continue;
                }
                for (int64_t k = 0; k < run->count; k++) {
                    t->rank[which[part]][run->first + k] = r;
                    t->slot[which[part]][run->first + k] = run->slot + k;
                    covered++;
                }
            }
        }
        assert_int_equal(covered, p->parts[part].count);
        t->length[which[part]] += covered;
        assert_int_equal(t->length[which[part]], t->seq[which[part]].length);
    }
}

static void random_step(truth *t, pass *p)
{
    pass_request requests[SESSIONS];
    int which[SESSIONS], n = 0;
    bool slices = rand() % 2;
    int64_t tokens = 0, max_rows = 8 + rand() % 40;

    for (int s = 0; s < SESSIONS; s++) {
        int64_t left = t->open[s] ? t->seq[s].capacity - t->seq[s].length : 0, most = slices ? 40 : 90;
        int64_t count = left ? rand() % (left < most ? left + 1 : most) : 0;
        if (count) {
            requests[n] = (pass_request){&t->seq[s], count};
            which[n++] = s;
            tokens += count;
        }
    }
    if (!n) {
        return;
    }
    pass_plan(p, slices ? PASS_BY_SLICES : PASS_BY_TOKENS, requests, n, max_rows);
    note_runs(t, p, which);
    int64_t rows = 0;
    for (int r = 0; r < RANKS; r++) {
        assert_true(slices ? p->rows[r] == p->n_tokens : p->rows[r] <= max_rows);
        rows += p->rows[r];
    }
    /* What room was taken for. */
    for (int r = 0; r < RANKS; r++) {
        int32_t held = 0;
        for (int i = 0; i < n; i++) {
            held += p->span_begin[i * RANKS + r + 1] - p->span_begin[i * RANKS + r];
        }
        assert_true(p->run_begin[r + 1] - p->run_begin[r] <= p->rows[r]);
        assert_true(held <= cache_extents(900, SESSIONS));
    }
    /* Everything finds room but for the rows of a pass by tokens. */
    assert_true(slices ? p->n_tokens == tokens : p->n_tokens == tokens || rows > (RANKS - 1) * (max_rows - 1));
}

static void every_position_has_one_slot_whatever_happens(void **state)
{
    (void)state;
    static truth t;
    cache c;
    pass p;

    srand(2);
    assert_int_equal(cache_open(&c, RANKS, 900), LARIAT_OK);
    const pass_limits most = {.runs = SESSIONS * 90, .parts = SESSIONS, .extents = cache_extents(900, SESSIONS)};
    assert_int_equal(pass_open(&p, RANKS, &most), LARIAT_OK);
    for (int round = 0; round < 6000; round++) {
        int s = rand() % SESSIONS;
        if (!t.open[s]) {
            int64_t capacity = 1 + rand() % MOST_POSITIONS, room = cache_room(&c);
            lariat_status status = sequence_open(&c, capacity, &t.seq[s]);
            assert_int_equal(status, capacity <= room ? LARIAT_OK : LARIAT_NO_MEMORY);
            t.open[s] = status == LARIAT_OK;
            t.length[s] = 0;
        } else if (rand() % 20 == 0) {
            sequence_close(&c, &t.seq[s]);
            t.open[s] = false;
        } else if (rand() % 8 == 0) {
            t.length[s] = t.length[s] ? rand() % (t.length[s] + 1) : 0;
            sequence_rewind(&t.seq[s], RANKS, t.length[s]);
        }
        random_step(&t, &p);
        check_slots(&t, &c);
    }
    for (int s = 0; s < SESSIONS; s++) {
        if (t.open[s]) {
            sequence_close(&c, &t.seq[s]);
        }
    }
    assert_int_equal(c.free_blocks[0], c.blocks); /* all came back */
    pass_close(&p);
    cache_close(&c);
}

static void shards_stay_even_in_prefill_and_decode(void **state)
{
    (void)state;
    for (int n = 1; n <= 64; n *= 2) {
        cache c;
        pass p;
        sequence s;
        int64_t capacity = 4000;
        assert_int_equal(cache_open(&c, n, cache_slots_for(n, capacity)), LARIAT_OK);
        const pass_limits most = {.runs = 300, .parts = 1, .extents = cache_extents(cache_slots_for(n, capacity), 1)};
        assert_int_equal(pass_open(&p, n, &most), LARIAT_OK);
        assert_int_equal(sequence_open(&c, capacity, &s), LARIAT_OK);
        while (s.length < capacity) { /* prompts of 300, then tokens one by one, to the last slot */
            int64_t count = s.length % 1000 < 600 ? 300 : 1;
            pass_request request = {&s, count < capacity - s.length ? count : capacity - s.length};
            pass_plan(&p, count == 1 ? PASS_BY_SLICES : PASS_BY_TOKENS, &request, 1, 400);
            for (int r = 0; r < n; r++) {
                assert_true(s.held[r].used <= s.length / n + DECODE_BLOCK + 1);
            }
        }
        assert_int_equal(s.length, capacity);
        sequence_close(&c, &s);
        pass_close(&p);
        cache_close(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_position_has_one_slot_whatever_happens),
        cmocka_unit_test(shards_stay_even_in_prefill_and_decode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
