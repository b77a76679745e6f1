/* Finding and loading an MPI module, starting MPI, learning who else there is; and the end.
   Rests on base/beside.h, base/cpus.h and dlopen. See processes.h; read on in mpi_wire.c. */
#include "comm/mpi/mpi_processes.h"

#include "base/beside.h"
#include "base/cpus.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static const processes_ops mpi_ops;

/* --- the module --- */

/* Open MPI's launcher and srun --mpi=pmix start the one, MPICH's launcher and srun --mpi=pmi2 the other. */
static const char *guess_library(void)
{
    if (getenv("OMPI_COMM_WORLD_SIZE")) {
        return "openmpi";
    }
    return getenv("PMI_RANK") ? "mpich" : "openmpi";
}

static lariat_status open_library(const char *which, void **out)
{
    char path[PATH_MAX], file[64];

    if (!which) {
        which = guess_library();
    }
    if (strcmp(which, "openmpi") != 0 && strcmp(which, "mpich") != 0) {
        snprintf(path, sizeof path, "%s", which);
    } else {
        snprintf(file, sizeof file, "liblariat_%s.so", which);
        if (!file_beside(file, path, sizeof path)) {
            return fail(LARIAT_UNSUPPORTED,
                        "MPI: there is no module for %s (%s) beside this program: build where its headers are, or name another",
                        *which == 'o' ? "Open MPI" : "MPICH", file);
        }
    }
    /* Open MPI's plugins look for its symbols among all. */
    *out = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    return *out ? LARIAT_OK : fail(LARIAT_UNSUPPORTED, "MPI: the module cannot be opened: %s", dlerror());
}

static lariat_status open_module(const char *which, const mpi_module **out)
{
    mpi_module_entry entry = NULL;
    void *handle = NULL;

    TRY(open_library(which, &handle));
    void *symbol = dlsym(handle, MPI_MODULE_ENTRY);
    memcpy(&entry, &symbol, sizeof entry);
    *out = entry ? entry(MPI_MODULE_ABI) : NULL;
    return *out && (*out)->abi == MPI_MODULE_ABI
               ? LARIAT_OK
               : fail(LARIAT_UNSUPPORTED, "MPI: the module is of another build than this program: install both together");
}

/* --- what the launcher says --- */

/* A number of the environment; 0: none. */
static long number_of(const char *name)
{
    const char *text = getenv(name);

    return text ? strtol(text, NULL, 10) : 0;
}

/* A launcher of another MPI starts processes that do not know one another. Of several launchers, one in another, the one that
   stands first here has started this process. */
static lariat_status check_count(const mpi_world *w)
{
    static const char *const names[] = {"MPI_LOCALNRANKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"};
    bool local = number_of(names[0]) > w->count; /* of this host alone */
    size_t i = local ? 0 : 1;

    while (i < 3 && number_of(names[i]) == 0) {
        i++;
    }
    long n = number_of(names[i]);
    return n == 0 || n == w->count
               ? LARIAT_OK
               : fail(LARIAT_BAD_ARGUMENT, "MPI: the launcher started %ld processes (%s), but %s sees %d: use the launcher of "
                      "this MPI, or name the launcher's with --mpi", n, names[i], w->library, w->count);
}

/* Those of a node in Slurm's list, "2(x3),1": three nodes with two tasks and one with one. 0: it has no such node. */
static long tasks_of_node(const char *list, long node)
{
    long tasks, times;
    int used;

    while (sscanf(list, "%ld%n", &tasks, &used) == 1) {
        list += used;
        times = 1;
        if (sscanf(list, "(x%ld)%n", &times, &used) == 1) {
            list += used;
        }
        if (node < times) {
            return tasks;
        }
        node -= times > 0 ? times : 0;
        list += *list == ',';
    }
    return 0;
}

/* Processes of this host; 1: the launcher does not say. */
static long processes_here(void)
{
    enum { MOST = 1 << 20 };
    const char *tasks = getenv("SLURM_STEP_TASKS_PER_NODE");
    long n = number_of("OMPI_COMM_WORLD_LOCAL_SIZE");

    n = n > 0 ? n : number_of("MPI_LOCALNRANKS");
    n = n > 0 ? n : tasks ? tasks_of_node(tasks, number_of("SLURM_NODEID")) : 0;
    return n < 1 ? 1 : n < MOST ? n : MOST;
}

/* Of Open MPI: waits inside its calls yield. Those of mpi_wire.c follow it under every MPI. */
static const char YIELDS[] = "OMPI_MCA_mpi_yield_when_idle";

/* A truth value as Open MPI takes it: a number or a word. */
static bool is_set(const char *name)
{
    const char *text = getenv(name);

    return text && strcmp(text, "0") != 0 && strcasecmp(text, "false") != 0;
}

/* Are the ranks of this host more than its CPUs, if all its processes have as many? Where a launcher binds them, so that each
   may have CPUs of its own, it is enough that this one has. */
static bool is_crowded(int32_t local_ranks)
{
    cpus c;
    long here = processes_here();

    cpus_read("", &c);
    bool apart = here * c.n <= sysconf(_SC_NPROCESSORS_ONLN);
    return (apart ? 1 : here) * local_ranks > c.granted;
}

/* --- starting --- */

static lariat_status start_library(mpi_processes *p, const char *which, int32_t local_ranks)
{
    char text[256] = "";
    const char *what = "";

    TRY(open_module(which, &p->mpi));
    if (is_crowded(local_ranks)) { /* Open MPI reads it when it starts; what the user has set stays */
        (void)setenv(YIELDS, "1", 0);
    }
    p->yields = is_set(YIELDS);
    int error = p->mpi->start(&p->wire, &p->world, &what);
    if (error) {
        if (error > 0) {
            p->mpi->explain(error, text, sizeof text);
        }
        return fail(LARIAT_FAILED, "MPI: %s%s%s", what, error > 0 ? ": " : " is not to be had", text);
    }
    p->base.number = p->world.number;
    p->base.count = p->world.count;
    p->base.library = p->world.library;
    return check_count(&p->world);
}

/* FNV-1a. */
static uint64_t hash_text(uint64_t h, const char *text)
{
    while (*text) {
        h = (h ^ (unsigned char)*text++) * UINT64_C(0x100000001b3);
    }
    return h;
}

/* Of the running system, the process numbers and the host's name; 0 where the system does not tell. */
static uint64_t host_id(const char *host)
{
    char boot[64] = "", numbers[64] = "";
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
    bool known = f && fgets(boot, sizeof boot, f) && readlink("/proc/self/ns/pid", numbers, sizeof numbers - 1) > 0;

    if (f) {
        fclose(f);
    }
    return known ? hash_text(hash_text(hash_text(UINT64_C(0xcbf29ce484222325), boot), numbers), host) : 0;
}

/* The description of a process. */
static void introduce(process_info *out, int32_t local_ranks)
{
    memset(out, 0, sizeof *out); /* padding is sent too */
    out->pid = (int32_t)getpid();
    out->n_ranks = local_ranks;
    (void)gethostname(out->host, sizeof out->host - 1);
    out->host[strcspn(out->host, ".")] = 0;
    out->host_id = host_id(out->host);
}

/* Process 0 collects all descriptions, and sends them to all. */
static lariat_status gather_introductions(mpi_processes *p, const process_info *mine, process_info all[], process_bytes given[])
{
    size_t count = (size_t)p->base.count;
    process_bytes told;

    TRY(control_collect(&p->base, (process_bytes){mine, sizeof *mine}, given));
    if (p->base.number != 0) {
        TRY(control_hear(&p->base, &told));
        if (told.n != count * sizeof *all) {
            return fail(LARIAT_FAILED, "MPI: process 0 is of another build of Lariat: install the same on all hosts");
        }
        memcpy(all, told.at, told.n);
        return LARIAT_OK;
    }
    for (size_t i = 0; i < count; i++) {
        if (given[i].n != sizeof *all) {
            return fail(LARIAT_FAILED, "MPI: process %zu is of another build of Lariat: install the same on all hosts", i);
        }
        memcpy(&all[i], given[i].at, sizeof all[i]);
    }
    return control_tell(&p->base, all, count * sizeof *all);
}

/* The list, which is kept, and who is to be watched. */
static lariat_status take_introductions(mpi_processes *p, process_info list[])
{
    int64_t first = 0;

    for (int i = 0; i < p->base.count; i++) {
        list[i].host[sizeof list[i].host - 1] = 0;
        list[i].first_rank = (int32_t)first;
        first += list[i].n_ranks;
        if (list[i].n_ranks < 1 || first > INT32_MAX) {
            int32_t ranks = list[i].n_ranks;
            free(list);
            return fail(LARIAT_BAD_ARGUMENT, "processes: %d ranks in process %d", ranks, i);
        }
    }
    wire_lock(p);
    p->list = list;
    p->base.list = list;
    wire_unlock(p);
    return beats_watch(p);
}

static lariat_status meet(mpi_processes *p, int32_t local_ranks)
{
    size_t count = (size_t)p->base.count;
    process_info mine, *all = calloc(count, sizeof *all);
    process_bytes *given = calloc(count, sizeof *given);
    lariat_status status = all && given ? LARIAT_OK : fail(LARIAT_NO_MEMORY, "processes: no memory" FREE_MEMORY);

    introduce(&mine, local_ranks);
    NEXT(status, gather_introductions(p, &mine, all, given));
    free(given);
    if (status != LARIAT_OK) {
        free(all);
        return status;
    }
    return take_introductions(p, all);
}

/* After a failure the memory stays: messages under way may still be put there. */
static void end(processes *base, bool failed)
{
    mpi_processes *p = (mpi_processes *)base;
    uint64_t *zeros = calloc((size_t)base->count, sizeof *zeros);

    failed = failed || !zeros || atomic_load(&p->failed) || control_flush(p) != LARIAT_OK;
    if (!failed) {
        atomic_store(&p->ends, true);
        failed = control_exchange(p, zeros, zeros) != LARIAT_OK;
    } else if (!atomic_load(&p->failed)) {
        beats_leave(p);
    }
    free(zeros);
    beats_stop(p);
    if (failed) {
        return;
    }
    (void)p->mpi->stop(p->wire);
    control_close(p);
    pthread_mutex_destroy(&p->lock);
    free(p->list);
    free(p);
}

lariat_status processes_start(const char *which, int32_t local_ranks, double timeout_s, processes **out)
{
    if (local_ranks < 1) {
        return fail(LARIAT_BAD_ARGUMENT, "processes: %d ranks here, a process has one or more", local_ranks);
    }
    mpi_processes *p = calloc(1, sizeof *p);
    TRY_MEMORY(p, "processes: no memory" FREE_MEMORY);
    p->base.ops = &mpi_ops;
    p->timeout_s = timeout_s;
    p->beats.wake = -1;
    p->generation = 1;
    atomic_store(&p->phase, "starting");
    pthread_mutex_init(&p->lock, NULL);
    lariat_status status = start_library(p, which, local_ranks);
    if (status != LARIAT_OK) {
        free(p);
        return status;
    }
    NEXT(status, beats_start(p));
    NEXT(status, control_open(p));
    NEXT(status, meet(p, local_ranks));
    if (status != LARIAT_OK) {
        if (!atomic_load(&p->failed) && p->beats.started) {
            beats_announce(&p->base, -1, lariat_error());
        }
        beats_stop(p);
        return status;
    }
    *out = &p->base;
    return LARIAT_OK;
}

static void set_phase(processes *base, const char *text)
{
    atomic_store(&((mpi_processes *)base)->phase, text);
}

static const processes_ops mpi_ops = {
    .end = end,
    .tell = control_tell,
    .hear = control_hear,
    .collect = control_collect,
    .swap = control_swap,
    .phase = set_phase,
    .announce = beats_announce,
    .check = beats_check,
    .watch = beats_set_watcher,
    .transport = transport_open,
    .transport_memory = transport_memory,
    .speed = transport_speed,
};
