/* All-gathers between cards: short rows, pushed by a kernel or read where their owner put them.
   Rests on card_order.c for the order and on gather.cu for the kernel. See comm.h. */
#include "comm/cuda/card_comm.h"
#include "comm/cuda/gather.h"

#include <nvtx3/nvToolsExt.h>

void card_begin(comm *base, bool repeats)
{
    cuda_comm *c = (cuda_comm *)base;

    c->pushing = repeats && c->group->pushes;
    c->pushed = 0;
    card_count(base); /* the device does not know moments for ever */
}

/* Rank `from`'s block in the inbox of rank `of`. */
static unsigned char *inbox_of(const cuda_group *g, int of, uint32_t set, int from)
{
    return g->ranks[of].inbox + (set * (size_t)g->base.n + (size_t)from) * g->message_bytes;
}

/* By a kernel. A rank can be one gather ahead of another, never two: it waits in the next one. So two sets of places in turn are
   enough within a pass, and another one for its first gather, which follows on the last of the pass before, whichever set
   that had. A pass by slices has more gathers than one. */
static lariat_status push(cuda_comm *c, const void *mine, size_t bytes, const void *theirs[])
{
    cuda_group *g = c->group;
    int rank = c->base.rank;
    uint32_t set = c->pushed == 0 ? SETS - 1 : c->pushed & 1;
    const uint64_t words[] = {(uintptr_t)"all-gather", (uintptr_t)mine, bytes, set};
    gather_push p = {.rank = rank, .n = c->base.n, .mine = mine, .bytes = (int64_t)bytes, .stop = g->stop};

    c->pushed++;
    for (int r = 0; r < p.n; r++) {
        theirs[r] = r == rank ? mine : inbox_of(g, rank, set, r);
        p.to[r] = inbox_of(g, r, set, rank);
        p.arrived[r] = (uint32_t *)(void *)(g->ranks[r].counts + (size_t)rank * WORD_STRIDE);
        p.come[r] = (const uint32_t *)(const void *)(c->counts + (size_t)r * WORD_STRIDE);
    }
    p.count = (uint32_t *)(void *)(c->counts + (size_t)p.n * WORD_STRIDE);
    if (atomic_load(&g->cancelled)) {
        return fail(LARIAT_CANCELLED, "rank %d: another rank stopped", rank);
    }
    return c->dev->ops->heard(c->dev, words, sizeof words / sizeof *words)
               ? LARIAT_OK
               : card_checked(cuda_gather_push(c->stream, &p), rank, "an all-gather");
}

static lariat_status gather(comm *base, const void *mine, size_t bytes, const void *theirs[])
{
    cuda_comm *c = (cuda_comm *)base;
    cuda_group *g = c->group;

    if (base->n == 1) {
        theirs[0] = mine;
        return LARIAT_OK;
    }
    TRY(card_check_lost(c));
    if (bytes > g->message_bytes) {
        return fail(LARIAT_FAILED, "rank %d: a message of %zu bytes, planned were %zu, please report this", base->rank, bytes, g->message_bytes);
    }
    if (c->pushing) {
        return push(c, mine, bytes, theirs);
    }
    (void)c->dev->ops->heard(c->dev, NULL, 0);
    uint32_t number = ++c->gathers;
    size_t set = (number & 1) * g->message_bytes;
    if (bytes) {
        TRY(card_checked(cudaMemcpyAsync(c->blocks + set, mine, bytes, cudaMemcpyDefault, c->stream), base->rank, "a message"));
    }
    TRY(card_set_mark(c, &c->gathered, number));
    for (int r = 0; r < base->n; r++) {
        cuda_comm *other = &g->ranks[r];
        if (r != base->rank) {
            TRY(card_wait_mark(c, c->stream, &other->gathered, number));
        }
        theirs[r] = other->blocks + set; /* read from there: over the link between the cards, or from the host */
    }
    return LARIAT_OK;
}

/* A span of the rank's own stream that ends now, if it has a beginning. */
void card_trace_wait(cuda_comm *c, int64_t began, int owner)
{
    int64_t now = began >= 0 ? c->dev->ops->stamp(c->dev, NULL) : -1;

    if (now >= 0) {
        trace_take(c->base.trace, (lariat_span){.kind = LARIAT_SPAN_WAIT, .begin = (double)began, .end = (double)now, .owner = owner});
    }
}

lariat_status card_all_gather(comm *base, const void *mine, size_t bytes, const void *theirs[])
{
    cuda_comm *c = (cuda_comm *)base;
    int64_t began = trace_looks(base->trace) && base->n > 1 ? c->dev->ops->stamp(c->dev, NULL) : -1;

    nvtxRangePushA("all-gather");
    lariat_status status = gather(base, mine, bytes, theirs);
    (void)nvtxRangePop();
    card_trace_wait(c, began, -1);
    return status;
}
