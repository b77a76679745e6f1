/* The operations of a pass as words.
   Rests on issued.h, where it is said what is asserted here. */
#include "support/issued.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static issued *of_device(device *dev)
{
    return ((issued_device *)dev)->self;
}

static void write_words(issued *r, const uint64_t words[], int n)
{
    assert_true(r->n_words + n <= ISSUED_WORDS);
    memcpy(r->words + r->n_words, words, (size_t)n * sizeof *words);
    r->n_words += n;
}

#define WORDS(r, ...)                                                                                                          \
    write_words((r), (const uint64_t[]){__VA_ARGS__}, (int)(sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t)))
#define AT(p) ((uint64_t)(uintptr_t)(p))

static uint64_t bits(float x)
{
    uint32_t b;

    memcpy(&b, &x, sizeof b);
    return b;
}

/* What an operation reads there may differ from pass to pass. */
static void assert_in_memory(const issued *r, const void *at, size_t bytes)
{
    assert_true(device_memory_holds(&r->memory, at, bytes));
}

/* --- memory --- */

static lariat_status op_reserve(device *dev, size_t bytes, const char *what, void **out)
{
    (void)what;
    return device_memory_reserve(&of_device(dev)->memory, bytes, out);
}

static void op_upload(device *dev, void *to, const void *from, size_t bytes)
{
    assert_in_memory(of_device(dev), to, bytes);
    memcpy(to, from, bytes);
}

static void op_download(device *dev, void *to, const void *from, size_t bytes)
{
    issued *r = of_device(dev);
    uintptr_t rows = (uintptr_t)r->rows;

    if ((uintptr_t)from < rows || (uintptr_t)from + bytes > rows + ISSUED_SETS * r->message_bytes) {
        assert_in_memory(r, from, bytes);
    }
    memset(to, 0, bytes);
    r->downloaded += bytes;
}

static lariat_status op_done(device *dev)
{
    (void)dev;
    return LARIAT_OK;
}

/* --- replay --- */

/* Blocks of a made-up kernel: two tiles of 16 keys each, for every KV head of every item; in steps of four. */
static uint64_t grid_of(const attention_shape *s, const attention_item items[], int n_items)
{
    int64_t blocks = 0;

    for (int i = 0; i < n_items; i++) {
        int64_t tiles = 0;
        for (int k = 0; k < items[i].n_segments; k++) {
            tiles += (items[i].segments[k].count + 15) / 16;
        }
        blocks += s->n_kv_heads * ((tiles + 1) / 2);
    }
    return (uint64_t)((blocks + 3) / 4 * 4);
}

static uint64_t op_replay_class(device *dev, const attention_shape *s, const void *q, int64_t ldq, const attention_item items[],
                                int n_items, const carry *c, const attention_ends *ends)
{
    issued *r = of_device(dev);

    assert_true(n_items <= ISSUED_LIST);
    assert_true(q && ldq && c->o && ends->is_first);
    r->n_items = r->n_segments = 0;
    for (int i = 0; i < n_items; i++) {
        assert_true(r->n_segments + items[i].n_segments <= ISSUED_LIST);
        r->items[r->n_items] = items[i];
        r->items[r->n_items++].segments = r->segments + r->n_segments;
        memcpy(r->segments + r->n_segments, items[i].segments, (size_t)items[i].n_segments * sizeof *r->segments);
        r->n_segments += items[i].n_segments;
    }
    /* Without keys there is no distance from layer to layer either. */
    return r->refuses ? 0 : 1 + 2 * grid_of(s, items, n_items) + (r->n_segments > 0);
}

static bool op_replay_begin(device *dev, uint64_t key)
{
    issued *r = of_device(dev);

    assert_true(key != 0);
    r->begun++;
    r->key = key;
    return r->launches;
}

static bool op_replay_end(device *dev)
{
    of_device(dev)->ended++;
    return false;
}

/* How much further all keys and values of a call lie than what was announced, which it is but for that. */
static uint64_t distance(const issued *r, const attention_item items[], int n_items)
{
    uint64_t far = 0;
    int n = 0;

    assert_int_equal(n_items, r->n_items);
    for (int i = 0; i < n_items; i++) {
        const attention_item *a = &items[i], *b = &r->items[i];
        assert_true(a->row == b->row && a->count == b->count && a->first == b->first && a->n_segments == b->n_segments);
        for (int k = 0; k < a->n_segments; k++, n++) {
            const kv_segment *x = &a->segments[k], *y = &b->segments[k];
            far = n ? far : AT(x->k) - AT(y->k);
            assert_true(x->count == y->count && x->first == y->first && x->head_stride == y->head_stride);
            assert_true(AT(x->k) - AT(y->k) == far && AT(x->v) - AT(y->v) == far);
        }
    }
    return far;
}

/* --- operations --- */

static void op_embed(device *dev, float *x, const matrix *table, const int32_t *tokens, const int32_t *made, int64_t n,
                     float scale)
{
    issued *r = of_device(dev);

    assert_in_memory(r, tokens, (size_t)n * sizeof *tokens);
    assert_in_memory(r, made, sizeof *made);
    WORDS(r, AT("embed"), AT(x), AT(table->data), AT(tokens), AT(made), (uint64_t)n, bits(scale));
}

static void op_rms_norm(device *dev, void *out, const float *x, const float *weight, float eps, int64_t n, int64_t d)
{
    WORDS(of_device(dev), AT("rms_norm"), AT(out), AT(x), AT(weight), bits(eps), (uint64_t)n, (uint64_t)d);
}

static void op_linear(device *dev, const void *x, int64_t ldx, int64_t n, const linear_job jobs[], int n_jobs)
{
    issued *r = of_device(dev);

    WORDS(r, AT("linear"), AT(x), (uint64_t)ldx, (uint64_t)n, (uint64_t)n_jobs);
    for (int i = 0; i < n_jobs; i++) {
        const linear_job *j = &jobs[i];
        WORDS(r, AT(j->w->data), (uint64_t)j->row0, (uint64_t)j->rows, (uint64_t)j->col0, (uint64_t)j->cols, AT(j->bias),
              j->type, AT(j->y), (uint64_t)j->ldy, j->add);
    }
}

static void op_rope_angles(device *dev, float *cos, float *sin, const int64_t *positions, int64_t n, const float *inv_freq,
                           int64_t half, float factor)
{
    issued *r = of_device(dev);

    assert_in_memory(r, positions, (size_t)n * sizeof *positions);
    WORDS(r, AT("rope_angles"), AT(cos), AT(sin), AT(positions), (uint64_t)n, AT(inv_freq), (uint64_t)half, bits(factor));
}

static void op_rope(device *dev, const rotation *r, int64_t n, int32_t head_dim)
{
    WORDS(of_device(dev), AT("rope"), AT(r->x), (uint64_t)r->ld, (uint64_t)n, (uint64_t)r->heads, (uint64_t)r->kv_heads,
          (uint64_t)head_dim, (uint64_t)r->dims, AT(r->cos), AT(r->sin), r->style, AT(r->q_norm), AT(r->k_norm), bits(r->eps),
          r->whole);
}

static void op_kv_store(device *dev, void *cache, float *scales, dtype type, int64_t head_stride, const int64_t *slots,
                        const void *x, int64_t ldx, int64_t n, int32_t heads, int32_t head_dim)
{
    issued *r = of_device(dev);

    assert_in_memory(r, slots, (size_t)n * sizeof *slots);
    WORDS(r, AT("kv_store"), AT(cache), AT(scales), type, (uint64_t)head_stride, AT(slots), AT(x), (uint64_t)ldx, (uint64_t)n,
          (uint64_t)heads, (uint64_t)head_dim);
}

static void carry_words(issued *r, const char *op, const carry *c, int64_t rows)
{
    WORDS(r, AT(op), AT(c->o), AT(c->m), AT(c->l), (uint64_t)rows);
}

static void op_carry_clear(device *dev, const carry *c, const attention_shape *s, int64_t rows)
{
    (void)s;
    carry_words(of_device(dev), "carry_clear", c, rows);
}

static void op_attention(device *dev, const attention_shape *s, const void *q, int64_t ldq, const attention_item items[],
                         int n_items, const carry *c, const attention_ends *ends)
{
    issued *r = of_device(dev);

    r->grid = grid_of(s, items, n_items);
    carry_words(r, "attention", c, n_items ? items[n_items - 1].row + items[n_items - 1].count : 0);
    WORDS(r, AT(q), (uint64_t)ldq, ends->is_first, AT(ends->out), (uint64_t)ends->ldo, r->grid,
          r->begun ? distance(r, items, n_items) : 0);
}

static void op_carry_merge(device *dev, const carry *into, const carry *from, const attention_shape *s, int64_t rows)
{
    (void)s;
    carry_words(of_device(dev), "carry_merge, into", into, rows);
    carry_words(of_device(dev), "carry_merge, from", from, rows);
}

static void op_carry_finish(device *dev, const carry *c, const attention_shape *s, int64_t rows, void *out, int64_t ldo)
{
    (void)s;
    carry_words(of_device(dev), "carry_finish", c, rows);
    WORDS(of_device(dev), AT(out), (uint64_t)ldo);
}

static void op_silu_mul(device *dev, void *g, int64_t ldg, const void *u, int64_t ldu, int64_t n, int64_t d)
{
    WORDS(of_device(dev), AT("silu_mul"), AT(g), (uint64_t)ldg, AT(u), (uint64_t)ldu, (uint64_t)n, (uint64_t)d);
}

static void op_copy(device *dev, dtype type, void *y, int64_t ldy, const void *x, int64_t ldx, int64_t n, int64_t width,
                    bool add)
{
    WORDS(of_device(dev), AT("copy"), type, AT(y), (uint64_t)ldy, AT(x), (uint64_t)ldx, (uint64_t)n, (uint64_t)width, add);
}

static void op_sample(device *dev, int32_t *tokens, const float *logits, int64_t ld, int64_t n, int64_t vocab,
                      const sample_setting *settings)
{
    issued *r = of_device(dev);

    assert_in_memory(r, tokens, (size_t)n * sizeof *tokens);
    assert_in_memory(r, settings, (size_t)n * sizeof *settings);
    WORDS(r, AT("sample"), AT(tokens), AT(logits), (uint64_t)ld, (uint64_t)n, (uint64_t)vocab, AT(settings));
}

static const device_ops issued_ops = {
    .name = "issued",
    .reserve = op_reserve,
    .release = device_memory_release,
    .upload = op_upload,
    .download = op_download,
    .finish = op_done,
    .mark = op_done,
    .replay_class = op_replay_class,
    .replay_begin = op_replay_begin,
    .replay_end = op_replay_end,
    .embed = op_embed,
    .rms_norm = op_rms_norm,
    .linear = op_linear,
    .rope_angles = op_rope_angles,
    .rope = op_rope,
    .kv_store = op_kv_store,
    .carry_clear = op_carry_clear,
    .attention = op_attention,
    .carry_merge = op_carry_merge,
    .carry_finish = op_carry_finish,
    .silu_mul = op_silu_mul,
    .copy = op_copy,
    .sample = op_sample,
};

/* --- the transport: pieces lie in one place, of which nobody reads more than the address --- */

static issued *of_comm(const comm *c)
{
    return ((const issued_comm *)c)->self;
}

static void transport_begin(comm *c, bool replays)
{
    assert_true(!replays || c->replays);
    of_comm(c)->gathers = 0;
}

static void *transport_rows(comm *c)
{
    const issued *r = of_comm(c);

    return r->rows + (r->gathers == 0 ? ISSUED_SETS - 1 : r->gathers & 1) * r->message_bytes;
}

static lariat_status transport_all_gather(comm *c, const comm_gather *g)
{
    issued *r = of_comm(c);

    assert_true(comm_gather_bytes(g, c->n) <= r->message_bytes);
    WORDS(r, AT("all-gather"), AT(transport_rows(c)), (uint64_t)g->rows, g->stride);
    for (int i = 0; i <= c->n; i++) {
        WORDS(r, g->begin[i]);
    }
    r->gathers++;
    return LARIAT_OK;
}

static void transport_expose(comm *c, comm_region region, const void *base, size_t bytes)
{
    (void)region;
    assert_in_memory(of_comm(c), base, bytes);
}

static void transport_offer(comm *c, int to, const comm_pieces *p)
{
    WORDS(of_comm(c), AT("offer"), (uint64_t)to, p->region, p->step);
}

static lariat_status transport_ask(comm *c, const comm_hop *hop)
{
    WORDS(of_comm(c), AT("ask"), (uint64_t)hop->owner, hop->offer.region, hop->offer.step);
    return LARIAT_OK;
}

static lariat_status transport_take(comm *c, comm_hop *hop)
{
    for (int i = 0; i < hop->offer.n; i++) {
        hop->views[i] = (comm_view){of_comm(c)->staging, hop->offer.list[i].bytes};
    }
    return LARIAT_OK;
}

static void transport_release(comm *c, const comm_hop *hop)
{
    (void)c;
    (void)hop;
}

static const comm_ops transport_ops = {
    .begin = transport_begin,
    .rows = transport_rows,
    .all_gather = transport_all_gather,
    .expose = transport_expose,
    .offer = transport_offer,
    .ask = transport_ask,
    .take = transport_take,
    .release = transport_release,
};

/* --- a rank --- */

void issued_open(issued *r, int rank, const comm_setup *setup)
{
    memset(r, 0, sizeof *r);
    r->dev = (issued_device){{.ops = &issued_ops, .act = DTYPE_BF16}, r};
    r->comm = (issued_comm){{.ops = &transport_ops, .dev = &r->dev.base, .rank = rank, .n = setup->n_ranks, .replays = true},
                            r};
    r->message_bytes = setup->message_bytes;
    r->rows = malloc(ISSUED_SETS * setup->message_bytes + 1);
    r->staging = malloc(1);
    assert_true(r->rows && r->staging);
}

void issued_close(issued *r)
{
    free(r->rows);
    free(r->staging);
}

void issued_forget(issued *r)
{
    r->n_words = r->begun = r->ended = 0;
    r->downloaded = 0;
    r->key = r->grid = 0;
}
