/* All-gathers between cards: rows are completed in each card's own memory, by a kernel that pushes, or one that copies.
   Rests on card_order.c for the order of copies and on gather.cu for the kernel. See comm.h.

   Buffers of rows are used in turn. Which one an all-gather has, all ranks agree on, since others write there (pushed)
   or read from there (copied). Why no buffer is written too early, with A and B any two ranks:
   - Pushed: others write into A's packets, of which there are as many buffers. B writes A's packets of all-gather k once B
     itself has passed all-gather k - 1. A has entered k - 1 then, so A has read the packets of k - 2 and older: two buffers in
     turn suffice within a pass.
   - The first of a pass has a third buffer: the last one of the pass before may have had either of the two, and A may still
     read it. Its own buffer was in use a pass earlier, and at least one all-gather is between: a pass that pushes has two or
     more. Rows go along with it, for the sake of passes that copied before.
   - Copied: A's columns of k are in A's buffer (or in pinned memory) until B's stream has copied them, which is before B's word
     of k + 1. A writes there again for k + 2, after its stream has waited for that word.
   - One kind after the other: both find the work of the other kind behind them, as the streams do all of it in order, and an
     all-gather of either kind ends after all others have entered it. Rows are not read any more once another pass has begun. */
#include "comm/cuda/card_comm.h"

#include <nvtx3/nvToolsExt.h>

#include <string.h>

int card_row_sets(int n_ranks, bool through_host)
{
    return through_host && n_ranks > 1 ? COPIED_SETS : ROW_SETS;
}

size_t card_packets(int n_ranks, size_t message_bytes)
{
    return message_bytes / PACKET_BYTES + (size_t)n_ranks; /* a rank's last one may not be full */
}

size_t card_packet_bytes(int n_ranks, size_t message_bytes)
{
    return bytes_of(ROW_SETS, (int64_t)card_packets(n_ranks, message_bytes), sizeof(gather_packet));
}

void card_begin(comm *base, bool replays)
{
    card_comm *c = (card_comm *)base;

    c->pushing = replays && base->replays;
    c->pushed = 0;
    if (c->pushing && base->n > 1 && c->group->write_value(c->stream, (CUdeviceptr)(uintptr_t)c->pass, base->pass,
                                            CU_STREAM_WRITE_VALUE_DEFAULT) != CUDA_SUCCESS) {
        card_lose(c);
    }
    card_count(base); /* the device does not keep timestamps for ever */
    for (int i = 0; i < COMM_REGIONS && base->n > 1; i++) {
        if (card_write_word(c, &c->offered[i], comm_step_number(base, 0)) != LARIAT_OK) {
            card_lose(c);
        }
    }
}

/* The buffer of the next all-gather. */
static size_t next_set(const card_comm *c)
{
    uint32_t copied = c->copied & 1, pushed = c->pushed == 0 ? ROW_SETS - 1 : c->pushed & 1;

    return c->pushing ? pushed : copied;
}

/* The offset of its rows, in bytes from the first buffer. */
static size_t next_rows(const card_comm *c)
{
    return next_set(c) * c->group->message_bytes;
}

void *card_rows(comm *base)
{
    card_comm *c = (card_comm *)base;

    return c->rows + next_rows(c);
}

/* The exchange of the next all-gather. An all-gather without rows is queued directly where a recording has those of its pass:
   it has a number of its own. */
static packet_links next_links(const card_comm *c, int64_t rows)
{
    const uint32_t alone = rows == 0 ? 1u << 31 : 0;
    size_t set = next_set(c) * card_packets(c->base.n, c->group->message_bytes);
    packet_links l = {.rank = c->base.rank, .n = c->base.n, .index = alone + c->pushed + 1, .incoming = c->packets + set,
                      .pass = c->pass, .stop = c->group->stop};

    for (int r = 0; r < l.n; r++) {
        l.to[r] = c->group->ranks[r].packets + set;
    }
    return l;
}

/* Is there so much memory of packets, each with a number (8 bytes) or two, of each rank? */
static bool has_packets(const card_comm *c, int64_t of_rank)
{
    return bytes_of(of_rank, c->base.n, PACKET_BYTES) <= c->group->message_bytes;
}

static bool sums_on_their_way(const card_comm *c, const comm_sum *s)
{
    return s && has_packets(c, s->rows * s->width);
}

/* Partial results whose numbers travel two in a packet. */
static bool merges_on_its_way(const card_comm *c, const comm_merge *m)
{
    return m && m->shape->head_dim % 2 == 0 && has_packets(c, m->rows * m->shape->n_heads * (m->shape->head_dim / 2 + 1));
}

static packet_sums sums_of(const card_comm *c, const comm_sum *s)
{
    return (packet_sums){.links = next_links(c, s->rows), .rows = (int32_t)s->rows, .width = (int32_t)s->width, .y = s->y,
                         .ldy = s->ld};
}

static packet_carries carries_of(const card_comm *c, const comm_merge *m)
{
    return (packet_carries){.links = next_links(c, m->rows), .heads = (int32_t)(m->rows * m->shape->n_heads),
                            .n_heads = m->shape->n_heads, .head_dim = m->shape->head_dim, .out = m->out, .ldo = m->ldo};
}

const void *card_exchange(comm *base, const comm_gather *rows)
{
    card_comm *c = (card_comm *)base;

    if (!c->pushing || base->n == 1) {
        return NULL;
    }
    if (sums_on_their_way(c, rows->sum)) {
        c->sums = sums_of(c, rows->sum);
        return &c->sums;
    }
    if (merges_on_its_way(c, rows->merge)) {
        c->carries = carries_of(c, rows->merge);
        return &c->carries;
    }
    if (rows->packets > 0 && c->group->alike && bytes_of(rows->packets, 1, PACKET_BYTES) <= c->group->message_bytes) {
        c->links = next_links(c, rows->packets);
        return &c->links;
    }
    return NULL;
}

static lariat_status push_rows(card_comm *c, const comm_gather *rows)
{
    unsigned char *mine = c->rows + next_rows(c);
    gather_push p = {.links = next_links(c, rows->rows), .rows = rows->rows, .mine = mine, .stride = rows->stride, .into = mine,
                     .into_stride = rows->stride, .room = (uint32_t)card_packets(c->base.n, c->group->message_bytes)};

    if (rows->rows > 0) {
        memcpy(p.begin, rows->begin, (size_t)(c->base.n + 1) * sizeof *p.begin);
    }
    if (rows->into) {
        p.into = rows->into->y;
        p.into_stride = (size_t)rows->into->ld * dtype_block_bytes(rows->into->type);
        p.add = rows->into->add;
    }
    return card_checked(cuda_gather_push(c->stream, &p), c->base.rank, "an all-gather");
}

/* By a kernel, which may be recorded: its arguments depend on the number of the all-gather in its pass, and on sizes. */
static lariat_status push(card_comm *c, const comm_gather *rows)
{
    const float *part = rows->begin ? (const float *)(const void *)(c->rows + next_rows(c) + rows->begin[c->base.rank]) : NULL;

    if (sums_on_their_way(c, rows->sum)) {
        const packet_sums s = sums_of(c, rows->sum);
        return card_checked(cuda_gather_sums(c->stream, &s, part), c->base.rank, "sums of all ranks");
    }
    if (merges_on_its_way(c, rows->merge)) {
        const packet_carries m = carries_of(c, rows->merge);
        return card_checked(cuda_gather_carries(c->stream, &m, part, c->base.dev->act), c->base.rank, "a merge of all ranks");
    }
    return push_rows(c, rows);
}

/* Delivery: by the push on its way, or later, when the rows are complete. */
static bool is_delivered(const card_comm *c, const comm_gather *rows)
{
    return c->pushing && c->base.n > 1 &&
           (rows->into || sums_on_their_way(c, rows->sum) || merges_on_its_way(c, rows->merge));
}

/* Through the host, others find this rank's columns in pinned memory. */
static lariat_status post_columns(const card_comm *c, size_t at, const comm_gather *g)
{
    size_t begin = g->begin[c->base.rank], width = g->begin[c->base.rank + 1] - begin;

    if (width == 0) {
        return LARIAT_OK;
    }
    return card_checked(cudaMemcpy2DAsync(c->outbox + at + begin, g->stride, c->rows + at + begin, g->stride, width,
                                          (size_t)g->rows, cudaMemcpyDeviceToHost, c->stream),
                        c->base.rank, "an all-gather");
}

/* Copies the columns of ranks [r, r + p->n) behind this one. */
static lariat_status copy_columns(const card_comm *c, size_t at, const comm_gather *g, int r, gather_copy *p)
{
    for (int i = 0; i < p->n; i++) {
        int owner = (c->base.rank + r + i) % c->base.n;
        p->from[i] = c->group->ranks[owner].outbox + at;
        p->begin[i] = g->begin[owner];
        p->end[i] = g->begin[owner + 1];
    }
    return card_checked(cuda_gather_copy(c->stream, p), c->base.rank, "an all-gather");
}

/* Each rank copies the others' columns, from their cards or from pinned memory, once their words say that these are there. */
static lariat_status copy(card_comm *c, const comm_gather *rows)
{
    size_t at = next_rows(c);
    uint32_t number = c->copied + 1;
    int n = c->base.n;

    if (c->outbox != c->rows && rows->rows > 0) {
        TRY(post_columns(c, at, rows));
    }
    TRY(card_write_word(c, &c->gathered, number));
    for (int i = 1; i < n; i++) {
        TRY(card_wait_word(c, c->stream, &c->group->ranks[(c->base.rank + i) % n].gathered, number));
    }
    for (int i = 1; i < n && rows->rows > 0; i += GATHER_RANKS_MAX) {
        gather_copy p = {.to = c->rows + at, .rows = rows->rows, .stride = rows->stride,
                         .n = n - i < GATHER_RANKS_MAX ? n - i : GATHER_RANKS_MAX};
        TRY(copy_columns(c, at, rows, i, &p));
    }
    return LARIAT_OK;
}

static lariat_status gather(card_comm *c, const comm_gather *rows)
{
    size_t bytes = comm_gather_bytes(rows, c->base.n);

    TRY(card_check(c));
    if (bytes > c->group->message_bytes) {
        return fail(LARIAT_FAILED, "rank %d: rows of %zu bytes, planned were %zu, please report this", c->base.rank, bytes,
                    c->group->message_bytes);
    }
    const void *at = card_rows(&c->base);
    if (c->base.n > 1 && !rows->exchanged) {
        TRY(c->pushing ? push(c, rows) : copy(c, rows));
    }
    if ((rows->into || rows->merge || rows->sum) && !is_delivered(c, rows)) {
        comm_deliver(&c->base, rows, at);
    }
    c->pushed += c->pushing;
    c->copied += !c->pushing;
    return LARIAT_OK;
}

lariat_status card_all_gather(comm *base, const comm_gather *g)
{
    card_comm *c = (card_comm *)base;
    int64_t began = trace_looks(base->trace) && base->n > 1 ? c->base.dev->ops->stamp(c->base.dev, NULL) : -1;

    nvtxRangePushA("all-gather");
    lariat_status status = gather(c, g);
    (void)nvtxRangePop();
    card_trace_wait(c, began, -1);
    return status;
}
