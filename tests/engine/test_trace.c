/* Traces of rings on CPUs.
   Rests on support/trace_checks.h. */
#include "support/reference.h"
#include "support/trace_checks.h"

#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    char *there = reference_path("reference/models");

    if (!there) {
        printf("skipped: no reference data; see tests/support/reference.h\n");
        return TEST_SKIPPED;
    }
    free(there);
    return run_trace_checks(&(lariat_options){.device = LARIAT_DEVICE_CPU}, 1);
}
