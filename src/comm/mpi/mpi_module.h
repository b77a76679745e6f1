/* The MPI module as the program sees it: non-blocking messages on three lanes, and nothing else of MPI. One module for each
   MPI, liblariat_openmpi.so and liblariat_mpich.so: the same source with the headers of one and of the other.
   Rests on comm.h for pieces; no header of MPI. mpi_start.c opens it, mpi_module.c is its other side, mpi_wire.c makes its
   calls.

   One thread at a time makes calls, and no call blocks but start and stop. A call returns 0, or an error of MPI's for
   explain. */
#pragma once

#include "comm/comm.h"

/* Lanes are communicators: messages of one do not match those of another. */
typedef enum mpi_lane {
    MPI_LANE_CONTROL, /* tells, collects, and the ends of passes and of the run */
    MPI_LANE_NEWS,    /* beats, failures and cancelled passes */
    MPI_LANE_DATA,    /* the ring's */
    MPI_LANES
} mpi_lane;

enum {
    MPI_MESSAGE_PIECES = 32,     /* of one message, at most */
    MPI_MESSAGE_MAX = 64 << 20,  /* its bytes, at most: MPI counts in int */
    MPI_ANY = -1                 /* of peers, of a receive or a probe */
};

/* One message: the pieces, in order, of the memory at `base`. */
typedef struct mpi_message {
    mpi_lane lane;
    int peer, tag;
    void *base;
    const comm_piece *list; /* [n], the caller's again when the call returns */
    int n;
    void *note; /* handed back when the message has left or arrived; one may be that of many messages */
} mpi_message;

/* A message that has left or arrived. */
typedef struct mpi_done {
    void *note;
    int peer, error;
    size_t bytes; /* of one that arrived */
    bool arrived; /* false: it has left, or its receive was cancelled */
} mpi_done;

typedef struct mpi_world {
    int number, count; /* of this process; of all */
    int tag_max;
    char library[96]; /* "Open MPI v4.1.4" */
} mpi_world;

typedef struct mpi_wire mpi_wire; /* MPI in this process */

typedef struct mpi_module {
    int abi;
    /* Starts MPI and opens the lanes. *what: the call that failed. -1 instead of an error: no memory, or no threads. */
    int (*start)(mpi_wire **out, mpi_world *world, const char **what);
    int (*stop)(mpi_wire *w); /* collective */
    int (*send)(mpi_wire *w, const mpi_message *m);
    int (*receive)(mpi_wire *w, const mpi_message *m);
    /* Lets messages make progress and calls done(arg, d) for each that has left or arrived. `done` may send and receive. */
    int (*test)(mpi_wire *w, void (*done)(void *arg, const mpi_done *d), void *arg);
    /* Receives of this note end soon, as cancelled, or as arrived where their message was already on its way. */
    int (*cancel)(mpi_wire *w, const void *note);
    /* Is there a message of this peer that no receive waits for? */
    int (*probe)(mpi_wire *w, mpi_lane lane, int peer, bool *there, int *tag, size_t *bytes);
    void (*explain)(int error, char *text, size_t size);
    /* One plain message to a peer and one from a peer, -1: none, beside all others; and have both been? Nothing else is tested
       meanwhile. For measuring the MPI alone. */
    int (*swap)(mpi_wire *w, int to, const void *out, int from, void *in, size_t bytes);
    int (*swapped)(mpi_wire *w, bool *done);
} mpi_module;

/* A module of another build is refused: the number grows with every change of this file. */
enum { MPI_MODULE_ABI = 2 << 16 | (int)(sizeof(mpi_module) + sizeof(mpi_message) + sizeof(mpi_done) + sizeof(comm_piece)) };

typedef const mpi_module *(*mpi_module_entry)(int abi); /* NULL where `abi` is not the module's own */

#define MPI_MODULE_ENTRY "lariat_mpi_module"
