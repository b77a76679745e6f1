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

typedef struct threads_group threads_group;

typedef struct threads_comm {
    comm base;
    threads_group *group;
    uint32_t gathers; /* collectives so far */
    uint64_t asked, taken, released; /* hops so far */
    double asked_at[MAX_HOPS_OPEN];  /* when, by turns */
    const unsigned char *region[COMM_REGIONS];
    size_t bytes[COMM_REGIONS];
    epoch ready[COMM_REGIONS]; /* the newest step that may be read */
    /* When the two newest steps became ready, by turns. A reader may find the time of a later step than its own: then its own was
       there when it looked. */
    _Atomic double ready_at[COMM_REGIONS][2];
} threads_comm;

struct threads_group {
    comm_group base;
    size_t message_bytes; /* rounded up to whole cache lines */
    arena memory;
    unsigned char *blocks; /* [2, n, message_bytes] */
    threads_comm *ranks;   /* [n] */
    _Alignas(64) _Atomic int arrived;
    epoch gathered; /* number of the newest collective that all ranks have reached */
    _Atomic bool cancelled;
};

static const comm_ops threads_ops;

size_t comm_threads_memory(const comm_setup *s)
{
    const size_t pieces[] = {bytes_of(2, s->n_ranks, arena_need(s->message_bytes)),
                             bytes_of(s->n_ranks, 1, sizeof(threads_comm)), sizeof(threads_group)};

    return arena_sum(pieces, sizeof pieces / sizeof *pieces);
}

lariat_status comm_threads_open(const comm_setup *s, comm_group **out)
{
    arena memory;

    TRY(arena_open(&memory, comm_threads_memory(s), "transport between ranks"));
    threads_group *g = arena_take(&memory, sizeof *g);
    g->base = (comm_group){.ops = &threads_ops, .n = s->n_ranks};
    g->ranks = arena_take(&memory, (size_t)s->n_ranks * sizeof *g->ranks);
    g->message_bytes = arena_need(s->message_bytes);
    g->blocks = arena_take(&memory, bytes_of(2, s->n_ranks, g->message_bytes));
    for (int r = 0; r < s->n_ranks; r++) {
        g->ranks[r].base = (comm){.ops = &threads_ops, .rank = r, .n = s->n_ranks};
        g->ranks[r].group = g;
    }
    g->memory = memory;
    *out = &g->base;
    return LARIAT_OK;
}

static void threads_close(comm_group *base)
{
    arena memory = ((threads_group *)base)->memory; /* the group lies in it */

    arena_close(&memory);
}

static comm *threads_endpoint(comm_group *base, int rank)
{
    return &((threads_group *)base)->ranks[rank].base;
}

static lariat_status threads_attach(comm *base, device *dev)
{
    if (!dev->shares_host) {
        return fail(LARIAT_FAILED,
                    "rank %d: a device with memory of its own on a transport between threads, please report this", base->rank);
    }
    return LARIAT_OK;
}

comm_speed comm_threads_speed(void)
{
    /* Pieces are read in place; a message is a wake-up of a waiter that spins. */
    return (comm_speed){.bytes_per_s = 0, .latency_s = 1e-6};
}

static void threads_cancel(comm_group *base)
{
    atomic_store(&((threads_group *)base)->cancelled, true);
}

static void threads_reset(comm_group *base)
{
    threads_group *g = (threads_group *)base;

    atomic_store(&g->cancelled, false);
    atomic_store(&g->arrived, 0);
    atomic_store(&g->gathered.value, 0);
    for (int r = 0; r < g->base.n; r++) {
        g->ranks[r].gathers = 0;
        g->ranks[r].asked = g->ranks[r].taken = g->ranks[r].released = 0;
    }
}

/* Waits and counts the time, which is left in `wait`; a cancelled group lets go. */
static lariat_status wait_for(threads_comm *c, epoch *e, uint32_t value, lariat_span *wait)
{
    threads_group *g = c->group;

    wait->kind = LARIAT_SPAN_WAIT;
    wait->begin = clock_now();
    bool reached = epoch_wait_unless(e, value, &g->cancelled);
    wait->end = clock_now();
    c->base.counted.wait_s += wait->end - wait->begin;
    if (c->base.trace) {
        trace_take(c->base.trace, *wait);
    }
    return reached ? LARIAT_OK : fail(LARIAT_CANCELLED, "rank %d: another rank stopped", c->base.rank);
}

static lariat_status threads_all_gather(comm *base, const void *mine, size_t bytes, const void *theirs[])
{
    threads_comm *c = (threads_comm *)base;
    threads_group *g = c->group;
    uint32_t number = ++c->gathers;
    unsigned char *set = g->blocks + (number & 1) * (size_t)g->base.n * g->message_bytes;

    if (bytes > g->message_bytes) {
        return fail(LARIAT_FAILED, "rank %d: a message of %zu bytes, planned were %zu, please report this", c->base.rank, bytes,
                    g->message_bytes);
    }
    if (bytes) {
        memcpy(set + (size_t)c->base.rank * g->message_bytes, mine, bytes);
    }
    for (int r = 0; theirs && r < g->base.n; r++) {
        theirs[r] = set + (size_t)r * g->message_bytes;
    }
    if (atomic_fetch_add(&g->arrived, 1) == g->base.n - 1) {
        /* Nobody can count himself in for the next one before `gathered` is set. */
        atomic_store(&g->arrived, 0);
        epoch_set(&g->gathered, number);
        return LARIAT_OK;
    }
    return wait_for(c, &g->gathered, number, &(lariat_span){.owner = -1});
}

static void threads_expose(comm *base, comm_region region, const void *at, size_t bytes)
{
    threads_comm *c = (threads_comm *)base;

    c->region[region] = at;
    c->bytes[region] = bytes;
}

static void threads_ready(comm *base, comm_region region, uint32_t step)
{
    threads_comm *c = (threads_comm *)base;

    atomic_store_explicit(&c->ready_at[region][step & 1], clock_now(), memory_order_relaxed); /* epoch_set makes it seen */
    epoch_set(&c->ready[region], step);
}

/* Nothing has to travel; asking, taking and releasing in any other order is refused here too, so that a schedule which runs on
   threads runs on transports that need the order. */
static lariat_status threads_ask(comm *base, const comm_hop *hop)
{
    threads_comm *c = (threads_comm *)base;

    if (c->asked - c->released == MAX_HOPS_OPEN) {
        return fail(LARIAT_FAILED, "rank %d: asks rank %d for a third hop before it released one, please report this",
                    c->base.rank, hop->owner);
    }
    c->asked_at[c->asked++ % MAX_HOPS_OPEN] = clock_now();
    return LARIAT_OK;
}

/* Counts a hop that was waited for, or not. Its pieces were there when their owner had made them ready, or, if that had to be
   waited for, when the wait was over. */
static void count_hop(threads_comm *c, const comm_hop *hop, const lariat_span *wait, int64_t bytes)
{
    const threads_comm *owner = &c->group->ranks[hop->owner];
    double asked = c->asked_at[c->taken % MAX_HOPS_OPEN], there = asked;
    double ready = atomic_load_explicit(&owner->ready_at[hop->region][hop->step & 1], memory_order_relaxed);
    comm_counters *counted = &c->base.counted;

    if (ready > wait->begin) {
        there = wait->end;
        counted->hop_wait_s += wait->end - wait->begin;
    } else if (ready > asked) {
        there = ready;
    }
    counted->hop_s += there - asked;
    counted->hops++;
    counted->hop_bytes = bytes > counted->hop_bytes ? bytes : counted->hop_bytes;
    if (c->base.trace) {
        lariat_span span = {.kind = LARIAT_SPAN_HOP, .begin = asked, .end = there, .owner = hop->owner, .bytes = bytes};
        trace_take(c->base.trace, span);
    }
}

static lariat_status threads_take(comm *base, comm_hop *hop)
{
    threads_comm *c = (threads_comm *)base, *owner = &c->group->ranks[hop->owner];
    int64_t bytes = 0;

    if (c->asked == c->taken) {
        return fail(LARIAT_FAILED, "rank %d: takes a hop of rank %d that it did not ask for, please report this", c->base.rank,
                    hop->owner);
    }
    lariat_span wait = {.owner = hop->owner};
    TRY(wait_for(c, &owner->ready[hop->region], hop->step, &wait));
    for (int i = 0; i < hop->n_pieces; i++) {
        const comm_piece *p = &hop->pieces[i];
        if (p->rows > 0 && p->offset + (size_t)(p->rows - 1) * p->stride + p->bytes > owner->bytes[hop->region]) {
            return fail(LARIAT_FAILED, "rank %d: asks rank %d for bytes that it does not have, please report this",
                        c->base.rank, hop->owner);
        }
        hop->views[i] = (comm_view){owner->region[hop->region] + p->offset, p->stride};
        bytes += p->rows * (int64_t)p->bytes;
    }
    if (owner != c) { /* what a rank takes from itself does not travel */
        count_hop(c, hop, &wait, bytes);
    }
    c->taken++;
    return LARIAT_OK;
}

static void threads_release(comm *base, const comm_hop *hop)
{
    (void)hop; /* the owner's own memory: it does not write there again while the pass lasts */
    ((threads_comm *)base)->released++;
}

static void threads_begin(comm *c, bool repeats)
{
    (void)c;
    (void)repeats;
}

static const comm_ops threads_ops = {
    .close = threads_close,
    .endpoint = threads_endpoint,
    .cancel = threads_cancel,
    .reset = threads_reset,
    .attach = threads_attach,
    .begin = threads_begin,
    .all_gather = threads_all_gather,
    .expose = threads_expose,
    .ready = threads_ready,
    .ask = threads_ask,
    .take = threads_take,
    .release = threads_release,
};
