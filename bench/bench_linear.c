/* Linear layers by themselves: prefill against the peak of multiply-adds, decode against the rate of reading a buffer as large.
   Rests on device/cpu. Usage: bench_linear [-t THREADS] [-i scalar|avx2|avx512] [-n ROWS] [-m MB] [TYPE...]
   ROWS 1 to 8 is decode (one call after the other over MB megabytes of matrices), more is prefill; without -n both. */
#define BENCH "bench_linear"
#include "bench/bench.h"

#include "base/clock.h"
#include "base/cpus.h"
#include "base/threads.h"
#include "device/cpu/cpu_ceilings.h"
#include "device/cpu/linear_kernels.h"

#include <unistd.h>

#include "device/random_matrix.h"

enum { ROUNDS = 7 };

typedef struct settings {
    int threads;
    cpu_isa isa;
    int64_t n, megabytes;
    double fma;
    device *dev;
} settings;

/* SmolLM2-135M's layers and head, and one of a model of billions. */
static const struct {
    int64_t rows, cols;
} shapes[] = {{576, 576}, {1536, 576}, {576, 1536}, {49152, 576}, {2048, 8192}, {8192, 2048}};

static float *random_floats(int64_t n)
{
    float *x = check_memory(aligned_alloc(64, ((size_t)n * sizeof *x + 63) / 64 * 64));

    for (int64_t i = 0; i < n; i++) {
        x[i] = random_float();
    }
    return x;
}

/* Median seconds of applying `count` matrices one after the other to n rows. */
static double time_linear(const settings *s, const matrix *w, int64_t count, int64_t n)
{
    float *x = random_floats(n * w->cols), *y = random_floats(n * w->rows);
    double times[ROUNDS];

    for (int round = -1; round < ROUNDS; round++) {
        double start = clock_now();
        for (int64_t i = 0; i < count; i++) {
            linear_job job = {&w[i], 0, w[i].rows, 0, 0, NULL, DTYPE_F32, y, w[i].rows, false};
            s->dev->ops->linear(s->dev, x, w->cols, n, &job, 1);
        }
        times[round < 0 ? 0 : round] = clock_now() - start;
    }
    free(x);
    free(y);
    return median_of(times, ROUNDS);
}

static void prefill(const settings *s, dtype type, int64_t rows, int64_t cols, int64_t n)
{
    matrix w = random_matrix(type, rows, cols);

    check_memory((void *)(uintptr_t)w.data);
    double flops = 2.0 * (double)rows * (double)cols * (double)n;
    int64_t count = 1 + (int64_t)(0.02 * s->fma / flops);
    matrix *all = check_memory(malloc((size_t)count * sizeof *all));
    for (int64_t i = 0; i < count; i++) {
        all[i] = w;
    }
    double rate = flops * (double)count / time_linear(s, all, count, n);
    printf("| %-6s | %5lld x %4lld | %3lld | %7.1f GFLOP/s | %3.0f %% of FMA peak %.1f |\n", dtype_name(type), (long long)rows,
           (long long)cols, (long long)n, rate / 1e9, 100 * rate / s->fma, s->fma / 1e9);
    free(all);
    guarded_free((void *)(uintptr_t)w.data, (size_t)rows * w.row_bytes);
}

static void decode(const settings *s, dtype type, int64_t rows, int64_t cols, int64_t n)
{
    int64_t row_bytes = (int64_t)dtype_row_bytes(type, cols);
    int64_t count = s->megabytes * 1000000 / (rows * row_bytes) + 1;
    matrix big = random_matrix(type, rows * count, cols);
    matrix *all = check_memory(malloc((size_t)count * sizeof *all));
    double read, again;

    check_memory((void *)(uintptr_t)big.data);
    for (int64_t i = 0; i < count; i++) {
        all[i] = (matrix){.type = type, .rows = rows, .cols = cols, .data = (const char *)big.data + i * rows * row_bytes,
                          .row_bytes = (size_t)row_bytes};
    }
    double bytes = (double)(count * rows * row_bytes);
    demand(cpu_measure_read(s->threads, s->isa, (int64_t)bytes, &read));
    double rate = bytes / time_linear(s, all, count, n);
    demand(cpu_measure_read(s->threads, s->isa, (int64_t)bytes, &again));
    read = again > read ? again : read;
    printf("| %-6s | %5lld x %4lld | %3lld | %7.1f GB/s | %3.0f %% of reading %.0f MB at %.1f |\n", dtype_name(type),
           (long long)rows, (long long)cols, (long long)n, rate / 1e9, 100 * rate / read, bytes / 1e6, read / 1e9);
    free(all);
    guarded_free((void *)(uintptr_t)big.data, (size_t)(rows * count * row_bytes));
}

static void all_shapes(const settings *s, dtype type)
{
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        if (shapes[i].cols % dtype_block_elements(type)) {
            continue;
        }
        if (s->n == 0 || s->n <= DOT_MAX) {
            decode(s, type, shapes[i].rows, shapes[i].cols, s->n ? s->n : 1);
        }
        if (s->n == 0 || s->n > DOT_MAX) {
            prefill(s, type, shapes[i].rows, shapes[i].cols, s->n ? s->n : 512);
        }
    }
}

int main(int argc, char **argv)
{
    settings s = {cpus_available(), cpu_isa_best(), 0, 100, 0, NULL};

    for (int option; (option = getopt(argc, argv, "t:i:n:m:")) != -1;) {
        switch (option) {
        case 't': s.threads = atoi(optarg); break;
        case 'i': s.isa = isa_of(optarg); break;
        case 'n': s.n = atoll(optarg); break;
        case 'm': s.megabytes = atoll(optarg); break;
        default:
            fprintf(stderr, "usage: %s [-t THREADS] [-i scalar|avx2|avx512] [-n ROWS] [-m MB] [TYPE...]\n", argv[0]);
            return 2;
        }
    }
    demand(cpu_device_open(s.threads, s.isa, &s.dev));
    demand(cpu_measure_fma(s.threads, s.isa, &s.fma));
    printf("%d threads, %s\n", s.threads, cpu_isa_name(s.isa));
    for (int type = 0; type < WEIGHT_TYPES; type++) {
        bool wanted = optind == argc;
        for (int i = optind; i < argc; i++) {
            wanted = wanted || (int)dtype_from_name(argv[i]) == type;
        }
        if (wanted) {
            all_shapes(&s, (dtype)type);
        }
    }
    s.dev->ops->close(s.dev);
    return 0;
}
