/* Rows of numbers with AVX-512.
   Rests on simd_avx512.h. Read on in elementwise_simd.h. */
#include "device/cpu/elementwise.h"

#if defined(LARIAT_X86_SIMD)
#include "device/cpu/simd_avx512.h"

#include "device/cpu/elementwise_simd.h"
SIMD_END
#endif
