/* Rows as JSON objects.
   Rests on jansson. See record.h. */
#include "cli/bench/record.h"
#include "cli/json_text.h"

#include <math.h>

static double rate(double amount, double seconds)
{
    return seconds > 0 ? amount / seconds : 0;
}

json_t *record_known(double value)
{
    return isfinite(value) && value > 0 ? json_real(value) : json_null();
}

/* A failed plan has no names. */
static const char *name_of(const char *name)
{
    return name ? name : "";
}

static const char *device_of(const row *r)
{
    return r->plan.cards > 0 ? "cuda" : "cpu";
}

const char *record_layout(const options *o)
{
    static const char *const names[] = {
        [LARIAT_LAYOUT_AUTO] = "auto", [LARIAT_LAYOUT_TOKENS] = "tokens", [LARIAT_LAYOUT_SLICES] = "slices"};
    return names[o->layout];
}

const char *record_side(const options *o)
{
    static const char *const names[] = {[LARIAT_SIDE_AUTO] = "auto", [LARIAT_SIDE_KV] = "kv", [LARIAT_SIDE_Q] = "q"};
    return names[o->side];
}

/* The numbers of the GPUs that a row runs on: "0,1". */
static const char *cards_of(const row *r, char *out, size_t size)
{
    size_t used = 0;
    *out = 0;
    for (int32_t i = 0; i < r->plan.cards && used < size; i++) {
        used += (size_t)snprintf(out + used, size - used, "%s%d", i ? "," : "", r->plan.card[i]);
    }
    return out;
}

json_t *record_identity(const row_list *all, const row *r)
{
    const options *o = all->options;
    const cell *c = &r->cell;
    char fingerprint[17], cards[4 * LARIAT_CARDS_MAX];
    snprintf(fingerprint, sizeof fingerprint, "%016llx", (unsigned long long)all->fingerprint);
    return json_pack("{s:s, s:s, s:s, s:s, s:o?, s:o?, s:s, s:s, s:i, s:s, s:b, s:s, s:i, s:i, s:i, s:i, s:s, s:s, s:s, "
                     "s:I, s:I, s:I, s:I, s:I, s:b, s:I}",
                     "version", lariat_version(), "model", all->model_name, "weight_type", all->weight_type, "fingerprint",
                     fingerprint, "cpu", json_from_text(all->cpu), "host", json_from_text(all->host), "device", device_of(r),
                     "device_name", r->plan.device_name, "cards", r->plan.cards, "devices", cards_of(r, cards, sizeof cards),
                     "through_host", r->plan.through_host, "dtype", name_of(r->plan.dtype), "ranks", r->plan.ranks, "threads",
                     r->plan.threads, "nodes", r->plan.nodes, "chunk", r->plan.chunk, "kv", name_of(r->plan.kv), "layout",
                     record_layout(o), "side", record_side(o), "block", (json_int_t)c->block, "depth", (json_int_t)c->depth,
                     "batch", (json_int_t)c->batch, "n_prompt", (json_int_t)c->n_prompt, "n_gen", (json_int_t)c->n_gen, "cache",
                     c->cached, "warm_up", (json_int_t)o->warm_up);
}

/* The first columns of a table. */
static json_t *first_keys(const row_list *all, const row *r)
{
    const cell *c = &r->cell;
    double batch = (double)c->batch;
    return json_pack("{s:s, s:i, s:i, s:i, s:s, s:I, s:I, s:o, s:o, s:o, s:o, s:o}", "model", all->model_name, "ranks",
                     r->plan.ranks, "threads", r->plan.threads, "chunk", r->plan.chunk, "kv", name_of(r->plan.kv), "n_prompt",
                     (json_int_t)c->n_prompt, "n_gen", (json_int_t)c->n_gen, "prefill_s", record_known(r->prefill.median),
                     "prefill_tps", record_known(rate(batch * (double)c->n_prompt, r->prefill.median)), "decode_s",
                     record_known(r->decode.median), "decode_tps",
                     record_known(rate(batch * (double)c->n_gen, r->decode.median)), "ceiling_share",
                     record_known(r->ceiling_share));
}

static json_t *figures_of(const row *r)
{
    static const sample none = {0};
    const sample *last = r->n_samples ? &r->samples[r->n_samples - 1] : &none;
    return json_pack("{s:o?, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "reason",
                     *r->reason ? json_from_text(r->reason) : json_null(), "reps", (json_int_t)r->n_samples, "prefill_min_s",
                     record_known(r->prefill.least), "prefill_max_s", record_known(r->prefill.most), "decode_min_s",
                     record_known(r->decode.least), "decode_max_s", record_known(r->decode.most), "token_ms",
                     record_known(row_token_ms(r)), "rank_bytes",
                     last->rank_bytes > 0 ? json_integer(last->rank_bytes) : json_null(), "hidden_share",
                     r->hidden_share >= 0 ? json_real(r->hidden_share) : json_null(), "prefill_share",
                     record_known(r->prefill_share), "decode_share", record_known(r->decode_share), "fma_flops",
                     record_known(last->fma_flops), "read_rate", record_known(last->read_rate));
}

/* The length from which a ring is faster: a number, "never", or null. */
static json_t *crossing_json(double crossing)
{
    return isnan(crossing) ? json_null() : isinf(crossing) ? json_string("never") : json_integer((json_int_t)ceil(crossing));
}

static json_t *comparison_of(const row_list *all, const row *r)
{
    const comparison *c = &r->beside;
    const row *regular = c->regular >= 0 ? &all->rows[c->regular] : NULL;
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "regular_prefill_s",
                     record_known(regular ? regular->prefill.median : 0), "regular_decode_s",
                     record_known(regular ? regular->decode.median : 0), "prefill_speedup", record_known(c->prefill_speedup),
                     "decode_speedup", record_known(c->decode_speedup), "prefill_crossing",
                     regular ? crossing_json(c->prefill_crossing) : json_null(), "decode_crossing",
                     regular ? crossing_json(c->decode_crossing) : json_null(), "same_tokens",
                     c->checked ? json_boolean(c->first_difference < 0) : json_null(), "first_difference",
                     c->checked && c->first_difference >= 0 ? json_integer(c->first_difference) : json_null(),
                     "logit_difference",
                     c->checked && isfinite(c->logit_difference) ? json_real(c->logit_difference) : json_null());
}

json_t *record_row(const row_list *all, const row *r)
{
    json_t *object = first_keys(all, r), *figures = figures_of(r), *identity = record_identity(all, r);
    json_t *beside = all->options->compare ? comparison_of(all, r) : json_object();
    bool whole = object && figures && identity && beside;
    whole = whole && json_object_update_missing(object, beside) == 0 && json_object_update_missing(object, figures) == 0 &&
            json_object_update_missing(object, identity) == 0;
    json_decref(beside);
    json_decref(figures);
    json_decref(identity);
    if (!whole) {
        json_decref(object);
        return NULL;
    }
    return object;
}
