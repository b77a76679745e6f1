/* Weights that stay blocks on the card: their order there is undone to the stored bytes, rows of a table have the bits of the
   definition, products agree with the CPU's on the same blocks, random models have the host's bits. Every type, odd shapes.
   Rests on card.h; device/cpu/unpack_scalar.c and model/random.c define the values, device/cuda/linear/blocks.cuh the order. An
   argument is a pattern of tests to leave out. */
#include "cuda/card.h"

#include "device/cpu/linear_kernels.h"
#include "model/random.h"

enum { TILE = 16, UNIT = 256 };

/* A matrix of the host and the same on the card. */
typedef struct twin {
    device *dev;
    matrix host, card;
} twin;

static void *reserve_blocks(device *dev, const matrix *like)
{
    void *block;

    must(dev->ops->reserve(dev, (size_t)like->rows * like->row_bytes, "a test", &block));
    return block;
}

static twin twin_of(device *dev, dtype type, int64_t rows, int64_t cols)
{
    twin t = {.dev = dev, .host = random_matrix(type, rows, cols)};

    assert_non_null(t.host.data);
    t.card = t.host;
    t.card.data = reserve_blocks(dev, &t.host);
    must(dev->ops->load(dev, &t.card, &t.host));
    must(dev->ops->finish(dev));
    return t;
}

static void twin_free(twin *t)
{
    size_t bytes = (size_t)t->host.rows * t->host.row_bytes;

    t->dev->ops->release(t->dev, (void *)(uintptr_t)t->card.data, bytes);
    guarded_free((void *)(uintptr_t)t->host.data, bytes);
}

static unsigned char *card_bytes(device *dev, const matrix *w)
{
    size_t bytes = (size_t)w->rows * w->row_bytes;
    unsigned char *p = malloc(bytes);

    assert_non_null(p);
    dev->ops->download(dev, p, w->data, bytes);
    must(dev->ops->finish(dev));
    return p;
}

/* Widths of a type: whole units, and shorter last ones where blocks have 32 elements. */
static const int64_t widths_32[] = {32, 96, 256, 288, 576, 1056, 4128}, widths_256[] = {256, 768, 2304, 4096};

static int widths_of(dtype type, const int64_t **widths)
{
    bool small = dtype_block_elements(type) == 32;

    *widths = small ? widths_32 : widths_256;
    return small ? sizeof widths_32 / sizeof *widths_32 : sizeof widths_256 / sizeof *widths_256;
}

static const int64_t heights[] = {1, 5, 16, 33, 130};
enum { HEIGHTS = sizeof heights / sizeof *heights };

static void for_every_block_type(device *dev, void (*check)(device *dev, dtype type))
{
    for (int t = 0; t < WEIGHT_TYPES; t++) {
        if (dtype_block_elements((dtype)t) > 1) {
            check(dev, (dtype)t);
        }
    }
}

/* --- the order, written down a second time: bit by bit, from the card's bytes to stored blocks --- */

typedef struct plan {
    int low, high, group, scale, super; /* bits; columns; bytes of a row of a unit */
} plan;

static plan plan_of(dtype type)
{
    switch (type) {
    case DTYPE_Q8_0: return (plan){8, 0, 32, 16, 0};
    case DTYPE_Q4_1: return (plan){4, 0, 32, 32, 0};
    case DTYPE_Q5_0: return (plan){4, 1, 32, 16, 0};
    case DTYPE_Q5_1: return (plan){4, 1, 32, 32, 0};
    case DTYPE_Q2_K: return (plan){2, 0, 16, 16, 4};
    case DTYPE_Q3_K: return (plan){2, 1, 16, 12, 2};
    case DTYPE_Q4_K: return (plan){4, 0, 32, 16, 0};
    case DTYPE_Q5_K: return (plan){4, 1, 32, 16, 0};
    case DTYPE_Q6_K: return (plan){4, 2, 16, 16, 2};
    default: return (plan){4, 0, 32, 16, 0}; /* Q4_0 and IQ4_NL */
    }
}

/* One row of a tile of `rows` rows. */
typedef struct card_row {
    plan p;
    const unsigned char *tile;
    int64_t rows, row, whole, tail;
} card_row;

/* Bits of code i of group j of quarter q of a unit, in the plane of `bits` bits that begins at `at`. */
static unsigned bits_at(const card_row *r, int64_t at, int bits, int64_t unit, int q, int j, int i)
{
    const unsigned char *plane = r->tile + at;
    int64_t bit; /* within the quarter's bytes of the unit */
    int pair = i / 2, half = i % 2;

    switch (bits) {
    case 8: bit = 8 * (8 * j + i / 4 * 4 + pair % 2 + 2 * half); break;
    case 4: bit = 32 * j + 4 * pair + 16 * half; break;
    case 2: bit = 32 * (j / 2) + 8 * (j % 2) + 2 * pair + 16 * half; break;
    default: bit = 32 * (j / 4) + 4 * (j % 4) + pair + 16 * half; break;
    }
    if (unit == r->whole) { /* shorter: a group's bytes together */
        int64_t first = r->whole * r->rows * 32 * bits + (r->row * 4 + q) * r->tail * bits;
        int64_t own = bits == 1 ? 8 * j + pair + 4 * half : bit;
        return plane[first + own / 8] >> (own % 8) & ((1u << bits) - 1);
    }
    int64_t size = bits == 1 ? 8 : 16, piece = bit / 8 / size, byte = bit / 8 % size;
    return plane[unit * r->rows * 32 * bits + ((piece * r->rows + r->row) * 4 + q) * size + byte] >> (bit % 8) &
           ((1u << bits) - 1);
}

static void set_code(dtype type, unsigned char *b, int i, unsigned code)
{
    switch (type) {
    case DTYPE_Q8_0: ((block_q8_0 *)b)->q[i] = (int8_t)code; return;
    case DTYPE_Q4_0: ((block_q4_0 *)b)->q[i % 16] |= (uint8_t)(code << (i / 16 * 4)); return;
    case DTYPE_Q4_1: ((block_q4_1 *)b)->q[i % 16] |= (uint8_t)(code << (i / 16 * 4)); return;
    case DTYPE_IQ4_NL: ((block_iq4_nl *)b)->q[i % 16] |= (uint8_t)(code << (i / 16 * 4)); return;
    case DTYPE_Q5_0:
        ((block_q5_0 *)b)->q[i % 16] |= (uint8_t)((code & 15) << (i / 16 * 4));
        ((block_q5_0 *)b)->high[i / 8] |= (uint8_t)(code >> 4 << (i % 8));
        return;
    case DTYPE_Q5_1:
        ((block_q5_1 *)b)->q[i % 16] |= (uint8_t)((code & 15) << (i / 16 * 4));
        ((block_q5_1 *)b)->high[i / 8] |= (uint8_t)(code >> 4 << (i % 8));
        return;
    case DTYPE_Q2_K: ((block_q2_k *)b)->q[i / 128 * 32 + i % 32] |= (uint8_t)(code << (i % 128 / 32 * 2)); return;
    case DTYPE_Q3_K:
        ((block_q3_k *)b)->q[i / 128 * 32 + i % 32] |= (uint8_t)((code & 3) << (i % 128 / 32 * 2));
        ((block_q3_k *)b)->high[i % 32] |= (uint8_t)(code >> 2 << (i / 32));
        return;
    case DTYPE_Q4_K: ((block_q4_k *)b)->q[i / 64 * 32 + i % 32] |= (uint8_t)(code << (i / 32 % 2 * 4)); return;
    case DTYPE_Q5_K:
        ((block_q5_k *)b)->q[i / 64 * 32 + i % 32] |= (uint8_t)((code & 15) << (i / 32 % 2 * 4));
        ((block_q5_k *)b)->high[i % 32] |= (uint8_t)(code >> 4 << (i / 32));
        return;
    default:
        ((block_q6_k *)b)->low[i / 128 * 64 + i % 64] |= (uint8_t)((code & 15) << (i % 128 / 64 * 4));
        ((block_q6_k *)b)->high[i / 128 * 32 + i % 32] |= (uint8_t)(code >> 4 << (i % 128 / 32 * 2));
        return;
    }
}

/* Value v of share s among the 24 bits of each share. */
static unsigned six_at(const unsigned char *scales, int s, int v)
{
    unsigned bits = scales[3 * s] | (unsigned)scales[3 * s + 1] << 8 | (unsigned)scales[3 * s + 2] << 16;

    return bits >> (6 * v) & 63;
}

static void set_six(uint8_t *s, int g, unsigned scale, unsigned min)
{
    if (g < 4) {
        s[g] |= (uint8_t)scale;
        s[g + 4] |= (uint8_t)min;
    } else {
        s[g + 4] |= (uint8_t)((scale & 15) | (min & 15) << 4);
        s[g - 4] |= (uint8_t)(scale >> 4 << 6);
        s[g] |= (uint8_t)(min >> 4 << 6);
    }
}

/* Scales of a unit's super-block. */
static void set_super(dtype type, unsigned char *b, const unsigned char *scales, const unsigned char *super)
{
    for (int g = 0; g < 16; g++) {
        int s = g % 8 / 2, v = g / 8 * 2 + g % 2;
        if (type == DTYPE_Q2_K) {
            ((block_q2_k *)b)->scales[g] = scales[4 * s + v];
        } else if (type == DTYPE_Q6_K) {
            ((block_q6_k *)b)->scales[g] = (int8_t)scales[4 * s + v];
        } else if (type == DTYPE_Q3_K) {
            unsigned scale = six_at(scales, s, v);
            ((block_q3_k *)b)->scales[g % 8] |= (uint8_t)((scale & 15) << (g / 8 * 4));
            ((block_q3_k *)b)->scales[8 + g % 4] |= (uint8_t)(scale >> 4 << (g / 4 * 2));
        } else if (g < 8) {
            uint8_t *to = type == DTYPE_Q4_K ? ((block_q4_k *)b)->scales : ((block_q5_k *)b)->scales;
            set_six(to, g, six_at(scales, g / 2, g % 2), six_at(scales, g / 2, 2 + g % 2));
        }
    }
    int offsets[2];
    scale_offsets(type, offsets);
    const unsigned char *d = type == DTYPE_Q4_K || type == DTYPE_Q5_K ? scales + 12 : super;
    for (int i = 0; i < 2 && offsets[i] >= 0; i++) {
        memcpy(b + offsets[i], d + 2 * i, 2);
    }
}

static void undo_row(dtype type, const card_row *r, unsigned char *stored)
{
    int64_t groups = r->whole * 8 + r->tail, elements = dtype_block_elements(type);
    int64_t high = r->rows * groups * 4 * r->p.low, scale = high + r->rows * groups * 4 * r->p.high;
    int64_t super = scale + r->rows * r->whole * r->p.scale;

    for (int64_t at = 0; at < groups * 32; at++) { /* quarter q, group j, code i of a unit are these columns: */
        int64_t unit = at / UNIT;
        int q = (int)(at % UNIT / 64), j = (int)(at % 64 / 8), i = (int)(at % 8);
        if (unit == r->whole) {
            int64_t in = at % UNIT;
            q = (int)(in / (r->tail * 8)), j = (int)(in / 8 % r->tail);
        }
        int64_t c = unit * UNIT + 32 * j + (r->p.group == 32 ? 8 * q + i : i / 4 * 16 + 4 * q + i % 4);
        unsigned code = bits_at(r, 0, r->p.low, unit, q, j, i);
        if (r->p.high) {
            code |= bits_at(r, high, r->p.high, unit, q, j, i) << r->p.low;
        }
        set_code(type, stored + (size_t)(c / elements) * dtype_block_bytes(type), (int)(c % elements), code);
    }
    if (elements == 256) {
        for (int64_t u = 0; u < r->whole; u++) {
            set_super(type, stored + (size_t)u * dtype_block_bytes(type), r->tile + scale + (u * r->rows + r->row) * r->p.scale,
                      r->tile + super + (u * r->rows + r->row) * r->p.super);
        }
        return;
    }
    for (int64_t g = 0; g < groups; g++) {
        int64_t each = r->p.scale / 8, u = g / 8, from = (u * r->rows + r->row) * r->p.scale + g % 8 * each;
        if (u == r->whole) {
            from = u * r->rows * r->p.scale + (r->row * r->tail + g % 8) * each;
        }
        memcpy(stored + (size_t)g * dtype_block_bytes(type), r->tile + scale + from, (size_t)each);
    }
}

static void check_undone(device *dev, dtype type)
{
    const int64_t *widths;
    int n = widths_of(type, &widths);

    for (int i = 0; i < n * HEIGHTS; i++) {
        twin t = twin_of(dev, type, heights[i / n], widths[i % n]);
        unsigned char *got = card_bytes(dev, &t.card), *row = malloc(t.host.row_bytes);
        assert_non_null(row);
        for (int64_t r = 0; r < t.host.rows; r++) {
            int64_t left = t.host.rows - r / TILE * TILE;
            card_row from = {.p = plan_of(type), .tile = got + (size_t)(r / TILE * TILE) * t.host.row_bytes, .row = r % TILE,
                             .rows = left < TILE ? left : TILE, .whole = t.host.cols / UNIT, .tail = t.host.cols % UNIT / 32};
            const unsigned char *want = (const unsigned char *)t.host.data + (size_t)r * t.host.row_bytes;
            memset(row, 0, t.host.row_bytes);
            undo_row(type, &from, row);
            for (size_t b = 0; b < t.host.row_bytes; b++) {
                if (row[b] != want[b]) {
                    fail_msg("%s, %lld x %lld: byte %zu of row %lld (byte %zu of its block) is %02x, stored was %02x",
                             dtype_name(type), (long long)t.host.rows, (long long)t.host.cols, b, (long long)r,
                             b % dtype_block_bytes(type), row[b], want[b]);
                }
            }
        }
        free(got);
        free(row);
        twin_free(&t);
    }
}

static void the_order_on_the_card_is_undone_to_the_stored_bytes(void **state)
{
    (void)state;
    random_state = 1;
    for_every_block_type(cards[1], check_undone);
}

/* --- embed --- */

static void unpacked_row(const matrix *w, int64_t row, float *out)
{
    unpack_scalar[w->type]((const char *)w->data + (size_t)row * w->row_bytes, w->cols, out);
}

static void check_embedded(device *dev, dtype type)
{
    const int64_t *widths;
    int n = widths_of(type, &widths);

    for (int i = 0; i < n; i++) {
        int64_t rows = 37, cols = widths[i];
        twin t = twin_of(dev, type, rows, cols);
        buffer x = poisoned_buffer(dev, DTYPE_F32, rows * cols);
        int32_t tokens[37], made[] = {36, -1};
        for (int32_t r = 0; r < 37; r++) { /* the last of the table and the first are chosen by the card */
            tokens[r] = r == 36 ? -1 : r == 0 ? -2 : r;
            unpacked_row(&t.host, r, x.host + r * cols);
        }
        void *ids = sent(dev, tokens, sizeof tokens), *chosen = sent(dev, made, sizeof made);
        dev->ops->embed(dev, x.data, &t.card, ids, chosen, rows, 1);
        float *got = buffer_get(&x);
        for (int64_t e = 0; e < rows * cols; e++) {
            if (memcmp(&got[e], &x.host[e], sizeof *got) != 0) {
                fail_msg("%s, %lld columns: element %lld of row %lld is %.9g, wanted %.9g", dtype_name(type), (long long)cols,
                         (long long)(e % cols), (long long)(e / cols), (double)got[e], (double)x.host[e]);
            }
        }
        free(got);
        dev->ops->release(dev, ids, sizeof tokens);
        dev->ops->release(dev, chosen, sizeof made);
        buffer_free(&x);
        twin_free(&t);
    }
}

static void rows_of_a_table_of_blocks_have_the_bits_of_the_definition(void **state)
{
    (void)state;
    random_state = 1;
    for_every_block_type(cards[1], check_embedded);
}

/* --- linear --- */

/* What an error of y is measured by: the largest weight of each 16 columns times |x|, as a weight may be a small difference of
   its scale times its code and its minimum. */
static void sizes_of(const linear_job *job, const float *x, int64_t ldx, int64_t n, const float *old, double smallest,
                     float *sizes)
{
    const matrix *w = job->w;
    float *row = malloc((size_t)w->cols * sizeof *row);

    assert_non_null(row);
    for (int64_t r = 0; r < job->rows; r++) {
        unpacked_row(w, job->row0 + r, row);
        for (int64_t t = 0; t < n; t++) {
            double sum = job->bias ? fabs((double)job->bias[job->row0 + r]) : 0;
            for (int64_t c = 0; c < w->cols; c += 16) {
                double largest = smallest, all = 0;
                for (int64_t i = c; i < c + 16; i++) {
                    largest = fmax(largest, fabs((double)row[i]));
                    all += fabs((double)x[t * ldx + i]);
                }
                sum += largest * all;
            }
            sizes[t * job->ldy + r] = (float)(sum + (job->add ? fabs((double)old[t * job->ldy + r]) : 0));
        }
    }
    free(row);
}

/* Three matrices in one call: whole, a slice with a bias, and one that is added; the last of another type if there is one. */
enum { JOBS = 3 };

static void check_product(device *dev, const dtype types[JOBS], int64_t rows, int64_t cols, int64_t n, int64_t apart)
{
    int64_t ldx = cols + apart;
    bool whole = rows % TILE == 0 && cols % UNIT == 0; /* many rows of x go through weights of 16 bits then */
    bool plain = n > 64 || apart % 8 || (dev->act == DTYPE_F32 && n > 16) || (whole && n > 16);
    /* Weights rounded to the run's type; in f16 some are below its normal numbers. */
    double bound = 4 * 5e-7 + (plain && is_16_bit(dev->act) ? rounding(dev->act, 1) : 0);
    double smallest = plain && dev->act == DTYPE_F16 ? 1e-3 : 0;
    buffer x = random_buffer(dev, dev->act, n * ldx, 1), y[JOBS], bias[JOBS];
    linear_job card_jobs[JOBS], cpu_jobs[JOBS];
    float *sizes[JOBS];
    twin w[JOBS];

    for (int64_t t = 0; t < n; t++) {
        for (int64_t k = cols; k < ldx; k++) {
            x.host[t * ldx + k] = NAN;
        }
    }
    buffer_send(&x);
    for (int j = 0; j < JOBS; j++) {
        int64_t all_rows = rows + (j == 1 ? whole ? 32 : 29 : 0), ldy = rows + 3 * j;
        dtype type = j == 0 ? dev->act : DTYPE_F32;
        w[j] = twin_of(dev, types[j], all_rows, cols);
        bias[j] = random_buffer(dev, DTYPE_F32, all_rows, 1);
        y[j] = j == 2 ? random_buffer(dev, type, n * ldy, 1) : poisoned_buffer(dev, type, n * ldy);
        sizes[j] = calloc((size_t)(n * ldy), sizeof(float));
        assert_non_null(sizes[j]);
        linear_job job = {.row0 = j == 1 ? 19 : 0, .rows = rows, .type = type, .ldy = ldy, .add = j == 2};
        card_jobs[j] = cpu_jobs[j] = job;
        card_jobs[j].w = &w[j].card;
        card_jobs[j].y = y[j].data;
        card_jobs[j].bias = j == 1 ? bias[j].data : NULL;
        cpu_jobs[j].w = &w[j].host;
        cpu_jobs[j].y = y[j].host;
        cpu_jobs[j].type = DTYPE_F32;
        cpu_jobs[j].bias = j == 1 ? bias[j].host : NULL;
        sizes_of(&cpu_jobs[j], x.host, ldx, n, y[j].host, smallest, sizes[j]);
    }
    cpu->ops->linear(cpu, x.host, ldx, n, cpu_jobs, JOBS);
    dev->ops->linear(dev, x.data, ldx, n, card_jobs, JOBS);
    for (int j = 0; j < JOBS; j++) {
        char what[96];
        snprintf(what, sizeof what, "%s, job %d, %lld x %lld on %lld rows %lld apart", dtype_name(types[j]), j, (long long)rows,
                 (long long)cols, (long long)n, (long long)ldx);
        assert_buffer(&y[j], bound, sizes[j], what);
        free(sizes[j]);
        buffer_free(&y[j]);
        buffer_free(&bias[j]);
        twin_free(&w[j]);
    }
    buffer_free(&x);
}

static void check_products(device *dev, dtype type)
{
    static const int64_t counts[] = {1, 2, 3, 8, 9, 16, 17, 64, 70};
    const int64_t *widths;
    int n_widths = widths_of(type, &widths), n_counts = sizeof counts / sizeof *counts;
    const dtype same[JOBS] = {type, type, type}, mixed[JOBS] = {type, DTYPE_Q8_0, DTYPE_Q4_K};

    for (int i = 0; i < n_widths * n_counts; i++) {
        int64_t rows = heights[i % HEIGHTS], cols = widths[i % n_widths], n = counts[i / n_widths];
        check_product(dev, same, rows, cols, n, i % 3 * 8);
    }
    check_product(dev, same, 16, 512, 65, 0);
    check_product(dev, same, 272, 1024, 17, 16);
    check_product(dev, same, 144, 2048, 33, 8);
    check_product(dev, same, 80, 4096, 128, 0);
    check_product(dev, mixed, 40, 768, 1, 0);
    check_product(dev, mixed, 40, 768, 5, 0);
    check_product(dev, same, 33, 512, 1, 3); /* rows that are not aligned */
    check_product(dev, same, 33, 512, 4, 1);
}

static void check_every_product(device *dev)
{
    for_every_block_type(dev, check_products);
}

static void products_with_blocks_agree_with_the_cpu(void **state)
{
    (void)state;
    for_every_type(check_every_product);
}

/* linear_gated of slices of two matrices against linear and silu_mul: the same numbers, for one row of x and for many. */
static void check_gated(device *dev, dtype type)
{
    static const int64_t counts[] = {1, 9, 17, 40, 128};
    enum { ROWS = 200, ALL = 240, COLS = 1024, MOST = 128 };
    twin w[2] = {twin_of(dev, type, ALL, COLS), twin_of(dev, type, ALL, COLS)};
    buffer x = random_buffer(dev, dev->act, MOST * COLS, 1), bias = random_buffer(dev, DTYPE_F32, ALL, 1), y[4];
    linear_job jobs[4];

    for (int j = 0; j < 4; j++) {
        y[j] = poisoned_buffer(dev, dev->act, MOST * ROWS);
        jobs[j] = (linear_job){.w = &w[j % 2].card, .row0 = 19, .rows = ROWS, .type = dev->act, .y = y[j].data, .ldy = ROWS,
                               .bias = j % 2 ? bias.data : NULL};
    }
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        dev->ops->linear(dev, x.data, COLS, counts[i], jobs, 2);
        dev->ops->silu_mul(dev, y[0].data, ROWS, y[1].data, ROWS, counts[i], ROWS);
        dev->ops->linear_gated(dev, x.data, COLS, counts[i], &jobs[2], &jobs[3]);
        float *want = buffer_get(&y[0]), *got = buffer_get(&y[2]);
        for (int64_t k = 0; k < counts[i] * ROWS; k++) {
            assert_true(got[k] == want[k]);
        }
        free(want);
        free(got);
    }
    for (int j = 0; j < 4; j++) {
        buffer_free(&y[j]);
    }
    buffer_free(&x);
    buffer_free(&bias);
    twin_free(&w[0]);
    twin_free(&w[1]);
}

static void check_every_gated(device *dev)
{
    for_every_block_type(dev, check_gated);
}

static void gated_products_with_blocks_are_those_of_their_two_ops(void **state)
{
    (void)state;
    for_every_type(check_every_gated);
}

/* A row's sum is the same bits alone, in a slice and beside other jobs. */
static void check_slices(device *dev, dtype type)
{
    static const int64_t counts[] = {1, 5, 16};
    int64_t rows = 75, cols = 1024;
    twin w = twin_of(dev, type, rows, cols);
    buffer x = random_buffer(dev, dev->act, 16 * cols, 1);
    buffer whole = poisoned_buffer(dev, DTYPE_F32, 16 * rows), part = poisoned_buffer(dev, DTYPE_F32, 16 * rows);

    for (int i = 0; i < 3; i++) {
        linear_job all = {.w = &w.card, .rows = rows, .type = DTYPE_F32, .y = whole.data, .ldy = rows}, jobs[12];
        int n_jobs = 0;
        for (int64_t row = 0; row < rows; n_jobs++) {
            int64_t few = 1 + n_jobs * 3 < rows - row && n_jobs < 11 ? 1 + n_jobs * 3 : rows - row;
            jobs[n_jobs] = (linear_job){
                .w = &w.card, .row0 = row, .rows = few, .type = DTYPE_F32, .y = (float *)part.data + row, .ldy = rows};
            row += few;
        }
        dev->ops->linear(dev, x.data, cols, counts[i], &all, 1);
        dev->ops->linear(dev, x.data, cols, counts[i], jobs, n_jobs);
        float *a = buffer_get(&whole), *b = buffer_get(&part);
        for (int64_t e = 0; e < counts[i] * rows; e++) {
            if (memcmp(&a[e], &b[e], sizeof *a) != 0) {
                fail_msg("%s, %s, %lld rows of x: row %lld is %.9g in a slice, %.9g in the whole", dtype_name(type),
                         dtype_name(dev->act), (long long)counts[i], (long long)(e % rows), (double)b[e], (double)a[e]);
            }
        }
        free(a);
        free(b);
    }
    buffer_free(&x);
    buffer_free(&whole);
    buffer_free(&part);
    twin_free(&w);
}

static void check_every_slice(device *dev)
{
    for_every_block_type(dev, check_slices);
}

static void rows_of_a_slice_of_blocks_have_the_same_bits(void **state)
{
    (void)state;
    for_every_type(check_every_slice);
}

/* More rows than are plain at a time: 64 MB of them. */
static void a_matrix_beyond_the_room_for_plain_rows_is_taken_in_parts(void **state)
{
    static const dtype q4[JOBS] = {DTYPE_Q4_K, DTYPE_Q4_K, DTYPE_Q4_K};

    (void)state;
    random_state = 1;
    check_product(cards[1], q4, 8200, 4096, 65, 0);
    check_product(cards[0], q4, 4100, 4096, 17, 0);
}

/* --- random models --- */

static void check_random(device *dev, dtype type)
{
    char path[64];
    model_config config;
    tensors table;
    arena memory;
    int seen = 0;

    snprintf(path, sizeof path, "random:smollm2-135m:%s", dtype_name(type));
    must(random_describe(path, &config, &table));
    must(random_fill(path, &table, &memory));
    for (int64_t i = 0; i < table.n && seen < 12; i++) {
        const tensor *x = &table.list[i];
        if (x->n_dims != 2) {
            continue;
        }
        matrix host = {.type = x->type, .rows = x->dims[0], .cols = x->dims[1], .data = x->data,
                       .row_bytes = dtype_row_bytes(x->type, x->dims[1])}, loaded = host, made = host;
        loaded.data = reserve_blocks(dev, &host);
        made.data = reserve_blocks(dev, &host);
        must(dev->ops->load(dev, &loaded, &host));
        must(dev->ops->make_random(dev, &made, x->type, random_seed(&table, x)));
        unsigned char *a = card_bytes(dev, &loaded), *b = card_bytes(dev, &made);
        size_t bytes = (size_t)host.rows * host.row_bytes;
        for (size_t at = 0; at < bytes; at++) {
            if (a[at] != b[at]) {
                fail_msg("%s, %s of %lld x %lld: byte %zu is %02x, the host's is %02x", path, dtype_name(x->type),
                         (long long)host.rows, (long long)host.cols, at, b[at], a[at]);
            }
        }
        free(a);
        free(b);
        dev->ops->release(dev, (void *)(uintptr_t)loaded.data, bytes);
        dev->ops->release(dev, (void *)(uintptr_t)made.data, bytes);
        seen++;
    }
    assert_int_equal(seen, 12);
    arena_close(&memory);
    tensors_close(&table);
}

static void random_blocks_have_the_bits_of_the_host(void **state)
{
    (void)state;
    for_every_block_type(cards[1], check_random);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_order_on_the_card_is_undone_to_the_stored_bytes),
        cmocka_unit_test(rows_of_a_table_of_blocks_have_the_bits_of_the_definition),
        cmocka_unit_test(products_with_blocks_agree_with_the_cpu),
        cmocka_unit_test(gated_products_with_blocks_are_those_of_their_two_ops),
        cmocka_unit_test(rows_of_a_slice_of_blocks_have_the_same_bits),
        cmocka_unit_test(a_matrix_beyond_the_room_for_plain_rows_is_taken_in_parts),
        cmocka_unit_test(random_blocks_have_the_bits_of_the_host),
    };
    int opened = open_cards();

    if (argc > 1) {
        cmocka_set_skip_filter(argv[1]);
    }
    int failed = opened ? opened : cmocka_run_group_tests(tests, NULL, NULL);
    close_cards();
    return failed;
}
