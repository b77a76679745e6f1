/* Texts that end a reply, beside a search of the whole reply.
   Rests on text.h. */
#include "lariat/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TRIALS = 20000, BYTES = 60, TEXTS = 4, LENGTH = 6 };

/* Bytes before the first text that is complete, the longest of those that end there; -1: none is. */
static long cut_of(const char *bytes, size_t n, const lariat_stop_text texts[], int32_t n_texts)
{
    for (size_t end = 1; end <= n; end++) {
        size_t longest = 0;
        for (int32_t i = 0; i < n_texts; i++) {
            size_t size = texts[i].size;
            if (size <= end && size > longest && memcmp(bytes + end - size, texts[i].bytes, size) == 0) {
                longest = size;
            }
        }
        if (longest) {
            return (long)(end - longest);
        }
    }
    return -1;
}

/* Few letters, so that texts begin often and overlap. */
static void fill(char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bytes[i] = "ab\n"[rand() % 8 ? rand() % 2 : 2];
    }
}

/* Puts the bytes in pieces of random sizes, and flushes. Returns the length of the output. */
static size_t put_all(lariat_stops *s, const char *bytes, size_t n, bool *found, char out[BYTES])
{
    const char *text;
    size_t size, written = 0;

    *found = false;
    for (size_t at = 0; at < n && !*found;) {
        size_t piece = 1 + (size_t)rand() % 5;
        piece = piece < n - at ? piece : n - at;
        assert_int_equal(lariat_stops_put(s, bytes + at, piece, &text, &size, found), LARIAT_OK);
        at += piece;
        assert_true(written + size <= at);
        memcpy(out + written, text, size);
        written += size;
    }
    assert_int_equal(lariat_stops_flush(s, &text, &size), LARIAT_OK);
    assert_true(!*found || size == 0);
    memcpy(out + written, text, size);
    return written + size;
}

static void pieces_are_cut_where_the_whole_would_be(void **state)
{
    (void)state;
    srand(5);
    for (int trial = 0; trial < TRIALS; trial++) {
        char bytes[BYTES], out[BYTES], wanted[TEXTS][LENGTH];
        lariat_stop_text texts[TEXTS];
        int32_t n_texts = 1 + rand() % TEXTS;
        lariat_stops *s;
        for (int32_t i = 0; i < n_texts; i++) {
            texts[i] = (lariat_stop_text){wanted[i], 1 + (size_t)rand() % LENGTH};
            fill(wanted[i], LENGTH);
        }
        assert_int_equal(lariat_stops_open(texts, n_texts, &s), LARIAT_OK);
        for (int reply = 0; reply < 2; reply++) { /* the second is not cut by what the first held */
            bool found;
            fill(bytes, BYTES);
            size_t written = put_all(s, bytes, BYTES, &found, out);
            long cut = cut_of(bytes, BYTES, texts, n_texts);
            assert_int_equal(found, cut >= 0);
            assert_int_equal(written, cut >= 0 ? cut : BYTES);
            assert_memory_equal(out, bytes, written);
        }
        lariat_stops_close(s);
    }
}

static void nothing_is_held_that_no_text_begins_with(void **state)
{
    (void)state;
    static const lariat_stop_text texts[] = {{"\n\nUser:", 7}, {"</s>", 4}};
    lariat_stops *s;
    const char *text;
    size_t size;
    bool found;

    assert_int_equal(lariat_stops_open(texts, 2, &s), LARIAT_OK);
    assert_int_equal(lariat_stops_put(s, "one\n\nUs", 7, &text, &size, &found), LARIAT_OK);
    assert_int_equal(size, 3);
    assert_int_equal(lariat_stops_put(s, "e <", 3, &text, &size, &found), LARIAT_OK);
    assert_string_equal(text, "\n\nUse ");
    assert_int_equal(lariat_stops_put(s, "/s>more", 7, &text, &size, &found), LARIAT_OK);
    assert_true(found);
    assert_int_equal(size, 0);
    assert_int_equal(lariat_stops_put(s, "more", 4, &text, &size, &found), LARIAT_OK);
    assert_true(found);
    assert_int_equal(size, 0);
    lariat_stops_close(s);
}

static void texts_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    char *large = calloc(LARIAT_STOP_BYTES + 1, 1);
    const lariat_stop_text bad[] = {{"x", 0}, {large, LARIAT_STOP_BYTES + 1}};
    lariat_stop_text good[LARIAT_STOPS_MAX + 1];
    lariat_stops *s;

    assert_non_null(large);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(lariat_stops_open(&bad[i], 1, &s), LARIAT_BAD_ARGUMENT);
        assert_null(s);
    }
    for (int i = 0; i <= LARIAT_STOPS_MAX; i++) {
        good[i] = (lariat_stop_text){large, LARIAT_STOP_BYTES};
    }
    assert_int_equal(lariat_stops_open(good, 0, &s), LARIAT_BAD_ARGUMENT);
    assert_int_equal(lariat_stops_open(good, LARIAT_STOPS_MAX + 1, &s), LARIAT_BAD_ARGUMENT);
    assert_int_equal(lariat_stops_open(good, LARIAT_STOPS_MAX, &s), LARIAT_OK);
    lariat_stops_close(s);
    lariat_stops_close(NULL);
    free(large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_cut_where_the_whole_would_be),
        cmocka_unit_test(nothing_is_held_that_no_text_begins_with),
        cmocka_unit_test(texts_that_make_no_sense_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
