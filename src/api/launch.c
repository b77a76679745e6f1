/* Processes that a launcher has started: their start and end, who they are.
   Rests on comm/processes.h, engine/opening.c and engine/follow.c. See lariat/launch.h. */
#include "lariat/launch.h"

#include "api/measure_hop.h"

#include <math.h>
#include <stdio.h>

enum { TIMEOUT_S = 30 };

static lariat_status check_launch(const lariat_launch *l)
{
    if (l->ranks < 0 || l->ranks > LARIAT_RANKS_MAX) {
        return fail(LARIAT_BAD_ARGUMENT, "ranks: %d is out of range, use 1 to %d", l->ranks, LARIAT_RANKS_MAX);
    }
    if (!isfinite(l->timeout_s) || l->timeout_s < 0 || (l->timeout_s > 0 && l->timeout_s < 1)) {
        return fail(LARIAT_BAD_ARGUMENT, "timeout: %g seconds make no sense, use 1 or more", l->timeout_s);
    }
    return LARIAT_OK;
}

lariat_status lariat_processes_start(const lariat_launch *l, lariat_processes **out)
{
    processes *others;

    *out = NULL;
    TRY(check_launch(l));
    TRY(processes_start(l->mpi, l->ranks ? l->ranks : 1, l->timeout_s > 0 ? l->timeout_s : TIMEOUT_S, &others));
    lariat_status status = processes_adopt(others, l->agreed, out);
    if (status != LARIAT_OK) {
        char reason[COMMAND_TEXT_MOST];
        snprintf(reason, sizeof reason, "%s", lariat_error());
        processes_end(others, status == LARIAT_NO_MEMORY);
        return fail(status, "%s", reason);
    }
    return LARIAT_OK;
}

lariat_status lariat_processes_end(lariat_processes *p)
{
    if (!p) {
        return LARIAT_OK;
    }
    lariat_status status = processes_check(p->others, 0);
    if (status == LARIAT_OK && processes_number(p->others) == 0 && processes_count(p->others) > 1) {
        status = telling_stop(p);
    }
    char reason[COMMAND_TEXT_MOST];
    snprintf(reason, sizeof reason, "%s", lariat_error());
    processes_end(p->others, status != LARIAT_OK);
    processes_disown(p);
    return status == LARIAT_OK ? LARIAT_OK : fail(status, "%s", reason);
}

int32_t lariat_processes_number(const lariat_processes *p)
{
    return processes_number(p->others);
}

int32_t lariat_processes_count(const lariat_processes *p)
{
    return processes_count(p->others);
}

int32_t lariat_processes_ranks(const lariat_processes *p, int32_t number, int32_t *first)
{
    const process_info *info = processes_of(p->others, number);

    *first = info->first_rank;
    return info->n_ranks;
}

const char *lariat_processes_host(const lariat_processes *p, int32_t number)
{
    return processes_of(p->others, number)->host;
}

const char *lariat_processes_library(const lariat_processes *p)
{
    return processes_library(p->others);
}

lariat_status lariat_processes_check(lariat_processes *p, double wait_s)
{
    return processes_check(p->others, wait_s);
}

void lariat_processes_watch(lariat_processes *p, void (*fn)(void *user, const char *reason), void *user)
{
    processes_watch(p->others, fn, user);
}

lariat_status lariat_follow(lariat_processes *p, const char *path, const lariat_options *options)
{
    return engine_follow(p, path, options, hop_follow);
}
