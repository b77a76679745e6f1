/* Rows of queries over a tile of keys, in vectors of any width: the including file chooses it.
   Rests on simd_avx2.h or simd_avx512.h, and simd_math.h. attention_scalar.c is the definition, cpu_attention.c the caller.

   Order of sums: a score over head_dim; a row over the keys of a tile, then over the tiles, independent of the rows computed
   with it.

   Budget, many rows: 4 * head_dim operations a row and key, in register tiles of 6 rows by 4 vectors: 24 multiply-adds for
   10 loads. A row and key also costs one exponential (about 14 operations: 10 % at head_dim 64); converting a tile costs 3 %
   with 192 rows. Reached on a Zen 4: 80 % of the peak of multiply-adds at head_dim 64, 83 % at 128. Budget, few rows: 4
   * head_dim bytes a key of 16-bit K and V, read once; converting, multiplying by 3 rows and summing up take about 30 cycles
   at head_dim 64, 256 bytes. Reached there: 22 to 31 GB/s a core from the caches, 80 to 85 % of the rate of plain reading
   from memory. docs/dev/kernels.md has the measurements. */
#include "device/cpu/cpu_attention.h"
#include "device/cpu/simd_math.h"

#include <math.h>

enum {
    AHEAD = 2048,  /* prefetch distance in elements of keys or values, twice that of codes: 4 KB, 0.2 us of reading */
    FEW_MOST = 6,  /* up to this many rows two readings of unconverted keys are faster than transposing them */
};

/* --- c[R rows, C vectors] = or += a[R, n] b[n, C vectors] --- */

INLINE void multiply_tile(int R, int C, const float *a, int64_t lda, const float *b, int64_t ldb, int64_t n, float *c,
                          int64_t ldc, bool add)
{
    vec sum[ROW_GRAIN][PANEL_MAX];

    UNROLL
    for (int i = 0; i < R; i++) {
        UNROLL
        for (int j = 0; j < C; j++) {
            sum[i][j] = v_zero();
        }
    }
    for (int64_t k = 0; k < n; k++) {
        vec right[PANEL_MAX];
        UNROLL
        for (int j = 0; j < C; j++) {
            right[j] = v_load(b + k * ldb + j * VW);
        }
        UNROLL
        for (int i = 0; i < R; i++) {
            vec left = v_all(a[i * lda + k]);
            UNROLL
            for (int j = 0; j < C; j++) {
                sum[i][j] = v_fma(left, right[j], sum[i][j]);
            }
        }
    }
    UNROLL
    for (int i = 0; i < R; i++) {
        UNROLL
        for (int j = 0; j < C; j++) {
            float *to = c + i * ldc + j * VW;
            v_store(to, add ? v_add(v_load(to), sum[i][j]) : sum[i][j]);
        }
    }
}

#define MULTIPLY_WIDTH(R, C)                                    \
    case C:                                                     \
        multiply_tile(R, C, a, lda, b, ldb, n, c, ldc, add);    \
        break;
#define MULTIPLY_ROWS(R)               \
    case R:                            \
        switch (width) {               \
            PANEL_WIDTHS(MULTIPLY_WIDTH, R) \
        default:                       \
            break;                     \
        }                              \
        break;

/* `rows` <= ROW_GRAIN, `width` <= PANEL_MAX vectors. */
INLINE void multiply_panel(int rows, int width, const float *a, int64_t lda, const float *b, int64_t ldb, int64_t n, float *c,
                           int64_t ldc, bool add)
{
    switch (rows) {
        MULTIPLY_ROWS(1)
        MULTIPLY_ROWS(2)
        MULTIPLY_ROWS(3)
        MULTIPLY_ROWS(4)
        MULTIPLY_ROWS(5)
        MULTIPLY_ROWS(6)
    default:
        break;
    }
}

static void multiply_set(int rows, int width, const float *a, int64_t lda, const float *b, int64_t ldb, int64_t n, float *c,
                         int64_t ldc)
{
    multiply_panel(rows, width, a, lda, b, ldb, n, c, ldc, false);
}

static void multiply_add(int rows, int width, const float *a, int64_t lda, const float *b, int64_t ldb, int64_t n, float *c,
                         int64_t ldc)
{
    multiply_panel(rows, width, a, lda, b, ldb, n, c, ldc, true);
}

/* --- a tile's keys and values as floats --- */

INLINE vec load_as(dtype type, const void *p, int64_t i)
{
    return type == DTYPE_F16    ? v_load_f16((const uint16_t *)p + i)
           : type == DTYPE_BF16 ? v_load_bf16((const uint16_t *)p + i)
           : type == DTYPE_I8   ? v_load_i8((const int8_t *)p + i)
                                : v_load((const float *)p + i);
}

INLINE int64_t size_of(dtype type)
{
    return type == DTYPE_F32 ? 4 : type == DTYPE_I8 ? 1 : 2;
}

INLINE int64_t ahead_of(dtype type)
{
    return type == DTYPE_I8 ? 2 * AHEAD : AHEAD;
}

/* Elements of a row as they are stored, times the row's scale. */
INLINE vec scaled(dtype type, vec x, const float *scales, int64_t row)
{
    return type == DTYPE_I8 ? v_mul(x, v_all(scales[row])) : x;
}

/* Multiplies p[0, n) by the scales of as many rows. */
INLINE void scale_by_rows(float *p, const float *scales, int32_t n)
{
    int32_t i = 0;

    for (; i + VW <= n; i += VW) {
        v_store(p + i, v_mul(v_load(p + i), v_load(scales + i)));
    }
    for (; i < n; i++) {
        p[i] *= scales[i];
    }
}

/* The n < VW elements at i, then zeros. Reads no other elements. */
INLINE vec load_few_as(dtype type, const void *p, int64_t i, int n)
{
    float all[VW] = {0};
    size_t size = (size_t)size_of(type);

    memcpy(all, (const unsigned char *)p + (size_t)i * size, (size_t)n * size);
    return load_as(type, all, 0);
}

/* Prefetches elements [from, to) after p into the second-level cache: the hardware prefetcher restarts at every page and at
   each change between keys and values. Prefetching an invalid address is no fault. */
static void prefetch(dtype type, const void *p, int64_t from, int64_t to)
{
    int64_t size = size_of(type);

    for (int64_t at = from * size; at < to * size; at += 64) {
        __builtin_prefetch((const void *)((uintptr_t)p + (uintptr_t)at), 0, 2);
    }
}

INLINE void expand_values(dtype type, const attention_block *b, const key_range *t)
{
    int32_t d = b->head_dim, whole = d - d % VW;

    for (int64_t key = 0; key < t->count; key++) {
        float *to = b->v + key * b->ld;
        for (int32_t i = 0; i < whole; i += VW) {
            v_store(to + i, scaled(type, load_as(type, t->v, key * d + i), t->v_scales, key));
        }
        if (whole < d) {
            v_store(to + whole, scaled(type, load_few_as(type, t->v, key * d + whole, d - whole), t->v_scales, key));
        }
    }
}

/* VW keys from `key` on, VW elements from i on, as columns. */
INLINE void transpose_square(dtype type, const attention_block *b, const key_range *t, int32_t key, int32_t i)
{
    vec rows[VW];
    int64_t at = (int64_t)key * b->head_dim + i;

    UNROLL
    for (int j = 0; j < VW; j++) {
        rows[j] = scaled(type, load_as(type, t->k, at + j * b->head_dim), t->k_scales, key + j);
    }
    v_transpose(rows);
    UNROLL
    for (int j = 0; j < VW; j++) {
        v_store(b->k + (int64_t)(i + j) * KEY_TILE + key, rows[j]);
    }
}

/* The same with n elements, at the end of the head or of the tile; keys beyond the tile's count become zeros. */
INLINE void transpose_rest(dtype type, const attention_block *b, const key_range *t, int32_t key, int32_t i, int n)
{
    float all[VW][VW];

    for (int j = 0; j < VW; j++) {
        int64_t at = (int64_t)(key + j) * b->head_dim + i;
        bool real = key + j < t->count;
        v_store(all[j], real ? scaled(type, load_few_as(type, t->k, at, n), t->k_scales, key + j) : v_zero());
    }
    for (int e = 0; e < n; e++) {
        for (int j = 0; j < VW; j++) {
            b->k[(int64_t)(i + e) * KEY_TILE + key + j] = all[j][e];
        }
    }
}

INLINE void expand_keys(dtype type, const attention_block *b, const key_range *t)
{
    int32_t d = b->head_dim;

    for (int32_t key = 0; key < t->count; key += VW) {
        for (int32_t i = 0; i < d; i += VW) {
            if (key + VW <= t->count && i + VW <= d) {
                transpose_square(type, b, t, key, i);
            } else {
                transpose_rest(type, b, t, key, i, d - i < VW ? d - i : VW);
            }
        }
    }
}

static void expand(const attention_block *b, const key_range *t)
{
    switch (b->kv_type) {
    case DTYPE_F16:
        expand_keys(DTYPE_F16, b, t);
        expand_values(DTYPE_F16, b, t);
        break;
    case DTYPE_BF16:
        expand_keys(DTYPE_BF16, b, t);
        expand_values(DTYPE_BF16, b, t);
        break;
    case DTYPE_I8:
        expand_keys(DTYPE_I8, b, t);
        expand_values(DTYPE_I8, b, t);
        break;
    default:
        expand_keys(DTYPE_F32, b, t);
        expand_values(DTYPE_F32, b, t);
        break;
    }
}

/* --- scores to weights --- */

/* Raises a row's maximum to `high` and rescales its o and l. */
static void raise_maximum(const attention_block *b, int32_t row, float high)
{
    float *o = b->o + (int64_t)row * b->ld, *l = b->l + (int64_t)row * LANES_MAX;
    vec shrink = v_all(expf(b->m[row] - high)); /* 0 for the first keys, where m is -inf */

    for (int32_t i = 0; i < b->ld; i += VW) {
        v_store(o + i, v_mul(v_load(o + i), shrink));
    }
    v_store(l, v_mul(v_load(l), shrink));
    b->m[row] = high;
}

/* Replaces scores p[0, seen) of a row by exp(p - m), those up to the end of the n-th vector by 0; updates m, l and o. */
INLINE void weigh_vectors(const attention_block *b, int32_t row, float *p, int32_t seen, int n)
{
    vec high = v_all(-INFINITY);

    if (n * VW > seen) {
        float *last = p + (n - 1) * VW;
        v_store(last, v_first(v_load(last), seen - (n - 1) * VW, v_all(-INFINITY)));
    }
    UNROLL
    for (int i = 0; i < n; i++) {
        high = v_max(v_load(p + i * VW), high);
    }
    if (v_any_greater(high, v_all(b->m[row]))) {
        raise_maximum(b, row, v_highest(high));
    }
    /* A maximum of -inf is replaced by 0: -inf - -inf is never formed. */
    vec m = v_all(b->m[row] == -INFINITY ? 0.0f : b->m[row]), sum = v_zero();
    float *l = b->l + (int64_t)row * LANES_MAX;
    UNROLL
    for (int i = 0; i < n; i++) {
        vec e = v_exp_weight(v_sub(v_load(p + i * VW), m));
        sum = v_add(sum, e);
        v_store(p + i * VW, e);
    }
    v_store(l, v_add(v_load(l), sum));
}

/* Rows that see the same number of keys. */
static void weigh(const attention_block *b, int32_t row, int32_t rows, float *p, int32_t ldp, int32_t seen)
{
    if (seen == KEY_TILE) {
        for (int32_t i = 0; i < rows; i++) {
            weigh_vectors(b, row + i, p + i * ldp, KEY_TILE, KEY_TILE / VW);
        }
    } else {
        for (int32_t i = 0; i < rows; i++) {
            weigh_vectors(b, row + i, p + i * ldp, seen, (seen + VW - 1) / VW);
        }
    }
}

/* o of `rows` rows += weights of the first `n` keys times their values. */
INLINE void gather(const attention_block *b, int32_t row, int32_t rows, const float *p, int32_t n)
{
    float *o = b->o + (int64_t)row * b->ld;

    for (int32_t i = 0; i < b->ld; i += PANEL_MAX * VW) {
        int32_t left = (b->ld - i) / VW;
        multiply_add(rows, left < PANEL_MAX ? left : PANEL_MAX, p, KEY_TILE, b->v + i, b->ld, n, o + i, b->ld);
    }
}

/* Up to ROW_GRAIN rows over a converted tile. */
static void attend_rows(const attention_block *b, const key_range *t, int32_t row, int32_t rows)
{
    const float *q = b->q + (int64_t)row * b->ld;
    int32_t most = keys_seen(b, t, row + rows - 1), least = keys_seen(b, t, row);
    int32_t width = (most + VW - 1) / VW;

    for (int32_t i = 0; i < width; i += PANEL_MAX) {
        int32_t now = width - i < PANEL_MAX ? width - i : PANEL_MAX;
        multiply_set(rows, now, q, b->ld, b->k + i * VW, KEY_TILE, b->head_dim, b->p + i * VW, KEY_TILE);
    }
    if (least == most) {
        weigh(b, row, rows, b->p, KEY_TILE, most);
        gather(b, row, rows, b->p, most);
        return;
    }
    /* On the diagonal each query's rows stop at its own last key: a weight of 0 would not mask a value that is NaN. */
    for (int32_t i = 0, same; i < rows; i += same) {
        int32_t seen = keys_seen(b, t, row + i);
        for (same = 1; i + same < rows && keys_seen(b, t, row + i + same) == seen;) {
            same++;
        }
        if (seen) {
            weigh(b, row + i, same, b->p + i * KEY_TILE, KEY_TILE, seen);
            gather(b, row + i, same, b->p + i * KEY_TILE, seen);
        }
    }
}

/* --- few rows: unconverted keys and values, each read once --- */

/* Scores of R rows with VW keys from `key` on. Keys beyond the tile's count repeat the last one. */
INLINE void score_few(dtype type, int R, const attention_block *b, const key_range *t, const float *q, int32_t key, float *p)
{
    vec part[FEW_ROWS][VW / 4];

    for (int g = 0; g < VW / 4; g++) {
        vec sum[FEW_ROWS][4];
        int64_t at[4];
        UNROLL
        for (int j = 0; j < 4; j++) {
            int32_t k = key + 4 * g + j;
            at[j] = (int64_t)(k < t->count ? k : t->count - 1) * b->head_dim;
            UNROLL
            for (int r = 0; r < R; r++) {
                sum[r][j] = v_zero();
            }
        }
        for (int32_t i = 0; i < b->head_dim; i += VW) {
            vec k[4];
            UNROLL
            for (int j = 0; j < 4; j++) {
                k[j] = load_as(type, t->k, at[j] + i);
            }
            UNROLL
            for (int r = 0; r < R; r++) {
                vec a = v_load(q + r * b->ld + i);
                UNROLL
                for (int j = 0; j < 4; j++) {
                    sum[r][j] = v_fma(a, k[j], sum[r][j]);
                }
            }
        }
        UNROLL
        for (int r = 0; r < R; r++) {
            part[r][g] = v_sum_quad(sum[r][0], sum[r][1], sum[r][2], sum[r][3]);
        }
    }
    UNROLL
    for (int r = 0; r < R; r++) {
        v_store(p + r * KEY_RANGE, v_join_quads(part[r]));
    }
}

/* C vectors of o of R rows += weights of keys [first, end) times their values. */
INLINE void gather_few(dtype type, int R, int C, const attention_block *b, const key_range *t, float *o, int32_t i,
                       const float *p, int32_t first, int32_t end)
{
    vec sum[FEW_ROWS][PANEL_MAX];

    UNROLL
    for (int r = 0; r < R; r++) {
        UNROLL
        for (int c = 0; c < C; c++) {
            sum[r][c] = v_zero();
        }
    }
    for (int64_t key = first; key < end; key++) {
        vec v[PANEL_MAX];
        if (i == 0 && key % VW == 0) {
            prefetch(type, t->v, key * b->head_dim + ahead_of(type), (key + VW) * b->head_dim + ahead_of(type));
        }
        UNROLL
        for (int c = 0; c < C; c++) {
            v[c] = load_as(type, t->v, key * b->head_dim + i + c * VW);
        }
        UNROLL
        for (int r = 0; r < R; r++) {
            vec weight = v_all(p[r * KEY_RANGE + key]);
            UNROLL
            for (int c = 0; c < C; c++) {
                sum[r][c] = v_fma(weight, v[c], sum[r][c]);
            }
        }
    }
    UNROLL
    for (int r = 0; r < R; r++) {
        UNROLL
        for (int c = 0; c < C; c++) {
            float *to = o + r * b->ld + i + c * VW;
            v_store(to, v_add(v_load(to), sum[r][c]));
        }
    }
}

#define GATHER_WIDTH(R, C)                           \
    case C:                                          \
        gather_few(type, R, C, b, t, o, i, p, first, end); \
        break;

/* The whole o of R rows, tile by tile of keys, so that a tile's values stay cached for all panels. Weights of codes become
   those times the scales. */
INLINE void gather_all_few(dtype type, int R, const attention_block *b, const key_range *t, int32_t row, float *p, int32_t n)
{
    float *o = b->o + (int64_t)row * b->ld;

    for (int r = 0; type == DTYPE_I8 && r < R; r++) {
        scale_by_rows(p + r * KEY_RANGE, t->v_scales, n);
    }
    for (int32_t first = 0; first < n; first += KEY_TILE) {
        int32_t end = n - first < KEY_TILE ? n : first + KEY_TILE;
        for (int32_t i = 0; i < b->head_dim; i += PANEL_MAX * VW) {
            int32_t left = (b->head_dim - i) / VW;
            switch (left < PANEL_MAX ? left : PANEL_MAX) {
                PANEL_WIDTHS(GATHER_WIDTH, R)
            default:
                break;
            }
        }
    }
}

/* R rows over a tile. */
INLINE void attend_few(dtype type, int R, const attention_block *b, const key_range *t, int32_t row)
{
    int32_t most = keys_seen(b, t, row + R - 1), least = keys_seen(b, t, row);

    for (int32_t key = 0; key < most; key += VW) {
        int64_t at = (int64_t)key * b->head_dim + ahead_of(type);
        prefetch(type, t->k, at, at + VW * b->head_dim);
        score_few(type, R, b, t, b->q + (int64_t)row * b->ld, key, b->p + key);
    }
    for (int r = 0; type == DTYPE_I8 && r < R; r++) {
        scale_by_rows(b->p + r * KEY_RANGE, t->k_scales, most);
    }
    if (least == most) {
        weigh(b, row, R, b->p, KEY_RANGE, most);
        gather_all_few(type, R, b, t, row, b->p, most);
        return;
    }
    for (int r = 0; r < R; r++) {
        int32_t seen = keys_seen(b, t, row + r);
        if (seen) {
            weigh(b, row + r, 1, b->p + r * KEY_RANGE, KEY_RANGE, seen);
            gather_all_few(type, 1, b, t, row + r, b->p + r * KEY_RANGE, seen);
        }
    }
}

#define ATTEND_FEW(type)                      \
    switch (rows) {                           \
    case 1:                                   \
        attend_few(type, 1, b, t, row);       \
        break;                                \
    case 2:                                   \
        attend_few(type, 2, b, t, row);       \
        break;                                \
    case 3:                                   \
        attend_few(type, 3, b, t, row);       \
        break;                                \
    default:                                  \
        attend_few(type, 4, b, t, row);       \
        break;                                \
    }                                         \
    break;

static void attend_few_rows(const attention_block *b, const key_range *t, int32_t row, int32_t rows)
{
    switch (b->kv_type) {
    case DTYPE_F16:
        ATTEND_FEW(DTYPE_F16)
    case DTYPE_BF16:
        ATTEND_FEW(DTYPE_BF16)
    case DTYPE_I8:
        ATTEND_FEW(DTYPE_I8)
    default:
        ATTEND_FEW(DTYPE_F32)
    }
}

/* All rows over a tile, which is converted first. */
static void attend_tile(const attention_block *b, const key_range *t)
{
    int64_t elements = (int64_t)KEY_TILE * b->head_dim; /* of the next tile, prefetched during this one */

    expand(b, t);
    for (int32_t row = 0; row < b->rows; row += ROW_GRAIN) {
        int32_t rows = b->rows - row < ROW_GRAIN ? b->rows - row : ROW_GRAIN;
        int64_t from = elements + row * elements / b->rows, to = elements + (row + rows) * elements / b->rows;
        prefetch(b->kv_type, t->k, from, to);
        prefetch(b->kv_type, t->v, from, to);
        if (keys_seen(b, t, row + rows - 1)) {
            attend_rows(b, t, row, rows);
        }
    }
}

void SIMD_NAME(attend_keys)(const attention_block *b, const key_range *t)
{
    if (b->rows <= FEW_MOST && b->head_dim % VW == 0) {
        int32_t times = (b->rows + FEW_ROWS - 1) / FEW_ROWS;
        for (int32_t i = 0, row = 0, rows; i < times; i++, row += rows) {
            rows = (b->rows - row + times - i - 1) / (times - i); /* even shares */
            attend_few_rows(b, t, row, rows);
        }
        return;
    }
    size_t tile_bytes = dtype_row_bytes(b->kv_type, (int64_t)KEY_TILE * b->head_dim);
    for (int32_t from = 0; from < t->count; from += KEY_TILE) {
        size_t offset = tile_bytes * (size_t)(from / KEY_TILE);
        key_range tile = {
            .k = (const char *)t->k + offset,
            .v = (const char *)t->v + offset,
            .k_scales = t->k_scales ? t->k_scales + from : NULL,
            .v_scales = t->v_scales ? t->v_scales + from : NULL,
            .count = t->count - from < KEY_TILE ? t->count - from : KEY_TILE,
            .visible = t->visible - from,
        };
        attend_tile(b, &tile);
    }
}
