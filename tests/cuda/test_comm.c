/* Ranks with GPUs: what each pushed or laid out is what every other finds, pass after pass, queued directly and repeated;
   pieces of regions come as they were when they were ready; and whoever waits for a rank that never comes is let go, on the
   host and on the card. Rests on comm/gpu_transport.h and device/gpu.h. All cards are used, ranks are dealt over them; skipped
   where there is no GPU. */
#include "base/clock.h"
#include "comm/gpu_transport.h"
#include "device/gpu.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    RANKS_MOST = 5,
    PASSES = 40,
    GATHERS = 5,        /* of a pass */
    BLOCK = 1001,       /* floats of a rank's columns, no multiple of 16 bytes; the last rank has fewer */
    SHORT = 37,
    WIDE = 3,           /* floats behind the columns of a row, which nobody writes */
    HIGH = 3,           /* rows of a gather, at most */
    ROWS = 6,           /* of a region, each of ROW bytes of which PIECE travel */
    ROW = 512,
    PIECE = 400,
    HANGS_AFTER_S = 60, /* the test ends itself */
};

static const cuda_module *module;
static const comm_gpu *transport;
static int n_cards;

typedef struct worker {
    comm *c;
    comm_group *group;
    pthread_barrier_t *all;
    int rank, n, ordinal, wrong;
    uint32_t pass; /* of the transport, so far */
    bool absent; /* gathers less often than the others */
    lariat_status status;
    device *dev;
} worker;

static int64_t block_of(int rank, int n)
{
    return rank == n - 1 ? SHORT : BLOCK;
}

static float value(int rank, int pass, int gather, int64_t i)
{
    return (float)(rank * 1000003 + pass * 977 + gather * 131 + (int)i);
}

static bool must(worker *w, lariat_status status)
{
    if (status != LARIAT_OK) {
        printf("rank %d: %s\n", w->rank, lariat_error());
        w->status = status;
    }
    return status == LARIAT_OK;
}

/* --- all-gathers --- */

typedef struct gatherer {
    float *mine; /* [GATHERS, HIGH, BLOCK] of this rank */
    float *out;  /* [GATHERS, HIGH, n, BLOCK] */
} gatherer;

static int64_t rows_of(int gather)
{
    return 1 + gather % HIGH;
}

static lariat_status gather_all(worker *w, const gatherer *g)
{
    const device_ops *ops = w->dev->ops;
    size_t begin[RANKS_MOST + 1];
    int64_t width = (w->n - 1) * BLOCK + SHORT, ld = width + WIDE, own = block_of(w->rank, w->n);

    for (int r = 0; r <= w->n; r++) {
        begin[r] = (size_t)(r < w->n ? r * BLOCK : width) * sizeof(float);
    }
    for (int k = 0; k < GATHERS; k++) {
        float *rows = comm_rows(w->c);
        ops->copy(w->dev, DTYPE_F32, rows + w->rank * BLOCK, ld, g->mine + k * HIGH * BLOCK, own, rows_of(k), own, false);
        float *out = g->out + k * HIGH * w->n * BLOCK;
        comm_gather gather = {.rows = rows_of(k), .stride = (size_t)ld * sizeof(float), .begin = begin};
        comm_into into = {.y = out, .ld = w->n * BLOCK, .type = DTYPE_F32};
        if (k % 3 == 0) { /* read where they are gathered */
            TRY(comm_all_gather(w->c, &gather));
            ops->copy(w->dev, DTYPE_F32, out, w->n * BLOCK, rows, ld, rows_of(k), width, false);
            continue;
        }
        gather.into = &into;
        TRY(comm_all_gather(w->c, &gather));
        if (k % 3 == 2) { /* once more, added */
            into.add = true;
            ops->copy(w->dev, DTYPE_F32, (float *)comm_rows(w->c) + w->rank * BLOCK, ld, g->mine + k * HIGH * BLOCK, own,
                      rows_of(k), own, false);
            TRY(comm_all_gather(w->c, &gather));
        }
    }
    return LARIAT_OK;
}

static lariat_status gather_pass(worker *w, const gatherer *g, int pass, bool replays)
{
    const device_ops *ops = w->dev->ops;
    uint64_t key = (uintptr_t)g->mine ^ (uintptr_t)g->out << 1; /* of this gatherer's passes */
    float mine[GATHERS * HIGH * BLOCK] = {0};

    for (int64_t i = 0; i < GATHERS * HIGH; i++) { /* rows are dense, as wide as this rank's columns */
        for (int64_t j = 0, n = block_of(w->rank, w->n); j < n; j++) {
            mine[i / HIGH * HIGH * BLOCK + i % HIGH * n + j] = value(w->rank, pass, (int)i, j);
        }
    }
    ops->upload(w->dev, g->mine, mine, sizeof mine);
    w->pass++;
    do {
        comm_begin(w->c, w->pass, replays);
        if (replays && ops->replay_begin(w->dev, key)) {
            break;
        }
        TRY(gather_all(w, g));
    } while (replays && ops->replay_end(w->dev));
    return LARIAT_OK;
}

static void count_wrong(worker *w, const float *got, int pass)
{
    for (int k = 0; k < GATHERS * HIGH; k++) {
        for (int r = 0; r < w->n && k % HIGH < rows_of(k / HIGH); r++) {
            for (int64_t i = 0; i < block_of(r, w->n); i++) {
                float is = got[((int64_t)k * w->n + r) * BLOCK + i];
                float wanted = value(r, pass, k, i) * (k / HIGH % 3 == 2 ? 2 : 1);
                if (is != wanted && w->wrong++ == 0) {
                    printf("ring of %d, pass %d, all-gather %d: rank %d has %.0f for column %lld of row %d of rank %d, wanted "
                           "%.0f\n",
                           w->n, pass, k / HIGH, w->rank, (double)is, (long long)i, k % HIGH, r, (double)wanted);
                }
            }
        }
    }
}

static lariat_status open_gatherer(worker *w, gatherer *g)
{
    void *block[2];
    size_t bytes[] = {GATHERS * HIGH * BLOCK, (size_t)GATHERS * HIGH * (size_t)w->n * BLOCK};

    for (int i = 0; i < 2; i++) {
        TRY(w->dev->ops->reserve(w->dev, bytes[i] * sizeof(float), "a test", &block[i]));
    }
    *g = (gatherer){block[0], block[1]};
    return LARIAT_OK;
}

static void close_gatherer(worker *w, gatherer *g)
{
    w->dev->ops->release(w->dev, g->mine, 0);
    w->dev->ops->release(w->dev, g->out, 0);
}

static void *gather(void *user)
{
    worker *w = user;
    size_t bytes = (size_t)GATHERS * HIGH * (size_t)w->n * BLOCK * sizeof(float);
    float *got = malloc(bytes);
    gatherer g = {0};

    if (!got || !must(w, open_gatherer(w, &g))) {
        w->wrong++;
    }
    for (int pass = 0; pass < PASSES && w->status == LARIAT_OK; pass++) {
        /* Copied where ranks share a card or not; then pushed, recorded and launched where that can be; now and then copied
         * again. */
        bool replays = comm_replays(w->c) && pass % 8 > 1;
        if (!must(w, gather_pass(w, &g, pass, replays))) {
            comm_cancel(w->group);
        } else {
            w->dev->ops->download(w->dev, got, g.out, bytes);
            must(w, w->dev->ops->finish(w->dev));
            count_wrong(w, got, pass);
        }
    }
    close_gatherer(w, &g);
    free(got);
    return NULL;
}

/* --- pieces --- */

static unsigned char byte_of(int rank, int step, size_t i)
{
    return (unsigned char)((unsigned)rank * 31 + (unsigned)step * 17 + (unsigned)i * 7 + 1);
}

/* The same of every step. */
static const comm_piece piece = {.offset = 0, .bytes = PIECE, .stride = ROW, .rows = ROWS};

typedef struct brought {
    comm_view view;
    comm_hop hop;
} brought;

static lariat_status ask(worker *w, brought *b, int owner, int step)
{
    b->hop = (comm_hop){.owner = owner, .offer = {COMM_KV, (uint32_t)step + 1, &piece, 1}, .views = &b->view};
    return comm_ask(w->c, &b->hop);
}

/* Downloads what was taken, and counts what is wrong. */
static lariat_status look_at(worker *w, const brought *b, int step)
{
    unsigned char got[ROWS * ROW] = {0};

    for (size_t r = 0; r < ROWS; r++) {
        w->dev->ops->download(w->dev, got + r * ROW, (const unsigned char *)b->view.at + r * b->view.stride, PIECE);
    }
    comm_release(w->c, &b->hop);
    TRY(w->dev->ops->finish(w->dev));
    for (size_t i = 0; i < sizeof got; i++) {
        bool wrong = i % ROW < PIECE && got[i] != byte_of(b->hop.owner, step, i);
        if (wrong && w->wrong++ == 0) {
            printf("ring of %d, step %d: rank %d has %d for byte %zu of rank %d\n", w->n, step, w->rank, got[i], i,
                   b->hop.owner);
        }
    }
    return LARIAT_OK;
}

/* A step: the first hop is asked for before anything is offered; of the others each while the one before is open. */
static lariat_status hop_step(worker *w, unsigned char *region, int step)
{
    unsigned char bytes[ROWS * ROW];
    brought hops[2];

    TRY(ask(w, &hops[1], (w->rank + 1) % w->n, step));
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = byte_of(w->rank, step, i);
    }
    w->dev->ops->upload(w->dev, region, bytes, sizeof bytes);
    comm_offer(w->c, COMM_ALL, &(comm_pieces){COMM_KV, (uint32_t)step + 1, &piece, 1});
    for (int k = 1; k <= w->n; k++) {
        TRY(comm_take(w->c, &hops[k & 1].hop));
        TRY(k < w->n ? ask(w, &hops[(k + 1) & 1], (w->rank + k + 1) % w->n, step) : LARIAT_OK);
        TRY(look_at(w, &hops[k & 1], step));
    }
    return LARIAT_OK;
}

static void *hop(void *user)
{
    worker *w = user;
    void *region = NULL;

    if (must(w, w->dev->ops->reserve(w->dev, ROWS * ROW, "a test", &region))) {
        comm_expose(w->c, COMM_KV, region, ROWS * ROW);
    }
    comm_begin(w->c, ++w->pass, false);
    pthread_barrier_wait(w->all); /* all have exposed */
    for (int step = 0; step < PASSES; step++) {
        if (w->status == LARIAT_OK && !must(w, hop_step(w, region, step))) {
            comm_cancel(w->group);
        }
        pthread_barrier_wait(w->all); /* nobody reads any more */
    }
    w->dev->ops->release(w->dev, region, ROWS * ROW);
    return NULL;
}

/* --- a rank that never comes --- */

static void *wait_in_vain(void *user)
{
    worker *w = user;
    gatherer g = {0};

    if (!must(w, open_gatherer(w, &g))) {
        return NULL;
    }
    for (int pass = 0; pass < (w->absent ? 3 : 4) && w->status == LARIAT_OK; pass++) {
        w->status = gather_pass(w, &g, pass, comm_replays(w->c));
        /* Where the host does not wait, the card does. */
        w->status = w->status ? w->status : w->dev->ops->finish(w->dev);
    }
    (void)w->dev->ops->finish(w->dev);
    close_gatherer(w, &g);
    return NULL;
}

/* --- running --- */

typedef void *work(void *user);

static void *open_rank(void *user)
{
    worker *w = user;

    w->status = module->open(w->ordinal, DTYPE_F32, &w->dev);
    if (w->status == LARIAT_OK) {
        must(w, comm_attach(w->c, w->dev));
    }
    return NULL;
}

static void on_threads(worker workers[], int n, work *what)
{
    pthread_t threads[RANKS_MOST];

    for (int r = 0; r < n; r++) {
        assert_int_equal(pthread_create(&threads[r], NULL, what, &workers[r]), 0);
    }
    for (int r = 0; r < n; r++) {
        pthread_join(threads[r], NULL);
    }
}

static comm_group *open_workers(worker workers[], int n, bool through_host, pthread_barrier_t *all)
{
    comm_setup s = {.n_ranks = n, .n_local = n, .message_bytes = HIGH * ((size_t)n * BLOCK + WIDE) * sizeof(float),
                    .hop_bytes = {[COMM_KV] = ROWS * ROW}};
    int32_t ordinals[RANKS_MOST];
    comm_group *g = NULL;

    for (int r = 0; r < n; r++) {
        ordinals[r] = r * n_cards / n;
    }
    assert_int_equal(transport->open(&s, ordinals, through_host, &g), LARIAT_OK);
    assert_int_equal(pthread_barrier_init(all, NULL, (unsigned)n), 0);
    for (int r = 0; r < n; r++) {
        workers[r] = (worker){.c = comm_endpoint(g, r), .group = g, .all = all, .rank = r, .n = n, .ordinal = ordinals[r]};
    }
    on_threads(workers, n, open_rank);
    for (int r = 0; r < n; r++) {
        assert_int_equal(workers[r].status, LARIAT_OK);
    }
    return g;
}

static void close_workers(worker workers[], int n, comm_group *g, pthread_barrier_t *all)
{
    for (int r = 0; r < n; r++) {
        workers[r].dev->ops->close(workers[r].dev);
    }
    comm_group_close(g);
    pthread_barrier_destroy(all);
}

static void check(work *what)
{
    for (int n = 1; n <= RANKS_MOST; n++) {
        for (int through_host = 0; through_host < (n > 1 ? 2 : 1); through_host++) {
            worker workers[RANKS_MOST];
            pthread_barrier_t all;
            comm_group *g = open_workers(workers, n, through_host != 0, &all);
            on_threads(workers, n, what);
            for (int r = 0; r < n; r++) {
                assert_int_equal(workers[r].status, LARIAT_OK);
                assert_int_equal(workers[r].wrong, 0);
            }
            close_workers(workers, n, g, &all);
        }
    }
}

static void every_rank_finds_every_block(void **state)
{
    (void)state;
    check(gather);
}

static void pieces_come_as_they_were_when_ready(void **state)
{
    (void)state;
    check(hop);
}

static void *cancel_soon(void *user)
{
    const struct timespec while_they_wait = {.tv_nsec = 200000000};

    nanosleep(&while_they_wait, NULL);
    comm_cancel(user);
    return NULL;
}

static void who_waits_in_vain_is_let_go_and_the_group_works_again(void **state)
{
    (void)state;
    for (int n = 2; n <= RANKS_MOST; n++) {
        worker workers[RANKS_MOST];
        pthread_barrier_t all;
        pthread_t canceller;
        comm_group *g = open_workers(workers, n, false, &all);

        workers[n - 1].absent = true;
        double from = clock_now();
        assert_int_equal(pthread_create(&canceller, NULL, cancel_soon, g), 0);
        on_threads(workers, n, wait_in_vain);
        assert_true(clock_now() - from >= 0.19); /* they have waited until then: some of the calls return OK all the same */
        pthread_join(canceller, NULL);
        comm_reset(g);
        for (int r = 0; r < n; r++) {
            assert_true(workers[r].status == LARIAT_OK || workers[r].status == LARIAT_CANCELLED);
            workers[r].status = LARIAT_OK;
            workers[r].pass = PASSES; /* the absent one has begun fewer */
        }
        on_threads(workers, n, gather);
        for (int r = 0; r < n; r++) {
            assert_int_equal(workers[r].status, LARIAT_OK);
            assert_int_equal(workers[r].wrong, 0);
        }
        close_workers(workers, n, g, &all);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_rank_finds_every_block),
        cmocka_unit_test(pieces_come_as_they_were_when_ready),
        cmocka_unit_test(who_waits_in_vain_is_let_go_and_the_group_works_again),
    };

    if (gpu_module(&module) != LARIAT_OK || module->count(&n_cards) != LARIAT_OK || comm_gpu_find(&transport) != LARIAT_OK) {
        printf("skipped: %s\n", lariat_error());
        return 77;
    }
    n_cards = n_cards < RANKS_MOST ? n_cards : RANKS_MOST;
    (void)alarm(HANGS_AFTER_S);
    return cmocka_run_group_tests_name("cuda_comm", tests, NULL, NULL);
}
