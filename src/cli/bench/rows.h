/* What came of each cell: samples, their medians, shares of the ceilings, and how a ring compares.
   Rests on cells.h and lariat.h. measure.h fills it, table.h and plot.h show it, resume.h keeps the samples in a file. */
#ifndef CLI_BENCH_ROWS_H
#define CLI_BENCH_ROWS_H

#include "cli/bench/cells.h"
#include "lariat/lariat.h"

/* One measurement. Rates of work are sums over all ranks. */
typedef struct sample {
    double prefill_s; /* to the first token of all replies; 0: there was no prompt */
    double decode_s;  /* for n_gen tokens after that (without a cache: after the first one) */
    double prefill_flops, decode_flops, decode_weight_bytes;
    int64_t hops;
    double hop_s, hop_wait_s;    /* see lariat_stats */
    double fma_flops, read_rate; /* of the ceilings of its run; 0: not known */
    int64_t rank_bytes;       /* KV shard and activations of the fullest rank; on GPUs its weights too */
} sample;

typedef struct spread {
    double median, least, most;
} spread;

/* A ring beside the ring of one with the same cell otherwise. */
typedef struct comparison {
    int regular;              /* index of that row; -1: this is one, or none was measured */
    bool checked;             /* the three below are known */
    int64_t first_difference; /* index of the first token that differs; -1: none does */
    double logit_difference;  /* largest, of the prompt's last logits, over their standard deviation */
    double prefill_speedup, decode_speedup;   /* 0: not known */
    double prefill_crossing, decode_crossing; /* prompt length from which this ring is faster; 0: at all that were measured;
                                                 INFINITY: at none; NAN: not known */
} comparison;

typedef struct row {
    cell cell;
    lariat_plan plan;  /* of this cell */
    char reason[512];  /* why it cannot be run; "": it can */
    bool written;      /* to the table */
    sample *samples;   /* [reps] */
    int64_t n_samples; /* so far */
    int32_t *ids;      /* [batch, n_gen + 1] of a sample; NULL until one was taken */
    float *logits;     /* [batch, vocab] of the prompts' last tokens; NULL but while --compare needs it */
    /* From the samples: */
    spread prefill, decode;
    double prefill_share, decode_share, ceiling_share; /* of the ceilings; 0: not known */
    double hidden_share;                               /* of the hops' time; below 0: not known */
    comparison beside;
} row;

/* What the machine did at best while the rows were measured; 0: not known. */
typedef struct bench_ceilings {
    int32_t threads; /* of CPUs, that it holds for */
    bool tried;      /* a GPU may have had no memory to be measured in */
    double fma_flops, read_rate;
} bench_ceilings;

/* All rows of a run, with what they have in common. */
typedef struct row_list {
    const options *options;
    char *model_name;         /* fit for JSON */
    uint64_t fingerprint;
    const char *weight_type;  /* the inspection's */
    int32_t vocab;
    char cpu[96], host[65];
    bool has_reasons;         /* some rows will not fit: the table has a column for that */
    row *rows;
    int n;
    bench_ceilings *ceilings; /* of CPUs: one for each number of threads */
    int n_ceilings;
    bench_ceilings cards[LARIAT_CARDS_MAX]; /* of GPUs, by their numbers */
    const char *card_dtype;                 /* of all rows on GPUs; NULL: there is none */
} row_list;

/* Medians and shares of a row from its samples so far. */
void row_sum_up(row *r);

/* Milliseconds for each token after the first; 0: there is none. */
double row_token_ms(const row *r);

/* Of all hops of all samples of these rows, the share that was hidden, as lariat_stats has it: 1 where no hop took any time; -1: there
   were none. */
double rows_hidden(const row rows[], int n);

/* The ring of one that a ring is compared with, measured or not; -1: there is none. */
int rows_regular_of(const row_list *all, const row *ring);

/* The ceilings for a row: those of as many threads, or of all GPUs that it lies on together. */
bench_ceilings rows_ceilings(const row_list *all, const row *r);

/* Speed-ups and crossings of all rings, from the medians. */
void rows_compare(row_list *all);

/* Compares what a ring gave with what the ring of one gave; both have ids and logits. */
void row_check(const row *regular, row *ring, int32_t vocab);

#endif
