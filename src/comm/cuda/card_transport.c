/* Ranks that are threads of one process, each with a GPU: opening and closing their common memory, and the table of calls.
   Rests on the CUDA runtime. See comm.h for the interface, in_process.c for the same on CPUs; read on in card_order.c. */
#include "comm/cuda/card_comm.h"
#include "comm/gpu_transport.h"

#include "base/arena.h"

#include <stdlib.h>
#include <string.h>

enum { UNWRITTEN = 0xFF }; /* fresh memory holds NaN: reading it before data arrived shows */

static const comm_ops cuda_ops;

lariat_status card_checked(cudaError_t error, int rank, const char *what)
{
    if (error == cudaSuccess) {
        return LARIAT_OK;
    }
    (void)cudaGetLastError(); /* a reported failure is not reported again by the next launch */
    return fail(LARIAT_FAILED, "rank %d: %s: %s", rank, what, cudaGetErrorString(error));
}

/* --- opening --- */

/* Of the rows of one all-gather: each buffer of them is aligned as one that the card hands out, since products of slices choose
   their algorithm by the alignment of their result. */
static size_t row_buffer(const comm_setup *s)
{
    enum { ALIGN = 256 };
    size_t bytes = s->message_bytes;

    return bytes > SIZE_MAX - ALIGN ? SIZE_MAX : (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

/* Two hops of each region, in one place for staging on the card and pinned memory of the host. */
static size_t hop_memory(const comm_setup *s)
{
    size_t pieces[COMM_REGIONS * COMM_OPEN_HOPS];

    for (int i = 0; i < COMM_REGIONS * COMM_OPEN_HOPS; i++) {
        pieces[i] = s->n_ranks > 1 ? s->hop_bytes[i / COMM_OPEN_HOPS] : 0;
    }
    return arena_sum(pieces, sizeof pieces / sizeof *pieces);
}

/* Whether a ring whose ranks have cards of their own pushes. */
static bool may_push(const comm_setup *s, bool through_host)
{
    return s->n_ranks > 1 && s->n_ranks <= GATHER_RANKS_MAX && !through_host;
}

static size_t cuda_memory(const comm_setup *s, bool through_host)
{
    bool pushes = may_push(s, through_host);
    const size_t pieces[] = {bytes_of(card_row_sets(s->n_ranks, through_host), 1, row_buffer(s)), hop_memory(s),
                             pushes ? card_packet_bytes(s->n_ranks, row_buffer(s)) : 0, pushes ? WORD_STRIDE : 0};

    return arena_sum(pieces, sizeof pieces / sizeof *pieces);
}

static size_t cuda_pinned(const comm_setup *s, bool through_host)
{
    const size_t pieces[] = {bytes_of(COPIED_SETS, 1, row_buffer(s)), hop_memory(s)};
    size_t words = WORD_STRIDE * (COMM_REGIONS + 1), all = arena_sum(pieces, sizeof pieces / sizeof *pieces);

    return !through_host || s->n_ranks == 1 ? words : all == SIZE_MAX ? all : all + words;
}

static comm_speed cuda_speed(bool through_host)
{
    /* NVLink as the copy engine uses it between two cards of a host; PCIe twice. */
    return through_host ? (comm_speed){.bytes_per_s = 20e9, .latency_s = 40e-6}
                        : (comm_speed){.bytes_per_s = 350e9, .latency_s = 15e-6};
}

static lariat_status find_stream_values(card_group *g)
{
    enum cudaDriverEntryPointQueryResult found_write, found_wait;
    void *write = NULL, *wait = NULL;

    if (cudaGetDriverEntryPointByVersion("cuStreamWriteValue32", &write, 12000, cudaEnableDefault, &found_write) !=
            cudaSuccess ||
        cudaGetDriverEntryPointByVersion("cuStreamWaitValue32", &wait, 12000, cudaEnableDefault, &found_wait) != cudaSuccess ||
        !write ||
        !wait) {
        return fail(LARIAT_UNSUPPORTED,
                    "cuda: this driver cannot order streams by values in memory; install driver 580 or later");
    }
    memcpy(&g->write_value, &write, sizeof write);
    memcpy(&g->wait_value, &wait, sizeof wait);
    return LARIAT_OK;
}

static void place_words(card_group *g)
{
    for (int r = 0; r < g->base.n; r++) {
        unsigned char *words = g->words + (size_t)r * (COMM_REGIONS + 1) * WORD_STRIDE;
        for (int i = 0; i < COMM_REGIONS; i++) {
            g->ranks[r].offered[i].at = (CUdeviceptr)(words + i * WORD_STRIDE);
        }
        g->ranks[r].gathered.at = (CUdeviceptr)(words + COMM_REGIONS * WORD_STRIDE);
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

/* Cards of one kind: what their kernels can do alone, all of them can. */
static bool are_alike(const int32_t ordinals[], int n)
{
    static const enum cudaDeviceAttr attributes[] = {cudaDevAttrComputeCapabilityMajor, cudaDevAttrComputeCapabilityMinor,
                                                     cudaDevAttrMultiProcessorCount};
    bool alike = true;

    for (int r = 0; r < n; r++) {
        for (int i = 0; i < 3; i++) {
            int first = 0, value = 1;
            (void)cudaDeviceGetAttribute(&first, attributes[i], ordinals[0]);
            (void)cudaDeviceGetAttribute(&value, attributes[i], ordinals[r]);
            alike = alike && value == first;
        }
    }
    return alike;
}

static lariat_status open_group(card_group *g, const int32_t ordinals[])
{
    size_t n = (size_t)g->base.n, bytes = (n * (COMM_REGIONS + 1) + 1) * WORD_STRIDE;
    void *words = NULL;

    g->ordinals = malloc(n * sizeof *g->ordinals);
    g->ranks = aligned_alloc(_Alignof(card_comm), n * sizeof *g->ranks);
    TRY_MEMORY(g->ordinals && g->ranks, "transport between GPUs: no memory for %zu ranks" FREE_MEMORY, n);
    memcpy(g->ordinals, ordinals, n * sizeof *g->ordinals);
    memset(g->ranks, 0, n * sizeof *g->ranks);
    for (int r = 0; r < g->base.n; r++) {
        g->ranks[r].base = (comm){.ops = &cuda_ops, .rank = r, .n = g->base.n};
        g->ranks[r].group = g;
    }
    TRY(card_checked(cudaSetDevice(ordinals[0]), 0, "the card cannot be used"));
    TRY(find_stream_values(g));
    TRY(card_checked(cudaHostAlloc(&words, bytes, cudaHostAllocPortable | cudaHostAllocMapped), 0,
                     "pinned memory for the order of ranks"));
    g->words = words;
    memset(g->words, 0, bytes);
    place_words(g);
    g->stop = (uint32_t *)(void *)(g->words + bytes - WORD_STRIDE);
    g->alike = are_alike(ordinals, g->base.n);
    g->pushes = may_push(&g->setup, g->through_host) && each_has_a_card(ordinals, g->base.n);
    return LARIAT_OK;
}

static lariat_status cuda_open(const comm_setup *s, const int32_t ordinals[], bool through_host, comm_group **out)
{
    if (s->first != 0 || s->n_local != s->n_ranks) {
        return fail(LARIAT_FAILED, "transport between GPUs: %d of %d ranks are here, please report this", s->n_local,
                    s->n_ranks);
    }
    card_group *g = aligned_alloc(_Alignof(card_group),
                                  (sizeof *g + _Alignof(card_group) - 1) / _Alignof(card_group) * _Alignof(card_group));
    TRY_MEMORY(g, "transport between GPUs: no memory" FREE_MEMORY);
    memset(g, 0, sizeof *g);
    g->base = (comm_group){.ops = &cuda_ops, .n = s->n_ranks, .n_local = s->n_ranks};
    g->setup = *s;
    g->message_bytes = row_buffer(s);
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
    (void)(on_host ? cudaFreeHost(block) : cudaFree(block)); /* work queued on it has been finished by its rank */
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

static void close_staging(const hop_staging *s)
{
    free_bytes(s->staging, false);
    free_bytes(s->pinned, true);
    close_event(s->brought);
    close_event(s->freed);
}

static void close_rank(card_group *g, card_comm *c)
{
    (void)cudaSetDevice(g->ordinals[c->base.rank]);
    for (int i = 0; i < COMM_REGIONS * COMM_OPEN_HOPS; i++) {
        close_staging(&c->hops[i / COMM_OPEN_HOPS].list[i % COMM_OPEN_HOPS]);
    }
    for (int r = 0; c->fetch && c->landed && r < g->base.n; r++) {
        close_stream(c->fetch[r]);
        close_event(c->landed[r]);
    }
    free(c->fetch);
    free(c->landed);
    if (c->outbox != c->rows) {
        free_bytes(c->outbox, true);
    }
    free_bytes(c->rows, false);
    free_bytes(c->packets, false);
    free_bytes(c->pass, false);
    close_stream(c->copies);
}

static void cuda_close(comm_group *base)
{
    card_group *g = (card_group *)base;

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
    return &((card_group *)base)->ranks[rank].base;
}

/* --- attaching: from the rank's own thread --- */

static lariat_status take_bytes(card_comm *c, size_t bytes, bool on_host, unsigned char **out)
{
    const char *what = on_host ? "pinned memory for hops" : "memory for hops";
    void *block = NULL;

    if (bytes == 0) { /* a ring of one gathers nothing */
        return LARIAT_OK;
    }
    cudaError_t status = on_host ? cudaHostAlloc(&block, bytes, cudaHostAllocPortable | cudaHostAllocMapped)
                                 : cudaMalloc(&block, bytes);

    if (status == cudaErrorMemoryAllocation) {
        (void)cudaGetLastError();
        return fail(LARIAT_NO_MEMORY, "rank %d: no %.2f GiB of %s; use a shorter context (-c) or fewer ranks a card",
                    c->base.rank, (double)bytes / (double)(1 << 30), what);
    }
    TRY(card_checked(status, c->base.rank, what));
    *out = block;
    if (on_host) {
        memset(block, UNWRITTEN, bytes);
        return LARIAT_OK;
    }
    return card_checked(cudaMemsetAsync(block, UNWRITTEN, bytes, c->stream), c->base.rank, "memory for hops");
}

static lariat_status new_event(card_comm *c, cudaEvent_t *event)
{
    return card_checked(cudaEventCreateWithFlags(event, cudaEventDisableTiming), c->base.rank, "an event");
}

static lariat_status new_stream(card_comm *c, cudaStream_t *stream)
{
    return card_checked(cudaStreamCreateWithFlags(stream, cudaStreamNonBlocking), c->base.rank, "a stream");
}

static lariat_status reach_peers(card_comm *c)
{
    card_group *g = c->group;
    int mine = g->ordinals[c->base.rank];

    for (int r = 0; r < g->base.n; r++) {
        if (g->ordinals[r] == mine) {
            continue;
        }
        cudaError_t error = cudaDeviceEnablePeerAccess(g->ordinals[r], 0);
        if (error != cudaErrorPeerAccessAlreadyEnabled) {
            TRY(card_checked(error, c->base.rank, "no access to the memory of another rank's card; use --via host"));
        }
        (void)cudaGetLastError(); /* "already enabled" is kept there */
    }
    return LARIAT_OK;
}

/* Through the host, a piece leaves its owner's card on a stream of that card. */
static lariat_status open_fetching(card_comm *c)
{
    card_group *g = c->group;

    c->fetch = calloc((size_t)g->base.n, sizeof *c->fetch);
    c->landed = calloc((size_t)g->base.n, sizeof *c->landed);
    TRY_MEMORY(c->fetch && c->landed, "transport between GPUs: no memory for %d streams" FREE_MEMORY, g->base.n);
    for (int r = 0; r < g->base.n; r++) {
        if (r != c->base.rank) {
            TRY(card_checked(cudaSetDevice(g->ordinals[r]), c->base.rank, "the card of another rank"));
            TRY(new_stream(c, &c->fetch[r]));
            TRY(new_event(c, &c->landed[r]));
        }
    }
    return card_checked(cudaSetDevice(g->ordinals[c->base.rank]), c->base.rank, "the card");
}

static lariat_status open_pushing(card_comm *c)
{
    size_t bytes = card_packet_bytes(c->base.n, c->group->message_bytes);
    unsigned char *packets = NULL, *pass = NULL;

    lariat_status status = take_bytes(c, bytes, false, &packets);
    status = status == LARIAT_OK ? take_bytes(c, WORD_STRIDE, false, &pass) : status;
    c->packets = (gather_packet *)(void *)packets;
    c->pass = (uint32_t *)(void *)pass;
    TRY(status);
    return card_checked(cudaMemsetAsync(packets, 0, bytes, c->stream), c->base.rank, "memory for all-gathers");
}

static lariat_status open_rows(card_comm *c)
{
    const card_group *g = c->group;

    TRY(take_bytes(c, (size_t)card_row_sets(g->base.n, g->through_host) * g->message_bytes, false, &c->rows));
    c->outbox = c->rows;
    return g->through_host && g->base.n > 1 ? take_bytes(c, COPIED_SETS * g->message_bytes, true, &c->outbox) : LARIAT_OK;
}

/* A region that is never offered has no memory. */
static lariat_status open_staging(card_comm *c, hop_staging *s, size_t bytes)
{
    if (bytes == 0) {
        return LARIAT_OK;
    }
    TRY(take_bytes(c, bytes, false, &s->staging));
    TRY(c->group->through_host ? take_bytes(c, bytes, true, &s->pinned) : LARIAT_OK);
    TRY(new_event(c, &s->brought));
    return new_event(c, &s->freed);
}

static lariat_status cuda_attach(comm *base, device *dev)
{
    card_comm *c = (card_comm *)base;
    const card_group *g = c->group;

    c->stream = dev->stream;
    base->replays = base->n == 1 || g->pushes;
    TRY(open_rows(c));
    if (base->n > 1) {
        TRY(card_checked(cuda_gather_load(), base->rank, "the kernels of all-gathers"));
        TRY(new_stream(c, &c->copies));
        for (int i = 0; i < COMM_REGIONS * COMM_OPEN_HOPS; i++) {
            int k = i / COMM_OPEN_HOPS;
            TRY(open_staging(c, &c->hops[k].list[i % COMM_OPEN_HOPS], g->setup.hop_bytes[k]));
        }
        TRY(g->through_host ? open_fetching(c) : reach_peers(c));
        TRY(g->pushes ? open_pushing(c) : LARIAT_OK);
    }
    /* others may write there from now on */
    return card_checked(cudaStreamSynchronize(c->stream), base->rank, "memory for hops");
}

static const comm_ops cuda_ops = {
    .close = cuda_close,
    .endpoint = cuda_endpoint,
    .cancel = card_cancel,
    .reset = card_reset,
    .attach = cuda_attach,
    .begin = card_begin,
    .end = card_end,
    .rows = card_rows,
    .exchange = card_exchange,
    .all_gather = card_all_gather,
    .delivers = true,
    .expose = card_expose,
    .offer = card_offer,
    .ask = card_ask,
    .take = card_take,
    .release = card_release,
    .count = card_count,
};

/* Found by the program by name: see gpu_transport.h. */
__attribute__((visibility("default"))) extern const comm_gpu lariat_cuda_transport;
const comm_gpu lariat_cuda_transport = {
    .tables = COMM_GPU_TABLES,
    .open = cuda_open,
    .memory = cuda_memory,
    .pinned = cuda_pinned,
    .speed = cuda_speed,
};
