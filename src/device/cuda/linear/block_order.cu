// Stored blocks into the order of blocks.cuh, when weights are loaded; and the blocks of random models, made on the card.
// Rests on blocks.cuh for where bits go, and on base/dtype.h for where they are in stored blocks.
//
// Budget: blocks arrive at the rate of PCIe, some 50 GB/s; a thread moves the 64 codes of a quarter one by one, some 20
// instructions each: 10^12 weights a second. Nothing is clever here.
#include "device/cuda/linear/blocks.cuh"
#include "device/cuda/runtime/kernels.h"

namespace
{

using namespace blocks;

constexpr int THREADS = 256;

// --- stored blocks: see unpack_scalar.c ---

__device__ unsigned nibble(const uint8_t *q, int i)
{
    return i < 16 ? q[i] & 15u : q[i - 16] >> 4;
}

__device__ unsigned bit(const uint8_t *bits, int i)
{
    return bits[i / 8] >> (i % 8) & 1u;
}

__device__ unsigned code_2(const uint8_t *q, int i)
{
    return q[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3u;
}

__device__ unsigned code_4(const uint8_t *q, int i)
{
    return q[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15u;
}

__device__ unsigned code_of(const block_q8_0 *b, int i)
{
    return (uint8_t)b->q[i];
}

__device__ unsigned code_of(const block_q4_0 *b, int i)
{
    return nibble(b->q, i);
}

__device__ unsigned code_of(const block_q4_1 *b, int i)
{
    return nibble(b->q, i);
}

__device__ unsigned code_of(const block_q5_0 *b, int i)
{
    return nibble(b->q, i) | bit(b->high, i) << 4;
}

__device__ unsigned code_of(const block_q5_1 *b, int i)
{
    return nibble(b->q, i) | bit(b->high, i) << 4;
}

__device__ unsigned code_of(const block_iq4_nl *b, int i)
{
    return nibble(b->q, i);
}

__device__ unsigned code_of(const block_q2_k *b, int i)
{
    return code_2(b->q, i);
}

__device__ unsigned code_of(const block_q3_k *b, int i)
{
    return code_2(b->q, i) | (b->high[i % 32] >> (i / 32) & 1u) << 2;
}

__device__ unsigned code_of(const block_q4_k *b, int i)
{
    return code_4(b->q, i);
}

__device__ unsigned code_of(const block_q5_k *b, int i)
{
    return code_4(b->q, i) | (b->high[i % 32] >> (i / 32) & 1u) << 4;
}

__device__ unsigned code_of(const block_q6_k *b, int i)
{
    int half = i / 128, part = i % 128 / 32, l = i % 32;

    return (b->low[half * 64 + part % 2 * 32 + l] >> (part / 2 * 4) & 15u) | (b->high[half * 32 + l] >> (part * 2) & 3u) << 4;
}

// Scale g of 16 in Q3_K, of 6 bits: four in one byte's half, two elsewhere.
__device__ unsigned scale_3(const uint8_t *s, int g)
{
    unsigned low = g < 8 ? s[g] & 15u : s[g - 8] >> 4;

    return low | (s[8 + g % 4] >> (g / 4 * 2) & 3u) << 4;
}

__device__ unsigned scale_6(const uint8_t *s, int g)
{
    return g < 4 ? s[g] & 63u : (s[g + 4] & 15u) | s[g - 4] >> 6 << 4;
}

__device__ unsigned min_6(const uint8_t *s, int g)
{
    return g < 4 ? s[g + 4] & 63u : s[g + 4] >> 4 | s[g] >> 6 << 4;
}

// --- in order ---

__device__ void put_half(unsigned char *to, uint16_t bits)
{
    *reinterpret_cast<uint16_t *>(to) = bits;
}

// Group v of share s where scales are for 16 columns.
__device__ int sixteen(int s, int v)
{
    return v / 2 * 8 + 2 * s + v % 2;
}

// The lower 24 bits of a word at to + 3 s.
__device__ void put_24(unsigned char *to, int s, uint32_t bits)
{
    for (int i = 0; i < 3; i++) {
        to[3 * s + i] = (unsigned char)(bits >> (8 * i));
    }
}

// Share s of a row of a unit of the types with super-blocks.
template <typename F> __device__ void put_share(unsigned char *to, unsigned char *super, const typename F::block *b, int s)
{
    uint32_t bits = 0;

    if constexpr (F::SCALES == NIBBLES || F::SCALES == BYTES) {
        for (int v = 0; v < 4; v++) {
            to[4 * s + v] = (unsigned char)b->scales[sixteen(s, v)];
        }
    } else if constexpr (F::SCALES == SIX_BITS) {
        for (int v = 0; v < 4; v++) {
            bits |= scale_3(b->scales, sixteen(s, v)) << (6 * v);
        }
        put_24(to, s, bits);
    } else {
        for (int v = 0; v < 2; v++) {
            bits |= scale_6(b->scales, 2 * s + v) << (6 * v) | min_6(b->scales, 2 * s + v) << (12 + 6 * v);
        }
        put_24(to, s, bits);
        super = to + 12;
    }
    if (s == 0) {
        put_half(super, b->d);
        if constexpr (F::SCALES == NIBBLES || F::SCALES == TWO_SIX_BITS) {
            put_half(super + 2, b->dmin);
        }
    }
}

// Where code i of group j has its bits in the words of a quarter's plane.
template <int BITS> __device__ void set_code(uint32_t *words, int j, int i, unsigned code)
{
    int pair = i / 2, half = 16 * (i % 2);

    if (BITS == 8) {
        words[2 * j + pair / 2] |= code << (8 * (pair % 2) + half);
    } else if (BITS == 4) {
        words[j] |= code << (4 * pair + half);
    } else if (BITS == 2) {
        words[j / 2] |= code << (2 * (4 * (j % 2) + pair) + half);
    } else {
        words[j / 4] |= code << (4 * (j % 4) + pair + half);
    }
}

// A quarter of a row of a unit: stored elements [column, ...) of the row, a block_elements each, into `to`.
template <typename F>
__device__ void put_quarter(const tile<F> &t, unsigned char *to, const typename F::block *b, int unit, int row, int q)
{
    constexpr int ELEMENTS = F::TAILS ? 32 : 256;
    bool whole = unit < t.whole;
    int groups = whole ? GROUPS : t.tail;
    uint32_t low[2 * F::LOW] = {}, high[2 * F::HIGH + 1] = {};

    for (int j = 0; j < groups; j++) {
        for (int i = 0; i < 8; i++) {
            int c = 32 * j + column_of<F>(q, i);
            unsigned code = code_of(b + c / ELEMENTS, c % ELEMENTS);
            set_code<F::LOW>(low, j, i, code & ((1u << F::LOW) - 1));
            if (F::HIGH) {
                set_code<F::HIGH ? F::HIGH : 1>(high, j, i, code >> F::LOW);
            }
        }
    }
    for (int w = 0; w < groups * F::LOW / 4; w++) {
        int at = whole ? t.piece(F::LOW, unit, row, q, w / 4) + w % 4 * 4 : t.tail_piece(F::LOW, row, q, 0) + 4 * w;
        *reinterpret_cast<uint32_t *>(to + at) = low[w];
    }
    if (F::HIGH && whole) {
        for (int w = 0; w < 2 * F::HIGH; w++) {
            *reinterpret_cast<uint32_t *>(to + t.high_at() + t.piece(F::HIGH, unit, row, q, 0) + 4 * w) = high[w];
        }
    } else if (F::HIGH == 1) {
        for (int j = 0; j < groups; j++) {
            uint32_t bits = high[j / 4] >> (4 * (j % 4));
            to[t.high_at() + t.tail_piece(1, row, q, j)] = (unsigned char)((bits & 15) | (bits >> 16 & 15) << 4);
        }
    }
    if constexpr (F::TAILS) {
        for (int j = 2 * q; j < groups && j < 2 * q + 2; j++) {
            int at = whole ? t.scale(unit, row) + j * (F::SCALE / GROUPS) : t.tail_scale(row, j);
            put_half(to + t.scale_at() + at, b[j].d);
            if constexpr (F::SCALES == TWO_F16) {
                put_half(to + t.scale_at() + at + 2, b[j].m);
            }
        }
    } else {
        put_share<F>(to + t.scale_at() + t.scale(unit, row), to + t.super_at() + (unit * t.rows + row) * F::SUPER, b, q);
    }
}

template <typename F>
__global__ void __launch_bounds__(THREADS)
    order_blocks(unsigned char *to, int64_t row_bytes, int64_t all_rows, int64_t cols, int64_t row0, int64_t rows,
                 const unsigned char *from)
{
    int64_t quarters = (cols + UNIT - 1) / UNIT * 4, at = (int64_t)blockIdx.x * THREADS + threadIdx.x, row = at / quarters;
    int unit = (int)(at % quarters / 4), q = (int)(at % 4);

    if (row >= rows) {
        return;
    }
    tile<F> t(to, row_bytes, all_rows, cols, (row0 + row) / TILE_ROWS);
    const typename F::block *b = reinterpret_cast<const typename F::block *>(from + row * row_bytes);
    put_quarter<F>(t, to + (t.base - to), b + unit * (F::TAILS ? GROUPS : 1), unit, (int)((row0 + row) % TILE_ROWS), q);
}

// --- random models ---

__device__ uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

// Words [word, ...) of a tensor: all of their bits are random.
__global__ void __launch_bounds__(THREADS) random_codes(unsigned char *to, int64_t bytes, uint64_t seed, int64_t word)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    uint64_t bits = mix((seed + (uint64_t)(word + i)) * 0x9e3779b97f4a7c15ull);

    if (8 * i + 8 <= bytes) {
        *reinterpret_cast<uint64_t *>(to + 8 * i) = bits;
    } else {
        for (int b = 0; 8 * i + b < bytes; b++) {
            to[8 * i + b] = (unsigned char)(bits >> (8 * b));
        }
    }
}

// The f16 scales of a block over its random bits, as model/random.c has them; b < 0: only one.
struct block_scales {
    int a, b;
    uint16_t a_bits, b_bits;
};

block_scales scales_of(dtype type)
{
    switch (type) {
    case DTYPE_Q8_0: return {0, -1, 0x0c00, 0};
    case DTYPE_Q4_0: return {0, -1, 0x1c00, 0};
    case DTYPE_Q4_1: return {0, 2, 0x1c00, 0xa780};
    case DTYPE_Q5_0: return {0, -1, 0x1800, 0};
    case DTYPE_Q5_1: return {0, 2, 0x1800, 0xa7c0};
    case DTYPE_Q2_K: return {80, 82, 0x1400, 0x1600};
    case DTYPE_Q3_K: return {108, -1, 0x0c00, 0};
    case DTYPE_Q4_K: return {0, 2, 0x0400, 0x0f80};
    case DTYPE_Q5_K: return {0, 2, 0x0200, 0x0fc0};
    case DTYPE_Q6_K: return {208, -1, 0x0100, 0};
    default: return {0, -1, 0x0c00, 0}; // IQ4_NL
    }
}

__global__ void __launch_bounds__(THREADS) set_scales(unsigned char *to, int64_t blocks, int block_bytes, block_scales s)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;

    if (i < blocks) {
        put_half(to + i * block_bytes + s.a, s.a_bits);
        if (s.b >= 0) {
            put_half(to + i * block_bytes + s.b, s.b_bits);
        }
    }
}

} // namespace

cudaError_t cuda_block_order_load(void)
{
    const void *const others[] = {(const void *)random_codes, (const void *)set_scales};
    cudaError_t status = load_kernels(others, 2);

    for (int type = 0; type < DTYPE_COUNT && status == cudaSuccess; type++) {
        with_format((dtype)type, [&](auto format) {
            const void *const kernels[] = {(const void *)order_blocks<decltype(format)>};
            status = load_kernels(kernels, 1);
        });
    }
    return status;
}

cudaError_t cuda_block_order(cudaStream_t stream, const matrix *to, int64_t row0, int64_t rows, const void *from)
{
    int64_t quarters = rows * ceil_div(to->cols, UNIT) * 4;

    with_format(to->type, [&](auto format) {
        order_blocks<decltype(format)><<<(unsigned)ceil_div(quarters, THREADS), THREADS, 0, stream>>>(
            static_cast<unsigned char *>(const_cast<void *>(to->data)), (int64_t)to->row_bytes, to->rows, to->cols, row0, rows,
            static_cast<const unsigned char *>(from));
    });
    return cudaGetLastError();
}

cudaError_t cuda_random_blocks(cudaStream_t stream, const matrix *w, int64_t row0, int64_t rows, uint64_t seed, void *to)
{
    int64_t bytes = rows * (int64_t)w->row_bytes, block = (int64_t)dtype_block_bytes(w->type);
    unsigned char *p = static_cast<unsigned char *>(to);

    random_codes<<<(unsigned)ceil_div(ceil_div(bytes, 8), THREADS), THREADS, 0, stream>>>(p, bytes, seed,
                                                                                         row0 * (int64_t)w->row_bytes / 8);
    set_scales<<<(unsigned)ceil_div(bytes / block, THREADS), THREADS, 0, stream>>>(p, bytes / block, (int)block,
                                                                                   scales_of(w->type));
    return cudaGetLastError();
}
