// Attention for many rows on Hopper: one producer of bulk copies, two or three warpgroups that multiply, one launch that fills
// the card once. Rests on hopper.cuh and attention_tile.cuh; the plan is cuda_attention.c's. attention_prefill.cu is the form
// for other cards. Follows the schedule of FlashAttention 3 (Shah et al. 2024).
//
// Budget of a block of 128 rows and a tile of 160 keys at head_dim 128: 10.5 million operations, 2,560 cycles of the matrix
// unit; 20,480 exponentials, 1,280 cycles of theirs; 80 KB from the second-level cache. The exponentials of one warpgroup run
// while the other multiplies (turns), and those of a tile while the tile before is multiplied with its values. Figures:
// docs/dev/kernels.md.
#include "device/cuda/attention/attention_tile.cuh"
#include "device/cuda/attention/head_dims.cuh"
#include "device/cuda/attention/hopper.cuh"

namespace
{

// Rows and keys of a tile, and where registers go, by head_dim. More keys make a tile's fixed costs rarer, until the scores,
// their 16-bit form and the sums do not fit into registers, or two stages of K and V not into shared memory (256). Measured:
// docs/dev/kernels.md.
template <int D> struct tile {
    static constexpr int CONSUMERS = 2, KEYS = 160, PRODUCER_REGISTERS = 40, CONSUMER_REGISTERS = 232;
};
template <> struct tile<64> {
    static constexpr int CONSUMERS = 3, KEYS = 96, PRODUCER_REGISTERS = 32, CONSUMER_REGISTERS = 160;
};
template <> struct tile<256> {
    static constexpr int CONSUMERS = 2, KEYS = 80, PRODUCER_REGISTERS = 40, CONSUMER_REGISTERS = 232;
};

constexpr int TURN_THREADS = 256; // the warpgroup that waits for its turn, and the one that gives it

// Whether this is the code of a card that has wgmma: a build may have left it out.
__device__ int is_hopper_code = HOPPER_CODE;

// The same in all threads of a warp: descriptors are formed by the unit that works once a warp.
__device__ __forceinline__ uint32_t uniform(uint32_t x)
{
    return __shfl_sync(0xffffffff, x, 0);
}

// A block of the plan as the producer hands it to the consumers, who need no integer division then.
struct handed {
    int part; // -1: there is nothing any more
    int kv_head, first_row, rows, query0, query1, from, to;
    int64_t partial; // floats into a.partials; -1: none
};

// What lies behind the tiles in shared memory.
struct barriers {
    uint64_t q_full, q_empty;
    uint64_t k_full[2], k_empty[2], v_full[2], v_empty[2];
    uint64_t block_full[2], block_empty[2];
    handed block[2]; // what is worked on next
};

template <int D> struct hopper_tile : tile<D> {
    static constexpr int ROWS = 64 * tile<D>::CONSUMERS;
    static constexpr int THREADS = 128 * (1 + tile<D>::CONSUMERS);
    static constexpr int PANEL = D % 64 ? 32 : 64; // columns that one box of a copy brings, as wide as the swizzle
    static constexpr int PANELS = D / PANEL;
    static constexpr int STAGES = 2;                      // of K, and of V: struct barriers and the consumers count on two
    static constexpr int FIRST = tile<D>::KEYS / 32 * 16; // keys whose exponentials are formed before the values are waited for
    static constexpr int Q_BYTES = ROWS * D * 2, TILE_BYTES = tile<D>::KEYS * D * 2;
    static constexpr int BARRIERS = Q_BYTES + 2 * STAGES * TILE_BYTES; // where they lie, behind Q, K and V
    static constexpr int SHARED = BARRIERS + (int)sizeof(barriers);
};

// --- which block of the plan does what, and the walk over its key tiles ---

// Heads whose keys stay in the second-level cache together run through all their rows before the next ones begin; of these the
// rows that see the most keys come first.
__device__ __forceinline__ block_task task_of(const attention_launch &a, const attention_lists &lists, int block)
{
    int n = 0;

    while (n + 1 < lists.n_parts && block >= lists.parts[n + 1].block0) {
        n++;
    }
    const attention_part &p = lists.parts[n];
    const int n_tiles = (p.stack + a.tile_rows - 1) / a.tile_rows;
    block -= p.block0;
    const int piece = block % p.pieces, rest = block / p.pieces;
    const int head0 = rest / (a.heads_together * n_tiles) * a.heads_together,
              heads = min(a.heads_together, a.n_kv_heads - head0);
    const int in_heads = rest - head0 * n_tiles;
    return task_of_tile(a, lists, n, n_tiles - 1 - in_heads / heads, head0 + in_heads % heads, piece);
}

// From the last key tile of a segment to its first: those that need a mask come first.
template <int KEYS> struct segment_walk {
    int segment, base, n; // the segment, key tiles of the part before it, its own
    int block;            // its last tile that is looked at; the others follow downwards
    int masked, whole;    // so many tiles with a mask, then so many that all queries see whole
    int visible;          // slots that query0 would see

    __device__ __forceinline__ void start(const block_task &t)
    {
        segment = t.part->keys0 - 1;
        base = n = 0;
    }

    // The next segment with tiles for the block; false if there is none.
    __device__ __forceinline__ bool next(const block_task &t)
    {
        do {
            base += n;
            segment++;
            if (segment >= t.part->keys0 + t.part->n_keys || base >= t.to) {
                return false;
            }
            const attention_keys &s = t.keys[segment];
            const int seen = (int)min(max(s.visible + t.query1, (int64_t)0), (int64_t)s.count);
            const int low = max(t.from - base, 0), end = min(t.to - base, (seen + KEYS - 1) / KEYS);
            n = s.tiles;
            visible = (int)max(min(s.visible + t.query0, (int64_t)s.count), -(int64_t)(1 << 30));
            whole = max(min(max(visible, 0) / KEYS, end) - low, 0);
            masked = end - low - whole;
            block = end - 1;
        } while (masked + whole <= 0);
        return true;
    }
};

// --- the producer: one thread that keeps the copies going ---

template <int D> struct producer {
    using H = hopper_tile<D>;
    const attention_launch &a;
    const attention_maps &maps;
    uint32_t shared; // where Q begins
    uint32_t barriers_at;
    handed *slots;
    uint64_t keep;
    uint32_t n_tiles; // key tiles asked for so far

    __device__ __forceinline__ uint32_t at(size_t offset) const
    {
        return barriers_at + (uint32_t)offset;
    }

    __device__ __forceinline__ void load_q(const block_task &t, uint32_t n_blocks) const
    {
        const uint32_t full = at(offsetof(barriers, q_full));

        hopper::wait(at(offsetof(barriers, q_empty)), n_blocks & 1 ^ 1);
        hopper::arrive_expecting(full, (uint32_t)(a.tile_rows * D * 2));
#pragma unroll
        for (int p = 0; p < H::PANELS; p++) {
            hopper::copy_box(shared + p * H::ROWS * H::PANEL * 2, &maps.q, full, p * H::PANEL, t.kv_head * a.group,
                             t.part->row + t.query0, hopper::policy_pass());
        }
    }

    // side 0: keys, 1: values of the tile with this number.
    __device__ __forceinline__ void load_keys(const block_task &t, int segment, int block, int side, uint32_t number) const
    {
        const int stage = (int)(number % H::STAGES);
        const uint32_t parity = number / H::STAGES & 1;
        const uint32_t full = at(side ? offsetof(barriers, v_full) : offsetof(barriers, k_full)) + stage * 8;
        const uint32_t to = shared + H::Q_BYTES + (side * H::STAGES + stage) * H::TILE_BYTES;

        hopper::wait(at(side ? offsetof(barriers, v_empty) : offsetof(barriers, k_empty)) + stage * 8, parity ^ 1);
        hopper::arrive_expecting(full, H::TILE_BYTES);
#pragma unroll
        for (int p = 0; p < H::PANELS; p++) {
            hopper::copy_box(to + p * H::KEYS * H::PANEL * 2, side ? &maps.v[segment] : &maps.k[segment], full, p * H::PANEL,
                             block * H::KEYS, t.kv_head, keep);
        }
    }

    // Everything of one block of the plan. Values follow one tile behind the keys. Returns whether there was any.
    __device__ __forceinline__ bool load_block(const block_task &t, uint32_t n_blocks)
    {
        segment_walk<H::KEYS> walk;
        int segment = 0, block = 0;
        bool first = true;

        walk.start(t);
        while (walk.next(t)) {
            for (int left = walk.masked + walk.whole; left; left--) {
                load_keys(t, walk.segment, walk.block, 0, n_tiles + !first);
                if (first) {
                    load_q(t, n_blocks);
                } else {
                    load_keys(t, segment, block, 1, n_tiles++);
                }
                first = false;
                segment = walk.segment;
                block = walk.block--;
            }
        }
        if (!first) {
            load_keys(t, segment, block, 1, n_tiles++);
        }
        return !first;
    }

    // counters[0]: blocks given out beyond the first of each; counters[1]: producers that are done; the last one clears both.
    __device__ __forceinline__ void run(const attention_lists &lists, unsigned *counters)
    {
        int block = (int)blockIdx.x;
        uint32_t n_blocks = 0;

        for (uint32_t i = 0;; i++) {
            const uint32_t slot = i % 2;
            hopper::wait(at(offsetof(barriers, block_empty)) + slot * 8, i / 2 & 1 ^ 1);
            if (block >= lists.n_blocks) {
                slots[slot].part = -1;
                hopper::arrive(at(offsetof(barriers, block_full)) + slot * 8);
                break;
            }
            const block_task t = task_of(a, lists, block);
            slots[slot] = {(int)(t.part - lists.parts),
                           t.kv_head,
                           t.first_row,
                           t.rows,
                           t.query0,
                           t.query1,
                           t.from,
                           t.to,
                           t.partial ? t.partial - a.partials : -1};
            hopper::arrive(at(offsetof(barriers, block_full)) + slot * 8);
            block = (int)(gridDim.x + atomicAdd(&counters[0], 1u));
            n_blocks += load_block(t, n_blocks);
        }
        if (atomicAdd(&counters[1], 1u) == gridDim.x - 1) {
            counters[0] = counters[1] = 0;
        }
    }
};

// --- a consumer: a warpgroup with 64 rows ---

// What a thread keeps over all keys, of rows lane / 4 and lane / 4 + 8 of its warp's 16: columns 8 n + 2 (lane % 4) + {0, 1} as
// o[4 n + {0, 1}] (+ 2).
template <int D> struct sums {
    float o[D / 2];
    float m[2]; // largest score before the scale
    float l[2]; // this thread's share
};

template <typename T, int D> struct consumer {
    using H = hopper_tile<D>;
    const attention_launch &a;
    uint32_t shared, barriers_at;
    const handed *slots;
    int warpgroup;        // its number, from 0
    int lane, row0;       // of the warp; the thread's first row in the tile
    int query[2];         // of its rows, from the tile's first
    hopper::descriptor q; // of its 64 rows
    uint32_t n_tiles, n_blocks;

    __device__ __forceinline__ uint32_t at(size_t offset) const
    {
        return barriers_at + (uint32_t)offset;
    }

    // Where a row of the tile begins in the carry, in heads.
    __device__ __forceinline__ int64_t row_at(const block_task &t, int half) const
    {
        const int row = row0 + 8 * half;

        return (int64_t)(t.part->row + t.query0 + query[half]) * (a.n_kv_heads * a.group) + t.kv_head * a.group +
               (row - query[half] * a.group);
    }

    __device__ __forceinline__ void start(const block_task &t, sums<D> &s) const
    {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const bool real = !a.is_first && !t.partial && row0 + 8 * half < t.rows;
            const int64_t row = real ? row_at(t, half) : 0;
            s.m[half] = real ? unscaled(a.c.m[row], a.scale) : -INFINITY;
            s.l[half] = real && lane % 4 == 0 ? a.c.l[row] : 0;
            // Where nothing has been seen o is 0 and need not be read.
            const float *o = s.m[half] > -INFINITY ? a.c.o + row * D + lane % 4 * 2 : nullptr;
#pragma unroll
            for (int n = 0; n < D / 8; n++) {
                const float2 x = o ? *(const float2 *)(o + n * 8) : make_float2(0, 0);
                s.o[4 * n + 2 * half] = x.x;
                s.o[4 * n + 2 * half + 1] = x.y;
            }
        }
    }

    __device__ __forceinline__ hopper::descriptor describe_keys(int stage) const
    {
        return hopper::describe_rows<H::PANEL>(uniform(shared + H::Q_BYTES + stage * H::TILE_BYTES));
    }

    __device__ __forceinline__ hopper::descriptor describe_values(int stage) const
    {
        return hopper::describe_columns<H::PANEL>(uniform(shared + H::Q_BYTES + (H::STAGES + stage) * H::TILE_BYTES),
                                                  H::KEYS * H::PANEL * 2);
    }

    // s = q k. Only begun.
    __device__ __forceinline__ void multiply_keys(float (&s)[H::KEYS / 2], const hopper::descriptor &k) const
    {
#pragma unroll
        for (int d = 0; d < D / 16; d++) {
            const int panel = d * 16 / H::PANEL, further = d * 16 % H::PANEL * 2;
            hopper::product<T, H::KEYS>::rows(s, q.at(panel * H::ROWS * H::PANEL * 2 + further),
                                              k.at(panel * H::KEYS * H::PANEL * 2 + further), d > 0);
        }
        hopper::products_commit();
    }

    // o += p v. Only begun.
    __device__ __forceinline__ void multiply_values(const uint32_t (&p)[H::KEYS / 16][4], sums<D> &s,
                                                    const hopper::descriptor &v) const
    {
#pragma unroll
        for (int n = 0; n < H::KEYS / 16; n++) {
            hopper::product<T, D>::columns(s.o, p[n], v.at(n * 16 * H::PANEL * 2));
        }
        hopper::products_commit();
    }

    // Keys that a row does not see score -inf.
    __device__ __forceinline__ void mask(const segment_walk<H::KEYS> &walk, int count, float (&s)[H::KEYS / 2]) const
    {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int seen = min(walk.visible + query[half], count) - walk.block * H::KEYS - lane % 4 * 2;
#pragma unroll
            for (int n = 0; n < H::KEYS / 8; n++) {
                s[4 * n + 2 * half] = n * 8 < seen ? s[4 * n + 2 * half] : -INFINITY;
                s[4 * n + 2 * half + 1] = n * 8 + 1 < seen ? s[4 * n + 2 * half + 1] : -INFINITY;
            }
        }
    }

    // Raises m to the largest score. shrink: what o and l are to be multiplied with then, exactly 1 where m has not grown, but
    // for a row that has seen nothing.
    __device__ __forceinline__ void raise(const float (&s)[H::KEYS / 2], sums<D> &sum, float factor, float (&shrink)[2],
                                          float (&base)[2]) const
    {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float m0 = sum.m[half], m1 = s[2 * half]; // two chains, as one alone waits for itself
#pragma unroll
            for (int n = 0; n < H::KEYS / 8; n++) {
                m0 = fmaxf(m0, s[4 * n + 2 * half]);
                m1 = fmaxf(m1, s[4 * n + 2 * half + 1]);
            }
            m0 = fmaxf(m0, m1);
            m0 = fmaxf(m0, __shfl_xor_sync(0xffffffff, m0, 1));
            m0 = fmaxf(m0, __shfl_xor_sync(0xffffffff, m0, 2));
            const float top = m0 == -INFINITY ? 0 : m0; // -inf - -inf is never formed
            // No branch: where one is, the compiler has products waited for. exp2_fast(0) is 1.
            shrink[half] = exp2_fast((sum.m[half] - top) * factor);
            base[half] = top * factor;
            sum.m[half] = m0;
            sum.l[half] *= shrink[half];
        }
    }

    // Scores of keys [FROM, TO) become exp(score - m), and l grows by them.
    template <int FROM, int TO>
    __device__ __forceinline__ void soften(float (&s)[H::KEYS / 2], sums<D> &sum, float factor, const float (&base)[2]) const
    {
        float l[2][2] = {};

#pragma unroll
        for (int n = FROM / 8; n < TO / 8; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                s[4 * n + i] = exp2_fast(fmaf(s[4 * n + i], factor, -base[i / 2]));
                l[i / 2][i % 2] += s[4 * n + i];
            }
        }
        sum.l[0] += l[0][0] + l[0][1];
        sum.l[1] += l[1][0] + l[1][1];
    }

    __device__ __forceinline__ void scale_sums(sums<D> &sum, const float (&shrink)[2]) const
    {
#pragma unroll
        for (int i = 0; i < D / 2; i++) {
            sum.o[i] *= shrink[i / 2 % 2];
        }
    }

    // Waits for the product with the values, and brings o to the new m. After the first tiles most maxima stay as they are. The
    // compiler moves the wait for a product up in front of the exponentials where it can, but not over a loop: a look at the
    // queries, which have been there since the block began, is one. All warps of a warpgroup come by the same wait.
    __device__ __forceinline__ void take_sums(sums<D> &sum, const float (&shrink)[2]) const
    {
        const bool grown = __any_sync(0xffffffff, shrink[0] != 1 || shrink[1] != 1);

        hopper::wait(at(offsetof(barriers, q_full)), n_blocks & 1);
        hopper::products_wait<0>();
        hopper::pin(sum.o);
        if (grown) {
            scale_sums(sum, shrink);
        }
    }

    // The left side of the product with the values, as a thread's registers of the scores lie.
    __device__ __forceinline__ void pack(const float (&s)[H::KEYS / 2], uint32_t (&p)[H::KEYS / 16][4]) const
    {
#pragma unroll
        for (int n = 0; n < H::KEYS / 16; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                p[n][i] = matrix_unit<T>::pack(s[8 * n + 2 * i], s[8 * n + 2 * i + 1]);
            }
        }
    }

    __device__ __forceinline__ void leave(size_t barrier, int stage) const
    {
        if (lane == 0) {
            hopper::arrive(at(barrier) + stage * 8);
        }
    }

    // A tile of keys, and the values of the tile before it.
    template <bool MASKED>
    __device__ __forceinline__ void step(const segment_walk<H::KEYS> &walk, const block_task &t, float (&s)[H::KEYS / 2],
                                         uint32_t (&p)[H::KEYS / 16][4], sums<D> &sum, float factor)
    {
        const int v_stage = n_tiles % 2, k_stage = v_stage ^ 1;
        const uint32_t v_parity = n_tiles / 2 & 1, k_parity = (n_tiles + 1) / 2 & 1;
        const uint32_t k_full = at(offsetof(barriers, k_full)) + k_stage * 8,
                       v_full = at(offsetof(barriers, v_full)) + v_stage * 8;
        const hopper::descriptor k = describe_keys(k_stage), v = describe_values(v_stage);
        float shrink[2], base[2];

        n_tiles++;
        if (!(hopper::ended(k_full, k_parity) & hopper::ended(v_full, v_parity))) {
            hopper::wait(k_full, k_parity);
            hopper::wait(v_full, v_parity);
        }
        hopper::turn_wait(1 + warpgroup, TURN_THREADS);
        hopper::pin(sum.o);
        hopper::products_begin();
        multiply_keys(s, k);
        multiply_values(p, sum, v);
        hopper::turn_arrive(1 + (warpgroup + 1) % H::CONSUMERS, TURN_THREADS);
        hopper::products_wait<1>();
        hopper::pin(s);
        leave(offsetof(barriers, k_empty), k_stage);
        if (MASKED) {
            mask(walk, t.keys[walk.segment].count, s);
        }
        raise(s, sum, factor, shrink, base);
        // Half of the exponentials while o is multiplied; the other half, when it is, beside o's scaling and the packing.
        soften<0, H::FIRST>(s, sum, factor, base);
        hopper::pin(s);
        take_sums(sum, shrink);
        leave(offsetof(barriers, v_empty), v_stage);
        soften<H::FIRST, H::KEYS>(s, sum, factor, base);
        pack(s, p);
    }

    // All key tiles of a block. The turn of warpgroup i is barrier 1 + i.
    __device__ __forceinline__ void attend(const block_task &t, sums<D> &sum)
    {
        const float factor = a.scale * LOG2_E;
        segment_walk<H::KEYS> walk;
        float s[H::KEYS / 2], shrink[2], base[2];
        uint32_t p[H::KEYS / 16][4];

        walk.start(t);
        if (!walk.next(t)) {
            return;
        }
        hopper::wait(at(offsetof(barriers, q_full)), n_blocks & 1);
        hopper::wait(at(offsetof(barriers, k_full)) + n_tiles % 2 * 8, n_tiles / 2 & 1);
        hopper::products_begin();
        multiply_keys(s, describe_keys(n_tiles % 2));
        hopper::products_wait<0>();
        hopper::pin(s);
        leave(offsetof(barriers, k_empty), n_tiles % 2);
        if (walk.masked) {
            mask(walk, t.keys[walk.segment].count, s);
        }
        raise(s, sum, factor, shrink, base);
        soften<0, H::KEYS>(s, sum, factor, base);
        scale_sums(sum, shrink);
        pack(s, p);
        walk.masked ? walk.masked-- : walk.whole--;
        walk.block--;
        do {
            for (; walk.masked > 0; walk.masked--, walk.block--) {
                step<true>(walk, t, s, p, sum, factor);
            }
            for (int left = walk.whole; left > 0; left--) {
                step<false>(walk, t, s, p, sum, factor);
            }
        } while (walk.next(t));
        leave(offsetof(barriers, q_empty), 0);
        hopper::wait(at(offsetof(barriers, v_full)) + n_tiles % 2 * 8, n_tiles / 2 & 1);
        hopper::pin(sum.o);
        hopper::products_begin();
        multiply_values(p, sum, describe_values(n_tiles % 2));
        hopper::products_wait<0>();
        hopper::pin(sum.o);
        leave(offsetof(barriers, v_empty), n_tiles % 2);
        n_tiles++;
        n_blocks++;
    }

    // Two columns of four threads become four columns of each: stores of 8 bytes, 32 of a row at once.
    __device__ __forceinline__ void finish_row(const sums<D> &sum, int half, float inverse, uint16_t *out, bool real) const
    {
#pragma unroll
        for (int n = 0; n < D / 8; n += 2) {
            const uint32_t x = matrix_unit<T>::pack(sum.o[4 * n + 2 * half] * inverse, sum.o[4 * n + 2 * half + 1] * inverse);
            const uint32_t y =
                matrix_unit<T>::pack(sum.o[4 * n + 4 + 2 * half] * inverse, sum.o[4 * n + 5 + 2 * half] * inverse);
            const uint32_t other = __shfl_xor_sync(0xffffffff, lane & 1 ? x : y, 1);
            if (real) {
                *(uint2 *)(out + (n + (lane & 1)) * 8 + (lane & 2) * 2) =
                    lane & 1 ? make_uint2(other, y) : make_uint2(x, other);
            }
        }
    }

    __device__ __forceinline__ void store_row(const block_task &t, const sums<D> &sum, int half, float l) const
    {
        const int row = row0 + 8 * half;
        const float m = sum.m[half];
        const int64_t carried = row_at(t, half);
        float *o = t.partial ? t.partial + row * D : a.c.o + carried * D;
        float *to_m = t.partial ? t.partial + t.part->rows * D + row : a.c.m + carried;
        float *to_l = t.partial ? t.partial + t.part->rows * (D + 1) + row : a.c.l + carried;
        const bool all = t.partial || a.is_first;

        if (lane % 4 == 0) {
            *to_l = l;
            if (all || m != unscaled(*to_m, a.scale)) {
                *to_m = m * a.scale;
            }
        }
        if ((a.out && !t.partial) || (m == -INFINITY && (t.partial || !a.is_first))) {
            return; // finished rows leave no o, and one that has seen nothing is left as it was
        }
#pragma unroll
        for (int n = 0; n < D / 8; n++) {
            *(float2 *)(o + n * 8 + lane % 4 * 2) = make_float2(sum.o[4 * n + 2 * half], sum.o[4 * n + 2 * half + 1]);
        }
    }

    __device__ __forceinline__ void store(const block_task &t, const sums<D> &sum) const
    {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const bool real = row0 + 8 * half < t.rows;
            float l = sum.l[half];
            l += __shfl_xor_sync(0xffffffff, l, 1);
            l += __shfl_xor_sync(0xffffffff, l, 2);
            if (a.out && !t.partial) {
                const int64_t row = t.part->row + t.query0 + query[half];
                const int head = t.kv_head * a.group + row0 + 8 * half - query[half] * a.group;
                finish_row(sum, half, l > 0 ? 1 / l : 0, (uint16_t *)a.out + row * a.ldo + head * D, real);
            }
            if (real) {
                store_row(t, sum, half, l);
            }
        }
    }

    __device__ __forceinline__ void run(const attention_lists &lists)
    {
        for (uint32_t i = 0;; i++) {
            const uint32_t slot = i % 2;
            hopper::wait(at(offsetof(barriers, block_full)) + slot * 8, i / 2 & 1);
            const handed h = slots[slot];
            __syncwarp();
            leave(offsetof(barriers, block_empty), (int)slot);
            if (h.part < 0) {
                break;
            }
            const block_task t = {&lists.parts[h.part],
                                  lists.keys,
                                  h.first_row,
                                  h.rows,
                                  h.kv_head,
                                  h.query0,
                                  h.query1,
                                  h.from,
                                  h.to,
                                  h.partial < 0 ? nullptr : a.partials + h.partial};
            sums<D> sum;
            start(t, sum);
            attend(t, sum);
            store(t, sum);
        }
    }
};

template <int D> __device__ __forceinline__ void open_barriers(uint32_t at)
{
    constexpr int WARPS = 4 * hopper_tile<D>::CONSUMERS;

    hopper::barrier_init(at + (uint32_t)offsetof(barriers, q_full), 1);
    hopper::barrier_init(at + (uint32_t)offsetof(barriers, q_empty), WARPS);
    for (uint32_t i = 0; i < 2; i++) {
        hopper::barrier_init(at + (uint32_t)offsetof(barriers, k_full) + i * 8, 1);
        hopper::barrier_init(at + (uint32_t)offsetof(barriers, k_empty) + i * 8, WARPS);
        hopper::barrier_init(at + (uint32_t)offsetof(barriers, v_full) + i * 8, 1);
        hopper::barrier_init(at + (uint32_t)offsetof(barriers, v_empty) + i * 8, WARPS);
        hopper::barrier_init(at + (uint32_t)offsetof(barriers, block_full) + i * 8, 1);
        hopper::barrier_init(at + (uint32_t)offsetof(barriers, block_empty) + i * 8, WARPS);
    }
    hopper::barriers_ready();
}

template <typename T, int D>
__global__ void __launch_bounds__(hopper_tile<D>::THREADS, 1)
    attend_hopper(const __grid_constant__ attention_launch a, const __grid_constant__ attention_lists lists,
                  const __grid_constant__ attention_maps maps, unsigned *counters)
{
    using H = hopper_tile<D>;
    extern __shared__ __align__(1024) unsigned char shared_bytes[];
    const uint32_t shared = shared_address(shared_bytes), barriers_at = shared + H::BARRIERS;
    handed *slots = ((barriers *)(shared_bytes + H::BARRIERS))->block;
    const int warpgroup = (int)threadIdx.x / 128;

    if (threadIdx.x == 0) {
        open_barriers<D>(barriers_at);
    }
    __syncthreads();
    if (warpgroup == 0) {
        hopper::give_registers<H::PRODUCER_REGISTERS>();
        if (threadIdx.x == 0) {
            producer<D> p = {a, maps, shared, barriers_at, slots, hopper::policy_keep(), 0};
            p.run(lists, counters);
        }
    } else {
        hopper::take_registers<H::CONSUMER_REGISTERS>();
        const int in_group = (int)threadIdx.x % 128, row0 = (warpgroup - 1) * 64 + in_group / 32 * 16 + in_group % 32 / 4;
        consumer<T, D> c = {a,
                            shared,
                            barriers_at,
                            slots,
                            warpgroup - 1,
                            in_group % 32,
                            row0,
                            {row0 / a.group, (row0 + 8) / a.group},
                            hopper::describe_rows<H::PANEL>(uniform(shared + (warpgroup - 1) * 64 * H::PANEL * 2)),
                            0,
                            0};
        if (warpgroup == H::CONSUMERS) { // the first turn is the first warpgroup's
            hopper::turn_arrive(1, TURN_THREADS);
        }
        c.run(lists);
    }
}

template <typename T, int D> cudaError_t load_kernel(int shared_most)
{
    if (hopper_tile<D>::SHARED > shared_most) {
        return cudaSuccess; // fits_maps() in cuda_attention.c looks at that
    }
    return cudaFuncSetAttribute(attend_hopper<T, D>, cudaFuncAttributeMaxDynamicSharedMemorySize, hopper_tile<D>::SHARED);
}

template <typename T> cudaError_t load_type(int shared_most)
{
    return for_head_dims([=](auto d) { return load_kernel<T, decltype(d)::value>(shared_most); });
}

template <typename T, int D>
cudaError_t launch_kernel(cudaStream_t stream, const attention_launch &a, const attention_lists &lists,
                          const attention_maps &maps, int n_sms, unsigned *counters)
{
    const int blocks = lists.n_blocks < n_sms ? lists.n_blocks : n_sms;

    attend_hopper<T, D>
        <<<(unsigned)blocks, hopper_tile<D>::THREADS, hopper_tile<D>::SHARED, stream>>>(a, lists, maps, counters);
    return cudaGetLastError();
}

template <typename T>
cudaError_t launch_type(cudaStream_t stream, const attention_launch &a, const attention_lists &lists,
                        const attention_maps &maps, int n_sms, unsigned *counters)
{
    return with_head_dim(a.head_dim, [&](auto d) {
        return launch_kernel<T, decltype(d)::value>(stream, a, lists, maps, n_sms, counters);
    });
}

template <int D> hopper_form form()
{
    using H = hopper_tile<D>;
    return {H::ROWS, H::KEYS, H::PANEL, H::SHARED};
}

} // namespace

hopper_form attention_hopper_form(int32_t head_dim)
{
    return !is_head_dim(head_dim) ? hopper_form{} : with_head_dim(head_dim, [](auto d) { return form<decltype(d)::value>(); });
}

cudaError_t attention_hopper_load(int shared_most, bool *built)
{
    int code = 0;
    cudaError_t status = load_type<__nv_bfloat16>(shared_most);

    status = status ? status : load_type<__half>(shared_most);
    status = status ? status : cudaMemcpyFromSymbol(&code, is_hopper_code, sizeof code);
    *built = code != 0;
    return status;
}

cudaError_t attention_hopper_launch(cudaStream_t stream, const attention_launch *a, const attention_lists *lists,
                                    const attention_maps *maps, int n_sms, unsigned *counters)
{
    return a->act == DTYPE_BF16 ? launch_type<__nv_bfloat16>(stream, *a, *lists, *maps, n_sms, counters)
                                : launch_type<__half>(stream, *a, *lists, *maps, n_sms, counters);
}
