/* What a record means: where each pointer leads, and what every slot and every carry stands for.
   Rests on play.h. The order of events is rand's: a test that names its seed sees the same order again. */
#include "support/play.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* --- where a pointer leads --- */

/* An address in this rank's staging memory, as one in the region of the rank whose hop was taken; any other as it is. Between
   release and the next take there is nothing in staging. */
static const unsigned char *origin_of(const member *m, const void *at, int *owner)
{
    *owner = m->rank;
    for (int s = 0; s < COMM_REGIONS * COMM_OPEN_HOPS; s++) {
        const event *hop = m->taken[s / COMM_OPEN_HOPS][s % COMM_OPEN_HOPS];
        const memory *staging = &m->rec.staging[s / COMM_OPEN_HOPS][s % COMM_OPEN_HOPS];
        if (!hop || !memory_holds(staging, at, 1)) {
            continue;
        }
        size_t skip = (size_t)((const unsigned char *)at - staging->at);
        for (int i = 0; i < hop->n_pieces; i++) {
            const comm_piece *p = &hop->pieces[i];
            size_t packed = p->bytes * (size_t)p->rows;
            if (skip < packed) {
                *owner = hop->owner;
                return m->all->members[hop->owner].rec.region[hop->region].at + p->offset + skip / p->bytes * p->stride +
                       skip % p->bytes;
            }
            skip -= packed;
        }
    }
    return at;
}

/* What an element of a shard is: [layers, K and V, KV heads, slots, head_dim]. */
typedef struct place {
    int owner, layer, side, head;
    int64_t slot;
} place;

static place place_of(const member *m, const void *at, bool scales)
{
    int owner;
    const unsigned char *origin = origin_of(m, at, &owner);
    const memory *keys = &m->all->members[owner].rec.region[COMM_KV];
    size_t elements = HEAD_DIM * dtype_block_bytes(m->rec.shape.kv_type), row = scales ? sizeof(float) : elements;
    size_t plane = scales ? (size_t)(LAYERS * 2 * KV_HEADS * SLOTS) * elements : 0; /* scales are behind all codes */

    assert_true(memory_holds(keys, origin, row));
    assert_true(origin >= keys->at + plane);
    size_t offset = (size_t)(origin - keys->at) - plane;
    assert_int_equal(offset % row, 0);
    assert_true(scales || offset / row < (size_t)(LAYERS * 2 * KV_HEADS * SLOTS));
    int64_t index = (int64_t)(offset / row);
    return (place){.owner = owner,
                   .layer = (int)(index / SLOTS / KV_HEADS / 2),
                   .side = (int)(index / SLOTS / KV_HEADS % 2),
                   .head = (int)(index / SLOTS % KV_HEADS),
                   .slot = index % SLOTS};
}

/* Slots [0, count) of what device.h describes as (first, head_stride) lie in a row of slots, the same for each head. */
static place place_of_slots(const member *m, const void *first, bool scales, int64_t head_stride, int64_t count)
{
    size_t row = scales ? sizeof(float) : HEAD_DIM * dtype_block_bytes(m->rec.shape.kv_type);
    place p = place_of(m, first, scales);

    for (int h = 0; h < KV_HEADS; h++) {
        for (int64_t i = 0; i < count; i++) {
            place other = place_of(m, (const unsigned char *)first + (size_t)(h * head_stride + i) * row, scales);
            assert_true(other.owner == p.owner && other.layer == p.layer && other.side == p.side);
            assert_int_equal(other.head, h);
            assert_int_equal(other.slot, p.slot + i);
        }
    }
    return p;
}

/* Where `count` rows are, and that their scales are those rows': of I8, where every row has one. */
static place place_of_rows(const member *m, const void *first, const float *scales, int64_t head_stride, int64_t count)
{
    place p = place_of_slots(m, first, false, head_stride, count);

    assert_int_equal(scales != NULL, m->rec.shape.kv_type == DTYPE_I8);
    if (scales && count) {
        assert_int_equal((uintptr_t)origin_of(m, scales, &(int){0}) % sizeof(float), 0);
        place s = place_of_slots(m, scales, true, head_stride, count);
        assert_true(s.owner == p.owner && s.layer == p.layer && s.side == p.side && s.head == p.head && s.slot == p.slot);
    }
    return p;
}

/* The row of a rank's activations that begins `column` elements before `at`. */
static int64_t row_of(const member *m, const void *at, int64_t column)
{
    ptrdiff_t elements = ((const unsigned char *)at - (const unsigned char *)m->rows) / (ptrdiff_t)sizeof(uint16_t) - column;

    assert_int_equal(elements % ROW_WIDTH, 0);
    assert_in_range(elements / ROW_WIDTH, 0, ROWS_MOST - 1);
    return elements / ROW_WIDTH;
}

static result *result_at(replay *all, const void *at)
{
    for (int i = 0; i < all->n_results; i++) {
        if (all->results[i].at == at) {
            return &all->results[i];
        }
    }
    fail_msg("a carry that was never cleared, or was written over");
    return NULL;
}

/* A carry of nothing; what lay there before is gone. */
static result *new_result(replay *all, const void *at, int64_t rows, int rank, int layer)
{
    size_t bytes = carry_bytes(&all->members[0].rec.shape, rows ? rows : 1);

    for (int i = all->n_results - 1; i >= 0; i--) {
        result *c = &all->results[i];
        if (c->at < (const unsigned char *)at + bytes && (const unsigned char *)at < c->at + c->bytes) {
            *c = all->results[--all->n_results];
        }
    }
    assert_true(all->n_results < (int)(sizeof all->results / sizeof *all->results));
    result *c = &all->results[all->n_results++];
    *c = (result){.at = at, .bytes = bytes, .rows = rows, .rank = rank, .layer = layer};
    for (int i = 0; i < ROWS_MOST; i++) {
        c->query[i] = -1;
    }
    return c;
}

/* --- what a call means --- */

static void replay_store(member *m, const event *e)
{
    size_t row = HEAD_DIM * dtype_block_bytes(m->rec.shape.kv_type);
    place p = place_of_rows(m, (const unsigned char *)e->at + (size_t)e->slot * row, e->scales ? e->scales + e->slot : NULL,
                            e->head_stride, e->rows);
    int64_t from = row_of(m, e->from, Q_WIDTH + p.side * KV_WIDTH);

    assert_true(p.owner == m->rank && p.layer == m->layer);
    assert_int_equal(e->ld, ROW_WIDTH);
    for (int64_t i = 0; i < e->rows; i++) {
        int32_t tag = m->row_tag[from + i], *slot = &m->held[p.layer][p.side][p.slot + i];
        assert_int_equal(m->planned[p.slot + i], tag);
        assert_int_equal(*slot, -1);
        *slot = tag;
    }
}

/* A segment's keys meet query `tag` of row `row`. */
static void meet(const replay *all, const kv_segment *s, place k, int32_t tag, uint64_t met[WORDS])
{
    const int32_t *held = &all->members[k.owner].held[k.layer][0][k.slot];
    int64_t position = tag % CAPACITY;

    for (int32_t j = 0; j < s->count; j++) {
        int64_t key = held[j] % CAPACITY;
        assert_int_equal(held[j] / CAPACITY, tag / CAPACITY); /* of the query's sequence: and not -1, an empty slot */
        assert_true(held[j] >= 0);
        if (s->first == KV_ALL_VISIBLE) {
            assert_true(key <= position);
        } else {
            assert_int_equal(key, s->first + j);
        }
        if (key <= position) {
            assert_false(met[key / 64] >> (key % 64) & 1);
            met[key / 64] |= (uint64_t)1 << (key % 64);
        }
    }
}

static void replay_item(member *m, event *e, const attention_item *item, result *c)
{
    for (int32_t s = 0; s < item->n_segments; s++) {
        const kv_segment *segment = &item->segments[s];
        place k = place_of_rows(m, segment->k, segment->k_scales, segment->head_stride, segment->count);
        place v = place_of_rows(m, segment->v, segment->v_scales, segment->head_stride, segment->count);
        assert_true(k.side == 0 && v.side == 1);
        assert_true(k.layer == m->layer && v.layer == k.layer && v.owner == k.owner && v.slot == k.slot);
        assert_true(e->holder < 0 || e->holder == k.owner);
        e->holder = k.owner;
        for (int32_t i = 0; i < item->count; i++) {
            int64_t row = item->row + i;
            int32_t tag = m->all->members[e->asker].row_tag[row];
            assert_in_range(row, 0, c->rows - 1);
            assert_int_equal(tag % CAPACITY, item->first + i);
            assert_true(c->query[row] == -1 || c->query[row] == tag);
            c->query[row] = tag;
            meet(m->all, segment, k, tag, c->met[row]);
        }
    }
}

static void replay_attention(member *m, event *e)
{
    replay *all = m->all;
    const unsigned char *q = origin_of(m, e->from, &e->asker);
    const member *asker = &all->members[e->asker];
    result *c = result_at(all, e->at);
    uint32_t seen = 0;

    assert_true(c->rank == m->rank && c->layer == m->layer);
    if (e->n_items) { /* packed queries are as far apart as they are wide; their owner has not gone on to another layer */
        assert_ptr_equal(q, asker->rows);
        assert_int_equal(e->ld, q == e->from ? ROW_WIDTH : Q_WIDTH);
        assert_int_equal(asker->layer, m->layer);
    }
    for (int i = 0; i < e->n_items; i++) {
        for (int32_t row = e->items[i].row; row < e->items[i].row + e->items[i].count; row++) {
            assert_false(seen >> row & 1); /* items name disjoint rows */
            seen |= UINT32_C(1) << row;
        }
        replay_item(m, e, &e->items[i], c);
    }
}

static void replay_merge(member *m, const event *e)
{
    replay *all = m->all;
    int owner;

    if (!e->rows) { /* no bytes came from anywhere */
        return;
    }
    const result *from = result_at(all, origin_of(m, e->from, &owner));
    result *into = result_at(all, e->at);
    assert_int_equal(into->rank, m->rank);
    assert_int_equal(from->layer, m->layer);
    assert_int_equal(into->layer, m->layer);
    assert_true(into->rows == e->rows && from->rows == e->rows);
    for (int64_t row = 0; row < e->rows; row++) {
        assert_true(into->query[row] == -1 || from->query[row] == -1 || into->query[row] == from->query[row]);
        into->query[row] = into->query[row] == -1 ? from->query[row] : into->query[row];
        for (int i = 0; i < WORDS; i++) {
            assert_int_equal(into->met[row][i] & from->met[row][i], 0);
            into->met[row][i] |= from->met[row][i];
        }
    }
}

/* Each row has met the keys at 0 .. its own position, and no others. */
static void replay_finish(member *m, const event *e)
{
    result *c = result_at(m->all, e->from);

    assert_true(c->rank == m->rank && c->layer == m->layer && c->rows == e->rows);
    assert_int_equal(e->rows, m->n_rows);
    assert_ptr_equal(e->at, m->out);
    assert_int_equal(e->ld, Q_WIDTH);
    for (int64_t row = 0; row < e->rows; row++) {
        int64_t last = m->row_tag[row] % CAPACITY;
        assert_int_equal(c->query[row], m->row_tag[row]);
        for (int64_t key = 0; key < CAPACITY; key++) {
            assert_int_equal(c->met[row][key / 64] >> (key % 64) & 1, key <= last);
        }
    }
}

/* False while others have not come so far. */
static bool replay_gather(member *m, const event *e)
{
    m->gathered = e->step;
    for (int r = 0; r < m->all->n; r++) {
        if (m->all->members[r].gathered < e->step) {
            return false;
        }
    }
    return true;
}

/* Takes what the owner has offered this rank, and no other pieces; false while it has not. */
static bool replay_take(member *m, const event *e)
{
    const member *owner = &m->all->members[e->owner];
    const comm_pieces wanted = {e->region, e->step, e->pieces, e->n_pieces};

    for (int i = 0; i < owner->next; i++) {
        const event *o = &owner->rec.events[i];
        if (o->what == OFFER && o->region == e->region && o->step == e->step && (o->to == COMM_ALL || o->to == m->rank)) {
            assert_true(same_pieces(o, &wanted));
            m->taken[e->region][e->staging] = e;
            return true;
        }
    }
    return false;
}

/* What is asked for is the owner's to show. */
static void replay_ask(const member *m, const event *e)
{
    const memory *region = &m->all->members[e->owner].rec.region[e->region];

    for (int i = 0; i < e->n_pieces; i++) {
        const comm_piece *p = &e->pieces[i];
        size_t extent = p->rows ? (size_t)(p->rows - 1) * p->stride + p->bytes : 0;
        assert_true(memory_holds(region, region->at + p->offset, extent));
    }
}

bool replay_one(member *m)
{
    event *e = &m->rec.events[m->next];

    switch (e->what) {
    case WRITE: m->layer = e->layer; break;
    case STORE: replay_store(m, e); break;
    case CLEAR: new_result(m->all, e->at, e->rows, m->rank, m->layer); break;
    case ATTEND: replay_attention(m, e); break;
    case MERGE: replay_merge(m, e); break;
    case FINISH: replay_finish(m, e); break;
    case OFFER: break;
    case ASK: replay_ask(m, e); break;
    case TAKE:
        if (!replay_take(m, e)) {
            return false;
        }
        break;
    case RELEASE: m->taken[e->region][e->staging] = NULL; break;
    case GATHER:
        if (!replay_gather(m, e)) {
            return false;
        }
        break;
    }
    m->next++;
    return true;
}

static bool takes(const member *m, const event *offer, int owner)
{
    int times = 0;

    for (int i = 0; i < m->rec.n_events; i++) {
        const event *e = &m->rec.events[i];
        times += e->what == TAKE && e->owner == owner && e->region == offer->region && e->step == offer->step;
    }
    return times == 1;
}

/* What a rank offers to another is taken there, once: it would have been sent. */
static void assert_offers_taken(const member *m)
{
    for (int i = 0; i < m->rec.n_events; i++) {
        const event *e = &m->rec.events[i];
        for (int r = 0; r < m->all->n && e->what == OFFER; r++) {
            assert_true(r == m->rank || (e->to != COMM_ALL && e->to != r) || takes(&m->all->members[r], e, m->rank));
        }
    }
}

void replay_run(replay *all)
{
    for (bool moved = true; moved;) {
        int first = rand() % all->n;
        moved = false;
        for (int i = 0; i < all->n && !moved; i++) {
            member *m = &all->members[(first + i) % all->n];
            int burst = rand() % 4 ? 1 + rand() % 5 : EVENTS_MOST;
            for (; burst && m->next < m->rec.n_events && replay_one(m); burst--) {
                moved = true;
            }
        }
    }
    for (int r = 0; r < all->n; r++) {
        const member *m = &all->members[r];
        assert_int_equal(m->next, m->rec.n_events); /* nobody waits for what never comes */
        assert_offers_taken(m);
        for (int i = 0; i < COMM_REGIONS; i++) {
            assert_true(!m->rec.open[i][0] && !m->rec.open[i][1]);
        }
    }
}
