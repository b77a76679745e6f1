/* Linear layers with AVX2, FMA and F16C.
   Rests on weights_avx2.h for the operations and linear_simd.h for the text, which the AVX-512 version shares. */
#include "device/cpu/linear_kernels.h"

#ifdef LARIAT_X86_SIMD

#include "device/cpu/weights_avx2.h"

/* 6 rows of x by 16 of weights: 12 sums, two vectors of weights and one of x fill 15 of 16 registers. */
#define EACH_TILE(X) X(1) X(2) X(3) X(4) X(5) X(6)

#include "device/cpu/linear_simd.h"

SIMD_END
#endif
