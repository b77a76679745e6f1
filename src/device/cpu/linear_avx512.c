/* Linear layers with AVX-512 (F, BW, DQ, VL).
   Rests on weights_avx512.h for the operations and linear_simd.h for the text, which the AVX2 version shares. */
#include "device/cpu/linear_kernels.h"

#ifdef LARIAT_X86_SIMD

#include "device/cpu/weights_avx512.h"

/* 14 rows of x by 32 of weights: 28 sums, two vectors of weights and one of x fill 31 of 32 registers. */
#define EACH_TILE(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14)

#include "device/cpu/linear_simd.h"

SIMD_END
#endif
