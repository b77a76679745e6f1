/* Opening a model for a subcommand, stepping it with a clock beside, closing it with its figures.
   Rests on lariat.h. Read on in reply.c (generating) and score.c (scoring). */
#include "cli/invocation.h"
#include "cli/message.h"
#include "cli/output.h"
#include "cli/plan_text.h"
#include "cli/request_options.h"
#include "cli/signals.h"
#include "cli/stats.h"
#include "cli/trace_file.h"
#include "lariat/trace.h"

#include <stdlib.h>
#include <string.h>

int invocation_open_tokenizer(invocation *inv, const options *o, bool needed)
{
    *inv = (invocation){.options = o};
    TRY(request_of_options(o, &inv->defaults));
    lariat_status status = lariat_tokenizer_open(o->model, &inv->tokenizer);
    if (status == LARIAT_OK) {
        warn_of_tokenizer(inv->tokenizer);
        return 0;
    }
    inv->tokenizer = NULL;
    if (status == LARIAT_UNSUPPORTED && !needed && inv->defaults.n_stops == 0) {
        inv->no_tokenizer = strdup(lariat_error());
        TRY_MEMORY(inv->no_tokenizer, "tokenizer");
        return 0;
    }
    /* Where the model itself cannot be run that is the reason to give: it takes the place of the tokenizer's. */
    lariat_options library = plan_options(o, 1, 1);
    lariat_plan plan;
    bool runs = lariat_plan_make(o->model, &library, &plan) == LARIAT_OK;
    if (runs && status == LARIAT_UNSUPPORTED && !needed) {
        return complain("--stop: %s; without it no text ends a reply", lariat_error());
    }
    bool takes_ids = o->command == COMMAND_GENERATE || o->command == COMMAND_PERPLEXITY;
    return runs && takes_ids && status == LARIAT_UNSUPPORTED
               ? complain("%s; without it only ids can be used (--tokens)", lariat_error())
               : complain_library();
}

void invocation_tell_seed(invocation *inv, const request *asked)
{
    const options *o = inv->options;
    if (asked->sampling.temperature > 0 && !asked->seeded && !option_is_typed(o, "seed") && !inv->told_seed) {
        fprintf(stderr, "seed %llu (-s %llu gives the same again)\n", (unsigned long long)inv->defaults.sampling.seed,
                (unsigned long long)inv->defaults.sampling.seed);
        inv->told_seed = true;
    }
}

/* The trained length may be more than memory holds; the user did not ask for all of it, so the context that fits will do. */
int invocation_default_context(const options *o, int64_t at_most, int64_t *out)
{
    lariat_options library = plan_options(o, 0, 1);
    lariat_plan plan;
    TRY(checked(lariat_plan_make(o->model, &library, &plan)));
    *out = at_most > 0 && at_most < plan.context ? at_most : plan.context;
    if (*out < plan.context || o->plan || plan.total_bytes <= plan.available_bytes || plan.fits_context < 1) {
        return 0; /* what does not fit even so is refused by the library, with its figures */
    }
    *out = plan.fits_context - plan.fits_context / 8; /* an eighth for what memory others take meanwhile */
    char need[24], have[24];
    warn("context: the trained %lld positions need %s and %s are available, going on with %lld (choose with -c)",
         (long long)plan.context, bytes_text(plan.total_bytes, need), bytes_text(plan.available_bytes, have), (long long)*out);
    return 0;
}

static void on_progress(void *user, int64_t done, int64_t total)
{
    (void)total; /* of one step; the line is about the whole */
    progress_at(user, done);
}

static int load(invocation *inv, const lariat_options *library)
{
    double began = now_s();
    TRY(checked(lariat_engine_open(inv->options->model, library, &inv->engine)));
    inv->figures.load_s = now_s() - began;
    if (inv->options->trace && lariat_trace_start(inv->engine, 0) != LARIAT_OK) {
        return complain_library();
    }
    inv->model = lariat_engine_model(inv->engine);
    inv->shards = calloc((size_t)lariat_engine_plan(inv->engine)->ranks, sizeof *inv->shards);
    if (!inv->shards) {
        return complain_memory("figures");
    }
    inv->progress.wanted = terminal_errors() && !inv->options->quiet;
    lariat_engine_on_progress(inv->engine, on_progress, &inv->progress);
    signals_hold(true, inv->options->command == COMMAND_CHAT);
    return 0;
}

static void announce(const invocation *inv, const lariat_plan *plan)
{
    const options *o = inv->options;
    if (o->verbose) {
        plan_describe(plan, "", stderr);
    } else if (terminal_errors() && !o->quiet) {
        plan_summarise(plan, stderr);
    }
}

/* Some threads more than CPUs cost little; 32 to a CPU decoded a tiny model at a twentieth of its speed. */
static void warn_of_threads(const options *o, const lariat_plan *plan)
{
    if (plan->cards == 0 && o->threads / 4 > plan->cpus) {
        warn("-t: %lld threads share %d CPU%s and wait for one another, give no more than there are or leave it out",
             (long long)o->threads, plan->cpus, plan->cpus == 1 ? "" : "s");
    }
}

static void warn_of_hops(const options *o, const lariat_plan *plan)
{
    if (plan->through_host && plan->ranks > 1 && o->via != LARIAT_HOPS_HOST) {
        warn("--devices: the cards cannot read one another's memory, hops go through the host's, which takes longer");
    }
}

/* The run's files, tried before it. */
static int check_outputs(const options *o)
{
    int rc = o->stats ? check_writable(o->stats) : 0;
    return rc || !o->trace ? rc : check_writable(o->trace);
}

void invocation_warn_of(const options *o, const lariat_plan *plan)
{
    warn_of_threads(o, plan);
    warn_of_hops(o, plan);
}

static void describe_model(const lariat_model_info *m)
{
    fprintf(stderr,
            "model        %s, %s: %d layers, width %d, heads %d over %d of %d, feed-forward %d, vocabulary %d, rope %s\n",
            m->architecture, m->weight_type, m->n_layers, m->d_model, m->n_heads, m->n_kv_heads, m->head_dim, m->d_ff, m->vocab,
            m->rope);
}

static int tell_plan(const options *o, const lariat_plan *plan)
{
    plan_describe(plan, "", stdout);
    int rc = output_flush();
    return rc || !o->stats ? rc : stats_of_plan(o, plan);
}

int invocation_open_engine(invocation *inv, slot_wish wanted)
{
    const options *o = inv->options;
    lariat_options library = plan_options(o, wanted.context, wanted.sessions);
    lariat_plan plan;
    TRY(checked(lariat_plan_make(o->model, &library, &plan)));
    invocation_warn_of(o, &plan);
    TRY(check_outputs(o));
    if (o->plan) {
        return tell_plan(o, &plan);
    }
    announce(inv, &plan);
    TRY(load(inv, &library));
    if (o->verbose) {
        describe_model(inv->model);
    }
    int64_t longest = wanted.longest ? wanted.longest : plan.context;
    if (longest > inv->model->trained_context) {
        warn("context: %lld positions are more than the %lld that the model was trained for, expect worse text beyond them or "
             "choose fewer with -c",
             (long long)longest, (long long)inv->model->trained_context);
    }
    return 0;
}

/* Adds what a call took to the figures. */
static void note(invocation *inv, phase what, int64_t tokens, double spent)
{
    lariat_stats now;
    figures *f = &inv->figures;
    lariat_engine_stats(inv->engine, &now);
    if (what == PREFILL) {
        f->prefill_s += spent;
        f->prefill_tokens += tokens;
        f->prefill_flops += now.flops - inv->seen.flops;
    } else {
        f->decode_s += spent;
        f->decode_tokens += tokens;
        f->decode_weight_bytes += now.weight_bytes_read - inv->seen.weight_bytes_read;
    }
    inv->seen = now;
}

bool invocation_begin_call(invocation *inv, lariat_session *session)
{
    signals_cancel(session);
    inv->call_began_s = now_s();
    return !signals_interrupted();
}

int invocation_end_call(invocation *inv, lariat_status status, phase what, int64_t tokens, bool *cancelled)
{
    signals_cancel(NULL);
    *cancelled = status == LARIAT_CANCELLED;
    if (status != LARIAT_OK) {
        progress_end(&inv->progress);
    }
    if (tokens && (status == LARIAT_OK || (*cancelled && what == DECODE))) {
        note(inv, what, tokens, now_s() - inv->call_began_s);
    }
    return status == LARIAT_OK || *cancelled ? 0 : complain_library();
}

int invocation_step(invocation *inv, const lariat_work work[], int32_t n, bool *cancelled)
{
    int64_t tokens = 0;
    for (int32_t i = 0; i < n; i++) {
        tokens += work[i].count;
    }
    lariat_status status = invocation_begin_call(inv, work[0].session) ? lariat_step(inv->engine, work, n) : LARIAT_CANCELLED;
    return invocation_end_call(inv, status, PREFILL, tokens, cancelled);
}

int invocation_pass(invocation *inv, scheduler *s, pass_report *report, bool *interrupted)
{
    lariat_status status = LARIAT_OK;
    signals_cancel_by(scheduler_interrupt, s);
    inv->call_began_s = now_s();
    *report = (pass_report){0};
    if (!signals_interrupted()) {
        status = scheduler_pass(s, report);
    }
    int rc = invocation_end_call(inv, status, report->prompts ? PREFILL : DECODE, report->tokens, interrupted);
    *interrupted = *interrupted || signals_interrupted();
    return rc;
}

void invocation_note_shards(invocation *inv, const lariat_session *session)
{
    int32_t ranks = lariat_engine_plan(inv->engine)->ranks;
    for (int32_t i = 0; i < ranks; i++) {
        int64_t held = lariat_session_shard(session, i);
        inv->shards[i] = held > inv->shards[i] ? held : inv->shards[i];
    }
}

int invocation_close(invocation *inv, int rc)
{
    progress_end(&inv->progress);
    if (inv->engine && inv->shards && (rc == 0 || rc == EXIT_INTERRUPTED || inv->lines_failed)) {
        lariat_trace_stop(inv->engine);
        int written = stats_finish(inv), traced = inv->options->trace ? trace_write(inv->engine, inv->options->trace) : 0;
        rc = rc ? rc : written ? written : traced;
    }
    signals_hold(false, false);
    if (lariat_engine_close(inv->engine) != LARIAT_OK) {
        rc = rc ? rc : complain_library();
    }
    lariat_tokenizer_close(inv->tokenizer);
    request_free(&inv->defaults);
    free(inv->no_tokenizer);
    free(inv->shards);
    *inv = (invocation){0};
    return rc;
}
