/* A step of decoding that is recorded and repeated, beside the same step queued operation by operation: the same bits, for every
   length of the cache, any tokens and slots; and how often the card is asked again.
   Rests on card.h. Skipped where there is no GPU. */
#include "cuda/card.h"

enum { D = 256, VOCAB = 64, SLOTS = 6000, KV_HEADS = 2, GROUP = 2, HEADS = KV_HEADS * GROUP };

/* One layer and what it works on. */
typedef struct layer {
    device *dev;
    int32_t head_dim;
    matrix embedding, w;
    buffer table, weights, norm, inv_freq;
    buffer x, h, qkv, k, v, o, cos, sin, carries;
    void *tokens, *positions, *slots;
} layer;

static buffer zeros(device *dev, dtype type, int64_t n)
{
    return random_buffer(dev, type, n, 0);
}

static layer open_layer(device *dev, int32_t head_dim)
{
    int64_t width = (HEADS + 2 * KV_HEADS) * head_dim, cache = (int64_t)KV_HEADS * SLOTS * head_dim;
    dtype act = dev->act;
    layer l = {.dev = dev, .head_dim = head_dim};

    random_state = 7; /* all layers alike */
    l.table = random_buffer(dev, act, VOCAB * D, 1);
    l.weights = random_buffer(dev, act, width * D, 0.1f);
    l.norm = random_buffer(dev, DTYPE_F32, D, 1);
    l.inv_freq = random_buffer(dev, DTYPE_F32, head_dim / 2, 1);
    l.k = random_buffer(dev, act, cache, 1);
    l.v = random_buffer(dev, act, cache, 1);
    l.x = zeros(dev, DTYPE_F32, D);
    l.h = zeros(dev, act, D);
    l.qkv = zeros(dev, act, width);
    l.o = zeros(dev, act, HEADS * head_dim);
    l.cos = zeros(dev, DTYPE_F32, head_dim / 2);
    l.sin = zeros(dev, DTYPE_F32, head_dim / 2);
    l.carries = zeros(dev, DTYPE_F32, HEADS * (head_dim + 2));
    l.embedding = (matrix){.type = act, .rows = VOCAB, .cols = D, .data = l.table.data, .row_bytes = D * size_of(act)};
    l.w = (matrix){.type = act, .rows = width, .cols = D, .data = l.weights.data, .row_bytes = D * size_of(act)};
    must(dev->ops->reserve(dev, sizeof(int32_t), "a test", &l.tokens));
    must(dev->ops->reserve(dev, sizeof(int64_t), "a test", &l.positions));
    must(dev->ops->reserve(dev, sizeof(int64_t), "a test", &l.slots));
    return l;
}

static void close_layer(layer *l)
{
    buffer *all[] = {&l->table, &l->weights, &l->norm, &l->inv_freq, &l->k,   &l->v,      &l->x,
                     &l->h,     &l->qkv,     &l->o,    &l->cos,      &l->sin, &l->carries};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        buffer_free(all[i]);
    }
    l->dev->ops->release(l->dev, l->tokens, sizeof(int32_t));
    l->dev->ops->release(l->dev, l->positions, sizeof(int64_t));
    l->dev->ops->release(l->dev, l->slots, sizeof(int64_t));
}

/* A token at position `length` goes to slot `length` and attends to all there are; twice, as two layers would. */
static void compute(layer *l, int64_t length)
{
    device *dev = l->dev;
    const device_ops *ops = dev->ops;
    int64_t width = (HEADS + 2 * KV_HEADS) * l->head_dim;
    attention_shape s = {.n_heads = HEADS, .n_kv_heads = KV_HEADS, .head_dim = l->head_dim, .scale = 0.1f, .kv_type = dev->act};
    linear_job job = {.w = &l->w, .rows = width, .type = dev->act, .y = l->qkv.data, .ldy = width};
    void *k = act_at(dev, l->qkv.data, HEADS * l->head_dim), *v = act_at(dev, k, KV_HEADS * l->head_dim);
    kv_segment seen[] = {{l->k.data, l->v.data, SLOTS, (int32_t)length, KV_ALL_VISIBLE},
                         {act_at(dev, l->k.data, length * l->head_dim), act_at(dev, l->v.data, length * l->head_dim), SLOTS, 1,
                          length}};
    attention_item item = {.count = 1, .first = length, .segments = seen, .n_segments = 2};
    carry c = carry_at(l->carries.data, &s, 1);

    ops->embed(dev, l->x.data, &l->embedding, l->tokens, NULL, 1);
    ops->rope_angles(dev, l->cos.data, l->sin.data, l->positions, 1, l->inv_freq.data, l->head_dim / 2, 1);
    for (int i = 0; i < 2; i++) {
        ops->rms_norm(dev, l->h.data, l->x.data, l->norm.data, 1e-5f, 1, D);
        ops->linear(dev, l->h.data, D, 1, &job, 1);
        ops->rope(dev, l->qkv.data, width, 1, HEADS + KV_HEADS, l->head_dim, l->cos.data, l->sin.data, ROPE_HALVES);
        ops->kv_store(dev, l->k.data, dev->act, SLOTS, l->slots, k, width, 1, KV_HEADS, l->head_dim);
        ops->kv_store(dev, l->v.data, dev->act, SLOTS, l->slots, v, width, 1, KV_HEADS, l->head_dim);
        ops->attention(dev, &s, l->qkv.data, width, &item, 1, &c,
                       &(attention_ends){.fresh = true, .out = l->o.data, .ldo = HEADS * l->head_dim});
    }
}

static void send_step(layer *l, int64_t length)
{
    int32_t token = (int32_t)(length * 7 % VOCAB);

    l->dev->ops->upload(l->dev, l->tokens, &token, sizeof token);
    l->dev->ops->upload(l->dev, l->positions, &length, sizeof length);
    l->dev->ops->upload(l->dev, l->slots, &length, sizeof length);
}

/* Returns how often the step had to be given again. */
static int repeat_step(layer *l, int64_t length)
{
    int again = -1;

    send_step(l, length);
    do {
        l->dev->ops->listen(l->dev);
        compute(l, length);
        assert_true(++again < 3);
    } while (l->dev->ops->again(l->dev));
    return again;
}

static void assert_same(const buffer *a, const buffer *b)
{
    float *x = buffer_get(a), *y = buffer_get(b);

    assert_memory_equal(x, y, (size_t)a->n * sizeof *x);
    for (int64_t i = 0; i < a->n; i++) {
        assert_true(isfinite(x[i]));
    }
    free(x);
    free(y);
}

static void check_steps(device *dev, int32_t head_dim)
{
    static const int64_t lengths[] = {5, 6, 7, 8, 63, 64, 65, 700, 701, 702, 703, 5500, 5501, 5502, 5503, 9};
    layer direct = open_layer(dev, head_dim), repeated = open_layer(dev, head_dim);
    int again[sizeof lengths / sizeof *lengths];

    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        send_step(&direct, lengths[i]);
        compute(&direct, lengths[i]);
        again[i] = repeat_step(&repeated, lengths[i]);
        assert_same(&direct.o, &repeated.o);
    }
    assert_same(&direct.k, &repeated.k);
    assert_same(&direct.v, &repeated.v);
    /* Heard once, recorded the second time, repeated from then on; also when a length comes back. */
    assert_int_equal(again[0], 1);
    assert_int_equal(again[1], 1);
    assert_int_equal(again[2], 0);
    assert_int_equal(again[3], 0);
    assert_int_equal(again[10], 0);
    assert_int_equal(again[14], 0);
    assert_int_equal(again[15], 0);
    close_layer(&direct);
    close_layer(&repeated);
}

static void check_both_kernels(device *dev)
{
    check_steps(dev, 64); /* of the matrix unit, in 16 bits */
    check_steps(dev, 48); /* plain */
}

static void a_repeated_step_gives_the_bits_of_a_direct_one(void **state)
{
    (void)state;
    for_every_type(check_both_kernels);
}

static void check_given_up(device *dev)
{
    layer l = open_layer(dev, 64), other = open_layer(dev, 64);

    for (int i = 0; i < 3; i++) { /* while it listens, and while it records; then directly, where no list was ever sent */
        send_step(&l, 100);
        dev->ops->listen(dev);
        compute(&l, 100);
        if (i == 1) {
            assert_true(dev->ops->again(dev));
            dev->ops->listen(dev);
            compute(&l, 100);
        }
        must(dev->ops->finish(dev));
        compute(&l, 100);
        send_step(&other, 100);
        compute(&other, 100);
        assert_same(&l.o, &other.o);
        (void)repeat_step(&l, 101);
        (void)repeat_step(&other, 101);
        assert_same(&l.o, &other.o);
    }
    must(dev->ops->finish(dev));
    close_layer(&l);
    close_layer(&other);
}

static void a_step_that_is_given_up_leaves_nothing_behind(void **state)
{
    (void)state;
    for_every_type(check_given_up);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_repeated_step_gives_the_bits_of_a_direct_one),
        cmocka_unit_test(a_step_that_is_given_up_leaves_nothing_behind),
    };
    int status = open_cards();

    if (status == 0) {
        status = cmocka_run_group_tests_name("cuda_record", tests, NULL, NULL);
    }
    close_cards();
    return status;
}
