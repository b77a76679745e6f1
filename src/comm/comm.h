/* What the ring needs of a network. A group of ranks, each with one endpoint, on which one thread at a time makes calls: that
   of the rank, or another while no rank is inside one. Collective calls are made by all ranks in the same order.
   Rests on base/, and on device/device.h for the handles of memory. threads.c: ranks that are threads of one process, which
   read one another's memory in place; cuda.c: the same, each with a GPU.

   Two ways to travel:
   - collectives, for short rows (decode): every rank's block is seen by all ranks;
   - pieces, for keys, values and queries (prefill): an owner exposes a region of memory once and says how far it has been
     filled; a reader asks for pieces of it ahead of time, takes them when it needs them, and releases them.

   Memory that is named here is that of the ranks' devices. On devices with streams a call orders what is queued: what the
   device was given before comm_ready is done before others read, and what it is given after comm_take or comm_all_gather finds
   the pieces there. Nothing but a failure is waited for on the host. */
#ifndef COMM_COMM_H
#define COMM_COMM_H

#include "trace/spans.h"
#include "device/device.h"

#include <stddef.h>
#include <stdint.h>

typedef struct comm comm;             /* one rank's endpoint */
typedef struct comm_group comm_group; /* all endpoints of this process */

/* How a transport behaves, for predicting which side should travel. */
typedef struct comm_speed {
    double bytes_per_s; /* of one hop; 0: pieces are read in place and cost nothing on top of the reading */
    double latency_s;   /* of one message */
} comm_speed;

/* What a group is sized for. */
typedef struct comm_setup {
    int32_t n_ranks;
    size_t message_bytes; /* the largest block of one comm_all_gather */
    size_t hop_bytes;     /* the most that one hop brings */
} comm_setup;

/* Ranks as threads of this process. */
lariat_status comm_threads_open(const comm_setup *s, comm_group **out);
size_t comm_threads_memory(const comm_setup *s); /* bytes that the group takes, SIZE_MAX on overflow */
comm_speed comm_threads_speed(void);

void comm_group_close(comm_group *g); /* NULL is allowed; the ranks' devices have finished, and may be closed */
comm *comm_endpoint(comm_group *g, int rank);

/* Gives an endpoint its rank's device, from the rank's thread, before any other call on it. */
lariat_status comm_attach(comm *c, device *dev);

int comm_rank(const comm *c);
int comm_size(const comm *c);

/* Lets all calls that wait, and all later ones, return LARIAT_CANCELLED: a rank failed, or the user gave up. What waits on a
   device goes on too, with whatever lies in its memory: the pass is lost. From any thread. */
void comm_cancel(comm_group *g);
/* Makes a cancelled group usable again. No rank may be inside a call, nor its device at work. Steps named later must be larger
   than any before. */
void comm_reset(comm_group *g);

/* What this endpoint has seen so far: seconds of waiting for others, pieces taken from others, and the largest bytes of one
   take; seconds that hops took, from asking to the pieces' being there, and how much of that the rank waited. Where pieces are
   copied a hop takes from their setting out, times are those of the devices' streams, as far as they have come, and of waits only those for hops
   are known. */
typedef struct comm_counters {
    double wait_s;
    int64_t hops;
    int64_t hop_bytes;
    double hop_s, hop_wait_s;
} comm_counters;
comm_counters comm_counted(comm *c);

/* From now on waits and hops are written down here too, where their times are known; NULL: nowhere. */
void comm_trace(comm *c, trace *where);

/* A pass begins here, or another attempt at it, whose all-gathers the device may note and record (`repeats`: between its listen()
   and again(); only where comm_repeats). The same on all ranks. */
bool comm_repeats(const comm *c);
void comm_begin(comm *c, bool repeats);

/* All-gather: theirs[r] points at rank r's block (own one included) and stays valid until `mine` is written again or this
   rank's next all-gather. `bytes` may differ between ranks (0 allowed), at most message_bytes. */
lariat_status comm_all_gather(comm *c, const void *mine, size_t bytes, const void *theirs[]);

/* Regions that others may ask for: one of each kind a rank. */
typedef enum comm_region { COMM_KV, COMM_QUERIES, COMM_PARTIALS, COMM_REGIONS } comm_region;

/* A piece of the owner's region: `rows` rows of `bytes` bytes, from one to the next `stride`. */
typedef struct comm_piece {
    size_t offset, bytes, stride;
    int64_t rows;
} comm_piece;

/* Where a piece can be read: a transport that copies may pack the rows. */
typedef struct comm_view {
    const void *at;
    size_t stride;
} comm_view;

/* Names this rank's region; once, before the first comm_ready. */
void comm_expose(comm *c, comm_region region, const void *base, size_t bytes);

/* Says that what belongs to step `step` of this region, and to all before, may be read. Steps grow, the same way on all
   ranks. */
void comm_ready(comm *c, comm_region region, uint32_t step);

/* One hop: pieces of `owner`'s region as they are at `step`. Both sides can compute the pieces, so a two-sided transport sends
   without a request. The hop and the arrays belong to the caller and stay as they are from ask to release. */
typedef struct comm_hop {
    comm_region region;
    int owner;
    uint32_t step;
    const comm_piece *pieces;
    int n_pieces;
    comm_view *views; /* [n_pieces], set by comm_take */
} comm_hop;

/* Starts to bring a hop's pieces: it travels while the one before is used. At most two hops are between ask and release. */
lariat_status comm_ask(comm *c, const comm_hop *hop);
/* Waits until the pieces are there. */
lariat_status comm_take(comm *c, comm_hop *hop);
/* The pieces have been read: their memory may be used for the next hop. */
void comm_release(comm *c, const comm_hop *hop);

/* --- for transports --- */

typedef struct comm_ops {
    void (*close)(comm_group *g);
    comm *(*endpoint)(comm_group *g, int rank);
    void (*cancel)(comm_group *g);
    void (*reset)(comm_group *g);
    lariat_status (*attach)(comm *c, device *dev);
    void (*begin)(comm *c, bool repeats);
    lariat_status (*all_gather)(comm *c, const void *mine, size_t bytes, const void *theirs[]);
    void (*expose)(comm *c, comm_region region, const void *base, size_t bytes);
    void (*ready)(comm *c, comm_region region, uint32_t step);
    lariat_status (*ask)(comm *c, const comm_hop *hop);
    lariat_status (*take)(comm *c, comm_hop *hop);
    void (*release)(comm *c, const comm_hop *hop);
    void (*count)(comm *c); /* brings `counted` up to date; NULL: it always is */
} comm_ops;

/* What every group and every endpoint begins with. */
struct comm_group {
    const comm_ops *ops;
    int n;
};

struct comm {
    const comm_ops *ops;
    int rank, n;
    bool repeats; /* all-gathers may be recorded; set by attach */
    comm_counters counted;
    trace *trace; /* NULL: off */
};

#endif
