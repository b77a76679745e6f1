/* A file in huge pages: the same bytes at the same addresses, whatever becomes of the file.
   Rests on base/file.h. */
#include "base/file.h"

#include "support/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static unsigned char *some_bytes(size_t size)
{
    unsigned char *data = malloc(size);

    assert_non_null(data);
    for (size_t i = 0; i < size; i++) {
        data[i] = (unsigned char)(i * 2654435761u >> 16);
    }
    return data;
}

static void bytes_stay_where_they_were(void **state)
{
    /* Below a huge page, one, one and a little, several and not whole pages. */
    static const size_t sizes[] = {1, 4096, (2 << 20) - 1, 2 << 20, (2 << 20) + 1, (4 << 20) + 4096, 7654321};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        unsigned char *data = some_bytes(sizes[i]);
        char *path = scratch_path("bytes");
        mapped_file f;

        scratch_write("bytes", data, sizes[i]);
        assert_accepted(map_file(path, &f));
        const unsigned char *before = f.data;
        assert_accepted(file_to_huge_pages(&f));
        assert_ptr_equal(f.data, before);
        assert_int_equal(f.size, sizes[i]);
        assert_memory_equal(f.data, data, sizes[i]);
        unmap_file(&f);
        free(path);
        free(data);
    }
}

static void a_file_that_shrinks_later_does_no_harm(void **state)
{
    const size_t size = 5000000;
    unsigned char *data = some_bytes(size);
    char *path = scratch_path("shrinking");
    mapped_file f;

    (void)state;
    scratch_write("shrinking", data, size);
    assert_accepted(map_file(path, &f));
    assert_accepted(file_to_huge_pages(&f));
    scratch_write("shrinking", data, 1);
    assert_memory_equal(f.data, data, size);
    unmap_file(&f);
    free(path);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_stay_where_they_were),
        cmocka_unit_test(a_file_that_shrinks_later_does_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
