/* The local ranks of a ring: a thread, a device and a transport endpoint each, and the one way to let all of them carry out a
   function.
   Rests on placement.h (devices) and comm/comm.h. The engine and api/measure_hop.c are built on it.

   The ring has `ring` ranks, of which this process drives [first, first + n). The first of these, on CPUs, is the caller's own
   thread: waking another thread and being woken by it would cost 0.1 ms and more a token. On GPUs the caller's thread only
   hands functions out: none of its calls changes its current card. */
#pragma once

#include "base/threads.h"
#include "engine/placement.h"

typedef struct local_ranks local_ranks;

typedef struct local_rank {
    epoch done; /* number of the newest function that this rank has carried out */
    local_ranks *all;
    int32_t number;  /* in the ring */
    int32_t threads; /* of its device */
    bool bound, started;
    cpu_set cpus; /* of its threads, if bound */
    pthread_t thread;
    lariat_status status; /* of the newest function */
    char reason[512];
    device *dev;
    comm *comm;
} local_rank;

/* Returns LARIAT_OK or a failure, whose reason is in lariat_error(). */
typedef lariat_status (*rank_fn)(local_rank *r, void *arg);

struct local_ranks {
    epoch go; /* number of the newest function */
    rank_fn fn; /* NULL: the threads end */
    void *arg;
    const placement *placement;
    comm_group *comm;
    int32_t ring, first, n;
    local_rank *list; /* [n] */
};

/* Starts the threads of the group's local ranks, opens their devices and attaches them to the group. `on` and the group must
   stay until ranks_close, and no rank of the group has a device yet. `ring`: of the group, 1 to LARIAT_RANKS_MAX. `how`: as
   engine_plan_ranks has made it for these ranks. After a failure ranks_close frees the ranks so far. */
lariat_status ranks_open(local_ranks *all, const placement *on, comm_group *group, int32_t ring, const rank_threads *how);

/* All local ranks carry out fn(rank, arg). Returns when all have. Where one fails, the group is cancelled, so that no rank
   waits for it; then all devices are drained and, unless other processes have ranks too, the group is reset: otherwise that
   is the caller's, since all processes do it together. The failure that is returned explains the others: a device's error
   outranks its rank's own, and any outranks LARIAT_CANCELLED. */
lariat_status ranks_run(local_ranks *all, rank_fn fn, void *arg);

/* The rank whose failure ranks_run has returned last. */
const local_rank *ranks_failed(const local_ranks *all);

/* Closes the devices and ends the threads. Safe on a zeroed struct. */
void ranks_close(local_ranks *all);
