/* Attention on the CPU against softmax in double precision, for every kernel family; and what must hold of carries.
   Rests on device/cpu/cpu.h. */
#include "device/cpu/cpu.h"

#include "device/attention_cases.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

enum { SEGMENTS_MAX = 8 };

/* From the carry and back into it. */
static const attention_ends on_and_back = {0};

/* --- a carry with its memory --- */

static carry new_carry(const attention_shape *s, int64_t rows)
{
    void *block = malloc(carry_bytes(s, rows));

    assert_non_null(block);
    return carry_at(block, s, rows);
}

static carry cleared_carry(device *dev, const attention_shape *s, int64_t rows)
{
    carry c = new_carry(s, rows);

    memset(c.o, 0x7f, carry_bytes(s, rows));
    dev->ops->carry_clear(dev, &c, s, rows);
    return c;
}

static carry copy_of(const carry *c, const attention_shape *s, int64_t rows)
{
    carry copy = new_carry(s, rows);

    memcpy(copy.o, c->o, carry_bytes(s, rows));
    return copy;
}

static void assert_same_bits(const carry *a, const carry *b, const attention_shape *s, int64_t rows)
{
    assert_memory_equal(a->o, b->o, carry_bytes(s, rows));
}

/* --- the definition, in double --- */

static bool sees(const attention_item *item, const kv_segment *s, int32_t query, int32_t slot)
{
    return s->first == KV_ALL_VISIBLE || s->first + slot <= item->first + query;
}

typedef struct truth {
    double out[512], m, l;
    double largest; /* of the values */
    double terms;   /* a score is a sum of terms; the largest sum of their magnitudes */
} truth;

static double score_of(const attention_shape *s, const float *q, const kv_segment *seg, int64_t g, int32_t slot, truth *t)
{
    double dot = 0, terms = 0;

    for (int32_t i = 0; i < s->head_dim; i++) {
        double term = (double)q[i] * value_at(s, seg->k, seg->k_scales, g * seg->head_stride + slot, i);
        dot += term;
        terms += fabs(term);
    }
    t->terms = fmax(t->terms, (double)s->scale * terms);
    return (double)s->scale * dot;
}

static void attend_exactly(const attention_shape *s, const float *q, const attention_item *item, int32_t query, int32_t head,
                           truth *t)
{
    int64_t g = head / (s->n_heads / s->n_kv_heads);

    *t = (truth){.m = -INFINITY};
    for (int pass = 0; pass < 2; pass++) { /* the maximum, then the sums */
        for (int32_t n = 0; n < item->n_segments; n++) {
            const kv_segment *seg = &item->segments[n];
            for (int32_t slot = 0; slot < seg->count; slot++) {
                if (!sees(item, seg, query, slot)) {
                    continue;
                }
                double score = score_of(s, q, seg, g, slot, t);
                if (pass == 0) {
                    t->m = fmax(t->m, score);
                    continue;
                }
                double p = exp(score - t->m);
                t->l += p;
                for (int32_t i = 0; i < s->head_dim; i++) {
                    double v = value_at(s, seg->v, seg->v_scales, g * seg->head_stride + slot, i);
                    t->out[i] += p * v;
                    t->largest = fmax(t->largest, fabs(v));
                }
            }
        }
    }
    for (int32_t i = 0; i < s->head_dim; i++) {
        t->out[i] = t->l > 0 ? t->out[i] / t->l : 0;
    }
}

/* One row of one head. The bound: a score's roundings are some of 6e-8 of its terms, the exponential makes that a relative
   error, and what the sums over keys add is no more. */
static void assert_near_truth(const attention_shape *s, const carry *c, const float *out, int64_t row, int32_t head,
                              const truth *t)
{
    int64_t at = row * s->n_heads + head;
    double bound = t->l == 0 ? 0 : 4e-7 * (1 + t->terms);

    if (t->l == 0) {
        assert_true(c->m[at] == -INFINITY && c->l[at] == 0);
    } else {
        assert_true(fabs((double)c->m[at] - t->m) <= bound);
        assert_true(fabs((double)c->m[at] + log((double)c->l[at]) - (t->m + log(t->l))) <= bound);
    }
    for (int32_t i = 0; i < s->head_dim; i++) {
        double error = fabs((double)out[at * s->head_dim + i] - t->out[i]);
        assert_true(error <= bound / 2 * t->largest);
    }
}

/* Checks `samples` rows of an item (all, if there are fewer) in all heads. */
static void assert_item_true(device *dev, const attention_shape *s, const float *q, int64_t ldq, const attention_item *item,
                             const carry *c, int64_t rows, int32_t samples)
{
    float *out = malloc((size_t)(rows * s->n_heads * s->head_dim) * sizeof *out + 1);
    truth t;

    assert_non_null(out);
    dev->ops->carry_finish(dev, c, s, rows, out, (int64_t)s->n_heads * s->head_dim);
    for (int32_t n = 0; n < samples && n < item->count; n++) {
        int32_t i = item->count <= samples ? n : n == 0 ? 0 : n == 1 ? item->count - 1 : random_below(item->count);
        for (int32_t h = 0; h < s->n_heads; h++) {
            const float *row = q + (item->row + i) * ldq + (int64_t)h * s->head_dim;
            attend_exactly(s, row, item, i, h, &t);
            assert_near_truth(s, c, out, item->row + i, h, &t);
        }
    }
    free(out);
}

/* --- devices --- */

static device *open_device(int threads, cpu_isa isa)
{
    device *dev;

    assert_int_equal(cpu_device_open(threads, isa, &dev), LARIAT_OK);
    return dev;
}

static void for_every_family(void (*check)(device *dev))
{
    for (cpu_isa isa = CPU_SCALAR; isa <= cpu_isa_best(); isa++) {
        device *dev = open_device(2, isa);
        seed = 1;
        check(dev);
        dev->ops->close(dev);
    }
}

static attention_shape shape_of(int32_t n_kv_heads, int32_t group, int32_t head_dim, dtype kv_type)
{
    return (attention_shape){
        .n_heads = n_kv_heads * group,
        .n_kv_heads = n_kv_heads,
        .head_dim = head_dim,
        .scale = 1 / sqrtf((float)head_dim),
        .kv_type = kv_type,
    };
}

/* --- tests --- */

/* A prefix of several segments, some empty, some behind or beyond the queries, and perhaps one that everybody sees. */
static int32_t random_segments(const attention_shape *s, kv_segment segments[SEGMENTS_MAX], int32_t most)
{
    int32_t n = random_below(SEGMENTS_MAX + 1);
    int64_t first = random_below(5);

    for (int32_t i = 0; i < n; i++) {
        int32_t count = random_below(4) ? random_below(most + 1) : random_below(3);
        segments[i] = new_segment(s, count, random_below(6) ? first : KV_ALL_VISIBLE);
        first += count + (random_below(4) ? 0 : random_below(20));
    }
    return n;
}

static void check_random(device *dev, const attention_shape *s, int32_t count, int32_t most)
{
    kv_segment segments[SEGMENTS_MAX];
    int32_t rows = count + 2;
    int64_t width = (int64_t)s->n_heads * s->head_dim, ldq = width + random_below(4);
    float *q = random_floats(rows * ldq, 2);
    attention_item item = {.row = 1, .count = count, .first = random_below(3 * most + 1), .segments = segments};
    carry c = cleared_carry(dev, s, rows), before = copy_of(&c, s, rows);

    item.n_segments = random_segments(s, segments, most);
    dev->ops->attention(dev, s, q, ldq, &item, 1, &c, &on_and_back);
    assert_item_true(dev, s, q, ldq, &item, &c, rows, 6);
    /* Rows of no item are left alone. */
    assert_memory_equal(c.o, before.o, (size_t)width * sizeof(float));
    assert_memory_equal(c.o + (rows - 1) * width, before.o, (size_t)width * sizeof(float));
    for (int32_t i = 0; i < item.n_segments; i++) {
        free_segment(&segments[i]);
    }
    free(c.o);
    free(before.o);
    free(q);
}

static void check_odd_shapes(device *dev)
{
    static const int32_t dims[] = {1, 2, 7, 16, 17, 33, 48, 64, 72, 80, 96, 100, 128, 160, 256, 512};
    static const int32_t groups[] = {1, 2, 3, 4, 5, 6, 7, 8, 32};
    static const dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_I8};
    static const int32_t counts[] = {1, 1, 2, 3, 5, 16, 17, 33, 70};

    for (size_t d = 0; d < sizeof dims / sizeof *dims; d++) {
        for (size_t g = 0; g < sizeof groups / sizeof *groups; g++) {
            attention_shape s = shape_of(1 + random_below(3), groups[g], dims[d], types[(d + g) % 4]);
            check_random(dev, &s, counts[random_below(9)], random_below(2) ? 150 : 20);
        }
    }
}

static void every_family_agrees_with_double_precision_over_odd_shapes(void **state)
{
    (void)state;
    for_every_family(check_odd_shapes);
}

/* Many rows and many keys: several tasks a head, several spans, splits that overflow the partial results. */
static void check_large(int32_t n_kv_heads, int32_t group, int32_t head_dim, int32_t count, int32_t keys)
{
    device *dev = open_device(2, CPU_BEST);
    attention_shape s = shape_of(n_kv_heads, group, head_dim, DTYPE_F16);
    int64_t ldq = (int64_t)s.n_heads * s.head_dim;
    float *q = random_floats(count * ldq, 1);
    kv_segment segment = new_segment(&s, keys, 0);
    attention_item item = {.count = count, .first = keys - count, .segments = &segment, .n_segments = 1};
    carry c = cleared_carry(dev, &s, count);

    dev->ops->attention(dev, &s, q, ldq, &item, 1, &c, &on_and_back);
    assert_item_true(dev, &s, q, ldq, &item, &c, count, 2);
    free(c.o);
    free(q);
    free_segment(&segment);
    dev->ops->close(dev);
}

static void long_inputs_agree_with_double_precision(void **state)
{
    (void)state;
    check_large(8, 1, 256, 240, 1500);
    check_large(3, 3, 64, 512, 700);
    if (!TEST_QUICK && cpu_isa_best() != CPU_SCALAR) {
        check_large(4, 8, 128, 16, 9000);
        check_large(3, 3, 64, 1, 70000);
    }
}

/* Keys of weight 1 and value 1, then very many that weigh less than a unit in the last place of what these gave. */
static void check_light_keys(device *dev)
{
    enum { HEAVY = 64, LIGHT = 9000, DIM = 16 };
    static const int32_t counts[] = {1, 40, 200}; /* keys as they lie, expanded, and more rows than are split over the keys */
    const attention_shape s = shape_of(8, 1, DIM, DTYPE_F32);

    for (int i = 0; i < 3; i++) {
        int64_t floats = counts[i] * (int64_t)s.n_heads * DIM;
        float *q = malloc((size_t)floats * sizeof *q);
        kv_segment all = new_segment(&s, HEAVY + LIGHT, KV_ALL_VISIBLE);
        kv_segment parts[] = {part_of(&s, &all, 0, HEAVY), part_of(&s, &all, HEAVY, LIGHT)};
        attention_item item = {.count = counts[i], .n_segments = 1};
        carry c = cleared_carry(dev, &s, counts[i]);

        for (int64_t j = 0; j < floats; j++) {
            q[j] = 1;
        }
        for (int64_t j = 0; j < s.n_kv_heads * all.head_stride * DIM; j++) {
            bool heavy = j / DIM % all.head_stride < HEAVY;
            /* scores of 0 and about -14 */
            put((void *)(uintptr_t)all.k, s.kv_type, j, heavy ? 0 : -3.5f + 0.1f * random_normal());
            put((void *)(uintptr_t)all.v, s.kv_type, j, 1 + 0.1f * random_normal());
        }
        for (int n = 0; n < 2; n++) { /* one call after the other, as the hops of a ring come */
            item.segments = &parts[n];
            dev->ops->attention(dev, &s, q, (int64_t)s.n_heads * DIM, &item, 1, &c, &on_and_back);
        }
        item.segments = &all;
        assert_item_true(dev, &s, q, (int64_t)s.n_heads * DIM, &item, &c, counts[i], 2);
        free(c.o);
        free(q);
        free_segment(&all);
    }
}

static void light_keys_after_heavy_ones_are_not_lost(void **state)
{
    (void)state;
    for_every_family(check_light_keys);
}

/* A case for tests of how work is cut: queries at the end of `keys` keys. */
typedef struct fixture {
    attention_shape s;
    int32_t rows, keys;
    int64_t ldq;
    float *q;
    kv_segment whole;
    attention_item item;
} fixture;

static fixture new_fixture(int32_t n_kv_heads, int32_t group, int32_t head_dim, int32_t rows, int32_t keys, dtype type)
{
    fixture f = {.s = shape_of(n_kv_heads, group, head_dim, type), .rows = rows, .keys = keys};

    f.ldq = (int64_t)f.s.n_heads * f.s.head_dim;
    f.q = random_floats(rows * f.ldq, 2);
    f.whole = new_segment(&f.s, keys, 0);
    f.item = (attention_item){.count = rows, .first = keys - rows};
    return f;
}

static void free_fixture(fixture *f)
{
    free(f->q);
    free_segment(&f->whole);
}

static void assert_fixture_true(device *dev, fixture *f, const carry *c)
{
    f->item.segments = &f->whole;
    f->item.n_segments = 1;
    assert_item_true(dev, &f->s, f->q, f->ldq, &f->item, c, f->rows, 5);
}

static void check_splits(device *dev)
{
    static const int32_t rows[] = {1, 4, 40};

    for (int round = 0; round < 12; round++) {
        fixture f = new_fixture(2, 3, 64, rows[round % 3], 50 + random_below(600), round % 2 ? DTYPE_I8 : DTYPE_F16);
        carry c = cleared_carry(dev, &f.s, f.rows);
        kv_segment parts[SEGMENTS_MAX];
        int32_t n = 0;
        /* Cut anywhere, three parts a call at most. */
        for (int32_t at = 0, count; at < f.keys; at += count) {
            count = 1 + random_below(f.keys - at < 200 ? f.keys - at : 200);
            parts[n++] = part_of(&f.s, &f.whole, at, count);
            if (n == 3 || at + count == f.keys) {
                f.item.segments = parts;
                f.item.n_segments = n;
                dev->ops->attention(dev, &f.s, f.q, f.ldq, &f.item, 1, &c, &on_and_back);
                n = 0;
            }
        }
        assert_fixture_true(dev, &f, &c);
        free(c.o);
        free_fixture(&f);
    }
}

static void keys_cut_into_any_segments_and_calls_give_the_whole(void **state)
{
    (void)state;
    for_every_family(check_splits);
}

static void check_merge(device *dev)
{
    enum { PARTS = 5 };

    for (int round = 0; round < 6; round++) {
        fixture f = new_fixture(2, 2, 80, 3, 300, DTYPE_F16);
        carry sum = cleared_carry(dev, &f.s, f.rows), part[PARTS];
        int order[PARTS] = {0, 1, 2, 3, 4};
        for (int i = 0; i < PARTS; i++) {
            kv_segment s = part_of(&f.s, &f.whole, i * 60, 60);
            f.item.segments = &s;
            f.item.n_segments = 1;
            part[i] = cleared_carry(dev, &f.s, f.rows);
            dev->ops->attention(dev, &f.s, f.q, f.ldq, &f.item, 1, &part[i], &on_and_back);
        }
        for (int i = PARTS - 1; i > 0; i--) {
            int j = random_below(i + 1), k = order[i];
            order[i] = order[j];
            order[j] = k;
        }
        for (int i = 0; i < PARTS; i++) {
            dev->ops->carry_merge(dev, &sum, &part[order[i]], &f.s, f.rows);
            free(part[order[i]].o);
        }
        assert_fixture_true(dev, &f, &sum);
        free(sum.o);
        free_fixture(&f);
    }
}

/* As many as a sequence has whose blocks of slots are no neighbours: each task begins in the middle of the list. */
static void check_long_lists(device *dev)
{
    enum { SEGMENTS = 24, BLOCK = 128 };
    static const int32_t rows[] = {1, 5, 200};

    for (int i = 0; i < 3; i++) {
        fixture f = new_fixture(2, 3, 32, rows[i], SEGMENTS * BLOCK - 9, DTYPE_F16);
        carry c = cleared_carry(dev, &f.s, f.rows);
        kv_segment parts[SEGMENTS];
        for (int32_t n = 0; n < SEGMENTS; n++) {
            parts[n] = part_of(&f.s, &f.whole, n * BLOCK, n == SEGMENTS - 1 ? BLOCK - 9 : BLOCK);
        }
        f.item.segments = parts;
        f.item.n_segments = SEGMENTS;
        dev->ops->attention(dev, &f.s, f.q, f.ldq, &f.item, 1, &c, &on_and_back);
        assert_fixture_true(dev, &f, &c);
        free(c.o);
        free_fixture(&f);
    }
}

/* More items than go span by span together, of lists of segments: some of several spans, most of one. */
static void check_many_walks(device *dev)
{
    enum { SEGMENTS = 24, BLOCK = 128, ITEMS = 70, QUERIES = 17, EVERY = 21 };
    fixture f = new_fixture(16, 1, 256, ITEMS * QUERIES, SEGMENTS * BLOCK, DTYPE_F16);
    carry c = cleared_carry(dev, &f.s, f.rows);
    kv_segment parts[SEGMENTS];
    attention_item items[ITEMS];

    for (int32_t n = 0; n < SEGMENTS; n++) {
        parts[n] = part_of(&f.s, &f.whole, n * BLOCK, BLOCK);
    }
    for (int32_t i = 0; i < ITEMS; i++) {
        int32_t seen = i % EVERY == 0 || i == ITEMS - 1 ? f.keys - 13 * i : 100 + 3 * i;
        items[i] = (attention_item){.row = i * QUERIES, .count = QUERIES, .first = seen - QUERIES, .segments = parts,
                                    .n_segments = SEGMENTS};
    }
    dev->ops->attention(dev, &f.s, f.q, f.ldq, items, ITEMS, &c, &on_and_back);
    for (int32_t i = 0; i < ITEMS; i += i < 63 ? EVERY : 1) {
        items[i].segments = &f.whole;
        items[i].n_segments = 1;
        assert_item_true(dev, &f.s, f.q, f.ldq, &items[i], &c, f.rows, 2);
    }
    free(c.o);
    free_fixture(&f);
}

static void long_lists_of_segments_give_the_whole(void **state)
{
    device *dev = open_device(2, CPU_BEST);

    (void)state;
    for_every_family(check_long_lists);
    check_many_walks(dev);
    dev->ops->close(dev);
}

static void partial_results_merge_in_any_order(void **state)
{
    (void)state;
    for_every_family(check_merge);
}

static void check_empty_sides(device *dev)
{
    fixture f = new_fixture(2, 3, 33, 50, 70, DTYPE_F16);
    carry c = cleared_carry(dev, &f.s, f.rows), nothing = cleared_carry(dev, &f.s, f.rows);

    f.item.segments = &f.whole;
    f.item.n_segments = 1;
    dev->ops->attention(dev, &f.s, f.q, f.ldq, &f.item, 1, &c, &on_and_back);
    carry before = copy_of(&c, &f.s, f.rows);
    dev->ops->carry_merge(dev, &c, &nothing, &f.s, f.rows);
    assert_same_bits(&c, &before, &f.s, f.rows);
    dev->ops->carry_merge(dev, &nothing, &c, &f.s, f.rows);
    assert_same_bits(&nothing, &before, &f.s, f.rows);
    free(c.o);
    free(nothing.o);
    free(before.o);
    free_fixture(&f);
}

static void an_empty_side_of_a_merge_leaves_the_other_bit_for_bit(void **state)
{
    (void)state;
    for_every_family(check_empty_sides);
}

static void check_far_maxima(device *dev)
{
    attention_shape s = shape_of(1, 1, 4, DTYPE_F32);
    static const float maxima[] = {-1e30f, -200, 0, 200, 1e30f};

    for (int i = 0; i < 25; i++) {
        carry a = cleared_carry(dev, &s, 1), b = cleared_carry(dev, &s, 1);
        a.m[0] = maxima[i / 5];
        b.m[0] = maxima[i % 5];
        a.l[0] = b.l[0] = 1;
        for (int j = 0; j < 4; j++) {
            a.o[j] = 1;
            b.o[j] = 3;
        }
        dev->ops->carry_merge(dev, &a, &b, &s, 1);
        float expected = i / 5 == i % 5 ? 2 : i / 5 > i % 5 ? 1 : 3;
        assert_true(a.m[0] == fmaxf(maxima[i / 5], maxima[i % 5]));
        for (int j = 0; j < 4; j++) {
            assert_true(a.o[j] / a.l[0] == expected);
        }
        free(a.o);
        free(b.o);
    }
}

static void merging_results_of_very_different_scale_stays_finite(void **state)
{
    (void)state;
    for_every_family(check_far_maxima);
}

static void check_nothing_seen(device *dev)
{
    static const int32_t counts[] = {1, 100};

    for (int i = 0; i < 2; i++) {
        fixture f = new_fixture(2, 3, 64, counts[i], 400, DTYPE_F16);
        carry c = cleared_carry(dev, &f.s, f.rows), before = copy_of(&c, &f.s, f.rows);
        kv_segment empty = part_of(&f.s, &f.whole, 0, 0), later = f.whole;
        later.first = 1000;
        f.item = (attention_item){.count = f.rows, .first = 1000 - f.rows, .segments = &later, .n_segments = 1};
        dev->ops->attention(dev, &f.s, f.q, f.ldq, &f.item, 1, &c, &on_and_back);
        assert_same_bits(&c, &before, &f.s, f.rows);
        f.item.segments = &empty;
        dev->ops->attention(dev, &f.s, f.q, f.ldq, &f.item, 1, &c, &on_and_back);
        f.item.n_segments = 0;
        dev->ops->attention(dev, &f.s, f.q, f.ldq, &f.item, 1, &c, &on_and_back);
        f.item.count = 0;
        dev->ops->attention(dev, &f.s, f.q, f.ldq, &f.item, 1, &c, &on_and_back);
        dev->ops->attention(dev, &f.s, f.q, f.ldq, NULL, 0, &c, &on_and_back);
        assert_same_bits(&c, &before, &f.s, f.rows);
        /* Only the last query sees one key: its value comes out. */
        later.first = 1000 - 1;
        f.item = (attention_item){.count = f.rows, .first = 1000 - f.rows, .segments = &later, .n_segments = 1};
        dev->ops->attention(dev, &f.s, f.q, f.ldq, &f.item, 1, &c, &on_and_back);
        assert_memory_equal(c.o, before.o, (size_t)((f.rows - 1) * f.ldq) * sizeof(float));
        for (int32_t j = 0; j < f.s.n_heads; j++) {
            assert_true(c.l[(f.rows - 1) * f.s.n_heads + j] == 1);
        }
        f.whole = later;
        assert_item_true(dev, &f.s, f.q, f.ldq, &f.item, &c, f.rows, 3);
        free(c.o);
        free(before.o);
        free_fixture(&f);
    }
}

static void queries_before_all_keys_stay_as_they_were(void **state)
{
    (void)state;
    for_every_family(check_nothing_seen);
}

static void check_masked_nan(device *dev)
{
    static const int32_t counts[] = {1, 3, 16, 90};

    for (int i = 0; i < 8; i++) {
        fixture f = new_fixture(1, 2, 48, counts[i % 4], 200, i < 4 ? DTYPE_F16 : DTYPE_I8);
        carry c = cleared_carry(dev, &f.s, f.rows);
        /* Slots at positions from `bad` on hold NaN: the queries before see none of them. */
        int32_t bad = f.keys - f.rows + (f.rows + 1) / 2;
        f.item.segments = &f.whole;
        f.item.n_segments = 1;
        for (int64_t j = (int64_t)bad * f.s.head_dim; j < (int64_t)f.keys * f.s.head_dim; j++) {
            put((void *)(uintptr_t)f.whole.k, f.s.kv_type, j, NAN);
            put((void *)(uintptr_t)f.whole.v, f.s.kv_type, j, j % 2 ? NAN : INFINITY);
        }
        for (int32_t j = bad; j < f.keys && f.whole.k_scales; j++) {
            ((float *)(uintptr_t)f.whole.k_scales)[j] = ((float *)(uintptr_t)f.whole.v_scales)[j] = NAN;
        }
        dev->ops->attention(dev, &f.s, f.q, f.ldq, &f.item, 1, &c, &on_and_back);
        attention_item clean = f.item;
        clean.count = bad - (f.keys - f.rows);
        assert_item_true(dev, &f.s, f.q, f.ldq, &clean, &c, f.rows, 100);
        for (int64_t j = clean.count * f.s.n_heads; j < f.rows * f.s.n_heads; j++) {
            assert_true(isnan(c.o[j * f.s.head_dim + 1])); /* and those who see them are not spared */
        }
        free(c.o);
        free_fixture(&f);
    }
}

static void keys_that_a_query_must_not_see_do_not_touch_it_even_as_nan(void **state)
{
    (void)state;
    for_every_family(check_masked_nan);
}

static void check_large_scores(device *dev)
{
    static const int32_t counts[] = {1, 60};

    for (int i = 0; i < 2; i++) {
        fixture f = new_fixture(1, 4, 64, counts[i], 500, DTYPE_F16);
        carry c = cleared_carry(dev, &f.s, f.rows);
        f.s.scale = 1e4f;
        f.item.segments = &f.whole;
        f.item.n_segments = 1;
        dev->ops->attention(dev, &f.s, f.q, f.ldq, &f.item, 1, &c, &on_and_back);
        for (int64_t j = 0; j < f.rows * f.ldq; j++) {
            assert_true(isfinite(c.o[j]));
        }
        for (int64_t j = 0; j < (int64_t)f.rows * f.s.n_heads; j++) {
            assert_true(isfinite(c.m[j]) && c.l[j] >= 1 && c.l[j] <= (float)f.keys);
        }
        free(c.o);
        free_fixture(&f);
    }
}

static void scores_of_a_million_neither_overflow_nor_vanish(void **state)
{
    (void)state;
    for_every_family(check_large_scores);
}

/* A copy of `bytes` that ends where memory ends. */
static void *before_a_guard_page(const void *from, size_t bytes, void **map, size_t *map_bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), body = (bytes + page - 1) / page * page;

    *map_bytes = body + page;
    *map = mmap(NULL, *map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(*map != MAP_FAILED);
    assert_int_equal(mprotect((char *)*map + body, page, PROT_NONE), 0);
    return memcpy((char *)*map + body - bytes, from, bytes);
}

static void check_guard_page(device *dev)
{
    static const int32_t dims[] = {1, 15, 16, 40, 64, 100}, keys[] = {1, 63, 65, 300};
    static const dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_I8};

    for (int round = 0; round < 192; round++) {
        attention_shape s = shape_of(1, 2, dims[round % 6], types[round / 6 % 4]);
        int32_t count = keys[round / 24 % 4], rows = round / 96 ? 20 : 1;
        void *map[4] = {NULL};
        size_t map_bytes[4] = {0}, bytes = dtype_row_bytes(s.kv_type, (int64_t)count * s.head_dim);
        kv_segment plain = new_segment(&s, count, 0), guarded = plain;
        guarded.k = before_a_guard_page(plain.k, bytes, &map[0], &map_bytes[0]);
        guarded.v = before_a_guard_page(plain.v, bytes, &map[1], &map_bytes[1]);
        if (plain.k_scales) {
            size_t scales = (size_t)count * sizeof(float);
            guarded.k_scales = before_a_guard_page(plain.k_scales, scales, &map[2], &map_bytes[2]);
            guarded.v_scales = before_a_guard_page(plain.v_scales, scales, &map[3], &map_bytes[3]);
        }
        float *q = random_floats(rows * (int64_t)s.n_heads * s.head_dim, 1);
        attention_item item = {.count = rows, .first = count - 1, .segments = &guarded, .n_segments = 1};
        carry c = cleared_carry(dev, &s, rows);
        dev->ops->attention(dev, &s, q, (int64_t)s.n_heads * s.head_dim, &item, 1, &c, &on_and_back);
        assert_item_true(dev, &s, q, (int64_t)s.n_heads * s.head_dim, &item, &c, rows, 2);
        for (int i = 0; i < 4 && map[i]; i++) {
            munmap(map[i], map_bytes[i]);
        }
        free(q);
        free(c.o);
        free_segment(&plain);
    }
}

static void nothing_behind_the_last_slot_is_read(void **state)
{
    (void)state;
    for_every_family(check_guard_page);
}

static void bits_do_not_depend_on_the_number_of_threads(void **state)
{
    static const int32_t rows[] = {1, 5, 200};

    (void)state;
    for (int i = 0; i < 3; i++) {
        fixture f = new_fixture(4, 3, 64, rows[i], 1500, DTYPE_F16);
        carry first = {0};
        f.item.segments = &f.whole;
        f.item.n_segments = 1;
        for (int threads = 1; threads <= 5; threads += 2) {
            device *dev = open_device(threads, CPU_BEST);
            carry c = cleared_carry(dev, &f.s, f.rows);
            dev->ops->attention(dev, &f.s, f.q, f.ldq, &f.item, 1, &c, &on_and_back);
            if (threads == 1) {
                first = c;
            } else {
                assert_same_bits(&c, &first, &f.s, f.rows);
                free(c.o);
            }
            dev->ops->close(dev);
        }
        free(first.o);
        free_fixture(&f);
    }
}

static void check_items(device *dev)
{
    enum { ITEMS = 7, KEYS_MAX = 900 };
    static const int32_t counts[ITEMS] = {1, 0, 70, 2, 1, 300, 17};

    attention_shape s = shape_of(3, 3, 64, DTYPE_BF16);
    int64_t ldq = (int64_t)s.n_heads * s.head_dim;
    kv_segment segments[ITEMS][2];
    attention_item items[ITEMS];
    int32_t rows = 0;

    for (int i = 0; i < ITEMS; i++) {
        int32_t keys = TEST_QUICK ? 1 + random_below(KEYS_MAX / 4) : 1 + random_below(KEYS_MAX);
        segments[i][0] = new_segment(&s, keys, 0);
        segments[i][1] = new_segment(&s, counts[i], keys);
        items[i] = (attention_item){.row = rows, .count = counts[i], .first = keys, .segments = segments[i], .n_segments = 2};
        rows += counts[i];
    }
    float *q = random_floats(rows * ldq, 2);
    carry together = cleared_carry(dev, &s, rows), alone = cleared_carry(dev, &s, rows);
    dev->ops->attention(dev, &s, q, ldq, items, ITEMS, &together, &on_and_back);
    for (int i = ITEMS - 1; i >= 0; i--) {
        dev->ops->attention(dev, &s, q, ldq, &items[i], 1, &alone, &on_and_back);
        assert_item_true(dev, &s, q, ldq, &items[i], &together, rows, 2);
    }
    assert_same_bits(&together, &alone, &s, rows);
    for (int i = 0; i < ITEMS; i++) {
        free_segment(&segments[i][0]);
        free_segment(&segments[i][1]);
    }
    free(q);
    free(together.o);
    free(alone.o);
}

static void items_of_one_call_get_the_bits_of_each_alone(void **state)
{
    (void)state;
    for_every_family(check_items);
}

/* Two items, with a row of nobody between them: what the ends stand for, done apart, gives the same bits. */
static void check_ends(device *dev)
{
    attention_shape s = shape_of(2, 3, 40, DTYPE_F16);
    kv_segment segment = new_segment(&s, 300, 0);
    attention_item items[] = {{.row = 0, .count = 7, .first = 200, .segments = &segment, .n_segments = 1},
                              {.row = 7, .count = 2, .first = 3, .segments = NULL, .n_segments = 0},
                              {.row = 10, .count = 60, .first = 240, .segments = &segment, .n_segments = 1}};
    int64_t rows = 70, ld = (int64_t)s.n_heads * s.head_dim, ldo = ld + 5;
    float *q = random_floats(rows * ld, 2), *want = random_floats(rows * ldo, 1),
          *got = malloc((size_t)(rows * ldo) * sizeof *got);
    carry apart = cleared_carry(dev, &s, rows), at_once = new_carry(&s, rows);

    assert_non_null(got);
    memcpy(got, want, (size_t)(rows * ldo) * sizeof *got);
    memset(at_once.o, 0x7f, carry_bytes(&s, rows));
    dev->ops->attention(dev, &s, q, ld, items, 3, &apart, &on_and_back);
    for (int i = 0; i < 3; i++) {
        carry c = carry_from(&apart, &s, items[i].row);
        dev->ops->carry_finish(dev, &c, &s, items[i].count, want + items[i].row * ldo, ldo);
    }
    dev->ops->attention(dev, &s, q, ld, items, 3, &at_once, &(attention_ends){.is_first = true, .out = got, .ldo = ldo});
    assert_memory_equal(want, got, (size_t)(rows * ldo) * sizeof *got);
    free_segment(&segment);
    free(q);
    free(want);
    free(got);
    free(apart.o);
    free(at_once.o);
}

static void a_call_that_begins_and_finishes_rows_gives_the_bits_of_clearing_and_dividing(void **state)
{
    (void)state;
    for_every_family(check_ends);
}

static void a_carry_is_one_block_without_gaps(void **state)
{
    attention_shape s = shape_of(2, 3, 64, DTYPE_F16);
    float block[1];
    carry c = carry_at(block, &s, 5);

    (void)state;
    assert_int_equal(carry_bytes(&s, 5), 5 * 6 * 66 * sizeof(float));
    assert_ptr_equal(c.o, block);
    assert_int_equal((uintptr_t)c.m - (uintptr_t)c.o, 5 * 6 * 64 * sizeof(float));
    assert_int_equal((uintptr_t)c.l - (uintptr_t)c.m, 5 * 6 * sizeof(float));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_family_agrees_with_double_precision_over_odd_shapes),
        cmocka_unit_test(long_inputs_agree_with_double_precision),
        cmocka_unit_test(light_keys_after_heavy_ones_are_not_lost),
        cmocka_unit_test(keys_cut_into_any_segments_and_calls_give_the_whole),
        cmocka_unit_test(long_lists_of_segments_give_the_whole),
        cmocka_unit_test(partial_results_merge_in_any_order),
        cmocka_unit_test(an_empty_side_of_a_merge_leaves_the_other_bit_for_bit),
        cmocka_unit_test(merging_results_of_very_different_scale_stays_finite),
        cmocka_unit_test(queries_before_all_keys_stay_as_they_were),
        cmocka_unit_test(keys_that_a_query_must_not_see_do_not_touch_it_even_as_nan),
        cmocka_unit_test(scores_of_a_million_neither_overflow_nor_vanish),
        cmocka_unit_test(nothing_behind_the_last_slot_is_read),
        cmocka_unit_test(bits_do_not_depend_on_the_number_of_threads),
        cmocka_unit_test(items_of_one_call_get_the_bits_of_each_alone),
        cmocka_unit_test(a_call_that_begins_and_finishes_rows_gives_the_bits_of_clearing_and_dividing),
        cmocka_unit_test(a_carry_is_one_block_without_gaps),
    };

    return cmocka_run_group_tests_name("device/attention", tests, NULL, NULL);
}
