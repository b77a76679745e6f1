/* Finds the transport between GPUs in the CUDA module.
   Rests on device/gpu.h. See gpu_transport.h. */
#include "comm/gpu_transport.h"

#include "device/gpu.h"

lariat_status comm_gpu_find(const comm_gpu **out)
{
    const void *entry = NULL;

    TRY(gpu_symbol(COMM_GPU_ENTRY, &entry));
    *out = entry;
    return (*out)->tables == COMM_GPU_TABLES
               ? LARIAT_OK
               : fail(LARIAT_UNSUPPORTED,
                      "CUDA: the module's transport is of another build of Lariat: install both from one build");
}
