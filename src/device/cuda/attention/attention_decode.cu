// Attention for a few rows on the matrix unit: keys streamed once.
// Rests on attention_merge.cuh. attention_prefill.cu has the form for many rows.
//
// Budget of a tile of 64 keys at head_dim 128: 32 KB, for up to 16 rows (all heads of a KV head) 256 matrix instructions.
// At 4.2 TB/s and 132 multiprocessors a tile comes every 1,000 ns; its arithmetic takes a third of that. So only bytes in
// flight count: each warp has its own keys and its own ring of stages, and waits for no other warp until the end. Keys from
// before the pass are asked for before the kernel waits for the queries. The block of a KV head that ends last merges the
// pieces of all: a kernel of its own would cost its beginning and its end.
//
// Codes (I8): 16.5 KB a tile, every 500 ns. They become f16 in registers, exactly, with 5 instructions for 4 of them (bf16
// takes 8: it has a bit too few for a bias): 160 for a warp's 4,096 codes, beside 32 products. K's scales multiply the scores,
// V's the weights. Queries in bf16 become f16 in units of a power of two a row, weights times V's scales in units of one a
// warp.
#include "device/cuda/attention/attention_merge.cuh"
#include "device/cuda/attention/head_dims.cuh"
#include "device/cuda/runtime/overlap.cuh"
#include "device/cuda/runtime/packets.cuh"

namespace
{

constexpr int WARPS = 4, THREADS = 32 * WARPS;
constexpr int KEYS = KEYS_TILE / WARPS; // of a tile, a warp
constexpr int ROW_PAD = 4;

template <int D, bool CODES> struct decode {
    using row = swizzled_row<CODES ? D : 2 * D>;
    static constexpr int STAGES = CODES ? (D < 128 ? 5 : D == 128 ? 4 : 3) : D == 64 ? 4 : D < 256 ? 3 : 2;
    static constexpr int BLOCKS = (D < 128 ? 3 : D == 128 ? 2 : 1) + (CODES && D >= 128); // a multiprocessor
    static constexpr int HALF_BYTES = KEYS * row::BYTES;                                  // K, and V behind it
    static constexpr int SCALES_BYTES = CODES ? 2 * KEYS * 4 : 0;                         // and the scales of both
    static constexpr int STAGE_BYTES = 2 * HALF_BYTES + SCALES_BYTES;
    static constexpr int ROW = D + ROW_PAD; // floats of a row of sums in shared memory
    static constexpr int RING_BYTES = WARPS * STAGES * STAGE_BYTES;
    static constexpr int SUMS_BYTES = WARPS * DECODE_ROWS * ROW * 4;
    static constexpr int SHARED = RING_BYTES > SUMS_BYTES ? RING_BYTES : SUMS_BYTES;
};

// Two of the four signed codes of x as f16, exact: those at bytes BYTES % 16 and BYTES / 256 % 16; the other digits of BYTES
// are 4. 0x64cc is 1024 + cc, and a code with its sign flipped is 128 more than it stands for.
template <unsigned BYTES> __device__ __forceinline__ uint32_t code_pair(uint32_t x)
{
    uint32_t biased = __byte_perm(x ^ 0x80808080u, 0x64646464u, BYTES), y;

    asm("sub.rn.f16x2 %0, %1, %2;" : "=r"(y) : "r"(biased), "r"(0x64806480u)); // 1152
    return y;
}

// A warp's tile: its count and visible are those of its own keys.
struct warp_tile {
    int count, visible;
};

// A warp's sums: of rows lane / 4 and lane / 4 + 8 the columns 8 n + 2 (lane % 4) + {0, 1}; over codes 8 n + 4 (lane % 4) +
// {0, 2} for even n, and one more than those of n - 1 for odd n.
template <int D> struct sums {
    float o[D / 8][4];
    float m[2], l[2]; // as in prefill
    float top;        // over codes: o is in units of this power of two, the weights times V's scales then fit f16
};

// Q as the left side of products, straight from memory; rows that are not there are 0. Of 16 columns a lane has 2 (lane % 4) +
// {0, 1, 8, 9}; over codes 4 (lane % 4) + {0, 1, 2, 3}, which lie in one word of them.
template <int D, bool CODES>
__device__ __forceinline__ void load_q(const attention_launch &a, const block_task &t, uint32_t (&q)[D / 16][4])
{
    int lane = (int)threadIdx.x % 32;

#pragma unroll
    for (int half = 0; half < 2; half++) {
        int row = half * 8 + lane / 4;
        bool real = row < t.rows;
        const uint16_t *from = (const uint16_t *)a.q + q_offset(a, t, real ? row : 0) + lane % 4 * (CODES ? 4 : 2);
#pragma unroll
        for (int d = 0; d < D / 16; d++) {
            q[d][half] = real ? *(const uint32_t *)(from + d * 16) : 0;
            q[d][half + 2] = real ? *(const uint32_t *)(from + d * 16 + (CODES ? 2 : 8)) : 0;
        }
    }
}

// The least power of two that is more than x, of a finite x >= 0; at least 2^-100.
__device__ __forceinline__ float power_above(float x)
{
    return __uint_as_float((__float_as_uint(fmaxf(x, 0x1p-101f)) & 0x7f800000u) + 0x800000u);
}

// Over codes Q is f16 in every run: a row in units of the power of two that brings it below 2^15, so exactly but for elements
// of less than 2^-29 of its largest. The units of rows lane / 4 and lane / 4 + 8 come back.
template <typename T, int D> __device__ __forceinline__ float2 q_to_f16(uint32_t (&q)[D / 16][4])
{
    float unit[2] = {1, 1};

    if constexpr (std::is_same_v<T, __nv_bfloat16>) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float most = 0;
#pragma unroll
            for (int i = 0; i < D / 8; i++) {
                const uint32_t x = q[i / 2][half + i % 2 * 2];
                most = fmaxf(most, fmaxf(fabsf(__uint_as_float(x << 16)), fabsf(__uint_as_float(x & 0xffff0000u))));
            }
            most = fmaxf(most, __shfl_xor_sync(0xffffffff, most, 1));
            most = fmaxf(most, __shfl_xor_sync(0xffffffff, most, 2));
            unit[half] = power_above(most) * 0x1p-15f;
            const float by = 1 / unit[half];
#pragma unroll
            for (int i = 0; i < D / 8; i++) {
                uint32_t &x = q[i / 2][half + i % 2 * 2];
                x = matrix_unit<__half>::pack(__uint_as_float(x << 16) * by, __uint_as_float(x & 0xffff0000u) * by);
            }
        }
    }
    return make_float2(unit[0], unit[1]);
}

// INT32_MIN: the walk is over.
__device__ __forceinline__ warp_tile warp_tile_of(const key_tile &tile, int warp)
{
    return {tile.count ? tile.count - warp * KEYS : INT32_MIN, tile.visible - warp * KEYS};
}

// The warp's keys and values of a tile; what it says of them comes back. Slots beyond the count become zeros.
template <int D, bool CODES> __device__ __forceinline__ warp_tile load_tile(const key_tile &tile, int warp, uint32_t to)
{
    using P = decode<D, CODES>;
    constexpr int CHUNKS = P::row::CHUNKS;
    const warp_tile mine = warp_tile_of(tile, warp);
    int lane = (int)threadIdx.x % 32;

    asm volatile("" : "+r"(lane)); // the places are cheaper to form again than to keep in registers over the loop
    if (mine.count > 0) {
        const int64_t offset = (warp * KEYS * CHUNKS + lane) * 16;
#pragma unroll
        for (int i = 0; i < KEYS * CHUNKS / 32; i++) {
            int at = i * 32 + lane;
            uint32_t place = to + P::row::chunk(at / CHUNKS, at % CHUNKS);
            bool real = at / CHUNKS < mine.count;
            copy_16(place, tile.k + offset + i * 512, real);
            copy_16(place + P::HALF_BYTES, tile.v + offset + i * 512, real);
        }
        if (CODES) {
            const int key = lane % KEYS;
            const float *from = (lane < KEYS ? tile.k_scales : tile.v_scales) + warp * KEYS + key;
            copy_4(to + 2 * P::HALF_BYTES + lane * 4, from, key < mine.count);
        }
    }
    return mine;
}

// Scores of 16 keys: of rows lane / 4 (elements 0 and 1) and lane / 4 + 8 (2 and 3), keys 8 n + 2 (lane % 4) + {0, 1}.
template <typename T, int D>
__device__ __forceinline__ void score_keys(const uint32_t (&q)[D / 16][4], uint32_t k_lane, float (&s)[2][4])
{
#pragma unroll
    for (int d = 0; d < D / 16; d++) {
        uint32_t k[4];
        load_matrices(k, swizzled<D>::further(k_lane, d * 32));
        matrix_unit<T>::multiply(s[0], q[d], k[0], k[1]);
        matrix_unit<T>::multiply(s[1], q[d], k[2], k[3]);
    }
}

// The same over codes, two groups of 16 columns at once.
template <int D>
__device__ __forceinline__ void score_codes(const uint32_t (&q)[D / 16][4], float2 unit, uint32_t k_lane,
                                            const float2 (&scale)[2], float (&s)[2][4])
{
#pragma unroll
    for (int d = 0; d < D / 16; d += 2) {
        uint32_t k[4];
        load_matrices(k, swizzled_row<D>::further(k_lane, d * 16));
#pragma unroll
        for (int i = 0; i < 4; i++) {
            matrix_unit<__half>::multiply(s[i / 2], q[d + i % 2], code_pair<0x4140>(k[i]), code_pair<0x4342>(k[i]));
        }
    }
#pragma unroll
    for (int n = 0; n < 2; n++) {
        s[n][0] *= scale[n].x * unit.x;
        s[n][1] *= scale[n].y * unit.x;
        s[n][2] *= scale[n].x * unit.y;
        s[n][3] *= scale[n].y * unit.y;
    }
}

// Scores become exponentials, which join l; o comes to the new m.
template <int D>
__device__ __forceinline__ void soften(const attention_launch &a, const block_task &t, const warp_tile &tile, float (&s)[2][4],
                                       sums<D> &sum)
{
    const int lane = (int)threadIdx.x % 32;
    const float factor = a.scale * LOG2_E;
    float shrink[2];

    if (min(tile.visible, tile.count) < KEYS) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int query = (t.first_row + half * 8 + lane / 4) / a.group - t.query0;
            int seen = min(tile.visible + query, tile.count) - lane % 4 * 2;
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float &x = s[i / 2][2 * half + i % 2];
                x = i / 2 * 8 + i % 2 < seen ? x : -INFINITY;
            }
        }
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float *x = &s[0][2 * half], *y = &s[1][2 * half];
        float m = fmaxf(sum.m[half], fmaxf(fmaxf(x[0], x[1]), fmaxf(y[0], y[1])));
        m = fmaxf(m, __shfl_xor_sync(0xffffffff, m, 1));
        m = fmaxf(m, __shfl_xor_sync(0xffffffff, m, 2));
        float base = m == -INFINITY ? 0 : m * factor;
        shrink[half] = m == sum.m[half] ? 1 : exp2_fast(fmaf(sum.m[half], factor, -base));
        sum.m[half] = m;
        x[0] = exp2_fast(fmaf(x[0], factor, -base));
        x[1] = exp2_fast(fmaf(x[1], factor, -base));
        y[0] = exp2_fast(fmaf(y[0], factor, -base));
        y[1] = exp2_fast(fmaf(y[1], factor, -base));
        sum.l[half] = fmaf(sum.l[half], shrink[half], (x[0] + x[1]) + (y[0] + y[1]));
    }
    if (__any_sync(0xffffffff, shrink[0] != 1 || shrink[1] != 1)) {
#pragma unroll
        for (int n = 0; n < D / 8; n++) {
            sum.o[n][0] *= shrink[0];
            sum.o[n][1] *= shrink[0];
            sum.o[n][2] *= shrink[1];
            sum.o[n][3] *= shrink[1];
        }
    }
}

// The exponentials as the left side of products.
template <typename T> __device__ __forceinline__ void pack_weights(const float (&s)[2][4], uint32_t (&p)[4])
{
    p[0] = matrix_unit<T>::pack(s[0][0], s[0][1]);
    p[1] = matrix_unit<T>::pack(s[0][2], s[0][3]);
    p[2] = matrix_unit<T>::pack(s[1][0], s[1][1]);
    p[3] = matrix_unit<T>::pack(s[1][2], s[1][3]);
}

template <typename T, int D> __device__ __forceinline__ void add_values(const uint32_t (&p)[4], uint32_t v_lane, sums<D> &sum)
{
#pragma unroll
    for (int d = 0; d < D / 16; d++) {
        uint32_t v[4];
        load_matrices_transposed(v, swizzled<D>::further(v_lane, d * 32));
        matrix_unit<T>::multiply(sum.o[2 * d], p, v[0], v[1]);
        matrix_unit<T>::multiply(sum.o[2 * d + 1], p, v[2], v[3]);
    }
}

// Weights times V's scales, in the unit of o, which grows with the scales.
template <int D> __device__ __forceinline__ void scale_weights(float2 x, float2 y, float (&s)[2][4], sums<D> &sum)
{
    float most = fmaxf(fmaxf(x.x, x.y), fmaxf(y.x, y.y));

    most = fmaxf(most, __shfl_xor_sync(0xffffffff, most, 1));
    most = fmaxf(most, __shfl_xor_sync(0xffffffff, most, 2));
    if (most > sum.top) { // alike in all lanes
        const float top = power_above(most), by = sum.top / top;
        sum.top = top;
#pragma unroll
        for (int n = 0; n < D / 8; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                sum.o[n][i] *= by;
            }
        }
    }
    const float by = 1 / sum.top;
    const float scale[2][2] = {{x.x * by, x.y * by}, {y.x * by, y.y * by}};
#pragma unroll
    for (int i = 0; i < 8; i++) {
        s[i / 4][i % 4] *= scale[i / 4][i % 2];
    }
}

// A word of a transposed matrix has two columns of two keys: even columns make one product, odd ones another.
template <int D> __device__ __forceinline__ void add_codes(const uint32_t (&p)[4], uint32_t v_lane, sums<D> &sum)
{
#pragma unroll
    for (int d = 0; d < D / 16; d += 2) {
        uint32_t v[4];
        load_matrices_transposed(v, swizzled_row<D>::further(v_lane, d * 16));
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const uint32_t x = v[2 * i], y = v[2 * i + 1];
            float(*o)[4] = &sum.o[2 * (d + i)];
            matrix_unit<__half>::multiply(o[0], p, code_pair<0x4240>(x), code_pair<0x4240>(y));
            matrix_unit<__half>::multiply(o[1], p, code_pair<0x4341>(x), code_pair<0x4341>(y));
        }
    }
}

// 16 keys into the sums: scores, exponentials, values. `stage`: where the warp's tile is.
template <typename T, int D, bool CODES>
__device__ __forceinline__ void attend(const attention_launch &a, const block_task &t, const warp_tile &tile,
                                       const uint32_t (&q)[D / 16][4], float2 unit, uint32_t k_lane, uint32_t v_lane,
                                       const unsigned char *stage, sums<D> &sum)
{
    const float2 *scales = (const float2 *)(stage + 2 * decode<D, CODES>::HALF_BYTES) + threadIdx.x % 4;
    float s[2][4] = {};
    uint32_t p[4];

    if constexpr (CODES) {
        score_codes<D>(q, unit, k_lane, {scales[0], scales[4]}, s);
        soften<D>(a, t, tile, s, sum);
        scale_weights<D>(scales[KEYS / 2], scales[KEYS / 2 + 4], s, sum);
        pack_weights<__half>(s, p);
        add_codes<D>(p, v_lane, sum);
    } else {
        score_keys<T, D>(q, k_lane, s);
        soften<D>(a, t, tile, s, sum);
        pack_weights<T>(s, p);
        add_values<T, D>(p, v_lane, sum);
    }
}

// The warps' maxima and sums of exponentials, and what each warp's sums are multiplied with.
struct warp_sums {
    float m[WARPS][DECODE_ROWS], l[WARPS][DECODE_ROWS], weight[WARPS + 1][DECODE_ROWS]; // the last weight is the carry's
    float inverse[DECODE_ROWS]; // of l
    int at[DECODE_ROWS];
    int64_t out[DECODE_ROWS]; // where a finished row begins
    bool written[DECODE_ROWS]; // o is
};

template <int D, bool CODES> __device__ __forceinline__ void put_sums(const sums<D> &sum, int warp, float *o, warp_sums &w)
{
    const int lane = (int)threadIdx.x % 32;

    o += warp * DECODE_ROWS * decode<D, CODES>::ROW;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int row = half * 8 + lane / 4;
        float l = sum.l[half];
        l += __shfl_xor_sync(0xffffffff, l, 1);
        l += __shfl_xor_sync(0xffffffff, l, 2);
        if (lane % 4 == 0) {
            w.m[warp][row] = sum.m[half];
            w.l[warp][row] = l;
        }
        float *to = o + row * decode<D, CODES>::ROW;
#pragma unroll
        for (int n = 0; n < D / 8; n += 2) {
            const float *x = &sum.o[n][2 * half], *y = &sum.o[n + 1][2 * half];
            if (CODES) {
                const float by = sum.top;
                *(float4 *)(to + n * 8 + lane % 4 * 4) = make_float4(x[0] * by, y[0] * by, x[1] * by, y[1] * by);
            } else {
                *(float2 *)(to + n * 8 + lane % 4 * 2) = make_float2(x[0], x[1]);
                *(float2 *)(to + n * 8 + 8 + lane % 4 * 2) = make_float2(y[0], y[1]);
            }
        }
    }
}

// One thread a row: m and l of all warps and the carry, and the weights. A row that saw no key leaves a carry as it is.
__device__ __forceinline__ void weigh_row(const attention_launch &a, const block_task &t, int row, warp_sums &w)
{
    const float factor = a.scale * LOG2_E;
    const int at = head_row(a, t, row);
    float *to_m = t.partial ? t.partial + t.part->rows * a.head_dim + row : a.c.m + at;
    float *to_l = t.partial ? t.partial + t.part->rows * (a.head_dim + 1) + row : a.c.l + at;
    const float before = t.partial || a.is_first ? -INFINITY : unscaled(*to_m, a.scale);
    float m = before, l;

    for (int i = 0; i < WARPS; i++) {
        m = fmaxf(m, w.m[i][row]);
    }
    bool seen = false;
    w.weight[WARPS][row] = before == m ? 1 : before == -INFINITY ? 0 : exp2_fast((before - m) * factor);
    l = t.partial || before == -INFINITY ? 0 : *to_l * w.weight[WARPS][row];
    for (int i = 0; i < WARPS; i++) {
        bool any = w.m[i][row] > -INFINITY;
        seen |= any;
        w.weight[i][row] = any ? exp2_fast((w.m[i][row] - m) * factor) : 0;
        l += w.weight[i][row] * w.l[i][row];
    }
    w.at[row] = at;
    w.out[row] = a.out ? finished_at(a, at) : 0;
    w.inverse[row] = l > 0 ? 1 / l : 0;
    w.written[row] = seen || (!t.partial && (a.is_first || a.out));
    if (t.partial || a.is_first || seen) {
        *to_l = l;
        if (t.partial || a.is_first || m != before) {
            *to_m = m * a.scale;
        }
    }
}

template <int D>
__device__ __forceinline__ void store_sums(const attention_launch &a, const block_task &t, const float *o, const warp_sums &w)
{
    for (int i = (int)threadIdx.x; i < t.rows * D; i += THREADS) {
        int row = i / D, column = i % D;
        if (!w.written[row]) {
            continue;
        }
        float *to = t.partial ? t.partial + i : a.c.o + (int64_t)w.at[row] * D + column;
        float sum = t.partial || a.is_first || w.weight[WARPS][row] == 0 ? 0 : *to * w.weight[WARPS][row];
        for (int j = 0; j < WARPS; j++) {
            sum = fmaf(w.weight[j][row], o[(j * DECODE_ROWS + row) * (D + ROW_PAD) + column], sum);
        }
        if (a.out && !t.partial) {
            element_store(a.act, a.out, w.out[row] + column, sum * w.inverse[row]);
        } else {
            *to = sum;
        }
    }
}

// Counts the blocks of the pieces of one KV head that have written theirs. True in the last one, which may read all of them.
__device__ __forceinline__ bool is_last_piece(const block_task &t, unsigned *counter)
{
    __shared__ bool last;

    __syncthreads(); // all threads have written
    if (threadIdx.x == 0) {
        unsigned before;
        asm volatile("atom.add.acq_rel.gpu.global.u32 %0, [%1], 1;" : "=r"(before) : "l"(counter) : "memory");
        last = before + 1 == (unsigned)t.part->pieces;
        if (last) {
            *counter = 0; // for the next launch
        }
    }
    __syncthreads();
    return last;
}

// The rows of the block's KV head, from the pieces of all blocks that worked on it.
__device__ __forceinline__ void merge_rows(const attention_launch &a, const block_task &t, float *weights)
{
    const float *first = t.partial - t.piece * partial_floats(t.part->rows, a.head_dim);

#pragma unroll 1
    for (int row = (int)threadIdx.x / 32; row < t.rows; row += WARPS) {
        merge_row<4>(a, row_of_pieces(*t.part, a.head_dim, first, row, head_row(a, t, row)),
                     weights + threadIdx.x / 32 * PIECES_MAX);
    }
}

// The rows of the block's KV head, which this rank's carry holds now, with those of the other ranks: a warp a row, four columns
// a lane. The carry was written by the block.
__device__ __forceinline__ void exchange_rows(const attention_launch &a, const block_task &t, const packet_carries &e)
{
    const int lane = (int)threadIdx.x % 32;
    const uint64_t number = number_of(e.links);

    __syncthreads();
#pragma unroll 1
    for (int row = (int)threadIdx.x / 32; row < t.rows; row += WARPS) {
        const int head = head_row(a, t, row);
        const float m = __ldcg(a.c.m + head), l = __ldcg(a.c.l + head);
        if (lane == 0) {
            push_packet(e.links, head_packet(e, e.links.rank, head), packed(m, l), number);
        }
#pragma unroll 1
        for (int column = 4 * lane; column < a.head_dim; column += 4 * 32) {
            const int o = head * a.head_dim + column;
            const float4 x = __ldcg((const float4 *)(a.c.o + o));
            const uint32_t to = pair_packet(e, e.links.rank, o);
            push_packet(e.links, to, packed(x.x, x.y), number);
            push_packet(e.links, to + 1, packed(x.z, x.w), number);
            carried_part<4> part = {m, l, {x.x, x.y, x.z, x.w}};
            carries_await(e, number, head, o, part);
            const int64_t at = head / e.n_heads * e.ldo + head % e.n_heads * a.head_dim + column;
            store_numbers<4>(a.act, e.out, at, {{part.o[0], part.o[1], part.o[2], part.o[3]}});
        }
    }
}

// All key tiles of the block into the warp's sums. `ring` is the warp's, in shared memory; tiles [STAGES] say what is in it.
//
// The loads of STAGES - 1 tiles come before the first one's products. The walk is a tile ahead of the loads: each of its steps
// may wait for the lists. There is one copy of each piece of code: what runs once a launch has to be fetched.
template <typename T, int D, bool CODES>
__device__ __forceinline__ void attend_keys(const attention_launch &a, const block_task &t, const unsigned char *stages,
                                            warp_tile *tiles, sums<D> &sum)
{
    using P = decode<D, CODES>;
    constexpr int STAGES = P::STAGES;
    const uint32_t ring = shared_address(stages);
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    const uint32_t k_lane = ring + P::row::chunk(lane % 8 + lane / 16 * 8, lane / 8 % 2);
    const uint32_t v_lane = ring + P::HALF_BYTES + P::row::chunk(lane % 16, lane / 16);
    uint32_t q[D / 16][4];
    float2 unit = {1, 1}; // of the queries of codes
    key_walk walk;
    bool waited = false;
    int stage = 0, free = 0; // of the next products, of the next loads

    walk_start(walk, t);
    walk_skip(walk, t);
    key_tile ahead = walk_next(walk, a, t);
#pragma unroll 1
    for (int n = 1 - STAGES;; n++) {
        warp_tile tile = {0, 0};
        if (!waited && (n == 0 || !ahead.settled)) {
            overlap_wait(); // until here only lists and keys from before the pass have been read
            waited = true;
        }
        if (n == 0) {
            load_q<D, CODES>(a, t, q);
            unit = CODES ? q_to_f16<T, D>(q) : unit;
        }
        if (n >= 0) {
            copies_wait<STAGES - 2>();
            __syncwarp(); // the keys are here, and all lanes have left those before them, whose place the next ones take
            tile = tiles[stage];
            if (tile.count == INT32_MIN) {
                break;
            }
        }
        const warp_tile next = load_tile<D, CODES>(ahead, warp, ring + free * P::STAGE_BYTES);
        copies_commit();
        if (lane == 0) {
            tiles[free] = next;
        }
        free = free + 1 == STAGES ? 0 : free + 1;
        if (tile.count > 0) {
            const int at = stage * P::STAGE_BYTES;
            attend<T, D, CODES>(a, t, tile, q, unit, k_lane + at, v_lane + at, stages + at, sum);
        }
        if (n >= 0) {
            stage = stage + 1 == STAGES ? 0 : stage + 1;
        }
        ahead = walk_next(walk, a, t);
    }
    copies_wait<0>();
}

template <typename T, int D, bool CODES>
__global__ void __launch_bounds__(THREADS, decode<D, CODES>::BLOCKS)
    attend_decode(const __grid_constant__ attention_launch a, const attention_long_lists *lists, unsigned *counters,
                  const __grid_constant__ packet_carries exchange)
{
    overlap_begin();
    if ((int)blockIdx.x >= lists->n_blocks) {
        overlap_wait();
        return;
    }
    extern __shared__ __align__(128) unsigned char shared[];
    using P = decode<D, CODES>;
    __shared__ warp_sums w;
    __shared__ warp_tile tiles[WARPS][P::STAGES];
    const block_task t = task_of_block(a, *lists);
    const int warp = (int)threadIdx.x / 32;
    sums<D> sum = {{}, {-INFINITY, -INFINITY}, {}, 0x1p-100f};

    attend_keys<T, D, CODES>(a, t, shared + warp * P::STAGES * P::STAGE_BYTES, tiles[warp], sum);
    __syncthreads(); // the sums take the place of the keys
    put_sums<D, CODES>(sum, warp, (float *)shared, w);
    __syncthreads();
    if ((int)threadIdx.x < t.rows) {
        weigh_row(a, t, (int)threadIdx.x, w);
    }
    __syncthreads();
    store_sums<D>(a, t, (const float *)shared, w);
    bool merged = !t.partial;
    if (t.partial && is_last_piece(t, counters + (t.part - lists->parts) * a.n_kv_heads + t.kv_head)) {
        merge_rows(a, t, (float *)shared);
        merged = true;
    }
    if (exchange.links.n > 0 && merged) {
        exchange_rows(a, t, exchange);
    }
}

template <typename T, int D, bool CODES> cudaError_t load_kernel(int shared_most)
{
    constexpr int bytes = decode<D, CODES>::SHARED;

    if (bytes > shared_most) {
        return cudaSuccess; // attention_decode_blocks() says so
    }
    return cudaFuncSetAttribute(attend_decode<T, D, CODES>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
}

template <typename T, int D, bool CODES>
cudaError_t launch_kernel(cudaStream_t stream, const attention_launch &a, const attention_long_lists *lists, unsigned blocks,
                          unsigned *counters, const packet_carries &exchange)
{
    return overlap_launch(stream, blocks, THREADS, decode<D, CODES>::SHARED, attend_decode<T, D, CODES>, a, lists, counters,
                          exchange);
}

template <typename T, bool CODES> cudaError_t load_type(int shared_most)
{
    return for_head_dims([=](auto d) { return load_kernel<T, decltype(d)::value, CODES>(shared_most); });
}

template <typename T, bool CODES>
cudaError_t launch_type(cudaStream_t stream, const attention_launch &a, const attention_long_lists *lists, unsigned blocks,
                        unsigned *counters, const packet_carries &exchange)
{
    return with_head_dim(a.head_dim, [&](auto d) {
        return launch_kernel<T, decltype(d)::value, CODES>(stream, a, lists, blocks, counters, exchange);
    });
}

template <typename T>
cudaError_t launch_either(cudaStream_t stream, const attention_launch &a, const attention_long_lists *lists, unsigned blocks,
                        unsigned *counters, const packet_carries &exchange)
{
    return a.kv_type == DTYPE_I8 ? launch_type<T, true>(stream, a, lists, blocks, counters, exchange)
                                 : launch_type<T, false>(stream, a, lists, blocks, counters, exchange);
}

template <bool CODES> int blocks_of(int32_t head_dim, int shared_most)
{
    return with_head_dim(head_dim, [=](auto d) {
        using P = decode<decltype(d)::value, CODES>;
        return P::SHARED <= shared_most ? P::BLOCKS : 0;
    });
}

} // namespace

int attention_decode_blocks(int32_t head_dim, bool codes, int shared_most)
{
    return !is_head_dim(head_dim) ? 0
           : codes                ? blocks_of<true>(head_dim, shared_most)
                                  : blocks_of<false>(head_dim, shared_most);
}

cudaError_t attention_decode_load(int shared_most)
{
    cudaError_t status = load_type<__nv_bfloat16, false>(shared_most);

    status = status ? status : load_type<__half, false>(shared_most);
    status = status ? status : load_type<__nv_bfloat16, true>(shared_most);
    return status ? status : load_type<__half, true>(shared_most);
}

cudaError_t attention_decode_launch(cudaStream_t stream, const attention_launch *a, const attention_long_lists *lists,
                                    int32_t blocks, unsigned *counters, const packet_carries *exchange)
{
    const packet_carries none = {}, &with = exchange ? *exchange : none;

    return a->act == DTYPE_BF16 ? launch_either<__nv_bfloat16>(stream, *a, lists, (unsigned)blocks, counters, with)
                                : launch_either<__half>(stream, *a, lists, (unsigned)blocks, counters, with);
}
