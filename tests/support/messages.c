/* Ranks that exchange messages: queues between each two of them, and what each rank has sent and asked for.
   Rests on pthreads. See messages.h for the rules. */
#include "support/messages.h"

#include "base/arena.h"
#include "base/clock.h"

#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    GATHER = COMM_REGIONS, /* beside the regions: a kind of message */
    KINDS,
    POISON = 0xff,     /* in every byte: NaN in all types of floats */
    HANG_S = 60,       /* a wait that takes longer never ends */
    YIELDS = 20,       /* of a wait, before it sleeps between two looks */
    SLEEP_NS = 20000,
    LATE_NS = 100000,  /* at most, from a message's leaving until it can be seen */
    AT_ONCE = 8,       /* of the manners in which messages travel, the one without a delay */
    DELAYS = 4         /* one pass in so many has delays: in all, suites of many short passes would take minutes */
};

typedef struct message {
    struct message *next;
    int kind;
    uint32_t pass, step;
    const unsigned char *from; /* the sender's memory in which the pieces lie */
    comm_piece *list;          /* [n] */
    int n;
    unsigned char *data; /* the packed pieces; NULL: they have not left yet */
    int held;            /* calls of the sender before they can leave */
    bool on_request, requested;
    int hidden; /* looks of the receiver, and the time, before they can be seen */
    double hidden_until;
    bool lost; /* of a pass that was cancelled */
} message;

typedef struct channel {
    _Atomic int n; /* messages: where there is none, nothing is locked */
    pthread_mutex_t lock;
    message *first;
} channel;

typedef struct open_hop {
    const comm_hop *hop;
    double asked_at, there;
    unsigned char *data; /* NULL: not there yet */
} open_hop;

typedef struct hop_queue {
    uint64_t asked, taken, released;
    open_hop open[COMM_OPEN_HOPS]; /* by turns */
} hop_queue;

typedef struct endpoint {
    comm base;
    messages_group *group;
    uint64_t random;
    struct {
        const unsigned char *base;
        size_t bytes;
    } region[COMM_REGIONS];
    uint32_t *offered[COMM_REGIONS]; /* [n]: the last step to each rank */
    hop_queue hops[COMM_REGIONS];
    int unsent[KINDS];
    unsigned char *rows[2]; /* [message_bytes] */
    size_t spans[2];        /* of each that are not poison */
    uint32_t gathers;       /* so far */
    const comm_gather *gather; /* under way */
    bool *got;                 /* [n]: whose columns are there */
    _Atomic bool at_end;       /* asks for no more in this pass */
} endpoint;

struct messages_group {
    int n; /* of the ring */
    comm_setup setup;
    uint32_t seed;
    endpoint *ranks;   /* [n] */
    channel *channels; /* [n, n]: from, to */
    _Atomic bool cancelled;
    _Atomic int open; /* views of it */
};

/* The ranks of one process. */
typedef struct messages_view {
    comm_group base;
    messages_group *group;
    messages_meeting meeting;
} messages_view;

static const comm_ops messages_ops;

/* --- seeds, and how it ends --- */

static _Atomic uint32_t last_seed;

static void tell_seed(int status, void *unused)
{
    (void)unused;
    if (status != EXIT_SUCCESS) {
        fprintf(stderr, "messages: the last seed was %u; MESSAGES_SEED says the first\n", atomic_load(&last_seed));
    }
}

static void first_seed(void)
{
    const char *text = getenv("MESSAGES_SEED");

    atomic_store(&last_seed, text ? (uint32_t)strtoul(text, NULL, 10) - 1 : 0);
    on_exit(tell_seed, NULL);
}

static uint32_t next_seed(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, first_seed);
    return atomic_fetch_add(&last_seed, 1) + 1;
}

__attribute__((format(printf, 2, 3))) static _Noreturn void refuse(const endpoint *c, const char *format, ...)
{
    va_list arguments;

    fprintf(stderr, "messages: seed %u, rank %d, pass %u: ", c->group->seed, c->base.rank, c->base.pass);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    abort();
}

/* A number in [0, n), this rank's. */
static int draw(endpoint *c, int n)
{
    c->random = c->random * 6364136223846793005u + 1442695040888963407u;
    return (int)((c->random >> 33) % (unsigned)n);
}

/* --- messages --- */

static const char *kind_name(int kind)
{
    static const char *const names[] = {
        [COMM_KV] = "keys", [COMM_QUERIES] = "queries", [COMM_PARTIALS] = "partial results", [GATHER] = "an all-gather"};

    return names[kind];
}

static size_t packed_bytes(const comm_piece list[], int n)
{
    size_t sum = 0;

    for (int i = 0; i < n; i++) {
        sum += (size_t)list[i].rows * list[i].bytes;
    }
    return sum;
}

static channel *channel_of(const endpoint *c, int from, int to)
{
    return &c->group->channels[from * c->base.n + to];
}

static void *memory_or_end(size_t bytes)
{
    void *memory = malloc(bytes ? bytes : 1);

    if (!memory) {
        perror("messages");
        abort();
    }
    return memory;
}

static void free_message(message *m)
{
    free(m->list);
    free(m->data);
    free(m);
}

static void post(endpoint *c, int to, int kind, uint32_t step, const unsigned char *from, const comm_piece list[], int n)
{
    channel *q = channel_of(c, c->base.rank, to);
    message *m = memory_or_end(sizeof *m), **last = &q->first;
    int manner = (c->group->seed + c->base.pass) % DELAYS == 0 ? draw(c, 8) : AT_ONCE;

    *m = (message){.kind = kind, .pass = c->base.pass, .step = step, .from = from, .n = n};
    m->list = memory_or_end((size_t)n * sizeof *list);
    if (n) {
        memcpy(m->list, list, (size_t)n * sizeof *list);
    }
    m->held = manner < 3 ? draw(c, 8) : 0;
    m->on_request = manner == 3 || manner == 4;
    m->hidden = manner > 3 && manner != AT_ONCE ? draw(c, 6) : 0;
    c->unsent[kind]++;
    pthread_mutex_lock(&q->lock);
    while (*last) {
        last = &(*last)->next;
    }
    *last = m;
    atomic_fetch_add(&q->n, 1);
    pthread_mutex_unlock(&q->lock);
}

/* The bytes leave the sender's memory. */
static void leave(endpoint *c, message *m)
{
    unsigned char *to = m->data = memory_or_end(packed_bytes(m->list, m->n));

    for (int i = 0; i < m->n; i++) {
        const comm_piece *p = &m->list[i];
        for (int64_t row = 0; row < p->rows; row++, to += p->bytes) {
            memcpy(to, m->from + p->offset + (size_t)row * p->stride, p->bytes);
        }
    }
    m->hidden_until = m->hidden ? clock_now() + draw(c, LATE_NS) * 1e-9 : 0;
    c->unsent[m->kind]--;
}

static bool any_unsent(const endpoint *c)
{
    int sum = 0;

    for (int k = 0; k < KINDS; k++) {
        sum += c->unsent[k];
    }
    return sum > 0;
}

static void send_due(endpoint *c)
{
    for (int i = 1; i < c->base.n && any_unsent(c); i++) {
        channel *q = channel_of(c, c->base.rank, (c->base.rank + i) % c->base.n);
        if (atomic_load(&q->n) == 0) {
            continue;
        }
        pthread_mutex_lock(&q->lock);
        for (message *m = q->first; m; m = m->next) {
            if (!m->data && m->held > 0) {
                m->held--;
            } else if (!m->data && (!m->on_request || m->requested)) {
                leave(c, m);
            }
        }
        pthread_mutex_unlock(&q->lock);
    }
}

/* A message that can be seen and is looked for, out of its queue; NULL: there is none yet. Those of older passes are dropped on
   the way. */
static message *receive(endpoint *c, int from, int kind, uint32_t step)
{
    channel *q = channel_of(c, from, c->base.rank);
    message *found = NULL;

    if (atomic_load(&q->n) == 0) {
        return NULL;
    }
    pthread_mutex_lock(&q->lock);
    for (message **at = &q->first; *at && !found;) {
        message *m = *at;
        bool older = (int32_t)(m->pass - c->base.pass) < 0,
             wanted = m->pass == c->base.pass && m->kind == kind && m->step == step;
        if (older && !m->lost) {
            refuse(c, "has not taken step %u of %s from rank %d in pass %u", m->step, kind_name(m->kind), from, m->pass);
        }
        m->requested = m->requested || wanted;
        if (wanted && m->data && m->hidden-- <= 0 && clock_now() >= m->hidden_until) {
            found = m;
        }
        if (older || found) {
            *at = m->next;
            atomic_fetch_sub(&q->n, 1);
        } else {
            at = &m->next;
        }
        if (older) {
            free_message(m);
        }
    }
    pthread_mutex_unlock(&q->lock);
    return found;
}

static void expect_pieces(const endpoint *c, const message *m, int from, const comm_piece list[], int n)
{
    if (m->n != n) {
        refuse(c, "expects %d pieces in step %u of %s, rank %d has sent %d", n, m->step, kind_name(m->kind), from, m->n);
    }
    for (int i = 0; i < n; i++) {
        const comm_piece *a = &m->list[i], *b = &list[i];
        if (a->rows != b->rows || a->bytes != b->bytes || a->offset != b->offset || a->stride != b->stride) {
            refuse(
                c,
                "expects %lld rows of %zu bytes in piece %d of step %u of %s, rank %d has sent %lld of %zu or from elsewhere",
                (long long)b->rows, b->bytes, i, m->step, kind_name(m->kind), from, (long long)a->rows, a->bytes);
        }
    }
}

/* --- progress --- */

/* The hop's bytes, if they are there, come into memory of their own. */
static void land(endpoint *c, open_hop *h)
{
    const comm_pieces *p = &h->hop->offer;
    message *m = receive(c, h->hop->owner, (int)p->region, p->step);

    if (m) {
        expect_pieces(c, m, h->hop->owner, p->list, p->n);
        size_t bytes = packed_bytes(p->list, p->n);
        h->data = memory_or_end(bytes);
        memcpy(h->data, m->data, bytes);
        h->there = clock_now();
        free_message(m);
    }
}

static void land_columns(endpoint *c)
{
    const comm_gather *g = c->gather;
    unsigned char *rows = c->rows[c->gathers & 1];

    for (int r = 0; r < c->base.n; r++) {
        message *m = c->got[r] ? NULL : receive(c, r, GATHER, c->gathers);
        if (m && g->rows) {
            const comm_piece columns = {.offset = g->begin[r], .bytes = g->begin[r + 1] - g->begin[r], .stride = g->stride,
                                        .rows = g->rows};
            expect_pieces(c, m, r, &columns, 1);
            for (int64_t row = 0; row < g->rows; row++) {
                memcpy(rows + columns.offset + (size_t)row * g->stride, m->data + (size_t)row * columns.bytes, columns.bytes);
            }
        }
        c->got[r] = c->got[r] || m;
        if (m) {
            free_message(m);
        }
    }
}

static void messages_poll(comm *base)
{
    endpoint *c = (endpoint *)base;

    send_due(c);
    for (int k = 0; k < COMM_REGIONS; k++) {
        hop_queue *q = &c->hops[k];
        for (uint64_t i = q->taken; i < q->asked; i++) {
            open_hop *h = &q->open[i % COMM_OPEN_HOPS];
            if (!h->data && h->hop->owner != base->rank) {
                land(c, h);
            }
        }
    }
    if (c->gather) {
        land_columns(c);
    }
}

static lariat_status cancelled(const endpoint *c)
{
    return fail(LARIAT_CANCELLED, "rank %d: another rank stopped", c->base.rank);
}

typedef bool condition(endpoint *c, const void *arg);

/* Makes progress until the condition holds. `wait`: its owner is set by the caller; NULL: it is not counted. */
static lariat_status wait_for(endpoint *c, condition *holds, const void *arg, lariat_span *wait, const char *what)
{
    double begin = clock_now();
    bool there = false;

    for (int i = 0; !atomic_load(&c->group->cancelled) && !(there = holds(c, arg)); i++) {
        messages_poll(&c->base);
        if (i < YIELDS) {
            sched_yield();
        } else {
            nanosleep(&(struct timespec){.tv_nsec = SLEEP_NS}, NULL);
        }
        if (clock_now() - begin > HANG_S) {
            refuse(c, "waits for %s for a minute", what);
        }
    }
    if (wait) {
        wait->kind = LARIAT_SPAN_WAIT;
        wait->begin = begin;
        wait->end = clock_now();
        c->base.counted.wait_s += wait->end - wait->begin;
        if (c->base.trace) {
            trace_take(c->base.trace, *wait);
        }
    }
    return there ? LARIAT_OK : cancelled(c);
}

/* --- all-gathers --- */

static void *messages_rows(comm *base)
{
    endpoint *c = (endpoint *)base;

    return c->rows[(c->gathers + 1) & 1];
}

/* Columns of others that were written here would be another rank's where ranks share their rows. */
static void expect_poison(const endpoint *c, const comm_gather *g, const unsigned char *rows)
{
    for (int64_t row = 0; row < g->rows; row++) {
        for (size_t i = 0; i < g->begin[c->base.n]; i++) {
            bool own = i >= g->begin[c->base.rank] && i < g->begin[c->base.rank + 1];
            if (!own && rows[(size_t)row * g->stride + i] != POISON) {
                refuse(c, "has written byte %zu of row %lld of an all-gather, which is another rank's", i, (long long)row);
            }
        }
    }
}

static bool gathered(endpoint *c, const void *unused)
{
    bool all = c->unsent[GATHER] == 0; /* the rows are this rank's again */

    (void)unused;
    for (int r = 0; r < c->base.n; r++) {
        all = all && c->got[r];
    }
    return all;
}

static lariat_status messages_all_gather(comm *base, const comm_gather *g)
{
    endpoint *c = (endpoint *)base;
    size_t bytes = comm_gather_bytes(g, base->n);
    unsigned char *rows = messages_rows(base), *before = c->rows[c->gathers & 1];

    if (bytes > c->group->setup.message_bytes) {
        return fail(LARIAT_FAILED, "rank %d: rows of %zu bytes, planned were %zu", base->rank, bytes,
                    c->group->setup.message_bytes);
    }
    memset(before, POISON, c->spans[c->gathers & 1]);
    c->spans[c->gathers++ & 1] = 0;
    c->spans[c->gathers & 1] = bytes;
    expect_poison(c, g, rows);
    for (int r = 0; r < base->n; r++) {
        size_t first = g->rows ? g->begin[base->rank] : 0, width = g->rows ? g->begin[base->rank + 1] - first : 0;
        const comm_piece mine = {.offset = first, .bytes = width, .stride = g->stride, .rows = g->rows};
        if (r != base->rank && (width || !g->rows)) {
            post(c, r, GATHER, c->gathers, rows, &mine, 1);
        }
        c->got[r] = r == base->rank || (g->rows && g->begin[r + 1] == g->begin[r]);
    }
    c->gather = g;
    lariat_status status = wait_for(c, gathered, NULL, &(lariat_span){.owner = -1}, "an all-gather");
    c->gather = NULL;
    return status;
}

/* --- hops --- */

static void messages_expose(comm *base, comm_region region, const void *at, size_t bytes)
{
    endpoint *c = (endpoint *)base;

    c->region[region].base = at;
    c->region[region].bytes = bytes;
}

static bool within(const endpoint *c, const comm_pieces *p)
{
    bool all = true;

    for (int i = 0; i < p->n; i++) {
        const comm_piece *piece = &p->list[i];
        size_t end = piece->rows > 0 ? piece->offset + (size_t)(piece->rows - 1) * piece->stride + piece->bytes : 0;
        all = all && end <= c->region[p->region].bytes;
    }
    return all;
}

static void offer_to(endpoint *c, int to, const comm_pieces *p)
{
    uint32_t *last = &c->offered[p->region][to];

    if (p->step <= *last || p->step > COMM_STEPS_MAX) {
        refuse(c, "offers step %u of %s to rank %d after step %u", p->step, kind_name((int)p->region), to, *last);
    }
    *last = p->step;
    if (to != c->base.rank) {
        post(c, to, (int)p->region, p->step, c->region[p->region].base, p->list, p->n);
    }
}

static void messages_offer(comm *base, int to, const comm_pieces *p)
{
    endpoint *c = (endpoint *)base;
    size_t bytes = packed_bytes(p->list, p->n), planned = c->group->setup.hop_bytes[p->region];

    if (atomic_load(&c->group->cancelled)) {
        return;
    }
    if (atomic_load(&c->at_end)) {
        refuse(c, "offers step %u of %s after the end of the pass", p->step, kind_name((int)p->region));
    }
    if (!within(c, p) || bytes > planned) {
        refuse(c, "offers %zu bytes of %s, planned were %zu, or bytes that it does not have", bytes, kind_name((int)p->region),
               planned);
    }
    for (int r = 0; r < base->n; r++) {
        if (to == COMM_ALL || to == r) {
            offer_to(c, r, p);
        }
    }
    messages_poll(base);
}

static lariat_status messages_ask(comm *base, const comm_hop *hop)
{
    endpoint *c = (endpoint *)base;
    hop_queue *q = &c->hops[hop->offer.region];

    if (atomic_load(&c->group->cancelled)) {
        return cancelled(c);
    }
    q->open[q->asked++ % COMM_OPEN_HOPS] = (open_hop){.hop = hop, .asked_at = clock_now()};
    messages_poll(base);
    return LARIAT_OK;
}

static bool is_there(endpoint *c, const void *arg)
{
    const open_hop *h = arg;
    const comm_pieces *p = &h->hop->offer;

    return h->data || (h->hop->owner == c->base.rank && c->offered[p->region][c->base.rank] >= p->step);
}

static void count_hop(endpoint *c, const open_hop *h, const lariat_span *wait)
{
    comm_counters *counted = &c->base.counted;
    int64_t bytes = (int64_t)packed_bytes(h->hop->offer.list, h->hop->offer.n);

    counted->hops++;
    counted->hop_s += h->there - h->asked_at;
    counted->hop_wait_s += h->there > wait->begin ? h->there - wait->begin : 0;
    counted->hop_bytes = bytes > counted->hop_bytes ? bytes : counted->hop_bytes;
    if (c->base.trace) {
        lariat_span span = {
            .kind = LARIAT_SPAN_HOP, .begin = h->asked_at, .end = h->there, .owner = h->hop->owner, .bytes = bytes};
        trace_take(c->base.trace, span);
    }
}

static lariat_status messages_take(comm *base, comm_hop *hop)
{
    endpoint *c = (endpoint *)base;
    const comm_pieces *p = &hop->offer;
    hop_queue *q = &c->hops[p->region];
    open_hop *h = &q->open[q->taken % COMM_OPEN_HOPS];
    lariat_span wait = {.owner = hop->owner};
    size_t at = 0;

    TRY(wait_for(c, is_there, h, &wait, kind_name((int)p->region)));
    if (hop->owner == base->rank && !within(c, p)) {
        return fail(LARIAT_FAILED, "rank %d: takes bytes that it does not have", base->rank);
    }
    for (int i = 0; i < p->n; i++) {
        const comm_piece *piece = &p->list[i];
        hop->views[i] = h->data ? (comm_view){h->data + at, piece->bytes}
                                : (comm_view){c->region[p->region].base + piece->offset, piece->stride};
        at += (size_t)piece->rows * piece->bytes;
    }
    if (h->data) {
        count_hop(c, h, &wait);
    }
    q->taken++;
    return LARIAT_OK;
}

static void messages_release(comm *base, const comm_hop *hop)
{
    endpoint *c = (endpoint *)base;
    hop_queue *q = &c->hops[hop->offer.region];
    open_hop *h = &q->open[q->released % COMM_OPEN_HOPS];

    if (q->released == q->taken || h->hop != hop) {
        refuse(c, "releases a hop of %s that it has not taken", kind_name((int)hop->offer.region));
    }
    if (h->data) {
        memset(h->data, POISON, packed_bytes(hop->offer.list, hop->offer.n));
    }
    free(h->data);
    h->data = NULL;
    q->released++;
    messages_poll(base);
}

/* --- passes --- */

static void messages_begin(comm *base, bool replays)
{
    endpoint *c = (endpoint *)base;

    (void)replays;
    atomic_store(&c->at_end, false);
    for (int k = 0; k < COMM_REGIONS; k++) {
        if (c->hops[k].asked != c->hops[k].released) {
            refuse(c, "has not released %s of the pass before", kind_name(k));
        }
        memset(c->offered[k], 0, (size_t)base->n * sizeof *c->offered[k]);
    }
    if (any_unsent(c)) {
        refuse(c, "begins before what it offered in the pass before has left");
    }
}

/* An offer that its receiver, which asks for no more, has not asked for would stay here. */
static bool all_left(endpoint *c, const void *unused)
{
    (void)unused;
    for (int r = 0; r < c->base.n; r++) {
        channel *q = channel_of(c, c->base.rank, r);
        bool ended = atomic_load(&c->group->ranks[r].at_end);
        pthread_mutex_lock(&q->lock);
        for (message *m = q->first; ended && m; m = m->next) {
            if (!m->data && m->on_request && !m->requested) {
                refuse(c, "rank %d has not taken step %u of %s", r, m->step, kind_name(m->kind));
            }
        }
        pthread_mutex_unlock(&q->lock);
    }
    return !any_unsent(c);
}

static lariat_status messages_end(comm *base)
{
    endpoint *c = (endpoint *)base;

    atomic_store(&c->at_end, true);
    return wait_for(c, all_left, NULL, &(lariat_span){.owner = -1}, "its offers to leave");
}

/* --- the group --- */

static comm *messages_endpoint(comm_group *base, int rank)
{
    return &((messages_view *)base)->group->ranks[rank].base;
}

static lariat_status messages_attach(comm *base, device *dev)
{
    if (!dev->shares_host) {
        return fail(LARIAT_FAILED, "rank %d: a device with memory of its own on a transport of messages", base->rank);
    }
    return LARIAT_OK;
}

void messages_group_cancel(messages_group *g)
{
    atomic_store(&g->cancelled, true);
}

static void messages_cancel(comm_group *base)
{
    messages_group_cancel(((messages_view *)base)->group);
}

/* Messages that have left may arrive in a later pass. */
static void lose_messages(channel *q)
{
    for (message **at = &q->first; *at;) {
        message *m = *at;
        m->lost = true;
        if (m->data) {
            at = &m->next;
        } else {
            *at = m->next;
            atomic_fetch_sub(&q->n, 1);
            free_message(m);
        }
    }
}

static void reset_rank(endpoint *c)
{
    for (int k = 0; k < COMM_REGIONS; k++) {
        for (int i = 0; i < COMM_OPEN_HOPS; i++) {
            free(c->hops[k].open[i].data);
        }
    }
    memset(c->hops, 0, sizeof c->hops);
    memset(c->unsent, 0, sizeof c->unsent);
    for (int i = 0; i < 2; i++) {
        memset(c->rows[i], POISON, c->group->setup.message_bytes);
    }
    c->gathers = 0;
}

static void reset_all(void *group)
{
    messages_group *g = group;

    for (int i = 0; i < g->n * g->n; i++) {
        lose_messages(&g->channels[i]);
    }
    for (int r = 0; r < g->n; r++) {
        reset_rank(&g->ranks[r]);
    }
    atomic_store(&g->cancelled, false);
}

static void messages_reset(comm_group *base)
{
    messages_view *v = (messages_view *)base;

    if (v->meeting.meet) {
        v->meeting.meet(v->meeting.arg, reset_all, v->group);
    } else {
        reset_all(v->group);
    }
}

static void close_all(messages_group *g)
{
    for (int i = 0; i < g->n * g->n; i++) {
        channel *q = &g->channels[i];
        for (message *m = q->first, *next; m; m = next) {
            if (!m->lost && !atomic_load(&g->cancelled)) {
                refuse(&g->ranks[i % g->n], "has not taken step %u of %s from rank %d in pass %u", m->step, kind_name(m->kind),
                       i / g->n, m->pass);
            }
            next = m->next;
            free_message(m);
        }
        pthread_mutex_destroy(&q->lock);
    }
    for (int r = 0; r < g->n; r++) {
        reset_rank(&g->ranks[r]);
        free(g->ranks[r].rows[0]);
        free(g->ranks[r].rows[1]);
        free(g->ranks[r].got);
        for (int k = 0; k < COMM_REGIONS; k++) {
            free(g->ranks[r].offered[k]);
        }
    }
    free(g->ranks);
    free(g->channels);
    free(g);
}

static void messages_close(comm_group *base)
{
    messages_view *v = (messages_view *)base;

    if (atomic_fetch_sub(&v->group->open, 1) == 1) {
        close_all(v->group);
        if (v->meeting.ended) {
            v->meeting.ended(v->meeting.arg);
        }
    }
    free(v);
}

static const comm_ops messages_ops = {
    .close = messages_close,
    .endpoint = messages_endpoint,
    .cancel = messages_cancel,
    .reset = messages_reset,
    .attach = messages_attach,
    .poll = messages_poll,
    .begin = messages_begin,
    .end = messages_end,
    .rows = messages_rows,
    .all_gather = messages_all_gather,
    .expose = messages_expose,
    .offer = messages_offer,
    .ask = messages_ask,
    .take = messages_take,
    .release = messages_release,
};

static void open_endpoint(messages_group *g, int rank)
{
    endpoint *c = &g->ranks[rank];

    *c = (endpoint){.base = {.ops = &messages_ops, .rank = rank, .n = g->n}, .group = g};
    c->random = g->seed * UINT64_C(1000003) + (uint64_t)rank;
    c->got = memory_or_end((size_t)g->n * sizeof *c->got);
    for (int k = 0; k < COMM_REGIONS; k++) {
        c->offered[k] = memory_or_end((size_t)g->n * sizeof *c->offered[k]);
    }
    for (int i = 0; i < 2; i++) {
        c->rows[i] = aligned_alloc(ARENA_ALIGN, arena_need(g->setup.message_bytes + 1));
        if (!c->rows[i]) {
            perror("messages");
            abort();
        }
    }
    reset_rank(c);
}

messages_group *messages_group_open(const comm_setup *s)
{
    int n = s->n_ranks;
    messages_group *g = memory_or_end(sizeof *g);

    *g = (messages_group){.n = n, .setup = *s, .seed = next_seed()};
    g->ranks = memory_or_end((size_t)n * sizeof *g->ranks);
    g->channels = memory_or_end((size_t)(n * n) * sizeof *g->channels);
    for (int i = 0; i < n * n; i++) {
        g->channels[i].first = NULL;
        atomic_init(&g->channels[i].n, 0);
        pthread_mutex_init(&g->channels[i].lock, NULL);
    }
    for (int r = 0; r < n; r++) {
        open_endpoint(g, r);
    }
    return g;
}

comm_group *messages_group_view(messages_group *g, const comm_setup *s, const messages_meeting *meeting)
{
    messages_view *v = memory_or_end(sizeof *v);

    *v = (messages_view){.base = {.ops = &messages_ops, .n = g->n, .first = s->first, .n_local = s->n_local}, .group = g,
                         .meeting = *meeting};
    atomic_fetch_add(&g->open, 1);
    return &v->base;
}

lariat_status messages_open(const comm_setup *s, comm_group **out)
{
    if (s->first != 0 || s->n_local != s->n_ranks) {
        return fail(LARIAT_FAILED, "messages: %d of %d ranks are here", s->n_local, s->n_ranks);
    }
    *out = messages_group_view(messages_group_open(s), s, &(messages_meeting){0});
    return LARIAT_OK;
}

comm_speed messages_speed(void)
{
    return (comm_speed){.bytes_per_s = 1e9, .latency_s = 2e-5};
}

/* --- in the place of the transport between threads: by the linker's --wrap --- */

lariat_status __wrap_comm_threads_open(const comm_setup *s, comm_group **out);
comm_speed __wrap_comm_threads_speed(void);

lariat_status __wrap_comm_threads_open(const comm_setup *s, comm_group **out)
{
    return messages_open(s, out);
}

comm_speed __wrap_comm_threads_speed(void)
{
    return messages_speed();
}
