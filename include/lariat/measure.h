/* What the machine could do at best, the figures that a share of the hardware is taken of; and what a hop of the ring takes.
   Rests on lariat.h for the options of a ring. Used by `lariat bench`; what it keeps the last line of other runs reads. */
#ifndef LARIAT_MEASURE_H
#define LARIAT_MEASURE_H

#include "lariat/lariat.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What the CPUs could do at best. */
typedef struct lariat_ceilings {
    char cpu[96];             /* the processor's own name */
    char kernels[16];         /* kernel family in use: "AVX-512" */
    int32_t threads;          /* that these figures are for, together */
    double fma_flops;         /* fp32 multiply-adds at two operations each, a second, in registers */
    double read_memory;       /* bytes a second, over a buffer far larger than the caches */
    double read_cache;        /* the same over a buffer of `cache_bytes`, which the last cache holds */
    int64_t cache_bytes;
} lariat_ceilings;

/* The processor's own name, or the kind of machine where the system does not tell it. */
LARIAT_API void lariat_cpu_name(char *out, size_t size);

/* Measures CPUs for `threads` threads, 0 for as many as a run takes by itself: a second to a few, as it reads several times
   the last cache. */
LARIAT_API lariat_status lariat_measure_ceilings(int32_t threads, lariat_ceilings *out);

/* Bytes a second of reading a buffer of `bytes` again and again with `threads` threads: the ceiling of decode for weights of
   that size. 0 threads: as before. */
LARIAT_API lariat_status lariat_measure_read(int32_t threads, int64_t bytes, double *bytes_per_s);

/* What one GPU could do at best for runs of one type. */
typedef struct lariat_card_ceilings {
    char card[96];            /* its own name: "NVIDIA H200" */
    const char *dtype;        /* of the run, as lariat_plan names it: "bf16", "f16" or "f32" */
    double fma_flops;         /* multiply-adds with fp32 sums at two operations each, a second: in 16 bits those of a large dense
                                 product on its tensor cores, in f32 in registers */
    double read_memory;       /* bytes a second, of `bytes` of its memory: far more than its caches hold */
    int64_t bytes;
} lariat_card_ceilings;

/* A GPU's own name, by its number. LARIAT_BAD_ARGUMENT: there is none of that number; LARIAT_UNSUPPORTED: none can be used. */
LARIAT_API lariat_status lariat_card_name(int32_t card, char *out, size_t size);

/* Measures a GPU for runs of a type: one to three seconds. Takes up to 2 GiB of its memory, beside what any run takes, and gives
   all back; LARIAT_NO_MEMORY where nothing far larger than its caches is free. */
LARIAT_API lariat_status lariat_measure_card(int32_t card, const char *type, lariat_card_ceilings *out);

/* How ranks bring one another data. KEYS: each takes `bytes` of the rank that follows it on the ring, all at once, as keys and
   values do in prefill (queries and partial results travel by the same calls); GATHER: each gives a block and gets those of
   all, as in decode, `bytes` being all blocks together. */
typedef enum lariat_hop_kind { LARIAT_HOP_KEYS, LARIAT_HOP_GATHER } lariat_hop_kind;

enum { LARIAT_HOP_REPS_MAX = 10000 };

/* What was measured on what. A repetition is `hops` hops one after the other, each begun when the one before has ended, so
   that nothing hides a hop; its time is that of its slowest rank, divided by `hops`. Rates are named as in nccl-tests, so that
   they can be laid beside its figures:
   - algbw, the algorithm's, is bytes / seconds: how fast data of that size gets to where it is wanted;
   - busbw, the bus's, counts only what has to come from others, which makes it comparable between rings of any size and with
     the rate of the link: KEYS algbw * 1, GATHER algbw * (ranks - 1) / ranks. */
typedef struct lariat_hop {
    lariat_hop_kind kind;
    int32_t ranks;
    int32_t threads;       /* of CPUs, of all ranks together; 0 on GPUs */
    int32_t cards;         /* GPUs that the ranks lie on; 0 on CPUs */
    bool through_host;     /* between GPUs: through the host's memory */
    char machine[96];      /* the processor's own name, or the first GPU's */
    int64_t bytes;         /* what was asked for; of GATHER rounded down to blocks of whole floats, alike for all ranks */
    int32_t reps;
    int64_t hops;          /* of a repetition: the more, the smaller they are */
    double seconds;        /* a hop: median over the repetitions, */
    double min_s, max_s;   /* the fastest and the slowest of them */
    double algbw, busbw;   /* bytes a second, by the median */
} lariat_hop;

/* Measures one kind of hop at one size, on ranks made as an engine makes them: of the options device, cards, dtype, ranks,
   hops, threads and no_bind count. Takes its memory and gives it back: on CPUs about ranks * bytes for KEYS, ranks + 3 times
   bytes for GATHER.
   What is counted:
   - KEYS on CPUs: from the owner's word that its bytes are there to the end of reading all of them, where they lie, with the
     reader's threads. Before each hop, outside the time, the owner has written them anew: otherwise they would lie in the
     reader's cache from the second hop on.
   - KEYS on GPUs: until the bytes are in the reader's staging memory, hop after hop in the queues, and the wait for the last.
   - GATHER: the all-gather, and putting the blocks in order into memory of the rank's own, as decode does.
   At the end what came is compared with what was sent: LARIAT_FAILED where it differs. LARIAT_BAD_ARGUMENT: a ring of one, no
   bytes (for GATHER fewer than a float a rank), repetitions not in [1, LARIAT_HOP_REPS_MAX], or options that make no sense;
   LARIAT_NO_MEMORY: it would not fit. */
LARIAT_API lariat_status lariat_measure_hop(const lariat_options *options, lariat_hop_kind kind, int64_t bytes, int32_t reps,
                                            lariat_hop *out);

#ifdef __cplusplus
}
#endif
#endif
