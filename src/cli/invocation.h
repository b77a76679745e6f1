/* An invocation of a subcommand: the model that it opened, and the time of its steps.
   Rests on lariat.h and text.h. generate, chat, logits, perplexity and bench are written on top of it. */
#pragma once

#include "cli/input.h"
#include "cli/options.h"
#include "cli/terminal.h"
#include "lariat/lariat.h"
#include "lariat/text.h"
#include "schedule/request.h"
#include "schedule/scheduler.h"

/* Prefill: prompts, up to the first token of a reply; decode: the tokens after it. */
typedef struct figures {
    double load_s;
    double first_s; /* from a prompt's tokens to the first token of its reply; 0: none yet */
    double prefill_s, decode_s;
    int64_t prefill_tokens, decode_tokens;
    double prefill_flops, decode_weight_bytes;
} figures;

typedef struct invocation {
    const options *options;
    request defaults;            /* of every reply, by the options */
    bool told_seed, warned_of_host;
    lariat_tokenizer *tokenizer; /* NULL: the model has none that can be used, */
    char *no_tokenizer;          /* for this reason */
    lariat_engine *engine;       /* NULL until invocation_open_engine, and after it under --plan */
    const lariat_model_info *model;
    figures figures;
    lariat_stats seen; /* the engine's counters after the last step */
    double call_began_s;
    int64_t *shards; /* [ranks] most slots that a session held on each */
    progress progress;
    bool lines_failed; /* a batch came to its end, some of its results are errors: exit status 1, figures as of any whole run */
} invocation;

/* Says the seed once, where it was drawn and the request's choice depends on it. */
void invocation_tell_seed(invocation *inv, const request *asked);

/* Fills `defaults` from the options, and opens the tokenizer. A model without one leaves NULL, or is refused where text is
   `needed`. */
int invocation_open_tokenizer(invocation *inv, const options *o, bool needed);

/* The context of a run that names none: `at_most` if that is less (0: no bound), otherwise the trained length, or, with a
   warning, the context that fits into memory. */
int invocation_default_context(const options *o, int64_t at_most, int64_t *out);

/* Warns of settings of a plan that make a run slow: too many threads for the CPUs, cards that cannot read one another's
   memory. */
void invocation_warn_of(const options *o, const lariat_plan *plan);

/* The KV slots of a run. */
typedef struct slot_wish {
    int64_t context; /* slots of all sessions together */
    int32_t sessions;
    int64_t longest; /* positions of the longest sequence, for the warning about the trained length; 0: the context */
} slot_wish;

/* Plans, says so, opens. Under --plan it prints the plan and leaves inv->engine NULL: the caller has nothing more to do. */
int invocation_open_engine(invocation *inv, slot_wish wanted);

/* Around a call of the library, which Ctrl-C cancels by one of its sessions. The first returns false where Ctrl-C came before:
   the call would go through; its status is LARIAT_CANCELLED then. The second adds times and counters to the figures, and
   returns the exit status; *cancelled is set where Ctrl-C ended the call: tokens given out before stay. */
typedef enum phase { PREFILL, DECODE } phase;
bool invocation_begin_call(invocation *inv, lariat_session *session);
int invocation_end_call(invocation *inv, lariat_status status, phase what, int64_t tokens, bool *cancelled);

/* lariat_step, as prefill. Where it is cancelled no session has moved. */
int invocation_step(invocation *inv, const lariat_work work[], int32_t n, bool *cancelled);

/* scheduler_pass, as prefill where it reads prompts, otherwise as decode. *interrupted: by Ctrl-C, also before it. */
int invocation_pass(invocation *inv, scheduler *s, pass_report *report, bool *interrupted);

/* Remembers the shards of a session that is about to be closed. */
void invocation_note_shards(invocation *inv, const lariat_session *session);

/* Ends with the last line and --stats (where the run came to an engine), and frees all. Returns the exit status: `rc`, unless
   that is 0 and something failed here. */
int invocation_close(invocation *inv, int rc);
