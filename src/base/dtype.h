/* Element types and block layouts of stored tensors.
   Rests on nothing. The blocks are GGUF's (ggml's "quants" as its specification names them); formulas in dtype.c's table
   and in device/cpu/unpack_scalar.c, which is their definition here. */
#pragma once

#include <stddef.h>
#include <stdint.h>

typedef enum dtype {
    DTYPE_F32,
    DTYPE_F16,
    DTYPE_BF16,
    DTYPE_Q8_0,
    DTYPE_Q4_0,
    DTYPE_Q4_1,
    DTYPE_Q5_0,
    DTYPE_Q5_1,
    DTYPE_Q2_K,
    DTYPE_Q3_K,
    DTYPE_Q4_K,
    DTYPE_Q5_K,
    DTYPE_Q6_K,
    DTYPE_IQ4_NL,
    DTYPE_F64, /* from here on: in data files only, never a weight */
    DTYPE_I32,
    DTYPE_I64,
    DTYPE_U8,
    DTYPE_I8, /* of the KV cache: device.h says what a code stands for */
    DTYPE_COUNT
} dtype;

/* Elements and bytes of one block; plain types have 1 element. */
int64_t dtype_block_elements(dtype type);
size_t dtype_block_bytes(dtype type);

/* Bytes of a row of `cols` elements; cols must be a multiple of the block. */
size_t dtype_row_bytes(dtype type, int64_t cols);

/* "F32", "Q4_K", ...; and back, case-insensitive. DTYPE_COUNT: an unknown name. */
const char *dtype_name(dtype type);
dtype dtype_from_name(const char *name);

/* Exact conversions of one value; to_ rounds to nearest even. */
float f16_to_f32(uint16_t h);
uint16_t f32_to_f16(float f);
float bf16_to_f32(uint16_t h);
uint16_t f32_to_bf16(float f);

/* --- block layouts, little endian; d and m are f16 bits; see each type's comment for the value of element i --- */

typedef struct { uint16_t d; int8_t q[32]; } block_q8_0;                 /* d * q[i] */
typedef struct { uint16_t d; uint8_t q[16]; } block_q4_0; /* d * (code - 8); i < 16: low nibble of q[i], else high of q[i-16] */
typedef struct { uint16_t d, m; uint8_t q[16]; } block_q4_1;             /* d * code + m */
/* d * (code - 16); bit 4 of element i is bit i of high */
typedef struct { uint16_t d; uint8_t high[4]; uint8_t q[16]; } block_q5_0;
typedef struct { uint16_t d, m; uint8_t high[4]; uint8_t q[16]; } block_q5_1; /* d * code + m */
typedef struct { uint16_t d; uint8_t q[16]; } block_iq4_nl;              /* d * table[code] */

/* Super-blocks of 256 elements. */
typedef struct { uint8_t scales[16]; uint8_t q[64]; uint16_t d, dmin; } block_q2_k;
typedef struct { uint8_t high[32]; uint8_t q[64]; uint8_t scales[12]; uint16_t d; } block_q3_k;
typedef struct { uint16_t d, dmin; uint8_t scales[12]; uint8_t q[128]; } block_q4_k;
typedef struct { uint16_t d, dmin; uint8_t scales[12]; uint8_t high[32]; uint8_t q[128]; } block_q5_k;
typedef struct { uint8_t low[128]; uint8_t high[64]; int8_t scales[16]; uint16_t d; } block_q6_k;

/* A stored matrix [rows, cols], row-major, in memory that the device can read: y = W x. */
typedef struct matrix {
    dtype type;
    int64_t rows, cols;
    const void *data; /* NULL: shape only */
    size_t row_bytes; /* from one row to the next */
    uint64_t seed;    /* of a random model's matrix: generates its values */
} matrix;
