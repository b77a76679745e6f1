/* The end of a pass: rows whose outputs are wanted, wherever they are, to logits or chosen tokens.
   Rests on linear.h for slices and their all-gathers. See head.h. */
#include "model/head.h"

int64_t head_rows(const pass_input *in, int64_t at)
{
    int64_t left = in->n_outputs - at;

    return left < HEAD_ROWS ? left : HEAD_ROWS;
}

/* Normalises outputs [from, until), whose rows this rank has: `to` [until - from, d]. */
static void normalise(transformer *t, const pass_output out[], int64_t from, int64_t until, void *to)
{
    const model_config *c = t->config;

    for (int64_t i = from, count; i < until; i += count) { /* neighbours together */
        count = 1;
        while (i + count < until && out[i + count].row == out[i].row + count) {
            count++;
        }
        t->dev->ops->rms_norm(t->dev, act_at(t->dev, to, (i - from) * c->d_model), t->x + out[i].row * c->d_model,
                              t->weights->final_norm, c->residual_eps, count, c->d_model);
    }
}

/* Normalised rows of outputs on every rank: *rows [n, d]. By tokens they are gathered as one row, to which each rank brings
   those of its own outputs: they are listed by rank. */
static lariat_status output_rows(transformer *t, const pass_output out[], int64_t n, bool by_slices, const void **rows)
{
    int ranks = comm_size(t->comm), rank = comm_rank(t->comm);
    size_t row_bytes = (size_t)t->config->d_model * dtype_block_bytes(t->dev->act), *begin = t->linear.begin;
    int64_t first = 0, end = n;

    if (by_slices || ranks == 1) { /* every rank has them all */
        normalise(t, out, 0, n, t->h);
        *rows = t->h;
        return LARIAT_OK;
    }
    unsigned char *shared = comm_rows(t->comm);
    for (int64_t i = 0, r = 0; r <= ranks; r++) {
        while (i < n && out[i].rank < r) {
            i++;
        }
        begin[r] = (size_t)i * row_bytes;
        first = r == rank ? i : first;
        end = r == rank + 1 ? i : end;
    }
    normalise(t, out, first, end, shared + begin[rank]);
    *rows = shared;
    return comm_all_gather(t->comm, &(comm_gather){.rows = 1, .stride = begin[ranks], .begin = begin});
}

/* The host's part in the logits [n, vocab] of n outputs from `at` on, from which the device has chosen tokens: it has both, row
   by row, before it computes. A token that the host chooses replaces the device's on this rank; the next pass gets it by its
   id. */
static lariat_status read_rows(transformer *t, const pass_input *in, int64_t at, int64_t n, const float *logits)
{
    const device_ops *ops = t->dev->ops;
    int64_t vocab = t->config->vocab;

    ops->download(t->dev, in->chosen + at, t->chosen + at, (size_t)n * sizeof *in->chosen);
    for (int64_t i = 0; i < n; i++) {
        pass_logprob *wanted = &in->logprobs[at + i];
        int32_t *chosen = &in->chosen[at + i];
        if (!wanted->n_top && !wanted->sampler) {
            continue;
        }
        ops->download(t->dev, in->row, logits + i * vocab, (size_t)vocab * sizeof *logits);
        TRY(ops->finish(t->dev));
        if (*chosen >= 0 && wanted->sampler) { /* otherwise a logit is not finite */
            *chosen = in->choose(wanted->sampler, in->row, &in->settings[at + i]);
            ops->upload(t->dev, t->chosen + at + i, chosen, sizeof *chosen);
        }
        if (*chosen >= 0 && wanted->n_top) {
            logprob_row(in->row, vocab, *chosen, wanted);
        }
    }
    return LARIAT_OK;
}

/* Logits of up to HEAD_GATHERED outputs of a block that head() has left in slices, from row `at` of it on: of all ranks. */
static lariat_status gather_slices(transformer *t, int64_t at, int64_t count, float **logits)
{
    int64_t vocab = t->config->vocab, begin, end;

    *logits = comm_rows(t->comm);
    linear_slice(vocab, comm_rank(t->comm), comm_size(t->comm), &begin, &end);
    int64_t width = end - begin;
    t->dev->ops->copy(t->dev, DTYPE_F32, *logits + begin, vocab, t->logits + at * width, width, count, width, false);
    return linear_gather(&t->linear, DTYPE_F32, count, vocab, NULL);
}

/* Tokens of n outputs from `at` on, whose logits of the whole vocabulary these are. */
static lariat_status choose(transformer *t, const pass_input *in, int64_t at, int64_t n, const float *logits)
{
    int64_t vocab = t->config->vocab;

    t->dev->ops->sample(t->dev, t->chosen + at, logits, vocab, n, vocab, t->settings + at);
    return in->logprobs && comm_rank(t->comm) == 0 ? read_rows(t, in, at, n, logits) : LARIAT_OK;
}

lariat_status head(transformer *t, const pass_input *in, int64_t at, int64_t n)
{
    const model_config *c = t->config;
    const device_ops *ops = t->dev->ops;
    const void *rows;
    int64_t begin, end, span = trace_begin(t->trace, LARIAT_SPAN_HEAD);

    TRY(output_rows(t, in->outputs + at, n, in->plan->layout == PASS_BY_SLICES, &rows));
    linear_slice(c->vocab, comm_rank(t->comm), comm_size(t->comm), &begin, &end);
    /* Where tokens are chosen every rank chooses alike, and has them for the next pass. */
    bool gathers = comm_size(t->comm) > 1 && n <= HEAD_GATHERED;
    float *logits = gathers ? comm_rows(t->comm) : t->logits;
    linear_job job = {.w = &t->weights->head, .row0 = begin, .rows = end - begin, .type = DTYPE_F32,
                      .y = gathers ? logits + begin : logits, .ldy = gathers ? c->vocab : end - begin};
    ops->linear(t->dev, rows, c->d_model, n, &job, end > begin);
    TRY(gathers ? linear_gather(&t->linear, DTYPE_F32, n, c->vocab, NULL) : LARIAT_OK);
    if (in->settings && (gathers || comm_size(t->comm) == 1)) {
        TRY(choose(t, in, at, n, logits));
    } else if (in->settings) {
        for (int64_t i = 0, count; i < n; i += count) {
            count = n - i < HEAD_GATHERED ? n - i : HEAD_GATHERED;
            TRY(gather_slices(t, i, count, &logits));
            TRY(choose(t, in, at + i, count, logits));
        }
    } else if (gathers && comm_rank(t->comm) == 0) { /* where head_deliver finds them after a replay as well */
        ops->copy(t->dev, DTYPE_F32, t->logits, c->vocab, logits, c->vocab, n, c->vocab, false);
    }
    trace_end(t->trace, span);
    return LARIAT_OK;
}

lariat_status head_deliver(transformer *t, const pass_output out[], int64_t n)
{
    int64_t vocab = t->config->vocab, count;
    bool sliced = comm_size(t->comm) > 1 && n > HEAD_GATHERED; /* otherwise head() has gathered them */
    float *logits = t->logits;

    for (int64_t at = 0; at < n; at += count) {
        count = sliced && n - at > HEAD_GATHERED ? HEAD_GATHERED : n - at;
        TRY(sliced ? gather_slices(t, at, count, &logits) : LARIAT_OK);
        for (int64_t i = 0; i < count && comm_rank(t->comm) == 0; i++) {
            t->dev->ops->download(t->dev, out[at + i].logits, logits + i * vocab, (size_t)vocab * sizeof *logits);
        }
    }
    return LARIAT_OK;
}
