/* Expanding weights in vectors, for any number of lanes: 32 elements at a time, in their order.
   Rests on vector_avx2.h or vector_avx512.h, included before. The definition is unpack_scalar.c; linear_simd.h uses this.

   Every function takes the type as a constant and is inlined, so that each kernel contains its own type only. `span` points to
   the blocks of up to SPAN elements. Quantised weights are factor * code (+ low): codes as exact small numbers in fp32, the
   factors of all groups of a span formed at once. */
#ifndef DEVICE_CPU_WEIGHTS_SIMD_H
#define DEVICE_CPU_WEIGHTS_SIMD_H

#include "device/cpu/linear_kernels.h"

#include <stddef.h>
#include <string.h>

enum { GROUP = 32, GROUPS = SPAN / GROUP, VECTORS = GROUP / LANES };

/* Of each group of 32, or where the type has them for each 16. */
typedef struct factors {
    _Alignas(64) float scale[16];
    _Alignas(64) float low[16];
} factors;

INLINE bool is_plain(dtype type)
{
    return type == DTYPE_F32 || type == DTYPE_F16 || type == DTYPE_BF16;
}

INLINE bool is_super_block(dtype type)
{
    return type == DTYPE_Q2_K || type == DTYPE_Q3_K || type == DTYPE_Q4_K || type == DTYPE_Q5_K || type == DTYPE_Q6_K;
}

INLINE bool has_low(dtype type)
{
    return type == DTYPE_Q4_1 || type == DTYPE_Q5_1 || type == DTYPE_Q2_K || type == DTYPE_Q4_K || type == DTYPE_Q5_K;
}

INLINE bool has_sixteen_factors(dtype type)
{
    return type == DTYPE_Q2_K || type == DTYPE_Q3_K || type == DTYPE_Q6_K;
}

/* Bytes of a block (of one element, where they are plain), as a constant. */
INLINE size_t block_bytes(dtype type)
{
    switch (type) {
    case DTYPE_F32: return sizeof(float);
    case DTYPE_Q8_0: return sizeof(block_q8_0);
    case DTYPE_Q4_0: return sizeof(block_q4_0);
    case DTYPE_Q4_1: return sizeof(block_q4_1);
    case DTYPE_Q5_0: return sizeof(block_q5_0);
    case DTYPE_Q5_1: return sizeof(block_q5_1);
    case DTYPE_Q2_K: return sizeof(block_q2_k);
    case DTYPE_Q3_K: return sizeof(block_q3_k);
    case DTYPE_Q4_K: return sizeof(block_q4_k);
    case DTYPE_Q5_K: return sizeof(block_q5_k);
    case DTYPE_Q6_K: return sizeof(block_q6_k);
    case DTYPE_IQ4_NL: return sizeof(block_iq4_nl);
    default: return sizeof(uint16_t);
    }
}

INLINE size_t span_bytes(dtype type)
{
    return block_bytes(type) * (is_plain(type) ? SPAN : is_super_block(type) ? 1 : GROUPS);
}

INLINE uint32_t load_u32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* --- factors --- */

INLINE uint64_t four_halves(const unsigned char *p, size_t stride)
{
    uint16_t h[4];

    for (size_t i = 0; i < 4; i++) {
        memcpy(&h[i], p + i * stride, 2);
    }
    return (uint64_t)h[0] | (uint64_t)h[1] << 16 | (uint64_t)h[2] << 32 | (uint64_t)h[3] << 48;
}

/* The f16 at p, p + stride, ... as floats: `n` of them, and zeros up to eight. They are put together in integer registers,
   which have nothing else to do. */
INLINE void spread_halves(const unsigned char *p, size_t stride, int n, float *out)
{
    uint64_t h[2] = {0, 0};

    if (n == 8) {
        h[0] = four_halves(p, stride);
        h[1] = four_halves(p + 4 * stride, stride);
    } else {
        for (int i = 0; i < n; i++) {
            uint16_t one;
            memcpy(&one, p + (size_t)i * stride, 2);
            h[i / 4] |= (uint64_t)one << i % 4 * 16;
        }
    }
    _mm256_store_ps(out, _mm256_cvtph_ps(_mm_set_epi64x((long long)h[1], (long long)h[0])));
}

INLINE float one_half(uint16_t h)
{
    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(h)));
}

/* out[i] = d * byte i, of eight bytes with or without sign. */
INLINE void scale_bytes(uint64_t bytes, float d, float *out)
{
    __m256i ints = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)bytes));
    _mm256_store_ps(out, _mm256_mul_ps(_mm256_cvtepi32_ps(ints), _mm256_set1_ps(d)));
}

INLINE void scale_signed_bytes(uint64_t bytes, float d, float *out)
{
    __m256i ints = _mm256_cvtepi8_epi32(_mm_cvtsi64_si128((long long)bytes));
    _mm256_store_ps(out, _mm256_mul_ps(_mm256_cvtepi32_ps(ints), _mm256_set1_ps(d)));
}

/* Q4_K and Q5_K: eight scales and eight minima of 6 bits, four at a time; see scale_and_min in unpack_scalar.c. */
INLINE void factors_of_12_bytes(const uint8_t s[12], float d, float dmin, factors *f)
{
    uint32_t a = load_u32(s), b = load_u32(s + 4), c = load_u32(s + 8);
    uint32_t scale_high = (c & 0x0f0f0f0fu) | (a >> 2 & 0x30303030u),
             low_high = (c >> 4 & 0x0f0f0f0fu) | (b >> 2 & 0x30303030u);

    scale_bytes((uint64_t)(a & 0x3f3f3f3fu) | (uint64_t)scale_high << 32, d, f->scale);
    scale_bytes((uint64_t)(b & 0x3f3f3f3fu) | (uint64_t)low_high << 32, -dmin, f->low);
}

INLINE void factors_q2_k(const block_q2_k *b, factors *f)
{
    float d = one_half(b->d), dmin = one_half(b->dmin);

    for (int i = 0; i < 16; i += 8) {
        uint64_t s;
        memcpy(&s, b->scales + i, 8);
        scale_bytes(s & 0x0f0f0f0f0f0f0f0fu, d, f->scale + i);
        scale_bytes(s >> 4 & 0x0f0f0f0f0f0f0f0fu, -dmin, f->low + i);
    }
}

/* Sixteen scales of 6 bits, less 32: the low four bits as nibbles of eight bytes, the upper two in pairs of bits of four. */
INLINE void factors_q3_k(const block_q3_k *b, factors *f)
{
    float d = one_half(b->d);
    uint32_t h = load_u32(b->scales + 8);
    uint64_t low, high[2] = {(h << 4 & 0x30303030u) | (uint64_t)(h << 2 & 0x30303030u) << 32,
                             (h & 0x30303030u) | (uint64_t)(h >> 2 & 0x30303030u) << 32};

    memcpy(&low, b->scales, 8);
    for (int i = 0; i < 2; i++) {
        uint64_t s = (low >> 4 * i & 0x0f0f0f0f0f0f0f0fu) | high[i];
        /* s - 32 in each byte, without a borrow between bytes: the top bit is set first and then flipped */
        s = ((s | 0x8080808080808080u) - 0x2020202020202020u) ^ 0x8080808080808080u;
        scale_signed_bytes(s, d, f->scale + 8 * i);
    }
}

INLINE void factors_q6_k(const block_q6_k *b, factors *f)
{
    float d = one_half(b->d);

    for (int i = 0; i < 16; i += 8) {
        uint64_t s;
        memcpy(&s, b->scales + i, 8);
        scale_signed_bytes(s, d, f->scale + i);
    }
}

/* The factors of the `groups` groups of a span. */
INLINE void get_factors(dtype type, const unsigned char *span, int groups, factors *f)
{
    const void *block = span;

    switch (type) {
    case DTYPE_F32:
    case DTYPE_F16:
    case DTYPE_BF16: break;
    case DTYPE_Q2_K: factors_q2_k(block, f); break;
    case DTYPE_Q3_K: factors_q3_k(block, f); break;
    case DTYPE_Q4_K: {
        const block_q4_k *b = block;
        factors_of_12_bytes(b->scales, one_half(b->d), one_half(b->dmin), f);
        break;
    }
    case DTYPE_Q5_K: {
        const block_q5_k *b = block;
        factors_of_12_bytes(b->scales, one_half(b->d), one_half(b->dmin), f);
        break;
    }
    case DTYPE_Q6_K: factors_q6_k(block, f); break;
    default:
        spread_halves(span, block_bytes(type), groups, f->scale);
        if (has_low(type)) {
            spread_halves(span + 2, block_bytes(type), groups, f->low);
        }
    }
}

/* --- codes: group k of a span, exact, as integers in the lanes --- */

/* Low nibbles of 16 bytes, then high ones. */
INLINE void nibbles(const uint8_t q[16], vi c[VECTORS])
{
UNROLL
    for (int v = 0; v < VECTORS / 2; v++) {
        vi z = vi_of_bytes(q + v * LANES);
        c[v] = vi_and(z, 15);
        c[VECTORS / 2 + v] = vi_right(z, 4);
    }
}

INLINE void add_bits(uint32_t bits, int value, vi c[VECTORS])
{
UNROLL
    for (int v = 0; v < VECTORS; v++) {
        c[v] = vi_or(c[v], vi_of_bits(bits >> v * LANES, value));
    }
}

INLINE void add_to_all(int value, vi c[VECTORS])
{
UNROLL
    for (int v = 0; v < VECTORS; v++) {
        c[v] = vi_add(c[v], vi_set(value));
    }
}

/* Groups of a super-block whose q holds 4-bit codes: two groups share 32 bytes. */
INLINE void nibbles_of_super_block(const uint8_t q[128], int k, vi c[VECTORS])
{
UNROLL
    for (int v = 0; v < VECTORS; v++) {
        vi z = vi_of_bytes(q + k / 2 * GROUP + v * LANES);
        c[v] = k % 2 == 0 ? vi_and(z, 15) : vi_right(z, 4);
    }
}

/* The same for 2-bit codes: four groups share 32 bytes. */
INLINE void pairs_of_super_block(const uint8_t q[64], int k, vi c[VECTORS])
{
UNROLL
    for (int v = 0; v < VECTORS; v++) {
        vi z = vi_of_bytes(q + k / 4 * GROUP + v * LANES);
        c[v] = vi_and(vi_right(z, k % 4 * 2), 3);
    }
}

/* Bit k of 32 bytes as bit `to` of the codes. */
INLINE void add_bit_plane(const uint8_t high[32], int k, int to, vi c[VECTORS])
{
UNROLL
    for (int v = 0; v < VECTORS; v++) {
        vi z = vi_of_bytes(high + v * LANES);
        z = k < to ? vi_left(z, to - k) : vi_right(z, k - to);
        c[v] = vi_or(c[v], vi_and(z, 1 << to));
    }
}

INLINE void codes_q6_k(const block_q6_k *b, int k, vi c[VECTORS])
{
    int half = k / 4, part = k % 4;

UNROLL
    for (int v = 0; v < VECTORS; v++) {
        vi low = vi_of_bytes(b->low + half * 64 + part % 2 * GROUP + v * LANES);
        vi high = vi_of_bytes(b->high + half * GROUP + v * LANES);
        low = part < 2 ? vi_and(low, 15) : vi_right(low, 4);
        high = part < 2 ? vi_left(high, 4 - 2 * part) : vi_right(high, 2 * part - 4);
        c[v] = vi_add(vi_or(low, vi_and(high, 48)), vi_set(-32));
    }
}

INLINE void get_codes(dtype type, const unsigned char *span, int k, vf out[VECTORS])
{
    const void *block = is_super_block(type) ? span : span + (size_t)k * block_bytes(type);
    vi c[VECTORS];

    switch (type) {
    case DTYPE_Q8_0:
UNROLL
        for (int v = 0; v < VECTORS; v++) {
            c[v] = vi_of_signed_bytes(((const block_q8_0 *)block)->q + v * LANES);
        }
        break;
    case DTYPE_Q4_0:
        nibbles(((const block_q4_0 *)block)->q, c);
        add_to_all(-8, c);
        break;
    case DTYPE_Q4_1: nibbles(((const block_q4_1 *)block)->q, c); break;
    case DTYPE_Q5_0:
        nibbles(((const block_q5_0 *)block)->q, c);
        add_bits(load_u32(((const block_q5_0 *)block)->high), 16, c);
        add_to_all(-16, c);
        break;
    case DTYPE_Q5_1:
        nibbles(((const block_q5_1 *)block)->q, c);
        add_bits(load_u32(((const block_q5_1 *)block)->high), 16, c);
        break;
    case DTYPE_Q2_K: pairs_of_super_block(((const block_q2_k *)block)->q, k, c); break;
    case DTYPE_Q3_K:
        pairs_of_super_block(((const block_q3_k *)block)->q, k, c);
        add_bit_plane(((const block_q3_k *)block)->high, k, 2, c);
        add_to_all(-4, c);
        break;
    case DTYPE_Q4_K: nibbles_of_super_block(((const block_q4_k *)block)->q, k, c); break;
    case DTYPE_Q5_K:
        nibbles_of_super_block(((const block_q5_k *)block)->q, k, c);
        add_bit_plane(((const block_q5_k *)block)->high, k, 4, c);
        break;
    case DTYPE_Q6_K: codes_q6_k(block, k, c); break;
    default: /* IQ4_NL */
        nibbles(((const block_iq4_nl *)block)->q, c);
UNROLL
        for (int v = 0; v < VECTORS; v++) {
            out[v] = vf_lookup(iq4_nl_values, c[v]);
        }
        return;
    }
UNROLL
    for (int v = 0; v < VECTORS; v++) {
        out[v] = vf_of_ints(c[v]);
    }
}

/* --- codes for one row of x, where every instruction counts ---

   Products of codes and x are summed within a group before the factor is applied, and what is the same for all elements of a
   group (minima, and half the range of codes with a sign) is applied to the sum of its x. Codes stay where they are in their
   bytes, so that they come as 4, 16 or 64 times the code; the factor, or x itself, is smaller by as much, which is exact. */

/* Is x taken with the second half of each group divided by 16? */
INLINE bool wants_sixteenths(dtype type)
{
    return type == DTYPE_Q4_0 || type == DTYPE_Q4_1 || type == DTYPE_Q5_0 || type == DTYPE_Q5_1;
}

INLINE bool has_low_for_one(dtype type)
{
    return has_low(type) || type == DTYPE_Q5_0 || type == DTYPE_Q3_K || type == DTYPE_Q6_K;
}

INLINE void get_factors_for_one(dtype type, const unsigned char *span, int groups, factors *f)
{
    static const _Alignas(32) float quarters[8] = {1, 1, 0x1p-2f, 0x1p-2f, 0x1p-4f, 0x1p-4f, 0x1p-6f, 0x1p-6f};
    static const _Alignas(32) float odd_sixteenths[8] = {1, 0x1p-4f, 1, 0x1p-4f, 1, 0x1p-4f, 1, 0x1p-4f};
    static const _Alignas(32) float half_sixteenths[8] = {1, 1, 1, 1, 0x1p-4f, 0x1p-4f, 0x1p-4f, 0x1p-4f};
    const float *by = type == DTYPE_Q2_K || type == DTYPE_Q3_K   ? quarters
                      : type == DTYPE_Q4_K || type == DTYPE_Q5_K ? odd_sixteenths
                      : type == DTYPE_Q6_K                       ? half_sixteenths
                                                                 : NULL;
    float middle = type == DTYPE_Q5_0 ? -16.0f : type == DTYPE_Q3_K ? -4.0f : -32.0f;

    get_factors(type, span, groups, f);
    for (int i = 0; i < 16 && (i == 0 || has_sixteen_factors(type)); i += 8) {
        __m256 scale = _mm256_load_ps(f->scale + i);
        if (has_low_for_one(type) && !has_low(type)) {
            _mm256_store_ps(f->low + i, _mm256_mul_ps(scale, _mm256_set1_ps(middle)));
        }
        if (by) {
            _mm256_store_ps(f->scale + i, _mm256_mul_ps(scale, _mm256_load_ps(by)));
        }
    }
    /* Factors are taken from memory, by loads that fill a vector with one: left alone, a compiler keeps them in a register and
       shuffles each out of it, on the very units that expand the codes. */
    __asm__("" : "+m"(*f));
}

/* b moved so that its bit `from` is bit `to`. */
INLINE vi moved(vi b, int from, int to)
{
    return from < to ? vi_left(b, to - from) : vi_right(b, from - to);
}

/* 16 bytes of nibbles, with fifth bits where there are any. */
INLINE void block_codes_for_one(dtype type, const unsigned char *block, vf out[VECTORS])
{
    enum { HALF = VECTORS / 2 };
    bool five = type == DTYPE_Q5_0 || type == DTYPE_Q5_1;
    const unsigned char *q = block + block_bytes(type) - 16;
    uint32_t high = five ? load_u32(q - 4) : 0;

    UNROLL
    for (int v = 0; v < HALF; v++) {
        if (type == DTYPE_Q4_0) { /* with its top bit flipped a nibble is code - 8 as a signed number */
            vi z = vi_of_flipped_bytes(q + v * LANES, 0x88);
            out[v] = vf_of_low_nibbles(z, true);
            out[HALF + v] = vf_of_ints(vi_and(z, ~15));
            continue;
        }
        vi z = vi_of_bytes(q + v * LANES);
        if (type == DTYPE_IQ4_NL) {
            out[v] = vf_lookup(iq4_nl_values, z);
            out[HALF + v] = vf_lookup(iq4_nl_values, vi_right(z, 4));
            continue;
        }
        out[v] = vf_of_low_nibbles(z, false);
        out[HALF + v] = vf_of_ints(vi_and(z, 0xf0));
        if (five) {
            out[v] = vf_add_where(out[v], high >> v * LANES, 16.0f);
            out[HALF + v] = vf_add_where(out[HALF + v], high >> (16 + v * LANES), 256.0f);
        }
    }
}

/* Vector v of group k of a super-block. */
INLINE vf super_codes_for_one(dtype type, const void *block, int k, int v)
{
    int j = k % 4, at = v * LANES;

    switch (type) {
    case DTYPE_Q2_K: {
        const block_q2_k *b = block;
        return vf_of_ints(vi_and(vi_of_bytes(b->q + k / 4 * GROUP + at), 3 << 2 * j));
    }
    case DTYPE_Q3_K: {
        const block_q3_k *b = block;
        vi z = vi_and(vi_of_bytes(b->q + k / 4 * GROUP + at), 3 << 2 * j);
        return vf_of_ints(vi_or_masked(z, moved(vi_of_bytes(b->high + at), k, 2 * j + 2), 4 << 2 * j));
    }
    case DTYPE_Q4_K: {
        vi z = vi_of_bytes(((const block_q4_k *)block)->q + k / 2 * GROUP + at);
        return k % 2 == 0 ? vf_of_low_nibbles(z, false) : vf_of_ints(vi_and(z, 0xf0));
    }
    case DTYPE_Q5_K: {
        const block_q5_k *b = block;
        int shift = k % 2 * 4;
        vi z = vi_and(vi_of_bytes(b->q + k / 2 * GROUP + at), 15 << shift);
        return vf_of_ints(vi_or_masked(z, moved(vi_of_bytes(b->high + at), k, 4 + shift), 16 << shift));
    }
    default: { /* Q6_K */
        const block_q6_k *b = block;
        int shift = j / 2 * 4;
        vi z = vi_and(vi_of_bytes(b->low + k / 4 * 64 + j % 2 * GROUP + at), 15 << shift);
        return vf_of_ints(vi_or_masked(z, moved(vi_of_bytes(b->high + k / 4 * GROUP + at), 2 * j, 4 + shift), 48 << shift));
    }
    }
}

INLINE void get_codes_for_one(dtype type, const unsigned char *span, int k, vf out[VECTORS])
{
    const unsigned char *block = span + (size_t)k * block_bytes(type);

    if (is_super_block(type)) {
        UNROLL
        for (int v = 0; v < VECTORS; v++) {
            out[v] = super_codes_for_one(type, span, k, v);
        }
    } else if (type == DTYPE_Q8_0) {
        get_codes(type, span, k, out);
    } else {
        block_codes_for_one(type, block, out);
    }
}

/* --- weights: group k of a span as fp32 --- */

INLINE vf plain_weights(dtype type, const unsigned char *p)
{
    return type == DTYPE_F32 ? vf_load((const float *)(const void *)p) : type == DTYPE_F16 ? vf_of_f16(p) : vf_of_bf16(p);
}

INLINE void get_weights(dtype type, const unsigned char *span, const factors *f, int k, vf w[VECTORS])
{
    if (is_plain(type)) {
UNROLL
        for (int v = 0; v < VECTORS; v++) {
            w[v] = plain_weights(type, span + (size_t)(k * GROUP + v * LANES) * block_bytes(type));
        }
        return;
    }
    get_codes(type, span, k, w);
UNROLL
    for (int v = 0; v < VECTORS; v++) {
        int i = has_sixteen_factors(type) ? 2 * k + v / (VECTORS / 2) : k;
        vf scale = vf_set(f->scale[i]);
        w[v] = has_low(type) ? vf_fma(w[v], scale, vf_set(f->low[i])) : vf_mul(w[v], scale);
    }
}

#endif
