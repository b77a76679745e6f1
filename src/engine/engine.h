/* What the files of the engine share: the engine, its ranks and its sessions.
   Rests on model/transformer.h and ring/cache.h. engine.c opens and ends it, plan.c says what it takes, session.c, step.c and
   generate.c use it. */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "base/cpus.h"
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
    int64_t host_free; /* the host's memory, also where ranks are on GPUs: they pin some of it */
    plan_costs costs;
    transformer_setup setup;
    pass_limits limits;
    comm_setup transport;
    machine machine;
    bool bind; /* ranks to their places: see machine_place */
} engine_plan;

/* Refuses options of which one alone makes no sense. */
lariat_status engine_check_options(const lariat_options *o);
/* From a description to a plan; the model needs no values. Refuses options that make no sense. */
lariat_status engine_plan_make(const model *m, const lariat_options *o, engine_plan *out);

/* OPEN: the device and, by the first rank of a card, its weights. PREPARE: all that rests on them. REACH: waits for the oldest
   pass that is ahead. SETTLE: waits until the device is idle. TRACE, ALIGN: a trace begins; its times are brought to the host's
   clock. */
typedef enum rank_command {
    RANK_OPEN,
    RANK_PREPARE,
    RANK_PASS,
    RANK_REACH,
    RANK_SETTLE,
    RANK_TRACE,
    RANK_ALIGN,
    RANK_STOP
} rank_command;

typedef struct engine_rank {
    lariat_engine *engine;
    int32_t rank, threads;
    cpu_set cpus; /* if `bound`, those of its threads */
    bool bound, started;
    pthread_t thread;
    epoch done; /* number of the newest command that this rank has finished */
    lariat_status status;
    char reason[512];
    device *dev;
    placed_weights placed; /* of this rank's card, if it is the first one there */
    transformer transformer;
    trace trace; /* see lariat_trace_start */
} engine_rank;

/* A pass that chooses tokens, until they are on the host. */
typedef struct flight {
    lariat_session **whose; /* [parts] */
    int32_t *made;          /* [parts] */
    int64_t n;
} flight;

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
    lariat_item *items;       /* [sessions]: what lariat_generate reads next */
    sample_setting *settings; /* [parts] */
    flight flights[2];        /* passes that choose tokens take turns */
    uint32_t n_flights;       /* begun so far: the next is flights[n_flights % 2] */
    uint32_t n_landed;        /* of them on the host */
    int32_t n_sessions;
    _Atomic bool cancel;
    double trace_zero; /* the host's clock when tracing started */
    lariat_progress_fn progress;
    void *progress_user;
    lariat_stats stats;
};

struct lariat_session {
    lariat_engine *engine;
    sequence seq;
    int64_t before; /* length when the step began, or when the last token was given out */
    int64_t taken;  /* tokens of this step taken so far */
    bool in_step;
    /* In lariat_generate: */
    lariat_sampler *sampler; /* NULL: logits are wanted */
    int64_t made;            /* tokens given out */
    int32_t token;           /* the last one, or its place among those of the last pass: see pass_input */
    int32_t pending;         /* tokens chosen, or about to be, and not given out */
    int32_t row;             /* of the last one, in its flight */
    bool fresh, stopped;     /* the oldest pending one is on the host; goes on no more */
};

/* Lets every rank carry out a command; returns when all have, with the reason of a rank that failed. */
lariat_status engine_run(lariat_engine *e, rank_command command);

/* --- step.c --- */

/* Checks the items and marks where their sessions stand; *total is how many tokens they have. */
lariat_status step_begin(lariat_engine *e, const lariat_item items[], int32_t n, bool chooses, int64_t *total);
/* One pass of about `size` of the tokens that are left; *taken is how many it took. `ahead`: see pass_input. */
lariat_status step_pass(lariat_engine *e, const lariat_item items[], int32_t n, int64_t size, bool ahead, int64_t *taken);
/* All of them, pass after pass. */
lariat_status step_passes(lariat_engine *e, const lariat_item items[], int32_t n, int64_t total);

/* Tokens of the oldest flight that has not landed become their sessions' fresh ones. */
void flight_land(lariat_engine *e);

/* --- trace.c: of a rank, by its own thread --- */

void trace_rank(engine_rank *r);
void align_rank(engine_rank *r);

/* --- sample.c --- */

int32_t sampler_vocab(const lariat_sampler *s);
/* What the next token is chosen by; and goes back by n of them. */
sample_setting sampler_next(lariat_sampler *s);
void sampler_take_back(lariat_sampler *s, int32_t n);
/* No token could be chosen. */
lariat_status sample_failed(void);

#endif
