/* Configurations: what published ones say is read as Hugging Face and llama.cpp read it; what would change the result is
   refused by name. Rests on model/config.h and support/gguf_image.h. */
#include "model/config.h"
#include "support/gguf_image.h"
#include "support/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* --- config.json --- */

static const char SMALL[] =
    "{\"model_type\":\"llama\",\"architectures\":[\"LlamaForCausalLM\"],\"num_hidden_layers\":2,\"hidden_size\":64,"
    "\"intermediate_size\":96,\"vocab_size\":100,\"num_attention_heads\":4,\"num_key_value_heads\":2}";

/* SMALL with the fields of `changes` put over it; a field "-name": removes it. */
static json_t *changed(const char *changes)
{
    json_t *o = json_loads(SMALL, 0, NULL);
    json_t *c = json_loads(changes, 0, NULL);
    const char *field;
    json_t *value;

    assert_non_null(o);
    assert_non_null(c);
    json_object_foreach(c, field, value)
    {
        if (*field == '-') {
            assert_int_equal(json_object_del(o, field + 1), 0);
        } else {
            json_object_set(o, field, value);
        }
    }
    json_decref(c);
    return o;
}

static lariat_status read_config(const char *changes, const char *generation, model_config *c)
{
    json_t *o = changed(changes);
    json_t *g = generation ? json_loads(generation, 0, NULL) : NULL;
    lariat_status status = config_from_json("config.json", o, "generation_config.json", g, c);

    json_decref(o);
    json_decref(g);
    return status;
}

static void refuses(const char *changes, lariat_status code, const char *part)
{
    model_config c;
    assert_refused(read_config(changes, NULL, &c), code, part);
}

static void defaults_are_those_of_hugging_face(void **state)
{
    model_config c;

    (void)state;
    assert_accepted(read_config("{}", NULL, &c));
    assert_string_equal(c.family->name, "llama");
    assert_int_equal(c.head_dim, 16);
    assert_int_equal(c.trained_context, 2048);
    assert_true(c.rms_eps == 1e-6f);
    assert_true(c.attention_scale == 0.25f);
    assert_string_equal(c.rope_type, "default");
    assert_true(c.rope_factor == 1);
    assert_int_equal(c.rope, ROPE_HALVES);
    assert_false(c.tied_head || c.qkv_bias || c.o_bias || c.mlp_bias);
    assert_int_equal(c.bos_id, 1);
    assert_int_equal(c.n_end_ids, 1);
    assert_int_equal(c.end_ids[0], 2);
    assert_accepted(
        read_config("{\"num_key_value_heads\":null,\"head_dim\":null,\"eos_token_id\":null,\"bos_token_id\":null}", NULL, &c));
    assert_int_equal(c.n_kv_heads, 4);
    assert_int_equal(c.head_dim, 16);
    assert_int_equal(c.n_end_ids, 0);
    assert_int_equal(c.bos_id, -1);
}

static void end_ids_are_those_of_both_files(void **state)
{
    model_config c;

    (void)state;
    assert_accepted(read_config("{\"eos_token_id\":[7,8]}", "{\"eos_token_id\":[8,9],\"bos_token_id\":3}", &c));
    assert_int_equal(c.n_end_ids, 3);
    assert_int_equal(c.end_ids[0], 7);
    assert_int_equal(c.end_ids[2], 9);
    assert_int_equal(c.bos_id, 3);
    assert_refused(read_config("{}", "{\"eos_token_id\":[100]}", &c), LARIAT_BAD_MODEL,
                   "generation_config.json: \"eos_token_id\" names");
    refuses("{\"eos_token_id\":100}", LARIAT_BAD_MODEL,
            "config.json: \"eos_token_id\" names something that is no id below 100");
    refuses("{\"eos_token_id\":-1}", LARIAT_BAD_MODEL, "no id below 100");
    refuses("{\"eos_token_id\":[\"x\"]}", LARIAT_BAD_MODEL, "no id below 100");
    refuses("{\"eos_token_id\":[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]}", LARIAT_UNSUPPORTED, "more than 16 ids");
    refuses("{\"bos_token_id\":100}", LARIAT_BAD_MODEL, "\"bos_token_id\" is 100, outside of 0 to 99");
}

static void mistral_without_a_window_is_the_same_graph(void **state)
{
    const char *mistral = "{\"model_type\":\"mistral\",\"architectures\":[\"MistralForCausalLM\"],\"sliding_window\":null}";
    model_config c;

    (void)state;
    assert_accepted(read_config(mistral, NULL, &c));
    assert_string_equal(c.family->name, "mistral");
    assert_int_equal(c.trained_context, 131072);
    refuses("{\"model_type\":\"mistral\",\"architectures\":null,\"sliding_window\":4096}", LARIAT_UNSUPPORTED,
            "\"sliding_window\": 4096 changes");
    refuses("{\"model_type\":\"mistral\",\"architectures\":null,\"sliding_window\":4096,\"use_sliding_window\":false}",
            LARIAT_UNSUPPORTED, "\"sliding_window\": 4096 changes"); /* mistral's class does not look at the second field */
    refuses("{\"model_type\":\"mistral\",\"architectures\":null}", LARIAT_UNSUPPORTED,
            "has no \"sliding_window\", which means a window of 4096");
    refuses("{\"model_type\":\"mistral\",\"architectures\":null,\"sliding_window\":null,\"attention_bias\":true}",
            LARIAT_UNSUPPORTED, "\"attention_bias\": true");
}

/* A member's own fields; the same that another refuses. */
static void members_have_the_traits_of_their_rows(void **state)
{
    static const struct {
        const char *changes;
        norm_place norms;
        qk_norm qk_norms;
        bool qkv_bias, o_bias, mlp_bias;
        int32_t n_kv_heads, head_dim;
        int64_t context;
    } members[] = {
        {"\"model_type\":\"qwen2\"", NORM_BEFORE, QK_NORM_NONE, true, false, false, 2, 16, 32768},
        {"\"model_type\":\"qwen3\",\"attention_bias\":true", NORM_BEFORE, QK_NORM_HEADS, true, true, false, 2, 128, 32768},
        {"\"model_type\":\"granite\",\"mlp_bias\":true", NORM_BEFORE, QK_NORM_NONE, false, false, true, 4, 16, 2048},
        {"\"model_type\":\"phi3\"", NORM_BEFORE, QK_NORM_NONE, false, false, false, 4, 16, 4096},
        {"\"model_type\":\"smollm3\"", NORM_BEFORE, QK_NORM_NONE, false, false, false, 4, 16, 32768},
        {"\"model_type\":\"olmo2\"", NORM_BEHIND, QK_NORM_WHOLE, false, false, false, 4, 16, 2048},
        {"\"model_type\":\"gemma\",\"num_key_value_heads\":1", NORM_BEFORE, QK_NORM_NONE, false, false, false, 1, 256, 8192},
        {"\"model_type\":\"glm4\"", NORM_BOTH, QK_NORM_NONE, true, false, false, 2, 128, 131072},
    };

    (void)state;
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        char text[256];
        model_config c;
        bool by_default = members[i].n_kv_heads == 4; /* otherwise the class's default is no divisor of four heads */
        snprintf(text, sizeof text, "{\"architectures\":null,%s%s}", members[i].changes,
                 by_default ? ",\"-num_key_value_heads\":0" : "");
        assert_accepted(read_config(text, NULL, &c));
        assert_int_equal(c.family->norms, members[i].norms);
        assert_int_equal(c.family->qk_norms, members[i].qk_norms);
        assert_true(c.qkv_bias == members[i].qkv_bias && c.o_bias == members[i].o_bias && c.mlp_bias == members[i].mlp_bias);
        assert_int_equal(c.n_kv_heads, members[i].n_kv_heads);
        assert_int_equal(c.head_dim, members[i].head_dim);
        assert_int_equal(c.trained_context, members[i].context);
    }
    refuses("{\"architectures\":null,\"model_type\":\"qwen2\",\"num_key_value_heads\":2,\"attention_bias\":true}",
            LARIAT_UNSUPPORTED, "\"attention_bias\": true");
    refuses("{\"architectures\":null,\"model_type\":\"gemma\",\"num_key_value_heads\":1,\"hidden_act\":\"silu\"}",
            LARIAT_UNSUPPORTED, "\"hidden_act\": \"silu\"");
}

static void multipliers_go_into_the_embedding_and_the_epsilon(void **state)
{
    model_config c;

    (void)state;
    assert_accepted(read_config("{\"architectures\":null,\"model_type\":\"granite\",\"embedding_multiplier\":12,"
                                "\"residual_multiplier\":0.25,\"attention_multiplier\":0.5,\"logits_scaling\":8}", NULL, &c));
    assert_true(c.embedding_scale == 48 && c.residual_eps == 16 * c.rms_eps && c.attention_scale == 0.5f);
    assert_true(c.logits_divisor == 8);
    static const char *const wrong[] = {"\"residual_multiplier\":0", "\"embedding_multiplier\":-1", "\"logits_scaling\":0",
                                        "\"residual_multiplier\":1e-300"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char text[160];
        snprintf(text, sizeof text, "{\"architectures\":null,\"model_type\":\"granite\",%s}", wrong[i]);
        refuses(text, LARIAT_BAD_MODEL, "its multipliers of embedding");
    }
}

static void layers_without_rope_are_listed_or_counted(void **state)
{
    static const char smollm3[] = "{\"architectures\":null,\"model_type\":\"smollm3\",\"num_hidden_layers\":5%s}";
    static const struct {
        const char *fields;
        int without[5];
    } cases[] = {{"", {0, 0, 0, 1, 0}},
                 {",\"no_rope_layer_interval\":2", {0, 1, 0, 1, 0}},
                 {",\"no_rope_layers\":[0,1,1,1,0,0]", {1, 0, 0, 0, 1}},
                 {",\"no_rope_layers\":null", {0, 0, 0, 1, 0}}};
    char text[256];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        model_config c;
        snprintf(text, sizeof text, smollm3, cases[i].fields);
        assert_accepted(read_config(text, NULL, &c));
        for (int l = 0; l < 5; l++) {
            assert_int_equal(c.no_rope[l], cases[i].without[l]);
        }
    }
    snprintf(text, sizeof text, smollm3, ",\"no_rope_layers\":[1,1]");
    refuses(text, LARIAT_BAD_MODEL, "\"no_rope_layers\" is no list of a number for each of 5 layers");
    snprintf(text, sizeof text, smollm3, ",\"no_rope_layers\":[1,1,1,2,1]");
    refuses(text, LARIAT_BAD_MODEL, "something else than 0 and 1");
}

static void a_window_of_the_whole_context_is_accepted(void **state)
{
#define QWEN2 "{\"architectures\":null,\"model_type\":\"qwen2\",\"num_key_value_heads\":2"
    model_config c;

    (void)state;
    assert_accepted(read_config("{\"sliding_window\":2048}", NULL, &c));
    assert_int_equal(c.window, 2048);
    refuses("{\"sliding_window\":2047}", LARIAT_UNSUPPORTED, "\"sliding_window\": 2047 changes");
    assert_accepted(read_config(QWEN2 ",\"sliding_window\":4096}", NULL, &c));
    assert_int_equal(c.window, 0);
    refuses(QWEN2 ",\"sliding_window\":4096,\"use_sliding_window\":true,\"max_window_layers\":0}", LARIAT_UNSUPPORTED,
            "\"sliding_window\": 4096");
    refuses(QWEN2 ",\"use_sliding_window\":true,\"max_window_layers\":0}", LARIAT_UNSUPPORTED,
            "which means a window of 4096 in a qwen2 model");
    assert_accepted(read_config(QWEN2 ",\"sliding_window\":32768,\"use_sliding_window\":true,\"layer_types\":"
                                      "[\"sliding_attention\",\"full_attention\"]}", NULL, &c));
    assert_int_equal(c.window, 32768);
}

/* As Qwen2Config and Qwen3Config of transformers make "layer_types": layer i has the window from "max_window_layers" on, 28 by
   default; as SmolLM3Config does: a layer without RoPE has it, every fourth by default. A list that the file has is taken as it
   is. The model has 2 layers. */
static void a_window_that_no_layer_has_is_accepted(void **state)
{
#define SWITCHED_ON "{\"architectures\":null,\"sliding_window\":64,\"use_sliding_window\":true,\"model_type\":"
    static const char *const none[] = {
        SWITCHED_ON "\"qwen2\",\"num_key_value_heads\":2}",
        SWITCHED_ON "\"qwen3\",\"num_key_value_heads\":2,\"max_window_layers\":2}",
        SWITCHED_ON "\"qwen3\",\"num_key_value_heads\":2,\"max_window_layers\":0,\"layer_types\":"
                    "[\"full_attention\",\"full_attention\"]}",
        SWITCHED_ON "\"smollm3\",\"layer_types\":[\"full_attention\",\"full_attention\"],\"no_rope_layers\":[0,0]}",
        SWITCHED_ON "\"smollm3\",\"max_window_layers\":0}", /* which this class does not read */
        SWITCHED_ON "\"smollm3\",\"no_rope_layer_interval\":1,\"no_rope_layers\":[1,1]}",
    };
    static const char *const some[] = {
        SWITCHED_ON "\"qwen2\",\"num_key_value_heads\":2,\"max_window_layers\":1}",
        SWITCHED_ON "\"qwen3\",\"num_key_value_heads\":2,\"layer_types\":[\"full_attention\",\"sliding_attention\"]}",
        SWITCHED_ON "\"smollm3\",\"max_window_layers\":28,\"no_rope_layers\":[0,1]}",
        SWITCHED_ON "\"smollm3\",\"no_rope_layer_interval\":2}",
        SWITCHED_ON "\"smollm3\",\"layer_types\":[\"full_attention\",\"sliding_attention\"],\"no_rope_layers\":[1,1]}",
    };
    model_config c;

    (void)state;
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        assert_accepted(read_config(none[i], NULL, &c));
        assert_int_equal(c.window, 0);
    }
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        refuses(some[i], LARIAT_UNSUPPORTED, "64 changes the result");
    }
    refuses(SWITCHED_ON "\"qwen2\",\"max_window_layers\":-1}", LARIAT_BAD_MODEL, "\"max_window_layers\" is -1");
}

static void part_of_a_head_is_rotated_where_the_class_reads_it(void **state)
{
#define PHI3 "{\"architectures\":null,\"model_type\":\"phi3\","
    model_config c;

    (void)state;
    assert_accepted(read_config(PHI3 "\"partial_rotary_factor\":0.75}", NULL, &c));
    assert_int_equal(c.rotary_dims, 12);
    assert_accepted(read_config(PHI3 "\"rope_parameters\":{\"partial_rotary_factor\":0.5}}", NULL, &c));
    assert_int_equal(c.rotary_dims, 8);
    assert_accepted(read_config(PHI3 "\"rope_parameters\":{\"partial_rotary_factor\":0.5},\"partial_rotary_factor\":0.5}", NULL,
                                &c));
    assert_int_equal(c.rotary_dims, 8);
    assert_accepted(read_config(PHI3 "\"rope_parameters\":{\"partial_rotary_factor\":null},\"partial_rotary_factor\":0.5}",
                                NULL, &c));
    assert_int_equal(c.rotary_dims, 8);
    assert_accepted(read_config(PHI3 "\"rope_parameters\":{\"partial_rotary_factor\":0.5},\"partial_rotary_factor\":null}",
                                NULL, &c));
    assert_int_equal(c.rotary_dims, 8);
    refuses(PHI3 "\"rope_parameters\":{\"partial_rotary_factor\":1.0},\"partial_rotary_factor\":0.5}", LARIAT_BAD_MODEL,
            "\"partial_rotary_factor\" is 0.5, but 1 inside the rotary settings: remove the wrong one");
    refuses(PHI3 "\"partial_rotary_factor\":0.3125}", LARIAT_BAD_MODEL,
            "0.3125 of a head of 16 is no even number");
    refuses(PHI3 "\"rope_scaling\":{\"type\":\"su\",\"short_factor\":[1,1],\"long_factor\":[2,2]}}", LARIAT_BAD_MODEL,
            "rotary type longrope wants short_factor and long_factor, 8 positive numbers each");
    assert_accepted(read_config(PHI3 "\"max_position_embeddings\":8192,\"rope_scaling\":{\"type\":\"su\","
                                     "\"short_factor\":[1,1,1,1,1,1,1,1],\"long_factor\":[2,2,2,2,2,2,2,2]}}", NULL, &c));
    assert_string_equal(c.rope_type, "longrope");
    assert_int_equal(c.long_from, 4096);
    assert_true(c.inv_freq[8] == c.inv_freq[0] / 2 && c.inv_freq[15] == c.inv_freq[7] / 2);
}

static void other_architectures_are_refused_by_name(void **state)
{
    (void)state;
    refuses("{\"model_type\":\"qwen3_moe\"}", LARIAT_UNSUPPORTED, "needs a mixture of experts: Lariat does not compute that, "
                                                                "the nearest that works is qwen3");
    refuses("{\"model_type\":\"qwen3_next\"}", LARIAT_UNSUPPORTED, "needs gated delta nets and experts");
    refuses("{\"model_type\":\"gemma3n\"}", LARIAT_UNSUPPORTED, "needs keys and values shared between layers");
    refuses("{\"model_type\":\"qwen2_5_vl\"}", LARIAT_UNSUPPORTED, "needs images");
    refuses("{\"model_type\":\"glm4v\"}", LARIAT_UNSUPPORTED, "needs images: Lariat does not compute that, the nearest that "
                                                               "works is glm4");
    refuses("{\"model_type\":\"gemma2\"}", LARIAT_UNSUPPORTED, "needs sliding windows and soft caps");
    refuses("{\"model_type\":\"falcon\"}", LARIAT_UNSUPPORTED,
            "the architecture \"falcon\"; Lariat computes llama, mistral, qwen2,");
    refuses("{\"model_type\":\"mixtral\"}", LARIAT_UNSUPPORTED, "the architecture \"mixtral\"");
    refuses("{\"model_type\":7}", LARIAT_BAD_MODEL, "\"model_type\" is not a string");
    refuses("{\"-model_type\":0,\"architectures\":null}", LARIAT_UNSUPPORTED, "(none is named)");
    refuses("{\"architectures\":[\"LlamaForSequenceClassification\"]}", LARIAT_UNSUPPORTED,
            "names LlamaForSequenceClassification");
    refuses("{\"architectures\":[\"MistralForCausalLM\"]}", LARIAT_UNSUPPORTED, "names MistralForCausalLM");
}

static void what_would_change_the_result_is_refused_by_name(void **state)
{
    static const char *const changes[] = {
        "\"quantization_config\":{\"quant_method\":\"awq\"}",
        "\"compression_config\":{\"a\":1}",
        "\"partial_rotary_factor\":0.5",
        "\"hidden_act\":\"gelu\"",
        "\"hidden_act\":7",
        "\"hidden_activation\":\"gelu_pytorch_tanh\"",
        "\"position_embedding_type\":\"alibi\"",
        "\"norm_type\":\"layernorm\"",
        "\"normalization\":true",
        "\"quantization\":\"awq\"",
        "\"layer_types\":[\"full_attention\",\"sliding_attention\"]",
        "\"layer_types\":[\"full_attention\",0]",
        "\"layer_types\":\"sliding_attention\"",
        "\"layer_types\":{\"0\":\"full_attention\"}",
        "\"layer_types\":0",
        "\"sliding_window\":1024",
        "\"attn_logit_softcapping\":50.0",
        "\"final_logit_softcapping\":30.0",
        "\"attention_multiplier\":0.015",
        "\"residual_multiplier\":0.22",
        "\"embedding_multiplier\":12",
        "\"logits_scaling\":8",
        "\"logit_scale\":0.06",
        "\"query_pre_attn_scalar\":256",
        "\"qk_norm\":true",
        "\"use_qk_norm\":true",
        "\"num_local_experts\":8",
        "\"num_experts\":4",
        "\"no_rope_layers\":[1,0]",
        "\"clip_qkv\":8.0",
        "\"alibi\":true",
        "\"pruned_heads\":{\"0\":[1]}",
        "\"is_causal\":false",
        "\"is_causal\":0",
        "\"use_sliding_window\":true",
        "\"attention_chunk_size\":8192",
    };
    model_config c;

    (void)state;
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        char text[160], field[80];
        snprintf(text, sizeof text, "{%s}", changes[i]);
        snprintf(field, sizeof field, "config.json: %.*s", (int)(strchr(changes[i], ':') - changes[i]), changes[i]);
        refuses(text, LARIAT_UNSUPPORTED, field);
    }
    /* What is neutral, or has no part in inference, is not. */
    assert_accepted(read_config(
        "{\"quantization_config\":null,\"partial_rotary_factor\":1.0,\"hidden_act\":\"swish\",\"sliding_window\":null,"
        "\"layer_types\":[\"full_attention\",\"full_attention\"],\"use_sliding_window\":false,\"num_local_experts\":0,"
        "\"residual_multiplier\":1.0,\"pruned_heads\":{},\"qk_norm\":false,\"is_causal\":true,\"attention_dropout\":0.1,"
        "\"position_embedding_type\":\"rope\",\"norm_type\":\"rmsnorm\",\"hidden_activation\":null,"
        "\"pretraining_tp\":4,\"use_cache\":false,\"torch_dtype\":\"float16\",\"initializer_range\":0.5,"
        "\"some_note\":\"x\"}",
        NULL, &c));
    assert_accepted(read_config("{\"sliding_window\":4096,\"use_sliding_window\":false}", NULL, &c));
}

static void unknown_fields_are_refused_unless_they_are_off_or_a_note(void **state)
{
    static const char *const unknown[] = {"true", "0.5", "1", "{\"a\":1}", "[0]", "[[]]"};
    static const char *const off[] = {"null", "false", "0", "0.0", "{}", "[]", "\"a note\""};
    char text[96];
    model_config c;

    (void)state;
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        char part[96];
        snprintf(text, sizeof text, "{\"depth_multiplier\":%s}", unknown[i]);
        snprintf(part, sizeof part, "config.json: \"depth_multiplier\": %s is a field that Lariat does not know", unknown[i]);
        refuses(text, LARIAT_UNSUPPORTED, part);
    }
    for (size_t i = 0; i < sizeof off / sizeof *off; i++) {
        snprintf(text, sizeof text, "{\"depth_multiplier\":%s}", off[i]);
        assert_accepted(read_config(text, NULL, &c));
    }
}

/* What stands beside the sizes in published files, as their authors and tools wrote it. */
static void fields_of_published_models_are_accepted(void **state)
{
    static const char *const published[] = {
        /* the first LLaMA conversions */
        "{\"max_sequence_length\":2048,\"bos_token_id\":1,\"eos_token_id\":2,\"pad_token_id\":-1,\"hidden_act\":\"silu\","
        "\"initializer_range\":0.02,\"torch_dtype\":\"float16\",\"transformers_version\":\"4.27.0.dev0\",\"use_cache\":true}",
        /* Llama 2 and those trained on it for long texts */
        "{\"_name_or_path\":\"x\",\"auto_map\":{\"AutoModelForCausalLM\":\"modeling_flash_llama.LlamaForCausalLM\"},"
        "\"_flash_attn_2_enabled\":true,\"max_position_embeddings\":32768,\"pretraining_tp\":1,\"rope_scaling\":{\"factor\":8."
        "0,"
        "\"type\":\"linear\"},\"model_max_length\":32768,\"tokenizer_model_max_length\":4096,\"gradient_checkpointing\":true}",
        /* Llama 3 as fine-tuning tools save it */
        "{\"_attn_implementation_autoset\":true,\"attention_bias\":false,\"attention_dropout\":0.0,\"head_dim\":16,"
        "\"mlp_bias\":false,\"unsloth_fixed\":true,\"unsloth_version\":\"2025.1.5\",\"pad_token_id\":99,\"rope_theta\":500000."
        "0,"
        "\"rope_scaling\":{\"factor\":32.0,\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"
        "\"original_max_position_embeddings\":8192,\"rope_type\":\"llama3\"},\"neftune_noise_alpha\":5,\"use_sdpa\":true}",
        /* SmolLM2 */
        "{\"is_llama_config\":true,\"rope_interleaved\":false,\"initializer_range\":0.041666666666666664,"
        "\"tie_word_embeddings\":true,\"transformers.js_config\":{\"kv_cache_dtype\":{\"q4f16\":\"float16\"}}}",
        /* Mistral without a window */
        "{\"architectures\":[\"MistralForCausalLM\"],\"model_type\":\"mistral\",\"sliding_window\":null,\"head_dim\":32,"
        "\"attention_dropout\":0.0,\"rope_theta\":1000000.0,\"dtype\":\"bfloat16\"}",
        /* Phi-4 mini */
        "{\"architectures\":[\"Phi3ForCausalLM\"],\"model_type\":\"phi3\",\"embd_pdrop\":0.0,\"full_attn_mod\":1,"
        "\"interpolate_factor\":1,\"lm_head_bias\":false,\"max_position_embeddings\":131072,\"mlp_bias\":false,"
        "\"original_max_position_embeddings\":4096,\"partial_rotary_factor\":0.75,\"resid_pdrop\":0.0,"
        "\"sliding_window\":262144,\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[1,1,1,1,1,1],"
        "\"long_factor\":[1,2,3,4,5,6]}}",
        /* SmolLM3 */
        "{\"architectures\":[\"SmolLM3ForCausalLM\"],\"model_type\":\"smollm3\",\"is_llama_config\":true,\"layer_types\":"
        "[\"full_attention\",\"full_attention\"],\"max_window_layers\":28,\"no_rope_layer_interval\":4,"
        "\"no_rope_layers\":[1,0],\"pretraining_tp\":2,\"rope_interleaved\":false,\"rope_scaling\":null,"
        "\"sliding_window\":null,\"use_sliding_window\":false}",
        /* Qwen 2.5 and 3 */
        "{\"architectures\":[\"Qwen2ForCausalLM\"],\"model_type\":\"qwen2\",\"max_window_layers\":21,\"sliding_window\":32768,"
        "\"use_mrope\":false,\"use_sliding_window\":false}",
        "{\"architectures\":[\"Qwen3ForCausalLM\"],\"model_type\":\"qwen3\",\"head_dim\":128,\"max_window_layers\":28,"
        "\"rope_parameters\":{\"rope_theta\":1000000,\"rope_type\":\"default\"},\"sliding_window\":null,"
        "\"use_sliding_window\":false}",
        /* Granite 3 */
        "{\"architectures\":[\"GraniteForCausalLM\"],\"model_type\":\"granite\",\"attention_multiplier\":0.015625,"
        "\"embedding_multiplier\":12.0,\"logits_scaling\":8.0,\"residual_multiplier\":0.22,\"rope_scaling\":null}",
        /* all that Hugging Face's base class once wrote into every file */
        "{\"chunk_size_feed_forward\":0,\"diversity_penalty\":0.0,\"do_sample\":true,\"early_stopping\":false,"
        "\"id2label\":{\"0\":\"LABEL_0\",\"1\":\"LABEL_1\"},\"is_decoder\":true,\"is_encoder_decoder\":false,\"label2id\":"
        "{\"LABEL_0\":0,\"LABEL_1\":1},\"length_penalty\":1.0,\"max_length\":20,\"min_length\":0,\"num_beam_groups\":1,"
        "\"num_beams\":1,\"num_return_sequences\":1,\"output_attentions\":false,\"pruned_heads\":{},\"repetition_penalty\":1.0,"
        "\"return_dict\":true,\"sep_token_id\":null,\"temperature\":0.6,\"tf_legacy_loss\":false,\"tie_encoder_decoder\":false,"
        "\"top_k\":50,\"top_p\":0.9,\"torchscript\":false,\"typical_p\":1.0,\"use_bfloat16\":false}",
    };
    model_config c;

    (void)state;
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        assert_accepted(read_config(published[i], NULL, &c));
    }
}

static void sizes_out_of_range_or_out_of_step_are_refused(void **state)
{
    (void)state;
    refuses("{\"-num_hidden_layers\":0}", LARIAT_BAD_MODEL, "has no \"num_hidden_layers\"");
    refuses("{\"hidden_size\":0}", LARIAT_BAD_MODEL, "\"hidden_size\" is 0");
    refuses("{\"hidden_size\":-64}", LARIAT_BAD_MODEL, "\"hidden_size\" is -64");
    refuses("{\"hidden_size\":9223372036854775807}", LARIAT_BAD_MODEL, "\"hidden_size\" is 9223372036854775807");
    refuses("{\"hidden_size\":64.0}", LARIAT_BAD_MODEL, "\"hidden_size\" is not an integer");
    refuses("{\"hidden_size\":\"64\"}", LARIAT_BAD_MODEL, "\"hidden_size\" is not an integer");
    refuses("{\"vocab_size\":1000000000}", LARIAT_BAD_MODEL, "\"vocab_size\" is 1000000000");
    refuses("{\"num_hidden_layers\":1000000}", LARIAT_BAD_MODEL, "\"num_hidden_layers\"");
    refuses("{\"num_attention_heads\":3,\"num_key_value_heads\":3}", LARIAT_BAD_MODEL,
            "\"hidden_size\" 64 is no multiple of 3 heads");
    refuses("{\"num_key_value_heads\":3}", LARIAT_BAD_MODEL, "4 heads are no multiple of 3 key-value heads");
    refuses("{\"num_key_value_heads\":8}", LARIAT_BAD_MODEL, "the number of key-value heads is 8, outside of 1 to 4");
    refuses("{\"head_dim\":15}", LARIAT_BAD_MODEL, "the size of a head is 15, wanted an even number");
    refuses("{\"head_dim\":1024}", LARIAT_BAD_MODEL, "\"head_dim\" is 1024");
    refuses("{\"num_attention_heads\":4096,\"num_key_value_heads\":1,\"head_dim\":512}", LARIAT_BAD_MODEL,
            "the size of all heads");
    refuses("{\"max_position_embeddings\":0}", LARIAT_BAD_MODEL, "\"max_position_embeddings\" is 0");
    refuses("{\"rms_norm_eps\":-1.0}", LARIAT_BAD_MODEL, "the epsilon of the norms is -1");
    refuses("{\"rms_norm_eps\":\"x\"}", LARIAT_BAD_MODEL, "\"rms_norm_eps\" is not a number");
    refuses("{\"tie_word_embeddings\":1}", LARIAT_BAD_MODEL, "\"tie_word_embeddings\" is neither true nor false");
}

static void broken_json_is_one_line(void **state)
{
    json_t *o;

    (void)state;
    assert_refused(json_read("c", "{\"a\":\n\n1,}", 10, &o), LARIAT_BAD_MODEL, "c: is not JSON");
    assert_refused(json_read("c", "[1]", 3, &o), LARIAT_BAD_MODEL, "c: holds no JSON object");
    assert_refused(json_read("c", "{\"a\":\"\xff\"}", 9, &o), LARIAT_BAD_MODEL, "c: is not JSON");
    assert_refused(json_read("c", "{\"a\":1,\"a\":2}", 13, &o), LARIAT_BAD_MODEL, "duplicate");
    assert_refused(json_read("c", "{\"a\":123456789012345678901234567890}", 36, &o), LARIAT_BAD_MODEL, "too big integer");
    assert_refused(json_read("c", "{\"a\":\n\"b\\u0000c\"}", 17, &o), LARIAT_BAD_MODEL, "c: line 2 holds \\u0000");
    assert_refused(json_read("c", "{\"b\\u0000c\":1}", 14, &o), LARIAT_BAD_MODEL, "c: line 1 holds \\u0000");
    char deep[20001];
    memset(deep, '[', sizeof deep);
    assert_refused(json_read("c", deep, sizeof deep, &o), LARIAT_BAD_MODEL, "is not JSON");
    scratch_write_text("big.json", "{\"a\":1}");
    char *path = scratch_path("big.json");
    assert_refused(json_read_file(path, 3, &o), LARIAT_BAD_MODEL, "has 7 bytes, more than the 3");
    free(path);
}

/* --- GGUF --- */

static void put_array(gguf_image *i, const char *key, int n, const uint32_t values[])
{
    bytes b = {0};
    bytes_u32(&b, 4);
    bytes_u64(&b, (uint64_t)n);
    for (int e = 0; e < n; e++) {
        bytes_u32(&b, values[e]);
    }
    gguf_image_raw(i, key, 9, b.data, b.size);
    bytes_free(&b);
}

/* The metadata of a small llama, but for the key `without`. */
static gguf_image small(const char *without)
{
    static const struct {
        const char *key;
        uint32_t value;
    } keys[] = {{"llama.block_count", 2},          {"llama.embedding_length", 64},       {"llama.feed_forward_length", 96},
                {"llama.attention.head_count", 4}, {"llama.attention.head_count_kv", 2}, {"llama.context_length", 4096}};
    gguf_image i = {0};

    if (strcmp(without, "general.architecture") != 0) {
        gguf_image_string(&i, "general.architecture", "llama");
    }
    for (int k = 0; k < 6; k++) {
        if (strcmp(without, keys[k].key) != 0) {
            gguf_image_u32(&i, keys[k].key, keys[k].value);
        }
    }
    if (strcmp(without, "llama.attention.layer_norm_rms_epsilon") != 0) {
        gguf_image_f32(&i, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    }
    gguf_image_tensor(&i, "token_embd.weight", 2, (uint64_t[]){64, 100}, 0, 0);
    return i;
}

enum { EMBEDDING_BYTES = 64 * 100 * 4 };

static lariat_status read_gguf(gguf_image *i, model_config *c)
{
    gguf *g;
    bytes b = gguf_image_done(i, 3, 32, EMBEDDING_BYTES + 4096);
    assert_accepted(gguf_parse("x.gguf", b.data, b.size, &g));
    lariat_status status = config_from_gguf(g, c);
    gguf_close(g);
    bytes_free(&b);
    return status;
}

static void refuses_gguf(gguf_image i, lariat_status code, const char *part)
{
    model_config c;
    assert_refused(read_gguf(&i, &c), code, part);
}

static gguf_image with_u32(const char *without, const char *key, uint32_t value)
{
    gguf_image i = small(without);
    gguf_image_u32(&i, key, value);
    return i;
}

static gguf_image with_f32(const char *key, float value)
{
    gguf_image i = small("");
    gguf_image_f32(&i, key, value);
    return i;
}

static gguf_image with_string(const char *without, const char *key, const char *value)
{
    gguf_image i = small(without);
    gguf_image_string(&i, key, value);
    return i;
}

static void gguf_metadata_become_a_configuration(void **state)
{
    gguf_image i = small("llama.attention.head_count_kv");
    model_config c;

    (void)state;
    put_array(&i, "llama.attention.head_count_kv", 2, (uint32_t[]){2, 2});
    gguf_image_u32(&i, "llama.attention.key_length", 32);
    gguf_image_u32(&i, "llama.attention.value_length", 32);
    gguf_image_u32(&i, "llama.rope.dimension_count", 32);
    gguf_image_f32(&i, "llama.rope.freq_base", 500000);
    gguf_image_u32(&i, "tokenizer.ggml.bos_token_id", 3);
    gguf_image_u32(&i, "tokenizer.ggml.eos_token_id", 4);
    gguf_image_u32(&i, "tokenizer.ggml.eot_token_id", 5);
    gguf_image_u32(&i, "tokenizer.ggml.eom_token_id", 4);
    assert_accepted(read_gguf(&i, &c));
    assert_int_equal(c.n_kv_heads, 2);
    assert_int_equal(c.head_dim, 32);
    assert_int_equal(c.vocab, 100);
    assert_int_equal(c.rope, ROPE_PAIRS);
    assert_true(c.tied_head);
    assert_int_equal(c.bos_id, 3);
    assert_int_equal(c.n_end_ids, 2);
    assert_int_equal(c.end_ids[1], 5);
    assert_string_equal(c.rope_type, "default");
    assert_true(c.rms_eps == 1e-5f);
}

static void gguf_rotary_scaling_is_read_as_llama_cpp_reads_it(void **state)
{
    model_config plain, c;
    gguf_image i = small("");

    (void)state;
    assert_accepted(read_gguf(&i, &plain));

    i = with_string("", "llama.rope.scaling.type", "none");
    gguf_image_f32(&i, "llama.rope.scaling.factor", 4);
    assert_accepted(read_gguf(&i, &c));
    assert_true(c.inv_freq[1] == plain.inv_freq[1]);

    i = with_f32("llama.rope.scale_linear", 4); /* the old name */
    assert_accepted(read_gguf(&i, &c));
    assert_string_equal(c.rope_type, "linear");
    assert_true(c.inv_freq[1] == plain.inv_freq[1] / 4);

    i = with_string("", "llama.rope.scaling.type", "yarn");
    gguf_image_f32(&i, "llama.rope.scaling.factor", 4);
    gguf_image_u32(&i, "llama.rope.scaling.original_context_length", 1024);
    assert_accepted(read_gguf(&i, &c));
    assert_string_equal(c.rope_type, "yarn");
    assert_true(c.inv_freq[0] == 1 && c.inv_freq[7] == plain.inv_freq[7] / 4); /* the ends of the ramp */
    assert_true(c.rope_factor > 1.1386f && c.rope_factor < 1.1387f);           /* 0.1 ln 4 + 1 */

    i = small("");
    gguf_image_tensor(&i, "rope_freqs.weight", 1, (uint64_t[]){8}, 0, EMBEDDING_BYTES);
    gguf *g;
    bytes b = gguf_image_done(&i, 3, 32, EMBEDDING_BYTES + 32);
    const float factors[8] = {1, 2, 4, 8, 16, 32, 64, 128};
    memcpy(b.data + b.size - sizeof factors, factors, sizeof factors);
    assert_accepted(gguf_parse("x.gguf", b.data, b.size, &g));
    assert_accepted(config_from_gguf(g, &c));
    assert_string_equal(c.rope_type, "factors");
    for (int d = 0; d < 8; d++) {
        assert_true(c.inv_freq[d] == plain.inv_freq[d] / factors[d]);
    }
    gguf_close(g);
    bytes_free(&b);
}

static void gguf_metadata_out_of_range_are_refused_by_key(void **state)
{
    static const char *const needed[] = {"general.architecture",
                                         "llama.block_count",
                                         "llama.embedding_length",
                                         "llama.feed_forward_length",
                                         "llama.attention.head_count",
                                         "llama.context_length",
                                         "llama.attention.layer_norm_rms_epsilon"};
    gguf_image i;

    (void)state;
    for (int k = 0; k < 7; k++) {
        refuses_gguf(small(needed[k]), LARIAT_BAD_MODEL, needed[k]);
    }
    refuses_gguf(with_string("general.architecture", "general.architecture", "gemma2"), LARIAT_UNSUPPORTED,
                 "the architecture \"gemma2\"");
    refuses_gguf(with_string("llama.block_count", "general.type", "adapter"), LARIAT_UNSUPPORTED,
                 "x.gguf: is an adapter without its model: merge it into its base model (");
    i = with_string("llama.block_count", "general.type", "adapter");
    gguf_image_string(&i, "general.base_model.0.name", "Base 7B");
    refuses_gguf(i, LARIAT_UNSUPPORTED, "x.gguf: is an adapter without its model: merge it into Base 7B (");
    refuses_gguf(with_u32("llama.block_count", "llama.block_count", 0), LARIAT_BAD_MODEL,
                 "llama.block_count is no integer from 1");
    refuses_gguf(with_u32("llama.block_count", "llama.block_count", 0xffffffff), LARIAT_BAD_MODEL,
                 "llama.block_count is no integer from 1");
    refuses_gguf(with_string("llama.block_count", "llama.block_count", "2"), LARIAT_BAD_MODEL,
                 "llama.block_count is no integer");
    refuses_gguf(with_u32("", "llama.vocab_size", 0), LARIAT_BAD_MODEL, "llama.vocab_size");
    refuses_gguf(with_u32("", "tokenizer.ggml.eos_token_id", 100), LARIAT_BAD_MODEL,
                 "tokenizer.ggml.eos_token_id is no id below 100");
    refuses_gguf(with_u32("", "llama.rope.dimension_count", 8), LARIAT_UNSUPPORTED,
                 "llama.rope.dimension_count is 8 and the size of a head is 16");
    refuses_gguf(with_u32("", "llama.attention.value_length", 8), LARIAT_UNSUPPORTED, "llama.attention.value_length is 8");
    i = small("llama.attention.head_count_kv");
    put_array(&i, "llama.attention.head_count_kv", 2, (uint32_t[]){2, 4});
    refuses_gguf(i, LARIAT_UNSUPPORTED, "llama.attention.head_count_kv differs from layer to layer");
    i = small("llama.attention.head_count_kv");
    put_array(&i, "llama.attention.head_count_kv", 1, (uint32_t[]){2});
    refuses_gguf(i, LARIAT_BAD_MODEL, "llama.attention.head_count_kv is no array of 2");
}

static void gguf_metadata_that_change_the_result_are_refused_by_key(void **state)
{
    gguf_image i;

    (void)state;
    refuses_gguf(with_u32("", "llama.expert_count", 8), LARIAT_UNSUPPORTED,
                 "llama.expert_count makes it a mixture of experts: Lariat does not compute that, the nearest that works is a "
                 "dense llama model");
    refuses_gguf(with_u32("", "llama.nextn_predict_layers", 1), LARIAT_UNSUPPORTED, "llama.nextn_predict_layers");
    i = small("");
    put_array(&i, "llama.rope.dimension_sections", 4, (uint32_t[]){16, 24, 24, 0});
    refuses_gguf(i, LARIAT_UNSUPPORTED, "llama.rope.dimension_sections");
    refuses_gguf(with_u32("", "llama.attention.sliding_window", 4095), LARIAT_UNSUPPORTED, "llama.attention.sliding_window");
    refuses_gguf(with_f32("llama.attention.scale", 0.5f), LARIAT_UNSUPPORTED, "llama.attention.scale");
    refuses_gguf(with_f32("llama.logit_scale", 0.5f), LARIAT_UNSUPPORTED, "llama.logit_scale");
    refuses_gguf(with_f32("llama.rope.scaling.alpha", 1000), LARIAT_UNSUPPORTED, "llama.rope.scaling.alpha");
    refuses_gguf(with_string("", "llama.rope.scaling.type", "longrope"), LARIAT_UNSUPPORTED, "the rotary type \"longrope\"");
    i = small("");
    gguf_image_raw(&i, "llama.attention.causal", 7, "\0", 1);
    refuses_gguf(i, LARIAT_UNSUPPORTED, "llama.attention.causal");
    i = small("");
    gguf_image_tensor(&i, "rope_freqs.weight", 1, (uint64_t[]){8}, 0, EMBEDDING_BYTES); /* all zero */
    refuses_gguf(i, LARIAT_BAD_MODEL, "rope_freqs.weight holds 0");
    i = small("");
    gguf_image_tensor(&i, "rope_freqs.weight", 1, (uint64_t[]){9}, 0, EMBEDDING_BYTES);
    refuses_gguf(i, LARIAT_BAD_MODEL, "rope_freqs.weight is not F32 [8]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_hugging_face),
        cmocka_unit_test(end_ids_are_those_of_both_files),
        cmocka_unit_test(mistral_without_a_window_is_the_same_graph),
        cmocka_unit_test(members_have_the_traits_of_their_rows),
        cmocka_unit_test(multipliers_go_into_the_embedding_and_the_epsilon),
        cmocka_unit_test(layers_without_rope_are_listed_or_counted),
        cmocka_unit_test(a_window_of_the_whole_context_is_accepted),
        cmocka_unit_test(a_window_that_no_layer_has_is_accepted),
        cmocka_unit_test(part_of_a_head_is_rotated_where_the_class_reads_it),
        cmocka_unit_test(other_architectures_are_refused_by_name),
        cmocka_unit_test(what_would_change_the_result_is_refused_by_name),
        cmocka_unit_test(unknown_fields_are_refused_unless_they_are_off_or_a_note),
        cmocka_unit_test(fields_of_published_models_are_accepted),
        cmocka_unit_test(sizes_out_of_range_or_out_of_step_are_refused),
        cmocka_unit_test(broken_json_is_one_line),
        cmocka_unit_test(gguf_metadata_become_a_configuration),
        cmocka_unit_test(gguf_rotary_scaling_is_read_as_llama_cpp_reads_it),
        cmocka_unit_test(gguf_metadata_out_of_range_are_refused_by_key),
        cmocka_unit_test(gguf_metadata_that_change_the_result_are_refused_by_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
