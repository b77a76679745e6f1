/* Linear layers over the ring, in the two layouts of a pass.
   Rests on device/device.h for the multiplying and comm/comm.h for bringing slices together. See linear.h. */
#include "model/linear.h"

enum {
    SLICE_ALIGN = 16, /* floats in a cache line, and in the widest vector */
    BESIDE_MOST = 3     /* projections side by side: q, k, v */
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

/* The rows [begin, end) of the projections stacked one on another, as jobs that write to columns [begin, end) of the target. */
static int stacked_jobs(linear_job jobs[], const projection list[], int n_list, int64_t begin, int64_t end,
                        const linear_target *to)
{
    int64_t base = 0;
    int n = 0;

    for (int i = 0; i < n_list; i++) {
        int64_t from = begin > base ? begin - base : 0;
        int64_t until = end - base < list[i].w->rows ? end - base : list[i].w->rows;
        if (from < until) {
            jobs[n++] = (linear_job){.w = list[i].w,
                                     .row0 = from,
                                     .rows = until - from,
                                     .bias = list[i].bias,
                                     .type = to->type,
                                     .y = (char *)to->y + (base + from) * (int64_t)dtype_block_bytes(to->type),
                                     .ldy = to->ld,
                                     .add = to->add};
        }
        base += list[i].w->rows;
    }
    return n;
}

lariat_status linear_gather(const linear_context *c, dtype type, int64_t n, int64_t rows, const comm_into *into)
{
    int64_t begin, end = 0;
    int ranks = comm_size(c->comm);
    size_t element = dtype_block_bytes(type);

    for (int r = 0; r < ranks; r++) {
        linear_slice(rows, r, ranks, &begin, &end);
        c->begin[r] = (size_t)begin * element;
    }
    c->begin[ranks] = (size_t)end * element;
    const comm_gather gather = {.rows = n, .stride = (size_t)rows * element, .begin = c->begin, .into = into};
    return comm_all_gather(c->comm, &gather);
}

static int64_t rows_of(const projection list[], int n_list)
{
    int64_t rows = 0;

    for (int i = 0; i < n_list; i++) {
        rows += list[i].w->rows;
    }
    return rows;
}

/* The projections of x [n, cols] side by side, all rows. op: linear or linear_ahead. */
static lariat_status project_whole(const linear_context *c, __typeof__(c->dev->ops->linear) op, const linear_target *to,
                                   const void *x, int64_t n, const projection list[], int n_list)
{
    linear_job jobs[BESIDE_MOST];
    int64_t cols = list[0].w->cols;

    op(c->dev, x, cols, n, jobs, stacked_jobs(jobs, list, n_list, 0, rows_of(list, n_list), to));
    return LARIAT_OK;
}

/* The projections of x [n, cols] side by side, whole or by slices. */
static lariat_status project(const linear_context *c, const linear_target *to, const void *x, int64_t n,
                             const projection list[], int n_list)
{
    linear_job jobs[BESIDE_MOST];
    int64_t rows = rows_of(list, n_list), cols = list[0].w->cols, begin, end;

    if (!c->by_slices) {
        return project_whole(c, c->dev->ops->linear, to, x, n, list, n_list);
    }
    linear_slice(rows, comm_rank(c->comm), comm_size(c->comm), &begin, &end);
    linear_target shared = {.type = to->type, .y = comm_rows(c->comm), .ld = rows};
    c->dev->ops->linear(c->dev, x, cols, n, jobs, stacked_jobs(jobs, list, n_list, begin, end, &shared));
    return linear_gather(c, to->type, n, rows, &(comm_into){.y = to->y, .ld = to->ld, .type = to->type, .add = to->add});
}

lariat_status linear(const linear_context *c, void *y, int64_t ldy, const void *x, int64_t n, const projection list[],
                     int n_list)
{
    return project(c, &(linear_target){.type = c->dev->act, .y = y, .ld = ldy}, x, n, list, n_list);
}

lariat_status linear_ahead(const linear_context *c, void *y, int64_t ldy, const void *x, int64_t n, const projection list[],
                           int n_list)
{
    if (c->by_slices || !c->dev->ops->linear_ahead) {
        return linear(c, y, ldy, x, n, list, n_list);
    }
    return project_whole(c, c->dev->ops->linear_ahead, &(linear_target){.type = c->dev->act, .y = y, .ld = ldy}, x, n, list,
                         n_list);
}

lariat_status linear_add(const linear_context *c, float *x, const void *h, int64_t n, projection p)
{
    return project(c, &(linear_target){.type = DTYPE_F32, .y = x, .ld = p.w->rows, .add = true}, h, n, &p, 1);
}

lariat_status linear_gated(const linear_context *c, activation by, void *g, void *u, const void *x, int64_t n, projection gate,
                           projection up, const void **out)
{
    const device_ops *ops = c->dev->ops;
    linear_job jobs[2];
    int64_t rows = gate.w->rows, cols = gate.w->cols, begin = 0, end = rows;
    linear_target to_g = {.type = c->dev->act, .y = c->by_slices ? comm_rows(c->comm) : g, .ld = rows};
    linear_target to_u = {.type = c->dev->act, .y = u, .ld = rows};

    if (c->by_slices) {
        linear_slice(rows, comm_rank(c->comm), comm_size(c->comm), &begin, &end);
    }
    int n_jobs = stacked_jobs(jobs, &gate, 1, begin, end, &to_g);
    n_jobs += stacked_jobs(jobs + n_jobs, &up, 1, begin, end, &to_u);
    if (ops->linear_gated && n_jobs == 2 && by == ACTIVATION_SILU) {
        ops->linear_gated(c->dev, x, cols, n, &jobs[0], &jobs[1]);
    } else {
        ops->linear(c->dev, x, cols, n, jobs, n_jobs);
        (by == ACTIVATION_SILU ? ops->silu_mul : ops->gelu_mul)(c->dev, act_at(c->dev, to_g.y, begin), rows,
                                                                act_at(c->dev, u, begin), rows, n, end - begin);
    }
    *out = to_g.y;
    return c->by_slices ? linear_gather(c, c->dev->act, n, rows, NULL) : LARIAT_OK;
}
