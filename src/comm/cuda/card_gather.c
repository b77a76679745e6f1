/* All-gathers between cards: rows are completed in each card's own memory, by a kernel that pushes or by copies.
   Rests on card_order.c for the order of copies and on gather.cu for the kernel. See comm.h.

   Rows lie in buffers that are used in turn. Which one an all-gather has, all ranks agree on, since others write there (pushed)
   or read from there (copied). Why no buffer is written too early, with A and B any two ranks:
   - Pushed: B writes into A's buffer of all-gather k once B itself has passed all-gather k - 1. A has entered k - 1 then, so A
     no longer reads the rows of k - 2 or older: two buffers in turn suffice within a pass.
   - The first of a pass has a third buffer: the last one of the pass before may have had either of the two, and A may still
     read it. Its own buffer was in use a pass earlier, and at least one all-gather lies between: a pass that pushes has two or more.
   - Copied: A's columns of k lie in A's buffer (or in pinned memory) until B's stream has copied them, which is before B's word
     of k + 1. A writes there again for k + 2, after its stream has waited for that word.
   - One kind after the other: both find the work of the other kind behind them, as the streams do all of it in order, and an
     all-gather of either kind ends after all others have entered it. Rows are not read any more once another pass has begun. */
#include "comm/cuda/card_comm.h"
#include "comm/cuda/gather.h"

#include "base/arena.h"

#include <nvtx3/nvToolsExt.h>

int card_row_sets(int n_ranks, bool through_host)
{
    return through_host && n_ranks > 1 ? COPIED_SETS : ROW_SETS;
}

size_t card_count_bytes(const card_comm *c)
{
    return (size_t)(c->base.n + 1) * WORD_STRIDE;
}

void card_begin(comm *base, bool replays)
{
    card_comm *c = (card_comm *)base;

    c->pushing = replays && base->replays;
    c->pushed = 0;
    card_count(base); /* the device does not keep timestamps for ever */
    for (int i = 0; i < COMM_REGIONS && base->n > 1; i++) {
        if (card_write_word(c, &c->offered[i], comm_step_number(base, 0)) != LARIAT_OK) {
            card_lose(c);
        }
    }
}

/* Where, in bytes from the first buffer, the rows of the next all-gather lie. */
static size_t next_rows(const card_comm *c)
{
    uint32_t copied = c->copied & 1, pushed = c->pushed == 0 ? ROW_SETS - 1 : c->pushed & 1;

    return (c->pushing ? pushed : copied) * c->group->message_bytes;
}

void *card_rows(comm *base)
{
    card_comm *c = (card_comm *)base;

    return c->rows + next_rows(c);
}

/* By a kernel, which may be recorded: all that it is given depends on the number of the all-gather in its pass, and on sizes. */
static lariat_status push(card_comm *c, const comm_gather *rows)
{
    card_group *g = c->group;
    int rank = c->base.rank;
    size_t at = next_rows(c);
    gather_push p = {.rank = rank, .n = c->base.n, .mine = c->rows + at, .rows = rows->rows, .stride = rows->stride, .stop = g->stop};

    if (rows->rows > 0) {
        p.begin = rows->begin[rank];
        p.end = rows->begin[rank + 1];
    }
    for (int r = 0; r < p.n; r++) {
        p.to[r] = g->ranks[r].rows + at;
        p.arrived[r] = (uint32_t *)(void *)(g->ranks[r].counts + (size_t)rank * WORD_STRIDE);
        p.come[r] = (const uint32_t *)(const void *)(c->counts + (size_t)r * WORD_STRIDE);
    }
    p.count = (uint32_t *)(void *)(c->counts + (size_t)p.n * WORD_STRIDE);
    if (atomic_load(&g->cancelled)) {
        return fail(LARIAT_CANCELLED, "rank %d: another rank stopped", rank);
    }
    return card_checked(cuda_gather_push(c->stream, &p), rank, "an all-gather");
}

/* Columns of rank `owner`, from `from` to the same place of `to`. */
static lariat_status copy_columns(const card_comm *c, unsigned char *to, const unsigned char *from, const comm_gather *g, int owner)
{
    size_t begin = g->rows > 0 ? g->begin[owner] : 0, width = g->rows > 0 ? g->begin[owner + 1] - begin : 0;

    if (width == 0) {
        return LARIAT_OK;
    }
    cudaError_t status = g->rows == 1 ? cudaMemcpyAsync(to + begin, from + begin, width, cudaMemcpyDefault, c->stream)
                                      : cudaMemcpy2DAsync(to + begin, g->stride, from + begin, g->stride, width, (size_t)g->rows,
                                                          cudaMemcpyDefault, c->stream);
    return card_checked(status, c->base.rank, "an all-gather");
}

/* Each rank copies the others' columns, from their cards or from pinned memory, when their words say that they are there. */
static lariat_status copy(card_comm *c, const comm_gather *rows)
{
    card_group *g = c->group;
    size_t at = next_rows(c);
    uint32_t number = c->copied + 1;

    if (c->outbox != c->rows) {
        TRY(copy_columns(c, c->outbox + at, c->rows + at, rows, c->base.rank));
    }
    TRY(card_write_word(c, &c->gathered, number));
    for (int i = 1; i < c->base.n; i++) {
        card_comm *other = &g->ranks[(c->base.rank + i) % c->base.n];
        TRY(card_wait_word(c, c->stream, &other->gathered, number));
        TRY(copy_columns(c, c->rows + at, other->outbox + at, rows, other->base.rank));
    }
    return LARIAT_OK;
}

static lariat_status gather(card_comm *c, const comm_gather *rows)
{
    size_t bytes = comm_gather_bytes(rows, c->base.n);

    TRY(card_check_lost(c));
    if (bytes > c->group->message_bytes) {
        return fail(LARIAT_FAILED, "rank %d: rows of %zu bytes, planned were %zu, please report this", c->base.rank, bytes,
                    c->group->message_bytes);
    }
    if (c->base.n > 1) {
        TRY(c->pushing ? push(c, rows) : copy(c, rows));
    }
    c->pushed += c->pushing;
    c->copied += !c->pushing;
    return LARIAT_OK;
}

lariat_status card_all_gather(comm *base, const comm_gather *g)
{
    card_comm *c = (card_comm *)base;
    int64_t began = trace_looks(base->trace) && base->n > 1 ? c->dev->ops->stamp(c->dev, NULL) : -1;

    nvtxRangePushA("all-gather");
    lariat_status status = gather(c, g);
    (void)nvtxRangePop();
    card_trace_wait(c, began, -1);
    return status;
}
