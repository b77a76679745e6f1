/* Linear layers with AVX2, FMA and F16C.
   Rests on weights_avx2.h for the operations and linear_simd.h for the text, which the AVX-512 version shares. */
#include "device/cpu/linear_kernels.h"

#ifdef LARIAT_X86_SIMD

#include "device/cpu/weights_avx2.h"

#include "device/cpu/linear_simd.h"

/* 6 rows of x by 16 of weights: 12 sums, two vectors of weights and one of x fill 15 of 16 registers. */
DEFINE_TILE(1) DEFINE_TILE(2) DEFINE_TILE(3) DEFINE_TILE(4) DEFINE_TILE(5) DEFINE_TILE(6)

static void multiply(const tile_task *a)
{
    static tile_fn *const tiles[TILE] = {tile_1, tile_2, tile_3, tile_4, tile_5, tile_6};
    tiles[a->x_rows - 1](a);
}

const linear_kernels linear_avx2 = {
    .strip = STRIP,
    .tile = TILE,
    .unpack = unpack_table,
    .prepare = {EACH_TYPE(PREPARE_ENTRY)},
    .dot = {EACH_TYPE(DOT_ENTRY)},
    .interleave = interleave,
    .multiply = multiply,
};

SIMD_END
#endif
