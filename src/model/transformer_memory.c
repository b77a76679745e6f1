/* The transformer's buffers on one rank: their size, and taking them.
   Rests on base/arena.h: one walk over the buffers, with arenas that count or that have memory. See transformer.h. */
#include "model/head.h"

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

int64_t transformer_qkv(const model_config *c)
{
    return (int64_t)(c->n_heads + 2 * c->n_kv_heads) * c->head_dim;
}

static ring_setup ring_setup_of(const model_config *c, const transformer_setup *s)
{
    return (ring_setup){.n_layers = c->n_layers,
                        .shape = {.n_heads = c->n_heads, .n_kv_heads = c->n_kv_heads, .head_dim = c->head_dim,
                                  .scale = c->attention_scale, .kv_type = s->kv_type},
                        .slots = s->slots, .max_rows = s->max_rows, .max_slices = s->max_slices,
                        .max_runs = most(s->max_rows, s->max_slices), .max_parts = s->max_parts,
                        .max_extents = s->max_extents, .pass_q = s->pass_q,
                        .q_row_bytes = transformer_qkv(c) * (int64_t)dtype_block_bytes(s->act), .act = s->act};
}

size_t transformer_message(const model_config *c, const transformer_setup *s)
{
    ring_setup ring = ring_setup_of(c, s);
    size_t act = dtype_block_bytes(s->act);

    if (s->n_ranks == 1) { /* has all rows */
        return 0;
    }
    size_t slices = larger(bytes_of(s->max_slices, most(transformer_qkv(c), c->d_ff), act),
                           bytes_of(s->max_slices, c->d_model, sizeof(float)));
    size_t outputs = larger(bytes_of(HEAD_ROWS, c->d_model, act), bytes_of(HEAD_GATHERED, c->vocab, sizeof(float)));

    size_t sums = bytes_of(s->n_ranks, 2, linear_sum_bytes(least(s->max_slices, LINEAR_SUMMED), c->d_model));

    return larger(larger(larger(slices, outputs), sums), ring_message(&ring, s->n_ranks));
}

void transformer_hops(const model_config *c, const transformer_setup *s, size_t bytes[COMM_REGIONS])
{
    ring_setup ring = ring_setup_of(c, s);

    ring_hops(&ring, bytes);
}

/* Takes all buffers but the ring's from t's arenas, which may be ones that count. */
static void take_buffers(transformer *t, const model_config *c, const transformer_setup *s)
{
    arena *a = &t->memory, *lists = &t->lists;
    int64_t rows = most(s->max_rows, s->max_slices), width = (int64_t)c->n_heads * c->head_dim, half = c->rotary_dims / 2;
    size_t act = dtype_block_bytes(s->act), ffn = bytes_of(least(rows, s->ffn_rows), c->d_ff, act);

    t->x = arena_take(a, bytes_of(rows, c->d_model, sizeof *t->x));
    t->h = arena_take(a, bytes_of(most(rows, HEAD_ROWS), c->d_model, act));
    t->qkv = arena_take(a, bytes_of(rows, transformer_qkv(c), act));
    t->o = arena_take(a, bytes_of(rows, width, act));
    t->g = arena_take(a, ffn);
    t->u = arena_take(a, ffn);
    t->inv_freq = arena_take(a, bytes_of(2, half, sizeof *t->inv_freq));
    t->cos = arena_take(a, bytes_of(rows, half, sizeof *t->cos));
    t->sin = arena_take(a, bytes_of(rows, half, sizeof *t->sin));
    t->logits = arena_take(a, larger(bytes_of(HEAD_ROWS, linear_slice_width(c->vocab, s->n_ranks), sizeof *t->logits),
                                     bytes_of(HEAD_GATHERED, c->vocab, sizeof *t->logits)));
    t->chosen = arena_take(a, bytes_of(s->max_parts, 1, sizeof *t->chosen));
    t->settings = arena_take(a, bytes_of(s->max_parts, 1, sizeof *t->settings));
    t->tokens = arena_take(a, bytes_of(rows, 1, sizeof *t->tokens));
    t->positions = arena_take(a, bytes_of(rows, 1, sizeof *t->positions));
    t->host_tokens = arena_take(lists, bytes_of(rows, 1, sizeof *t->host_tokens));
    t->host_positions = arena_take(lists, bytes_of(rows, 1, sizeof *t->host_positions));
    t->goes_on = arena_take(lists, bytes_of(s->n_ranks, 1, sizeof *t->goes_on));
    t->linear.begin = arena_take(lists, bytes_of((int64_t)s->n_ranks + 1, 1, sizeof *t->linear.begin));
}

/* The size of the buffers, in the arenas of a transformer that is used for nothing else. */
static transformer count_buffers(const model_config *c, const transformer_setup *s)
{
    transformer t = {0};

    arena_count(&t.memory);
    arena_count(&t.lists);
    take_buffers(&t, c, s);
    return t;
}

size_t transformer_memory(const model_config *c, const transformer_setup *s)
{
    transformer counted = count_buffers(c, s);
    ring_setup ring = ring_setup_of(c, s);

    return arena_sum((const size_t[]){counted.memory.used, counted.lists.used, ring_memory(&ring, s->n_ranks)}, 3);
}

lariat_status transformer_open(transformer *t, const model_config *config, const model_weights *weights, device *dev, comm *c,
                               const transformer_setup *s)
{
    transformer counted = count_buffers(config, s);
    ring_setup ring = ring_setup_of(config, s);

    *t = (transformer){.config = config, .weights = weights, .dev = dev, .comm = c, .linear = {.dev = dev, .comm = c},
                       .ffn_rows = s->ffn_rows};
    TRY(ring_open(&t->ring, dev, c, &ring));
    TRY(device_arena_open(dev, &t->memory, counted.memory.used, "activations"));
    TRY(arena_open(&t->lists, counted.lists.used, "lists of a pass"));
    take_buffers(t, config, s);
    dev->ops->upload(dev, t->inv_freq, config->inv_freq, (size_t)config->rotary_dims * sizeof *t->inv_freq);
    if (s->pass_q) {
        ring_expose_queries(&t->ring, t->qkv, s->max_rows, transformer_qkv(config));
    }
    return dev->ops->finish(dev);
}

void transformer_close(transformer *t)
{
    if (t->dev) {
        ring_close(&t->ring);
        device_arena_close(t->dev, &t->memory);
    }
    arena_close(&t->lists);
    *t = (transformer){0};
}
