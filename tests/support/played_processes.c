/* Processes that are threads: a queue to each of them, a place for what each gives, one state of failure.
   Rests on pthreads and support/messages.c. See played_processes.h. */
#include "support/played_processes.h"

#include "support/messages.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct letter {
    struct letter *next;
    size_t n;
    unsigned char bytes[];
} letter;

typedef struct world world;

typedef struct played {
    processes base;
    world *world;
    letter *first, *read; /* told and not heard yet; heard last */
    void *given;          /* of the collect that is under way, and of the last one in process 0 */
    size_t n_given;
    bool has_given;
    void *collected;
} played;

struct world {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    played each[PLAYED_MOST];
    process_info list[PLAYED_MOST];
    int32_t count;
    bool failed;
    char reason[512];
    _Atomic int told;
    messages_group *group;  /* of the transport that is open */
    int32_t at_transport, met; /* processes that are there */
    uint32_t transports, meetings;
    played_fn others;
    void *arg;
};

static world *world_of(const processes *p)
{
    return ((const played *)p)->world;
}

static lariat_status known(const world *w)
{
    return w->failed ? fail(LARIAT_FAILED, "%s", w->reason) : LARIAT_OK;
}

static void *copy_of(const void *bytes, size_t n)
{
    void *copy = malloc(n ? n : 1);

    if (!copy) {
        perror("played processes");
        abort();
    }
    if (n) {
        memcpy(copy, bytes, n);
    }
    return copy;
}

/* --- messages --- */

static lariat_status played_tell(processes *p, const void *bytes, size_t n)
{
    world *w = world_of(p);

    pthread_mutex_lock(&w->lock);
    lariat_status status = known(w);
    for (int32_t i = 1; i < w->count && status == LARIAT_OK; i++) {
        letter *l = malloc(sizeof *l + n), **last = &w->each[i].first;
        if (!l) {
            abort();
        }
        l->next = NULL;
        l->n = n;
        memcpy(l->bytes, bytes, n);
        while (*last) {
            last = &(*last)->next;
        }
        *last = l;
    }
    atomic_fetch_add(&w->told, 1);
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    return status;
}

static lariat_status played_hear(processes *p, process_bytes *out)
{
    played *self = (played *)p;
    world *w = self->world;

    pthread_mutex_lock(&w->lock);
    while (!self->first && !w->failed) {
        pthread_cond_wait(&w->changed, &w->lock);
    }
    lariat_status status = known(w);
    if (status == LARIAT_OK) {
        free(self->read);
        self->read = self->first;
        self->first = self->first->next;
        *out = (process_bytes){self->read->bytes, self->read->n};
    }
    pthread_mutex_unlock(&w->lock);
    return status;
}

static bool all_have_given(const world *w)
{
    bool all = true;

    for (int32_t i = 1; i < w->count; i++) {
        all = all && w->each[i].has_given;
    }
    return all;
}

/* A process that gives again waits until process 0 has taken what it gave before. */
static lariat_status played_collect(processes *p, process_bytes mine, process_bytes out[])
{
    played *self = (played *)p;
    world *w = self->world;

    pthread_mutex_lock(&w->lock);
    while (!w->failed && (p->number ? self->has_given : !all_have_given(w))) {
        pthread_cond_wait(&w->changed, &w->lock);
    }
    lariat_status status = known(w);
    if (status == LARIAT_OK && p->number) {
        self->given = copy_of(mine.at, mine.n);
        self->n_given = mine.n;
        self->has_given = true;
    }
    for (int32_t i = 0; status == LARIAT_OK && p->number == 0 && i < w->count; i++) {
        played *other = &w->each[i];
        free(other->collected);
        other->collected = i ? other->given : copy_of(mine.at, mine.n);
        out[i] = (process_bytes){other->collected, i ? other->n_given : mine.n};
        other->given = NULL;
        other->has_given = false;
    }
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    return status;
}

/* --- failures --- */

static void played_phase(processes *p, const char *text)
{
    (void)p;
    (void)text;
}

static void played_announce(processes *p, int32_t rank, const char *reason)
{
    world *w = world_of(p);

    pthread_mutex_lock(&w->lock);
    if (!w->failed) {
        snprintf(w->reason, sizeof w->reason, "rank %d (%s): %s", rank < 0 ? p->list[p->number].first_rank : rank,
                 p->list[p->number].host, reason);
        w->failed = true;
    }
    if (w->group) {
        messages_group_cancel(w->group);
    }
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

static lariat_status played_check(processes *p, double wait_s)
{
    world *w = world_of(p);

    (void)wait_s;
    pthread_mutex_lock(&w->lock);
    lariat_status status = known(w);
    pthread_mutex_unlock(&w->lock);
    return status;
}

/* They take no time, and nobody looks at what they bring. */
static lariat_status played_swap(processes *p, int32_t to, const void *out, int32_t from, void *in, size_t bytes)
{
    (void)to;
    (void)from;
    memcpy(in, out, bytes);
    return played_check(p, 0);
}

static void played_watch(processes *p, void (*fn)(void *arg, const char *reason), void *arg)
{
    (void)p;
    (void)fn;
    (void)arg;
}

/* --- the transport --- */

static void meet(void *arg, void (*fn)(void *group), void *group)
{
    world *w = arg;

    pthread_mutex_lock(&w->lock);
    uint32_t meeting = w->meetings;
    if (++w->met == w->count) {
        w->met = 0;
        w->meetings++;
        fn(group);
        pthread_cond_broadcast(&w->changed);
    }
    while (w->meetings == meeting && !w->failed) {
        pthread_cond_wait(&w->changed, &w->lock);
    }
    pthread_mutex_unlock(&w->lock);
}

static void forget_group(void *arg)
{
    world *w = arg;

    pthread_mutex_lock(&w->lock);
    w->group = NULL;
    pthread_mutex_unlock(&w->lock);
}

static lariat_status played_transport(processes *p, const comm_setup *s, comm_group **out)
{
    world *w = world_of(p);

    pthread_mutex_lock(&w->lock);
    uint32_t transport = w->transports;
    if (w->at_transport++ == 0) {
        w->group = messages_group_open(s);
    }
    *out = messages_group_view(w->group, s, &(messages_meeting){.meet = meet, .ended = forget_group, .arg = w});
    if (w->at_transport == w->count) {
        w->at_transport = 0;
        w->transports++;
        pthread_cond_broadcast(&w->changed);
    }
    while (w->transports == transport && !w->failed) {
        pthread_cond_wait(&w->changed, &w->lock);
    }
    lariat_status status = known(w);
    pthread_mutex_unlock(&w->lock);
    return status;
}

static size_t played_memory(processes *p, const comm_setup *s)
{
    (void)p;
    (void)s;
    return 0;
}

static comm_speed played_speed(const processes *p)
{
    (void)p;
    return messages_speed();
}

/* --- their life --- */

static void played_end(processes *p, bool failed)
{
    (void)p;
    (void)failed;
}

static const processes_ops played_ops = {
    .end = played_end,
    .tell = played_tell,
    .hear = played_hear,
    .collect = played_collect,
    .swap = played_swap,
    .phase = played_phase,
    .announce = played_announce,
    .check = played_check,
    .watch = played_watch,
    .transport = played_transport,
    .transport_memory = played_memory,
    .speed = played_speed,
};

static void *other_main(void *arg)
{
    played *self = arg;

    self->world->others(&self->base, self->world->arg);
    return NULL;
}

static void open_world(world *w, int32_t count, const int32_t ranks[])
{
    int32_t first = 0;

    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    w->count = count;
    for (int32_t i = 0; i < count; i++) {
        w->list[i] = (process_info){.host_id = 1, .pid = i + 1, .first_rank = first, .n_ranks = ranks[i]};
        snprintf(w->list[i].host, sizeof w->list[i].host, "played");
        first += ranks[i];
        w->each[i] = (played){.base = {.ops = &played_ops, .number = i, .count = count, .list = w->list, .library = "none"},
                              .world = w};
    }
}

static void close_world(world *w)
{
    for (int32_t i = 0; i < w->count; i++) {
        played *p = &w->each[i];
        for (letter *l = p->first, *next; l; l = next) {
            next = l->next;
            free(l);
        }
        free(p->read);
        free(p->given);
        free(p->collected);
    }
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->changed);
    free(w);
}

void played_run(int32_t count, const int32_t ranks[], played_fn first, played_fn others, void *arg)
{
    world *w = calloc(1, sizeof *w);
    pthread_t threads[PLAYED_MOST];

    if (!w || count < 1 || count > PLAYED_MOST) {
        abort();
    }
    open_world(w, count, ranks);
    w->others = others;
    w->arg = arg;
    for (int32_t i = 1; i < count; i++) {
        if (pthread_create(&threads[i], NULL, other_main, &w->each[i]) != 0) {
            abort();
        }
    }
    first(&w->each[0].base, arg);
    for (int32_t i = 1; i < count; i++) {
        pthread_join(threads[i], NULL);
    }
    close_world(w);
}

int played_told(const processes *self)
{
    return atomic_load(&world_of(self)->told);
}
