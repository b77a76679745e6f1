/* What the files of the engine share: the engine, its ranks and its sessions.
   Rests on model/transformer.h and ring/cache.h. engine.c opens and ends it, plan.c says what it takes, session.c and step.c
   use it. */
#ifndef ENGINE_INTERNAL_H
#define ENGINE_INTERNAL_H

#include "base/threads.h"
#include "comm/comm.h"
#include "device/device.h"
#include "engine/machine.h"
#include "lariat/lariat.h"
#include "model/place.h"
#include "model/transformer.h"

#include <pthread.h>

/* Options with nothing left to choose, and what follows from them. */
typedef struct engine_plan {
    lariat_plan shown;
    int32_t sessions;
    plan_costs costs;
    transformer_setup setup;
    pass_limits limits;
    comm_setup transport;
    machine machine;
} engine_plan;

/* From a description to a plan; the model needs no values. Refuses options that make no sense. */
lariat_status engine_plan_make(const model *m, const lariat_options *o, engine_plan *out);

/* OPEN: the device and, by the first rank of a card, its weights. PREPARE: all that rests on them. */
typedef enum rank_command { RANK_OPEN, RANK_PREPARE, RANK_PASS, RANK_STOP } rank_command;

typedef struct engine_rank {
    lariat_engine *engine;
    int32_t rank, threads;
    bool started;
    pthread_t thread;
    epoch done; /* number of the newest command that this rank has finished */
    lariat_status status;
    char reason[512];
    device *dev;
    placed_weights placed; /* of this rank's card, if it is the first one there */
    transformer transformer;
} engine_rank;

struct lariat_engine {
    model *model;
    engine_plan plan;
    lariat_model_info info;
    comm_group *comm;
    cache cache;
    engine_rank *ranks; /* [plan.shown.ranks] */
    epoch go;           /* number of the newest command */
    rank_command command;
    pass pass;
    pass_input input;
    int32_t *tokens;          /* [chunk] */
    pass_output *outputs;     /* [chunk] */
    pass_request *requests;   /* [sessions] */
    int32_t *request_items;   /* [sessions]: the item that a request belongs to */
    int32_t n_sessions;
    _Atomic bool cancel;
    lariat_progress_fn progress;
    void *progress_user;
    lariat_stats stats;
};

struct lariat_session {
    lariat_engine *engine;
    sequence seq;
    int64_t before; /* length when the step began */
    int64_t taken;  /* tokens of this step taken so far */
    bool in_step;
};

/* Lets every rank carry out a command; returns when all have, with the reason of a rank that failed. */
lariat_status engine_run(lariat_engine *e, rank_command command);

#endif
