/* The fingerprint of a model: a hash of its configuration, tensor table and samples of its values.
   Rests on format/tensors.h. See weights.h. */
#include "model/weights.h"

#include <string.h>

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
