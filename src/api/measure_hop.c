/* The time of one hop of the ring: ranks with the devices and the transport of an engine, and nothing but hops between them.
   Rests on engine/ranks.h and comm/comm.h, and on device/cpu/cpu_ceilings.h for reading. See lariat/measure.h for what is
   counted.

   All ranks measure before any of them releases its memory: between threads others read it in place. */
#include "lariat/measure.h"

#include "api/measure_hop.h"
#include "base/clock.h"
#include "base/memory.h"
#include "device/cpu/cpu_ceilings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    WARM_UPS = 2,                /* repetitions that do not count: for pages, and on GPUs for recording */
    REPETITION_BYTES = 64 << 20, /* that the hops of a repetition bring together, with these bounds to their number: */
    HOPS_LEAST = 4,              /* a pass of all-gathers that GPUs repeat has more than one (comm/cuda/card_gather.c) */
    HOPS_MOST = 256,
    PIECE = 64 << 10,            /* bytes that are written or compared at once */
    SHIFTS = 256
};

typedef struct hops_trial hops_trial;

typedef struct hops_rank {
    hops_trial *trial;
    int32_t rank;
    device *dev;
    comm *c;
    void *block;         /* [trial->block] in the device's memory: what others get */
    void *row;           /* GATHER: [ranks, trial->block], what came of all */
    size_t *begin;       /* [ranks + 1] of a comm_gather */
    unsigned char *got;  /* [PIECE] on the host */
    double *seconds;     /* [reps], of a hop */
    uint32_t pass, step; /* of the transport, so far; of the region in this pass */
    uint32_t round;      /* so often has the block been written */
} hops_rank;

struct hops_trial {
    local_ranks ranks;
    lariat_hop *out;
    lariat_processes *processes; /* NULL: the ring is this process's */
    bool in_place;               /* some rank reads another's memory */
    placement placement;
    rank_threads threads;
    comm_setup transport;
    comm_group *comm;
    size_t block; /* bytes that a rank has for others */
    arena lists;
    unsigned char *pattern; /* [PIECE + SHIFTS] */
    hops_rank *list;        /* [out->ranks], those of this process are used */
    double *slowest, *merged; /* [3 * reps] */
};

/* --- the data --- */

/* Bytes that no mistake brings by chance: each piece of each rank in each round begins elsewhere in one fixed sequence. */
static const unsigned char *piece_of(const hops_trial *trial, int32_t rank, uint32_t round, size_t piece)
{
    return trial->pattern + ((size_t)rank * 31 + (size_t)round * 17 + piece * 7) % SHIFTS;
}

static void make_pattern(unsigned char *pattern)
{
    uint64_t state = 1;

    for (size_t i = 0; i < PIECE + SHIFTS; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        pattern[i] = (unsigned char)(state >> 56);
    }
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static void write_block(hops_rank *r)
{
    size_t bytes = r->trial->block;

    r->round++;
    for (size_t at = 0; at < bytes; at += PIECE) {
        r->dev->ops->upload(r->dev, (unsigned char *)r->block + at, piece_of(r->trial, r->rank, r->round, at / PIECE),
                            smaller(PIECE, bytes - at));
    }
}

/* Is it what `owner` wrote last? All ranks have written equally often. */
static lariat_status check_block(hops_rank *r, const void *block, int32_t owner)
{
    size_t bytes = r->trial->block;

    for (size_t at = 0; at < bytes; at += PIECE) {
        size_t part = smaller(PIECE, bytes - at);
        r->dev->ops->download(r->dev, r->got, (const unsigned char *)block + at, part);
        TRY(r->dev->ops->finish(r->dev));
        if (memcmp(r->got, piece_of(r->trial, owner, r->round, at / PIECE), part) != 0) {
            return fail(LARIAT_FAILED, "other bytes came than rank %d sent, please report this", owner);
        }
    }
    return LARIAT_OK;
}

/* Begins a pass. Returns when all ranks have entered it and their devices are idle. */
static lariat_status meet(hops_rank *r)
{
    comm_begin(r->c, ++r->pass, false);
    r->step = 0;
    TRY(comm_all_gather(r->c, &(comm_gather){0}));
    return r->dev->ops->finish(r->dev);
}

/* Begins a pass with new bytes on all ranks, none of which reads the old ones any more. */
static lariat_status renew(hops_rank *r)
{
    TRY(meet(r));
    TRY(comm_end(r->c));
    write_block(r);
    return meet(r);
}

/* --- keys --- */

static bool is_local(const hops_trial *trial, int32_t rank)
{
    return rank >= trial->transport.first && rank < trial->transport.first + trial->transport.n_local;
}

/* One hop, as the ring's: offered, asked for, taken, released. Pieces that are read in place have not arrived before they were
   read. */
static lariat_status take_keys(hops_rank *r, bool check)
{
    const hops_trial *trial = r->trial;
    comm_piece piece = {.bytes = trial->block, .stride = trial->block, .rows = 1};
    comm_view view;
    int32_t n = trial->out->ranks, owner = (r->rank + 1) % n, reader = (r->rank + n - 1) % n;
    comm_hop hop = {.owner = owner, .offer = {COMM_KV, ++r->step, &piece, 1}, .views = &view};

    comm_offer(r->c, reader, &hop.offer);
    TRY(comm_ask(r->c, &hop));
    TRY(comm_take(r->c, &hop));
    if (r->dev->shares_host && is_local(trial, owner)) {
        (void)cpu_read(r->dev, view.at, (int64_t)trial->block);
    }
    lariat_status status = check ? check_block(r, view.at, hop.owner) : LARIAT_OK;
    comm_release(r->c, &hop);
    return status;
}

/* Seconds of all hops of a repetition. Copies do not care who touched the bytes last; reading in place does. */
static lariat_status repeat_keys(hops_rank *r, double *seconds)
{
    int64_t rounds = r->trial->in_place ? r->trial->out->hops : 1, hops = r->trial->out->hops / rounds;

    *seconds = 0;
    for (int64_t round = 0; round < rounds; round++) {
        TRY(renew(r));
        double from = clock_now();
        for (int64_t i = 0; i < hops; i++) {
            TRY(take_keys(r, false));
        }
        TRY(r->dev->ops->finish(r->dev));
        *seconds += clock_now() - from;
        TRY(comm_end(r->c));
    }
    return LARIAT_OK;
}

static lariat_status check_keys(hops_rank *r)
{
    TRY(renew(r));
    TRY(take_keys(r, true));
    return comm_end(r->c);
}

/* --- all-gathers --- */

static lariat_status gather(hops_rank *r)
{
    const hops_trial *trial = r->trial;
    int32_t n = trial->out->ranks;
    int64_t width = (int64_t)(trial->block / sizeof(float));
    float *rows = comm_rows(r->c);

    r->dev->ops->copy(r->dev, DTYPE_F32, rows + r->rank * width, width, r->block, width, 1, width, false);
    TRY(comm_all_gather(r->c, &(comm_gather){.rows = 1, .stride = r->begin[n], .begin = r->begin}));
    r->dev->ops->copy(r->dev, DTYPE_F32, r->row, n * width, rows, n * width, 1, n * width, false);
    return LARIAT_OK;
}

/* As the passes of decode: recorded and launched where the transport allows it. */
static lariat_status repeat_gathers(hops_rank *r, double *seconds)
{
    bool replays = comm_replays(r->c);

    TRY(renew(r));
    TRY(comm_end(r->c));
    r->pass++;
    double from = clock_now();
    do {
        comm_begin(r->c, r->pass, replays);
        if (replays && r->dev->ops->replay_begin(r->dev, 1)) { /* all repetitions are alike */
            break;
        }
        for (int64_t i = 0; i < r->trial->out->hops; i++) {
            TRY(gather(r));
        }
    } while (replays && r->dev->ops->replay_end(r->dev));
    TRY(comm_end(r->c));
    TRY(r->dev->ops->finish(r->dev));
    *seconds = clock_now() - from;
    return LARIAT_OK;
}

/* The data of the last repetition. */
static lariat_status check_gathered(hops_rank *r)
{
    for (int32_t i = 0; i < r->trial->out->ranks; i++) {
        TRY(check_block(r, (const unsigned char *)r->row + (size_t)i * r->trial->block, i));
    }
    return LARIAT_OK;
}

/* --- a rank --- */

static lariat_status open_rank(hops_rank *r)
{
    const lariat_hop *h = r->trial->out;

    TRY(r->dev->ops->reserve(r->dev, r->trial->block, "hops", &r->block));
    if (h->kind == LARIAT_HOP_GATHER) {
        return r->dev->ops->reserve(r->dev, (size_t)h->bytes, "hops", &r->row);
    }
    comm_expose(r->c, COMM_KV, r->block, r->trial->block);
    return LARIAT_OK;
}

static lariat_status close_rank(local_rank *on, void *trial)
{
    hops_rank *r = &((hops_trial *)trial)->list[on->number];

    if (r->block) {
        r->dev->ops->release(r->dev, r->block, r->trial->block);
    }
    if (r->row) {
        r->dev->ops->release(r->dev, r->row, (size_t)r->trial->out->bytes);
    }
    return LARIAT_OK;
}

static lariat_status measure(local_rank *on, void *trial)
{
    hops_rank *r = &((hops_trial *)trial)->list[on->number];
    const lariat_hop *h = r->trial->out;
    bool keys = h->kind == LARIAT_HOP_KEYS;
    double seconds;

    r->dev = on->dev;
    r->c = on->comm;
    TRY(open_rank(r));
    for (int32_t i = -WARM_UPS; i < h->reps; i++) {
        TRY(keys ? repeat_keys(r, &seconds) : repeat_gathers(r, &seconds));
        if (i >= 0) {
            r->seconds[i] = seconds / (double)h->hops;
        }
    }
    TRY(keys ? check_keys(r) : check_gathered(r));
    return r->dev->ops->finish(r->dev);
}

/* --- the MPI alone --- */

/* The first of two neighbours, on two hosts where there are several. */
static int32_t first_of_pair(const processes *others)
{
    for (int32_t i = 0; i + 1 < processes_count(others); i++) {
        if (!processes_share_host(others, i, i + 1)) {
            return i;
        }
    }
    return 0;
}

/* Plain messages of the same size between two processes, there and back: the time of one. */
static lariat_status ping(const hops_trial *trial, int32_t other, bool begins, unsigned char *out, unsigned char *in,
                          double *seconds)
{
    processes *others = trial->processes->others;
    int64_t n = trial->out->hops;
    double from = clock_now();

    for (int64_t i = 0; i < n; i++) {
        for (int way = 0; way < 2; way++) {
            bool sends = (way == 0) == begins;
            TRY(processes_swap(others, sends ? other : -1, out, sends ? -1 : other, in, trial->block));
        }
    }
    *seconds = (clock_now() - from) / (double)(2 * n);
    return LARIAT_OK;
}

/* As the hops: every process sends to the one before it and receives from the one behind it, all at once. */
static lariat_status exchange(const hops_trial *trial, unsigned char *out, unsigned char *in, double *seconds)
{
    processes *others = trial->processes->others;
    int32_t count = processes_count(others), me = processes_number(others);
    int64_t n = trial->out->hops;
    double from = clock_now();

    for (int64_t i = 0; i < n; i++) {
        TRY(processes_swap(others, (me + count - 1) % count, out, (me + 1) % count, in, trial->block));
    }
    *seconds = (clock_now() - from) / (double)n;
    return LARIAT_OK;
}

/* seconds: [reps] of exchanges, and behind them [reps] of pings, zeros in all processes but the one that begins. */
static lariat_status measure_mpi(hops_trial *trial, double seconds[])
{
    const processes *others = trial->processes->others;
    int32_t me = processes_number(others), first = first_of_pair(others), n = trial->out->reps;
    bool begins = me == first, pings = begins || me == first + 1;
    lariat_status status = LARIAT_OK;

    memset(seconds, 0, 2 * (size_t)n * sizeof *seconds);
    unsigned char *memory = calloc(2, trial->block);
    TRY_MEMORY(memory, "hops: no memory" FREE_MEMORY);
    memset(memory, 1, 2 * trial->block);
    for (int32_t i = -WARM_UPS; i < n && status == LARIAT_OK; i++) {
        double swapped = 0, one = 0;
        status = exchange(trial, memory, memory + trial->block, &swapped);
        if (status == LARIAT_OK && pings) {
            status = ping(trial, begins ? first + 1 : first, begins, memory, memory + trial->block, &one);
        }
        if (i >= 0) {
            seconds[i] = swapped;
            seconds[n + i] = begins ? one : 0;
        }
    }
    free(memory);
    return status;
}

/* --- the ring --- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double middle(double list[], int32_t n)
{
    qsort(list, (size_t)n, sizeof *list, by_value);
    return n % 2 ? list[n / 2] : (list[n / 2 - 1] + list[n / 2]) / 2;
}

static void take_larger(double list[], const double other[], int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        list[i] = other[i] > list[i] ? other[i] : list[i];
    }
}

/* The slowest rank of each repetition, of all processes: seconds[0, reps), and behind them those of the MPI alone. */
static lariat_status merge(hops_trial *trial, double seconds[])
{
    int32_t n = trial->out->reps;
    processes *others = trial->processes->others;
    process_bytes *given = trial->processes->given;

    TRY(processes_collect(others, (process_bytes){seconds, 3 * (size_t)n * sizeof *seconds}, given));
    for (int32_t i = 1; i < processes_count(others) && processes_number(others) == 0; i++) {
        if (given[i].n != 3 * (size_t)n * sizeof *seconds) {
            return fail(LARIAT_FAILED, "hops: process %d has measured something else, please report this", i);
        }
        memcpy(trial->merged, given[i].at, given[i].n);
        take_larger(seconds, trial->merged, 3 * n);
    }
    return LARIAT_OK;
}

/* Of the repetitions the middle, the least and the most; rates by the middle. */
static lariat_status sum_up(hops_trial *trial)
{
    lariat_hop *h = trial->out;
    double *slowest = trial->slowest, bytes = (double)h->bytes;
    int32_t n = h->reps, first = trial->transport.first;

    memcpy(slowest, trial->list[first].seconds, (size_t)n * sizeof *slowest);
    for (int32_t r = 1; r < trial->transport.n_local; r++) {
        take_larger(slowest, trial->list[first + r].seconds, n);
    }
    if (trial->processes) {
        TRY(measure_mpi(trial, slowest + n));
        TRY(merge(trial, slowest));
        h->mpi_s = middle(slowest + n, n);
        h->ping_s = middle(slowest + 2 * n, n);
    }
    h->seconds = middle(slowest, n);
    h->min_s = slowest[0];
    h->max_s = slowest[n - 1];
    h->algbw = bytes / h->seconds;
    h->busbw = h->kind == LARIAT_HOP_KEYS ? h->algbw : h->algbw * (h->ranks - 1) / h->ranks;
    return LARIAT_OK;
}

/* --- memory --- */

/* Takes the lists from trial->lists, which may be one that counts. */
static void take_lists(hops_trial *trial)
{
    const lariat_hop *h = trial->out;
    arena *a = &trial->lists;

    trial->pattern = arena_take(a, PIECE + SHIFTS);
    trial->list = arena_take(a, bytes_of(h->ranks, 1, sizeof *trial->list));
    trial->slowest = arena_take(a, bytes_of(h->reps, 3, sizeof *trial->slowest));
    trial->merged = arena_take(a, bytes_of(h->reps, 3, sizeof *trial->merged));
    for (int32_t i = 0; i < h->ranks; i++) {
        hops_rank r = {.trial = trial,
                       .rank = i,
                       .begin = arena_take(a, bytes_of(h->ranks + 1, 1, sizeof *r.begin)),
                       .got = arena_take(a, PIECE),
                       .seconds = arena_take(a, bytes_of(h->reps, 1, sizeof *r.seconds))};
        if (trial->list) {
            trial->list[i] = r;
        }
    }
}

static size_t list_bytes(const lariat_hop *h)
{
    lariat_hop asked = *h;
    hops_trial counting = {.out = &asked};

    arena_count(&counting.lists);
    take_lists(&counting);
    return counting.lists.used;
}

/* Bytes of memory that holds `ranks` ranks, without memory that they share on the host. SIZE_MAX on overflow. */
static size_t place_bytes(const hops_trial *trial, int32_t ranks)
{
    const lariat_hop *h = trial->out;
    const size_t pieces[] = {trial->block, h->kind == LARIAT_HOP_GATHER ? (size_t)h->bytes : 0,
                             placement_endpoint_bytes(&trial->placement, &trial->transport),
                             placement_device_bytes(&trial->placement, (h->threads + h->ranks - 1) / h->ranks)};

    return bytes_of(ranks, 1, arena_sum(pieces, sizeof pieces / sizeof *pieces));
}

static lariat_status check_fits(const hops_trial *trial, size_t need, int64_t have, const char *where)
{
    if (have >= 0 && need <= (size_t)have) {
        return LARIAT_OK;
    }
    return fail(LARIAT_NO_MEMORY, "hops: %lld bytes on a ring of %d need %.2f GB, %s has %.2f GB free; measure smaller ones",
                (long long)trial->out->bytes, trial->out->ranks, (double)need / 1e9, where, (double)have / 1e9);
}

static lariat_status check_memory(const hops_trial *trial)
{
    const placement *m = &trial->placement;
    int32_t ranks = trial->transport.n_local;
    const size_t shared[] = {placement_shared_bytes(m, &trial->transport), list_bytes(trial->out),
                             bytes_of(ranks, 1, sizeof(local_rank)),
                             on_cards(m) ? 0 : place_bytes(trial, ranks),
                             trial->processes ? bytes_of(2, 1, trial->block) : 0}; /* of the comparison with MPI */

    TRY(check_fits(trial, arena_sum(shared, sizeof shared / sizeof *shared), memory_available(), "this machine"));
    for (int32_t i = 0; i < m->n_cards; i++) {
        TRY(check_fits(trial, place_bytes(trial, (ranks + m->n_cards - 1) / m->n_cards), m->card_free[i], "a GPU"));
    }
    return LARIAT_OK;
}

/* --- one measurement --- */

static lariat_status check_arguments(const lariat_options *o, lariat_hop_kind kind, int64_t bytes, int32_t reps)
{
    TRY(engine_check_options(o));
    if (kind != LARIAT_HOP_KEYS && kind != LARIAT_HOP_GATHER) {
        return fail(LARIAT_BAD_ARGUMENT, "hops: %d is no kind, use one of those that measure.h names", (int)kind);
    }
    if (bytes < 1) {
        return fail(LARIAT_BAD_ARGUMENT, "hops: %lld bytes are out of range, ask for at least one", (long long)bytes);
    }
    if (reps < 1 || reps > LARIAT_HOP_REPS_MAX) {
        return fail(LARIAT_BAD_ARGUMENT, "hops: %d repetitions are out of range, use 1 to %d", reps, LARIAT_HOP_REPS_MAX);
    }
    return LARIAT_OK;
}

/* Ranks and threads as an engine would have them. */
static lariat_status plan_ranks(const lariat_options *o, hops_trial *trial)
{
    lariat_hop *h = trial->out;
    engine_plan plan = {.placement = trial->placement};

    TRY(engine_plan_ranks(o, &plan));
    trial->placement = plan.placement;
    trial->processes = plan.placement.others ? o->processes : NULL;
    trial->threads = plan.threads;
    h->ranks = plan.shown.ranks;
    h->processes = trial->processes ? processes_count(trial->processes->others) : 1;
    trial->in_place = !on_cards(&plan.placement) && h->processes < h->ranks;
    trial->transport = plan.transport;
    if (h->ranks < 2) {
        return fail(LARIAT_BAD_ARGUMENT, "hops: a ring of one has none, use 2 ranks or more");
    }
    h->cards = plan.placement.n_cards;
    h->through_host = plan.placement.through_host;
    if (h->cards) {
        snprintf(h->machine, sizeof h->machine, "%s", plan.placement.name);
    } else {
        h->threads = plan.shown.threads;
        lariat_cpu_name(h->machine, sizeof h->machine);
    }
    return LARIAT_OK;
}

/* The sizes of one hop. */
static lariat_status plan_hops(const lariat_options *o, int64_t bytes, hops_trial *trial)
{
    lariat_hop *h = trial->out;
    bool keys = h->kind == LARIAT_HOP_KEYS;

    TRY(plan_ranks(o, trial));
    trial->block = keys ? (size_t)bytes : (size_t)(bytes / h->ranks) / sizeof(float) * sizeof(float);
    h->bytes = keys ? bytes : h->ranks * (int64_t)trial->block;
    if (h->bytes == 0) {
        return fail(LARIAT_BAD_ARGUMENT,
                    "hops: a gather of %lld bytes among %d ranks, which give whole floats: ask for %zu or more",
                    (long long)bytes, h->ranks, (size_t)h->ranks * sizeof(float));
    }
    if (trial->processes && trial->block > PROCESSES_SWAP_MAX) {
        return fail(LARIAT_BAD_ARGUMENT, "hops: %lld bytes are more than one message of the MPI, measure smaller ones",
                    (long long)bytes);
    }
    int64_t hops = REPETITION_BYTES / h->bytes;
    h->hops = hops < HOPS_LEAST ? HOPS_LEAST : hops > HOPS_MOST ? HOPS_MOST : hops;
    trial->transport.message_bytes = keys ? 0 : (size_t)h->bytes;
    trial->transport.hop_bytes[COMM_KV] = keys ? trial->block : 0;
    return check_memory(trial);
}

/* Checks that need no other process. */
static lariat_status prepare(const lariat_options *o, int64_t bytes, hops_trial *trial)
{
    const lariat_hop *h = trial->out;

    TRY(placement_choose(o, DTYPE_BF16, &trial->placement)); /* hops are of bytes: any type of weights will do */
    TRY(plan_hops(o, bytes, trial));
    TRY(arena_open(&trial->lists, list_bytes(h), "hops"));
    take_lists(trial);
    make_pattern(trial->pattern);
    for (int32_t i = 0; i < h->ranks; i++) {
        for (size_t k = 0; k <= (size_t)h->ranks; k++) {
            trial->list[i].begin[k] = k * trial->block;
        }
    }
    return LARIAT_OK;
}

static lariat_status open_ranks(hops_trial *trial)
{
    TRY(placement_open_transport(&trial->placement, &trial->transport, &trial->comm));
    return ranks_open(&trial->ranks, &trial->placement, trial->comm, trial->out->ranks, &trial->threads);
}

static lariat_status run_ranks(hops_trial *trial)
{
    lariat_status status = ranks_run(&trial->ranks, measure, trial);

    if (status == LARIAT_OK || !trial->processes) {
        (void)ranks_run(&trial->ranks, close_rank, trial);
    }
    return status;
}

/* All processes of the ring do it together, and fail alike. */
static lariat_status open_trial(const lariat_options *o, int64_t bytes, hops_trial *trial)
{
    lariat_processes *p = o->processes && processes_count(o->processes->others) > 1 ? o->processes : NULL;
    lariat_status status = opening_agree_alone(p, prepare(o, bytes, trial));

    NEXT(status, opening_agree_alone(p, open_ranks(trial)));
    return status;
}

/* All processes of the ring do it together. A failure of this one ends the run: the others wait for it. */
static lariat_status run_trial(hops_trial *trial)
{
    lariat_status status = run_ranks(trial);

    NEXT(status, sum_up(trial));
    return status == LARIAT_OK || !trial->processes ? status : tell_failure(trial->processes->others, &trial->ranks, status);
}

/* Safe on one that was opened in part. */
static void close_trial(hops_trial *trial)
{
    ranks_close(&trial->ranks);
    placement_close_transport(&trial->placement, trial->comm);
    arena_close(&trial->lists);
}

lariat_status lariat_measure_hop(const lariat_options *options, lariat_hop_kind kind, int64_t bytes, int32_t reps,
                                 lariat_hop *out)
{
    hops_trial trial = {.out = out};

    *out = (lariat_hop){.kind = kind, .reps = reps};
    TRY(check_arguments(options, kind, bytes, reps));
    if (options->processes && processes_count(options->processes->others) > 1) {
        processes_phase(options->processes->others, "measuring hops");
        TRY(tell_alone(options->processes->others, &(command){.kind = TOLD_HOP, .options = *options, .status = (int32_t)kind,
                                                              .length = bytes, .number = (uint32_t)reps}));
    }
    lariat_status status = open_trial(options, bytes, &trial);
    NEXT(status, run_trial(&trial));
    close_trial(&trial);
    return status;
}

lariat_status hop_follow(const lariat_options *o, const command *c)
{
    lariat_hop out = {.kind = (lariat_hop_kind)c->status, .reps = (int32_t)c->number};
    hops_trial trial = {.out = &out};

    TRY(check_arguments(o, out.kind, c->length, out.reps));
    processes_phase(o->processes->others, "measuring hops");
    bool opened = open_trial(o, c->length, &trial) == LARIAT_OK;
    lariat_status status = opened ? run_trial(&trial) : processes_check(o->processes->others, 0);
    close_trial(&trial);
    return status;
}
