/* Ranks that are threads of one process: rows are completed where all write them, pieces are read in place. All ranks of a
   ring, or those of them that are in this process, for a transport between processes.
   Rests on base/threads.h. See comm.h for the interface, ring/attention.c for the schedule that uses it.

   An all-gather is a barrier: each rank counts its own gathers in a cache line of its own, and waits until all others have
   counted as far. All ranks share two buffers of rows, used in turn. A rank reads buffer k until it enters barrier k + 1, and
   buffer k is written again only behind that barrier. */
#include "comm/comm.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/threads.h"

#include <stdlib.h>
#include <string.h>

typedef struct threads_group threads_group;

typedef struct threads_comm {
    comm base;
    threads_group *group;
    double asked_at[COMM_REGIONS][COMM_OPEN_HOPS]; /* when the open hops were asked for, by turns */
    const unsigned char *region[COMM_REGIONS];
    size_t bytes[COMM_REGIONS];
    epoch gathered;              /* all-gathers that this rank has entered */
    epoch offered[COMM_REGIONS]; /* the newest step that may be read */
    /* When the two newest steps were offered, by turns. A reader may find the time of a later step than its own: then its own
       was there when it looked. */
    _Atomic double offered_at[COMM_REGIONS][2];
} threads_comm;

struct threads_group {
    comm_group base;
    size_t message_bytes;
    arena memory;
    unsigned char *rows[2]; /* [message_bytes] */
    threads_comm *ranks;    /* [n_local] */
    _Atomic bool cancelled;
};

static const comm_ops threads_ops;

/* Takes a group's buffers from its arena, or from one that counts. */
static threads_group *take_group(arena *memory, const comm_setup *s)
{
    threads_group *g = arena_take(memory, sizeof *g);
    threads_comm *ranks = arena_take(memory, bytes_of(s->n_local, 1, sizeof *ranks));
    unsigned char *rows[2];

    for (int i = 0; i < 2; i++) {
        rows[i] = arena_take(memory, s->message_bytes);
    }
    if (g) {
        *g = (threads_group){.base = {.ops = &threads_ops, .n = s->n_ranks, .first = s->first, .n_local = s->n_local},
                             .message_bytes = s->message_bytes, .rows = {rows[0], rows[1]}, .ranks = ranks};
    }
    return g;
}

size_t comm_threads_memory(const comm_setup *s)
{
    arena counting;

    arena_count(&counting);
    (void)take_group(&counting, s);
    return counting.used;
}

lariat_status comm_local_open(const comm_setup *s, comm_group **out)
{
    arena memory;

    TRY(arena_open(&memory, comm_threads_memory(s), "transport between ranks"));
    threads_group *g = take_group(&memory, s);
    for (int i = 0; i < s->n_local; i++) {
        g->ranks[i].base = (comm){.ops = &threads_ops, .rank = s->first + i, .n = s->n_ranks};
        g->ranks[i].group = g;
    }
    g->memory = memory;
    *out = &g->base;
    return LARIAT_OK;
}

lariat_status comm_threads_open(const comm_setup *s, comm_group **out)
{
    if (s->first != 0 || s->n_local != s->n_ranks) {
        return fail(LARIAT_FAILED, "transport between threads: %d of %d ranks are here, please report this", s->n_local,
                    s->n_ranks);
    }
    return comm_local_open(s, out);
}

static void threads_close(comm_group *base)
{
    arena memory = ((threads_group *)base)->memory; /* the group is in it */

    arena_close(&memory);
}

/* Of a local rank. */
static threads_comm *comm_of(const threads_group *g, int rank)
{
    return &g->ranks[rank - g->base.first];
}

static comm *threads_endpoint(comm_group *base, int rank)
{
    return &comm_of((threads_group *)base, rank)->base;
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
    for (int i = 0; i < base->n_local; i++) {
        atomic_store(&g->ranks[i].gathered.value, 0);
    }
}

static lariat_status stopped(const threads_comm *c)
{
    return fail(LARIAT_CANCELLED, "rank %d: another rank stopped", c->base.rank);
}

/* For calls that need not wait. */
static bool is_cancelled(const threads_comm *c)
{
    return atomic_load_explicit(&c->group->cancelled, memory_order_relaxed);
}

/* Waits and counts the time, which is left in `wait`; ends when the group is cancelled. */
static lariat_status wait_for(threads_comm *c, epoch *e, uint32_t value, lariat_span *wait)
{
    wait->kind = LARIAT_SPAN_WAIT;
    wait->begin = clock_now();
    bool reached = epoch_wait_unless(e, value, &c->group->cancelled);
    wait->end = clock_now();
    c->base.counted.wait_s += wait->end - wait->begin;
    if (c->base.trace) {
        trace_take(c->base.trace, *wait);
    }
    return reached ? LARIAT_OK : stopped(c);
}

static void threads_begin(comm *base, bool replays)
{
    threads_comm *c = (threads_comm *)base;

    (void)replays;
    for (int i = 0; i < COMM_REGIONS; i++) {
        epoch_set(&c->offered[i], comm_step_number(base, 0));
    }
}

/* --- all-gathers --- */

/* The number of this rank's newest all-gather: only this rank writes it. */
static uint32_t gathers_of(const threads_comm *c)
{
    return atomic_load_explicit(&c->gathered.value, memory_order_relaxed);
}

static void *threads_rows(comm *base)
{
    const threads_comm *c = (const threads_comm *)base;

    return c->group->rows[gathers_of(c) & 1];
}

static lariat_status threads_all_gather(comm *base, const comm_gather *rows)
{
    threads_comm *c = (threads_comm *)base;
    threads_group *g = c->group;
    uint32_t number = gathers_of(c) + 1;
    size_t bytes = comm_gather_bytes(rows, base->n);

    if (bytes > g->message_bytes) {
        return fail(LARIAT_FAILED, "rank %d: rows of %zu bytes, planned were %zu, please report this", base->rank, bytes,
                    g->message_bytes);
    }
    if (is_cancelled(c)) {
        return stopped(c);
    }
    epoch_set(&c->gathered, number);
    for (int i = 1, n = g->base.n_local; i < n; i++) {
        threads_comm *other = &g->ranks[(base->rank - g->base.first + i) % n];
        TRY(wait_for(c, &other->gathered, number, &(lariat_span){.owner = -1}));
    }
    return LARIAT_OK;
}

/* --- hops --- */

static void threads_expose(comm *base, comm_region region, const void *at, size_t bytes)
{
    threads_comm *c = (threads_comm *)base;

    c->region[region] = at;
    c->bytes[region] = bytes;
}

static void threads_offer(comm *base, int to, const comm_pieces *p)
{
    threads_comm *c = (threads_comm *)base;

    (void)to; /* one word a region: steps grow, so an offer to one rank also ends waits for earlier ones to others */
    /* Seen by whoever sees the step. */
    atomic_store_explicit(&c->offered_at[p->region][p->step & 1], clock_now(), memory_order_relaxed);
    epoch_set(&c->offered[p->region], comm_step_number(base, p->step));
}

/* Nothing has to travel. */
static lariat_status threads_ask(comm *base, const comm_hop *hop)
{
    threads_comm *c = (threads_comm *)base;
    comm_region k = hop->offer.region;

    if (is_cancelled(c)) {
        return stopped(c);
    }
    c->asked_at[k][base->hops[k].asked % COMM_OPEN_HOPS] = clock_now();
    return LARIAT_OK;
}

/* Counts a hop that was waited for, or not. Its pieces were there when their owner had offered them, or, if that had to be
   waited for, when the wait was over. */
static void count_hop(threads_comm *c, const comm_hop *hop, const lariat_span *wait, int64_t bytes)
{
    const comm_pieces *p = &hop->offer;
    const threads_comm *owner = comm_of(c->group, hop->owner);
    double asked = c->asked_at[p->region][c->base.hops[p->region].taken % COMM_OPEN_HOPS], there = asked;
    double offered = atomic_load_explicit(&owner->offered_at[p->region][p->step & 1], memory_order_relaxed);
    comm_counters *counted = &c->base.counted;

    if (offered > wait->begin) {
        there = wait->end;
        counted->hop_wait_s += wait->end - wait->begin;
    } else if (offered > asked) {
        there = offered;
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
    threads_comm *c = (threads_comm *)base, *owner = comm_of(c->group, hop->owner);
    const comm_pieces *offer = &hop->offer;
    int64_t bytes = 0;

    if (is_cancelled(c)) {
        return stopped(c);
    }
    lariat_span wait = {.owner = hop->owner};
    TRY(wait_for(c, &owner->offered[offer->region], comm_step_number(base, offer->step), &wait));
    for (int i = 0; i < offer->n; i++) {
        const comm_piece *p = &offer->list[i];
        if (p->rows > 0 && p->offset + (size_t)(p->rows - 1) * p->stride + p->bytes > owner->bytes[offer->region]) {
            return fail(LARIAT_FAILED, "rank %d: asks rank %d for bytes that it does not have, please report this", base->rank,
                        hop->owner);
        }
        hop->views[i] = (comm_view){owner->region[offer->region] + p->offset, p->stride};
        bytes += p->rows * (int64_t)p->bytes;
    }
    if (owner != c) { /* what a rank takes from itself does not travel */
        count_hop(c, hop, &wait, bytes);
    }
    return LARIAT_OK;
}

/* Nothing was copied, and the owner gets no message: it writes these bytes again in a later pass, or earlier once data of this
   rank prove that they were read. */
static void threads_release(comm *base, const comm_hop *hop)
{
    (void)base;
    (void)hop;
}

static const comm_ops threads_ops = {
    .close = threads_close,
    .endpoint = threads_endpoint,
    .cancel = threads_cancel,
    .reset = threads_reset,
    .attach = threads_attach,
    .begin = threads_begin,
    .rows = threads_rows,
    .all_gather = threads_all_gather,
    .expose = threads_expose,
    .offer = threads_offer,
    .ask = threads_ask,
    .take = threads_take,
    .release = threads_release,
};
