/* The ring's interface to a network: the ranks of a ring in order, each with one endpoint in the process that has its device.
   Rests on base/, and on device/device.h for the handles of memory. in_process.c: ranks that are threads of one process and
   read one another's memory in place; comm/cuda: the same, each with a GPU; processes.h: ranks of several processes.

   Data travels in two ways:
   - all-gather, for short rows (decode): each rank writes its columns of the rows, afterwards every rank has all columns;
   - hops, for keys, values and queries (prefill): an owner exposes a region of memory once and offers pieces of it when they
     are written; a reader asks for them ahead of time, takes them when it needs them, and releases them.
   Sender and receiver both compute all sizes from the plan of the pass: nothing is requested over the network, no size is sent.

   One thread at a time makes calls on an endpoint: its rank's own, or another one while no rank is inside a call. Collective
   calls (comm_begin, comm_all_gather, comm_end) are made by all ranks in the same order.

   All memory named here belongs to the ranks' devices. On a device with streams a call orders queued work: work queued before
   comm_offer or comm_all_gather has been done when others read the result, and work queued after comm_take or comm_all_gather
   finds the data there. The host waits for other ranks' hosts at most, never for a device, and a failure ends every wait. */
#pragma once

#include "trace/spans.h"
#include "device/device.h"

#include <stddef.h>
#include <stdint.h>

typedef struct comm comm;             /* one rank's endpoint */
typedef struct comm_group comm_group; /* the endpoints of this process */

/* How fast a transport is: predicts which side should travel. */
typedef struct comm_speed {
    double bytes_per_s; /* of one hop; 0: pieces are read in place, at no cost beyond reading them */
    double latency_s;   /* of one message */
} comm_speed;

/* Regions that others may read: one of each kind a rank. */
typedef enum comm_region { COMM_KV, COMM_QUERIES, COMM_PARTIALS, COMM_REGIONS } comm_region;

/* Sizes of a group. */
typedef struct comm_setup {
    int32_t n_ranks;        /* of the ring, and of these ... */
    int32_t first, n_local; /* ... ranks [first, first + n_local) are local: this process has their devices */
    size_t message_bytes;   /* of the rows of the largest all-gather: all columns of all rows */
    size_t hop_bytes[COMM_REGIONS]; /* of the largest hop of each region, all pieces together; 0: it is never offered */
} comm_setup;

/* Ranks as threads of this process: all are local. */
lariat_status comm_threads_open(const comm_setup *s, comm_group **out);
size_t comm_threads_memory(const comm_setup *s); /* bytes that the group takes, SIZE_MAX on overflow */
comm_speed comm_threads_speed(void);

/* The base of a transport between processes: the local ranks alone. An all-gather completes their columns, and waits for them
   only; hops are those between them. */
lariat_status comm_local_open(const comm_setup *s, comm_group **out);

void comm_group_close(comm_group *g); /* NULL is allowed; the ranks' devices have finished, and may be closed */
/* Whether a failed transport may still read memory that was exposed or gathered from: that memory must stay until the program
   ends. */
bool comm_still_reads(const comm_group *g);
int comm_first(const comm_group *g);  /* local ranks are [comm_first, comm_first + comm_local) */
int comm_local(const comm_group *g);
comm *comm_endpoint(comm_group *g, int rank); /* of a local rank */

/* Gives an endpoint its rank's device, from the rank's thread, before any other call on it. A transport that makes progress
   only inside calls has comm_poll called from then on by a device without streams, between pieces of its work. */
lariat_status comm_attach(comm *c, device *dev);

int comm_rank(const comm *c);
int comm_size(const comm *c); /* of the ring */

/* All waiting calls and all later ones return LARIAT_CANCELLED, on all ranks of the ring: a rank failed, or the user gave
   up. Waits on a device end as well, whatever its memory holds then: the pass is lost. From any thread. */
void comm_cancel(comm_group *g);
/* Makes a cancelled group usable again. No rank may be inside a call, nor its device at work. The next pass has a larger number
   than any before. */
void comm_reset(comm_group *g);

/* Lets messages make progress; never waits. Nothing on transports that need no help. */
void comm_poll(comm *c);

/* Totals so far. Between processes a hop of 128 KiB and more counts from when it was both offered and asked for, a smaller one
   from when it was asked for; between cards from the start of the copy: waiting for a rank that is late is in wait_s alone.
   Between cards times are those of stream events, as far as these have completed, and waits cover hops only. */
typedef struct comm_counters {
    double wait_s;     /* of waiting for other ranks */
    int64_t hops;      /* taken from other ranks */
    int64_t hop_bytes; /* of the largest one */
    double hop_s;      /* of hops: in one process from comm_ask until the pieces were there, and ... */
    double hop_wait_s; /* ... how much of that the rank waited */
} comm_counters;
comm_counters comm_counted(comm *c);

/* From now on waits and hops whose times are known are recorded in `where` too; NULL: nowhere. */
void comm_trace(comm *c, trace *where);

/* Can the device record the all-gathers of a pass and replay them? */
bool comm_replays(const comm *c);

/* A pass begins, or another attempt at the same one: before its first offer, ask or all-gather, and before the device begins to
   record. `pass` grows by one from pass to pass, and wraps. It is the generation of all messages: those of older passes are
   dropped (a transport with two sides receives and discards them), and the steps of every region begin anew. `replays` (only
   where comm_replays): the device may record the all-gathers of this pass. The same on all ranks. */
void comm_begin(comm *c, uint32_t pass, bool replays);
/* The pass ends on this rank: it offers, asks for and gathers nothing more. Returns when its offers have left its memory, as a
   transport that makes progress only inside calls would not send them later. Not called after a failure. */
lariat_status comm_end(comm *c);

/* --- all-gather --- */

/* Where complete rows go on this rank's device: elements of `type`, row t at y + t * ld elements. */
typedef struct comm_into {
    void *y;
    int64_t ld;
    dtype type;
    bool add; /* F32 only: to the values there */
} comm_into;

/* The columns of each rank are its partial results of the same queries, as carry_at divides them: merged in the order of the
   ranks and finished on every rank alike, as by carry_clear, carry_merge of each and carry_finish. */
typedef struct comm_merge {
    const attention_shape *shape;
    int64_t rows; /* queries */
    void *out;    /* of the activation type, row t at out + t * ldo */
    int64_t ldo;
    carry scratch; /* of so many queries, undefined afterwards */
} comm_merge;

/* The columns of each rank are its part of the same sums: [rows, width] of F32, dense. The parts are added to y, row t at
   y + t * ld, in the order of the ranks. */
typedef struct comm_sum {
    float *y;
    int64_t ld, rows, width;
} comm_sum;

/* Rows of which rank r has columns [begin[r], begin[r + 1]), in bytes. The same numbers on all ranks. */
typedef struct comm_gather {
    int64_t rows;        /* 0: the ranks only wait for one another */
    size_t stride;       /* bytes from one row to the next */
    const size_t *begin; /* [n_ranks + 1], ascending from 0; columns may be empty. NULL if there are no rows */
    /* one of these at most; without, the rows are read where they are gathered */
    const comm_into *into;
    const comm_merge *merge;
    const comm_sum *sum;
    bool exchanged; /* a kernel has exchanged it: comm_exchange */
    /* Not 0: a kernel exchanges so many packets in all, as it likes: only with comm_exchange. */
    int64_t packets;
} comm_gather;

/* The memory of this rank's next all-gather: message_bytes of the device's memory, aligned to ARENA_ALIGN. The rank writes its
   columns there, and no others. */
void *comm_rows(comm *c);

/* The next all-gather (of `sum`, `merge` or `packets`), as those of the device's operations take it that exchange results
   themselves; NULL: there is no way. One of them may be called once then, and all_gather after it with `exchanged`. */
const void *comm_exchange(comm *c, const comm_gather *g);

/* Completes the rows at comm_rows: afterwards the columns of all other ranks are there. They stay until this rank's next
   all-gather, which has other memory: its columns may be computed from these rows in place. With `into`, `merge` or `sum` their
   result is complete, and the rows at comm_rows are undefined. */
lariat_status comm_all_gather(comm *c, const comm_gather *g);

/* --- hops --- */

/* `rows` rows of `bytes` bytes of the owner's region, `stride` bytes from one to the next. */
typedef struct comm_piece {
    size_t offset, bytes, stride;
    int64_t rows;
} comm_piece;

/* Pieces of a region as they are at a step of the pass. Steps count from 1 up to COMM_STEPS_MAX, each region's by
   themselves. An offer's step is never smaller than that of the offer before, and larger than that of the one before to the
   same rank; layers and ranks that have nothing to offer may leave gaps. */
typedef struct comm_pieces {
    comm_region region;
    uint32_t step;
    const comm_piece *list; /* [n] */
    int n;
} comm_pieces;

enum { COMM_ALL = -1, COMM_STEPS_MAX = (1 << 24) - 1 };

/* Where a piece can be read: a transport that copies may pack the rows. */
typedef struct comm_view {
    const void *at;
    size_t stride;
} comm_view;

/* Names the memory of this rank's region; once, before the first offer. */
void comm_expose(comm *c, comm_region region, const void *base, size_t bytes);

/* The pieces are written, and rank `to` (or COMM_ALL) may read them: it takes the same step of the same region with the same
   pieces in this pass, since every message must be received. The list is the caller's again afterwards. The pieces stay as they
   are until all receivers have released them, which the owner knows by data from them, or until the pass has ended on all
   ranks. An offer to oneself is allowed, and part of COMM_ALL. A failure cancels the group, and this rank's next call returns
   it. */
void comm_offer(comm *c, int to, const comm_pieces *p);

/* One hop: what `owner` offers this rank. The hop and its arrays belong to the caller and do not change from ask to release. */
typedef struct comm_hop {
    int owner;
    comm_pieces offer;
    comm_view *views; /* [offer.n], set by comm_take */
} comm_hop;

enum { COMM_OPEN_HOPS = 2 }; /* of one region between ask and release: the one in use and the one that travels */

/* Starts a hop: its pieces travel while the rank works on those before. Hops of one region are taken and released in the
   order in which they were asked for, at most COMM_OPEN_HOPS at a time. */
lariat_status comm_ask(comm *c, const comm_hop *hop);
/* Waits until the pieces are there. */
lariat_status comm_take(comm *c, comm_hop *hop);
/* The pieces have been read: the hop's memory may be reused. */
void comm_release(comm *c, const comm_hop *hop);

/* --- for transports --- */

/* Carries out `into`, `merge` or `sum` of an all-gather, on rows that are complete at `rows`. */
void comm_deliver(comm *c, const comm_gather *g, const void *rows);

typedef struct comm_ops {
    void (*close)(comm_group *g);
    bool (*still_reads)(const comm_group *g); /* NULL: never */
    comm *(*endpoint)(comm_group *g, int rank);
    void (*cancel)(comm_group *g);
    void (*reset)(comm_group *g);
    lariat_status (*attach)(comm *c, device *dev);
    void (*poll)(comm *c); /* NULL: needs none */
    void (*begin)(comm *c, bool replays); /* of pass c->pass */
    lariat_status (*end)(comm *c); /* NULL: nothing has to leave */
    void *(*rows)(comm *c);
    const void *(*exchange)(comm *c, const comm_gather *g); /* NULL: always NULL */
    lariat_status (*all_gather)(comm *c, const comm_gather *g); /* looks at no `into`, `merge` or `sum`, but where ... */
    bool delivers;                                              /* ... it delivers as comm_deliver would */
    void (*expose)(comm *c, comm_region region, const void *base, size_t bytes);
    void (*offer)(comm *c, int to, const comm_pieces *p);
    lariat_status (*ask)(comm *c, const comm_hop *hop);
    lariat_status (*take)(comm *c, comm_hop *hop);
    void (*release)(comm *c, const comm_hop *hop);
    void (*count)(comm *c); /* brings `counted` up to date; NULL: it always is */
} comm_ops;

/* The hops of one region, by turns: number i has turn i % COMM_OPEN_HOPS. comm_ask and comm_take refuse any other order before
   they call the transport, and count when it has succeeded. */
typedef struct comm_hops {
    uint64_t asked, taken, released; /* so far; from 0 again after a reset */
    const comm_hop *open[COMM_OPEN_HOPS];
} comm_hops;

/* Every group and every endpoint begin with these. */
struct comm_group {
    const comm_ops *ops;
    int n, first, n_local;
};

struct comm {
    const comm_ops *ops;
    device *dev; /* set by comm_attach */
    int rank, n;
    bool replays;  /* all-gathers can be recorded; set by attach */
    uint32_t pass; /* that began last */
    comm_hops hops[COMM_REGIONS];
    comm_counters counted;
    trace *trace; /* NULL: off */
};

/* A step of the pass that began last as a number that grows from pass to pass, compared by difference: for words on which
   streams or threads wait. A transport sets the words of all regions to step 0 when a pass begins, so that none falls far
   behind. */
static inline uint32_t comm_step_number(const comm *c, uint32_t step)
{
    return c->pass * (uint32_t)(COMM_STEPS_MAX + 1) + step;
}

/* The bytes of memory that the rows of an all-gather span. */
static inline size_t comm_gather_bytes(const comm_gather *g, int n_ranks)
{
    return g->rows > 0 ? (size_t)(g->rows - 1) * g->stride + g->begin[n_ranks] : 0;
}
