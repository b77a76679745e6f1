/* Steps of decoding that are recorded and launched, beside the same steps queued operation by operation: the same bits, for
   every length of the cache, any tokens and slots, for one sequence and for many; and when a step is launched. Rests on card.h.
   Skipped where there is no GPU. */
#include "cuda/card.h"

enum {
    D = 256,
    VOCAB = 64,
    SLOTS = 6000,
    KV_HEADS = 2,
    GROUP = 2,
    HEADS = KV_HEADS * GROUP,
    LAYERS = 2,
    MANY = 40 /* sequences: their attention takes more than one list */
};

/* What a model of LAYERS layers with the same weights works on. Its keys lie a layer behind the other. */
typedef struct decoder {
    device *dev;
    uint64_t number; /* of this decoder: part of its keys */
    int32_t head_dim;
    int64_t rows; /* sequences, a token of each */
    matrix embedding, w;
    buffer table, weights, norm, inv_freq;
    buffer x, h, qkv, k, v, o, cos, sin, carries;
    void *tokens, *positions, *slots;
} decoder;

/* A call of attention of one layer. */
typedef struct attention_args {
    attention_shape shape;
    attention_item items[MANY];
    kv_segment segments[MANY][2];
    carry c;
    attention_ends ends;
} attention_args;

static buffer zeros(device *dev, dtype type, int64_t n)
{
    return random_buffer(dev, type, n, 0);
}

static decoder open_decoder(device *dev, int32_t head_dim, int64_t rows)
{
    static uint64_t numbers;
    int64_t width = (HEADS + 2 * KV_HEADS) * head_dim, cache = (int64_t)LAYERS * KV_HEADS * SLOTS * head_dim;
    dtype act = dev->act;
    decoder l = {.dev = dev, .number = ++numbers, .head_dim = head_dim, .rows = rows};

    random_state = 7; /* all alike */
    l.table = random_buffer(dev, act, VOCAB * D, 1);
    l.weights = random_buffer(dev, act, width * D, 0.1f);
    l.norm = random_buffer(dev, DTYPE_F32, D, 1);
    l.inv_freq = random_buffer(dev, DTYPE_F32, head_dim / 2, 1);
    l.k = random_buffer(dev, act, cache, 1);
    l.v = random_buffer(dev, act, cache, 1);
    l.x = zeros(dev, DTYPE_F32, rows * D);
    l.h = zeros(dev, act, rows * D);
    l.qkv = zeros(dev, act, rows * width);
    l.o = zeros(dev, act, LAYERS * rows * HEADS * head_dim);
    l.cos = zeros(dev, DTYPE_F32, rows * head_dim / 2);
    l.sin = zeros(dev, DTYPE_F32, rows * head_dim / 2);
    l.carries = zeros(dev, DTYPE_F32, rows * HEADS * (head_dim + 2));
    l.embedding = (matrix){.type = act, .rows = VOCAB, .cols = D, .data = l.table.data, .row_bytes = D * size_of(act)};
    l.w = (matrix){.type = act, .rows = width, .cols = D, .data = l.weights.data, .row_bytes = D * size_of(act)};
    must(dev->ops->reserve(dev, MANY * sizeof(int32_t), "a test", &l.tokens));
    must(dev->ops->reserve(dev, MANY * sizeof(int64_t), "a test", &l.positions));
    must(dev->ops->reserve(dev, MANY * sizeof(int64_t), "a test", &l.slots));
    return l;
}

static void close_decoder(decoder *l)
{
    buffer *all[] = {&l->table, &l->weights, &l->norm, &l->inv_freq, &l->k,   &l->v,      &l->x,
                     &l->h,     &l->qkv,     &l->o,    &l->cos,      &l->sin, &l->carries};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        buffer_free(all[i]);
    }
    l->dev->ops->release(l->dev, l->tokens, MANY * sizeof(int32_t));
    l->dev->ops->release(l->dev, l->positions, MANY * sizeof(int64_t));
    l->dev->ops->release(l->dev, l->slots, MANY * sizeof(int64_t));
}

/* The first slot of a sequence, and its length: those of `rows` sequences share the slots. */
static int64_t slot_of(const decoder *l, int64_t row)
{
    return row * (SLOTS / l->rows);
}

static int64_t length_of(const decoder *l, int64_t row, int64_t length)
{
    return l->rows == 1 ? length : length + row % 3;
}

/* Keys as they lie for a layer; those before the token, and the token's own. */
static void list_attention(const decoder *l, int64_t length, int layer, attention_args *a)
{
    const void *k = act_at(l->dev, l->k.data, (int64_t)layer * KV_HEADS * SLOTS * l->head_dim);
    const void *v = act_at(l->dev, l->v.data, (int64_t)layer * KV_HEADS * SLOTS * l->head_dim);

    a->shape = (attention_shape){
        .n_heads = HEADS, .n_kv_heads = KV_HEADS, .head_dim = l->head_dim, .scale = 0.1f, .kv_type = l->dev->act};
    for (int64_t r = 0; r < l->rows; r++) {
        int64_t n = length_of(l, r, length), before = slot_of(l, r) * l->head_dim, own = (slot_of(l, r) + n) * l->head_dim;
        a->segments[r][0] =
            (kv_segment){.k = act_at(l->dev, k, before), .v = act_at(l->dev, v, before), .head_stride = SLOTS,
                         .count = (int32_t)n, .first = KV_ALL_VISIBLE};
        a->segments[r][1] = (kv_segment){.k = act_at(l->dev, k, own), .v = act_at(l->dev, v, own), .head_stride = SLOTS,
                                         .count = 1, .first = n};
        a->items[r] = (attention_item){.row = (int32_t)r, .count = 1, .first = n, .segments = a->segments[r], .n_segments = 2};
    }
    a->c = carry_at(l->carries.data, &a->shape, l->rows);
    a->ends = (attention_ends){.is_first = true, .out = act_at(l->dev, l->o.data, layer * l->rows * HEADS * l->head_dim),
                               .ldo = HEADS * l->head_dim};
}

/* A token of each sequence goes to its next slot and attends to all there are. */
static void compute(decoder *l, int64_t length)
{
    device *dev = l->dev;
    const device_ops *ops = dev->ops;
    int64_t width = (HEADS + 2 * KV_HEADS) * l->head_dim;
    linear_job job = {.w = &l->w, .rows = width, .type = dev->act, .y = l->qkv.data, .ldy = width};
    void *k = act_at(dev, l->qkv.data, HEADS * l->head_dim), *v = act_at(dev, k, KV_HEADS * l->head_dim);

    ops->embed(dev, l->x.data, &l->embedding, l->tokens, NULL, l->rows, 1);
    ops->rope_angles(dev, l->cos.data, l->sin.data, l->positions, l->rows, l->inv_freq.data, l->head_dim / 2, 1);
    for (int i = 0; i < LAYERS; i++) {
        int64_t layer = (int64_t)i * KV_HEADS * SLOTS * l->head_dim;
        attention_args a;
        list_attention(l, length, i, &a);
        ops->rms_norm(dev, l->h.data, l->x.data, l->norm.data, 1e-5f, l->rows, D);
        ops->linear(dev, l->h.data, D, l->rows, &job, 1);
        const rotation rotate = {.x = l->qkv.data, .ld = width, .heads = HEADS + KV_HEADS, .kv_heads = KV_HEADS,
                                 .dims = l->head_dim, .cos = l->cos.data, .sin = l->sin.data};
        ops->rope(dev, &rotate, l->rows, l->head_dim);
        ops->kv_store(dev, act_at(dev, l->k.data, layer), NULL, dev->act, SLOTS, l->slots, k, width, l->rows, KV_HEADS,
                      l->head_dim);
        ops->kv_store(dev, act_at(dev, l->v.data, layer), NULL, dev->act, SLOTS, l->slots, v, width, l->rows, KV_HEADS,
                      l->head_dim);
        ops->attention(dev, &a.shape, l->qkv.data, width, a.items, (int)l->rows, &a.c, &a.ends);
    }
}

static void send_step(decoder *l, int64_t length)
{
    int32_t tokens[MANY];
    int64_t positions[MANY], slots[MANY];

    for (int64_t r = 0; r < l->rows; r++) {
        positions[r] = length_of(l, r, length);
        slots[r] = slot_of(l, r) + positions[r];
        tokens[r] = (int32_t)(positions[r] * 7 % VOCAB);
    }
    l->dev->ops->upload(l->dev, l->tokens, tokens, (size_t)l->rows * sizeof *tokens);
    l->dev->ops->upload(l->dev, l->positions, positions, (size_t)l->rows * sizeof *positions);
    l->dev->ops->upload(l->dev, l->slots, slots, (size_t)l->rows * sizeof *slots);
}

/* The class of a step's attention; and a step's key: `kind` tells steps of one decoder apart. */
static uint64_t class_of(decoder *l, int64_t length)
{
    attention_args a;

    list_attention(l, length, 0, &a);
    return l->dev->ops->replay_class(l->dev, &a.shape, l->qkv.data, (HEADS + 2 * KV_HEADS) * l->head_dim, a.items, (int)l->rows,
                                     &a.c, &a.ends);
}

static uint64_t key_of(decoder *l, int64_t length, uint64_t kind)
{
    uint64_t class = class_of(l, length);

    assert_true(class != 0);
    return class + 1000003 * l->number + 500009 * kind;
}

/* Whether the step was launched; otherwise it was issued. */
static bool replay_step(decoder *l, int64_t length, uint64_t kind)
{
    int attempts = 0;

    send_step(l, length);
    do {
        assert_true(attempts++ < 2);
        if (l->dev->ops->replay_begin(l->dev, key_of(l, length, kind))) {
            return true;
        }
        compute(l, length);
    } while (l->dev->ops->replay_end(l->dev));
    assert_int_equal(attempts, 1); /* a card that has memory refuses no recording */
    return false;
}

static void direct_step(decoder *l, int64_t length)
{
    send_step(l, length);
    compute(l, length);
}

static void assert_same(const decoder *l, const buffer *a, const buffer *b, const char *what, int64_t length)
{
    float *x = buffer_get(a), *y = buffer_get(b);

    for (int64_t i = 0; i < a->n; i++) {
        if (!isfinite(x[i]) || memcmp(&x[i], &y[i], sizeof *x) != 0) {
            fail_msg("%s, head_dim %d, %lld sequences of length %lld: element %lld of %s is %.9g, directly %.9g",
                     dtype_name(l->dev->act), l->head_dim, (long long)l->rows, (long long)length, (long long)i, what,
                     (double)y[i], (double)x[i]);
        }
    }
    free(x);
    free(y);
}

/* The first step of a class is issued, the second one recorded, the others are launched; also when a length comes back. */
static void check_steps(device *dev, int32_t head_dim, int64_t rows, const int64_t lengths[], int n)
{
    decoder direct = open_decoder(dev, head_dim, rows), replayed = open_decoder(dev, head_dim, rows);
    uint64_t classes[32];

    assert_true(n <= 32);
    for (int i = 0; i < n; i++) {
        int before = 0;
        classes[i] = class_of(&replayed, lengths[i]);
        for (int k = 0; k < i; k++) {
            before += classes[k] == classes[i];
        }
        direct_step(&direct, lengths[i]);
        bool launched = replay_step(&replayed, lengths[i], 0);
        if (launched != (before > 1)) {
            fail_msg("%s, head_dim %d, %lld sequences of length %lld: came %d times before, and was%s launched",
                     dtype_name(dev->act), head_dim, (long long)rows, (long long)lengths[i], before, launched ? "" : " not");
        }
        assert_same(&direct, &direct.o, &replayed.o, "the output", lengths[i]);
    }
    assert_same(&direct, &direct.k, &replayed.k, "the keys", lengths[n - 1]);
    assert_same(&direct, &direct.v, &replayed.v, "the values", lengths[n - 1]);
    close_decoder(&direct);
    close_decoder(&replayed);
}

static void check_both_kernels(device *dev)
{
    static const int64_t lengths[] = {5, 6, 7, 8, 63, 64, 65, 700, 701, 702, 703, 5500, 5501, 5502, 5503, 9};
    static const int64_t short_ones[] = {3, 4, 5, 100, 101, 102, 103, 6};

    check_steps(dev, 64, 1, lengths, 16); /* of the matrix unit, in 16 bits */
    check_steps(dev, 48, 1, lengths, 16); /* plain */
    check_steps(dev, 64, MANY, short_ones, 8);
}

static void a_launched_step_gives_the_bits_of_a_direct_one(void **state)
{
    (void)state;
    for_every_type(check_both_kernels);
}

static void check_classes(device *dev)
{
    decoder l = open_decoder(dev, 64, 1), many = open_decoder(dev, 64, MANY);
    attention_args a;

    assert_true(class_of(&l, 100) == class_of(&l, 101));
    if (is_16_bit(
            dev->act)) { /* of each sequence one block of keys and two: of all together more than another half of a card */
        assert_true(class_of(&many, 3) != class_of(&many, 140));
    }
    list_attention(&l, 10, 0, &a);
    a.items[0].n_segments = 0; /* of which no layer's distance can be told */
    assert_true(class_of(&l, 10) != dev->ops->replay_class(dev, &a.shape, l.qkv.data, (HEADS + 2 * KV_HEADS) * l.head_dim,
                                                           a.items, 1, &a.c, &a.ends));
    must(dev->ops->finish(dev));
    close_decoder(&l);
    close_decoder(&many);
}

static void lengths_of_one_grid_have_one_class_and_others_have_others(void **state)
{
    (void)state;
    for_every_type(check_classes);
}

static void check_given_up(device *dev)
{
    enum { GIVEN_UP = 1, REPLAYED };
    decoder l = open_decoder(dev, 64, 1), other = open_decoder(dev, 64, 1);

    for (int i = 0; i < 3; i++) { /* once directly, then while it is recorded; then directly, where no list was ever sent */
        send_step(&l, 100);
        assert_false(dev->ops->replay_begin(dev, key_of(&l, 100, GIVEN_UP)));
        compute(&l, 100);
        must(dev->ops->finish(dev));
        compute(&l, 100);
        direct_step(&other, 100);
        assert_same(&l, &other.o, &l.o, "the output", 100);
        (void)replay_step(&l, 101, REPLAYED);
        (void)replay_step(&other, 101, REPLAYED);
        assert_same(&l, &other.o, &l.o, "the output", 101);
    }
    (void)class_of(&l, 50); /* announced, and never begun */
    direct_step(&l, 100);
    direct_step(&other, 100);
    assert_same(&l, &other.o, &l.o, "the output", 100);
    must(dev->ops->finish(dev));
    close_decoder(&l);
    close_decoder(&other);
}

static void a_step_that_is_given_up_leaves_nothing_behind(void **state)
{
    (void)state;
    for_every_type(check_given_up);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_launched_step_gives_the_bits_of_a_direct_one),
        cmocka_unit_test(lengths_of_one_grid_have_one_class_and_others_have_others),
        cmocka_unit_test(a_step_that_is_given_up_leaves_nothing_behind),
    };
    int status = open_cards();

    if (status == 0) {
        status = cmocka_run_group_tests_name("cuda_record", tests, NULL, NULL);
    }
    close_cards();
    return status;
}
