/* Common to the files of the engine: the engine, its sessions, and the passes under way.
   Rests on ranks.h, model/transformer.h and ring/cache.h. engine.c opens and closes it, engine_plan.c sizes it, session.c has
   its sessions, requests.c plans a pass of the works, pass_queue.c carries passes out, accounting.c counts, tracing.c traces;
   src/api is built on these. Where the ring has other processes: opening.c opens it in all of them, telling.c sends them
   commands, follow.c and tracing_far.c carry these out.

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
   wait: passes are carried out in the order of their plans, so that keys and values in slots that were taken back are
   overwritten by the next pass to which they are given. */
#pragma once

#include "device/device.h"
#include "engine/command_bytes.h"
#include "engine/ranks.h"
#include "lariat/lariat.h"
#include "model/device_weights.h"
#include "model/transformer.h"

/* Hashes of all values of a model's tensors. */
typedef struct model_hashes {
    char *path; /* NULL: of none */
    uint64_t fingerprint, *list; /* [tensors] */
} model_hashes;

/* The processes of a run. */
struct lariat_processes {
    processes *others;
    host_share share;     /* of this one */
    process_bytes *given; /* [count]: reports of processes_collect, process 0's */
    host_share *shares;   /* [count]: for the others, process 0's */
    model_hashes verified; /* of the newest model whose values were compared: a benchmark opens many engines on one */
};

/* Options with nothing left to choose, and values derived from them. */
typedef struct engine_plan {
    lariat_plan shown;
    int32_t sessions;
    int32_t vocab;
    int64_t host_free; /* the host's memory, also where ranks are on GPUs: they pin some of it */
    plan_costs costs;
    transformer_setup setup;
    pass_limits limits;
    comm_setup transport; /* with the ranks of this process: [first, first + n_local) */
    placement placement;
    rank_threads threads;
} engine_plan;

/* Refuses options of which one alone makes no sense. */
lariat_status engine_check_options(const lariat_options *o);
/* From a description to a plan; the model needs no values. Refuses options that make no sense. */
lariat_status engine_plan_make(const model *m, const lariat_options *o, engine_plan *out);

/* The ring, this process's ranks and their threads, on a placement that was chosen. */
lariat_status engine_plan_ranks(const lariat_options *o, engine_plan *out);

/* --- fit.c --- */

/* Refuses a plan that memory does not hold, and advises one that would fit. */
lariat_status fit_check(const model *m, const engine_plan *plan, const lariat_options *options);

/* --- the engine --- */

/* Bytes of the lists of pending passes and sessions, SIZE_MAX on overflow. */
size_t engine_lists_bytes(const engine_plan *plan);

/* A local rank's state besides its device. */
typedef struct engine_rank {
    device_weights held; /* of this rank's card, if it is the first one there */
    transformer transformer;
    trace trace; /* see lariat_trace_start */
} engine_rank;

/* The spans of a rank of another process: see tracing_gather. */
typedef struct far_trace {
    lariat_span *spans; /* on this process's clock */
    int64_t n, lost;
} far_trace;

/* A session's part of a pending pass. */
typedef struct pass_entry {
    lariat_session *session; /* NULL: it was closed */
    void *user;
    lariat_sampler *sampler; /* NULL: no token is chosen */
    sequence before;         /* the session's, as it was before the pass: length and decode rank */
    int32_t row_before;      /* session->row before the pass */
    int64_t n_logits;        /* wanted of its last tokens */
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
    pass_logprob *logprobs;   /* [parts], likewise: as far as they are asked for */
    bool begun, done;         /* the ranks have it; its results are on the host, or it is lost */
    lariat_status status;     /* not LARIAT_OK: it is lost */
    char reason[640];         /* why; and why entries are that were taken back with a pass before: */
    char chained_reason[640];
} pending_pass;

struct lariat_engine {
    model *model;
    engine_plan plan;
    lariat_model_info info;
    comm_group *comm;
    cache cache;
    block_copy *copies;         /* [ranks], while a session gets a block of its own */
    local_ranks ranks;
    engine_rank *local;         /* [ranks.n] */
    pending_pass passes[2];     /* the pass that was submitted as number i, from 0, is passes[i % 2] */
    uint32_t n_submitted, n_collected;
    uint32_t n_begun;           /* passes that the ranks have got so far: their numbers, from 1 without gaps */
    lariat_session **called;    /* [sessions]: of lariat_step or lariat_generate, */
    int32_t n_called;           /* while it runs: one cancelled session ends the pass, whose ever it is */
    arena lists;                /* those of the pending passes and these: */
    pass_request *requests;     /* [sessions] */
    lariat_work *items, *works; /* [sessions]: of a call of lariat_generate; those submitted */
    float *row;                 /* [vocab]: of logits, for rank 0 while it computes log-probabilities */
    lariat_result *results;     /* [sessions]: of the pass that was collected last */
    int32_t n_sessions;
    double trace_zero; /* the host's clock when tracing started */
    lariat_progress_fn progress;
    void *progress_user;
    /* Where the ring has other processes, otherwise zero: */
    lariat_processes *processes;
    lariat_session **numbered; /* [sessions], by number */
    command_bytes told;        /* process 0: commands not sent yet */
    told_item *told_items;     /* [parts]; in the others of the command received */
    int32_t *told_tokens;      /* [chunk] */
    far_trace *far;            /* process 0: [ranks] of the other processes' traces; NULL: none were gathered */
    trace_anchor *clocks;      /* process 0: [processes] of their clocks when tracing started; NULL: they do not trace */
    double layers_bytes, head_bytes; /* of the weights that a pass by slices reads, all ranks: see account_open */
    lariat_stats stats;
};

/* A session in lariat_step or lariat_generate, while one runs. */
typedef struct session_call {
    sequence before;      /* the session's when the call began, or its last token was given out, without passes under way */
    int32_t token_before; /* the session's token then */
    bool is_new;          /* its token was chosen since */
    int64_t given;        /* tokens given out */
} session_call;

struct lariat_session {
    lariat_engine *engine;
    int32_t number; /* among the open ones, where other processes have it too */
    sequence seq;
    int32_t *ids;       /* [capacity] of its positions, without passes under way; NULL in all processes but 0 */
    _Atomic bool cancelled;
    bool listed;        /* found once in the list that is checked */
    int32_t under_way;  /* passes that take it forward, not collected and not taken back */
    int32_t row;        /* of the newest of them: the output that chooses its token, -1: none */
    int32_t token;      /* that the newest pass that was collected chose, -1: none */
    pass_logprob logprob; /* of `token`; n_top 0: not asked for */
    session_call call;
};

/* lariat_engine_open in this process, in two phases; the others of the ring open theirs meanwhile. After a failure of the
   second `e` is gone. */
lariat_status engine_new(const lariat_options *options, lariat_engine **out);
lariat_status engine_open(lariat_engine *e, const char *path, const lariat_options *options);

/* The passes under way. */
static inline uint32_t passes_under_way(const lariat_engine *e)
{
    return e->n_submitted - e->n_collected;
}

/* --- requests.c --- */

/* Checks the works as a whole (`least`: tokens of each session). Forgets cancels of sessions that no pass under way takes
   forward: later ones count. *total: tokens of all. */
lariat_status requests_check(const lariat_engine *e, const lariat_work work[], int32_t n, int64_t least, int64_t *total);

/* Plans a pass of all works, which were checked, and takes the sessions forward. LARIAT_CONTEXT_FULL, and no session
   moves: some rank has no slot or row left for its share. */
lariat_status requests_plan(lariat_engine *e, pending_pass *p, const lariat_work work[], int32_t n);

/* --- pass_queue.c --- */

/* lariat_submit after its checks. */
lariat_status passes_submit(lariat_engine *e, const lariat_work work[], int32_t n);
/* The two halves of lariat_collect. The first waits for a pass under way, or on CPUs computes it, once those before it were
   carried out; for a pass that was lost it gives the reason, for any other one that was carried out LARIAT_OK. The second
   fills e->results with those of the oldest pass, which ends it; it returns `status`, or, if that is LARIAT_OK, the first
   failure of a session. */
lariat_status passes_carry_out(lariat_engine *e, uint32_t number);
lariat_status passes_conclude(lariat_engine *e, lariat_status status);
/* Gives a session that shares its last block one of its own: CONTEXT_FULL: none is free. Passes under way were carried out. */
lariat_status session_unshare(lariat_session *s);
/* Takes back the passes of a session that begin at `length` or later; their results have this status and reason. */
void session_take_back(lariat_session *s, int64_t length, lariat_status status, const char *reason);
/* Collects all passes under way and drops the results. Returns `status`, with the reason that is in lariat_error(), or, if that
   is LARIAT_OK, the first failure of a pass. */
lariat_status passes_drop(lariat_engine *e, lariat_status status);

/* Carries out a pass, whose tokens are all known; on GPUs queues it. */
lariat_status passes_run(lariat_engine *e, pending_pass *p);
/* Takes the oldest pass off the queue, whose sessions' results have been made. */
void passes_retire(lariat_engine *e);

/* --- opening.c --- */

/* Processes that have started compare their builds and options, and learn how they share their hosts. `agreed`: lines
   "name value" that must be the same in all of them. Ending the processes stays the caller's, also after processes_disown,
   which frees the rest. */
lariat_status processes_adopt(processes *others, const char *agreed, lariat_processes **out);
void processes_disown(lariat_processes *p);
/* A phase ends in this process with `mine`: as below, without an engine. */
lariat_status opening_agree_alone(lariat_processes *p, lariat_status mine);
/* A phase of opening an engine ends in this process with `mine`. Returns the same in all processes: LARIAT_OK, or the failure
   of one of them, or the first difference between them. */
lariat_status opening_agree(lariat_engine *e, lariat_status mine);
/* Processes that agree on a described model compare all values of its tensors. One process alone has nothing to compare. */
lariat_status opening_verify(lariat_engine *e);
void opening_forget(model_hashes *h);

/* --- telling.c --- */

/* Does this process send commands to others? */
bool is_told(const lariat_engine *e);
/* Takes the lists from an arena, or from one that counts. */
void telling_take(lariat_engine *e, arena *a);
/* Process 0 of several sends the others the command to open an engine, or to end. Of one: does nothing. */
lariat_status telling_open(const lariat_options *options);
lariat_status telling_stop(lariat_processes *p);
/* One command as a message of its own, without lists: before there is an engine. */
lariat_status tell_alone(processes *others, const command *c);
/* Appends a command to the pending ones; and sends these. A failure of either ends the run in all processes, since the others
   have missed something: the next call that needs them returns it. */
void tell(lariat_engine *e, const command *c);
lariat_status tell_now(lariat_engine *e);
/* Sends a pass that was planned; and the command to carry it out. */
void tell_submit(lariat_engine *e, const pending_pass *p);
lariat_status tell_run(lariat_engine *e, const pending_pass *p);
/* A failure began in this process, with the reason in lariat_error(): all others hear of it, unless one is known. It is that of
   a rank, where the newest function of `ranks` (NULL: none) failed so, otherwise the process's. Returns the failure that
   explains it. */
lariat_status tell_failure(processes *others, const local_ranks *ranks, lariat_status status);
/* A pass ended here with a failure: cancelled, all processes reset the transport; otherwise the run ends everywhere. Returns
   the failure that explains it. */
lariat_status tell_outcome(lariat_engine *e, lariat_status status);
/* A session is open, or will be closed: here and in the others. Numbers it. */
void telling_add(lariat_session *s);
void telling_remove(lariat_session *s);
/* This process's phase from now on, which the others report if it stops answering. Text that stays. */
void telling_phase(const lariat_engine *e, const char *text);

/* --- session.c --- */

/* The session's sequence as it was before the passes under way. */
sequence session_settled(const lariat_session *s);
/* Makes it what it was, also for the ranks to which the next tokens go. No passes are under way. */
void session_restore(lariat_session *s, const sequence *before);
/* lariat_session_fork, without its checks. */
lariat_status session_copy(const lariat_session *s, int64_t length, lariat_session **out);

/* --- tracing.c --- */

/* lariat_trace_start and lariat_trace_stop of the ranks of this process. `spans` 0: automatic. */
lariat_status tracing_start_local(lariat_engine *e, int64_t spans);
void tracing_stop_local(lariat_engine *e);
/* The buffer of a rank; NULL: it is another process's. */
const trace *tracing_of(const lariat_engine *e, int32_t rank);

/* --- tracing_far.c --- */

/* Process 0 starts tracing here and in the others, or nowhere; then, in stop, collects their spans, on its own clock. Missing
   spans are counted as lost. Forget frees them. */
lariat_status tracing_start_all(lariat_engine *e, int64_t spans);
void tracing_gather(lariat_engine *e);
void tracing_forget(lariat_engine *e);
/* The others' reports for it. */
lariat_status tracing_report_clock(const lariat_engine *e);
lariat_status tracing_report_spans(const lariat_engine *e, int64_t local);

/* --- follow.c --- */

/* Another process measures hops together with process 0, by its command. */
typedef lariat_status (*hop_fn)(const lariat_options *o, const command *c);
/* lariat_follow. */
lariat_status engine_follow(lariat_processes *p, const char *path, const lariat_options *options, hop_fn measure);

/* --- accounting.c --- */

/* lariat_engine_stats of the ranks of this process. */
void account_local(const lariat_engine *e, lariat_stats *out);

/* Adds up the bytes of the weights as they are stored where they are multiplied. */
void account_open(lariat_engine *e);
/* Adds a pass that the ranks have taken to the counters. */
void account_pass(lariat_engine *e, const pending_pass *p);

/* --- sampler.c --- */

int32_t sampler_vocab(const lariat_sampler *s);
/* Marks it as found in a list, or not. Returns the old mark. */
bool sampler_list(lariat_sampler *s, bool listed);
/* Does it change logits? Then the host chooses. */
bool sampler_changes(const lariat_sampler *s);
/* Makes room for one more token. */
lariat_status sampler_reserve(lariat_sampler *s);
/* The setting for the next token. Takes the newest one back, also where its token has been chosen. */
sample_setting sampler_next(lariat_sampler *s);
void sampler_take_back(lariat_sampler *s);
/* Chooses the oldest token that sampler_next has prepared and that is not chosen yet; -1: a logit is not finite. */
int32_t sampler_choose(lariat_sampler *s, const float *logits, const sample_setting *setting);
/* Why no token could be chosen. */
const char *sample_failure(void);
