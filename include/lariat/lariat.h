/* Lariat: LLaMA inference on a ring of devices. Two opaque types do the work:

   - an engine is a model opened on a ring of ranks (Liu et al. 2023, "Ring Attention with Blockwise Transformers");
   - a session is one sequence: its positions, and its slots in every rank's shard of the KV cache.

   The unit of work is one pass: some tokens of some sessions, through the model once. lariat_submit queues a pass and
   lariat_collect returns the results of the oldest; at most two are under way, so that GPUs need not wait for the host.

       lariat_submit(work)      sessions move forward         lariat_collect(results)
            |                                                       ^
            +--> [ pass 2 ] --> [ pass 1: carried out ] ------------+     a failed or cancelled session
                                                                          is again where it was before

   lariat_step and lariat_generate are loops over passes: the first reads any number of tokens, the second goes on from there,
   token after token. That the ring spans threads, GPUs or processes is a property of the engine: this interface does not change
   with it. Processes that a launcher has started: see launch.h.

   One thread at a time calls an engine and its sessions (lariat_session_cancel excepted). Functions that can fail return
   lariat_status and leave the reason in lariat_error(); the object that they would have opened is NULL then. On GPUs the
   calling thread's current CUDA device does not change; only where the system lets no thread be started, closing an engine or a
   pass that fails may change it. Text: see text.h; samplers: sample.h.
   No pointer may be NULL unless the function says so. */
#ifndef LARIAT_LARIAT_H
#define LARIAT_LARIAT_H

#include "lariat/sample.h"
#include "lariat/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lariat_engine lariat_engine;
typedef struct lariat_session lariat_session;
typedef struct lariat_processes lariat_processes; /* see launch.h */

/* --- options and the plan --- */

/* AUTO: F16 on CPUs, the type of activations on GPUs, which take that and Q8. */
/* Q8: codes of 8 bits with an fp32 scale for each head's key or value: 0.52 of F16 with heads of 128 values. */
typedef enum lariat_kv { LARIAT_KV_AUTO, LARIAT_KV_F16, LARIAT_KV_BF16, LARIAT_KV_F32, LARIAT_KV_Q8 } lariat_kv;

/* The ranks' devices. AUTO: GPUs if there are any that can be used. */
typedef enum lariat_device { LARIAT_DEVICE_AUTO, LARIAT_DEVICE_CPU, LARIAT_DEVICE_CUDA } lariat_device;

/* Type of weights and activations on GPUs; CPUs compute in F32 from weights as they are stored. AUTO: F16 for a model that is
   stored in F16, otherwise BF16. F32 is exact and slow. */
typedef enum lariat_dtype { LARIAT_DTYPE_AUTO, LARIAT_DTYPE_BF16, LARIAT_DTYPE_F16, LARIAT_DTYPE_F32 } lariat_dtype;

/* How keys travel between GPUs. AUTO: from card to card where each can read the other's memory, otherwise through the host. */
typedef enum lariat_hops { LARIAT_HOPS_AUTO, LARIAT_HOPS_HOST } lariat_hops;

/* The largest values of options. */
enum {
    LARIAT_CARDS_MAX = 32,
    LARIAT_RANKS_MAX = 4096,
    LARIAT_THREADS_MAX = 4096,
    LARIAT_CHUNK_MAX = 1 << 22,
    LARIAT_CONTEXT_MAX = 1 << 24, /* positions: as far as a float32 counts exactly */
    LARIAT_SESSIONS_MAX = 1 << 16
};

/* How a pass is laid over the ranks. By tokens: each rank takes its own tokens through whole matrices. By slices: every rank
   takes all tokens of the pass through its rows of each matrix. AUTO: by slices for short passes (decode). */
typedef enum lariat_layout { LARIAT_LAYOUT_AUTO, LARIAT_LAYOUT_TOKENS, LARIAT_LAYOUT_SLICES } lariat_layout;

/* Which side of attention travels in a pass by tokens. AUTO: the one whose predicted time is smaller. */
typedef enum lariat_side { LARIAT_SIDE_AUTO, LARIAT_SIDE_KV, LARIAT_SIDE_Q } lariat_side;

typedef struct lariat_options {
    lariat_device device;
    int32_t n_cards;      /* GPUs to use, never more than ranks; 0: all */
    int32_t cards[LARIAT_CARDS_MAX]; /* their numbers; ranks are dealt out over them in order */
    lariat_dtype dtype;
    lariat_hops hops;
    lariat_processes *processes; /* whose ranks the ring has; NULL: this one's */
    int32_t ranks;        /* of this process, without others those of the ring; 0: one, or one for each GPU */
    /* of CPUs, of this process, shared out over the ranks, never fewer than ranks; 0: one for each core of the CPUs that
       this process may use, but no more than the whole CPUs that the quota of its control groups grants; processes that may
       use the same CPUs share them out by their ranks */
    int32_t threads;
    /* Where the machine has several NUMA nodes, each rank's threads are bound to the CPUs of one that has room for all of
       them, and where threads fit the fast cores of a hybrid processor, to these; the caller's thread only while a call
       runs. On GPUs each rank's thread is bound to the CPUs of its card's node. True: none are bound. */
    bool no_bind;
    /* most tokens of one pass, all sessions and ranks together; a rank's share times the model's heads stays below 2^31; 0:
       512 a rank, 4096 on GPUs */
    int32_t chunk;
    /* KV slots of the pool, all sessions together, rounded up to whole blocks of each rank; 0: the trained context for one
     * session */
    int64_t context;
    int32_t sessions;     /* most sessions open at once; 0: one */
    lariat_kv kv;         /* element type of the cache */
    lariat_layout layout;
    lariat_side side;
    bool verify;          /* processes compare all bytes of their weights before loading them, not only samples; see launch.h */
} lariat_options;

/* All zero, which is: everything automatic. */
LARIAT_API void lariat_options_default(lariat_options *o);

/* Memory, layouts and limits of an engine with these options, computed before anything is loaded. Sizes are bytes. */
typedef struct lariat_plan {
    lariat_device device;         /* CPU or CUDA */
    char device_name[96];         /* the first GPU's own name, or "CPU" */
    int32_t cards;                /* GPUs in use; 0 on CPUs */
    int32_t card[LARIAT_CARDS_MAX]; /* their numbers */
    bool through_host;            /* between GPUs hops go through the host's memory */
    const char *dtype;            /* of weights and activations as they are computed with: "bf16", "f16" or "f32" */
    const char *kv;               /* of the cache, likewise */
    int32_t ranks, threads;       /* of the ring; in all, of this process */
    int32_t cpus;                 /* that this process may use, as far as a quota grants them */
    int32_t nodes;                /* NUMA nodes to which ranks are bound; 0: no rank is */
    int32_t chunk;                /* most tokens of a pass */
    int32_t slices_up_to;         /* passes of up to so many tokens go by slices; 0: none */
    lariat_side side;             /* KV or Q (in a ring of one KV); AUTO: by the length of the prefix, see pass_q_from */
    int64_t pass_q_from;          /* under AUTO, in passes of `chunk` tokens: the prefix from which queries travel; -1: none */
    int64_t context;              /* slots in all */
    int64_t slots_per_rank;
    int64_t weight_bytes;         /* on CPUs once for a process, mapped or copied; on GPUs the copy that each card has */
    int64_t kv_bytes_per_rank;
    int64_t activation_bytes_per_rank;
    int64_t shared_bytes;         /* on the host, once: transport, norms, tables, lists; of GPUs also pinned memory */
    int64_t total_bytes;          /* of this process; on GPUs of the card that needs most */
    int64_t available_bytes;      /* of this machine, now, shared by its processes; on GPUs of the card that has least */
    int64_t fits_context;         /* the largest context that would fit, 0: not even a short one */
} lariat_plan;

/* Reads the model's description, and samples of its tensors' bytes. Returns LARIAT_OK also where total_bytes exceeds
   available_bytes: the caller decides. LARIAT_NO_MEMORY where ranks on GPUs would pin more of the host's memory than is
   free, or where the sizes are more than memory can address. */
LARIAT_API lariat_status lariat_plan_make(const char *model, const lariat_options *options, lariat_plan *out);

/* --- the engine --- */

/* Opens `model`: a Hugging Face directory, a .safetensors file beside its config.json, a .gguf file, or "random:NAME[:TYPE]".
   Refuses a model that does not fit into memory (LARIAT_NO_MEMORY), and settings of the model that it would not compute
   exactly. */
LARIAT_API lariat_status lariat_engine_open(const char *model, const lariat_options *options, lariat_engine **out);

/* Ends the ranks and frees all. LARIAT_BAD_ARGUMENT while sessions of the engine are open: then nothing is closed, and
   engine and sessions go on as before. NULL is allowed. */
LARIAT_API lariat_status lariat_engine_close(lariat_engine *engine);

typedef struct lariat_model_info {
    const char *architecture;     /* "llama", "mistral" */
    const char *path;
    int32_t n_layers, d_model, n_heads, n_kv_heads, head_dim, d_ff, vocab;
    int64_t trained_context;
    int64_t parameters, weight_bytes;
    const char *weight_type;      /* the type of most of the weights: "Q4_1" */
    const char *rope;             /* "default", "linear", "llama3", "yarn", "factors" */
    /* Of configuration, tensor table and samples of every tensor's bytes, at most 4 x 1,024 of each: equal models have equal
       ones, and a model that was trained on from another one almost certainly has another. */
    uint64_t fingerprint;
} lariat_model_info;

/* Owned by the engine. */
LARIAT_API const lariat_model_info *lariat_engine_model(const lariat_engine *engine);
LARIAT_API const lariat_plan *lariat_engine_plan(const lariat_engine *engine);
/* Does the model's own configuration name this id as one that ends a reply? For models without a tokenizer; one that has a
   tokenizer may name more (lariat_tokenizer_is_end). */
LARIAT_API bool lariat_engine_is_end(const lariat_engine *engine, int32_t id);

/* --- sessions --- */

/* Opens an empty sequence of at most max_tokens positions. It takes slots from the pool, in blocks of 128 a rank, as positions
   come: all of them find room as long as the capacities of the open sessions are together no more than options.context.
   LARIAT_NO_MEMORY if the whole pool has fewer: the message says how many. 0: as many as the pool has. LARIAT_BAD_ARGUMENT if
   as many sessions are open as the engine was opened for. */
LARIAT_API lariat_status lariat_session_open(lariat_engine *engine, int64_t max_tokens, lariat_session **out);
/* Gives its slots back to the pool. Its passes under way are taken back: their results have no session then, and the memory of
   their logits may be written until they are collected. NULL is allowed. */
LARIAT_API void lariat_session_close(lariat_session *session);

/* Opens a session of the same capacity with the first `length` positions, which must not be of passes under way. It
   goes on as one that has read them itself (to the same bits where all its positions came by tokens, or all by slices), but
   has no newest token: its next work names tokens. It takes no slots: both share those of these positions, whichever is closed
   first. The one that first goes on inside a block that both have gets a copy of it then. Failures as those of
   lariat_session_open; a length that is none of the session's is LARIAT_BAD_ARGUMENT. */
LARIAT_API lariat_status lariat_session_fork(lariat_session *session, int64_t length, lariat_session **out);

/* Positions so far, those of passes under way included, and the most that it can hold. */
LARIAT_API int64_t lariat_session_length(const lariat_session *session);
LARIAT_API int64_t lariat_session_capacity(const lariat_session *session);

/* The ids at its positions, *n of them: those of passes under way are not there yet. The session's, until its next call. */
LARIAT_API const int32_t *lariat_session_tokens(const lariat_session *session, int64_t *n);

/* The most positions that a new session could come to have of the slots that are free now. */
LARIAT_API int64_t lariat_engine_room(const lariat_engine *engine);

/* Drops all positions from `length` on, on every rank alike. Passes under way that begin there or later are taken back, and the
   numbers that they drew from the session's sampler: their results have LARIAT_CANCELLED. A length beyond the session's, or
   inside a pass under way, is LARIAT_BAD_ARGUMENT. */
LARIAT_API lariat_status lariat_session_rewind(lariat_session *session, int64_t length);

/* Rewinds the session to the beginning that it has in common with a prompt, the last token excepted, which is left to be read;
   its passes under way are taken back. Returns how many tokens stay: the next work reads the others. So a conversation that
   grows turn by turn reads no turn twice, and one that changed is read from the change on. */
LARIAT_API int64_t lariat_session_reuse(lariat_session *session, const int32_t *tokens, int64_t count);

/* Cancels the session's passes under way, those included that are submitted before these are collected: their results have
   LARIAT_CANCELLED. Passes submitted after that are not affected, nor are other sessions of the same passes. A pass ends
   between two layers when all its sessions are cancelled, and on GPUs those of the other pass that is queued. lariat_step and
   lariat_generate return LARIAT_CANCELLED soon when one of their sessions is cancelled; on GPUs queued passes are completed
   first, two passes at most. A cancel counts for such a call from the moment at which it has listed its sessions, which it does
   before it looks at tokens. From any thread or signal handler. */
LARIAT_API void lariat_session_cancel(lariat_session *session);

/* Slots that `rank` holds for this session, shared ones too: about length / ranks; 0 for a rank that the ring does not have. */
LARIAT_API int64_t lariat_session_shard(const lariat_session *session, int32_t rank);

/* --- one pass --- */

/* A session's tokens in a pass, and the results wanted. In one list either tokens are chosen or logits are given. */
typedef struct lariat_work {
    lariat_session *session;    /* once a list */
    /* [count], ids below the vocabulary's size (checked), copied; NULL, with a count of 1: the token that the session's newest
       pass has chosen or will choose */
    const int32_t *tokens;
    int64_t count;
    /* NULL: no token is chosen. Once a list, for this session only (two sessions that share one draw its numbers in turn, and a
       pass of either that is taken back takes back the newest); open until its passes are collected */
    lariat_sampler *sampler;
    int64_t n_logits;           /* logits wanted for so many of the last tokens, at most count */
    /* out [n_logits, vocab], written until the pass is collected, also where its session was closed, rewound or cancelled
       meanwhile; may be NULL if n_logits is 0 */
    float *logits;
    /* 1 to LARIAT_TOP_MAX, with a sampler only: the result has the log-probability of the chosen token, and so many of the most
       probable tokens with theirs. 0: neither, at no cost. On GPUs such a pass has its logits copied to the host, for which
       lariat_submit waits, and is not replayed. After lariat_step they are had by lariat_session_top */
    int32_t n_top;
    void *user;                 /* handed back in the result */
} lariat_work;

/* The result of a work. */
typedef struct lariat_result {
    lariat_session *session;    /* NULL: it was closed */
    void *user;
    lariat_status status;       /* not LARIAT_OK: the session, and its sampler's numbers, are where they were before the pass */
    const char *reason;         /* of such a status, the engine's until the next lariat_submit; otherwise NULL */
    int32_t token;              /* that was chosen, -1: none */
    float logprob;              /* of that token, see lariat_top; 0 where `top` is NULL */
    /* [n_top], the most probable first, the lower id of equals first; the engine's until the next lariat_submit. NULL: n_top
       was 0, or no token was chosen */
    const lariat_top *top;
} lariat_result;

/* Queues one pass of 1 to plan.chunk tokens, at least one for each session. After an error it is not queued and no session has
   moved; where a rank failed, the pass under way before it is lost too, which its results say. LARIAT_BUSY: two passes are
   under way; LARIAT_CONTEXT_FULL: a session has not so many positions left (lariat_session_capacity), or, where all have, a
   rank has no free slots or no rows for its share of this pass: fewer tokens find room, or those of fewer sessions, or more
   once a session is rewound or closed. On CPUs, where a session copies a block that it shares, passes under way are computed
   first; then a failure of theirs is this call's. */
LARIAT_API lariat_status lariat_submit(lariat_engine *engine, const lariat_work work[], int32_t n);

/* Waits for the oldest pass (CPUs compute it here, in the calling thread as rank 0), and gives the results of its sessions in
   the order in which they were submitted; *n: how many, 0 where no pass is under way. An error is that of a rank: all results
   have it too, but those taken back before, and so have those of a pass behind it that was lost with it. Less room than
   results: LARIAT_BAD_ARGUMENT, and nothing is collected. */
LARIAT_API lariat_status lariat_collect(lariat_engine *engine, lariat_result results[], int32_t room, int32_t *n);

/* --- loops over passes: none may be under way before (LARIAT_BUSY), none is afterwards --- */

/* Called after each pass of lariat_step, and in lariat_generate after each pass of reading, and of new tokens where the items
   are more than plan.chunk; from the thread that called it: tokens taken so far, and in all. It may call
   lariat_session_cancel, and nothing else that takes the engine or a session of the items. */
typedef void (*lariat_progress_fn)(void *user, int64_t done, int64_t total);
/* For all later calls of both, in place of the one before; NULL: none. `user` is handed to it. */
LARIAT_API void lariat_engine_on_progress(lariat_engine *engine, lariat_progress_fn fn, void *user);

/* Takes every session forward by its tokens, in as many passes as memory asks for; a count of 0 is allowed. Logits follow
   from the session's own tokens alone; its mates change rounding at most. A token that a sampler chooses is not given out: the
   session's next work can read it (tokens NULL). Returns LARIAT_OK, or an error after which no session has moved, nor a
   sampler. */
LARIAT_API lariat_status lariat_step(lariat_engine *engine, const lariat_work work[], int32_t n);

typedef struct lariat_reply {
    lariat_session *session; /* each session in one item only */
    const int32_t *tokens;   /* [count], to be read first: a prompt, or the newest token */
    int64_t count;           /* at least one */
    lariat_sampler *sampler; /* one for each item, for the model's vocabulary */
    int64_t most;            /* tokens to make; 0: it stops when all have read, and the others get one token each */
    int32_t n_top;           /* as in lariat_work: lariat_session_top gives the result */
} lariat_reply;

/* Called with each token that is made, from the thread that called lariat_generate: `item` is its index. False: this item stops
   with that token. It may call lariat_session_cancel and lariat_session_top, and nothing else that takes the engine or a
   session of the items. */
typedef bool (*lariat_token_fn)(void *user, int32_t item, int32_t token);

/* Of the token that was chosen last for the session, in a lariat_token_fn the one that it is called with: the log-probability,
   and the most probable tokens as in lariat_result, with which NULL and 0 are shared. The session's, until its next call. */
LARIAT_API const lariat_top *lariat_session_top(const lariat_session *session, float *logprob);

/* Reads the items' tokens, as lariat_step does, then makes token after token for all of them together, each chosen by its own
   sampler where its logits are. Returns when one of the items has stopped: by on_token, at its `most`, or with its session
   full. All items have got the same number of tokens then, but one with a `most` of 0 none; those that did not stop go on with
   the next call. A session then holds all tokens read and made but the newest, which the next call reads. On GPUs two passes
   are under way where one by slices has room for all items; passes beyond the last token are taken back, the samplers' numbers
   too. After an error, and when cancelled, a session holds all but the token that it gave out last, or, before the first one,
   the tokens that it held before. */
LARIAT_API lariat_status lariat_generate(lariat_engine *engine, const lariat_reply items[], int32_t n, lariat_token_fn on_token,
                                         void *user);

/* --- statistics --- */

typedef struct lariat_stats {
    int64_t passes_tokens, passes_slices; /* passes in each layout since opening */
    int64_t passes_kv, passes_q;          /* by tokens: which side travelled */
    int64_t hop_bytes;                    /* largest number of bytes that one rank took from another in one hop */
    int64_t hops;                         /* hops in all (0 in a ring of one) */
    int64_t shard_bytes;                  /* memory of the largest KV shard */
    int64_t activation_bytes;             /* memory of the largest rank's activations */
    double wait_s;                        /* seconds that the slowest rank waited for others; on GPUs for hops only */
    /* Seconds that hops took, all ranks: from asking for a rank's pieces (between processes, for 128 KiB and more, from when
       they were also ready, on GPUs from the start of the copy) until they were there; how much of that was waited for; and the
       share that was not, which computing hid: 1 where no hop took any time, negative where there were no hops. On GPUs by the
       clocks of their streams. */
    double hop_s, hop_wait_s, hops_hidden;
    double flops;                         /* floating-point operations of linear layers and attention */
    double weight_bytes_read;             /* bytes of weights that decode (passes by slices) read, all ranks */
} lariat_stats;

/* Counters since the engine was opened; not while a pass is computed. */
LARIAT_API void lariat_engine_stats(const lariat_engine *engine, lariat_stats *out);

/* --- looking at a model without opening it --- */

typedef struct lariat_tensor_info {
    const char *name, *type;
    int32_t n_dims;
    int64_t dims[4];
    int64_t bytes;
} lariat_tensor_info;

typedef struct lariat_inspection lariat_inspection;

/* Reads the description of a model that Lariat runs: configuration, the table of tensors, and samples of their bytes. For any
   other it fails with the reason. */
LARIAT_API lariat_status lariat_inspect(const char *model, lariat_inspection **out);
/* NULL is allowed. */
LARIAT_API void lariat_inspection_close(lariat_inspection *i);
/* Owned by the inspection. Tensors are sorted by name; NULL for an index that is none. */
LARIAT_API const lariat_model_info *lariat_inspection_model(const lariat_inspection *i);
LARIAT_API int64_t lariat_inspection_tensor_count(const lariat_inspection *i);
LARIAT_API const lariat_tensor_info *lariat_inspection_tensor(const lariat_inspection *i, int64_t index);

#ifdef __cplusplus
}
#endif
#endif
