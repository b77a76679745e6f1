/* A timeline of every rank: spans of time, recorded during passes.
   Rests on lariat.h, whose threading rules apply here too. */
#ifndef LARIAT_TRACE_H
#define LARIAT_TRACE_H

#include "lariat/lariat.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Spans of a rank nest: a pass contains its layers, a layer its parts, a part its waits. Otherwise they do not overlap. Hops
   are a track of their own, since they proceed while the rank computes; hops of one rank do not overlap one another.

   On a GPU times are those of its streams, accurate to some microseconds between ranks. A timestamp costs a stream two to
   three microseconds, so only every eighth layer is recorded, the middle one included. A pass that is replayed (by slices,
   from the second of its kind on, where each of up to 16 ranks has a GPU that reads the others') has its PASS span only. An
   all-gather is one wait there, including the copy of the rank's own part. */
typedef enum lariat_span_kind {
    LARIAT_SPAN_PASS,         /* all of a pass */
    LARIAT_SPAN_EMBEDDING,    /* rows of the embedding, rotary angles */
    LARIAT_SPAN_LAYER,        /* all of a layer */
    LARIAT_SPAN_PROJECTIONS,  /* norm, q, k, v, rotation, storing keys and values; and the output projection */
    LARIAT_SPAN_ATTENTION,    /* queries over the keys of one rank */
    LARIAT_SPAN_MERGE,        /* merging the ranks' partial results, division */
    LARIAT_SPAN_FEED_FORWARD, /* norm, gate, up, down */
    LARIAT_SPAN_HEAD,         /* logits of some rows, or choosing tokens */
    LARIAT_SPAN_WAIT,         /* for another rank */
    LARIAT_SPAN_HOP,          /* another rank's pieces: from request (GPU: start of the copy) to arrival */
    LARIAT_SPAN_KINDS
} lariat_span_kind;

typedef struct lariat_span {
    double begin, end; /* seconds since tracing started, on one clock for all ranks */
    int64_t bytes;     /* of a hop; otherwise 0 */
    uint32_t pass;     /* number of the pass, the same on all ranks */
    int32_t layer;     /* from 0; -1: none */
    /* The other rank. ATTENTION: owner of the keys, or of the queries where queries travel. MERGE: owner of the partial
       results. WAIT, HOP: the rank waited for, the source. -1: none, as in an all-gather. */
    int32_t owner;
    lariat_span_kind kind;
} lariat_span;

/* Starts recording on every rank, of all processes, and drops earlier spans. Each rank gets a buffer of `spans` spans; 0: room
   for 4,096 passes, at most 2^22 spans (160 MiB), of which only used pages take memory. When the buffer is full, further spans
   are counted and dropped. LARIAT_BAD_ARGUMENT: fewer than 0; LARIAT_NO_MEMORY: nothing has changed on any rank. Where another
   process has no memory for its buffers, the run ends. */
LARIAT_API lariat_status lariat_trace_start(lariat_engine *engine, int64_t spans);

/* Stops recording and keeps the spans; on GPUs their times are converted to the host's clock here. */
LARIAT_API void lariat_trace_stop(lariat_engine *engine);

/* The spans of `rank`, of whole passes: *n spans by begin, the outer one first; hops among them in their own order. Those of
   a GPU and of another process are there after lariat_trace_stop. Owned by the engine; valid until tracing starts again or the
   engine is closed, and while no pass runs. NULL and 0: nothing was recorded, or no such rank. */
LARIAT_API const lariat_span *lariat_trace_spans(const lariat_engine *engine, int32_t rank, int64_t *n);

/* Spans of `rank` that were dropped: the buffer was full, or on a GPU their timestamps were overwritten before they were
   read, or process 0 had no memory for those of another process. */
LARIAT_API int64_t lariat_trace_lost(const lariat_engine *engine, int32_t rank);

/* "attention", "feed-forward". A constant; NULL for an invalid kind. */
LARIAT_API const char *lariat_span_name(lariat_span_kind kind);

#ifdef __cplusplus
}
#endif
#endif
