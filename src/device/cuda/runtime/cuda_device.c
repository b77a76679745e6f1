/* One card as a device: opening and closing it, its memory, the table of operations, and failures.
   Rests on the CUDA runtime, transfer.c and gemm.c. The kernels behind the operations are named in kernels.h. */
#include "device/cuda/runtime/cuda_device.h"
#include "device/cuda/runtime/kernels.h"
#include "device/cuda/runtime/module.h"

#include <nvtx3/nvToolsExt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of weights, read in the 2 us that a product spends on exchanging its sums with another card of the host: at 4.2 TB/s. */
static const size_t EXCHANGE_BYTES = (size_t)8 << 20;
/* Working memory of all ops: cublasLt asks for 32 MiB on Hopper; attention's partial results and sums before their bias take
 * the same. */
static const size_t SCRATCH_BYTES = (size_t)64 << 20;

size_t cuda_device_memory(void)
{
    return SCRATCH_BYTES + CUDA_BLOCK_ROW_BYTES + cuda_replay_memory();
}

static cuda_device *of(device *dev)
{
    cuda_device *d = (cuda_device *)dev;

    cuda_enter(d);
    cuda_stamps_pass(d);
    return d;
}

/* The same for an operation, as a range that profilers show until leave(). */
static cuda_device *enter(device *dev, const char *op)
{
    nvtxRangePushA(op);
    return of(dev);
}

static void leave(void)
{
    (void)nvtxRangePop();
}

/* --- memory --- */

static double gib(size_t bytes)
{
    return (double)bytes / (double)(1 << 30);
}

static lariat_status op_reserve(device *dev, size_t bytes, const char *what, void **out)
{
    cuda_device *d = of(dev);
    cudaError_t status = cudaMalloc(out, bytes);

    if (status == cudaErrorMemoryAllocation) {
        size_t free = 0, total = 0;
        (void)cudaGetLastError();
        (void)cudaMemGetInfo(&free, &total);
        return fail(LARIAT_NO_MEMORY, "CUDA: card %d (%s): no memory for %s: it takes %.2f GiB, and %.2f of %.2f GiB are free",
                    d->ordinal, d->name, what, gib(bytes), gib(free), gib(total));
    }
    if (status == cudaSuccess) {
        status = cudaMemsetAsync(*out, CUDA_UNWRITTEN, bytes, d->stream);
    }
    return status == cudaSuccess ? LARIAT_OK : cuda_failure(d->ordinal, d->name, what, status);
}

static void op_release(device *dev, void *block, size_t bytes)
{
    cuda_device *d = of(dev);

    (void)bytes;
    cuda_note(d, cudaFree(block), "release");
}

static void op_upload(device *dev, void *to, const void *from, size_t bytes)
{
    cuda_device *d = of(dev);

    if (cuda_recording(d)) {
        cuda_refuse_recording(d);
        return;
    }
    cuda_upload(d, to, from, bytes);
}

static void op_download(device *dev, void *to, const void *from, size_t bytes)
{
    cuda_device *d = of(dev);

    if (cuda_recording(d)) {
        cuda_refuse_recording(d);
        return;
    }
    cuda_download(d, to, from, bytes);
}

/* Tells the first failure, and forgets it. */
static lariat_status told(cuda_device *d)
{
    cudaError_t status = d->failed;

    d->failed = cudaSuccess;
    return status == cudaSuccess ? LARIAT_OK : cuda_failure(d->ordinal, d->name, d->failed_at, status);
}

static lariat_status op_finish(device *dev)
{
    cuda_device *d = enter(dev, "finish");

    cuda_replay_stop(d);
    cuda_note(d, cudaStreamSynchronize(d->stream), "work of the card");
    cuda_land(d);
    leave();
    return told(d);
}

/* Work that could not be queued is reported here, so that no call waits for it. */
static lariat_status op_mark(device *dev)
{
    cuda_device *d = of(dev);

    cuda_mark(d);
    return told(d);
}

static lariat_status op_wait_mark(device *dev)
{
    cuda_device *d = enter(dev, "wait_mark");

    cuda_wait_mark(d);
    leave();
    return told(d);
}

static uint64_t op_replay_class(device *dev, const attention_shape *s, const void *q, int64_t ldq, const attention_item items[],
                                int n_items, const carry *c, const attention_ends *ends)
{
    return cuda_attention_class(of(dev), s, q, ldq, items, n_items, c, ends);
}

static bool op_replay_begin(device *dev, uint64_t key)
{
    return cuda_replay_begin(of(dev), key);
}

static bool op_replay_end(device *dev)
{
    return cuda_replay_end(of(dev));
}

static int64_t op_stamp(device *dev, void *stream)
{
    cuda_device *d = (cuda_device *)dev;

    cuda_enter(d);
    return cuda_stamp(d, stream);
}

static bool op_stamped(device *dev, int64_t number, double *seconds)
{
    return cuda_stamped((cuda_device *)dev, number, seconds);
}

/* --- operations --- */

static void op_embed(device *dev, float *x, const matrix *table, const int32_t *tokens, const int32_t *chosen, int64_t n,
                     float scale)
{
    static const char op[] = "embed";
    cuda_device *d = enter(dev, op);

    cuda_note(d,
              dtype_block_elements(table->type) > 1 ? cuda_block_embed(d->stream, x, table, tokens, chosen, n, scale)
                                                    : cuda_embed(d->stream, x, table, tokens, chosen, n, scale),
              op);
    leave();
}

static void op_rms_norm(device *dev, void *out, const float *x, const float *weight, float eps, int64_t n, int64_t width)
{
    static const char op[] = "rms_norm";
    cuda_device *d = enter(dev, op);

    cuda_note(d, cuda_rms_norm(d->stream, dev->act, out, x, weight, eps, n, width), op);
    leave();
}

static void op_rms_norm_ahead(device *dev, void *out, const float *x, const float *weight, float eps, int64_t n, int64_t width)
{
    cuda_device *d = (cuda_device *)dev;
    bool aligned = ((uintptr_t)out | (uintptr_t)x | (uintptr_t)weight) % 16 == 0 && width % 4 == 0;

    if (n == 1 && dev->act != DTYPE_F32 && aligned && width <= CUDA_NORM_INPUT_MOST) {
        d->ahead = (cuda_norm_input){.x = x, .weight = weight, .eps = eps, .d = (int)width, .out = out};
    } else {
        op_rms_norm(dev, out, x, weight, eps, n, width);
    }
}

/* The norm that was left to this product: its first launch forms it. NULL: there was none, or it had to be queued. */
static const cuda_norm_input *take_norm(cuda_device *d, const char *op, const void *x, int64_t ldx, int64_t n,
                                        const linear_job jobs[], int n_jobs, cuda_norm_input *norm)
{
    dtype act = d->base.act;

    *norm = d->ahead;
    d->ahead.x = NULL;
    if (!norm->x) {
        return NULL;
    }
    bool forms = n == 1 && n_jobs > 0 && jobs[0].rows > 0 && x == norm->out;
    if (forms && (dtype_block_elements(jobs[0].w->type) == 1 ? cuda_linear_small_can(act, x, ldx, n, jobs, n_jobs)
                                                             : cuda_blocks_can(act, x, ldx, n))) {
        return norm;
    }
    cuda_note(d, cuda_rms_norm(d->stream, act, norm->out, norm->x, norm->weight, norm->eps, 1, norm->d), op);
    return NULL;
}

static void op_rms_norm_add(device *dev, float *x, const void *y, const float *weight, float eps, int64_t n, int64_t width)
{
    static const char op[] = "rms_norm_add";
    cuda_device *d = enter(dev, op);

    cuda_note(d, cuda_rms_norm_add(d->stream, dev->act, x, y, weight, eps, n, width), op);
    leave();
}

static void op_narrow(device *dev, void *out, const float *x, int64_t count)
{
    static const char op[] = "narrow";
    cuda_device *d = enter(dev, op);

    cuda_note(d, cuda_narrow(d->stream, dev->act, out, x, count), op);
    leave();
}

/* The first jobs of a list as one product: matrices that lie one behind the other, as q, k and v do, into neighbouring columns
   of y. Returns how many those are; of one the job itself is it. */
static int join_jobs(const linear_job jobs[], int n_jobs, matrix *whole, linear_job *job)
{
    const size_t element = dtype_block_bytes(jobs[0].type);
    int n = 1;

    *whole = *jobs[0].w;
    *job = jobs[0];
    for (; n < n_jobs && job->row0 + job->rows == whole->rows; n++) {
        const linear_job *next = &jobs[n];
        const char *end = (const char *)whole->data + (size_t)whole->rows * whole->row_bytes;
        if (next->row0 != 0 || next->w->data != end || next->w->row_bytes != whole->row_bytes || next->w->cols != whole->cols ||
            next->type != job->type || next->add != job->add || next->bias || job->bias || next->ldy != job->ldy ||
            next->y != (char *)job->y + (size_t)job->rows * element) {
            break;
        }
        whole->rows += next->w->rows;
        job->rows += next->rows;
    }
    job->w = whole;
    return n;
}

/* Columns of plain weights are a matrix by themselves; those of blocks are the kernel's matter. x moves along. */
static linear_job own_columns(dtype act, const linear_job *job, matrix *w, const void **x)
{
    linear_job own = *job;

    if (job->cols > 0 && dtype_block_elements(job->w->type) == 1) {
        *w = *job->w;
        w->data = (const char *)w->data + job->col0 * (int64_t)dtype_block_bytes(w->type);
        w->cols = job->cols;
        *x = (const char *)*x + job->col0 * (int64_t)dtype_block_bytes(act);
        own.w = w;
        own.col0 = own.cols = 0;
    }
    return own;
}

/* Plain weights. Few rows: all matrices in one launch. More: each by cublasLt, or neighbours together. F32, and unaligned
   rows: by plain multiply-adds. */
static void queue_plain(cuda_device *d, const char *op, const void *x, int64_t ldx, int64_t n, const linear_job jobs[],
                        int n_jobs, const cuda_norm_input *norm)
{
    dtype act = d->base.act;
    matrix columns;
    linear_job own;

    if (n_jobs == 1) {
        own = own_columns(act, jobs, &columns, &x);
        jobs = &own;
    }
    if (cuda_linear_small_can(act, x, ldx, n, jobs, n_jobs)) {
        cuda_note(d, cuda_linear_small(d->stream, act, x, ldx, n, jobs, n_jobs, norm), op);
        return;
    }
    for (int i = 0, of; i < n_jobs; i += of) {
        matrix whole;
        linear_job job = jobs[i];
        of = join_jobs(jobs + i, n_jobs - i, &whole, &job);
        if (act == DTYPE_F32 || n <= CUDA_SMALL_ROWS) {
            cuda_note(d, cuda_linear_plain(d->stream, act, x, ldx, n, &job), op);
        } else {
            cuda_gemm_apply(d, x, ldx, n, &job);
        }
    }
}

/* A matrix of blocks on many rows: some of its rows at a time as plain ones. */
static void queue_unpacked(cuda_device *d, const char *op, const void *x, int64_t ldx, int64_t n, const linear_job *job)
{
    dtype act = d->base.act;
    matrix plain = {.type = act, .cols = job->w->cols, .data = d->block_rows, .row_bytes = dtype_row_bytes(act, job->w->cols)};
    int64_t fit = CUDA_BLOCK_ROW_BYTES / (int64_t)plain.row_bytes;

    fit = fit > CUDA_BLOCK_TILE ? fit / CUDA_BLOCK_TILE * CUDA_BLOCK_TILE : fit;
    for (int64_t row = 0; row < job->rows; row += fit) {
        linear_job part = *job;
        plain.rows = job->rows - row < fit ? job->rows - row : fit;
        part.w = &plain;
        part.row0 = 0;
        part.rows = plain.rows;
        part.bias = job->bias ? job->bias + job->row0 + row : NULL;
        part.y = (char *)job->y + row * (int64_t)dtype_block_bytes(job->type);
        cuda_note(d, cuda_block_rows(d->stream, act, job->w, job->row0 + row, plain.rows, d->block_rows), op);
        queue_plain(d, op, x, ldx, n, &part, 1, NULL);
    }
}

/* Jobs of one type of weights at a time. */
static void queue_linear(cuda_device *d, const char *op, const void *x, int64_t ldx, int64_t n, const linear_job jobs[],
                         int n_jobs, const cuda_norm_input *norm)
{
    for (int from = 0, to; from < n_jobs; from = to) {
        dtype type = jobs[from].w->type;
        for (to = from + 1; to < n_jobs && jobs[to].w->type == type; to++) {
        }
        if (dtype_block_elements(type) == 1) {
            queue_plain(d, op, x, ldx, n, jobs + from, to - from, norm);
        } else if (cuda_many_can(d, x, ldx, n, jobs + from, to - from)) {
            cuda_note(d, cuda_many(d, x, ldx, n, jobs + from, to - from, false), op);
        } else if (cuda_blocks_can(d->base.act, x, ldx, n)) {
            cuda_note(d, cuda_blocks(d->stream, d->n_sms, d->base.act, x, ldx, n, jobs + from, to - from, norm), op);
        } else {
            for (int i = from; i < to; i++) {
                queue_unpacked(d, op, x, ldx, n, &jobs[i]);
            }
        }
        norm = NULL; /* the first launch has left it at x */
    }
}

static void op_linear(device *dev, const void *x, int64_t ldx, int64_t n, const linear_job jobs[], int n_jobs)
{
    static const char op[] = "linear";
    cuda_device *d = enter(dev, op);

    cuda_norm_input given;
    const cuda_norm_input *norm = take_norm(d, op, x, ldx, n, jobs, n_jobs, &given);
    if (n_jobs > 0 && n > 0) {
        queue_linear(d, op, x, ldx, n, jobs, n_jobs, norm);
    }
    leave();
}

static bool op_linear_exchanged(device *dev, const void *x, int64_t ldx, int64_t n, const linear_job *job, const void *exchange)
{
    static const char op[] = "linear_exchanged";
    cuda_device *d = enter(dev, op);
    const packet_sums *sums = exchange;
    matrix columns;
    const linear_job own = own_columns(dev->act, job, &columns, &x);
    bool plain = dtype_block_elements(job->w->type) == 1, can = false;

    if (d->ahead.x) { /* the norm of x: left to a product of another kind */
    } else if (plain && cuda_linear_small_can(dev->act, x, ldx, n, &own, 1) && cuda_linear_small_resident(d->n_sms, own.rows)) {
        can = true;
        cuda_note(d, cuda_linear_small_exchanged(d->stream, dev->act, x, ldx, n, &own, sums), op);
    } else if (!plain && cuda_blocks_can(dev->act, x, ldx, n) && cuda_blocks_exchange(dev->act, n, &own)) {
        can = true;
        cuda_note(d, cuda_blocks_exchanged(d->stream, d->n_sms, dev->act, x, &own, sums), op);
    }
    leave();
    return can;
}

static void op_linear_ahead(device *dev, const void *x, int64_t ldx, int64_t n, const linear_job jobs[], int n_jobs)
{
    cuda_device *d = (cuda_device *)dev;
    bool plain = n_jobs == 3 && n > 0 && cuda_linear_small_can(dev->act, x, ldx, n, jobs, n_jobs);

    for (int i = 0; plain && i < n_jobs; i++) {
        plain = dtype_block_elements(jobs[i].w->type) == 1;
    }
    if (!plain) {
        op_linear(dev, x, ldx, n, jobs, n_jobs);
        return;
    }
    d->product = (cuda_product){.x = x, .ldx = ldx, .n = n};
    memcpy(d->product.jobs, jobs, sizeof d->product.jobs);
}

static bool op_linear_ahead_exchanged(device *dev, const void *x, int64_t ldx, int64_t n, const linear_job jobs[],
                                      const rotation *rows, int32_t head_dim, dtype kv_type, const void *exchange)
{
    cuda_device *d = (cuda_device *)dev;
    bool can = n > 0 && kv_type != DTYPE_I8 && cuda_linear_small_can(dev->act, x, ldx, n, jobs, 3) &&
               cuda_linear_small_rotates(rows, dev->act, head_dim, jobs) &&
               cuda_linear_small_exchanges(d->n_sms, ((const packet_links *)exchange)->n, jobs);

    for (int i = 0; can && i < 3; i++) {
        can = dtype_block_elements(jobs[i].w->type) == 1;
    }
    if (can) {
        d->product = (cuda_product){.x = x, .ldx = ldx, .n = n, .links = *(const packet_links *)exchange};
        memcpy(d->product.jobs, jobs, sizeof d->product.jobs);
    }
    return can;
}

/* Two plain matrices, one behind the other, on up to CUDA_MANY_ROWS rows of x that are cublasLt's: their results go side by
   side into working memory, so that they are one product. */
static void join_gated(cuda_device *d, int64_t n, linear_job jobs[2])
{
    linear_job beside[2] = {jobs[0], jobs[1]}, job;
    size_t width = (size_t)jobs[0].rows * dtype_block_bytes(jobs[0].type);
    bool plain = dtype_block_elements(jobs[0].w->type) == 1 && dtype_block_elements(jobs[1].w->type) == 1;
    matrix whole;

    beside[0].y = d->block_rows; /* free: nothing is unpacked */
    beside[1].y = (char *)d->block_rows + width;
    beside[0].ldy = beside[1].ldy = 2 * jobs[0].rows;
    if (plain && d->base.act != DTYPE_F32 && n > CUDA_SMALL_ROWS && n <= CUDA_MANY_ROWS &&
        2 * (size_t)n * width <= CUDA_BLOCK_ROW_BYTES && join_jobs(beside, 2, &whole, &job) == 2) {
        memcpy(jobs, beside, sizeof beside);
    }
}

static void op_linear_gated(device *dev, const void *x, int64_t ldx, int64_t n, const linear_job *gate, const linear_job *up)
{
    static const char op[] = "linear_gated";
    cuda_device *d = enter(dev, op);
    linear_job jobs[] = {*gate, *up};
    dtype act = dev->act;
    cuda_norm_input given;
    const cuda_norm_input *norm = take_norm(d, op, x, ldx, n, jobs, 2, &given);

    if (n == 0 || gate->rows == 0) {
    } else if (dtype_block_elements(gate->w->type) == 1 && dtype_block_elements(up->w->type) == 1 &&
               cuda_linear_small_can(act, x, ldx, n, jobs, 2)) {
        cuda_note(d, cuda_linear_small_gated(d->stream, act, x, ldx, n, gate, up, norm), op);
    } else if (gate->row0 == up->row0 && cuda_many_can(d, x, ldx, n, jobs, 2)) {
        cuda_note(d, cuda_many(d, x, ldx, n, jobs, 2, true), op);
    } else {
        join_gated(d, n, jobs);
        queue_linear(d, op, x, ldx, n, jobs, 2, norm);
        cuda_note(d,
                  cuda_silu_mul(d->stream, act, gate->y, gate->ldy, jobs[0].y, jobs[0].ldy, jobs[1].y, jobs[1].ldy, n,
                                gate->rows),
                  op);
    }
    leave();
}

static void op_rope_angles(device *dev, float *cos, float *sin, const int64_t *positions, int64_t n, const float *inv_freq,
                           int64_t half, float factor)
{
    static const char op[] = "rope_angles";
    cuda_device *d = enter(dev, op);

    cuda_note(d, cuda_rope_angles(d->stream, cos, sin, positions, n, inv_freq, half, factor), op);
    leave();
}

static void op_rope(device *dev, const rotation *rows, int64_t n, int32_t head_dim)
{
    static const char op[] = "rope";
    cuda_device *d = enter(dev, op);

    cuda_note(d, cuda_rope(d->stream, dev->act, rows, n, head_dim), op);
    leave();
}

static void op_kv_store(device *dev, void *cache, float *scales, dtype type, int64_t head_stride, const int64_t *slots,
                        const void *x, int64_t ldx, int64_t n, int32_t heads, int32_t head_dim)
{
    static const char op[] = "kv_store";
    cuda_device *d = enter(dev, op);

    cuda_note(d, cuda_kv_store(d->stream, dev->act, cache, scales, type, head_stride, slots, x, ldx, n, heads, head_dim), op);
    leave();
}

static void op_rope_store(device *dev, const rotation *rows, void *const side[2], float *const scales[2], dtype type,
                          int64_t head_stride, const int64_t *slots, int64_t n, int32_t head_dim)
{
    static const char op[] = "rope_store";
    cuda_product p = ((cuda_device *)dev)->product;

    ((cuda_device *)dev)->product.n = 0;
    if (p.n > 0 && !(p.n == n && type != DTYPE_I8 && cuda_linear_small_rotates(rows, dev->act, head_dim, p.jobs))) {
        op_linear(dev, p.x, p.ldx, p.n, p.jobs, 3);
        p.n = 0;
    }
    cuda_device *d = enter(dev, op);
    if (p.n > 0) {
        cuda_norm_input given;
        const cuda_norm_input *norm = take_norm(d, op, p.x, p.ldx, p.n, p.jobs, 3, &given);
        cuda_note(d,
                  cuda_linear_small_rotated(d->stream, dev->act, p.x, p.ldx, n, p.jobs, norm, rows, side[0], side[1], type,
                                            head_stride, slots, head_dim, &p.links),
                  op);
        leave();
        return;
    }
    cuda_note(d, cuda_rope_store(d->stream, dev->act, rows, side, scales, type, head_stride, slots, n, head_dim), op);
    leave();
}

static void op_carry_clear(device *dev, const carry *c, const attention_shape *s, int64_t rows)
{
    static const char op[] = "carry_clear";
    cuda_device *d = enter(dev, op);

    cuda_note(d, cuda_carry_clear(d->stream, c, s, rows), op);
    leave();
}

static void op_attention(device *dev, const attention_shape *s, const void *q, int64_t ldq, const attention_item items[],
                         int n_items, const carry *c, const attention_ends *ends)
{
    cuda_attention(enter(dev, "attention"), s, q, ldq, items, n_items, c, ends);
    leave();
}

static bool op_attention_exchanged(device *dev, const attention_shape *s, const void *q, int64_t ldq,
                                   const attention_item items[], int n_items, const carry *c, const void *exchange)
{
    bool done = cuda_attention_exchanged(enter(dev, "attention_exchanged"), s, q, ldq, items, n_items, c, exchange);

    leave();
    return done;
}

static void op_carry_merge(device *dev, const carry *into, const carry *from, const attention_shape *s, int64_t rows)
{
    static const char op[] = "carry_merge";
    cuda_device *d = enter(dev, op);

    cuda_note(d, cuda_carry_merge(d->stream, into, from, s, rows), op);
    leave();
}

static void op_carry_finish(device *dev, const carry *c, const attention_shape *s, int64_t rows, void *out, int64_t ldo)
{
    static const char op[] = "carry_finish";
    cuda_device *d = enter(dev, op);

    cuda_note(d, cuda_carry_finish(d->stream, dev->act, c, s, rows, out, ldo), op);
    leave();
}

static void op_silu_mul(device *dev, void *g, int64_t ldg, const void *u, int64_t ldu, int64_t n, int64_t width)
{
    static const char op[] = "silu_mul";
    cuda_device *d = enter(dev, op);

    cuda_note(d, cuda_silu_mul(d->stream, dev->act, g, ldg, g, ldg, u, ldu, n, width), op);
    leave();
}

static void op_gelu_mul(device *dev, void *g, int64_t ldg, const void *u, int64_t ldu, int64_t n, int64_t width)
{
    static const char op[] = "gelu_mul";
    cuda_device *d = enter(dev, op);

    cuda_note(d, cuda_gelu_mul(d->stream, dev->act, g, ldg, u, ldu, n, width), op);
    leave();
}

static void op_copy(device *dev, dtype type, void *y, int64_t ldy, const void *x, int64_t ldx, int64_t n, int64_t width,
                    bool add)
{
    static const char op[] = "copy";
    cuda_device *d = enter(dev, op);

    cuda_note(d, cuda_copy(d->stream, type, y, ldy, x, ldx, n, width, add), op);
    leave();
}

static void op_sample(device *dev, int32_t *tokens, const float *logits, int64_t ld, int64_t n, int64_t vocab,
                      const sample_setting *settings)
{
    static const char op[] = "sample";
    cuda_device *d = enter(dev, op);

    cuda_note(d, cuda_sample(d->stream, tokens, logits, ld, n, vocab, settings), op);
    leave();
}

/* --- opening --- */

static void op_close(device *dev)
{
    cuda_device *d = of(dev);

    if (d->stream) {
        (void)cudaStreamSynchronize(d->stream);
    }
    cuda_replay_close(d);
    cuda_stamps_close(d);
    cuda_attention_close(d);
    cuda_gemm_close(d);
    cuda_staging_close(d);
    (void)cudaFree(d->scratch);
    if (d->stream) {
        (void)cudaStreamDestroy(d->stream);
    }
    free(d);
}

static const device_ops cuda_ops = {
    .name = "cuda",
    .reserve = op_reserve,
    .release = op_release,
    .upload = op_upload,
    .download = op_download,
    .load = cuda_load_matrix,
    .make_random = cuda_make_matrix,
    .finish = op_finish,
    .mark = op_mark,
    .wait_mark = op_wait_mark,
    .replay_class = op_replay_class,
    .replay_begin = op_replay_begin,
    .replay_end = op_replay_end,
    .stamp = op_stamp,
    .stamped = op_stamped,
    .embed = op_embed,
    .rms_norm = op_rms_norm,
    .rms_norm_ahead = op_rms_norm_ahead,
    .rms_norm_add = op_rms_norm_add,
    .narrow = op_narrow,
    .linear = op_linear,
    .linear_exchanged = op_linear_exchanged,
    .linear_ahead = op_linear_ahead,
    .linear_ahead_exchanged = op_linear_ahead_exchanged,
    .linear_gated = op_linear_gated,
    .rope_angles = op_rope_angles,
    .rope = op_rope,
    .kv_store = op_kv_store,
    .rope_store = op_rope_store,
    .carry_clear = op_carry_clear,
    .attention = op_attention,
    .attention_exchanged = op_attention_exchanged,
    .carry_merge = op_carry_merge,
    .carry_finish = op_carry_finish,
    .silu_mul = op_silu_mul,
    .gelu_mul = op_gelu_mul,
    .copy = op_copy,
    .sample = op_sample,
    .close = op_close,
};

/* Every kernel (attention's: cuda_attention_open) onto the card now: a kernel that is loaded when it is first launched would
   wait for what runs then. */
static cudaError_t load_kernels(void)
{
    cudaError_t (*const files[])(void) = {cuda_elementwise_load, cuda_linear_load, cuda_many_load,
                                          cuda_convert_load, cuda_random_load,
                                          cuda_blocks_load, cuda_block_rows_load,
                                          cuda_block_order_load, cuda_sample_load};
    cudaError_t status = cudaSuccess;

    for (size_t i = 0; i < sizeof files / sizeof *files && status == cudaSuccess; i++) {
        status = files[i]();
    }
    return status;
}

static cudaError_t open_card(cuda_device *d)
{
    struct cudaDeviceProp p;
    cudaError_t status = cudaSetDevice(d->ordinal);

    if (status == cudaSuccess) {
        status = cudaGetDeviceProperties(&p, d->ordinal);
    }
    if (status != cudaSuccess) {
        return status;
    }
    snprintf(d->name, sizeof d->name, "%.95s", p.name);
    d->sm = 10 * p.major + p.minor;
    d->n_sms = p.multiProcessorCount;
    return d->sm < CUDA_SM_LEAST ? cudaSuccess : cudaStreamCreateWithFlags(&d->stream, cudaStreamNonBlocking);
}

static lariat_status open_parts(cuda_device *d)
{
    cudaError_t status = open_card(d);

    if (status != cudaSuccess) {
        return cuda_failure(d->ordinal, d->name, "cannot be opened", status);
    }
    if (d->sm < CUDA_SM_LEAST) {
        return fail(LARIAT_UNSUPPORTED,
                    "CUDA: card %d (%s) has compute capability %d.%d, the kernels need %d.%d (Ampere) or later: "
                    "use another card, or the CPU",
                    d->ordinal, d->name, d->sm / 10, d->sm % 10, CUDA_SM_LEAST / 10, CUDA_SM_LEAST % 10);
    }
    status = load_kernels();
    if (status != cudaSuccess) {
        return cuda_failure(d->ordinal, d->name, "its kernels cannot be loaded", status);
    }
    d->base.stream = d->stream;
    TRY(cuda_attention_open(d));
    TRY(op_reserve(&d->base, SCRATCH_BYTES + CUDA_BLOCK_ROW_BYTES, "working memory", &d->scratch));
    d->scratch_bytes = SCRATCH_BYTES;
    d->block_rows = (char *)d->scratch + SCRATCH_BYTES;
    TRY(cuda_staging_open(d));
    TRY(cuda_replay_open(d));
    TRY(cuda_stamps_open(d));
    if (d->base.act != DTYPE_F32) {
        TRY(cuda_gemm_open(d));
    }
    return op_finish(&d->base);
}

lariat_status cuda_device_open(int ordinal, dtype act, device **out)
{
    cuda_device *d = calloc(1, sizeof *d);

    *out = NULL;
    if (!d) {
        return fail(LARIAT_NO_MEMORY, "CUDA: card %d: no memory for its description" FREE_MEMORY, ordinal);
    }
    d->base = (device){.ops = &cuda_ops, .act = act, .exchange_bytes = EXCHANGE_BYTES};
    d->ordinal = ordinal;
    lariat_status status = open_parts(d);
    if (status != LARIAT_OK) {
        op_close(&d->base);
        return status;
    }
    *out = &d->base;
    return LARIAT_OK;
}
