/* Attention on a GPU against softmax in double precision and against the CPU's scalar kernel; and what must hold of carries,
   bit for bit. Rests on device/gpu.h. Exits 77 where there is no GPU. Usage: test_attention [PATTERN of names] */
#include "cuda/attention_truth.h"
#include "device/cpu/cpu.h"
#include "device/gpu.h"

#include <stdio.h>

enum { PARTS = 700 /* more than any launch lists */ };

/* From the carry and back into it. */
static const attention_ends on_and_back = {0};

/* --- devices --- */

static const cuda_module *module;
static device *scalar;

static device *open_device(dtype act)
{
    device *dev;

    assert_int_equal(module->open(0, act, &dev), LARIAT_OK);
    return dev;
}

static void for_every_type(void (*check)(device *dev))
{
    static const dtype types[] = {DTYPE_BF16, DTYPE_F16, DTYPE_F32};

    for (int i = 0; i < 3; i++) {
        device *dev = open_device(types[i]);
        act_of_test = types[i];
        seed = 1;
        check(dev);
        dev->ops->close(dev);
    }
}

enum { EXPANDED_BYTES = 256 << 20 };

static bool codes; /* shapes are of I8 */
static void *expanded;

/* The same over keys and values of the device's type, and of codes. */
static void for_every_type_and_codes(void (*check)(device *dev))
{
    for_every_type(check);
    device *dev = open_device(DTYPE_BF16);
    codes = true;
    expanded = device_memory(dev, EXPANDED_BYTES);
    for_every_type(check);
    codes = false;
    dev->ops->release(dev, expanded, EXPANDED_BYTES);
    dev->ops->close(dev);
}

static attention_shape shape_of(const device *dev, int32_t n_kv_heads, int32_t group, int32_t head_dim)
{
    attention_shape s = {.n_heads = n_kv_heads * group, .n_kv_heads = n_kv_heads, .head_dim = head_dim,
                         .scale = 1 / sqrtf((float)head_dim), .kv_type = codes ? DTYPE_I8 : dev->act};

    if (codes && dev->act != DTYPE_F32) {
        s.expanded = expanded;
        s.expanded_slots = EXPANDED_BYTES / (4 * n_kv_heads * head_dim);
    }
    return s;
}

/* --- tests --- */

/* All rows against the CPU's scalar attention on the same numbers. */
static void assert_as_scalar(dtype act, const attention_shape *s, const void *q, int64_t ldq, const attention_item *item,
                             const carry *c, int32_t rows)
{
    float *floats = host_memory((size_t)(rows * ldq) * sizeof *floats);
    carry want = carry_at(host_memory(carry_bytes(s, rows)), s, rows);
    /* Both are within their own bound of the truth; scores here are sums of magnitudes below 30. */
    truth t = {.expanded = expansion_error(s, item)};
    double bound = rounding_of(act, s, &t) + 6e-5 + t.expanded * 30;

    for (int64_t i = 0; i < rows * ldq; i++) {
        floats[i] = get(q, act, i);
    }
    scalar->ops->carry_clear(scalar, &want, s, rows);
    scalar->ops->attention(scalar, s, floats, ldq, item, 1, &want, &on_and_back);
    for (int64_t i = 0; i < (int64_t)item->count * s->n_heads; i++) {
        int64_t at = (int64_t)item->row * s->n_heads + i;
        if (want.l[at] == 0) {
            assert_true(c->l[at] == 0 && c->m[at] == -INFINITY);
            continue;
        }
        for (int32_t e = 0; e < s->head_dim; e++) {
            float a = want.o[at * s->head_dim + e] / want.l[at], b = c->o[at * s->head_dim + e] / c->l[at];
            assert_true(fabs((double)(a - b)) <= bound * 4); /* no value is above 3.4 */
        }
    }
    free(floats);
    free(want.o);
}

static void check_random(device *dev, const attention_shape *s, int32_t count, int32_t most)
{
    static const int32_t pads[] = {0, 8, 3};
    enum { SEGMENTS = 8 };
    keys all[SEGMENTS];
    kv_segment host[SEGMENTS], device_side[SEGMENTS];
    int32_t rows = count + 2, n = random_below(SEGMENTS + 1);
    int64_t width = (int64_t)s->n_heads * s->head_dim, ldq = width + pads[random_below(3)], first = random_below(5);
    twin q = new_queries(dev, rows * ldq, 2);
    attention_item item = {1, count, random_below(3 * most + 1), device_side, n};
    carry on_device = device_carry(dev, s, rows);

    for (int32_t i = 0; i < n; i++) {
        int32_t slots = random_below(4) ? random_below(most + 1) : random_below(3);
        all[i] = new_keys(dev, s, slots, random_below(6) ? first : KV_ALL_VISIBLE);
        host[i] = all[i].host;
        device_side[i] = all[i].device;
        first += slots + (random_below(4) ? 0 : random_below(20));
    }
    dev->ops->attention(dev, s, q.device, ldq, &item, 1, &on_device, &on_and_back);
    carry c = fetched(dev, &on_device, s, rows);
    item.segments = host;
    assert_item_true(dev->act, s, q.host, ldq, &item, &c, 3);
    if ((int64_t)count * most * width < 4000000) {
        assert_as_scalar(dev->act, s, q.host, ldq, &item, &c, rows);
    }
    /* Rows of no item are left alone. */
    for (int32_t h = 0; h < s->n_heads; h++) {
        assert_true(c.l[h] == 0 && c.m[h] == -INFINITY && c.o[h * s->head_dim] == 0);
        assert_true(c.l[(rows - 1) * s->n_heads + h] == 0 && c.m[(rows - 1) * s->n_heads + h] == -INFINITY);
    }
    for (int32_t i = 0; i < n; i++) {
        free_keys(dev, &all[i]);
    }
    free_device_carry(dev, &on_device, s, rows);
    free_twin(dev, &q);
    free(c.o);
}

static void check_odd_shapes(device *dev)
{
    static const int32_t dims[] = {1, 16, 48, 64, 80, 96, 100, 128, 200, 256, 512};
    static const int32_t groups[] = {1, 3, 4, 5, 6, 7, 8, 32};
    static const int32_t counts[] = {1, 1, 2, 3, 5, 16, 17, 33, 70, 150, 300};

    for (size_t d = 0; d < sizeof dims / sizeof *dims; d++) {
        for (size_t g = 0; g < sizeof groups / sizeof *groups; g++) {
            attention_shape s = shape_of(dev, 1 + random_below(3), groups[g], dims[d]);
            check_random(dev, &s, counts[random_below(groups[g] > 8 ? 6 : 11)], random_below(2) ? 400 : 20);
        }
    }
}

static void every_kernel_agrees_with_double_precision_over_odd_shapes(void **state)
{
    (void)state;
    for_every_type_and_codes(check_odd_shapes);
}

/* For memory checkers, which are slow: a few shapes that take every kernel through masks, ends, pieces and merges. */
static void check_small(device *dev)
{
    static const int32_t dims[] = {64, 96, 128, 256, 48};

    for (int d = 0; d < 5; d++) {
        attention_shape s = shape_of(dev, 2, 3, dims[d]);
        check_random(dev, &s, 2, 500);
        check_random(dev, &s, 70, 300);
    }
}

static void small_shapes_agree_with_double_precision(void **state)
{
    (void)state;
    for_every_type_and_codes(check_small);
}

/* Queries at the end of `keys` keys. */
typedef struct fixture {
    device *dev;
    attention_shape s;
    int32_t rows, n_keys;
    int64_t ldq;
    twin q;
    keys whole;
    attention_item item;
    carry c;
} fixture;

static fixture new_fixture(device *dev, int32_t n_kv_heads, int32_t group, int32_t head_dim, int32_t rows, int32_t n_keys)
{
    fixture f = {.dev = dev, .s = shape_of(dev, n_kv_heads, group, head_dim), .rows = rows, .n_keys = n_keys};

    f.ldq = (int64_t)f.s.n_heads * f.s.head_dim;
    f.q = new_queries(dev, rows * f.ldq, 2);
    f.whole = new_keys(dev, &f.s, n_keys, 0);
    f.item = (attention_item){.count = rows, .first = n_keys - rows};
    f.c = device_carry(dev, &f.s, rows);
    return f;
}

static void free_fixture(fixture *f)
{
    free_twin(f->dev, &f->q);
    free_keys(f->dev, &f->whole);
    free_device_carry(f->dev, &f->c, &f->s, f->rows);
}

static void attend(fixture *f, const kv_segment *segments, int32_t n)
{
    f->item.segments = segments;
    f->item.n_segments = n;
    f->dev->ops->attention(f->dev, &f->s, f->q.device, f->ldq, &f->item, 1, &f->c, &on_and_back);
}

static void assert_fixture_true(fixture *f, int32_t samples)
{
    carry c = fetched(f->dev, &f->c, &f->s, f->rows);

    f->item.segments = &f->whole.host;
    f->item.n_segments = 1;
    assert_item_true(f->dev->act, &f->s, f->q.host, f->ldq, &f->item, &c, samples);
    free(c.o);
}

/* The same call again, from a cleared carry, gives the same bits. */
static void assert_same_bits_twice(fixture *f, const kv_segment *segments, int32_t n)
{
    carry once = fetched(f->dev, &f->c, &f->s, f->rows), twice;

    f->dev->ops->carry_clear(f->dev, &f->c, &f->s, f->rows);
    attend(f, segments, n);
    twice = fetched(f->dev, &f->c, &f->s, f->rows);
    assert_memory_equal(once.o, twice.o, carry_bytes(&f->s, f->rows));
    free(once.o);
    free(twice.o);
}

static void check_long(device *dev)
{
    static const int32_t sizes[][5] = {
        /* KV heads, group, head_dim, rows, keys */
        {8, 4, 128, 1, 70001}, {3, 3, 64, 5, 30011},  {2, 7, 96, 2, 9000},    {1, 8, 256, 1, 20000}, {8, 4, 128, 256, 9000},
        {3, 3, 64, 700, 1500}, {2, 5, 96, 300, 5000}, {1, 2, 256, 400, 3000}, {2, 4, 48, 1, 20000},  {1, 1, 512, 20, 3000}};

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        fixture f = new_fixture(dev, sizes[i][0], sizes[i][1], sizes[i][2], sizes[i][3], sizes[i][4]);
        attend(&f, &f.whole.device, 1);
        assert_fixture_true(&f, 2);
        assert_same_bits_twice(&f, &f.whole.device, 1);
        free_fixture(&f);
    }
}

static void long_inputs_agree_with_double_precision_and_with_themselves(void **state)
{
    (void)state;
    for_every_type_and_codes(check_long);
}

static void check_splits(device *dev)
{
    static const int32_t rows[] = {1, 4, 40, 170}, dims[] = {64, 128, 96, 256, 80};

    for (int round = 0; round < 20; round++) {
        fixture f = new_fixture(dev, 2, 3, dims[round % 5], rows[round % 4], 200 + random_below(1500));
        kv_segment parts[3];
        int32_t n = 0;
        /* Cut anywhere, three parts a call at most. */
        for (int32_t at = 0, count; at < f.n_keys; at += count) {
            count = 1 + random_below(f.n_keys - at < 400 ? f.n_keys - at : 400);
            parts[n++] = part_of(&f.s, &f.whole.device, at, count);
            if (n == 3 || at + count == f.n_keys) {
                attend(&f, parts, n);
                n = 0;
            }
        }
        assert_fixture_true(&f, 3);
        free_fixture(&f);
    }
}

static void keys_cut_into_any_segments_and_calls_give_the_whole(void **state)
{
    (void)state;
    for_every_type_and_codes(check_splits);
}

/* More segments than a launch holds. */
static void check_many_segments(device *dev)
{
    static const int32_t rows[] = {1, 40, 200};

    for (int round = 0; round < 3; round++) {
        fixture f = new_fixture(dev, 2, 3, 64, rows[round], 30 * PARTS);
        kv_segment parts[PARTS];
        for (int32_t i = 0; i < PARTS; i++) {
            parts[i] = part_of(&f.s, &f.whole.device, 30 * i, 30);
        }
        attend(&f, parts, PARTS);
        assert_fixture_true(&f, 3);
        assert_same_bits_twice(&f, parts, PARTS);
        free_fixture(&f);
    }
}

static void a_list_longer_than_a_launch_holds_is_taken_whole(void **state)
{
    (void)state;
    for_every_type_and_codes(check_many_segments);
}

/* A copy with another stride between heads. */
static void check_staged_copy(device *dev)
{
    fixture f = new_fixture(dev, 3, 2, 64, 50, 700);
    const kv_segment *from = &f.whole.host;
    int64_t stride = 1000;
    twin k = new_slots(dev, &f.s, 0, stride), v = new_slots(dev, &f.s, 0, stride);

    for (int64_t g = 0; g < f.s.n_kv_heads; g++) {
        size_t to = dtype_row_bytes(dev->act, (g * stride + 3) * 64),
               at = dtype_row_bytes(dev->act, g * from->head_stride * 64);
        memcpy((char *)k.host + to, (const char *)from->k + at, dtype_row_bytes(dev->act, 700 * 64));
        memcpy((char *)v.host + to, (const char *)from->v + at, dtype_row_bytes(dev->act, 700 * 64));
    }
    to_device(dev, &k);
    to_device(dev, &v);
    kv_segment copy = {.k = k.device, .v = v.device, .head_stride = stride, .count = 703, .first = -3};
    copy = part_of(&f.s, &copy, 3, 700);
    attend(&f, &f.whole.device, 1);
    assert_same_bits_twice(&f, &copy, 1);
    free_twin(dev, &k);
    free_twin(dev, &v);
    free_fixture(&f);
}

static void a_copy_of_a_segment_elsewhere_gives_the_same_bits(void **state)
{
    (void)state;
    for_every_type(check_staged_copy);
}

/* Sequences of a batch, more of them than a launch holds: each as if it were alone, to the bit where kernels do not share the
   card among them. */
static void check_items(device *dev)
{
    enum { ITEMS = 60 };
    attention_shape s = shape_of(dev, 2, 3, 128);
    s.expanded_slots = s.expanded ? 1000 : 0; /* of one item or some */
    attention_item items[ITEMS];
    keys all[ITEMS];
    int64_t ldq = (int64_t)s.n_heads * s.head_dim;
    int32_t rows = 0;

    for (int i = 0; i < ITEMS; i++) {
        int32_t count = random_below(4) ? random_below(6) : random_below(100), slots = random_below(5) ? random_below(900) : 0;
        all[i] = new_keys(dev, &s, slots, random_below(30));
        items[i] = (attention_item){rows, count, slots + 5 - random_below(20), &all[i].device, 1};
        rows += count;
    }
    twin q = new_queries(dev, rows * ldq, 2);
    carry together = device_carry(dev, &s, rows), alone = device_carry(dev, &s, rows);
    dev->ops->attention(dev, &s, q.device, ldq, items, ITEMS, &together, &on_and_back);
    for (int i = 0; i < ITEMS; i++) {
        dev->ops->attention(dev, &s, q.device, ldq, &items[i], 1, &alone, &on_and_back);
    }
    carry a = fetched(dev, &together, &s, rows), b = fetched(dev, &alone, &s, rows);
    for (int i = 0; i < ITEMS; i++) {
        size_t first = (size_t)items[i].row * (size_t)s.n_heads, count = (size_t)items[i].count * (size_t)s.n_heads;
        if (dev->act == DTYPE_F32 || items[i].count * 3 > 16) { /* of a KV head: more than a tile of few rows */
            assert_memory_equal(a.o + first * 128, b.o + first * 128, count * 128 * sizeof *a.o);
            assert_memory_equal(a.m + first, b.m + first, count * sizeof *a.m);
            assert_memory_equal(a.l + first, b.l + first, count * sizeof *a.l);
        }
        items[i].segments = &all[i].host;
        assert_item_true(dev->act, &s, q.host, ldq, &items[i], &a, 2);
        free_keys(dev, &all[i]);
    }
    free(a.o);
    free(b.o);
    free_twin(dev, &q);
    free_device_carry(dev, &together, &s, rows);
    free_device_carry(dev, &alone, &s, rows);
}

static void items_of_one_call_get_what_each_gets_alone(void **state)
{
    (void)state;
    for_every_type_and_codes(check_items);
}

/* Queries that see nothing of what comes leave their carry, whatever it holds, as it is. */
static void check_nothing_seen(device *dev)
{
    static const int32_t rows[] = {2, 60, 300}, dims[] = {64, 256, 48};

    for (int round = 0; round < 9; round++) {
        fixture f = new_fixture(dev, 2, 3, dims[round / 3], rows[round % 3], 2000);
        int32_t half = f.rows / 2;
        attend(&f, &f.whole.device, 1);
        carry before = fetched(dev, &f.c, &f.s, f.rows);
        /* The first half of the queries is before the first slot, the second sees some; and then nobody sees anything. */
        kv_segment later = f.whole.device;
        later.first = f.item.first + half;
        kv_segment none[] = {later, later};
        attend(&f, &later, 1);
        carry after = fetched(dev, &f.c, &f.s, f.rows);
        size_t heads = (size_t)half * (size_t)f.s.n_heads;
        assert_memory_equal(before.o, after.o, heads * (size_t)f.s.head_dim * sizeof(float));
        assert_memory_equal(before.m, after.m, heads * sizeof(float));
        assert_memory_equal(before.l, after.l, heads * sizeof(float));
        none[0].count = 0;
        none[1].first = f.item.first + f.rows;
        attend(&f, none, 2);
        attend(&f, none, 0);
        carry at_last = fetched(dev, &f.c, &f.s, f.rows);
        assert_memory_equal(after.o, at_last.o, carry_bytes(&f.s, f.rows));
        free(before.o);
        free(after.o);
        free(at_last.o);
        free_fixture(&f);
    }
}

static void queries_that_see_nothing_stay_as_they_were(void **state)
{
    (void)state;
    for_every_type_and_codes(check_nothing_seen);
}

/* Finished rows against the truth: the carry's bound, and the rounding of the result. NULL keys: there were none. */
static void assert_finished(fixture *f, const void *out, const carry *c, const kv_segment *host)
{
    dtype act = f->dev->act;
    float row[512];
    truth t;

    f->item.segments = host;
    f->item.n_segments = host != NULL;
    for (int32_t i = 0; i < f->rows; i += 1 + f->rows / 5) {
        for (int32_t h = 0; h < f->s.n_heads; h++) {
            int64_t at = (int64_t)i * f->s.n_heads + h, d = f->s.head_dim;
            for (int64_t e = 0; e < d; e++) {
                row[e] = get(f->q.host, act, i * f->ldq + h * d + e);
            }
            attend_exactly(&f->s, row, &f->item, i, h, &t);
            double scores = 1e-6 * (1 + t.terms) + t.n * 1e-8 + t.expanded * t.terms;
            double result = act == DTYPE_BF16 ? 1.0 / 256 : act == DTYPE_F16 ? 1.0 / 2048 : 0;
            double small = act == DTYPE_F16 || f->s.expanded ? t.n * 3e-8 : 0;
            double bound = (scores + rounding_of(act, &f->s, &t) + result + small) * t.largest;
            assert_true(t.l == 0 ? c->l[at] == 0 && c->m[at] == -INFINITY : fabs((double)c->m[at] - t.m) <= scores);
            for (int64_t e = 0; e < d; e++) {
                double error = fabs((double)get(out, act, at * d + e) - (t.l > 0 ? t.out[e] / t.l : 0));
                assert_true(error <= bound);
            }
        }
    }
}

/* One call of the fixture's queries over n segments, into whatever the carry and `out` hold. */
static void attend_between(fixture *f, const kv_segment *segments, int32_t n, bool is_first, void *out)
{
    attention_ends ends = {.is_first = is_first, .out = out, .ldo = f->ldq};

    f->item.segments = segments;
    f->item.n_segments = n;
    f->dev->ops->attention(f->dev, &f->s, f->q.device, f->ldq, &f->item, 1, &f->c, &ends);
}

static void check_ends(device *dev)
{
    static const int32_t dims[] = {64, 96, 128, 256, 80}, rows[] = {1, 5, 70, 300}, keys_of_rows[] = {3000, 700, 900, 1000};

    for (int round = 0; round < 60; round++) {
        int32_t n_keys = keys_of_rows[round / 5 % 4], cut = n_keys / 3;
        fixture f = new_fixture(dev, 2, round % 2 ? 3 : 4, dims[round % 5], rows[round / 5 % 4], n_keys);
        twin out = new_twin(dev, dtype_row_bytes(dev->act, f.rows * f.ldq)), poison = {f.c.o, f.c.o, carry_bytes(&f.s, f.rows)};
        int way = round / 20;

        memset(out.host, 0xFF, out.bytes);
        to_device(dev, &out);
        poison.host = host_memory(poison.bytes);
        memset(poison.host, 0xFF, poison.bytes);
        to_device(dev, &poison);
        if (way == 0) {
            attend_between(&f, &f.whole.device, 1, true, out.device);
        } else if (way == 1) { /* in two calls */
            kv_segment first = part_of(&f.s, &f.whole.device, 0, cut), rest = part_of(&f.s, &f.whole.device, cut, n_keys - cut);
            attend_between(&f, &first, 1, true, NULL);
            attend_between(&f, &rest, 1, false, out.device);
        } else {
            attend_between(&f, NULL, 0, true, out.device);
        }
        dev->ops->download(dev, out.host, out.device, out.bytes);
        carry c = fetched(dev, &f.c, &f.s, f.rows);
        assert_finished(&f, out.host, &c, way == 2 ? NULL : &f.whole.host);
        free(c.o);
        free(poison.host);
        free_twin(dev, &out);
        free_fixture(&f);
    }
}

static void a_call_may_begin_without_a_carry_and_finish_its_rows(void **state)
{
    (void)state;
    for_every_type_and_codes(check_ends);
}

/* Two sequences of one token, of which the second has no key; a call in the middle, and then the last, over a copy of the keys
   elsewhere: the same lists, and rows of the second to finish. */
static void check_row_without_keys(device *dev)
{
    fixture f = new_fixture(dev, 2, 4, 128, 2, 500);
    size_t half = dtype_row_bytes(f.s.kv_type, f.s.n_kv_heads * f.whole.host.head_stride * f.s.head_dim);
    size_t scales = f.whole.k_scales.bytes;
    char *copies = device_memory(dev, 4 * half), *scale_copies = device_memory(dev, 4 * scales + 1);
    twin out = new_twin(dev, dtype_row_bytes(dev->act, f.rows * f.ldq));
    kv_segment segments[2];
    attention_item items[] = {{.row = 0, .count = 1, .first = 500, .n_segments = 1}, {.row = 1, .count = 1, .first = 0}};

    memset(out.host, 0xFF, out.bytes);
    to_device(dev, &out);
    for (int i = 0; i < 2; i++) { /* keys of both copies, then their values: one shift for all */
        dev->ops->upload(dev, copies + (size_t)(2 * i) * half, f.whole.k.host, half);
        dev->ops->upload(dev, copies + (size_t)(2 * i + 1) * half, f.whole.v.host, half);
        segments[i] = f.whole.device;
        segments[i].first = KV_ALL_VISIBLE;
        segments[i].k = copies + (size_t)(2 * i) * half;
        segments[i].v = copies + (size_t)(2 * i + 1) * half;
        if (scales) {
            char *k_scales = scale_copies + (size_t)(2 * i) * scales, *v_scales = k_scales + scales;
            dev->ops->upload(dev, k_scales, f.whole.k_scales.host, scales);
            dev->ops->upload(dev, v_scales, f.whole.v_scales.host, scales);
            segments[i].k_scales = (float *)(void *)k_scales;
            segments[i].v_scales = (float *)(void *)v_scales;
        }
    }
    for (int i = 0; i < 2; i++) {
        items[0].segments = &segments[i];
        dev->ops->attention(dev, &f.s, f.q.device, f.ldq, items, 2, &f.c,
                            i == 0 ? &on_and_back : &(attention_ends){.out = out.device, .ldo = f.ldq});
    }
    dev->ops->download(dev, out.host, out.device, out.bytes);
    carry c = fetched(dev, &f.c, &f.s, f.rows);
    for (int64_t i = 0; i < f.ldq; i++) {
        assert_true(get(out.host, dev->act, f.ldq + i) == 0);
        assert_true(isfinite(get(out.host, dev->act, i)));
    }
    free(c.o);
    dev->ops->release(dev, copies, 4 * half);
    dev->ops->release(dev, scale_copies, 4 * scales + 1);
    free_twin(dev, &out);
    free_fixture(&f);
}

static void a_row_without_keys_is_finished_beside_others(void **state)
{
    (void)state;
    for_every_type_and_codes(check_row_without_keys);
}

static void check_large_scores(device *dev)
{
    static const int32_t dims[] = {64, 128, 48};

    for (int i = 0; i < 6; i++) {
        fixture f = new_fixture(dev, 1, 2, dims[i % 3], i < 3 ? 3 : 100, 500);
        f.s.scale = 30000;
        attend(&f, &f.whole.device, 1);
        carry c = fetched(dev, &f.c, &f.s, f.rows);
        for (int64_t n = 0; n < (int64_t)f.rows * f.s.n_heads; n++) {
            /* The last place of such a score is 0.06, and that of its product with log2(e) twice as much: so far is exp(0)
             * from 1. */
            assert_true(isfinite(c.m[n]) && isfinite(c.o[n * f.s.head_dim]) && c.l[n] > 0.9f && c.l[n] < 550);
        }
        free(c.o);
        free_fixture(&f);
    }
}

static void scores_of_a_million_neither_overflow_nor_vanish(void **state)
{
    (void)state;
    for_every_type(check_large_scores);
}

/* The second KV head's keys, and the later queries, lie more than 2^31 elements from the first. */
static void check_far(device *dev, int32_t head_dim, int32_t rows)
{
    attention_shape s = shape_of(dev, 2, 2, head_dim);
    int64_t far = ((int64_t)1 << 31) / head_dim + 8, ldq = (((int64_t)1 << 31) + 4096) / (rows - 1) / 8 * 8;
    size_t element = dtype_block_bytes(dev->act);
    size_t bytes = (size_t)((far + 200) * head_dim) * element + ((size_t)rows << 12);
    char *all = device_memory(dev, bytes), *queries = device_memory(dev, bytes);
    keys near = new_keys(dev, &s, 150, 0);
    twin q = new_queries(dev, (int64_t)rows * 4 * head_dim, 2);
    carry on_device = device_carry(dev, &s, rows);
    kv_segment segment = {.k = all, .v = all, .head_stride = far, .count = 150};
    attention_item item = {0, rows, 140, &segment, 1};

    memcpy(near.v.host, near.k.host, near.k.bytes);
    for (int64_t g = 0; g < 2; g++) {
        size_t at = (size_t)(g * near.host.head_stride * head_dim) * element;
        dev->ops->upload(dev, all + (size_t)(g * far * head_dim) * element, (char *)near.k.host + at,
                         (size_t)(150 * head_dim) * element);
    }
    for (int64_t i = 0; i < rows; i++) {
        size_t row = (size_t)(4 * head_dim) * element;
        dev->ops->upload(dev, queries + (size_t)(i * ldq) * element, (char *)q.host + (size_t)i * row, row);
    }
    dev->ops->attention(dev, &s, queries, ldq, &item, 1, &on_device, &on_and_back);
    carry c = fetched(dev, &on_device, &s, rows);
    item.segments = &near.host;
    assert_item_true(dev->act, &s, q.host, 4 * head_dim, &item, &c, 4);
    free(c.o);
    free_twin(dev, &q);
    free_keys(dev, &near);
    free_device_carry(dev, &on_device, &s, rows);
    dev->ops->release(dev, all, bytes);
    dev->ops->release(dev, queries, bytes);
}

static void offsets_beyond_two_to_the_31_are_reached(void **state)
{
    (void)state;
    device *dev = open_device(DTYPE_F16);
    check_far(dev, 128, 2);
    check_far(dev, 128, 80);
    check_far(dev, 80, 80);
    dev->ops->close(dev);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_shapes_agree_with_double_precision),
        cmocka_unit_test(every_kernel_agrees_with_double_precision_over_odd_shapes),
        cmocka_unit_test(long_inputs_agree_with_double_precision_and_with_themselves),
        cmocka_unit_test(keys_cut_into_any_segments_and_calls_give_the_whole),
        cmocka_unit_test(a_list_longer_than_a_launch_holds_is_taken_whole),
        cmocka_unit_test(a_copy_of_a_segment_elsewhere_gives_the_same_bits),
        cmocka_unit_test(items_of_one_call_get_what_each_gets_alone),
        cmocka_unit_test(queries_that_see_nothing_stay_as_they_were),
        cmocka_unit_test(a_call_may_begin_without_a_carry_and_finish_its_rows),
        cmocka_unit_test(a_row_without_keys_is_finished_beside_others),
        cmocka_unit_test(scores_of_a_million_neither_overflow_nor_vanish),
        cmocka_unit_test(offsets_beyond_two_to_the_31_are_reached),
    };
    int cards = 0;

    if (gpu_module(&module) != LARIAT_OK || module->count(&cards) != LARIAT_OK || cards == 0) {
        printf("skipped: %s\n", lariat_error());
        return 77;
    }
    if (cpu_device_open(1, CPU_SCALAR, &scalar) != LARIAT_OK) {
        return 1;
    }
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    int failed = cmocka_run_group_tests_name("cuda/attention", tests, NULL, NULL);
    scalar->ops->close(scalar);
    return failed;
}
