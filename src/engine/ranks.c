/* Threads of the local ranks.
   Rests on base/threads.h (epochs) and placement.h. See ranks.h. */
#include "engine/ranks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- one rank --- */

/* Cancels the peers of a rank that failed, and drains its device, whose error outranks the rank's own. */
static void note_outcome(local_rank *r, lariat_status status)
{
    if (status == LARIAT_OK) {
        return;
    }
    r->status = status;
    snprintf(r->reason, sizeof r->reason, "%s", lariat_error());
    comm_cancel(r->all->comm);
    lariat_status drained = r->dev ? r->dev->ops->finish(r->dev) : LARIAT_OK;
    if (drained != LARIAT_OK) {
        r->status = drained;
        snprintf(r->reason, sizeof r->reason, "%s", lariat_error());
    }
}

static void *rank_main(void *arg)
{
    local_rank *r = arg;
    local_ranks *all = r->all;

    if (r->bound) {
        cpu_set before;
        (void)cpus_enter(&r->cpus, &before); /* refused: it runs anywhere */
    }
    for (uint32_t number = 1;; number++) {
        epoch_wait(&all->go, number);
        if (!all->fn) {
            return NULL;
        }
        note_outcome(r, all->fn(r, all->arg));
        epoch_set(&r->done, number);
    }
}

static bool is_callers(const local_rank *r)
{
    return r == r->all->list && !on_cards(r->all->placement);
}

/* --- all ranks --- */

/* The one that explains the others, NULL if there is none: a rank that was cancelled knows no reason. */
const local_rank *ranks_failed(const local_ranks *all)
{
    const local_rank *worst = NULL;

    for (int32_t i = 0; i < all->n; i++) {
        const local_rank *r = &all->list[i];
        if (r->status != LARIAT_OK && (!worst || worst->status == LARIAT_CANCELLED)) {
            worst = r;
        }
    }
    return worst;
}

/* Drains the device of a rank that has not failed: it may have work queued. */
static lariat_status drain(local_rank *r, void *unused)
{
    (void)unused;
    return r->status == LARIAT_OK && r->dev ? r->dev->ops->finish(r->dev) : LARIAT_OK;
}

static uint32_t hand_out(local_ranks *all, rank_fn fn, void *arg)
{
    uint32_t number = atomic_load_explicit(&all->go.value, memory_order_relaxed) + 1;

    all->fn = fn;
    all->arg = arg;
    epoch_set(&all->go, number);
    return number;
}

/* The calling thread runs the first rank itself, bound as its other threads are, and gets its own CPUs back. */
lariat_status ranks_run(local_ranks *all, rank_fn fn, void *arg)
{
    cpu_set before, unused;
    local_rank *own = all->n && is_callers(&all->list[0]) ? &all->list[0] : NULL;

    for (int32_t i = 0; i < all->n; i++) {
        all->list[i].status = LARIAT_OK;
    }
    for (bool failed = false;; failed = true, fn = drain) {
        uint32_t number = hand_out(all, fn, arg);
        if (own) {
            bool bound = own->bound && cpus_enter(&own->cpus, &before);
            note_outcome(own, fn(own, arg));
            if (bound) {
                (void)cpus_enter(&before, &unused);
            }
        }
        for (int32_t i = 0; i < all->n; i++) {
            if (all->list[i].started) {
                epoch_wait(&all->list[i].done, number);
            }
        }
        if (failed) {
            break;
        }
        if (!ranks_failed(all)) {
            return LARIAT_OK;
        }
    }
    if (all->n == all->ring) {
        placement_reset_transport(all->placement, all->comm);
    }
    const local_rank *worst = ranks_failed(all);
    return worst->status == LARIAT_CANCELLED ? fail(LARIAT_CANCELLED, "session: cancelled")
                                             : fail(worst->status, "rank %d: %s", worst->number, worst->reason);
}

/* --- opening and closing --- */

static lariat_status open_device(local_rank *r, void *unused)
{
    (void)unused;
    TRY(placement_open_device(r->all->placement, r->all->ring, r->number, r->threads, &r->dev));
    return comm_attach(r->comm, r->dev);
}

static lariat_status close_device(local_rank *r, void *unused)
{
    (void)unused;
    if (r->dev) {
        r->dev->ops->close(r->dev);
        r->dev = NULL;
    }
    return LARIAT_OK;
}

lariat_status ranks_open(local_ranks *all, const placement *on, comm_group *group, int32_t ring, const rank_threads *how)
{
    int32_t node[LARIAT_RANKS_MAX], n = comm_local(group);
    size_t bytes = ((size_t)n * sizeof(local_rank) + 63) / 64 * 64;
    cpus c;

    *all = (local_ranks){.placement = on, .comm = group, .ring = ring, .first = comm_first(group),
                         .list = aligned_alloc(64, bytes)};
    TRY_MEMORY(all->list, "ranks: no memory for %d of them" FREE_MEMORY, n);
    memset(all->list, 0, bytes);
    cpus_read("", &c);
    placement_nodes(on, &c, how->sharing, how->of_all, node);
    for (; all->n < n; all->n++) {
        local_rank *r = &all->list[all->n];
        r->all = all;
        r->number = all->first + all->n;
        r->threads = threads_of_rank(how->threads, n, all->n);
        r->bound = how->bind && cpus_of_node(&c, node[how->first + all->n], how->of_all, &r->cpus);
        r->comm = comm_endpoint(group, r->number);
        int error = is_callers(r) ? 0 : thread_start(&r->thread, rank_main, r);
        if (error) {
            return fail(LARIAT_NO_MEMORY, "ranks: cannot start rank %d of %d: %s; use fewer ranks", r->number, ring,
                        strerror(error));
        }
        r->started = !is_callers(r);
    }
    return ranks_run(all, open_device, NULL);
}

void ranks_close(local_ranks *all)
{
    if (!all->list) {
        return;
    }
    (void)ranks_run(all, close_device, NULL);
    (void)hand_out(all, NULL, NULL);
    for (int32_t i = 0; i < all->n; i++) {
        if (all->list[i].started) {
            pthread_join(all->list[i].thread, NULL);
        }
    }
    free(all->list);
    *all = (local_ranks){0};
}
