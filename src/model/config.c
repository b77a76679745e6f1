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

model_config config_of(const family *f)
{
    return (model_config){.family = f, .bos_id = -1, .attention_scale = (float)f->attention_scale, .embedding_multiplier = 1,
                          .residual_multiplier = 1, .logits_divisor = 1};
}

static lariat_status check_multipliers(const char *path, model_config *c)
{
    if (c->attention_scale == 0) {
        c->attention_scale = (float)(1.0 / sqrt((double)c->head_dim));
    }
    c->embedding_scale = (float)(c->embedding_multiplier / c->residual_multiplier);
    if (c->family->embedding_by_width) {
        c->embedding_scale *= (float)sqrt((double)c->d_model);
    }
    c->residual_eps = (float)((double)c->rms_eps / (c->residual_multiplier * c->residual_multiplier));
    const double all[] = {(double)c->attention_scale, c->embedding_multiplier, c->residual_multiplier, c->logits_divisor,
                          (double)c->embedding_scale, (double)c->residual_eps};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        bool is_eps = i == 5;
        if (!isfinite(all[i]) || all[i] < 0 || (all[i] == 0 && !is_eps)) {
            return fail(LARIAT_BAD_MODEL,
                        "%s: its multipliers of embedding, residual, attention and logits are not all positive numbers of a "
                        "usable size" CORRECT_IT, path);
        }
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
    c->rotary_dims = c->rotary_dims ? c->rotary_dims : c->head_dim;
    if (c->head_dim % 2 != 0) {
        return fail(LARIAT_BAD_MODEL, "%s: the size of a head is %d, wanted an even number" CORRECT_IT, path, c->head_dim);
    }
    if (c->rotary_dims < 2 || c->rotary_dims > c->head_dim || c->rotary_dims % 2 != 0) {
        return fail(LARIAT_BAD_MODEL, "%s: the size of a head is %d, of which %d are rotated: wanted even numbers" CORRECT_IT,
                    path, c->head_dim, c->rotary_dims);
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
    return check_multipliers(path, c);
}

lariat_status config_take_window(const char *path, const char *what, int64_t window, model_config *c)
{
    if (window > 0 && window < c->trained_context) {
        return fail(LARIAT_UNSUPPORTED,
                    "%s: %s: %lld changes the result in a way that Lariat does not compute, attention here is full: use a "
                    "checkpoint without a window, or with one of its whole context of %lld",
                    path, what, (long long)window, (long long)c->trained_context);
    }
    c->window = window > 0 ? window : 0;
    return LARIAT_OK;
}

/* --- the fields --- */

static lariat_status read_architecture(const char *path, const json_t *o, const family **out)
{
    const json_t *classes = json_object_get(o, "architectures");
    const char *class = json_string_value(json_array_get(classes, 0));
    const char *type = NULL;

    TRY(json_text(o, path, "model_type", false, &type));
    const family *f = family_by_type(type, class);
    if (!f) {
        const char *name = type ? type : class ? class : "(none is named)";
        return family_refuse(path, name, strlen(name));
    }
    if (classes && !json_is_null(classes) && (json_array_size(classes) != 1 || !class || strcmp(class, f->class) != 0)) {
        return fail(LARIAT_UNSUPPORTED,
                    "%s: \"architectures\" names %s, wanted %s for a %s model: use a checkpoint for text generation", path,
                    class ? class : "no class", f->class, f->name);
    }
    *out = f;
    return LARIAT_OK;
}

static lariat_status read_size(const char *path, const json_t *o, const char *field, bool required, int64_t high, int32_t *out)
{
    int64_t value = *out;

    TRY(json_int(o, path, field, required, 1, high, &value));
    *out = (int32_t)value;
    return LARIAT_OK;
}

/* The size of a head: the field's, the class's, or that of an even division. */
static lariat_status read_head_dim(const char *path, const json_t *o, model_config *c)
{
    const json_t *v = json_object_get(o, "head_dim");

    if (!v && c->family->head_dim) {
        c->head_dim = c->family->head_dim;
        return LARIAT_OK;
    }
    if ((!v || json_is_null(v)) && c->d_model % c->n_heads != 0) {
        return fail(LARIAT_BAD_MODEL,
                    "%s: \"hidden_size\" %d is no multiple of %d heads, and there is no \"head_dim\"" CORRECT_IT, path,
                    c->d_model, c->n_heads);
    }
    c->head_dim = c->d_model / c->n_heads;
    return read_size(path, o, "head_dim", false, CONFIG_MAX_HEAD_DIM, &c->head_dim);
}

static lariat_status read_sizes(const char *path, const json_t *o, model_config *c)
{
    const family *f = c->family;
    double eps = f->rms_eps;

    TRY(read_size(path, o, "num_hidden_layers", true, CONFIG_MAX_LAYERS, &c->n_layers));
    TRY(read_size(path, o, "hidden_size", true, CONFIG_MAX_WIDTH, &c->d_model));
    TRY(read_size(path, o, "intermediate_size", true, CONFIG_MAX_WIDTH, &c->d_ff));
    TRY(read_size(path, o, "vocab_size", true, CONFIG_MAX_VOCAB, &c->vocab));
    TRY(read_size(path, o, "num_attention_heads", true, CONFIG_MAX_HEADS, &c->n_heads));

    /* null means n_heads in all classes; a missing field means a number of its own in some. */
    c->n_kv_heads = f->n_kv_heads && !json_object_get(o, "num_key_value_heads") ? f->n_kv_heads : c->n_heads;
    TRY(read_size(path, o, "num_key_value_heads", false, CONFIG_MAX_HEADS, &c->n_kv_heads));
    TRY(read_head_dim(path, o, c));

    c->trained_context = f->context;
    TRY(json_int(o, path, "max_position_embeddings", false, 1, CONFIG_MAX_CONTEXT, &c->trained_context));
    TRY(json_number(o, path, "rms_norm_eps", false, &eps));
    c->rms_eps = (float)eps;
    c->tied_head = f->tied_head;
    return json_flag(o, path, "tie_word_embeddings", false, &c->tied_head);
}

/* A field that the class does not read is refused where it is on. */
static lariat_status read_biases(const char *path, const json_t *o, model_config *c)
{
    const family *f = c->family;
    bool attention = f->attention_bias, mlp = false;

    TRY(json_flag(o, path, "attention_bias", false, &attention));
    TRY(json_flag(o, path, "mlp_bias", false, &mlp));
    bool reads_attention = f->qkv_bias == BIAS_BY_FIELD || f->o_bias == BIAS_BY_FIELD, reads_mlp = f->mlp_bias == BIAS_BY_FIELD;
    if ((attention && !reads_attention) || (mlp && !reads_mlp)) {
        const char *field = attention && !reads_attention ? "attention_bias" : "mlp_bias";
        return config_refuse_field(path, field, json_object_get(o, field));
    }
    c->qkv_bias = f->qkv_bias == BIAS_ALWAYS || (f->qkv_bias == BIAS_BY_FIELD && attention);
    c->o_bias = f->o_bias == BIAS_ALWAYS || (f->o_bias == BIAS_BY_FIELD && attention);
    c->mlp_bias = f->mlp_bias == BIAS_ALWAYS || (f->mlp_bias == BIAS_BY_FIELD && mlp);
    return LARIAT_OK;
}

static lariat_status read_multipliers(const char *path, const json_t *o, model_config *c)
{
    double attention = c->family->attention_scale;

    if (!family_reads(c->family, "attention_multiplier")) {
        return LARIAT_OK;
    }
    TRY(json_number(o, path, "embedding_multiplier", false, &c->embedding_multiplier));
    TRY(json_number(o, path, "residual_multiplier", false, &c->residual_multiplier));
    TRY(json_number(o, path, "attention_multiplier", false, &attention));
    TRY(json_number(o, path, "logits_scaling", false, &c->logits_divisor));
    if (!(attention > 0)) { /* 0 stands for the default elsewhere */
        return config_refuse_field(path, "attention_multiplier", json_object_get(o, "attention_multiplier"));
    }
    c->attention_scale = (float)attention;
    return LARIAT_OK;
}

/* Classes with a switch may have no layer with a window: their list of layers' kinds decides; without it layers without RoPE
   have one, or all behind a number of first layers. `listed`: some kind is a window. */
static lariat_status find_window_layers(const char *path, const json_t *o, const model_config *c, bool listed, bool *found)
{
    int64_t full = c->family->full_layers;
    bool has_list = json_array_size(json_object_get(o, "layer_types")) > 0, without_rope = false;

    TRY(full ? json_int(o, path, "max_window_layers", false, 0, INT64_MAX, &full) : LARIAT_OK);
    for (int32_t l = 0; l < c->n_layers; l++) {
        without_rope = without_rope || c->no_rope[l];
    }
    bool computed = c->family->no_rope_interval ? without_rope : full < c->n_layers;
    *found = c->family->window != WINDOW_SWITCHED || (has_list ? listed : computed);
    return LARIAT_OK;
}

static lariat_status read_window(const char *path, const json_t *o, model_config *c)
{
    const json_t *v = json_object_get(o, "sliding_window"), *kinds = json_object_get(o, "layer_types");
    int64_t window = c->family->missing_window;
    bool on = c->family->window != WINDOW_SWITCHED, listed = false;

    TRY(c->family->window == WINDOW_ALWAYS ? LARIAT_OK : json_flag(o, path, "use_sliding_window", false, &on));
    for (size_t i = 0; i < json_array_size(kinds); i++) {
        const char *kind = json_string_value(json_array_get(kinds, i));
        listed = listed || (kind && strcmp(kind, "sliding_attention") == 0);
    }
    TRY(on ? find_window_layers(path, o, c, listed, &on) : LARIAT_OK);
    if (!on && !listed) {
        return LARIAT_OK;
    }
    if (v && (json_is_null(v) || json_is_false(v))) {
        return listed ? config_refuse_field(path, "layer_types", kinds) : LARIAT_OK;
    }
    if (!v && window && window < c->trained_context) {
        return fail(LARIAT_UNSUPPORTED,
                    "%s: has no \"sliding_window\", which means a window of %lld in a %s model; Lariat computes full "
                    "attention: say \"sliding_window\": null if that is right",
                    path, (long long)window, c->family->name);
    }
    TRY(json_int(o, path, "sliding_window", false, 0, INT64_MAX, &window));
    return listed && window == 0 ? config_refuse_field(path, "layer_types", kinds)
                                 : config_take_window(path, "\"sliding_window\"", window, c);
}

/* "no_rope_layers" has 0 for a layer without RoPE; without it every layer of that number, counted from 1, has none. */
static lariat_status read_no_rope(const char *path, const json_t *o, model_config *c)
{
    const json_t *list = json_object_get(o, "no_rope_layers");
    int64_t interval = c->family->no_rope_interval;

    if (!family_reads(c->family, "no_rope_layers")) {
        return LARIAT_OK;
    }
    TRY(json_int(o, path, "no_rope_layer_interval", false, 1, CONFIG_MAX_LAYERS, &interval));
    bool listed = list && !json_is_null(list);
    if (listed && (!json_is_array(list) || json_array_size(list) < (size_t)c->n_layers)) {
        return fail(LARIAT_BAD_MODEL, "%s: \"no_rope_layers\" is no list of a number for each of %d layers" CORRECT_IT, path,
                    c->n_layers);
    }
    for (int32_t l = 0; l < c->n_layers; l++) {
        const json_t *v = json_array_get(list, (size_t)l);
        if (listed && (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > 1)) {
            return fail(LARIAT_BAD_MODEL, "%s: \"no_rope_layers\" has something else than 0 and 1" CORRECT_IT, path);
        }
        c->no_rope[l] = listed ? json_integer_value(v) == 0 : (l + 1) % interval == 0;
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
        "short_factor",
        "long_factor",
        "partial_rotary_factor",
    };
    const char *field;
    json_t *v;

    json_object_foreach((json_t *)(uintptr_t)r, field, v)
    {
        bool found = false;
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

/* A member that is not null; NULL: none. */
static const json_t *given(const json_t *o, const char *field)
{
    const json_t *v = json_object_get(o, field);

    return json_is_null(v) ? NULL : v;
}

/* A number inside the object `r` (NULL: there is none) or outside of it; neither leaves *out. */
static lariat_status read_rope_number(const char *path, const json_t *o, const json_t *r, const char *field, double *out)
{
    TRY(json_number(o, path, field, false, out));
    double outside = *out;
    TRY(r ? json_number(r, path, field, false, out) : LARIAT_OK);
    if (given(o, field) && given(r, field) && *out != outside) {
        return fail(LARIAT_BAD_MODEL, "%s: \"%s\" is %g, but %g inside the rotary settings: remove the wrong one", path, field,
                    outside, *out);
    }
    return LARIAT_OK;
}

/* The fraction of a head that is rotated. */
static lariat_status read_fraction(const char *path, const json_t *o, const json_t *r, model_config *c)
{
    static const char field[] = "partial_rotary_factor";
    double fraction = c->family->rotary_fraction != 0 ? c->family->rotary_fraction : 1;

    TRY(read_rope_number(path, o, r, field, &fraction));
    if (fraction == 1) {
        return LARIAT_OK;
    }
    if (!family_reads(c->family, field)) {
        return config_refuse_field(path, field, given(r, field) ? given(r, field) : given(o, field));
    }
    c->rotary_dims = fraction > 0 && fraction < 1 ? (int32_t)(c->head_dim * fraction) : 0;
    if (c->rotary_dims < 2 || c->rotary_dims % 2 != 0) {
        return fail(LARIAT_BAD_MODEL, "%s: \"%s\": %g of a head of %d is no even number of dimensions" CORRECT_IT, path, field,
                    fraction, c->head_dim);
    }
    return LARIAT_OK;
}

/* A list of one factor for each frequency; missing: *n is 0. */
static lariat_status read_factors(const char *path, const json_t *r, const char *field, float out[], int32_t *n)
{
    const json_t *list = json_object_get(r, field);

    if (!list || json_is_null(list)) {
        return LARIAT_OK;
    }
    if (!json_is_array(list) || json_array_size(list) > ROPE_MAX_FACTORS) {
        return fail(LARIAT_BAD_MODEL, "%s: \"%s\" is no list of at most %d numbers" CORRECT_IT, path, field, ROPE_MAX_FACTORS);
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        out[i] = json_is_number(v) ? (float)json_number_value(v) : 0; /* no factor: refused with its neighbours */
    }
    *n = (int32_t)json_array_size(list);
    return LARIAT_OK;
}

static lariat_status read_rope_object(const char *path, const family *f, const json_t *o, const json_t *r, rope_parameters *p)
{
    TRY(json_text(r, path, "type", false, &p->type));
    TRY(json_text(r, path, "rope_type", false, &p->type));
    if (f->su_is_longrope && (strcmp(p->type, "su") == 0 || strcmp(p->type, "yarn") == 0)) {
        p->type = "longrope";
    }
    TRY(json_number(r, path, "factor", false, &p->factor));
    TRY(json_number(r, path, "low_freq_factor", false, &p->low_freq_factor));
    TRY(json_number(r, path, "high_freq_factor", false, &p->high_freq_factor));
    TRY(json_number(r, path, "beta_fast", false, &p->beta_fast));
    TRY(json_number(r, path, "beta_slow", false, &p->beta_slow));
    TRY(json_number(r, path, "mscale", false, &p->mscale));
    TRY(json_number(r, path, "mscale_all_dim", false, &p->mscale_all_dim));
    TRY(json_number(r, path, "attention_factor", false, &p->attention_factor));
    TRY(json_flag(r, path, "truncate", false, &p->truncate));
    TRY(read_factors(path, r, "short_factor", p->short_factor, &p->n_short));
    TRY(read_factors(path, r, "long_factor", p->long_factor, &p->n_long));
    /* A field outside the object takes precedence, as in Hugging Face's code, and so does a class's default of that field. */
    if (!f->original_context) {
        TRY(json_int(r, path, "original_max_position_embeddings", false, 1, CONFIG_MAX_CONTEXT, &p->original_context));
    }
    TRY(json_int(o, path, "original_max_position_embeddings", false, 1, CONFIG_MAX_CONTEXT, &p->original_context));
    return LARIAT_OK;
}

static lariat_status read_rope(const char *path, const json_t *o, model_config *c)
{
    rope_parameters p = rope_parameters_default(c->family->theta);
    const json_t *r = NULL;

    p.original_context = c->family->original_context ? c->family->original_context : c->trained_context;
    TRY(rope_object(path, o, &r));
    TRY(read_rope_number(path, o, r, "rope_theta", &p.theta));
    TRY(read_fraction(path, o, r, c));
    TRY(r ? read_rope_object(path, c->family, o, r, &p) : LARIAT_OK);
    TRY(rope_frequencies(path, &p, c)); /* before the unknown fields: an unknown type is the better message */
    if (r) {
        TRY(refuse_unknown_rope_fields(path, r));
    }
    c->rope = c->family->rope;
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

/* The ids of a class that the file does not name, where the vocabulary has them. */
static void default_ids(const json_t *o, model_config *c)
{
    const family *f = c->family;

    c->bos_id = !json_object_get(o, "bos_token_id") && f->bos_id && f->bos_id < c->vocab ? f->bos_id : -1;
    for (int i = 0; i < FAMILY_ENDS && !json_object_get(o, "eos_token_id"); i++) {
        if (f->end_ids[i] && f->end_ids[i] < c->vocab) {
            c->end_ids[c->n_end_ids++] = f->end_ids[i];
        }
    }
}

lariat_status config_from_json(const char *path, const json_t *config, const char *generation_path, const json_t *generation,
                               model_config *out)
{
    const family *f = family_by_type("llama", NULL);

    TRY(read_architecture(path, config, &f));
    model_config c = config_of(f);
    TRY(config_check_fields(path, config, f));
    TRY(read_sizes(path, config, &c));
    TRY(read_biases(path, config, &c));
    TRY(read_multipliers(path, config, &c));
    TRY(config_check(path, &c));
    TRY(read_no_rope(path, config, &c));
    TRY(read_window(path, config, &c)); /* which depends on the layers without RoPE */
    TRY(read_rope(path, config, &c));
    default_ids(config, &c);
    TRY(read_ids(path, config, &c));
    if (generation) {
        TRY(read_ids(generation_path, generation, &c));
    }
    *out = c;
    return LARIAT_OK;
}
