/* The op attention on the GPU: cuts a call into launches, by shape alone.
   Rests on attention.h for the kernels. Read on in attention_prefill.cu.

   The kernel of an item is that of its shape: many rows or few in a 16-bit type on the matrix unit, everything else in fp32. An
   item is cut along its keys where its blocks alone would leave multiprocessors idle; how is decided by its own sizes and the
   card's, never by the other items, so that its bits are those it would have alone. Lists that a launch cannot hold go on in
   the next launch.

   Layer after layer asks for the same over other memory: a call that is the last one but for a shift of its keys and values goes
   out with the last one's lists. In passes that repeat (record.c) they go to the table, and the grid is rounded up, so that one
   recording serves many lengths. */
#include "device/cuda/attention.h"
#include "device/cuda/kernels.h"

#include <stdlib.h>
#include <string.h>

enum {
    STATIC_SHARED = 2048, /* that the kernels have beside what they ask for */
    WAVES_MOST = 3,       /* more fillings of the card than this gain nothing from a cut */
};

typedef enum attention_kernel { PREFILL, DECODE, PLAIN, N_KERNELS } attention_kernel;

/* What is queued: the list of one launch, and the grids. */
typedef struct attention_work {
    attention_kernel kernel;
    const attention_lists *on_card; /* NULL: not needed. In a pass that repeats it lies there from again() on */
    int32_t blocks, merge_blocks;   /* merge_blocks 0: nothing was split */
    int32_t tile_rows;
} attention_work;

typedef struct attention_call {
    cuda_device *dev;
    attention_launch a;
    attention_lists lists;
    attention_kernel kernel;
    int64_t blocks_held; /* by the card at once */
    int64_t partial_floats;
    int n_launches;
    attention_work last;
} attention_call;

/* The last call, if it was one launch from a list on the card. */
struct attention_memo {
    int shared_most;
    bool valid, aligned;
    int n_items;
    int64_t ldq;
    attention_shape shape;
    attention_item items[PARTS_MAX]; /* their lists one behind the other in `segments` */
    kv_segment segments[SEGMENTS_MAX];
    attention_work work;
};

size_t cuda_table_slot_bytes(void)
{
    return sizeof(attention_lists);
}

static int64_t divide_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

lariat_status cuda_attention_open(cuda_device *dev)
{
    int most = 0;
    cudaError_t status = cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, dev->ordinal);

    dev->attention = calloc(1, sizeof *dev->attention);
    if (!dev->attention) {
        return fail(LARIAT_NO_MEMORY, "CUDA: card %d (%s): no memory for attention" FREE_MEMORY, dev->ordinal, dev->name);
    }
    most -= STATIC_SHARED;
    dev->attention->shared_most = most;
    status = status ? status : attention_prefill_load(most);
    status = status ? status : attention_decode_load(most);
    status = status ? status : attention_plain_load();
    return status == cudaSuccess ? LARIAT_OK : cuda_failure(dev->ordinal, dev->name, "its kernels cannot be loaded", status);
}

void cuda_attention_close(cuda_device *dev)
{
    free(dev->attention);
    dev->attention = NULL;
}

void cuda_attention_forget(cuda_device *dev)
{
    dev->attention->valid = false;
}

/* --- launches --- */

/* Queues a launch whose list is on the card, and what merges its pieces. */
static void queue(cuda_device *dev, const attention_launch *a, const attention_work *w)
{
    const char *name = w->kernel == DECODE ? "attention, few rows" : "attention in fp32";
    uint32_t scale;

    memcpy(&scale, &a->scale, sizeof scale);
    if (HEARD(dev, (uintptr_t)name, (uintptr_t)w->on_card, (uint64_t)w->blocks, (uint64_t)w->merge_blocks, (uintptr_t)a->q,
              (uint64_t)a->ldq, (uintptr_t)a->c.o, (uint64_t)a->shift, (uint64_t)a->head_dim, (uint64_t)a->group,
              (uint64_t)a->n_kv_heads, scale, (uint64_t)a->kv_type)) {
        return;
    }
    cuda_note(dev, w->kernel == DECODE ? attention_decode_launch(dev->stream, a, w->on_card, w->blocks)
                                       : attention_plain_launch(dev->stream, a, w->on_card, w->blocks), name);
    if (w->merge_blocks) {
        cuda_note(dev, attention_merge_launch(dev->stream, a, w->on_card, w->merge_blocks), "merge of attention");
    }
}

/* Prefill is not repeated: its rows are as many as its masks say. */
static void queue_prefill(const attention_call *call, const attention_work *w)
{
    cuda_device *dev = call->dev;

    if (cuda_repeats(dev)) {
        cuda_not_repeated(dev);
        return;
    }
    cuda_note(dev, attention_prefill_launch(dev->stream, &call->a, &call->lists), "attention");
    if (w->merge_blocks) {
        cuda_note(dev, attention_merge_launch(dev->stream, &call->a, w->on_card, w->merge_blocks), "merge of attention");
    }
}

static void launch(attention_call *call)
{
    cuda_device *dev = call->dev;
    attention_lists *l = &call->lists;
    bool repeats = cuda_repeats(dev), split = call->partial_floats > 0 || repeats;
    attention_work w = {.kernel = call->kernel, .blocks = l->n_blocks, .tile_rows = call->a.tile_rows};

    if (l->n_parts == 0) {
        return;
    }
    for (int i = 0; split && i < l->n_parts; i++) {
        w.merge_blocks += l->parts[i].stack * call->a.n_kv_heads;
    }
    if (repeats) { /* one recording for many lengths: at most half a filling of the card too many */
        int32_t step = (dev->n_sms + 1) / 2;
        w.blocks = (w.blocks + step - 1) / step * step;
    }
    if (call->kernel != PREFILL || split) {
        w.on_card = cuda_table(dev, l, sizeof *l);
    }
    if (call->kernel == PREFILL) {
        queue_prefill(call, &w);
    } else {
        queue(dev, &call->a, &w);
    }
    call->last = w;
    call->n_launches++;
    l->n_parts = l->n_keys = l->n_blocks = 0;
    call->partial_floats = 0;
}

/* Into how many ranges of its key tiles a part is cut: as many as finish first, were all blocks equal. */
static int32_t pieces_of(const attention_call *call, int64_t blocks, int64_t tiles, int64_t block_bytes)
{
    /* In tiles: what a block needs beside its tiles, and what partial results add to that. */
    int64_t start = 2, split = call->kernel == DECODE ? 0 : 4, best = INT64_MAX;
    int64_t least = call->kernel == DECODE ? 2 : 8; /* tiles of a piece */
    int32_t pieces = 1;

    for (int32_t n = 1; n <= PIECES_MAX; n++) {
        int64_t cost = divide_up(blocks * n, call->blocks_held) * (divide_up(tiles, n) + start + (n > 1 ? split : 0));
        if (n > 1 && (tiles / n < least || blocks * n > WAVES_MOST * call->blocks_held ||
                      (size_t)(blocks * n * block_bytes) > call->dev->scratch_bytes)) {
            break;
        }
        if (cost < best) {
            best = cost;
            pieces = n;
        }
    }
    return pieces;
}

/* Some segments of an item become a part. */
static void add_part(attention_call *call, const attention_item *item, const attention_keys keys[], int32_t n_keys)
{
    const attention_launch *a = &call->a;
    attention_lists *l = &call->lists;
    int32_t tile_rows = a->tile_rows, stack = item->count * a->group;
    attention_part p = {.row = item->row, .stack = stack, .n_keys = n_keys, .rows = stack < tile_rows ? stack : tile_rows};
    int64_t blocks = divide_up(stack, tile_rows) * a->n_kv_heads, floats = partial_floats(p.rows, a->head_dim);

    for (int32_t i = 0; i < n_keys; i++) {
        p.tiles += keys[i].tiles;
    }
    p.pieces = pieces_of(call, blocks, p.tiles, floats * (int64_t)sizeof(float));
    blocks *= p.pieces;
    floats = p.pieces > 1 ? floats * blocks : 0;
    if (l->n_parts == PARTS_MAX || l->n_keys + n_keys > SEGMENTS_MAX || blocks > INT32_MAX - l->n_blocks ||
        (size_t)(call->partial_floats + floats) * sizeof(float) > call->dev->scratch_bytes) {
        launch(call);
    }
    p.keys0 = l->n_keys;
    p.block0 = l->n_blocks;
    p.partial0 = call->partial_floats;
    memcpy(l->keys + l->n_keys, keys, (size_t)n_keys * sizeof *keys);
    l->parts[l->n_parts++] = p;
    l->n_keys += n_keys;
    l->n_blocks += (int32_t)blocks;
    call->partial_floats += floats;
}

/* A segment as the item sees it; false if no query of it sees any slot. */
static bool keys_of(const attention_item *item, const kv_segment *s, attention_keys *out)
{
    int64_t visible = s->first == KV_ALL_VISIBLE ? INT32_MAX : item->first - s->first + 1, most = visible + item->count - 1;

    if (most > s->count) {
        most = s->count;
    }
    if (most <= 0) {
        return false;
    }
    *out = (attention_keys){s->k, s->v, s->head_stride, visible, s->count, (int32_t)divide_up(most, KEYS_TILE)};
    return true;
}

static void add_item(attention_call *call, const attention_item *item)
{
    attention_keys keys[SEGMENTS_MAX];
    int32_t n = 0;
    bool again = false;

    for (int32_t i = 0; i < item->n_segments; i++) {
        if (n == SEGMENTS_MAX) {
            if (again) {
                launch(call); /* each part goes on from the carry that the one before it leaves */
            }
            add_part(call, item, keys, n);
            again = true;
            n = 0;
        }
        n += keys_of(item, &item->segments[i], &keys[n]);
    }
    if (n) {
        if (again) {
            launch(call);
        }
        add_part(call, item, keys, n);
    }
}

/* --- which kernel --- */

static bool aligned(const void *p)
{
    return (uintptr_t)p % 16 == 0;
}

static attention_kernel kernel_of(const attention_call *call, const attention_item *item, const int held[N_KERNELS])
{
    const attention_launch *a = &call->a;
    bool fits =
        a->act == a->kv_type && a->act != DTYPE_F32 && a->scale > 0 && aligned(a->q) && a->ldq % 8 == 0 && aligned(a->c.o);
    attention_kernel kernel = (int64_t)item->count * a->group <= DECODE_ROWS ? DECODE : PREFILL;

    for (int32_t i = 0; fits && i < item->n_segments; i++) {
        fits = aligned(item->segments[i].k) && aligned(item->segments[i].v);
    }
    return fits && held[kernel] ? kernel : PLAIN;
}

/* --- the call that was there before --- */

static bool call_aligned(const attention_launch *a)
{
    return aligned(a->q) && a->ldq % 8 == 0 && aligned(a->c.o);
}

static bool same_shape(const attention_shape *a, const attention_shape *b)
{
    return a->n_heads == b->n_heads && a->n_kv_heads == b->n_kv_heads && a->head_dim == b->head_dim && a->scale == b->scale &&
           a->kv_type == b->kv_type;
}

/* Whether this call is the last one over keys and values that lie elsewhere, all of them *shift bytes further. */
static bool same_call(const attention_memo *m, const attention_launch *a, const attention_shape *s, const attention_item items[],
                      int n_items, int64_t *shift)
{
    const kv_segment *known = m->segments;
    bool same = m->valid && m->n_items == n_items && m->ldq == a->ldq && m->aligned == call_aligned(a) &&
                same_shape(&m->shape, s);

    *shift = 0;
    for (int i = 0; same && i < n_items; i++) {
        const attention_item *x = &items[i], *y = &m->items[i];
        same = x->row == y->row && x->count == y->count && x->first == y->first && x->n_segments == y->n_segments;
        for (int k = 0; same && k < x->n_segments; k++, known++) {
            const kv_segment *p = &x->segments[k];
            if (known == m->segments) {
                *shift = (int64_t)((uintptr_t)p->k - (uintptr_t)known->k);
            }
            same = p->head_stride == known->head_stride && p->count == known->count && p->first == known->first &&
                   (uintptr_t)p->k - (uintptr_t)known->k == (uintptr_t)*shift &&
                   (uintptr_t)p->v - (uintptr_t)known->v == (uintptr_t)*shift;
        }
    }
    return same && *shift % 16 == 0;
}

static void remember(attention_memo *m, const attention_call *call, const attention_shape *s, const attention_item items[],
                     int n_items)
{
    int32_t n = 0;

    m->valid = call->n_launches == 1 && call->last.kernel != PREFILL && n_items <= PARTS_MAX;
    for (int i = 0; m->valid && i < n_items; i++) {
        m->valid = n + items[i].n_segments <= SEGMENTS_MAX;
        if (m->valid) {
            m->items[i] = items[i];
            memcpy(m->segments + n, items[i].segments, (size_t)items[i].n_segments * sizeof *m->segments);
            n += items[i].n_segments;
        }
    }
    m->n_items = n_items;
    m->ldq = call->a.ldq;
    m->aligned = call_aligned(&call->a);
    m->shape = *s;
    m->work = call->last;
}

static attention_launch launch_of(const cuda_device *dev, const attention_shape *s, const void *q, int64_t ldq, const carry *c)
{
    return (attention_launch){.q = q,
                              .ldq = ldq,
                              .c = *c,
                              .partials = dev->scratch,
                              .n_kv_heads = s->n_kv_heads,
                              .group = s->n_heads / s->n_kv_heads,
                              .head_dim = s->head_dim,
                              .slot_bytes = (int32_t)dtype_row_bytes(s->kv_type, s->head_dim),
                              .scale = s->scale,
                              .act = dev->base.act,
                              .kv_type = s->kv_type};
}

void cuda_attention(cuda_device *dev, const attention_shape *s, const void *q, int64_t ldq, const attention_item items[],
                    int n_items, const carry *c)
{
    attention_memo *memo = dev->attention;
    const int most = memo->shared_most;
    const int held[N_KERNELS] = {attention_prefill_blocks(s->head_dim, most), attention_decode_blocks(s->head_dim, most),
                                 attention_plain_blocks(s->head_dim)};
    const int rows[N_KERNELS] = {PREFILL_ROWS, DECODE_ROWS, attention_plain_rows(s->head_dim)};
    attention_launch a = launch_of(dev, s, q, ldq, c);
    attention_call call;

    if (same_call(memo, &a, s, items, n_items, &a.shift)) {
        a.tile_rows = memo->work.tile_rows;
        queue(dev, &a, &memo->work);
        return;
    }
    memset(&call, 0, sizeof call); /* a launch takes all of it */
    a.shift = 0;
    call.dev = dev;
    call.a = a;
    for (call.kernel = PREFILL; call.kernel < N_KERNELS; call.kernel++) {
        call.a.tile_rows = rows[call.kernel];
        call.blocks_held = (int64_t)dev->n_sms * held[call.kernel];
        for (int i = 0; i < n_items; i++) {
            if (items[i].count > 0 && kernel_of(&call, &items[i], held) == call.kernel) {
                add_item(&call, &items[i]);
            }
        }
        launch(&call);
    }
    remember(memo, &call, s, items, n_items);
}
