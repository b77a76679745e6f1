/* The machine's ceilings (peak multiply-adds, memory bandwidth) and the latency and bandwidth of a hop.
   Rests on lariat.h for the options of a ring. `lariat bench --ceilings` stores the ceilings; the last line of other runs
   relates their speed to them. */
#ifndef LARIAT_MEASURE_H
#define LARIAT_MEASURE_H

#include "lariat/lariat.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The ceilings of the CPUs. */
typedef struct lariat_ceilings {
    char cpu[96];             /* the processor's own name */
    char kernels[16];         /* kernel family in use: "AVX-512" */
    int32_t threads;          /* in all, that the figures hold for */
    double fma_flops;         /* operations a second: fp32 multiply-adds in registers, two operations each */
    double read_memory;       /* bytes a second, over a buffer far larger than the caches */
    double read_cache;        /* bytes a second, over a buffer of `cache_bytes`, which fits into the last-level cache */
    int64_t cache_bytes;
} lariat_ceilings;

/* The processor's name, or the machine's architecture where the system does not report one. */
LARIAT_API void lariat_cpu_name(char *out, size_t size);

/* Measures the CPUs with `threads` threads; 0: the default number of a run. Takes one to a few seconds: it reads several
   times the size of the last-level cache. */
LARIAT_API lariat_status lariat_measure_ceilings(int32_t threads, lariat_ceilings *out);

/* Bytes a second of reading a buffer of `bytes` repeatedly with `threads` threads (0: as above): the ceiling of decode for
   weights of that size. */
LARIAT_API lariat_status lariat_measure_read(int32_t threads, int64_t bytes, double *bytes_per_s);

/* The ceilings of one GPU for one type of activations. */
typedef struct lariat_card_ceilings {
    char card[96];            /* "NVIDIA H200" */
    const char *dtype;        /* of activations, as lariat_plan names it: "bf16", "f16" or "f32" */
    double fma_flops;         /* operations a second, two a multiply-add with fp32 sums: in 16 bits of a large dense product on
                                 tensor cores, in f32 in registers */
    double read_memory;       /* bytes a second, over `bytes` of its memory, far more than its caches hold */
    int64_t bytes;
} lariat_card_ceilings;

/* The name of GPU number `card`. LARIAT_BAD_ARGUMENT: no such GPU; LARIAT_UNSUPPORTED: no GPU can be used. */
LARIAT_API lariat_status lariat_card_name(int32_t card, char *out, size_t size);

/* Measures a GPU for a type of activations, in one to three seconds. Allocates up to 2 GiB of its memory,
   beside an engine's, and frees it. LARIAT_NO_MEMORY: no free buffer is far larger than its caches. */
LARIAT_API lariat_status lariat_measure_card(int32_t card, const char *type, lariat_card_ceilings *out);

/* The two kinds of communication. KEYS: each rank reads `bytes` from the next rank on the ring, all at once, as prefill does
   with keys and values (queries and partial results use the same calls). GATHER: an all-gather, as in decode; `bytes` is all
   blocks together. */
typedef enum lariat_hop_kind { LARIAT_HOP_KEYS, LARIAT_HOP_GATHER } lariat_hop_kind;

enum { LARIAT_HOP_REPS_MAX = 10000 };

/* A measured hop. A repetition is `hops` hops, each started after the previous one has ended, so that nothing hides a hop;
   its time is the slowest rank's, divided by `hops`. Rates are named and defined as in nccl-tests:
   - algbw (algorithm bandwidth) is bytes / seconds;
   - busbw (bus bandwidth) counts only bytes from other ranks, which makes it comparable between ring sizes and with the rate
     of the link: KEYS algbw * 1, GATHER algbw * (ranks - 1) / ranks. */
typedef struct lariat_hop {
    lariat_hop_kind kind;
    int32_t ranks;
    int32_t processes;     /* that have them */
    int32_t threads;       /* CPU threads of this process's ranks; 0 on GPUs */
    int32_t cards;         /* GPUs in use; 0 on CPUs */
    bool through_host;     /* between GPUs: through the host's memory */
    char machine[96];      /* name of the processor or of the first GPU */
    int64_t bytes;         /* as requested; GATHER: rounded down to equal blocks of whole floats */
    int32_t reps;
    int64_t hops;          /* of a repetition: more for smaller hops */
    double seconds;        /* of a hop: the median of the repetitions, */
    double min_s, max_s;   /* the fastest and the slowest */
    double algbw, busbw;   /* bytes a second, by the median */
    double mpi_s, ping_s;  /* several processes: times of plain messages, see below; otherwise 0 */
} lariat_hop;

/* Measures one kind of hop at one size, on ranks opened as an engine opens them; the options device, cards, dtype, ranks,
   hops, threads and no_bind apply. Memory on CPUs, freed at the end: about ranks * bytes for KEYS, (ranks + 3) * bytes for
   GATHER. Measured is:
   - KEYS on CPUs: from the owner's offer until the reader's threads have read all bytes in place. The owner rewrites them
     before each hop, outside the measured time: otherwise the second hop would read the reader's own cache.
   - KEYS on GPUs: copies into the reader's staging buffer, hop after hop on the stream, and the wait for the last.
   - GATHER: copying the own block into a row, the all-gather, and copying the row to the rank's own memory.
   Where the ring is in several processes, all of them measure. On CPUs a hop of KEYS ends when it is in the memory of the
   reader, unless a rank reads another one of its process in place. Then the MPI alone is measured with plain messages of the
   same bytes (GATHER: of one rank's block): mpi_s, where every process sends to the one before it and receives from the one
   behind it at once, as hops do; ping_s, half of a round trip between two neighbours, on two hosts where there are several.
   At the end the received bytes are compared with the sent ones: LARIAT_FAILED where they differ. LARIAT_BAD_ARGUMENT: a ring
   of one, no bytes (for GATHER fewer than a float a rank), repetitions not in [1, LARIAT_HOP_REPS_MAX], or invalid options;
   LARIAT_NO_MEMORY: the buffers do not fit. */
LARIAT_API lariat_status lariat_measure_hop(const lariat_options *options, lariat_hop_kind kind, int64_t bytes, int32_t reps,
                                            lariat_hop *out);

#ifdef __cplusplus
}
#endif
#endif
