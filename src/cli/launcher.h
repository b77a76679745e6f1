/* Several processes of a launcher (mpirun, srun): the launcher's variables, and the part of each process.
   Rests on lariat/launch.h. Process 0 runs the subcommand, the others follow it; subcommands that open no ring run in process 0
   alone, without MPI. */
#pragma once

#include "cli/options.h"

#include <limits.h>

typedef struct launcher {
    const char *name; /* of the environment's variable that tells of it; NULL: none started this process */
    const char *mpi;  /* that goes with it */
    int32_t number;   /* of this process, from 0 */
    int32_t count;    /* 0: unknown */
    int32_t tasks;    /* of a step of Slurm's that this process is one of; 0: of none */
} launcher;

/* By the environment. Processes but the first get a name for their messages. */
launcher launcher_find(void);

/* Replaces o->model by its path in --model-dir, in `room`. Returns an exit status. */
int launcher_find_model(options *o, char room[PATH_MAX]);

/* Is this process one of several, or to be, for this subcommand? Otherwise main runs it, and options that are of no use then
   get a warning. */
bool launcher_concerns(const launcher *l, const options *o);
/* Where it is: runs the subcommand as process 0, follows process 0, or leaves the subcommand to it. Returns the exit status. */
int launcher_run(const launcher *l, options *o, int (*run)(const options *));
