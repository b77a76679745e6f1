/* Opening and closing the transport between processes, cutting pieces into messages, cancelling and draining.
   Rests on in_process.c, mpi_wire.c and mpi_control.c. See mpi_transport.h; read on in mpi_gather.c and mpi_hops.c.

   A cancelled pass leaves messages behind. Resetting takes them away: receives that no message has met are cancelled, all
   processes exchange how many messages they have sent each other in this generation, and what has not arrived is received and
   thrown away. So no message of an older pass is left when the next one begins. */
#include "comm/mpi/mpi_transport.h"

#include "base/clock.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Rows of so many bytes are messages by themselves: MPI takes them from their own memory, where it can without a copy. Measured
   through shared memory: rows of 16 KiB are equally fast both ways, smaller ones faster in a datatype. */
enum { APART = 32 << 10 };

/* Tags tell so many steps apart; more are not under way. */
enum { STEPS_MAX = 1 << 16 };

static const double SLEEP_S = 1e-4; /* at most, between two looks of a wait */
static const double POLL_EVERY_S = 5e-6;

static const comm_ops mpi_comm_ops;

/* --- messages --- */

size_t mpi_packed(const comm_piece list[], int n)
{
    size_t sum = 0;

    for (int i = 0; i < n; i++) {
        sum += list[i].rows > 0 ? (size_t)list[i].rows * list[i].bytes : 0;
    }
    return sum;
}

/* Some of the bytes of a large row. */
static void cut_row(mpi_cut *c, comm_piece *out, size_t *bytes)
{
    const comm_piece *p = &c->list[c->at];
    size_t part = p->bytes - c->column < MPI_MESSAGE_MAX ? p->bytes - c->column : MPI_MESSAGE_MAX;

    *out = (comm_piece){.offset = p->offset + (size_t)c->row * p->stride + c->column, .bytes = part, .stride = part, .rows = 1};
    *bytes = part;
    c->column += part;
    if (c->column == p->bytes) {
        c->column = 0;
        if (++c->row == p->rows) {
            c->row = 0;
            c->at++;
        }
    }
}

/* As many small rows of a piece as there is room for. */
static void cut_rows(mpi_cut *c, comm_piece *out, size_t *bytes)
{
    const comm_piece *p = &c->list[c->at];
    int64_t fit = (int64_t)((MPI_MESSAGE_MAX - *bytes) / p->bytes), left = p->rows - c->row;
    int64_t rows = left < fit ? left : fit;

    *out = (comm_piece){.offset = p->offset + (size_t)c->row * p->stride, .bytes = p->bytes, .stride = p->stride, .rows = rows};
    *bytes += (size_t)rows * p->bytes;
    c->row += rows;
    if (c->row == p->rows) {
        c->row = 0;
        c->at++;
    }
}

bool mpi_cut_next(mpi_cut *c, comm_piece out[MPI_MESSAGE_PIECES], int *n, size_t *bytes)
{
    bool first = !c->any;

    *n = 0;
    *bytes = 0;
    c->any = true;
    while (c->at < c->n && *n < MPI_MESSAGE_PIECES) {
        const comm_piece *p = &c->list[c->at];
        if (p->rows <= 0 || p->bytes == 0) {
            c->at++;
        } else if (p->bytes >= APART) {
            if (*n == 0) {
                cut_row(c, &out[(*n)++], bytes);
            }
            break;
        } else if (MPI_MESSAGE_MAX - *bytes < p->bytes) {
            break;
        } else {
            cut_rows(c, &out[(*n)++], bytes);
        }
    }
    return *n > 0 || first;
}

int mpi_send_pieces(mpi_group *g, int process, int tag, const void *base, const comm_piece list[], int n, mpi_note *note)
{
    mpi_cut cut = {.list = list, .n = n};
    comm_piece pieces[MPI_MESSAGE_PIECES];
    mpi_message m = {MPI_LANE_DATA, process, tag, (void *)(uintptr_t)base, pieces, 0, note};
    size_t bytes;
    int messages = 0;

    for (; mpi_cut_next(&cut, pieces, &m.n, &bytes); messages++) {
        wire_send(g->p, &m);
    }
    g->sent[process] += (uint64_t)messages;
    atomic_fetch_add(&g->p->data, messages);
    return messages;
}

int mpi_receive_pieces(mpi_group *g, int process, int tag, unsigned char *to, const comm_piece list[], int n, mpi_note *note)
{
    mpi_cut cut = {.list = list, .n = n};
    comm_piece pieces[MPI_MESSAGE_PIECES];
    size_t bytes;
    int messages = 0, parts;

    for (; mpi_cut_next(&cut, pieces, &parts, &bytes); messages++, to += bytes) {
        const comm_piece packed = wire_block(bytes);
        wire_receive(g->p, &(mpi_message){MPI_LANE_DATA, process, tag, to, &packed, bytes ? 1 : 0, note});
    }
    atomic_fetch_add(&g->receives, messages);
    atomic_fetch_add(&g->p->data, messages);
    return messages;
}

void mpi_received(mpi_group *g, const mpi_done *d)
{
    atomic_fetch_sub(&g->receives, 1);
    atomic_fetch_sub(&g->p->data, 1);
    g->arrived[d->peer] += d->arrived;
}

/* --- waiting --- */

lariat_status mpi_stopped(const mpi_endpoint *c)
{
    return fail(LARIAT_CANCELLED, "rank %d: another rank stopped", c->base.rank);
}

lariat_status mpi_wait_for(mpi_endpoint *c, bool (*holds)(const void *arg), const void *arg, lariat_span *wait)
{
    wait->kind = LARIAT_SPAN_WAIT;
    wait->begin = clock_now();
    bool there = wire_wait_unless(c->group->p, holds, arg, &c->group->cancelled, SLEEP_S);
    wait->end = clock_now();
    c->own.wait_s += wait->end - wait->begin;
    if (c->base.trace) {
        trace_take(c->base.trace, *wait);
    }
    return there ? LARIAT_OK : mpi_stopped(c);
}

static void poll_messages(comm *base)
{
    mpi_endpoint *c = (mpi_endpoint *)base;
    mpi_processes *p = c->group->p;

    if (atomic_load_explicit(&p->data, memory_order_relaxed) == 0) {
        return;
    }
    double now = clock_now();
    if (now - c->polled_at < POLL_EVERY_S || !wire_try_lock(p)) {
        return;
    }
    wire_progress(p);
    wire_unlock(p);
    c->polled_at = now;
}

/* --- passes --- */

static void begin_pass(comm *base, bool replays)
{
    comm_begin(((mpi_endpoint *)base)->local, base->pass, replays);
}

static void *rows_of(comm *base)
{
    return comm_rows(((mpi_endpoint *)base)->local);
}

static lariat_status attach(comm *base, device *dev)
{
    return comm_attach(((mpi_endpoint *)base)->local, dev);
}

static comm *endpoint(comm_group *base, int rank)
{
    return &((mpi_group *)base)->ranks[rank - base->first].base;
}

static void count(comm *base)
{
    mpi_endpoint *c = (mpi_endpoint *)base;
    comm_counters local = comm_counted(c->local);

    base->counted = c->own;
    base->counted.wait_s += local.wait_s;
    base->counted.hops += local.hops;
    base->counted.hop_s += local.hop_s;
    base->counted.hop_wait_s += local.hop_wait_s;
    base->counted.hop_bytes = local.hop_bytes > c->own.hop_bytes ? local.hop_bytes : c->own.hop_bytes;
}

/* --- cancelling and draining --- */

void transport_stop(mpi_group *g)
{
    atomic_store(&g->cancelled, true);
    comm_cancel(g->local);
}

static void cancel(comm_group *base)
{
    mpi_group *g = (mpi_group *)base;
    mpi_processes *p = g->p;

    if (atomic_exchange(&g->cancelled, true)) {
        return; /* all know it already */
    }
    comm_cancel(g->local);
    wire_lock(p);
    if (!atomic_load(&p->failed)) {
        beats_tell(p, &(mpi_news){.kind = MPI_NEWS_CANCELLED, .process = p->base.number, .generation = p->generation});
    }
    wire_unlock(p);
}

static void cancel_receives(mpi_group *g)
{
    const mpi_module *mpi = g->p->mpi;

    wire_lock(g->p);
    (void)mpi->cancel(g->p->wire, &g->gathers.came);
    for (int i = 0; i < g->base.n_local; i++) {
        for (int k = 0; k < COMM_REGIONS; k++) {
            for (int h = 0; h < COMM_OPEN_HOPS; h++) {
                (void)mpi->cancel(g->p->wire, &g->ranks[i].open[k][h].note);
                (void)mpi->cancel(g->p->wire, &g->ranks[i].open[k][h].dated);
            }
        }
    }
    wire_unlock(g->p);
}

static bool no_receives(const void *arg)
{
    return atomic_load(&((const mpi_group *)arg)->receives) == 0;
}

static bool nothing_under_way(const void *arg)
{
    return atomic_load(&((const mpi_group *)arg)->p->data) == 0;
}

/* A message that is no longer asked for. */
typedef struct unwanted {
    mpi_note note;
    mpi_group *of;
    unsigned char bytes[];
} unwanted;

static void throw_away(mpi_note *n, const mpi_done *d)
{
    unwanted *u = (unwanted *)n;

    mpi_received(u->of, d);
    free(u);
}

/* Inside the lock: receives the next message of that process, if it has arrived. */
static lariat_status take_unwanted(mpi_group *g, int from)
{
    bool there = false;
    int tag = 0;
    size_t bytes = 0;

    if (g->p->mpi->probe(g->p->wire, MPI_LANE_DATA, from, &there, &tag, &bytes) != 0 || !there) {
        return LARIAT_OK;
    }
    unwanted *u = malloc(sizeof *u + bytes);
    TRY_MEMORY(u, "transport between processes: no memory" FREE_MEMORY);
    *u = (unwanted){.note = {throw_away}, .of = g};
    const comm_piece piece = wire_block(bytes);
    atomic_fetch_add(&g->receives, 1);
    atomic_fetch_add(&g->p->data, 1);
    wire_receive(g->p, &(mpi_message){MPI_LANE_DATA, from, tag, u->bytes, &piece, bytes ? 1 : 0, &u->note});
    return LARIAT_OK;
}

/* Receives all that the others have sent. */
static lariat_status drain(mpi_group *g, const uint64_t sent[])
{
    mpi_processes *p = g->p;
    double begin = clock_now();

    for (int look = 0;; look++) {
        bool all = true;
        wire_lock(p);
        for (int i = 0; i < p->base.count; i++) {
            bool owes = i != p->base.number && g->arrived[i] < sent[i];
            all = all && !owes;
            if (owes && no_receives(g)) {
                lariat_status status = take_unwanted(g, i);
                if (status != LARIAT_OK) {
                    wire_unlock(p);
                    return status;
                }
            }
        }
        wire_unlock(p);
        if (atomic_load(&p->failed)) {
            return beats_failure(p);
        }
        if (all && nothing_under_way(g)) {
            return LARIAT_OK;
        }
        wire_look(p, look, begin, SLEEP_S);
    }
}

static lariat_status empty_the_wires(mpi_group *g)
{
    uint64_t *sent = calloc((size_t)g->p->base.count, sizeof *sent);

    TRY_MEMORY(sent, "transport between processes: no memory" FREE_MEMORY);
    cancel_receives(g);
    lariat_status status = wire_wait(g->p, no_receives, g, SLEEP_S) ? LARIAT_OK : beats_failure(g->p);
    NEXT(status, control_exchange(g->p, g->sent, sent));
    NEXT(status, drain(g, sent));
    free(sent);
    return status;
}

/* A failure leaves the group cancelled. */
static void reset(comm_group *base)
{
    mpi_group *g = (mpi_group *)base;
    mpi_processes *p = g->p;

    transport_stop(g);
    if (atomic_load(&p->failed)) {
        return;
    }
    lariat_status status = empty_the_wires(g);
    if (status != LARIAT_OK) {
        beats_announce(&p->base, -1, lariat_error()); /* nothing, where another failure is known already */
        return;
    }
    comm_reset(g->local);
    for (int i = 0; i < base->n_local; i++) {
        mpi_hops_reset(&g->ranks[i]);
    }
    mpi_gathers_reset(&g->gathers, p->base.count);
    memset(g->sent, 0, (size_t)p->base.count * sizeof *g->sent);
    memset(g->arrived, 0, (size_t)p->base.count * sizeof *g->arrived);
    wire_lock(p);
    p->generation++;
    if (p->cancelled == p->generation || atomic_load(&p->failed)) {
        transport_stop(g);
    } else {
        atomic_store(&g->cancelled, false);
    }
    wire_unlock(p);
}

/* --- opening and closing --- */

/* Takes all buffers but those of the local ranks in common, from g's arena, which may be one that counts. */
static mpi_group *take_group(arena *memory, const mpi_processes *p, const comm_setup *s)
{
    mpi_group *g = arena_take(memory, sizeof *g);
    mpi_endpoint *ranks = arena_take(memory, bytes_of(s->n_local, 1, sizeof *ranks));
    int32_t *process_of = arena_take(memory, bytes_of(s->n_ranks, 1, sizeof *process_of));
    mpi_clock *clocks = arena_take(memory, bytes_of(p->base.count, 1, sizeof *clocks));
    mpi_dated *dated = arena_take(memory, bytes_of(s->n_local, s->n_ranks, sizeof *dated));
    uint64_t *sent = arena_take(memory, bytes_of(p->base.count, 1, sizeof *sent));
    uint64_t *arrived = arena_take(memory, bytes_of(p->base.count, 1, sizeof *arrived));
    comm_piece *theirs = arena_take(memory, bytes_of(p->base.count, 1, sizeof *theirs));
    unsigned char *columns = arena_take(memory, p->base.count > 1 ? s->message_bytes : 0);

    for (int i = 0; i < s->n_local && p->base.count > 1; i++) {
        for (int k = 0; k < COMM_REGIONS; k++) {
            for (int h = 0; h < COMM_OPEN_HOPS; h++) {
                unsigned char *staging = arena_take(memory, s->hop_bytes[k]);
                if (ranks) {
                    ranks[i].open[k][h].staging = staging;
                }
            }
        }
    }
    if (g) {
        *g = (mpi_group){.ranks = ranks, .process_of = process_of, .clocks = clocks, .dated = dated, .sent = sent,
                         .arrived = arrived, .gathers = {.theirs = theirs, .staging = columns}};
    }
    return g;
}

size_t transport_memory(processes *base, const comm_setup *s)
{
    arena counting;

    arena_count(&counting);
    (void)take_group(&counting, (mpi_processes *)base, s);
    return arena_sum((const size_t[]){counting.used, comm_threads_memory(s)}, 2);
}

comm_speed transport_speed(const processes *base)
{
    for (int i = 1; i < base->count; i++) {
        if (!processes_share_host(base, i, 0)) {
            return (comm_speed){.bytes_per_s = 1e9, .latency_s = 3e-5}; /* of Ethernet with 10 Gbit/s, by TCP */
        }
    }
    return (comm_speed){.bytes_per_s = 5e9, .latency_s = 2e-6}; /* of shared memory */
}

static void free_group(mpi_group *g)
{
    arena memory = g->memory; /* the group is in it */

    comm_group_close(g->local);
    arena_close(&memory);
}

/* Resets in any case: whether the group is cancelled is not known to all processes at the same time. */
static void close_group(comm_group *base)
{
    mpi_group *g = (mpi_group *)base;
    mpi_processes *p = g->p;

    reset(base);
    bool clean = wire_wait(p, nothing_under_way, g, SLEEP_S);
    wire_lock(p);
    p->group = NULL;
    p->generation++;
    wire_unlock(p);
    if (clean) { /* otherwise messages may still be put there: the program ends */
        free_group(g);
    }
}

/* Sends that others no longer take stay under way. */
static bool still_reads(const comm_group *base)
{
    return atomic_load(&((const mpi_group *)base)->p->failed);
}

/* The ranks of the ring are those of the processes, and tags can tell them apart. */
static lariat_status check_setup(const mpi_processes *p, const comm_setup *s, int *most_ranks, int64_t *steps)
{
    const process_info *own = &p->list[p->base.number], *last = &p->list[p->base.count - 1];

    if (s->first != own->first_rank || s->n_local != own->n_ranks || s->n_ranks != last->first_rank + last->n_ranks) {
        return fail(LARIAT_BAD_ARGUMENT, "transport between processes: ranks %d to %d of %d, but process %d has %d to %d of %d",
                    s->first, s->first + s->n_local - 1, s->n_ranks, p->base.number, own->first_rank,
                    own->first_rank + own->n_ranks - 1, last->first_rank + last->n_ranks);
    }
    if (p->group) {
        return fail(LARIAT_UNSUPPORTED, "transport between processes: there is one already; close it first");
    }
    *most_ranks = 1;
    for (int i = 0; i < p->base.count; i++) {
        *most_ranks = p->list[i].n_ranks > *most_ranks ? p->list[i].n_ranks : *most_ranks;
    }
    *steps = ((int64_t)p->world.tag_max + 1) / ((int64_t)*most_ranks * *most_ranks * MPI_KINDS);
    if (*steps < 1) {
        return fail(LARIAT_UNSUPPORTED, "transport between processes: %s has no tags for %d ranks a process; use fewer",
                    p->world.library, *most_ranks);
    }
    *steps = *steps < STEPS_MAX ? *steps : STEPS_MAX;
    return LARIAT_OK;
}

/* The part of this process. */
static lariat_status open_group(mpi_processes *p, const comm_setup *s, mpi_group **out)
{
    comm_group *local = NULL;
    arena counting, memory;
    int64_t steps = 0;
    int most_ranks = 0;

    TRY(check_setup(p, s, &most_ranks, &steps));
    arena_count(&counting);
    (void)take_group(&counting, p, s);
    TRY(comm_local_open(s, &local));
    lariat_status status = arena_open(&memory, counting.used, "transport between processes");
    if (status != LARIAT_OK) {
        comm_group_close(local);
        return status;
    }
    mpi_group *g = take_group(&memory, p, s);
    g->base = (comm_group){.ops = &mpi_comm_ops, .n = s->n_ranks, .first = s->first, .n_local = s->n_local};
    g->p = p;
    g->setup = *s;
    g->memory = memory;
    g->local = local;
    g->most_ranks = most_ranks;
    g->steps = (int)steps;
    for (int i = 0; i < p->base.count; i++) {
        g->clocks[i] = (mpi_clock){.now = INFINITY, .before = INFINITY};
        for (int r = 0; r < p->list[i].n_ranks; r++) {
            g->process_of[p->list[i].first_rank + r] = i;
        }
    }
    for (int i = 0; i < s->n_local; i++) {
        mpi_endpoint *c = &g->ranks[i];
        c->base = (comm){.ops = &mpi_comm_ops, .rank = s->first + i, .n = s->n_ranks};
        c->group = g;
        c->local = comm_endpoint(local, s->first + i);
        c->dated = g->dated + (size_t)i * (size_t)s->n_ranks;
        mpi_hops_open(c);
    }
    mpi_gathers_open(&g->gathers);
    *out = g;
    return LARIAT_OK;
}

/* LARIAT_OK in all processes, or in none. */
static lariat_status agree(mpi_processes *p, lariat_status mine)
{
    size_t count = (size_t)p->base.count;
    uint64_t *statuses = calloc(2 * count, sizeof *statuses);

    if (!statuses) {
        beats_announce(&p->base, -1, "transport between processes: no memory" FREE_MEMORY);
        return beats_failure(p);
    }
    for (size_t i = 0; i < count; i++) {
        statuses[i] = mine;
    }
    uint64_t *theirs = statuses + count;
    lariat_status status = control_exchange(p, statuses, theirs);
    NEXT(status, mine);
    for (size_t i = 0; i < count && status == LARIAT_OK; i++) {
        if (theirs[i] != LARIAT_OK) {
            status = fail((lariat_status)theirs[i], "transport between processes: process %zu could not open it", i);
        }
    }
    free(statuses);
    return status;
}

lariat_status transport_open(processes *base, const comm_setup *s, comm_group **out)
{
    mpi_processes *p = (mpi_processes *)base;
    mpi_group *g = NULL;

    if (atomic_load(&p->failed)) {
        return beats_failure(p);
    }
    lariat_status status = agree(p, open_group(p, s, &g));
    if (!g) { /* it could not be opened here: the status says so */
        return status;
    }
    if (status != LARIAT_OK) {
        free_group(g);
        return status;
    }
    wire_lock(p);
    p->group = g;
    if (atomic_load(&p->failed) || p->cancelled == p->generation) {
        transport_stop(g);
    }
    wire_unlock(p);
    *out = &g->base;
    return LARIAT_OK;
}

static const comm_ops mpi_comm_ops = {
    .close = close_group,
    .still_reads = still_reads,
    .endpoint = endpoint,
    .cancel = cancel,
    .reset = reset,
    .attach = attach,
    .poll = poll_messages,
    .begin = begin_pass,
    .end = mpi_pass_end,
    .rows = rows_of,
    .all_gather = mpi_all_gather,
    .expose = mpi_expose,
    .offer = mpi_offer,
    .ask = mpi_ask,
    .take = mpi_take,
    .release = mpi_release,
    .count = count,
};
