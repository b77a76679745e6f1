/* A tokenizer with thousands of added tokens, listed in both of its files, is read with work in proportion to their number:
   calls of memcmp, bcmp and strcmp are counted. Rests on lariat/text.h. */
#include "lariat/text.h"
#include "support/scratch.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int64_t comparisons;

int __real_memcmp(const void *a, const void *b, size_t size);
int __wrap_memcmp(const void *a, const void *b, size_t size);
int __real_bcmp(const void *a, const void *b, size_t size);
int __wrap_bcmp(const void *a, const void *b, size_t size);

int __wrap_memcmp(const void *a, const void *b, size_t size)
{
    comparisons++;
    return __real_memcmp(a, b, size);
}

int __wrap_bcmp(const void *a, const void *b, size_t size)
{
    comparisons++;
    return __real_bcmp(a, b, size);
}

int __real_strcmp(const char *a, const char *b);
int __wrap_strcmp(const char *a, const char *b);

int __wrap_strcmp(const char *a, const char *b)
{
    comparisons++;
    return __real_strcmp(a, b);
}

enum { WORDS = 7, MANY = 6000 };
static const char flags[] = "\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":true";

static void put(bytes *b, const char *text)
{
    bytes_put(b, text, strlen(text));
}

/* Both lists of added tokens, of the first `n_json` in tokenizer.json, `times` over, and of `n_config` in
   tokenizer_config.json. */
static void write_tokenizer(int n_json, int times, int n_config)
{
    bytes json = { 0 }, config = { 0 };
    char line[256];

    put(&json, "{\"added_tokens\":[");
    for (int k = 0; k < n_json * times; k++) {
        int i = k % n_json;
        snprintf(line, sizeof line, "%s{\"id\":%d,\"content\":\"<added_%06d>\",%s}", k ? "," : "", WORDS + i, i, flags);
        put(&json, line);
    }
    put(&json, "],\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},\"model\":{\"type\":\"BPE\",\"vocab\":"
               "{\"a\":0,\"b\":1,\"c\":2,\"d\":3,\"e\":4,\"f\":5,\"ab\":6},\"merges\":[[\"a\",\"b\"]]}}");
    put(&config, "{\"added_tokens_decoder\":{");
    for (int i = 0; i < n_config; i++) {
        snprintf(line, sizeof line, "%s\"%d\":{\"content\":\"<added_%06d>\",%s}", i ? "," : "", WORDS + i, i, flags);
        put(&config, line);
    }
    put(&config, "}}");
    scratch_write("many/tokenizer.json", json.data, json.size);
    scratch_write("many/tokenizer_config.json", config.data, config.size);
    bytes_free(&json);
    bytes_free(&config);
}

static void opens_and_finds(int n)
{
    char *folder = scratch_path("many"), text[64];
    lariat_tokenizer *t;
    int32_t *ids;
    int64_t count;

    assert_accepted(lariat_tokenizer_open(folder, &t));
    assert_int_equal(lariat_tokenizer_size(t), WORDS + n);
    snprintf(text, sizeof text, "ab<added_%06d>c", n - 1);
    assert_accepted(lariat_encode(t, text, strlen(text), LARIAT_ENCODE_SPECIAL, &ids, &count));
    assert_int_equal(count, 3);
    assert_int_equal(ids[0], 6);
    assert_int_equal(ids[1], WORDS + n - 1);
    assert_int_equal(ids[2], 2);
    lariat_free(ids);
    lariat_tokenizer_close(t);
    free(folder);
}

/* Sorting them takes some 13 comparisons a token, and each is looked for a few times. */
static void work_grows_with_the_number_of_added_tokens(void **state)
{
    (void)state;
    write_tokenizer(MANY, 1, MANY);
    comparisons = 0;
    opens_and_finds(MANY);
    assert_true(comparisons > MANY);
    assert_true(comparisons < 100 * (int64_t)MANY);
}

/* Those that only the second file has, past the first file's, are looked for among all tokens. */
static void so_it_does_where_one_file_adds_to_the_other(void **state)
{
    (void)state;
    write_tokenizer(MANY / 2, 1, MANY);
    comparisons = 0;
    opens_and_finds(MANY);
    assert_true(comparisons < 100 * (int64_t)MANY);
}

static void so_it_does_where_a_file_lists_every_token_twice(void **state)
{
    (void)state;
    write_tokenizer(MANY, 2, 0);
    comparisons = 0;
    opens_and_finds(MANY);
    assert_true(comparisons < 100 * (int64_t)MANY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(work_grows_with_the_number_of_added_tokens),
        cmocka_unit_test(so_it_does_where_one_file_adds_to_the_other),
        cmocka_unit_test(so_it_does_where_a_file_lists_every_token_twice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
