/* The line of progress: there from the first moment on, gone before anything else is written, absent where nobody wants it.
   Rests on cli/terminal.h, with standard error led into a file. */
#include "cli/terminal.h"
#include "support/scratch.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* What is on standard error since the last call. */
static const char *drawn(void)
{
    static char text[4096];
    static off_t from;
    fflush(stderr);
    ssize_t n = pread(STDERR_FILENO, text, sizeof text - 1, from);
    from += n > 0 ? n : 0;
    text[n > 0 ? n : 0] = 0;
    return text;
}

static void a_reading_shows_at_once(void **state)
{
    progress p = {.wanted = true};
    (void)state;
    progress_begin(&p, "reading", 7000);
    assert_string_equal(drawn(), "\rreading 0 of 7000 tokens\033[K");
    p.began_s += 1e6; /* a clock that stands */
    progress_at(&p, 512);
    assert_string_equal(drawn(), "");
    p.began_s -= 2e6; /* one that has gone on */
    p.drawn_s -= 1e6;
    progress_at(&p, 1000);
    assert_non_null(strstr(drawn(), "\rreading 1000 of 7000 tokens, 0 tokens/s, "));
    progress_end(&p);
    assert_string_equal(drawn(), "\r\033[K");
    progress_end(&p);
    assert_string_equal(drawn(), "");
}

static void one_that_is_short_leaves_nothing_behind(void **state)
{
    progress p = {.wanted = true};
    (void)state;
    progress_begin(&p, "reading", 1);
    assert_string_equal(drawn(), "\rreading 0 of 1 tokens\033[K");
    progress_end(&p);
    assert_string_equal(drawn(), "\r\033[K");
}

static void nothing_shows_where_nobody_looks(void **state)
{
    progress p = {.wanted = false};
    (void)state;
    progress_begin(&p, "reading", 7000);
    p.began_s -= 1e6;
    p.drawn_s -= 1e6;
    progress_at(&p, 1000);
    progress_end(&p);
    assert_string_equal(drawn(), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reading_shows_at_once),
        cmocka_unit_test(one_that_is_short_leaves_nothing_behind),
        cmocka_unit_test(nothing_shows_where_nobody_looks),
    };
    char *path = scratch_path("err");
    int before = dup(STDERR_FILENO), file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    free(path);
    if (before < 0 || file < 0 || dup2(file, STDERR_FILENO) < 0) {
        return EXIT_FAILURE;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fflush(stderr);
    dup2(before, STDERR_FILENO);
    return failed;
}
