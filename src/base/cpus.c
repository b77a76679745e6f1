/* Reading a machine's CPUs, and assigning ranks to its nodes.
   Rests on proc(5), the files of sysfs below devices/system, and cgroup.h. See cpus.h. */
#include "base/cpus.h"

#include "base/cgroup.h"

#include <ctype.h>
#include <inttypes.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A CPU with less than nine tenths of the fastest one's figure is slow: cores of one kind differ by less in their highest
   clocks; efficiency cores have at most eight tenths. */
enum { FAST_TENTHS = 9, LIST_SIZE = 16384 };

/* --- sets --- */

static bool set_has(const cpu_set *s, int32_t i)
{
    return s->bits[i / 64] >> (i % 64) & 1;
}

bool cpu_set_add(cpu_set *s, int32_t i)
{
    bool had = set_has(s, i);

    s->bits[i / 64] |= UINT64_C(1) << (i % 64);
    return !had;
}

static bool set_is_empty(const cpu_set *s)
{
    static const cpu_set none;

    return memcmp(s, &none, sizeof none) == 0;
}

/* "0-3,8,10-11" */
static void set_of_list(const char *text, cpu_set *out)
{
    int64_t first, last;
    int used;

    *out = (cpu_set){0};
    while (sscanf(text, "%" SCNd64 "%n", &first, &used) == 1) {
        text += used;
        last = first;
        if (sscanf(text, "-%" SCNd64 "%n", &last, &used) == 1) {
            text += used;
        }
        for (int64_t i = first < 0 ? 0 : first; i <= last && i < CPUS_MAX; i++) {
            (void)cpu_set_add(out, (int32_t)i);
        }
        text += *text == ',';
    }
}

/* --- files --- */

/* The first line of a file; false if it cannot be read. */
__attribute__((format(printf, 3, 4))) static bool read_line(char *out, size_t size, const char *format, ...)
{
    char path[4096];
    va_list args;

    va_start(args, format);
    vsnprintf(path, sizeof path, format, args);
    va_end(args);
    FILE *f = fopen(path, "re");
    bool read = f && fgets(out, (int)size, f);
    if (f) {
        fclose(f);
    }
    return read;
}

/* A number in a CPU's folder; 0: none. */
static int64_t figure_of(const char *root, int32_t number, const char *file)
{
    char line[64];
    int64_t value = 0;

    if (!read_line(line, sizeof line, "%s/sys/devices/system/cpu/cpu%d/%s", root, number, file) ||
        sscanf(line, "%" SCNd64, &value) != 1) {
        return 0;
    }
    return value;
}

/* --- permitted CPUs --- */

/* The calling thread's CPUs that exist and are online. */
static void read_permitted(const char *root, cpu_set *out)
{
    static const char key[] = "Cpus_allowed_list:";
    char line[LIST_SIZE];
    cpu_set online;

    *out = (cpu_set){0};
    snprintf(line, sizeof line, "%s/proc/thread-self/status", root);
    FILE *f = fopen(line, "re");
    while (f && fgets(line, sizeof line, f)) {
        if (strncmp(line, key, sizeof key - 1) == 0) {
            set_of_list(line + sizeof key - 1, out);
        }
    }
    if (f) {
        fclose(f);
    }
    if (read_line(line, sizeof line, "%s/sys/devices/system/cpu/online", root)) {
        set_of_list(line, &online);
        for (size_t i = 0; i < CPUS_MAX / 64; i++) {
            out->bits[i] &= online.bits[i];
        }
    }
    long n = set_is_empty(out) ? sysconf(_SC_NPROCESSORS_ONLN) : 0; /* no /proc */
    for (int32_t i = 0; i < n && i < CPUS_MAX; i++) {
        (void)cpu_set_add(out, i);
    }
    if (set_is_empty(out)) {
        (void)cpu_set_add(out, 0);
    }
}

static int32_t count_of(const cpu_set *s)
{
    int32_t n = 0;

    for (size_t i = 0; i < CPUS_MAX / 64; i++) {
        n += __builtin_popcountll(s->bits[i]);
    }
    return n;
}

/* Takes the minimum of the groups' quotas, in CPUs: time over period, in microseconds. */
static void take_quota(void *user, const char *folder, bool unified)
{
    double *least = user;
    char line[64];
    int64_t quota = -1, period = -1;

    if (unified) {
        if (!read_line(line, sizeof line, "%s/cpu.max", folder) || sscanf(line, "%" SCNd64 " %" SCNd64, &quota, &period) != 2) {
            return; /* "max 100000" */
        }
    } else {
        quota = cgroup_number(folder, "cpu.cfs_quota_us");
        period = cgroup_number(folder, "cpu.cfs_period_us");
    }
    if (quota > 0 && period > 0) {
        double granted = (double)quota / (double)period;
        *least = granted < *least ? granted : *least;
    }
}

static int32_t read_granted(const char *root, int32_t n)
{
    double least = n;

    cgroup_each(root, "cpu", take_quota, &least);
    return least < 1 ? 1 : (int32_t)least;
}

int cpus_available(void)
{
    cpu_set permitted;

    read_permitted("", &permitted);
    return read_granted("", count_of(&permitted));
}

/* --- their properties --- */

static int32_t core_of(const char *root, int32_t number)
{
    static const char *const files[] = {"core_cpus_list", "thread_siblings_list"}; /* the new name and the old one */
    char line[LIST_SIZE];
    cpu_set siblings;

    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        if (read_line(line, sizeof line, "%s/sys/devices/system/cpu/cpu%d/topology/%s", root, number, files[i])) {
            set_of_list(line, &siblings);
            for (int32_t k = 0; k < CPUS_MAX && set_has(&siblings, number); k++) {
                if (set_has(&siblings, k)) {
                    return k;
                }
            }
        }
    }
    return number;
}

/* Marks the slow CPUs by a figure. False: it is the same for all. */
static bool mark_slow(const char *root, const char *file, cpus *c)
{
    int64_t most = 0, least = INT64_MAX;

    for (int32_t i = 0; i < c->n; i++) {
        int64_t figure = figure_of(root, c->list[i].number, file);
        most = figure > most ? figure : most;
        least = figure < least ? figure : least;
    }
    for (int32_t i = 0; i < c->n && least > 0; i++) {
        c->list[i].slow = figure_of(root, c->list[i].number, file) * 10 < most * FAST_TENTHS;
    }
    return least > 0 && least < most;
}

/* Numbers the nodes with permitted CPUs. A CPU without a node belongs to the first. */
static void read_nodes(const char *root, cpus *c)
{
    char line[LIST_SIZE];
    cpu_set online, of_node;

    c->nodes = 0;
    if (read_line(line, sizeof line, "%s/sys/devices/system/node/online", root)) {
        set_of_list(line, &online);
        for (int32_t number = 0; number < CPUS_MAX && c->nodes < CPU_NODES_MAX; number++) {
            if (!set_has(&online, number) ||
                !read_line(line, sizeof line, "%s/sys/devices/system/node/node%d/cpulist", root, number)) {
                continue;
            }
            bool any = false;
            set_of_list(line, &of_node);
            for (int32_t i = 0; i < c->n; i++) {
                if (set_has(&of_node, c->list[i].number)) {
                    c->list[i].node = c->nodes;
                    any = true;
                }
            }
            c->node_number[c->nodes] = number;
            c->nodes += any;
        }
    }
    c->nodes = c->nodes ? c->nodes : 1;
}

static void count_cores(cpus *c)
{
    cpu_set seen = {0};

    for (int32_t i = 0; i < c->n; i++) {
        const cpu_info *one = &c->list[i];
        if (cpu_set_add(&seen, one->core)) {
            c->cores++;
            c->fast_cores += !one->slow;
            c->node_cores[one->node]++;
        }
    }
}

void cpus_read(const char *root, cpus *out)
{
    cpu_set permitted;

    memset(out, 0, sizeof *out);
    read_permitted(root, &permitted);
    for (int32_t i = 0; i < CPUS_MAX; i++) {
        if (set_has(&permitted, i)) {
            out->list[out->n++] = (cpu_info){.number = i, .core = core_of(root, i)};
        }
    }
    if (!mark_slow(root, "cpu_capacity", out)) {
        (void)mark_slow(root, "cpufreq/cpuinfo_max_freq", out);
    }
    read_nodes(root, out);
    count_cores(out);
    out->granted = read_granted(root, out->n);
}

int32_t cpus_default_threads(const cpus *c)
{
    return c->cores < c->granted ? c->cores : c->granted;
}

/* --- placing --- */

/* The node with the core of that number, all nodes' cores counted in their order. */
static int32_t node_of_core(const cpus *c, int64_t core)
{
    int32_t node = 0;

    while (node < c->nodes - 1 && core >= c->node_cores[node]) {
        core -= c->node_cores[node++];
    }
    return node;
}

void cpus_assign_nodes(const cpus *c, int32_t n_ranks, int32_t threads, int32_t node[])
{
    int32_t room[CPU_NODES_MAX] = {0}; /* threads of a node: one a core, or with more threads than cores its share */

    for (int32_t k = 0; k < c->nodes; k++) {
        int64_t share = ((int64_t)threads * c->node_cores[k] + c->cores - 1) / c->cores;
        room[k] = share > c->node_cores[k] ? (int32_t)share : c->node_cores[k];
    }
    for (int32_t r = 0; r < n_ranks; r++) {
        int32_t own = threads_of_rank(threads, n_ranks, r), best = node_of_core(c, (int64_t)r * c->cores / n_ranks);
        for (int32_t k = 0; room[best] < own && k < c->nodes; k++) {
            best = room[k] >= own ? k : best;
        }
        node[r] = c->nodes > 1 && room[best] >= own ? best : CPU_NODE_ANY;
        room[best] -= node[r] == CPU_NODE_ANY ? 0 : own;
    }
}

int32_t cpus_node(const cpus *c, int32_t number)
{
    for (int32_t k = 0; c->nodes > 1 && k < c->nodes; k++) {
        if (c->node_number[k] == number) {
            return k;
        }
    }
    return CPU_NODE_ANY;
}

int32_t pci_node(const char *root, const char *device)
{
    char line[32], name[32] = "";
    int node = -1;

    for (size_t i = 0; i < sizeof name - 1 && device[i]; i++) { /* CUDA writes capitals, the system does not */
        name[i] = (char)tolower((unsigned char)device[i]);
    }
    bool told = read_line(line, sizeof line, "%s/sys/bus/pci/devices/%s/numa_node", root, name);
    return told && sscanf(line, "%d", &node) == 1 ? node : -1;
}

bool cpus_of_node(const cpus *c, int32_t node, int32_t threads, cpu_set *out)
{
    bool fast = threads <= c->fast_cores && c->fast_cores < c->cores;
    int32_t n = 0;

    *out = (cpu_set){0};
    for (int32_t i = 0; i < c->n; i++) {
        if ((node == CPU_NODE_ANY || c->list[i].node == node) && !(fast && c->list[i].slow)) {
            (void)cpu_set_add(out, c->list[i].number);
            n++;
        }
    }
    return n > 0 && n < c->n;
}

bool cpus_enter(const cpu_set *set, cpu_set *before)
{
    *before = (cpu_set){0};
    return sched_getaffinity(0, sizeof *before, (cpu_set_t *)before) == 0 &&
           sched_setaffinity(0, sizeof *set, (const cpu_set_t *)set) == 0;
}
