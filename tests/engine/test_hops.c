/* Measuring hops: what came is what was sent (the call itself compares, and does say so where something else came), the figures
   belong together, and what makes no sense is refused. No time is judged.
   Rests on lariat/measure.h; tests/CMakeLists.txt puts three calls of this file between the measuring and its transport. */
#include "comm/comm.h"
#include "lariat/measure.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* --- a transport that errs --- */

enum { COPY_MOST = 256 << 10, ROWS_MOST = 1 << 20 };

typedef enum error { NO_ERROR, OTHER_BYTE, OLD_BYTES } error;

/* What is brought is counted over all ranks; it errs once, in the last one of so many. Between that and the last one of the
   round before all ranks meet. */
static struct {
    atomic_int count;
    int last, round;
    error error;
    size_t bytes, at; /* of a block; of the byte that is another one */
    unsigned char copy[COPY_MOST];
} transport;

static void transport_starts(error e, int last, int round, size_t bytes, size_t at)
{
    assert_in_range(bytes, at + 1, COPY_MOST);
    atomic_store(&transport.count, 0);
    transport.last = last;
    transport.round = round;
    transport.error = e;
    transport.bytes = bytes;
    transport.at = at;
}

/* What is read in place of `block`. */
static const void *brought(const void *block)
{
    int count = atomic_fetch_add(&transport.count, 1) + 1;

    if (transport.error == OLD_BYTES && count == transport.last - transport.round) {
        memcpy(transport.copy, block, transport.bytes);
    }
    if (transport.error == NO_ERROR || count != transport.last) {
        return block;
    }
    if (transport.error == OTHER_BYTE) {
        memcpy(transport.copy, block, transport.bytes);
        transport.copy[transport.at] ^= 1;
    }
    return transport.copy;
}

lariat_status __real_comm_take(comm *c, comm_hop *hop);
lariat_status __wrap_comm_take(comm *c, comm_hop *hop);
void *__real_comm_rows(comm *c);
void *__wrap_comm_rows(comm *c);
lariat_status __real_comm_all_gather(comm *c, const comm_gather *g);
lariat_status __wrap_comm_all_gather(comm *c, const comm_gather *g);

lariat_status __wrap_comm_take(comm *c, comm_hop *hop)
{
    lariat_status status = __real_comm_take(c, hop);

    if (status == LARIAT_OK) {
        hop->views[0].at = brought(hop->views[0].at);
    }
    return status;
}

/* Each rank has rows of its own, as where nothing is shared, so that what errs for one is right for the others. */
static _Thread_local unsigned char own_rows[ROWS_MOST];

void *__wrap_comm_rows(comm *c)
{
    (void)c;
    return own_rows;
}

lariat_status __wrap_comm_all_gather(comm *c, const comm_gather *g)
{
    int rank = comm_rank(c);
    unsigned char *rows = __real_comm_rows(c);

    if (g->rows == 0) { /* the ranks only meet */
        return __real_comm_all_gather(c, g);
    }
    memcpy(rows + g->begin[rank], own_rows + g->begin[rank], g->begin[rank + 1] - g->begin[rank]);
    lariat_status status = __real_comm_all_gather(c, g);
    if (status == LARIAT_OK) {
        memcpy(own_rows, rows, g->begin[comm_size(c)]);
        const unsigned char *block = own_rows + g->begin[1];
        memmove(own_rows + g->begin[1], brought(block), g->begin[2] - g->begin[1]);
    }
    return status;
}

/* --- measuring --- */

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

static void fails_by(const lariat_options *o, lariat_hop_kind kind, int64_t bytes)
{
    lariat_hop h;

    assert_int_equal(lariat_measure_hop(o, kind, bytes, 1, &h), LARIAT_FAILED);
    assert_non_null(strstr(lariat_error(), "other bytes came than rank "));
    assert_int_equal(atomic_load(&transport.count), transport.last); /* it was the last one indeed */
}

static void other_bytes_than_were_sent_are_a_failure(void **state)
{
    enum { RANKS = 3, BLOCK = 200004 };
    static const size_t places[] = {0, 65535, 65536, BLOCK - 1};
    lariat_options o = ring_of(RANKS, RANKS);

    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        int64_t bytes = kinds[k] == LARIAT_HOP_KEYS ? BLOCK : RANKS * BLOCK;
        transport_starts(NO_ERROR, 0, 0, BLOCK, 0);
        check(&o, kinds[k], bytes, bytes, 1);
        int all = atomic_load(&transport.count);
        for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
            transport_starts(OTHER_BYTE, all, 0, BLOCK, places[i]);
            fails_by(&o, kinds[k], bytes);
        }
        if (kinds[k] == LARIAT_HOP_KEYS) {
            transport_starts(OLD_BYTES, all, RANKS, BLOCK, 0);
            fails_by(&o, kinds[k], bytes);
        }
        transport_starts(NO_ERROR, 0, 0, BLOCK, 0);
        check(&o, kinds[k], bytes, bytes, 1);
    }
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
        cmocka_unit_test(other_bytes_than_were_sent_are_a_failure),
        cmocka_unit_test(what_makes_no_sense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
