/* Dot products and tiles in vectors, for any number of lanes: included by linear_avx2.c and linear_avx512.c after their
   vector header.
   Rests on weights_simd.h; the definition is linear_scalar.c. Budgets are in linear_one_simd.h and the .c files. */
#pragma once

#include "device/cpu/linear_one_simd.h"

/* X(NAME, name): the types that can be weights. */
#define EACH_TYPE(X)                                                                                                     \
    X(F32, f32) X(F16, f16) X(BF16, bf16) X(Q8_0, q8_0) X(Q4_0, q4_0) X(Q4_1, q4_1) X(Q5_0, q5_0) X(Q5_1, q5_1)           \
    X(Q2_K, q2_k) X(Q3_K, q3_k) X(Q4_K, q4_k) X(Q5_K, q5_k) X(Q6_K, q6_k) X(IQ4_NL, iq4_nl)

/* --- unpacking --- */

INLINE void unpack_span(dtype type, const unsigned char *span, int64_t count, float *out)
{
    int groups = (int)(count / GROUP);
    factors f;
    vec w[VECTORS];

    get_factors(type, span, groups, &f);
UNROLL
    for (int k = 0; k < GROUPS; k++) {
        if (k >= groups) {
            break;
        }
        get_weights(type, span, &f, k, w);
UNROLL
        for (int v = 0; v < VECTORS; v++) {
            v_store(out + k * GROUP + v * VW, w[v]);
        }
    }
    if (is_plain(type) && count % GROUP) {
        unpack_scalar[type](span + (size_t)(groups * GROUP) * block_bytes(type), count % GROUP, out + groups * GROUP);
    }
}

#define DEFINE_UNPACK(NAME, name)                                                  \
    static void unpack_##name(const void *blocks, int64_t count, float *out)       \
    {                                                                              \
        unpack_span(DTYPE_##NAME, blocks, count, out);                             \
    }
EACH_TYPE(DEFINE_UNPACK)

#define UNPACK_ENTRY(NAME, name) [DTYPE_##NAME] = unpack_##name,
static unpack_fn *const unpack_table[WEIGHT_TYPES] = {EACH_TYPE(UNPACK_ENTRY)};

/* --- dot products: `r` rows of weights (constant) with `n` rows of x (constant) at once --- */

enum { MAX_R = 4 };

typedef struct dot_rows {
    const unsigned char *w[MAX_R];
    const float *x[DOT_MAX];
} dot_rows;

/* `groups` groups of a span that begins at column `col`. With few sums each is split in two, which shortens chains of
   dependent multiply-adds. */
INLINE void dot_span(dtype type, int r, int n, const dot_rows *a, size_t offset, int64_t col, int groups,
                     vec sum[MAX_R][DOT_MAX][2])
{
    int sums = r * n <= 4 ? 2 : 1;
    factors f[MAX_R];

UNROLL
    for (int i = 0; i < r; i++) {
        get_factors(type, a->w[i] + offset, groups, &f[i]);
    }
UNROLL
    for (int k = 0; k < GROUPS; k++) {
        if (!is_super_block(type) && k >= groups) {
            break;
        }
UNROLL
        for (int i = 0; i < r; i++) {
            vec w[VECTORS];
            get_weights(type, a->w[i] + offset, &f[i], k, w);
UNROLL
            for (int t = 0; t < n; t++) {
UNROLL
                for (int v = 0; v < VECTORS; v++) {
                    sum[i][t][v % sums] = v_fma(w[v], v_load(a->x[t] + col + k * GROUP + v * VW), sum[i][t][v % sums]);
                }
            }
        }
    }
}

/* The last columns of plain types, fewer than a group: as a group with zeros behind them. */
INLINE void dot_rest(dtype type, int r, int n, const dot_rows *a, size_t offset, int64_t col, int64_t rest,
                     vec sum[MAX_R][DOT_MAX][2])
{
    float x[DOT_MAX][GROUP] = {{0}};
    unsigned char w[MAX_R][GROUP * sizeof(float)] = {{0}};
    dot_rows padded;

UNROLL
    for (int t = 0; t < n; t++) {
        memcpy(x[t], a->x[t] + col, (size_t)rest * sizeof(float));
        padded.x[t] = x[t];
    }
UNROLL
    for (int i = 0; i < r; i++) {
        memcpy(w[i], a->w[i] + offset, (size_t)rest * block_bytes(type));
        padded.w[i] = w[i];
    }
    dot_span(type, r, n, &padded, 0, 0, 1, sum);
}

INLINE void dot_store(int r, int n, const dot_task *a, int64_t row, int64_t rows, vec sum[MAX_R][DOT_MAX][2])
{
    int sums = r * n <= 4 ? 2 : 1;

UNROLL
    for (int t = 0; t < n; t++) {
        if (t >= a->n) {
            break;
        }
        vec s[4];
        float dots[4];
UNROLL
        for (int i = 0; i < 4; i++) {
            s[i] = sum[i % r][t][0];
            if (sums == 2) {
                s[i] = v_add(s[i], sum[i % r][t][1]);
            }
        }
        _mm_storeu_ps(dots, v_sums(s[0], s[1], s[2], s[3]));
        for (int64_t i = 0; i < rows; i++) {
            float *y = a->y + t * a->ldy + row + i;
            float v = a->bias ? dots[i] + a->bias[row + i] : dots[i];
            *y = a->add ? *y + v : v;
        }
    }
}

/* All rows of a task, r at a time. Missing rows of weights or of x repeat the last one. */
INLINE void dot_all(dtype type, int r, int n, const dot_task *a)
{
    dot_rows at;

UNROLL
    for (int t = 0; t < n; t++) {
        at.x[t] = a->x + (t < a->n ? t : a->n - 1) * a->ldx;
    }
    for (int64_t row = 0; row < a->rows; row += r) {
        int64_t rows = a->rows - row < r ? a->rows - row : r;
        vec sum[MAX_R][DOT_MAX][2];
        size_t offset = 0;
        int64_t col = 0;
UNROLL
        for (int i = 0; i < r; i++) {
            at.w[i] = a->w + (size_t)(row + (i < rows ? i : rows - 1)) * a->row_bytes;
UNROLL
            for (int t = 0; t < n; t++) {
                sum[i][t][0] = sum[i][t][1] = v_zero();
            }
        }
        for (; a->cols - col >= SPAN; col += SPAN, offset += span_bytes(type)) {
            dot_span(type, r, n, &at, offset, col, GROUPS, sum);
        }
        if (!is_super_block(type) && col < a->cols) {
            int groups = (int)((a->cols - col) / GROUP);
            dot_span(type, r, n, &at, offset, col, groups, sum);
            col += groups * GROUP;
            if (is_plain(type) && col < a->cols) {
                dot_rest(type, r, n, &at, offset + (size_t)(groups * GROUP) * block_bytes(type), col, a->cols - col, sum);
            }
        }
        dot_store(r, n, a, row, rows, sum);
    }
}

/* Rows of weights at once for n rows of x: r * n sums and the weights fit into the registers. */
INLINE int rows_at_once(int n)
{
    return VW == 16 ? (n == 8 ? 2 : 4) : (n == 8 ? 1 : n == 4 ? 2 : 4);
}

/* --- each type's kernels --- */

#define DEFINE_PREPARE(NAME, name)                                                 \
    static void prepare_##name(const float *x, int64_t cols, prepared_row *out)    \
    {                                                                              \
        prepare_all(DTYPE_##NAME, x, cols, out);                                   \
    }
EACH_TYPE(DEFINE_PREPARE)

#define PREPARE_ENTRY(NAME, name) [DTYPE_##NAME] = prepare_##name,

#define DEFINE_DOT(NAME, name)                                                     \
    static __attribute__((noinline)) void dot1_##name(const dot_task *a)           \
    {                                                                              \
        dot1_all(DTYPE_##NAME, a);                                                 \
    }                                                                              \
    static __attribute__((noinline)) void dot2_##name(const dot_task *a)           \
    {                                                                              \
        dot_all(DTYPE_##NAME, rows_at_once(2), 2, a);                              \
    }                                                                              \
    static __attribute__((noinline)) void dot4_##name(const dot_task *a)           \
    {                                                                              \
        dot_all(DTYPE_##NAME, rows_at_once(4), 4, a);                              \
    }                                                                              \
    static __attribute__((noinline)) void dot8_##name(const dot_task *a)           \
    {                                                                              \
        dot_all(DTYPE_##NAME, rows_at_once(8), 8, a);                              \
    }                                                                              \
    static void dot_##name(const dot_task *a)                                      \
    {                                                                              \
        (a->prepared ? dot1_##name : a->n <= 2 ? dot2_##name : a->n <= 4 ? dot4_##name : dot8_##name)(a); \
    }
EACH_TYPE(DEFINE_DOT)

#define DOT_ENTRY(NAME, name) [DTYPE_##NAME] = dot_##name,

/* --- tiles --- */

#define TILE_NAME(M) TILE_OF_##M,
enum { EACH_TILE(TILE_NAME) TILE, STRIP_VECTORS = 2, STRIP = STRIP_VECTORS * VW };

/* out[k * out_stride + r] = in[r * in_stride + k] for r, k < VW. A vector has rows r, r + 4, ... in its 128-bit lanes, so that
   the transposition stays within them. */
INLINE void transpose_strip(const float *in, int64_t in_stride, float *out, int64_t out_stride)
{
    for (int k = 0; k < VW; k += 4) {
        vec t[4];
        UNROLL
        for (int i = 0; i < 4; i++) {
            t[i] = load_quads(in + k + i * in_stride, in_stride);
        }
        v_transpose_quads(t);
        UNROLL
        for (int i = 0; i < 4; i++) {
            v_store(out + (k + i) * out_stride, t[i]);
        }
    }
}

static void interleave(const float *rows, int64_t depth, float *strip)
{
    for (int64_t k = 0; k < depth; k += VW) {
        for (int r = 0; r < STRIP; r += VW) {
            transpose_strip(rows + r * SPAN + k, SPAN, strip + k * STRIP + r, STRIP);
        }
    }
}

/* A tile of `m` (constant) rows of x: all its sums stay in registers. */
INLINE void multiply_tile(int m, const tile_task *a)
{
    vec sum[TILE][STRIP_VECTORS];
    const float *x = a->x, *w = a->strip;

UNROLL
    for (int t = 0; t < m; t++) {
UNROLL
        for (int v = 0; v < STRIP_VECTORS; v++) {
            sum[t][v] = v_zero();
        }
    }
    for (int64_t k = 0; k < a->depth; k++, w += STRIP) {
        vec w0 = v_load(w), w1 = v_load(w + VW);
UNROLL
        for (int t = 0; t < m; t++) {
            vec xt = v_all(x[t * TILE_STRIDE + k]);
            sum[t][0] = v_fma(w0, xt, sum[t][0]);
            sum[t][1] = v_fma(w1, xt, sum[t][1]);
        }
    }
UNROLL
    for (int t = 0; t < m; t++) {
UNROLL
        for (int v = 0; v < STRIP_VECTORS; v++) {
            int n = a->w_rows - v * VW;
            float *y = a->y + t * a->ldy + v * VW;
            n = n < 0 ? 0 : n > VW ? VW : n;
            if (a->bias) {
                sum[t][v] = v_add(sum[t][v], v_load_first(a->bias + v * VW, n));
            }
            if (a->add) {
                sum[t][v] = v_add(v_load_first(y, n), sum[t][v]);
            }
            v_store_first(y, sum[t][v], n);
        }
    }
}

#define DEFINE_TILE(M)                                                             \
    static __attribute__((noinline)) void tile_##M(const tile_task *a)             \
    {                                                                              \
        multiply_tile(M, a);                                                       \
    }
EACH_TILE(DEFINE_TILE)

#define TILE_ENTRY(M) tile_##M,

static void multiply(const tile_task *a)
{
    static tile_fn *const tiles[TILE] = {EACH_TILE(TILE_ENTRY)};
    tiles[a->x_rows - 1](a);
}

const linear_kernels SIMD_NAME(linear) = {
    .strip = STRIP,
    .tile = TILE,
    .unpack = unpack_table,
    .prepare = {EACH_TYPE(PREPARE_ENTRY)},
    .dot = {EACH_TYPE(DOT_ENTRY)},
    .interleave = interleave,
    .multiply = multiply,
};
