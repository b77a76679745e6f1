/* Messages of any length: those of process 0 to the others, each one's reports to it, and numbers that all exchange.
   Rests on mpi_wire.c. See processes.h.

   A message begins with its length. The rest beyond the first FIRST bytes follows as messages of another tag, so that a receive
   for the first part can be posted before the length is known: one tell of a decoded token is one message. */
#include "comm/mpi/mpi_processes.h"

#include "base/clock.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST = 4096, OUTGOING_MAX = 64 };
enum { TAG_TELL, TAG_TELL_REST, TAG_COLLECT, TAG_COLLECT_REST, TAG_EXCHANGE };

static const double SLEEP_S = 1e-3; /* at most, between two looks */

/* A message to some processes, freed when it has left to all. */
typedef struct outgoing {
    mpi_note note;
    mpi_control *of;
    int open;
    unsigned char bytes[]; /* the length, and the message */
} outgoing;

typedef struct incoming {
    mpi_note note;
    _Atomic int missing; /* parts */
    size_t first_bytes;
    unsigned char first[FIRST];
    unsigned char *whole; /* [room], of a long one */
    size_t room;
} incoming;

struct mpi_control {
    mpi_processes *p;
    _Atomic int n_outgoing;
    incoming tells[2]; /* by turns: one is the caller's, the other is posted */
    int posted;
    incoming *collected; /* [count], process 0's */
    mpi_note exchange;
    uint64_t *mine, *theirs; /* [count] */
    _Atomic int exchanging;  /* messages under way */
};

/* --- sending --- */

static void outgoing_left(mpi_note *n, const mpi_done *d)
{
    outgoing *o = (outgoing *)n;

    (void)d;
    if (--o->open == 0) {
        atomic_fetch_sub(&o->of->n_outgoing, 1);
        free(o);
    }
}

static void send_part(mpi_control *c, outgoing *o, int to, int tag, size_t offset, size_t bytes)
{
    const comm_piece piece = {.offset = offset, .bytes = bytes, .stride = bytes, .rows = 1};

    o->open++;
    wire_send(c->p, &(mpi_message){MPI_LANE_CONTROL, to, tag, o->bytes, &piece, 1, &o->note});
}

static bool few_outgoing(const void *arg)
{
    return atomic_load(&((const mpi_control *)arg)->n_outgoing) < OUTGOING_MAX;
}

/* To processes [first, end). */
static lariat_status send_all(mpi_control *c, int first, int end, int tag, const void *bytes, size_t n)
{
    uint64_t length = n;
    size_t all = n + sizeof length;

    if (n > PROCESSES_MESSAGE_MAX) {
        return fail(LARIAT_BAD_ARGUMENT, "processes: a message of %zu bytes, the most are %d", n, PROCESSES_MESSAGE_MAX);
    }
    if (!wire_wait(c->p, few_outgoing, c, SLEEP_S)) {
        return beats_failure(c->p);
    }
    outgoing *o = malloc(sizeof *o + all);
    TRY_MEMORY(o, "processes: no memory for a message of %zu bytes" FREE_MEMORY, n);
    *o = (outgoing){.note = {outgoing_left}, .of = c, .open = 1};
    memcpy(o->bytes, &length, sizeof length);
    if (n) {
        memcpy(o->bytes + sizeof length, bytes, n);
    }
    atomic_fetch_add(&c->n_outgoing, 1);
    wire_lock(c->p);
    for (int to = first; to < end; to++) {
        size_t at = all < FIRST ? all : FIRST;
        send_part(c, o, to, tag, 0, at);
        for (size_t part; at < all; at += part) {
            part = all - at < MPI_MESSAGE_MAX ? all - at : MPI_MESSAGE_MAX;
            send_part(c, o, to, tag + 1, at, part);
        }
    }
    wire_progress(c->p);
    outgoing_left(&o->note, NULL); /* the count that this function held */
    wire_unlock(c->p);
    return LARIAT_OK;
}

lariat_status control_tell(processes *base, const void *bytes, size_t n)
{
    mpi_processes *p = (mpi_processes *)base;

    if (base->number != 0) {
        return fail(LARIAT_BAD_ARGUMENT, "processes: process %d tells, only process 0 may", base->number);
    }
    if (atomic_load(&p->failed)) {
        return beats_failure(p);
    }
    return base->count > 1 ? send_all(p->control, 1, base->count, TAG_TELL, bytes, n) : LARIAT_OK;
}

static bool none_outgoing(const void *arg)
{
    return atomic_load(&((const mpi_control *)arg)->n_outgoing) == 0;
}

lariat_status control_flush(mpi_processes *p)
{
    return wire_wait(p, none_outgoing, p->control, SLEEP_S) ? LARIAT_OK : beats_failure(p);
}

/* --- receiving --- */

static void part_came(mpi_note *n, const mpi_done *d)
{
    incoming *in = (incoming *)n;

    if (d->arrived) {
        in->first_bytes = in->first_bytes ? in->first_bytes : d->bytes;
        atomic_fetch_sub(&in->missing, 1);
    }
}

static bool is_whole(const void *arg)
{
    return atomic_load(&((const incoming *)arg)->missing) == 0;
}

/* Inside the lock. */
static void post_first(mpi_control *c, incoming *in, int from, int tag)
{
    const comm_piece piece = wire_block(FIRST);

    in->note.done = part_came;
    in->first_bytes = 0;
    atomic_store(&in->missing, 1);
    wire_receive(c->p, &(mpi_message){MPI_LANE_CONTROL, from, tag, in->first, &piece, 1, &in->note});
}

/* The parts of a long message after its first, into memory of its own. */
static lariat_status take_rest(mpi_control *c, incoming *in, int from, int tag, size_t n)
{
    size_t had = FIRST - sizeof(uint64_t);

    if (in->room < n) {
        free(in->whole);
        in->room = 0;
        in->whole = malloc(n);
        TRY_MEMORY(in->whole, "processes: no memory for a message of %zu bytes" FREE_MEMORY, n);
        in->room = n;
    }
    memcpy(in->whole, in->first + sizeof(uint64_t), had);
    wire_lock(c->p);
    for (size_t at = had, part; at < n; at += part) {
        part = n - at < MPI_MESSAGE_MAX ? n - at : MPI_MESSAGE_MAX;
        const comm_piece piece = {.offset = at, .bytes = part, .stride = part, .rows = 1};
        atomic_fetch_add(&in->missing, 1);
        wire_receive(c->p, &(mpi_message){MPI_LANE_CONTROL, from, tag + 1, in->whole, &piece, 1, &in->note});
    }
    wire_unlock(c->p);
    return wire_wait(c->p, is_whole, in, SLEEP_S) ? LARIAT_OK : beats_failure(c->p);
}

/* Waits for a message whose first part is posted. */
static lariat_status take_message(mpi_control *c, incoming *in, int from, int tag, process_bytes *out)
{
    uint64_t length = 0;

    if (!wire_wait(c->p, is_whole, in, SLEEP_S)) {
        return beats_failure(c->p);
    }
    memcpy(&length, in->first, sizeof length);
    bool is_long = length > FIRST - sizeof length;
    if (length > PROCESSES_MESSAGE_MAX || in->first_bytes != (is_long ? FIRST : sizeof length + length)) {
        return fail(LARIAT_FAILED, "processes: %zu bytes of a message of %llu came from process %d, please report this",
                    in->first_bytes, (unsigned long long)length, from);
    }
    if (is_long) {
        TRY(take_rest(c, in, from, tag, (size_t)length));
    }
    *out = (process_bytes){is_long ? in->whole : in->first + sizeof length, (size_t)length};
    return LARIAT_OK;
}

lariat_status control_hear(processes *base, process_bytes *out)
{
    mpi_processes *p = (mpi_processes *)base;
    mpi_control *c = p->control;
    incoming *in = &c->tells[c->posted];

    if (base->number == 0) {
        return fail(LARIAT_BAD_ARGUMENT, "processes: process 0 hears no other");
    }
    if (!wire_wait(p, is_whole, in, SLEEP_S)) {
        return beats_failure(p);
    }
    c->posted = 1 - c->posted;
    wire_lock(p);
    post_first(c, &c->tells[c->posted], 0, TAG_TELL);
    wire_unlock(p);
    return take_message(c, in, 0, TAG_TELL, out);
}

lariat_status control_collect(processes *base, process_bytes mine, process_bytes out[])
{
    mpi_processes *p = (mpi_processes *)base;
    mpi_control *c = p->control;

    if (atomic_load(&p->failed)) {
        return beats_failure(p);
    }
    if (base->number != 0) {
        return send_all(c, 0, 1, TAG_COLLECT, mine.at, mine.n);
    }
    out[0] = mine;
    wire_lock(p);
    for (int from = 1; from < base->count; from++) {
        post_first(c, &c->collected[from], from, TAG_COLLECT);
    }
    wire_unlock(p);
    for (int from = 1; from < base->count; from++) {
        TRY(take_message(c, &c->collected[from], from, TAG_COLLECT, &out[from]));
    }
    return LARIAT_OK;
}

/* --- plain messages --- */

/* The lock is left between two looks, for the thread of beats. */
lariat_status control_swap(processes *base, int32_t to, const void *out, int32_t from, void *in, size_t bytes)
{
    enum { LOOKS = 1 << 12 }; /* before it yields */
    mpi_processes *p = (mpi_processes *)base;
    bool done = false;

    if (bytes > PROCESSES_SWAP_MAX) {
        return fail(LARIAT_BAD_ARGUMENT, "processes: %zu bytes are more than one message holds", bytes);
    }
    if (atomic_load(&p->failed)) {
        return beats_failure(p);
    }
    wire_lock(p);
    wire_swap(p, to, out, from, in, bytes);
    wire_unlock(p);
    for (int look = 0; !done; look++) {
        wire_lock(p);
        done = wire_swapped(p);
        wire_unlock(p);
        if (look > LOOKS) {
            sched_yield();
        }
    }
    return atomic_load(&p->failed) ? beats_failure(p) : LARIAT_OK;
}

/* --- numbers --- */

static void exchanged(mpi_note *n, const mpi_done *d)
{
    (void)d;
    atomic_fetch_sub(&MPI_NOTE_OF(n, mpi_control, exchange)->exchanging, 1);
}

static bool all_exchanged(const void *arg)
{
    return atomic_load(&((const mpi_control *)arg)->exchanging) == 0;
}

lariat_status control_exchange(mpi_processes *p, const uint64_t mine[], uint64_t theirs[])
{
    mpi_control *c = p->control;
    size_t bytes = (size_t)p->base.count * sizeof *mine;

    memcpy(c->mine, mine, bytes);
    wire_lock(p);
    atomic_store(&c->exchanging, 2 * (p->base.count - 1));
    for (int i = 0; i < p->base.count; i++) {
        const comm_piece piece = {.offset = (size_t)i * sizeof *mine, .bytes = sizeof *mine, .stride = sizeof *mine, .rows = 1};
        if (i != p->base.number) {
            wire_receive(p, &(mpi_message){MPI_LANE_CONTROL, i, TAG_EXCHANGE, c->theirs, &piece, 1, &c->exchange});
            wire_send(p, &(mpi_message){MPI_LANE_CONTROL, i, TAG_EXCHANGE, c->mine, &piece, 1, &c->exchange});
        }
    }
    wire_unlock(p);
    if (!wire_wait(p, all_exchanged, c, SLEEP_S)) {
        return beats_failure(p);
    }
    c->theirs[p->base.number] = mine[p->base.number];
    memcpy(theirs, c->theirs, bytes);
    return LARIAT_OK;
}

/* --- opening and closing --- */

lariat_status control_open(mpi_processes *p)
{
    size_t count = (size_t)p->base.count;
    mpi_control *c = calloc(1, sizeof *c);

    TRY_MEMORY(c, "processes: no memory" FREE_MEMORY);
    p->control = c;
    c->p = p;
    c->exchange.done = exchanged;
    c->mine = calloc(count, sizeof *c->mine);
    c->theirs = calloc(count, sizeof *c->theirs);
    c->collected = p->base.number == 0 ? calloc(count, sizeof *c->collected) : NULL;
    TRY_MEMORY(c->mine && c->theirs && (c->collected || p->base.number != 0), "processes: no memory" FREE_MEMORY);
    if (p->base.number != 0) {
        wire_lock(p);
        post_first(c, &c->tells[0], 0, TAG_TELL);
        wire_unlock(p);
    }
    return LARIAT_OK;
}

/* MPI has ended: nothing arrives any more. */
void control_close(mpi_processes *p)
{
    mpi_control *c = p->control;

    if (!c) {
        return;
    }
    for (int i = 0; i < 2; i++) {
        free(c->tells[i].whole);
    }
    for (int i = 0; c->collected && i < p->base.count; i++) {
        free(c->collected[i].whole);
    }
    free(c->collected);
    free(c->mine);
    free(c->theirs);
    free(c);
    p->control = NULL;
}
