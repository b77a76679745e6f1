/* Arenas: what one that counts adds up is what an opened one hands out.
   Rests on base/arena.h. */
#include "base/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { PIECES = 40 };

/* Sizes around a cache line, nothing included. */
static size_t piece(int i)
{
    return (size_t)(i * 37 % 131);
}

static void counted_bytes_are_exactly_what_the_same_pieces_take(void **state)
{
    arena counting, opened;

    (void)state;
    arena_count(&counting);
    for (int i = 0; i < PIECES; i++) {
        assert_null(arena_take(&counting, piece(i)));
    }
    assert_int_equal(arena_open(&opened, counting.used, "a test"), LARIAT_OK);
    for (int i = 0; i < PIECES; i++) {
        unsigned char *at = arena_take(&opened, piece(i));
        assert_int_equal((size_t)(at - opened.base) % ARENA_ALIGN, 0);
        assert_true(at + piece(i) <= opened.base + opened.size);
    }
    assert_int_equal(opened.used, opened.size);
    arena_close(&opened);
}

static void a_count_that_overflows_stays_at_the_largest_size(void **state)
{
    const size_t first[] = {SIZE_MAX, SIZE_MAX - ARENA_ALIGN, SIZE_MAX / 2 + 1};

    (void)state;
    for (size_t i = 0; i < sizeof first / sizeof *first; i++) {
        arena counting;
        arena_count(&counting);
        (void)arena_take(&counting, first[i]);
        (void)arena_take(&counting, first[i]);
        assert_int_equal(counting.used, SIZE_MAX);
        (void)arena_take(&counting, 1);
        assert_int_equal(counting.used, SIZE_MAX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counted_bytes_are_exactly_what_the_same_pieces_take),
        cmocka_unit_test(a_count_that_overflows_stays_at_the_largest_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
