/* Operations on rows of numbers against double precision, for every kernel family, over odd lengths, alone and on the pool.
   Rests on device/cpu/cpu.h. */
#include "base/dtype.h"
#include "device/cpu/cpu.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const double UNIT = 1.1920928955078125e-7; /* of the last place of 1.0f */

static uint64_t seed = 1;

static uint32_t random_bits(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 32);
}

/* In [-size, size]. */
static float random_float(float size)
{
    return size * ((float)(random_bits() >> 8) / 8388608.0f - 1);
}

static float *random_floats(int64_t n, float size)
{
    float *x = malloc((size_t)n * sizeof *x + 1);

    assert_non_null(x);
    for (int64_t i = 0; i < n; i++) {
        x[i] = random_float(size);
    }
    return x;
}

static float *copy_of(const float *x, int64_t n)
{
    float *copy = malloc((size_t)n * sizeof *copy + 1);

    assert_non_null(copy);
    memcpy(copy, x, (size_t)n * sizeof *copy);
    return copy;
}

static void assert_close(float got, double want, double bound)
{
    assert_true(fabs((double)got - want) <= bound);
}

static void for_every_family(void (*check)(device *dev))
{
    for (cpu_isa isa = CPU_SCALAR; isa <= cpu_isa_best(); isa++) {
        device *dev;
        assert_int_equal(cpu_device_open(2, isa, &dev), LARIAT_OK);
        seed = 1;
        check(dev);
        dev->ops->close(dev);
    }
}

/* Odd sizes, and some large enough for the pool. */
static const int64_t widths[] = {1, 2, 7, 8, 15, 16, 17, 31, 33, 63, 64, 100, 576, 1531};
static const int64_t heights[] = {0, 1, 3, 70};

enum { WIDTHS = sizeof widths / sizeof *widths, HEIGHTS = sizeof heights / sizeof *heights };

/* --- rms_norm --- */

static void check_norm_row(const float *out, const float *x, const float *weight, double eps, int64_t d)
{
    double sum = 0;

    for (int64_t i = 0; i < d; i++) {
        sum += (double)x[i] * (double)x[i];
    }
    for (int64_t i = 0; i < d; i++) {
        double want = (double)x[i] / sqrt(sum / (double)d + eps) * (double)weight[i];
        assert_close(out[i], want, 4 * UNIT * fabs(want));
    }
}

static void check_rms_norm(device *dev)
{
    for (int k = 0; k < WIDTHS * HEIGHTS; k++) {
        int64_t d = widths[k / HEIGHTS], n = heights[k % HEIGHTS];
        float *x = random_floats(n * d, 3), *weight = random_floats(d, 2), *out = random_floats(n * d, 1);
        dev->ops->rms_norm(dev, out, x, weight, 1e-5f, n, d);
        for (int64_t t = 0; t < n; t++) {
            check_norm_row(out + t * d, x + t * d, weight, (double)1e-5f, d);
        }
        free(x);
        free(weight);
        free(out);
    }
}

static void rms_norm_divides_by_the_root_of_the_mean_square(void **state)
{
    (void)state;
    for_every_family(check_rms_norm);
}

static void check_norm_of_zero(device *dev)
{
    float x[20] = {0}, weight[20], out[20];

    for (int i = 0; i < 20; i++) {
        weight[i] = 1;
    }
    dev->ops->rms_norm(dev, out, x, weight, 1e-6f, 1, 20);
    for (int i = 0; i < 20; i++) {
        assert_true(out[i] == 0);
    }
    x[19] = NAN;
    dev->ops->rms_norm(dev, out, x, weight, 1e-6f, 1, 20);
    for (int i = 0; i < 20; i++) {
        assert_true(isnan(out[i]));
    }
}

static void rms_norm_of_zeros_is_zero_and_of_nan_is_nan(void **state)
{
    (void)state;
    for_every_family(check_norm_of_zero);
}

/* --- rope --- */

static void check_angles(device *dev)
{
    enum { N = 300, HALF = 24 };
    int64_t positions[N];
    float inv_freq[HALF], *c = random_floats(N * HALF, 1), *s = random_floats(N * HALF, 1);

    for (int t = 0; t < N; t++) {
        positions[t] = t < 10 ? t : (int64_t)(random_bits() % 1000000);
    }
    for (int i = 0; i < HALF; i++) {
        inv_freq[i] = powf(10000.0f, -(float)i / (float)HALF);
    }
    dev->ops->rope_angles(dev, c, s, positions, N, inv_freq, HALF, 0.75f);
    for (int t = 0; t < N; t++) {
        for (int i = 0; i < HALF; i++) {
            /* The product is rounded to float32, as Hugging Face does; nothing else is. */
            volatile float angle = (float)positions[t] * inv_freq[i];
            assert_close(c[t * HALF + i], 0.75 * cos((double)angle), UNIT);
            assert_close(s[t * HALF + i], 0.75 * sin((double)angle), UNIT);
        }
    }
    free(c);
    free(s);
}

static void angles_are_products_in_float32(void **state)
{
    (void)state;
    for_every_family(check_angles);
}

static void check_rotated_head(const float *x, const float *old, const float *c, const float *s, int64_t half, rope_style style)
{
    for (int64_t i = 0; i < half; i++) {
        int64_t a = style == ROPE_HALVES ? i : 2 * i, b = style == ROPE_HALVES ? i + half : 2 * i + 1;
        double turned_a = (double)old[a] * (double)c[i] - (double)old[b] * (double)s[i];
        double turned_b = (double)old[b] * (double)c[i] + (double)old[a] * (double)s[i];
        double bound = 2 * UNIT * (fabs((double)old[a]) + fabs((double)old[b]));
        assert_close(x[a], turned_a, bound);
        assert_close(x[b], turned_b, bound);
    }
}

static void check_rope(device *dev)
{
    static const int32_t dims[] = {2, 6, 16, 18, 32, 48, 64, 80, 96, 100, 128, 256};
    enum { DIMS = sizeof dims / sizeof *dims };

    for (int k = 0; k < 2 * DIMS * HEIGHTS; k++) {
        rope_style style = k % 2 ? ROPE_HALVES : ROPE_PAIRS;
        int32_t dim = dims[k / 2 % DIMS], heads = 1 + k % 5;
        int64_t n = heights[k / 2 / DIMS], half = dim / 2, ldx = (int64_t)heads * dim + 3;
        float *x = random_floats(n * ldx, 4), *old = copy_of(x, n * ldx);
        float *c = random_floats(n * half, 1), *s = random_floats(n * half, 1);
        const rotation rows = {.x = x, .ld = ldx, .heads = heads, .dims = dim, .cos = c, .sin = s, .style = style};
        dev->ops->rope(dev, &rows, n, dim);
        for (int64_t t = 0; t < n; t++) {
            for (int32_t h = 0; h < heads; h++) {
                int64_t at = t * ldx + (int64_t)h * dim;
                check_rotated_head(x + at, old + at, c + t * half, s + t * half, half, style);
            }
            assert_memory_equal(x + t * ldx + ldx - 3, old + t * ldx + ldx - 3, 3 * sizeof(float));
        }
        free(x);
        free(old);
        free(c);
        free(s);
    }
}

static void rope_rotates_pairs_in_both_styles(void **state)
{
    (void)state;
    for_every_family(check_rope);
}

/* --- norms with their neighbours --- */

static void check_rms_norm_add(device *dev)
{
    for (int k = 0; k < WIDTHS * HEIGHTS; k++) {
        int64_t d = widths[k / HEIGHTS], n = heights[k % HEIGHTS];
        float *x = random_floats(n * d, 3), *old = copy_of(x, n * d), *y = random_floats(n * d, 2);
        float *weight = random_floats(d, 1), *norm = random_floats(n * d, 1);
        dev->ops->rms_norm(dev, norm, y, weight, 1e-5f, n, d);
        dev->ops->rms_norm_add(dev, x, y, weight, 1e-5f, n, d);
        for (int64_t i = 0; i < n * d; i++) {
            double want = (double)old[i] + (double)norm[i];
            assert_close(x[i], want, UNIT * (fabs((double)old[i]) + 2 * fabs((double)norm[i])));
        }
        free(x);
        free(old);
        free(y);
        free(weight);
        free(norm);
    }
}

static void a_norm_that_is_added_is_the_norm_and_the_sum(void **state)
{
    (void)state;
    for_every_family(check_rms_norm_add);
}

/* Against rms_norm of dense copies and a rotation of heads that are no longer than what is rotated. */
static void check_norm_and_rope(device *dev)
{
    enum { N = 5, QUERIES = 3, KEYS = 2, HEADS = QUERIES + KEYS, D = 24, LD = HEADS * D + 3 };

    for (int k = 0; k < 16; k++) {
        int dims = k % 2 ? D : 18, half = dims / 2;
        bool whole = k & 2, norm = k & 4, rotated = k & 8;
        float *x = random_floats(N * LD, 3), *want = copy_of(x, N * LD);
        float *weight = random_floats(HEADS * D, 1), *c = random_floats(N * half, 1), *s = random_floats(N * half, 1);
        const float *k_norm = weight + (whole ? QUERIES * D : D);
        rotation rows = {.x = x, .ld = LD, .heads = HEADS, .kv_heads = KEYS, .dims = dims, .cos = rotated ? c : NULL, .sin = s,
                         .style = k % 3 ? ROPE_HALVES : ROPE_PAIRS, .q_norm = norm ? weight : NULL,
                         .k_norm = norm ? k_norm : NULL, .eps = 1e-5f, .whole = norm && whole};
        dev->ops->rope(dev, &rows, N, D);
        for (int t = 0; t < N; t++) {
            float *row = want + t * LD;
            for (int h = 0; h < HEADS && norm; h += whole ? (h < QUERIES ? QUERIES : KEYS) : 1) {
                int64_t width = !whole ? D : h < QUERIES ? QUERIES * D : KEYS * D;
                dev->ops->rms_norm(dev, row + h * D, row + h * D, h < QUERIES ? weight : k_norm, 1e-5f, 1, width);
            }
            for (int h = 0; h < HEADS && rotated; h++) {
                rotation head = {.x = row + h * D, .ld = LD, .heads = 1, .dims = dims, .cos = c + t * half, .sin = s + t * half,
                                 .style = rows.style};
                dev->ops->rope(dev, &head, 1, dims);
            }
        }
        assert_memory_equal(x, want, N * LD * sizeof *x);
        free(x);
        free(want);
        free(weight);
        free(c);
        free(s);
    }
}

static void normalised_and_partly_rotated_heads_are_norms_and_rotations(void **state)
{
    (void)state;
    for_every_family(check_norm_and_rope);
}

static void check_second_frequencies(device *dev)
{
    enum { N = 4, HALF = 5 };
    const int64_t positions[N] = {3, -1 - 3, 0, -1 - 70000}, plain[N] = {3, 3, 0, 70000};
    float *inv_freq = random_floats(2 * HALF, 1), *c = random_floats(6 * N * HALF, 1);

    dev->ops->rope_angles(dev, c, c + N * HALF, positions, N, inv_freq, HALF, 0.75f);
    for (int second = 0; second < 2; second++) {
        float *want = c + (2 + 2 * second) * N * HALF;
        dev->ops->rope_angles(dev, want, want + N * HALF, plain, N, inv_freq + second * HALF, HALF, 0.75f);
        for (int t = second; t < N; t += 2) {
            assert_memory_equal(c + t * HALF, want + t * HALF, HALF * sizeof *c);
            assert_memory_equal(c + (N + t) * HALF, want + (N + t) * HALF, HALF * sizeof *c);
        }
    }
    free(inv_freq);
    free(c);
}

static void negative_positions_have_the_second_frequencies(void **state)
{
    (void)state;
    for_every_family(check_second_frequencies);
}

/* --- kv_store --- */

/* Ordinary numbers, ties between two 16-bit neighbours, and the edges of the range. */
static float number_to_store(int64_t i)
{
    static const float edges[] = {0.0f,      -0.0f,          65504.0f,       65519.9f,    65520.0f,   1e30f,
                                  3.4e38f,   6e-8f,          2.9e-8f,        2.98e-8f,    1e-40f,     INFINITY,
                                  -INFINITY, 1.00048828125f, 1.00146484375f, 1.00390625f, 1.01171875f};
    int64_t n = sizeof edges / sizeof *edges;

    return i < n ? edges[i] : random_float(i % 3 ? 4.0f : 1e-4f);
}

static void check_stored(const void *cache, dtype type, int64_t at, float x)
{
    if (type == DTYPE_F32) {
        assert_memory_equal((const float *)cache + at, &x, sizeof x);
    } else {
        uint16_t got = ((const uint16_t *)cache)[at];
        assert_int_equal(got, type == DTYPE_F16 ? f32_to_f16(x) : f32_to_bf16(x));
    }
}

static void check_kv_store(device *dev)
{
    static const int32_t dims[] = {1, 7, 16, 23, 64, 100};
    static const dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16};

    for (int k = 0; k < 6 * 3 * 3; k++) {
        int32_t dim = dims[k % 6], heads = 3;
        dtype type = types[k / 6 % 3];
        int64_t n = heights[1 + k / 18], slot = 5, stride = slot + n + 2, ldx = heads * dim + 1, skipped = k % (n + 1);
        size_t bytes = dtype_row_bytes(type, heads * stride * dim);
        float *x = random_floats(n * ldx, 1);
        unsigned char *cache = malloc(bytes);
        int64_t *slots = malloc((size_t)n * sizeof *slots);
        assert_true(cache && slots);
        for (int64_t t = 0; t < n; t++) {
            slots[t] = t == skipped ? -1 : slot + n - 1 - t; /* in any order */
        }
        memset(cache, 0x5a, bytes);
        for (int64_t i = 0; i < n * ldx; i++) {
            x[i] = number_to_store(i);
        }
        dev->ops->kv_store(dev, cache, NULL, type, stride, slots, x, ldx, n, heads, dim);
        for (int64_t i = 0; i < heads * stride * dim; i++) {
            int64_t g = i / dim / stride, t = slot + n - 1 - i / dim % stride;
            if (t >= 0 && t < n && t != skipped) {
                check_stored(cache, type, i, x[t * ldx + g * dim + i % dim]);
            } else {
                for (size_t j = 0; j < dtype_row_bytes(type, 1); j++) {
                    assert_int_equal(cache[(size_t)i * dtype_row_bytes(type, 1) + j], 0x5a);
                }
            }
        }
        free(x);
        free(slots);
        free(cache);
    }
}

static void stored_keys_are_rounded_to_nearest_even_and_lie_by_head(void **state)
{
    (void)state;
    for_every_family(check_kv_store);
}

/* Rows of codes: what the definition in device.h says of each, computed in double precision. */
static void check_codes(device *dev)
{
    static const int32_t dims[] = {1, 7, 16, 23, 64, 100, 128};
    enum { ROWS = 9, HEADS = 2, STRIDE = 12 };
    static const float sizes[ROWS] = {1, 100, 1e-29f, 1e-31f, 0, 1e37f, 3e-5f, 1, 1};

    for (size_t k = 0; k < sizeof dims / sizeof *dims; k++) {
        int32_t dim = dims[k];
        int64_t ldx = HEADS * dim + 3, slots[ROWS] = {4, 3, 2, 11, 9, 10, -1, 0, 1};
        float *x = random_floats(ROWS * ldx, 1), scales[HEADS * STRIDE];
        int8_t *codes = malloc((size_t)(HEADS * STRIDE * dim));
        assert_non_null(codes);
        memset(codes, 0x5a, (size_t)(HEADS * STRIDE * dim));
        memset(scales, 0x5a, sizeof scales);
        for (int64_t i = 0; i < ROWS * ldx; i++) {
            x[i] *= sizes[i / ldx];
        }
        x[7 * ldx + dim - 1] = INFINITY; /* of the first head */
        x[8 * ldx + dim] = NAN;          /* of the second */
        dev->ops->kv_store(dev, codes, scales, DTYPE_I8, STRIDE, slots, x, ldx, ROWS, HEADS, dim);
        for (int64_t i = 0; i < ROWS * HEADS; i++) {
            int64_t t = i / HEADS, g = i % HEADS, at = g * STRIDE + slots[t];
            const float *row = x + t * ldx + g * dim;
            double most = 0;
            bool finite = true;
            for (int32_t j = 0; j < dim; j++) {
                finite = finite && isfinite(row[j]);
                most = fmax(most, fabs((double)row[j]));
            }
            if (slots[t] < 0) {
                continue;
            }
            assert_true(finite ? scales[at] == (most < 1e-30 ? 0 : (float)(most / 127)) : isnan(scales[at]));
            for (int32_t j = 0; j < dim; j++) {
                double exact = !finite || most < 1e-30 ? 0 : (double)row[j] * 127 / most, code = codes[at * dim + j];
                assert_true(fabs(code - exact) <= 0.5 + 3e-5 && fabs(code) <= 127);
            }
        }
        for (int64_t at = 5; at < STRIDE + 9; at += at == 8 ? 9 : 1) { /* slots that no row has */
            for (int32_t j = 0; j < dim; j++) {
                assert_int_equal(codes[at * dim + j], 0x5a);
            }
        }
        free(x);
        free(codes);
    }
}

static void codes_of_eight_bits_are_within_half_a_step_of_the_row_s_largest_magnitude(void **state)
{
    (void)state;
    for_every_family(check_codes);
}

/* The scalar version's codes and scales are those of every family. */
static void codes_are_the_same_bits_in_every_family(void **state)
{
    enum { ROWS = 500, DIM = 72 };
    static int8_t codes[CPU_BEST][ROWS * DIM];
    static float scales[CPU_BEST][ROWS];
    int64_t slots[ROWS];
    float *x = random_floats(ROWS * DIM, 3);

    (void)state;
    for (int64_t t = 0; t < ROWS; t++) {
        slots[t] = t;
    }
    for (cpu_isa isa = CPU_SCALAR; isa <= cpu_isa_best(); isa++) {
        device *dev;
        assert_int_equal(cpu_device_open(1, isa, &dev), LARIAT_OK);
        dev->ops->kv_store(dev, codes[isa], scales[isa], DTYPE_I8, ROWS, slots, x, DIM, ROWS, 1, DIM);
        assert_memory_equal(codes[isa], codes[CPU_SCALAR], sizeof codes[isa]);
        assert_memory_equal(scales[isa], scales[CPU_SCALAR], sizeof scales[isa]);
        dev->ops->close(dev);
    }
    free(x);
}

static void check_stored_nan(device *dev)
{
    static const uint32_t nans[] = {0x7fc00000u, 0xffc00000u, 0x7f800001u, 0x7fffffffu, 0xffffffffu, 0x7f80ffffu};
    float x[20];
    uint16_t cache[20];
    const int64_t slot = 0;

    for (int i = 0; i < 20; i++) {
        memcpy(&x[i], &nans[i % 6], sizeof x[i]);
    }
    dev->ops->kv_store(dev, cache, NULL, DTYPE_F16, 1, &slot, x, 20, 1, 1, 20);
    for (int i = 0; i < 20; i++) {
        assert_true(isnan(f16_to_f32(cache[i])));
    }
    dev->ops->kv_store(dev, cache, NULL, DTYPE_BF16, 1, &slot, x, 20, 1, 1, 20);
    for (int i = 0; i < 20; i++) {
        assert_true(isnan(bf16_to_f32(cache[i])));
    }
}

static void a_stored_nan_stays_nan(void **state)
{
    (void)state;
    for_every_family(check_stored_nan);
}

/* --- silu_mul, gelu_mul --- */

static void check_silu_mul(device *dev)
{
    for (int k = 0; k < WIDTHS * HEIGHTS; k++) {
        int64_t d = widths[k / HEIGHTS], n = heights[k % HEIGHTS], ldg = d + 2, ldu = d + 1;
        float *g = random_floats(n * ldg, k % 2 ? 90.0f : 6.0f), *u = random_floats(n * ldu, 2), *old = copy_of(g, n * ldg);
        dev->ops->silu_mul(dev, g, ldg, u, ldu, n, d);
        for (int64_t t = 0; t < n; t++) {
            for (int64_t i = 0; i < d; i++) {
                double x = (double)old[t * ldg + i], want = x / (1 + exp(-x)) * (double)u[t * ldu + i];
                /* Below 1e-36 the exponential's own range ends. */
                assert_close(g[t * ldg + i], want, 4 * UNIT * fabs(want) + 1e-36);
            }
            assert_memory_equal(g + t * ldg + d, old + t * ldg + d, 2 * sizeof(float));
        }
        free(g);
        free(u);
        free(old);
    }
}

static void check_gelu_mul(device *dev)
{
    for (int k = 0; k < WIDTHS * HEIGHTS; k++) {
        int64_t d = widths[k / HEIGHTS], n = heights[k % HEIGHTS], ldg = d + 2, ldu = d + 1;
        float *g = random_floats(n * ldg, k % 2 ? 30.0f : 4.0f), *u = random_floats(n * ldu, 2), *old = copy_of(g, n * ldg);
        dev->ops->gelu_mul(dev, g, ldg, u, ldu, n, d);
        for (int64_t t = 0; t < n; t++) {
            for (int64_t i = 0; i < d; i++) {
                double x = (double)old[t * ldg + i], z = sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x);
                double want = x * (0.5 + 0.5 * tanh(z)) * (double)u[t * ldu + i];
                /* An exponent in float32 is off by its own rounding; below 0, 1 + tanh cancels in the formula above. */
                double bound = (8 + 8 * fabs(z)) * UNIT * fabs(want) + 4e-16 * fabs(x * (double)u[t * ldu + i]) + 1e-36;
                assert_close(g[t * ldg + i], want, bound);
            }
            assert_memory_equal(g + t * ldg + d, old + t * ldg + d, 2 * sizeof(float));
        }
        free(g);
        free(u);
        free(old);
    }
}

static void gelu_mul_agrees_with_double_precision(void **state)
{
    (void)state;
    for_every_family(check_gelu_mul);
}

static void silu_mul_agrees_with_double_precision(void **state)
{
    (void)state;
    for_every_family(check_silu_mul);
}

static void check_silu_of_extremes(device *dev)
{
    static const float x[] = {-INFINITY, -1e30f, -1000, -104, -89, -88, 0, 88, 1000, 1e30f, INFINITY, NAN};
    enum { N = sizeof x / sizeof *x };
    float g[N + 16] = {0}, u[N + 16];

    for (int i = 0; i < N + 16; i++) {
        u[i] = 1;
    }
    memcpy(g, x, sizeof x);
    dev->ops->silu_mul(dev, g, N + 16, u, N + 16, 1, N + 16);
    for (int i = 1; i < 6; i++) {
        assert_close(g[i], 0, 1e-36);
    }
    assert_true(g[6] == 0 && g[7] == 88 && g[8] == 1000 && g[9] == 1e30f && isinf(g[10]) && isnan(g[11]));
}

static void silu_of_large_numbers_is_the_number_or_nothing(void **state)
{
    (void)state;
    for_every_family(check_silu_of_extremes);
}

/* --- copy --- */

static void rows_are_copied_or_added_and_nothing_beside_them(void **state)
{
    device *dev;
    float y[3 * 5], x[3 * 4];
    uint16_t halves[3 * 5] = {0};

    (void)state;
    assert_int_equal(cpu_device_open(1, CPU_BEST, &dev), LARIAT_OK);
    for (int i = 0; i < 15; i++) {
        y[i] = (float)i;
    }
    for (int i = 0; i < 12; i++) {
        x[i] = (float)(100 * (i + 1));
    }
    dev->ops->copy(dev, DTYPE_F32, y + 1, 5, x, 4, 3, 2, false);
    dev->ops->copy(dev, DTYPE_F32, y + 3, 5, x + 3, 4, 3, 1, true);
    dev->ops->copy(dev, DTYPE_F16, halves + 2, 5, x, 4, 3, 2, false); /* as they are: a row of x is two floats */
    for (int t = 0; t < 3; t++) {
        assert_true(y[5 * t] == (float)(5 * t) && y[5 * t + 4] == (float)(5 * t + 4));
        assert_true(y[5 * t + 1] == x[4 * t] && y[5 * t + 2] == x[4 * t + 1]);
        assert_true(y[5 * t + 3] == (float)(5 * t + 3) + x[4 * t + 3]);
        assert_memory_equal(&halves[5 * t + 2], &x[2 * t], sizeof *x);
        assert_true(halves[5 * t] == 0 && halves[5 * t + 1] == 0 && halves[5 * t + 4] == 0);
    }
    dev->ops->close(dev);
}

/* --- the device --- */

static void bits_do_not_depend_on_the_number_of_threads(void **state)
{
    enum { N = 200, D = 333 };
    float *x = random_floats(N * D, 3), *weight = random_floats(D, 1), *first = NULL;

    (void)state;
    for (int threads = 1; threads <= 4; threads++) {
        device *dev;
        assert_int_equal(cpu_device_open(threads, CPU_BEST, &dev), LARIAT_OK);
        float *y = random_floats(N * D, 1);
        dev->ops->rms_norm(dev, y, x, weight, 1e-5f, N, D);
        dev->ops->silu_mul(dev, y, D, x, D, N, D);
        dev->ops->rope(dev, &(rotation){.x = y, .ld = D, .heads = 3, .dims = 110, .cos = x, .sin = x + 1}, N, 110);
        if (first) {
            assert_memory_equal(y, first, N * D * sizeof(float));
            free(y);
        } else {
            first = y;
        }
        dev->ops->close(dev);
    }
    free(first);
    free(weight);
    free(x);
}

static void a_family_that_the_machine_lacks_is_refused(void **state)
{
    device *dev = NULL;

    (void)state;
    for (cpu_isa isa = CPU_SCALAR; isa < CPU_BEST; isa++) {
        bool has = isa <= cpu_isa_best();
        assert_int_equal(cpu_device_open(1, isa, &dev), has ? LARIAT_OK : LARIAT_UNSUPPORTED);
        if (has) {
            dev->ops->close(dev);
        } else {
            assert_non_null(strstr(lariat_error(), cpu_isa_name(isa)));
        }
    }
    assert_int_equal(cpu_device_open(0, CPU_BEST, &dev), LARIAT_BAD_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rms_norm_divides_by_the_root_of_the_mean_square),
        cmocka_unit_test(rms_norm_of_zeros_is_zero_and_of_nan_is_nan),
        cmocka_unit_test(angles_are_products_in_float32),
        cmocka_unit_test(rope_rotates_pairs_in_both_styles),
        cmocka_unit_test(stored_keys_are_rounded_to_nearest_even_and_lie_by_head),
        cmocka_unit_test(codes_of_eight_bits_are_within_half_a_step_of_the_row_s_largest_magnitude),
        cmocka_unit_test(codes_are_the_same_bits_in_every_family),
        cmocka_unit_test(a_stored_nan_stays_nan),
        cmocka_unit_test(silu_mul_agrees_with_double_precision),
        cmocka_unit_test(gelu_mul_agrees_with_double_precision),
        cmocka_unit_test(a_norm_that_is_added_is_the_norm_and_the_sum),
        cmocka_unit_test(normalised_and_partly_rotated_heads_are_norms_and_rotations),
        cmocka_unit_test(negative_positions_have_the_second_frequencies),
        cmocka_unit_test(silu_of_large_numbers_is_the_number_or_nothing),
        cmocka_unit_test(rows_are_copied_or_added_and_nothing_beside_them),
        cmocka_unit_test(bits_do_not_depend_on_the_number_of_threads),
        cmocka_unit_test(a_family_that_the_machine_lacks_is_refused),
    };

    return cmocka_run_group_tests_name("device/elementwise", tests, NULL, NULL);
}
