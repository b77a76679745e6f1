/* The program reads ill-formed UTF-8 as the library does.
   Rests on cli/json_text.h and lariat_message_add. */
#include "cli/json_text.h"
#include "lariat/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void must_be(const char *bytes, size_t size, const char *wanted)
{
    json_t *made = json_from_bytes(bytes, size);

    assert_non_null(made);
    assert_string_equal(json_string_value(made), wanted);
    json_decref(made);
}

/* Tables 3-8 to 3-11 of the Unicode standard: what each sequence becomes. */
static void a_maximal_ill_formed_part_is_one_replacement(void **state)
{
    (void)state;
    must_be("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82" "A", 9, "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDA");
    must_be("\xED\xA0\x80\xED\xBF\xBF\xED\xAF" "A", 9, "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDA");
    must_be("\xF4\x91\x92\x93\xFF" "A\x80\xBF" "B", 9, "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDA\uFFFD\uFFFDB");
    must_be("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF" "A", 9, "\uFFFD\uFFFD\uFFFD\uFFFDA");
    must_be("a\xE2\x82", 3, "a\uFFFD");
}

/* Every sequence of four of the bytes at which UTF-8 decides. */
static void bytes_are_read_as_by_the_library(void **state)
{
    static const char edges[] = "A\x80\x8F\x90\x9F\xA0\xBF\xC1\xC2\xE0\xED\xEF\xF0\xF4\xF5";
    enum { N = sizeof edges - 1 };

    (void)state;
    for (int i = 0; i < N * N * N * N; i++) {
        char bytes[] = {edges[i % N], edges[i / N % N], edges[i / N / N % N], edges[i / N / N / N]}, *messages = NULL;
        assert_int_equal(lariat_message_add(&messages, "user", bytes, sizeof bytes), LARIAT_OK);
        json_t *list = json_loads(messages, 0, NULL);
        must_be(bytes, sizeof bytes, json_string_value(json_object_get(json_array_get(list, 0), "content")));
        json_decref(list);
        lariat_free(messages);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_maximal_ill_formed_part_is_one_replacement),
        cmocka_unit_test(bytes_are_read_as_by_the_library),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
