/* The order of ranks on cards: words that streams write and wait on, cancelling, and starting anew.
   Rests on the driver's stream values. card_gather.c and card_hops.c wait by these; docs/dev/gpus.md ("Why nothing hangs") has
   the rules that every wait here keeps, and why they suffice. */
#include "comm/cuda/card_comm.h"

#include <string.h>

/* Raises a word from the host: a card that has failed never writes it. Several ranks may do so at once, with values that they
   read at different times: a word only grows. */
static void raise_word(stream_word *w, uint32_t value)
{
    uint32_t *word = (uint32_t *)(uintptr_t)w->at, old = __atomic_load_n(word, __ATOMIC_SEQ_CST);

    while ((int32_t)(value - old) > 0 &&
           !__atomic_compare_exchange_n(word, &old, value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
    }
}

void card_cancel(comm_group *base)
{
    card_group *g = (card_group *)base;

    atomic_store(&g->cancelled, true);
    __atomic_store_n(g->stop, 1, __ATOMIC_SEQ_CST);
    for (int r = 0; r < base->n; r++) {
        card_comm *c = &g->ranks[r];
        for (int i = 0; i < COMM_REGIONS; i++) {
            raise_word(&c->offered[i], atomic_load(&c->offered[i].queued.value));
        }
        raise_word(&c->gathered, atomic_load(&c->gathered.queued.value));
    }
}

/* No packet has a number. A card that refuses has been lost: the next pass tells it. */
static void reset_pushing(const card_comm *c)
{
    if (c->packets && cudaSetDevice(c->group->ordinals[c->base.rank]) == cudaSuccess) {
        (void)cudaMemset(c->packets, 0, card_packet_bytes(c->base.n, c->group->message_bytes));
        (void)cudaDeviceSynchronize();
    }
}

void card_reset(comm_group *base)
{
    card_group *g = (card_group *)base;

    for (int r = 0; r < base->n; r++) {
        card_comm *c = &g->ranks[r];
        card_count(&c->base); /* all that ended, now that no card is at work */
        c->n_timed = c->n_counted = 0;
        c->copied = 0;
        c->lost = false;
        atomic_store(&c->gathered.queued.value, 0);
        memset((void *)(uintptr_t)c->gathered.at, 0, sizeof(uint32_t)); /* no card is at work */
        reset_pushing(c);
    }
    __atomic_store_n(g->stop, 0, __ATOMIC_SEQ_CST);
    atomic_store(&g->cancelled, false);
}

lariat_status card_check(const card_comm *c)
{
    if (c->lost) {
        return fail(LARIAT_FAILED, "rank %d: its stream takes no more work", c->base.rank);
    }
    return atomic_load_explicit(&c->group->cancelled, memory_order_relaxed)
               ? fail(LARIAT_CANCELLED, "rank %d: another rank stopped", c->base.rank)
               : LARIAT_OK;
}

void card_lose(card_comm *c)
{
    c->lost = true;
    card_cancel(&c->group->base);
}

lariat_status card_end(comm *base)
{
    return card_check((const card_comm *)base);
}

lariat_status card_write_word(card_comm *c, stream_word *w, uint32_t value)
{
    if (c->group->write_value(c->stream, w->at, value, CU_STREAM_WRITE_VALUE_DEFAULT) != CUDA_SUCCESS) {
        return fail(LARIAT_FAILED, "rank %d: its stream takes no more work", c->base.rank);
    }
    epoch_set(&w->queued, value);
    if (atomic_load(&c->group->cancelled)) { /* cancel may have looked at `queued` just before */
        raise_word(w, value);
    }
    return LARIAT_OK;
}

bool card_word_queued(const stream_word *w, uint32_t value)
{
    return (int32_t)(atomic_load(&w->queued.value) - value) >= 0;
}

lariat_status card_wait_word(card_comm *c, cudaStream_t stream, stream_word *w, uint32_t value)
{
    if (!epoch_wait_unless(&w->queued, value, &c->group->cancelled)) {
        return fail(LARIAT_CANCELLED, "rank %d: another rank stopped", c->base.rank);
    }
    if (c->group->wait_value(stream, w->at, value, CU_STREAM_WAIT_VALUE_GEQ) != CUDA_SUCCESS) {
        return fail(LARIAT_FAILED, "rank %d: its stream takes no more work", c->base.rank);
    }
    return LARIAT_OK;
}
