/* What the files of the CUDA device share: the device itself, and how a failure is kept.
   Rests on the CUDA runtime. device.c opens it; kernels.h names the launches; module.h is what the program sees. For C17 and
   for nvcc. */
#ifndef DEVICE_CUDA_INTERNAL_H
#define DEVICE_CUDA_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "device/device.h"

typedef struct cuda_staging cuda_staging; /* pinned memory between host and card: transfer.c */
typedef struct cuda_gemm cuda_gemm;       /* cublasLt and the algorithms chosen so far: gemm.c */

/* One card as one rank sees it. All work goes to `stream`, in order; nothing is ever allocated or waited for by an op. */
typedef struct cuda_device {
    device base; /* first, so that a device * is a cuda_device * */
    int ordinal;
    int sm;     /* compute capability, 90 for 9.0 */
    int n_sms;  /* multiprocessors */
    char name[96];
    cudaStream_t stream;
    /* Free for any op of this stream, kept by none: aligned to 256 bytes, contents undefined. */
    void *scratch;
    size_t scratch_bytes;
    cuda_staging *staging;
    cuda_gemm *gemm;
    /* The first failure since the last finish(), and the op that met it; finish() tells and forgets. */
    cudaError_t failed;
    const char *failed_at;
} cuda_device;

/* Keeps the first failure; `op` is a literal. What every launch, copy or call of the runtime returns goes through this. */
static inline void cuda_note(cuda_device *dev, cudaError_t status, const char *op)
{
    if (status != cudaSuccess && dev->failed == cudaSuccess) {
        dev->failed = status;
        dev->failed_at = op;
    }
}

/* Makes the card the calling thread's: before anything of the runtime is called. Cheap where it is already. */
static inline void cuda_enter(cuda_device *dev)
{
    cuda_note(dev, cudaSetDevice(dev->ordinal), "cudaSetDevice");
}

#ifdef __cplusplus
}
#endif

#endif
