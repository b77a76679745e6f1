/* Starting as one of several processes without an MPI that could do it: refused with what is missing, and nothing is started.
   The calls themselves are tested under mpirun: tests/mpi. Rests on comm/processes.h. */
#include "comm/processes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void a_module_that_cannot_be_opened_is_refused_by_name(void **state)
{
    processes *p = NULL;

    (void)state;
    assert_int_equal(processes_start("/there/is/no/module.so", 1, 30, &p), LARIAT_UNSUPPORTED);
    assert_non_null(strstr(lariat_error(), "/there/is/no/module.so"));
    assert_null(p);
}

/* The C library is one that has no entry. */
static void a_library_that_is_no_module_is_refused(void **state)
{
    processes *p = NULL;

    (void)state;
    assert_int_equal(processes_start("libc.so.6", 1, 30, &p), LARIAT_UNSUPPORTED);
    assert_non_null(strstr(lariat_error(), "of another build"));
    assert_null(p);
}

static void a_process_without_ranks_is_refused(void **state)
{
    processes *p = NULL;

    (void)state;
    assert_int_equal(processes_start("/there/is/no/module.so", 0, 30, &p), LARIAT_BAD_ARGUMENT);
    processes_end(p, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_module_that_cannot_be_opened_is_refused_by_name),
        cmocka_unit_test(a_library_that_is_no_module_is_refused),
        cmocka_unit_test(a_process_without_ranks_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
