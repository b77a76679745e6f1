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

bool memory_holds(const memory *block, const void *at, size_t bytes)
{
    uintptr_t first = (uintptr_t)at, base = (uintptr_t)block->at;

    return block->at && first >= base && first + bytes <= base + block->bytes;
}

/* What an operation writes is its own device's memory. */
static void assert_own(const recorder *m, const void *at, size_t bytes)
{
    bool own = false;

    for (int i = 0; i < m->n_blocks; i++) {
        own = own || memory_holds(&m->blocks[i], at, bytes);
    }
    assert_true(own);
}

/* --- the device --- */

static recorder *of_device(device *dev)
{
    return ((recording_device *)dev)->self;
}

static lariat_status device_reserve(device *dev, size_t bytes, const char *what, void **out)
{
    recorder *m = of_device(dev);

    (void)what;
    *out = calloc(1, bytes);
    assert_non_null(*out);
    m->blocks[m->n_blocks++] = (memory){*out, bytes};
    return LARIAT_OK;
}

static void device_release(device *dev, void *block, size_t bytes)
{
    (void)dev;
    (void)bytes;
    free(block);
}

static void device_upload(device *dev, void *to, const void *from, size_t bytes)
{
    assert_own(of_device(dev), to, bytes);
    memcpy(to, from, bytes);
}

/* An event for each run of slots. */
static void device_kv_store(device *dev, void *at, dtype type, int64_t head_stride, const int64_t *slots, const void *x,
                            int64_t ldx, int64_t n, int32_t heads, int32_t head_dim)
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
    if (ends->fresh) {
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
    .release = device_release,
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

unsigned char *gathered_block(const recorder *m, uint32_t number, int rank)
{
    return m->gathered + (size_t)((int)(number & 1) * m->comm.base.n + rank) * m->message_bytes;
}

static lariat_status transport_all_gather(comm *c, const void *mine, size_t bytes, const void *theirs[])
{
    recorder *m = of_comm(c);
    event *e = note(m, GATHER);

    assert_true(bytes <= m->message_bytes);
    assert_own(m, mine, bytes);
    e->from = mine;
    e->step = ++m->gathers;
    for (int r = 0; r < c->n; r++) {
        theirs[r] = gathered_block(m, e->step, r);
    }
    return LARIAT_OK;
}

static void transport_expose(comm *c, comm_region region, const void *base, size_t bytes)
{
    of_comm(c)->region[region] = (memory){(unsigned char *)(uintptr_t)base, bytes};
}

static void transport_ready(comm *c, comm_region region, uint32_t step)
{
    event *e = note(of_comm(c), READY);

    e->region = region;
    e->step = step;
}

static lariat_status transport_ask(comm *c, const comm_hop *hop)
{
    recorder *m = of_comm(c);
    event *e = note(m, ASK);

    e->staging = m->open[0] ? 1 : 0;
    assert_null(m->open[e->staging]); /* at most two are open */
    m->open[e->staging] = e;
    e->hop = hop;
    e->region = hop->region;
    e->owner = hop->owner;
    e->step = hop->step;
    e->pieces = m->pieces + m->n_pieces;
    e->n_pieces = hop->n_pieces;
    assert_true(m->n_pieces + hop->n_pieces <= LIST_MOST);
    if (hop->n_pieces) {
        memcpy(m->pieces + m->n_pieces, hop->pieces, (size_t)hop->n_pieces * sizeof *hop->pieces);
    }
    m->n_pieces += hop->n_pieces;
    assert_true(hop_bytes(e) <= m->staging[e->staging].bytes);
    return LARIAT_OK;
}

/* The open hop that the caller means, and that is still as it was when it was asked for. */
static event *open_hop(recorder *m, const comm_hop *hop)
{
    event *e = m->open[0] && m->open[0]->hop == hop ? m->open[0] : m->open[1];

    assert_true(e && e->hop == hop && e->region == hop->region && e->owner == hop->owner && e->step == hop->step);
    assert_int_equal(e->n_pieces, hop->n_pieces);
    for (int i = 0; i < e->n_pieces; i++) {
        assert_memory_equal(&e->pieces[i], &hop->pieces[i], sizeof(comm_piece));
    }
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
    const unsigned char *at = m->staging[asked->staging].at;

    for (int i = 0; i < hop->n_pieces; i++) {
        hop->views[i] = (comm_view){at, hop->pieces[i].bytes};
        at += hop->pieces[i].bytes * (size_t)hop->pieces[i].rows;
    }
    note_again(m, TAKE, asked);
    return LARIAT_OK;
}

static void transport_release(comm *c, const comm_hop *hop)
{
    recorder *m = of_comm(c);
    event *asked = open_hop(m, hop);

    note_again(m, RELEASE, asked);
    m->open[asked->staging] = NULL;
}

static const comm_ops transport_ops = {
    .all_gather = transport_all_gather,
    .expose = transport_expose,
    .ready = transport_ready,
    .ask = transport_ask,
    .take = transport_take,
    .release = transport_release,
};

/* --- a rank's record --- */

void recorder_open(recorder *r, int rank, const attention_shape *shape, const comm_setup *setup, unsigned char *gathered)
{
    *r = (recorder){.shape = *shape, .message_bytes = setup->message_bytes, .gathered = gathered};
    r->dev = (recording_device){{.ops = &recording_ops, .act = DTYPE_BF16}, r};
    r->comm = (recording_comm){{.ops = &transport_ops, .rank = rank, .n = setup->n_ranks}, r};
    for (int s = 0; s < 2; s++) {
        r->staging[s] = (memory){malloc(setup->hop_bytes), setup->hop_bytes};
        assert_non_null(r->staging[s].at);
    }
}

void recorder_close(recorder *r)
{
    free(r->staging[0].at);
    free(r->staging[1].at);
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
