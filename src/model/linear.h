/* Linear layers over the ring: the one place of the model that knows the layout of a pass.
   Rests on device/device.h and comm/comm.h. Read on in transformer.c, which uses nothing else to multiply.

   By tokens a rank takes its own rows through whole matrices. By slices every rank takes all rows of the pass through its
   slice of each matrix's rows, and an all-gather brings the slices of all ranks together; since a sum over columns is never
   divided, the result has the same bits for every number of ranks on a device whose sums do not depend on the slice (the
   CPU).

   Where exchanges take long beside reading weights (exchange_bytes of the device: cards) there are fewer of them. Every rank
   applies whole matrices whose other slices are read sooner than exchanged. What is added to the residual is divided by
   columns: a rank multiplies the columns that it has, and the parts are summed in the order of the ranks. */
#pragma once

#include "comm/comm.h"
#include "device/device.h"
#include "model/family.h"

typedef struct linear_context {
    device *dev;
    comm *comm;
    bool by_slices; /* of a ring of more than one rank: one rank's slice is the whole */
    size_t *begin;  /* [n_ranks + 1] of a comm_gather */
} linear_context;

/* A matrix [rows, cols] and its bias [rows] or NULL. */
typedef struct projection {
    const matrix *w;
    const float *bias;
} projection;

/* Where a result goes: y [n, ...] of `type`, row t at y + t * ld elements; added to the values there, or in their place. */
typedef struct linear_target {
    dtype type;
    void *y;
    int64_t ld;
    bool add;
} linear_target;

/* Rows [*begin, *end) of `rows` that `rank` of n takes: whole vectors, so that ranks write no cache line in common. */
void linear_slice(int64_t rows, int rank, int n, int64_t *begin, int64_t *end);
/* The widest slice. */
int64_t linear_slice_width(int64_t rows, int n);

/* Rows of x, at most, of which sums are divided; the bytes of a rank's part of n such rows in a message. */
enum { LINEAR_SUMMED = 16 };
size_t linear_sum_bytes(int64_t n, int64_t rows);

/* Completes the slices of all ranks at comm_rows: [n, rows] of `type`, dense. into: where they go from there, or NULL. */
lariat_status linear_gather(const linear_context *c, dtype type, int64_t n, int64_t rows, const comm_into *into);

/* y[t] = the results of all projections side by side: y [n, sum of rows], row t at y + t * ldy; x [n, cols], dense. */
lariat_status linear(const linear_context *c, void *y, int64_t ldy, const void *x, int64_t n, const projection list[],
                     int n_list);

/* As linear of q, k and v, where the device's next operation is rope_store of these results, with these arguments. */
typedef struct linear_next {
    const rotation *rows;
    int32_t head_dim;
    dtype kv_type;
} linear_next;
lariat_status linear_ahead(const linear_context *c, void *y, int64_t ldy, const void *x, int64_t n, const projection list[],
                           const linear_next *next);

/* x[t] += the projection of h: x, the residual, [n, rows] in F32, dense; h [n, cols], dense. gated: h is what linear_gated gave
   for this projection. */
lariat_status linear_add(const linear_context *c, float *x, const void *h, int64_t n, projection p, bool gated);

/* silu(gate x) * (up x), or with GELU: *out [n, d_ff], dense, which is g or, by slices, rows that stay until the next
   all-gather; u is working memory of the size of g. added: the projection that linear_add applies to *out next, which has only
   the columns that this reads then; or NULL. */
lariat_status linear_gated(const linear_context *c, activation by, void *g, void *u, const void *x, int64_t n, projection gate,
                           projection up, const projection *added, const void **out);
