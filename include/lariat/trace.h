/* What each rank did when: spans of time, recorded while an engine steps.
   Rests on lariat.h, whose rules about threads hold here too. */
#ifndef LARIAT_TRACE_H
#define LARIAT_TRACE_H

#include "lariat/lariat.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Spans of a rank nest and do not overlap otherwise: layers lie in their pass, all that a layer does in the layer, and waiting
   in what waited. Hops alone lie beside them: a hop travels while its rank does something else. Hops of a rank do not
   overlap one another.

   On a GPU times are those at which its streams did the work, good to some microseconds between ranks. A look at its clock takes
   a stream two to three microseconds: so of every eighth layer, the middle one among them, all is recorded, of the others
   nothing. Of a pass that is repeated by one launch (by slices, from the second like it on, where no ranks share a GPU) there is
   the whole only. What all gather is a wait there, the copying of a rank's own part included. */
typedef enum lariat_span_kind {
    LARIAT_SPAN_PASS,         /* all of a pass */
    LARIAT_SPAN_EMBEDDING,    /* rows of the embedding, angles of the rotation */
    LARIAT_SPAN_LAYER,        /* all of a layer */
    LARIAT_SPAN_PROJECTIONS,  /* norm, q, k, v, rotation, storing of keys and values; then the output's projection */
    LARIAT_SPAN_ATTENTION,    /* of queries to the keys of one rank */
    LARIAT_SPAN_MERGE,        /* partial results of ranks merged, and divided */
    LARIAT_SPAN_FEED_FORWARD, /* norm, gate, up, down */
    LARIAT_SPAN_HEAD,         /* logits of some rows, or tokens */
    LARIAT_SPAN_WAIT,         /* for another rank */
    LARIAT_SPAN_HOP,          /* from asking for another rank's pieces to their being there; on a GPU from their setting out */
    LARIAT_SPAN_KINDS
} lariat_span_kind;

typedef struct lariat_span {
    double begin, end; /* seconds since tracing started, alike on all ranks */
    int64_t bytes;     /* of a hop: that it brought; otherwise 0 */
    uint32_t pass;     /* the number of the pass, alike on all ranks */
    int32_t layer;     /* from 0; -1: none */
    /* ATTENTION: the other side's rank (whose keys; where queries travel, whose queries). MERGE: whose partial results. WAIT,
       HOP: for whom, from whom. -1: nobody in particular, as for what all ranks gather. */
    int32_t owner;
    lariat_span_kind kind;
} lariat_span;

/* Records what every rank does from now on; what was recorded before is dropped. Each rank has room for `spans` of them,
   taken here. 0: for 4,096 passes, at most 2^22 (160 MiB); only what is used takes memory. Where there is no room left spans
   are counted and dropped. LARIAT_BAD_ARGUMENT for fewer than 0, LARIAT_NO_MEMORY: then all ranks are as they were,
   recording or not, and what was recorded before stays. */
LARIAT_API lariat_status lariat_trace_start(lariat_engine *engine, int64_t spans);

/* Records no more. What was recorded stays; on GPUs its times are brought to the host's clock here. */
LARIAT_API void lariat_trace_stop(lariat_engine *engine);

/* What `rank` did, of whole passes: *n spans, those of its work in the order in which they began, the outer one first, hops
   among them in their own order. Only reads: on a GPU there are none until lariat_trace_stop. Owned by the engine; good
   until tracing starts again or the engine is closed, and while no step runs. NULL and 0 where nothing was recorded, or for
   a rank that the ring does not have. */
LARIAT_API const lariat_span *lariat_trace_spans(const lariat_engine *engine, int32_t rank, int64_t *n);

/* Spans of `rank` that found no room; on a GPU also those of so large a pass that its times were forgotten before they were read. */
LARIAT_API int64_t lariat_trace_lost(const lariat_engine *engine, int32_t rank);

/* "attention", "feed-forward". A constant; NULL for a kind that is none. */
LARIAT_API const char *lariat_span_name(lariat_span_kind kind);

#ifdef __cplusplus
}
#endif
#endif
