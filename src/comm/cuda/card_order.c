/* The order of ranks on cards: words that streams write and wait on, cancelling and starting anew.
   Rests on the driver's stream values. See card_comm.h; card_gather.c and card_hops.c wait by these.

   Two orders are kept, one on the host and one on the cards.
   - On the host: a call that reads what another rank makes waits until that rank has *queued* the making of it. It never waits for
     a card.
   - On the cards: behind the making, the owner's stream writes a growing number (the step) to a word, and the reader's stream waits
     until the word has got so far. Words are never reset while work is queued. Where a rank fails, the host writes what its
     card may never come to write.
   The first order makes the second one safe: whatever waits on a stream, the write that ends the wait is already queued, and in front of
   it. So nothing can hang: not with ranks that share a card, nor with fewer hardware queues than streams (work of several streams
   then runs in the order of queueing), nor when a rank fails: its readers are let go on the host, and words are raised to whatever they wait for.
   Words lie in pinned memory of the host, which every card can wait on, with or without peer access.

   Passes that repeat, where each rank has a card of its own, gather by a kernel that waits itself (gather.cu): nothing else has to
   run on its card meanwhile, and since it keeps its count on the card it can be recorded. What it waits for is queued by the other
   ranks' hosts, which nothing but a failure keeps from it; then the host's word `stop` ends all waiting. */
#include "comm/cuda/card_comm.h"

#include <string.h>

/* Lets the streams go on that wait for what was queued: a card that has failed never writes its words. Several ranks may do so at
   once, with numbers that they read at different times: a word only grows. */
static void release_word(mark *m, uint32_t value)
{
    uint32_t *word = (uint32_t *)(uintptr_t)m->word, old = __atomic_load_n(word, __ATOMIC_SEQ_CST);

    while ((int32_t)(value - old) > 0 &&
           !__atomic_compare_exchange_n(word, &old, value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
    }
}

void card_cancel(comm_group *base)
{
    cuda_group *g = (cuda_group *)base;

    atomic_store(&g->cancelled, true);
    __atomic_store_n(g->stop, 1, __ATOMIC_SEQ_CST);
    for (int r = 0; r < base->n; r++) {
        cuda_comm *c = &g->ranks[r];
        for (int i = 0; i < COMM_REGIONS; i++) {
            release_word(&c->ready[i], atomic_load(&c->ready[i].queued.value));
        }
        release_word(&c->gathered, atomic_load(&c->gathered.queued.value));
    }
}

/* Pushes begin to count anew. A card that refuses has been lost: the next pass says so. */
static void reset_counts(const cuda_comm *c)
{
    if (c->counts && cudaSetDevice(c->group->ordinals[c->base.rank]) == cudaSuccess) {
        (void)cudaMemset(c->counts, 0, card_count_bytes(c));
        (void)cudaDeviceSynchronize();
    }
}

void card_reset(comm_group *base)
{
    cuda_group *g = (cuda_group *)base;

    for (int r = 0; r < base->n; r++) {
        cuda_comm *c = &g->ranks[r];
        card_count(&c->base); /* all that came, now that nothing is at work */
        c->asked = c->taken = c->released = 0;
        c->n_timed = c->n_counted = 0;
        c->gathers = 0;
        c->lost = false;
        atomic_store(&c->gathered.queued.value, 0);
        memset((void *)(uintptr_t)c->gathered.word, 0, sizeof(uint32_t)); /* no card is at work */
        reset_counts(c);
    }
    __atomic_store_n(g->stop, 0, __ATOMIC_SEQ_CST);
    atomic_store(&g->cancelled, false);
}

/* A failure that its call could not tell. */
lariat_status card_check_lost(const cuda_comm *c)
{
    return c->lost ? fail(LARIAT_FAILED, "rank %d: its stream takes no more work", c->base.rank) : LARIAT_OK;
}

lariat_status card_set_mark(cuda_comm *c, mark *m, uint32_t value)
{
    if (c->group->write_value(c->stream, m->word, value, CU_STREAM_WRITE_VALUE_DEFAULT) != CUDA_SUCCESS) {
        return fail(LARIAT_FAILED, "rank %d: its stream takes no more work", c->base.rank);
    }
    epoch_set(&m->queued, value);
    if (atomic_load(&c->group->cancelled)) { /* cancel may have looked at `queued` just before */
        release_word(m, value);
    }
    return LARIAT_OK;
}

/* On the host until it is queued, on the stream until it is done. */
lariat_status card_wait_mark(cuda_comm *c, cudaStream_t stream, mark *m, uint32_t value)
{
    if (!epoch_wait_unless(&m->queued, value, &c->group->cancelled)) {
        return fail(LARIAT_CANCELLED, "rank %d: another rank stopped", c->base.rank);
    }
    if (c->group->wait_value(stream, m->word, value, CU_STREAM_WAIT_VALUE_GEQ) != CUDA_SUCCESS) {
        return fail(LARIAT_FAILED, "rank %d: its stream takes no more work", c->base.rank);
    }
    return LARIAT_OK;
}
