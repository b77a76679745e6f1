/* A machine with GPUs that is made up: the program that includes this is its own CUDA module. What runs on such a card is
   computed by the CPU's device, in F32, on ranks that are threads, with the host's weights. Rests on the tables of
   device/cuda/runtime/module.h and comm/gpu_transport.h. The program must export its symbols (tests/CMakeLists.txt). */
#pragma once

#include "comm/gpu_transport.h"
#include "device/cpu/cpu.h"
#include "device/gpu.h"

#include <stdlib.h>

enum { CARDS = 6 };

/* A card that is made up. */
typedef struct card_here {
    int sm;
    bool held, alone; /* by another process; its memory cannot be read from others */
    bool full;        /* nothing is left to measure in */
    int looked_at, measured;
    double flops, read_rate; /* what measuring it gives */
} card_here;

static card_here cards[CARDS];
static size_t pinned_bytes;

/* Which card is the calling thread's, as CUDA has it: whatever opens, describes, measures, resets or closes one changes it. */
static _Thread_local int current_card;

/* As fail() does, a name that cmocka has taken. */
static lariat_status refusal(lariat_status code, const char *what, int ordinal)
{
    give_reason("card %d %s", ordinal, what);
    return code;
}

static lariat_status played_count(int *n)
{
    *n = CARDS;
    return LARIAT_OK;
}

static int played_capability(int ordinal)
{
    return cards[ordinal].sm;
}

static lariat_status played_describe(int ordinal, cuda_card *out)
{
    if (ordinal < 0 || ordinal >= CARDS) {
        return refusal(LARIAT_BAD_ARGUMENT, "is not there", ordinal);
    }
    cards[ordinal].looked_at++;
    current_card = ordinal;
    if (cards[ordinal].held) {
        return refusal(LARIAT_FAILED, "is held", ordinal);
    }
    *out = (cuda_card){.name = "made up", .sm = cards[ordinal].sm, .free = (size_t)(100 - ordinal) << 30};
    for (int i = 0; i < CARDS; i++) {
        out->can_peer[i] = i != ordinal && !cards[i].alone;
    }
    return LARIAT_OK;
}

static lariat_status played_measure(int ordinal, dtype act, cuda_ceilings *out)
{
    (void)act;
    cards[ordinal].measured++;
    current_card = ordinal;
    if (cards[ordinal].full) {
        return refusal(LARIAT_NO_MEMORY, "is full", ordinal);
    }
    *out = (cuda_ceilings){.flops = cards[ordinal].flops, .read_rate = cards[ordinal].read_rate, .bytes = 1 << 20};
    return LARIAT_OK;
}

/* --- the CPU's device, with what a card has more --- */

/* All is done at once: there is nothing to wait for. */
static lariat_status played_mark(device *dev)
{
    (void)dev;
    return LARIAT_OK;
}

static device_ops played_ops;

static lariat_status played_open(int ordinal, dtype act, device **out)
{
    *out = NULL;
    current_card = ordinal;
    if (act != DTYPE_F32) {
        return refusal(LARIAT_UNSUPPORTED, "plays in f32", ordinal);
    }
    TRY(cpu_device_open(1, CPU_BEST, out));
    (*out)->ops = &played_ops;
    return LARIAT_OK;
}

static size_t no_bytes(void)
{
    return 0;
}

static size_t pinned(void)
{
    return pinned_bytes;
}

static const cuda_module played_module = {.abi = CUDA_MODULE_ABI, .count = played_count, .capability = played_capability,
                                          .describe = played_describe, .memory = no_bytes, .pinned = pinned,
                                          .open = played_open, .measure = played_measure};

LARIAT_API const cuda_module *lariat_cuda_module(const cuda_host *host, int abi);

const cuda_module *lariat_cuda_module(const cuda_host *host, int abi)
{
    (void)host;
    return abi == CUDA_MODULE_ABI ? &played_module : NULL;
}

/* --- the transport --- */

static const comm_ops *threads_group_ops;
static comm_ops played_group_ops; /* of a group; its endpoints are those of threads */
static int transport_resets;

static void reset_transport(comm_group *g)
{
    current_card = 0;
    transport_resets++;
    threads_group_ops->reset(g);
}

static void close_transport(comm_group *g)
{
    current_card = 0;
    threads_group_ops->close(g);
}

static lariat_status open_transport(const comm_setup *s, const int32_t ordinals[], bool through_host, comm_group **out)
{
    (void)through_host;
    current_card = ordinals[0];
    TRY(comm_threads_open(s, out));
    threads_group_ops = (*out)->ops;
    played_group_ops = *threads_group_ops;
    played_group_ops.reset = reset_transport;
    played_group_ops.close = close_transport;
    (*out)->ops = &played_group_ops;
    return LARIAT_OK;
}

static size_t transport_memory(const comm_setup *s, bool through_host)
{
    (void)s;
    (void)through_host;
    return 0;
}

static comm_speed transport_speed(bool through_host)
{
    (void)through_host;
    return (comm_speed){.bytes_per_s = 1e9, .latency_s = 1e-6};
}

LARIAT_API extern const comm_gpu lariat_cuda_transport;

const comm_gpu lariat_cuda_transport = {.tables = COMM_GPU_TABLES, .open = open_transport, .memory = transport_memory,
                                        .pinned = transport_memory, .speed = transport_speed};

/* Before the library looks for a module. Every card is as good as the others. */
static void play_gpus(void)
{
    device *cpu;

    if (cpu_device_open(1, CPU_BEST, &cpu) == LARIAT_OK) { /* otherwise no card opens either */
        played_ops = *cpu->ops;
        played_ops.mark = played_ops.wait_mark = played_mark;
        cpu->ops->close(cpu);
    }
    setenv("LARIAT_CUDA_MODULE", "", 1); /* which dlopen() takes for the program */
    pinned_bytes = 0;
    for (int i = 0; i < CARDS; i++) {
        cards[i] = (card_here){.sm = 90, .flops = 1e12, .read_rate = 1e10};
    }
}
