/* Linear layers with AVX-512 (F, BW, DQ, VL).
   Rests on weights_avx512.h for the operations and linear_simd.h for the text, which the AVX2 version shares. */
#include "device/cpu/linear_kernels.h"

#ifdef LARIAT_X86_SIMD

#include "device/cpu/weights_avx512.h"

#include "device/cpu/linear_simd.h"

/* 14 rows of x by 32 of weights: 28 sums, two vectors of weights and one of x fill 31 of 32 registers. */
DEFINE_TILE(1) DEFINE_TILE(2) DEFINE_TILE(3) DEFINE_TILE(4) DEFINE_TILE(5) DEFINE_TILE(6) DEFINE_TILE(7)
DEFINE_TILE(8) DEFINE_TILE(9) DEFINE_TILE(10) DEFINE_TILE(11) DEFINE_TILE(12) DEFINE_TILE(13) DEFINE_TILE(14)

static void multiply(const tile_task *a)
{
    static tile_fn *const tiles[TILE] = {tile_1, tile_2, tile_3,  tile_4,  tile_5,  tile_6,  tile_7,
                                         tile_8, tile_9, tile_10, tile_11, tile_12, tile_13, tile_14};
    tiles[a->x_rows - 1](a);
}

const linear_kernels linear_avx512 = {
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
