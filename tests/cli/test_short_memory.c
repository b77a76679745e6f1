/* A reply of a batch for which memory is short ends alone: its line has an error, the others have what they have without it.
   Another run makes that line again.
   Rests on the program's own files; tests/CMakeLists.txt wraps the functions that fail here when they are told to. */
#include "base/fail.h"
#include "cli/commands.h"
#include "cli/reply.h"
#include "support/reference.h"
#include "support/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    MOST = 7, PROMPT = 2, /* tokens of the reply that fails, and of its prompt */
    SAMPLES = 80          /* more than can begin before the first one fails */
};

typedef enum { NOTHING, SESSION, OPENING, TOKEN, END } failure;
static failure failing;
static int opened; /* replies */

/* cmocka has a macro `fail` too. */
static lariat_status no_memory(const char *who)
{
    give_reason("%s: no memory", who);
    return failed_with(LARIAT_NO_MEMORY);
}

static bool is_that(const request *asked)
{
    return asked->most == MOST;
}

lariat_status __real_lariat_session_open(lariat_engine *e, int64_t capacity, lariat_session **out);
lariat_status __wrap_lariat_session_open(lariat_engine *e, int64_t capacity, lariat_session **out);
lariat_status __wrap_lariat_session_open(lariat_engine *e, int64_t capacity, lariat_session **out)
{
    return failing == SESSION && capacity == PROMPT + MOST ? no_memory("session")
                                                           : __real_lariat_session_open(e, capacity, out);
}

lariat_status __real_reply_open(reply *r, invocation *inv, const request *asked, int32_t sample, lariat_session *session,
                                int64_t capacity, bool shown);
lariat_status __wrap_reply_open(reply *r, invocation *inv, const request *asked, int32_t sample, lariat_session *session,
                                int64_t capacity, bool shown);
lariat_status __wrap_reply_open(reply *r, invocation *inv, const request *asked, int32_t sample, lariat_session *session,
                                int64_t capacity, bool shown)
{
    opened++;
    if (failing == OPENING && is_that(asked)) {
        *r = (reply){0};
        return no_memory("sampler");
    }
    return __real_reply_open(r, inv, asked, sample, session, capacity, shown);
}

int __real_reply_take(reply *r, int32_t id, float logprob, const lariat_top *top);
int __wrap_reply_take(reply *r, int32_t id, float logprob, const lariat_top *top);
int __wrap_reply_take(reply *r, int32_t id, float logprob, const lariat_top *top)
{
    return failing == TOKEN && is_that(r->asked) && r->n == 2 ? 1 : __real_reply_take(r, id, logprob, top);
}

int __real_reply_end(reply *r);
int __wrap_reply_end(reply *r);
int __wrap_reply_end(reply *r)
{
    return failing == END && is_that(r->asked) ? 1 : __real_reply_end(r);
}

static char *input, *output;

static json_t *code_of(const json_t *result)
{
    const json_t *error = json_object_get(result, "error");

    return json_object_get(json_is_object(error) ? error : result, "code");
}

/* The results of the input, with those that are there already; *rc: the exit status. */
static json_t *results(const char *model, int *rc)
{
    const char *given[] = {"lariat", "generate", "-q", "-m", model, "--device", "cpu", "-t", "1", "--prompts", input,
                           "--resume", output};
    enum { N = sizeof given / sizeof *given };
    char *argv[N];
    options o;
    json_t *all = json_array();

    opened = 0;
    for (int i = 0; i < N; i++) {
        argv[i] = strdup(given[i]);
    }
    assert_int_equal(options_parse(N, argv, &o), 0);
    *rc = command_generate(&o);
    for (int i = 0; i < N; i++) {
        free(argv[i]);
    }
    FILE *f = fopen(output, "r");
    assert_non_null(f);
    for (json_t *line; (line = json_loadf(f, JSON_DISABLE_EOF_CHECK, NULL)) != NULL;) {
        json_array_append_new(all, line);
    }
    fclose(f);
    return all;
}

static void a_reply_without_memory_ends_alone(void **state)
{
    char *model = reference_path("reference/models/mha-bf16");
    int rc;

    (void)state;
    input = scratch_path("prompts");
    output = scratch_path("results");
    assert_non_null(model);
    FILE *f = fopen(input, "w");
    assert_non_null(f);
    fprintf(f, "{\"tokens\": [1, 2], \"max_tokens\": 5}\n{\"tokens\": [3, 4], \"max_tokens\": %d, \"n\": %d}\n"
               "{\"tokens\": [5], \"max_tokens\": 6}\n"
               "{\"custom_id\": \"d\", \"body\": {\"prompt\": [6, 7], \"max_tokens\": %d}}\n{\"id\": 9}\n",
            MOST, SAMPLES, MOST);
    fclose(f);
    json_t *whole = results(model, &rc);
    assert_int_equal(rc, 1); /* of the last line */
    assert_int_equal(json_array_size(whole), 5);
    for (failing = SESSION; failing <= END; failing++) {
        (void)remove(output);
        json_t *now = results(model, &rc), *failed = json_array_get(now, 1), *other = json_array_get(now, 3);
        assert_int_equal(rc, 1);
        assert_int_equal(json_array_size(now), 5);
        assert_true(json_equal(json_array_get(now, 0), json_array_get(whole, 0)));
        assert_true(json_equal(json_array_get(now, 2), json_array_get(whole, 2)));
        assert_true(json_equal(json_array_get(now, 4), json_array_get(whole, 4)));
        assert_non_null(strstr(json_string_value(json_object_get(failed, "error")), "no memory"));
        assert_null(json_object_get(failed, "choices"));
        assert_string_equal(json_string_value(code_of(failed)), "server_error");
        assert_string_equal(json_string_value(code_of(other)), "server_error");
        assert_null(code_of(json_array_get(now, 4)));
        assert_in_range(opened, 4, SAMPLES);
        json_decref(now);
        /* With memory, the lines that had none are made again, and no others. */
        failure was = failing;
        failing = NOTHING;
        now = results(model, &rc);
        assert_int_equal(rc, 1);
        assert_int_equal(json_array_size(now), 5);
        assert_int_equal(opened, SAMPLES + 1);
        for (size_t i = 0; i < 5; i++) {
            assert_true(i == 3 || json_equal(json_array_get(now, i), json_array_get(whole, i)));
        }
        assert_true(json_is_object(json_object_get(json_array_get(now, 3), "response")));
        json_decref(now);
        failing = was;
    }
    failing = NOTHING;
    json_decref(whole);
    free(model);
    free(input);
    free(output);
}

int main(void)
{
    if (!reference_models_found()) {
        return TEST_SKIPPED;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reply_without_memory_ends_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
