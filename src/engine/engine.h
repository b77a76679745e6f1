/* What the files of the engine share: the engine, its sessions, and the passes under way.
   Rests on ranks.h, model/transformer.h and ring/cache.h. engine.c opens and closes it, engine_plan.c sizes it, requests.c
   makes a pass of what is asked for, pass_queue.c carries passes out, accounting.c counts; src/api is built on these.

       lariat_submit                                     lariat_collect
            |                                                  ^
            v                                                  |
       requests.c: the plan -----> pending_pass [2] -----> results by value
       runs, slots, outputs        the plan, and an entry
            |                      for each session: where
            v                      it stood before
       session: its length is      ^
       that after the pass         |  GPUs: ranks queue the pass in submit, collect waits for it
                                   |  CPUs: ranks compute it in collect

   Taking an entry back gives its session the length and its sampler the number that they had before the pass. Slots need no
   wait: passes are carried out in the order of their plans, so that what a pass writes into slots that were taken back is
   overwritten by the next pass to which they are given. */
#pragma once

#include "device/device.h"
#include "engine/ranks.h"
#include "lariat/lariat.h"
#include "model/place.h"
#include "model/transformer.h"

/* Options with nothing left to choose, and what follows from them. */
typedef struct engine_plan {
    lariat_plan shown;
    int32_t sessions;
    int64_t host_free; /* the host's memory, also where ranks are on GPUs: they pin some of it */
    plan_costs costs;
    transformer_setup setup;
    pass_limits limits;
    comm_setup transport;
    placement placement;
    bool bind; /* ranks to their nodes: see placement_nodes */
} engine_plan;

/* Refuses options of which one alone makes no sense. */
lariat_status engine_check_options(const lariat_options *o);
/* From a description to a plan; the model needs no values. Refuses options that make no sense. */
lariat_status engine_plan_make(const model *m, const lariat_options *o, engine_plan *out);

/* --- fit.c --- */

/* Refuses a plan that memory does not hold, and says what would fit. */
lariat_status fit_check(const model *m, const engine_plan *plan, const lariat_options *options);

/* --- the engine --- */

/* Bytes of the lists of pending passes and sessions, SIZE_MAX on overflow. */
size_t engine_lists_bytes(const engine_plan *plan);

/* What a local rank has besides its device. */
typedef struct engine_rank {
    placed_weights placed; /* of this rank's card, if it is the first one there */
    transformer transformer;
    trace trace; /* see lariat_trace_start */
} engine_rank;

/* A session's part of a pending pass. */
typedef struct pass_entry {
    lariat_session *session; /* NULL: it was closed */
    void *user;
    lariat_sampler *sampler; /* NULL: no token is chosen */
    sequence before;         /* the session's, as it was before the pass: length and decode rank */
    int32_t row_before;      /* session->row before the pass */
    int32_t output;          /* that chooses its token, -1: none */
    lariat_status status;    /* not LARIAT_OK: taken back, */
    const char *reason;      /* for this reason: a constant, or that of a pass; NULL: LARIAT_OK */
} pass_entry;

/* A pass from submit to collect. */
typedef struct pending_pass {
    pass plan;
    pass_input input;
    pass_entry *entries;      /* [n], in the order of the plan's parts */
    int32_t n;
    int32_t *tokens;          /* [chunk] */
    pass_output *outputs;     /* [chunk] */
    sample_setting *settings; /* [parts] */
    int32_t *chosen;          /* [parts]: tokens, by output */
    bool begun, done;         /* the ranks have it; its results are on the host, or it is lost */
    lariat_status status;     /* not LARIAT_OK: it is lost */
    char reason[640];         /* why */
} pending_pass;

struct lariat_engine {
    model *model;
    engine_plan plan;
    lariat_model_info info;
    comm_group *comm;
    cache cache;
    local_ranks ranks;
    engine_rank *local;         /* [ranks.n] */
    pending_pass passes[2];     /* the pass that was submitted as number i, from 0, is passes[i % 2] */
    uint32_t n_submitted, n_collected;
    uint32_t n_begun;           /* passes that the ranks have got so far: their numbers, from 1 without gaps */
    lariat_session **called;    /* [sessions]: of lariat_step or lariat_generate, */
    int32_t n_called;           /* while it runs: one cancelled session ends the pass, whose ever it is */
    arena lists;                /* those of the pending passes and these: */
    pass_request *requests;     /* [sessions] */
    lariat_work *items, *works; /* [sessions]: what lariat_generate asks for; what is submitted of it */
    lariat_result *results;     /* [sessions]: of the pass that was collected last */
    int32_t n_sessions;
    double trace_zero; /* the host's clock when tracing started */
    lariat_progress_fn progress;
    void *progress_user;
    double layers_bytes, head_bytes; /* of the weights that a pass by slices reads, all ranks: see account_open */
    lariat_stats stats;
};

struct lariat_session {
    lariat_engine *engine;
    sequence seq;
    _Atomic bool cancelled;
    bool listed;        /* found once in the list that is checked */
    int32_t under_way;  /* passes that take it forward, not collected and not taken back */
    int32_t row;        /* of the newest of them: the output that chooses its token, -1: none */
    int32_t token;      /* that the newest pass that was collected chose, -1: none */
    /* In lariat_step and lariat_generate: */
    int64_t before;     /* length when the call began, or when the last token was given out */
    int64_t given;      /* tokens given out */
    int32_t token_before; /* `token` then */
    bool is_new;        /* `token` was chosen since */
};

/* The passes under way. */
static inline uint32_t passes_under_way(const lariat_engine *e)
{
    return e->n_submitted - e->n_collected;
}

/* --- requests.c --- */

/* Checks what is asked for, for the whole of it (`least`: tokens of each session). Forgets cancels of sessions that no pass
   under way takes forward: those that come from here on count. *total: tokens of all. */
lariat_status requests_check(const lariat_engine *e, const lariat_work work[], int32_t n, int64_t least, int64_t *total);

/* Plans a pass of all that is asked for, which was checked, and takes the sessions forward. LARIAT_CONTEXT_FULL, and no session
   moves: some rank has no slot or row left for its share. */
lariat_status requests_plan(lariat_engine *e, pending_pass *p, const lariat_work work[], int32_t n);

/* --- pass_queue.c --- */

/* lariat_submit of what was checked. */
lariat_status passes_submit(lariat_engine *e, const lariat_work work[], int32_t n);
/* The two halves of lariat_collect. The first waits for a pass under way, or on CPUs computes it, once those before it were
   carried out; for a pass that was lost it gives the reason, for any other one that was carried out LARIAT_OK. The second
   fills e->results with those of the oldest pass, which ends it; it returns `status`, or, if that is LARIAT_OK, the first
   failure of a session. */
lariat_status passes_carry_out(lariat_engine *e, uint32_t number);
lariat_status passes_conclude(lariat_engine *e, lariat_status status);
/* Takes back the passes of a session that begin at `length` or later; their results have this status and reason. */
void session_take_back(lariat_session *s, int64_t length, lariat_status status, const char *reason);
/* Collects all passes under way and drops the results. Returns `status`, with the reason that is in lariat_error(), or, if that
   is LARIAT_OK, the first failure of a pass. */
lariat_status passes_drop(lariat_engine *e, lariat_status status);

/* --- accounting.c --- */

/* Adds up the bytes of the weights as they are stored where they are multiplied. */
void account_open(lariat_engine *e);
/* Adds a pass that the ranks have taken to the counters. */
void account_pass(lariat_engine *e, const pending_pass *p);

/* --- sampler.c --- */

int32_t sampler_vocab(const lariat_sampler *s);
/* Marks it as found in a list, or not. Returns what it was. */
bool sampler_list(lariat_sampler *s, bool listed);
/* What the next token is chosen by; and goes back by n of them. */
sample_setting sampler_next(lariat_sampler *s);
void sampler_take_back(lariat_sampler *s, int32_t n);
/* Why no token could be chosen. */
const char *sample_failure(void);
