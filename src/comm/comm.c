/* The calls of comm.h, each handed to the transport of its group; and the order of hops, which all transports have alike.
   Rests on the table at the end of comm.h. Transports: in_process.c, comm/cuda, comm/mpi. */
#include "comm/comm.h"

#include <string.h>

void comm_group_close(comm_group *g)
{
    if (g) {
        g->ops->close(g);
    }
}

bool comm_still_reads(const comm_group *g)
{
    return g && g->ops->still_reads && g->ops->still_reads(g);
}

int comm_first(const comm_group *g)
{
    return g->first;
}

int comm_local(const comm_group *g)
{
    return g->n_local;
}

comm *comm_endpoint(comm_group *g, int rank)
{
    return g->ops->endpoint(g, rank);
}

void comm_poll(comm *c)
{
    if (c->ops->poll) {
        c->ops->poll(c);
    }
}

static void poll_from_device(void *arg)
{
    comm_poll(arg);
}

lariat_status comm_attach(comm *c, device *dev)
{
    c->dev = dev;
    TRY(c->ops->attach(c, dev));
    if (c->ops->poll && dev->ops->poll) {
        dev->ops->poll(dev, poll_from_device, c);
    }
    return LARIAT_OK;
}

int comm_rank(const comm *c)
{
    return c->rank;
}

int comm_size(const comm *c)
{
    return c->n;
}

void comm_cancel(comm_group *g)
{
    g->ops->cancel(g);
}

void comm_reset(comm_group *g)
{
    g->ops->reset(g);
    for (int r = g->first; r < g->first + g->n_local; r++) {
        comm *c = comm_endpoint(g, r);
        memset(c->hops, 0, sizeof c->hops);
    }
}

comm_counters comm_counted(comm *c)
{
    if (c->ops->count) {
        c->ops->count(c);
    }
    return c->counted;
}

void comm_trace(comm *c, trace *where)
{
    c->trace = where;
}

bool comm_replays(const comm *c)
{
    return c->replays;
}

void comm_begin(comm *c, uint32_t pass, bool replays)
{
    c->pass = pass;
    c->ops->begin(c, replays);
}

lariat_status comm_end(comm *c)
{
    return c->ops->end ? c->ops->end(c) : LARIAT_OK;
}

void *comm_rows(comm *c)
{
    return c->ops->rows(c);
}

const void *comm_exchange(comm *c, const comm_gather *g)
{
    return c->ops->exchange ? c->ops->exchange(c, g) : NULL;
}

lariat_status comm_all_gather(comm *c, const comm_gather *g)
{
    void *rows = (g->into || g->merge || g->sum) && !c->ops->delivers ? comm_rows(c) : NULL;

    TRY(c->ops->all_gather(c, g));
    if (rows) {
        comm_deliver(c, g, rows);
    }
    return LARIAT_OK;
}

static void merge_carries(const comm *c, const comm_gather *g, const void *rows)
{
    const device_ops *ops = c->dev->ops;
    const comm_merge *m = g->merge;

    ops->carry_clear(c->dev, &m->scratch, m->shape, m->rows);
    for (int r = 0; r < c->n; r++) {
        carry part = carry_at((void *)((uintptr_t)rows + g->begin[r]), m->shape, m->rows);
        ops->carry_merge(c->dev, &m->scratch, &part, m->shape, m->rows);
    }
    ops->carry_finish(c->dev, &m->scratch, m->shape, m->rows, m->out, m->ldo);
}

static void add_parts(const comm *c, const comm_gather *g, const void *rows)
{
    const comm_sum *s = g->sum;

    for (int r = 0; r < c->n; r++) {
        const void *part = (const void *)((uintptr_t)rows + g->begin[r]);
        c->dev->ops->copy(c->dev, DTYPE_F32, s->y, s->ld, part, s->width, s->rows, s->width, true);
    }
}

void comm_deliver(comm *c, const comm_gather *g, const void *rows)
{
    const comm_into *to = g->into;

    if (g->merge) {
        merge_carries(c, g, rows);
        return;
    }
    if (g->sum) {
        add_parts(c, g, rows);
        return;
    }
    int64_t element = (int64_t)dtype_block_bytes(to->type);
    c->dev->ops->copy(c->dev, to->type, to->y, to->ld, rows, (int64_t)g->stride / element, g->rows,
                      (int64_t)g->begin[c->n] / element, to->add);
}

void comm_expose(comm *c, comm_region region, const void *base, size_t bytes)
{
    c->ops->expose(c, region, base, bytes);
}

void comm_offer(comm *c, int to, const comm_pieces *p)
{
    c->ops->offer(c, to, p);
}

lariat_status comm_ask(comm *c, const comm_hop *hop)
{
    comm_hops *h = &c->hops[hop->offer.region];

    if (h->asked - h->released == COMM_OPEN_HOPS) {
        return fail(LARIAT_FAILED, "rank %d: asks rank %d for a third hop before it released one, please report this", c->rank,
                    hop->owner);
    }
    TRY(c->ops->ask(c, hop));
    h->open[h->asked++ % COMM_OPEN_HOPS] = hop;
    return LARIAT_OK;
}

lariat_status comm_take(comm *c, comm_hop *hop)
{
    comm_hops *h = &c->hops[hop->offer.region];

    if (h->asked == h->taken || h->open[h->taken % COMM_OPEN_HOPS] != hop) {
        return fail(LARIAT_FAILED, "rank %d: takes a hop of rank %d that it did not ask for, please report this", c->rank,
                    hop->owner);
    }
    TRY(c->ops->take(c, hop));
    h->taken++;
    return LARIAT_OK;
}

void comm_release(comm *c, const comm_hop *hop)
{
    c->ops->release(c, hop);
    c->hops[hop->offer.region].released++;
}
