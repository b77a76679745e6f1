/* The kernels of one instruction set for cpu_linear.c: unpacking weights, dot products for few rows of x, tiles for many.
   Rests on base/dtype.h. linear_scalar.c is the definition; linear_avx2.c and linear_avx512.c instantiate linear_simd.h,
   which uses linear_one_simd.h for one row of x.

   Columns are processed in spans of SPAN: one super-block of the K types, eight small blocks, or as many plain elements. */
#pragma once

#include "base/dtype.h"
#include "device/cpu/cpu.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    WEIGHT_TYPES = DTYPE_F64, /* types below are weight types */
    SPAN = 256,
    /* Most rows of x for dot products; with more rows, unpacking a panel once and tiling is less work. */
    DOT_MAX = 8,
    /* Largest strip (interleaved rows of weights in a panel) and tile (rows of x) of any instruction set. */
    STRIP_MAX = 32,
    TILE_MAX = 14,
    /* Stride of rows of the copied x tile: a span and a cache line, so that they map to different cache sets; rows of x
       whose length is a power of two do not. */
    TILE_STRIDE = SPAN + 16
};

/* Writes the fp32 values of `count` elements of a row, from the start of span `blocks` on; count is at most SPAN and a multiple
   of the type's block. */
typedef void unpack_fn(const void *blocks, int64_t count, float *out);

/* One row of x in the order of a type's unpacked codes, and its sums: prepared once for all rows of weights. See
   linear_one_simd.h. */
enum { PREPARED_COLS = 32768 };
typedef struct prepared_row {
    float x[PREPARED_COLS + 512]; /* the last blocks of 32 take up to four chunks of 128 */
    float sums[PREPARED_COLS / 4 + 64];
} prepared_row;
typedef void prepare_fn(const float *x, int64_t cols, prepared_row *out);

/* y[t * ldy + r] = (or +=) row r of the weights times row t of x, plus bias[r]: for few rows of x. */
typedef struct dot_task {
    dtype type;
    const unsigned char *w; /* first row */
    size_t row_bytes;
    int64_t rows, cols;
    const float *x;
    int64_t ldx;
    int64_t n; /* at most DOT_MAX */
    const prepared_row *prepared; /* where n is 1 and cols at most PREPARED_COLS, or NULL */
    const float *bias; /* of the first row, or NULL */
    float *y;
    int64_t ldy;
    bool add;
} dot_task;
typedef void dot_fn(const dot_task *task);

/* A tile of y: x_rows rows of x (copied, TILE_STRIDE apart) times one strip: strip[k * lanes + r], k < depth. */
typedef struct tile_task {
    const float *x;
    const float *strip;
    int64_t depth;
    int x_rows, w_rows;
    const float *bias; /* of the strip's first row, or NULL */
    float *y;
    int64_t ldy;
    bool add;
} tile_task;
typedef void tile_fn(const tile_task *task);

/* strip[k * lanes + r] = rows[r * SPAN + k] for r < lanes, k < depth; depth may be rounded up to a multiple of 16. */
typedef void interleave_fn(const float *rows, int64_t depth, float *strip);

typedef struct linear_kernels {
    int strip, tile; /* rows of weights in a strip, rows of x in a tile */
    unpack_fn *const *unpack; /* [WEIGHT_TYPES] */
    prepare_fn *prepare[WEIGHT_TYPES]; /* NULL: not needed */
    dot_fn *dot[WEIGHT_TYPES];
    interleave_fn *interleave;
    tile_fn *multiply;
} linear_kernels;

extern const linear_kernels linear_scalar;
#ifdef LARIAT_X86_SIMD
extern const linear_kernels linear_avx2;
extern const linear_kernels linear_avx512;
#endif

/* The kernels of a family that this build contains. */
const linear_kernels *linear_kernels_of(cpu_isa isa);

/* The definition of each type's values, unpack_scalar.c. */
extern unpack_fn *const unpack_scalar[WEIGHT_TYPES];

/* The values of IQ4_NL's codes. */
extern const int8_t iq4_nl_values[16];
