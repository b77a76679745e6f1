/* The figures of a run as text and as JSON.
   Rests on lariat_stats and the kept ceilings. */
#include "cli/stats.h"
#include "cli/bench/ceilings.h"
#include "cli/message.h"
#include "cli/output.h"
#include "cli/plan_text.h"
#include "cli/json_text.h"

#include <jansson.h>
#include <stdlib.h>

static double rate(double amount, double seconds)
{
    return seconds > 0 ? amount / seconds : 0;
}

/* Shares of the ceilings; 0: the phase did not run, or no ceilings are kept. */
typedef struct shares {
    ceilings at_best;
    double prefill, decode;
} shares;

static shares shares_of(const invocation *inv)
{
    const figures *f = &inv->figures;
    shares s = {0};
    if (!inv->options->processes) { /* ceilings are those of one process's threads */
        s.at_best = ceilings_of(lariat_engine_plan(inv->engine));
    }
    if (s.at_best.known) {
        s.prefill = rate(f->prefill_flops, f->prefill_s * s.at_best.fma_flops);
        s.decode = rate(f->decode_weight_bytes, f->decode_s * s.at_best.read_rate);
    }
    return s;
}

static void print_phase(const char *name, int64_t tokens, double seconds)
{
    if (tokens > 0) {
        fprintf(stderr, " | %s %lld token%s, %.1f tokens/s", name, (long long)tokens, tokens == 1 ? "" : "s",
                rate((double)tokens, seconds));
    }
}

/* Is the waiting known? On GPUs that of all-gathers is not measured. */
static bool knows_waiting(const invocation *inv)
{
    return inv->seen.hops > 0 || lariat_engine_plan(inv->engine)->cards == 0;
}

/* Prints hops, which belong to passes by tokens, or the wait, the cost of all-gathers in passes by slices. */
static void print_ring(const invocation *inv)
{
    const lariat_stats *s = &inv->seen;
    char bytes[24];
    if (s->hops > 0) {
        fprintf(stderr, " | hop %s", bytes_text(s->hop_bytes, bytes));
    }
    if (s->hops_hidden >= 0) {
        fprintf(stderr, ", hops %.0f %% hidden", 100 * s->hops_hidden);
    }
    if (lariat_engine_plan(inv->engine)->ranks > 1 && knows_waiting(inv)) {
        fprintf(stderr, "%swaited %.2f s", s->hops > 0 ? ", " : " | ", s->wait_s);
    }
}

void stats_print(const invocation *inv)
{
    const figures *f = &inv->figures;
    shares s = shares_of(inv);
    fprintf(stderr, "load %.2f s", f->load_s);
    if (f->first_s > 0) {
        fprintf(stderr, " | first token %.2f s", f->first_s);
    }
    print_phase("prefill", f->prefill_tokens, f->prefill_s);
    print_phase("decode", f->decode_tokens, f->decode_s);
    if (f->decode_weight_bytes > 0) {
        fprintf(stderr, ", weights %.1f GB/s", rate(f->decode_weight_bytes, f->decode_s) / 1e9);
    }
    print_ring(inv);
    if (s.prefill > 0) {
        fprintf(stderr, " | prefill %.0f %% of the multiply-add peak", 100 * s.prefill);
    }
    if (s.decode > 0) {
        fprintf(stderr, " | decode %.0f %% of the read rate", 100 * s.decode);
    }
    fputc('\n', stderr);
}

static json_t *model_json(const lariat_model_info *m)
{
    char fingerprint[17];
    snprintf(fingerprint, sizeof fingerprint, "%016llx", (unsigned long long)m->fingerprint);
    return json_pack("{s:o?, s:s, s:s, s:I, s:s}", "path", json_from_text(m->path), "architecture", m->architecture,
                     "weight_type", m->weight_type, "weight_bytes", (json_int_t)m->weight_bytes, "fingerprint", fingerprint);
}

static json_t *shards_json(const invocation *inv)
{
    json_t *list = json_array();
    int32_t ranks = lariat_engine_plan(inv->engine)->ranks;
    for (int32_t i = 0; i < ranks; i++) {
        json_array_append_new(list, json_integer(inv->shards[i]));
    }
    return list;
}

static json_t *ring_json(const invocation *inv)
{
    const lariat_stats *s = &inv->seen;
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o?, s:o?, s:f, s:f}", "passes_tokens",
                     (json_int_t)s->passes_tokens, "passes_slices", (json_int_t)s->passes_slices, "passes_kv",
                     (json_int_t)s->passes_kv, "passes_q", (json_int_t)s->passes_q, "hop_bytes", (json_int_t)s->hop_bytes,
                     "hops", (json_int_t)s->hops, "shard_bytes", (json_int_t)s->shard_bytes, "activation_bytes",
                     (json_int_t)s->activation_bytes, "wait_s", knows_waiting(inv) ? json_real(s->wait_s) : json_null(),
                     "hops_hidden", s->hops_hidden < 0 ? json_null() : json_real(s->hops_hidden), "flops", s->flops,
                     "weight_bytes_read", s->weight_bytes_read);
}

/* A share; null: unknown. */
static json_t *share_json(double share)
{
    return share > 0 ? json_real(share) : json_null();
}

/* Figures known before the run. */
static json_t *plan_stats(const options *o, const lariat_model_info *model, const lariat_plan *plan)
{
    return json_pack("{s:s, s:s, s:o?, s:o?}", "version", lariat_version(), "command", command_texts[o->command].name, "model",
                     model_json(model), "plan", plan_json(plan));
}

/* Writes and frees `root`. */
static int write_stats(const char *path, json_t *root)
{
    char *content = root ? json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) : NULL;
    char *line = NULL;
    int rc = content && asprintf(&line, "%s\n", content) >= 0 ? write_file(path, line) : complain_memory(path);
    free(line);
    free(content);
    json_decref(root);
    return rc;
}

static json_t *run_stats(const invocation *inv)
{
    const figures *f = &inv->figures;
    shares s = shares_of(inv);
    json_t *root = plan_stats(inv->options, inv->model, lariat_engine_plan(inv->engine));
    json_t *measured = json_pack("{s:f, s:f, s:I, s:f, s:f, s:I, s:f, s:f, s:o?, s:o?, s:o?, s:o?}", "load_s", f->load_s,
                                 "ttft_s", f->first_s, "prefill_tokens", (json_int_t)f->prefill_tokens, "prefill_s",
                                 f->prefill_s, "prefill_tps", rate((double)f->prefill_tokens, f->prefill_s), "decode_tokens",
                                 (json_int_t)f->decode_tokens, "decode_s", f->decode_s, "decode_tps",
                                 rate((double)f->decode_tokens, f->decode_s), "prefill_share", share_json(s.prefill),
                                 "decode_share", share_json(s.decode), "ring", ring_json(inv), "shard_slots", shards_json(inv));
    if (!measured || json_object_update(root, measured) != 0) {
        json_decref(root);
        root = NULL;
    }
    json_decref(measured);
    return root;
}

int stats_of_plan(const options *o, const lariat_plan *plan)
{
    lariat_inspection *inspection;
    TRY(checked(lariat_inspect(o->model, &inspection)));
    int rc = write_stats(o->stats, plan_stats(o, lariat_inspection_model(inspection), plan));
    lariat_inspection_close(inspection);
    return rc;
}

int stats_finish(const invocation *inv)
{
    if (!inv->options->quiet && inv->figures.prefill_tokens + inv->figures.decode_tokens > 0) {
        stats_print(inv);
    }
    return inv->options->stats ? write_stats(inv->options->stats, run_stats(inv)) : 0;
}
