/* Beats, and the state of failure.
   Rests on mpi_wire.c, and on pidfds. See processes.h.

   Each process sends a beat to the process after it, every BEAT_S, and looks for those of the process before it: one message
   each, however many there are. Silence is counted in beats that this process has sent meanwhile, so that a process that was
   stopped itself blames no other. A process of the same machine that has ended is seen at once, by its pidfd. The process that
   finds a failure sends it to all others, and these do not pass it on. Only the process after a dead one knows its phase: the
   others give it a moment to send that. */
#include "comm/mpi/mpi_processes.h"

#include "base/clock.h"
#include "base/threads.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { TAG_BEAT, TAG_NEWS };

/* Calls that deliver a message which is ready: Open MPI looks at some of its queues in one call of several only. No other
   thread may make calls, where a process waits for its user. */
enum { PROGRESS = 20 };

/* Between beats. News that a process sent before it was gone are received within NEWS_S; the process that received its beats
   sends its phase within NAMED_S. One that leaves may be one of many that end; the run ends LEAVES_S later. No process sends
   news for longer than TELL_S. */
static const double BEAT_S = 0.2, NEWS_S = 0.05, NAMED_S = 0.3, LEAVES_S = 1, TELL_S = 1;

/* News to all others, freed when they have left. */
typedef struct told_news {
    mpi_note note;
    mpi_processes *p;
    int open;
    mpi_news news;
} told_news;

static void wake(mpi_processes *p)
{
    uint64_t one = 1;

    (void)!write(p->beats.wake, &one, sizeof one);
}

/* --- news --- */

static void news_left(mpi_note *n, const mpi_done *d)
{
    told_news *t = (told_news *)n;

    (void)d;
    if (--t->open == 0) {
        atomic_fetch_sub(&t->p->beats.telling, 1);
        free(t);
    }
}

/* To processes [first, end) but this one. */
static void tell(mpi_processes *p, const mpi_news *news, int first, int end)
{
    const comm_piece piece = wire_block(sizeof *news);
    told_news *t = malloc(sizeof *t);

    if (!t) {
        return; /* the others will miss this process's beats */
    }
    *t = (told_news){.note = {news_left}, .p = p, .open = 1, .news = *news};
    atomic_fetch_add(&p->beats.telling, 1);
    for (int i = first; i < end; i++) {
        if (i != p->base.number) {
            t->open++;
            wire_send(p, &(mpi_message){MPI_LANE_NEWS, i, TAG_NEWS, &t->news, &piece, 1, &t->note});
        }
    }
    news_left(&t->note, NULL); /* the count that this function held */
}

void beats_tell(mpi_processes *p, const mpi_news *news)
{
    tell(p, news, 0, p->base.count);
}

lariat_status beats_failure(mpi_processes *p)
{
    return fail(LARIAT_FAILED, "%s", p->reason);
}

void beats_fail(mpi_processes *p, int32_t process, int32_t rank, const char *text, bool tell_others)
{
    mpi_news news = {.kind = MPI_NEWS_FAILED, .process = process, .rank = rank};

    if (atomic_load(&p->failed)) {
        return;
    }
    if (p->list) {
        snprintf(p->reason, sizeof p->reason, "rank %d (%s): %s", rank < 0 ? p->list[process].first_rank : rank,
                 p->list[process].host, text);
    } else {
        snprintf(p->reason, sizeof p->reason, "process %d: %s", process, text);
    }
    p->is_own = process == p->base.number;
    atomic_store(&p->failed, true);
    if (p->group) {
        transport_stop(p->group);
    }
    if (tell_others) {
        snprintf(news.text, sizeof news.text, "%s", text);
        beats_tell(p, &news);
    }
    wake(p);
}

/* The process before this one is silent, or has ended. */
static void fail_before(mpi_processes *p, const char *how)
{
    char text[MPI_PHASE_TEXT + 64];
    const char *phase = p->beats.newest.phase;

    snprintf(text, sizeof text, "%s%s%s", how, *phase ? " while " : "", phase);
    beats_fail(p, mpi_before(p, p->base.number), -1, text, true);
}

static void post_news(mpi_processes *p)
{
    const comm_piece piece = wire_block(sizeof p->beats.news);

    wire_receive(p, &(mpi_message){MPI_LANE_NEWS, MPI_ANY, TAG_NEWS, &p->beats.news, &piece, 1, &p->beats.told});
}

static void take_news(mpi_processes *p, const mpi_news *n)
{
    mpi_other *other = p->beats.others ? &p->beats.others[n->process] : NULL;

    if (n->kind == MPI_NEWS_CANCELLED) {
        /* News of two processes arrive in any order. */
        p->cancelled = (int32_t)(n->generation - p->cancelled) > 0 ? n->generation : p->cancelled;
        if (p->group && p->cancelled == p->generation) {
            transport_stop(p->group);
        }
    } else if (n->kind == MPI_NEWS_FAILED) {
        beats_fail(p, n->process, n->rank, n->text, false);
    } else if (other) {
        other->leaves = other->leaves || n->kind == MPI_NEWS_LEAVES;
        other->gone_at = other->gone_at > 0 ? other->gone_at : clock_now();
        wake(p);
    }
}

static void news_came(mpi_note *note, const mpi_done *d)
{
    mpi_processes *p = MPI_NOTE_OF(note, mpi_processes, beats.told);
    mpi_news *n = &p->beats.news;

    if (!d->arrived) {
        return;
    }
    n->text[sizeof n->text - 1] = 0;
    if (d->bytes == sizeof *n && n->process >= 0 && n->process < p->base.count) {
        take_news(p, n);
    }
    post_news(p);
}

/* --- beats --- */

static void post_beat(mpi_processes *p)
{
    const comm_piece piece = wire_block(sizeof p->beats.in);
    int from = mpi_before(p, p->base.number);

    wire_receive(p, &(mpi_message){MPI_LANE_NEWS, from, TAG_BEAT, &p->beats.in, &piece, 1, &p->beats.heard});
}

static void beat_came(mpi_note *note, const mpi_done *d)
{
    mpi_processes *p = MPI_NOTE_OF(note, mpi_processes, beats.heard);

    if (d->arrived) {
        p->beats.newest = p->beats.in;
        p->beats.newest.phase[MPI_PHASE_TEXT - 1] = 0;
        p->beats.missed = 0;
        atomic_store(&p->beats.heard_at, clock_now());
        post_beat(p);
    }
}

static void beat_left(mpi_note *note, const mpi_done *d)
{
    (void)d;
    MPI_NOTE_OF(note, mpi_processes, beats.sent)->beats.sending = false;
}

/* Sends a beat if it is due, and counts those that did not arrive. */
static void beat(mpi_processes *p)
{
    mpi_beats *b = &p->beats;
    const comm_piece piece = wire_block(sizeof b->out);
    double now = clock_now();

    if (now < b->next_at) {
        return;
    }
    b->next_at = now + BEAT_S;
    if (!b->sending) {
        b->sending = true;
        b->out.number++;
        snprintf(b->out.phase, sizeof b->out.phase, "%s", atomic_load(&p->phase));
        wire_send(p, &(mpi_message){MPI_LANE_NEWS, mpi_after(p, p->base.number), TAG_BEAT, &b->out, &piece, 1, &b->sent});
    }
    if (b->missed++ * BEAT_S >= p->timeout_s) {
        fail_before(p, "stopped answering");
    }
}

/* Processes that have ended, or say so. At the end of the run they may, a moment before this one. */
static void look_for_the_gone(mpi_processes *p)
{
    double now = clock_now();

    for (int i = 0; p->beats.others && i < p->base.count; i++) {
        const mpi_other *o = &p->beats.others[i];
        bool is_before = i == mpi_before(p, p->base.number);
        if (o->gone_at <= 0) {
            continue;
        }
        if (o->leaves) {
            if (now > o->gone_at + LEAVES_S) {
                beats_fail(p, i, -1, "has ended before the others", true);
            }
        } else if (is_before && now > o->gone_at + (atomic_load(&p->ends) ? NAMED_S : NEWS_S)) {
            fail_before(p, "has died");
        } else if (!is_before && now > o->gone_at + 2 * NAMED_S) {
            beats_fail(p, i, -1, "has died", true);
        }
    }
}

bool beats_is_gone(const mpi_processes *p, int process)
{
    return p->beats.others && process >= 0 && p->beats.others[process].gone_at > 0;
}

bool beats_gone(mpi_processes *p, int process)
{
    mpi_other *o = p->beats.others ? &p->beats.others[process] : NULL;
    int after = mpi_after(p, process);

    if (o && o->gone_at <= 0) {
        o->gone_at = clock_now();
        tell(p, &(mpi_news){.kind = MPI_NEWS_GONE, .process = process}, after, after + 1);
        wake(p);
    }
    return o;
}

static void note_end(mpi_processes *p, int process)
{
    mpi_other *o = &p->beats.others[process];

    close(o->alive);
    o->alive = -1;
    (void)beats_gone(p, process);
}

/* Who is to be watched: the pidfds in `ends`, behind the eventfd. Returns how long nothing else is due, in milliseconds. */
static int list_ends(const mpi_processes *p, struct pollfd *ends)
{
    const mpi_beats *b = &p->beats;
    double wait = b->next_at - clock_now();

    ends[0] = (struct pollfd){.fd = b->wake, .events = POLLIN};
    for (int i = 0; i < p->base.count; i++) {
        ends[1 + i] = (struct pollfd){.fd = b->others ? b->others[i].alive : -1, .events = POLLIN};
        if (b->others && b->others[i].gone_at > 0 && !atomic_load(&p->failed)) {
            wait = wait > NEWS_S / 2 ? NEWS_S / 2 : wait;
        }
    }
    return wait > 0 ? 1 + (int)(wait * 1000) : 0;
}

static void *beats_main(void *arg)
{
    mpi_processes *p = arg;
    struct pollfd *ends = calloc((size_t)p->base.count + 1, sizeof *ends);
    uint64_t count;

    while (ends && !atomic_load(&p->beats.stop)) {
        wire_lock(p);
        for (int i = 0; i < p->base.count; i++) {
            if (ends[1 + i].revents) {
                note_end(p, i);
            }
        }
        look_for_the_gone(p);
        beat(p);
        for (int i = 0; i < PROGRESS; i++) {
            wire_progress(p);
        }
        bool tells = atomic_load(&p->failed) && !p->is_own && !p->told && p->watcher;
        p->told = p->told || tells;
        int wait = list_ends(p, ends);
        wire_unlock(p);
        if (tells) {
            p->watcher(p->watcher_arg, p->reason);
        }
        (void)poll(ends, (nfds_t)p->base.count + 1, wait);
        if (ends[0].revents) {
            (void)!read(p->beats.wake, &count, sizeof count);
        }
    }
    free(ends);
    return NULL;
}

/* --- starting and ending --- */

lariat_status beats_start(mpi_processes *p)
{
    mpi_beats *b = &p->beats;

    b->sent.done = beat_left;
    b->heard.done = beat_came;
    b->told.done = news_came;
    b->next_at = clock_now();
    atomic_store(&b->heard_at, b->next_at);
    b->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (b->wake < 0) {
        return fail(LARIAT_IO, "processes: eventfd: %s", strerror(errno));
    }
    if (p->base.count == 1) {
        return LARIAT_OK;
    }
    wire_lock(p);
    post_beat(p);
    post_news(p);
    wire_unlock(p);
    int error = thread_start(&b->thread, beats_main, p);
    if (error) {
        return fail(LARIAT_NO_MEMORY, "processes: cannot start the thread of beats: %s", strerror(error));
    }
    b->started = true;
    return LARIAT_OK;
}

lariat_status beats_watch(mpi_processes *p)
{
    mpi_other *others = calloc((size_t)p->base.count, sizeof *others);

    TRY_MEMORY(others, "processes: no memory" FREE_MEMORY);
    for (int i = 0; i < p->base.count; i++) {
        bool is_near = i != p->base.number && processes_share_host(&p->base, i, p->base.number);
        others[i].alive = is_near ? (int)syscall(SYS_pidfd_open, p->list[i].pid, 0) : -1;
        if (is_near && others[i].alive < 0 && errno == ESRCH) {
            others[i].gone_at = clock_now();
        }
    }
    wire_lock(p);
    p->beats.others = others;
    wire_unlock(p);
    wake(p);
    return LARIAT_OK;
}

void beats_stop(mpi_processes *p)
{
    mpi_beats *b = &p->beats;

    atomic_store(&b->stop, true);
    if (b->started) {
        wake(p);
        pthread_join(b->thread, NULL);
    }
    for (int i = 0; b->others && i < p->base.count; i++) {
        if (b->others[i].alive >= 0) {
            close(b->others[i].alive);
        }
    }
    free(b->others);
    b->others = NULL;
    if (b->wake >= 0) {
        close(b->wake);
    }
}

/* --- calls of processes.h --- */

static bool nothing_to_tell(mpi_processes *p, double begin)
{
    return atomic_load(&p->beats.telling) == 0 || clock_now() - begin > TELL_S;
}

static void wait_until_told(mpi_processes *p)
{
    double begin = clock_now();

    for (int look = 0; !nothing_to_tell(p, begin); look++) {
        wire_look(p, look, begin, BEAT_S / 100);
    }
}

void beats_announce(processes *base, int32_t rank, const char *reason)
{
    mpi_processes *p = (mpi_processes *)base;

    wire_lock(p);
    beats_fail(p, base->number, rank, reason, true);
    wire_unlock(p);
    wait_until_told(p);
}

void beats_leave(mpi_processes *p)
{
    wire_lock(p);
    beats_tell(p, &(mpi_news){.kind = MPI_NEWS_LEAVES, .process = p->base.number});
    wire_unlock(p);
    wait_until_told(p);
}

/* The letter of a process of this host in /proc/PID/stat: 'T' if it was stopped; 0: not known. */
static char state_of(int pid)
{
    char path[64], line[512] = "";

    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *f = fopen(path, "re");
    if (f) {
        (void)!fgets(line, sizeof line, f);
        fclose(f);
    }
    const char *name_end = strrchr(line, ')');
    return name_end && name_end[1] == ' ' ? name_end[2] : 0;
}

/* The process before this one is on this host and runs: it has neither ended nor been stopped, whatever became of its
   beats. */
static bool is_before_running(mpi_processes *p)
{
    int before = mpi_before(p, p->base.number);

    wire_lock(p);
    bool is_near = p->beats.others && p->beats.others[before].alive >= 0;
    wire_unlock(p);
    char state = is_near ? state_of(p->list[before].pid) : 0;
    return state && !strchr("TtZX", state);
}

lariat_status beats_check(processes *base, double wait_s)
{
    mpi_processes *p = (mpi_processes *)base;
    double begin = clock_now();

    while (!atomic_load(&p->failed) && clock_now() < begin + wait_s && base->count > 1) {
        wire_look(p, 1 << 20, 0, BEAT_S / 20);
        double heard_at = atomic_load(&p->beats.heard_at), since = heard_at > begin ? heard_at : begin;
        /* The rest is for the news to reach the others. A busy host delays beats of its processes: these are not blamed. */
        if (clock_now() - since > 0.8 * wait_s && !is_before_running(p)) {
            wire_lock(p);
            fail_before(p, "stopped answering");
            wire_unlock(p);
        }
    }
    return atomic_load(&p->failed) ? beats_failure(p) : LARIAT_OK;
}

void beats_set_watcher(processes *base, void (*fn)(void *arg, const char *reason), void *arg)
{
    mpi_processes *p = (mpi_processes *)base;

    wire_lock(p);
    p->watcher = fn;
    p->watcher_arg = arg;
    wire_unlock(p);
    wake(p);
}
