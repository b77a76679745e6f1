/* Ranks that are threads of one process: blocks are copied once into memory that all see, pieces are read where they lie.
   Rests on base/threads.h. See comm.h for the interface, ring/attention.c for the schedule that uses it.

   One message, one wait: an all-gather writes its block, counts itself in, and waits for the last one to arrive. There are two
   sets of blocks, used in turn, so that a rank which is quick to call again does not overwrite what a slow one still reads:
   it can only be in the next all-gather, because the one after that waits for the slow one to arrive. */
#include "comm/comm.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/threads.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_HOPS_OPEN = 2 }; /* between ask and release: the one that is used and the one that travels */

struct comm {
    comm_group *group;
    int rank;
    uint32_t gathers; /* collectives so far */
    int asked, taken; /* hops asked for and not yet taken, taken and not yet released */
    comm_counters counted;
    const unsigned char *base[COMM_REGIONS];
    size_t bytes[COMM_REGIONS];
    epoch ready[COMM_REGIONS]; /* the newest step that may be read */
};

struct comm_group {
    int n;
    size_t message_bytes; /* rounded up to whole cache lines */
    arena memory;
    unsigned char *blocks; /* [2, n, message_bytes] */
    comm *ranks;           /* [n] */
    _Alignas(64) _Atomic int arrived;
    epoch gathered; /* number of the newest collective that all ranks have reached */
    _Atomic bool cancelled;
};

size_t comm_memory(int n_ranks, size_t message_bytes)
{
    return arena_need(bytes_of(2, n_ranks, arena_need(message_bytes))) + arena_need((size_t)n_ranks * sizeof(comm)) +
           arena_need(sizeof(comm_group));
}

lariat_status comm_threads_open(int n_ranks, size_t message_bytes, comm_group **out)
{
    arena memory;

    TRY(arena_open(&memory, comm_memory(n_ranks, message_bytes), "transport between ranks"));
    comm_group *g = arena_take(&memory, sizeof *g);
    g->ranks = arena_take(&memory, (size_t)n_ranks * sizeof *g->ranks);
    g->message_bytes = arena_need(message_bytes);
    g->blocks = arena_take(&memory, bytes_of(2, n_ranks, g->message_bytes));
    g->n = n_ranks;
    for (int r = 0; r < n_ranks; r++) {
        g->ranks[r].group = g;
        g->ranks[r].rank = r;
    }
    g->memory = memory;
    *out = g;
    return LARIAT_OK;
}

void comm_group_close(comm_group *g)
{
    if (g) {
        arena memory = g->memory; /* the group lies in it */
        arena_close(&memory);
    }
}

comm *comm_endpoint(comm_group *g, int rank)
{
    return &g->ranks[rank];
}

int comm_rank(const comm *c)
{
    return c->rank;
}

int comm_size(const comm *c)
{
    return c->group->n;
}

comm_speed comm_threads_speed(void)
{
    /* Pieces are read in place; a message is a wake-up of a waiter that spins. */
    return (comm_speed){.bytes_per_s = 0, .latency_s = 1e-6};
}

void comm_cancel(comm_group *g)
{
    atomic_store(&g->cancelled, true);
}

void comm_reset(comm_group *g)
{
    atomic_store(&g->cancelled, false);
    atomic_store(&g->arrived, 0);
    atomic_store(&g->gathered.value, 0);
    for (int r = 0; r < g->n; r++) {
        g->ranks[r].gathers = 0;
        g->ranks[r].asked = g->ranks[r].taken = 0;
    }
}

comm_counters comm_counted(const comm *c)
{
    return c->counted;
}

/* Waits and counts the time; a cancelled group lets go. */
static lariat_status wait_for(comm *c, epoch *e, uint32_t value)
{
    comm_group *g = c->group;
    double from = clock_now();
    bool reached = epoch_wait_unless(e, value, &g->cancelled);

    c->counted.wait_s += clock_now() - from;
    return reached ? LARIAT_OK : fail(LARIAT_CANCELLED, "rank %d: another rank stopped", c->rank);
}

lariat_status comm_all_gather(comm *c, const void *mine, size_t bytes, const void *theirs[])
{
    comm_group *g = c->group;
    uint32_t number = ++c->gathers;
    unsigned char *set = g->blocks + (number & 1) * (size_t)g->n * g->message_bytes;

    if (bytes > g->message_bytes) {
        return fail(LARIAT_FAILED, "rank %d: a message of %zu bytes, planned were %zu", c->rank, bytes, g->message_bytes);
    }
    if (bytes) {
        memcpy(set + (size_t)c->rank * g->message_bytes, mine, bytes);
    }
    for (int r = 0; theirs && r < g->n; r++) {
        theirs[r] = set + (size_t)r * g->message_bytes;
    }
    if (atomic_fetch_add(&g->arrived, 1) == g->n - 1) {
        /* Nobody can count himself in for the next one before `gathered` is set. */
        atomic_store(&g->arrived, 0);
        epoch_set(&g->gathered, number);
        return LARIAT_OK;
    }
    return wait_for(c, &g->gathered, number);
}

void comm_expose(comm *c, comm_region region, const void *base, size_t bytes)
{
    c->base[region] = base;
    c->bytes[region] = bytes;
}

void comm_ready(comm *c, comm_region region, uint32_t step)
{
    epoch_set(&c->ready[region], step);
}

/* Nothing has to travel; asking, taking and releasing in any other order is refused here too, so that a schedule which runs on
   threads runs on transports that need the order. */
lariat_status comm_ask(comm *c, const comm_hop *hop)
{
    if (c->asked + c->taken == MAX_HOPS_OPEN) {
        return fail(LARIAT_FAILED, "rank %d: asks rank %d for a third hop before it released one", c->rank, hop->owner);
    }
    c->asked++;
    return LARIAT_OK;
}

lariat_status comm_take(comm *c, comm_hop *hop)
{
    comm *owner = &c->group->ranks[hop->owner];
    int64_t bytes = 0;

    if (c->asked == 0) {
        return fail(LARIAT_FAILED, "rank %d: takes a hop of rank %d that it did not ask for", c->rank, hop->owner);
    }
    TRY(wait_for(c, &owner->ready[hop->region], hop->step));
    c->asked--;
    c->taken++;
    for (int i = 0; i < hop->n_pieces; i++) {
        const comm_piece *p = &hop->pieces[i];
        if (p->rows > 0 && p->offset + (size_t)(p->rows - 1) * p->stride + p->bytes > owner->bytes[hop->region]) {
            return fail(LARIAT_FAILED, "rank %d: asks rank %d for bytes that it does not have", c->rank, hop->owner);
        }
        hop->views[i] = (comm_view){owner->base[hop->region] + p->offset, p->stride};
        bytes += p->rows * (int64_t)p->bytes;
    }
    if (owner != c) { /* what a rank takes from itself does not travel */
        c->counted.hops++;
        c->counted.hop_bytes = bytes > c->counted.hop_bytes ? bytes : c->counted.hop_bytes;
    }
    return LARIAT_OK;
}

void comm_release(comm *c, const comm_hop *hop)
{
    (void)hop; /* the owner's own memory: it does not write there again while the pass lasts */
    c->taken--;
}
