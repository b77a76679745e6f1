/* The CUDA module as the program sees it: one exported function that gives a table. comm/gpu_transport.h has the other export.
   Rests on device.h; no header of CUDA. device/gpu.c opens the module, device/cuda/runtime/module.c is its other side. */
#pragma once

#include "device/device.h"

/* A module of another build is refused: the number grows with every change of this file or of device.h, and where that was
   forgotten the size of the table may tell. comm/gpu_transport.h has the like for the transport. */
enum { CUDA_MODULE_ABI = 7 << 16 | (int)sizeof(device_ops) };

enum {
    CUDA_CARDS_MAX = 32,
    CUDA_SM_LEAST = 80, /* the oldest card that the kernels are made for */
};

/* The program's functions that the module calls: its errors land in the program's lariat_error(). */
typedef struct cuda_host {
    void (*give_reason)(const char *text);
    void (*give_reason_within)(const char *prefix);
} cuda_host;

typedef struct cuda_card {
    char name[96];                 /* "NVIDIA H200" */
    char bus_id[32];               /* "0000:1b:00.0" */
    int sm;                        /* compute capability, 90 for 9.0 */
    int n_sms;                     /* multiprocessors */
    size_t memory, free;           /* bytes; free: at the time of asking */
    bool can_peer[CUDA_CARDS_MAX]; /* memory of card i can be read from this one */
} cuda_card;

/* A card's peak rates. */
typedef struct cuda_ceilings {
    double flops;     /* operations a second: 16-bit types in large dense products on tensor cores, F32 in registers */
    double read_rate; /* bytes a second, of reading `bytes` of its memory */
    size_t bytes;
} cuda_ceilings;

typedef struct cuda_module {
    int abi;
    /* Cards of this machine, numbered from 0, of which one at least can be used: CUDA_SM_LEAST. Otherwise LARIAT_UNSUPPORTED,
       with the reason and advice. */
    lariat_status (*count)(int *n);
    /* Compute capability, 90 for 9.0, of a card that is there; its context stays closed. */
    int (*capability)(int ordinal);
    /* Opens the card's context, as free bytes are known only there. */
    lariat_status (*describe)(int ordinal, cuda_card *out);
    /* Device memory that an open device takes, beside the context that the driver keeps. */
    size_t (*memory)(void);
    /* Pinned memory of the host that it takes. */
    size_t (*pinned)(void);
    /* `act` is the type of weights and activations: BF16, F16 or F32. All kernels are loaded when it returns. */
    lariat_status (*open)(int ordinal, dtype act, device **out);
    /* Opens the card as for a run of that type, measures it for a second or two, and gives back all that it took.
       LARIAT_NO_MEMORY where nothing far larger than its caches is free. */
    lariat_status (*measure)(int ordinal, dtype act, cuda_ceilings *out);
} cuda_module;

/* The module's entry: NULL where `abi` is not the module's own. `host` stays valid as long as the module is used. */
typedef const cuda_module *(*cuda_module_entry)(const cuda_host *host, int abi);

#define CUDA_MODULE_ENTRY "lariat_cuda_module"
