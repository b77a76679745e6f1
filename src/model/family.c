/* The table of the family: traits, names and defaults of every member, and the nearest member of others.
   Defaults are those of Hugging Face's configuration classes. See family.h; docs/formats.md shows the table. */
#include "model/family.h"

#include "base/strings.h"

#include <stdio.h>
#include <string.h>

/* --- names --- */

#define HUGGING_FACE \
    .embedding = "model.embed_tokens.weight", .head = "lm_head.weight", .final_norm = "model.norm.weight", \
    .layer = "model.layers"
#define SELF_ATTN [Q] = "self_attn.q_proj", [K] = "self_attn.k_proj", [V] = "self_attn.v_proj"
#define QK_NORMS [Q_NORM] = "self_attn.q_norm", [K_NORM] = "self_attn.k_norm"
#define MLP [GATE] = "mlp.gate_proj", [UP] = "mlp.up_proj"
#define OUTPUTS [O] = "self_attn.o_proj", [DOWN] = "mlp.down_proj"
#define NORMS_BEFORE [ATTN_NORM] = "input_layernorm", [FFN_NORM] = "post_attention_layernorm"
#define NORMS_BEHIND [ATTN_POST_NORM] = "post_attention_layernorm", [FFN_POST_NORM] = "post_feedforward_layernorm"

static const tensor_names llama_names = {HUGGING_FACE, .role = {NORMS_BEFORE, QK_NORMS, SELF_ATTN, MLP, OUTPUTS}};
static const tensor_names olmo2_names = {HUGGING_FACE, .role = {NORMS_BEHIND, QK_NORMS, SELF_ATTN, MLP, OUTPUTS}};
static const tensor_names phi3_names = {
    HUGGING_FACE,
    .role = {NORMS_BEFORE, OUTPUTS, [QKV] = "self_attn.qkv_proj", [GATE_UP] = "mlp.gate_up_proj"},
};
static const tensor_names glm4_names = {
    HUGGING_FACE,
    .role = {NORMS_BEFORE, SELF_ATTN, OUTPUTS, [ATTN_POST_NORM] = "post_self_attn_layernorm",
             [FFN_POST_NORM] = "post_mlp_layernorm", [GATE_UP] = "mlp.gate_up_proj"},
};

const tensor_names gguf_names = {
    .embedding = "token_embd.weight",
    .head = "output.weight",
    .final_norm = "output_norm.weight",
    .layer = "blk",
    .role = {[ATTN_NORM] = "attn_norm", [ATTN_POST_NORM] = "post_attention_norm", [FFN_NORM] = "ffn_norm",
             [FFN_POST_NORM] = "post_ffw_norm", [Q_NORM] = "attn_q_norm", [K_NORM] = "attn_k_norm", [Q] = "attn_q",
             [K] = "attn_k", [V] = "attn_v", [O] = "attn_output", [GATE] = "ffn_gate", [UP] = "ffn_up", [DOWN] = "ffn_down",
             [QKV] = "attn_qkv", [GATE_UP] = "ffn_up"},
};

/* --- members --- */

#define BIASES_BY_FIELDS .qkv_bias = BIAS_BY_FIELD, .o_bias = BIAS_BY_FIELD, .mlp_bias = BIAS_BY_FIELD

static const family rows[] = {
    {.name = "llama", .class = "LlamaForCausalLM", .gguf = "llama", .names = &llama_names, BIASES_BY_FIELDS,
     .gguf_rope = ROPE_PAIRS, .context = 2048, .rms_eps = 1e-6, .theta = 1e4, .bos_id = 1, .end_ids = {2}},

    {.name = "mistral", .class = "MistralForCausalLM", .names = &llama_names, .n_kv_heads = 8,
     .context = 4096 * 32, .rms_eps = 1e-6, .theta = 1e4, .bos_id = 1, .end_ids = {2}, .window = WINDOW_ALWAYS,
     .missing_window = 4096},

    {.name = "qwen2", .class = "Qwen2ForCausalLM", .gguf = "qwen2", .names = &llama_names, .qkv_bias = BIAS_ALWAYS,
     .gguf_rope = ROPE_HALVES, .n_kv_heads = 32, .context = 32768, .rms_eps = 1e-6, .theta = 1e4, .window = WINDOW_SWITCHED,
     .missing_window = 4096, .full_layers = 28},

    {.name = "qwen3", .class = "Qwen3ForCausalLM", .gguf = "qwen3", .names = &llama_names, .qk_norms = QK_NORM_HEADS,
     .qkv_bias = BIAS_BY_FIELD, .o_bias = BIAS_BY_FIELD, .gguf_rope = ROPE_HALVES, .n_kv_heads = 32, .head_dim = 128,
     .context = 32768, .rms_eps = 1e-6, .theta = 1e4, .window = WINDOW_SWITCHED, .missing_window = 4096,
     .full_layers = 28},

    {.name = "granite", .class = "GraniteForCausalLM", .gguf = "granite", .names = &llama_names, BIASES_BY_FIELDS,
     .gguf_rope = ROPE_PAIRS,
     .reads = {"embedding_multiplier", "residual_multiplier", "attention_multiplier", "logits_scaling"},
     .context = 2048, .rms_eps = 1e-6, .theta = 1e4, .attention_scale = 1, .bos_id = 1, .end_ids = {2}},

    {.name = "phi3", .class = "Phi3ForCausalLM", .gguf = "phi3", .names = &phi3_names, .gguf_rope = ROPE_HALVES,
     .su_is_longrope = true, .reads = {"partial_rotary_factor"}, .context = 4096, .original_context = 4096, .rms_eps = 1e-5,
     .theta = 1e4, .bos_id = 1, .end_ids = {32000}, .window = WINDOW_ALWAYS},

    {.name = "smollm3", .class = "SmolLM3ForCausalLM", .gguf = "smollm3", .names = &llama_names, BIASES_BY_FIELDS,
     .gguf_rope = ROPE_PAIRS, .reads = {"no_rope_layers", "no_rope_layer_interval"}, .n_kv_heads = 4, .context = 32768,
     .rms_eps = 1e-6, .theta = 2e6, .tied_head = true, .bos_id = 128000, .end_ids = {128001}, .window = WINDOW_SWITCHED,
     .no_rope_interval = 4},

    {.name = "olmo2", .class = "Olmo2ForCausalLM", .gguf = "olmo2", .names = &olmo2_names, .norms = NORM_BEHIND,
     .qk_norms = QK_NORM_WHOLE, .qkv_bias = BIAS_BY_FIELD, .o_bias = BIAS_BY_FIELD, .gguf_rope = ROPE_HALVES, .context = 2048,
     .rms_eps = 1e-5, .theta = 1e4, .end_ids = {50279}},

    {.name = "gemma", .class = "GemmaForCausalLM", .gguf = "gemma", .names = &llama_names, .norm_plus_one = true,
     .qkv_bias = BIAS_BY_FIELD, .o_bias = BIAS_BY_FIELD, .activation = ACTIVATION_GELU_TANH, .gguf_rope = ROPE_HALVES,
     .embedding_by_width = true, .n_kv_heads = 16, .head_dim = 256, .context = 8192, .rms_eps = 1e-6, .theta = 1e4,
     .tied_head = true, .bos_id = 2, .end_ids = {1}},

    {.name = "glm4", .class = "Glm4ForCausalLM", .gguf = "glm4", .names = &glm4_names, .norms = NORM_BOTH,
     .qkv_bias = BIAS_BY_FIELD, .rope = ROPE_PAIRS, .gguf_rope = ROPE_PAIRS, .reads = {"partial_rotary_factor"},
     .n_kv_heads = 2, .head_dim = 128, .context = 131072, .rms_eps = 1.5625e-7, .theta = 1e4, .rotary_fraction = 0.5,
     .attention_bias = true, .end_ids = {151329, 151336, 151338}},
};
enum { ROWS = sizeof rows / sizeof *rows };

const family *family_by_type(const char *type, const char *class)
{
    for (int i = 0; i < ROWS; i++) {
        if (type ? strcmp(rows[i].name, type) == 0 : class && strcmp(rows[i].class, class) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

const family *family_by_gguf(const char *text, size_t size)
{
    for (int i = 0; i < ROWS; i++) {
        if (rows[i].gguf && text_is(text, size, rows[i].gguf)) {
            return &rows[i];
        }
    }
    return NULL;
}

bool family_reads(const family *f, const char *field)
{
    for (int i = 0; i < FAMILY_FIELDS && f->reads[i]; i++) {
        if (strcmp(f->reads[i], field) == 0) {
            return true;
        }
    }
    return false;
}

/* --- others --- */

/* Published architectures that need what Lariat does not compute, by a part of their names ("model_type", class or GGUF's), in
   small letters without marks. The first row that matches says why. */
static const struct {
    const char *part, *needs, *nearest;
} others[] = {
    {"qwen3next", "gated delta nets and experts", "qwen3"},
    {"qwen35moe", "gated delta nets and experts", "qwen3"},
    {"qwen35", "gated delta nets", "qwen3"},
    {"gemma3n", "keys and values shared between layers", "qwen3"},
    {"gemma4", "keys and values shared between layers", "qwen3"},
    {"granitemoehybrid", "state-space layers and experts", "granite"},
    {"granitehybrid", "state-space layers", "granite"},
    {"granitemoe", "a mixture of experts", "granite"},
    {"glm4moe", "a mixture of experts", "glm4"},
    {"phimoe", "a mixture of experts", "phi3"},
    {"olmoe", "a mixture of experts", "olmo2"},
    {"moe", "a mixture of experts", "qwen3, dense"},
    {"mixtral", "a mixture of experts", "mistral without a window"},
    {"llama4", "a mixture of experts", "llama"},
    {"deepseek", "a mixture of experts", "qwen3, dense"},
    {"gptoss", "a mixture of experts", "qwen3, dense"},
    {"kimi", "a mixture of experts", "qwen3, dense"},
    {"minimax", "a mixture of experts", "qwen3, dense"},
    {"mamba", "state-space layers", "llama"},
    {"jamba", "state-space layers and experts", "llama"},
    {"falconh1", "state-space layers", "llama"},
    {"nemotronh", "state-space layers", "llama"},
    {"paligemma", "images", "gemma"},
    {"idefics", "images", "llama"},
    {"vision", "images", "the text model of the same name"},
    {"vl", "images", "qwen2 or qwen3, text only"},
    {"mllama", "images", "llama"},
    {"llava", "images", "llama"},
    {"ministral3", "queries scaled by position", "mistral without a window"},
    {"mistral3", "images (Hugging Face) or queries scaled by position (GGUF)", "mistral without a window"},
    {"pixtral", "images", "mistral without a window"},
    {"phi4mm", "images", "phi3 (Phi-4 mini)"},
    {"phi4multimodal", "images", "phi3 (Phi-4 mini)"},
    {"glm4v", "images", "glm4"},
    {"phi3v", "images", "phi3"},
    {"conditionalgeneration", "images or other inputs than text", "the text model of the same name"},
    {"gemma2", "sliding windows and soft caps", "gemma"},
    {"gemma3", "sliding windows", "gemma"},
    {"ministral", "sliding windows", "mistral without a window"},
    {"olmo3", "sliding windows", "olmo2"},
    {"cohere2", "sliding windows", "llama"},
};

/* The name in small letters without marks. */
static void simplify(const char *text, size_t size, char out[static 64])
{
    size_t n = 0;

    for (size_t i = 0; i < size && n < 63; i++) {
        char c = text[i];
        if (c >= 'A' && c <= 'Z') {
            c = (char)(c - 'A' + 'a');
        }
        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) {
            out[n++] = c;
        }
    }
    out[n] = '\0';
}

lariat_status family_refuse(const char *path, const char *architecture, size_t size)
{
    char name[64], known[256] = "";
    int shown = size < 64 ? (int)size : 64;

    simplify(architecture, size, name);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        if (strstr(name, others[i].part)) {
            return fail(LARIAT_UNSUPPORTED,
                        "%s: is of the architecture \"%.*s\", which needs %s: Lariat does not compute that, the nearest that "
                        "works is %s",
                        path, shown, architecture, others[i].needs, others[i].nearest);
        }
    }
    for (int i = 0, at = 0; i < ROWS && (size_t)at < sizeof known; i++) {
        at += snprintf(known + at, sizeof known - (size_t)at, "%s%s", i == 0 ? "" : i == ROWS - 1 ? " and " : ", ",
                       rows[i].name);
    }
    return fail(LARIAT_UNSUPPORTED, "%s: is of the architecture \"%.*s\"; Lariat computes %s: use such a model", path, shown,
                architecture, known);
}
