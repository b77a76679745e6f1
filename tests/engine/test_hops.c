/* Measuring hops: what came is what was sent (the call itself compares), the figures belong together, and what makes no sense is
   refused. No time is judged. Rests on lariat/measure.h. */
#include "lariat/measure.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const lariat_hop_kind kinds[] = {LARIAT_HOP_KEYS, LARIAT_HOP_GATHER};

static lariat_options ring_of(int32_t ranks, int32_t threads)
{
    return (lariat_options){.device = LARIAT_DEVICE_CPU, .ranks = ranks, .threads = threads};
}

static bool nearly(double a, double b)
{
    return a > b * 0.999999 && a < b * 1.000001;
}

static void check(const lariat_options *o, lariat_hop_kind kind, int64_t bytes, int64_t moved, int32_t reps)
{
    lariat_hop h;
    double others = kind == LARIAT_HOP_KEYS ? 1 : (double)(o->ranks - 1) / o->ranks;

    if (lariat_measure_hop(o, kind, bytes, reps, &h) != LARIAT_OK) {
        fail_msg("%d ranks, %lld bytes: %s", o->ranks, (long long)bytes, lariat_error());
    }
    assert_int_equal(h.kind, kind);
    assert_int_equal(h.ranks, o->ranks);
    assert_int_equal(h.threads, o->threads < o->ranks ? o->ranks : o->threads);
    assert_int_equal(h.cards, 0);
    assert_false(h.through_host);
    assert_true(h.machine[0]);
    assert_int_equal(h.bytes, moved);
    assert_int_equal(h.reps, reps);
    assert_true(h.hops >= 4);
    assert_true(h.min_s > 0 && h.min_s <= h.seconds && h.seconds <= h.max_s);
    assert_true(nearly(h.algbw * h.seconds, (double)moved));
    assert_true(nearly(h.busbw, h.algbw * others));
}

static void rings_of_several_sizes_bring_what_was_sent(void **state)
{
    static const int32_t rings[] = {2, 3, 5};
    static const int64_t sizes[] = {60, 255, 4099, 65536, 200003};

    (void)state;
    for (size_t r = 0; r < sizeof rings / sizeof *rings; r++) {
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            lariat_options o = ring_of(rings[r], i % 2 ? rings[r] + 2 : 1);
            int64_t whole_floats = sizes[i] / (4 * rings[r]) * (4 * rings[r]);
            check(&o, LARIAT_HOP_KEYS, sizes[i], sizes[i], 2);
            check(&o, LARIAT_HOP_GATHER, sizes[i], whole_floats, 3);
        }
    }
}

static void one_byte_one_float_and_more_than_a_rank_reads_at_once_are_sizes(void **state)
{
    lariat_options o = ring_of(2, 4);

    (void)state;
    check(&o, LARIAT_HOP_KEYS, 1, 1, 1);
    check(&o, LARIAT_HOP_GATHER, 8, 8, 1);
    check(&o, LARIAT_HOP_KEYS, (3 << 20) + 7, (3 << 20) + 7, 1);
    check(&o, LARIAT_HOP_GATHER, (1 << 20) + 5, 1 << 20, 1);
}

/* Refused with a reason that names it. */
static void refuse(const lariat_options *o, lariat_hop_kind kind, int64_t bytes, int32_t reps, lariat_status status,
                   const char *what)
{
    lariat_hop h;

    assert_int_equal(lariat_measure_hop(o, kind, bytes, reps, &h), status);
    if (!strstr(lariat_error(), what)) {
        fail_msg("\"%s\" does not name %s", lariat_error(), what);
    }
}

static void what_makes_no_sense_is_refused(void **state)
{
    lariat_options two = ring_of(2, 2), one = ring_of(1, 2), unsaid = ring_of(0, 2), many = ring_of(LARIAT_RANKS_MAX + 1, 2);
    lariat_options threads = ring_of(2, -1), way = ring_of(2, 2), card = ring_of(2, 2);

    (void)state;
    way.hops = (lariat_hops)7;
    card.n_cards = 1;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        refuse(&one, kinds[i], 4096, 1, LARIAT_BAD_ARGUMENT, "a ring of one");
        refuse(&unsaid, kinds[i], 4096, 1, LARIAT_BAD_ARGUMENT, "a ring of one");
        refuse(&many, kinds[i], 4096, 1, LARIAT_BAD_ARGUMENT, "ranks: 4097");
        refuse(&threads, kinds[i], 4096, 1, LARIAT_BAD_ARGUMENT, "threads: -1");
        refuse(&way, kinds[i], 4096, 1, LARIAT_BAD_ARGUMENT, "hops: 7");
        refuse(&card, kinds[i], 4096, 1, LARIAT_BAD_ARGUMENT, "CPUs have no numbers");
        refuse(&two, kinds[i], 0, 1, LARIAT_BAD_ARGUMENT, "0 bytes");
        refuse(&two, kinds[i], INT64_MIN, 1, LARIAT_BAD_ARGUMENT, "bytes are out of range");
        refuse(&two, kinds[i], 4096, 0, LARIAT_BAD_ARGUMENT, "0 repetitions");
        refuse(&two, kinds[i], 4096, INT32_MAX, LARIAT_BAD_ARGUMENT, "repetitions are out of range");
        refuse(&two, kinds[i], INT64_MAX, 1, LARIAT_NO_MEMORY, "free; measure smaller ones");
        refuse(&two, kinds[i], (int64_t)1 << 50, 1, LARIAT_NO_MEMORY, "free; measure smaller ones");
    }
    refuse(&two, LARIAT_HOP_GATHER, 7, 1, LARIAT_BAD_ARGUMENT, "ask for 8 or more");
    refuse(&two, (lariat_hop_kind)2, 4096, 1, LARIAT_BAD_ARGUMENT, "2 is no kind");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rings_of_several_sizes_bring_what_was_sent),
        cmocka_unit_test(one_byte_one_float_and_more_than_a_rank_reads_at_once_are_sizes),
        cmocka_unit_test(what_makes_no_sense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
