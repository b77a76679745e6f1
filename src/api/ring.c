/* Ring attention for other programs: the caller's threads, tokens and tensors; one layer, no model.
   Rests on ring/attention.h, comm/comm.h and device/cpu/cpu.h. See lariat/ring_attention.h. */
#include "lariat/ring_attention.h"

#include "device/cpu/cpu.h"
#include "lariat/lariat.h"
#include "ring/attention.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_RUNS = 256, MAX_HEADS = 4096, MAX_HEAD_DIM = 512 };

/* A rank's announcement to the others at the beginning of a call, in whole cache lines. */
typedef struct announcement {
    _Alignas(ARENA_ALIGN) int32_t n_runs; /* -1: its arguments make no sense, so that all ranks leave together */
    lariat_run runs[MAX_RUNS];
} announcement;

typedef struct ring_member {
    device *dev;
    ring_rank ring;
    pass pass;
    size_t *begin;  /* [n_ranks + 1] of a comm_gather */
    plan_run *runs; /* [n_ranks * MAX_RUNS]: those of all ranks */
} ring_member;

struct lariat_ring {
    int32_t n_ranks;
    lariat_ring_shape shape;
    comm_group *comm;
    ring_member *members; /* [n_ranks] */
};

static lariat_status check_shape(int32_t n_ranks, int32_t threads, const lariat_ring_shape *s)
{
    if (n_ranks < 1 || n_ranks > LARIAT_RANKS_MAX || threads < 1) {
        return fail(LARIAT_BAD_ARGUMENT, "ring: %d ranks of %d threads, use 1 to %d of at least one", n_ranks, threads,
                    LARIAT_RANKS_MAX);
    }
    if (s->n_heads < 1 || s->n_heads > MAX_HEADS || s->n_kv_heads < 1 || s->n_heads % s->n_kv_heads || s->head_dim < 1 ||
        s->head_dim > MAX_HEAD_DIM) {
        return fail(LARIAT_BAD_ARGUMENT,
                    "ring: %d heads on %d KV heads of %d, heads must be a multiple and head_dim at most %d: change the shape",
                    s->n_heads, s->n_kv_heads, s->head_dim, MAX_HEAD_DIM);
    }
    if (!isfinite(s->scale)) {
        return fail(LARIAT_BAD_ARGUMENT, "ring: a scale of %g, use a finite one, or 0 for 1 / sqrt(head_dim)",
                    (double)s->scale);
    }
    /* Rows times heads are counted in 32 bits. */
    if (s->max_tokens_per_rank < 0 || s->max_tokens_per_rank > INT32_MAX / s->n_heads) {
        return fail(LARIAT_BAD_ARGUMENT,
                    "ring: %lld tokens a rank are out of range, ask for 1 or more, as many as memory holds",
                    (long long)s->max_tokens_per_rank);
    }
    return LARIAT_OK;
}

static ring_setup setup_of(const lariat_ring_shape *s)
{
    int64_t rows = s->max_tokens_per_rank ? s->max_tokens_per_rank : 1;

    return (ring_setup){.n_layers = 1,
                        .shape = {.n_heads = s->n_heads,
                                  .n_kv_heads = s->n_kv_heads,
                                  .head_dim = s->head_dim,
                                  .scale = s->scale,
                                  .kv_type = DTYPE_F32},
                        .slots = rows,
                        .max_rows = rows,
                        .max_runs = MAX_RUNS,
                        .max_parts = 1};
}

static lariat_status open_member(lariat_ring *ring, int32_t rank, int32_t threads)
{
    ring_member *m = &ring->members[rank];
    comm *c = comm_endpoint(ring->comm, rank);
    ring_setup setup = setup_of(&ring->shape);
    const pass_limits most = {.runs = (int64_t)ring->n_ranks * MAX_RUNS, .parts = 1}; /* nothing was there before */

    TRY(cpu_device_open(threads, CPU_BEST, &m->dev));
    TRY(comm_attach(c, m->dev));
    TRY(ring_open(&m->ring, m->dev, c, &setup));
    TRY(pass_open(&m->pass, ring->n_ranks, &most));
    m->begin = calloc((size_t)ring->n_ranks + 1, sizeof *m->begin);
    m->runs = calloc((size_t)most.runs, sizeof *m->runs);
    TRY_MEMORY(m->begin && m->runs, "ring: no memory for rank %d" FREE_MEMORY, rank);
    for (int32_t r = 0; r <= ring->n_ranks; r++) {
        m->begin[r] = (size_t)r * sizeof(announcement);
    }
    return LARIAT_OK;
}

lariat_status lariat_ring_open(int32_t n_ranks, int32_t threads_per_rank, const lariat_ring_shape *shape, lariat_ring **out)
{
    *out = NULL;
    TRY(check_shape(n_ranks, threads_per_rank, shape));
    lariat_ring *ring = calloc(1, sizeof *ring);
    TRY_MEMORY(ring, "ring: no memory" FREE_MEMORY);
    ring->n_ranks = n_ranks;
    ring->shape = *shape;
    ring->shape.scale = shape->scale != 0 ? shape->scale : 1.0f / sqrtf((float)shape->head_dim);
    comm_setup transport = {.n_ranks = n_ranks, .n_local = n_ranks, .message_bytes = (size_t)n_ranks * sizeof(announcement)};
    ring_setup setup = setup_of(&ring->shape);
    ring_hops(&setup, transport.hop_bytes);
    ring->members = calloc((size_t)n_ranks, sizeof *ring->members);
    lariat_status status = ring->members ? comm_threads_open(&transport, &ring->comm)
                                         : fail(LARIAT_NO_MEMORY, "ring: no memory for %d ranks" FREE_MEMORY, n_ranks);
    for (int32_t r = 0; r < n_ranks && status == LARIAT_OK; r++) {
        status = open_member(ring, r, threads_per_rank);
    }
    if (status != LARIAT_OK) {
        lariat_ring_close(ring);
        return status;
    }
    *out = ring;
    return LARIAT_OK;
}

void lariat_ring_close(lariat_ring *ring)
{
    if (!ring) {
        return;
    }
    for (int32_t r = 0; ring->members && r < ring->n_ranks; r++) {
        ring_member *m = &ring->members[r];
        ring_close(&m->ring);
        pass_close(&m->pass);
        free(m->begin);
        free(m->runs);
        if (m->dev) {
            m->dev->ops->close(m->dev);
        }
    }
    free(ring->members);
    comm_group_close(ring->comm);
    free(ring);
}

int32_t lariat_ring_runs(int32_t n_ranks, int32_t rank, int64_t tokens, lariat_run runs[2])
{
    int64_t share[LARIAT_RANKS_MAX];
    plan_run dealt[2 * LARIAT_RANKS_MAX];
    int32_t n = 0;

    if (n_ranks < 1 || n_ranks > LARIAT_RANKS_MAX || tokens < 0) {
        return 0;
    }
    for (int32_t r = 0; r < n_ranks; r++) {
        share[r] = tokens / n_ranks + (r < tokens % n_ranks);
    }
    int count = plan_zigzag(n_ranks, share, 0, dealt);
    for (int i = 0; i < count; i++) {
        if (dealt[i].rank == rank) {
            runs[n++] = (lariat_run){dealt[i].first, dealt[i].count};
        }
    }
    return n;
}

/* The fault in one rank's own arguments; NULL: none. */
static const char *wrong_arguments(const lariat_ring *ring, const lariat_run runs[], int32_t n_runs, int64_t tokens)
{
    int64_t sum = 0;

    if (n_runs < 0 || n_runs > MAX_RUNS) {
        return "the number of runs is out of range (256 at most)";
    }
    for (int32_t i = 0; i < n_runs; i++) {
        int64_t after = i ? runs[i - 1].first + runs[i - 1].count : 0;
        if (runs[i].first < after || runs[i].count < 1 || runs[i].count > ring->shape.max_tokens_per_rank ||
            runs[i].first > INT64_MAX / 2) {
            return "each run must begin at a position from 0 on, behind the run before it, and have 1 to max_tokens_per_rank "
                   "tokens";
        }
        sum += runs[i].count;
    }
    if (sum != tokens) {
        return "the runs do not add up to the tokens";
    }
    return tokens > ring->shape.max_tokens_per_rank ? "more tokens than max_tokens_per_rank" : NULL;
}

static int by_position(const void *a, const void *b)
{
    const plan_run *x = a, *y = b;

    return (x->first > y->first) - (x->first < y->first);
}

/* The plan of a pass from what all ranks announced: the same on every rank. A position that two ranks hold would be counted
   twice. */
static lariat_status plan_from(ring_member *m, const announcement announced[], int32_t n_ranks)
{
    int32_t n = 0;

    for (int32_t r = 0; r < n_ranks; r++) {
        const announcement *a = &announced[r];
        if (a->n_runs < 0) {
            return fail(LARIAT_BAD_ARGUMENT, "ring: rank %d came with arguments that make no sense, its own call says which",
                        r);
        }
        for (int32_t i = 0; i < a->n_runs; i++) {
            m->runs[n++] = (plan_run){.rank = r, .first = a->runs[i].first, .count = a->runs[i].count};
        }
    }
    pass_from_runs(&m->pass, m->runs, n);
    qsort(m->runs, (size_t)n, sizeof *m->runs, by_position);
    for (int32_t i = 1; i < n; i++) {
        if (m->runs[i].first < m->runs[i - 1].first + m->runs[i - 1].count) {
            return fail(LARIAT_BAD_ARGUMENT, "ring: position %lld is held by two ranks, give every position once",
                        (long long)m->runs[i].first);
        }
    }
    return LARIAT_OK;
}

/* The call after the announcements: everything here either fails on all ranks alike or lets the others go. */
static lariat_status attend(lariat_ring *ring, ring_member *m, const float *q, const float *k, const float *v, float *o,
                            float *lse)
{
    const int64_t q_width = (int64_t)ring->shape.n_heads * ring->shape.head_dim;

    ring_begin(&m->ring, &m->pass);
    ring_append(&m->ring, 0, NULL, k, v, (int64_t)ring->shape.n_kv_heads * ring->shape.head_dim, NULL);
    TRY(ring_attend(&m->ring, 0, q, q_width, o, q_width));
    TRY(comm_end(m->ring.comm));
    if (lse) {
        ring_lse(&m->ring, lse);
    }
    return LARIAT_OK;
}

lariat_status lariat_ring_attend(lariat_ring *ring, int32_t rank, const lariat_run runs[], int32_t n_runs, int64_t tokens,
                                 const float *q, const float *k, const float *v, float *o, float *lse)
{
    if (rank < 0 || rank >= ring->n_ranks) {
        return fail(LARIAT_BAD_ARGUMENT, "ring: rank %d of %d: ranks are counted from 0", rank, ring->n_ranks);
    }
    ring_member *m = &ring->members[rank];
    const char *wrong = wrong_arguments(ring, runs, n_runs, tokens);
    comm *c = comm_endpoint(ring->comm, rank);
    announcement *announced = comm_rows(c);

    comm_begin(c, ++m->pass.number, false); /* also for a call that is refused: ranks count alike */
    announced[rank].n_runs = wrong ? -1 : n_runs;
    if (!wrong && n_runs) {
        memcpy(announced[rank].runs, runs, (size_t)n_runs * sizeof *runs);
    }
    /* Also the fence between calls: no rank stores new keys before all have read the old ones. */
    TRY(comm_all_gather(c, &(comm_gather){.rows = 1, .stride = m->begin[ring->n_ranks], .begin = m->begin}));
    lariat_status status = plan_from(m, announced, ring->n_ranks);
    if (status != LARIAT_OK) { /* on all ranks: what one of them gave is refused */
        TRY(comm_end(c));
        return wrong ? fail(LARIAT_BAD_ARGUMENT, "ring: rank %d: %s", rank, wrong) : status;
    }
    status = attend(ring, m, q, k, v, o, lse);
    if (status != LARIAT_OK) {
        comm_cancel(ring->comm);
    }
    return status;
}
