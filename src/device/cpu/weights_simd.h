/* Unpacking weights in vectors, for any number of lanes: 32 elements at a time, in order.
   Rests on weights_avx2.h or weights_avx512.h, included before. The definition is unpack_scalar.c; linear_simd.h uses this.

   Every function has the type as a constant argument and is inlined: each kernel contains its own type only. `span` points
   to the blocks of up to SPAN elements. Quantised weights are factor * code (+ low): codes are exact small integers in fp32,
   the factors of all groups of a span are computed at once. */
#pragma once

#include "device/cpu/linear_kernels.h"

#include <stddef.h>
#include <string.h>

enum { GROUP = 32, GROUPS = SPAN / GROUP, VECTORS = GROUP / VW };

/* Of each group of 32, or of 16 for some types. */
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

/* Bytes of a block (plain types: of one element), a constant. */
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

/* The f16 at p, p + stride, ... as floats: `n` of them, and zeros up to eight. Assembled in integer registers, which are
   idle here. */
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

/* out[i] = d * byte i, of the first eight bytes, without or with sign. */
INLINE void scale_bytes(__m128i bytes, float d, float *out)
{
    __m256i ints = _mm256_cvtepu8_epi32(bytes);
    _mm256_store_ps(out, _mm256_mul_ps(_mm256_cvtepi32_ps(ints), _mm256_set1_ps(d)));
}

INLINE void scale_signed_bytes(__m128i bytes, float d, float *out)
{
    __m256i ints = _mm256_cvtepi8_epi32(bytes);
    _mm256_store_ps(out, _mm256_mul_ps(_mm256_cvtepi32_ps(ints), _mm256_set1_ps(d)));
}

INLINE __m128i two_words(uint64_t low, uint64_t high)
{
    return _mm_set_epi64x((long long)high, (long long)low);
}

/* Q4_K and Q5_K: eight scales and eight minima of 6 bits, four at a time; see scale_of in unpack_scalar.c. */
INLINE __m128i scales_of_12_bytes(const uint8_t s[12])
{
    uint32_t a = load_u32(s), b = load_u32(s + 4), c = load_u32(s + 8);
    uint32_t scale_high = (c & 0x0f0f0f0fu) | (a >> 2 & 0x30303030u),
             low_high = (c >> 4 & 0x0f0f0f0fu) | (b >> 2 & 0x30303030u);

    return two_words((uint64_t)(a & 0x3f3f3f3fu) | (uint64_t)scale_high << 32,
                     (uint64_t)(b & 0x3f3f3f3fu) | (uint64_t)low_high << 32);
}

INLINE void factors_of_12_bytes(const uint8_t s[12], float d, float dmin, factors *f)
{
    __m128i bytes = scales_of_12_bytes(s);

    scale_bytes(bytes, d, f->scale);
    scale_bytes(_mm_unpackhi_epi64(bytes, bytes), -dmin, f->low);
}

INLINE void factors_q2_k(const block_q2_k *b, factors *f)
{
    float d = one_half(b->d), dmin = one_half(b->dmin);

    for (int i = 0; i < 16; i += 8) {
        __m128i s = _mm_loadl_epi64((const void *)(b->scales + i)), mask = _mm_set1_epi8(15);
        scale_bytes(_mm_and_si128(s, mask), d, f->scale + i);
        scale_bytes(_mm_and_si128(_mm_srli_epi16(s, 4), mask), -dmin, f->low + i);
    }
}

/* Sixteen scales of 6 bits, less 32: the low four bits as nibbles of eight bytes, the upper two in pairs of bits of four. */
INLINE __m128i scales_q3_k(const block_q3_k *b)
{
    uint32_t h = load_u32(b->scales + 8);
    uint64_t low;

    memcpy(&low, b->scales, 8);
    __m128i high = two_words((h << 4 & 0x30303030u) | (uint64_t)(h << 2 & 0x30303030u) << 32,
                             (h & 0x30303030u) | (uint64_t)(h >> 2 & 0x30303030u) << 32);
    __m128i s = two_words(low & 0x0f0f0f0f0f0f0f0fu, low >> 4 & 0x0f0f0f0f0f0f0f0fu);
    return _mm_sub_epi8(_mm_or_si128(s, high), _mm_set1_epi8(32));
}

INLINE void factors_q3_k(const block_q3_k *b, factors *f)
{
    float d = one_half(b->d);
    __m128i s = scales_q3_k(b);

    scale_signed_bytes(s, d, f->scale);
    scale_signed_bytes(_mm_unpackhi_epi64(s, s), d, f->scale + 8);
}

INLINE void factors_q6_k(const block_q6_k *b, factors *f)
{
    float d = one_half(b->d);

    for (int i = 0; i < 16; i += 8) {
        scale_signed_bytes(_mm_loadl_epi64((const void *)(b->scales + i)), d, f->scale + i);
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

/* --- codes: group k of a span, as integers in the lanes --- */

/* Low nibbles of 16 bytes, then high ones. */
INLINE void nibbles(const uint8_t q[16], ivec c[VECTORS])
{
UNROLL
    for (int v = 0; v < VECTORS / 2; v++) {
        ivec z = i_of_bytes(q + v * VW);
        c[v] = i_and(z, 15);
        c[VECTORS / 2 + v] = i_right(z, 4);
    }
}

INLINE void add_bits(uint32_t bits, int value, ivec c[VECTORS])
{
UNROLL
    for (int v = 0; v < VECTORS; v++) {
        c[v] = i_or(c[v], i_of_bits(bits >> v * VW, value));
    }
}

INLINE void add_to_all(int value, ivec c[VECTORS])
{
UNROLL
    for (int v = 0; v < VECTORS; v++) {
        c[v] = i_add(c[v], i_all(value));
    }
}

/* Groups of a super-block whose q holds 4-bit codes: two groups share 32 bytes. */
INLINE void nibbles_of_super_block(const uint8_t q[128], int k, ivec c[VECTORS])
{
UNROLL
    for (int v = 0; v < VECTORS; v++) {
        ivec z = i_of_bytes(q + k / 2 * GROUP + v * VW);
        c[v] = k % 2 == 0 ? i_and(z, 15) : i_right(z, 4);
    }
}

/* The same for 2-bit codes: four groups share 32 bytes. */
INLINE void pairs_of_super_block(const uint8_t q[64], int k, ivec c[VECTORS])
{
UNROLL
    for (int v = 0; v < VECTORS; v++) {
        ivec z = i_of_bytes(q + k / 4 * GROUP + v * VW);
        c[v] = i_and(i_right(z, k % 4 * 2), 3);
    }
}

/* Bit k of 32 bytes as bit `to` of the codes. */
INLINE void add_bit_plane(const uint8_t high[32], int k, int to, ivec c[VECTORS])
{
UNROLL
    for (int v = 0; v < VECTORS; v++) {
        ivec z = i_of_bytes(high + v * VW);
        z = k < to ? i_left(z, to - k) : i_right(z, k - to);
        c[v] = i_or(c[v], i_and(z, 1 << to));
    }
}

INLINE void codes_q6_k(const block_q6_k *b, int k, ivec c[VECTORS])
{
    int half = k / 4, part = k % 4;

UNROLL
    for (int v = 0; v < VECTORS; v++) {
        ivec low = i_of_bytes(b->low + half * 64 + part % 2 * GROUP + v * VW);
        ivec high = i_of_bytes(b->high + half * GROUP + v * VW);
        low = part < 2 ? i_and(low, 15) : i_right(low, 4);
        high = part < 2 ? i_left(high, 4 - 2 * part) : i_right(high, 2 * part - 4);
        c[v] = i_add(i_or(low, i_and(high, 48)), i_all(-32));
    }
}

INLINE void get_codes(dtype type, const unsigned char *span, int k, vec out[VECTORS])
{
    const void *block = is_super_block(type) ? span : span + (size_t)k * block_bytes(type);
    ivec c[VECTORS];

    switch (type) {
    case DTYPE_Q8_0:
UNROLL
        for (int v = 0; v < VECTORS; v++) {
            c[v] = i_of_signed_bytes(((const block_q8_0 *)block)->q + v * VW);
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
            out[v] = v_lookup(iq4_nl_values, c[v]);
        }
        return;
    }
UNROLL
    for (int v = 0; v < VECTORS; v++) {
        out[v] = v_of_ints(c[v]);
    }
}

/* --- weights: group k of a span as fp32 --- */

INLINE vec plain_weights(dtype type, const unsigned char *p)
{
    return type == DTYPE_F32 ? v_load((const float *)(const void *)p) : type == DTYPE_F16 ? v_load_f16(p) : v_load_bf16(p);
}

INLINE void get_weights(dtype type, const unsigned char *span, const factors *f, int k, vec w[VECTORS])
{
    if (is_plain(type)) {
UNROLL
        for (int v = 0; v < VECTORS; v++) {
            w[v] = plain_weights(type, span + (size_t)(k * GROUP + v * VW) * block_bytes(type));
        }
        return;
    }
    get_codes(type, span, k, w);
UNROLL
    for (int v = 0; v < VECTORS; v++) {
        int i = has_sixteen_factors(type) ? 2 * k + v / (VECTORS / 2) : k;
        vec scale = v_all(f->scale[i]);
        w[v] = has_low(type) ? v_fma(w[v], scale, v_all(f->low[i])) : v_mul(w[v], scale);
    }
}
