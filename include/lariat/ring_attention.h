/* Exact ring attention for other programs: their threads as ranks, their q, k and v; no model, no files.

   A ring has n ranks. Each rank is a thread of the caller and holds some tokens of one sequence, in any division: a list of
   up to 256 runs of consecutive positions. lariat_ring_attend is collective: every rank calls it with its own tokens and
   gets the attention of its queries over all visible keys of the ring (causal: key position <= query position). Accumulation
   is fp32 over all hops. Liu et al. 2023, "Ring Attention with Blockwise Transformers". */
#ifndef LARIAT_RING_ATTENTION_H
#define LARIAT_RING_ATTENTION_H

#include "lariat/status.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lariat_ring lariat_ring;

typedef struct lariat_ring_shape {
    int32_t n_heads, n_kv_heads; /* n_heads a multiple of n_kv_heads, at most 4096 */
    int32_t head_dim;            /* at most 512 */
    float scale;                 /* of the scores, finite; 0: 1 / sqrt(head_dim) */
    int64_t max_tokens_per_rank; /* the largest `tokens` of any call; times n_heads at most INT32_MAX */
} lariat_ring_shape;

/* `count` tokens at positions first, first + 1, ... */
typedef struct lariat_run {
    int64_t first;
    int64_t count;
} lariat_run;

/* A ring of 1 to 4096 ranks in this process, each with threads_per_rank threads, the calling one included. */
LARIAT_API lariat_status lariat_ring_open(int32_t n_ranks, int32_t threads_per_rank, const lariat_ring_shape *shape,
                                          lariat_ring **out);
/* No rank may be inside a call. NULL is allowed. */
LARIAT_API void lariat_ring_close(lariat_ring *ring);

/* The zigzag division of `tokens` tokens at positions from 0: the runs of `rank`, at most 2, by position. All ranks have the
   same causal work. Returns the number of runs. */
LARIAT_API int32_t lariat_ring_runs(int32_t n_ranks, int32_t rank, int64_t tokens, lariat_run runs[2]);

/* Collective, causal. All fp32, row after row in the order of `runs` (ascending positions, together `tokens` rows; 0 is
   allowed): q [tokens, n_heads, head_dim], k and v [tokens, n_kv_heads, head_dim], o like q, lse [tokens, n_heads] or NULL:
   m + ln(l). The caller keeps them until the call returns. Invalid arguments on one rank, or positions on two ranks, are
   LARIAT_BAD_ARGUMENT on all ranks; a `rank` that the ring does not have only in its own call. If a rank runs out of memory,
   all ranks return an error, and so do later calls: close the ring. */
LARIAT_API lariat_status lariat_ring_attend(lariat_ring *ring, int32_t rank, const lariat_run runs[], int32_t n_runs,
                                            int64_t tokens, const float *q, const float *k, const float *v, float *o,
                                            float *lse);

#ifdef __cplusplus
}
#endif
#endif
