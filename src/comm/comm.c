/* The calls of comm.h, each handed to the transport of its group.
   Rests on the table at the end of comm.h. Transports: threads.c, cuda.c. */
#include "comm/comm.h"

void comm_group_close(comm_group *g)
{
    if (g) {
        g->ops->close(g);
    }
}

comm *comm_endpoint(comm_group *g, int rank)
{
    return g->ops->endpoint(g, rank);
}

lariat_status comm_attach(comm *c, device *dev)
{
    return c->ops->attach(c, dev);
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

bool comm_repeats(const comm *c)
{
    return c->repeats;
}

void comm_begin(comm *c, bool repeats)
{
    c->ops->begin(c, repeats);
}

lariat_status comm_all_gather(comm *c, const void *mine, size_t bytes, const void *theirs[])
{
    return c->ops->all_gather(c, mine, bytes, theirs);
}

void comm_expose(comm *c, comm_region region, const void *base, size_t bytes)
{
    c->ops->expose(c, region, base, bytes);
}

void comm_ready(comm *c, comm_region region, uint32_t step)
{
    c->ops->ready(c, region, step);
}

lariat_status comm_ask(comm *c, const comm_hop *hop)
{
    return c->ops->ask(c, hop);
}

lariat_status comm_take(comm *c, comm_hop *hop)
{
    return c->ops->take(c, hop);
}

void comm_release(comm *c, const comm_hop *hop)
{
    c->ops->release(c, hop);
}
