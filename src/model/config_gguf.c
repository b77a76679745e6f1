/* The configuration from a GGUF file's metadata, architecture llama.
   Rests on format/gguf.h and model/rope.h. Keys are the specification's; a key that would change the result and is not
   implemented is refused by name. */
#include "model/config.h"

#include "base/strings.h"
#include "model/rope.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

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

static lariat_status check_architecture(const gguf *g)
{
    const char *text;
    size_t size;

    if (!gguf_string(g, "general.architecture", &text, &size)) {
        return fail(LARIAT_BAD_MODEL, "%s: has no key general.architecture" FETCH_AGAIN, gguf_path(g));
    }
    if (!text_is(text, size, "llama")) {
        return fail(LARIAT_UNSUPPORTED,
                    "%s: is of the architecture \"%.*s\"; of GGUF files Lariat computes llama: use such a model", gguf_path(g),
                    size < 64 ? (int)size : 64, text);
    }
    return LARIAT_OK;
}

/* Refuses keys that change the result; each with its neutral number. */
static lariat_status refuse_oddities(const gguf *g)
{
    static const struct {
        const char *key;
        double neutral;
    } refused[] = {
        {"llama.expert_count", 0},
        {"llama.expert_used_count", 0},
        {"llama.attention.sliding_window", 0},
        {"llama.attention.scale", 0},
        {"llama.attention.clamp_kqv", 0},
        {"llama.attention.max_alibi_bias", 0},
        {"llama.attention.causal", 1},
        {"llama.attn_logit_softcapping", 0},
        {"llama.final_logit_softcapping", 0},
        {"llama.logit_scale", 1},
        {"llama.embedding_scale", 1},
        {"llama.residual_scale", 1},
        {"llama.use_parallel_residual", 0},
        {"llama.rope.scaling.alpha", 0},
        {"llama.rope.scaling.yarn_ext_factor", 1},
        {"llama.rope.scaling.yarn_attn_factor", 1},
    };

    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        double value = 0;
        bool flag;
        if (!gguf_has(g, refused[i].key)) {
            continue;
        }
        bool readable = gguf_float(g, refused[i].key, &value);
        if (!readable && gguf_bool(g, refused[i].key, &flag)) {
            value = flag ? 1 : 0;
            readable = true;
        }
        if (!readable || value != refused[i].neutral) {
            return fail(LARIAT_UNSUPPORTED,
                        "%s: key %s changes the result in a way that Lariat does not compute: use a model without it",
                        gguf_path(g), refused[i].key);
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
    if (gguf_has(g, "llama.vocab_size")) {
        TRY(need_int(g, "llama.vocab_size", CONFIG_MAX_VOCAB, &c->vocab));
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

static lariat_status read_sizes(const gguf *g, model_config *c)
{
    int64_t context;
    double eps;
    int32_t size;

    TRY(need_int(g, "llama.block_count", CONFIG_MAX_LAYERS, &c->n_layers));
    TRY(need_int(g, "llama.embedding_length", CONFIG_MAX_WIDTH, &c->d_model));
    TRY(need_per_layer_int(g, "llama.feed_forward_length", c->n_layers, CONFIG_MAX_WIDTH, &c->d_ff));
    TRY(need_per_layer_int(g, "llama.attention.head_count", c->n_layers, CONFIG_MAX_HEADS, &c->n_heads));
    c->n_kv_heads = c->n_heads;
    if (gguf_has(g, "llama.attention.head_count_kv")) {
        TRY(need_per_layer_int(g, "llama.attention.head_count_kv", c->n_layers, CONFIG_MAX_HEADS, &c->n_kv_heads));
    }
    if (!gguf_has(g, "llama.attention.key_length") && c->d_model % c->n_heads != 0) {
        return fail(LARIAT_BAD_MODEL, "%s: llama.embedding_length %d is no multiple of %d heads" FETCH_AGAIN, gguf_path(g),
                    c->d_model, c->n_heads);
    }
    c->head_dim = c->d_model / c->n_heads;
    if (gguf_has(g, "llama.attention.key_length")) {
        TRY(need_int(g, "llama.attention.key_length", CONFIG_MAX_HEAD_DIM, &c->head_dim));
    }
    static const char *const same[] = {"llama.attention.value_length", "llama.rope.dimension_count"};
    for (int i = 0; i < 2; i++) {
        size = c->head_dim;
        if (gguf_has(g, same[i])) {
            TRY(need_int(g, same[i], CONFIG_MAX_HEAD_DIM, &size));
        }
        if (size != c->head_dim) {
            return fail(LARIAT_UNSUPPORTED,
                        "%s: key %s is %d and the size of a head is %d: Lariat wants them equal, use a model where they are",
                        gguf_path(g), same[i], size, c->head_dim);
        }
    }
    if (!gguf_int(g, "llama.context_length", &context) || context < 1 || context > CONFIG_MAX_CONTEXT) {
        return fail(LARIAT_BAD_MODEL, "%s: key llama.context_length is missing or no integer from 1 to %lld" FETCH_AGAIN,
                    gguf_path(g), (long long)CONFIG_MAX_CONTEXT);
    }
    c->trained_context = context;
    if (!gguf_float(g, "llama.attention.layer_norm_rms_epsilon", &eps)) {
        return fail(LARIAT_BAD_MODEL, "%s: has no number in key llama.attention.layer_norm_rms_epsilon" FETCH_AGAIN,
                    gguf_path(g));
    }
    c->rms_eps = (float)eps;
    return read_vocab(g, c);
}

/* --- rotary positions --- */

/* A number, if the key is there. */
static lariat_status take_float(const gguf *g, const char *key, double *out)
{
    if (gguf_has(g, key) && !gguf_float(g, key, out)) {
        return fail(LARIAT_BAD_MODEL, "%s: key %s is no number" FETCH_AGAIN, gguf_path(g), key);
    }
    return LARIAT_OK;
}

static lariat_status read_scaling(const gguf *g, rope_parameters *p, double *attention)
{
    const char *text = "linear"; /* the type of a scale without a type */
    size_t size = 6;
    double factor = 0;
    double log_multiplier = 0;

    if (gguf_has(g, "llama.rope.scaling.type") && !gguf_string(g, "llama.rope.scaling.type", &text, &size)) {
        return fail(LARIAT_BAD_MODEL, "%s: key llama.rope.scaling.type is no string" FETCH_AGAIN, gguf_path(g));
    }
    TRY(take_float(g, "llama.rope.scale_linear", &factor)); /* the old name */
    TRY(take_float(g, "llama.rope.scaling.factor", &factor));
    TRY(take_float(g, "llama.rope.scaling.attn_factor", attention));
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
    if (gguf_has(g, "llama.rope.scaling.original_context_length") &&
        !gguf_int(g, "llama.rope.scaling.original_context_length", &p->original_context)) {
        return fail(LARIAT_BAD_MODEL, "%s: key llama.rope.scaling.original_context_length is no integer" FETCH_AGAIN,
                    gguf_path(g));
    }
    TRY(take_float(g, "llama.rope.scaling.yarn_beta_fast", &p->beta_fast));
    TRY(take_float(g, "llama.rope.scaling.yarn_beta_slow", &p->beta_slow));
    TRY(take_float(g, "llama.rope.scaling.yarn_log_multiplier", &log_multiplier));
    p->mscale = log_multiplier != 0 ? 1 : 0;
    p->mscale_all_dim = log_multiplier;
    return LARIAT_OK;
}

/* Divides frequencies by the factors of rope_freqs.weight, GGUF's form of llama3 scaling. */
static lariat_status apply_factors(const gguf *g, model_config *c)
{
    const tensor *factors = tensors_find(gguf_tensors(g), "rope_freqs.weight");

    if (!factors) {
        return LARIAT_OK;
    }
    if (factors->type != DTYPE_F32 || factors->n_dims != 1 || factors->dims[0] != c->head_dim / 2) {
        return fail(LARIAT_BAD_MODEL, "%s: tensor rope_freqs.weight is not F32 [%d]" FETCH_AGAIN, gguf_path(g),
                    c->head_dim / 2);
    }
    for (int32_t i = 0; i < c->head_dim / 2; i++) {
        float factor;
        memcpy(&factor, (const char *)factors->data + (size_t)i * sizeof factor, sizeof factor);
        if (!isfinite(factor) || factor <= 0 || !isfinite(c->inv_freq[i] / factor)) {
            return fail(LARIAT_BAD_MODEL, "%s: tensor rope_freqs.weight holds %g, wanted positive numbers" FETCH_AGAIN,
                        gguf_path(g), (double)factor);
        }
        c->inv_freq[i] /= factor;
    }
    snprintf(c->rope_type, sizeof c->rope_type, "factors");
    return LARIAT_OK;
}

static lariat_status read_rope(const gguf *g, model_config *c)
{
    rope_parameters p = rope_parameters_default(10000);
    double attention = 1;

    p.original_context = c->trained_context;
    TRY(take_float(g, "llama.rope.freq_base", &p.theta));
    TRY(read_scaling(g, &p, &attention));
    if (p.original_context < 1 || p.original_context > CONFIG_MAX_CONTEXT || !isfinite(attention) || attention <= 0) {
        return fail(LARIAT_BAD_MODEL,
                    "%s: its rotary scaling has an original context or an attention factor out of range" FETCH_AGAIN,
                    gguf_path(g));
    }
    TRY(rope_frequencies(gguf_path(g), &p, c));
    c->rope_factor *= (float)attention;
    c->rope = ROPE_PAIRS;
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
    model_config c = {.architecture = "llama", .bos_id = -1};

    TRY(check_architecture(g));
    TRY(refuse_oddities(g));
    TRY(read_sizes(g, &c));
    TRY(config_check(gguf_path(g), &c));
    TRY(read_rope(g, &c));
    TRY(read_ids(g, &c));
    c.tied_head = !tensors_find(gguf_tensors(g), "output.weight");
    /* Biases are recognised by their tensors: see weights.c. */
    *out = c;
    return LARIAT_OK;
}
