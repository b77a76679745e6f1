/* The schedule of ring attention: which keys meet which queries, in which order, and the hops meanwhile.
   Rests on cache.h, comm/comm.h, device/device.h. See attention.h; the kernels are device/cpu/cpu_attention.c and
   device/cuda/attention/cuda_attention.c.

   The carry (O, m, l) is fp32 over all hops and is divided once, so the order of the hops changes rounding only.
   Three schedules, one kernel:
   - pass-KV: rank r begins with its own keys and asks for those of r + 1, r + 2, ... while it computes;
   - pass-Q: the queries of r + 1, r + 2, ... travel to rank r's keys, and the partial results go back to be merged;
   - by slices (decode): every rank has all queries, attends to its own shard, and all partial results are gathered. */
#include "ring/attention.h"

#include <math.h>

/* A carry in whole cache lines, so that ranks write none in common. */
static size_t block_bytes(const attention_shape *shape, int64_t rows)
{
    return arena_need(carry_bytes(shape, rows));
}

size_t ring_message(const ring_setup *s, int32_t n_ranks)
{
    return n_ranks > 1 ? bytes_of(n_ranks, 1, block_bytes(&s->shape, s->max_slices)) : 0;
}

void ring_hops(const ring_setup *s, size_t bytes[COMM_REGIONS])
{
    bytes[COMM_KV] = shard_need(1, s->shape.n_kv_heads, s->shape.head_dim, s->slots, s->shape.kv_type);
    bytes[COMM_QUERIES] = s->pass_q ? bytes_of(s->max_rows, s->q_row_bytes, 1) : 0;
    bytes[COMM_PARTIALS] = s->pass_q ? carry_bytes(&s->shape, s->max_rows) : 0;
}

/* Takes all buffers but the shard from r's arenas, which may be ones that count. */
static void take_buffers(ring_rank *r, const ring_setup *s)
{
    /* A rank's slots, in one segment each: those filled before, and the runs of the pass. */
    int64_t segments = s->max_runs + s->max_extents, items = s->max_runs > s->max_parts ? s->max_runs : s->max_parts;
    int64_t rows = s->max_rows > s->max_slices ? s->max_rows : s->max_slices;
    int64_t pieces = s->shape.kv_type == DTYPE_I8 ? 4 : 2; /* of a segment */

    r->merged = arena_take(&r->memory, carry_bytes(&s->shape, rows));
    if (s->shape.kv_type == DTYPE_I8 && s->act != DTYPE_F32) {
        r->shape.expanded = arena_take(&r->memory, shard_need(1, s->shape.n_kv_heads, s->shape.head_dim, s->slots, s->act));
        r->shape.expanded_slots = s->slots;
    }
    r->slots = arena_take(&r->memory, bytes_of(rows, 1, sizeof *r->slots));
    r->partial_stride = s->pass_q ? block_bytes(&s->shape, s->max_rows) : 0;
    r->partials = arena_take(&r->memory, bytes_of(r->n_ranks, 1, r->partial_stride));
    r->host_slots = arena_take(&r->lists, bytes_of(rows, 1, sizeof *r->host_slots));
    r->begin = arena_take(&r->lists, bytes_of((int64_t)r->n_ranks + 1, 1, sizeof *r->begin));
    r->items = arena_take(&r->lists, bytes_of(items, 1, sizeof *r->items));
    for (hop_set *h = r->hops; h < r->hops + 2; h++) {
        h->pieces = arena_take(&r->lists, bytes_of(pieces, segments, sizeof *h->pieces));
        h->views = arena_take(&r->lists, bytes_of(pieces, segments, sizeof *h->views));
        h->segments = arena_take(&r->lists, bytes_of(segments, 1, sizeof *h->segments));
        h->part_begin = arena_take(&r->lists, bytes_of(s->max_parts + 1, 1, sizeof *h->part_begin));
    }
}

/* The size of the buffers, in the arenas of a ring_rank that is used for nothing else. */
static ring_rank count_buffers(const ring_setup *s, int32_t n_ranks)
{
    ring_rank r = {.n_ranks = n_ranks};

    arena_count(&r.memory);
    arena_count(&r.lists);
    take_buffers(&r, s);
    return r;
}

size_t ring_memory(const ring_setup *s, int32_t n_ranks)
{
    ring_rank counted = count_buffers(s, n_ranks);

    return arena_sum((const size_t[]){counted.memory.used, counted.lists.used}, 2);
}

lariat_status ring_open(ring_rank *r, device *dev, comm *c, const ring_setup *s)
{
    ring_rank counted = count_buffers(s, comm_size(c));

    *r = (ring_rank){.dev = dev, .comm = c, .rank = comm_rank(c), .n_ranks = comm_size(c), .shape = s->shape};
    TRY(shard_open(&r->shard, dev, s->n_layers, s->shape.n_kv_heads, s->shape.head_dim, s->slots, s->shape.kv_type));
    TRY(device_arena_open(dev, &r->memory, counted.memory.used, "ring attention"));
    TRY(arena_open(&r->lists, counted.lists.used, "ring attention"));
    take_buffers(r, s);
    comm_expose(c, COMM_KV, r->shard.base, r->shard.bytes);
    if (s->pass_q) {
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

void ring_expose_queries(ring_rank *r, const void *q, int64_t rows, int64_t ldq)
{
    comm_expose(r->comm, COMM_QUERIES, q, (size_t)(rows * ldq) * dtype_block_bytes(r->dev->act));
}

/* --- the plan of a pass, as this rank sees it --- */

/* The step at which a layer's keys (or queries) of this pass are offered. */
static uint32_t step_of(int32_t layer)
{
    return (uint32_t)layer + 1;
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

/* The scales of what a piece has the codes of: their plane has a number where the shard has a row. */
static comm_piece scales_of(const ring_rank *r, const comm_piece *codes)
{
    size_t row = dtype_row_bytes(r->shape.kv_type, r->shape.head_dim);
    size_t plane = 2 * (size_t)r->shard.n_layers * r->shard.side_bytes;

    return (comm_piece){.offset = plane + codes->offset / row * sizeof(float), .bytes = codes->bytes / row * sizeof(float),
                        .stride = codes->stride / row * sizeof(float), .rows = codes->rows};
}

/* The slots of `owner` of the pass's sequences: those filled before, visible to every query, then the runs of this pass. */
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
    int n = 2 * h->n;
    for (int i = 0; r->shape.kv_type == DTYPE_I8 && i < 2 * h->n; i++) {
        h->pieces[n++] = scales_of(r, &h->pieces[i]); /* behind all codes, which stay aligned so where pieces are packed */
    }
    h->hop = (comm_hop){.owner = owner,
                        .offer = {.region = COMM_KV, .step = step_of(layer), .list = h->pieces, .n = n},
                        .views = h->views};
}

/* Points the segments at the hop's pieces. */
static void place_segments(const ring_rank *r, hop_set *h)
{
    size_t row = (size_t)r->shape.head_dim * dtype_block_bytes(r->shape.kv_type);

    for (int32_t i = 0; i < h->n; i++) {
        h->segments[i].k = h->views[2 * i].at;
        h->segments[i].v = h->views[2 * i + 1].at;
        h->segments[i].head_stride = (int64_t)(h->views[2 * i].stride / row);
        if (r->shape.kv_type == DTYPE_I8) {
            h->segments[i].k_scales = h->views[2 * (h->n + i)].at;
            h->segments[i].v_scales = h->views[2 * (h->n + i) + 1].at;
        }
    }
}

/* This rank's own keys: for itself they do not travel. */
static void list_own(const ring_rank *r, hop_set *h, int32_t layer)
{
    list_sources(r, h, layer, r->rank);
    for (int i = 0; i < h->hop.offer.n; i++) {
        h->views[i] = (comm_view){r->shard.base + h->pieces[i].offset, h->pieces[i].stride};
    }
    place_segments(r, h);
}

/* The queries that `rank` has by tokens, each run against the segments of its sequence: all rows, also where there is no
   segment. Returns the number of items. */
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

/* Each offer is taken: nothing is offered to ranks that do not attend, or where queries travel. */
static void offer_keys(ring_rank *r, const comm_pieces *own, const bool attends[])
{
    if (r->pass->layout != PASS_BY_TOKENS || r->pass->side != PASS_KV) {
        return;
    }
    if (!attends) {
        comm_offer(r->comm, COMM_ALL, own);
    }
    for (int to = 0; attends && to < r->n_ranks; to++) {
        if (attends[to] && to != r->rank) {
            comm_offer(r->comm, to, own);
        }
    }
}

bool ring_stores_rotated(const ring_rank *r, const rotation *rotate)
{
    return r->dev->ops->rope_store && rotate->cos && rotate->dims == r->shape.head_dim && !rotate->k_norm;
}

void ring_append(ring_rank *r, int32_t layer, const rotation *rotate, const void *k, const void *v, int64_t ld,
                 const bool attends[])
{
    const device_ops *ops = r->dev->ops;
    const attention_shape *s = &r->shape;
    void *const side[] = {r->shard.base + shard_offset(&r->shard, layer, 0, 0),
                          r->shard.base + shard_offset(&r->shard, layer, 1, 0)};
    float *const scales[] = {shard_scales(&r->shard, layer, 0, 0), shard_scales(&r->shard, layer, 1, 0)};
    const void *const from[] = {k, v};
    int64_t rows = r->pass->rows[r->rank];

    if (rotate && ring_stores_rotated(r, rotate)) {
        ops->rope_store(r->dev, rotate, side, scales, s->kv_type, r->shard.slots, r->slots, rows, s->head_dim);
    } else {
        if (rotate) {
            ops->rope(r->dev, rotate, rows, s->head_dim);
        }
        for (int i = 0; i < 2; i++) {
            ops->kv_store(r->dev, side[i], scales[i], s->kv_type, r->shard.slots, r->slots, from[i], ld, rows, s->n_kv_heads,
                          s->head_dim);
        }
    }
    list_own(r, &r->hops[0], layer);
    offer_keys(r, &r->hops[0].hop.offer, attends);
}

/* --- the three schedules --- */

/* Keys travel. */
static lariat_status attend_by_kv(ring_rank *r, int32_t layer, const void *q, int64_t ldq, const carry *c, void *o, int64_t ldo)
{
    int n = r->n_ranks;

    for (int hop = 0; hop < n; hop++) {
        int owner = (r->rank + hop) % n;
        hop_set *now = &r->hops[hop & 1], *next = &r->hops[(hop + 1) & 1];
        if (hop > 0) {
            TRY(comm_take(r->comm, &now->hop));
            place_segments(r, now);
        }
        if (hop + 1 < n) { /* travels while `now` is used */
            list_sources(r, next, layer, (owner + 1) % n);
            TRY(comm_ask(r->comm, &next->hop));
        }
        int64_t span = trace_begin_of(r->trace, LARIAT_SPAN_ATTENTION, owner);
        r->dev->ops->attention(r->dev, &r->shape, q, ldq, r->items, items_by_tokens(r, now, r->rank), c,
                               &(attention_ends){.is_first = hop == 0, .out = hop == n - 1 ? o : NULL, .ldo = ldo});
        trace_end(r->trace, span);
        if (hop > 0) {
            comm_release(r->comm, &now->hop);
        }
    }
    return LARIAT_OK;
}

/* Partial results are offered rank after rank, in the order in which their queries were served. */
static uint32_t partial_step(const ring_rank *r, int32_t layer, int from, int to)
{
    uint32_t hop = (uint32_t)((to - from + r->n_ranks) % r->n_ranks);

    return (uint32_t)layer * (uint32_t)r->n_ranks + hop + 1;
}

/* A rank's queries, and a partial result of them, in their owner's region. */
static comm_piece queries_of(const ring_rank *r, int rank, int64_t ldq)
{
    size_t element = dtype_block_bytes(r->dev->act);

    return (comm_piece){.bytes = (size_t)(r->shape.n_heads * r->shape.head_dim) * element, .stride = (size_t)ldq * element,
                        .rows = r->pass->rows[rank]};
}

static comm_piece partial_of(const ring_rank *r, int rank)
{
    size_t bytes = carry_bytes(&r->shape, r->pass->rows[rank]);

    return (comm_piece){.offset = (size_t)rank * r->partial_stride, .bytes = bytes, .stride = bytes, .rows = 1};
}

/* The queries of every rank, in turn, against this rank's keys; each result is offered to its owner. */
static lariat_status serve_queries(ring_rank *r, int32_t layer, int64_t ldq)
{
    int n = r->n_ranks;

    for (int hop = 0; hop < n; hop++) {
        int owner = (r->rank + hop) % n;
        int64_t rows = r->pass->rows[owner];
        comm_piece theirs = queries_of(r, owner, ldq), result = partial_of(r, owner);
        comm_view view;
        comm_hop queries = {.owner = owner, .offer = {COMM_QUERIES, step_of(layer), &theirs, 1}, .views = &view};
        carry c = carry_at(r->partials + result.offset, &r->shape, rows);

        TRY(comm_ask(r->comm, &queries));
        TRY(comm_take(r->comm, &queries));
        int64_t span = trace_begin_of(r->trace, LARIAT_SPAN_ATTENTION, owner);
        int64_t ld = (int64_t)(view.stride / dtype_block_bytes(r->dev->act));
        r->dev->ops->attention(r->dev, &r->shape, view.at, ld, r->items, items_by_tokens(r, &r->hops[0], owner), &c,
                               &(attention_ends){.is_first = true});
        trace_end(r->trace, span);
        comm_release(r->comm, &queries);
        comm_offer(r->comm, owner, &(comm_pieces){COMM_PARTIALS, partial_step(r, layer, r->rank, owner), &result, 1});
    }
    return LARIAT_OK;
}

/* Queries travel. */
static lariat_status attend_by_q(ring_rank *r, int32_t layer, int64_t ldq, const carry *c, void *o, int64_t ldo)
{
    int64_t rows = r->pass->rows[r->rank];
    comm_piece own = queries_of(r, r->rank, ldq), piece = partial_of(r, r->rank);

    comm_offer(r->comm, COMM_ALL, &(comm_pieces){COMM_QUERIES, step_of(layer), &own, 1});
    TRY(serve_queries(r, layer, ldq));
    for (int from = 0; from < r->n_ranks; from++) {
        comm_view view;
        comm_hop partial = {.owner = from,
                            .offer = {COMM_PARTIALS, partial_step(r, layer, from, r->rank), &piece, 1},
                            .views = &view};

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

/* Every rank has all queries, and attends to its own shard. Partial results of all ranks are side by side in one row of an
   all-gather: merged in the order of the ranks on every rank alike. */
static lariat_status attend_by_slices(ring_rank *r, const void *q, int64_t ldq, const carry *merged, void *o, int64_t ldo)
{
    const device_ops *ops = r->dev->ops;
    int64_t rows = r->pass->n_tokens;
    size_t block = block_bytes(&r->shape, rows);
    carry c = carry_at((unsigned char *)comm_rows(r->comm) + (size_t)r->rank * block, &r->shape, rows);
    const comm_merge merge = {.shape = &r->shape, .rows = rows, .out = o, .ldo = ldo, .scratch = *merged};
    comm_gather gather = {.rows = 1, .stride = (size_t)r->n_ranks * block, .begin = r->begin, .merge = &merge};
    int n_items = items_by_slices(r, &r->hops[0]);

    for (int i = 0; i <= r->n_ranks; i++) {
        r->begin[i] = (size_t)i * block;
    }
    int64_t span = trace_begin_of(r->trace, LARIAT_SPAN_ATTENTION, r->rank);
    const void *exchange = ops->attention_exchanged ? comm_exchange(r->comm, &gather) : NULL;
    gather.exchanged = exchange && ops->attention_exchanged(r->dev, &r->shape, q, ldq, r->items, n_items, &c, exchange);
    if (!gather.exchanged) {
        ops->attention(r->dev, &r->shape, q, ldq, r->items, n_items, &c, &(attention_ends){.is_first = true});
    }
    trace_end(r->trace, span);
    span = trace_begin(r->trace, LARIAT_SPAN_MERGE);
    TRY(comm_all_gather(r->comm, &gather));
    trace_end(r->trace, span);
    return LARIAT_OK;
}

/* The same in a ring of one: there is nothing to merge. */
static lariat_status attend_alone(ring_rank *r, const void *q, int64_t ldq, const carry *c, void *o, int64_t ldo)
{
    int64_t span = trace_begin_of(r->trace, LARIAT_SPAN_ATTENTION, r->rank);

    r->dev->ops->attention(r->dev, &r->shape, q, ldq, r->items, items_by_slices(r, &r->hops[0]), c,
                           &(attention_ends){.is_first = true, .out = o, .ldo = ldo});
    trace_end(r->trace, span);
    return LARIAT_OK;
}

uint64_t ring_replay_class(ring_rank *r, const void *q, int64_t ldq, void *o, int64_t ldo)
{
    carry c =
        carry_at(r->merged, &r->shape, r->pass->n_tokens); /* in a ring of several it stands for the rows of an all-gather */
    attention_ends ends = {.is_first = true, .out = r->n_ranks == 1 ? o : NULL, .ldo = ldo};

    list_own(r, &r->hops[0], 0);
    return r->dev->ops->replay_class(r->dev, &r->shape, q, ldq, r->items, items_by_slices(r, &r->hops[0]), &c, &ends);
}

lariat_status ring_attend(ring_rank *r, int32_t layer, const void *q, int64_t ldq, void *o, int64_t ldo)
{
    int64_t rows = r->pass->rows[r->rank];
    carry c = carry_at(r->merged, &r->shape, rows);

    if (r->pass->layout == PASS_BY_SLICES) {
        return r->n_ranks == 1 ? attend_alone(r, q, ldq, &c, o, ldo) : attend_by_slices(r, q, ldq, &c, o, ldo);
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
