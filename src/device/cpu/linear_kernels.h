/* What one instruction set brings to linear.c: expanding weights, dot products for few rows, tiles for many.
   Rests on base/dtype.h. linear_scalar.c is the definition; linear_avx2.c and linear_avx512.c are linear_simd.h twice,
   which has linear_one_simd.h for one row of x.

   Columns are taken in spans of SPAN: one super-block of the K types, eight small blocks, or as many plain elements. */
#ifndef DEVICE_CPU_LINEAR_KERNELS_H
#define DEVICE_CPU_LINEAR_KERNELS_H

#include "base/dtype.h"
#include "device/cpu/cpu.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    WEIGHT_TYPES = DTYPE_F64, /* the types below it can be weights */
    SPAN = 256,
    /* Rows of x that one reading of the weights serves; from the next on, expanding a panel once and tiling is less work. */
    DOT_MAX = 8,
    /* Largest strip (rows of weights side by side in a panel) and tile (rows of x) of any instruction set. */
    STRIP_MAX = 32,
    TILE_MAX = 14,
    /* Rows of the copied x tile lie this far apart: a span and a cache line, so that they never fall on the same cache sets,
       as rows of x do where their length is a power of two. */
    TILE_STRIDE = SPAN + 16
};

/* Writes the fp32 values of `count` elements of a row, from the start of span `blocks` on; count is at most SPAN and a multiple
   of the type's block. */
typedef void unpack_fn(const void *blocks, int64_t count, float *out);

/* One row of x in the order in which a type's codes come out of their bytes, and sums of it: formed once for all rows of weights.
   See linear_one_simd.h. */
enum { PREPARED_COLS = 32768 };
typedef struct prepared_row {
    float x[PREPARED_COLS + 512]; /* the last blocks of 32 count as up to four chunks of 128 */
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
    const prepared_row *prepared; /* where n is 1 and the columns are not too many, or NULL */
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
    prepare_fn *prepare[WEIGHT_TYPES]; /* NULL: no kernel wants it */
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

/* The values that codes of IQ4_NL stand for. */
extern const int8_t iq4_nl_values[16];

#endif
