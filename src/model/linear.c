/* Linear layers over the ring, in the two layouts of a pass.
   Rests on device/device.h for the multiplying and comm/comm.h for bringing slices together. See linear.h. */
#include "model/linear.h"

enum {
    SLICE_ALIGN = 16, /* floats in a cache line, and in the widest vector */
    MAX_PARTS = 3     /* projections side by side: q, k, v */
};

void linear_slice(int64_t rows, int rank, int n, int64_t *begin, int64_t *end)
{
    int64_t lines = (rows + SLICE_ALIGN - 1) / SLICE_ALIGN;

    *begin = lines * rank / n * SLICE_ALIGN;
    *end = lines * (rank + 1) / n * SLICE_ALIGN;
    *begin = *begin < rows ? *begin : rows;
    *end = *end < rows ? *end : rows;
}

int64_t linear_slice_width(int64_t rows, int n)
{
    int64_t widest = 0, begin, end;

    for (int r = 0; r < n; r++) {
        linear_slice(rows, r, n, &begin, &end);
        widest = end - begin > widest ? end - begin : widest;
    }
    return widest;
}

/* The rows [begin, end) of the projections stacked one on another, as jobs that write to y [n, end - begin]. */
static int stacked_jobs(linear_job jobs[], const projection parts[], int n_parts, int64_t begin, int64_t end, float *y, int64_t ldy,
                        bool add)
{
    int64_t base = 0;
    int n = 0;

    for (int i = 0; i < n_parts; i++) {
        int64_t from = begin > base ? begin - base : 0;
        int64_t to = end - base < parts[i].w->rows ? end - base : parts[i].w->rows;
        if (from < to) {
            jobs[n++] = (linear_job){.w = parts[i].w, .row0 = from, .rows = to - from, .bias = parts[i].bias,
                                     .y = y + (base + from - begin), .ldy = ldy, .add = add};
        }
        base += parts[i].w->rows;
    }
    return n;
}

/* Brings the slices of all ranks together in y [n, rows]. */
static lariat_status gather_slices(const linear_context *c, float *y, int64_t ldy, int64_t n, int64_t rows, bool add)
{
    int64_t begin, end;
    int ranks = comm_size(c->comm);

    linear_slice(rows, comm_rank(c->comm), ranks, &begin, &end);
    TRY(comm_all_gather(c->comm, c->slice, (size_t)(n * (end - begin)) * sizeof *y, c->theirs));
    for (int r = 0; r < ranks; r++) {
        linear_slice(rows, r, ranks, &begin, &end);
        c->dev->ops->place(c->dev, y + begin, ldy, c->theirs[r], end - begin, n, add);
    }
    return LARIAT_OK;
}

static int64_t rows_of(const projection parts[], int n_parts)
{
    int64_t rows = 0;

    for (int i = 0; i < n_parts; i++) {
        rows += parts[i].w->rows;
    }
    return rows;
}

lariat_status linear(const linear_context *c, float *y, int64_t ldy, const float *x, int64_t n, const projection parts[], int n_parts,
                     bool add)
{
    linear_job jobs[MAX_PARTS];
    int64_t rows = rows_of(parts, n_parts), cols = parts[0].w->cols, begin, end;

    if (!c->by_slices) {
        c->dev->ops->linear(c->dev, x, cols, n, jobs, stacked_jobs(jobs, parts, n_parts, 0, rows, y, ldy, add));
        return LARIAT_OK;
    }
    linear_slice(rows, comm_rank(c->comm), comm_size(c->comm), &begin, &end);
    int n_jobs = stacked_jobs(jobs, parts, n_parts, begin, end, c->slice, end - begin, false);
    c->dev->ops->linear(c->dev, x, cols, n, jobs, n_jobs);
    return gather_slices(c, y, ldy, n, rows, add);
}

lariat_status linear_gated(const linear_context *c, float *g, float *u, const float *x, int64_t n, projection gate, projection up)
{
    linear_job jobs[2];
    int64_t rows = gate.w->rows, cols = gate.w->cols, begin = 0, end = rows;
    float *to = g;

    if (c->by_slices) {
        linear_slice(rows, comm_rank(c->comm), comm_size(c->comm), &begin, &end);
        to = c->slice;
    }
    int64_t width = end - begin;
    int n_jobs = stacked_jobs(jobs, &gate, 1, begin, end, to, width, false);
    n_jobs += stacked_jobs(jobs + n_jobs, &up, 1, begin, end, u, width, false);
    c->dev->ops->linear(c->dev, x, cols, n, jobs, n_jobs);
    c->dev->ops->silu_mul(c->dev, to, width, u, width, n, width);
    return c->by_slices ? gather_slices(c, g, rows, n, rows, false) : LARIAT_OK;
}
