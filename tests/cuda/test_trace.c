/* Traces of rings on GPUs, whose times are those of their streams: through the cards' memory and through the host's, several
   ranks a card. Rests on support/trace_checks.h. Skipped where there is no GPU. */
#include "device/gpu.h"
#include "support/reference.h"
#include "support/trace_checks.h"

#include <stdio.h>

int main(void)
{
    static const lariat_options where[] = { /* in 32 bits and in 16, both ways between cards */
        {.device = LARIAT_DEVICE_CUDA, .dtype = LARIAT_DTYPE_F32},
        {.device = LARIAT_DEVICE_CUDA, .dtype = LARIAT_DTYPE_BF16, .hops = LARIAT_HOPS_HOST},
    };

    if (!gpu_usable()) {
        printf("skipped: no GPU that can be used\n");
        return TEST_SKIPPED;
    }
    return run_trace_checks(where, sizeof where / sizeof *where);
}
