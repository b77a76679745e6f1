/* Reading requests: what each parameter sets, and what is left as it was.
   Rests on schedule/request.h. batch.sh has what is refused, and what the parameters do. */
#include "schedule/request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static bool read_text(request *r, const char *text, char *why)
{
    json_t *object = json_loads(text, JSON_ALLOW_NUL, NULL);

    assert_non_null(object);
    bool read = request_read(r, object, why);
    json_decref(object);
    return read;
}

static request defaults(void)
{
    request r;

    request_init(&r);
    r.most = 100;
    r.sampling.temperature = 0.5f;
    assert_true(request_add_stop(&r, "end", 3));
    assert_true(request_add_bias(&r, 7, 1.5f));
    return r;
}

static void what_is_not_named_stays(void **state)
{
    (void)state;
    request from = defaults(), r;
    char why[REQUEST_WHY];

    assert_true(request_copy(&r, &from));
    request_free(&from);
    assert_true(read_text(&r, "{\"max_tokens\": null, \"stop\": null, \"logit_bias\": null, \"stream\": null}", why));
    assert_int_equal(r.most, 100);
    assert_true(r.sampling.temperature == 0.5f);
    assert_int_equal(r.n_stops, 1);
    assert_memory_equal(r.stops[0].bytes, "end", 3);
    assert_int_equal(r.sampling.n_bias, 1);
    assert_int_equal(r.sampling.bias[0].token, 7);
    assert_false(r.seeded);
    assert_int_equal(request_n_top(&r), 0);
    request_free(&r);
}

static void what_is_named_replaces_it(void **state)
{
    (void)state;
    request r = defaults();
    char why[REQUEST_WHY];

    assert_true(read_text(&r,
                          "{\"max_tokens\": 3, \"temperature\": 2, \"top_k\": -1, \"top_p\": 0.25, \"min_p\": 0.5,"
                          " \"seed\": -1, \"n\": 4, \"stop\": [\"a\\u0000b\", \"c\"],"
                          " \"presence_penalty\": 1, \"frequency_penalty\": -2,"
                          " \"repeat_penalty\": 1.25, \"logit_bias\": {\"0\": -100, \"12\": 0.5}, \"logprobs\": true,"
                          " \"top_logprobs\": 5}",
                          why));
    assert_int_equal(r.most, 3);
    assert_true(r.sampling.temperature == 2 && r.sampling.top_p == 0.25f && r.sampling.min_p == 0.5f);
    assert_int_equal(r.sampling.top_k, 0);
    assert_true(r.seeded && r.sampling.seed == UINT64_MAX);
    assert_int_equal(r.samples, 4);
    assert_int_equal(r.n_stops, 2);
    assert_int_equal(r.stops[0].size, 3);
    assert_memory_equal(r.stops[0].bytes, "a\0b", 3);
    assert_true(r.sampling.presence == 1 && r.sampling.frequency == -2 && r.sampling.repeat == 1.25f);
    assert_int_equal(r.sampling.n_bias, 2);
    assert_true(r.sampling.bias[1].token == 12 && r.sampling.bias[1].bias == 0.5f);
    assert_int_equal(r.logprobs, 5);
    assert_true(request_is_read_by_host(&r));
    assert_true(read_text(&r, "{\"stop\": [], \"logit_bias\": {}, \"logprobs\": 0}", why));
    assert_int_equal(r.n_stops, 0);
    assert_int_equal(r.sampling.n_bias, 0);
    assert_int_equal(r.logprobs, 0);
    assert_int_equal(request_n_top(&r), 1);
    request_free(&r);
}

static void whole_numbers_are_so_however_they_are_written(void **state)
{
    (void)state;
    request r;
    char why[REQUEST_WHY];

    request_init(&r);
    assert_true(read_text(&r, "{\"max_tokens\": 1e3, \"seed\": 1e18}", why));
    assert_int_equal(r.most, 1000);
    assert_true(r.sampling.seed == 1000000000000000000);
    assert_false(read_text(&r, "{\"max_tokens\": 1e30}", why));
    assert_non_null(strstr(why, "\"max_tokens\" is out of range"));
    assert_false(read_text(&r, "{\"seed\": -1e19}", why));
    assert_non_null(strstr(why, "\"seed\" is out of range"));
    assert_false(read_text(&r, "{\"max_tokens\": 0.5}", why));
    assert_non_null(strstr(why, "\"max_tokens\" is not a whole number"));
    assert_false(read_text(&r, "{\"max_tokens\": \"5\"}", why));
    assert_non_null(strstr(why, "\"max_tokens\" is not a whole number"));
    request_free(&r);
}

static void keys_are_known_by_name(void **state)
{
    (void)state;
    assert_int_equal(request_knows("max_tokens"), REQUEST_READ);
    assert_int_equal(request_knows("top_k"), REQUEST_READ);
    assert_int_equal(request_knows("stream"), REQUEST_READ);
    assert_int_equal(request_knows("user"), REQUEST_IGNORED);
    assert_int_equal(request_knows("mine"), REQUEST_OTHER);
}

static void samples_have_seeds_of_their_own(void **state)
{
    (void)state;
    request r;

    request_init(&r);
    r.sampling.seed = 5;
    assert_true(request_seed(&r, 0) == 5);
    assert_true(request_seed(&r, 1) != request_seed(&r, 2));
    request_free(&r);
}

/* OpenAI's default is "none" without tools, "auto" with them. */
static void tool_choice_may_be_what_it_is_by_default(void **state)
{
    static const struct {
        const char *text;
        bool good;
    } cases[] = {
        {"{\"tool_choice\": \"none\"}", true},
        {"{\"tool_choice\": \"none\", \"tools\": []}", true},
        {"{\"tool_choice\": \"none\", \"tools\": null, \"chat_template_kwargs\": {}}", true},
        {"{\"tool_choice\": \"auto\", \"tools\": [{}]}", true},
        {"{\"tool_choice\": \"none\", \"tools\": [{}]}", false},
        {"{\"tool_choice\": \"none\", \"tools\": {}}", false},
        {"{\"tool_choice\": \"none\", \"chat_template_kwargs\": {\"tools\": [{}]}}", false},
        {"{\"tool_choice\": \"required\"}", false},
        {"{\"stream\": \"none\"}", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        request r = defaults();
        char why[REQUEST_WHY];
        assert_int_equal(read_text(&r, cases[i].text, why), cases[i].good);
        request_free(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tool_choice_may_be_what_it_is_by_default),
        cmocka_unit_test(what_is_not_named_stays),
        cmocka_unit_test(what_is_named_replaces_it),
        cmocka_unit_test(whole_numbers_are_so_however_they_are_written),
        cmocka_unit_test(keys_are_known_by_name),
        cmocka_unit_test(samples_have_seeds_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
