/* Hops between cards: pieces of a region, pulled by the copy engine of the reader, and what they took.
   Rests on card_order.c for the order. See comm.h. */
#include "comm/cuda/card_comm.h"

#include <math.h>
#include <nvtx3/nvToolsExt.h>

/* Hops whose pieces have come since it was called last. */
void card_count(comm *base)
{
    cuda_comm *c = (cuda_comm *)base;
    comm_counters *counted = &base->counted;
    double left, there, wanted;

    for (; c->n_counted < c->n_timed; c->n_counted++) {
        const timed_hop *t = &c->timed[c->n_counted % TIMED];
        if (!c->dev->ops->stamped(c->dev, t->left, &left) || !c->dev->ops->stamped(c->dev, t->there, &there) ||
            !c->dev->ops->stamped(c->dev, t->wanted, &wanted)) {
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

void card_expose(comm *base, comm_region region, const void *at, size_t bytes)
{
    cuda_comm *c = (cuda_comm *)base;

    c->region[region] = at;
    c->bytes[region] = bytes;
}

void card_ready(comm *base, comm_region region, uint32_t step)
{
    cuda_comm *c = (cuda_comm *)base;

    if (base->n > 1 && card_set_mark(c, &c->ready[region], step) != LARIAT_OK) {
        c->lost = true;
        card_cancel(&c->group->base); /* nobody waits for what was not queued */
    }
}

static lariat_status check_piece(const cuda_comm *c, const cuda_comm *owner, const comm_hop *hop, const comm_piece *p, size_t packed)
{
    bool inside = p->rows == 0 || p->offset + (size_t)(p->rows - 1) * p->stride + p->bytes <= owner->bytes[hop->region];

    if (!inside || packed + p->bytes * (size_t)p->rows > card_staging_bytes(&c->group->setup)) {
        return fail(LARIAT_FAILED, "rank %d: asks rank %d for bytes that it does not have", c->base.rank, hop->owner);
    }
    return LARIAT_OK;
}

/* Rows as one copy; one by one where they lie further apart than that can be told. */
static lariat_status copy_rows(const cuda_comm *c, unsigned char *to, const unsigned char *from, const comm_piece *p,
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
static lariat_status copy_pieces(cuda_comm *c, const cuda_comm *owner, const comm_hop *hop, unsigned char *to, cudaStream_t stream,
                                 size_t *packed)
{
    *packed = 0;
    for (int i = 0; i < hop->n_pieces; i++) {
        const comm_piece *p = &hop->pieces[i];
        TRY(check_piece(c, owner, hop, p, *packed));
        if (p->rows && p->bytes) {
            const unsigned char *from = owner->region[hop->region] + p->offset;
            TRY(copy_rows(c, to + *packed, from, p, stream));
        }
        *packed += p->bytes * (size_t)p->rows;
    }
    return LARIAT_OK;
}

/* From card to card, by the copy engine. */
static lariat_status pull(cuda_comm *c, cuda_comm *owner, const comm_hop *hop, slot *s)
{
    size_t packed;

    TRY(card_checked(cudaStreamWaitEvent(c->copies, s->freed, 0), c->base.rank, "a hop"));
    TRY(card_wait_mark(c, c->copies, &owner->ready[hop->region], hop->step));
    s->left = c->dev->ops->stamp(c->dev, c->copies);
    return copy_pieces(c, owner, hop, s->staging, c->copies, &packed);
}

/* The first half of the way through the host: on a stream of the owner's card, which is the thread's meanwhile. */
static lariat_status fetch_pieces(cuda_comm *c, cuda_comm *owner, const comm_hop *hop, slot *s, size_t *packed)
{
    cudaStream_t stream = c->fetch[hop->owner];

    TRY(card_checked(cudaStreamWaitEvent(stream, s->brought, 0), c->base.rank, "a hop")); /* the slot's last pieces have left pinned memory */
    TRY(card_wait_mark(c, stream, &owner->ready[hop->region], hop->step));
    TRY(copy_pieces(c, owner, hop, s->pinned, stream, packed));
    return card_checked(cudaEventRecord(c->landed[hop->owner], stream), c->base.rank, "a hop");
}

static lariat_status pull_through_host(cuda_comm *c, cuda_comm *owner, const comm_hop *hop, slot *s)
{
    size_t packed = 0;

    TRY(card_checked(cudaSetDevice(c->group->ordinals[hop->owner]), c->base.rank, "the card of another rank"));
    lariat_status status = fetch_pieces(c, owner, hop, s, &packed);
    TRY(card_checked(cudaSetDevice(c->group->ordinals[c->base.rank]), c->base.rank, "the card"));
    TRY(status);
    TRY(card_checked(cudaStreamWaitEvent(c->copies, s->freed, 0), c->base.rank, "a hop"));
    TRY(card_wait_mark(c, c->copies, &owner->ready[hop->region], hop->step));
    s->left = c->dev->ops->stamp(c->dev, c->copies); /* the first half may have been on its way while there was no room */
    TRY(card_checked(cudaStreamWaitEvent(c->copies, c->landed[hop->owner], 0), c->base.rank, "a hop"));
    return card_checked(cudaMemcpyAsync(s->staging, s->pinned, packed, cudaMemcpyHostToDevice, c->copies), c->base.rank, "a hop");
}

lariat_status card_ask(comm *base, const comm_hop *hop)
{
    cuda_comm *c = (cuda_comm *)base, *owner = &c->group->ranks[hop->owner];
    slot *s = &c->slots[c->asked % SLOTS];

    if (c->asked - c->released == SLOTS) {
        return fail(LARIAT_FAILED, "rank %d: asks rank %d for a third hop before it released one", base->rank, hop->owner);
    }
    TRY(card_check_lost(c));
    c->asked++;
    if (owner == c) { /* lies where it is */
        return LARIAT_OK;
    }
    nvtxRangePushA("hop");
    lariat_status status = c->group->through_host ? pull_through_host(c, owner, hop, s) : pull(c, owner, hop, s);
    (void)nvtxRangePop();
    TRY(status);
    TRY(card_checked(cudaEventRecord(s->brought, c->copies), base->rank, "a hop"));
    s->there = c->dev->ops->stamp(c->dev, c->copies);
    return LARIAT_OK;
}

/* Notes the moments of a hop for counting later; where there is no room the oldest are counted, and if they have not come, this one
   is not. */
static void time_hop(cuda_comm *c, const slot *s, int64_t wanted)
{
    if (c->n_timed - c->n_counted == TIMED) {
        card_count(&c->base);
    }
    if (c->n_timed - c->n_counted < TIMED) {
        c->timed[c->n_timed++ % TIMED] = (timed_hop){s->left, s->there, wanted};
    }
}

static lariat_status take_there(cuda_comm *c, const comm_hop *hop, const slot *s, size_t bytes)
{
    trace *t = trace_looks(c->base.trace) ? c->base.trace : NULL;
    int64_t wanted = c->dev->ops->stamp(c->dev, NULL);

    (void)c->dev->ops->heard(c->dev, NULL, 0);
    TRY(card_checked(cudaStreamWaitEvent(c->stream, s->brought, 0), c->base.rank, "a hop"));
    time_hop(c, s, wanted);
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
    cuda_comm *c = (cuda_comm *)base;
    const slot *s = &c->slots[c->taken % SLOTS];
    bool own = hop->owner == base->rank;
    size_t packed = 0;

    if (c->asked == c->taken) {
        return fail(LARIAT_FAILED, "rank %d: takes a hop of rank %d that it did not ask for, please report this", base->rank, hop->owner);
    }
    c->taken++;
    for (int i = 0; i < hop->n_pieces; i++) {
        const comm_piece *p = &hop->pieces[i];
        hop->views[i] = own ? (comm_view){c->region[hop->region] + p->offset, p->stride} : (comm_view){s->staging + packed, p->bytes};
        packed += p->bytes * (size_t)p->rows;
    }
    if (own) {
        return LARIAT_OK;
    }
    base->counted.hops++;
    base->counted.hop_bytes = (int64_t)packed > base->counted.hop_bytes ? (int64_t)packed : base->counted.hop_bytes;
    return take_there(c, hop, s, packed);
}

void card_release(comm *base, const comm_hop *hop)
{
    cuda_comm *c = (cuda_comm *)base;
    slot *s = &c->slots[c->released % SLOTS];

    c->released++;
    if (hop->owner != base->rank && cudaEventRecord(s->freed, c->stream) != cudaSuccess) {
        (void)cudaGetLastError();
        c->lost = true;
        card_cancel(&c->group->base); /* the stream is lost: its rank finds out when it finishes */
    }
}
