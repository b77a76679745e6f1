/* Requests to passes: which tokens of which jobs go into the next pass. Its users are generate with --prompts, --samples or
   --logprobs, and bench_schedule.
   Rests on lariat.h. One thread owns a scheduler, its engine and all of its sessions.

       scheduler_add --> jobs, as they have arrived:  [ run | run | run | wait | wait ]
                                                        |           |     |
       a pass: every token that is decoded, then        +-----+-----+     a free session and room, the oldest first
       prompts, the oldest first, up to the budget            |
                                                              v
       lariat_submit ... lariat_collect --> on_token, on_end

   A job that waits has room where the pool holds it and all that run, however long they become; otherwise where the free slots
   are enough for all that these have to read, and for a block more each, which whoever decodes may take as well. So a pool for
   all positions of a batch runs it at once, and a smaller one runs as many jobs as their prompts allow.

   A job that runs has a session, which takes blocks of slots as its positions come. Where a pass finds none, it takes fewer
   tokens of prompts; where not even decoding finds any, the youngest job gives its slots back and waits: it reads its prompt,
   and what it has made, again later. So some always go on, and each gets the tokens that it has alone (but for rounding: the
   tokens of a pass decide how sums are divided).

   A job with the same beginning as one that runs begins with a fork of its session (lariat_session_fork), and waits until that
   has been read: where the jobs name one prompt and say how much of it is `shared`, or where prompts of equal capacities have
   SHARE_LEAST tokens in common. */
#pragma once

#include "lariat/lariat.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SCHEDULE_WIDTH = 16, /* jobs that run at once: decode of 16 reads the weights as often as decode of one */
    SHARE_LEAST = 128,   /* a block */
    /* Tokens of prompts in a pass that decodes too: more would delay the answers under way for longer, fewer would be read at a
       lower rate. */
    BUDGET_CPU = 64,
    BUDGET_GPU = 1024,
    JOB_WHY = 320 /* bytes of a reason */
};

typedef struct scheduler scheduler;
typedef struct job job;

typedef enum job_end {
    JOB_GOES_ON,
    JOB_STOPPED,   /* by on_token */
    JOB_MOST,      /* as many tokens as were asked for */
    JOB_FULL,      /* no position left */
    JOB_CANCELLED,
    JOB_FAILED,    /* alone: status and why */
    JOB_LOST       /* a rank failed, scheduler_pass says how */
} job_end;

struct job {
    /* What is asked for: the caller's, unchanged until on_end. */
    const int32_t *prompt;
    int64_t n_prompt;        /* at least one */
    int64_t shared;          /* its first tokens that are read by themselves, for others of the same prompt; 0: none */
    int64_t capacity;        /* positions, not fewer than the prompt has */
    int64_t most;            /* tokens to make, 0: it is read only */
    lariat_sampler *sampler; /* that has begun with the prompt */
    int32_t n_top;           /* see lariat_work */
    bool (*on_token)(job *j, const lariat_result *made); /* false: it ends with this token */
    /* Its memory is the caller's again: may add jobs. Called once for every job that was added, in scheduler_pass,
       scheduler_add or scheduler_close. */
    void (*on_end)(job *j);
    void *user;
    _Atomic bool cancelled; /* set from any thread: it ends before the next pass */
    /* What became of it: */
    bool began;              /* it has had a session */
    job_end end;
    lariat_status status;
    char why[JOB_WHY];
    /* The scheduler's. */
    lariat_session *session; /* NULL: it waits */
    int32_t *made;           /* [room] */
    int64_t n_made, room;
    int64_t settled;         /* positions of passes that were collected */
    int32_t under_way;       /* entries in passes under way; */
    int32_t choosing;        /* those of its session that choose a token */
};

/* All zero, and: */
typedef struct scheduler_setup {
    lariat_engine *engine; /* with no pass under way; the scheduler's until it is closed */
    int32_t sessions;      /* for which it was opened */
    int32_t budget;        /* see scheduler_budget; 0: that, other values are for measurements */
    /* Before a session is closed or goes to another job; NULL: none. */
    void (*on_close)(void *user, const lariat_session *session);
    void *user;
} scheduler_setup;

/* NULL: no memory. */
scheduler *scheduler_open(const scheduler_setup *setup);
/* Jobs that are left end as cancelled. NULL is allowed. */
void scheduler_close(scheduler *s);

/* Tokens of prompts in a pass beside decoding, fixed when the engine was opened. */
int32_t scheduler_budget(const lariat_engine *engine);

/* Puts a job behind all others. One that makes no sense ends at once. False: no memory, and nothing was added. */
bool scheduler_add(scheduler *s, job *j);

/* Jobs that have not ended; tokens that they have still to read, but those that were made last. */
int32_t scheduler_jobs(const scheduler *s);
int64_t scheduler_unread(const scheduler *s);

/* What a pass was. */
typedef struct pass_report {
    int64_t tokens; /* that it read, 0: no pass was collected */
    bool prompts;   /* some were not the newest of their job */
} pass_report;

/* Submits what fits and collects a pass. Not LARIAT_OK: a rank failed, and all jobs of the passes under way have ended with
   it. */
lariat_status scheduler_pass(scheduler *s, pass_report *out);

/* Cancels all jobs that run, also inside a pass: from a signal handler too, in the thread that owns the scheduler. */
void scheduler_interrupt(void *s);
