/* Attention with AVX2.
   Rests on simd_avx2.h. Read on in attention_simd.h. */
#include "device/cpu/cpu_attention.h"

#if defined(LARIAT_X86_SIMD)
#include "device/cpu/simd_avx2.h"

#include "device/cpu/attention_simd.h"
SIMD_END
#endif
