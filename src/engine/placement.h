/* The devices that a ring is laid on: the CPUs of this process, or GPUs. The one place of the engine that opens devices.
   Rests on device/cpu/cpu.h, device/gpu.h, the transports of comm/, comm/processes.h and base/cpus.h. engine_plan.c and
   api/measure_hop.c lay a ring on devices, ranks.c opens these. */
#pragma once

#include "base/cpus.h"
#include "comm/gpu_transport.h"
#include "comm/processes.h"
#include "device/cuda/runtime/module.h"
#include "lariat/lariat.h"
#include "model/transformer.h"

typedef struct placement {
    lariat_device kind; /* CPU or CUDA, for people */
    char name[96];
    dtype act;          /* of activations; on GPUs also of weights and of the cache */
    processes *others;  /* NULL: all ranks of the ring are in this process */
    /* GPUs: */
    const cuda_module *cuda;
    const comm_gpu *transport;
    bool through_host;
    int32_t n_cards;
    int32_t cards[LARIAT_CARDS_MAX];
    int64_t card_free[LARIAT_CARDS_MAX];
    int32_t card_node[LARIAT_CARDS_MAX]; /* the system's number of a card's NUMA node, negative: unknown */
} placement;

/* Chooses by the options and the machine's devices; the model's type of weights decides that of activations on GPUs. */
lariat_status placement_choose(const lariat_options *o, dtype weight_type, placement *out);

/* How the processes of a host share its CPUs: their ranks are placed as those of one process would be. */
typedef struct host_share {
    int32_t processes; /* on this host */
    int32_t sharing;   /* of these, that may use CPUs of this process, itself among them, and ... */
    int32_t ranks;     /* ... theirs together, of which ... */
    int32_t first;     /* ... its own begin with this one */
} host_share;

/* The threads of this process's ranks. */
typedef struct rank_threads {
    int32_t threads;   /* in all, shared out over the ranks of this process */
    bool bind;         /* to the CPUs of their nodes */
    int32_t sharing;   /* ranks that share the CPUs, in all processes of this host; the first of this process; their threads: */
    int32_t first, of_all;
} rank_threads;

/* Are the ranks on GPUs? */
static inline bool on_cards(const placement *m)
{
    return m->n_cards > 0;
}

/* The card of a rank, as an index into cards: ranks are dealt out in order. */
int32_t placement_card(const placement *m, int32_t n_ranks, int32_t rank);

/* The NUMA node of each of the ranks that share these CPUs, node[n_ranks], as an index into the CPUs' nodes: on GPUs the card's
   own, on CPUs see cpus_assign_nodes. n_ranks: 1 to LARIAT_RANKS_MAX, of all processes of the host; `threads`: theirs together,
   n_ranks or more. */
void placement_nodes(const placement *m, const cpus *c, int32_t n_ranks, int32_t threads, int32_t node[]);

/* For predictions, which must be the same on every run: bytes read and operations of one rank a second. Only their ratios
   matter. */
double placement_read_rate(const placement *m);
double placement_flops(const placement *m);
comm_speed placement_speed(const placement *m);

/* Bytes that a rank's device takes for itself, and its end of the transport; bytes that all of them share on the host, which on
   GPUs are pinned. */
size_t placement_device_bytes(const placement *m, int32_t threads);
size_t placement_endpoint_bytes(const placement *m, const comm_setup *s);
size_t placement_shared_bytes(const placement *m, const comm_setup *s);

lariat_status placement_open_device(const placement *m, int32_t n_ranks, int32_t rank, int32_t threads, device **out);

/* The transport of all ranks, on GPUs apart from the caller's thread. reset and close: as comm.h and processes.h have them;
   NULL is allowed for close. */
lariat_status placement_open_transport(const placement *m, const comm_setup *s, comm_group **out);
void placement_reset_transport(const placement *m, comm_group *g);
void placement_close_transport(const placement *m, comm_group *g);
