/* The configuration from a GGUF file's metadata.
   Rests on format/gguf.h and model/rope.h. Keys are the specification's, behind the architecture's name; a key that
   is unsupported and changes the result is refused by name. */
#include "model/config.h"

#include "base/strings.h"
#include "model/rope.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { KEY_SIZE = 96 }; /* longer than any key here */

/* A key of the member: "llama.block_count". */
static const char *key_of(const family *f, const char *name, char key[KEY_SIZE])
{
    snprintf(key, KEY_SIZE, "%s.%s", f->gguf, name);
    return key;
}

#define KEY(f, name) key_of(f, name, (char[KEY_SIZE]){""})

/* A required integer key. */
static lariat_status need_int(const gguf *g, const char *key, int64_t high, int32_t *out)
{
    int64_t value;

    if (!gguf_has(g, key)) {
        return fail(LARIAT_BAD_MODEL, "%s: has no key %s" FETCH_AGAIN, gguf_path(g), key);
    }
    if (!gguf_int(g, key, &value) || value < 1 || value > high) {
        return fail(LARIAT_BAD_MODEL, "%s: key %s is no integer from 1 to %lld" FETCH_AGAIN, gguf_path(g), key,
                    (long long)high);
    }
    *out = (int32_t)value;
    return LARIAT_OK;
}

/* The same for a key that may be an array of one value a layer: all must be equal. */
static lariat_status need_per_layer_int(const gguf *g, const char *key, int32_t n_layers, int64_t high, int32_t *out)
{
    const gguf_array *a = gguf_find_array(g, key);
    int64_t first, value;

    if (!a) {
        return need_int(g, key, high, out);
    }
    if (gguf_array_size(a) != n_layers || !gguf_array_int(a, 0, &first) || first < 1 || first > high) {
        return fail(LARIAT_BAD_MODEL, "%s: key %s is no array of %d integers from 1 to %lld" FETCH_AGAIN, gguf_path(g), key,
                    n_layers, (long long)high);
    }
    for (int32_t i = 1; i < n_layers; i++) {
        if (!gguf_array_int(a, i, &value) || value != first) {
            return fail(LARIAT_UNSUPPORTED,
                        "%s: key %s differs from layer to layer, which Lariat does not compute: use a model without that",
                        gguf_path(g), key);
        }
    }
    *out = (int32_t)first;
    return LARIAT_OK;
}

static lariat_status read_architecture(const gguf *g, const family **out)
{
    const char *text, *type, *base;
    size_t size, type_size, base_size;

    if (!gguf_string(g, "general.architecture", &text, &size)) {
        return fail(LARIAT_BAD_MODEL, "%s: has no key general.architecture" FETCH_AGAIN, gguf_path(g));
    }
    if (gguf_string(g, "general.type", &type, &type_size) && type_size == 7 && memcmp(type, "adapter", 7) == 0) {
        if (!gguf_string(g, "general.base_model.0.name", &base, &base_size) || base_size == 0) {
            base = "its base model";
            base_size = strlen(base);
        }
        return fail(LARIAT_UNSUPPORTED,
                    "%s: is an adapter without its model: merge it into %.*s (llama.cpp: llama-export-lora) and name the "
                    "merged one", gguf_path(g), base_size < 200 ? (int)base_size : 200, base);
    }
    *out = family_by_gguf(text, size);
    return *out ? LARIAT_OK : family_refuse(gguf_path(g), text, size);
}

/* Refuses keys that change the result; each with its neutral number, and the field of config.json with which a member reads
   it. */
static lariat_status refuse_oddities(const gguf *g, const family *f)
{
    static const struct {
        const char *name;
        double neutral;
        const char *field;
    } refused[] = {
        {"expert_used_count", 0, NULL},
        {"attention.scale", 0, "attention_multiplier"},
        {"attention.clamp_kqv", 0, NULL},
        {"attention.max_alibi_bias", 0, NULL},
        {"attention.causal", 1, NULL},
        {"attn_logit_softcapping", 0, NULL},
        {"final_logit_softcapping", 0, NULL},
        {"logit_scale", 1, "logits_scaling"},
        {"embedding_scale", 1, "embedding_multiplier"},
        {"residual_scale", 1, "residual_multiplier"},
        {"use_parallel_residual", 0, NULL},
        {"nextn_predict_layers", 0, NULL},
        {"rope.dimension_sections", 0, NULL},
        {"rope.scaling.alpha", 0, NULL},
        {"rope.scaling.yarn_ext_factor", 1, NULL},
        {"rope.scaling.yarn_attn_factor", 1, NULL},
    };

    const char *experts = KEY(f, "expert_count");
    int64_t count = 0;
    if (gguf_has(g, experts) && (!gguf_int(g, experts, &count) || count != 0)) {
        return fail(LARIAT_UNSUPPORTED,
                    "%s: key %s makes it a mixture of experts: Lariat does not compute that, the nearest that works is a dense "
                    "%s model", gguf_path(g), experts, f->name);
    }
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        double value = 0;
        bool flag;
        const char *key = KEY(f, refused[i].name);
        if (!gguf_has(g, key) || (refused[i].field && family_reads(f, refused[i].field))) {
            continue;
        }
        bool readable = gguf_float(g, key, &value);
        if (!readable && gguf_bool(g, key, &flag)) {
            value = flag ? 1 : 0;
            readable = true;
        }
        if (!readable || value != refused[i].neutral) {
            return fail(LARIAT_UNSUPPORTED,
                        "%s: key %s changes the result in a way that Lariat does not compute: use a model without it",
                        gguf_path(g), key);
        }
    }
    return LARIAT_OK;
}

static lariat_status read_vocab(const gguf *g, model_config *c)
{
    const tensor *embedding = tensors_find(gguf_tensors(g), "token_embd.weight");
    int64_t tokens = gguf_array_length(g, "tokenizer.ggml.tokens");

    if (!embedding || embedding->n_dims != 2) {
        return fail(LARIAT_BAD_MODEL, "%s: has no matrix token_embd.weight" FETCH_AGAIN, gguf_path(g));
    }
    if (gguf_has(g, KEY(c->family, "vocab_size"))) {
        TRY(need_int(g, KEY(c->family, "vocab_size"), CONFIG_MAX_VOCAB, &c->vocab));
    } else {
        int64_t rows = embedding->dims[0];
        if (rows < 1 || rows > CONFIG_MAX_VOCAB) {
            return fail(LARIAT_BAD_MODEL, "%s: token_embd.weight has %lld rows, outside of 1 to %d" FETCH_AGAIN, gguf_path(g),
                        (long long)rows, CONFIG_MAX_VOCAB);
        }
        c->vocab = (int32_t)rows;
    }
    if (tokens > c->vocab) {
        return fail(LARIAT_BAD_MODEL, "%s: its tokenizer has %lld tokens, and its vocabulary %d" FETCH_AGAIN, gguf_path(g),
                    (long long)tokens, c->vocab);
    }
    return LARIAT_OK;
}

/* The sizes of heads: those of keys and values are equal; of a head a part may be rotated. */
static lariat_status read_head_sizes(const gguf *g, model_config *c)
{
    const family *f = c->family;
    const char *values = KEY(f, "attention.value_length"), *rotated = KEY(f, "rope.dimension_count");
    int32_t size;

    if (!gguf_has(g, KEY(f, "attention.key_length")) && c->d_model % c->n_heads != 0) {
        return fail(LARIAT_BAD_MODEL, "%s: %s %d is no multiple of %d heads" FETCH_AGAIN, gguf_path(g),
                    KEY(f, "embedding_length"), c->d_model, c->n_heads);
    }
    c->head_dim = c->d_model / c->n_heads;
    if (gguf_has(g, KEY(f, "attention.key_length"))) {
        TRY(need_int(g, KEY(f, "attention.key_length"), CONFIG_MAX_HEAD_DIM, &c->head_dim));
    }
    const char *const same[] = {values, rotated};
    for (int i = 0; i < 2; i++) {
        size = c->head_dim;
        if (gguf_has(g, same[i])) {
            TRY(need_int(g, same[i], CONFIG_MAX_HEAD_DIM, &size));
        }
        if (i == 1 && family_reads(f, "partial_rotary_factor") && size < c->head_dim) {
            c->rotary_dims = size;
        } else if (size != c->head_dim) {
            return fail(LARIAT_UNSUPPORTED,
                        "%s: key %s is %d and the size of a head is %d: Lariat wants them equal, use a model where they are",
                        gguf_path(g), same[i], size, c->head_dim);
        }
    }
    return LARIAT_OK;
}

static lariat_status read_sizes(const gguf *g, model_config *c)
{
    const family *f = c->family;
    const char *length = KEY(f, "context_length"), *epsilon = KEY(f, "attention.layer_norm_rms_epsilon");
    const char *kv_heads = KEY(f, "attention.head_count_kv");
    int64_t context;
    double eps;

    TRY(need_int(g, KEY(f, "block_count"), CONFIG_MAX_LAYERS, &c->n_layers));
    TRY(need_int(g, KEY(f, "embedding_length"), CONFIG_MAX_WIDTH, &c->d_model));
    TRY(need_per_layer_int(g, KEY(f, "feed_forward_length"), c->n_layers, CONFIG_MAX_WIDTH, &c->d_ff));
    TRY(need_per_layer_int(g, KEY(f, "attention.head_count"), c->n_layers, CONFIG_MAX_HEADS, &c->n_heads));
    c->n_kv_heads = c->n_heads;
    if (gguf_has(g, kv_heads)) {
        TRY(need_per_layer_int(g, kv_heads, c->n_layers, CONFIG_MAX_HEADS, &c->n_kv_heads));
    }
    TRY(read_head_sizes(g, c));
    if (!gguf_int(g, length, &context) || context < 1 || context > CONFIG_MAX_CONTEXT) {
        return fail(LARIAT_BAD_MODEL, "%s: key %s is missing or no integer from 1 to %lld" FETCH_AGAIN, gguf_path(g), length,
                    (long long)CONFIG_MAX_CONTEXT);
    }
    c->trained_context = context;
    if (!gguf_float(g, epsilon, &eps)) {
        return fail(LARIAT_BAD_MODEL, "%s: has no number in key %s" FETCH_AGAIN, gguf_path(g), epsilon);
    }
    c->rms_eps = (float)eps;
    return read_vocab(g, c);
}

/* A number, if the key is there. */
static lariat_status take_float(const gguf *g, const char *key, double *out)
{
    if (gguf_has(g, key) && !gguf_float(g, key, out)) {
        return fail(LARIAT_BAD_MODEL, "%s: key %s is no number" FETCH_AGAIN, gguf_path(g), key);
    }
    return LARIAT_OK;
}

/* Multipliers, where the member has them; a window; layers without RoPE, which have no key. */
static lariat_status read_traits(const gguf *g, model_config *c)
{
    const family *f = c->family;
    const char *key = KEY(f, "attention.sliding_window");
    double attention = f->attention_scale;
    int64_t window = 0;

    if (family_reads(f, "attention_multiplier")) {
        TRY(take_float(g, KEY(f, "embedding_scale"), &c->embedding_multiplier));
        TRY(take_float(g, KEY(f, "residual_scale"), &c->residual_multiplier));
        TRY(take_float(g, KEY(f, "logit_scale"), &c->logits_divisor));
        TRY(take_float(g, KEY(f, "attention.scale"), &attention));
        c->attention_scale = (float)attention; /* 0: the default, as in llama.cpp */
    }
    for (int32_t l = 0; l < c->n_layers && f->no_rope_interval; l++) {
        c->no_rope[l] = (l + 1) % f->no_rope_interval == 0;
    }
    if (gguf_has(g, key) && (!gguf_int(g, key, &window) || window < 0)) {
        return fail(LARIAT_BAD_MODEL, "%s: key %s is no number of positions" FETCH_AGAIN, gguf_path(g), key);
    }
    return config_take_window(gguf_path(g), key, window, c);
}

/* --- rotary positions --- */

static lariat_status read_scaling(const gguf *g, const family *f, rope_parameters *p, double *attention)
{
    const char *type = KEY(f, "rope.scaling.type"), *original = KEY(f, "rope.scaling.original_context_length");
    const char *text = "linear"; /* the type of a scale without a type */
    size_t size = 6;
    double factor = 0;
    double log_multiplier = 0;

    if (gguf_has(g, type) && !gguf_string(g, type, &text, &size)) {
        return fail(LARIAT_BAD_MODEL, "%s: key %s is no string" FETCH_AGAIN, gguf_path(g), type);
    }
    TRY(take_float(g, KEY(f, "rope.scale_linear"), &factor)); /* the old name */
    TRY(take_float(g, KEY(f, "rope.scaling.factor"), &factor));
    TRY(take_float(g, KEY(f, "rope.scaling.attn_factor"), attention));
    if (gguf_has(g, original) && !gguf_int(g, original, &p->original_context)) {
        return fail(LARIAT_BAD_MODEL, "%s: key %s is no integer" FETCH_AGAIN, gguf_path(g), original);
    }
    if (p->n_long) { /* its tensors are there */
        p->type = "longrope";
        p->attention_factor = *attention;
        *attention = 1;
        return LARIAT_OK;
    }
    if (text_is(text, size, "none") || (text_is(text, size, "linear") && factor == 0)) {
        return LARIAT_OK;
    }
    p->factor = factor;
    if (text_is(text, size, "linear")) {
        p->type = "linear";
        return LARIAT_OK;
    }
    if (!text_is(text, size, "yarn")) {
        return fail(
            LARIAT_UNSUPPORTED,
            "%s: asks for the rotary type \"%.*s\"; of GGUF files Lariat computes none, linear and yarn: use such a model",
            gguf_path(g), size < 64 ? (int)size : 64, text);
    }
    p->type = "yarn";
    p->factor = factor != 0 ? factor : 1;
    TRY(take_float(g, KEY(f, "rope.scaling.yarn_beta_fast"), &p->beta_fast));
    TRY(take_float(g, KEY(f, "rope.scaling.yarn_beta_slow"), &p->beta_slow));
    TRY(take_float(g, KEY(f, "rope.scaling.yarn_log_multiplier"), &log_multiplier));
    p->mscale = log_multiplier != 0 ? 1 : 0;
    p->mscale_all_dim = log_multiplier;
    return LARIAT_OK;
}

/* The factors of a tensor, one a frequency. Missing: *n is 0. */
static lariat_status read_factors(const gguf *g, const model_config *c, const char *name, float out[], int32_t *n)
{
    const tensor *factors = tensors_find(gguf_tensors(g), name);
    int32_t half = c->rotary_dims / 2;

    *n = 0;
    if (!factors) {
        return LARIAT_OK;
    }
    if (factors->type != DTYPE_F32 || factors->n_dims != 1 || factors->dims[0] != half) {
        return fail(LARIAT_BAD_MODEL, "%s: tensor %s is not F32 [%d]" FETCH_AGAIN, gguf_path(g), name, half);
    }
    memcpy(out, factors->data, (size_t)half * sizeof *out);
    for (int32_t i = 0; i < half; i++) {
        if (!isfinite(out[i]) || out[i] <= 0) {
            return fail(LARIAT_BAD_MODEL, "%s: tensor %s holds %g, wanted positive numbers" FETCH_AGAIN, gguf_path(g), name,
                        (double)out[i]);
        }
    }
    *n = half;
    return LARIAT_OK;
}

/* Divides frequencies by the factors of rope_freqs.weight, GGUF's form of llama3 scaling. */
static lariat_status apply_factors(const gguf *g, model_config *c)
{
    float factors[ROPE_MAX_FACTORS];
    int32_t n;

    TRY(read_factors(g, c, "rope_freqs.weight", factors, &n));
    for (int32_t i = 0; i < n; i++) {
        if (!isfinite(c->inv_freq[i] / factors[i])) {
            return fail(LARIAT_BAD_MODEL, "%s: tensor rope_freqs.weight holds %g, which is too small" FETCH_AGAIN, gguf_path(g),
                        (double)factors[i]);
        }
        c->inv_freq[i] /= factors[i];
    }
    if (n) {
        snprintf(c->rope_type, sizeof c->rope_type, "factors");
    }
    return LARIAT_OK;
}

static lariat_status read_rope(const gguf *g, model_config *c)
{
    rope_parameters p = rope_parameters_default(c->family->theta);
    double attention = 1;

    p.original_context = c->trained_context;
    TRY(take_float(g, KEY(c->family, "rope.freq_base"), &p.theta));
    TRY(read_factors(g, c, "rope_factors_short.weight", p.short_factor, &p.n_short));
    TRY(read_factors(g, c, "rope_factors_long.weight", p.long_factor, &p.n_long));
    TRY(read_scaling(g, c->family, &p, &attention));
    if (p.original_context < 1 || p.original_context > CONFIG_MAX_CONTEXT || !isfinite(attention) || attention <= 0) {
        return fail(LARIAT_BAD_MODEL,
                    "%s: its rotary scaling has an original context or an attention factor out of range" FETCH_AGAIN,
                    gguf_path(g));
    }
    TRY(rope_frequencies(gguf_path(g), &p, c));
    c->rope_factor *= (float)attention;
    c->rope = c->family->gguf_rope;
    return apply_factors(g, c);
}

/* --- ids --- */

static lariat_status read_id(const gguf *g, const char *key, int32_t vocab, int32_t *out)
{
    int64_t id = -1;

    if (gguf_has(g, key) && (!gguf_int(g, key, &id) || id < 0 || id >= vocab)) {
        return fail(LARIAT_BAD_MODEL, "%s: key %s is no id below %d" FETCH_AGAIN, gguf_path(g), key, vocab);
    }
    *out = (int32_t)id;
    return LARIAT_OK;
}

static lariat_status read_ids(const gguf *g, model_config *c)
{
    static const char *const ends[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    int32_t id;

    TRY(read_id(g, "tokenizer.ggml.bos_token_id", c->vocab, &c->bos_id));
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        TRY(read_id(g, ends[i], c->vocab, &id));
        bool known = id < 0;
        for (int32_t e = 0; e < c->n_end_ids; e++) {
            known = known || c->end_ids[e] == id;
        }
        if (!known) {
            c->end_ids[c->n_end_ids++] = id;
        }
    }
    return LARIAT_OK;
}

lariat_status config_from_gguf(const gguf *g, model_config *out)
{
    const family *f = NULL;

    TRY(read_architecture(g, &f));
    model_config c = config_of(f);
    TRY(refuse_oddities(g, f));
    TRY(read_sizes(g, &c));
    TRY(read_traits(g, &c));
    TRY(config_check(gguf_path(g), &c));
    TRY(read_rope(g, &c));
    TRY(read_ids(g, &c));
    c.tied_head = !tensors_find(gguf_tensors(g), "output.weight");
    /* Biases are recognised by their tensors: see weights.c. */
    *out = c;
    return LARIAT_OK;
}
