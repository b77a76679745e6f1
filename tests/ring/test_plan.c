/* The division of a pass: nothing lost, nothing twice, even, and of even causal work.
   Rests on ring/plan.h. */
#include "ring/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MOST = 64 };

static int64_t sum(const int64_t *a, int n)
{
    int64_t s = 0;
    for (int i = 0; i < n; i++) {
        s += a[i];
    }
    return s;
}

static void shares_are_even_when_room_allows(void **state)
{
    (void)state;
    int64_t filled[MOST] = {0}, room[MOST], rows[MOST] = {0}, share[MOST];

    for (int n = 1; n <= MOST; n++) {
        for (int r = 0; r < n; r++) {
            room[r] = 1 << 20;
        }
        for (int64_t tokens = 0; tokens <= 300; tokens++) {
            assert_int_equal(plan_shares(n, filled, room, rows, tokens, share), tokens);
            assert_int_equal(sum(share, n), tokens);
            for (int r = 0; r < n; r++) {
                assert_in_range(share[r], tokens / n, (tokens + n - 1) / n);
            }
        }
    }
}

/* Random fillings and rooms, against the definition: no token could move from a fuller rank to an emptier one with room. */
static void shares_level_what_was_uneven(void **state)
{
    (void)state;
    srand(1);
    for (int round = 0; round < 20000; round++) {
        int64_t filled[MOST], room[MOST], rows[MOST], share[MOST];
        int n = 1 + rand() % 8;
        int64_t tokens = rand() % 200;
        for (int r = 0; r < n; r++) {
            filled[r] = rand() % 50;
            room[r] = rand() % 60;
            rows[r] = rand() % 5;
        }
        int64_t placed = plan_shares(n, filled, room, rows, tokens, share);
        assert_int_equal(sum(share, n), placed);
        assert_int_equal(placed, tokens < sum(room, n) ? tokens : sum(room, n));
        for (int a = 0; a < n; a++) {
            assert_in_range(share[a], 0, room[a]);
            for (int b = 0; b < n; b++) {
                bool could_move = share[a] > 0 && share[b] < room[b];
                assert_false(could_move && filled[a] + share[a] > filled[b] + share[b] + 1);
            }
        }
    }
}

static void zigzag_covers_every_position_once_and_in_order(void **state)
{
    (void)state;
    for (int n = 1; n <= MOST; n++) {
        for (int64_t tokens = 0; tokens < 5 * n; tokens++) {
            int64_t filled[MOST] = {0}, room[MOST], rows[MOST] = {0}, share[MOST], got[MOST] = {0}, next = 1000;
            plan_run runs[2 * MOST];
            for (int r = 0; r < n; r++) {
                room[r] = tokens;
            }
            plan_shares(n, filled, room, rows, tokens, share);
            int count = plan_zigzag(n, share, 1000, runs);
            for (int i = 0; i < count; i++) {
                assert_int_equal(runs[i].first, next);
                assert_true(runs[i].count > 0);
                next += runs[i].count;
                got[runs[i].rank] += runs[i].count;
            }
            assert_int_equal(next, 1000 + tokens);
            assert_memory_equal(got, share, (size_t)n * sizeof *got);
        }
    }
}

static void zigzag_gives_every_rank_the_same_causal_work(void **state)
{
    (void)state;
    for (int n = 1; n <= 16; n++) {
        int64_t tokens = 2 * n * 50, share[MOST], work[MOST] = {0};
        plan_run runs[2 * MOST];
        for (int r = 0; r < n; r++) {
            share[r] = 100;
        }
        int count = plan_zigzag(n, share, 0, runs);
        for (int i = 0; i < count; i++) {
            for (int64_t p = runs[i].first; p < runs[i].first + runs[i].count; p++) {
                work[runs[i].rank] += p + 1;
            }
        }
        for (int r = 0; r < n; r++) {
            assert_int_equal(work[r], tokens * (tokens + 1) / 2 / n);
        }
    }
}

static plan_costs costs(double hop_bytes_per_s)
{
    /* Llama-3-8B in bf16 on two H100: see ANCHORS for the figures behind the rates. */
    return (plan_costs){.n_ranks = 2,
                        .n_layers = 32,
                        .weight_bytes = 14e9,
                        .row_bytes = 32 * 2 * 30e3,
                        .read_bytes_per_s = 3e12,
                        .flops = 600e12,
                        .hop_bytes_per_s = hop_bytes_per_s,
                        .hop_latency_s = 10e-6,
                        .kv_bytes = 4096,
                        .q_bytes = 4.0 * (2 * 4096 + 64),
                        .qk_flops = 4 * 4096.0};
}

/* Which side travels for one sequence: its tokens, and what is cached of it. */
static pass_side side_of(const plan_costs *c, int64_t tokens, int64_t prefix)
{
    return plan_side(c, &(pass_part){.first = prefix, .count = tokens}, 1);
}

static void keys_travel_where_reading_in_place_is_free(void **state)
{
    (void)state;
    plan_costs c = costs(0);

    assert_int_equal(side_of(&c, 1, 1 << 20), PASS_KV);
    assert_int_equal(plan_q_from(&c, 256, 1 << 20), -1);
}

static void queries_travel_where_a_few_meet_a_long_prefix(void **state)
{
    (void)state;
    plan_costs c = costs(350e9);

    assert_int_equal(side_of(&c, 64, 1 << 20), PASS_Q);
    assert_int_equal(side_of(&c, 8192, 1 << 20), PASS_KV); /* the hop hides under compute */
    int64_t from = plan_q_from(&c, 64, 1 << 20);
    assert_true(from > 0);
    assert_int_equal(side_of(&c, 64, from - 1), PASS_KV);
    assert_int_equal(side_of(&c, 64, from), PASS_Q);
}

/* Sixteen texts with a long prefix each and a few new tokens: hops of keys would show as they do for one of them. Sums
   multiplied take every query for one of every key, sixteen times the work, under which the hops would seem to hide. */
static void sequences_of_a_batch_do_not_lend_one_another_their_keys(void **state)
{
    enum { TEXTS = 16, TOKENS = 64, PREFIX = 1 << 16 };
    plan_costs c = costs(350e9);
    pass_part parts[TEXTS];

    (void)state;
    for (int i = 0; i < TEXTS; i++) {
        parts[i] = (pass_part){.first = PREFIX, .count = TOKENS, .token = (int64_t)i * TOKENS};
    }
    assert_int_equal(side_of(&c, TOKENS, PREFIX), PASS_Q);
    assert_int_equal(side_of(&c, TEXTS * TOKENS, (int64_t)TEXTS * PREFIX), PASS_KV);
    assert_int_equal(plan_side(&c, parts, TEXTS), PASS_Q);
}

/* One that reads a long prompt anew, and one that answers from a long cache. What they cost is added up here, second by
   second. */
static void a_prompt_beside_a_long_cache_is_predicted_by_what_each_meets(void **state)
{
    int differ = 0;

    (void)state;
    for (int64_t tokens = 1; tokens <= 1 << 14; tokens *= 2) {
        for (int64_t prefix = 1; prefix <= 1 << 20; prefix *= 2) {
            plan_costs c = costs(350e9);
            const pass_part parts[] = {{.first = 0, .count = tokens}, {.first = prefix, .count = 64, .token = tokens}};
            double queries = (double)tokens + 64, keys = (double)(tokens + prefix) + 64;
            double met = (double)tokens * (double)tokens + 64 * ((double)prefix + 64), per_rank = 1.0 / c.n_ranks;
            double compute_s = met * per_rank * per_rank * c.qk_flops / c.flops;
            double keys_s = 10e-6 + keys * per_rank * c.kv_bytes / 350e9 - compute_s;
            double queries_s = 10e-6 + queries * per_rank * c.q_bytes / 350e9 - compute_s;
            pass_side wanted = keys_s <= 0 || keys_s <= queries_s ? PASS_KV : PASS_Q;
            assert_int_equal(plan_side(&c, parts, 2), wanted);
            differ += side_of(&c, tokens + 64, prefix) != wanted;
        }
    }
    assert_true(differ > 0); /* it matters */
}

static void short_passes_go_by_slices_as_far_as_it_pays(void **state)
{
    (void)state;
    plan_costs c = costs(350e9);
    int64_t fast = plan_slices_up_to(&c, 1 << 20);

    assert_int_equal(plan_slices_up_to(&c, 16), 16);
    c.hop_bytes_per_s = 10e9;
    assert_true(plan_slices_up_to(&c, 1 << 20) < fast);
    c.hop_bytes_per_s = 1;
    assert_int_equal(plan_slices_up_to(&c, 16), 1); /* decode always does */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_are_even_when_room_allows),
        cmocka_unit_test(shares_level_what_was_uneven),
        cmocka_unit_test(zigzag_covers_every_position_once_and_in_order),
        cmocka_unit_test(zigzag_gives_every_rank_the_same_causal_work),
        cmocka_unit_test(keys_travel_where_reading_in_place_is_free),
        cmocka_unit_test(queries_travel_where_a_few_meet_a_long_prefix),
        cmocka_unit_test(sequences_of_a_batch_do_not_lend_one_another_their_keys),
        cmocka_unit_test(a_prompt_beside_a_long_cache_is_predicted_by_what_each_meets),
        cmocka_unit_test(short_passes_go_by_slices_as_far_as_it_pays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
