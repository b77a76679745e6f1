/* UTF-8: every code point comes back, and ill-formed bytes are cut as the Unicode standard's tables of examples (3-8 to 3-11)
   cut them. Rests on text/utf8.c. */
#include "text/unicode_forms.h"
#include "text/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Writes a character (or a surrogate as if it were one), returns its bytes. */
static int encode(int32_t code, char out[UTF8_MAX])
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xC0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xE0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3F));
        out[2] = (char)(0x80 | (code & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3F));
    out[2] = (char)(0x80 | (code >> 6 & 0x3F));
    out[3] = (char)(0x80 | (code & 0x3F));
    return 4;
}

static void every_code_point_comes_back(void **state)
{
    (void)state;
    for (int32_t code = 0; code < 0x110000; code++) {
        char bytes[UTF8_MAX];
        int n = encode(code, bytes), length = 0;
        bool surrogate = code >= 0xD800 && code < 0xE000;
        assert_int_equal(utf8_valid(bytes, (size_t)n), !surrogate);
        if (surrogate) {
            continue;
        }
        assert_int_equal(utf8_decode(bytes, (size_t)n, &length), code);
        assert_int_equal(length, n);
        assert_int_equal(utf8_length(bytes), n);
        for (int cut = 1; cut < n; cut++) {
            assert_int_equal(utf8_decode(bytes, (size_t)cut, &length), UTF8_PARTIAL);
            assert_int_equal(length, cut);
        }
    }
}

static void reads_as(const char *bytes, size_t size, const char *wanted)
{
    buffer out = { 0 };

    assert_int_equal(utf8_append_lossy(&out, bytes, size), LARIAT_OK);
    assert_int_equal(out.size, strlen(wanted));
    assert_memory_equal(out.data, wanted, out.size);
    buffer_free(&out);
}

#define R UTF8_REPLACEMENT

static void maximal_subparts_of_the_standards_examples_become_one_replacement_each(void **state)
{
    (void)state;
    reads_as("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", 9, R R R R R R R R "A");
    reads_as("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", 9, R R R R R R R R "A");
    reads_as("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", 9, R R R R R "A" R R "B");
    reads_as("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", 9, R R R R "A");
    reads_as("a\xF0\x9F\x98", 4, "a" R);
}

/* A million marks, each pair out of order: those below come first. Exchanges of neighbours would take hours. */
static void long_runs_of_marks_are_ordered(void **state)
{
    enum { PAIRS = 500000 };
    char *text = malloc(4 * PAIRS + 1);
    buffer out = { 0 };

    (void)state;
    assert_non_null(text);
    text[0] = 'a';
    for (int i = 0; i < PAIRS; i++) {
        memcpy(text + 1 + 4 * (size_t)i, "\xCC\x81\xCC\x96", 4); /* U+0301, U+0316 */
    }
    assert_int_equal(append_form(&out, text, 4 * PAIRS + 1, FORM_NFD), LARIAT_OK);
    assert_int_equal(out.size, 4 * PAIRS + 1);
    assert_int_equal(out.data[0], 'a');
    for (size_t i = 0; i < 2 * PAIRS; i++) {
        assert_memory_equal(out.data + 1 + 2 * i, i < PAIRS ? "\xCC\x96" : "\xCC\x81", 2);
    }
    buffer_free(&out);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(long_runs_of_marks_are_ordered),
        cmocka_unit_test(every_code_point_comes_back),
        cmocka_unit_test(maximal_subparts_of_the_standards_examples_become_one_replacement_each),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
