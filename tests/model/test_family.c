/* The rows of the family: what a config.json means that leaves fields out is what Hugging Face's own class makes of it.
   Rests on model/config.h, model/weights.h and tests/data/family_defaults.json. */
#include "model/config.h"
#include "model/weights.h"
#include "support/scratch.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static json_int_t integer(const json_t *o, const char *field)
{
    const json_t *v = json_object_get(o, field);
    return json_is_integer(v) ? json_integer_value(v) : json_is_true(v) ? 1 : json_is_false(v) ? 0 : -1;
}

static double number(const json_t *o, const char *field)
{
    return json_number_value(json_object_get(o, field));
}

/* To two units in the last place of float32. */
static bool near(double is, double wanted)
{
    return fabs(is - wanted) <= 2.4e-7 * fabs(wanted);
}

/* The first number or flag that differs; NULL: none. */
static const char *different_number(const model_config *c, const json_t *e)
{
    const json_t *biases = json_object_get(e, "biases"), *freq = json_object_get(e, "freq");
    const bool ours[] = {c->qkv_bias, c->o_bias, c->mlp_bias};

    for (size_t i = 0; i < 3; i++) {
        if (ours[i] != json_is_true(json_array_get(biases, i))) {
            return "biases";
        }
    }
    return c->n_kv_heads != integer(e, "num_key_value_heads")                             ? "num_key_value_heads"
           : c->head_dim != integer(e, "head_dim")                                        ? "head_dim"
           : c->trained_context != integer(e, "context")                                  ? "context"
           : !near((double)c->rms_eps, number(e, "eps"))                                  ? "eps"
           : !near((double)c->attention_scale, number(e, "scale"))                        ? "scale"
           : c->tied_head != integer(e, "tied")                                           ? "tied"
           : c->bos_id != integer(e, "bos")                                               ? "bos"
           : c->window != integer(e, "window")                                            ? "window"
           : c->rotary_dims != integer(e, "rotary_dims")                                  ? "rotary_dims"
           : c->long_from != integer(e, "long_from")                                      ? "long_from"
           : !near((double)c->rope_factor, number(e, "factor"))                           ? "factor"
           : !near((double)c->inv_freq[1], json_number_value(json_array_get(freq, 0)))    ? "freq"
           : !near((double)c->inv_freq[c->rotary_dims / 2 - 1], json_number_value(json_array_get(freq, 1))) ? "freq"
                                                                                          : NULL;
}

/* The first list or name that differs; NULL: none. */
static const char *different_list(const model_config *c, const json_t *e)
{
    const json_t *ends = json_object_get(e, "ends"), *rotated = json_object_get(e, "rotated");
    const char *act = json_string_value(json_object_get(e, "activation"));
    bool gelu = strcmp(act, "gelu_pytorch_tanh") == 0;

    if (json_array_size(ends) != (size_t)c->n_end_ids || gelu != (c->family->activation == ACTIVATION_GELU_TANH)) {
        return gelu ? "activation" : "ends";
    }
    for (size_t i = 0; i < json_array_size(ends); i++) {
        if (json_integer_value(json_array_get(ends, i)) != c->end_ids[i]) {
            return "ends";
        }
    }
    for (size_t l = 0; l < json_array_size(rotated); l++) {
        if (json_is_true(json_array_get(rotated, l)) == c->no_rope[l]) {
            return "rotated";
        }
    }
    size_t n = 0; /* norms of a layer: each that the row has is one of the class, and there are no others */
    for (role r = ATTN_NORM; r <= K_NORM; r++) {
        bool found = false;
        const json_t *norms = json_object_get(e, "norms");
        char name[64];
        snprintf(name, sizeof name, "%s.weight", c->family->names->role[r] ? c->family->names->role[r] : "");
        for (size_t i = 0; i < json_array_size(norms); i++) {
            found = found || strcmp(json_string_value(json_array_get(norms, i)), name) == 0;
        }
        if (layer_norm_size(c, r) && !found) {
            return "norms";
        }
        n += layer_norm_size(c, r) != 0;
    }
    return n == json_array_size(json_object_get(e, "norms")) ? NULL : "norms";
}

static void fields_that_are_left_out_have_the_values_of_the_classes(void **state)
{
    json_t *all = NULL, *one;
    size_t i, accepted = 0;

    (void)state;
    assert_accepted(json_read_file(TEST_DATA "/family_defaults.json", 1 << 20, &all));
    json_array_foreach(json_object_get(all, "cases"), i, one)
    {
        const json_t *e = json_object_get(one, "expected"), *config = json_object_get(one, "config");
        json_int_t window = integer(e, "window");
        model_config c;
        bool ours = config_from_json("config.json", config, "", NULL, &c) == LARIAT_OK;
        if (json_object_get(e, "error")) {
            continue; /* the class refuses it: nothing to agree with */
        }
        bool plain = json_object_size(config) == 6 && (window == 0 || window >= integer(e, "context"));
        if (!ours && plain) {
            fail_msg("case %zu: %s", i, lariat_error());
        }
        accepted += ours; /* fields that the class does not read are refused, with windows */
        const char *field = !ours ? NULL : different_number(&c, e) ? different_number(&c, e) : different_list(&c, e);
        if (field) {
            fail_msg("case %zu, a %s model: \"%s\" is not that of the class", i, c.family->name, field);
        }
    }
    assert_true(accepted > 50);
    json_decref(all);
}

/* Is the first word behind "works is" a member's name? */
static bool names_a_member(const char *message)
{
    const char *at = strstr(message, "the nearest that works is ");
    char word[64] = "";

    if (at) {
        at += strlen("the nearest that works is ");
        snprintf(word, sizeof word, "%.*s", (int)strcspn(at, " ,"), at);
    }
    return at && (strcmp(at, "the text model of the same name") == 0 || family_by_type(word, NULL));
}

/* Names as models are published with: "model_type", class and general.architecture. */
static void a_refused_architecture_says_what_it_needs_and_names_a_member(void **state)
{
    static const struct {
        const char *name, *needs;
    } rows[] = {
        {"qwen3_next", "gated delta nets and experts"}, {"Qwen3NextForCausalLM", "gated delta nets and experts"},
        {"qwen3next", "gated delta nets and experts"}, {"qwen35", "gated delta nets"}, {"qwen3_moe", "a mixture of experts"},
        {"Qwen2MoeForCausalLM", "a mixture of experts"}, {"MixtralForCausalLM", "a mixture of experts"},
        {"llama4_text", "a mixture of experts"}, {"llama4", "a mixture of experts"}, {"deepseek_v3", "a mixture of experts"},
        {"deepseek2", "a mixture of experts"}, {"gpt_oss", "a mixture of experts"}, {"gpt-oss", "a mixture of experts"},
        {"granitehybrid", "state-space layers"}, {"granitemoehybrid", "state-space layers and experts"},
        {"qwen3_5_moe", "gated delta nets and experts"}, {"GraniteMoeForCausalLM", "a mixture of experts"},
        {"granite4_vision", "images"}, {"falcon-h1", "state-space layers"},
        {"qwen2_5_vl", "images"}, {"qwen3vl", "images"}, {"mllama", "images"},
        {"LlavaForConditionalGeneration", "images"}, {"phi4mm", "images"}, {"phi3_v", "images"},
        {"mistral3", "images (Hugging Face) or queries scaled by position (GGUF)"}, {"glm4v", "images"},
        {"gemma3n_text", "keys and values shared between layers"}, {"gemma2", "sliding windows and soft caps"},
        {"Gemma3ForCausalLM", "sliding windows"}, {"Gemma3ForConditionalGeneration", "images"},
        {"Ministral3ForCausalLM", "queries scaled by position"},
        {"ministral", "sliding windows"}, {"olmo3", "sliding windows"}, {"Cohere2ForCausalLM", "sliding windows"},
    };
    char wanted[256];

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *name = rows[i].name;
        snprintf(wanted, sizeof wanted, "m: is of the architecture \"%s\", which needs %s", name, rows[i].needs);
        assert_refused(family_refuse("m", name, strlen(name)), LARIAT_UNSUPPORTED, wanted);
        if (!names_a_member(lariat_error())) {
            fail_msg("%s: no member is named: %s", name, lariat_error());
        }
        assert_null(family_by_type(name, name));
        assert_null(family_by_gguf(name, strlen(name)));
    }
}

static void an_unknown_architecture_is_refused_with_all_members(void **state)
{
    char name[200];

    (void)state;
    assert_refused(family_refuse("m", "falcon and more", 6), LARIAT_UNSUPPORTED,
                   "m: is of the architecture \"falcon\"; Lariat computes llama, ");
    for (const char *at = strstr(lariat_error(), "computes ") + strlen("computes "); *at && *at != ':';) {
        snprintf(name, sizeof name, "%.*s", (int)strcspn(at, " ,:"), at);
        assert_true(family_by_type(name, NULL) || strcmp(name, "and") == 0);
        at += strlen(name);
        at += strspn(at, " ,");
    }
    assert_non_null(strstr(lariat_error(), ": use such a model"));
    memset(name, 'x', sizeof name); /* without an end, and longer than a message shows */
    assert_refused(family_refuse("m", name, sizeof name), LARIAT_UNSUPPORTED, "xx\"; Lariat computes llama");
    assert_true(strspn(strchr(lariat_error(), '"') + 1, "x") == 64);
    assert_refused(family_refuse("m", "", 0), LARIAT_UNSUPPORTED, "architecture \"\"; Lariat computes llama");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_that_are_left_out_have_the_values_of_the_classes),
        cmocka_unit_test(a_refused_architecture_says_what_it_needs_and_names_a_member),
        cmocka_unit_test(an_unknown_architecture_is_refused_with_all_members),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
