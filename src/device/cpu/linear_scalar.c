/* Linear layers without SIMD instructions: the definition of dot products and tiles, in plain C.
   Rests on unpack_scalar.c. linear_simd.h is the same with vectors.

   Budget: 2 operations a weight and row of x; several partial sums, so that compilers can use the baseline's 4-wide
   instructions. */
#include "device/cpu/linear_kernels.h"

enum { LANES = 16, TILE = 4 };

/* LANES partial sums, added up at the end: less rounding error than one sum. */
static float dot_span(const float *w, const float *x, int64_t count)
{
    float sum[LANES] = {0};
    int64_t c = 0;

    for (; c + LANES <= count; c += LANES) {
        for (int i = 0; i < LANES; i++) {
            sum[i] += w[c + i] * x[c + i];
        }
    }
    for (int i = 0; c + i < count; i++) {
        sum[i] += w[c + i] * x[c + i];
    }
    for (int step = LANES / 2; step > 0; step /= 2) {
        for (int i = 0; i < step; i++) {
            sum[i] += sum[i + step];
        }
    }
    return sum[0];
}

static void dot(const dot_task *a)
{
    for (int64_t r = 0; r < a->rows; r++) {
        const unsigned char *row = a->w + (size_t)r * a->row_bytes;
        float sum[DOT_MAX] = {0};
        for (int64_t c = 0; c < a->cols; c += SPAN) {
            int64_t count = a->cols - c < SPAN ? a->cols - c : SPAN;
            float w[SPAN];
            unpack_scalar[a->type](row + dtype_row_bytes(a->type, c), count, w);
            for (int64_t t = 0; t < a->n; t++) {
                sum[t] += dot_span(w, a->x + t * a->ldx + c, count);
            }
        }
        for (int64_t t = 0; t < a->n; t++) {
            float *y = a->y + t * a->ldy + r;
            float v = sum[t] + (a->bias ? a->bias[r] : 0.0f);
            *y = a->add ? *y + v : v;
        }
    }
}

static void interleave(const float *rows, int64_t depth, float *strip)
{
    for (int64_t k = 0; k < depth; k++) {
        for (int r = 0; r < LANES; r++) {
            strip[k * LANES + r] = rows[r * SPAN + k];
        }
    }
}

static void multiply(const tile_task *a)
{
    float sum[TILE][LANES] = {{0}};

    for (int64_t k = 0; k < a->depth; k++) {
        const float *w = a->strip + k * LANES;
        for (int t = 0; t < a->x_rows; t++) {
            float x = a->x[t * TILE_STRIDE + k];
            for (int r = 0; r < LANES; r++) {
                sum[t][r] += x * w[r];
            }
        }
    }
    for (int t = 0; t < a->x_rows; t++) {
        for (int r = 0; r < a->w_rows; r++) {
            float *y = a->y + t * a->ldy + r;
            float v = sum[t][r] + (a->bias ? a->bias[r] : 0.0f);
            *y = a->add ? *y + v : v;
        }
    }
}

const linear_kernels linear_scalar = {
    .strip = LANES,
    .tile = TILE,
    .unpack = unpack_scalar,
    .dot = {dot, dot, dot, dot, dot, dot, dot, dot, dot, dot, dot, dot, dot, dot},
    .interleave = interleave,
    .multiply = multiply,
};
