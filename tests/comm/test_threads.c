/* Ranks as threads: what each has written is what every other reads, whoever is early or late; and who waits can be let go.
   Rests on comm/comm.h and pthreads. Contents are a formula of rank, step and place, so that every byte can be told. */
#include "comm/comm.h"

#include "device/cpu/cpu.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    RANKS_MOST = 8,
    ROUNDS = 200,
    MESSAGE = 9000, /* bytes of the rows of an all-gather */
    STEPS = 20,
    STEPS_A_PASS = 4,
    ROWS = 9,
    ROW = 24,   /* bytes of a row that travel */
    APART = 40, /* from one row to the next */
    STEP_BYTES = ROWS * APART
};

static const uint32_t FIRST_PASS = UINT32_MAX - 1;

static unsigned char byte_of(int rank, int step, size_t i)
{
    return (unsigned char)((unsigned)rank * 31 + (unsigned)step * 17 + (unsigned)i * 7 + 1);
}

/* --- ranks as threads; assertions are for the first thread, the others count what is wrong --- */

typedef struct worker {
    comm *c;
    comm_group *group;
    int rank, n, wrong;
    lariat_status status;
    unsigned char *region; /* [STEPS, ROWS, APART], this rank's */
    _Atomic int *waiting;  /* ranks that have begun and are about to wait for what never comes */
} worker;

typedef void *work(void *user);

/* Makes some ranks late, others another time. */
static void dawdle(int rank, int step)
{
    for (int i = (rank * 7 + step * 5) % 11; i > 8; i--) {
        sched_yield();
    }
}

static void run(comm_group *g, int n, work *what, worker workers[])
{
    pthread_t threads[RANKS_MOST];

    for (int r = 0; r < n; r++) {
        workers[r] = (worker){.c = comm_endpoint(g, r), .group = g, .rank = r, .n = n, .waiting = workers[r].waiting};
        assert_int_equal(comm_rank(workers[r].c), r);
        assert_int_equal(comm_size(workers[r].c), n);
        assert_int_equal(pthread_create(&threads[r], NULL, what, &workers[r]), 0);
    }
    for (int r = 0; r < n; r++) {
        pthread_join(threads[r], NULL);
    }
}

static comm_group *open_group(int n)
{
    comm_group *g;
    const comm_setup setup = {.n_ranks = n, .n_local = n, .message_bytes = MESSAGE, .hop_bytes = {ROWS * ROW, 64, 64}};

    assert_int_equal(comm_threads_open(&setup, &g), LARIAT_OK);
    assert_int_equal(comm_first(g), 0);
    assert_int_equal(comm_local(g), n);
    return g;
}

/* --- all-gather --- */

/* One to three rows, columns of any width, many of them empty, and now and then room between the rows. */
static comm_gather rows_of(int n, int round, size_t begin[])
{
    begin[0] = 0;
    for (int r = 0; r < n; r++) {
        begin[r + 1] = begin[r] + (size_t)(r * 389 + round * 211) % 5 * 73;
    }
    return (comm_gather){.rows = 1 + round % 3, .stride = begin[n] + (size_t)(round % 4) * 8, .begin = begin};
}

static void write_columns(const worker *w, const comm_gather *g, int round, unsigned char *rows)
{
    for (int64_t t = 0; t < g->rows; t++) {
        for (size_t i = g->begin[w->rank]; i < g->begin[w->rank + 1]; i++) {
            rows[(size_t)t * g->stride + i] = byte_of(w->rank + (int)t, round, i);
        }
    }
}

static int wrong_columns(int n, const comm_gather *g, int round, const unsigned char *rows)
{
    int wrong = 0;

    for (int r = 0; r < n; r++) {
        for (int64_t t = 0; t < g->rows; t++) {
            for (size_t i = g->begin[r]; i < g->begin[r + 1]; i++) {
                wrong += rows[(size_t)t * g->stride + i] != byte_of(r + (int)t, round, i);
            }
        }
    }
    return wrong;
}

static void *gather_in_rounds(void *user)
{
    worker *w = user;
    size_t begin[RANKS_MOST + 1];

    comm_begin(w->c, FIRST_PASS - 2, false);
    for (int round = 0; round < ROUNDS && w->status == LARIAT_OK; round++) {
        comm_gather g = rows_of(w->n, round, begin);
        unsigned char *rows = comm_rows(w->c);
        write_columns(w, &g, round, rows);
        dawdle(w->rank, round);
        w->status = comm_all_gather(w->c, &g);
        dawdle(w->n - w->rank, round); /* the quick ones write the next rows meanwhile */
        w->wrong += wrong_columns(w->n, &g, round, rows);
    }
    return NULL;
}

static void all_gather_completes_every_row_and_keeps_it_until_the_next(void **state)
{
    (void)state;
    for (int n = 1; n <= RANKS_MOST; n++) {
        worker workers[RANKS_MOST] = {0};
        comm_group *g = open_group(n);

        run(g, n, gather_in_rounds, workers);
        for (int r = 0; r < n; r++) {
            assert_int_equal(workers[r].status, LARIAT_OK);
            assert_int_equal(workers[r].wrong, 0);
        }
        comm_group_close(g);
    }
}

/* --- hops --- */

/* Every second row, and the rest of them, as two pieces of a step. */
static void pieces_of(int step, comm_piece out[2])
{
    size_t from = (size_t)step * STEP_BYTES;

    out[0] = (comm_piece){.offset = from, .bytes = ROW, .stride = 2 * (size_t)APART, .rows = (ROWS + 1) / 2};
    out[1] = (comm_piece){.offset = from + APART, .bytes = ROW, .stride = 2 * (size_t)APART, .rows = ROWS / 2};
}

static int wrong_rows(const comm_hop *hop, int step)
{
    int wrong = 0;

    for (int p = 0; p < hop->offer.n; p++) {
        for (int64_t row = 0; row < hop->offer.list[p].rows; row++) {
            const unsigned char *at = (const unsigned char *)hop->views[p].at + (size_t)row * hop->views[p].stride;
            for (size_t i = 0; i < ROW; i++) {
                wrong += at[i] != byte_of(hop->owner, step, (size_t)(2 * row + p) * APART + i);
            }
        }
    }
    return wrong;
}

/* Steps of a pass, STEPS_A_PASS at a time. */
static comm_pieces offer_of(int step, const comm_piece pieces[2])
{
    return (comm_pieces){COMM_KV, (uint32_t)(step % STEPS_A_PASS + 1), pieces, 2};
}

/* Once around the ring, as attention goes: the next hop is asked for before this one is taken. */
static void go_around(worker *w, int step)
{
    comm_piece pieces[2];
    comm_view views[2][2];
    comm_hop hops[2];

    pieces_of(step, pieces);
    for (int i = 0; i <= w->n && w->status == LARIAT_OK; i++) {
        if (i < w->n) {
            hops[i & 1] = (comm_hop){.owner = (w->rank + i) % w->n, .offer = offer_of(step, pieces), .views = views[i & 1]};
            w->status = comm_ask(w->c, &hops[i & 1]);
        }
        if (i > 0 && w->status == LARIAT_OK) {
            comm_hop *hop = &hops[(i - 1) & 1];
            w->status = comm_take(w->c, hop);
            w->wrong += w->status == LARIAT_OK ? wrong_rows(hop, step) : 0;
            comm_release(w->c, hop);
        }
    }
}

/* Everything again in every pass: numbers of passes wrap on the way. */
static void *hop_in_steps(void *user)
{
    worker *w = user;
    comm_piece pieces[2];

    w->region = calloc(STEPS, STEP_BYTES);
    comm_expose(w->c, COMM_KV, w->region, (size_t)STEPS * STEP_BYTES);
    comm_begin(w->c, FIRST_PASS - 1, false);
    w->status = comm_all_gather(w->c, &(comm_gather){0}); /* all have exposed */
    for (int step = 0; step < STEPS && w->status == LARIAT_OK; step++) {
        dawdle(w->rank, step);
        if (step % STEPS_A_PASS == 0) {
            comm_begin(w->c, FIRST_PASS + (uint32_t)(step / STEPS_A_PASS), false);
        }
        for (size_t i = 0; i < STEP_BYTES; i++) {
            w->region[(size_t)step * STEP_BYTES + i] = byte_of(w->rank, step, i);
        }
        pieces_of(step, pieces);
        comm_pieces offer = offer_of(step, pieces);
        comm_offer(w->c, COMM_ALL, &offer);
        go_around(w, step);
        if (step % STEPS_A_PASS == STEPS_A_PASS - 1 && w->status == LARIAT_OK) {
            w->status = comm_end(w->c);
        }
    }
    comm_begin(w->c, FIRST_PASS + STEPS, false);
    if (w->status == LARIAT_OK) {
        w->status = comm_all_gather(w->c, &(comm_gather){0}); /* nobody reads any more */
    }
    free(w->region);
    return NULL;
}

static void hops_bring_what_the_owner_wrote_before_it_offered(void **state)
{
    (void)state;
    for (int n = 1; n <= RANKS_MOST; n++) {
        worker workers[RANKS_MOST] = {0};
        comm_group *g = open_group(n);

        run(g, n, hop_in_steps, workers);
        for (int r = 0; r < n; r++) {
            comm_counters counted = comm_counted(comm_endpoint(g, r));
            assert_int_equal(workers[r].status, LARIAT_OK);
            assert_int_equal(workers[r].wrong, 0);
            assert_int_equal(counted.hops, (n - 1) * STEPS); /* its own pieces do not travel */
            assert_int_equal(counted.hop_bytes, n > 1 ? ROWS * ROW : 0);
            assert_true(n > 1 || counted.wait_s < 0.001 * STEPS); /* nobody to wait for */
        }
        comm_group_close(g);
    }
}

static void calls_out_of_order_or_out_of_range_are_refused(void **state)
{
    unsigned char region[64] = {0};
    comm_view view;
    comm_piece piece = {.bytes = 16, .stride = 24, .rows = 3}; /* its last byte is the 64th */
    comm_hop hop = {.offer = {COMM_QUERIES, 1, &piece, 1}, .views = &view}, other = hop;
    comm_group *g = open_group(1);
    comm *c = comm_endpoint(g, 0);
    device elsewhere = {.shares_host = false};

    (void)state;
    comm_expose(c, COMM_QUERIES, region, sizeof region);
    comm_begin(c, 1, false);
    comm_offer(c, 0, &hop.offer);
    assert_int_equal(comm_take(c, &hop), LARIAT_FAILED); /* not asked for */
    assert_int_equal(comm_ask(c, &hop), LARIAT_OK);
    assert_int_equal(comm_ask(c, &hop), LARIAT_OK);
    assert_int_equal(comm_ask(c, &hop), LARIAT_FAILED); /* a third */
    other.offer.region = COMM_PARTIALS;
    assert_int_equal(comm_ask(c, &other), LARIAT_OK); /* of another region */
    assert_int_equal(comm_take(c, &(comm_hop){.offer = hop.offer, .views = &view}), LARIAT_FAILED); /* not that one */
    assert_int_equal(comm_take(c, &hop), LARIAT_OK);
    assert_ptr_equal(view.at, region);
    assert_int_equal(view.stride, 24);
    assert_int_equal(comm_ask(c, &hop), LARIAT_FAILED); /* one is in use, one travels */
    comm_release(c, &hop);
    piece.offset = 1;
    assert_int_equal(comm_take(c, &hop), LARIAT_FAILED); /* one byte past the end */
    comm_gather gather = {.rows = 2, .stride = MESSAGE - 1, .begin = (size_t[]){0, 1}};
    assert_int_equal(comm_all_gather(c, &gather), LARIAT_OK);
    gather.begin = (size_t[]){0, 2};
    assert_int_equal(comm_all_gather(c, &gather), LARIAT_FAILED);
    assert_int_equal(comm_attach(c, &elsewhere), LARIAT_FAILED); /* threads read each other's memory */
    comm_group_close(g);
    comm_group_close(NULL);
    assert_int_equal(comm_threads_open(&(comm_setup){.n_ranks = 2, .n_local = 1}, &g), LARIAT_FAILED);
}

/* --- progress --- */

static int polls; /* of this test's thread, which alone makes calls */

static void count_poll(comm *c)
{
    assert_ptr_equal(c->ops->poll, count_poll);
    polls++;
}

static lariat_status attach_any(comm *c, device *dev)
{
    (void)c;
    (void)dev;
    return LARIAT_OK;
}

static void a_transport_that_polls_is_polled_between_pieces_of_the_cpu_s_work(void **state)
{
    enum { N = 64, D = 4096 };
    static const comm_ops ops = {.attach = attach_any, .poll = count_poll};
    static float x[N * D], weight[D];
    comm c = {.ops = &ops, .n = 1};
    device *dev;

    (void)state;
    for (int threads = 1; threads <= 3; threads++) {
        assert_int_equal(cpu_device_open(threads, CPU_BEST, &dev), LARIAT_OK);
        dev->ops->rms_norm(dev, x, x, weight, 1, N, D);
        assert_int_equal(comm_attach(&c, dev), LARIAT_OK);
        polls = 0;
        for (int i = 0; i < 1000 && polls < 2; i++) { /* another thread may take all pieces */
            dev->ops->rms_norm(dev, x, x, weight, 1, N, D);
        }
        assert_true(polls > 1);
        dev->ops->close(dev);
    }
}

/* --- letting go --- */

/* Rank 0 stops the others once all are about to wait: for a block that it does not bring, or a step that it does not reach. */
static void *wait_in_vain(void *user)
{
    worker *w = user;
    comm_hop hop = {.offer = {.region = COMM_KV, .step = 1000}};

    comm_begin(w->c, FIRST_PASS - 3, false);
    if (w->rank == 0) {
        atomic_fetch_add(w->waiting, 1); /* its words are those of this pass */
        while (atomic_load(w->waiting) < w->n) {
            sched_yield();
        }
        comm_cancel(w->group);
        w->status = LARIAT_CANCELLED;
        return NULL;
    }
    while (atomic_load(w->waiting) == 0) {
        sched_yield();
    }
    atomic_fetch_add(w->waiting, 1);
    if (w->rank % 2) {
        w->status = comm_all_gather(w->c, &(comm_gather){0});
    } else {
        w->status = comm_ask(w->c, &hop);
        w->status = w->status == LARIAT_OK ? comm_take(w->c, &hop) : w->status;
    }
    return NULL;
}

static void who_waits_is_let_go_and_the_group_can_be_used_again(void **state)
{
    (void)state;
    for (int n = 1; n <= RANKS_MOST; n++) {
        worker workers[RANKS_MOST] = {0};
        _Atomic int waiting = 0;
        comm_group *g = open_group(n);

        for (int r = 0; r < n; r++) {
            workers[r].waiting = &waiting;
        }
        run(g, n, wait_in_vain, workers);
        for (int r = 0; r < n; r++) {
            assert_int_equal(workers[r].status, LARIAT_CANCELLED);
        }
        comm_reset(g);
        run(g, n, gather_in_rounds, workers);
        for (int r = 0; r < n; r++) {
            assert_int_equal(workers[r].status, LARIAT_OK);
            assert_int_equal(workers[r].wrong, 0);
        }
        run(g, n, hop_in_steps, workers);
        for (int r = 0; r < n; r++) {
            assert_int_equal(workers[r].status, LARIAT_OK);
            assert_int_equal(workers[r].wrong, 0);
        }
        comm_group_close(g);
    }
}

static void *gather_once(void *user)
{
    worker *w = user;

    comm_begin(w->c, FIRST_PASS - 3, false);
    w->status = comm_all_gather(w->c, &(comm_gather){0});
    return NULL;
}

static void every_call_after_a_cancel_says_so_also_where_nothing_is_missing(void **state)
{
    unsigned char region[16] = {0};
    const comm_piece piece = {.bytes = sizeof region, .stride = sizeof region, .rows = 1};
    comm_view view;
    comm_hop hop = {.owner = 0, .offer = {COMM_KV, 1, &piece, 1}, .views = &view};

    (void)state;
    for (int n = 1; n <= RANKS_MOST; n++) {
        worker workers[RANKS_MOST] = {0};
        comm_group *g = open_group(n);
        comm *owner = comm_endpoint(g, 0), *reader = comm_endpoint(g, n - 1);

        comm_expose(owner, COMM_KV, region, sizeof region);
        comm_begin(owner, FIRST_PASS - 4, false);
        comm_begin(reader, FIRST_PASS - 4, false);
        comm_offer(owner, n - 1, &hop.offer);
        assert_int_equal(comm_ask(reader, &hop), LARIAT_OK);
        comm_cancel(g);
        assert_int_equal(comm_take(reader, &hop), LARIAT_CANCELLED);
        assert_int_equal(comm_ask(reader, &hop), LARIAT_CANCELLED);
        comm_reset(g);
        comm_cancel(g);
        run(g, n, gather_once, workers); /* all ranks come */
        for (int r = 0; r < n; r++) {
            assert_int_equal(workers[r].status, LARIAT_CANCELLED);
        }
        comm_reset(g);
        run(g, n, gather_in_rounds, workers);
        for (int r = 0; r < n; r++) {
            assert_int_equal(workers[r].status, LARIAT_OK);
            assert_int_equal(workers[r].wrong, 0);
        }
        comm_group_close(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_gather_completes_every_row_and_keeps_it_until_the_next),
        cmocka_unit_test(hops_bring_what_the_owner_wrote_before_it_offered),
        cmocka_unit_test(calls_out_of_order_or_out_of_range_are_refused),
        cmocka_unit_test(a_transport_that_polls_is_polled_between_pieces_of_the_cpu_s_work),
        cmocka_unit_test(every_call_after_a_cancel_says_so_also_where_nothing_is_missing),
        cmocka_unit_test(who_waits_is_let_go_and_the_group_can_be_used_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
