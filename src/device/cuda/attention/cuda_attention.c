/* The op attention on the GPU: cuts a call into launches, by shape alone. Rests on cuda_attention.h for the kernels. Read on in
   attention_hopper.cu.

   The kernel of an item is that of its shape and of the card: many rows or few in a 16-bit type on the matrix unit, everything
   else in fp32. Those for Hopper and for few rows can begin without a carry and finish rows themselves. A call whose items all
   go to these, each in one launch, does so; for any other call the carry is cleared before and divided after. An item is cut
   along its keys where its blocks alone would leave multiprocessors idle; how is decided by its own sizes and the card's, so
   that its bits are those it would have alone, but for few rows in 16 bits: there the items of a call share the card, as far as
   each has keys (128 texts that are decoded have blocks enough without a cut). Lists that a launch cannot hold go on in the
   next launch.

   Keys and values of 8-bit codes are read as such where rows are few and in fp32. Kernels of many rows read 16 bits: the
   segments of an item are expanded into the caller's memory first, once for all consecutive items that have the same.

   Layer after layer asks for the same over other memory: a call that is the last one but for a shift of its keys and values
   goes out with the last one's lists. In a pass that is replayed these were announced before it began (cuda_attention_class),
   and the grid is rounded up, so that one recording serves many lengths. */
#include "base/mixed.h"
#include "device/cuda/attention/cuda_attention.h"
#include "device/cuda/runtime/kernels.h"

#include <stdlib.h>
#include <string.h>

enum {
    STATIC_SHARED = 2048, /* that the kernels have beside what they ask for */
    WAVES_MOST = 3,       /* more fillings of the card than this gain nothing from a cut */
};

typedef enum attention_kernel { HOPPER, PREFILL, DECODE, PLAIN, N_KERNELS } attention_kernel;

/* One launch: its list, and the grids. */
typedef struct attention_work {
    attention_kernel kernel;
    const attention_long_lists *listed; /* on the card; NULL: given by value */
    int32_t blocks, merge_rows;    /* merge_rows 0: nothing was split */
    int32_t tile_rows;
} attention_work;

typedef struct attention_call {
    cuda_device *dev;
    attention_launch a;
    attention_long_lists lists;
    attention_kernel kernel;
    int32_t keys_tile;   /* slots of a tile of the kernel */
    bool native;         /* its kernels begin and finish rows */
    int64_t rows;        /* of q */
    int64_t blocks_held; /* by the card at once */
    int64_t work; /* of the items that share these: blocks times key tiles, were nothing cut; 0: each is cut as if alone */
    int64_t partial_floats;
    const attention_shape *shape;
    const attention_item *expanded; /* whose segments `shape->expanded` has, in slots [expanded_at, slots_used) */
    int64_t expanded_at, slots_used;
    bool announces; /* nothing is queued: the lists are for a pass that may be replayed */
    int n_works;
    attention_work works[CUDA_LISTS]; /* the first launches */
} attention_call;

enum { MEMO_ITEMS = CUDA_LISTS * PARTS_LISTED, MEMO_SEGMENTS = CUDA_LISTS * SEGMENTS_LISTED };

/* What the card's kernels are given, and the last call, if all its launches have lists on the card. */
struct attention_memo {
    int shared_most;
    map_encoder encoder; /* NULL: not a card for attention_hopper.cu */
    unsigned *counters;  /* its two words */
    unsigned *merge_counters; /* of attention_decode.cu */
    bool valid, announced; /* the lists of the call are there; they will be, once a recording is launched */
    bool aligned, native;
    int n_items, n_works;
    int64_t ldq;
    attention_shape shape;
    attention_item items[MEMO_ITEMS]; /* their segments one behind the other in `segments` */
    kv_segment segments[MEMO_SEGMENTS];
    attention_work works[CUDA_LISTS];
};

size_t cuda_attention_list_bytes(void)
{
    return sizeof(attention_long_lists);
}

/* Of which so much is filled. */
static size_t filled_bytes(const attention_long_lists *l)
{
    return offsetof(attention_long_lists, keys) + (size_t)l->n_keys * sizeof *l->keys;
}

static int64_t divide_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static cudaError_t zeroed_words(cuda_device *dev, size_t n, unsigned **out)
{
    cudaError_t status = cudaMalloc((void **)out, n * sizeof **out);

    return status ? status : cudaMemsetAsync(*out, 0, n * sizeof **out, dev->stream);
}

/* wgmma is of compute capability 9.0 alone. */
static cudaError_t open_hopper(cuda_device *dev, attention_memo *m)
{
    bool built = false;
    cudaError_t status;

    if (dev->sm != 90) {
        return cudaSuccess;
    }
    status = attention_hopper_load(m->shared_most, &built);
    if (status || !built) {
        return status;
    }
    status = zeroed_words(dev, 2, &m->counters);
    return status ? status : attention_maps_open(&m->encoder);
}

lariat_status cuda_attention_open(cuda_device *dev)
{
    int most = 0;
    cudaError_t status = cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, dev->ordinal);

    dev->attention = calloc(1, sizeof *dev->attention);
    TRY_MEMORY(dev->attention, "CUDA: card %d (%s): no memory for attention" FREE_MEMORY, dev->ordinal, dev->name);
    most -= STATIC_SHARED;
    dev->attention->shared_most = most;
    status = status ? status : open_hopper(dev, dev->attention);
    status = status ? status : zeroed_words(dev, PARTS_LISTED * MERGE_HEADS, &dev->attention->merge_counters);
    status = status ? status : attention_prefill_load(most);
    status = status ? status : attention_decode_load(most);
    status = status ? status : attention_plain_load();
    status = status ? status : attention_expand_load();
    status = status ? status : attention_merge_load();
    return status == cudaSuccess ? LARIAT_OK : cuda_failure(dev->ordinal, dev->name, "its kernels cannot be loaded", status);
}

map_encoder cuda_map_encoder(const cuda_device *dev)
{
    return dev->attention->encoder;
}

void cuda_attention_close(cuda_device *dev)
{
    if (dev->attention) {
        cudaFree(dev->attention->counters);
        cudaFree(dev->attention->merge_counters);
    }
    free(dev->attention);
    dev->attention = NULL;
}

void cuda_attention_forget(cuda_device *dev)
{
    dev->attention->valid = dev->attention->announced = false;
}

void cuda_attention_use_announced(cuda_device *dev)
{
    dev->attention->valid = dev->attention->announced;
    dev->attention->announced = false;
}

/* --- launches --- */

/* Queues a launch whose list is on the card, and what merges its pieces. */
static void queue(cuda_device *dev, const attention_launch *a, const attention_work *w, const packet_carries *exchange)
{
    unsigned *counters = dev->attention->merge_counters;

    cuda_note(dev,
              w->kernel == DECODE ? attention_decode_launch(dev->stream, a, w->listed, w->blocks, counters, exchange)
                                  : attention_plain_launch(dev->stream, a, w->listed, w->blocks),
              w->kernel == DECODE ? "attention, few rows" : "attention in fp32");
    if (w->merge_rows) {
        cuda_note(dev, attention_merge_launch(dev->stream, a, w->listed, w->merge_rows), "merge of attention");
    }
}

/* As many KV heads as the second-level cache keeps: the keys of each are read by all of its rows. */
static int32_t heads_together(const attention_call *call)
{
    enum { KEPT = 32 << 20 };
    const attention_long_lists *l = &call->lists;
    int64_t most = 1;

    for (int32_t i = 0; i < l->n_parts; i++) {
        int64_t bytes = 0;
        for (int32_t k = 0; k < l->parts[i].n_keys; k++) {
            bytes += 2 * (int64_t)l->keys[l->parts[i].keys0 + k].count * call->a.slot_bytes;
        }
        most = bytes > most ? bytes : most;
    }
    return most > KEPT ? 1 : most * call->a.n_kv_heads <= KEPT ? call->a.n_kv_heads : (int32_t)(KEPT / most);
}

static cudaError_t launch_hopper(attention_call *call, const attention_lists *lists)
{
    attention_memo *m = call->dev->attention;
    attention_maps maps;
    cudaError_t status = attention_maps_make(m->encoder, &call->a, lists, call->rows, &maps);

    call->a.heads_together = heads_together(call);
    return status ? status : attention_hopper_launch(call->dev->stream, &call->a, lists, &maps, call->dev->n_sms, m->counters);
}

static void queue_prefill(attention_call *call, const attention_work *w)
{
    cuda_device *dev = call->dev;
    const attention_long_lists *l = &call->lists;
    attention_lists given = {.n_parts = l->n_parts, .n_keys = l->n_keys, .n_blocks = l->n_blocks};

    memcpy(given.parts, l->parts, (size_t)l->n_parts * sizeof *l->parts);
    memcpy(given.keys, l->keys, (size_t)l->n_keys * sizeof *l->keys);
    cuda_note(dev,
              w->kernel == HOPPER ? launch_hopper(call, &given) : attention_prefill_launch(dev->stream, &call->a, &given),
              "attention");
    if (w->merge_rows) {
        cuda_note(dev, attention_merge_given(dev->stream, &call->a, &given, w->merge_rows), "merge of attention");
    }
}

/* Sends the parts listed so far. What is announced has a grid in steps, so that one recording serves many lengths: half a
   filling of the card too many at most. */
static void launch(attention_call *call)
{
    cuda_device *dev = call->dev;
    attention_long_lists *l = &call->lists;
    bool split = call->kernel != DECODE && call->partial_floats > 0; /* its blocks merge themselves */
    attention_work w = {.kernel = call->kernel, .blocks = l->n_blocks, .tile_rows = call->a.tile_rows};

    if (l->n_parts == 0) {
        return;
    }
    for (int i = 0; split && i < l->n_parts; i++) {
        w.merge_rows += l->parts[i].stack * call->a.n_kv_heads;
    }
    if (call->announces) {
        int32_t step = (dev->n_sms + 1) / 2;
        w.blocks = (w.blocks + step - 1) / step * step;
        w.listed = call->n_works < CUDA_LISTS ? cuda_announce_list(dev, call->n_works, l, filled_bytes(l)) : NULL;
    } else if (call->kernel <= PREFILL) {
        queue_prefill(call, &w);
    } else {
        w.listed = cuda_send_list(dev, call->n_works, l, filled_bytes(l));
        queue(dev, &call->a, &w, NULL);
    }
    if (call->n_works < CUDA_LISTS) {
        call->works[call->n_works] = w;
    }
    call->n_works++;
    l->n_parts = l->n_keys = l->n_blocks = 0;
    call->partial_floats = 0;
}

static int64_t blocks_of(const attention_call *call, int32_t stack)
{
    return divide_up(stack, call->a.tile_rows) * call->a.n_kv_heads;
}

/* Into how many ranges of its key tiles a part is cut: as many as finish first, were all blocks equal. */
static int32_t pieces_of(const attention_call *call, int64_t blocks, int64_t tiles, int64_t block_bytes)
{
    int64_t shared = call->work ? call->blocks_held * blocks * tiles / call->work : call->blocks_held;
    int64_t held = shared ? shared : 1;
    /* In tiles: what a block needs beside its tiles, and what partial results add to that. */
    int64_t start = 2, split = call->kernel == DECODE ? 0 : 4, best = INT64_MAX;
    int64_t least = call->kernel == DECODE ? 2 : 8; /* tiles of a piece */
    int32_t pieces = 1;

    for (int32_t n = 1; n <= PIECES_MAX; n++) {
        int64_t cost = divide_up(blocks * n, held) * (divide_up(tiles, n) + start + (n > 1 ? split : 0));
        if (n > 1 && (tiles / n < least || blocks * n > WAVES_MOST * held ||
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

/* Of a launch, and so of a part. */
static int32_t segments_most(attention_kernel kernel)
{
    return kernel <= PREFILL ? SEGMENTS_MAX : SEGMENTS_LISTED;
}

/* Some segments of an item become a part. */
static void add_part(attention_call *call, const attention_item *item, const attention_keys keys[], int32_t n_keys)
{
    const attention_launch *a = &call->a;
    attention_long_lists *l = &call->lists;
    const int32_t parts_most = call->kernel <= PREFILL ? PARTS_MAX : PARTS_LISTED, keys_most = segments_most(call->kernel);
    int32_t tile_rows = a->tile_rows, stack = item->count * a->group;
    attention_part p = {.row = item->row, .stack = stack, .n_keys = n_keys, .rows = stack < tile_rows ? stack : tile_rows};
    int64_t blocks = blocks_of(call, stack), floats = partial_floats(p.rows, a->head_dim);

    for (int32_t i = 0; i < n_keys; i++) {
        p.tiles += keys[i].tiles;
    }
    p.pieces = pieces_of(call, blocks, p.tiles, floats * (int64_t)sizeof(float));
    blocks *= p.pieces;
    floats = p.pieces > 1 ? floats * blocks : 0;
    if (l->n_parts == parts_most || l->n_keys + n_keys > keys_most || blocks > INT32_MAX / 2 - l->n_blocks ||
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
static bool keys_of(const attention_item *item, const kv_segment *s, int32_t tile, attention_keys *out)
{
    int64_t visible = s->first == KV_ALL_VISIBLE ? KEYS_ALL : item->first - s->first + 1, most = visible + item->count - 1;

    if (most > s->count) {
        most = s->count;
    }
    if (most <= 0) {
        return false;
    }
    *out = (attention_keys){s->k,     s->v,     s->k_scales, s->v_scales, s->head_stride,
                            visible, s->count, (int32_t)divide_up(most, tile)};
    return true;
}

static int64_t slots_of(const attention_item *item)
{
    int64_t n = 0;

    for (int32_t i = 0; i < item->n_segments; i++) {
        n += item->segments[i].count;
    }
    return n;
}

/* A segment of codes as its 16-bit form, whose slots begin at `slot` of the caller's memory: of its half for keys, and of that
   for values. */
static kv_segment expansion_of(const attention_call *call, const kv_segment *s, int64_t slot)
{
    const attention_shape *shape = call->shape;
    int64_t row = (int64_t)shape->n_kv_heads * shape->head_dim; /* elements of a slot */
    uint16_t *k = (uint16_t *)shape->expanded + slot * row;

    return (kv_segment){.k = k, .v = k + shape->expanded_slots * row, .head_stride = s->count, .count = s->count,
                        .first = s->first};
}

/* Queues the expansion of an item's segments, but where the item before it had the same. */
static void expand(attention_call *call, const attention_item *item)
{
    const attention_shape *s = call->shape;
    const attention_item *last = call->expanded;

    if (call->announces || (last && item->segments == last->segments && item->n_segments == last->n_segments)) {
        return;
    }
    if (call->slots_used + slots_of(item) > s->expanded_slots) {
        launch(call); /* of what was there before */
        call->slots_used = 0;
    }
    call->expanded = item;
    call->expanded_at = call->slots_used;
    for (int32_t i = 0; i < item->n_segments; i++) {
        kv_segment to = expansion_of(call, &item->segments[i], call->slots_used);
        attention_expansion e = {.from = item->segments[i], .k = (void *)(uintptr_t)to.k, .v = (void *)(uintptr_t)to.v,
                                 .act = call->a.act, .n_kv_heads = s->n_kv_heads, .head_dim = s->head_dim};
        cuda_note(call->dev, attention_expand_launch(call->dev->stream, &e), "attention, expansion");
        call->slots_used += item->segments[i].count;
    }
}

static void add_item(attention_call *call, const attention_item *item)
{
    attention_keys keys[SEGMENTS_LISTED];
    bool expands = call->a.kv_type == DTYPE_I8 && call->kernel <= PREFILL;
    int64_t slot;
    int32_t n = 0;
    bool again = false;

    if (expands) {
        expand(call, item);
    }
    slot = call->expanded_at;
    for (int32_t i = 0; i < item->n_segments; i++) {
        if (n == segments_most(call->kernel)) {
            if (again) {
                launch(call); /* each part goes on from the carry that the one before it leaves */
            }
            add_part(call, item, keys, n);
            again = true;
            n = 0;
        }
        kv_segment segment = expands ? expansion_of(call, &item->segments[i], slot) : item->segments[i];
        n += keys_of(item, &segment, call->keys_tile, &keys[n]);
        slot += segment.count;
    }
    if (n || call->native) { /* rows without keys are begun and finished too, in whatever call comes back with this list */
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

static bool call_aligned(const attention_launch *a, const attention_ends *ends)
{
    return aligned(a->q) && a->ldq % 8 == 0 && aligned(a->c.o) && aligned(ends->out) && ends->ldo % 8 == 0;
}

/* Whether bulk copies can be told of the queries and of all keys of an item: a box has at most 256 heads, and strides end at
 * 2^40. */
static bool fits_maps(const cuda_device *dev, const attention_launch *a, const attention_item *item)
{
    const hopper_form f = attention_hopper_form(a->head_dim);
    bool fits = dev->attention->encoder && f.rows >= a->group && f.shared <= dev->attention->shared_most;

    for (int32_t i = 0; fits && i < item->n_segments; i++) {
        fits = item->segments[i].head_stride < ((int64_t)1 << 40) / (2 * a->head_dim);
    }
    return fits;
}

static attention_kernel kernel_of(const cuda_device *dev, const attention_shape *s, const attention_launch *a,
                                  const attention_ends *ends, const attention_item *item)
{
    const int most = dev->attention->shared_most;
    bool codes = a->kv_type == DTYPE_I8;
    bool fits = (a->act == a->kv_type || codes) && a->act != DTYPE_F32 && a->scale > 0 && call_aligned(a, ends);

    for (int32_t i = 0; fits && i < item->n_segments; i++) {
        fits = aligned(item->segments[i].k) && aligned(item->segments[i].v);
    }
    if (fits && (int64_t)item->count * a->group <= DECODE_ROWS && a->n_kv_heads <= MERGE_HEADS) {
        return attention_decode_blocks(a->head_dim, codes, most) ? DECODE : PLAIN;
    }
    fits = fits && (!codes || slots_of(item) <= s->expanded_slots);
    if (fits && fits_maps(dev, a, item)) {
        return HOPPER;
    }
    return fits && attention_prefill_blocks(a->head_dim, most) ? PREFILL : PLAIN;
}

/* Whether the kernels of all items begin and finish rows themselves, each item in one launch. */
static bool is_native(const cuda_device *dev, const attention_shape *s, const attention_launch *a, const attention_ends *ends,
                      const attention_item items[], int n_items)
{
    bool native = true;

    for (int i = 0; native && i < n_items; i++) {
        attention_kernel kernel = kernel_of(dev, s, a, ends, &items[i]);
        native = items[i].count <= 0 ||
                 ((kernel == HOPPER || kernel == DECODE) && items[i].n_segments <= segments_most(kernel));
    }
    return native;
}

/* --- the call that was there before --- */

static bool same_shape(const attention_shape *a, const attention_shape *b)
{
    return a->n_heads == b->n_heads && a->n_kv_heads == b->n_kv_heads && a->head_dim == b->head_dim && a->scale == b->scale &&
           a->kv_type == b->kv_type && a->expanded == b->expanded && a->expanded_slots == b->expanded_slots;
}

/* Whether all addresses of a segment are those of another, their keys and values *shift bytes further and their scales
   *scale_shift floats. */
static bool same_places(const kv_segment *p, const kv_segment *known, int64_t shift, int64_t scale_shift)
{
    uintptr_t scales = (uintptr_t)scale_shift * sizeof(float);

    return p->head_stride == known->head_stride && (uintptr_t)p->k - (uintptr_t)known->k == (uintptr_t)shift &&
           (uintptr_t)p->v - (uintptr_t)known->v == (uintptr_t)shift &&
           (uintptr_t)p->k_scales - (uintptr_t)known->k_scales == scales &&
           (uintptr_t)p->v_scales - (uintptr_t)known->v_scales == scales;
}

/* Whether this call is the last one over keys and values that lie elsewhere, all of them equally far: as `a` is told. */
static bool same_call(const attention_memo *m, attention_launch *a, const attention_ends *ends, bool native,
                      const attention_shape *s, const attention_item items[], int n_items)
{
    const kv_segment *known = m->segments;
    bool same = m->valid && m->n_items == n_items && m->ldq == a->ldq && m->aligned == call_aligned(a, ends) &&
                m->native == native && same_shape(&m->shape, s);

    a->shift = a->scale_shift = 0;
    for (int i = 0; same && i < n_items; i++) {
        const attention_item *x = &items[i], *y = &m->items[i];
        same = x->row == y->row && x->count == y->count && x->first == y->first && x->n_segments == y->n_segments;
        for (int k = 0; same && k < x->n_segments; k++, known++) {
            const kv_segment *p = &x->segments[k];
            if (known == m->segments) {
                a->shift = (int64_t)((uintptr_t)p->k - (uintptr_t)known->k);
                a->scale_shift = (int64_t)((uintptr_t)p->k_scales - (uintptr_t)known->k_scales) / (int64_t)sizeof(float);
            }
            same = p->count == known->count && p->first == known->first &&
                   same_places(p, known, a->shift, a->scale_shift);
        }
    }
    return same && a->shift % 16 == 0;
}

/* Keeps a call for the ones of the next layers. False if they cannot use its lists. */
static bool remember(attention_memo *m, const attention_call *call, const attention_ends *ends, bool native,
                     const attention_shape *s, const attention_item items[], int n_items)
{
    int32_t n = 0;
    bool fits = call->n_works <= CUDA_LISTS && n_items <= MEMO_ITEMS;

    for (int i = 0; fits && i < call->n_works; i++) {
        fits = call->works[i].kernel > PREFILL; /* whose lists are given by value */
    }
    for (int i = 0; fits && i < n_items; i++) {
        fits = n + items[i].n_segments <= MEMO_SEGMENTS;
        if (fits) {
            m->items[i] = items[i];
            memcpy(m->segments + n, items[i].segments, (size_t)items[i].n_segments * sizeof *m->segments);
            n += items[i].n_segments;
        }
    }
    m->n_items = n_items;
    m->n_works = call->n_works;
    m->ldq = call->a.ldq;
    m->aligned = call_aligned(&call->a, ends);
    m->native = native;
    m->shape = *s;
    memcpy(m->works, call->works, sizeof m->works);
    return fits;
}

/* --- the op --- */

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

/* What a kernel's tiles are, and how many of its blocks the card holds. */
static void set_tiles(attention_call *call)
{
    const attention_launch *a = &call->a;
    const hopper_form f = attention_hopper_form(a->head_dim);
    const int most = call->dev->attention->shared_most;
    int held = 1;

    call->keys_tile = KEYS_TILE;
    call->a.slot_bytes = (int32_t)dtype_row_bytes(call->kernel <= PREFILL ? a->act : a->kv_type, a->head_dim);
    switch (call->kernel) {
    case HOPPER:
        call->a.tile_rows = f.rows / a->group * a->group;
        call->keys_tile = f.keys;
        break;
    case PREFILL:
        call->a.tile_rows = PREFILL_ROWS;
        held = attention_prefill_blocks(a->head_dim, most);
        break;
    case DECODE:
        call->a.tile_rows = DECODE_ROWS;
        held = attention_decode_blocks(a->head_dim, a->kv_type == DTYPE_I8, most);
        break;
    default:
        call->a.tile_rows = attention_plain_rows(a->head_dim);
        held = attention_plain_blocks(a->head_dim);
    }
    call->blocks_held = (int64_t)call->dev->n_sms * held;
}

static bool is_for(const attention_call *call, const attention_ends *ends, const attention_item *item)
{
    return item->count > 0 && kernel_of(call->dev, call->shape, &call->a, ends, item) == call->kernel;
}

/* What the items of a kernel have to do, where they share the card. */
static int64_t work_of(const attention_call *call, const attention_ends *ends, const attention_item items[], int n_items)
{
    int64_t work = 0;

    for (int i = 0; call->kernel == DECODE && i < n_items; i++) {
        int64_t tiles = 0;
        for (int32_t k = 0; is_for(call, ends, &items[i]) && k < items[i].n_segments; k++) {
            attention_keys keys;
            tiles += keys_of(&items[i], &items[i].segments[k], call->keys_tile, &keys) ? keys.tiles : 0;
        }
        work += blocks_of(call, items[i].count * call->a.group) * tiles;
    }
    return work;
}

/* Cuts a call into launches, which are queued or announced. */
static void cut(attention_call *call, const attention_ends *ends, const attention_item items[], int n_items)
{
    for (int i = 0; i < n_items; i++) {
        call->rows = items[i].row + items[i].count > call->rows ? items[i].row + items[i].count : call->rows;
    }
    for (call->kernel = 0; call->kernel < N_KERNELS; call->kernel++) {
        set_tiles(call);
        call->work = work_of(call, ends, items, n_items);
        for (int i = 0; i < n_items; i++) {
            if (is_for(call, ends, &items[i])) {
                add_item(call, &items[i]);
            }
        }
        launch(call);
    }
}

/* All items from where a says they begin to where it says they end. */
static void attend_items(cuda_device *dev, attention_launch *a, const attention_ends *ends, bool native,
                         const attention_shape *s, const attention_item items[], int n_items)
{
    attention_memo *memo = dev->attention;
    attention_call call;

    if (same_call(memo, a, ends, native, s, items, n_items)) {
        for (int i = 0; i < memo->n_works; i++) {
            a->tile_rows = memo->works[i].tile_rows;
            queue(dev, a, &memo->works[i], NULL);
        }
        return;
    }
    if (cuda_recording(dev)) { /* its lists would be those of this pass for ever */
        cuda_refuse_recording(dev);
        return;
    }
    memset(&call, 0, sizeof call); /* a launch takes all of it */
    a->shift = a->scale_shift = 0;
    call.dev = dev;
    call.shape = s;
    call.native = native;
    call.a = *a;
    cut(&call, ends, items, n_items);
    memo->valid = remember(memo, &call, ends, native, s, items, n_items);
}

/* "No key seen" for the rows of all items, and their division, where kernels do neither. */
static void clear_rows(cuda_device *dev, const attention_shape *s, const attention_item items[], int n_items, const carry *c)
{
    int64_t row, count;

    for (int i = 0; attention_stretch(items, n_items, &i, &row, &count);) {
        carry rows = carry_from(c, s, row);
        cuda_note(dev, cuda_carry_clear(dev->stream, &rows, s, count), "attention, clear");
    }
}

static void finish_rows(cuda_device *dev, const attention_shape *s, const attention_item items[], int n_items, const carry *c,
                        const attention_ends *ends)
{
    int64_t row, count;

    for (int i = 0; attention_stretch(items, n_items, &i, &row, &count);) {
        carry rows = carry_from(c, s, row);
        void *out = act_at(&dev->base, ends->out, row * ends->ldo);
        cuda_note(dev, cuda_carry_finish(dev->stream, dev->base.act, &rows, s, count, out, ends->ldo), "attention, finish");
    }
}

void cuda_attention(cuda_device *dev, const attention_shape *s, const void *q, int64_t ldq, const attention_item items[],
                    int n_items, const carry *c, const attention_ends *ends)
{
    attention_launch a = launch_of(dev, s, q, ldq, c);
    bool native = is_native(dev, s, &a, ends, items, n_items);

    if (native) {
        a.is_first = ends->is_first;
        a.out = ends->out;
        a.ldo = ends->ldo;
    } else if (ends->is_first) {
        clear_rows(dev, s, items, n_items, c);
    }
    attend_items(dev, &a, ends, native, s, items, n_items);
    if (ends->out && !native) {
        finish_rows(dev, s, items, n_items, c, ends);
    }
}

bool cuda_attention_exchanged(cuda_device *dev, const attention_shape *s, const void *q, int64_t ldq,
                              const attention_item items[], int n_items, const carry *c, const packet_carries *exchange)
{
    const attention_ends ends = {.is_first = true};
    const attention_memo *memo = dev->attention;
    attention_launch a = launch_of(dev, s, q, ldq, c);
    bool native = is_native(dev, s, &a, &ends, items, n_items);

    a.is_first = true;
    /* Of each KV head of each row a block waits at most. A call that is made for the first time may take several launches. */
    if (!native || exchange->heads / s->n_heads * s->n_kv_heads > dev->n_sms ||
        !same_call(memo, &a, &ends, native, s, items, n_items) || memo->n_works != 1 || memo->works[0].kernel != DECODE) {
        return false;
    }
    a.tile_rows = memo->works[0].tile_rows;
    queue(dev, &a, &memo->works[0], exchange);
    return true;
}

/* --- the class of a call --- */

/* Of all that launches are given beside what is in their lists, and what a layer's own arguments are. */
static uint64_t class_of(const attention_call *call, bool native, const attention_item items[], int n_items)
{
    uint64_t number = mixed(native, (uint64_t)call->n_works);
    int64_t row, count;
    bool any = false; /* a call without keys knows of no shift from layer to layer */

    for (int i = 0; i < call->n_works; i++) {
        const attention_work *w = &call->works[i];
        number = mixed(mixed(number, (uint64_t)w->kernel), (uint64_t)w->tile_rows);
        number = mixed(mixed(number, (uint64_t)w->blocks), (uint64_t)w->merge_rows);
    }
    for (int i = 0; i < n_items; i++) {
        any = any || items[i].n_segments > 0;
    }
    for (int i = 0; attention_stretch(items, n_items, &i, &row, &count);) {
        number = mixed(mixed(number, (uint64_t)row), (uint64_t)count);
    }
    number = mixed(number, any);
    return number ? number : 1;
}

uint64_t cuda_attention_class(cuda_device *dev, const attention_shape *s, const void *q, int64_t ldq,
                              const attention_item items[], int n_items, const carry *c, const attention_ends *ends)
{
    attention_memo *memo = dev->attention;
    attention_call call;

    memset(&call, 0, sizeof call);
    call.dev = dev;
    call.announces = true;
    call.shape = s;
    call.a = launch_of(dev, s, q, ldq, c);
    call.native = is_native(dev, s, &call.a, ends, items, n_items);
    cut(&call, ends, items, n_items);
    cuda_attention_forget(dev); /* of which the memo keeps one */
    memo->announced = remember(memo, &call, ends, call.native, s, items, n_items);
    return memo->announced ? class_of(&call, call.native, items, n_items) : 0;
}
