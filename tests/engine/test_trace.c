/* Traces of rings on CPUs.
   Rests on support/trace_checks.h. */
#include "support/reference.h"
#include "support/trace_checks.h"

#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    if (!reference_models_found()) {
        return TEST_SKIPPED;
    }
    return run_trace_checks(&(lariat_options){.device = LARIAT_DEVICE_CPU}, 1);
}
