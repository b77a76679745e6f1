/* The results of each cell: samples, their medians, shares of the ceilings, comparison of rings.
   Rests on cells.h and lariat.h. timing.h fills it, bench_table.h and plot.h show it, resume.h keeps the samples in a file. */
#pragma once

#include "cli/bench/cells.h"
#include "lariat/lariat.h"

/* One measurement. Rates of work are sums over all ranks. */
typedef struct sample {
    double prefill_s; /* to the first token of all replies; 0: no prompt */
    double decode_s;  /* of the n_gen tokens after the first one */
    double prefill_flops, decode_flops, decode_weight_bytes;
    int64_t hops;
    double hop_s, hop_wait_s;    /* see lariat_stats */
    double fma_flops, read_rate; /* ceilings, measured in the same run; 0: unknown */
    int64_t rank_bytes;       /* KV shard and activations of the fullest rank; on GPUs also its weights */
} sample;

typedef struct spread {
    double median, least, most;
} spread;

/* A ring compared with the ring of one that is otherwise the same cell. */
typedef struct comparison {
    int regular;              /* index of that row; -1: this is a ring of one, or none was measured */
    bool checked;             /* the two below are known */
    int64_t first_difference; /* index of the first different token; -1: none */
    double logit_difference;  /* of the prompt's last logits: the largest, over their standard deviation */
    double prefill_speedup, decode_speedup;   /* 0: unknown */
    double prefill_crossing, decode_crossing; /* prompt length from which this ring is faster; 0: always;
                                                 INFINITY: never; NAN: unknown */
} comparison;

typedef struct row {
    cell cell;
    lariat_plan plan;  /* of this cell */
    char reason[512];  /* why it cannot be run; "": it can be */
    bool written;      /* to the table */
    sample *samples;   /* [reps] */
    int64_t n_samples; /* so far */
    int32_t *ids;      /* [batch, n_gen + 1] of a sample; NULL before the first */
    float *logits;     /* [batch, vocab] of the prompts' last tokens, while --compare needs them; or NULL */
    /* From the samples: */
    spread prefill, decode;
    double prefill_share, decode_share, ceiling_share; /* of the ceilings; 0: unknown */
    double hidden_share;                               /* of the hops' time; below 0: unknown */
    comparison beside;
} row;

/* The machine's ceilings, measured together with the rows; 0: unknown. */
typedef struct bench_ceilings {
    int32_t threads; /* CPU threads that they hold for */
    bool tried;      /* measuring was tried; a GPU may have had too little memory */
    double fma_flops, read_rate;
} bench_ceilings;

/* All rows of a run, and their common properties. */
typedef struct row_list {
    const options *options;
    char *model_name;         /* valid UTF-8 */
    uint64_t fingerprint;
    const char *weight_type;  /* the inspection's */
    int32_t vocab;
    char cpu[96], host[65];
    bool has_reasons;         /* some rows do not fit: the table has a column of reasons */
    row *rows;
    int n;
    bench_ceilings *ceilings; /* of CPUs, by number of threads */
    int n_ceilings;
    bench_ceilings cards[LARIAT_CARDS_MAX]; /* of GPUs, by their numbers */
    const char *card_dtype;                 /* of all rows on GPUs; NULL: no such row */
} row_list;

/* Computes medians and shares of a row from its samples so far. */
void row_sum_up(row *r);

/* Milliseconds for each token after the first; 0: no such token. */
double row_token_ms(const row *r);

/* The hidden share of all hops of these rows, as in lariat_stats: 1 where no hop took any time; -1: no hops. */
double rows_hidden(const row rows[], int n);

/* Index of the ring of one to compare a ring with, measured or not; -1: none. */
int rows_regular_of(const row_list *all, const row *ring);

/* The ceilings of a row: of its number of threads, or the sum over its GPUs. */
bench_ceilings rows_ceilings(const row_list *all, const row *r);

/* Computes speed-ups and crossings of all rings from the medians. */
void rows_compare(row_list *all);

/* Compares ids and logits of a ring with those of the ring of one. */
void row_check(const row *regular, row *ring, int32_t vocab);
