/* A ring whose ranks are in several processes, which a launcher has started (mpirun, srun), on one host or several.
   Rests on lariat.h. Every process starts alike; then process 0 calls the library as a process alone would, and the others
   follow:

       lariat_processes_start(&launch, &p);
       if (lariat_processes_number(p) == 0) {
           options.processes = p;
           lariat_engine_open(model, &options, &engine);   // the others open theirs: the ring has the ranks of all
           ...
       } else {
           status = lariat_follow(p, model, &options);     // until process 0 ends
       }
       lariat_processes_end(p);

   Engine, sessions, samplers and results are process 0's. Each process maps the model for itself, has its own ranks' part of
   the KV cache and its own memory, which is checked where it is. Once a process has died, failed or does not answer, all
   calls that need it fail with LARIAT_FAILED, in all processes, and nothing more can be computed. */
#ifndef LARIAT_LAUNCH_H
#define LARIAT_LAUNCH_H

#include "lariat/lariat.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lariat_launch {
    const char *mpi;    /* "openmpi", "mpich", or the path of Lariat's module for an MPI; NULL: by the launcher */
    int32_t ranks;      /* of this process; 0: one */
    double timeout_s;   /* a process that gives no sign of life for so long has failed, computing or not; at least 1, 0: 30 s */
    /* Lines "name value", the same in all processes, or the start fails with the first that is not; NULL: none. For options
       that would otherwise be taken from process 0. */
    const char *agreed;
} lariat_launch;

/* Starts MPI. Collective: all processes call it, once, before anything else. LARIAT_UNSUPPORTED: no module for this MPI. */
LARIAT_API lariat_status lariat_processes_start(const lariat_launch *launch, lariat_processes **out);
/* Ends it: process 0 after its engines are closed, the others when lariat_follow has returned. NULL is allowed. */
LARIAT_API lariat_status lariat_processes_end(lariat_processes *p);

LARIAT_API int32_t lariat_processes_number(const lariat_processes *p); /* of this one, from 0 */
LARIAT_API int32_t lariat_processes_count(const lariat_processes *p);
/* Ranks of a process: [*first, *first + returned). */
LARIAT_API int32_t lariat_processes_ranks(const lariat_processes *p, int32_t number, int32_t *first);
/* The host of a process, and the MPI that is used: texts for people, owned by p. */
LARIAT_API const char *lariat_processes_host(const lariat_processes *p, int32_t number);
LARIAT_API const char *lariat_processes_library(const lariat_processes *p);

/* LARIAT_OK, or the failure that is known: which rank and host, and why. wait_s: waits so long for a sign of life of others,
   and takes silence for a failure; for a program that is being ended. */
LARIAT_API lariat_status lariat_processes_check(lariat_processes *p, double wait_s);
/* Calls fn once, from another thread, as soon as a failure is known: for a program that waits for something else. */
LARIAT_API void lariat_processes_watch(lariat_processes *p, void (*fn)(void *user, const char *reason), void *user);

/* Any process but 0: follows process 0 in opening, computing and closing, until that ends. Of the options it takes threads and
   no_bind, all others are process 0's. A failure of another process is returned; a failure here fails the run. */
LARIAT_API lariat_status lariat_follow(lariat_processes *p, const char *model, const lariat_options *options);

#ifdef __cplusplus
}
#endif
#endif
