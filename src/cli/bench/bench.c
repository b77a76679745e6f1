/* lariat bench: the speed of prefill and decode over any axes, and rings beside rings of one.
   Rests on bench/: cells.h (the rows), timing.h (a sample), rows.h (results), resume.h (a file of samples), bench_table.h
   (output), ceilings.h (the machine's ceilings).

   Samples are taken in rounds over all rows, so that drift (clocks, neighbours) affects all rows equally. Every other round
   runs backwards; the last one runs forwards and completes the rows in order. */
#include "cli/bench/timing.h"
#include "cli/bench/plot.h"
#include "cli/bench/progress.h"
#include "cli/bench/resume.h"
#include "cli/bench/bench_table.h"
#include "cli/bench/ceilings.h"
#include "cli/commands.h"
#include "cli/folders.h"
#include "cli/bench/hops.h"
#include "cli/message.h"
#include "cli/output.h"
#include "cli/plan_text.h"
#include "cli/invocation.h"
#include "cli/signals.h"
#include "cli/terminal.h"
#include "cli/bench/timeline.h"
#include "cli/trace_file.h"
#include "cli/json_text.h"
#include "lariat/measure.h"
#include "lariat/trace.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

typedef struct bench {
    row_list all;
    lariat_inspection *inspection;
    line_file kept;
    bench_progress progress;
    table table;
    bool mute; /* standard output failed, reported already */
} bench;

/* --- before anything is measured --- */

static int name_model(bench *b, const char *model)
{
    size_t size = strlen(model);
    while (size > 1 && model[size - 1] == '/') {
        size--;
    }
    const char *name_at = model + size;
    while (name_at > model && name_at[-1] != '/') {
        name_at--;
    }
    json_t *name = json_from_bytes(name_at, (size_t)(model + size - name_at));
    b->all.model_name = name ? strdup(json_string_value(name)) : NULL;
    json_decref(name);
    return b->all.model_name ? 0 : complain_memory("bench");
}

static int describe_model(bench *b)
{
    const options *o = b->all.options;
    TRY(checked(lariat_inspect(o->model, &b->inspection)));
    const lariat_model_info *info = lariat_inspection_model(b->inspection);
    b->all.fingerprint = info->fingerprint;
    b->all.weight_type = info->weight_type;
    b->all.vocab = info->vocab;
    lariat_cpu_name(b->all.cpu, sizeof b->all.cpu);
    struct utsname machine = {0};
    uname(&machine);
    snprintf(b->all.host, sizeof b->all.host, "%s", machine.nodename);
    return name_model(b, o->model);
}

static void warn_of_length(const bench *b)
{
    const lariat_model_info *info = lariat_inspection_model(b->inspection);
    int64_t longest = 0;
    for (int i = 0; i < b->all.n; i++) {
        int64_t each = cell_context(&b->all.rows[i].cell) / b->all.rows[i].cell.batch;
        longest = each > longest ? each : longest;
    }
    if (longest > info->trained_context) {
        warn("context: %lld positions are more than the %lld that the model was trained for; speed does not depend on that",
             (long long)longest, (long long)info->trained_context);
    }
}

/* Plans each row; under --plan prints the plans. */
static int plan_rows(bench *b)
{
    const options *o = b->all.options;
    for (int i = 0; i < b->all.n; i++) {
        row *r = &b->all.rows[i];
        options one = cell_options(o, &r->cell);
        lariat_options library = plan_options(&one, cell_context(&r->cell), (int32_t)r->cell.batch);
        lariat_status status = lariat_plan_make(o->model, &library, &r->plan);
        if (status == LARIAT_NO_MEMORY) {
            snprintf(r->reason, sizeof r->reason, "%s", lariat_error());
        } else if (status != LARIAT_OK) {
            return complain_library();
        }
        b->all.has_reasons = b->all.has_reasons || *r->reason || r->plan.total_bytes > r->plan.available_bytes;
        if (o->plan || o->verbose) {
            FILE *to = o->plan ? stdout : stderr;
            fprintf(to, "%srow          prompt %lld, then %lld, depth %lld, batch %lld\n", i ? "\n" : "",
                    (long long)r->cell.n_prompt, (long long)r->cell.n_gen, (long long)r->cell.depth, (long long)r->cell.batch);
            plan_describe(&r->plan, "", to);
        }
        if (i == 0) {
            invocation_warn_of(&one, &r->plan);
        }
    }
    return 0;
}

static int make_rows(bench *b)
{
    cell_list list;
    int rc = 0;
    TRY(cells_list(b->all.options, &list));
    b->all.rows = calloc((size_t)list.n, sizeof *b->all.rows);
    if (!b->all.rows) {
        cells_free(&list);
        return complain_memory("bench");
    }
    b->all.n = list.n;
    for (int i = 0; rc == 0 && i < list.n; i++) {
        row *r = &b->all.rows[i];
        *r = (row){.cell = list.cells[i], .hidden_share = -1, .beside = {.regular = -1}};
        r->samples = calloc((size_t)b->all.options->reps, sizeof *r->samples);
        rc = r->samples ? 0 : complain_memory("bench");
    }
    cells_free(&list);
    return rc ? rc : plan_rows(b);
}

static void bench_close(bench *b)
{
    for (int i = 0; i < b->all.n; i++) {
        free(b->all.rows[i].samples);
        free(b->all.rows[i].ids);
        free(b->all.rows[i].logits);
    }
    free(b->all.rows);
    free(b->all.ceilings);
    free(b->all.model_name);
    lariat_inspection_close(b->inspection);
}

/* --- ceilings of the same run --- */

static bool has_ceiling(const row_list *all, int32_t threads)
{
    for (int i = 0; i < all->n_ceilings; i++) {
        if (all->ceilings[i].threads == threads) {
            return true;
        }
    }
    return false;
}

/* Measures ceilings, a second for each number of threads. None for more threads than CPUs, or without memory for the buffer. */
static int measure_threads(row_list *all, const lariat_plan *plan)
{
    enum { LARGE = 1 << 30 }; /* weights beyond this exceed every cache */
    lariat_ceilings best;
    bench_ceilings *out = &all->ceilings[all->n_ceilings];
    if (has_ceiling(all, plan->threads) || plan->threads < 1 || plan->threads > plan->cpus) {
        return 0;
    }
    int64_t bytes = plan->weight_bytes < LARGE ? plan->weight_bytes : LARGE, most = plan->available_bytes / 4;
    lariat_status status = lariat_measure_ceilings(plan->threads, &best);
    if (status == LARIAT_OK) {
        status = lariat_measure_read(plan->threads, bytes < most ? bytes : most, &out->read_rate);
    }
    if (status != LARIAT_OK) {
        return status == LARIAT_NO_MEMORY ? 0 : complain_library();
    }
    out->threads = plan->threads;
    out->fma_flops = best.fma_flops;
    all->n_ceilings++;
    return 0;
}

/* Measures each GPU once, one after the other, before engines are opened. */
static void measure_cards(row_list *all, const lariat_plan *plan)
{
    all->card_dtype = plan->dtype;
    for (int32_t i = 0; i < plan->cards && !signals_interrupted(); i++) {
        bench_ceilings *out = &all->cards[plan->card[i]];
        lariat_card_ceilings best;
        if (out->tried) {
            continue;
        }
        lariat_status status = lariat_measure_card(plan->card[i], plan->dtype, &best);
        out->tried = true;
        if (status == LARIAT_OK) {
            out->fma_flops = best.fma_flops;
            out->read_rate = best.read_memory;
        } else if (status != LARIAT_NO_MEMORY) { /* rows do not need it */
            warn("GPU %d has no ceilings: %s", plan->card[i], lariat_error());
        }
    }
}

static int measure_bounds(row_list *all)
{
    int rc = 0;
    all->ceilings = calloc((size_t)all->n, sizeof *all->ceilings);
    if (!all->ceilings) {
        return complain_memory("bench");
    }
    for (int i = 0; rc == 0 && i < all->n && !signals_interrupted(); i++) {
        const row *r = &all->rows[i];
        if (*r->reason || r->plan.total_bytes > r->plan.available_bytes || all->options->processes) {
            continue; /* it cannot be run, or not by the threads of this process alone, which would be measured */
        }
        if (r->plan.cards > 0) {
            measure_cards(all, &r->plan);
        } else {
            rc = measure_threads(all, &r->plan);
        }
    }
    return rc;
}

/* --- checks of a ring against the ring of one --- */

/* Is the comparison of these two rows pending? */
static bool pair_wants_check(const row *regular, const row *ring)
{
    return !ring->beside.checked && !*ring->reason && !*regular->reason;
}

/* Is a comparison with this row pending? */
static bool wants_check(const row_list *all, const row *r)
{
    int at = all->options->compare ? rows_regular_of(all, r) : -1;
    if (!all->options->compare || r->cell.ranks > 1) {
        return at >= 0 && pair_wants_check(&all->rows[at], r);
    }
    for (int i = 0; i < all->n; i++) {
        const row *ring = &all->rows[i];
        if (ring->cell.ranks > 1 && pair_wants_check(r, ring) && cell_is_regular_of(&r->cell, &ring->cell)) {
            return true;
        }
    }
    return false;
}

static void drop_logits(row *r)
{
    free(r->logits);
    r->logits = NULL;
}

/* Compares the rows that are ready; frees logits that are no longer needed. */
static int check_rows(bench *b)
{
    row_list *all = &b->all;
    int rc = 0;
    for (int i = 0; rc == 0 && all->options->compare && i < all->n; i++) {
        row *ring = &all->rows[i];
        int at = rows_regular_of(all, ring);
        if (at < 0) {
            continue;
        }
        const row *regular = &all->rows[at];
        if (pair_wants_check(regular, ring) && ring->ids && ring->logits && regular->ids && regular->logits) {
            row_check(regular, ring, all->vocab);
            rc = keep_check(&b->kept, all, ring);
            drop_logits(ring);
        }
    }
    for (int i = 0; i < all->n; i++) {
        if (all->rows[i].logits && !wants_check(all, &all->rows[i])) {
            drop_logits(&all->rows[i]);
        }
    }
    return rc;
}

/* --- rounds --- */

static void on_progress(void *user, int64_t done, int64_t total)
{
    bench_progress_at(user, done, total);
}

static int take_sample(bench *b, row *r, measurement *m, bool check)
{
    sample s;
    bench_ceilings best = rows_ceilings(&b->all, r);
    lariat_engine_on_progress(m->engine, on_progress, &b->progress);
    int rc = measurement_warm_up(m, r, check);
    bench_progress_take(&b->progress);
    rc = rc ? rc : measurement_take(m, r, &s);
    if (rc == 0 && r->n_samples < b->all.options->reps) {
        s.fma_flops = best.fma_flops;
        s.read_rate = best.read_rate;
        r->samples[r->n_samples++] = s;
        rc = keep_sample(&b->kept, &b->all, r, &s);
    }
    return rc;
}

/* Removes the remaining rounds of a row that does not fit from the progress. */
static void give_up(bench *b, const row *r, int64_t round)
{
    double cost = progress_cost(b->all.options, &r->cell);
    b->progress.total -= (double)(b->all.options->reps - 1 - round) * cost;
    if (!b->all.has_reasons && b->table.format == FORMAT_MD) {
        bench_progress_clear(&b->progress);
        warn("%s", r->reason);
    }
}

/* Takes the sample of a round, unless the row has it. */
static int visit(bench *b, int64_t round, int at)
{
    row *r = &b->all.rows[at];
    bool check = wants_check(&b->all, r) && !r->logits;
    if (*r->reason || (r->n_samples > round && !check)) {
        return 0;
    }
    if (signals_interrupted()) {
        return EXIT_INTERRUPTED;
    }
    b->progress.round = round;
    b->progress.at = at;
    bench_progress_begin(&b->progress, progress_cost(b->all.options, &r->cell));
    measurement m;
    int rc = measurement_open(b->all.options, r, &m);
    if (rc == 0 && m.engine) {
        rc = take_sample(b, r, &m, check);
    } else if (rc == 0) {
        give_up(b, r, round);
    }
    measurement_close(&m);
    bench_progress_done(&b->progress);
    return rc ? rc : check_rows(b);
}

static int write_row(bench *b, row *r)
{
    if (r->written || (r->n_samples == 0 && !*r->reason)) {
        return 0;
    }
    bench_progress_clear(&b->progress);
    row_sum_up(r);
    r->written = true;
    int rc = bench_row(&b->table, &b->all, r);
    b->mute = b->mute || rc;
    return rc;
}

/* Are rows written as they are completed? With --compare only at the end. */
static bool streams(const row_list *all)
{
    return !all->options->compare;
}

static int run_round(bench *b, int64_t round)
{
    int64_t rounds = b->all.options->reps;
    bool forwards = (rounds - 1 - round) % 2 == 0, last = round == rounds - 1;
    int rc = 0;
    for (int i = 0; rc == 0 && i < b->all.n; i++) {
        int at = forwards ? i : b->all.n - 1 - i;
        rc = visit(b, round, at);
        if (last && streams(&b->all) && (rc == 0 || rc == EXIT_INTERRUPTED)) {
            int written = write_row(b, &b->all.rows[at]);
            rc = rc ? rc : written;
        }
    }
    return rc;
}

static int run_rounds(bench *b)
{
    const options *o = b->all.options;
    b->progress = (bench_progress){
        .wanted = b->progress.wanted, .began_s = now_s(), .rounds = o->reps, .rows = b->all.n};
    for (int i = 0; i < b->all.n; i++) {
        const row *r = &b->all.rows[i];
        b->progress.total += (double)(o->reps - r->n_samples) * progress_cost(o, &r->cell);
    }
    int rc = 0;
    for (int64_t round = 0; rc == 0 && round < o->reps; round++) {
        rc = run_round(b, round);
    }
    bench_progress_clear(&b->progress);
    return rc;
}

/* --- what each rank did --- */

static int check_folder(const char *path)
{
    struct stat now;
    make_folder(path);
    if (stat(path, &now) != 0) {
        return complain("%s: cannot make this folder: %s, choose another", path, strerror(errno));
    }
    if (!S_ISDIR(now.st_mode)) {
        return complain("%s: is no folder, choose another name", path);
    }
    return access(path, W_OK | X_OK) == 0
               ? 0
               : complain("%s: cannot write into it: %s, choose another folder", path, strerror(errno));
}

/* Checks output paths before measuring. */
static int check_outputs(const bench *b)
{
    const options *o = b->all.options;
    TRY(o->trace ? check_writable(o->trace) : 0);
    TRY(o->timeline ? check_writable(o->timeline) : 0);
    return o->plot ? check_folder(o->plot) : 0;
}

static int trace_run(const options *o, row *r, measurement *m)
{
    sample traced;
    int rc = measurement_warm_up(m, r, false);
    if (rc == 0 && lariat_trace_start(m->engine, 0) != LARIAT_OK) {
        rc = complain_library();
    }
    rc = rc ? rc : measurement_take(m, r, &traced);
    lariat_trace_stop(m->engine);
    rc = rc || !o->trace ? rc : trace_write(m->engine, o->trace);
    return rc || !o->timeline ? rc : timeline_draw(m->engine, o->timeline);
}

/* Traces one extra run of the last runnable row; samples are taken without tracing. */
static int trace_last(bench *b)
{
    const options *o = b->all.options;
    row *r = NULL;
    for (int i = 0; (o->trace || o->timeline) && i < b->all.n; i++) {
        r = *b->all.rows[i].reason ? r : &b->all.rows[i];
    }
    if (!r) {
        if (o->trace || o->timeline) {
            warn("%s: no row could be run, nothing is written", o->trace ? o->trace : o->timeline);
        }
        return 0;
    }
    measurement m;
    int rc = measurement_open(o, r, &m);
    if (rc == 0) {
        rc = m.engine ? trace_run(o, r, &m) : complain("%s", r->reason);
    }
    measurement_close(&m);
    return rc;
}

/* --- the result --- */

/* Writes the remaining rows: all of a comparison, or those not reached in the last round. */
static int write_rest(bench *b)
{
    for (int i = 0; i < b->all.n; i++) {
        row_sum_up(&b->all.rows[i]);
    }
    rows_compare(&b->all);
    if (b->all.options->compare && b->all.options->format == FORMAT_MD) {
        return bench_compared(&b->all);
    }
    for (int i = 0; i < b->all.n; i++) {
        TRY(write_row(b, &b->all.rows[i]));
    }
    return 0;
}

/* Writes the results, also after a failure or Ctrl-C. */
static int write_table(bench *b, int rc)
{
    if (b->mute) {
        return rc;
    }
    int written = write_rest(b);
    bool md = b->table.format == FORMAT_MD;
    written = written ? written : md ? bench_conditions(&b->all) : table_end(&b->table);
    return rc ? rc : written;
}

static int measure(bench *b)
{
    const options *o = b->all.options;
    warn_of_length(b);
    int rc = check_outputs(b);
    rc = rc ? rc : keeper_open(o->resume, &b->all, &b->kept);
    if (rc == 0 && o->resume && !o->quiet) {
        fprintf(stderr, "%s: %lld of %lld samples are there\n", o->resume, (long long)rows_kept(&b->all),
                (long long)(b->all.n * o->reps));
    }
    if (rc == 0) {
        b->progress.wanted = terminal_errors() && !o->quiet;
        bench_progress_say(&b->progress, "measuring what this machine does at best");
        rc = measure_bounds(&b->all);
        bench_progress_clear(&b->progress);
    }
    if (rc == 0) {
        rc = write_table(b, run_rounds(b));
        int drawn = o->plot ? plots_draw(&b->all, o->plot) : 0;
        rc = rc ? rc : drawn;
    }
    if (rc && (o->trace || o->timeline)) {
        warn("%s: not written, the run ended before it", o->trace ? o->trace : o->timeline);
    }
    rc = rc ? rc : trace_last(b);
    int closed = line_file_close(&b->kept);
    return rc ? rc : closed;
}

static int bench_model(const options *o)
{
    bench b = {.all = {.options = o}, .table.format = (table_format)o->format};
    int rc = describe_model(&b);
    rc = rc ? rc : make_rows(&b);
    if (rc == 0) {
        signals_hold(!o->plan, false);
        rc = o->plan ? output_flush() : measure(&b);
        signals_hold(false, false);
    }
    bench_close(&b);
    return rc;
}

/* --- ceilings for other runs --- */

static int plan_on(const options *o, lariat_device device, lariat_plan *out)
{
    options one = *o;
    one.device = (int)device;
    if (device == LARIAT_DEVICE_CPU) { /* CPUs have neither numbers nor types */
        one.cards.n = 0;
        one.dtype = LARIAT_DTYPE_AUTO;
    }
    lariat_options library = plan_options(&one, 1, 1);
    return checked(lariat_plan_make(o->model, &library, out));
}

static int keep_of_cpus(const options *o, FILE *report)
{
    lariat_plan plan = {0};
    int rc = o->model ? plan_on(o, LARIAT_DEVICE_CPU, &plan) : 0;
    return rc ? rc : ceilings_measure((int32_t)o->threads, plan.weight_bytes, report);
}

/* Measures GPUs for the type of the model's runs; without a model bf16. */
static int keep_of_cards(const options *o, bool needed, FILE *report)
{
    static const char *const types[] = {[LARIAT_DTYPE_AUTO] = "bf16", [LARIAT_DTYPE_BF16] = "bf16", [LARIAT_DTYPE_F16] = "f16",
                                        [LARIAT_DTYPE_F32] = "f32"};
    lariat_plan plan = {.cards = 1, .dtype = types[o->dtype]};
    int rc = o->model ? plan_on(o, needed ? LARIAT_DEVICE_CUDA : LARIAT_DEVICE_AUTO, &plan) : 0;
    return rc || plan.cards == 0 ? rc : ceilings_measure_cards(&o->cards, plan.dtype, needed, report);
}

static int keep_ceilings(const options *o)
{
    bool cpus = false, cards = false, needed = o->cards.n > 0;
    for (int i = 0; i < o->devices.n; i++) {
        cpus = cpus || o->devices.values[i] != LARIAT_DEVICE_CUDA;
        cards = cards || o->devices.values[i] != LARIAT_DEVICE_CPU;
        needed = needed || o->devices.values[i] == LARIAT_DEVICE_CUDA;
    }
    FILE *report = o->quiet ? NULL : o->model || o->hops ? stderr : stdout;
    int rc = cpus ? keep_of_cpus(o, report) : 0;
    rc = rc || !cards ? rc : keep_of_cards(o, needed, report);
    return rc ? rc : output_flush();
}

int command_bench(const options *o)
{
    int rc = o->ceilings && !o->plan ? keep_ceilings(o) : 0; /* --plan measures nothing */
    if (rc == 0 && o->hops) {
        return hops_table(o);
    }
    return rc || !o->model ? rc : bench_model(o);
}
