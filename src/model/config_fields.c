/* Fields of config.json by effect: unsupported ones that change the result, harmless ones, unknown ones.
   Rests on base/json.h. Read on in config.c; docs/formats.md describes the rule. */
#include "model/config_fields.h"

#include "base/strings.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool config_field_is_neutral(const json_t *value, double neutral)
{
    if (!value || json_is_null(value) || json_is_false(value)) {
        return true;
    }
    if (json_is_number(value)) {
        return json_number_value(value) == neutral;
    }
    return (json_is_array(value) && json_array_size(value) == 0) || (json_is_object(value) && json_object_size(value) == 0);
}

/* A value as JSON, cut where it is long. */
static const char *shown(const json_t *v, char out[static 64])
{
    char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(12));

    snprintf(out, 64, "%.60s%s", text ? text : "...", text && strlen(text) > 60 ? "..." : "");
    free(text);
    return out;
}

lariat_status config_refuse_field(const char *path, const char *field, const json_t *value)
{
    char text[64];

    return fail(LARIAT_UNSUPPORTED,
                "%s: \"%s\": %s changes the result in a way that Lariat does not compute: use a checkpoint without it", path,
                field, shown(value, text));
}

/* --- fields that change the result --- */

/* Fields of some models, with their neutral number (besides null, false and empty). */
static const struct {
    const char *field;
    double neutral; /* NAN: there is none */
} refused[] = {
    {"quantization_config", NAN},
    {"compression_config", NAN},
    {"quantization", NAN},
    {"partial_rotary_factor", 1},
    {"rotary_pct", 1},
    {"rope_interleaved", NAN},
    {"full_attn_mod", 1}, /* of Phi-4 mini: full attention in every layer of this multiple */
    {"interpolate_factor", 1},
    {"rope_scaling_factor", 1},
    {"use_sliding_window", NAN},
    {"attention_chunk_size", NAN},
    {"attn_temperature_tuning", 0},
    {"no_rope_layers", NAN},
    {"no_rope_layer_interval", 0},
    {"per_layer_config", NAN},
    {"query_pre_attn_scalar", NAN},
    {"attention_multiplier", NAN},
    {"attention_scale", NAN},
    {"attn_scale", NAN},
    {"softmax_scale", NAN},
    {"residual_multiplier", 1},
    {"embedding_multiplier", 1},
    {"embedding_scale", 1},
    {"scale_emb", 1},
    {"scale_depth", NAN},
    {"logits_scaling", 1},
    {"logit_scale", 1},
    {"attn_logit_softcapping", NAN},
    {"final_logit_softcapping", NAN},
    {"clip_qkv", NAN},
    {"qk_norm", NAN},
    {"use_qk_norm", NAN},
    {"qk_layernorm", NAN},
    {"qk_layer_norms", NAN},
    {"alibi", NAN},
    {"num_experts", 0},
    {"num_local_experts", 0},
    {"n_routed_experts", 0},
    {"parallel_attn", NAN},
    {"use_parallel_residual", NAN},
    {"pruned_heads", NAN},
    {"add_cross_attention", NAN},
    {"is_encoder_decoder", NAN},
};

/* Fields that choose a function by name, with the implemented names. Hugging Face's classes read only hidden_act; the others
   belong to custom code of checkpoints. The first ACTIVATIONS choose the activation: its names are the member's. */
static const struct {
    const char *field, *computed[5]; /* NAMES */
} named[] = {
    {"hidden_act", {NULL}},
    {"hidden_activation", {NULL}},
    {"activation_function", {NULL}},
    {"position_embedding_type", {"rope", "rotary", "ROPE"}},
    {"norm_type", {"rms_norm", "rmsnorm", "RMSNorm", "rms"}},
    {"normalization", {"rms_norm", "rmsnorm", "RMSNorm", "rms"}},
};

enum { ACTIVATIONS = 3, NAMES = 5 };

/* "gelu" was written for the same function in the first gemma checkpoints. */
static const char *const activations[][NAMES] = {
    [ACTIVATION_SILU] = {"silu", "swish"},
    [ACTIVATION_GELU_TANH] = {"gelu_pytorch_tanh", "gelu"},
};

static lariat_status refuse_names(const char *path, const json_t *o, const family *f)
{
    for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
        const json_t *v = json_object_get(o, named[i].field);
        const char *name = json_string_value(v);
        const char *const *names = i < ACTIVATIONS ? activations[f->activation] : named[i].computed;
        bool computed = !v || json_is_null(v);
        for (size_t k = 0; name && k < NAMES && names[k]; k++) {
            computed = computed || strcmp(name, names[k]) == 0;
        }
        if (!computed) {
            return config_refuse_field(path, named[i].field, v);
        }
    }
    return LARIAT_OK;
}

/* Windows have a length, which is looked at elsewhere. */
static bool is_full_attention(const json_t *kinds)
{
    if (!kinds || json_is_null(kinds)) {
        return true;
    }
    for (size_t i = 0; i < json_array_size(kinds); i++) {
        const char *kind = json_string_value(json_array_get(kinds, i));
        if (!kind || (strcmp(kind, "full_attention") != 0 && strcmp(kind, "sliding_attention") != 0)) {
            return false;
        }
    }
    return json_is_array(kinds);
}

static lariat_status refuse_known(const char *path, const json_t *o, const family *f)
{
    const json_t *kinds = json_object_get(o, "layer_types"), *causal = json_object_get(o, "is_causal");

    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        const json_t *v = json_object_get(o, refused[i].field);
        bool is_read = family_reads(f, refused[i].field) ||
                       (f->window == WINDOW_SWITCHED && strcmp(refused[i].field, "use_sliding_window") == 0);
        if (!config_field_is_neutral(v, refused[i].neutral) && !is_read) {
            return config_refuse_field(path, refused[i].field, v);
        }
    }
    if (!is_full_attention(kinds)) {
        return config_refuse_field(path, "layer_types", kinds);
    }
    if (causal && !json_is_null(causal) && !json_is_true(causal)) {
        return config_refuse_field(path, "is_causal", causal);
    }
    return refuse_names(path, o, f);
}

/* --- unknown fields --- */

/* Fields that are read, or that are harmless with any value. */
static const char *const harmless[] = {
    /* read */
    "architectures", "model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
    "num_attention_heads", "num_key_value_heads", "head_dim", "hidden_act", "max_position_embeddings",
    "original_max_position_embeddings", "rms_norm_eps", "rope_theta", "rope_scaling", "rope_parameters",
    "tie_word_embeddings", "attention_bias", "mlp_bias", "bos_token_id", "eos_token_id", "sliding_window",
    "use_sliding_window", "layer_types", "is_causal",
    /* general fields of Hugging Face's models, training and classes */
    "auto_map", "chunk_size_feed_forward", "classifier_bias", "classifier_dropout", "cross_attention_hidden_size", "dtype",
    "finetuning_task", "id2label", "initializer_range", "is_decoder", "keys_to_ignore_at_inference", "label2id",
    "loss_type", "max_window_layers", "name_or_path", "num_labels", "output_attentions", "output_hidden_states",
    "output_router_logits", "pretraining_tp", "problem_type", "return_dict", "return_dict_in_generate",
    "task_specific_params", "tf_legacy_loss", "tie_encoder_decoder", "tokenizer_class", "torch_dtype", "torchscript",
    "transformers_version", "use_bfloat16", "use_cache",
    /* dropouts and other fields of training */
    "attention_dropout", "attention_probs_dropout_prob", "attn_pdrop", "embd_pdrop", "embedding_dropout",
    "gradient_checkpointing", "hidden_dropout", "hidden_dropout_prob", "layer_dropout", "neftune_noise_alpha",
    "resid_pdrop", "use_recompute", "virtual_pp_degree", "z_loss",
    /* sampling, which Lariat's options set */
    "bad_words_ids", "begin_suppress_tokens", "diversity_penalty", "do_sample", "early_stopping",
    "encoder_no_repeat_ngram_size", "exponential_decay_length_penalty", "length_penalty", "max_length", "max_new_tokens",
    "min_length", "min_new_tokens", "no_repeat_ngram_size", "num_beam_groups", "num_beams", "num_return_sequences",
    "output_scores", "remove_invalid_values", "repetition_penalty", "stop_token_ids", "suppress_tokens", "temperature",
    "top_k", "top_p", "typical_p",
    /* choices of kernels, and notes of publishing tools */
    "additional_special_tokens", "flash_attn", "is_llama_config", "max_seq_len", "max_sequence_length", "model_max_length",
    "seq_length", "tokenizer_model_max_length", "transformers.js_config", "unsloth_fixed", "use_flash_attention",
    "use_flash_attn", "use_fused_rms_norm", "use_fused_rope", "use_sdpa",
};

static bool is_harmless(const char *field)
{
    if (field[0] == '_' || ends_with(field, "_token_id")) { /* Python's private fields; further special tokens */
        return true;
    }
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++) {
        if (strcmp(field, harmless[i]) == 0) {
            return true;
        }
    }
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        if (strcmp(field, refused[i].field) == 0) {
            return true; /* refuse_known has let its value pass */
        }
    }
    return false;
}

/* Refuses unknown fields that may be multipliers, switches or sizes: numbers, true, objects. Text is a note; 0, false and
   null are off. */
static lariat_status refuse_unknown(const char *path, const json_t *o)
{
    const char *field;
    json_t *v;

    json_object_foreach((json_t *)(uintptr_t)o, field, v)
    {
        if (!json_is_string(v) && !config_field_is_neutral(v, 0) && !is_harmless(field)) {
            char text[64];
            return fail(LARIAT_UNSUPPORTED,
                        "%s: \"%.80s\": %s is a field that Lariat does not know and that may change the result: remove it if "
                        "it does not",
                        path, field, shown(v, text));
        }
    }
    return LARIAT_OK;
}

lariat_status config_check_fields(const char *path, const json_t *config, const family *f)
{
    TRY(refuse_known(path, config, f));
    return refuse_unknown(path, config);
}
