/* Hugging Face's config.json and generation_config.json, in the old form (rope_theta, rope_scaling) and the new
   (rope_parameters), with the defaults of Hugging Face's classes.
   Rests on base/json.h and model/rope.h. Fields that would change the result and are unsupported are refused by name:
   config_fields.c. */
#include "model/config.h"
#include "model/config_fields.h"
#include "model/rope.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- checks of every configuration, from any file --- */

static lariat_status check_range(const char *path, const char *what, int64_t value, int64_t high)
{
    if (value < 1 || value > high) {
        return fail(LARIAT_BAD_MODEL, "%s: %s is %lld, outside of 1 to %lld" CORRECT_IT, path, what, (long long)value,
                    (long long)high);
    }
    return LARIAT_OK;
}

lariat_status config_check(const char *path, model_config *c)
{
    TRY(check_range(path, "the number of layers", c->n_layers, CONFIG_MAX_LAYERS));
    TRY(check_range(path, "the hidden size", c->d_model, CONFIG_MAX_WIDTH));
    TRY(check_range(path, "the feed-forward size", c->d_ff, CONFIG_MAX_WIDTH));
    TRY(check_range(path, "the vocabulary's size", c->vocab, CONFIG_MAX_VOCAB));
    TRY(check_range(path, "the number of heads", c->n_heads, CONFIG_MAX_HEADS));
    TRY(check_range(path, "the number of key-value heads", c->n_kv_heads, c->n_heads));
    TRY(check_range(path, "the size of a head", c->head_dim, CONFIG_MAX_HEAD_DIM));
    TRY(check_range(path, "the size of all heads", (int64_t)c->n_heads * c->head_dim, CONFIG_MAX_WIDTH));
    TRY(check_range(path, "the trained context", c->trained_context, CONFIG_MAX_CONTEXT));
    if (c->n_heads % c->n_kv_heads != 0) {
        return fail(LARIAT_BAD_MODEL, "%s: %d heads are no multiple of %d key-value heads" CORRECT_IT, path, c->n_heads,
                    c->n_kv_heads);
    }
    if (c->head_dim % 2 != 0) {
        return fail(LARIAT_BAD_MODEL, "%s: the size of a head is %d, wanted an even number" CORRECT_IT, path, c->head_dim);
    }
    if (!isfinite(c->rms_eps) || c->rms_eps < 0) {
        return fail(LARIAT_BAD_MODEL, "%s: the epsilon of the norms is %g, wanted a small positive number" CORRECT_IT, path,
                    (double)c->rms_eps);
    }
    if (c->bos_id >= c->vocab) {
        return fail(LARIAT_BAD_MODEL, "%s: the beginning-of-sequence id %d is outside of the vocabulary of %d" CORRECT_IT, path,
                    c->bos_id, c->vocab);
    }
    for (int32_t i = 0; i < c->n_end_ids; i++) {
        if (c->end_ids[i] >= c->vocab) {
            return fail(LARIAT_BAD_MODEL, "%s: the end-of-sequence id %d is outside of the vocabulary of %d" CORRECT_IT, path,
                        c->end_ids[i], c->vocab);
        }
    }
    c->attention_scale = (float)(1.0 / sqrt((double)c->head_dim));
    return LARIAT_OK;
}

/* --- the fields --- */

static lariat_status read_architecture(const char *path, const json_t *o, model_config *c)
{
    static const struct {
        const char *type, *class;
    } known[] = {{"llama", "LlamaForCausalLM"}, {"mistral", "MistralForCausalLM"}};
    enum { KNOWN = sizeof known / sizeof *known };
    const json_t *classes = json_object_get(o, "architectures");
    const char *class = json_string_value(json_array_get(classes, 0));
    const char *type = NULL;
    size_t i = 0;

    TRY(json_text(o, path, "model_type", false, &type));
    while (i < KNOWN && strcmp(type ? type : class ? class : "", type ? known[i].type : known[i].class) != 0) {
        i++;
    }
    if (i == KNOWN) {
        return fail(LARIAT_UNSUPPORTED,
                    "%s: is of the architecture \"%s\"; Lariat computes llama and mistral: use such a model", path,
                    type    ? type
                    : class ? class
                            : "(none is named)");
    }
    if (classes && !json_is_null(classes) && (json_array_size(classes) != 1 || !class || strcmp(class, known[i].class) != 0)) {
        return fail(LARIAT_UNSUPPORTED,
                    "%s: \"architectures\" names %s, wanted %s for a %s model: use a checkpoint for text generation", path,
                    class ? class : "no class", known[i].class, known[i].type);
    }
    snprintf(c->architecture, sizeof c->architecture, "%s", known[i].type);
    return LARIAT_OK;
}

static lariat_status read_size(const char *path, const json_t *o, const char *field, bool required, int64_t high, int32_t *out)
{
    int64_t value = *out;

    TRY(json_int(o, path, field, required, 1, high, &value));
    *out = (int32_t)value;
    return LARIAT_OK;
}

static lariat_status read_sizes(const char *path, const json_t *o, bool mistral, model_config *c)
{
    double eps = 1e-6;

    TRY(read_size(path, o, "num_hidden_layers", true, CONFIG_MAX_LAYERS, &c->n_layers));
    TRY(read_size(path, o, "hidden_size", true, CONFIG_MAX_WIDTH, &c->d_model));
    TRY(read_size(path, o, "intermediate_size", true, CONFIG_MAX_WIDTH, &c->d_ff));
    TRY(read_size(path, o, "vocab_size", true, CONFIG_MAX_VOCAB, &c->vocab));
    TRY(read_size(path, o, "num_attention_heads", true, CONFIG_MAX_HEADS, &c->n_heads));

    /* null means n_heads in both classes; a missing field means 8 in mistral's. */
    c->n_kv_heads = mistral && !json_object_get(o, "num_key_value_heads") ? 8 : c->n_heads;
    TRY(read_size(path, o, "num_key_value_heads", false, CONFIG_MAX_HEADS, &c->n_kv_heads));

    const json_t *head_dim = json_object_get(o, "head_dim");
    if ((!head_dim || json_is_null(head_dim)) && c->d_model % c->n_heads != 0) {
        return fail(LARIAT_BAD_MODEL,
                    "%s: \"hidden_size\" %d is no multiple of %d heads, and there is no \"head_dim\"" CORRECT_IT, path,
                    c->d_model, c->n_heads);
    }
    c->head_dim = c->d_model / c->n_heads;
    TRY(read_size(path, o, "head_dim", false, CONFIG_MAX_HEAD_DIM, &c->head_dim));

    c->trained_context = mistral ? 4096 * 32 : 2048;
    TRY(json_int(o, path, "max_position_embeddings", false, 1, CONFIG_MAX_CONTEXT, &c->trained_context));
    TRY(json_number(o, path, "rms_norm_eps", false, &eps));
    c->rms_eps = (float)eps;
    TRY(json_flag(o, path, "tie_word_embeddings", false, &c->tied_head));
    TRY(json_flag(o, path, "attention_bias", false, &c->attention_bias));
    TRY(json_flag(o, path, "mlp_bias", false, &c->mlp_bias));
    if (mistral && (c->attention_bias || c->mlp_bias)) {
        const char *field = c->attention_bias ? "attention_bias" : "mlp_bias";
        return config_refuse_field(path, field, json_object_get(o, field));
    }
    return LARIAT_OK;
}

/* --- rotary positions --- */

/* The object of rotary parameters: rope_scaling in the old form, rope_parameters in the new; NULL: neither. */
static lariat_status rope_object(const char *path, const json_t *o, const json_t **out)
{
    const json_t *old = json_object_get(o, "rope_scaling");
    const json_t *new = json_object_get(o, "rope_parameters");
    bool has_old = old && !json_is_null(old);
    bool has_new = new && !json_is_null(new);

    if ((has_old && !json_is_object(old)) || (has_new && !json_is_object(new))) {
        return fail(LARIAT_BAD_MODEL, "%s: \"%s\" is not an object" FETCH_AGAIN, path,
                    has_old && !json_is_object(old) ? "rope_scaling" : "rope_parameters");
    }
    if (has_old && has_new && !json_equal(old, new)) {
        return fail(LARIAT_BAD_MODEL, "%s: \"rope_scaling\" and \"rope_parameters\" contradict each other" CORRECT_IT, path);
    }
    *out = has_old && json_object_size(old) ? old : has_new ? new : NULL;
    return LARIAT_OK;
}

static lariat_status refuse_unknown_rope_fields(const char *path, const json_t *r)
{
    static const char *const known[] = {
        "type",
        "rope_type",
        "rope_theta",
        "factor",
        "original_max_position_embeddings",
        "low_freq_factor",
        "high_freq_factor",
        "beta_fast",
        "beta_slow",
        "mscale",
        "mscale_all_dim",
        "attention_factor",
        "truncate",
        "finetuned", /* a remark in published yarn models */
    };
    const char *field;
    json_t *v;

    json_object_foreach((json_t *)(uintptr_t)r, field, v)
    {
        bool found = strcmp(field, "partial_rotary_factor") == 0 && config_field_is_neutral(v, 1);
        for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
            found = found || strcmp(field, known[i]) == 0;
        }
        if (!found && !json_is_null(v)) {
            char where[128];
            snprintf(where, sizeof where, "rope_parameters: %s", field);
            return config_refuse_field(path, where, v);
        }
    }
    return LARIAT_OK;
}

static lariat_status read_rope_object(const char *path, const json_t *o, const json_t *r, rope_parameters *p)
{
    TRY(json_text(r, path, "type", false, &p->type));
    TRY(json_text(r, path, "rope_type", false, &p->type));
    TRY(json_number(r, path, "rope_theta", false, &p->theta));
    TRY(json_number(r, path, "factor", false, &p->factor));
    TRY(json_number(r, path, "low_freq_factor", false, &p->low_freq_factor));
    TRY(json_number(r, path, "high_freq_factor", false, &p->high_freq_factor));
    TRY(json_number(r, path, "beta_fast", false, &p->beta_fast));
    TRY(json_number(r, path, "beta_slow", false, &p->beta_slow));
    TRY(json_number(r, path, "mscale", false, &p->mscale));
    TRY(json_number(r, path, "mscale_all_dim", false, &p->mscale_all_dim));
    TRY(json_number(r, path, "attention_factor", false, &p->attention_factor));
    TRY(json_flag(r, path, "truncate", false, &p->truncate));
    /* A field outside the object takes precedence, as in Hugging Face's code. */
    TRY(json_int(r, path, "original_max_position_embeddings", false, 1, CONFIG_MAX_CONTEXT, &p->original_context));
    TRY(json_int(o, path, "original_max_position_embeddings", false, 1, CONFIG_MAX_CONTEXT, &p->original_context));
    return LARIAT_OK;
}

static lariat_status read_rope(const char *path, const json_t *o, model_config *c)
{
    rope_parameters p = rope_parameters_default(10000);
    const json_t *r = NULL;

    p.original_context = c->trained_context;
    TRY(json_number(o, path, "rope_theta", false, &p.theta));
    TRY(rope_object(path, o, &r));
    if (r) {
        double outside = p.theta;
        TRY(read_rope_object(path, o, r, &p));
        if (json_object_get(o, "rope_theta") && json_object_get(r, "rope_theta") && p.theta != outside) {
            return fail(LARIAT_BAD_MODEL, "%s: \"rope_theta\" is %g, but %g inside the rotary settings: remove the wrong one",
                        path, outside, p.theta);
        }
    }
    TRY(rope_frequencies(path, &p, c)); /* before the unknown fields: an unknown type is the better message */
    if (r) {
        TRY(refuse_unknown_rope_fields(path, r));
    }
    c->rope = ROPE_HALVES;
    return LARIAT_OK;
}

/* --- ids --- */

static lariat_status add_end_id(const char *path, const json_t *v, model_config *c)
{
    if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) >= c->vocab) {
        return fail(LARIAT_BAD_MODEL, "%s: \"eos_token_id\" names something that is no id below %d" CORRECT_IT, path, c->vocab);
    }
    int32_t id = (int32_t)json_integer_value(v);
    for (int32_t i = 0; i < c->n_end_ids; i++) {
        if (c->end_ids[i] == id) {
            return LARIAT_OK;
        }
    }
    if (c->n_end_ids == CONFIG_MAX_END_IDS) {
        return fail(LARIAT_UNSUPPORTED, "%s: \"eos_token_id\" names more than %d ids, name fewer", path, CONFIG_MAX_END_IDS);
    }
    c->end_ids[c->n_end_ids++] = id;
    return LARIAT_OK;
}

static lariat_status read_ids(const char *path, const json_t *o, model_config *c)
{
    const json_t *end = json_object_get(o, "eos_token_id");
    int64_t bos = c->bos_id;

    TRY(json_int(o, path, "bos_token_id", false, 0, c->vocab - 1, &bos));
    c->bos_id = (int32_t)bos;
    if (!json_is_array(end)) {
        return !end || json_is_null(end) ? LARIAT_OK : add_end_id(path, end, c);
    }
    for (size_t i = 0; i < json_array_size(end); i++) {
        TRY(add_end_id(path, json_array_get(end, i), c));
    }
    return LARIAT_OK;
}

lariat_status config_from_json(const char *path, const json_t *config, const char *generation_path, const json_t *generation,
                               model_config *out)
{
    model_config c = {.bos_id = -1};

    TRY(read_architecture(path, config, &c));
    bool mistral = strcmp(c.architecture, "mistral") == 0;
    TRY(config_check_fields(path, config, mistral));
    TRY(read_sizes(path, config, mistral, &c));
    TRY(config_check(path, &c));
    TRY(read_rope(path, config, &c));
    /* Hugging Face's defaults are 1 and 2. */
    c.bos_id = !json_object_get(config, "bos_token_id") && c.vocab > 1 ? 1 : -1;
    if (!json_object_get(config, "eos_token_id") && c.vocab > 2) {
        c.end_ids[c.n_end_ids++] = 2;
    }
    TRY(read_ids(path, config, &c));
    if (generation) {
        TRY(read_ids(generation_path, generation, &c));
    }
    *out = c;
    return LARIAT_OK;
}
