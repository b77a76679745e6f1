/* Linear layers over the ring, in the two layouts of a pass.
   Rests on device/device.h for the multiplying and comm/comm.h for bringing slices together. See linear.h. */
#include "model/linear.h"

enum {
    SLICE_ALIGN = 16,    /* floats in a cache line, and in the widest vector */
    BLOCK_COLUMNS = 256, /* of blocks that columns are divided in */
    BESIDE_MOST = 3,     /* projections side by side: q, k, v */
    ROWS_COST = 2        /* an all-gather of rows, with what reads them, in exchanges that products make themselves */
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

/* Does each rank apply the projections whole? So where reading the others' slices as well is cheaper than an exchange. */
static bool goes_whole(const linear_context *c, const projection list[], int n_list, bool add)
{
    size_t bytes = 0, most = c->dev->exchange_bytes * (add ? 1 : ROWS_COST);

    for (int i = 0; i < n_list; i++) {
        bytes += (size_t)list[i].w->rows * dtype_row_bytes(list[i].w->type, list[i].w->cols);
    }
    return !c->by_slices || (most > 0 && bytes - bytes / (size_t)comm_size(c->comm) <= most);
}

/* The steps in which the columns of a matrix are divided. */
static int64_t column_step(const matrix *w)
{
    return dtype_block_elements(w->type) > 1 ? BLOCK_COLUMNS : SLICE_ALIGN;
}

/* Are the ranks' results of this projection summed, each rank's being those of its columns? */
static bool is_summed(const linear_context *c, int64_t n, const projection *p)
{
    int64_t step = column_step(p->w);

    return c->by_slices && c->dev->exchange_bytes > 0 && n <= LINEAR_SUMMED && p->w->cols % step == 0 &&
           p->w->cols / step >= comm_size(c->comm);
}

/* The columns [*begin, *end) of a projection that is summed, of this rank. */
static void own_columns(const linear_context *c, const matrix *w, int64_t *begin, int64_t *end)
{
    int64_t step = column_step(w), steps = w->cols / step;
    int rank = comm_rank(c->comm), n = comm_size(c->comm);

    *begin = steps * rank / n * step;
    *end = steps * (rank + 1) / n * step;
}

size_t linear_sum_bytes(int64_t n, int64_t rows)
{
    return arena_need(bytes_of(n, rows, sizeof(float)));
}

/* x [n, rows] += the sums over this rank's columns of h, and over those of the other ranks. */
static lariat_status add_summed(const linear_context *c, float *x, const void *h, int64_t n, const projection *p)
{
    const device_ops *ops = c->dev->ops;
    const int64_t rows = p->w->rows;
    const size_t part = linear_sum_bytes(n, rows);
    linear_job job = {.w = p->w, .rows = rows, .bias = comm_rank(c->comm) == 0 ? p->bias : NULL, .type = DTYPE_F32,
                      .ldy = rows};
    const comm_sum sum = {.y = x, .ld = rows, .rows = n, .width = rows};
    int64_t end;

    own_columns(c, p->w, &job.col0, &end);
    job.cols = end - job.col0;
    for (int r = 0; r <= comm_size(c->comm); r++) {
        c->begin[r] = (size_t)r * part;
    }
    job.y = (char *)comm_rows(c->comm) + c->begin[comm_rank(c->comm)];
    comm_gather gather = {.rows = 1, .stride = c->begin[comm_size(c->comm)], .begin = c->begin, .sum = &sum};
    const void *exchange = ops->linear_exchanged ? comm_exchange(c->comm, &gather) : NULL;
    gather.exchanged = exchange && ops->linear_exchanged(c->dev, h, p->w->cols, n, &job, exchange);
    if (!gather.exchanged) {
        ops->linear(c->dev, h, p->w->cols, n, &job, 1);
    }
    return comm_all_gather(c->comm, &gather);
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

    if (goes_whole(c, list, n_list, to->add)) {
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

/* Each rank's part of projections that are rotated and stored next, exchanged by the product itself. *done: it was so. */
static lariat_status ahead_exchanged(const linear_context *c, const linear_target *to, const void *x, int64_t n,
                                     const projection list[], const linear_next *next, bool *done)
{
    const device_ops *ops = c->dev->ops;
    linear_job jobs[BESIDE_MOST];
    int64_t rows = rows_of(list, BESIDE_MOST);
    comm_gather gather = {.packets = n * rows / 2};
    const void *exchange = ops->linear_ahead_exchanged ? comm_exchange(c->comm, &gather) : NULL;

    stacked_jobs(jobs, list, BESIDE_MOST, 0, rows, to);
    *done = exchange && ops->linear_ahead_exchanged(c->dev, x, list[0].w->cols, n, jobs, next->rows, next->head_dim,
                                                    next->kv_type, exchange);
    gather.exchanged = true;
    return *done ? comm_all_gather(c->comm, &gather) : LARIAT_OK;
}

lariat_status linear_ahead(const linear_context *c, void *y, int64_t ldy, const void *x, int64_t n, const projection list[],
                           const linear_next *next)
{
    const linear_target to = {.type = c->dev->act, .y = y, .ld = ldy};
    bool done = false;

    if (!c->dev->ops->linear_ahead) {
        return linear(c, y, ldy, x, n, list, BESIDE_MOST);
    }
    if (goes_whole(c, list, BESIDE_MOST, true)) {
        return project_whole(c, c->dev->ops->linear_ahead, &to, x, n, list, BESIDE_MOST);
    }
    TRY(ahead_exchanged(c, &to, x, n, list, next, &done));
    if (done) {
        return LARIAT_OK;
    }
    if (goes_whole(c, list, BESIDE_MOST, false)) {
        return project_whole(c, c->dev->ops->linear_ahead, &to, x, n, list, BESIDE_MOST);
    }
    return linear(c, y, ldy, x, n, list, BESIDE_MOST);
}

lariat_status linear_add(const linear_context *c, float *x, const void *h, int64_t n, projection p, bool gated)
{
    if (is_summed(c, n, &p) && (gated || !goes_whole(c, &p, 1, true))) {
        return add_summed(c, x, h, n, &p);
    }
    return project(c, &(linear_target){.type = DTYPE_F32, .y = x, .ld = p.w->rows, .add = true}, h, n, &p, 1);
}

lariat_status linear_gated(const linear_context *c, activation by, void *g, void *u, const void *x, int64_t n, projection gate,
                           projection up, const projection *added, const void **out)
{
    const device_ops *ops = c->dev->ops;
    linear_job jobs[2];
    int64_t rows = gate.w->rows, cols = gate.w->cols, begin = 0, end = rows;
    bool gathers = c->by_slices && !(added && is_summed(c, n, added));
    linear_target to_g = {.type = c->dev->act, .y = gathers ? comm_rows(c->comm) : g, .ld = rows};
    linear_target to_u = {.type = c->dev->act, .y = u, .ld = rows};

    if (gathers) {
        linear_slice(rows, comm_rank(c->comm), comm_size(c->comm), &begin, &end);
    } else if (c->by_slices) {
        own_columns(c, added->w, &begin, &end);
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
    return gathers ? linear_gather(c, c->dev->act, n, rows, NULL) : LARIAT_OK;
}
