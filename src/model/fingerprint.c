/* The fingerprint of a model: a hash of its configuration, tensor table and samples of its values; and hashes of all values.
   Rests on format/tensors.h and base/threads.h. See weights.h. */
#include "model/weights.h"

#include "base/threads.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* FNV-1a of numbers, names and sampled values, byte by byte: the same on every machine. */
static uint64_t hash_bytes(uint64_t h, const unsigned char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        h = (h ^ bytes[i]) * UINT64_C(0x100000001b3);
    }
    return h;
}

static uint64_t hash_int(uint64_t h, int64_t value)
{
    unsigned char bytes[8];

    for (int i = 0; i < 8; i++) {
        bytes[i] = (unsigned char)((uint64_t)value >> (8 * i));
    }
    return hash_bytes(h, bytes, sizeof bytes);
}

static uint64_t hash_float(uint64_t h, float value)
{
    int32_t bits;

    memcpy(&bits, &value, sizeof bits);
    return hash_int(h, bits);
}

static uint64_t hash_text(uint64_t h, const char *text)
{
    return hash_bytes(h, (const unsigned char *)text, strlen(text) + 1);
}

/* Evenly spaced samples, first and last bytes included. Each one costs a page read, from a cold disk at worst: so they are
   few, and large parts of their pages. */
static uint64_t hash_values(uint64_t h, const tensor *x)
{
    enum { SAMPLES = 4, SAMPLE_BYTES = 1024 };
    const unsigned char *bytes = x->data;

    if (!bytes) { /* of a random model: determined by its name */
        return h;
    }
    if (x->bytes <= SAMPLES * SAMPLE_BYTES) {
        return hash_bytes(h, bytes, x->bytes);
    }
    for (size_t i = 0; i < SAMPLES; i++) {
        h = hash_bytes(h, bytes + (x->bytes - SAMPLE_BYTES) * i / (SAMPLES - 1), SAMPLE_BYTES);
    }
    return h;
}

uint64_t model_fingerprint(const model *m)
{
    const model_config *c = &m->config;
    const int64_t numbers[] = {c->n_layers, c->d_model,         c->n_heads, c->n_kv_heads, c->head_dim, c->d_ff,
                               c->vocab,    c->trained_context, c->rope,    c->tied_head,  c->bos_id,   c->n_end_ids,
                               c->rotary_dims, c->window, c->long_from};
    const float floats[] = {c->rms_eps, c->rope_factor, c->attention_scale, c->embedding_scale, c->residual_eps,
                            (float)c->logits_divisor};
    uint64_t h = hash_text(UINT64_C(0xcbf29ce484222325), c->family->name);

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        h = hash_int(h, numbers[i]);
    }
    for (int32_t i = 0; i < c->n_end_ids; i++) {
        h = hash_int(h, c->end_ids[i]);
    }
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++) {
        h = hash_float(h, floats[i]);
    }
    for (int32_t i = 0; i < c->rotary_dims; i++) {
        h = hash_float(h, c->inv_freq[i]); /* zeros behind one half of them, or those of long sequences */
    }
    for (int32_t l = 0; l < c->n_layers; l++) {
        h = hash_int(h, c->no_rope[l]);
    }
    for (int64_t i = 0; i < m->table->n; i++) {
        const tensor *x = &m->table->list[i];
        h = hash_text(hash_text(h, x->name), x->type_name);
        for (int32_t d = 0; d < x->n_dims; d++) {
            h = hash_int(h, x->dims[d]);
        }
        h = hash_values(h, x);
    }
    return h;
}

/* --- all values --- */

/* AHEAD: bytes between hashed and prefetched ones: a memory's latency of words (measured, GB/s a thread: 10.5 of mapped pages,
   6.3 without prefetching; 7 with the faults of the first touch, as read(2) into a buffer). */
enum { WORD = 8, STRIPE = 4 * WORD, AHEAD = 2048, PIECE = 1 << 20 };

/* Odd numbers with bits all over: the fractions of square roots. */
static const uint64_t ROOT_2 = UINT64_C(0x6a09e667f3bcc909), ROOT_3 = UINT64_C(0xbb67ae8584caa73b);

static uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

/* Every bit of x decides about every bit of the result. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 32) * ROOT_2;
    x = (x ^ x >> 29) * ROOT_3;
    return x ^ x >> 32;
}

/* A lane takes a word. It is rotated, since a product keeps differences of high bits high: two of these could cancel. */
static uint64_t take_word(uint64_t lane, const unsigned char *at)
{
    uint64_t word;

    memcpy(&word, at, WORD);
    return rotate((lane ^ word) * ROOT_2, 29);
}

/* Four words a step, each into a lane of its own: a lane's product takes longer than the start of the next one's. The lanes
   are no array, which compilers would keep in memory. */
static uint64_t hash_piece(const unsigned char *bytes, size_t n, uint64_t number)
{
    uint64_t h = mix(number + ROOT_3) + n, a = h, b = h + ROOT_2, c = h + ROOT_3, d = h + ROOT_2 + ROOT_3;
    unsigned char last[STRIPE] = {0};
    size_t whole = n / STRIPE * STRIPE;

    memcpy(last, bytes + whole, n - whole);
    for (size_t at = 0; at < n; at += STRIPE) {
        const unsigned char *stripe = at < whole ? bytes + at : last;
        __builtin_prefetch(bytes + (at + AHEAD < n ? at + AHEAD : at));
        a = take_word(a, stripe);
        b = take_word(b, stripe + WORD);
        c = take_word(c, stripe + 2 * WORD);
        d = take_word(d, stripe + 3 * WORD);
    }
    return mix(mix(mix(mix(a) ^ b) ^ c) ^ d);
}

typedef struct hashing {
    const tensors *table;
    int64_t *first; /* [n + 1] pieces before each tensor */
    _Atomic uint64_t *sums;
} hashing;

static void hash_one(void *arg, int64_t piece, int thread)
{
    const hashing *h = arg;
    int64_t low = 0, high = h->table->n;

    (void)thread;
    while (high - low > 1) { /* the tensor with first[low] <= piece < first[low + 1]; empty ones have no piece */
        int64_t middle = low + (high - low) / 2;
        *(h->first[middle] <= piece ? &low : &high) = middle;
    }
    const tensor *x = &h->table->list[low];
    size_t at = (size_t)(piece - h->first[low]) * PIECE, n = x->bytes - at < PIECE ? x->bytes - at : PIECE;
    const unsigned char *bytes = (const unsigned char *)x->data + at;
    uintptr_t page = (uintptr_t)bytes & ~((uintptr_t)sysconf(_SC_PAGESIZE) - 1);
    /* A hint: one call for what would be many faults. */
    (void)madvise((void *)page, (uintptr_t)bytes + n - page, MADV_POPULATE_READ);
    atomic_fetch_add(&h->sums[low], hash_piece(bytes, n, (uint64_t)(piece - h->first[low])));
}

/* The sum over pieces does not depend on which thread takes which. */
static lariat_status hash_pieces(hashing *h, int threads)
{
    pool *p;

    for (int64_t i = 0; i < h->table->n; i++) {
        const tensor *x = &h->table->list[i];
        h->first[i + 1] = h->first[i] + (x->data ? (int64_t)((x->bytes + PIECE - 1) / PIECE) : 0);
    }
    TRY(pool_open(threads, &p));
    pool_run(p, h->first[h->table->n], hash_one, h);
    pool_close(p);
    return LARIAT_OK;
}

lariat_status model_hash(const model *m, int threads, uint64_t out[])
{
    size_t n = (size_t)m->table->n;
    hashing h = {.table = m->table, .first = calloc(n + 1, sizeof *h.first), .sums = calloc(n + 1, sizeof *h.sums)};
    lariat_status status = h.first && h.sums ? hash_pieces(&h, threads)
                                             : fail(LARIAT_NO_MEMORY, "%s: no memory for its hashes" FREE_MEMORY, m->path);

    for (size_t i = 0; status == LARIAT_OK && i < n; i++) {
        out[i] = atomic_load(&h.sums[i]);
    }
    free(h.first);
    free(h.sums);
    return status;
}
