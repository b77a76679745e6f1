/* The schedule of ring attention: which keys meet which queries, in which order, and what travels meanwhile.
   Rests on cache.h, comm/comm.h, device/device.h. See attention.h; the kernels are device/cpu/cpu_attention.c and
   device/cuda/attention/cuda_attention.c.

   The carry (O, m, l) is fp32 over all hops and is divided once, so the order of the hops changes rounding only.
   Three schedules, one kernel:
   - pass-KV: rank r begins with its own keys and asks for those of r + 1, r + 2, ... while it computes;
   - pass-Q: the queries of r + 1, r + 2, ... come to rank r's keys, and the partial results go back to be merged;
   - by slices (decode): every rank has all queries, attends to its own shard, and all partial results are gathered. */
#include "ring/attention.h"

#include <math.h>

size_t ring_message(const ring_setup *s)
{
    return carry_bytes(&s->shape, s->max_slices);
}

static int64_t most_rows(const ring_setup *s)
{
    return s->max_rows > s->max_slices ? s->max_rows : s->max_slices;
}

static size_t slot_bytes(const ring_setup *s)
{
    return bytes_of(most_rows(s), 1, sizeof(int64_t));
}

static size_t device_bytes(const ring_setup *s, int32_t n_ranks)
{
    size_t own = carry_bytes(&s->shape, most_rows(s)), partial = arena_need(carry_bytes(&s->shape, s->max_rows));
    const size_t pieces[] = {own, own, slot_bytes(s), s->pass_q ? bytes_of(n_ranks, 1, partial) : 0};

    return arena_sum(pieces, sizeof pieces / sizeof *pieces);
}

/* The pieces of the host's lists, in one place for adding up and for handing out. */
typedef struct list_sizes {
    size_t theirs, slots, items, pieces, views, segments, part_begin;
} list_sizes;

static list_sizes list_sizes_of(const ring_setup *s, int32_t n_ranks)
{
    /* What one rank holds in one segment each: what was there before, and the runs of the pass. */
    int64_t segments = s->max_runs + s->max_extents, items = s->max_runs > s->max_parts ? s->max_runs : s->max_parts;

    return (list_sizes){
        .theirs = bytes_of(n_ranks, 1, sizeof(void *)),
        .slots = slot_bytes(s),
        .items = bytes_of(items, 1, sizeof(attention_item)),
        .pieces = bytes_of(2, segments, sizeof(comm_piece)),
        .views = bytes_of(2, segments, sizeof(comm_view)),
        .segments = bytes_of(segments, 1, sizeof(kv_segment)),
        .part_begin = bytes_of(s->max_parts + 1, 1, sizeof(int32_t)),
    };
}

static size_t list_bytes(const ring_setup *s, int32_t n_ranks)
{
    list_sizes z = list_sizes_of(s, n_ranks);
    const size_t pieces[] = {z.theirs,     z.slots,  z.items, z.pieces,   z.views,     z.segments,
                             z.part_begin, z.pieces, z.views, z.segments, z.part_begin};

    return arena_sum(pieces, sizeof pieces / sizeof *pieces);
}

size_t ring_memory(const ring_setup *s, int32_t n_ranks)
{
    const size_t pieces[] = {device_bytes(s, n_ranks), list_bytes(s, n_ranks)};

    return arena_sum(pieces, sizeof pieces / sizeof *pieces);
}

size_t ring_hop(const ring_setup *s)
{
    size_t keys = shard_need(1, s->shape.n_kv_heads, s->shape.head_dim, s->slots, s->shape.kv_type);
    size_t queries = s->pass_q ? bytes_of(s->max_rows, s->q_row_bytes, 1) : 0;
    size_t partials = s->pass_q ? carry_bytes(&s->shape, s->max_rows) : 0;
    size_t larger = queries > partials ? queries : partials;

    return keys > larger ? keys : larger;
}

static void take_lists(ring_rank *r, const ring_setup *s)
{
    list_sizes z = list_sizes_of(s, r->n_ranks);
    arena *a = &r->lists;

    r->theirs = arena_take(a, z.theirs);
    r->host_slots = arena_take(a, z.slots);
    r->items = arena_take(a, z.items);
    for (int i = 0; i < 2; i++) {
        r->hops[i].pieces = arena_take(a, z.pieces);
        r->hops[i].views = arena_take(a, z.views);
        r->hops[i].segments = arena_take(a, z.segments);
        r->hops[i].part_begin = arena_take(a, z.part_begin);
    }
}

lariat_status ring_open(ring_rank *r, device *dev, comm *c, const ring_setup *s)
{
    size_t own = carry_bytes(&s->shape, most_rows(s));

    *r = (ring_rank){.dev = dev, .comm = c, .rank = comm_rank(c), .n_ranks = comm_size(c), .n_layers = s->n_layers,
                     .shape = s->shape, .max_rows = s->max_rows};
    TRY(shard_open(&r->shard, dev, s->n_layers, s->shape.n_kv_heads, s->shape.head_dim, s->slots, s->shape.kv_type));
    TRY(device_arena_open(dev, &r->memory, device_bytes(s, r->n_ranks), "ring attention"));
    TRY(arena_open(&r->lists, list_bytes(s, r->n_ranks), "ring attention"));
    take_lists(r, s);
    r->own = arena_take(&r->memory, own);
    r->merged = arena_take(&r->memory, own);
    r->slots = arena_take(&r->memory, slot_bytes(s));
    comm_expose(c, COMM_KV, r->shard.base, r->shard.bytes);
    if (s->pass_q) {
        r->partial_stride = arena_need(carry_bytes(&s->shape, s->max_rows));
        r->partials = arena_take(&r->memory, (size_t)r->n_ranks * r->partial_stride);
        comm_expose(c, COMM_PARTIALS, r->partials, (size_t)r->n_ranks * r->partial_stride);
    }
    return LARIAT_OK;
}

void ring_close(ring_rank *r)
{
    arena_close(&r->lists);
    device_arena_close(r->dev, &r->memory);
    shard_close(&r->shard, r->dev);
    *r = (ring_rank){0};
}

void ring_expose_queries(ring_rank *r, const void *q, int64_t ldq)
{
    comm_expose(r->comm, COMM_QUERIES, q, (size_t)(r->max_rows * ldq) * dtype_block_bytes(r->dev->act));
}

/* --- the plan of a pass, as this rank sees it --- */

/* The step at which a layer's keys (or queries) of this pass are there: grows from layer to layer and pass to pass. */
static uint32_t step_of(const ring_rank *r, int32_t layer)
{
    return r->pass->number * (uint32_t)r->n_layers + (uint32_t)layer + 1;
}

/* Where the key of each of this rank's rows goes. */
static void list_slots(ring_rank *r)
{
    const pass *p = r->pass;
    int64_t rows = p->rows[r->rank];

    for (int64_t t = 0; t < rows; t++) {
        r->host_slots[t] = -1;
    }
    for (int32_t i = p->run_begin[r->rank]; i < p->run_begin[r->rank + 1]; i++) {
        for (int64_t k = 0; k < p->runs[i].count; k++) {
            r->host_slots[p->runs[i].row + k] = p->runs[i].slot + k;
        }
    }
    r->dev->ops->upload(r->dev, r->slots, r->host_slots, (size_t)rows * sizeof *r->slots);
}

void ring_begin(ring_rank *r, const pass *p)
{
    r->pass = p;
    list_slots(r);
    /* Every region is as far as the last pass left it, used or not: numbers that wrap must not fall far behind. */
    comm_ready(r->comm, COMM_KV, step_of(r, -1));
    comm_ready(r->comm, COMM_QUERIES, step_of(r, -1));
    comm_ready(r->comm, COMM_PARTIALS, step_of(r, -1) * (uint32_t)r->n_ranks);
}

static void add_source(const ring_rank *r, hop_set *h, int32_t layer, int64_t slot, int64_t count, int64_t first)
{
    size_t row = (size_t)r->shape.head_dim * dtype_block_bytes(r->shape.kv_type);

    for (int side = 0; side < 2; side++) {
        h->pieces[2 * h->n + side] = (comm_piece){.offset = shard_offset(&r->shard, layer, side, slot),
                                                  .bytes = (size_t)count * row,
                                                  .stride = (size_t)r->shard.slots * row,
                                                  .rows = r->shape.n_kv_heads};
    }
    h->segments[h->n++] = (kv_segment){.count = (int32_t)count, .first = first};
}

/* What `owner` holds of the pass's sequences: all that came before, seen whole by every query, then the runs of this pass. */
static void list_sources(const ring_rank *r, hop_set *h, int32_t layer, int owner)
{
    const pass *p = r->pass;
    int32_t run = p->run_begin[owner];

    h->n = 0;
    for (int32_t i = 0; i < p->n_parts; i++) {
        int32_t at = i * p->n_ranks + owner;
        h->part_begin[i] = h->n;
        for (int32_t s = p->span_begin[at]; s < p->span_begin[at + 1]; s++) {
            add_source(r, h, layer, p->spans[s].slot, p->spans[s].count, KV_ALL_VISIBLE);
        }
        for (; run < p->run_begin[owner + 1] && p->runs[run].part == i; run++) {
            add_source(r, h, layer, p->runs[run].slot, p->runs[run].count, p->runs[run].first);
        }
    }
    h->part_begin[p->n_parts] = h->n;
    h->hop = (comm_hop){.region = COMM_KV, .owner = owner, .step = step_of(r, layer), .pieces = h->pieces,
                        .n_pieces = 2 * h->n, .views = h->views};
}

/* Points the segments at where the hop's pieces lie now. */
static void place_segments(const ring_rank *r, hop_set *h)
{
    size_t row = (size_t)r->shape.head_dim * dtype_block_bytes(r->shape.kv_type);

    for (int32_t i = 0; i < h->n; i++) {
        h->segments[i].k = h->views[2 * i].at;
        h->segments[i].v = h->views[2 * i + 1].at;
        h->segments[i].head_stride = (int64_t)(h->views[2 * i].stride / row);
    }
}

/* This rank's own keys, which do not travel. */
static void take_own(const ring_rank *r, hop_set *h, int32_t layer)
{
    list_sources(r, h, layer, r->rank);
    for (int32_t i = 0; i < 2 * h->n; i++) {
        h->views[i] = (comm_view){r->shard.base + h->pieces[i].offset, h->pieces[i].stride};
    }
    place_segments(r, h);
}

/* The queries that `rank` has by tokens, each run against the segments of its sequence: all rows, also where there is no segment.
   Returns the number of items. */
static int32_t items_by_tokens(const ring_rank *r, const hop_set *h, int rank)
{
    const pass *p = r->pass;
    int32_t n = 0;

    for (int32_t i = p->run_begin[rank]; i < p->run_begin[rank + 1]; i++) {
        const pass_run *run = &p->runs[i];
        int32_t begin = h->part_begin[run->part], count = h->part_begin[run->part + 1] - begin;
        r->items[n++] = (attention_item){.row = (int32_t)run->row, .count = (int32_t)run->count, .first = run->first,
                                         .segments = h->segments + begin, .n_segments = count};
    }
    return n;
}

static int32_t items_by_slices(const ring_rank *r, const hop_set *h)
{
    const pass *p = r->pass;
    int32_t n = 0;

    for (int32_t i = 0; i < p->n_parts; i++) {
        int32_t begin = h->part_begin[i], count = h->part_begin[i + 1] - begin;
        if (p->parts[i].count) {
            r->items[n++] = (attention_item){.row = (int32_t)p->parts[i].token, .count = (int32_t)p->parts[i].count,
                                             .first = p->parts[i].first, .segments = h->segments + begin, .n_segments = count};
        }
    }
    return n;
}

/* --- keys and values --- */

void ring_append(ring_rank *r, int32_t layer, const void *k, const void *v, int64_t ld)
{
    for (int side = 0; side < 2; side++) {
        r->dev->ops->kv_store(r->dev, r->shard.base + shard_offset(&r->shard, layer, side, 0), r->shape.kv_type, r->shard.slots,
                              r->slots, side ? v : k, ld, r->pass->rows[r->rank], r->shape.n_kv_heads, r->shape.head_dim);
    }
    if (r->pass->layout == PASS_BY_TOKENS) {
        comm_ready(r->comm, COMM_KV, step_of(r, layer));
    }
}

/* --- the three schedules --- */

/* Keys travel. */
static lariat_status attend_by_kv(ring_rank *r, int32_t layer, const void *q, int64_t ldq, const carry *c, void *o, int64_t ldo)
{
    int n = r->n_ranks;

    for (int hop = 0; hop < n; hop++) {
        int owner = (r->rank + hop) % n;
        hop_set *now = &r->hops[hop & 1], *next = &r->hops[(hop + 1) & 1];
        if (hop == 0) {
            take_own(r, now, layer);
        } else {
            TRY(comm_take(r->comm, &now->hop));
            place_segments(r, now);
        }
        if (hop + 1 < n) { /* travels while `now` is used */
            list_sources(r, next, layer, (owner + 1) % n);
            TRY(comm_ask(r->comm, &next->hop));
        }
        int64_t span = trace_begin_of(r->trace, LARIAT_SPAN_ATTENTION, owner);
        r->dev->ops->attention(r->dev, &r->shape, q, ldq, r->items, items_by_tokens(r, now, r->rank), c,
                               &(attention_ends){.fresh = hop == 0, .out = hop == n - 1 ? o : NULL, .ldo = ldo});
        trace_end(r->trace, span);
        if (hop > 0) {
            comm_release(r->comm, &now->hop);
        }
    }
    return LARIAT_OK;
}

/* Partial results are ready rank after rank, in the order in which their queries were served. */
static uint32_t partial_step(const ring_rank *r, int32_t layer, int from, int to)
{
    uint32_t hop = (uint32_t)((to - from + r->n_ranks) % r->n_ranks);

    return (step_of(r, layer) - 1) * (uint32_t)r->n_ranks + hop + 1;
}

/* The queries of every rank, in turn, against this rank's keys; each result lies ready for its owner. */
static lariat_status serve_queries(ring_rank *r, int32_t layer, int64_t ldq)
{
    hop_set *own = &r->hops[0];
    int n = r->n_ranks;

    take_own(r, own, layer);
    for (int hop = 0; hop < n; hop++) {
        int owner = (r->rank + hop) % n;
        int64_t rows = r->pass->rows[owner];
        size_t element = dtype_block_bytes(r->dev->act), row = (size_t)(r->shape.n_heads * r->shape.head_dim) * element;
        comm_piece piece = {.bytes = row, .stride = (size_t)ldq * element, .rows = rows};
        comm_view view;
        comm_hop queries = {.region = COMM_QUERIES, .owner = owner, .step = step_of(r, layer), .pieces = &piece,
                            .n_pieces = 1, .views = &view};
        carry c = carry_at(r->partials + (size_t)owner * r->partial_stride, &r->shape, rows);

        TRY(comm_ask(r->comm, &queries));
        TRY(comm_take(r->comm, &queries));
        int64_t span = trace_begin_of(r->trace, LARIAT_SPAN_ATTENTION, owner);
        r->dev->ops->attention(r->dev, &r->shape, view.at, (int64_t)(view.stride / element), r->items,
                               items_by_tokens(r, own, owner), &c, &(attention_ends){.fresh = true});
        trace_end(r->trace, span);
        comm_release(r->comm, &queries);
        comm_ready(r->comm, COMM_PARTIALS, partial_step(r, layer, r->rank, owner));
    }
    return LARIAT_OK;
}

/* Queries travel. */
static lariat_status attend_by_q(ring_rank *r, int32_t layer, int64_t ldq, const carry *c, void *o, int64_t ldo)
{
    int64_t rows = r->pass->rows[r->rank];

    comm_ready(r->comm, COMM_QUERIES, step_of(r, layer));
    TRY(serve_queries(r, layer, ldq));
    for (int from = 0; from < r->n_ranks; from++) {
        size_t bytes = carry_bytes(&r->shape, rows);
        comm_piece piece = {.offset = (size_t)r->rank * r->partial_stride, .bytes = bytes, .stride = bytes, .rows = 1};
        comm_view view;
        comm_hop partial = {.region = COMM_PARTIALS, .owner = from, .step = partial_step(r, layer, from, r->rank),
                            .pieces = &piece, .n_pieces = 1, .views = &view};

        TRY(comm_ask(r->comm, &partial));
        TRY(comm_take(r->comm, &partial));
        int64_t span = trace_begin_of(r->trace, LARIAT_SPAN_MERGE, from);
        carry theirs = carry_at((void *)(uintptr_t)view.at, &r->shape, rows);
        if (from == 0) {
            r->dev->ops->carry_clear(r->dev, c, &r->shape, rows);
        }
        r->dev->ops->carry_merge(r->dev, c, &theirs, &r->shape, rows);
        if (from == r->n_ranks - 1) {
            r->dev->ops->carry_finish(r->dev, c, &r->shape, rows, o, ldo);
        }
        trace_end(r->trace, span);
        comm_release(r->comm, &partial);
    }
    return LARIAT_OK;
}

/* Every rank has all queries; one message brings all partial results, merged in the order of the ranks on every rank alike. */
static lariat_status attend_by_slices(ring_rank *r, int32_t layer, const void *q, int64_t ldq, const carry *merged, void *o,
                                      int64_t ldo)
{
    hop_set *own = &r->hops[0];
    int64_t rows = r->pass->n_tokens;
    carry c = r->n_ranks > 1 ? carry_at(r->own, &r->shape, rows) : *merged;

    take_own(r, own, layer);
    int64_t span = trace_begin_of(r->trace, LARIAT_SPAN_ATTENTION, r->rank);
    r->dev->ops->attention(r->dev, &r->shape, q, ldq, r->items, items_by_slices(r, own), &c,
                           &(attention_ends){.fresh = true, .out = r->n_ranks == 1 ? o : NULL, .ldo = ldo});
    trace_end(r->trace, span);
    if (r->n_ranks == 1) { /* there is nothing to merge */
        return LARIAT_OK;
    }
    span = trace_begin(r->trace, LARIAT_SPAN_MERGE);
    TRY(comm_all_gather(r->comm, r->own, carry_bytes(&r->shape, rows), r->theirs));
    r->dev->ops->carry_clear(r->dev, merged, &r->shape, rows);
    for (int from = 0; from < r->n_ranks; from++) {
        carry part = carry_at((void *)(uintptr_t)r->theirs[from], &r->shape, rows);
        r->dev->ops->carry_merge(r->dev, merged, &part, &r->shape, rows);
    }
    r->dev->ops->carry_finish(r->dev, merged, &r->shape, rows, o, ldo);
    trace_end(r->trace, span);
    return LARIAT_OK;
}

lariat_status ring_attend(ring_rank *r, int32_t layer, const void *q, int64_t ldq, void *o, int64_t ldo)
{
    int64_t rows = r->pass->rows[r->rank];
    carry c = carry_at(r->merged, &r->shape, rows);

    if (r->pass->layout == PASS_BY_SLICES) {
        return attend_by_slices(r, layer, q, ldq, &c, o, ldo);
    }
    return r->pass->side == PASS_Q ? attend_by_q(r, layer, ldq, &c, o, ldo) : attend_by_kv(r, layer, q, ldq, &c, o, ldo);
}

void ring_lse(const ring_rank *r, float *lse)
{
    int64_t rows = r->pass->rows[r->rank];
    carry c = carry_at(r->merged, &r->shape, rows);

    for (int64_t i = 0; i < rows * r->shape.n_heads; i++) {
        lse[i] = c.l[i] > 0 ? c.m[i] + logf(c.l[i]) : -INFINITY;
    }
}
