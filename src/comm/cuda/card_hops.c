/* Hops between cards: pieces of a region, copied by the reader's copy engine; and the time that they take.
   Rests on card_order.c for the order. See comm.h.

   A hop starts when it is asked for, if its owner's host has queued the offer by then, otherwise when it is taken: only taking
   waits for a host. Copies to staging memory wait for the event that says its last pieces have been read. */
#include "comm/cuda/card_comm.h"

#include <math.h>
#include <nvtx3/nvToolsExt.h>

void card_count(comm *base)
{
    card_comm *c = (card_comm *)base;
    comm_counters *counted = &base->counted;
    device *dev = base->dev;
    double left, there, wanted;

    for (; c->n_counted < c->n_timed; c->n_counted++) {
        const timed_hop *t = &c->timed[c->n_counted % TIMED];
        if (!dev->ops->stamped(dev, t->left, &left) || !dev->ops->stamped(dev, t->there, &there) ||
            !dev->ops->stamped(dev, t->wanted, &wanted)) {
            return;
        }
        if (isnan(left) || isnan(there) || isnan(wanted)) { /* forgotten: not counted */
            continue;
        }
        counted->hop_s += there - left;
        if (there > wanted) {
            counted->wait_s += there - wanted;
            counted->hop_wait_s += there - (wanted > left ? wanted : left);
        }
    }
}

void card_trace_wait(card_comm *c, int64_t began, int owner)
{
    int64_t now = began >= 0 ? c->base.dev->ops->stamp(c->base.dev, c->stream) : -1;

    if (now >= 0) {
        trace_take(c->base.trace,
                   (lariat_span){.kind = LARIAT_SPAN_WAIT, .begin = (double)began, .end = (double)now, .owner = owner});
    }
}

/* --- the owner's side --- */

void card_expose(comm *base, comm_region region, const void *at, size_t bytes)
{
    card_comm *c = (card_comm *)base;

    c->region[region] = at;
    c->bytes[region] = bytes;
}

void card_offer(comm *base, int to, const comm_pieces *p)
{
    card_comm *c = (card_comm *)base;

    (void)to; /* one word a region: steps grow, so an offer to one rank also ends waits for earlier ones to others */
    if (base->n > 1 && card_write_word(c, &c->offered[p->region], comm_step_number(base, p->step)) != LARIAT_OK) {
        card_lose(c);
    }
}

/* --- the reader's side --- */

static lariat_status check_piece(const card_comm *c, const card_comm *owner, const comm_hop *hop, const comm_piece *p,
                                 size_t packed)
{
    comm_region region = hop->offer.region;
    bool inside = p->rows == 0 || p->offset + (size_t)(p->rows - 1) * p->stride + p->bytes <= owner->bytes[region];

    if (!inside || packed + p->bytes * (size_t)p->rows > c->group->setup.hop_bytes[region]) {
        return fail(LARIAT_FAILED, "rank %d: asks rank %d for bytes that it does not have, please report this", c->base.rank,
                    hop->owner);
    }
    return LARIAT_OK;
}

/* Rows as one copy; one by one where the stride is larger than such a copy takes. */
static lariat_status copy_rows(const card_comm *c, unsigned char *to, const unsigned char *from, const comm_piece *p,
                               cudaStream_t stream)
{
    cudaError_t status = cudaSuccess;

    if (p->stride <= INT32_MAX) {
        status = cudaMemcpy2DAsync(to, p->bytes, from, p->stride, p->bytes, (size_t)p->rows, cudaMemcpyDefault, stream);
        return card_checked(status, c->base.rank, "a hop");
    }
    for (size_t r = 0; r < (size_t)p->rows && status == cudaSuccess; r++) {
        status = cudaMemcpyAsync(to + r * p->bytes, from + r * p->stride, p->bytes, cudaMemcpyDefault, stream);
    }
    return card_checked(status, c->base.rank, "a hop");
}

/* Queues the copies of a hop's pieces, packed one behind the other from `to` on. *packed: bytes in all. */
static lariat_status copy_pieces(card_comm *c, const card_comm *owner, const comm_hop *hop, unsigned char *to,
                                 cudaStream_t stream, size_t *packed)
{
    const comm_pieces *offer = &hop->offer;

    *packed = 0;
    for (int i = 0; i < offer->n; i++) {
        const comm_piece *p = &offer->list[i];
        TRY(check_piece(c, owner, hop, p, *packed));
        if (p->rows && p->bytes) {
            TRY(copy_rows(c, to + *packed, owner->region[offer->region] + p->offset, p, stream));
        }
        *packed += p->bytes * (size_t)p->rows;
    }
    return LARIAT_OK;
}

static lariat_status wait_offer(card_comm *c, cudaStream_t stream, card_comm *owner, const comm_pieces *offer)
{
    return card_wait_word(c, stream, &owner->offered[offer->region], comm_step_number(&c->base, offer->step));
}

/* From card to card. */
static lariat_status pull(card_comm *c, card_comm *owner, const comm_hop *hop, hop_staging *s)
{
    size_t packed;

    TRY(card_checked(cudaStreamWaitEvent(c->copies, s->freed, 0), c->base.rank, "a hop"));
    TRY(wait_offer(c, c->copies, owner, &hop->offer));
    s->left = c->base.dev->ops->stamp(c->base.dev, c->copies);
    return copy_pieces(c, owner, hop, s->staging, c->copies, &packed);
}

/* The first half of the way through the host: on a stream of the owner's card, which is the thread's meanwhile. */
static lariat_status fetch_pieces(card_comm *c, card_comm *owner, const comm_hop *hop, hop_staging *s, size_t *packed)
{
    cudaStream_t stream = c->fetch[hop->owner];

    /* the last pieces have left pinned memory */
    TRY(card_checked(cudaStreamWaitEvent(stream, s->brought, 0), c->base.rank, "a hop"));
    TRY(wait_offer(c, stream, owner, &hop->offer));
    TRY(copy_pieces(c, owner, hop, s->pinned, stream, packed));
    return card_checked(cudaEventRecord(c->landed[hop->owner], stream), c->base.rank, "a hop");
}

static lariat_status pull_through_host(card_comm *c, card_comm *owner, const comm_hop *hop, hop_staging *s)
{
    size_t packed = 0;

    TRY(card_checked(cudaSetDevice(c->group->ordinals[hop->owner]), c->base.rank, "the card of another rank"));
    lariat_status status = fetch_pieces(c, owner, hop, s, &packed);
    TRY(card_checked(cudaSetDevice(c->group->ordinals[c->base.rank]), c->base.rank, "the card"));
    TRY(status);
    TRY(card_checked(cudaStreamWaitEvent(c->copies, s->freed, 0), c->base.rank, "a hop"));
    TRY(wait_offer(c, c->copies, owner, &hop->offer));
    /* the first half may have been on its way while there was no room */
    s->left = c->base.dev->ops->stamp(c->base.dev, c->copies);
    TRY(card_checked(cudaStreamWaitEvent(c->copies, c->landed[hop->owner], 0), c->base.rank, "a hop"));
    return card_checked(cudaMemcpyAsync(s->staging, s->pinned, packed, cudaMemcpyHostToDevice, c->copies), c->base.rank,
                        "a hop");
}

/* Queues all copies of a hop; waits for the owner's host to queue the offer, if it has not. */
static lariat_status start(card_comm *c, const comm_hop *hop, hop_staging *s)
{
    card_comm *owner = &c->group->ranks[hop->owner];

    if (!s->staging) {
        return fail(LARIAT_FAILED, "rank %d: asks rank %d for a hop that was not planned, please report this", c->base.rank,
                    hop->owner);
    }
    nvtxRangePushA("hop");
    lariat_status status = c->group->through_host ? pull_through_host(c, owner, hop, s) : pull(c, owner, hop, s);
    (void)nvtxRangePop();
    TRY(status);
    TRY(card_checked(cudaEventRecord(s->brought, c->copies), c->base.rank, "a hop"));
    s->there = c->base.dev->ops->stamp(c->base.dev, c->copies);
    return LARIAT_OK;
}

lariat_status card_ask(comm *base, const comm_hop *hop)
{
    card_comm *c = (card_comm *)base, *owner = &c->group->ranks[hop->owner];
    hop_queue *q = &c->hops[hop->offer.region];
    int at = (int)(base->hops[hop->offer.region].asked % COMM_OPEN_HOPS);

    TRY(card_check(c));
    bool queued = owner != c && card_word_queued(&owner->offered[hop->offer.region], comm_step_number(base, hop->offer.step));
    q->pending[at] = owner != c && !queued; /* one's own pieces are read in place */
    return queued ? start(c, hop, &q->list[at]) : LARIAT_OK;
}

/* Keeps the timestamps of a hop until they can be read. Where there is no room, the oldest are counted; if these have not
   ended, this one is left out. */
static void time_hop(card_comm *c, const hop_staging *s, int64_t wanted)
{
    if (c->n_timed - c->n_counted == TIMED) {
        card_count(&c->base);
    }
    if (c->n_timed - c->n_counted < TIMED) {
        c->timed[c->n_timed++ % TIMED] = (timed_hop){s->left, s->there, wanted};
    }
}

/* The rank's stream waits until a hop's pieces are there. */
static lariat_status take_pieces(card_comm *c, const comm_hop *hop, const hop_staging *s, size_t bytes)
{
    trace *t = trace_looks(c->base.trace) ? c->base.trace : NULL;
    int64_t wanted = c->base.dev->ops->stamp(c->base.dev, NULL);
    comm_counters *counted = &c->base.counted;

    TRY(card_checked(cudaStreamWaitEvent(c->stream, s->brought, 0), c->base.rank, "a hop"));
    time_hop(c, s, wanted);
    counted->hops++;
    counted->hop_bytes = (int64_t)bytes > counted->hop_bytes ? (int64_t)bytes : counted->hop_bytes;
    if (t) {
        lariat_span span = {.kind = LARIAT_SPAN_HOP, .begin = (double)s->left, .end = (double)s->there, .owner = hop->owner,
                            .bytes = (int64_t)bytes};
        card_trace_wait(c, wanted, hop->owner);
        trace_take(t, span);
    }
    return LARIAT_OK;
}

lariat_status card_take(comm *base, comm_hop *hop)
{
    card_comm *c = (card_comm *)base;
    hop_queue *q = &c->hops[hop->offer.region];
    int at = (int)(base->hops[hop->offer.region].taken % COMM_OPEN_HOPS);
    hop_staging *s = &q->list[at];
    bool own = hop->owner == base->rank;
    size_t packed = 0;

    TRY(card_check(c));
    TRY(q->pending[at] ? start(c, hop, s) : LARIAT_OK);
    q->pending[at] = false;
    for (int i = 0; i < hop->offer.n; i++) {
        const comm_piece *p = &hop->offer.list[i];
        hop->views[i] = own ? (comm_view){c->region[hop->offer.region] + p->offset, p->stride}
                            : (comm_view){s->staging + packed, p->bytes};
        packed += p->bytes * (size_t)p->rows;
    }
    return own ? LARIAT_OK : take_pieces(c, hop, s, packed);
}

void card_release(comm *base, const comm_hop *hop)
{
    card_comm *c = (card_comm *)base;
    comm_region k = hop->offer.region;
    const hop_staging *s = &c->hops[k].list[base->hops[k].released % COMM_OPEN_HOPS];

    if (hop->owner != base->rank && cudaEventRecord(s->freed, c->stream) != cudaSuccess) {
        (void)cudaGetLastError();
        card_lose(c); /* the rank's next call fails */
    }
}
