/* A device and a transport that write down what they are asked.
   Rests on recorder.h, where it is said what is asserted here and what is left to the replay. */
#include "support/recorder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static event *note(recorder *m, deed what)
{
    event *e = &m->events[m->n_events];

    assert_true(m->n_events++ < EVENTS_MOST);
    *e = (event){.what = what, .layer = m->layer, .asker = -1, .holder = -1};
    return e;
}

/* The rows of this rank's next all-gather. */
static memory rows_of(const recorder *m)
{
    return (memory){m->gathered + (m->gathers & 1) * m->message_bytes, m->message_bytes};
}

/* What an operation writes is its own device's memory, or rows of the next all-gather. */
static void assert_own(recorder *m, const void *at, size_t bytes)
{
    memory rows = rows_of(m);
    bool own = bytes && memory_holds(&rows, at, bytes);

    if (own) {
        m->written = (memory){(unsigned char *)(uintptr_t)at, bytes};
    }
    assert_true(own || device_memory_holds(&m->memory, at, bytes));
}

/* --- the device --- */

static recorder *of_device(device *dev)
{
    return ((recording_device *)dev)->self;
}

static lariat_status device_reserve(device *dev, size_t bytes, const char *what, void **out)
{
    (void)what;
    return device_memory_reserve(&of_device(dev)->memory, bytes, out);
}

static void device_upload(device *dev, void *to, const void *from, size_t bytes)
{
    assert_own(of_device(dev), to, bytes);
    memcpy(to, from, bytes);
}

/* An event for each run of slots. */
static void device_kv_store(device *dev, void *at, float *scales, dtype type, int64_t head_stride, const int64_t *slots,
                            const void *x, int64_t ldx, int64_t n, int32_t heads, int32_t head_dim)
{
    recorder *m = of_device(dev);

    assert_int_equal(type, m->shape.kv_type);
    assert_int_equal(heads, m->shape.n_kv_heads);
    assert_int_equal(head_dim, m->shape.head_dim);
    assert_own(m, slots, (size_t)n * sizeof *slots);
    for (int64_t t = 0; t < n;) {
        int64_t count = 1;
        while (slots[t] >= 0 && t + count < n && slots[t + count] == slots[t] + count) {
            count++;
        }
        if (slots[t] >= 0) {
            event *e = note(m, STORE);
            e->at = at;
            e->scales = scales;
            e->head_stride = head_stride;
            e->slot = slots[t];
            e->from = act_at(dev, x, t * ldx);
            e->ld = ldx;
            e->rows = count;
        }
        t += count;
    }
}

/* The three parts of a carry lie one behind the other, so that it can travel as one message. */
static void assert_whole(const carry *c, const attention_shape *s, int64_t rows)
{
    assert_ptr_equal(c->m, c->o + rows * s->n_heads * s->head_dim);
    assert_ptr_equal(c->l, c->m + rows * s->n_heads);
}

static void device_carry_clear(device *dev, const carry *c, const attention_shape *s, int64_t rows)
{
    recorder *m = of_device(dev);
    event *e = note(m, CLEAR);

    assert_whole(c, s, rows);
    assert_own(m, c->o, carry_bytes(s, rows));
    e->at = c->o;
    e->rows = rows;
}

static void device_carry_finish(device *dev, const carry *c, const attention_shape *s, int64_t rows, void *out, int64_t ldo)
{
    event *e = note(of_device(dev), FINISH);

    assert_whole(c, s, rows);
    e->at = out;
    e->from = c->o;
    e->ld = ldo;
    e->rows = rows;
}

/* The ends of a call are noted as what they stand for. */
static void device_attention(device *dev, const attention_shape *s, const void *q, int64_t ldq, const attention_item items[],
                             int n_items, const carry *c, const attention_ends *ends)
{
    recorder *m = of_device(dev);
    int64_t row = 0, rows = 0;
    int at = 0;

    if (attention_stretch(items, n_items, &at, &row, &rows)) {
        assert_int_equal(row, 0); /* the ring's items are all rows, one stretch */
        assert_int_equal(at, n_items);
    }
    if (ends->is_first) {
        device_carry_clear(dev, c, s, rows);
    }
    event *e = note(m, ATTEND);
    assert_memory_equal(s, &m->shape, sizeof *s);
    e->at = c->o;
    e->from = q;
    e->ld = ldq;
    e->items = m->items + m->n_items;
    e->n_items = n_items;
    for (int i = 0; i < n_items; i++) {
        assert_true(m->n_items < LIST_MOST && m->n_segments + items[i].n_segments <= LIST_MOST);
        m->items[m->n_items] = items[i];
        m->items[m->n_items++].segments = m->segments + m->n_segments;
        memcpy(m->segments + m->n_segments, items[i].segments, (size_t)items[i].n_segments * sizeof(kv_segment));
        m->n_segments += items[i].n_segments;
    }
    if (ends->out) {
        device_carry_finish(dev, c, s, rows, ends->out, ends->ldo);
    }
}

static void device_carry_merge(device *dev, const carry *into, const carry *from, const attention_shape *s, int64_t rows)
{
    event *e = note(of_device(dev), MERGE);

    assert_whole(into, s, rows);
    assert_whole(from, s, rows);
    e->at = into->o;
    e->from = from->o;
    e->rows = rows;
}

/* All that the ring may use: a call of anything else ends the test. */
static const device_ops recording_ops = {
    .name = "recording",
    .reserve = device_reserve,
    .release = device_memory_release,
    .upload = device_upload,
    .kv_store = device_kv_store,
    .carry_clear = device_carry_clear,
    .attention = device_attention,
    .carry_merge = device_carry_merge,
    .carry_finish = device_carry_finish,
};

/* --- the transport: it packs what travels into one of two pieces of staging memory --- */

static recorder *of_comm(const comm *c)
{
    return ((const recording_comm *)c)->self;
}

size_t hop_bytes(const event *hop)
{
    size_t sum = 0;

    for (int i = 0; i < hop->n_pieces; i++) {
        sum += hop->pieces[i].bytes * (size_t)hop->pieces[i].rows;
    }
    return sum;
}

static void transport_begin(comm *c, bool replays)
{
    (void)c;
    assert_false(replays);
}

static void *transport_rows(comm *c)
{
    return rows_of(of_comm(c)).at;
}

/* This rank has written all of its columns, up to their alignment, and nothing else. */
static lariat_status transport_all_gather(comm *c, const comm_gather *g)
{
    recorder *m = of_comm(c);
    event *e = note(m, GATHER);
    size_t column = (size_t)(m->written.at - rows_of(m).at);

    assert_true(comm_gather_bytes(g, c->n) <= m->message_bytes);
    assert_int_equal(g->rows, 1);
    assert_int_equal(column, g->begin[c->rank]);
    assert_int_equal(arena_need(m->written.bytes), g->begin[c->rank + 1] - column);
    e->step = ++m->gathers;
    return LARIAT_OK;
}

static void transport_expose(comm *c, comm_region region, const void *base, size_t bytes)
{
    of_comm(c)->region[region] = (memory){(unsigned char *)(uintptr_t)base, bytes};
}

/* Notes pieces as they are now: lists are the caller's. */
static void note_pieces(recorder *m, event *e, const comm_pieces *p)
{
    e->region = p->region;
    e->step = p->step;
    e->pieces = m->pieces + m->n_pieces;
    e->n_pieces = p->n;
    assert_true(m->n_pieces + p->n <= LIST_MOST);
    for (int i = 0; i < p->n; i++) {
        m->pieces[m->n_pieces++] = p->list[i];
    }
}

bool same_pieces(const event *e, const comm_pieces *p)
{
    bool same = e->region == p->region && e->step == p->step && e->n_pieces == p->n;

    for (int i = 0; same && i < p->n; i++) {
        const comm_piece *a = &e->pieces[i], *b = &p->list[i];
        same = a->offset == b->offset && a->bytes == b->bytes && a->stride == b->stride && a->rows == b->rows;
    }
    return same;
}

static void transport_offer(comm *c, int to, const comm_pieces *p)
{
    recorder *m = of_comm(c);
    event *e = note(m, OFFER);

    e->to = to;
    note_pieces(m, e, p);
}

static lariat_status transport_ask(comm *c, const comm_hop *hop)
{
    recorder *m = of_comm(c);
    event *e = note(m, ASK), **open = m->open[hop->offer.region];

    e->staging = open[0] ? 1 : 0;
    assert_null(open[e->staging]); /* at most two are open */
    open[e->staging] = e;
    e->hop = hop;
    e->owner = hop->owner;
    note_pieces(m, e, &hop->offer);
    assert_true(hop_bytes(e) <= m->staging[e->region][e->staging].bytes);
    return LARIAT_OK;
}

/* The open hop that the caller means, and that is still as it was when it was asked for. */
static event *open_hop(recorder *m, const comm_hop *hop)
{
    event **open = m->open[hop->offer.region], *e = open[0] && open[0]->hop == hop ? open[0] : open[1];

    assert_true(e && e->hop == hop && e->owner == hop->owner && same_pieces(e, &hop->offer));
    return e;
}

static void note_again(recorder *m, deed what, const event *asked)
{
    event *e = note(m, what);

    *e = *asked;
    e->what = what;
}

static lariat_status transport_take(comm *c, comm_hop *hop)
{
    recorder *m = of_comm(c);
    event *asked = open_hop(m, hop);
    const unsigned char *at = m->staging[asked->region][asked->staging].at;

    for (int i = 0; i < asked->n_pieces; i++) {
        hop->views[i] = (comm_view){at, asked->pieces[i].bytes};
        at += asked->pieces[i].bytes * (size_t)asked->pieces[i].rows;
    }
    note_again(m, TAKE, asked);
    return LARIAT_OK;
}

static void transport_release(comm *c, const comm_hop *hop)
{
    recorder *m = of_comm(c);
    event *asked = open_hop(m, hop);

    note_again(m, RELEASE, asked);
    m->open[asked->region][asked->staging] = NULL;
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

/* --- a rank's record --- */

void recorder_open(recorder *r, int rank, const attention_shape *shape, const comm_setup *setup, unsigned char *gathered)
{
    *r = (recorder){.shape = *shape, .message_bytes = setup->message_bytes, .gathered = gathered};
    r->dev = (recording_device){{.ops = &recording_ops, .act = DTYPE_BF16}, r};
    r->comm = (recording_comm){{.ops = &transport_ops, .dev = &r->dev.base, .rank = rank, .n = setup->n_ranks}, r};
    for (int i = 0; i < COMM_REGIONS * COMM_OPEN_HOPS; i++) {
        size_t bytes = setup->hop_bytes[i / COMM_OPEN_HOPS];
        r->staging[i / COMM_OPEN_HOPS][i % COMM_OPEN_HOPS] = (memory){malloc(bytes + 1), bytes};
        assert_non_null(r->staging[i / COMM_OPEN_HOPS][i % COMM_OPEN_HOPS].at);
    }
}

void recorder_close(recorder *r)
{
    for (int i = 0; i < COMM_REGIONS * COMM_OPEN_HOPS; i++) {
        free(r->staging[i / COMM_OPEN_HOPS][i % COMM_OPEN_HOPS].at);
    }
}

void recorder_forget(recorder *r)
{
    r->n_events = r->n_items = r->n_segments = r->n_pieces = 0;
    r->layer = -1;
}

void recorder_write(recorder *r, int layer)
{
    r->layer = layer;
    note(r, WRITE);
}
