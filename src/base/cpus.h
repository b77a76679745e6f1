/* The CPUs that this process may use: which share a core or a NUMA node, which are slow, how much of them a control group
   grants; and where the threads of ranks go.
   Rests on /proc, /sys and cgroup.h. */
#ifndef BASE_CPUS_H
#define BASE_CPUS_H

#include <stdbool.h>
#include <stdint.h>

enum {
    CPUS_MAX = 4096,  /* numbers of CPUs beyond are not seen */
    CPU_NODES_MAX = 256,
    CPU_NODE_ANY = -1 /* of no node in particular */
};

/* A set of CPUs, as the system takes it. */
typedef struct cpu_set {
    uint64_t bits[CPUS_MAX / 64];
} cpu_set;

/* False: it was in there. */
bool cpu_set_add(cpu_set *s, int32_t i);

typedef struct cpu_info {
    int32_t number; /* the system's */
    int32_t core;   /* the first CPU of its core, permitted or not */
    int32_t node;   /* index of its NUMA node among those that have permitted CPUs */
    bool slow;      /* of a hybrid processor's slow kind */
} cpu_info;

typedef struct cpus {
    int32_t n;       /* in list: at least one */
    int32_t cores, fast_cores;
    int32_t granted; /* whole CPUs that a quota of the control groups grants, at least one; n without a quota */
    int32_t nodes;   /* at least one */
    int32_t node_number[CPU_NODES_MAX], node_cores[CPU_NODES_MAX];
    cpu_info list[CPUS_MAX];
} cpus;

/* What the calling thread may use. `root`: where /proc and /sys are, "" for this machine's own. What the system does not
   tell is taken for the simplest: a core a CPU, one node, no slow ones, no quota. */
void cpus_read(const char *root, cpus *out);

/* CPUs that the calling thread may use, as far as a quota grants them: at least 1. */
int cpus_available(void);

/* Threads of a run for which no number was asked: one a core, so that no two share a core's arithmetic, and no more than are
   granted: a group that has used its quota up stands still, all its threads together, until the next period. */
int32_t cpus_default_threads(const cpus *c);

/* Threads of one rank where all ranks share them out. */
static inline int32_t threads_of_rank(int32_t threads, int32_t n_ranks, int32_t rank)
{
    return (int32_t)((int64_t)threads * (rank + 1) / n_ranks - (int64_t)threads * rank / n_ranks);
}

/* The node of each rank, [n_ranks]: ranks are dealt out over the nodes in order, by the nodes' cores. CPU_NODE_ANY for a
   rank whose threads find no node with room for all of them, and for all where there is one node only. */
void cpus_place(const cpus *c, int32_t n_ranks, int32_t threads, int32_t node[]);

/* The node with the system's number, CPU_NODE_ANY if no permitted CPU is on it or there is one node only; and the system's
   number of the node that a PCI device ("0000:1b:00.0") is on, -1 if it tells none. */
int32_t cpus_node(const cpus *c, int32_t number);
int32_t pci_node(const char *root, const char *device);

/* The CPUs for a rank of that node, in a run of `threads` in all: of the fast cores only, where these are enough. False: bind
   nothing, as these are all that are permitted, or none (only fast cores are wanted, and the node has none). */
bool cpus_of_place(const cpus *c, int32_t node, int32_t threads, cpu_set *out);

/* Binds the calling thread, and those that it starts from now on; *before is what it was bound to. False: the system
   refused, and nothing has changed. */
bool cpus_enter(const cpu_set *set, cpu_set *before);

#endif
