/* Rotary frequencies: equal, to two units in the last place, what Hugging Face's own functions computed for every type and
   option. Rests on model/config.h and tests/data/rope_cases.json. */
#include "model/config.h"
#include "support/scratch.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static float float_of(json_int_t bits)
{
    uint32_t u = (uint32_t)bits;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* The rest of a configuration, around what the case says of rotary positions. */
static json_t *whole_config(const json_t *part)
{
    json_t *c = json_pack("{ss si si si si si}", "model_type", "llama", "num_hidden_layers", 1, "hidden_size", 64,
                          "intermediate_size", 64, "vocab_size", 100, "num_attention_heads", 4);
    assert_non_null(c);
    assert_int_equal(json_object_update(c, (json_t *)(uintptr_t)part), 0);
    return c;
}

static void frequencies_equal_hugging_face_s(void **state)
{
    json_t *all = NULL;
    size_t i;
    json_t *one;

    (void)state;
    assert_accepted(json_read_file(TEST_DATA "/rope_cases.json", 1 << 20, &all));
    json_array_foreach(json_object_get(all, "cases"), i, one)
    {
        json_t *config = whole_config(json_object_get(one, "config"));
        const json_t *wanted = json_object_get(one, "inv_freq");
        model_config c;
        assert_accepted(config_from_json("config.json", config, "", NULL, &c));
        assert_int_equal(json_array_size(wanted), c.head_dim / 2);
        for (int32_t d = 0; d < c.head_dim / 2; d++) {
            float w = float_of(json_integer_value(json_array_get(wanted, (size_t)d)));
            if (fabsf(c.inv_freq[d] - w) > 2 * (nextafterf(w, 1) - w)) {
                fail_msg("case %zu, dimension %d: %.9g, wanted %.9g", i, d, (double)c.inv_freq[d], (double)w);
            }
        }
        assert_true((double)fabsf(c.rope_factor - (float)json_number_value(json_object_get(one, "factor"))) <= 1e-7);
        assert_int_equal(c.rope, ROPE_HALVES);
        json_decref(config);
    }
    assert_true(i > 40);
    json_decref(all);
}

static void refuses(const char *part, lariat_status code, const char *reason)
{
    json_t *rope = json_loads(part, 0, NULL);
    assert_non_null(rope);
    json_t *config = whole_config(rope);
    model_config c;
    assert_refused(config_from_json("config.json", config, "", NULL, &c), code, reason);
    json_decref(config);
    json_decref(rope);
}

static void unknown_types_and_senseless_parameters_are_refused_by_name(void **state)
{
    (void)state;
    refuses("{\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2}}", LARIAT_UNSUPPORTED, "the rotary type \"dynamic\"");
    refuses("{\"rope_scaling\":{\"rope_type\":\"longrope\",\"short_factor\":[1]}}", LARIAT_BAD_MODEL,
            "rotary type longrope wants short_factor and long_factor");
    refuses("{\"rope_parameters\":{\"rope_type\":\"default\",\"mrope_section\":[1]}}", LARIAT_UNSUPPORTED,
            "rope_parameters: mrope_section");
    refuses("{\"rope_parameters\":{\"full_attention\":{\"rope_type\":\"default\"}}}", LARIAT_UNSUPPORTED,
            "rope_parameters: full_attention");
    refuses("{\"rope_parameters\":{\"rope_type\":\"default\",\"partial_rotary_factor\":0.5}}", LARIAT_UNSUPPORTED,
            "partial_rotary_factor");
    refuses("{\"rope_scaling\":{\"type\":\"linear\"}}", LARIAT_BAD_MODEL, "positive \"factor\"");
    refuses("{\"rope_scaling\":{\"type\":\"linear\",\"factor\":-1}}", LARIAT_BAD_MODEL, "positive \"factor\"");
    refuses("{\"rope_scaling\":{\"type\":\"linear\",\"factor\":\"2\"}}", LARIAT_BAD_MODEL, "\"factor\" is not a number");
    refuses("{\"rope_scaling\":{\"type\":\"linear\",\"factor\":1e-320}}", LARIAT_BAD_MODEL, "not finite");
    refuses("{\"rope_scaling\":{\"type\":\"llama3\",\"factor\":8}}", LARIAT_BAD_MODEL, "rotary type llama3 wants");
    refuses("{\"rope_scaling\":{\"type\":\"llama3\",\"factor\":8,\"low_freq_factor\":4,\"high_freq_factor\":1}}",
            LARIAT_BAD_MODEL, "llama3 wants");
    refuses("{\"rope_theta\":1,\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4}}", LARIAT_BAD_MODEL, "rotary type yarn wants");
    refuses("{\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4,\"beta_fast\":-1}}", LARIAT_BAD_MODEL, "rotary type yarn wants");
    refuses("{\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4,\"attention_factor\":0}}", LARIAT_BAD_MODEL, "not finite");
    refuses("{\"rope_scaling\":[]}", LARIAT_BAD_MODEL, "\"rope_scaling\" is not an object");
    refuses("{\"rope_theta\":0}", LARIAT_BAD_MODEL, "rope_theta is 0");
    refuses("{\"rope_theta\":-5}", LARIAT_BAD_MODEL, "rope_theta is -5");
    refuses("{\"rope_scaling\":{\"type\":\"linear\",\"factor\":2},\"rope_parameters\":{\"rope_type\":\"default\"}}",
            LARIAT_BAD_MODEL, "contradict each other");
    refuses("{\"rope_theta\":5,\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":7}}", LARIAT_BAD_MODEL,
            "\"rope_theta\" is 5, but 7 inside the rotary settings");
}

/* Hugging Face's classes take null for a field that is absent. */
static void a_theta_of_null_is_absent(void **state)
{
    static const char *const same[] = {
        "{\"rope_theta\":7}",
        "{\"rope_theta\":null,\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":7}}",
        "{\"rope_theta\":7,\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":null}}",
    };
    float second = 0;

    (void)state;
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        json_t *rope = json_loads(same[i], 0, NULL), *config = whole_config(rope);
        model_config c;
        assert_accepted(config_from_json("config.json", config, "", NULL, &c));
        second = i ? second : c.inv_freq[1];
        assert_true(c.inv_freq[1] == second);
        json_decref(config);
        json_decref(rope);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frequencies_equal_hugging_face_s),
        cmocka_unit_test(unknown_types_and_senseless_parameters_are_refused_by_name),
        cmocka_unit_test(a_theta_of_null_is_absent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
