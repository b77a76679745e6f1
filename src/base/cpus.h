/* The CPUs that this process may use: their cores, NUMA nodes and speed classes, the control groups' quota; and the
   placement of the ranks' threads.
   Rests on /proc, /sys and cgroup.h. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum {
    CPUS_MAX = 4096,  /* CPUs with higher numbers are ignored */
    CPU_NODES_MAX = 256,
    CPU_NODE_ANY = -1 /* no particular node */
};

/* A set of CPUs in the form of sched_setaffinity. */
typedef struct cpu_set {
    uint64_t bits[CPUS_MAX / 64];
} cpu_set;

/* False: it was in the set already. */
bool cpu_set_add(cpu_set *s, int32_t i);

typedef struct cpu_info {
    int32_t number; /* the system's */
    int32_t core;   /* the first CPU of its core, permitted or not */
    int32_t node;   /* index of its NUMA node among those that have permitted CPUs */
    bool slow;      /* an efficiency core of a hybrid processor */
} cpu_info;

typedef struct cpus {
    int32_t n;       /* in list: at least one */
    int32_t cores, fast_cores;
    int32_t granted; /* whole CPUs of the control groups' quota, at least one; n without a quota */
    int32_t nodes;   /* at least one */
    int32_t node_number[CPU_NODES_MAX], node_cores[CPU_NODES_MAX];
    cpu_info list[CPUS_MAX];
} cpus;

/* The CPUs of the calling thread. `root`: the folder of /proc and /sys, "" for this machine's. Defaults for missing
   information: a core a CPU, one node, no slow cores, no quota. */
void cpus_read(const char *root, cpus *out);

/* Number of CPUs of the calling thread within the quota, at least 1. */
int cpus_available(void);

/* The default number of threads: one a core, since two threads on a core share its arithmetic, and at most the quota, since
   a group that has used up its quota is stopped until the next period. */
int32_t cpus_default_threads(const cpus *c);

/* Threads of one rank, where `threads` are shared out over all ranks. */
static inline int32_t threads_of_rank(int32_t threads, int32_t n_ranks, int32_t rank)
{
    return (int32_t)((int64_t)threads * (rank + 1) / n_ranks - (int64_t)threads * rank / n_ranks);
}

/* The node of each rank, [n_ranks]: ranks are assigned to the nodes in order, by the nodes' cores. CPU_NODE_ANY: no node has
   room for all threads of the rank, or there is one node only. */
void cpus_assign_nodes(const cpus *c, int32_t n_ranks, int32_t threads, int32_t node[]);

/* cpus_node: the index of the node with the system's number; CPU_NODE_ANY: it has no permitted CPU, or there is one node
   only. pci_node: the system's number of a PCI device's node ("0000:1b:00.0"), -1: unknown. */
int32_t cpus_node(const cpus *c, int32_t number);
int32_t pci_node(const char *root, const char *device);

/* The CPUs of a rank on that node, of `threads` in all: fast cores only, where these are enough. False: do not
   bind, since the set would be all permitted CPUs or empty. */
bool cpus_of_node(const cpus *c, int32_t node, int32_t threads, cpu_set *out);

/* Binds the calling thread and those that it starts from now on; *before: the previous set. False: the system refused,
   nothing has changed. */
bool cpus_enter(const cpu_set *set, cpu_set *before);
