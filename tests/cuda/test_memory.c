/* The CUDA device's memory: transfers of all sizes, weights of every plain type to the bit (blocks: test_blocks.c), random
   weights to the bit, offsets past 2^31 elements, and no memory left. Rests on card.h; device/cpu/unpack_scalar.c and
   model/random.c define the bits. An argument is a pattern of tests to leave out. */
#include "cuda/card.h"

#include "device/cpu/linear_kernels.h"
#include "model/random.h"

/* --- transfers --- */

static unsigned char *random_bytes(size_t n)
{
    unsigned char *p = malloc(n + 1);

    assert_non_null(p);
    for (size_t i = 0; i < n; i++) {
        p[i] = (unsigned char)random_bits();
    }
    return p;
}

static void bytes_come_back_as_they_went(void **state)
{
    static const size_t sizes[] = {
        1, 63, 64, 4096, ((size_t)1 << 20) + 1, ((size_t)4 << 20), ((size_t)5 << 20) + 3, ((size_t)33 << 20) + 77};
    device *dev = cards[1];

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        unsigned char *there = random_bytes(sizes[i]), *back = calloc(1, sizes[i]), *gone = malloc(sizes[i]);
        void *block;

        assert_non_null(back);
        assert_non_null(gone);
        must(dev->ops->reserve(dev, sizes[i], "a test", &block));
        dev->ops->download(dev, back, block, sizes[i]);
        must(dev->ops->finish(dev));
        for (size_t k = 0; k < sizes[i]; k++) {
            assert_int_equal(back[k], 0xff); /* NaN in every type */
        }
        memcpy(gone, there, sizes[i]);
        dev->ops->upload(dev, block, gone, sizes[i]);
        memset(gone, 0x55, sizes[i]); /* read by now */
        dev->ops->download(dev, back, block, sizes[i]);
        must(dev->ops->finish(dev));
        assert_memory_equal(there, back, sizes[i]);
        dev->ops->release(dev, block, sizes[i]);
        free(there);
        free(back);
        free(gone);
    }
}

static void many_small_transfers_keep_their_order(void **state)
{
    enum { N = 3000, EACH = 2000 };
    device *dev = cards[1];
    unsigned char *there = random_bytes(N * EACH), *back = calloc(N, EACH), piece[EACH];
    void *block;

    (void)state;
    assert_non_null(back);
    must(dev->ops->reserve(dev, (size_t)N * EACH, "a test", &block));
    for (int i = 0; i < N; i++) {
        memcpy(piece, there + (size_t)i * EACH, EACH);
        dev->ops->upload(dev, (char *)block + (size_t)i * EACH, piece, EACH);
    }
    for (int i = 0; i < N; i++) {
        dev->ops->download(dev, back + (size_t)i * EACH, (char *)block + (size_t)i * EACH, EACH);
    }
    must(dev->ops->finish(dev));
    assert_memory_equal(there, back, (size_t)N * EACH);
    dev->ops->release(dev, block, (size_t)N * EACH);
    free(there);
    free(back);
}

static void more_memory_than_there_is_says_how_much(void **state)
{
    device *dev = cards[1];
    void *block = NULL;

    (void)state;
    assert_int_equal(dev->ops->reserve(dev, (size_t)1 << 42, "a test", &block), LARIAT_NO_MEMORY);
    assert_non_null(strstr(lariat_error(), "a test"));
    assert_non_null(strstr(lariat_error(), "4096.00 GiB"));
    must(dev->ops->finish(dev));
}

/* --- weights --- */

/* The rows of a matrix of the host, unpacked by the definition and rounded, against what the card made of them. */
static void assert_loaded(device *dev, const matrix *from, const matrix *to)
{
    size_t bytes = (size_t)to->rows * to->row_bytes;
    unsigned char *got = malloc(bytes), *want = malloc(to->row_bytes);
    float values[SPAN];

    assert_non_null(got);
    assert_non_null(want);
    dev->ops->download(dev, got, to->data, bytes);
    must(dev->ops->finish(dev));
    for (int64_t r = 0; r < to->rows; r++) {
        const char *row = (const char *)from->data + (size_t)r * from->row_bytes;
        memset(want, 0xff, to->row_bytes); /* what lies between rows is not written */
        for (int64_t c = 0; c < to->cols; c += SPAN) {
            int64_t count = to->cols - c < SPAN ? to->cols - c : SPAN;
            unpack_scalar[from->type](row + dtype_row_bytes(from->type, c), count, values);
            for (int64_t i = 0; i < count; i++) {
                put_element(dev->act, want, c + i, values[i]);
            }
        }
        if (memcmp(want, got + (size_t)r * to->row_bytes, to->row_bytes) != 0) {
            fail_msg("%s to %s: row %lld of %lld x %lld is another", dtype_name(from->type), dtype_name(dev->act), (long long)r,
                     (long long)to->rows, (long long)to->cols);
        }
    }
    free(got);
    free(want);
}

static void check_load(device *dev, dtype type, int64_t rows, int64_t cols, size_t apart)
{
    matrix from = random_matrix(type, rows, cols), to = {.type = dev->act, .rows = rows, .cols = cols};
    void *block;

    assert_non_null(from.data);
    to.row_bytes = dtype_row_bytes(dev->act, cols) + apart;
    must(dev->ops->reserve(dev, (size_t)rows * to.row_bytes, "a test", &block));
    to.data = block;
    must(dev->ops->load(dev, &to, &from));
    assert_loaded(dev, &from, &to);
    dev->ops->release(dev, block, (size_t)rows * to.row_bytes);
    guarded_free((void *)(uintptr_t)from.data, (size_t)rows * from.row_bytes);
}

static void check_loads(device *dev)
{
    for (int i = 0; i < ACTS; i++) {
        check_load(dev, act_types[i], 1, 1, 0);
        check_load(dev, act_types[i], 37, 577, 24);
        check_load(dev, act_types[i], 5, 100, 0);
        check_load(dev, act_types[i], 1100, 4096, 0); /* several slots */
    }
}

static void weights_of_every_plain_type_are_converted_to_the_bit(void **state)
{
    (void)state;
    for_every_type(check_loads);
}

static void random_weights_have_the_bits_of_the_host(void **state)
{
    static const struct {
        const char *path;
        int card;
    } cases[] = {{"random:smollm2-135m:F32", 0},
                 {"random:smollm2-135m:BF16", 0},
                 {"random:smollm2-135m:BF16", 1},
                 {"random:smollm2-135m:F16", 2}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        device *dev = cards[cases[i].card];
        model_config config;
        tensors table;
        arena memory;
        int64_t seen = 0;

        must(random_describe(cases[i].path, &config, &table));
        must(random_fill(cases[i].path, &table, &memory));
        for (int64_t t = 0; t < table.n && seen < 40; t++) {
            const tensor *x = &table.list[t];
            if (x->n_dims != 2) {
                continue;
            }
            matrix from = {.type = x->type,
                           .rows = x->dims[0],
                           .cols = x->dims[1],
                           .data = x->data,
                           .row_bytes = dtype_row_bytes(x->type, x->dims[1])};
            matrix to = {
                .type = dev->act, .rows = from.rows, .cols = from.cols, .row_bytes = dtype_row_bytes(dev->act, from.cols) + 16};
            void *block;
            must(dev->ops->reserve(dev, (size_t)to.rows * to.row_bytes, "a test", &block));
            to.data = block;
            must(dev->ops->make_random(dev, &to, from.type, random_seed(&table, x)));
            assert_loaded(dev, &from, &to);
            dev->ops->release(dev, block, (size_t)to.rows * to.row_bytes);
            seen++;
        }
        assert_int_equal(seen, 40);
        arena_close(&memory);
        tensors_close(&table);
    }
}

/* --- far away --- */

enum { FAR_ROWS = 300000, FAR_COLS = 8192 }; /* 2.4e9 elements */

static void offsets_past_two_to_the_31_are_reached(void **state)
{
    device *dev = cards[1];
    matrix w = {.type = DTYPE_BF16, .rows = FAR_ROWS, .cols = FAR_COLS, .row_bytes = 2 * FAR_COLS};
    buffer x = poisoned_buffer(dev, DTYPE_F32, FAR_COLS), h = random_buffer(dev, DTYPE_BF16, 40 * FAR_COLS, 1);
    buffer near = random_buffer(dev, DTYPE_BF16, 64 * FAR_COLS, 1), a = poisoned_buffer(dev, DTYPE_F32, 40 * 64);
    buffer b = poisoned_buffer(dev, DTYPE_F32, 40 * 64);
    void *last = sent(dev, &(int32_t){FAR_ROWS - 1}, sizeof(int32_t)), *block;
    int64_t slots[64];

    (void)state;
    must(dev->ops->reserve(dev, (size_t)FAR_ROWS * w.row_bytes, "a test", &block));
    w.data = block;
    must(dev->ops->make_random(dev, &w, DTYPE_BF16, 12345)); /* not all of it zeros */
    must(dev->ops->finish(dev));
    matrix few = {.type = DTYPE_BF16, .rows = 64, .cols = FAR_COLS, .data = near.data, .row_bytes = w.row_bytes};

    /* Rows stored as slots behind 2^31 elements, found again by embed and by linear: as one KV head of 8192 elements; */
    for (int64_t t = 0; t < 64; t++) {
        slots[t] = FAR_ROWS - 64 + t;
    }
    void *far_slots = sent(dev, slots, sizeof slots);
    dev->ops->kv_store(dev, block, NULL, DTYPE_BF16, FAR_ROWS, far_slots, near.data, FAR_COLS, 64, 1, FAR_COLS);
    memcpy(x.host, near.host + 63 * FAR_COLS, FAR_COLS * sizeof(float));
    dev->ops->embed(dev, x.data, &w, last, NULL, 1, 1);
    assert_buffer(&x, 0, NULL, "embed, far away");
    for (int64_t n = 8; n <= 40; n += 32) {
        linear_job far_job = {.w = &w, .row0 = FAR_ROWS - 64, .rows = 64, .type = DTYPE_F32, .y = a.data, .ldy = 64};
        linear_job near_job = {.w = &few, .rows = 64, .type = DTYPE_F32, .y = b.data, .ldy = 64};
        dev->ops->linear(dev, h.data, FAR_COLS, n, &far_job, 1);
        dev->ops->linear(dev, h.data, FAR_COLS, n, &near_job, 1);
        float *got = buffer_get(&a), *want = buffer_get(&b);
        assert_memory_equal(got, want, (size_t)(n * 64) * sizeof *got);
        free(got);
        free(want);
    }
    /* and by rows copied so far apart. */
    dev->ops->copy(dev, DTYPE_BF16, block, (int64_t)(FAR_ROWS - 1) * FAR_COLS, near.data, FAR_COLS, 2, FAR_COLS, false);
    memcpy(x.host, near.host + FAR_COLS, FAR_COLS * sizeof(float));
    dev->ops->embed(dev, x.data, &w, last, NULL, 1, 1);
    assert_buffer(&x, 0, NULL, "copy, far away");
    dev->ops->release(dev, block, (size_t)FAR_ROWS * w.row_bytes);
    dev->ops->release(dev, last, sizeof(int32_t));
    dev->ops->release(dev, far_slots, sizeof slots);
    buffer_free(&x);
    buffer_free(&h);
    buffer_free(&near);
    buffer_free(&a);
    buffer_free(&b);
}

/* --- the machine --- */

static void a_card_tells_what_it_is(void **state)
{
    const cuda_module *module;
    cuda_card card;
    int n;

    (void)state;
    must(gpu_module(&module));
    must(module->count(&n));
    for (int i = 0; i < n; i++) {
        must(module->describe(i, &card));
        assert_true(card.name[0] && card.bus_id[0] && card.sm >= CUDA_SM_LEAST && card.n_sms > 0 && card.free <= card.memory);
        assert_false(card.can_peer[i]);
    }
    assert_int_equal(module->describe(n, &card), LARIAT_BAD_ARGUMENT);
}

/* Two marks ahead, as decoding has them: each brings what was downloaded before it, and finish() the rest. */
static void a_mark_brings_what_was_downloaded_before_it(void **state)
{
    enum { STEPS = 300 };
    device *dev = cards[1];
    int32_t got[STEPS], sent_now = 0;
    void *block;

    (void)state;
    memset(got, 0x55, sizeof got);
    must(dev->ops->reserve(dev, sizeof sent_now, "a test", &block));
    for (int i = 0; i < STEPS; i++) {
        sent_now = 3 * i;
        dev->ops->upload(dev, block, &sent_now, sizeof sent_now);
        dev->ops->download(dev, &got[i], block, sizeof sent_now);
        must(dev->ops->mark(dev));
        if (i > 0) {
            must(dev->ops->wait_mark(dev));
            assert_int_equal(got[i - 1], 3 * (i - 1));
            assert_int_equal(got[i], 0x55555555); /* it lands when it is waited for */
        }
    }
    dev->ops->download(dev, &sent_now, block, sizeof sent_now);
    must(dev->ops->finish(dev));
    assert_int_equal(got[STEPS - 1], 3 * (STEPS - 1));
    assert_int_equal(sent_now, 3 * (STEPS - 1));
    dev->ops->release(dev, block, sizeof sent_now);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_come_back_as_they_went),
        cmocka_unit_test(many_small_transfers_keep_their_order),
        cmocka_unit_test(a_mark_brings_what_was_downloaded_before_it),
        cmocka_unit_test(more_memory_than_there_is_says_how_much),
        cmocka_unit_test(weights_of_every_plain_type_are_converted_to_the_bit),
        cmocka_unit_test(random_weights_have_the_bits_of_the_host),
        cmocka_unit_test(offsets_past_two_to_the_31_are_reached),
        cmocka_unit_test(a_card_tells_what_it_is),
    };
    int opened = open_cards();

    if (argc > 1) {
        cmocka_set_skip_filter(argv[1]);
    }
    int failed = opened ? opened : cmocka_run_group_tests(tests, NULL, NULL);
    close_cards();
    return failed;
}
