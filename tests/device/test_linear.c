/* Linear layers and embeddings of every stored type and kernel family against sums in double precision, over matrices that end
   where the memory ends; and that bits do not depend on threads, slices or company.
   Rests on device/cpu/cpu.h; what the stored types mean is test_unpack.c's concern. */
#include "device/cpu/cpu.h"
#include "device/cpu/linear_kernels.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "device/random_matrix.h"

/* Every shape in turn: rows of weights, columns (in blocks, or elements where they are plain), rows of x. */
typedef struct shape {
    int64_t rows, blocks, n;
} shape;

static int64_t columns(dtype type, int64_t blocks)
{
    int64_t each = dtype_block_elements(type);

    return each == 1 ? blocks * 37 % 800 + 1 : blocks * each;
}

static float *guarded_floats(int64_t n)
{
    float *p = guarded_alloc((size_t)n * sizeof *p);

    assert_non_null(p);
    for (int64_t i = 0; i < n; i++) {
        p[i] = random_float();
    }
    return p;
}

static void free_floats(float *p, int64_t n)
{
    guarded_free(p, (size_t)n * sizeof *p);
}

static void free_matrix(const matrix *w)
{
    guarded_free((void *)(uintptr_t)w->data, (size_t)w->rows * w->row_bytes);
}

/* The values of a row, by the definition. */
static void row_values(const matrix *w, int64_t row, float *out)
{
    const unsigned char *p = (const unsigned char *)w->data + (size_t)row * w->row_bytes;

    for (int64_t c = 0; c < w->cols; c += SPAN) {
        unpack_scalar[w->type](p + dtype_row_bytes(w->type, c), w->cols - c < SPAN ? w->cols - c : SPAN, out + c);
    }
}

static device *open_cpu(int threads, cpu_isa isa)
{
    device *dev;

    assert_int_equal(cpu_device_open(threads, isa, &dev), LARIAT_OK);
    return dev;
}

/* Against the sum in double precision. fp32 sums of `cols` products in several chains, each product exact: half a unit a step
   of the longest chain, a few more at its end. */
static void check_job(const linear_job *job, const float *before, const float *x, int64_t ldx, int64_t n)
{
    const matrix *w = job->w;
    float *values = malloc((size_t)w->cols * sizeof *values);

    assert_non_null(values);
    for (int64_t r = 0; r < job->rows; r++) {
        row_values(w, job->row0 + r, values);
        for (int64_t t = 0; t < n; t++) {
            double sum = 0, size = 0;
            for (int64_t c = 0; c < w->cols; c++) {
                double product = (double)values[c] * (double)x[t * ldx + c];
                sum += product;
                size += fabs(product);
            }
            if (job->bias) {
                sum += (double)job->bias[job->row0 + r];
                size += fabs((double)job->bias[job->row0 + r]);
            }
            if (job->add) {
                sum += (double)before[t * job->ldy + r];
                size += fabs((double)before[t * job->ldy + r]);
            }
            double error = fabs(sum - (double)((const float *)job->y)[t * job->ldy + r]);
            if (!(error <= 2e-6 * size + 1e-30)) {
                fail_msg("%s [%lld, %lld], n %lld: y[%lld, %lld] is off by %g of %g", dtype_name(w->type), (long long)w->rows,
                         (long long)w->cols, (long long)n, (long long)t, (long long)r, error, size);
            }
        }
    }
    free(values);
}

/* One call with a job that takes some of the rows, with or without bias and add, y wider than the rows. */
static void check_shape(device *dev, dtype type, shape s, int variant)
{
    matrix w = random_matrix(type, s.rows, columns(type, s.blocks));
    assert_non_null(w.data);
    int64_t row0 = variant % 3 == 1 ? s.rows / 3 : 0;
    int64_t rows = variant % 3 == 2 ? s.rows - s.rows / 4 : s.rows - row0;
    int64_t ldx = w.cols + (variant % 2 ? 5 : 0), ldy = rows + (variant % 2 ? 3 : 0);
    int64_t x_size = (s.n - 1) * ldx + w.cols, y_size = (s.n - 1) * ldy + rows;
    float *x = guarded_floats(x_size), *y = guarded_floats(y_size), *bias = guarded_floats(s.rows);
    float *before = malloc((size_t)y_size * sizeof *before);

    assert_non_null(before);
    memcpy(before, y, (size_t)y_size * sizeof *y);
    linear_job job = {&w, row0, rows, 0, 0, variant % 4 < 2 ? bias : NULL, DTYPE_F32, y, ldy, variant % 5 < 2};
    dev->ops->linear(dev, x, ldx, s.n, &job, 1);
    check_job(&job, before, x, ldx, s.n);
    for (int64_t t = 0; t + 1 < s.n; t++) { /* between the rows of y nothing is touched */
        assert_memory_equal(y + t * ldy + rows, before + t * ldy + rows, (size_t)(ldy - rows) * sizeof *y);
    }
    free(before);
    free_floats(x, x_size);
    free_floats(y, y_size);
    free_floats(bias, s.rows);
    free_matrix(&w);
}

static void check_family(cpu_isa isa)
{
    static const int64_t row_counts[] = {1, 2, 3, 7, 16, 17, 33, 100};
    static const int64_t block_counts[] = {1, 2, 3, 8, 9, 18, 19};
    static const int64_t x_counts[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 31, 64, 130};

    if (isa > cpu_isa_best()) {
        print_message("skipped: this processor, or this build, has no kernels for %s\n", cpu_isa_name(isa));
        skip();
    }
    device *dev = open_cpu(2, isa);
    int variant = 0;
    for (int type = 0; type < WEIGHT_TYPES; type++) {
        for (int n = 0; n < 15; n++) {
            for (int r = 0; r < 8; r++) {
                int64_t blocks = block_counts[variant % 7];
                if (dtype_block_elements((dtype)type) == 256 && blocks > 3) {
                    blocks = 2;
                }
                check_shape(dev, (dtype)type, (shape){row_counts[r], blocks, x_counts[n]}, variant++);
            }
        }
    }
    dev->ops->close(dev);
}

static void scalar_layers_agree_with_sums_in_double_precision(void **state)
{
    (void)state;
    check_family(CPU_SCALAR);
}

static void avx2_layers_agree_with_sums_in_double_precision(void **state)
{
    (void)state;
    check_family(CPU_AVX2);
}

static void avx512_layers_agree_with_sums_in_double_precision(void **state)
{
    (void)state;
    check_family(CPU_AVX512);
}

/* The whole in one job on one thread against slices in several jobs on several threads, beside a stranger. */
static void check_bits(cpu_isa isa, dtype type, int64_t n)
{
    matrix w = random_matrix(type, 203, columns(type, dtype_block_elements(type) == 256 ? 3 : 19));
    matrix stranger = random_matrix(DTYPE_Q8_0, 150, w.cols / 32 * 32 + 32);
    assert_non_null(w.data);
    assert_non_null(stranger.data);
    stranger.cols = w.cols / 32 * 32;
    int64_t ldx = w.cols + 40;
    float *x = guarded_floats(n * ldx), *whole = guarded_floats(n * w.rows), *sliced = guarded_floats(n * w.rows);
    float *other = guarded_floats(n * stranger.rows);
    device *one = open_cpu(1, isa);

    linear_job job = {&w, 0, w.rows, 0, 0, NULL, DTYPE_F32, whole, w.rows, false};
    one->ops->linear(one, x, ldx, n, &job, 1);
    for (int threads = 1; threads <= 5; threads += 2) {
        device *dev = open_cpu(threads, isa);
        int64_t cut = 1 + (int64_t)(random_bits() % 200);
        stranger.cols = w.cols; /* never applied unless its columns agree */
        linear_job jobs[] = {
            {&w, cut, w.rows - cut, 0, 0, NULL, DTYPE_F32, sliced + cut, w.rows, false},
            {&stranger, 3, 140, 0, 0, NULL, DTYPE_F32, other, stranger.rows, false},
            {&w, 0, cut, 0, 0, NULL, DTYPE_F32, sliced, w.rows, false},
        };
        if (w.cols % 32) {
            jobs[1] = (linear_job){&w, 7, 100, 0, 0, NULL, DTYPE_F32, other, stranger.rows, false};
        }
        dev->ops->linear(dev, x, ldx, n, jobs, 3);
        assert_memory_equal(whole, sliced, (size_t)(n * w.rows) * sizeof *whole);
        dev->ops->close(dev);
    }
    one->ops->close(one);
    stranger.cols = w.cols / 32 * 32 + 32;
    free_floats(x, n * ldx);
    free_floats(whole, n * w.rows);
    free_floats(sliced, n * w.rows);
    free_floats(other, n * stranger.rows);
    free_matrix(&w);
    free_matrix(&stranger);
}

static void bits_depend_on_neither_threads_nor_slices_nor_neighbours(void **state)
{
    static const int64_t counts[] = {1, 2, 3, 8, 9, 70, 200};
    (void)state;
    for (int isa = CPU_SCALAR; isa <= (int)cpu_isa_best(); isa++) {
        for (int type = 0; type < WEIGHT_TYPES; type++) {
            for (int i = 0; i < 7; i++) {
                check_bits((cpu_isa)isa, (dtype)type, counts[i]);
            }
        }
    }
}

static void embeddings_are_the_rows_of_the_table_bit_for_bit(void **state)
{
    static const int32_t tokens[] = {16, -1, 3, -3, -4}, made[] = {0, 9, 3, -1}, ids[] = {16, 0, 3, 3, 0};
    (void)state;
    for (int isa = CPU_SCALAR; isa <= (int)cpu_isa_best(); isa++) {
        device *dev = open_cpu(2, (cpu_isa)isa);
        for (int type = 0; type < WEIGHT_TYPES; type++) {
            matrix table = random_matrix((dtype)type, 17, columns((dtype)type, 18));
            float *x = guarded_floats(5 * table.cols), *row = guarded_floats(table.cols);
            dev->ops->embed(dev, x, &table, tokens, made, 5, 1);
            for (int t = 0; t < 5; t++) {
                row_values(&table, ids[t], row);
                for (int64_t c = 0; c < table.cols; c++) {
                    assert_true(x[t * table.cols + c] == row[c]);
                }
            }
            dev->ops->embed(dev, x, &table, tokens, made, 1, 0.75f);
            row_values(&table, ids[0], row);
            for (int64_t c = 0; c < table.cols; c++) {
                assert_true(x[c] == 0.75f * row[c]);
            }
            free_floats(x, 5 * table.cols);
            free_floats(row, table.cols);
            free_matrix(&table);
        }
        dev->ops->close(dev);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalar_layers_agree_with_sums_in_double_precision),
        cmocka_unit_test(avx2_layers_agree_with_sums_in_double_precision),
        cmocka_unit_test(avx512_layers_agree_with_sums_in_double_precision),
        cmocka_unit_test(bits_depend_on_neither_threads_nor_slices_nor_neighbours),
        cmocka_unit_test(embeddings_are_the_rows_of_the_table_bit_for_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
