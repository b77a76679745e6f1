/* The transport between processes, common to its files.
   Rests on mpi_processes.h and comm.h. mpi_transport.c opens and resets it, mpi_gather.c has the all-gathers, mpi_hops.c the
   hops.

   Ranks of one process are those of in_process.c: one set of rows in common, pieces read in place. Only data between processes
   is a message:
   - an all-gather: one message from each process to each other one, the columns of all its ranks; it lands in the row, or, of
     several rows, is unpacked there;
   - an offer: one or more messages to each rank of another process that it names, from the pieces' own memory; they land in the
     staging memory of the rank that asks. A large one begins with the time at which it was made.
   The tag of a message says kind, step, sending and receiving rank; messages of one tag arrive in order. */
#pragma once

#include "comm/mpi/mpi_processes.h"

#include "base/arena.h"

typedef struct mpi_endpoint mpi_endpoint;

/* The first message of a large offer. It separates waiting for a rank that is late from waiting for its bytes. */
typedef struct mpi_offered {
    double at;      /* by the clock of the owner's process */
    double nearest; /* see mpi_clock: the owner's, of the reader's process */
} mpi_offered;

/* The clock of another process, known from its offers. An offer arrives `latency` after it was made, and is seen some time
   later: arrival minus `at` is at least the difference of the clocks plus the latency. The other process sees the opposite
   difference plus the latency, so half of what separates the two smallest is the difference. */
typedef struct mpi_clock {
    double now, before; /* smallest arrival minus `at` of this window and of the one before; INFINITY: none */
    int seen;           /* offers in this window, for clocks drift */
} mpi_clock;

/* An offer's time on its way to a rank. */
typedef struct mpi_dated {
    mpi_note left;
    mpi_endpoint *of;
    mpi_offered offered;
    int unsent; /* messages that are sent from here */
} mpi_dated;

/* A hop between ask and release. */
typedef struct mpi_hop {
    mpi_note note, dated; /* of its messages; of the one with the time */
    mpi_endpoint *of;
    mpi_offered offered;
    const comm_hop *hop;
    unsigned char *staging; /* [hop_bytes] of its region */
    bool travels;           /* false: the owner is in this process */
    _Atomic int missing;    /* messages */
    double asked_at, begin, there; /* begin: asked for and offered; there: arrived */
} mpi_hop;

struct mpi_endpoint {
    comm base;
    mpi_group *group;
    comm *local; /* of in_process.c */
    struct {
        const unsigned char *base;
        size_t bytes;
    } region[COMM_REGIONS];
    mpi_hop open[COMM_REGIONS][COMM_OPEN_HOPS]; /* by turns */
    mpi_dated *dated;    /* [n_ranks] of the group's, by reader */
    mpi_note left;       /* of its offers */
    _Atomic int unsent;  /* messages of offers */
    bool has_failed;     /* an offer was wrong: the next call says so */
    uint32_t gathers;    /* that it has entered */
    double polled_at;
    comm_counters own;   /* of waits and hops between processes */
};

/* All-gathers of this process, one at a time; two have messages under way at most. */
typedef struct mpi_gathers {
    _Atomic uint32_t entered; /* by ranks, all together */
    _Atomic uint32_t landed;  /* of so many all columns of other processes are there */
    uint32_t posted;          /* the one whose receives have been posted */
    int missing;              /* messages of it */
    unsigned char *rows;      /* its memory */
    comm_piece *theirs;       /* [processes]: their columns of it; rows: 0 where they have been put there, or have none */
    unsigned char *staging;   /* [message_bytes]: columns of several rows, packed */
    int unsent[2];            /* messages of the newest two, by turns */
    mpi_note came, left[2];
} mpi_gathers;

struct mpi_group {
    comm_group base;
    mpi_processes *p;
    comm_setup setup;
    arena memory;
    comm_group *local;
    mpi_endpoint *ranks;      /* [n_local] */
    int32_t *process_of;      /* [n_ranks] */
    mpi_clock *clocks;        /* [processes] */
    mpi_dated *dated;         /* [n_local, n_ranks] */
    uint64_t *sent, *arrived; /* [processes]: messages of this generation */
    mpi_gathers gathers;
    int most_ranks, steps;    /* that tags tell apart: ranks of a process, steps */
    _Atomic int receives;     /* posted */
    _Atomic bool cancelled;
};

/* Kinds of messages: the regions, and this. */
enum { MPI_KIND_GATHER = COMM_REGIONS, MPI_KINDS };

/* `from` and `to`: indices of the ranks in their processes. */
static inline int mpi_tag(const mpi_group *g, int kind, int from, int to, uint32_t step)
{
    return ((from * g->most_ranks + to) * MPI_KINDS + kind) * g->steps + (int)(step % (uint32_t)g->steps);
}

/* Pieces, message after message: large rows by themselves, so that they need no packing, small ones together. */
typedef struct mpi_cut {
    const comm_piece *list;
    int n, at;
    int64_t row;
    size_t column;
    bool any;
} mpi_cut;

/* The next message; false: there is none. Pieces without a byte are one empty message. */
bool mpi_cut_next(mpi_cut *c, comm_piece out[MPI_MESSAGE_PIECES], int *n, size_t *bytes);
size_t mpi_packed(const comm_piece list[], int n);

/* Inside the lock: sends the pieces from their own memory, or receives them, packed, at `to`. Returns the number of messages.
   No receive has a datatype: MPICH loses those of receives that are cancelled. */
int mpi_send_pieces(mpi_group *g, int process, int tag, const void *base, const comm_piece list[], int n, mpi_note *note);
int mpi_receive_pieces(mpi_group *g, int process, int tag, unsigned char *to, const comm_piece list[], int n, mpi_note *note);
/* Inside the lock, by the notes of receives: a message has arrived, or will not. */
void mpi_received(mpi_group *g, const mpi_done *d);

lariat_status mpi_stopped(const mpi_endpoint *c);
/* Waits, making progress, and counts the time, which is left in `wait`; ends when the group is cancelled. */
lariat_status mpi_wait_for(mpi_endpoint *c, bool (*holds)(const void *arg), const void *arg, lariat_span *wait);

/* --- mpi_gather.c --- */

void mpi_gathers_open(mpi_gathers *a);
void mpi_gathers_reset(mpi_gathers *a, int count); /* of processes */
lariat_status mpi_all_gather(comm *base, const comm_gather *rows);

/* --- mpi_hops.c --- */

void mpi_hops_open(mpi_endpoint *c);
void mpi_hops_reset(mpi_endpoint *c);
void mpi_expose(comm *base, comm_region region, const void *at, size_t bytes);
void mpi_offer(comm *base, int to, const comm_pieces *p);
lariat_status mpi_ask(comm *base, const comm_hop *hop);
lariat_status mpi_take(comm *base, comm_hop *hop);
void mpi_release(comm *base, const comm_hop *hop);
lariat_status mpi_pass_end(comm *base);

/* The rank's endpoint among those of its process, which traces its own waits and hops. */
static inline comm *mpi_local(const mpi_endpoint *c)
{
    c->local->trace = c->base.trace;
    return c->local;
}
