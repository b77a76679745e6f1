// Launches that overlap: a kernel's blocks begin while the last ones of the kernel before it in the stream are at work
// (programmatic dependent launch, from compute capability 9.0 on; ordinary launches elsewhere). Rests on the CUDA runtime.
// Decoding is a chain of some ten kernels a layer, each of which would otherwise start only when the card is empty.
//
// Rules for a kernel that is launched so:
// - Every thread of every block, also of one without work, calls overlap_begin(): from then on blocks of the next kernel start
//   where there is room. A kernel that does not call it lets the next one start as its blocks end.
// - Every thread of every block calls overlap_wait() before it reads results of a kernel of the stream, and before it
//   writes to global memory. The wait ends when the kernel before has ended, which by this rule had waited for the one before
//   it: so all work that was queued before is complete and visible.
// - Before the wait a kernel may read memory that no kernel of the pass writes: weights, lists of attention.
// A kernel launched otherwise waits for all before it, as ever.
#pragma once

#include <cuda_runtime.h>

#include <stdint.h>

__device__ inline void overlap_begin()
{
#if __CUDA_ARCH__ >= 900
    cudaTriggerProgrammaticLaunchCompletion();
#endif
}

__device__ inline void overlap_wait()
{
#if __CUDA_ARCH__ >= 900
    cudaGridDependencySynchronize();
#endif
}

// Both, for kernels that have nothing to do before the wait.
__device__ inline void overlap_begin_and_wait()
{
    overlap_begin();
    overlap_wait();
}

inline bool overlap_can()
{
    int card = 0, major = 0;

    return cudaGetDevice(&card) == cudaSuccess &&
           cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, card) == cudaSuccess && major >= 9;
}

// As kernel<<<grid, block, shared, stream>>>(args...).
template <typename... Parameters, typename... Arguments>
cudaError_t overlap_launch(cudaStream_t stream, dim3 grid, dim3 block, size_t shared, void (*kernel)(Parameters...),
                           const Arguments &...args)
{
    cudaLaunchAttribute overlaps = {};
    cudaLaunchConfig_t config = {};

    overlaps.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    overlaps.val.programmaticStreamSerializationAllowed = 1;
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared;
    config.stream = stream;
    config.attrs = &overlaps;
    config.numAttrs = overlap_can();
    return cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(args)...);
}
