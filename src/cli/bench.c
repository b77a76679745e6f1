/* lariat bench: the speed of prefill and decode, for several ring sizes and prompt lengths.
   Rests on run.h for steps with a clock beside, on ceilings.h and table.h. --hops is in hops.c. */
#include "cli/ceilings.h"
#include "cli/commands.h"
#include "cli/hops.h"
#include "cli/message.h"
#include "cli/output.h"
#include "cli/plan.h"
#include "cli/run.h"
#include "cli/signals.h"
#include "cli/table.h"
#include "cli/utf8.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WARM_UP_DECODES = 4 };

/* One row of the table. */
typedef struct row {
    int32_t ranks, threads, chunk;
    const char *kv;
    int64_t n_prompt, n_gen;
    double prefill_s, decode_s; /* medians */
    double share;               /* of the ceilings; 0: not known */
} row;

/* What is written, and of what. */
typedef struct bench_table {
    const options *options;
    char *model; /* its name, fit for JSON */
    table table;
} bench_table;

/* --- measuring --- */

/* Ids that no cache or branch can learn: a fixed linear congruential sequence. */
static void fill_tokens(int32_t *ids, int64_t n, int32_t vocab)
{
    uint64_t state = 1;
    for (int64_t i = 0; i < n; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        ids[i] = (int32_t)((state >> 33) % (uint64_t)vocab);
    }
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int64_t n)
{
    qsort(values, (size_t)n, sizeof *values, by_value);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/* What one row is measured with. */
typedef struct bench {
    run *run;
    lariat_session *session;
    lariat_sampler *sampler;
    int32_t *ids;  /* [n_prompt], at least one */
    int32_t token; /* that came last */
} bench;

static bool on_token(void *user, int32_t item, int32_t id)
{
    bench *b = user;
    (void)item;
    b->token = id;
    return true;
}

static int generate(bench *b, const int32_t *ids, int64_t n, int64_t most, phase what)
{
    lariat_reply item = {.session = b->session, .tokens = ids, .count = n, .sampler = b->sampler, .most = most};
    bool cancelled;
    int rc = run_generate(b->run, &item, 1, what, on_token, b, &cancelled);
    return rc ? rc : cancelled || signals_interrupted() ? EXIT_INTERRUPTED : 0;
}

/* A prompt of n_prompt tokens to the first token of its reply, then n_gen tokens after that; the times are added to the run's
   figures. */
static int measure_once(bench *b, int64_t n_prompt, int64_t n_gen)
{
    int rc = lariat_session_rewind(b->session, 0) == LARIAT_OK ? 0 : complain_library();
    if (rc == 0 && n_prompt > 0) {
        progress_begin(&b->run->progress, "reading", n_prompt);
        rc = generate(b, b->ids, n_prompt, 1, PREFILL);
        progress_end(&b->run->progress);
    }
    if (rc == 0 && n_gen > 0) {
        rc = generate(b, n_prompt > 0 ? &b->token : b->ids, 1, n_gen, DECODE);
    }
    return rc;
}

/* Time that the ceilings would allow over the time taken, all repetitions together. */
static double share_of(const run *r)
{
    const figures *f = &r->figures;
    ceilings best = ceilings_of(lariat_engine_plan(r->engine));
    double taken = f->prefill_s + f->decode_s;
    if (!best.known || taken <= 0) {
        return 0;
    }
    return (f->prefill_flops / best.fma_flops + f->decode_weight_bytes / best.read_rate) / taken;
}

static int measure_reps(bench *b, row *out)
{
    int64_t reps = b->run->options->reps;
    double *prefills = malloc(2 * (size_t)reps * sizeof *prefills);
    if (!prefills) {
        return complain_memory("bench");
    }
    double *decodes = prefills + reps;
    int rc = 0;
    figures total = {0};
    for (int64_t i = 0; rc == 0 && i < reps; i++) {
        b->run->figures = (figures){0};
        rc = measure_once(b, out->n_prompt, out->n_gen);
        const figures *f = &b->run->figures;
        prefills[i] = f->prefill_s;
        decodes[i] = f->decode_s;
        total.prefill_s += f->prefill_s;
        total.decode_s += f->decode_s;
        total.prefill_flops += f->prefill_flops;
        total.decode_weight_bytes += f->decode_weight_bytes;
    }
    if (rc == 0) {
        out->prefill_s = median(prefills, reps);
        out->decode_s = median(decodes, reps);
        b->run->figures = total;
        out->share = share_of(b->run);
    }
    free(prefills);
    return rc;
}

static int measure_row(run *r, row *out)
{
    const lariat_plan *plan = lariat_engine_plan(r->engine);
    out->ranks = plan->ranks;
    out->threads = plan->threads;
    out->chunk = plan->chunk;
    out->kv = plan->kv;
    int64_t n = out->n_prompt > 0 ? out->n_prompt : 1;
    lariat_sampling likeliest = {.top_p = 1}; /* temperature 0 */
    bench b = {.run = r};
    if (lariat_session_open(r->engine, out->n_prompt + out->n_gen, &b.session) != LARIAT_OK) {
        return complain_library();
    }
    b.ids = malloc((size_t)n * sizeof *b.ids);
    int rc = b.ids ? 0 : complain_memory("bench");
    if (rc == 0 && lariat_sampler_open(&likeliest, r->model->vocab, &b.sampler) != LARIAT_OK) {
        rc = complain_library();
    }
    if (rc == 0) {
        fill_tokens(b.ids, n, r->model->vocab);
        /* The first pass of each kind pays for pages and for threads that start. */
        int64_t prompt = out->n_prompt < plan->chunk ? out->n_prompt : plan->chunk;
        rc = measure_once(&b, prompt, out->n_gen < WARM_UP_DECODES ? out->n_gen : WARM_UP_DECODES);
    }
    rc = rc ? rc : measure_reps(&b, out);
    free(b.ids);
    lariat_sampler_close(b.sampler);
    lariat_session_close(b.session);
    return rc;
}

/* --- the table --- */

static double rate(int64_t amount, double seconds)
{
    return seconds > 0 ? (double)amount / seconds : 0;
}

static int print_row(bench_table *t, const row *r)
{
    const cell cells[] = {
        {"model", CELL_TEXT, .text = t->model},
        {"ranks", CELL_COUNT, .count = r->ranks},
        {"threads", CELL_COUNT, .count = r->threads},
        {"chunk", CELL_COUNT, .count = r->chunk},
        {"kv", CELL_TEXT, .text = r->kv},
        {"n_prompt", CELL_COUNT, .count = r->n_prompt},
        {"n_gen", CELL_COUNT, .count = r->n_gen},
        {"prefill_s", CELL_REAL, .real = r->prefill_s, .decimals = 4},
        {"prefill_tps", CELL_REAL, .real = rate(r->n_prompt, r->prefill_s), .decimals = 1},
        {"decode_s", CELL_REAL, .real = r->decode_s, .decimals = 4},
        {"decode_tps", CELL_REAL, .real = rate(r->n_gen, r->decode_s), .decimals = 1},
        {"ceiling_share", CELL_REAL, .real = r->share > 0 ? r->share : NAN, .decimals = 3},
    };
    return table_row(&t->table, cells, (int)(sizeof cells / sizeof cells[0]));
}

/* --- the run --- */

static int64_t longest_prompt(const options *o)
{
    int64_t longest = 0;
    for (int i = 0; i < o->prompt_lengths.n; i++) {
        longest = o->prompt_lengths.values[i] > longest ? o->prompt_lengths.values[i] : longest;
    }
    return longest;
}

static int bench_rows(run *r, bench_table *t)
{
    const options *o = t->options;
    int rc = 0;
    for (int i = 0; rc == 0 && i < o->prompt_lengths.n; i++) {
        row measured = {.n_prompt = o->prompt_lengths.values[i], .n_gen = o->n};
        rc = measure_row(r, &measured);
        rc = rc ? rc : print_row(t, &measured);
    }
    return rc;
}

/* All rows of one ring size. */
static int bench_ring(bench_table *t, int64_t ranks)
{
    options one = *t->options;
    one.ranks = ranks;
    one.stats = NULL;
    run r = {.options = &one};
    int rc = run_open_engine(&r, (slot_wish){.context = longest_prompt(&one) + one.n, .sessions = 1});
    if (rc == 0 && r.engine) {
        rc = bench_rows(&r, t);
    }
    one.quiet = true; /* the table tells the figures; there is no last line */
    return run_close(&r, rc);
}

static int bench_model(const options *o)
{
    bench_table t = {.options = o, .table.format = (table_format)o->format};
    const char *slash = strrchr(o->model, '/');
    json_t *name = json_from_text(slash && slash[1] ? slash + 1 : o->model);
    t.model = name ? strdup(json_string_value(name)) : NULL;
    json_decref(name);
    int rc = t.model ? 0 : complain_memory("bench");
    for (int i = 0; rc == 0 && i < o->ring_sizes.n; i++) {
        rc = bench_ring(&t, o->ring_sizes.values[i]);
    }
    if (rc == 0 && !o->plan) {
        rc = table_end(&t.table);
    }
    free(t.model);
    return rc ? rc : output_flush();
}

static int measure_ceilings(const options *o)
{
    int64_t weight_bytes = 0;
    if (o->model) {
        lariat_options library = plan_options(o, 1, 1);
        lariat_plan plan;
        if (lariat_plan_make(o->model, &library, &plan) != LARIAT_OK) {
            return complain_library();
        }
        weight_bytes = plan.weight_bytes;
    }
    FILE *report = o->quiet ? NULL : o->model || o->hops ? stderr : stdout;
    int rc = ceilings_measure((int32_t)o->threads, weight_bytes, report);
    return rc ? rc : output_flush();
}

int command_bench(const options *o)
{
    int rc = o->ceilings && !o->plan ? measure_ceilings(o) : 0; /* --plan only tells */
    if (rc == 0 && o->hops) {
        return hops_table(o);
    }
    return rc || !o->model ? rc : bench_model(o);
}
