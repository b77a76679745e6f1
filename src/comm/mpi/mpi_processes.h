/* Processes over MPI, common to the files of this folder.
   Rests on processes.h and mpi_module.h.

   - mpi_start.c: finds the module, starts MPI, who else there is; the end;
   - mpi_wire.c: the one lock around MPI, and how a thread waits;
   - mpi_control.c: messages of any length between process 0 and the others;
   - mpi_beats.c: beats, and the state of failure;
   - mpi_transport.c, mpi_gather.c, mpi_hops.c: the transport.

   Any thread that waits makes progress for all: the effect of a message that has left or arrived is in its note, and is carried
   out by the thread that finds it, inside the lock. No thread waits inside the lock. */
#pragma once

#include "comm/mpi/mpi_module.h"
#include "comm/processes.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

typedef struct mpi_processes mpi_processes;
typedef struct mpi_group mpi_group;
typedef struct mpi_control mpi_control;

/* Of one or several messages; done is called inside the lock. */
typedef struct mpi_note mpi_note;
struct mpi_note {
    void (*done)(mpi_note *n, const mpi_done *d);
};

/* The struct that has the note as this member. */
#define MPI_NOTE_OF(note, type, member) ((type *)(void *)((unsigned char *)(note) - offsetof(type, member)))

enum { MPI_NEWS_TEXT = 512, MPI_PHASE_TEXT = 64 };

typedef enum mpi_news_kind {
    MPI_NEWS_CANCELLED, /* the ring's pass, in `generation` */
    MPI_NEWS_FAILED,    /* `process`, by `rank`, for the reason `text` */
    MPI_NEWS_GONE,      /* `process` has ended; the process that receives its beats knows its phase */
    MPI_NEWS_LEAVES     /* `process` ends now, and knows it */
} mpi_news_kind;

typedef struct mpi_news {
    int32_t kind, process, rank;
    uint32_t generation;
    char text[MPI_NEWS_TEXT];
} mpi_news;

typedef struct mpi_beat {
    uint32_t number;
    char phase[MPI_PHASE_TEXT];
} mpi_beat;

/* Knowledge of another process. */
typedef struct mpi_other {
    int alive;      /* a pidfd, readable when the process has ended; -1: it is on another host, or has ended */
    bool leaves;    /* it said so */
    double gone_at; /* when it was found to have ended or to be out of reach, or said that it leaves; 0: neither */
} mpi_other;

typedef struct mpi_beats {
    pthread_t thread;
    bool started;
    _Atomic bool stop;
    int wake;                  /* an eventfd */
    double next_at;            /* when the next beat is due */
    mpi_note sent, heard, told;
    mpi_beat out, in, newest;  /* being sent; being received; the newest of the process before this one */
    bool sending;
    int missed;                /* beats of that process since */
    _Atomic double heard_at;   /* when it arrived, or the start */
    mpi_news news;             /* being received */
    _Atomic int telling;       /* news that have not left */
    mpi_other *others;         /* [count]; NULL: it is not known yet who there is */
} mpi_beats;

struct mpi_processes {
    processes base;
    process_info *list; /* [count] */
    const mpi_module *mpi;
    mpi_wire *wire;
    mpi_world world;
    double timeout_s;
    bool yields;          /* waits yield: ranks share CPUs */
    pthread_mutex_t lock;
    _Atomic int wanted;   /* threads that wait for the lock: others keep away from it */
    _Atomic int data;     /* messages of the ring under way */
    _Atomic bool failed;  /* set behind `reason`, once */
    bool is_own;          /* this process's own failure */
    char reason[MPI_NEWS_TEXT + 128];
    bool told;            /* the watcher */
    void (*watcher)(void *arg, const char *reason);
    void *watcher_arg;
    _Atomic bool ends;    /* processes_end is under way: others may be gone */
    const char *_Atomic phase;
    mpi_beats beats;
    mpi_control *control;
    mpi_group *group;     /* the transport; NULL: none is open */
    uint32_t generation;  /* of the transport's messages: grows with every reset */
    uint32_t cancelled;   /* the newest generation that another process has cancelled */
};

/* --- mpi_wire.c --- */

void wire_lock(mpi_processes *p); /* waits for short calls of other threads only */
bool wire_try_lock(mpi_processes *p); /* also false where another thread waits */
void wire_unlock(mpi_processes *p);

/* Inside the lock. A failure of MPI is this process's failure. */
void wire_send(mpi_processes *p, const mpi_message *m);
void wire_receive(mpi_processes *p, const mpi_message *m);
void wire_progress(mpi_processes *p);
/* See mpi_module.h. True: they have been, or the run has failed. */
void wire_swap(mpi_processes *p, int to, const void *out, int from, void *in, size_t bytes);
bool wire_swapped(mpi_processes *p);

/* Outside the lock: waits until holds(arg), which reads atomics, making progress. After a while it sleeps between two looks, up
   to `sleep_s`. False: *stop was set first; of wire_wait, a failure came first. */
bool wire_wait_unless(mpi_processes *p, bool (*holds)(const void *arg), const void *arg, const _Atomic bool *stop,
                      double sleep_s);
bool wire_wait(mpi_processes *p, bool (*holds)(const void *arg), const void *arg, double sleep_s);

/* One look of a wait that began at `begin`, the `look`th. */
void wire_look(mpi_processes *p, int look, double begin, double sleep_s);

/* A plain block of memory as the message's only piece. */
static inline comm_piece wire_block(size_t bytes)
{
    return (comm_piece){.bytes = bytes, .stride = bytes, .rows = 1};
}

/* --- mpi_beats.c --- */

lariat_status beats_start(mpi_processes *p);
/* The list of processes is there: those of this host are watched. */
lariat_status beats_watch(mpi_processes *p);
void beats_stop(mpi_processes *p);

/* The failure, as a status. */
lariat_status beats_failure(mpi_processes *p);
/* Inside the lock: this failure is known from now on, and sent to the others if they cannot know. */
void beats_fail(mpi_processes *p, int32_t process, int32_t rank, const char *text, bool tell);
/* Inside the lock: this process is found to have ended; the process after it soon sends its phase. False: it is not known yet
   who there is. */
bool beats_gone(mpi_processes *p, int process);
bool beats_is_gone(const mpi_processes *p, int process); /* also of one that leaves */
/* Inside the lock: to all others. */
void beats_tell(mpi_processes *p, const mpi_news *news);
/* The process before or after this one, in the ring of beats. */
static inline int mpi_before(const mpi_processes *p, int process)
{
    return (process + p->base.count - 1) % p->base.count;
}
static inline int mpi_after(const mpi_processes *p, int process)
{
    return (process + 1) % p->base.count;
}
void beats_announce(processes *base, int32_t rank, const char *reason);
lariat_status beats_check(processes *base, double wait_s);
void beats_set_watcher(processes *base, void (*fn)(void *arg, const char *reason), void *arg);
/* This process ends though others may go on. */
void beats_leave(mpi_processes *p);

/* --- mpi_control.c --- */

lariat_status control_open(mpi_processes *p);
void control_close(mpi_processes *p);
lariat_status control_tell(processes *base, const void *bytes, size_t n);
lariat_status control_hear(processes *base, process_bytes *out);
lariat_status control_collect(processes *base, process_bytes mine, process_bytes out[]);
lariat_status control_swap(processes *base, int32_t to, const void *out, int32_t from, void *in, size_t bytes);
/* Each process gives each other a number; returns when all have arrived. theirs: [count]. */
lariat_status control_exchange(mpi_processes *p, const uint64_t mine[], uint64_t theirs[]);
/* Returns when all tells and collects of this process have left. */
lariat_status control_flush(mpi_processes *p);

/* --- mpi_transport.c --- */

lariat_status transport_open(processes *base, const comm_setup *s, comm_group **out);
size_t transport_memory(processes *base, const comm_setup *s);
comm_speed transport_speed(const processes *base);
/* Inside the lock: ends all waits of the transport, in this process. */
void transport_stop(mpi_group *g);
