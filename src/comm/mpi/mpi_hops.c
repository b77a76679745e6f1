/* Hops between ranks of different processes: an offer is sent at once to each rank that it names, and received into
   staging memory when that rank asks. Within a process they are those of in_process.c.

   Time: a hop of 128 KiB and more takes from when it is both offered and asked for until its bytes have arrived. What a rank
   waits before that, it waits for a rank that is late. A smaller one takes from when it is asked for.
   Rests on mpi_transport.c. See mpi_transport.h. */
#include "comm/mpi/mpi_transport.h"

#include "base/clock.h"

#include <math.h>

/* Offers of so many bytes carry their time. Smaller ones arrive at once, and another message delays them by up to a tenth. */
enum { DATED = 128 << 10 };

/* Offers of a window of mpi_clock: some seconds of a prefill, in which clocks drift by microseconds. */
enum { CLOCK_WINDOW = 64 };

static void message_left(mpi_endpoint *c)
{
    atomic_fetch_sub(&c->group->p->data, 1);
    atomic_fetch_sub(&c->unsent, 1);
}

static void offer_left(mpi_note *n, const mpi_done *d)
{
    (void)d;
    message_left(MPI_NOTE_OF(n, mpi_endpoint, left));
}

static void time_left(mpi_note *n, const mpi_done *d)
{
    mpi_dated *out = (mpi_dated *)n;

    (void)d;
    out->unsent--;
    message_left(out->of);
}

static double nearest(const mpi_clock *c)
{
    return fmin(c->now, c->before);
}

/* A time of that process by this one's clock. A process that has seen no offer of this one is taken to have no latency. */
static double own_time(mpi_group *g, int process, const mpi_offered *o, double arrived)
{
    mpi_clock *c = &g->clocks[process];

    if (processes_share_host(&g->p->base, process, g->p->base.number)) {
        return o->at;
    }
    if (c->seen == CLOCK_WINDOW) {
        *c = (mpi_clock){.now = INFINITY, .before = c->now};
    }
    c->seen++;
    c->now = fmin(c->now, arrived - o->at);
    return o->at + (isfinite(o->nearest) ? (nearest(c) - o->nearest) / 2 : nearest(c));
}

static void one_came(mpi_hop *h, const mpi_done *d)
{
    mpi_received(h->of->group, d);
    if (d->arrived) {
        atomic_fetch_sub_explicit(&h->missing, 1, memory_order_acq_rel);
    }
}

static void time_came(mpi_note *n, const mpi_done *d)
{
    mpi_hop *h = MPI_NOTE_OF(n, mpi_hop, dated);

    if (d->arrived) {
        double now = clock_now();
        h->begin = fmin(fmax(h->asked_at, own_time(h->of->group, d->peer, &h->offered, now)), now);
        h->there = fmax(h->there, now);
    }
    one_came(h, d);
}

static void pieces_came(mpi_note *n, const mpi_done *d)
{
    mpi_hop *h = (mpi_hop *)n;

    h->there = clock_now(); /* seen by whoever sees that nothing is missing */
    one_came(h, d);
}

void mpi_hops_open(mpi_endpoint *c)
{
    c->left.done = offer_left;
    for (int to = 0; to < c->base.n; to++) {
        c->dated[to] = (mpi_dated){.left.done = time_left, .of = c};
    }
    for (int k = 0; k < COMM_REGIONS; k++) {
        for (mpi_hop *h = c->open[k]; h < c->open[k] + COMM_OPEN_HOPS; h++) {
            h->note.done = pieces_came;
            h->dated.done = time_came;
            h->of = c;
        }
    }
}

void mpi_hops_reset(mpi_endpoint *c)
{
    c->has_failed = false;
    c->gathers = 0;
}

/* Of a rank among those of its process. */
static int index_of(const mpi_group *g, int rank)
{
    return rank - g->p->list[g->process_of[rank]].first_rank;
}

static bool is_local(const mpi_group *g, int rank)
{
    return rank >= g->base.first && rank < g->base.first + g->base.n_local;
}

static bool lies_within(const comm_pieces *p, size_t bytes)
{
    bool all = true;

    for (int i = 0; i < p->n; i++) {
        const comm_piece *piece = &p->list[i];
        size_t end = piece->rows > 0 ? piece->offset + (size_t)(piece->rows - 1) * piece->stride + piece->bytes : 0;
        all = all && end <= bytes;
    }
    return all;
}

static lariat_status wrong_offer(const mpi_endpoint *c)
{
    return fail(LARIAT_FAILED, "rank %d: offers bytes that it does not have, please report this", c->base.rank);
}

/* --- the owner --- */

void mpi_expose(comm *base, comm_region region, const void *at, size_t bytes)
{
    mpi_endpoint *c = (mpi_endpoint *)base;

    c->region[region].base = at;
    c->region[region].bytes = bytes;
    comm_expose(c->local, region, at, bytes);
}

/* Both sides compute the same. */
static bool is_dated(const comm_pieces *p)
{
    return mpi_packed(p->list, p->n) >= DATED;
}

static int send_time(mpi_endpoint *c, int to, int tag)
{
    mpi_group *g = c->group;
    mpi_dated *out = &c->dated[to];
    const comm_piece piece = wire_block(sizeof out->offered);

    if (out->unsent++ == 0) { /* otherwise an earlier time has not left, and is sent again */
        out->offered = (mpi_offered){.at = clock_now(), .nearest = nearest(&g->clocks[g->process_of[to]])};
    }
    return mpi_send_pieces(g, g->process_of[to], tag, &out->offered, &piece, 1, &out->left);
}

static void send_offer(mpi_endpoint *c, int to, const comm_pieces *p)
{
    mpi_group *g = c->group;
    int tag = mpi_tag(g, (int)p->region, index_of(g, c->base.rank), index_of(g, to), p->step);
    int sent = is_dated(p) ? send_time(c, to, tag) : 0;

    sent += mpi_send_pieces(g, g->process_of[to], tag, c->region[p->region].base, p->list, p->n, &c->left);
    atomic_fetch_add(&c->unsent, sent);
}

void mpi_offer(comm *base, int to, const comm_pieces *p)
{
    mpi_endpoint *c = (mpi_endpoint *)base;
    mpi_group *g = c->group;

    if (!lies_within(p, c->region[p->region].bytes)) {
        c->has_failed = true;
        comm_cancel(&g->base);
        return;
    }
    if (to == COMM_ALL || is_local(g, to)) {
        comm_offer(c->local, to, p);
    }
    if (g->p->base.count == 1 || (to != COMM_ALL && is_local(g, to)) || atomic_load(&g->cancelled)) {
        return;
    }
    wire_lock(g->p);
    for (int i = 1; i < base->n; i++) {
        int reader = (base->rank + base->n - i) % base->n; /* the one before this rank asks first */
        if (!is_local(g, reader) && (to == COMM_ALL || to == reader)) {
            send_offer(c, reader, p);
        }
    }
    wire_unlock(g->p);
}

/* --- the reader --- */

static int receive_time(mpi_hop *h, int process, int tag)
{
    const comm_piece piece = wire_block(sizeof h->offered);

    return mpi_receive_pieces(h->of->group, process, tag, (unsigned char *)&h->offered, &piece, 1, &h->dated);
}

lariat_status mpi_ask(comm *base, const comm_hop *hop)
{
    mpi_endpoint *c = (mpi_endpoint *)base;
    mpi_group *g = c->group;
    const comm_pieces *p = &hop->offer;
    mpi_hop *h = &c->open[p->region][base->hops[p->region].asked % COMM_OPEN_HOPS];

    if (c->has_failed) {
        return wrong_offer(c);
    }
    if (atomic_load_explicit(&g->cancelled, memory_order_relaxed)) {
        return mpi_stopped(c);
    }
    h->hop = hop;
    h->travels = !is_local(g, hop->owner);
    h->asked_at = h->begin = h->there = clock_now();
    atomic_store(&h->missing, 0);
    if (h->travels && mpi_packed(p->list, p->n) > g->setup.hop_bytes[p->region]) {
        return fail(LARIAT_FAILED, "rank %d: asks rank %d for %zu bytes, planned were %zu, please report this", base->rank,
                    hop->owner, mpi_packed(p->list, p->n), g->setup.hop_bytes[p->region]);
    }
    if (h->travels) {
        int tag = mpi_tag(g, (int)p->region, index_of(g, hop->owner), index_of(g, base->rank), p->step);
        wire_lock(g->p);
        int messages = is_dated(p) ? receive_time(h, g->process_of[hop->owner], tag) : 0;
        messages += mpi_receive_pieces(g, g->process_of[hop->owner], tag, h->staging, p->list, p->n, &h->note);
        atomic_fetch_add(&h->missing, messages);
        wire_unlock(g->p);
        return LARIAT_OK;
    }
    return comm_ask(mpi_local(c), hop);
}

static bool is_there(const void *arg)
{
    return atomic_load_explicit(&((const mpi_hop *)arg)->missing, memory_order_acquire) == 0;
}

static void count_hop(mpi_endpoint *c, const mpi_hop *h, const lariat_span *wait)
{
    int64_t bytes = (int64_t)mpi_packed(h->hop->offer.list, h->hop->offer.n);
    comm_counters *own = &c->own;

    own->hops++;
    own->hop_s += h->there - h->begin;
    own->hop_wait_s += fmax(0, h->there - fmax(wait->begin, h->begin));
    own->hop_bytes = bytes > own->hop_bytes ? bytes : own->hop_bytes;
    if (c->base.trace) {
        trace_take(c->base.trace, (lariat_span){.kind = LARIAT_SPAN_HOP, .begin = h->begin, .end = h->there,
                                                .owner = h->hop->owner, .bytes = bytes});
    }
}

lariat_status mpi_take(comm *base, comm_hop *hop)
{
    mpi_endpoint *c = (mpi_endpoint *)base;
    const comm_pieces *p = &hop->offer;
    mpi_hop *h = &c->open[p->region][base->hops[p->region].taken % COMM_OPEN_HOPS];
    lariat_span wait = {.owner = hop->owner};
    size_t at = 0;

    if (c->has_failed) {
        return wrong_offer(c);
    }
    if (atomic_load_explicit(&c->group->cancelled, memory_order_relaxed)) {
        return mpi_stopped(c);
    }
    if (!h->travels) {
        return comm_take(mpi_local(c), hop);
    }
    TRY(mpi_wait_for(c, is_there, h, &wait));
    for (int i = 0; i < p->n; i++) {
        hop->views[i] = (comm_view){h->staging + at, p->list[i].bytes};
        at += mpi_packed(&p->list[i], 1);
    }
    count_hop(c, h, &wait);
    return LARIAT_OK;
}

void mpi_release(comm *base, const comm_hop *hop)
{
    mpi_endpoint *c = (mpi_endpoint *)base;
    comm_region k = hop->offer.region;

    if (!c->open[k][base->hops[k].released % COMM_OPEN_HOPS].travels) {
        comm_release(c->local, hop);
    }
}

static bool all_left(const void *arg)
{
    return atomic_load(&((const mpi_endpoint *)arg)->unsent) == 0;
}

lariat_status mpi_pass_end(comm *base)
{
    mpi_endpoint *c = (mpi_endpoint *)base;

    if (c->has_failed) {
        return wrong_offer(c);
    }
    if (all_left(c)) {
        return LARIAT_OK;
    }
    return mpi_wait_for(c, all_left, c, &(lariat_span){.owner = -1});
}
