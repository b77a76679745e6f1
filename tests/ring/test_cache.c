/* Shards and passes: every position in one slot of one rank, whatever is opened, forked, stepped, rewound and closed, and
   what one sequence writes is never seen by another.
   Rests on ring/cache.h. The model of truth is a plain list of who owns which slot, and a memory of what was written. */
#include "ring/cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RANKS = 3, SESSIONS = 5, MOST_POSITIONS = 700, BLOCKS = 6, SLOTS = BLOCKS * SLOT_BLOCK };

/* Where a test thinks that each position of each sequence lies, and what was written there. */
typedef struct truth {
    bool open[SESSIONS];
    sequence seq[SESSIONS];
    int32_t rank[SESSIONS][MOST_POSITIONS];
    int64_t slot[SESSIONS][MOST_POSITIONS];
    int32_t value[SESSIONS][MOST_POSITIONS];
    int64_t length[SESSIONS];
    int32_t memory[RANKS][SLOTS];
    int32_t written;
    int shared, copied, refused; /* how often that happened */
} truth;

/* Every position has the value that was written for it, or for the sequence that it was forked from. */
static void check_values(const truth *t)
{
    for (int s = 0; s < SESSIONS; s++) {
        for (int64_t p = 0; t->open[s] && p < t->length[s]; p++) {
            assert_in_range(t->slot[s][p], 0, SLOTS - 1);
            assert_int_equal(t->memory[t->rank[s][p]][t->slot[s][p]], t->value[s][p]);
        }
    }
}

/* The free blocks are those that have no position of an open sequence. */
static void check_blocks(const truth *t, const cache *c)
{
    bool taken[RANKS][BLOCKS] = {0};

    for (int s = 0; s < SESSIONS; s++) {
        for (int64_t p = 0; t->open[s] && p < t->length[s]; p++) {
            taken[t->rank[s][p]][t->slot[s][p] / SLOT_BLOCK] = true;
        }
    }
    for (int r = 0; r < RANKS; r++) {
        int64_t free_blocks = BLOCKS;
        for (int b = 0; b < BLOCKS; b++) {
            free_blocks -= taken[r][b];
        }
        assert_int_equal(c->free_blocks[r], free_blocks);
    }
}

/* The spans of a planned part are exactly the slots that its sequence had before, in the order of its positions. */
static void check_spans(const truth *t, const pass *p, int part, int s)
{
    for (int r = 0; r < RANKS; r++) {
        int32_t i = p->span_begin[part * RANKS + r], end = p->span_begin[part * RANKS + r + 1];
        int64_t inside = 0;
        for (int64_t k = 0; k < p->parts[part].first; k++) {
            if (t->rank[s][k] != r) {
                continue;
            }
            assert_true(i < end);
            assert_int_equal(t->slot[s][k], p->spans[i].slot + inside++);
            if (inside == p->spans[i].count) { /* what follows is no neighbour */
                assert_true(i + 1 == end || p->spans[i + 1].slot != p->spans[i].slot + inside);
                i++;
                inside = 0;
            }
        }
        assert_int_equal(i, end);
    }
}

static void note_runs(truth *t, const pass *p, const int which[])
{
    for (int part = 0; part < p->n_parts; part++) {
        int s = which[part];
        int64_t covered = 0;
        check_spans(t, p, part, s);
        for (int32_t i = 0; i < p->run_begin[RANKS]; i++) {
            const pass_run *run = &p->runs[i];
            int r = 0;
            while (i >= p->run_begin[r + 1]) {
                r++;
            }
            for (int64_t k = 0; run->part == part && k < run->count; k++, covered++) {
                t->rank[s][run->first + k] = r;
                t->slot[s][run->first + k] = run->slot + k;
                t->value[s][run->first + k] = t->memory[r][run->slot + k] = ++t->written;
            }
        }
        assert_int_equal(covered, p->parts[part].count);
        t->length[s] += covered;
        assert_int_equal(t->length[s], t->seq[s].length);
    }
}

/* A sequence that is about to write into a block that it shares gets one of its own. False: none is free. */
static bool unshare(truth *t, cache *c, int s)
{
    block_copy copies[RANKS];

    if (!sequence_is_shared(c, &t->seq[s])) {
        return true;
    }
    if (!sequence_unshare(c, &t->seq[s], copies)) {
        t->refused++;
        return false;
    }
    assert_false(sequence_is_shared(c, &t->seq[s]));
    for (int r = 0; r < RANKS; r++) {
        memcpy(&t->memory[r][copies[r].to], &t->memory[r][copies[r].from], (size_t)copies[r].count * sizeof(int32_t));
        for (int64_t p = 0; p < t->length[s]; p++) {
            int64_t at = t->slot[s][p] - copies[r].from;
            if (t->rank[s][p] == r && at >= 0 && at < copies[r].count) {
                t->slot[s][p] = copies[r].to + at;
            }
        }
        t->copied += copies[r].count > 0;
    }
    return true;
}

/* A part of which some tokens found no place: there is none, for slots or for rows. */
static void check_refused(const truth *t, const cache *c, const pass *p, int s, int64_t max_rows)
{
    for (int r = 0; r < RANKS; r++) {
        bool rows = p->layout == PASS_BY_SLICES || p->rows[r] < max_rows;
        assert_true(!rows || sequence_room(c, &t->seq[s], r) == 0);
    }
}

static void random_step(truth *t, cache *c, pass *p)
{
    pass_request requests[SESSIONS];
    int64_t asked[SESSIONS];
    int which[SESSIONS], n = 0;
    bool slices = rand() % 2;
    int64_t max_rows = 8 + rand() % 40;

    for (int s = 0; s < SESSIONS; s++) {
        int64_t left = t->open[s] ? t->seq[s].capacity - t->seq[s].length : 0, most = slices ? 40 : 90;
        int64_t count = left ? rand() % (left < most ? left + 1 : most) : 0;
        if (count && unshare(t, c, s)) {
            asked[n] = count;
            requests[n] = (pass_request){&t->seq[s], count};
            which[n++] = s;
        }
    }
    if (!n) {
        return;
    }
    pass_plan(p, c, slices ? PASS_BY_SLICES : PASS_BY_TOKENS, requests, n, max_rows);
    note_runs(t, p, which);
    for (int r = 0; r < RANKS; r++) {
        assert_true(slices ? p->rows[r] == p->n_tokens : p->rows[r] <= max_rows);
        assert_true(p->run_begin[r + 1] - p->run_begin[r] <= p->rows[r]); /* what room was taken for */
    }
    for (int i = 0; i < n; i++) {
        assert_int_equal(requests[i].count, p->parts[i].count);
        if (requests[i].count < asked[i]) {
            t->refused++;
            check_refused(t, c, p, which[i], max_rows);
        }
    }
}

static void copy_truth(truth *t, int from, int to, int64_t length)
{
    memcpy(t->rank[to], t->rank[from], sizeof t->rank[to]);
    memcpy(t->slot[to], t->slot[from], sizeof t->slot[to]);
    memcpy(t->value[to], t->value[from], sizeof t->value[to]);
    t->length[to] = length;
}

/* Opens, forks, closes or rewinds a sequence. */
static void happen(truth *t, cache *c, int s)
{
    int other = rand() % SESSIONS;

    if (!t->open[s] && t->open[other] && rand() % 2) {
        int64_t length = rand() % (t->length[other] + 1);
        assert_int_equal(sequence_fork(c, &t->seq[other], length, &t->seq[s]), LARIAT_OK);
        copy_truth(t, other, s, length);
        t->open[s] = true;
        t->shared += sequence_is_shared(c, &t->seq[s]);
    } else if (!t->open[s]) {
        int64_t capacity = 1 + rand() % MOST_POSITIONS;
        assert_int_equal(sequence_open(c, capacity, &t->seq[s]), LARIAT_OK);
        t->open[s] = true;
        t->length[s] = 0;
    } else if (rand() % 20 == 0) {
        sequence_close(c, &t->seq[s]);
        t->open[s] = false;
    } else if (rand() % 8 == 0) {
        t->length[s] = t->length[s] ? rand() % (t->length[s] + 1) : 0;
        sequence_rewind(c, &t->seq[s], t->length[s]);
    }
}

static void every_position_keeps_its_slot_and_its_value_whatever_happens(void **state)
{
    (void)state;
    static truth t;
    cache c;
    pass p;

    srand(2);
    assert_int_equal(cache_open(&c, RANKS, SLOTS), LARIAT_OK);
    const pass_limits most = {.runs = SESSIONS * 90, .parts = SESSIONS, .extents = cache_extents(SLOTS, SESSIONS)};
    assert_int_equal(pass_open(&p, RANKS, &most), LARIAT_OK);
    for (int round = 0; round < 6000; round++) {
        happen(&t, &c, rand() % SESSIONS);
        random_step(&t, &c, &p);
        check_values(&t);
        check_blocks(&t, &c);
    }
    assert_true(t.shared > 50 && t.copied > 50 && t.refused > 50);
    for (int s = 0; s < SESSIONS; s++) {
        if (t.open[s]) {
            sequence_close(&c, &t.seq[s]);
        }
    }
    for (int i = 0; i < RANKS * BLOCKS; i++) { /* all came back */
        assert_int_equal(c.users[i], 0);
        assert_int_equal(c.free_blocks[i % RANKS], BLOCKS);
    }
    pass_close(&p);
    cache_close(&c);
}

static void more_than_the_cache_has_is_refused(void **state)
{
    (void)state;
    for (int n = 1; n <= 5; n++) {
        cache c;
        sequence s;
        assert_int_equal(cache_open(&c, n, SLOTS), LARIAT_OK);
        assert_int_equal(cache_room(&c), cache_most(&c));
        assert_int_equal(sequence_open(&c, cache_most(&c) + 1, &s), LARIAT_NO_MEMORY);
        assert_int_equal(sequence_open(&c, INT64_MAX, &s), LARIAT_NO_MEMORY);
        assert_int_equal(sequence_open(&c, cache_most(&c), &s), LARIAT_OK);
        sequence_close(&c, &s);
        cache_close(&c);
    }
}

/* One pass of `count` tokens of one sequence. */
static void grow(cache *c, pass *p, sequence *s, pass_layout layout, int64_t count)
{
    pass_request request = {s, count};

    pass_plan(p, c, layout, &request, 1, 400);
    assert_int_equal(request.count, count);
}

static void a_sequence_alone_lies_in_one_piece(void **state)
{
    (void)state;
    for (int n = 1; n <= 4; n++) {
        cache c;
        pass p;
        sequence s, other;
        int64_t capacity = 3000;
        srand(3);
        assert_int_equal(cache_open(&c, n, cache_slots_for(n, capacity, 2)), LARIAT_OK);
        const pass_limits most = {.runs = 300, .parts = 1, .extents = 1}; /* of spans no more than one finds room */
        assert_int_equal(pass_open(&p, n, &most), LARIAT_OK);
        assert_int_equal(sequence_open(&c, capacity, &s), LARIAT_OK);
        for (int i = 0; i < 200; i++) {
            int64_t left = capacity - s.length, count = rand() % 2 ? 1 : 1 + rand() % 300;
            if (rand() % 8 == 0 || left == 0) {
                sequence_rewind(&c, &s, rand() % (s.length + 1));
            } else {
                grow(&c, &p, &s, rand() % 2 ? PASS_BY_SLICES : PASS_BY_TOKENS, count < left ? count : left);
            }
        }
        /* Also behind one that is gone, though there are free blocks below. */
        sequence_rewind(&c, &s, 0);
        grow(&c, &p, &s, PASS_BY_TOKENS, 200);
        assert_int_equal(sequence_open(&c, capacity, &other), LARIAT_OK);
        grow(&c, &p, &other, PASS_BY_TOKENS, 200);
        sequence_close(&c, &s);
        while (other.length < capacity - 600) {
            grow(&c, &p, &other, PASS_BY_TOKENS, 200);
        }
        sequence_close(&c, &other);
        pass_close(&p);
        cache_close(&c);
    }
}

/* Two sequences whose blocks alternate: the second has more spans than the plan has room for behind those of the first. */
static void a_part_whose_spans_find_no_room_gets_no_token(void **state)
{
    (void)state;
    cache c;
    pass p, small;
    sequence s[2];
    const pass_limits most = {.runs = 300, .parts = 2, .extents = 6}, few = {.runs = 300, .parts = 2, .extents = 4};

    assert_int_equal(cache_open(&c, 1, SLOTS), LARIAT_OK);
    assert_int_equal(pass_open(&p, 1, &most), LARIAT_OK);
    assert_int_equal(pass_open(&small, 1, &few), LARIAT_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(sequence_open(&c, SLOTS, &s[i]), LARIAT_OK);
    }
    for (int i = 0; i < 6; i++) {
        grow(&c, &p, &s[i % 2], PASS_BY_TOKENS, i < 4 ? SLOT_BLOCK : 5);
    }
    pass_request requests[] = {{&s[0], 2}, {&s[1], 2}};
    pass_plan(&small, &c, PASS_BY_TOKENS, requests, 2, 400);
    assert_int_equal(requests[0].count, 2);
    assert_int_equal(requests[1].count, 0);
    assert_int_equal(small.n_tokens, 2);
    assert_int_equal(s[1].length, 2 * SLOT_BLOCK + 5);
    requests[0] = (pass_request){&s[1], 2};
    pass_plan(&small, &c, PASS_BY_TOKENS, requests, 1, 400);
    assert_int_equal(requests[0].count, 2);
    for (int i = 0; i < 2; i++) {
        sequence_close(&c, &s[i]);
    }
    pass_close(&p);
    pass_close(&small);
    cache_close(&c);
}

/* What the pool is sized for: capacities that are together no more than the context. */
static void capacities_of_the_context_all_find_room(void **state)
{
    enum { MOST = 6 };

    (void)state;
    srand(4);
    for (int round = 0; round < 60; round++) {
        cache c;
        pass p;
        sequence s[MOST];
        int n = 1 + rand() % 8, sessions = 1 + rand() % MOST;
        int64_t context = sessions + rand() % 2000, left = context, slots = cache_slots_for(n, context, sessions);
        assert_int_equal(cache_open(&c, n, slots), LARIAT_OK);
        const pass_limits most = {.runs = 300, .parts = 1, .extents = cache_extents(slots, sessions)};
        assert_int_equal(pass_open(&p, n, &most), LARIAT_OK);
        for (int i = 0; i < sessions; i++) {
            int64_t capacity = i + 1 == sessions ? left : 1 + rand() % (left - (sessions - 1 - i));
            assert_int_equal(sequence_open(&c, capacity, &s[i]), LARIAT_OK);
            left -= capacity;
        }
        for (int64_t total = 0; total < context;) {
            sequence *now = &s[rand() % sessions];
            int64_t room = now->capacity - now->length, count = 1 + rand() % (rand() % 2 ? 3 : 200);
            count = count < room ? count : room;
            if (count) {
                grow(&c, &p, now, rand() % 2 ? PASS_BY_SLICES : PASS_BY_TOKENS, count);
            }
            total += count;
        }
        for (int i = 0; i < sessions; i++) {
            sequence_close(&c, &s[i]);
        }
        pass_close(&p);
        cache_close(&c);
    }
}

static void shards_stay_even_in_prefill_and_decode(void **state)
{
    (void)state;
    for (int n = 1; n <= 64; n *= 2) {
        cache c;
        pass p;
        sequence s;
        int64_t capacity = 4000, slots = cache_slots_for(n, capacity, 1);
        assert_int_equal(cache_open(&c, n, slots), LARIAT_OK);
        const pass_limits most = {.runs = 300, .parts = 1, .extents = cache_extents(slots, 1)};
        assert_int_equal(pass_open(&p, n, &most), LARIAT_OK);
        assert_int_equal(sequence_open(&c, capacity, &s), LARIAT_OK);
        while (s.length < capacity) { /* prompts of 300, then tokens one by one, to the last slot */
            int64_t count = s.length % 1000 < 600 ? 300 : 1;
            grow(&c, &p, &s, count == 1 ? PASS_BY_SLICES : PASS_BY_TOKENS,
                 count < capacity - s.length ? count : capacity - s.length);
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
        cmocka_unit_test(every_position_keeps_its_slot_and_its_value_whatever_happens),
        cmocka_unit_test(more_than_the_cache_has_is_refused),
        cmocka_unit_test(a_sequence_alone_lies_in_one_piece),
        cmocka_unit_test(a_part_whose_spans_find_no_room_gets_no_token),
        cmocka_unit_test(capacities_of_the_context_all_find_room),
        cmocka_unit_test(shards_stay_even_in_prefill_and_decode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
