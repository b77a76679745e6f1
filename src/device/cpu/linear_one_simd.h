/* Dot products with a single row of x (decode), in vectors of any number of lanes: included by linear_simd.h.
   Rests on weights_simd.h and the vector header before it. linear_simd.h has the dot products of several rows of x.

   Cost. A weight is read once. A core reads 20 to 30 GB/s from fast memory: at 4 bits about 10 weights a cycle, more than
   can be unpacked one by one. So codes are used in the order of their bytes. A vector holds their bytes as stored (64 with
   AVX-512); each 32-bit lane is masked to one code at its bit position and converted, which gives the code times a power of
   two. x is permuted into the same order once for all rows, each element divided by its power of two (exact), so that 16
   weights cost a mask, a conversion and a multiply-add. Products are summed within a group before its scale is applied; a
   minimum, or the offset of signed codes, is applied to sums of x. Rows of weights are processed ROWS at a time, sharing the
   loads of x; short rows of Q8_0 and the plain types one by one, since they are memory-bound.

   Zen 4 executes two 512-bit operations a cycle: 128 weights of Q4_1 are 8 multiply-adds, 7 conversions, 7 masks, one
   permutation of 16 values by 4 bits, and 7 more for gathering and scales: 30, or 8.5 weights a cycle. */
#pragma once

#include "device/cpu/weights_simd.h"

/* A quad: four vectors of x, for a vector of UNITS * 16 bytes of one code each. Quantised rows are processed in chunks of
   UNITS blocks of 32 (two quads), or in super-blocks. */
enum { UNITS = VW / 4, QUAD = 16 * UNITS, QUADS = SPAN / QUAD, ROWS = VW == 16 ? 4 : 2 };

/* Least prefetch distance in bytes: bandwidth times latency of memory. */
enum { AHEAD = 4096 };
/* In-order streams: a short distance, which starts the faster hardware prefetcher. */
enum { AHEAD_IN_ORDER = 512 };
/* Longer rows are processed ROWS at a time: measured, 8,192 columns of Q8_0 were read at 37 GB/s so, at 14 one by one. */
enum { COLS_IN_ORDER = 2048 };

/* ROWS rows of weights from w on, `stride` bytes apart, and the prefetch distance. */
typedef struct some_rows {
    const unsigned char *w;
    size_t stride, ahead;
} some_rows;

/* Types whose codes are used in place, scaled by a power of two. */
INLINE bool is_in_place(dtype type)
{
    return type == DTYPE_Q4_0 || type == DTYPE_Q4_1 || type == DTYPE_Q4_K || type == DTYPE_Q2_K;
}

/* The offset of signed codes. */
INLINE float middle_of(dtype type)
{
    return type == DTYPE_Q4_0   ? 8.0f
           : type == DTYPE_Q5_0 ? 16.0f
           : type == DTYPE_Q3_K ? 4.0f
           : type == DTYPE_Q6_K ? 32.0f
                                : 0.0f;
}

/* Elements of a super-block that share a factor. */
INLINE int group_of(dtype type)
{
    return has_sixteen_factors(type) ? 16 : 32;
}

/* The element of a chunk or super-block whose code is in the first of the 16 bytes of unit `u` of quad `quad`. */
INLINE int element_at(dtype type, int quad, int u)
{
    int pieces = type == DTYPE_Q2_K || type == DTYPE_Q3_K ? 4 : 2; /* quads that share bytes */
    int byte = (quad / pieces * UNITS + u) * 16, part = quad % pieces;

    switch (type) {
    case DTYPE_Q2_K:
    case DTYPE_Q3_K: return byte / 32 * 128 + part * 32 + byte % 32;
    case DTYPE_Q4_K:
    case DTYPE_Q5_K: return byte / 32 * 64 + part * 32 + byte % 32;
    case DTYPE_Q6_K: return byte / 64 * 128 + part * 64 + byte % 64;
    default: return u * 32 + part * 16;
    }
}

/* The lowest bit of a quad's codes in their bytes. */
INLINE int bit_of(dtype type, int quad)
{
    return !is_in_place(type) ? 0 : type == DTYPE_Q2_K ? quad % 4 * 2 : quad % 2 * 4;
}

INLINE int code_bits(dtype type)
{
    return type == DTYPE_Q2_K ? 2 : is_in_place(type) ? 4 : 8;
}

/* A code that includes the lane's sign bit is shifted down instead. */
INLINE bool is_at_top(dtype type, int bit)
{
    return is_in_place(type) && bit + code_bits(type) == 32;
}

/* --- x in the order of the codes --- */

/* 16 elements as unit `u` of a quad; adds the sums of its four lanes to `sums`. */
INLINE void prepare_unit(dtype type, const float *x, int quad, int u, float *out, float sums[4])
{
    __m128 t[4] = {_mm_loadu_ps(x), _mm_loadu_ps(x + 4), _mm_loadu_ps(x + 8), _mm_loadu_ps(x + 12)};

    _MM_TRANSPOSE4_PS(t[0], t[1], t[2], t[3]);
    _mm_storeu_ps(sums, _mm_add_ps(_mm_loadu_ps(sums), _mm_add_ps(_mm_add_ps(t[0], t[1]), _mm_add_ps(t[2], t[3]))));
    for (int b = 0; b < 4; b++) {
        int bit = 8 * b + bit_of(type, quad);
        float by = type == DTYPE_IQ4_NL || is_at_top(type, bit) ? 1.0f : 1.0f / (float)(1u << bit);
        _mm_storeu_ps(out + b * VW + 4 * u, _mm_mul_ps(t[b], _mm_set1_ps(by)));
    }
}

/* From sums of lanes to sums of blocks, from lane 4 on, zeros elsewhere: see chunk.low. */
INLINE void sums_of_blocks(float sums[VW])
{
    float of[VW] = {0};

    for (int u = 0; u < UNITS; u++) {
        of[4 + u] = (sums[4 * u] + sums[4 * u + 1]) + (sums[4 * u + 2] + sums[4 * u + 3]);
    }
    memcpy(sums, of, sizeof of);
}

/* Blocks [end - n, end), n <= UNITS, as the last of UNITS, zeros before them; `twice`: as the last of each UNITS / 2. */
INLINE void prepare_chunk(dtype type, const float *x, int64_t end, int64_t n, bool twice, float *out, float *sums)
{
    static const float none[16] = {0};
    int most = twice ? UNITS / 2 : UNITS;

    memset(sums, 0, VW * sizeof *sums);
    for (int u = 0; u < UNITS; u++) {
        int64_t block = end - most + u % most;
        for (int quad = 0; quad < 2; quad++) {
            const float *from = block < end - n ? none : x + block * 32 + quad * 16;
            prepare_unit(type, from, quad, u, out + quad * 4 * VW, sums + 4 * u);
        }
    }
    if (has_low(type) && !twice) {
        sums_of_blocks(sums);
    }
    for (int i = 0; i < VW && middle_of(type) > 0; i++) {
        sums[i] *= -middle_of(type);
    }
}

/* Of the blocks after the last whole chunk, the number processed first: up to half a chunk, so that whole halves follow. */
INLINE int64_t first_of_rest(int64_t blocks)
{
    int64_t n = blocks % UNITS % (UNITS / 2);

    return n ? n : UNITS / 2;
}

/* Chunks of UNITS blocks; the rest in half chunks, twice: the other half is for the next row of weights. */
INLINE void prepare_blocks(dtype type, const float *x, int64_t cols, prepared_row *out)
{
    int64_t blocks = cols / 32, block = 0;
    float *to = out->x, *sums = out->sums;

    for (; blocks - block >= UNITS; block += UNITS, to += 8 * VW, sums += VW) {
        prepare_chunk(type, x, block + UNITS, UNITS, false, to, sums);
    }
    for (int64_t n = first_of_rest(blocks); block < blocks; block += n, n = UNITS / 2, to += 8 * VW, sums += VW) {
        prepare_chunk(type, x, block + n, n, true, to, sums);
    }
}

INLINE float sum_of(const float *x, int n)
{
    __m128 sum = _mm_loadu_ps(x);

    for (int i = 4; i < n; i += 4) {
        sum = _mm_add_ps(sum, _mm_loadu_ps(x + i));
    }
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}

/* Super-blocks: sums of a quad's lanes; or of groups, for types with minima. */
INLINE void prepare_super_blocks(dtype type, const float *x, int64_t cols, prepared_row *out)
{
    int group = group_of(type);

    for (int64_t col = 0; col < cols; col += SPAN) {
        for (int quad = 0; quad < QUADS; quad++) {
            float sums[VW] = {0};
            for (int u = 0; u < UNITS; u++) {
                const float *from = x + col + element_at(type, quad, u);
                prepare_unit(type, from, quad, u, out->x + (col + quad * QUAD), sums + 4 * u);
            }
            for (int i = 0; i < VW && !has_low(type); i++) {
                out->sums[col / 4 + quad * VW + i] = -middle_of(type) * sums[i];
            }
        }
        for (int i = 0; i < 16 && has_low(type); i++) {
            int at = group == 16 ? i : i - 8;
            out->sums[col / 16 + i] = at < 0 ? 0.0f : -sum_of(x + col + at * group, group);
        }
    }
}

INLINE void prepare_all(dtype type, const float *x, int64_t cols, prepared_row *out)
{
    if (is_super_block(type)) {
        prepare_super_blocks(type, x, cols, out);
    } else if (!is_plain(type) && type != DTYPE_Q8_0) {
        prepare_blocks(type, x, cols, out);
    }
}

/* --- codes --- */

/* The code of quad `quad` in byte b of each lane, times a power of two; see prepare_unit. */
INLINE vec code_at(dtype type, ivec z, int quad, int b)
{
    int bit = 8 * b + bit_of(type, quad), bits = code_bits(type);

    if (type == DTYPE_IQ4_NL) {
        return v_lookup(iq4_nl_values, i_right(z, 8 * b + quad % 2 * 4));
    }
    if (bits == 4 && bit == 0) {
        return v_of_low_nibbles(z);
    }
    if (is_at_top(type, bit)) {
        return v_of_ints(i_right(z, bit));
    }
    return v_of_ints(i_and(z, (int)(((1u << bits) - 1) << bit)));
}

/* p += a quad of codes times x, for n rows. */
INLINE void add_quad(dtype type, int quad, int n, const ivec z[ROWS], const float *x, vec p[ROWS])
{
    UNROLL
    for (int b = 0; b < 4; b++) {
        vec xb = v_load(x + b * VW);
        UNROLL
        for (int r = 0; r < n; r++) {
            p[r] = v_fma(code_at(type, z[r], quad, b), xb, p[r]);
        }
    }
}

/* --- blocks of 32 --- */

/* UNITS blocks: bytes of codes for both quads; scales, each in the four lanes of its block; minima, from lane 4 on in the
   order of blocks for consecutive blocks (is_run), otherwise like the scales. */
typedef struct chunk {
    ivec z[2];
    vec scale, low;
} chunk;

/* Fills a chunk from the loaded codes and factors of the blocks at[]. */
INLINE void set_chunk(dtype type, ivec z, __m256 halves, bool is_run, const unsigned char *const at[UNITS], chunk *c)
{
    c->z[0] = c->z[1] = z;
    c->scale = v_spread(halves, 0);
    c->low = !has_low(type) ? v_zero() : is_run ? v_of_eight(halves) : v_spread(halves, 4);
    if (type == DTYPE_Q5_0 || type == DTYPE_Q5_1) {
        uint64_t low = 0, high = 0; /* the fifth bits of elements 0 to 15 of each block, and of the others */
        UNROLL
        for (int u = 0; u < UNITS; u++) {
            uint32_t bits = load_u32(at[u] + block_bytes(type) - 20);
            low |= (uint64_t)(bits & 0xffff) << 16 * u;
            high |= (uint64_t)(bits >> 16) << 16 * u;
        }
        c->z[0] = i_add_to_bytes(i_and(z, 0x0f0f0f0f), low, 16);
        c->z[1] = i_add_to_bytes(i_and(i_right(z, 4), 0x0f0f0f0f), high, 16);
    }
}

/* UNITS blocks at p. */
INLINE void get_run(dtype type, const unsigned char *p, chunk *c)
{
    const unsigned char *at[UNITS];
    __m256 halves;
    ivec z = i_of_blocks(p, block_bytes(type), &halves);

    UNROLL
    for (int u = 0; u < UNITS; u++) {
        at[u] = p + (size_t)u * block_bytes(type);
    }
    set_chunk(type, z, halves, true, at, c);
}

/* n blocks, up to half of UNITS, that end at a, then as many that end at b. */
INLINE void get_ends(dtype type, const unsigned char *a, const unsigned char *b, int64_t n, chunk *c)
{
    enum { HALF = UNITS / 2 };
    const unsigned char *at[UNITS];
    __m256 halves;
    ivec z = i_of_ends(a, b, block_bytes(type), n, &halves);

    UNROLL
    for (int u = 0; u < UNITS; u++) {
        /* A missing block is replaced by another one; its scale and its x are zero. */
        int64_t back = HALF - u % HALF;
        at[u] = (u < HALF ? a : b) - (size_t)(back < n ? back : n) * block_bytes(type);
    }
    set_chunk(type, z, halves, false, at, c);
}

/* sum += chunk times x, for n chunks of different rows. */
INLINE void add_chunks(dtype type, const chunk c[ROWS], const float *x, const float *sums, int n, vec sum[ROWS])
{
    vec p[ROWS], s = v_load(sums);
    ivec z[2][ROWS];

    UNROLL
    for (int r = 0; r < n; r++) {
        p[r] = middle_of(type) > 0 ? s : v_zero();
        z[0][r] = c[r].z[0];
        z[1][r] = c[r].z[1];
    }
    add_quad(type, 0, n, z[0], x, p);
    add_quad(type, 1, n, z[1], x + 4 * VW, p);
    UNROLL
    for (int r = 0; r < n; r++) {
        sum[r] = v_fma(p[r], c[r].scale, sum[r]);
        if (has_low(type)) {
            sum[r] = v_fma(s, c[r].low, sum[r]);
        }
    }
}

/* Row r from byte `at` on. */
INLINE const unsigned char *row_of(const some_rows *w, int r, size_t at)
{
    return w->w + at + (size_t)r * w->stride;
}

INLINE void ask_for(const some_rows *w, size_t at, size_t bytes)
{
    UNROLL
    for (int r = 0; r < ROWS; r++) {
        for (size_t i = 0; i < bytes; i += 64) {
            _mm_prefetch((const char *)((uintptr_t)w->w + w->ahead + at + (size_t)r * w->stride + i), _MM_HINT_T1);
        }
    }
}

/* Prefetches an in-order stream. */
INLINE void ask_in_order(const unsigned char *w, size_t bytes)
{
    UNROLL
    for (size_t i = 0; i < bytes; i += 64) {
        _mm_prefetch((const char *)((uintptr_t)w + AHEAD_IN_ORDER + i), _MM_HINT_T1);
    }
}

INLINE void dot1_blocks(dtype type, const dot_task *a, const some_rows *w, vec sum[ROWS])
{
    size_t bytes = block_bytes(type);
    int64_t blocks = a->cols / 32, block = 0;
    const float *x = a->prepared->x, *sums = a->prepared->sums;
    chunk c[ROWS];

    for (; blocks - block >= UNITS; block += UNITS, x += 8 * VW, sums += VW) {
        ask_for(w, (size_t)block * bytes, UNITS * bytes);
        UNROLL
        for (int r = 0; r < ROWS; r++) {
            get_run(type, row_of(w, r, (size_t)block * bytes), &c[r]);
        }
        add_chunks(type, c, x, sums, ROWS, sum);
    }
    /* The last blocks: half a chunk of one row and half a chunk of the next. */
    for (int64_t n = first_of_rest(blocks); block < blocks; n = UNITS / 2, x += 8 * VW, sums += VW) {
        vec part[ROWS];
        block += n;
        UNROLL
        for (int r = 0; r < ROWS; r += 2) {
            get_ends(type, row_of(w, r, (size_t)block * bytes), row_of(w, r + 1, (size_t)block * bytes), n, &c[r / 2]);
            part[r / 2] = v_zero();
        }
        add_chunks(type, c, x, sums, ROWS / 2, part);
        UNROLL
        for (int r = 0; r < ROWS; r++) {
            sum[r] = v_add_half(sum[r], part[r / 2], r % 2);
        }
    }
}

/* --- super-blocks --- */

/* The scales of a super-block. Its minima are in `low` (sixteen factors) or behind the eight scales. */
INLINE sixteen get_super_factors(dtype type, const unsigned char *block, sixteen *low)
{
    switch (type) {
    case DTYPE_Q2_K: {
        const block_q2_k *b = (const void *)block;
        __m128i s = _mm_loadu_si128((const void *)b->scales), mask = _mm_set1_epi8(15);
        __m128 d = _mm_cvtph_ps(_mm_cvtsi32_si128((int)load_u32(&b->d)));
        *low = sixteen_of_bytes(_mm_and_si128(_mm_srli_epi16(s, 4), mask), false, d, 1, 1);
        return sixteen_of_bytes(_mm_and_si128(s, mask), false, d, 0, 0);
    }
    case DTYPE_Q3_K: {
        const block_q3_k *b = (const void *)block;
        return sixteen_of_bytes(scales_q3_k(b), true, _mm_cvtph_ps(_mm_cvtsi32_si128(b->d)), 0, 0);
    }
    case DTYPE_Q6_K: {
        const block_q6_k *b = (const void *)block;
        return sixteen_of_bytes(_mm_loadu_si128((const void *)b->scales), true, _mm_cvtph_ps(_mm_cvtsi32_si128(b->d)), 0, 0);
    }
    default: /* Q4_K, Q5_K: both begin like this */
        *low = sixteen_of_bytes(scales_of_12_bytes(((const block_q4_k *)(const void *)block)->scales), false,
                                _mm_cvtph_ps(_mm_cvtsi32_si128((int)load_u32(block))), 0, 1);
        return *low;
    }
}

/* The codes of quad `quad`: in their stored bytes, or assembled into bytes. */
INLINE ivec super_codes(dtype type, const unsigned char *block, int quad)
{
    int two = quad / 2 * QUAD, four = quad / 4 * QUAD; /* first byte of this quad, which shares it with one or three others */

    switch (type) {
    case DTYPE_Q2_K: return i_load(((const block_q2_k *)(const void *)block)->q + four);
    case DTYPE_Q3_K: {
        const block_q3_k *b = (const void *)block;
        ivec high = i_move_halves(i_load_32_bytes(b->high), four / 32 * 4 + quad % 4, 4, 2);
        return i_or_masked(i_and(i_right(i_load(b->q + four), quad % 4 * 2), 0x03030303), high, 0x04040404);
    }
    case DTYPE_Q4_K: return i_load(((const block_q4_k *)(const void *)block)->q + two);
    case DTYPE_Q5_K: {
        const block_q5_k *b = (const void *)block;
        ivec high = i_move_halves(i_load_32_bytes(b->high), two / 32 * 2 + quad % 2, 2, 4);
        return i_or_masked(i_and(i_right(i_load(b->q + two), quad % 2 * 4), 0x0f0f0f0f), high, 0x10101010);
    }
    default: { /* Q6_K */
        const block_q6_k *b = (const void *)block;
        ivec high = i_move_halves(i_load_32_bytes(b->high + two / 64 * 32), quad % 2 * 4 + two / 32 % 2 * 2, 2, 4);
        return i_or_masked(i_and(i_right(i_load(b->low + two), quad % 2 * 4), 0x0f0f0f0f), high, 0x30303030);
    }
    }
}

INLINE void dot1_super_block(dtype type, const dot_task *a, const some_rows *w, size_t at, int64_t col, vec sum[ROWS])
{
    sixteen scale[ROWS];

    UNROLL
    for (int r = 0; r < ROWS; r++) {
        sixteen low;
        scale[r] = get_super_factors(type, row_of(w, r, at), &low);
        if (has_low(type)) {
            sum[r] = sixteen_fma(&low, a->prepared->sums + col / 16, sum[r]);
        }
    }
    UNROLL
    for (int quad = 0; quad < QUADS; quad++) {
        vec p[ROWS];
        ivec z[ROWS];
        int group[UNITS];
        UNROLL
        for (int r = 0; r < ROWS; r++) {
            p[r] = has_low(type) ? v_zero() : v_load(a->prepared->sums + (col / 4 + quad * VW));
            z[r] = super_codes(type, row_of(w, r, at), quad);
        }
        add_quad(type, quad, ROWS, z, a->prepared->x + (col + quad * QUAD), p);
        UNROLL
        for (int u = 0; u < UNITS; u++) {
            group[u] = element_at(type, quad, u) / group_of(type);
        }
        UNROLL
        for (int r = 0; r < ROWS; r++) {
            sum[r] = v_fma(p[r], sixteen_spread(&scale[r], group), sum[r]);
        }
    }
}

INLINE void dot1_super_blocks(dtype type, const dot_task *a, const some_rows *w, vec sum[ROWS])
{
    size_t at = 0;

    for (int64_t col = 0; col < a->cols; col += SPAN, at += block_bytes(type)) {
        ask_for(w, at, block_bytes(type));
        dot1_super_block(type, a, w, at, col, sum);
    }
}

/* --- in-order streams: Q8_0 and plain types --- */

/* `groups` (constant) blocks of Q8_0, into two sums alternately. */
INLINE void dot1_byte_groups(const unsigned char *w, const float *x, int groups, vec sum[2])
{
    factors f;

    get_factors(DTYPE_Q8_0, w, groups, &f);
    /* Keeps the factors in memory, for broadcast loads: otherwise compilers keep them in a register and shuffle each out of
       it, on the units that unpack the codes. */
    __asm__("" : "+m"(f));
    UNROLL
    for (int k = 0; k < groups; k++) {
        vec p = v_zero();
        UNROLL
        for (int v = 0; v < VECTORS; v++) {
            vec xv = v_load(x + k * GROUP + v * VW);
            vec c = v_of_ints(i_of_signed_bytes(w + (size_t)k * sizeof(block_q8_0) + 2 + v * VW));
            p = v == 0 ? v_mul(c, xv) : v_fma(c, xv, p);
        }
        sum[k % 2] = v_fma(p, v_all(f.scale[k]), sum[k % 2]);
    }
}

INLINE vec dot1_bytes_row(const dot_task *a, const unsigned char *w)
{
    vec sum[2] = {v_zero(), v_zero()};
    int64_t col = 0;

    for (; a->cols - col >= SPAN; col += SPAN, w += span_bytes(DTYPE_Q8_0)) {
        dot1_byte_groups(w, a->x + col, GROUPS, sum);
    }
    for (; col < a->cols; col += GROUP, w += sizeof(block_q8_0)) {
        dot1_byte_groups(w, a->x + col, 1, sum);
    }
    return v_add(sum[0], sum[1]);
}

INLINE void dot1_bytes(const dot_task *a, const some_rows *w, vec sum[ROWS])
{
    UNROLL
    for (int r = 0; r < ROWS; r++) {
        sum[r] = dot1_bytes_row(a, row_of(w, r, 0));
    }
}

/* One row: these types are memory-bound, and an in-order stream is fastest. */
INLINE vec dot1_plain_row(dtype type, const dot_task *a, const unsigned char *w)
{
    enum { STEP = 4 * VW };
    size_t bytes = block_bytes(type);
    vec sum[4] = {v_zero(), v_zero(), v_zero(), v_zero()};
    int64_t col = 0;

    for (; a->cols - col >= STEP; col += STEP) {
        ask_in_order(w + (size_t)col * bytes, STEP * bytes);
        UNROLL
        for (int v = 0; v < 4; v++) {
            vec x = v_load(a->x + col + v * VW);
            sum[v] = v_fma(plain_weights(type, w + (size_t)(col + v * VW) * bytes), x, sum[v]);
        }
    }
    for (; col < a->cols; col += VW) { /* a vector with zeros behind the last elements */
        int rest = (int)(a->cols - col < VW ? a->cols - col : VW);
        unsigned char last[VW * sizeof(float)] = {0};
        memcpy(last, w + (size_t)col * bytes, (size_t)rest * bytes);
        sum[0] = v_fma(plain_weights(type, last), v_load_first(a->x + col, rest), sum[0]);
    }
    return v_add(v_add(sum[0], sum[1]), v_add(sum[2], sum[3]));
}

INLINE void dot1_plain(dtype type, const dot_task *a, const some_rows *w, vec sum[ROWS])
{
    UNROLL
    for (int r = 0; r < ROWS; r++) {
        sum[r] = dot1_plain_row(type, a, row_of(w, r, 0));
    }
}

/* --- the same, ROWS at once, for long rows --- */

INLINE void dot1_four_byte_groups(const dot_task *a, const some_rows *w, size_t at, int64_t col, int groups, vec sum[ROWS])
{
    factors f[ROWS];

    UNROLL
    for (int r = 0; r < ROWS; r++) {
        get_factors(DTYPE_Q8_0, row_of(w, r, at), groups, &f[r]);
        /* Keeps the factors in memory, for broadcast loads: otherwise compilers keep them in a register and shuffle each out
           of it, on the units that unpack the codes. */
        __asm__("" : "+m"(f[r]));
    }
    for (int k = 0; k < groups; k++) {
        vec p[ROWS];
        UNROLL
        for (int v = 0; v < VECTORS; v++) {
            vec x = v_load(a->x + col + k * GROUP + v * VW);
            UNROLL
            for (int r = 0; r < ROWS; r++) {
                const unsigned char *q = row_of(w, r, at) + (size_t)k * sizeof(block_q8_0) + 2 + v * VW;
                vec c = v_of_ints(i_of_signed_bytes(q));
                p[r] = v == 0 ? v_mul(c, x) : v_fma(c, x, p[r]);
            }
        }
        UNROLL
        for (int r = 0; r < ROWS; r++) {
            sum[r] = v_fma(p[r], v_all(f[r].scale[k]), sum[r]);
        }
    }
}

INLINE void dot1_four_bytes(const dot_task *a, const some_rows *w, vec sum[ROWS])
{
    size_t at = 0;

    for (int64_t col = 0; col < a->cols; col += SPAN, at += span_bytes(DTYPE_Q8_0)) {
        int64_t rest = a->cols - col;
        ask_for(w, at, span_bytes(DTYPE_Q8_0));
        if (rest >= SPAN) {
            dot1_four_byte_groups(a, w, at, col, GROUPS, sum);
        } else {
            dot1_four_byte_groups(a, w, at, col, (int)(rest / GROUP), sum);
        }
    }
}

INLINE void dot1_four_plain(dtype type, const dot_task *a, const some_rows *w, vec sum[ROWS])
{
    enum { STEP = 4 * VW };
    size_t bytes = block_bytes(type);
    vec odd[ROWS];
    int64_t col = 0;

    UNROLL
    for (int r = 0; r < ROWS; r++) {
        odd[r] = v_zero();
    }
    for (; a->cols - col >= STEP; col += STEP) {
        ask_for(w, (size_t)col * bytes, STEP * bytes);
        UNROLL
        for (int v = 0; v < 4; v++) {
            vec x = v_load(a->x + col + v * VW);
            UNROLL
            for (int r = 0; r < ROWS; r++) {
                vec *s = v % 2 ? &odd[r] : &sum[r];
                *s = v_fma(plain_weights(type, row_of(w, r, (size_t)(col + v * VW) * bytes)), x, *s);
            }
        }
    }
    for (; col < a->cols; col += VW) { /* a vector with zeros behind the last elements */
        int rest = (int)(a->cols - col < VW ? a->cols - col : VW);
        vec x = v_load_first(a->x + col, rest);
        UNROLL
        for (int r = 0; r < ROWS; r++) {
            unsigned char last[VW * sizeof(float)] = {0};
            memcpy(last, row_of(w, r, (size_t)col * bytes), (size_t)rest * bytes);
            sum[r] = v_fma(plain_weights(type, last), x, sum[r]);
        }
    }
    UNROLL
    for (int r = 0; r < ROWS; r++) {
        sum[r] = v_add(sum[r], odd[r]);
    }
}

/* --- all rows --- */

/* The dot products of ROWS rows, in the first lanes. */
INLINE __m128 dot1_rows(dtype type, const dot_task *a, const some_rows *w)
{
    vec sum[4] = {v_zero(), v_zero(), v_zero(), v_zero()};

    if (is_plain(type)) {
        if (a->cols <= COLS_IN_ORDER) {
            dot1_plain(type, a, w, sum);
        } else {
            dot1_four_plain(type, a, w, sum);
        }
    } else if (type == DTYPE_Q8_0) {
        if (a->cols <= COLS_IN_ORDER) {
            dot1_bytes(a, w, sum);
        } else {
            dot1_four_bytes(a, w, sum);
        }
    } else if (is_super_block(type)) {
        dot1_super_blocks(type, a, w, sum);
    } else {
        dot1_blocks(type, a, w, sum);
    }
    return v_sums(sum[0], sum[1], sum[2], sum[3]);
}

INLINE void store_dots(const dot_task *a, int64_t row, int n, __m128 dots)
{
    __m128i first = _mm_cmpgt_epi32(_mm_set1_epi32(n), _mm_setr_epi32(0, 1, 2, 3));
    float *y = a->y + row;

    if (a->bias) {
        dots = _mm_add_ps(dots, _mm_maskload_ps(a->bias + row, first));
    }
    if (a->add) {
        dots = _mm_add_ps(_mm_maskload_ps(y, first), dots);
    }
    _mm_maskstore_ps(y, first, dots);
}

INLINE void dot1_all(dtype type, const dot_task *a)
{
    /* Prefetches the same columns of the rows some turns later, in order for any row length. */
    size_t turn = ROWS * a->row_bytes;
    some_rows w = {a->w, a->row_bytes, (AHEAD + turn - 1) / turn * turn};

    for (int64_t row = 0, n = ROWS; row < a->rows; row += n, w.w += (size_t)n * a->row_bytes) {
        if (a->rows - row < ROWS) { /* the last rows one by one, each ROWS times */
            w.stride = 0;
            n = 1;
        }
        store_dots(a, row, (int)n, dot1_rows(type, a, &w));
    }
}
