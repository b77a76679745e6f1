// Blocks of weights on the card: the planes of a tile of 16 rows, and one lane's part of them.
// Rests on base/dtype.h for the stored blocks and on element.cuh. block_order.cu writes this order, blocks.cu multiplies from
// it, block_rows.cu makes plain rows of it.
//
// A matrix takes as many bytes as its stored blocks: tile after tile, each of 16 rows (the last: of those that are left). A
// tile has up to four planes, one behind the other: low bits of codes, high bits of codes, scales, and the scales of
// super-blocks. A plane has unit after unit, of 256 columns; of a unit 16 bytes for each quarter q of each row, row after row,
// as often as the quarter's 64 codes need. So a warp reads 512 bytes at once: lane 4 g + q takes quarter q of rows g and g + 8.
//
// Codes: a quarter has eight codes of each of the unit's eight groups of 32 columns: columns [8 q, 8 q + 8) of it, or, where
// scales are for 16 columns, [4 q, 4 q + 4) of both halves. These are the k indices of two products of tensor cores. Codes 2 p
// and 2 p + 1 have their bits at the same place of the two halves of a word, where a mask makes two numbers of 16 bits of them.
//
// Scales: share s, of four, has those of groups 2 s and 2 s + 1 of a unit; where scales are for 16 columns, of 2 s, 2 s + 1,
// 2 s + 8 and 2 s + 9. Scales and minima of 6 bits are 24 bits a share, without gaps.
//
// The last unit of a row may be shorter, t groups of 32, in types with blocks of 32 alone: a quarter's pieces are as many bytes
// as its t groups take then, a group's bytes together; scales follow group after group.
#pragma once

#include "device/cuda/runtime/element.cuh"

namespace blocks
{

constexpr int TILE_ROWS = 16, UNIT = 256, GROUPS = 8; // groups of 32 columns a unit

enum code_kind { UNSIGNED, SIGNED, TABLE };             // signed: 8 bits; table: of IQ4_NL
enum scale_kind { ONE_F16, TWO_F16, NIBBLES, SIX_BITS, TWO_SIX_BITS, BYTES };

template <dtype TYPE> struct format;

template <int L, int H, int G, int S, int D, bool M, int C, code_kind K, scale_kind Z> struct planes {
    static constexpr int LOW = L, HIGH = H; // bits of a code in its planes
    static constexpr int GROUP = G;         // columns of a scale
    static constexpr int SCALE = S;         // bytes of a row of a unit: scales of groups,
    static constexpr int SUPER = D;         // and of its super-block, where they have a plane of their own
    static constexpr bool MINIMA = M;
    static constexpr int CENTRE = C; // taken away from a code
    static constexpr code_kind CODES = K;
    static constexpr scale_kind SCALES = Z;
    static constexpr int SHARED = GROUP == 32 ? 2 : 4; // scales of a share
    static constexpr bool TAILS = Z == ONE_F16 || Z == TWO_F16;
};

template <> struct format<DTYPE_Q8_0> : planes<8, 0, 32, 16, 0, false, 0, SIGNED, ONE_F16> {
    using block = block_q8_0;
};
template <> struct format<DTYPE_Q4_0> : planes<4, 0, 32, 16, 0, false, 8, UNSIGNED, ONE_F16> {
    using block = block_q4_0;
};
template <> struct format<DTYPE_Q4_1> : planes<4, 0, 32, 32, 0, true, 0, UNSIGNED, TWO_F16> {
    using block = block_q4_1;
};
template <> struct format<DTYPE_Q5_0> : planes<4, 1, 32, 16, 0, false, 16, UNSIGNED, ONE_F16> {
    using block = block_q5_0;
};
template <> struct format<DTYPE_Q5_1> : planes<4, 1, 32, 32, 0, true, 0, UNSIGNED, TWO_F16> {
    using block = block_q5_1;
};
template <> struct format<DTYPE_Q2_K> : planes<2, 0, 16, 16, 4, true, 0, UNSIGNED, NIBBLES> {
    using block = block_q2_k;
};
template <> struct format<DTYPE_Q3_K> : planes<2, 1, 16, 12, 2, false, 4, UNSIGNED, SIX_BITS> {
    using block = block_q3_k;
};
template <> struct format<DTYPE_Q4_K> : planes<4, 0, 32, 16, 0, true, 0, UNSIGNED, TWO_SIX_BITS> {
    using block = block_q4_k;
};
template <> struct format<DTYPE_Q5_K> : planes<4, 1, 32, 16, 0, true, 0, UNSIGNED, TWO_SIX_BITS> {
    using block = block_q5_k;
};
template <> struct format<DTYPE_Q6_K> : planes<4, 2, 16, 16, 2, false, 32, UNSIGNED, BYTES> {
    using block = block_q6_k;
};
template <> struct format<DTYPE_IQ4_NL> : planes<4, 0, 32, 16, 0, false, 0, TABLE, ONE_F16> {
    using block = block_iq4_nl;
};

// Calls `work` with the format of a type; false for a type that has none.
template <typename Work> bool with_format(dtype type, const Work &work)
{
    switch (type) {
    case DTYPE_Q8_0: work(format<DTYPE_Q8_0>{}); return true;
    case DTYPE_Q4_0: work(format<DTYPE_Q4_0>{}); return true;
    case DTYPE_Q4_1: work(format<DTYPE_Q4_1>{}); return true;
    case DTYPE_Q5_0: work(format<DTYPE_Q5_0>{}); return true;
    case DTYPE_Q5_1: work(format<DTYPE_Q5_1>{}); return true;
    case DTYPE_Q2_K: work(format<DTYPE_Q2_K>{}); return true;
    case DTYPE_Q3_K: work(format<DTYPE_Q3_K>{}); return true;
    case DTYPE_Q4_K: work(format<DTYPE_Q4_K>{}); return true;
    case DTYPE_Q5_K: work(format<DTYPE_Q5_K>{}); return true;
    case DTYPE_Q6_K: work(format<DTYPE_Q6_K>{}); return true;
    case DTYPE_IQ4_NL: work(format<DTYPE_IQ4_NL>{}); return true;
    default: return false;
    }
}

// --- the order ---

// One tile, and where its planes begin.
template <typename F> struct tile {
    const unsigned char *base;
    int rows, whole, tail; // whole units of a row; groups of 32 of the one that is not

    __host__ __device__ tile(const void *matrix, int64_t row_bytes, int64_t all_rows, int64_t cols, int64_t index)
    {
        int64_t left = all_rows - index * TILE_ROWS;
        base = static_cast<const unsigned char *>(matrix) + index * TILE_ROWS * row_bytes;
        rows = left < TILE_ROWS ? (int)left : TILE_ROWS;
        whole = (int)(cols / UNIT);
        tail = F::TAILS ? (int)(cols % UNIT / 32) : 0;
    }

    // This one, or another of the same width, by value: an object with an address would not be kept in registers.
    __device__ tile or_else(bool so, const tile &other) const
    {
        tile t = *this;
        t.base = so ? base : other.base;
        t.rows = so ? rows : other.rows;
        return t;
    }

    __device__ int groups() const
    {
        return whole * GROUPS + tail;
    }

    __device__ int high_at() const
    {
        return rows * groups() * 4 * F::LOW;
    }

    __device__ int scale_at() const
    {
        return high_at() + rows * groups() * 4 * F::HIGH;
    }

    __device__ int super_at() const
    {
        return scale_at() + rows * whole * F::SCALE;
    }

    // Bytes of a plane with `bits` a code before quarter q of a row: of piece p of a whole unit, of group j of the last.
    __device__ int piece(int bits, int unit, int row, int q, int p) const
    {
        int size = bits == 1 ? 8 : 16;
        return unit * rows * 32 * bits + ((p * rows + row) * 4 + q) * size;
    }

    __device__ int tail_piece(int bits, int row, int q, int j) const
    {
        return whole * rows * 32 * bits + ((row * 4 + q) * tail + j) * bits;
    }

    __device__ int scale(int unit, int row) const
    {
        return (unit * rows + row) * F::SCALE;
    }

    __device__ int tail_scale(int row, int j) const
    {
        return whole * rows * F::SCALE + (row * tail + j) * (F::SCALE / GROUPS);
    }
};

// --- a lane's part ---

// Weights are read once: they need not stay in the first-level cache, where x does.
__device__ inline void read_once(uint32_t *to, const unsigned char *from, int words)
{
    if (words == 4) {
        asm volatile("ld.global.nc.L1::no_allocate.L2::256B.v4.u32 {%0, %1, %2, %3}, [%4];"
                     : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                     : "l"(from));
    } else if (words == 2) {
        asm volatile("ld.global.nc.L1::no_allocate.L2::256B.v2.u32 {%0, %1}, [%2];" : "=r"(to[0]), "=r"(to[1]) : "l"(from));
    } else {
        asm volatile("ld.global.nc.L1::no_allocate.L2::256B.u32 %0, [%1];" : "=r"(to[0]) : "l"(from));
    }
}

__device__ inline uint32_t read_half(const unsigned char *from)
{
    return *reinterpret_cast<const uint16_t *>(from);
}

// A quarter of one row of a unit: 64 codes, and scales: all shares, or only the share of the same number (OWN).
template <typename F, bool OWN> struct quarter {
    static constexpr int SIX_WORDS = 3 + (F::SCALES == TWO_SIX_BITS); // with d and dmin behind the shares
    static constexpr bool SIX = F::SCALES == SIX_BITS || F::SCALES == TWO_SIX_BITS;
    static constexpr int SHARE_WORDS = F::SCALES == TWO_F16 ? 2 : 1;
    static constexpr int WORDS = SIX ? SIX_WORDS : OWN ? SHARE_WORDS : 4 * SHARE_WORDS;

    uint32_t low[2 * F::LOW], high[F::HIGH ? 2 * F::HIGH : 1], scale[WORDS], super;

    // Of a unit that is not shorter: codes, high bits, scales and super-scales begin at these addresses, pieces of `rows` rows
    // apart.
    __device__ void read_whole(const unsigned char *l, const unsigned char *h, const unsigned char *s, const unsigned char *d,
                               int rows)
    {
#pragma unroll
        for (int p = 0; p < F::LOW / 2; p++) {
            read_once(low + 4 * p, l + p * rows * 64, 4);
        }
        if constexpr (F::HIGH) {
            read_once(high, h, 2 * F::HIGH);
        }
        if constexpr (WORDS == 3) {
            read_once(scale, s, 1);
            read_once(scale + 1, s + 4, 1);
            read_once(scale + 2, s + 8, 1);
        } else if constexpr (F::HIGH && F::TAILS && WORDS > 1) { // behind single bits: in the last tile aligned to 4 bytes
#pragma unroll
            for (int w = 0; w < WORDS; w++) {
                read_once(scale + w, s + 4 * w, 1);
            }
        } else {
#pragma unroll
            for (int w = 0; w < WORDS; w += 4) {
                read_once(scale + w, s + 4 * w, WORDS < 4 ? WORDS : 4);
            }
        }
        if constexpr (F::SUPER == 4) {
            read_once(&super, d, 1);
        } else if constexpr (F::SUPER == 2) {
            super = read_half(d);
        }
    }

    __device__ void read_tail(const tile<F> &t, int row, int q)
    {
        const unsigned char *l = t.base + t.tail_piece(F::LOW, row, q, 0), *s = t.base + t.scale_at() + t.tail_scale(row, 0);
        const unsigned char *h = t.base + t.high_at() + t.tail_piece(F::HIGH, row, q, 0);

#pragma unroll
        for (int w = 0; w < 2 * F::LOW; w++) {
            low[w] = w * 4 < t.tail * F::LOW ? *reinterpret_cast<const uint32_t *>(l + 4 * w) : 0;
        }
        high[0] = 0;
        if constexpr (F::HIGH == 1) { /* four bits of even codes and four of odd ones in a byte */
#pragma unroll
            for (int j = 0; j < GROUPS; j++) {
                uint32_t bits = j < t.tail ? h[j] : 0;
                high[j / 4] = (j % 4 ? high[j / 4] : 0) | (bits & 15) << (4 * (j % 4)) | bits >> 4 << (16 + 4 * (j % 4));
            }
        }
        constexpr int HALVES = 2 * SHARE_WORDS, FROM = OWN ? 1 : 4;
#pragma unroll
        for (int i = 0; i < FROM * SHARE_WORDS; i++) { /* words of halves: of the lane's own share, or of all */
            int at = (OWN ? q * HALVES : 0) + 2 * i, all = t.tail * SHARE_WORDS;
            uint32_t a = at < all ? read_half(s + 2 * at) : 0, b = at + 1 < all ? read_half(s + 2 * at + 2) : 0;
            scale[i] = a | b << 16;
        }
    }

    // Any row of any tile; rows behind the last read the last.
    __device__ void read(const tile<F> &t, int unit, int row, int q)
    {
        row = min(row, t.rows - 1);
        if (F::TAILS && unit == t.whole) {
            read_tail(t, row, q);
        } else {
            read_whole(t.base + t.piece(F::LOW, unit, row, q, 0), t.base + t.high_at() + t.piece(F::HIGH, unit, row, q, 0),
                       t.base + t.scale_at() + t.scale(unit, row) + (OWN && !SIX ? q * 4 * SHARE_WORDS : 0),
                       t.base + t.super_at() + (unit * t.rows + row) * F::SUPER, t.rows);
        }
    }
};

// Bits that are there when all loads of these two rows are.
template <typename F, bool OWN> __device__ inline uint32_t touched(const quarter<F, OWN> (&r)[2])
{
    uint32_t t = 0;
#pragma unroll
    for (int i = 0; i < 2; i++) {
#pragma unroll
        for (int p = 0; p < F::LOW / 2; p++) {
            t ^= r[i].low[4 * p];
        }
        t ^= F::HIGH ? r[i].high[0] : 0;
#pragma unroll
        for (int w = 0; w < quarter<F, OWN>::WORDS; w += quarter<F, OWN>::WORDS == 3 ? 1 : 4) {
            t ^= r[i].scale[w];
        }
        t ^= F::SUPER ? r[i].super : 0;
    }
    return t;
}

// Rows g and g + 8. WHOLE: a tile of 16 rows and a unit of 256 columns, read by addresses that differ by constants.
template <bool WHOLE, typename F, bool OWN>
__device__ inline void read_two(quarter<F, OWN> (&r)[2], const tile<F> &t, int unit, int g, int q)
{
    if (!WHOLE && (t.rows < TILE_ROWS || (F::TAILS && unit == t.whole))) {
        r[0].read(t, unit, g, q);
        r[1].read(t, unit, g + 8, q);
        return;
    }
    constexpr unsigned WIDE = F::HIGH == 1 ? 8 : 16,
                       SHARE = OWN && !quarter<F, OWN>::SIX ? 4 * quarter<F, OWN>::SHARE_WORDS : 0;
    unsigned lane = (unsigned)(4 * g + q), u = (unsigned)unit, all = (unsigned)t.groups() * TILE_ROWS * 4;
    const unsigned char *l = t.base + (u * (TILE_ROWS * 32 * F::LOW) + lane * 16);
    const unsigned char *h = t.base + (all * F::LOW + u * (TILE_ROWS * 32 * F::HIGH) + lane * WIDE);
    const unsigned char *s =
        t.base + (all * (F::LOW + F::HIGH) + (u * TILE_ROWS + (unsigned)g) * F::SCALE + (unsigned)q * SHARE);
    const unsigned char *d = t.base + (all * (F::LOW + F::HIGH) + (unsigned)t.whole * (TILE_ROWS * F::SCALE) +
                                       (u * TILE_ROWS + (unsigned)g) * F::SUPER);
#pragma unroll
    for (int i = 0; i < 2; i++) {
        r[i].read_whole(l + i * 512, h + i * 32 * WIDE, s + i * 8 * F::SCALE, d + i * 8 * F::SUPER, TILE_ROWS);
    }
}

// --- scales ---

template <typename F> struct share {
    float factor[F::SHARED], minimum[F::SHARED];
};

__device__ inline float low_half(uint32_t w)
{
    return __half2float(__ushort_as_half((unsigned short)(w & 0xffff)));
}

__device__ inline float high_half(uint32_t w)
{
    return __half2float(__ushort_as_half((unsigned short)(w >> 16)));
}

// (a & mask) | bits as one instruction: of two constants the compiler makes two.
__device__ inline uint32_t mask_or(uint32_t a, uint32_t mask, uint32_t bits)
{
    uint32_t d;

    asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(d) : "r"(a), "r"(mask), "r"(bits));
    return d;
}

// An integer of up to 8 bits less `offset`, without the slow conversion: 2^23 + n has n as its last bits.
constexpr uint32_t TWO_23 = 0x4b000000u;

__device__ inline float small_number(uint32_t w, uint32_t mask, int offset)
{
    return __uint_as_float(mask_or(w, mask, TWO_23)) - (float)(8388608 + offset);
}

// The same of byte i.
__device__ inline float small_byte(uint32_t w, uint32_t i, int offset)
{
    return __uint_as_float(__byte_perm(w, TWO_23, 0x7440 | i)) - (float)(8388608 + offset);
}

// The 24 bits of share s, and those that follow.
__device__ inline uint32_t six_bit_share(const uint32_t *w, int s)
{
    uint32_t a = s < 2 ? w[0] : w[1], b = s < 2 ? w[1] : w[2];

    return __byte_perm(a, b, s == 0 ? 0x3210 : s == 1 ? 0x6543 : s == 2 ? 0x5432 : 0x7765);
}

// Share s: with OWN the lane's own, else known when compiled. Every factor is exact.
template <typename F, bool OWN> __device__ inline share<F> share_of(const quarter<F, OWN> &r, int s)
{
    share<F> out;
    int at = OWN ? 0 : s;

    if constexpr (F::SCALES == ONE_F16) {
        out.factor[0] = low_half(r.scale[at]);
        out.factor[1] = high_half(r.scale[at]);
    } else if constexpr (F::SCALES == TWO_F16) {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            out.factor[i] = low_half(r.scale[2 * at + i]);
            out.minimum[i] = high_half(r.scale[2 * at + i]);
        }
    } else if constexpr (F::SCALES == NIBBLES) {
        float d = low_half(r.super), dmin = -high_half(r.super);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            out.factor[i] = d * small_number(r.scale[at] >> (8 * i), 15, 0);
            out.minimum[i] = dmin * small_number(r.scale[at] >> (8 * i + 4), 15, 0);
        }
    } else if constexpr (F::SCALES == BYTES) {
        uint32_t w = r.scale[at] ^ 0x80808080u;
        float d = low_half(r.super);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            out.factor[i] = d * small_byte(w, i, 128);
        }
    } else if constexpr (F::SCALES == SIX_BITS) {
        uint32_t w = six_bit_share(r.scale, s);
        float d = low_half(r.super);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            out.factor[i] = d * small_number(w >> (6 * i), 63, 32);
        }
    } else {
        uint32_t w = six_bit_share(r.scale, s);
        float d = low_half(r.scale[3]), dmin = -high_half(r.scale[3]);
#pragma unroll
        for (int i = 0; i < 2; i++) {
            out.factor[i] = d * small_number(w >> (6 * i), 63, 0);
            out.minimum[i] = dmin * small_number(w >> (12 + 6 * i), 63, 0);
        }
    }
    return out;
}

// --- codes ---

// a * x + b of two numbers of 16 bits each.
template <bool BF16> __device__ inline uint32_t fma_pair(uint32_t a, uint32_t x, uint32_t b)
{
    uint32_t d;

    if constexpr (BF16) {
        asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(x), "r"(b));
    } else {
        asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(x), "r"(b));
    }
    return d;
}

template <bool BF16> constexpr uint32_t ONES = BF16 ? 0x3f803f80u : 0x3c003c00u;
// The least exponent with which the last bits of a fraction are an integer: 128 in bf16, 1,024 in f16.
template <bool BF16> constexpr uint32_t BASE = BF16 ? 0x43004300u : 0x64006400u;

// -(128 + centre) or -(1,024 + centre), twice: of so few bits that the type has them exactly.
template <bool BF16> constexpr uint32_t less(int centre)
{
    uint32_t bits = BF16 ? 0xc300u + (uint32_t)centre : 0xe400u + (uint32_t)centre;

    return bits << 16 | bits;
}

// Four entries of IQ4_NL's table as bytes, by four nibbles.
__device__ inline uint32_t table_bytes(uint32_t nibbles)
{
    uint32_t by = nibbles & 0x7777, negative = __byte_perm(0xbfad9881u, 0xf6eaddcfu, by),
             positive = __byte_perm(0x26190d01u, 0x71594535u, by);

    return __byte_perm(negative, positive, (nibbles & 0x8888) >> 1 | 0x3210);
}

// Two signed bytes, the lower ones of a word's halves.
template <bool BF16> __device__ inline uint32_t signed_pair(uint32_t w)
{
    if constexpr (BF16) { /* 128 + the lower seven bits, less 128 or 256 */
        return fma_pair<true>(mask_or(w, 0x00800080u, BASE<true>), 0xbf80bf80u, mask_or(w, 0x007f007fu, BASE<true>));
    } else {
        return fma_pair<false>((w & 0x00ff00ffu) ^ 0x64806480u, ONES<false>, less<false>(128));
    }
}

template <int BITS> constexpr uint32_t PAIR_MASK = ((1u << BITS) - 1) * 0x00010001u;

// Codes 2 p and 2 p + 1 of group j of 32, as the numbers that they stand for, or FOLDED: bf16 numbers that are 128 + F::CENTRE
// more. Exact in 16 bits.
template <typename F, bool BF16, bool FOLDED = false, bool OWN>
__device__ inline uint32_t code_pair(const quarter<F, OWN> &r, int j, int p)
{
    if constexpr (F::CODES == SIGNED) {
        return signed_pair<BF16>(r.low[2 * j + p / 2] >> (8 * (p % 2)));
    } else if constexpr (F::CODES == TABLE) {
        uint32_t even = table_bytes(r.low[j] & 0xffff), odd = table_bytes(r.low[j] >> 16);
        return signed_pair<BF16>(__byte_perm(even, odd, 0x4400 + 0x1111 * (uint32_t)p));
    } else {
        int at = F::LOW == 4 ? 4 * p : 2 * (4 * (j % 2) + p);
        uint32_t v = mask_or(r.low[F::LOW == 4 ? j : j / 2] >> at, PAIR_MASK<F::LOW>, BASE<BF16>);
        if constexpr (F::HIGH) {
            int bit = (F::HIGH == 1 ? 4 * (j % 4) + p : 2 * (4 * (j % 2) + p)) - F::LOW;
            uint32_t h = r.high[F::HIGH == 1 ? j / 4 : j / 2];
            v = mask_or(bit < 0 ? h << -bit : h >> bit, PAIR_MASK<F::HIGH> << F::LOW, v);
        }
        return FOLDED ? v : fma_pair<BF16>(v, ONES<BF16>, less<BF16>(F::CENTRE));
    }
}

// The eight elements of group j, in the order of their columns; `s` is the share that has its scales. The bits of
// device/cpu/unpack_scalar.c.
template <typename F> __device__ inline void elements_of(float (&w)[8], const quarter<F, false> &r, const share<F> &s, int j)
{
#pragma unroll
    for (int i = 0; i < 8; i++) {
        uint32_t pair = code_pair<F, true>(r, j, i / 2);
        float code = __uint_as_float(i % 2 ? pair & 0xffff0000u : pair << 16);
        int at = F::GROUP == 32 ? j % 2 : j / 4 * 2 + i / 4;
        w[i] = F::MINIMA ? fmaf(code, s.factor[at], s.minimum[at]) : code * s.factor[at];
    }
}

// Group h of the two that a share has scales for, 32 columns each.
template <typename F> __host__ __device__ constexpr int group_of(int s, int h)
{
    return F::GROUP == 32 ? 2 * s + h : s + 4 * h;
}

// The column within group j of 32 of code i of a quarter.
template <typename F> __host__ __device__ constexpr int column_of(int q, int i)
{
    return F::GROUP == 32 ? 8 * q + i : i / 4 * 16 + 4 * q + i % 4;
}

} // namespace blocks
