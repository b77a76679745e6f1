/* Attention by itself: prefill against the peak of multiply-adds, decode against the rate of reading a buffer as large.
   Rests on device/cpu. Usage: bench_attention [-t THREADS] [-i scalar|avx2|avx512] [-k F16|BF16|F32|I8] [-m MB]
   [-b SLOTS] [-g] [prefill|decode]
   Pairs that a causal mask hides are not counted. Decode goes over MB megabytes of keys and values, layer by layer.
   With -b keys are in blocks of so many slots, scattered, as those of sequences that have grown side by side: a segment each.
   -g: on the first GPU, in BF16 or F16, decode over 32 layers; times only. */
#define BENCH "bench_attention"
#include "bench/bench.h"

#include "base/clock.h"
#include "base/cpus.h"
#include "base/threads.h"
#include "device/cpu/cpu_ceilings.h"
#include "device/gpu.h"

#include <math.h>
#include <unistd.h>

enum { ROUNDS = 7, LAYERS_MAX = 256, GPU_LAYERS = 32, FAR = 7919 /* a prime: blocks at every FAR-th place take all places */ };

typedef struct settings {
    int threads;
    cpu_isa isa;
    dtype kv_type;
    int64_t megabytes, block;
    bool on_gpu;
    device *dev;
} settings;

typedef struct shape {
    const char *name;
    int32_t n_heads, n_kv_heads, head_dim, queries, keys; /* the queries are the last of the keys */
} shape;

static const shape prefill_shapes[] = {
    {"smollm2-135m", 9, 3, 64, 512, 512},   {"smollm2-135m", 9, 3, 64, 512, 4096}, {"smollm2-135m", 9, 3, 64, 512, 32768},
    {"smollm2-135m", 9, 3, 64, 128, 4096},  {"3.2-1b", 32, 8, 64, 512, 4096},      {"7b", 32, 32, 128, 128, 4096},
    {"3-8b", 32, 8, 128, 512, 4096},        {"d48", 16, 4, 48, 512, 4096},         {"d80", 16, 4, 80, 512, 4096},
    {"d96", 16, 4, 96, 512, 4096},
};

static const shape decode_shapes[] = {
    {"smollm2-135m", 9, 3, 64, 1, 512}, {"smollm2-135m", 9, 3, 64, 1, 4096}, {"smollm2-135m", 9, 3, 64, 1, 65536},
    {"smollm2-135m", 9, 3, 64, 8, 4096}, {"3.2-1b", 32, 8, 64, 1, 16384},    {"7b", 32, 32, 128, 1, 4096},
    {"3-8b", 32, 8, 128, 1, 8192},       {"3-70b", 64, 8, 128, 1, 8192},
};

/* In [-1, 1), the same on every run. */
static float random_float(void)
{
    static uint32_t state = 1;

    state = state * 1664525u + 1013904223u;
    return (float)(state >> 8) / 8388608.0f - 1;
}

static void *random_cache(dtype type, int64_t n)
{
    void *cache = check_memory(malloc(dtype_row_bytes(type, n)));

    for (int64_t i = 0; i < n; i++) {
        float x = random_float();
        if (type == DTYPE_F32) {
            ((float *)cache)[i] = x;
        } else if (type == DTYPE_I8) {
            ((int8_t *)cache)[i] = (int8_t)(127 * x);
        } else {
            ((uint16_t *)cache)[i] = type == DTYPE_F16 ? f32_to_f16(x) : f32_to_bf16(x);
        }
    }
    return cache;
}

/* The memory as the device has it; it is the bench's until it ends. */
static void *on_device(const settings *s, void *data, size_t bytes)
{
    void *block;

    if (!s->on_gpu) {
        return data;
    }
    demand(s->dev->ops->reserve(s->dev, bytes, "bench", &block));
    s->dev->ops->upload(s->dev, block, data, bytes);
    demand(s->dev->ops->finish(s->dev));
    free(data);
    return block;
}

static void drop(const settings *s, void *data, size_t bytes)
{
    if (s->on_gpu) {
        s->dev->ops->release(s->dev, data, bytes);
    } else {
        free(data);
    }
}

/* A layer's keys and values as segments: `blocks` of `slots` each, far from those before them. Returns the keys and values. */
static void *add_layer(const settings *s, const shape *p, float *scales, int64_t blocks, int64_t slots, kv_segment out[])
{
    int64_t side = p->n_kv_heads * blocks * slots * p->head_dim;
    size_t row = dtype_row_bytes(s->kv_type, p->head_dim);
    unsigned char *k = on_device(s, random_cache(s->kv_type, 2 * side), dtype_row_bytes(s->kv_type, 2 * side));
    unsigned char *v = k + dtype_row_bytes(s->kv_type, side);

    for (int64_t i = 0; i < blocks; i++) {
        int64_t at = i * FAR % blocks * slots, left = p->keys - i * slots;
        out[i] = (kv_segment){.k = k + (size_t)at * row, .v = v + (size_t)at * row, .k_scales = scales + at,
                              .v_scales = scales + at, .head_stride = blocks * slots,
                              .count = (int32_t)(left < slots ? left : slots), .first = i * slots};
    }
    return k;
}

/* Median seconds of one layer's attention, over `layers` layers of keys and values. */
static double time_attention(const settings *s, const shape *p, int64_t layers)
{
    attention_shape a = {.n_heads = p->n_heads, .n_kv_heads = p->n_kv_heads, .head_dim = p->head_dim,
                         .scale = 1 / sqrtf((float)p->head_dim), .kv_type = s->kv_type};
    int64_t slots = s->block ? s->block : p->keys, blocks = (p->keys + slots - 1) / slots;
    float *scales = check_memory(malloc((size_t)(p->n_kv_heads * blocks * slots) * sizeof *scales));
    int64_t width = (int64_t)p->n_heads * p->head_dim;
    dtype act = s->on_gpu ? s->kv_type : DTYPE_F32;
    size_t q_bytes = dtype_row_bytes(act, p->queries * width), side = dtype_row_bytes(s->kv_type, p->head_dim);
    void *q = on_device(s, random_cache(act, p->queries * width), q_bytes);
    carry c = carry_at(on_device(s, check_memory(calloc(1, carry_bytes(&a, p->queries))), carry_bytes(&a, p->queries)), &a,
                       p->queries);
    kv_segment *segments = check_memory(malloc((size_t)(layers * blocks) * sizeof *segments));
    double times[ROUNDS];
    void *caches[LAYERS_MAX];

    for (int64_t i = 0; i < p->n_kv_heads * blocks * slots; i++) {
        scales[i] = (float)(1 + i % 7) / (4 * KV_CODE_MOST);
    }
    for (int64_t i = 0; i < layers; i++) {
        caches[i] = add_layer(s, p, scales, blocks, slots, segments + i * blocks);
    }
    for (int round = -1; round < ROUNDS; round++) {
        double start = clock_now();
        for (int64_t i = 0; i < layers; i++) {
            attention_item item = {0, p->queries, p->keys - p->queries, segments + i * blocks, (int32_t)blocks};
            s->dev->ops->carry_clear(s->dev, &c, &a, p->queries);
            s->dev->ops->attention(s->dev, &a, q, width, &item, 1, &c, &(attention_ends){0});
        }
        demand(s->dev->ops->finish(s->dev));
        times[round < 0 ? 0 : round] = (clock_now() - start) / (double)layers;
    }
    for (int64_t i = 0; i < layers; i++) {
        drop(s, caches[i], 2 * side * (size_t)(p->n_kv_heads * blocks * slots));
    }
    drop(s, c.o, carry_bytes(&a, p->queries));
    drop(s, q, q_bytes);
    free(segments);
    free(scales);
    return median_of(times, ROUNDS);
}

static void print_shape(const settings *s, const shape *p)
{
    printf("| %-12s | %2d/%-2d x %3d %-4s | %3d | %5d |", p->name, p->n_heads, p->n_kv_heads, p->head_dim,
           dtype_name(s->kv_type), p->queries, p->keys);
}

static void prefill(const settings *s, const shape *p)
{
    double queries = p->queries, pairs = queries * (p->keys - queries) + queries * (queries + 1) / 2, peak, again;

    demand(cpu_measure_fma(s->threads, s->isa, &peak));
    double rate = 4 * pairs * p->n_heads * p->head_dim / time_attention(s, p, 1);
    demand(cpu_measure_fma(s->threads, s->isa, &again));
    peak = again > peak ? again : peak;
    print_shape(s, p);
    printf(" %6.1f GFLOP/s | %3.0f %% of FMA peak %.1f |\n", rate / 1e9, 100 * rate / peak, peak / 1e9);
}

static void decode(const settings *s, const shape *p)
{
    size_t row = dtype_row_bytes(s->kv_type, p->head_dim) + (s->kv_type == DTYPE_I8 ? sizeof(float) : 0);
    double layer = 2 * (double)p->n_kv_heads * p->keys * (double)row, read, again;
    int64_t layers = (int64_t)((double)s->megabytes * 1e6 / layer) + 1;

    layers = layers < LAYERS_MAX ? layers : LAYERS_MAX;
    int64_t bytes = (int64_t)layer * layers;
    demand(cpu_measure_read(s->threads, s->isa, bytes, &read));
    double rate = layer / time_attention(s, p, layers);
    demand(cpu_measure_read(s->threads, s->isa, bytes, &again));
    read = again > read ? again : read;
    print_shape(s, p);
    printf(" %6.1f GB/s | %3.0f %% of reading %.0f MB at %.1f |\n", rate / 1e9, 100 * rate / read, (double)bytes / 1e6,
           read / 1e9);
}

static void decode_on_gpu(const settings *s, const shape *p)
{
    double seconds = time_attention(s, p, GPU_LAYERS);

    print_shape(s, p);
    printf(" %8.2f us a layer |\n", 1e6 * seconds);
}

static void open_device(settings *s)
{
    const cuda_module *module;

    if (s->on_gpu) {
        demand(gpu_module(&module));
        demand(module->open(0, s->kv_type, &s->dev));
    } else {
        demand(cpu_device_open(s->threads, s->isa, &s->dev));
        printf("%d threads, %s\n", s->threads, cpu_isa_name(s->isa));
    }
}

int main(int argc, char **argv)
{
    settings s = {cpus_available(), cpu_isa_best(), DTYPE_F16, 100, 0, false, NULL};

    for (int option; (option = getopt(argc, argv, "t:i:k:m:b:g")) != -1;) {
        switch (option) {
        case 't': s.threads = atoi(optarg); break;
        case 'i': s.isa = isa_of(optarg); break;
        case 'k': s.kv_type = dtype_from_name(optarg); break;
        case 'm': s.megabytes = atoll(optarg); break;
        case 'b': s.block = atoll(optarg); break;
        case 'g': s.on_gpu = true; break;
        default: s.kv_type = DTYPE_COUNT; break;
        }
    }
    if ((s.kv_type > DTYPE_BF16 && s.kv_type != DTYPE_I8) || s.block < 0 ||
        (s.on_gpu && (s.kv_type == DTYPE_I8 || s.kv_type == DTYPE_F32))) {
        fprintf(stderr, "usage: %s [-t THREADS] [-i scalar|avx2|avx512] [-k F16|BF16|F32|I8] [-m MB] [-b SLOTS]"
                        " [-g] [prefill|decode]\n", argv[0]);
        return 2;
    }
    open_device(&s);
    for (size_t i = 0; i < sizeof prefill_shapes / sizeof *prefill_shapes && !s.on_gpu &&
                       (optind == argc || argv[optind][0] == 'p'); i++) {
        prefill(&s, &prefill_shapes[i]);
    }
    for (size_t i = 0; i < sizeof decode_shapes / sizeof *decode_shapes && (optind == argc || argv[optind][0] == 'd'); i++) {
        (s.on_gpu ? decode_on_gpu : decode)(&s, &decode_shapes[i]);
    }
    s.dev->ops->close(s.dev);
    return 0;
}
