/* Random models: the table of shapes, the list of their tensors, and the generator of weights.
   Rests on base/threads.h. The generator is splitmix64's mixing of a counter: one 64-bit word from (tensor, word). For plain
   types the word is cut into elements whose sign, fraction and two bits of exponent are random: magnitudes from 2^-9 to 2^-5,
   a standard deviation of 0.014. For blocks all codes are random and the scales are fixed so that values have a mean near zero
   and about the same deviation. See random.h. */
#include "model/random.h"
#include "base/cpus.h"
#include "base/threads.h"
#include "model/rope.h"
#include "model/weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct shape {
    const char *name;
    const char *member; /* "model_type" */
    int32_t n_layers, d_model, n_heads, n_kv_heads, head_dim, d_ff, vocab;
    int32_t context;
    bool tied;
    double theta;
    double llama3_factor; /* 0: no scaling */
    int32_t rotary_dims;  /* 0: all of a head */
    float eps, attention_scale; /* 0: 1e-5; the default */
    double embedding, residual, logits; /* multipliers of the first two, divisor; 0: 1 */
} shape;

static const shape shapes[] = {
    {"7b", "llama", 32, 4096, 32, 32, 128, 11008, 32000, 4096, false, .theta = 1e4},
    {"13b", "llama", 40, 5120, 40, 40, 128, 13824, 32000, 4096, false, .theta = 1e4},
    {"70b", "llama", 80, 8192, 64, 8, 128, 28672, 32000, 4096, false, .theta = 1e4},
    {"3-8b", "llama", 32, 4096, 32, 8, 128, 14336, 128256, 8192, false, .theta = 5e5},
    {"3-70b", "llama", 80, 8192, 64, 8, 128, 28672, 128256, 8192, false, .theta = 5e5},
    {"3.2-1b", "llama", 16, 2048, 32, 8, 64, 8192, 128256, 131072, true, .theta = 5e5, .llama3_factor = 32},
    {"3.2-3b", "llama", 28, 3072, 24, 8, 128, 8192, 128256, 131072, true, .theta = 5e5, .llama3_factor = 32},
    {"smollm2-135m", "llama", 30, 576, 9, 3, 64, 1536, 49152, 8192, true, .theta = 1e5},
    {"qwen3-8b", "qwen3", 36, 4096, 32, 8, 128, 12288, 151936, 40960, false, .theta = 1e6, .eps = 1e-6f},
    {"qwen3-0.6b", "qwen3", 28, 1024, 16, 8, 128, 3072, 151936, 40960, true, .theta = 1e6, .eps = 1e-6f},
    /* without the factors of its longrope, which change values only */
    {"phi4-mini", "phi3", 32, 3072, 24, 8, 128, 8192, 200064, 131072, true, .theta = 1e4, .rotary_dims = 96},
    {"granite-8b", "granite", 40, 4096, 32, 8, 128, 12800, 49155, 131072, true, .theta = 1e7, .attention_scale = 0.0078125f,
     .embedding = 12, .residual = 0.22, .logits = 16},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static const char PREFIX[] = "random:";

bool random_named(const char *path)
{
    return strncmp(path, PREFIX, sizeof PREFIX - 1) == 0;
}

/* --- description --- */

#define TYPES "F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K and IQ4_NL"

static lariat_status parse_name(const char *path, const shape **out, dtype *type)
{
    const char *name = path + sizeof PREFIX - 1;
    const char *colon = strchr(name, ':');
    size_t length = colon ? (size_t)(colon - name) : strlen(name);

    *type = colon ? dtype_from_name(colon + 1) : DTYPE_BF16;
    if (colon && !colon[1]) {
        return fail(LARIAT_BAD_ARGUMENT, "'%s': no type behind the last colon, leave it out for BF16 or choose from " TYPES,
                    path);
    }
    if (*type > DTYPE_IQ4_NL) {
        return fail(LARIAT_BAD_ARGUMENT, "%s: %s is no type of weights, choose from " TYPES, path, colon + 1);
    }
    for (int i = 0; i < SHAPES; i++) {
        if (strlen(shapes[i].name) == length && strncmp(shapes[i].name, name, length) == 0) {
            *out = &shapes[i];
            return LARIAT_OK;
        }
    }
    return fail(LARIAT_BAD_ARGUMENT,
                "%s: there is no shape \"%.*s\", choose from 7b, 13b, 70b, 3-8b, 3-70b, 3.2-1b, 3.2-3b, smollm2-135m, "
                "qwen3-8b, qwen3-0.6b, phi4-mini and granite-8b", path,
                (int)(length < 64 ? length : 64), name);
}

static lariat_status fill_config(const char *path, const shape *s, model_config *c)
{
    rope_parameters rope = rope_parameters_default(s->theta);

    *c = config_of(family_by_type(s->member, NULL));
    c->n_layers = s->n_layers;
    c->d_model = s->d_model;
    c->n_heads = s->n_heads;
    c->n_kv_heads = s->n_kv_heads;
    c->head_dim = s->head_dim;
    c->rotary_dims = s->rotary_dims;
    c->d_ff = s->d_ff;
    c->vocab = s->vocab;
    c->trained_context = s->context;
    c->rms_eps = s->eps != 0 ? s->eps : 1e-5f;
    c->attention_scale = s->attention_scale;
    c->embedding_multiplier = s->embedding != 0 ? s->embedding : 1;
    c->residual_multiplier = s->residual != 0 ? s->residual : 1;
    c->logits_divisor = s->logits != 0 ? s->logits : 1;
    c->rope = c->family->rope;
    c->tied_head = s->tied;
    if (s->llama3_factor != 0) {
        rope.type = "llama3";
        rope.factor = s->llama3_factor;
        rope.low_freq_factor = 1;
        rope.high_freq_factor = 4;
        rope.original_context = 8192;
    }
    TRY(config_check(path, c));
    return rope_frequencies(path, &rope, c);
}

/* llama.cpp's substitute type for rows that are not a multiple of a super-block. */
static dtype type_for(dtype type, int64_t cols)
{
    if (cols % dtype_block_elements(type) == 0) {
        return type;
    }
    switch (type) {
    case DTYPE_Q4_K:
        return DTYPE_Q5_0;
    case DTYPE_Q5_K:
        return DTYPE_Q5_1;
    case DTYPE_Q6_K:
        return DTYPE_Q8_0;
    default:
        return DTYPE_IQ4_NL;
    }
}

static lariat_status add_matrix(tensors *table, const char *path, const char *name, dtype type, int64_t rows, int64_t cols)
{
    dtype stored = type_for(type, cols);
    tensor x = {.type = stored, .type_name = dtype_name(stored), .n_dims = 2, .dims = {rows, cols}};

    x.bytes = (size_t)rows * dtype_row_bytes(stored, cols);
    return tensors_add(table, path, &x, name, strlen(name));
}

static lariat_status add_norm(tensors *table, const char *path, const char *name, int64_t size)
{
    tensor x = {.type = DTYPE_F32, .type_name = "F32", .n_dims = 1, .dims = {size}, .bytes = (size_t)size * sizeof(float)};

    return tensors_add(table, path, &x, name, strlen(name));
}

static lariat_status add_layer(tensors *t, const char *path, const model_config *c, dtype type, int32_t l)
{
    const tensor_names *names = c->family->names;
    int64_t d = c->d_model, heads = (int64_t)c->n_heads * c->head_dim, kv = (int64_t)c->n_kv_heads * c->head_dim;
    const struct {
        int64_t rows, cols;
    } sizes[ROLES] = {[Q] = {heads, d},      [K] = {kv, d},          [V] = {kv, d},
                      [O] = {d, heads},      [GATE] = {c->d_ff, d},  [UP] = {c->d_ff, d},
                      [DOWN] = {d, c->d_ff}, [QKV] = {heads + 2 * kv, d}, [GATE_UP] = {2 * (int64_t)c->d_ff, d}};
    char name[96];

    for (role r = 0; r < ROLES; r++) {
        int64_t norm = layer_norm_size(c, r);
        snprintf(name, sizeof name, "%s.%d.%s.weight", names->layer, l, names->role[r] ? names->role[r] : "");
        if (norm) {
            TRY(add_norm(t, path, name, norm));
        } else if (names->role[r] && sizes[r].rows) {
            TRY(add_matrix(t, path, name, type, sizes[r].rows, sizes[r].cols));
        }
    }
    return LARIAT_OK;
}

static lariat_status list_tensors(const char *path, const model_config *c, dtype type, tensors *t)
{
    const tensor_names *names = c->family->names;

    TRY(add_matrix(t, path, names->embedding, type, c->vocab, c->d_model));
    if (!c->tied_head) {
        TRY(add_matrix(t, path, names->head, type, c->vocab, c->d_model));
    }
    TRY(add_norm(t, path, names->final_norm, c->d_model));
    for (int32_t l = 0; l < c->n_layers; l++) {
        TRY(add_layer(t, path, c, type, l));
    }
    return tensors_sort(t, path);
}

lariat_status random_describe(const char *path, model_config *c, tensors *table)
{
    const shape *s = NULL;
    dtype type = DTYPE_BF16;

    *table = (tensors){0};
    TRY(parse_name(path, &s, &type));
    TRY(fill_config(path, s, c));
    return list_tensors(path, c, type, table);
}

/* --- weights --- */

/* One word from a counter: the mixing step of splitmix64. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* Plain types: the mask of random bits, and the added exponent of 2^-9, for every element of a word. */
static uint64_t plain_mask(dtype type)
{
    switch (type) {
    case DTYPE_F32:
        return UINT64_C(0x81ffffff81ffffff);
    case DTYPE_F16:
        return UINT64_C(0x8fff8fff8fff8fff);
    case DTYPE_BF16:
        return UINT64_C(0x81ff81ff81ff81ff);
    default:
        return UINT64_MAX;
    }
}

static uint64_t plain_base(dtype type)
{
    switch (type) {
    case DTYPE_F32:
        return UINT64_C(0x3b0000003b000000);
    case DTYPE_F16:
        return UINT64_C(0x1800180018001800);
    case DTYPE_BF16:
        return UINT64_C(0x3b003b003b003b00);
    default:
        return 0;
    }
}

/* Writes the scales of a block of random codes. f16 bits: d a power of two, dmin or m for a mean near zero. */
static void set_scales(dtype type, unsigned char *block)
{
    static const struct {
        uint16_t at, value;
    } scales[DTYPE_COUNT][2] = {
        [DTYPE_Q8_0] = {{0, 0x0c00}, {0, 0x0c00}},     /* d 2^-12 */
        [DTYPE_Q4_0] = {{0, 0x1c00}, {0, 0x1c00}},     /* d 2^-8 */
        [DTYPE_Q4_1] = {{0, 0x1c00}, {2, 0xa780}},     /* d 2^-8, m -7.5 d */
        [DTYPE_Q5_0] = {{0, 0x1800}, {0, 0x1800}},     /* d 2^-9 */
        [DTYPE_Q5_1] = {{0, 0x1800}, {2, 0xa7c0}},     /* d 2^-9, m -15.5 d */
        [DTYPE_Q2_K] = {{80, 0x1400}, {82, 0x1600}},   /* d 2^-10, dmin 1.5 d */
        [DTYPE_Q3_K] = {{108, 0x0c00}, {108, 0x0c00}}, /* d 2^-12 */
        [DTYPE_Q4_K] = {{0, 0x0400}, {2, 0x0f80}},     /* d 2^-14, dmin 7.5 d */
        [DTYPE_Q5_K] = {{0, 0x0200}, {2, 0x0fc0}},     /* d 2^-15, dmin 15.5 d */
        [DTYPE_Q6_K] = {{208, 0x0100}, {208, 0x0100}}, /* d 2^-16 */
        [DTYPE_IQ4_NL] = {{0, 0x0c00}, {0, 0x0c00}},   /* d 2^-12 */
    };

    for (int i = 0; i < 2; i++) {
        block[scales[type][i].at] = (unsigned char)(scales[type][i].value & 0xff);
        block[scales[type][i].at + 1] = (unsigned char)(scales[type][i].value >> 8);
    }
}

/* The first counter of a tensor: 2^40 words each. */
static uint64_t seed_of(int64_t matrix_index)
{
    return (uint64_t)(matrix_index + 1) << 40;
}

uint64_t random_seed(const tensors *table, const tensor *x)
{
    int64_t index = 0;

    for (const tensor *before = table->list; before < x; before++) {
        index += before->n_dims == 2;
    }
    return seed_of(index);
}

/* Blocks of a piece: a multiple of 8 bytes for every type, about the size of a second-level cache. */
enum { PIECE_BLOCKS_PLAIN = 1 << 17, PIECE_BLOCKS_32 = 1 << 14, PIECE_BLOCKS_256 = 1 << 12 };

static int64_t piece_blocks(dtype type)
{
    int64_t elements = dtype_block_elements(type);
    return elements == 1 ? PIECE_BLOCKS_PLAIN : elements == 32 ? PIECE_BLOCKS_32 : PIECE_BLOCKS_256;
}

typedef struct filling {
    const tensor **list;  /* [n] matrices */
    int64_t *first_piece; /* [n + 1] */
    int64_t n;
} filling;

/* Stores little-endian on every machine. */
static void store(unsigned char *to, uint64_t word, size_t bytes)
{
    for (size_t b = 0; b < bytes; b++) {
        to[b] = (unsigned char)(word >> (8 * b));
    }
}

/* Bytes [start, start + bytes) of a tensor; start is a multiple of 8. */
static void fill_words(unsigned char *to, uint64_t seed, size_t start, size_t bytes, dtype type)
{
    const uint64_t step = UINT64_C(0x9e3779b97f4a7c15);
    uint64_t mask = plain_mask(type);
    uint64_t base = plain_base(type);
    uint64_t counter = (seed + start / 8) * step;
    size_t i = 0;

    for (; i + 8 <= bytes; i += 8) {
        store(to + i, (mix(counter) & mask) + base, 8);
        counter += step;
    }
    store(to + i, (mix(counter) & mask) + base, bytes - i);
}

static void fill_piece(void *arg, int64_t piece, int thread)
{
    const filling *f = arg;
    int64_t t = 0;

    (void)thread;
    while (f->first_piece[t + 1] <= piece) {
        t++;
    }
    const tensor *x = f->list[t];
    size_t block = dtype_block_bytes(x->type);
    size_t step = (size_t)piece_blocks(x->type) * block;
    size_t start = (size_t)(piece - f->first_piece[t]) * step;
    size_t bytes = x->bytes - start < step ? x->bytes - start : step;
    unsigned char *to = (unsigned char *)(uintptr_t)x->data + start;

    fill_words(to, seed_of(t), start, bytes, x->type);
    if (dtype_block_elements(x->type) > 1) {
        for (size_t i = 0; i < bytes; i += block) {
            set_scales(x->type, to + i);
        }
    }
}

static lariat_status fill_all(filling *f)
{
    pool *p = NULL;

    TRY(pool_open(cpus_available(), &p));
    pool_run(p, f->first_piece[f->n], fill_piece, f);
    pool_close(p);
    return LARIAT_OK;
}

lariat_status random_fill(const char *path, tensors *table, arena *memory)
{
    filling f = {0};
    size_t bytes = 0;

    f.list = malloc((size_t)table->n * sizeof *f.list);
    f.first_piece = calloc((size_t)table->n + 1, sizeof *f.first_piece);
    if (!f.list || !f.first_piece) {
        free(f.list);
        free(f.first_piece);
        return fail(LARIAT_NO_MEMORY, "%s: no memory for a list of %lld tensors" FREE_MEMORY, path, (long long)table->n);
    }
    for (int64_t i = 0; i < table->n; i++) {
        if (table->list[i].n_dims == 2) {
            const tensor *x = &table->list[i];
            int64_t blocks = (int64_t)(x->bytes / dtype_block_bytes(x->type));
            int64_t per_piece = piece_blocks(x->type);
            f.list[f.n] = x;
            f.first_piece[f.n + 1] = f.first_piece[f.n] + (blocks + per_piece - 1) / per_piece;
            f.n++;
            bytes += arena_need(x->bytes);
        }
    }
    lariat_status status = arena_open(memory, bytes, path);
    if (status == LARIAT_OK) {
        for (int64_t i = 0; i < table->n; i++) {
            if (table->list[i].n_dims == 2) {
                table->list[i].data = arena_take(memory, table->list[i].bytes);
            }
        }
        status = fill_all(&f);
    }
    free(f.list);
    free(f.first_piece);
    return status;
}
