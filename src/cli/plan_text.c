/* A plan as text and as JSON.
   Rests on lariat_plan. Read on in invocation.c. */
#include "cli/plan_text.h"

_Static_assert((int)LIST_MOST <= (int)LARIAT_CARDS_MAX, "all that --devices may name has room");

lariat_options plan_options(const options *o, int64_t context, int32_t sessions)
{
    lariat_options result;
    lariat_options_default(&result);
    result.processes = o->processes;
    result.ranks = o->processes ? 0 : (int32_t)o->ranks; /* those with which it started */
    result.threads = (int32_t)o->threads;
    result.no_bind = o->no_bind;
    result.chunk = (int32_t)o->chunk;
    result.context = context;
    result.sessions = sessions;
    result.kv = (lariat_kv)o->kv;
    result.device = (lariat_device)o->device;
    result.dtype = (lariat_dtype)o->dtype;
    result.hops = (lariat_hops)o->via;
    result.n_cards = o->cards.n;
    for (int i = 0; i < o->cards.n; i++) {
        result.cards[i] = (int32_t)o->cards.values[i];
    }
    result.layout = (lariat_layout)o->layout;
    result.side = (lariat_side)o->side;
    result.verify = o->verify;
    return result;
}

const char *bytes_text(int64_t bytes, char buffer[static 24])
{
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB", "PB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 999.5 && unit + 1 < sizeof units / sizeof units[0]) {
        value /= 1000;
        unit++;
    }
    snprintf(buffer, 24, unit == 0 || value >= 99.95 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return buffer;
}

static void describe_schedule(const lariat_plan *plan, const char *indent, FILE *to)
{
    if (plan->slices_up_to > 0) {
        fprintf(to, "%slayout       by slices in passes of up to %d tokens, by tokens in longer ones\n", indent,
                plan->slices_up_to);
    } else {
        fprintf(to, "%slayout       by tokens\n", indent);
    }
    if (plan->side == LARIAT_SIDE_Q) {
        fprintf(to, "%sattention    queries travel\n", indent);
    } else if (plan->side == LARIAT_SIDE_AUTO && plan->pass_q_from >= 0) {
        fprintf(to, "%sattention    keys and values travel, queries from a prefix of %lld tokens on\n", indent,
                (long long)plan->pass_q_from);
    } else {
        fprintf(to, "%sattention    keys and values travel\n", indent);
    }
}

void plan_describe(const lariat_plan *plan, const char *indent, FILE *to)
{
    char a[24], b[24];
    if (plan->cards > 0) {
        fprintf(to, "%sdevices      %d x %s, %s%s\n", indent, plan->cards, plan->device_name, plan->dtype,
                plan->through_host ? ", hops through the host's memory" : "");
    }
    fprintf(to, "%sring         ranks %d, threads %d, passes of up to %d tokens\n", indent, plan->ranks, plan->threads,
            plan->chunk);
    if (plan->nodes > 0) {
        fprintf(to, "%sbinding      ranks are bound to %d NUMA node%s\n", indent, plan->nodes, plan->nodes == 1 ? "" : "s");
    }
    describe_schedule(plan, indent, to);
    fprintf(to, "%scontext      %lld positions, %lld a rank\n", indent, (long long)plan->context,
            (long long)plan->slots_per_rank);
    fprintf(to, "%sweights      %s, once %s\n", indent, bytes_text(plan->weight_bytes, a),
            plan->cards ? "on each GPU" : "for all ranks");
    fprintf(to, "%sKV cache     %s a rank, %s\n", indent, bytes_text(plan->kv_bytes_per_rank, a), plan->kv);
    fprintf(to, "%sactivations  %s a rank, %s shared\n", indent, bytes_text(plan->activation_bytes_per_rank, a),
            bytes_text(plan->shared_bytes, b));
    fprintf(to, "%stotal        %s of %s available%s\n", indent, bytes_text(plan->total_bytes, a),
            bytes_text(plan->available_bytes, b), plan->cards ? " on the fullest GPU" : "");
    if (plan->total_bytes > plan->available_bytes) {
        fprintf(to, "%sdoes not fit %s too many; ", indent, bytes_text(plan->total_bytes - plan->available_bytes, a));
        if (plan->fits_context > 0) {
            fprintf(to, "a context of %lld would fit\n", (long long)plan->fits_context);
        } else if (plan->weight_bytes > plan->available_bytes) {
            fprintf(to, "the weights alone are too large, use a smaller model or type\n");
        } else {
            fprintf(to, "no context would fit, use %sa smaller --chunk, model or type\n",
                    plan->ranks > 1 ? "fewer ranks, " : "");
        }
    }
}

void plan_summarise(const lariat_plan *plan, FILE *to)
{
    char a[24], b[24];
    fprintf(to, "%d rank%s, %d thread%s, context %lld, %s of %s available\n", plan->ranks, plan->ranks == 1 ? "" : "s",
            plan->threads, plan->threads == 1 ? "" : "s", (long long)plan->context, bytes_text(plan->total_bytes, a),
            bytes_text(plan->available_bytes, b));
}

json_t *plan_json(const lariat_plan *plan)
{
    static const char *const side_names[] = {[LARIAT_SIDE_AUTO] = "auto", [LARIAT_SIDE_KV] = "kv", [LARIAT_SIDE_Q] = "q"};
    return json_pack("{s:s, s:s, s:s, s:i, s:b, s:i, s:i, s:i, s:i, s:i, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, "
                     "s:I}",
                     "device", plan->device_name, "dtype", plan->dtype, "kv", plan->kv, "cards", plan->cards, "through_host",
                     plan->through_host, "ranks", plan->ranks, "threads", plan->threads, "nodes",
                     plan->nodes, "chunk", plan->chunk, "slices_up_to",
                     plan->slices_up_to, "side", side_names[plan->side], "pass_q_from", (json_int_t)plan->pass_q_from,
                     "context", (json_int_t)plan->context, "slots_per_rank", (json_int_t)plan->slots_per_rank, "weight_bytes",
                     (json_int_t)plan->weight_bytes, "kv_bytes_per_rank", (json_int_t)plan->kv_bytes_per_rank,
                     "activation_bytes_per_rank", (json_int_t)plan->activation_bytes_per_rank, "shared_bytes",
                     (json_int_t)plan->shared_bytes, "total_bytes", (json_int_t)plan->total_bytes, "available_bytes",
                     (json_int_t)plan->available_bytes, "fits_context", (json_int_t)plan->fits_context);
}
