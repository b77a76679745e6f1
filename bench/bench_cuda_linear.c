/* Linear layers on a card by themselves: few rows against the rate of reading its memory, many against a product of 8192 x 8192
   x 8192, and the loading of weights. Rests on device/gpu.h; the CUDA runtime for events. Usage: bench_cuda_linear [-c CARD]
   [TYPE...]: a table; with types (Q4_K, ...) only few rows of these. Each figure is the median of rounds over matrices that do
   not fit the card's caches. */
#define BENCH "bench_cuda_linear"
#include "bench/bench.h"

#include "base/clock.h"
#include "device/gpu.h"

#include <cuda_runtime_api.h>
#include <unistd.h>

enum { ROUNDS = 7, JOBS = 3 };
static const size_t REGION = (size_t)6 << 30; /* of weights: a hundred times the second-level cache */
static const double ROUND_S = 0.02;

typedef struct bench {
    device *dev;
    cudaStream_t stream;
    cudaEvent_t from, to;
    char *weights; /* [REGION], random */
    void *x, *y;
    double copy; /* bytes a second, read and written */
    double read; /* the same, only read */
} bench;

static void check(cudaError_t status)
{
    if (status != cudaSuccess) {
        fprintf(stderr, "bench_cuda_linear: %s\n", cudaGetErrorString(status));
        exit(1);
    }
}

typedef void (*work_fn)(bench *b, void *arg, int64_t i);

/* Median seconds of one call of `work`, of so many that a round takes ROUND_S or more. */
static double time_of(bench *b, work_fn work, void *arg)
{
    double times[ROUNDS] = {0};
    int64_t calls = 4;
    float ms = 0;

    for (int round = -2; round < ROUNDS; round++) {
        check(cudaEventRecord(b->from, b->stream));
        for (int64_t i = 0; i < calls; i++) {
            work(b, arg, i);
        }
        check(cudaEventRecord(b->to, b->stream));
        demand(b->dev->ops->finish(b->dev));
        check(cudaEventElapsedTime(&ms, b->from, b->to));
        if (round < 0) {
            double wanted = ROUND_S / ((double)ms * 1e-3 / (double)calls);
            calls = wanted > 4 ? (int64_t)wanted : 4;
        } else {
            times[round] = (double)ms * 1e-3 / (double)calls;
        }
    }
    return median_of(times, ROUNDS);
}

static void copy_once(bench *b, void *arg, int64_t i)
{
    (void)arg;
    (void)i;
    check(cudaMemcpyAsync(b->weights, b->weights + REGION / 2, REGION / 2, cudaMemcpyDeviceToDevice, b->stream));
}

/* --- linear --- */

typedef struct shape {
    const char *name;
    int64_t rows[JOBS], cols;
} shape;

typedef struct linear_run {
    const shape *s;
    int64_t n;
    dtype act, type; /* of the run, of the weights */
} linear_run;

static size_t set_bytes(const shape *s, dtype type)
{
    size_t bytes = 0;

    for (int j = 0; j < JOBS; j++) {
        bytes += (size_t)s->rows[j] * dtype_row_bytes(type, s->cols);
    }
    return bytes;
}

/* The i-th set of matrices of the region, one behind the other, from the start again where it ends. */
static void linear_once(bench *b, void *arg, int64_t i)
{
    const linear_run *r = arg;
    matrix w[JOBS];
    linear_job jobs[JOBS];
    size_t row_bytes = dtype_row_bytes(r->type, r->s->cols), bytes = set_bytes(r->s, r->type);
    char *p = b->weights + (size_t)i % (REGION / bytes) * bytes, *y = b->y;
    int n = 0;

    for (int j = 0; j < JOBS && r->s->rows[j]; j++, n++) {
        w[j] = (matrix){.type = r->type, .rows = r->s->rows[j], .cols = r->s->cols, .data = p, .row_bytes = row_bytes};
        jobs[j] = (linear_job){.w = &w[j], .rows = w[j].rows, .type = r->act, .y = y, .ldy = w[j].rows};
        p += (size_t)w[j].rows * row_bytes;
        y += r->n * w[j].rows * (int64_t)dtype_block_bytes(r->act);
    }
    b->dev->ops->linear(b->dev, b->x, r->s->cols, r->n, jobs, n);
}

static double rows_of(const shape *s)
{
    double rows = 0;

    for (int j = 0; j < JOBS; j++) {
        rows += (double)s->rows[j];
    }
    return rows;
}

static const shape shapes[] = {
    {"4096 x 4096", {4096, 0, 0}, 4096},        {"q, k, v 4096 + 2 x 1024", {4096, 1024, 1024}, 4096},
    {"28672 x 4096", {28672, 0, 0}, 4096},      {"gate, up 2 x 14336", {14336, 14336, 0}, 4096},
    {"down 4096 x 14336", {4096, 0, 0}, 14336}, {"head 128256 x 4096", {128256, 0, 0}, 4096},
    {"28672 x 8192", {28672, 0, 0}, 8192},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* Matrices of this type and shape all over the region: random bytes would be scales that are no numbers. */
static void fill(bench *b, dtype type, const shape *s)
{
    size_t row_bytes = dtype_row_bytes(type, s->cols), bytes = set_bytes(s, type);

    for (size_t i = 0; i < REGION / bytes; i++) {
        char *p = b->weights + i * bytes;
        for (int j = 0; j < JOBS && s->rows[j]; j++) {
            matrix w = {.type = type, .rows = s->rows[j], .cols = s->cols, .data = p, .row_bytes = row_bytes};
            demand(b->dev->ops->make_random(b->dev, &w, type, i * JOBS + (size_t)j));
            p += (size_t)w.rows * row_bytes;
        }
    }
    demand(b->dev->ops->finish(b->dev));
}

static void few_rows(bench *b, dtype act, dtype type)
{
    static const int64_t rows[] = {1, 2, 4, 8, 16, 32, 64, 128};

    for (int s = 0; s < SHAPES; s++) {
        fill(b, type, &shapes[s]);
        for (int i = 0; i < 8; i++) {
            linear_run r = {&shapes[s], rows[i], act, type};
            double seconds = time_of(b, linear_once, &r), rate = (double)set_bytes(&shapes[s], type) / seconds;
            printf("| %-24s | %4s | %4lld | %8.1f us | %7.0f GB/s  | %3.0f %% of reading |\n", shapes[s].name, dtype_name(type),
                   (long long)rows[i], seconds * 1e6, rate / 1e9, 100 * rate / b->read);
        }
    }
}

static void many_rows(bench *b, dtype act)
{
    static const int64_t rows[] = {17, 64, 512, 4096};
    const shape cube = {"8192 x 8192", {8192, 0, 0}, 8192};
    linear_run yard = {&cube, 8192, act, act};
    double peak = 2.0 * 8192 * 8192 * 8192 / time_of(b, linear_once, &yard);

    printf("| %-24s | %4s | 8192 | %30.1f TFLOP/s |\n", cube.name, dtype_name(act), peak / 1e12);
    for (int s = 0; s < SHAPES; s++) {
        for (int i = 0; i < 4 && shapes[s].rows[0] < 100000; i++) {
            linear_run r = {&shapes[s], rows[i], act, act};
            double rate = 2 * rows_of(&shapes[s]) * (double)shapes[s].cols * (double)rows[i] / time_of(b, linear_once, &r);
            printf("| %-24s | %4s | %4lld | %7.1f TFLOP/s | %3.0f %% of 8192 x 8192 x 8192 |\n", shapes[s].name,
                   dtype_name(act), (long long)rows[i], rate / 1e12, 100 * rate / peak);
        }
    }
}

/* --- loading --- */

static void loading(bench *b, dtype type, const char *host, size_t bytes)
{
    int64_t cols = 4096, rows = (int64_t)(bytes / dtype_row_bytes(type, cols));
    matrix from = {.type = type, .rows = rows, .cols = cols, .data = host, .row_bytes = dtype_row_bytes(type, cols)};
    dtype placed = dtype_block_elements(type) > 1 ? type : b->dev->act;
    matrix to = {.type = placed, .rows = rows, .cols = cols, .data = b->weights, .row_bytes = dtype_row_bytes(placed, cols)};
    double best = 1e9;

    for (int round = 0; round < 4; round++) {
        double start = clock_now();
        demand(b->dev->ops->load(b->dev, &to, &from));
        demand(b->dev->ops->finish(b->dev));
        double seconds = clock_now() - start;
        best = seconds < best ? seconds : best;
    }
    printf("| load %-6s to %s | %7.1f GB/s of stored bytes |\n", dtype_name(type), dtype_name(placed),
           (double)(rows * (int64_t)from.row_bytes) / best / 1e9);
}

static void open_bench(bench *b, const cuda_module *module, int card, dtype act)
{
    demand(module->open(card, act, &b->dev));
    b->stream = b->dev->stream;
    check(cudaSetDevice(card));
    check(cudaEventCreate(&b->from));
    check(cudaEventCreate(&b->to));
    void *block;
    demand(b->dev->ops->reserve(b->dev, REGION, "weights", &block));
    b->weights = block;
    demand(b->dev->ops->reserve(b->dev, (size_t)8192 * 28672 * 4, "x", &b->x));
    demand(b->dev->ops->reserve(b->dev, (size_t)8192 * 28672 * 4, "y", &b->y));
    matrix all = {.type = act, .rows = 3 << 18, .cols = 4096, .data = block, .row_bytes = dtype_row_bytes(act, 4096)};
    all.rows = (int64_t)(REGION / all.row_bytes);
    demand(b->dev->ops->make_random(b->dev, &all, act, 1));
    all = (matrix){.type = act, .rows = 8192, .cols = 28672, .data = b->x, .row_bytes = dtype_row_bytes(act, 28672)};
    demand(b->dev->ops->make_random(b->dev, &all, act, 2));
    demand(b->dev->ops->finish(b->dev));
}

static void close_bench(bench *b)
{
    b->dev->ops->release(b->dev, b->weights, REGION);
    b->dev->ops->release(b->dev, b->x, (size_t)8192 * 28672 * 4);
    b->dev->ops->release(b->dev, b->y, (size_t)8192 * 28672 * 4);
    check(cudaEventDestroy(b->from));
    check(cudaEventDestroy(b->to));
    b->dev->ops->close(b->dev);
}

static void load_all(bench *b)
{
    size_t bytes = (size_t)1 << 30;
    char *host = malloc(bytes);

    if (!host) {
        fprintf(stderr, "bench_cuda_linear: no memory\n");
        exit(1);
    }
    for (size_t i = 0; i < bytes; i++) { /* any bits; not zeros, which cards move faster */
        host[i] = (char)(i * 0x9e3779b97f4a7c15u >> 56);
    }
    loading(b, DTYPE_BF16, host, bytes);
    loading(b, DTYPE_Q4_K, host, bytes);
    loading(b, DTYPE_Q8_0, host, bytes);
    free(host);
}

static void every_table(bench *b, const cuda_module *module, int ordinal)
{
    load_all(b);
    b->copy = (double)REGION / time_of(b, copy_once, NULL);
    printf("copy in the card's memory: %.0f GB/s, read and written\n", b->copy / 1e9);
    for (int type = DTYPE_BF16; type <= DTYPE_IQ4_NL; type++) {
        few_rows(b, DTYPE_BF16, (dtype)type);
    }
    fill(b, DTYPE_BF16, &shapes[0]);
    many_rows(b, DTYPE_BF16);
    close_bench(b);
    open_bench(b, module, ordinal, DTYPE_F32);
    linear_run r = {&shapes[0], 4096, DTYPE_F32, DTYPE_F32};
    double rate = 2.0 * 4096 * 4096 * 4096 / time_of(b, linear_once, &r);
    printf("| %-24s | F32  | 4096 | %7.1f TFLOP/s |\n", shapes[0].name, rate / 1e12);
}

int main(int argc, char **argv)
{
    bool chosen = argc > 2 && strcmp(argv[1], "-c") == 0;
    int n, ordinal = chosen ? atoi(argv[2]) : 0;
    const cuda_module *module;
    cuda_card card;
    cuda_ceilings best;
    bench b = {0};

    demand(gpu_module(&module));
    demand(module->count(&n));
    demand(module->measure(ordinal, DTYPE_BF16, &best));
    b.read = best.read_rate;
    double start = clock_now();
    open_bench(&b, module, ordinal, DTYPE_BF16);
    demand(module->describe(ordinal, &card));
    printf("%s, %d multiprocessors; opened in %.2f s; reading its memory: %.0f GB/s\n", card.name, card.n_sms,
           clock_now() - start, b.read / 1e9);
    for (int i = chosen ? 3 : 1; i < argc; i++) {
        dtype type = dtype_from_name(argv[i]);
        if (type > DTYPE_IQ4_NL) {
            fprintf(stderr, "bench_cuda_linear: %s is no type of weights\n", argv[i]);
            return 1;
        }
        few_rows(&b, DTYPE_BF16, type);
    }
    if (argc <= (chosen ? 3 : 1)) {
        every_table(&b, module, ordinal);
    }
    close_bench(&b);
    return 0;
}
