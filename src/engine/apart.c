/* A thread for one call.
   Rests on base/threads.h. See apart.h. */
#include "engine/apart.h"

#include "base/threads.h"

#include <stdio.h>
#include <string.h>

typedef struct errand {
    lariat_status (*fn)(void *arg);
    void *arg;
    lariat_status status;
    char reason[1024];
} errand;

static void *errand_main(void *arg)
{
    errand *e = arg;

    e->status = e->fn(e->arg);
    snprintf(e->reason, sizeof e->reason, "%s", lariat_error());
    return NULL;
}

lariat_status run_apart(lariat_status (*fn)(void *arg), void *arg)
{
    errand e = {.fn = fn, .arg = arg};
    pthread_t thread;
    int error = thread_start(&thread, errand_main, &e);

    if (error) {
        return fail(LARIAT_NO_MEMORY, "engine: cannot start a thread: %s" FREE_MEMORY, strerror(error));
    }
    pthread_join(thread, NULL);
    return e.status == LARIAT_OK ? LARIAT_OK : fail(e.status, "%s", e.reason);
}
