/* Recognising a launcher, starting its processes, and their ends.
   Rests on the environment that launchers set, and on lariat/launch.h. See launcher.h. */
#include "cli/launcher.h"
#include "cli/message.h"
#include "cli/plan_text.h"
#include "cli/signals.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A rank that was killed brings a SIGTERM of the launcher before its silence is noticed: three beats. */
#define SILENCE_S 0.6

enum { AGREED_MOST = 2048, HOST_MOST = 65, NAME_MOST = 128, GRACE_S = 3 };

/* --- who started this process --- */

/* A number of the environment; -1: none. */
static int32_t number_of(const char *name)
{
    const char *text = getenv(name);
    char *end = NULL;
    long value = text ? strtol(text, &end, 10) : -1;
    return text && end != text && *end == 0 && value >= 0 && value <= INT32_MAX ? (int32_t)value : -1;
}

static launcher found(const char *name, const char *mpi, int32_t number, int32_t count)
{
    return (launcher){.name = name, .mpi = mpi, .number = number < 0 ? 0 : number, .count = count < 0 ? 0 : count};
}

/* Tasks of the step that srun has started. A batch script is no such step, though it has the job's numbers in its
   environment. */
static int32_t tasks_of_step(void)
{
    int32_t of_step = number_of("SLURM_STEP_NUM_TASKS"), of_job = number_of("SLURM_NTASKS");
    bool is_step = getenv("SLURM_STEP_ID") && getenv("SLURM_PROCID");
    return of_step > 0 ? of_step : is_step && of_job > 0 ? of_job : 0;
}

launcher launcher_find(void)
{
    launcher l = {0};
    int32_t tasks = tasks_of_step();
    if (number_of("OMPI_COMM_WORLD_SIZE") > 0) {
        l = found("OMPI_COMM_WORLD_SIZE", "openmpi", number_of("OMPI_COMM_WORLD_RANK"), number_of("OMPI_COMM_WORLD_SIZE"));
    } else if (number_of("PMIX_RANK") >= 0) {
        l = found("PMIX_RANK", "openmpi", number_of("PMIX_RANK"), tasks);
    } else if (number_of("PMI_RANK") >= 0) {
        l = found("PMI_RANK", "mpich", number_of("PMI_RANK"), number_of("PMI_SIZE"));
    }
    l.tasks = tasks;
    if (l.number > 0) {
        char host[HOST_MOST] = "", name[NAME_MOST];
        (void)gethostname(host, sizeof host - 1);
        host[strcspn(host, ".")] = 0;
        snprintf(name, sizeof name, "process %d (%s): ", l.number, host);
        signals_name_process(name);
    }
    return l;
}

/* --- its part --- */

int launcher_find_model(options *o, char room[PATH_MAX])
{
    if (!o->model_dir || !o->model || strncmp(o->model, "random:", strlen("random:")) == 0) {
        return 0;
    }
    size_t size = strlen(o->model);
    while (size > 1 && o->model[size - 1] == '/') {
        size--;
    }
    const char *last = o->model + size;
    while (last > o->model && last[-1] != '/') {
        last--;
    }
    int n = snprintf(room, PATH_MAX, "%s/%.*s", o->model_dir, (int)(o->model + size - last), last);
    if (n < 0 || n >= PATH_MAX) {
        return complain("--model-dir: '%s' makes a name that is too long, use shorter ones", o->model_dir);
    }
    o->model = room;
    return 0;
}

/* Does the subcommand open a ring? */
static bool opens_ring(const options *o)
{
    switch (o->command) {
    case COMMAND_GENERATE:
    case COMMAND_CHAT:
    case COMMAND_LOGITS:
    case COMMAND_PERPLEXITY:
        return true;
    case COMMAND_BENCH:
        return o->model != NULL || o->hops;
    case COMMAND_TOKENIZE:
    case COMMAND_TEMPLATE:
    case COMMAND_INSPECT:
    case COMMAND_HELP:
    case COMMAND_COUNT:
        break;
    }
    return false;
}

/* Each of them would do all of the work, and all would write the same files. */
static int refuse_singletons(int32_t tasks)
{
    return complain("srun: %d tasks were started that cannot find one another, start them with srun --mpi=pmix for Open MPI or "
                    "--mpi=pmi2 for MPICH, or one with -n 1", tasks);
}

/* Options that several processes have no use for, or not yet. */
static int check_options(const options *o)
{
    if (o->command == COMMAND_BENCH && o->ring_sizes.n > 1) {
        return complain_usage("--ranks: several processes have one ring, name one number of ranks for each process");
    }
    return 0;
}

/* Without --ranks each process has one, also where a ring of one process needs more. */
static void own_ranks(options *o)
{
    for (int i = 0; i < option_count; i++) {
        const option *one = &option_table[i]; /* of several with this name, each for other subcommands */
        bool is_of_bench = o->command == COMMAND_BENCH && option_applies(one, COMMAND_BENCH);
        if (is_of_bench && strcmp(one->name, "ranks") == 0 && !o->given[i]) {
            o->ring_sizes = (count_list){.n = 1, .values = {1}};
        }
    }
}

/* --- the start --- */

/* The options that decide the ring, as given: process 0's would be taken silently. */
static void list_agreed(const options *o, char out[AGREED_MOST])
{
    static const char *const names[] = {"context", "chunk", "block",  "kv",   "device",
                                        "dtype",   "via",   "layout", "side", "verify"};
    size_t used = 0;
    out[0] = 0;
    for (int i = 0; i < option_count; i++) {
        bool decides = false;
        for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
            decides = decides || strcmp(names[k], option_table[i].name) == 0;
        }
        const char *value = o->given[i] ? o->given[i] : o->typed[i] ? "yes" : NULL; /* a flag has none */
        if (decides && value && option_applies(&option_table[i], o->command) && used < AGREED_MOST) {
            used += (size_t)snprintf(out + used, AGREED_MOST - used, "--%s %s\n", option_table[i].name, value);
        }
    }
}

static lariat_status start(const launcher *l, const options *o, lariat_processes **out)
{
    char agreed[AGREED_MOST];
    list_agreed(o, agreed);
    int64_t ranks = o->command == COMMAND_BENCH ? o->ring_sizes.values[0] : o->ranks;
    lariat_launch launch = {
        .mpi = o->mpi ? o->mpi : l->mpi, .ranks = (int32_t)ranks, .timeout_s = o->timeout_s, .agreed = agreed};
    return lariat_processes_start(&launch, out);
}

static void name_process(const lariat_processes *p, const char *model)
{
    int32_t number = lariat_processes_number(p), first;
    char name[NAME_MOST];
    (void)lariat_processes_ranks(p, number, &first);
    snprintf(name, sizeof name, "rank %d (%s): ", first, lariat_processes_host(p, number));
    signals_name_process(number ? name : "");
    if (model) {
        signals_name_model(model); /* its message names the process too */
    }
}

/* --- how it ends --- */

/* The failure of another process ends this one, also where it waits for its user: after a while in which it may do so
   itself. */
static void *end_later(void *reason)
{
    nanosleep(&(struct timespec){.tv_sec = GRACE_S}, NULL);
    _exit(complain("%s", (const char *)reason));
}

/* A thread that takes no signals: handlers run in the main one. */
static bool start_thread(pthread_t *thread, void *(*fn)(void *), void *arg)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(thread, NULL, fn, arg) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

/* MPI's own start and end wait for all processes, whatever became of them; before the first sign of life nothing can say which
   one is missing. A call that takes longer than a process may be silent ends this one. */
typedef struct limit {
    sem_t over;
    double seconds;
    const char *what;
    pthread_t thread;
    bool started;
} limit;

static void *end_at_limit(void *arg)
{
    limit *l = arg;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)l->seconds + 1;
    while (sem_timedwait(&l->over, &until) != 0) {
        if (errno == ETIMEDOUT) {
            _exit(complain("mpi: not all processes have %s within %.0f s: one of them or its host does not answer; see to it, "
                           "or give more time with --timeout",
                           l->what, l->seconds));
        }
    }
    return NULL;
}

static void limit_begin(limit *l, double seconds, const char *what)
{
    *l = (limit){.seconds = seconds, .what = what};
    (void)sem_init(&l->over, 0, 0);
    l->started = start_thread(&l->thread, end_at_limit, l);
}

static void limit_end(limit *l)
{
    if (l->started) {
        (void)sem_post(&l->over);
        pthread_join(l->thread, NULL);
    }
    (void)sem_destroy(&l->over);
}

static void on_failure(void *unused, const char *reason)
{
    char *copy = strdup(reason);
    pthread_t thread;
    (void)unused;
    if (copy && start_thread(&thread, end_later, copy)) {
        pthread_detach(thread);
    }
}

/* Looks after a SIGTERM whether another process is silent, which then is the reason. */
static void *await_terminate(void *processes)
{
    terminate how = signals_await();
    lariat_status status = how == TERMINATE_NOT ? LARIAT_OK : lariat_processes_check(processes, SILENCE_S);
    if (how == TERMINATE_NOW) {
        if (status != LARIAT_OK) {
            (void)complain_library();
        }
        _exit(EXIT_TERMINATED);
    }
    return NULL;
}

/* --- running --- */

/* The CPUs that the launcher has bound this process to, as "0-3,8". */
static void list_cpus(char *out, size_t size)
{
    cpu_set_t set;
    size_t used = 0;
    out[0] = 0;
    if (sched_getaffinity(0, sizeof set, &set) != 0) {
        return;
    }
    for (int first = 0; first < CPU_SETSIZE && used < size; first++) {
        int last = first;
        while (last < CPU_SETSIZE && CPU_ISSET((size_t)last, &set)) {
            last++;
        }
        if (last > first) {
            used += (size_t)snprintf(out + used, size - used, last - first > 1 ? "%s%d-%d" : "%s%d", used ? "," : "", first,
                                     last - 1);
            first = last;
        }
    }
}

/* One line of each process: their order on standard error is the launcher's. */
static void tell_binding(const lariat_processes *p)
{
    int32_t number = lariat_processes_number(p), first, n = lariat_processes_ranks(p, number, &first);
    char list[NAME_MOST];
    list_cpus(list, sizeof list);
    fprintf(stderr, "process %d    of %d on %s: ranks %d to %d, CPUs %s, %s\n", number, lariat_processes_count(p),
            lariat_processes_host(p, number), first, first + n - 1, list, lariat_processes_library(p));
}

/* Does it begin with one of this process's ranks? Then it needs no name of the process before it. */
static bool names_own_rank(const lariat_processes *p, const char *reason)
{
    int32_t first, n = lariat_processes_ranks(p, lariat_processes_number(p), &first);
    int rank;
    return sscanf(reason, "rank %d (", &rank) == 1 && rank >= first && rank < first + n;
}

static int follow(lariat_processes *p, const options *o)
{
    lariat_options own = plan_options(o, 0, 1);
    signals_follow();
    if (lariat_follow(p, o->model, &own) == LARIAT_OK) {
        return 0;
    }
    if (names_own_rank(p, lariat_error())) {
        signals_name_process("");
    }
    return complain_library();
}

static void warn_alone(const options *o)
{
    if (o->verify) {
        warn("--verify: one process has no other to compare its weights with");
    }
}

static int lead(lariat_processes *p, options *o, int (*run)(const options *))
{
    int32_t last = lariat_processes_count(p) - 1, first, n = lariat_processes_ranks(p, last, &first);
    if (last == 0) {
        warn_alone(o);
        return run(o);
    }
    o->processes = p;
    o->ring_sizes = (count_list){.n = 1, .values = {first + n}};
    return run(o);
}

static int run_processes(options *o, lariat_processes *p, int (*run)(const options *))
{
    name_process(p, o->model);
    lariat_processes_watch(p, on_failure, NULL);
    if (o->verbose) {
        tell_binding(p);
    }
    return lariat_processes_number(p) > 0 ? follow(p, o) : lead(p, o, run);
}

bool launcher_concerns(const launcher *l, const options *o)
{
    bool several = l->name ? l->count != 1 : l->tasks > 1, does = opens_ring(o) ? several || o->mpi : l->number > 0;
    if (!does) {
        warn_alone(o);
    }
    return does;
}

int launcher_run(const launcher *l, options *o, int (*run)(const options *))
{
    if (!opens_ring(o)) {
        return 0; /* process 0 does it */
    }
    if (!l->name && l->tasks > 1) {
        return refuse_singletons(l->tasks);
    }
    TRY(check_options(o));
    own_ranks(o);
    int rc;
    lariat_processes *p;
    limit starting, ending;
    limit_begin(&starting, o->timeout_s, "started");
    lariat_status status = start(l, o, &p);
    limit_end(&starting);
    TRY(checked(status));
    pthread_t thread;
    signals_await_begin();
    bool awaits = start_thread(&thread, await_terminate, p);
    if (!awaits) {
        signals_await_end();
    }
    rc = run_processes(o, p, run);
    if (awaits) {
        signals_await_end();
        pthread_join(thread, NULL);
    }
    limit_begin(&ending, o->timeout_s, "ended");
    status = lariat_processes_end(p);
    limit_end(&ending);
    return rc ? rc : checked(status);
}
