/* Finds the transport between GPUs in the CUDA module.
   Rests on device/gpu.h. See gpu.h. */
#include "comm/gpu.h"

#include "device/gpu.h"

lariat_status comm_gpu_find(const comm_gpu **out)
{
    const void *entry = NULL;

    TRY(gpu_symbol(COMM_GPU_ENTRY, &entry));
    *out = entry;
    return LARIAT_OK;
}
