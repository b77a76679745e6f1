/* Operations on rows of numbers: distributing rows to threads.
   Rests on elementwise.h, which declares the kernels for one row, and on the pool. Read on in elementwise_scalar.c.

   Waking the pool costs about a microsecond, so small calls run on the calling thread; otherwise a piece is some rows of
   about 16 K numbers: 64 KB, a few microseconds of memory. A row's arithmetic is the same either way. */
#include "device/cpu/elementwise.h"

#include <math.h>
#include <string.h>

enum { NUMBERS_ALONE = 16384, NUMBERS_PIECE = 16384 };

typedef void (*rows_fn)(const void *op, int64_t from, int64_t to);

typedef struct row_call {
    rows_fn fn;
    const void *op;
    int64_t rows, step;
} row_call;

static void run_piece(void *arg, int64_t piece, int thread)
{
    const row_call *r = arg;
    int64_t from = piece * r->step, to = from + r->step < r->rows ? from + r->step : r->rows;

    (void)thread;
    r->fn(r->op, from, to);
}

/* fn for all rows in [0, rows), each of about `numbers` numbers of work. */
static void for_rows(device *dev, int64_t rows, int64_t numbers, rows_fn fn, const void *op)
{
    if (rows * numbers <= NUMBERS_ALONE) {
        fn(op, 0, rows);
        return;
    }
    row_call r = {.fn = fn, .op = op, .rows = rows, .step = numbers < NUMBERS_PIECE ? NUMBERS_PIECE / numbers : 1};
    pool_run(((cpu_device *)dev)->pool, (rows + r.step - 1) / r.step, run_piece, &r);
}

static const row_kernels *kernels(device *dev)
{
    return ((cpu_device *)dev)->rows;
}

/* --- rms_norm --- */

typedef struct rms_norm_op {
    const row_kernels *rows;
    float *out;
    const float *x, *weight;
    float eps;
    int64_t d;
} rms_norm_op;

static void rms_norm_rows(const void *op, int64_t from, int64_t to)
{
    const rms_norm_op *o = op;

    for (int64_t t = from; t < to; t++) {
        o->rows->rms_norm(o->out + t * o->d, o->x + t * o->d, o->weight, o->eps, o->d);
    }
}

void cpu_rms_norm(device *dev, void *out, const float *x, const float *weight, float eps, int64_t n, int64_t d)
{
    rms_norm_op op = {.rows = kernels(dev), .out = out, .x = x, .weight = weight, .eps = eps, .d = d};

    for_rows(dev, n, d, rms_norm_rows, &op);
}

typedef struct rms_norm_add_op {
    const row_kernels *rows;
    float *x;
    const float *y, *weight;
    float eps;
    int64_t d;
} rms_norm_add_op;

static void rms_norm_add_rows(const void *op, int64_t from, int64_t to)
{
    const rms_norm_add_op *o = op;

    for (int64_t t = from; t < to; t++) {
        o->rows->rms_norm_add(o->x + t * o->d, o->y + t * o->d, o->weight, o->eps, o->d);
    }
}

void cpu_rms_norm_add(device *dev, float *x, const void *y, const float *weight, float eps, int64_t n, int64_t d)
{
    rms_norm_add_op op = {.rows = kernels(dev), .x = x, .y = y, .weight = weight, .eps = eps, .d = d};

    for_rows(dev, n, 2 * d, rms_norm_add_rows, &op);
}

/* --- rope --- */

typedef struct rope_angles_op {
    float *cos, *sin;
    const int64_t *positions;
    const float *inv_freq;
    int64_t half;
    float factor;
} rope_angles_op;

static void rope_angles_rows(const void *op, int64_t from, int64_t to)
{
    const rope_angles_op *o = op;

    for (int64_t t = from; t < to; t++) {
        int64_t given = o->positions[t], position = given < 0 ? -1 - given : given;
        const float *inv_freq = o->inv_freq + (given < 0 ? o->half : 0);
        for (int64_t i = 0; i < o->half; i++) {
            float angle = (float)position * inv_freq[i];
            double s, c;
            /* In double: the float is practically rounded once, on every machine. */
            sincos((double)angle, &s, &c);
            o->cos[t * o->half + i] = (float)c * o->factor;
            o->sin[t * o->half + i] = (float)s * o->factor;
        }
    }
}

void cpu_rope_angles(device *dev, float *cos, float *sin, const int64_t *positions, int64_t n, const float *inv_freq,
                     int64_t half, float factor)
{
    enum { NUMBERS_PER_ANGLE = 32 }; /* the cost of a sine, in numbers read */
    rope_angles_op op = {.cos = cos, .sin = sin, .positions = positions, .inv_freq = inv_freq, .half = half, .factor = factor};

    for_rows(dev, n, half * NUMBERS_PER_ANGLE, rope_angles_rows, &op);
}

typedef struct rope_op {
    const row_kernels *rows;
    const rotation *r;
    int32_t head_dim;
} rope_op;

/* Norm and rotation of a head follow one another while it is in the cache. A norm of a whole side precedes its heads. */
static void rope_rows(const void *op, int64_t from, int64_t to)
{
    const rope_op *o = op;
    const rotation *r = o->r;
    int64_t d = o->head_dim, half = r->dims / 2, queries = r->heads - r->kv_heads;

    for (int64_t t = from; t < to; t++) {
        float *row = (float *)r->x + t * r->ld;
        if (r->whole && queries > 0) {
            o->rows->rms_norm(row, row, r->q_norm, r->eps, queries * d);
        }
        if (r->whole) {
            o->rows->rms_norm(row + queries * d, row + queries * d, r->k_norm, r->eps, r->kv_heads * d);
        }
        for (int64_t h = 0; h < r->heads; h++) {
            float *head = row + h * d;
            const float *norm = h < queries ? r->q_norm : r->k_norm;
            if (norm && !r->whole) {
                o->rows->rms_norm(head, head, norm, r->eps, d);
            }
            if (r->cos) {
                o->rows->rope(head, r->cos + t * half, r->sin + t * half, half, r->style);
            }
        }
    }
}

void cpu_rope(device *dev, const rotation *rows, int64_t n, int32_t head_dim)
{
    rope_op op = {.rows = kernels(dev), .r = rows, .head_dim = head_dim};

    for_rows(dev, n, (int64_t)rows->heads * head_dim, rope_rows, &op);
}

/* --- kv_store --- */

typedef struct kv_store_op {
    const row_kernels *rows;
    unsigned char *cache;
    float *scales;
    dtype type;
    size_t slot_bytes;
    int64_t head_stride;
    const int64_t *slots;
    const float *x;
    int64_t ldx;
    int32_t heads, head_dim;
} kv_store_op;

static void kv_store_rows(const void *op, int64_t from, int64_t to)
{
    const kv_store_op *o = op;

    for (int32_t g = 0; g < o->heads; g++) {
        for (int64_t t = from; t < to; t++) {
            if (o->slots[t] < 0) {
                continue;
            }
            int64_t row = g * o->head_stride + o->slots[t];
            const float *x = o->x + t * o->ldx + (int64_t)g * o->head_dim;
            unsigned char *place = o->cache + (size_t)row * o->slot_bytes;
            if (o->type == DTYPE_I8) {
                o->scales[row] = o->rows->store_codes((int8_t *)place, x, o->head_dim);
            } else {
                o->rows->store(place, o->type, x, o->head_dim);
            }
        }
    }
}

void cpu_kv_store(device *dev, void *cache, float *scales, dtype type, int64_t head_stride, const int64_t *slots, const void *x,
                  int64_t ldx, int64_t n, int32_t heads, int32_t head_dim)
{
    kv_store_op op = {
        .rows = kernels(dev),
        .cache = cache,
        .scales = scales,
        .type = type,
        .slot_bytes = dtype_row_bytes(type, head_dim),
        .head_stride = head_stride,
        .slots = slots,
        .x = x,
        .ldx = ldx,
        .heads = heads,
        .head_dim = head_dim,
    };

    for_rows(dev, n, (int64_t)heads * head_dim, kv_store_rows, &op);
}

/* --- copy --- */

/* Few rows, of a pass by slices: on the calling thread. */
void cpu_copy(device *dev, dtype type, void *y, int64_t ldy, const void *x, int64_t ldx, int64_t n, int64_t width, bool add)
{
    int64_t element = (int64_t)dtype_block_bytes(type);

    (void)dev;
    for (int64_t t = 0; t < n && !add; t++) { /* memcpy is several times faster than a loop of floats */
        memcpy((unsigned char *)y + t * ldy * element, (const unsigned char *)x + t * ldx * element, (size_t)(width * element));
    }
    for (int64_t t = 0; t < n && add; t++) {
        float *to = (float *)y + t * ldy;
        const float *from = (const float *)x + t * ldx;
        for (int64_t i = 0; i < width; i++) {
            to[i] += from[i];
        }
    }
}

/* --- silu_mul, gelu_mul --- */

typedef struct gate_op {
    void (*fn)(float *g, const float *u, int64_t n);
    float *g;
    const float *u;
    int64_t ldg, ldu, d;
} gate_op;

static void gate_rows(const void *op, int64_t from, int64_t to)
{
    const gate_op *o = op;

    for (int64_t t = from; t < to; t++) {
        o->fn(o->g + t * o->ldg, o->u + t * o->ldu, o->d);
    }
}

void cpu_silu_mul(device *dev, void *g, int64_t ldg, const void *u, int64_t ldu, int64_t n, int64_t d)
{
    gate_op op = {.fn = kernels(dev)->silu_mul, .g = g, .u = u, .ldg = ldg, .ldu = ldu, .d = d};

    for_rows(dev, n, 2 * d, gate_rows, &op);
}

void cpu_gelu_mul(device *dev, void *g, int64_t ldg, const void *u, int64_t ldu, int64_t n, int64_t d)
{
    gate_op op = {.fn = kernels(dev)->gelu_mul, .g = g, .u = u, .ldg = ldg, .ldu = ldu, .d = d};

    for_rows(dev, n, 2 * d, gate_rows, &op);
}

/* --- carries: rows of heads --- */

typedef struct carry_op {
    const row_kernels *rows;
    const carry *c, *from;
    const attention_shape *s;
    float *out;
    int64_t ldo;
} carry_op;

static void carry_clear_rows(const void *op, int64_t from, int64_t to)
{
    const carry_op *o = op;
    int64_t heads = o->s->n_heads, d = o->s->head_dim;

    memset(o->c->o + from * heads * d, 0, (size_t)((to - from) * heads * d) * sizeof(float));
    memset(o->c->l + from * heads, 0, (size_t)((to - from) * heads) * sizeof(float));
    for (int64_t i = from * heads; i < to * heads; i++) {
        o->c->m[i] = -INFINITY;
    }
}

void cpu_carry_clear(device *dev, const carry *c, const attention_shape *s, int64_t rows)
{
    carry_op op = {.c = c, .s = s};

    for_rows(dev, rows, (int64_t)s->n_heads * s->head_dim, carry_clear_rows, &op);
}

static void carry_merge_rows(const void *op, int64_t from, int64_t to)
{
    const carry_op *o = op;
    int64_t heads = o->s->n_heads, d = o->s->head_dim;

    for (int64_t i = from * heads; i < to * heads; i++) {
        o->rows->merge(o->c->o + i * d, &o->c->m[i], &o->c->l[i], o->from->o + i * d, o->from->m[i], o->from->l[i], d);
    }
}

void cpu_carry_merge(device *dev, const carry *into, const carry *from, const attention_shape *s, int64_t rows)
{
    carry_op op = {.rows = kernels(dev), .c = into, .from = from, .s = s};

    for_rows(dev, rows, 2 * (int64_t)s->n_heads * s->head_dim, carry_merge_rows, &op);
}

static void carry_finish_rows(const void *op, int64_t from, int64_t to)
{
    const carry_op *o = op;
    int64_t heads = o->s->n_heads, d = o->s->head_dim;

    for (int64_t t = from; t < to; t++) {
        for (int64_t h = 0; h < heads; h++) {
            int64_t i = t * heads + h;
            float l = o->c->l[i];
            /* A query that saw no key has O = 0, which is divided by 1. */
            o->rows->divide(o->out + t * o->ldo + h * d, o->c->o + i * d, l == 0 ? 1 : l, d);
        }
    }
}

void cpu_carry_finish(device *dev, const carry *c, const attention_shape *s, int64_t rows, void *out, int64_t ldo)
{
    carry_op op = {.rows = kernels(dev), .c = c, .s = s, .out = out, .ldo = ldo};

    for_rows(dev, rows, 2 * (int64_t)s->n_heads * s->head_dim, carry_finish_rows, &op);
}
