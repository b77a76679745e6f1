/* Ranks that are threads of one process, each with a GPU: short rows are read where their owner put them, pieces are pulled by the
   copy engine of the reader.
   Rests on the CUDA runtime. See comm.h for the interface, threads.c for the same on CPUs.

   Two orders are kept, one on the host and one on the cards.
   - On the host: a call that reads what another rank makes waits until that rank has *queued* the making of it. It never waits for
     a card.
   - On the cards: behind the making, the owner's stream writes a growing number (the step) to a word, and the reader's stream waits
     until the word has got so far. Words are never reset while work is queued. Where a rank fails, the host writes what its
     card may never come to write.
   The first order makes the second one safe: whatever waits on a stream, the write that ends the wait is already queued, and in front of
   it. So nothing can hang: not with ranks that share a card, nor with fewer hardware queues than streams (work of several streams
   then runs in the order of queueing), nor when a rank fails: its readers are let go on the host, and words are raised to whatever they wait for.
   Words lie in pinned memory of the host, which every card can wait on, with or without peer access.

   Passes that repeat, where each rank has a card of its own, gather by a kernel that waits itself (gather.cu): nothing else has to
   run on its card meanwhile, and since it keeps its count on the card it can be recorded. What it waits for is queued by the other
   ranks' hosts, which nothing but a failure keeps from it; then the host's word `stop` ends all waiting. */
#include "comm/cuda/gather.h"
#include "comm/gpu_transport.h"

#include "base/arena.h"
#include "base/threads.h"

#include <cuda.h>
#include <cuda_runtime_api.h>
#include <math.h>
#include <nvtx3/nvToolsExt.h>
#include <stdlib.h>
#include <string.h>

enum {
    SLOTS = 2,       /* hops between ask and release: the one that is used and the one that travels */
    TIMED = 2048,    /* hops whose times are not read yet: those of a pass of 126 layers on a ring of 8, if queries travel */
    SETS = 3,        /* of blocks that were pushed: the first of a pass, then in turn */
    WORD_STRIDE = 64, /* bytes: a cache line a word */
    UNWRITTEN = 0xFF  /* fresh memory holds NaN: whoever reads what nobody brought shows it */
};

/* A word that a rank's stream writes and others' streams wait on, and how far it has been queued. */
typedef struct mark {
    epoch queued;
    CUdeviceptr word;
} mark;

typedef CUresult (*stream_value_fn)(CUstream, CUdeviceptr, cuuint32_t, unsigned int);

typedef struct cuda_group cuda_group;

typedef struct slot {
    unsigned char *staging; /* [hop_bytes] on this rank's card */
    unsigned char *pinned;  /* the same on the host, where pieces go through it */
    cudaEvent_t brought;    /* the pieces are in staging */
    cudaEvent_t freed;      /* they have been read */
    int64_t left, there;    /* moments of the hop that it is used for: its pieces set out, and have come (device.h) */
} slot;

/* The moments of a hop until it is counted: its pieces set out, have come, are wanted. */
typedef struct timed_hop {
    int64_t left, there, wanted;
} timed_hop;

typedef struct cuda_comm {
    comm base;
    cuda_group *group;
    device *dev;
    cudaStream_t stream, copies;
    cudaStream_t *fetch;    /* [n]: through the host: a stream on the card of each owner ... */
    cudaEvent_t *landed;    /* [n]: ... and that its pieces are in pinned memory */
    unsigned char *blocks;  /* [2, message_bytes]: this rank's side of the all-gathers, on its card or on the host */
    unsigned char *inbox;   /* on its card: [SETS, n, message_bytes]: where others push their blocks, ... */
    unsigned char *counts;  /* ... and [n + 1] words: how many blocks of each rank have come; how many this rank has pushed */
    bool pushing;           /* the pass repeats */
    bool lost;              /* its stream took no more work where nobody could be told */
    uint32_t pushed;        /* blocks of this pass */
    slot slots[SLOTS];
    uint64_t asked, taken, released; /* hops so far */
    timed_hop timed[TIMED];          /* hops from other ranks: number i of them is timed[i % TIMED] */
    uint64_t n_timed, n_counted;     /* so far; those before n_counted are in the counters */
    uint32_t gathers;
    const unsigned char *region[COMM_REGIONS];
    size_t bytes[COMM_REGIONS];
    mark ready[COMM_REGIONS], gathered;
} cuda_comm;

struct cuda_group {
    comm_group base;
    comm_setup setup;
    size_t message_bytes; /* rounded up to whole cache lines */
    bool through_host, pushes; /* pushes: every rank has a card of its own that reaches the others */
    int32_t *ordinals;
    cuda_comm *ranks;
    unsigned char *words; /* pinned: [n, COMM_REGIONS + 1] of WORD_STRIDE bytes, */
    uint32_t *stop;       /* and behind them the word that ends all waiting of kernels */
    stream_value_fn write_value, wait_value;
    _Atomic bool cancelled;
};

static const comm_ops cuda_ops;

static lariat_status checked(cudaError_t error, int rank, const char *what)
{
    if (error == cudaSuccess) {
        return LARIAT_OK;
    }
    (void)cudaGetLastError(); /* what is told is not told again by the next launch */
    return fail(LARIAT_FAILED, "rank %d: %s: %s", rank, what, cudaGetErrorString(error));
}

/* --- opening --- */

static size_t staging_bytes(const comm_setup *s)
{
    return s->n_ranks > 1 ? arena_need(s->hop_bytes) : 0;
}

static size_t cuda_memory(const comm_setup *s, bool through_host)
{
    int64_t n_blocks = through_host || s->n_ranks == 1 ? 0 : 2 + SETS * (int64_t)s->n_ranks;
    size_t blocks = bytes_of(n_blocks, 1, arena_need(s->message_bytes));
    size_t staging = bytes_of(SLOTS, 1, staging_bytes(s));

    return blocks == SIZE_MAX || staging == SIZE_MAX ? SIZE_MAX : blocks + staging;
}

static size_t cuda_pinned(const comm_setup *s, bool through_host)
{
    size_t blocks = bytes_of(2, 1, arena_need(s->message_bytes)), staging = bytes_of(SLOTS, 1, staging_bytes(s));

    if (!through_host || s->n_ranks == 1) {
        return WORD_STRIDE * (COMM_REGIONS + 1);
    }
    return blocks == SIZE_MAX || staging == SIZE_MAX ? SIZE_MAX : blocks + staging;
}

static comm_speed cuda_speed(bool through_host)
{
    /* NVLink as the copy engine uses it between two cards of a host; PCIe twice. */
    return through_host ? (comm_speed){.bytes_per_s = 20e9, .latency_s = 40e-6} : (comm_speed){.bytes_per_s = 350e9, .latency_s = 15e-6};
}

static lariat_status find_stream_values(cuda_group *g)
{
    enum cudaDriverEntryPointQueryResult found_write, found_wait;
    void *write = NULL, *wait = NULL;

    if (cudaGetDriverEntryPointByVersion("cuStreamWriteValue32", &write, 12000, cudaEnableDefault, &found_write) != cudaSuccess ||
        cudaGetDriverEntryPointByVersion("cuStreamWaitValue32", &wait, 12000, cudaEnableDefault, &found_wait) != cudaSuccess || !write ||
        !wait) {
        return fail(LARIAT_UNSUPPORTED, "cuda: this driver cannot order streams by values in memory; install driver 580 or later");
    }
    memcpy(&g->write_value, &write, sizeof write);
    memcpy(&g->wait_value, &wait, sizeof wait);
    return LARIAT_OK;
}

static void place_words(cuda_group *g)
{
    for (int r = 0; r < g->base.n; r++) {
        unsigned char *words = g->words + (size_t)r * (COMM_REGIONS + 1) * WORD_STRIDE;
        for (int i = 0; i < COMM_REGIONS; i++) {
            g->ranks[r].ready[i].word = (CUdeviceptr)(words + i * WORD_STRIDE);
        }
        g->ranks[r].gathered.word = (CUdeviceptr)(words + COMM_REGIONS * WORD_STRIDE);
    }
}

static bool each_has_a_card(const int32_t ordinals[], int n)
{
    for (int r = 0; r < n; r++) {
        for (int i = 0; i < r; i++) {
            if (ordinals[i] == ordinals[r]) {
                return false;
            }
        }
    }
    return true;
}

static lariat_status open_group(cuda_group *g, const int32_t ordinals[])
{
    size_t n = (size_t)g->base.n, bytes = (n * (COMM_REGIONS + 1) + 1) * WORD_STRIDE;
    void *words = NULL;

    g->ordinals = malloc(n * sizeof *g->ordinals);
    g->ranks = aligned_alloc(_Alignof(cuda_comm), n * sizeof *g->ranks);
    if (!g->ordinals || !g->ranks) {
        return fail(LARIAT_NO_MEMORY, "transport between GPUs: no memory for %zu ranks" FREE_MEMORY, n);
    }
    memcpy(g->ordinals, ordinals, n * sizeof *g->ordinals);
    memset(g->ranks, 0, n * sizeof *g->ranks);
    for (int r = 0; r < g->base.n; r++) {
        g->ranks[r].base = (comm){.ops = &cuda_ops, .rank = r, .n = g->base.n};
        g->ranks[r].group = g;
    }
    TRY(checked(cudaSetDevice(ordinals[0]), 0, "the card cannot be used"));
    TRY(find_stream_values(g));
    TRY(checked(cudaHostAlloc(&words, bytes, cudaHostAllocPortable | cudaHostAllocMapped), 0, "pinned memory for the order of ranks"));
    g->words = words;
    memset(g->words, 0, bytes);
    place_words(g);
    g->stop = (uint32_t *)(void *)(g->words + bytes - WORD_STRIDE);
    g->pushes = g->base.n > 1 && g->base.n <= GATHER_RANKS_MAX && !g->through_host && each_has_a_card(ordinals, g->base.n);
    return LARIAT_OK;
}

static lariat_status cuda_open(const comm_setup *s, const int32_t ordinals[], bool through_host, comm_group **out)
{
    cuda_group *g = aligned_alloc(_Alignof(cuda_group), (sizeof *g + _Alignof(cuda_group) - 1) / _Alignof(cuda_group) * _Alignof(cuda_group));

    if (!g) {
        return fail(LARIAT_NO_MEMORY, "transport between GPUs: no memory" FREE_MEMORY);
    }
    memset(g, 0, sizeof *g);
    g->base = (comm_group){.ops = &cuda_ops, .n = s->n_ranks};
    g->setup = *s;
    g->message_bytes = arena_need(s->message_bytes);
    g->through_host = through_host;
    lariat_status status = open_group(g, ordinals);
    if (status != LARIAT_OK) {
        comm_group_close(&g->base);
        return status;
    }
    *out = &g->base;
    return LARIAT_OK;
}

static void free_bytes(void *block, bool on_host)
{
    (void)(on_host ? cudaFreeHost(block) : cudaFree(block)); /* what is queued on it has been finished by its rank */
}

static void close_event(cudaEvent_t event)
{
    if (event) {
        (void)cudaEventDestroy(event);
    }
}

static void close_stream(cudaStream_t stream)
{
    if (stream) {
        (void)cudaStreamDestroy(stream);
    }
}

static void close_slot(slot *s)
{
    free_bytes(s->staging, false);
    free_bytes(s->pinned, true);
    close_event(s->brought);
    close_event(s->freed);
}

static void close_rank(cuda_group *g, cuda_comm *c)
{
    (void)cudaSetDevice(g->ordinals[c->base.rank]);
    for (int i = 0; i < SLOTS; i++) {
        close_slot(&c->slots[i]);
    }
    for (int r = 0; c->fetch && c->landed && r < g->base.n; r++) {
        close_stream(c->fetch[r]);
        close_event(c->landed[r]);
    }
    free(c->fetch);
    free(c->landed);
    free_bytes(c->blocks, g->through_host);
    free_bytes(c->inbox, false);
    free_bytes(c->counts, false);
    close_stream(c->copies);
}

static void cuda_close(comm_group *base)
{
    cuda_group *g = (cuda_group *)base;

    for (int r = 0; g->ranks && g->ordinals && r < base->n; r++) {
        close_rank(g, &g->ranks[r]);
    }
    (void)cudaFreeHost(g->words);
    free(g->ranks);
    free(g->ordinals);
    free(g);
}

static comm *cuda_endpoint(comm_group *base, int rank)
{
    return &((cuda_group *)base)->ranks[rank].base;
}

/* --- attaching: from the rank's own thread --- */

static lariat_status take_bytes(cuda_comm *c, size_t bytes, bool on_host, unsigned char **out)
{
    const char *what = on_host ? "pinned memory for hops" : "memory for hops";
    void *block = NULL;
    cudaError_t status = on_host ? cudaHostAlloc(&block, bytes, cudaHostAllocPortable | cudaHostAllocMapped) : cudaMalloc(&block, bytes);

    if (status == cudaErrorMemoryAllocation) {
        (void)cudaGetLastError();
        return fail(LARIAT_NO_MEMORY, "rank %d: no %.2f GiB of %s; use a shorter context (-c) or fewer ranks a card", c->base.rank,
                    (double)bytes / (double)(1 << 30), what);
    }
    TRY(checked(status, c->base.rank, what));
    *out = block;
    if (on_host) {
        memset(block, UNWRITTEN, bytes);
        return LARIAT_OK;
    }
    return checked(cudaMemsetAsync(block, UNWRITTEN, bytes, c->stream), c->base.rank, "memory for hops");
}

static lariat_status new_event(cuda_comm *c, cudaEvent_t *event)
{
    return checked(cudaEventCreateWithFlags(event, cudaEventDisableTiming), c->base.rank, "an event");
}

static lariat_status new_stream(cuda_comm *c, cudaStream_t *stream)
{
    return checked(cudaStreamCreateWithFlags(stream, cudaStreamNonBlocking), c->base.rank, "a stream");
}

static lariat_status reach_peers(cuda_comm *c)
{
    cuda_group *g = c->group;
    int mine = g->ordinals[c->base.rank];

    for (int r = 0; r < g->base.n; r++) {
        if (g->ordinals[r] == mine) {
            continue;
        }
        cudaError_t error = cudaDeviceEnablePeerAccess(g->ordinals[r], 0);
        if (error != cudaErrorPeerAccessAlreadyEnabled) {
            TRY(checked(error, c->base.rank, "no access to the memory of another rank's card; use --via host"));
        }
        (void)cudaGetLastError(); /* "already enabled" is kept there */
    }
    return LARIAT_OK;
}

/* Through the host, a piece leaves its owner's card on a stream of that card. */
static lariat_status open_fetching(cuda_comm *c)
{
    cuda_group *g = c->group;

    c->fetch = calloc((size_t)g->base.n, sizeof *c->fetch);
    c->landed = calloc((size_t)g->base.n, sizeof *c->landed);
    if (!c->fetch || !c->landed) {
        return fail(LARIAT_NO_MEMORY, "transport between GPUs: no memory for %d streams" FREE_MEMORY, g->base.n);
    }
    for (int r = 0; r < g->base.n; r++) {
        if (r != c->base.rank) {
            TRY(checked(cudaSetDevice(g->ordinals[r]), c->base.rank, "the card of another rank"));
            TRY(new_stream(c, &c->fetch[r]));
            TRY(new_event(c, &c->landed[r]));
        }
    }
    return checked(cudaSetDevice(g->ordinals[c->base.rank]), c->base.rank, "the card");
}

static size_t count_bytes(const cuda_comm *c)
{
    return (size_t)(c->base.n + 1) * WORD_STRIDE;
}

static lariat_status open_inbox(cuda_comm *c)
{
    size_t blocks = (size_t)SETS * (size_t)c->base.n * c->group->message_bytes;

    TRY(checked(cuda_gather_load(), c->base.rank, "the kernel of all-gathers"));
    TRY(take_bytes(c, blocks, false, &c->inbox));
    TRY(take_bytes(c, count_bytes(c), false, &c->counts));
    return checked(cudaMemsetAsync(c->counts, 0, count_bytes(c), c->stream), c->base.rank, "the counts of all-gathers");
}

static lariat_status cuda_attach(comm *base, device *dev)
{
    cuda_comm *c = (cuda_comm *)base;
    cuda_group *g = c->group;

    c->dev = dev;
    c->stream = dev->stream;
    base->repeats = base->n == 1 || g->pushes;
    if (base->n == 1) {
        return LARIAT_OK;
    }
    TRY(take_bytes(c, 2 * g->message_bytes, g->through_host, &c->blocks));
    TRY(new_stream(c, &c->copies));
    for (int i = 0; i < SLOTS; i++) {
        TRY(take_bytes(c, staging_bytes(&g->setup), false, &c->slots[i].staging));
        TRY(new_event(c, &c->slots[i].brought));
        TRY(new_event(c, &c->slots[i].freed));
        if (g->through_host) {
            TRY(take_bytes(c, staging_bytes(&g->setup), true, &c->slots[i].pinned));
        }
    }
    TRY(g->through_host ? open_fetching(c) : reach_peers(c));
    TRY(g->pushes ? open_inbox(c) : LARIAT_OK);
    return checked(cudaStreamSynchronize(c->stream), base->rank, "memory for hops"); /* others may write there from now on */
}

/* --- order --- */

/* Lets the streams go on that wait for what was queued: a card that has failed never writes its words. Several ranks may do so at
   once, with numbers that they read at different times: a word only grows. */
static void release_word(mark *m, uint32_t value)
{
    uint32_t *word = (uint32_t *)(uintptr_t)m->word, old = __atomic_load_n(word, __ATOMIC_SEQ_CST);

    while ((int32_t)(value - old) > 0 &&
           !__atomic_compare_exchange_n(word, &old, value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
    }
}

static void cuda_cancel(comm_group *base)
{
    cuda_group *g = (cuda_group *)base;

    atomic_store(&g->cancelled, true);
    __atomic_store_n(g->stop, 1, __ATOMIC_SEQ_CST);
    for (int r = 0; r < base->n; r++) {
        cuda_comm *c = &g->ranks[r];
        for (int i = 0; i < COMM_REGIONS; i++) {
            release_word(&c->ready[i], atomic_load(&c->ready[i].queued.value));
        }
        release_word(&c->gathered, atomic_load(&c->gathered.queued.value));
    }
}

/* Hops whose pieces have come since it was called last. */
static void cuda_count(comm *base)
{
    cuda_comm *c = (cuda_comm *)base;
    comm_counters *counted = &base->counted;
    double left, there, wanted;

    for (; c->n_counted < c->n_timed; c->n_counted++) {
        const timed_hop *t = &c->timed[c->n_counted % TIMED];
        if (!c->dev->ops->stamped(c->dev, t->left, &left) || !c->dev->ops->stamped(c->dev, t->there, &there) ||
            !c->dev->ops->stamped(c->dev, t->wanted, &wanted)) {
            return;
        }
        if (isnan(left) || isnan(there) || isnan(wanted)) { /* forgotten: not counted */
            continue;
        }
        counted->hop_s += there - left;
        if (there > wanted) {
            counted->wait_s += there - wanted;
            counted->hop_wait_s += there - (wanted > left ? wanted : left);
        }
    }
}

/* Pushes begin to count anew. A card that refuses has been lost: the next pass says so. */
static void reset_counts(const cuda_comm *c)
{
    if (c->counts && cudaSetDevice(c->group->ordinals[c->base.rank]) == cudaSuccess) {
        (void)cudaMemset(c->counts, 0, count_bytes(c));
        (void)cudaDeviceSynchronize();
    }
}

static void cuda_reset(comm_group *base)
{
    cuda_group *g = (cuda_group *)base;

    for (int r = 0; r < base->n; r++) {
        cuda_comm *c = &g->ranks[r];
        cuda_count(&c->base); /* all that came, now that nothing is at work */
        c->asked = c->taken = c->released = 0;
        c->n_timed = c->n_counted = 0;
        c->gathers = 0;
        c->lost = false;
        atomic_store(&c->gathered.queued.value, 0);
        memset((void *)(uintptr_t)c->gathered.word, 0, sizeof(uint32_t)); /* no card is at work */
        reset_counts(c);
    }
    __atomic_store_n(g->stop, 0, __ATOMIC_SEQ_CST);
    atomic_store(&g->cancelled, false);
}

/* A failure that its call could not tell. */
static lariat_status check_lost(const cuda_comm *c)
{
    return c->lost ? fail(LARIAT_FAILED, "rank %d: its stream takes no more work", c->base.rank) : LARIAT_OK;
}

static lariat_status set_mark(cuda_comm *c, mark *m, uint32_t value)
{
    if (c->group->write_value(c->stream, m->word, value, CU_STREAM_WRITE_VALUE_DEFAULT) != CUDA_SUCCESS) {
        return fail(LARIAT_FAILED, "rank %d: its stream takes no more work", c->base.rank);
    }
    epoch_set(&m->queued, value);
    if (atomic_load(&c->group->cancelled)) { /* cancel may have looked at `queued` just before */
        release_word(m, value);
    }
    return LARIAT_OK;
}

/* On the host until it is queued, on the stream until it is done. */
static lariat_status wait_mark(cuda_comm *c, cudaStream_t stream, mark *m, uint32_t value)
{
    if (!epoch_wait_unless(&m->queued, value, &c->group->cancelled)) {
        return fail(LARIAT_CANCELLED, "rank %d: another rank stopped", c->base.rank);
    }
    if (c->group->wait_value(stream, m->word, value, CU_STREAM_WAIT_VALUE_GEQ) != CUDA_SUCCESS) {
        return fail(LARIAT_FAILED, "rank %d: its stream takes no more work", c->base.rank);
    }
    return LARIAT_OK;
}

/* --- collectives --- */

static void cuda_begin(comm *base, bool repeats)
{
    cuda_comm *c = (cuda_comm *)base;

    c->pushing = repeats && c->group->pushes;
    c->pushed = 0;
    cuda_count(base); /* the device does not know moments for ever */
}

/* Rank `from`'s block in the inbox of rank `of`. */
static unsigned char *inbox_of(const cuda_group *g, int of, uint32_t set, int from)
{
    return g->ranks[of].inbox + (set * (size_t)g->base.n + (size_t)from) * g->message_bytes;
}

/* By a kernel. A rank can be one gather ahead of another, never two: it waits in the next one. So two sets of places in turn are
   enough within a pass, and another one for its first gather, which follows on the last of the pass before, whichever set
   that had. A pass by slices has more gathers than one. */
static lariat_status push(cuda_comm *c, const void *mine, size_t bytes, const void *theirs[])
{
    cuda_group *g = c->group;
    int rank = c->base.rank;
    uint32_t set = c->pushed == 0 ? SETS - 1 : c->pushed & 1;
    const uint64_t words[] = {(uintptr_t)"all-gather", (uintptr_t)mine, bytes, set};
    gather_push p = {.rank = rank, .n = c->base.n, .mine = mine, .bytes = (int64_t)bytes, .stop = g->stop};

    c->pushed++;
    for (int r = 0; r < p.n; r++) {
        theirs[r] = r == rank ? mine : inbox_of(g, rank, set, r);
        p.to[r] = inbox_of(g, r, set, rank);
        p.arrived[r] = (uint32_t *)(void *)(g->ranks[r].counts + (size_t)rank * WORD_STRIDE);
        p.come[r] = (const uint32_t *)(const void *)(c->counts + (size_t)r * WORD_STRIDE);
    }
    p.count = (uint32_t *)(void *)(c->counts + (size_t)p.n * WORD_STRIDE);
    if (atomic_load(&g->cancelled)) {
        return fail(LARIAT_CANCELLED, "rank %d: another rank stopped", rank);
    }
    return c->dev->ops->heard(c->dev, words, sizeof words / sizeof *words)
               ? LARIAT_OK
               : checked(cuda_gather_push(c->stream, &p), rank, "an all-gather");
}

static lariat_status gather(comm *base, const void *mine, size_t bytes, const void *theirs[])
{
    cuda_comm *c = (cuda_comm *)base;
    cuda_group *g = c->group;

    if (base->n == 1) {
        theirs[0] = mine;
        return LARIAT_OK;
    }
    TRY(check_lost(c));
    if (bytes > g->message_bytes) {
        return fail(LARIAT_FAILED, "rank %d: a message of %zu bytes, planned were %zu, please report this", base->rank, bytes, g->message_bytes);
    }
    if (c->pushing) {
        return push(c, mine, bytes, theirs);
    }
    (void)c->dev->ops->heard(c->dev, NULL, 0);
    uint32_t number = ++c->gathers;
    size_t set = (number & 1) * g->message_bytes;
    if (bytes) {
        TRY(checked(cudaMemcpyAsync(c->blocks + set, mine, bytes, cudaMemcpyDefault, c->stream), base->rank, "a message"));
    }
    TRY(set_mark(c, &c->gathered, number));
    for (int r = 0; r < base->n; r++) {
        cuda_comm *other = &g->ranks[r];
        if (r != base->rank) {
            TRY(wait_mark(c, c->stream, &other->gathered, number));
        }
        theirs[r] = other->blocks + set; /* read from there: over the link between the cards, or from the host */
    }
    return LARIAT_OK;
}

/* A span of the rank's own stream that ends now, if it has a beginning. */
static void trace_wait(cuda_comm *c, int64_t began, int owner)
{
    int64_t now = began >= 0 ? c->dev->ops->stamp(c->dev, NULL) : -1;

    if (now >= 0) {
        trace_take(c->base.trace, (lariat_span){.kind = LARIAT_SPAN_WAIT, .begin = (double)began, .end = (double)now, .owner = owner});
    }
}

static lariat_status cuda_all_gather(comm *base, const void *mine, size_t bytes, const void *theirs[])
{
    cuda_comm *c = (cuda_comm *)base;
    int64_t began = trace_looks(base->trace) && base->n > 1 ? c->dev->ops->stamp(c->dev, NULL) : -1;

    nvtxRangePushA("all-gather");
    lariat_status status = gather(base, mine, bytes, theirs);
    (void)nvtxRangePop();
    trace_wait(c, began, -1);
    return status;
}

/* --- pieces --- */

static void cuda_expose(comm *base, comm_region region, const void *at, size_t bytes)
{
    cuda_comm *c = (cuda_comm *)base;

    c->region[region] = at;
    c->bytes[region] = bytes;
}

static void cuda_ready(comm *base, comm_region region, uint32_t step)
{
    cuda_comm *c = (cuda_comm *)base;

    if (base->n > 1 && set_mark(c, &c->ready[region], step) != LARIAT_OK) {
        c->lost = true;
        cuda_cancel(&c->group->base); /* nobody waits for what was not queued */
    }
}

static lariat_status check_piece(const cuda_comm *c, const cuda_comm *owner, const comm_hop *hop, const comm_piece *p, size_t packed)
{
    bool inside = p->rows == 0 || p->offset + (size_t)(p->rows - 1) * p->stride + p->bytes <= owner->bytes[hop->region];

    if (!inside || packed + p->bytes * (size_t)p->rows > staging_bytes(&c->group->setup)) {
        return fail(LARIAT_FAILED, "rank %d: asks rank %d for bytes that it does not have", c->base.rank, hop->owner);
    }
    return LARIAT_OK;
}

/* Rows as one copy; one by one where they lie further apart than that can be told. */
static lariat_status copy_rows(const cuda_comm *c, unsigned char *to, const unsigned char *from, const comm_piece *p,
                               cudaStream_t stream)
{
    cudaError_t status = cudaSuccess;

    if (p->stride <= INT32_MAX) {
        status = cudaMemcpy2DAsync(to, p->bytes, from, p->stride, p->bytes, (size_t)p->rows, cudaMemcpyDefault, stream);
        return checked(status, c->base.rank, "a hop");
    }
    for (size_t r = 0; r < (size_t)p->rows && status == cudaSuccess; r++) {
        status = cudaMemcpyAsync(to + r * p->bytes, from + r * p->stride, p->bytes, cudaMemcpyDefault, stream);
    }
    return checked(status, c->base.rank, "a hop");
}

/* Queues the copies of a hop's pieces, packed one behind the other from `to` on. *packed: bytes in all. */
static lariat_status copy_pieces(cuda_comm *c, const cuda_comm *owner, const comm_hop *hop, unsigned char *to, cudaStream_t stream,
                                 size_t *packed)
{
    *packed = 0;
    for (int i = 0; i < hop->n_pieces; i++) {
        const comm_piece *p = &hop->pieces[i];
        TRY(check_piece(c, owner, hop, p, *packed));
        if (p->rows && p->bytes) {
            const unsigned char *from = owner->region[hop->region] + p->offset;
            TRY(copy_rows(c, to + *packed, from, p, stream));
        }
        *packed += p->bytes * (size_t)p->rows;
    }
    return LARIAT_OK;
}

/* From card to card, by the copy engine. */
static lariat_status pull(cuda_comm *c, cuda_comm *owner, const comm_hop *hop, slot *s)
{
    size_t packed;

    TRY(checked(cudaStreamWaitEvent(c->copies, s->freed, 0), c->base.rank, "a hop"));
    TRY(wait_mark(c, c->copies, &owner->ready[hop->region], hop->step));
    s->left = c->dev->ops->stamp(c->dev, c->copies);
    return copy_pieces(c, owner, hop, s->staging, c->copies, &packed);
}

/* The first half of the way through the host: on a stream of the owner's card, which is the thread's meanwhile. */
static lariat_status fetch_pieces(cuda_comm *c, cuda_comm *owner, const comm_hop *hop, slot *s, size_t *packed)
{
    cudaStream_t stream = c->fetch[hop->owner];

    TRY(checked(cudaStreamWaitEvent(stream, s->brought, 0), c->base.rank, "a hop")); /* the slot's last pieces have left pinned memory */
    TRY(wait_mark(c, stream, &owner->ready[hop->region], hop->step));
    TRY(copy_pieces(c, owner, hop, s->pinned, stream, packed));
    return checked(cudaEventRecord(c->landed[hop->owner], stream), c->base.rank, "a hop");
}

static lariat_status pull_through_host(cuda_comm *c, cuda_comm *owner, const comm_hop *hop, slot *s)
{
    size_t packed = 0;

    TRY(checked(cudaSetDevice(c->group->ordinals[hop->owner]), c->base.rank, "the card of another rank"));
    lariat_status status = fetch_pieces(c, owner, hop, s, &packed);
    TRY(checked(cudaSetDevice(c->group->ordinals[c->base.rank]), c->base.rank, "the card"));
    TRY(status);
    TRY(checked(cudaStreamWaitEvent(c->copies, s->freed, 0), c->base.rank, "a hop"));
    TRY(wait_mark(c, c->copies, &owner->ready[hop->region], hop->step));
    s->left = c->dev->ops->stamp(c->dev, c->copies); /* the first half may have been on its way while there was no room */
    TRY(checked(cudaStreamWaitEvent(c->copies, c->landed[hop->owner], 0), c->base.rank, "a hop"));
    return checked(cudaMemcpyAsync(s->staging, s->pinned, packed, cudaMemcpyHostToDevice, c->copies), c->base.rank, "a hop");
}

static lariat_status cuda_ask(comm *base, const comm_hop *hop)
{
    cuda_comm *c = (cuda_comm *)base, *owner = &c->group->ranks[hop->owner];
    slot *s = &c->slots[c->asked % SLOTS];

    if (c->asked - c->released == SLOTS) {
        return fail(LARIAT_FAILED, "rank %d: asks rank %d for a third hop before it released one", base->rank, hop->owner);
    }
    TRY(check_lost(c));
    c->asked++;
    if (owner == c) { /* lies where it is */
        return LARIAT_OK;
    }
    nvtxRangePushA("hop");
    lariat_status status = c->group->through_host ? pull_through_host(c, owner, hop, s) : pull(c, owner, hop, s);
    (void)nvtxRangePop();
    TRY(status);
    TRY(checked(cudaEventRecord(s->brought, c->copies), base->rank, "a hop"));
    s->there = c->dev->ops->stamp(c->dev, c->copies);
    return LARIAT_OK;
}

/* Notes the moments of a hop for counting later; where there is no room the oldest are counted, and if they have not come, this one
   is not. */
static void time_hop(cuda_comm *c, const slot *s, int64_t wanted)
{
    if (c->n_timed - c->n_counted == TIMED) {
        cuda_count(&c->base);
    }
    if (c->n_timed - c->n_counted < TIMED) {
        c->timed[c->n_timed++ % TIMED] = (timed_hop){s->left, s->there, wanted};
    }
}

static lariat_status take_there(cuda_comm *c, const comm_hop *hop, const slot *s, size_t bytes)
{
    trace *t = trace_looks(c->base.trace) ? c->base.trace : NULL;
    int64_t wanted = c->dev->ops->stamp(c->dev, NULL);

    (void)c->dev->ops->heard(c->dev, NULL, 0);
    TRY(checked(cudaStreamWaitEvent(c->stream, s->brought, 0), c->base.rank, "a hop"));
    time_hop(c, s, wanted);
    if (t) {
        lariat_span span = {.kind = LARIAT_SPAN_HOP, .begin = (double)s->left, .end = (double)s->there, .owner = hop->owner,
                            .bytes = (int64_t)bytes};
        trace_wait(c, wanted, hop->owner);
        trace_take(t, span);
    }
    return LARIAT_OK;
}

static lariat_status cuda_take(comm *base, comm_hop *hop)
{
    cuda_comm *c = (cuda_comm *)base;
    const slot *s = &c->slots[c->taken % SLOTS];
    bool own = hop->owner == base->rank;
    size_t packed = 0;

    if (c->asked == c->taken) {
        return fail(LARIAT_FAILED, "rank %d: takes a hop of rank %d that it did not ask for, please report this", base->rank, hop->owner);
    }
    c->taken++;
    for (int i = 0; i < hop->n_pieces; i++) {
        const comm_piece *p = &hop->pieces[i];
        hop->views[i] = own ? (comm_view){c->region[hop->region] + p->offset, p->stride} : (comm_view){s->staging + packed, p->bytes};
        packed += p->bytes * (size_t)p->rows;
    }
    if (own) {
        return LARIAT_OK;
    }
    base->counted.hops++;
    base->counted.hop_bytes = (int64_t)packed > base->counted.hop_bytes ? (int64_t)packed : base->counted.hop_bytes;
    return take_there(c, hop, s, packed);
}

static void cuda_release(comm *base, const comm_hop *hop)
{
    cuda_comm *c = (cuda_comm *)base;
    slot *s = &c->slots[c->released % SLOTS];

    c->released++;
    if (hop->owner != base->rank && cudaEventRecord(s->freed, c->stream) != cudaSuccess) {
        (void)cudaGetLastError();
        c->lost = true;
        cuda_cancel(&c->group->base); /* the stream is lost: its rank finds out when it finishes */
    }
}

static const comm_ops cuda_ops = {
    .close = cuda_close,
    .endpoint = cuda_endpoint,
    .cancel = cuda_cancel,
    .reset = cuda_reset,
    .attach = cuda_attach,
    .begin = cuda_begin,
    .all_gather = cuda_all_gather,
    .expose = cuda_expose,
    .ready = cuda_ready,
    .ask = cuda_ask,
    .take = cuda_take,
    .release = cuda_release,
    .count = cuda_count,
};

/* What the program finds by name: see gpu.h. */
__attribute__((visibility("default"))) extern const comm_gpu lariat_cuda_transport;
const comm_gpu lariat_cuda_transport = {
    .tables = COMM_GPU_TABLES,
    .open = cuda_open,
    .memory = cuda_memory,
    .pinned = cuda_pinned,
    .speed = cuda_speed,
};
