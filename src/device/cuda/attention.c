/* The op attention on the GPU: cuts a call into launches, by shape alone.
   Rests on attention.h for the kernels. Read on in attention_prefill.cu.

   The kernel of an item is that of its shape: many rows or few in a 16-bit type on the matrix unit, everything else in fp32. An
   item is cut along its keys where its blocks alone would leave multiprocessors idle; how is decided by its own sizes and the
   card's, never by the other items, so that its bits are those it would have alone. Lists that a launch cannot hold go on in
   the next launch. */
#include "device/cuda/attention.h"
#include "device/cuda/kernels.h"

#include <string.h>

enum {
    STATIC_SHARED = 2048, /* that the kernels have beside what they ask for */
    WAVES_MOST = 3,       /* more fillings of the card than this gain nothing from a cut */
};

typedef enum attention_kernel { PREFILL, DECODE, PLAIN, N_KERNELS } attention_kernel;

typedef struct attention_call {
    cuda_device *dev;
    attention_launch a;
    attention_kernel kernel;
    int64_t blocks_held; /* by the card at once */
    int64_t partial_floats;
} attention_call;

static int64_t divide_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static int shared_most(cuda_device *dev)
{
    int bytes = 0;

    cuda_note(dev, cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, dev->ordinal), "attention");
    return bytes - STATIC_SHARED;
}

cudaError_t cuda_attention_load(cuda_device *dev)
{
    cudaError_t status = attention_prefill_load(shared_most(dev));

    status = status ? status : attention_decode_load(shared_most(dev));
    return status ? status : attention_plain_load();
}

/* --- launches --- */

static void launch(attention_call *call)
{
    static cudaError_t (*const kernels[N_KERNELS])(cudaStream_t, const attention_launch *) = {
        attention_prefill_launch, attention_decode_launch, attention_plain_launch};
    cuda_device *dev = call->dev;
    attention_launch *a = &call->a;

    if (a->n_parts) {
        cuda_note(dev, kernels[call->kernel](dev->stream, a), "attention");
    }
    if (call->partial_floats) {
        cuda_note(dev, attention_merge_launch(dev->stream, a), "merge of attention");
    }
    a->n_parts = a->n_keys = a->n_blocks = 0;
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

/* Some segments of an item, already in a->keys from keys0 on, become a part. */
static void add_part(attention_call *call, const attention_item *item, const attention_keys keys[], int32_t n_keys)
{
    attention_launch *a = &call->a;
    int32_t tile_rows = a->tile_rows, stack = item->count * a->group;
    attention_part p = {.row = item->row, .stack = stack, .n_keys = n_keys, .rows = stack < tile_rows ? stack : tile_rows};
    int64_t blocks = divide_up(stack, tile_rows) * a->n_kv_heads, floats = partial_floats(p.rows, a->head_dim);

    for (int32_t i = 0; i < n_keys; i++) {
        p.tiles += keys[i].tiles;
    }
    p.pieces = pieces_of(call, blocks, p.tiles, floats * (int64_t)sizeof(float));
    blocks *= p.pieces;
    floats = p.pieces > 1 ? floats * blocks : 0;
    if (a->n_parts == PARTS_MAX || a->n_keys + n_keys > SEGMENTS_MAX || blocks > INT32_MAX - a->n_blocks ||
        (size_t)(call->partial_floats + floats) * sizeof(float) > call->dev->scratch_bytes) {
        launch(call);
    }
    p.keys0 = a->n_keys;
    p.block0 = a->n_blocks;
    p.partial0 = call->partial_floats;
    memcpy(a->keys + a->n_keys, keys, (size_t)n_keys * sizeof *keys);
    a->parts[a->n_parts++] = p;
    a->n_keys += n_keys;
    a->n_blocks += (int32_t)blocks;
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

void cuda_attention(cuda_device *dev, const attention_shape *s, const void *q, int64_t ldq, const attention_item items[],
                    int n_items, const carry *c)
{
    const int most = shared_most(dev);
    const int held[N_KERNELS] = {attention_prefill_blocks(s->head_dim, most), attention_decode_blocks(s->head_dim, most),
                                 attention_plain_blocks(s->head_dim)};
    const int rows[N_KERNELS] = {PREFILL_ROWS, DECODE_ROWS, attention_plain_rows(s->head_dim)};
    attention_call call;

    memset(&call, 0, sizeof call); /* a launch takes all of it */
    call.dev = dev;
    call.a.q = q;
    call.a.ldq = ldq;
    call.a.c = *c;
    call.a.partials = dev->scratch;
    call.a.n_kv_heads = s->n_kv_heads;
    call.a.group = s->n_heads / s->n_kv_heads;
    call.a.head_dim = s->head_dim;
    call.a.slot_bytes = (int32_t)dtype_row_bytes(s->kv_type, s->head_dim);
    call.a.scale = s->scale;
    call.a.act = dev->base.act;
    call.a.kv_type = s->kv_type;
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
}
