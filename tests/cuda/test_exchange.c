/* Products and attention that exchange their results with other cards themselves: the bits of the product, or attention, and an
   all-gather behind it; the same on all ranks; and sums near those of the whole matrix. Queued directly, recorded and launched.
   Rests on comm/gpu_transport.h and device/gpu.h. Skipped where there is no GPU; where ranks share a card the all-gathers alone
   are tested. */
#include "comm/gpu_transport.h"
#include "device/gpu.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    RANKS_MOST = 3,
    PASSES = 6,
    D = 512,
    COLS = 1024, /* a super-block of 256 a rank */
    HEADS = 8,
    KV_HEADS = 2,
    HEAD_DIM = 64,
    SLOTS = 3000,
    WIDTH = HEADS * HEAD_DIM,
    QKV = WIDTH + 2 * KV_HEADS * HEAD_DIM,
    STORED = 20, /* slots that keys and values of a pass are stored in */
    HANGS_AFTER_S = 60, /* the test ends itself */
};

/* Of each of these the results of an all-gather, and of the kernel itself. */
enum { BY_GATHER, BY_KERNEL, WHOLE, WAYS };

static const cuda_module *module;
static const comm_gpu *transport;
static int n_cards;

typedef struct worker {
    comm *c;
    device *dev;
    comm_group *group;
    int rank, n, rows, ordinal;
    dtype type; /* of the matrix */
    lariat_status status;
    bool exchanges, exchanged[3]; /* sums, carries, heads: so in the last pass */
    matrix w, qkv_w[3];
    float *angles[2];
    void *slots, *qkv[2], *side[2][2]; /* [rows, QKV]; [KV_HEADS, STORED, HEAD_DIM] */
    void *x, *q, *kv, *merged;
    float *y0, *y[WAYS];  /* [rows, D] */
    void *out[2];         /* [rows, WIDTH] */
    float got_y[WAYS][8 * D];
    uint16_t got_out[2][8 * WIDTH], got_q[2][8 * QKV], got_side[2][2][KV_HEADS * STORED * HEAD_DIM];
} worker;

static uint32_t noise(uint32_t i)
{
    i = (i ^ 61) ^ (i >> 16);
    i *= 9;
    i ^= i >> 4;
    i *= 0x27d4eb2d;
    return i ^ (i >> 15);
}

static float number(uint32_t seed, size_t i)
{
    return (float)(noise(seed * 7919 + (uint32_t)i) % 20001) / 10000 - 1;
}

static lariat_status reserve(worker *w, size_t bytes, void **out)
{
    return w->dev->ops->reserve(w->dev, bytes, "a test", out);
}

/* n numbers of bf16, the same on every rank that gives the same seed. */
static lariat_status send_bf16(worker *w, uint32_t seed, size_t n, void **out)
{
    uint16_t *bits = malloc(n * sizeof *bits);

    if (!bits) {
        return LARIAT_NO_MEMORY;
    }
    for (size_t i = 0; i < n; i++) {
        bits[i] = f32_to_bf16(number(seed, i));
    }
    lariat_status status = reserve(w, n * sizeof *bits, out);
    if (status == LARIAT_OK) {
        w->dev->ops->upload(w->dev, *out, bits, n * sizeof *bits);
    }
    free(bits);
    return status;
}

static lariat_status open_memory(worker *w)
{
    const attention_shape s = {.n_heads = HEADS, .n_kv_heads = KV_HEADS, .head_dim = HEAD_DIM};
    const size_t sums = (size_t)w->rows * D * sizeof(float);
    float y0[8 * D];
    void *at;

    w->w = (matrix){.type = w->type, .rows = D, .cols = COLS, .row_bytes = dtype_row_bytes(w->type, COLS)};
    TRY(reserve(w, D * w->w.row_bytes, &at));
    w->w.data = at;
    TRY(w->dev->ops->make_random(w->dev, &w->w, w->type, 3));
    TRY(send_bf16(w, 1, (size_t)w->rows * COLS, &w->x));
    TRY(send_bf16(w, 2, (size_t)w->rows * WIDTH, &w->q));
    TRY(send_bf16(w, 3 + (uint32_t)w->rank, (size_t)2 * KV_HEADS * SLOTS * HEAD_DIM, &w->kv));
    TRY(reserve(w, carry_bytes(&s, w->rows), &w->merged));
    TRY(reserve(w, sums, &at));
    w->y0 = at;
    for (int i = 0; i < w->rows * D; i++) {
        y0[i] = number(9, (size_t)i);
    }
    w->dev->ops->upload(w->dev, w->y0, y0, sums);
    for (int i = 0; i < WAYS; i++) {
        TRY(reserve(w, sums, &at));
        w->y[i] = at;
        TRY(i < 2 ? reserve(w, (size_t)w->rows * WIDTH * 2, &w->out[i]) : LARIAT_OK);
    }
    return w->dev->ops->finish(w->dev);
}

/* Of heads: matrices, angles, and memory for the results, of which this rank stores every second row's. */
static lariat_status open_heads(worker *w)
{
    static const int64_t heads[] = {HEADS, KV_HEADS, KV_HEADS};
    const size_t angles = (size_t)w->rows * HEAD_DIM / 2, side = (size_t)KV_HEADS * STORED * HEAD_DIM * 2;
    const uint16_t zeros[KV_HEADS * STORED * HEAD_DIM] = {0};
    float list[8 * HEAD_DIM];
    int64_t slots[8];
    void *at;

    for (uint32_t i = 0; i < 3; i++) {
        w->qkv_w[i] = (matrix){.type = DTYPE_BF16, .rows = heads[i] * HEAD_DIM, .cols = COLS, .row_bytes = 2 * COLS};
        TRY(send_bf16(w, 20 + i, (size_t)(heads[i] * HEAD_DIM * COLS), &at));
        w->qkv_w[i].data = at;
    }
    for (uint32_t i = 0; i < 2; i++) {
        for (size_t k = 0; k < angles; k++) {
            list[k] = number(30 + i, k);
        }
        TRY(reserve(w, angles * sizeof(float), &at));
        w->dev->ops->upload(w->dev, at, list, angles * sizeof(float));
        w->angles[i] = at;
        TRY(reserve(w, (size_t)w->rows * QKV * 2, &w->qkv[i]));
        for (int k = 0; k < 2; k++) {
            TRY(reserve(w, side, &w->side[i][k]));
            w->dev->ops->upload(w->dev, w->side[i][k], zeros, side);
        }
    }
    for (int i = 0; i < w->rows; i++) {
        slots[i] = (w->rank + i) % 2 ? -1 : 3 + 2 * i;
    }
    TRY(reserve(w, (size_t)w->rows * sizeof *slots, &w->slots));
    w->dev->ops->upload(w->dev, w->slots, slots, (size_t)w->rows * sizeof *slots);
    return w->dev->ops->finish(w->dev);
}

/* Queries, keys and values, rotated and stored: by all matrices here, or a part of them. */
static lariat_status rotate(worker *w, int way)
{
    const device_ops *ops = w->dev->ops;
    const rotation rows = {.x = w->qkv[way], .ld = QKV, .heads = HEADS + KV_HEADS, .kv_heads = KV_HEADS, .dims = HEAD_DIM,
                           .cos = w->angles[0], .sin = w->angles[1], .style = ROPE_HALVES};
    float *const no_scales[2] = {NULL, NULL};
    comm_gather gather = {.packets = (int64_t)w->rows * QKV / 2};
    linear_job jobs[3];
    int64_t at = 0;

    for (int i = 0; i < 3; at += w->qkv_w[i++].rows) {
        jobs[i] = (linear_job){.w = &w->qkv_w[i], .rows = w->qkv_w[i].rows, .type = DTYPE_BF16,
                               .y = (uint16_t *)w->qkv[way] + at, .ldy = QKV};
    }
    if (way == BY_KERNEL) {
        const void *exchange = comm_exchange(w->c, &gather);
        gather.exchanged = exchange && ops->linear_ahead_exchanged(w->dev, w->x, COLS, w->rows, jobs, &rows, HEAD_DIM,
                                                                   DTYPE_BF16, exchange);
        w->exchanged[2] = gather.exchanged;
    }
    if (gather.exchanged) {
        TRY(comm_all_gather(w->c, &gather));
    } else {
        ops->linear_ahead(w->dev, w->x, COLS, w->rows, jobs, 3);
    }
    ops->rope_store(w->dev, &rows, w->side[way], no_scales, DTYPE_BF16, STORED, w->slots, w->rows, HEAD_DIM);
    return LARIAT_OK;
}

static lariat_status sum(worker *w, int way)
{
    const device_ops *ops = w->dev->ops;
    const size_t part = (size_t)w->rows * D * sizeof(float);
    const comm_sum sum = {.y = w->y[way], .ld = D, .rows = w->rows, .width = D};
    size_t begin[RANKS_MOST + 1];
    comm_gather gather = {.rows = 1, .stride = (size_t)w->n * part, .begin = begin, .sum = &sum};
    linear_job job = {.w = &w->w, .rows = D, .type = DTYPE_F32, .ldy = D};

    for (int r = 0; r <= w->n; r++) {
        begin[r] = (size_t)r * part;
    }
    job.col0 = COLS / 256 * w->rank / w->n * 256;
    job.cols = COLS / 256 * (w->rank + 1) / w->n * 256 - job.col0;
    ops->copy(w->dev, DTYPE_F32, w->y[way], D, w->y0, D, w->rows, D, false);
    if (way == BY_KERNEL) {
        const void *exchange = comm_exchange(w->c, &gather);
        gather.exchanged = exchange && ops->linear_exchanged(w->dev, w->x, COLS, w->rows, &job, exchange);
        w->exchanged[0] = gather.exchanged;
    }
    if (!gather.exchanged) {
        job.y = (char *)comm_rows(w->c) + begin[w->rank];
        ops->linear(w->dev, w->x, COLS, w->rows, &job, 1);
    }
    return comm_all_gather(w->c, &gather);
}

/* One sequence: the last rank has no keys of it, the others some more each. */
static void list_keys(const worker *w, attention_item *item, kv_segment *segment)
{
    *segment = (kv_segment){.k = w->kv, .v = (const uint16_t *)w->kv + KV_HEADS * SLOTS * HEAD_DIM, .head_stride = SLOTS,
                            .count = 50 + 900 * w->rank, .first = KV_ALL_VISIBLE};
    *item = (attention_item){.count = w->rows, .first = SLOTS, .segments = segment, .n_segments = w->rank < w->n - 1};
}

static const attention_shape shape = {.n_heads = HEADS, .n_kv_heads = KV_HEADS, .head_dim = HEAD_DIM, .scale = 0.3f,
                                      .kv_type = DTYPE_BF16};

static lariat_status attend(worker *w, int way)
{
    const device_ops *ops = w->dev->ops;
    const size_t block = arena_need(carry_bytes(&shape, w->rows));
    const comm_merge merge = {.shape = &shape, .rows = w->rows, .out = w->out[way], .ldo = WIDTH,
                              .scratch = carry_at(w->merged, &shape, w->rows)};
    size_t begin[RANKS_MOST + 1];
    comm_gather gather = {.rows = 1, .stride = (size_t)w->n * block, .begin = begin, .merge = &merge};
    kv_segment segment;
    attention_item item;

    list_keys(w, &item, &segment);
    for (int r = 0; r <= w->n; r++) {
        begin[r] = (size_t)r * block;
    }
    carry c = carry_at((char *)comm_rows(w->c) + begin[w->rank], &shape, w->rows);
    if (way == BY_KERNEL) {
        const void *exchange = comm_exchange(w->c, &gather);
        gather.exchanged = exchange && ops->attention_exchanged(w->dev, &shape, w->q, WIDTH, &item, 1, &c, exchange);
        w->exchanged[1] = gather.exchanged;
    }
    if (!gather.exchanged) {
        ops->attention(w->dev, &shape, w->q, WIDTH, &item, 1, &c, &(attention_ends){.is_first = true});
    }
    return comm_all_gather(w->c, &gather);
}

static lariat_status run_pass(worker *w, uint32_t pass)
{
    const device_ops *ops = w->dev->ops;
    bool replays = comm_replays(w->c);
    const carry c = carry_at(w->merged, &shape, w->rows);
    linear_job whole = {.w = &w->w, .rows = D, .type = DTYPE_F32, .y = w->y[WHOLE], .ldy = D, .add = true};
    kv_segment segment;
    attention_item item;

    list_keys(w, &item, &segment);
    uint64_t key = ops->replay_class(w->dev, &shape, w->q, WIDTH, &item, 1, &c, &(attention_ends){.is_first = true});
    do {
        comm_begin(w->c, pass, replays);
        if (replays && ops->replay_begin(w->dev, key)) {
            break;
        }
        for (int way = 0; way < WHOLE; way++) {
            TRY(rotate(w, way));
            TRY(attend(w, way));
            TRY(sum(w, way));
        }
        ops->copy(w->dev, DTYPE_F32, w->y[WHOLE], D, w->y0, D, w->rows, D, false);
        ops->linear(w->dev, w->x, COLS, w->rows, &whole, 1);
    } while (replays && ops->replay_end(w->dev));
    for (int way = 0; way < WAYS; way++) {
        ops->download(w->dev, w->got_y[way], w->y[way], (size_t)w->rows * D * sizeof(float));
        if (way < WHOLE) {
            ops->download(w->dev, w->got_out[way], w->out[way], (size_t)w->rows * WIDTH * sizeof(uint16_t));
            ops->download(w->dev, w->got_q[way], w->qkv[way], (size_t)w->rows * QKV * sizeof(uint16_t));
            ops->download(w->dev, w->got_side[way][0], w->side[way][0], sizeof w->got_side[way][0]);
            ops->download(w->dev, w->got_side[way][1], w->side[way][1], sizeof w->got_side[way][1]);
        }
    }
    return ops->finish(w->dev);
}

static int different(const worker *w)
{
    int n = 0;

    for (int i = 0; i < w->rows * D; i++) {
        n += !(fabsf(w->got_y[BY_GATHER][i] - w->got_y[WHOLE][i]) <= 1e-4f * (1 + fabsf(w->got_y[WHOLE][i])));
    }
    n += memcmp(w->got_y[BY_GATHER], w->got_y[BY_KERNEL], (size_t)w->rows * D * sizeof(float)) != 0;
    n += memcmp(w->got_out[BY_GATHER], w->got_out[BY_KERNEL], (size_t)w->rows * WIDTH * sizeof(uint16_t)) != 0;
    for (int t = 0; t < w->rows; t++) { /* keys and values need not be where rope_store finds them */
        n += memcmp(w->got_q[BY_GATHER] + t * QKV, w->got_q[BY_KERNEL] + t * QKV, WIDTH * sizeof(uint16_t)) != 0;
    }
    n += memcmp(w->got_side[BY_GATHER], w->got_side[BY_KERNEL], sizeof w->got_side[BY_KERNEL]) != 0;
    for (int i = 0; i < w->rows * WIDTH; i++) {
        n += !isfinite(bf16_to_f32(w->got_out[BY_KERNEL][i]));
    }
    return n;
}

static void *work(void *user)
{
    worker *w = user;

    w->status = module->open(w->ordinal, DTYPE_BF16, &w->dev);
    w->status = w->status ? w->status : comm_attach(w->c, w->dev);
    w->status = w->status ? w->status : open_memory(w);
    w->status = w->status ? w->status : open_heads(w);
    w->exchanges = w->status == LARIAT_OK && comm_replays(w->c);
    for (uint32_t pass = 1; pass <= PASSES && w->status == LARIAT_OK; pass++) {
        w->status = run_pass(w, pass);
        int n = w->status == LARIAT_OK ? different(w) : 0;
        if (n > 0) {
            printf("pass %u: %d results differ\n", pass, n);
            w->status = LARIAT_FAILED;
        }
    }
    if (w->status != LARIAT_OK) {
        printf("rank %d of %d, %s, %d rows: %s\n", w->rank, w->n, dtype_name(w->type), w->rows, lariat_error());
        comm_cancel(w->group);
    }
    return NULL;
}

static void check_ring(int n, int rows, dtype type)
{
    static worker workers[RANKS_MOST];
    const comm_setup s = {.n_ranks = n, .n_local = n, .message_bytes = (size_t)n * 8 * D * 8};
    pthread_t threads[RANKS_MOST];
    int32_t ordinals[RANKS_MOST];
    comm_group *g = NULL;

    for (int r = 0; r < n; r++) {
        ordinals[r] = r * n_cards / n;
    }
    assert_int_equal(transport->open(&s, ordinals, false, &g), LARIAT_OK);
    for (int r = 0; r < n; r++) {
        workers[r] = (worker){.c = comm_endpoint(g, r), .group = g, .rank = r, .n = n, .rows = rows, .type = type,
                              .ordinal = ordinals[r]};
        assert_int_equal(pthread_create(&threads[r], NULL, work, &workers[r]), 0);
    }
    for (int r = 0; r < n; r++) {
        pthread_join(threads[r], NULL);
    }
    for (int r = 0; r < n; r++) {
        worker *w = &workers[r];
        assert_int_equal(w->status, LARIAT_OK);
        assert_memory_equal(w->got_y[BY_KERNEL], workers[0].got_y[BY_KERNEL], (size_t)rows * D * sizeof(float));
        assert_memory_equal(w->got_out[BY_KERNEL], workers[0].got_out[BY_KERNEL], (size_t)rows * WIDTH * sizeof(uint16_t));
        if (w->exchanges) { /* not vacuously: blocks alone have a kernel for one row only */
            assert_true(w->exchanged[0] == (rows == 1 || type == DTYPE_BF16));
            assert_true(w->exchanged[2]);
            assert_true(w->exchanged[1] || rows * HEADS / KV_HEADS > 16); /* rows that attention of few rows takes */
        }
    }
    for (int r = 0; r < n; r++) {
        workers[r].dev->ops->close(workers[r].dev);
    }
    comm_group_close(g);
}

static void kernels_that_exchange_have_the_bits_of_all_gathers(void **state)
{
    static const dtype types[] = {DTYPE_BF16, DTYPE_Q4_K, DTYPE_Q8_0};
    static const int rows[] = {1, 3};

    (void)state;
    for (int n = 2; n <= RANKS_MOST; n++) {
        for (int i = 0; i < 6; i++) {
            check_ring(n, rows[i % 2], types[i / 2]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_that_exchange_have_the_bits_of_all_gathers),
    };

    if (gpu_module(&module) != LARIAT_OK || module->count(&n_cards) != LARIAT_OK || comm_gpu_find(&transport) != LARIAT_OK) {
        printf("skipped: %s\n", lariat_error());
        return 77;
    }
    n_cards = n_cards < RANKS_MOST ? n_cards : RANKS_MOST;
    (void)alarm(HANGS_AFTER_S);
    return cmocka_run_group_tests_name("cuda_exchange", tests, NULL, NULL);
}
