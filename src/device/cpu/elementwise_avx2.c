/* Rows of numbers with AVX2.
   Rests on simd_avx2.h. Read on in elementwise_simd.h. */
#include "device/cpu/elementwise.h"

#if defined(LARIAT_X86_SIMD)
#include "device/cpu/simd_avx2.h"

#include "device/cpu/elementwise_simd.h"
SIMD_END
#endif
