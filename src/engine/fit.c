/* Advice where memory is short: settings that would fit, found by planning them.
   Rests on engine_plan.c. See engine.h. */
#include "engine/engine.h"

#include "model/random.h"

#include <stdio.h>
#include <string.h>

/* The owner of the memory that is short: this machine, or a card of it. */
static const char *memory_of(const lariat_plan *p)
{
    return p->cards == 0 ? "this machine" : p->cards == 1 ? "the GPU" : "the fullest GPU";
}

/* The context of a run with these options that memory holds, at most the one that was wanted; 0: none. */
static int64_t context_that_fits(const model *m, const lariat_options *o)
{
    engine_plan trial;

    if (engine_plan_make(m, o, &trial) != LARIAT_OK) {
        return 0;
    }
    return trial.shown.context < trial.shown.fits_context ? trial.shown.context : trial.shown.fits_context;
}

/* The largest type with which a random model fits, as its path with that type. Returns the context, 0 if no type fits. */
static int64_t random_that_fits(const char *path, const lariat_options *o, char *out, size_t size)
{
    static const char *const types[] = {"Q8_0", "Q6_K", "Q5_0", "Q4_0", "Q3_K", "Q2_K"}; /* largest first */
    int64_t context = 0;

    for (size_t i = 0; context == 0 && i < sizeof types / sizeof *types; i++) {
        model *m;
        snprintf(out, size, "%s:%s", path, types[i]);
        if (model_describe(out, &m) == LARIAT_OK) {
            context = context_that_fits(m, o);
            model_close(m);
        }
    }
    return context;
}

/* Advice where the weights do not fit: only plans that were found to fit are named. */
static void way_out(const model *m, const engine_plan *plan, const lariat_options *options, char *out, size_t size)
{
    const char *path = m->path;
    lariat_options sixteen_bits = *options, on_cpus = *options;
    char name[64] = "--dtype auto";
    int64_t context = 0;

    sixteen_bits.dtype = LARIAT_DTYPE_AUTO; /* whatever the model is stored in */
    on_cpus.device = LARIAT_DEVICE_CPU;
    if (on_cards(&plan->placement) && plan->placement.act == DTYPE_F32) {
        context = context_that_fits(m, &sixteen_bits);
    } else if (!on_cards(&plan->placement) && random_named(path) && strchr(path, ':') == strrchr(path, ':')) {
        context = random_that_fits(path, options, name, sizeof name);
    }
    if (context > 0) {
        snprintf(out, size, "%s, with which a context of %lld tokens fits", name, (long long)context);
    } else if (on_cards(&plan->placement)) {
        bool fits = context_that_fits(m, &on_cpus) > 0;
        snprintf(out, size, "a smaller model%s", fits ? ", or --device cpu, where it fits" : "");
    } else {
        snprintf(out, size, "a smaller model or type");
    }
}

/* The largest smaller type of KV cache with which all would fit; NULL: there is none. */
static const char *smaller_kv(const model *m, const engine_plan *plan, const lariat_options *options)
{
    lariat_options f16 = *options, q8 = *options;

    f16.kv = LARIAT_KV_F16;
    q8.kv = LARIAT_KV_Q8;
    if (options->kv == LARIAT_KV_F32 && context_that_fits(m, &f16) == plan->shown.context) { /* on GPUs it never is */
        return "f16";
    }
    return options->kv != LARIAT_KV_Q8 && context_that_fits(m, &q8) == plan->shown.context ? "q8" : NULL;
}

lariat_status fit_check(const model *m, const engine_plan *plan, const lariat_options *options)
{
    const char *path = m->path;
    const lariat_plan *p = &plan->shown;
    double need = (double)p->total_bytes / 1e9, have = (double)p->available_bytes / 1e9;
    char smaller[64] = "";

    if (p->total_bytes <= p->available_bytes) {
        return LARIAT_OK;
    }
    if (p->weight_bytes > p->available_bytes) {
        char instead[128];
        way_out(m, plan, options, instead, sizeof instead);
        return fail(LARIAT_NO_MEMORY,
                    "%s: the weights alone need %.1f GB, with the rest it needs %.1f GB, %s has %.1f GB free, %.1f GB too "
                    "little; use %s",
                    path, (double)p->weight_bytes / 1e9, need, memory_of(p), have, need - have, instead);
    }
    if (p->fits_context < 1) {
        return fail(LARIAT_NO_MEMORY,
                    "%s: needs %.1f GB, %s has %.1f GB free, %.1f GB too little even for a short context; "
                    "use %sa smaller --chunk, model or type",
                    path, need, memory_of(p), have, need - have, p->ranks > 1 ? "fewer ranks, " : "");
    }
    const char *kv = smaller_kv(m, plan, options);
    if (kv) {
        snprintf(smaller, sizeof smaller, ", or --kv %s, with which all of it would", kv);
    }
    return fail(LARIAT_NO_MEMORY,
                "%s: a context of %lld tokens needs %.1f GB, %s has %.1f GB free, %.1f GB too little; "
                "%lld (-c) would fit%s%s",
                path, (long long)p->context, need, memory_of(p), have, need - have, (long long)p->fits_context, smaller,
                on_cards(&plan->placement) ? ", or more GPUs" : "");
}
