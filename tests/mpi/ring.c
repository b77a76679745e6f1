/* One process of a ring under mpirun: what comes from other processes is what they sent, also after cancelled passes; and when
   a process dies, all others say which one. Contents are a formula of rank, step and place, sizes and delays are drawn from
   seeds that all processes have.
   Rests on comm/processes.h, and for what it has read of the MPI's settings on mpi_processes.h.
     mpi_ring MODULE right        control messages, all-gathers, hops, cancelled passes; uneven ranks a process
     mpi_ring MODULE yields 0|1   Open MPI says that its waits yield the CPU, or that they do not
     mpi_ring MODULE CASE WHO     process WHO fails (killed, killed-waiting, stopped, stopped-asked, failing), which all others
                                  say */
#include "comm/mpi/mpi_processes.h"
#include "comm/processes.h"

#include "base/clock.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    RANKS_MOST = 16,
    PIECES = 5,
    ROUNDS = 60,    /* of all-gathers */
    STEPS = 12,     /* of hops in a pass */
    PASSES = 4,
    CANCELS = 12,
    MESSAGE = 400 << 10,
    REGION = 3 << 20,
    HOP = 1 << 20,
    LARGE = (72 << 20) + 12345 /* more than one message takes */
};

typedef struct worker {
    comm *c;
    comm_group *group;
    int rank, n;
    uint32_t pass;
    bool large;
    unsigned char *region; /* [REGION], or [LARGE] */
    int cancel_at; /* draws until this rank cancels; -1: it does not */
    lariat_status status;
    pthread_t thread;
} worker;

static processes *all;

static _Noreturn void bad(const char *format, ...) __attribute__((format(printf, 1, 2)));

static _Noreturn void bad(const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fprintf(stderr, "process %d: %s\n", all ? processes_number(all) : -1, text);
    _exit(1);
}

static void must(lariat_status status, const char *what)
{
    if (status != LARIAT_OK) {
        bad("%s: %s", what, lariat_error());
    }
}

/* --- what all know --- */

static uint64_t draw(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

static unsigned char byte_of(int rank, uint32_t step, size_t i)
{
    return (unsigned char)((unsigned)rank * 31 + step * 17 + (unsigned)i * 7 + (unsigned)(i >> 8) * 3 + 1);
}

/* Mostly nothing, sometimes a millisecond. */
static void dawdle(uint64_t *own)
{
    uint64_t how = draw(own) % 16;

    if (how == 0) {
        nanosleep(&(struct timespec){.tv_nsec = (long)(draw(own) % 1000000)}, NULL);
    } else if (how < 4) {
        sched_yield();
    }
}

/* --- all-gathers --- */

/* One to four rows; columns are often small, as in decode, and often empty. */
static comm_gather draw_gather(int n, uint32_t round, size_t begin[])
{
    uint64_t s = round * 7919 + 17;
    int64_t rows = (int64_t)(draw(&s) % 5);
    size_t most = draw(&s) % 4 ? 2000 : MESSAGE / 8 / (size_t)n;

    begin[0] = 0;
    for (int r = 0; r < n; r++) {
        begin[r + 1] = begin[r] + (draw(&s) % 3 ? draw(&s) % most : 0);
    }
    return (comm_gather){.rows = rows, .stride = begin[n] + draw(&s) % 64, .begin = rows ? begin : NULL};
}

static void gather_rounds(worker *w, uint64_t *own)
{
    size_t begin[RANKS_MOST + 1];

    for (uint32_t round = 0; round < ROUNDS && w->status == LARIAT_OK; round++) {
        comm_gather g = draw_gather(w->n, round + w->pass * ROUNDS, begin);
        unsigned char *rows = comm_rows(w->c);
        for (int64_t t = 0; t < g.rows; t++) {
            for (size_t i = begin[w->rank]; i < begin[w->rank + 1]; i++) {
                rows[(size_t)t * g.stride + i] = byte_of(w->rank + (int)t, round + w->pass, i);
            }
        }
        dawdle(own);
        if (w->cancel_at >= 0 && w->cancel_at-- == 0) {
            comm_cancel(w->group);
        }
        w->status = comm_all_gather(w->c, &g);
        dawdle(own);
        for (int64_t i = 0; w->status == LARIAT_OK && g.rows && i < g.rows * (int64_t)begin[w->n]; i++) {
            size_t t = (size_t)i / begin[w->n], at = (size_t)i % begin[w->n];
            int r = 0;
            while (at >= begin[r + 1]) {
                r++;
            }
            if (rows[t * g.stride + at] != byte_of(r + (int)t, round + w->pass, at)) {
                bad("rank %d: pass %u: byte %zu of row %zu of all-gather %u is not rank %d's", w->rank, w->pass, at, t, round,
                    r);
            }
        }
    }
}

/* --- hops --- */

/* Pieces within the region, a few of them large; the same for all readers. */
static int draw_pieces(const worker *w, int owner, uint32_t step, comm_piece out[PIECES])
{
    uint64_t s = (uint64_t)step * 104729 + (uint64_t)owner * 31 + (uint64_t)w->pass * 7;
    int n = (int)(draw(&s) % (PIECES + 1));

    if (w->large) {
        out[0] = (comm_piece){.offset = 0, .bytes = LARGE, .stride = LARGE, .rows = 1};
        return 1;
    }
    for (int i = 0; i < n; i++) {
        size_t bytes = draw(&s) % 4 ? draw(&s) % 3000 : draw(&s) % 50000, stride = bytes + draw(&s) % 100;
        out[i] = (comm_piece){.offset = draw(&s) % (REGION / 4), .bytes = bytes, .stride = stride,
                              .rows = (int64_t)(draw(&s) % 4)};
    }
    return n;
}

static void check_hop(const worker *w, const comm_hop *hop)
{
    for (int p = 0; p < hop->offer.n; p++) {
        const comm_piece *piece = &hop->offer.list[p];
        for (int64_t row = 0; row < piece->rows; row++) {
            const unsigned char *at = (const unsigned char *)hop->views[p].at + (size_t)row * hop->views[p].stride;
            size_t from = piece->offset + (size_t)row * piece->stride;
            for (size_t i = 0; i < piece->bytes; i++) {
                if (at[i] != byte_of(hop->owner, w->pass, from + i)) {
                    bad("rank %d: pass %u: byte %zu of row %lld of piece %d of step %u is not rank %d's", w->rank, w->pass, i,
                        (long long)row, p, hop->offer.step, hop->owner);
                }
            }
        }
    }
}

typedef struct open_hop {
    comm_hop hop;
    comm_piece pieces[PIECES];
    comm_view views[PIECES];
} open_hop;

static void ask(worker *w, open_hop *o, int owner, uint32_t step)
{
    int n = draw_pieces(w, owner, step, o->pieces);

    o->hop = (comm_hop){.owner = owner, .offer = {COMM_KV, step, o->pieces, n}, .views = o->views};
    w->status = comm_ask(w->c, &o->hop);
}

/* As the schedule does: the next one travels while one is in use. */
static void go_around(worker *w, uint32_t step, uint64_t *own)
{
    open_hop hops[2];

    for (int hop = 0; hop < w->n && w->status == LARIAT_OK; hop++) {
        open_hop *now = &hops[hop & 1];
        if (hop > 0) {
            w->status = comm_take(w->c, &now->hop);
        }
        if (w->status == LARIAT_OK && hop + 1 < w->n) {
            ask(w, &hops[(hop + 1) & 1], (w->rank + hop + 1) % w->n, step);
        }
        dawdle(own);
        comm_poll(w->c);
        if (hop > 0 && w->status == LARIAT_OK) {
            check_hop(w, &now->hop);
            comm_release(w->c, &now->hop);
        }
    }
}

static void hop_steps(worker *w, uint64_t *own)
{
    comm_piece pieces[PIECES];
    size_t bytes = w->large ? LARGE : REGION;
    uint32_t steps = w->large ? 1 : STEPS;

    for (size_t i = 0; i < bytes; i++) {
        w->region[i] = byte_of(w->rank, w->pass, i);
    }
    for (uint32_t step = 1; step <= steps && w->status == LARIAT_OK; step++) {
        int n = draw_pieces(w, w->rank, step, pieces);
        dawdle(own);
        if (w->cancel_at >= 0 && w->cancel_at-- == 0) {
            comm_cancel(w->group);
        }
        if (step % 2) {
            comm_offer(w->c, COMM_ALL, &(comm_pieces){COMM_KV, step, pieces, n});
        }
        for (int i = 1; step % 2 == 0 && i < w->n; i++) {
            comm_offer(w->c, (w->rank + i) % w->n, &(comm_pieces){COMM_KV, step, pieces, n});
        }
        go_around(w, step, own);
    }
}

/* --- a pass --- */

static void *pass_main(void *arg)
{
    worker *w = arg;
    uint64_t own = (uint64_t)w->rank * 1000003 + w->pass;

    w->status = LARIAT_OK;
    comm_begin(w->c, w->pass, false);
    hop_steps(w, &own);
    if (w->status == LARIAT_OK && !w->large) {
        gather_rounds(w, &own);
    }
    if (w->status == LARIAT_OK) {
        w->status = comm_end(w->c);
    }
    return NULL;
}

/* All have begun a pass: from its number on, passes are newer. */
static void *begin_main(void *arg)
{
    worker *w = arg;

    comm_begin(w->c, w->pass, false);
    w->status = comm_all_gather(w->c, &(comm_gather){0});
    return NULL;
}

static void run_all(worker workers[], int n, void *(*what)(void *arg))
{
    for (int i = 0; i < n; i++) {
        pthread_create(&workers[i].thread, NULL, what, &workers[i]);
    }
    for (int i = 0; i < n; i++) {
        pthread_join(workers[i].thread, NULL);
    }
}

static comm_group *open_ring(worker workers[], bool large)
{
    const process_info *own = processes_of(all, processes_number(all)), *last = processes_of(all, processes_count(all) - 1);
    const comm_setup setup = {.n_ranks = last->first_rank + last->n_ranks, .first = own->first_rank, .n_local = own->n_ranks,
                              .message_bytes = MESSAGE, .hop_bytes = {large ? LARGE : HOP, 64, 64}};
    comm_group *g;

    must(processes_transport(all, &setup, &g), "the transport");
    for (int i = 0; i < own->n_ranks; i++) {
        worker *w = &workers[i];
        *w = (worker){.c = comm_endpoint(g, own->first_rank + i), .group = g, .rank = own->first_rank + i, .n = setup.n_ranks,
                      .large = large, .cancel_at = -1, .region = malloc(large ? LARGE : REGION)};
        comm_expose(w->c, COMM_KV, w->region, large ? LARGE : REGION);
    }
    return g;
}

static void close_ring(comm_group *g, worker workers[], int n)
{
    comm_group_close(g);
    for (int i = 0; i < n; i++) {
        free(workers[i].region);
    }
}

static void expect_pass(worker workers[], int n, uint32_t pass)
{
    for (int i = 0; i < n; i++) {
        workers[i].pass = pass;
        workers[i].cancel_at = -1;
    }
    run_all(workers, n, pass_main);
    for (int i = 0; i < n; i++) {
        must(workers[i].status, "a pass");
    }
}

/* --- right --- */

static size_t size_of(int process, int message)
{
    static const size_t sizes[] = {0, 1, 200, 4088, 4089, 100000, 3};

    return sizes[(size_t)(process + message) % (sizeof sizes / sizeof *sizes)];
}

static void control_messages_come_whole_and_in_order(void)
{
    enum { MESSAGES = 30 };
    static unsigned char mine[1 << 17];
    process_bytes out[RANKS_MOST], told;

    for (int m = 0; m < MESSAGES; m++) {
        int number = processes_number(all);
        for (size_t i = 0; i < sizeof mine; i++) {
            mine[i] = byte_of(number, (uint32_t)m, i);
        }
        must(processes_collect(all, (process_bytes){mine, size_of(number, m)}, out), "collect");
        for (int p = 0; number == 0 && p < processes_count(all); p++) {
            for (size_t i = 0; i < size_of(p, m) || out[p].n != size_of(p, m); i++) {
                if (out[p].n != size_of(p, m) || ((const unsigned char *)out[p].at)[i] != byte_of(p, (uint32_t)m, i)) {
                    bad("collected message %d of process %d differs", m, p);
                }
            }
        }
        if (number == 0) {
            must(processes_tell(all, mine, size_of(0, m)), "tell");
            memset(mine, 0, sizeof mine);
            continue;
        }
        must(processes_hear(all, &told), "hear");
        for (size_t i = 0; i < size_of(0, m) || told.n != size_of(0, m); i++) {
            if (told.n != size_of(0, m) || ((const unsigned char *)told.at)[i] != byte_of(0, (uint32_t)m, i)) {
                bad("message %d of process 0 differs", m);
            }
        }
    }
}

/* A pass that a rank cancels at any moment ends everywhere; after a reset by all, the next one brings what it should. */
static void cancelled_passes_leave_nothing_behind(comm_group *g, worker workers[], int n, uint32_t *pass)
{
    for (int i = 0; i < CANCELS; i++) {
        uint64_t s = (uint64_t)i * 271 + 5;
        int who = (int)(draw(&s) % (uint64_t)workers[0].n);
        ++*pass;
        for (int k = 0; k < n; k++) {
            workers[k].pass = *pass;
            workers[k].cancel_at = workers[k].rank == who ? (int)(draw(&s) % (STEPS + ROUNDS)) : -1;
        }
        run_all(workers, n, pass_main);
        for (int k = 0; k < n; k++) {
            if (workers[k].status != LARIAT_CANCELLED && (workers[k].status != LARIAT_OK || workers[k].rank == who)) {
                bad("rank %d: a cancelled pass: %s", workers[k].rank, lariat_error());
            }
        }
        comm_reset(g);
        if (i % 3 == 0) {
            expect_pass(workers, n, ++*pass);
        }
    }
}

/* All close, at the moment at which one cancels: the others may know it, or not yet. */
static void a_ring_closes_whoever_knows_that_it_is_cancelled(worker workers[], int n)
{
    for (int i = 0; i < CANCELS; i++) {
        comm_group *g = open_ring(workers, false);
        if (i % processes_count(all) == processes_number(all)) {
            comm_cancel(g);
        }
        close_ring(g, workers, n);
    }
}

/* One process asks for a ring that is not its own: nobody gets one. */
static void a_ring_that_one_process_cannot_open_opens_nowhere(void)
{
    for (int who = 0; who < processes_count(all); who++) {
        const process_info *own = processes_of(all, processes_number(all)), *last = processes_of(all, processes_count(all) - 1);
        const comm_setup setup = {.n_ranks = last->first_rank + last->n_ranks, .first = own->first_rank,
                                  .n_local = own->n_ranks + (processes_number(all) == who), .message_bytes = MESSAGE};
        comm_group *g = NULL;
        if (processes_transport(all, &setup, &g) != LARIAT_BAD_ARGUMENT || g) {
            bad("there is a ring that process %d could not open", who);
        }
    }
}

static bool is_here(int rank)
{
    const process_info *own = processes_of(all, processes_number(all));

    return rank >= own->first_rank && rank < own->first_rank + own->n_ranks;
}

/* Every rank asks, and all meet; later each offers. What an owner of another process was late is no time of the hop. */
static void *late_main(void *arg)
{
    enum { BYTES = 256 << 10 };
    worker *w = arg;
    comm_piece piece = {.bytes = BYTES, .stride = BYTES, .rows = 1};
    comm_view view;
    int owner = (w->rank + 1) % w->n, reader = (w->rank + w->n - 1) % w->n;
    comm_hop hop = {.owner = owner, .offer = {COMM_KV, 1, &piece, 1}, .views = &view};
    size_t begin[RANKS_MOST + 1];
    double before = comm_counted(w->c).hop_s;

    comm_begin(w->c, w->pass, false);
    must(comm_ask(w->c, &hop), "a hop");
    must(comm_all_gather(w->c, &(comm_gather){0}), "a meeting");
    nanosleep(&(struct timespec){.tv_nsec = 30000000}, NULL);
    double offered = clock_now();
    comm_offer(w->c, reader, &(comm_pieces){COMM_KV, 1, &piece, 1});
    must(comm_take(w->c, &hop), "a hop");
    double took = comm_counted(w->c).hop_s - before, taken = clock_now();
    comm_release(w->c, &hop);
    for (int r = 0; r <= w->n; r++) {
        begin[r] = (size_t)r * sizeof(double);
    }
    double *all_offered = comm_rows(w->c);
    all_offered[w->rank] = offered;
    must(comm_all_gather(w->c, &(comm_gather){.rows = 1, .stride = begin[w->n], .begin = begin}), "the times of offers");
    if (!is_here(owner) && took > taken - all_offered[owner]) {
        bad("rank %d: a hop took %.3f ms, but was offered %.3f ms before it was taken", w->rank, took * 1e3,
            (taken - all_offered[owner]) * 1e3);
    }
    w->status = comm_end(w->c);
    return NULL;
}

static void a_late_owner_does_not_make_a_hop_longer(worker workers[], int n, uint32_t pass)
{
    for (int i = 0; i < n; i++) {
        workers[i].pass = pass;
    }
    run_all(workers, n, late_main);
    for (int i = 0; i < n; i++) {
        must(workers[i].status, "a pass");
    }
}

static void be_right(void)
{
    int n = processes_of(all, processes_number(all))->n_ranks;
    worker workers[RANKS_MOST];
    uint32_t pass = UINT32_MAX - 2; /* numbers of passes wrap */
    comm_group *g;

    control_messages_come_whole_and_in_order();
    g = open_ring(workers, false);
    for (int i = 0; i < n; i++) {
        workers[i].pass = pass;
    }
    run_all(workers, n, begin_main);
    for (int i = 0; i < PASSES; i++) {
        expect_pass(workers, n, ++pass);
    }
    cancelled_passes_leave_nothing_behind(g, workers, n, &pass);
    a_late_owner_does_not_make_a_hop_longer(workers, n, ++pass);
    close_ring(g, workers, n);
    a_ring_closes_whoever_knows_that_it_is_cancelled(workers, n);
    a_ring_that_one_process_cannot_open_opens_nowhere();
    g = open_ring(workers, false);
    expect_pass(workers, n, 1);
    close_ring(g, workers, n);
    if (workers[0].n == 2 && processes_count(all) == 2) {
        g = open_ring(workers, true);
        expect_pass(workers, n, 1);
        close_ring(g, workers, n);
    }
    control_messages_come_whole_and_in_order();
}

/* --- failures --- */

static _Atomic bool watched;

static void note_failure(void *arg, const char *reason)
{
    if (arg == all && *reason) {
        atomic_store(&watched, true);
    }
}

static const char *const PHASE = "turning the ring";

/* Passes until one ends with a failure; process `who` does what it is to do in the middle of one. */
static void turn_until_the_end(int who, const char *what)
{
    int n = processes_of(all, processes_number(all))->n_ranks;
    worker workers[RANKS_MOST];
    comm_group *g = open_ring(workers, false);

    for (uint32_t pass = 1;; pass++) {
        for (int i = 0; i < n; i++) {
            workers[i].pass = pass;
        }
        if (pass == 4 && processes_number(all) == who) {
            if (strcmp(what, "failing") == 0) {
                processes_fail(all, workers[n - 1].rank, "has no more memory");
                processes_end(all, true);
                _exit(3);
            }
            nanosleep(&(struct timespec){.tv_nsec = 400000000}, NULL); /* so that beats say the phase */
            raise(strcmp(what, "killed") == 0 ? SIGKILL : SIGSTOP);
        }
        run_all(workers, n, pass_main);
        if (workers[0].status == LARIAT_OK) {
            continue;
        }
        for (int i = 0; i < n; i++) {
            if (workers[i].status != LARIAT_CANCELLED && workers[i].status != LARIAT_OK) {
                bad("rank %d: %s", workers[i].rank, lariat_error());
            }
        }
        comm_reset(g); /* waits for nobody */
        comm_group_close(g);
        return;
    }
}

/* All wait for what does not come: process 0 for what process 1 gives, the others for what it tells. */
static void wait_until_the_end(int who)
{
    process_bytes out[RANKS_MOST];

    nanosleep(&(struct timespec){.tv_nsec = 500000000}, NULL); /* so that beats say the phase */
    if (processes_number(all) == who) {
        raise(SIGKILL);
    }
    if ((processes_number(all) ? processes_hear(all, out) : processes_collect(all, (process_bytes){0}, out)) == LARIAT_OK) {
        bad("something came, though nothing was sent");
    }
}

/* As a program does that its launcher ends, long before silence is a failure. */
static void ask_around(int who)
{
    nanosleep(&(struct timespec){.tv_nsec = 700000000}, NULL);
    if (processes_number(all) == who) {
        raise(SIGSTOP);
    }
    for (int i = 0; i < 3 && processes_check(all, 0.6) == LARIAT_OK; i++) {
    }
}

/* What every process but `who` says in the end. */
static void fail_as_told(const char *what, int who)
{
    const process_info *culprit = processes_of(all, who);
    bool fails = strcmp(what, "failing") == 0, dies = strncmp(what, "killed", 6) == 0;
    char expected[256];

    processes_watch(all, note_failure, all);
    processes_phase(all, PHASE);
    if (strcmp(what, "killed-waiting") == 0) {
        wait_until_the_end(who);
    } else if (strcmp(what, "stopped-asked") == 0) {
        ask_around(who);
    } else {
        turn_until_the_end(who, what);
    }
    snprintf(expected, sizeof expected, "rank %d (%s): %s%s",
             culprit->first_rank + (fails ? culprit->n_ranks - 1 : 0), culprit->host,
             fails ? "has no more memory" : (dies ? "has died while " : "stopped answering while "), fails ? "" : PHASE);
    if (processes_check(all, 0) != LARIAT_FAILED || strcmp(lariat_error(), expected) != 0) {
        bad("says \"%s\", not \"%s\"", lariat_error(), expected);
    }
    for (int i = 0; !atomic_load(&watched); i++) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    if (processes_tell(all, NULL, 0) == LARIAT_OK || processes_hear(all, &(process_bytes){0}) == LARIAT_OK) {
        bad("goes on after a failure");
    }
    fprintf(stderr, "process %d has said: %s\n", processes_number(all), expected);
    processes_end(all, true);
    _exit(3);
}

/* --- what MPI has been given --- */

/* A function of the MPI that the module has loaded. */
static void *function_of_mpi(const char *name)
{
    void *symbol = dlsym(RTLD_DEFAULT, name);

    if (!symbol) {
        bad("there is no %s: %s", name, dlerror());
    }
    return symbol;
}

/* By MPI's own interface for its settings. */
static void expect_yields(int expected)
{
    int (*init)(int level, int *provided), (*find)(const char *name, int *index), (*read)(void *handle, void *value);
    int (*open)(int index, void *object, void **handle, int *count);
    void *names[] = {function_of_mpi("MPI_T_init_thread"), function_of_mpi("MPI_T_cvar_get_index"),
                     function_of_mpi("MPI_T_cvar_handle_alloc"), function_of_mpi("MPI_T_cvar_read")};
    int level, index, count;
    long value = 0; /* of a shorter type */
    void *handle;

    memcpy(&init, &names[0], sizeof init);
    memcpy(&find, &names[1], sizeof find);
    memcpy(&open, &names[2], sizeof open);
    memcpy(&read, &names[3], sizeof read);
    if (init(0, &level) || find("mpi_yield_when_idle", &index) || open(index, NULL, &handle, &count) || count != 1 ||
        read(handle, &value)) {
        bad("its setting mpi_yield_when_idle cannot be read");
    }
    if (value != expected) {
        bad("mpi_yield_when_idle is %ld, not %d", value, expected);
    }
    if (((const mpi_processes *)all)->yields != expected) {
        bad("Open MPI's waits %s, those of this library do not", expected ? "yield" : "do not yield");
    }
}

int main(int argc, char *argv[])
{
    const char *own = getenv("OMPI_COMM_WORLD_RANK") ? getenv("OMPI_COMM_WORLD_RANK") : getenv("PMI_RANK");
    const char *ranks = getenv("TEST_RANKS"); /* of each process, a digit */

    if (argc < 3 || !own || !ranks || strlen(ranks) <= strtoul(own, NULL, 10)) {
        fprintf(stderr, "usage, under mpirun, with TEST_RANKS: %s MODULE CASE [WHO]\n", argv[0]);
        return 2;
    }
    double timeout_s = strcmp(argv[2], "stopped") == 0 ? 2 : 60;
    must(processes_start(argv[1], ranks[strtoul(own, NULL, 10)] - '0', timeout_s, &all), "start");
    if (strcmp(argv[2], "right") == 0) {
        be_right();
    } else if (strcmp(argv[2], "yields") == 0) {
        expect_yields(argc > 3 ? (int)strtol(argv[3], NULL, 10) : 0);
    } else {
        fail_as_told(argv[2], argc > 3 ? (int)strtol(argv[3], NULL, 10) : 0);
    }
    processes_end(all, false);
    return 0;
}
