/* A reply of a batch for which memory is short ends alone: its line has an error, the others have what they have without it.
   Rests on the program's own files; tests/CMakeLists.txt wraps the functions that fail here when they are told to. */
#include "base/fail.h"
#include "cli/commands.h"
#include "cli/reply.h"
#include "support/reference.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { MOST = 7, PROMPT = 2 }; /* tokens of the reply that fails, and of its prompt */

static enum { NOTHING, SESSION, OPENING, TOKEN, END } failing;

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

static const char input[] = "batch_prompts.jsonl", output[] = "batch_results.jsonl";

/* The results of the input; *rc: the exit status. */
static json_t *results(const char *model, int *rc)
{
    const char *given[] = {"lariat", "generate", "-q", "-m", model, "--device", "cpu", "-t", "1", "--prompts", input,
                           "--resume", output};
    enum { N = sizeof given / sizeof *given };
    char *argv[N];
    options o;
    json_t *all = json_array();

    (void)remove(output);
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
    FILE *f = fopen(input, "w");
    int rc;

    (void)state;
    assert_non_null(model);
    assert_non_null(f);
    fprintf(f, "{\"tokens\": [1, 2], \"max_tokens\": 5}\n{\"tokens\": [3, 4], \"max_tokens\": %d, \"n\": 2}\n"
               "{\"tokens\": [5], \"max_tokens\": 6}\n", MOST);
    fclose(f);
    json_t *whole = results(model, &rc);
    assert_int_equal(rc, 0);
    assert_int_equal(json_array_size(whole), 3);
    for (failing = SESSION; failing <= END; failing++) {
        json_t *now = results(model, &rc), *failed = json_array_get(now, 1);
        assert_int_equal(rc, 1);
        assert_int_equal(json_array_size(now), 3);
        assert_true(json_equal(json_array_get(now, 0), json_array_get(whole, 0)));
        assert_true(json_equal(json_array_get(now, 2), json_array_get(whole, 2)));
        assert_non_null(strstr(json_string_value(json_object_get(failed, "error")), "no memory"));
        assert_null(json_object_get(failed, "choices"));
        json_decref(now);
    }
    failing = NOTHING;
    json_decref(whole);
    free(model);
    (void)remove(input);
    (void)remove(output);
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
