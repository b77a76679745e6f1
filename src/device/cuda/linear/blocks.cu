// A few rows of x through matrices whose weights are stored blocks: read once, as they are, multiplied in the numbers that
// their codes stand for. Rests on blocks.cuh for their order on the card. More rows go through plain weights: block_rows.cu.
//
// Budget, 16-bit runs: Q4_K is 0.5625 bytes a weight, so that 4.2 TB/s are 7.5e12 weights a second; an H200 issues 28e12 lane
// instructions in that time, 3.8 a weight, half as many for the integer unit. One row: a pair of codes costs a shift, a mask
// and a multiply-add (in bf16 no multiply-add), a group of 32 columns two products of tensor cores and two multiply-adds for
// its scale: 1.8 a weight in all, 1.3 in bf16. The product's eight columns separate its groups: column g is multiplied
// with the x of group g, and of the product with the codes of group j only column j is used, so that each lane has scales for
// two groups of eight only. 2 to 8 rows: columns are rows of x, each lane needs all scales: 3 a weight.
//
// Sums: a product's 16 or 32 columns in fp32, times an fp32 scale, which is exact; minima by the sum of x, which is a product
// with ones. The order: units of 256 columns are dealt to the 8 warps of a block in turn, the 8 sums are added in order. That
// depends on the number of columns and, at one row, two to eight, and more, on the rows of x; not on the row, the slice or the
// other jobs.
//
// With F32: the elements, to the bit those of device/cpu/unpack_scalar.c, by multiply-adds of fp32, about 5 instructions a
// weight.
#include "device/cuda/linear/blocks.cuh"
#include "device/cuda/linear/norm_input.cuh"
#include "device/cuda/runtime/kernels.h"
#include "device/cuda/runtime/matrix_unit.cuh"
#include "device/cuda/runtime/overlap.cuh"
#include "device/cuda/runtime/packets.cuh"

#include <initializer_list>

namespace
{

using namespace blocks;

constexpr int WARPS = 8, THREADS = WARPS * 32;
constexpr int RESIDENT = 2; // blocks of a multiprocessor
constexpr int JOBS = 8;     // of one launch

struct block_job {
    const unsigned char *w;
    const float *bias;
    void *y;
    int64_t ldy;
    int all_rows, row0, rows, first_tile; // of the matrix; the slice; tiles of the launch before it
    dtype type;
    bool add;
};

struct block_jobs {
    block_job job[JOBS];
    int64_t row_bytes;
    int n, tiles, cols;
    int first_unit, end_unit; // of the columns that are multiplied
    uint32_t zero; // 0, which the compiler does not know
};

// The kernel for a job whose results are a rank's part of sums is a form of its own, so that others have no more code.
struct summed_blocks : block_jobs {
    packet_sums sums;
};

template <typename JOBS> constexpr bool exchanges = std::is_same_v<JOBS, summed_blocks>;

// A tile of a launch, and the job that it belongs to.
template <typename F> struct place {
    const block_job *job;
    int first_row; // of the matrix
    tile<F> t;

    __device__ place(const block_jobs &jobs, int index)
        : job(find(jobs, index)), first_row(row_of(*job, index)),
          t(job->w, jobs.row_bytes, job->all_rows, jobs.cols, first_row / TILE_ROWS)
    {
    }

    __device__ static const block_job *find(const block_jobs &jobs, int index)
    {
        int j = 0;
        while (j + 1 < jobs.n && index >= jobs.job[j + 1].first_tile) {
            j++;
        }
        return &jobs.job[j];
    }

    __device__ static int row_of(const block_job &job, int index)
    {
        return (job.row0 / TILE_ROWS + index - job.first_tile) * TILE_ROWS;
    }

    // Row r of the tile, of row t of x, if it is one of the slice's.
    __device__ void put(int64_t x_row, int r, float sum) const
    {
        int row = first_row + r - job->row0;
        if (row >= 0 && row < job->rows) {
            put_result(*job, x_row, row, sum);
        }
    }
};

// The way of a warp through the units of its block's tiles: units of a tile are dealt to the warps in turn, tiles to the
// blocks.
template <typename F> struct walk {
    const block_jobs &jobs;
    int end, first, at, unit;
    bool more; // tiles after this one
    place<F> here, after;

    __device__ walk(const block_jobs &all, int warp)
        : jobs(all), end(all.end_unit), first(all.first_unit + warp), at((int)blockIdx.x), unit(first),
          more(at + (int)gridDim.x < all.tiles), here(all, at), after(all, more ? at + (int)gridDim.x : at)
    {
    }

    __device__ bool has_unit() const
    {
        return first < end;
    }

    __device__ bool same_tile() const
    {
        return unit + WARPS < end;
    }

    __device__ bool has_next() const
    {
        return has_unit() && (same_tile() || more);
    }

    __device__ tile<F> next_tile() const
    {
        return here.t.or_else(same_tile(), after.t);
    }

    __device__ int next_unit() const
    {
        return same_tile() ? unit + WARPS : first;
    }

    // To the first unit of the next tile; false if there is none.
    __device__ bool change_tile()
    {
        bool any = more;

        here = after;
        at += (int)gridDim.x;
        more = at + (int)gridDim.x < jobs.tiles;
        if (more) {
            after = place<F>(jobs, at + (int)gridDim.x);
        }
        unit = first;
        return any;
    }
};

// The sums of n times 16 rows of the matrix over all warps: put(i, r, sum) for row r of the i-th 16.
template <int N, typename Put> __device__ inline void put_sums(const float (&sums)[WARPS][N][TILE_ROWS], int n, const Put &put)
{
    for (int i = (int)threadIdx.x; i < n * TILE_ROWS; i += THREADS) {
        float all = 0;
#pragma unroll
        for (int w = 0; w < WARPS; w++) {
            all += sums[w][i / TILE_ROWS][i % TILE_ROWS];
        }
        put(i / TILE_ROWS, i % TILE_ROWS, all);
    }
}

// Sums of x alone, by ones in place of codes.
template <bool BF16> __device__ inline void add_up(float (&sum)[4], uint32_t b0, uint32_t b1)
{
    matrix_unit_of<BF16>::multiply(sum, {ONES<BF16>, ONES<BF16>, ONES<BF16>, ONES<BF16>}, b0, b1);
}

// --- one row of x ---

// A lane's part of a unit: its quarter of two rows of the matrix, and x: of group lane / 4 what its quarter has of it
// (scales for 16 columns: of two such groups).
template <typename F> struct one_unit {
    quarter<F, true> row[2];
    uint4 x;

    template <bool WHOLE> __device__ void read_x(int unit, const uint16_t *from, int cols, int g, int q)
    {
        unsigned k = (unsigned)(unit * UNIT + (F::GROUP == 32 ? g * 32 + q * 8 : g * 16 + q * 4));
        if constexpr (F::GROUP == 32) {
            x = WHOLE || !F::TAILS || k < (unsigned)cols ? *reinterpret_cast<const uint4 *>(from + k) : make_uint4(0, 0, 0, 0);
        } else {
            uint2 a = *reinterpret_cast<const uint2 *>(from + k), b = *reinterpret_cast<const uint2 *>(from + k + UNIT / 2);
            x = make_uint4(a.x, a.y, b.x, b.y);
        }
    }

    template <bool WHOLE> __device__ void read(const tile<F> &t, int unit, const uint16_t *from, int cols, int g, int q)
    {
        read_two<WHOLE>(row, t, unit, g, q);
        read_x<WHOLE>(unit, from, cols, g, q);
    }
};

// In bf16, unsigned codes are multiplied with the 128 that the mask leaves in them, and 128 times the sum of x is subtracted
// with the minima: one instruction a pair of codes less. Codes and products stay exact. A sum is rounded to fp32 with terms of
// (128 + code) x in it instead of code x: in a simulation of sums that are truncated, on random blocks, the error grew from at
// most 5e-8 to at most 1e-6 of the largest of 16 weights times |x|, summed (Q4_0 with 32 columns; root of its mean square 1e-7,
// less with more columns and bits). The rounding of x to bf16 is 2e-3 of the same. In f16 the number would be 1,024, where the
// rounding of x is 2.4e-4: codes are formed without it there.
template <typename F, bool BF16> __device__ inline void multiply_one(float (&sum)[2], const one_unit<F> &u, int q)
{
    constexpr bool FOLDED = BF16 && F::CODES == UNSIGNED;
    share<F> own[2] = {share_of(u.row[0], q), share_of(u.row[1], q)};

    if constexpr (FOLDED) {
#pragma unroll
        for (int i = 0; i < F::SHARED; i++) {
            own[0].minimum[i] = fmaf(own[0].factor[i], -128.0f - F::CENTRE, F::MINIMA ? own[0].minimum[i] : 0);
            own[1].minimum[i] = fmaf(own[1].factor[i], -128.0f - F::CENTRE, F::MINIMA ? own[1].minimum[i] : 0);
        }
    }
    if constexpr (F::MINIMA || FOLDED) {
        float x[4] = {}, later[4] = {};
        add_up<BF16>(x, u.x.x, u.x.y);
        add_up<BF16>(F::GROUP == 32 ? x : later, u.x.z, u.x.w);
#pragma unroll
        for (int i = 0; i < F::SHARED; i++) {
            sum[0] = fmaf(own[0].minimum[i], i < 2 ? x[i] : later[i - 2], sum[0]);
            sum[1] = fmaf(own[1].minimum[i], i < 2 ? x[i] : later[i - 2], sum[1]);
        }
    }
#pragma unroll
    for (int s = 0; s < 4; s++) {
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int j = group_of<F>(s, h);
            uint32_t a[2][4];
#pragma unroll
            for (int p = 0; p < 4; p++) {
                a[0][p] = code_pair<F, BF16, FOLDED>(u.row[0], j, p);
                a[1][p] = code_pair<F, BF16, FOLDED>(u.row[1], j, p);
            }
            float d[4] = {}, later[4] = {};
            if constexpr (F::GROUP == 32) {
                matrix_unit_of<BF16>::multiply(d, {a[0][0], a[1][0], a[0][1], a[1][1]}, u.x.x, u.x.y);
                matrix_unit_of<BF16>::multiply(d, {a[0][2], a[1][2], a[0][3], a[1][3]}, u.x.z, u.x.w);
                if (q == s) {
                    sum[0] = fmaf(own[0].factor[h], d[h], sum[0]);
                    sum[1] = fmaf(own[1].factor[h], d[2 + h], sum[1]);
                }
            } else {
                uint32_t b0 = h ? u.x.z : u.x.x, b1 = h ? u.x.w : u.x.y;
                matrix_unit_of<BF16>::multiply(d, {a[0][0], a[1][0], a[0][1], a[1][1]}, b0, b1);
                matrix_unit_of<BF16>::multiply(later, {a[0][2], a[1][2], a[0][3], a[1][3]}, b0, b1);
                if (q == s) {
                    sum[0] = fmaf(own[0].factor[2 * h + 1], later[1], fmaf(own[0].factor[2 * h], d[0], sum[0]));
                    sum[1] = fmaf(own[1].factor[2 * h + 1], later[3], fmaf(own[1].factor[2 * h], d[2], sum[1]));
                }
            }
        }
    }
}

// A rank's part of a row of the result, with those of the other ranks.
__device__ inline void put_exchanged(const summed_blocks &jobs, uint64_t number, int row, float sum)
{
    const packet_sums &s = jobs.sums;
    const float part = sum + (jobs.job[0].bias ? jobs.job[0].bias[row] : 0.0f);

    sums_push(s, number, (uint32_t)row, part);
    s.y[row] = sums_await(s, number, (uint32_t)row, part, s.y[row]);
}

// Row r of tile `at`, which is `here` where no more are held than one.
template <int HELD, typename F, typename JOBS>
__device__ inline void put_one(const JOBS &jobs, const place<F> &here, int at, int r, float sum, uint64_t number)
{
    if constexpr (exchanges<JOBS>) {
        put_exchanged(jobs, number, at * TILE_ROWS + r, sum);
    } else if constexpr (HELD == 1) {
        here.put(0, r, sum);
    } else {
        place<F>(jobs, at).put(0, r, sum);
    }
}

// A block computes tiles of 16 rows, one after another, over all columns: each warp takes every eighth unit, and loads the next
// one, of the next tile at the end of a tile, before it multiplies. Two buffers alternate, and the next loads' address depends
// on the last ones' data: the compiler counts all loads with one scoreboard, so a wait behind the next loads would include
// them. The warps meet once every eight tiles; with codes of 8 bits after each, as the sum over eight tiles would spill
// registers there. WHOLE: all tiles and units are.
template <typename F, bool BF16, bool WHOLE, typename JOBS>
__global__ void __launch_bounds__(THREADS, RESIDENT)
    one_row(const __grid_constant__ JOBS jobs, const uint16_t *given, const __grid_constant__ cuda_norm_input norm)
{
    extern __shared__ __align__(16) uint16_t normed[]; // where a norm is given
    __shared__ float norm_parts[32];
    const uint16_t *const x = norm.x ? normed : given;
    constexpr int HELD = F::LOW + F::HIGH < 6 ? 8 : 1;
    __shared__ float sums[2][WARPS][HELD][TILE_ROWS]; // of these tiles, and of those before, which may still be added up
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, g = lane / 4, q = lane % 4;
    __shared__ uint64_t number; // of an exchange
    int turn = 0, held = 0, first = (int)blockIdx.x;

    overlap_begin();
    walk<F> way(jobs, warp);
    one_unit<F> even, odd;
    float sum[2] = {};

    auto step = [&](const one_unit<F> &now, one_unit<F> &next) {
        int zero = (int)((touched(now.row) ^ now.x.x ^ now.x.z) & jobs.zero);
        if ((int)way.has_next() + zero > 0) {
            next.template read<WHOLE>(way.next_tile(), way.next_unit() + zero, x, jobs.cols, g, q);
        }
        if (way.has_unit()) {
            multiply_one<F, BF16>(sum, now, q);
        }
        if (way.same_tile()) {
            way.unit += WARPS;
            return true;
        }
#pragma unroll
        for (int i = 0; i < 2; i++) {
            sum[i] += __shfl_xor_sync(~0u, sum[i], 1);
            sum[i] += __shfl_xor_sync(~0u, sum[i], 2);
        }
        if (q < 2) {
            sums[turn][warp][held][g + 8 * q] = q ? sum[1] : sum[0];
        }
        sum[0] = sum[1] = 0;
        held++;
        if (held == HELD || !way.more) {
            __syncthreads();
            put_sums(sums[turn], held, [&](int i, int r, float all) {
                put_one<HELD>(jobs, way.here, first + i * (int)gridDim.x, r, all, number);
            });
            first += held * (int)gridDim.x;
            held = 0;
            turn ^= 1;
        }
        return way.change_tile();
    };
    if (way.has_unit()) {
        read_two<WHOLE>(even.row, way.here.t, way.first, g, q);
    }
    norm_input_ahead(norm);
    overlap_wait();
    if constexpr (exchanges<JOBS>) {
        number = number_of(jobs.sums.links); // all threads write the same
    }
    if (norm.x) {
        norm_input_make<BF16>(norm, normed, norm_parts);
    }
    if (way.has_unit()) {
        even.template read_x<WHOLE>(way.first, x, jobs.cols, g, q);
    }
    while (step(even, odd) && step(odd, even)) {
    }
}

// --- up to 16 rows of x ---

template <typename F> __device__ inline uint4 read_x(const uint16_t *row, int k, int q, int cols)
{
    if (!row || (F::TAILS && k >= cols)) {
        return make_uint4(0, 0, 0, 0);
    }
    if constexpr (F::GROUP == 32) {
        return *reinterpret_cast<const uint4 *>(row + k + column_of<F>(q, 0));
    } else {
        uint2 a = *reinterpret_cast<const uint2 *>(row + k + column_of<F>(q, 0)),
              b = *reinterpret_cast<const uint2 *>(row + k + column_of<F>(q, 4));
        return make_uint4(a.x, a.y, b.x, b.y);
    }
}

template <bool MINIMA>
__device__ inline void scale_sums(float (&sum)[4], const float (&d)[4], const float (&x)[4], float low, float high,
                                  float low_min, float high_min)
{
#pragma unroll
    for (int i = 0; i < 4; i++) {
        sum[i] = fmaf(i < 2 ? low : high, d[i], sum[i]);
        if constexpr (MINIMA) {
            sum[i] = fmaf(i < 2 ? low_min : high_min, x[i], sum[i]);
        }
    }
}

template <typename F, bool BF16, int TILES>
__device__ inline void multiply_rows(float (&sum)[TILES][4], const quarter<F, false> (&row)[2],
                                     const uint16_t *const (&x)[TILES], int k, int cols, int q)
{
#pragma unroll
    for (int s = 0; s < 4; s++) {
        share<F> low = share_of(row[0], s), high = share_of(row[1], s);
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int j = group_of<F>(s, h);
            uint32_t a[2][4];
#pragma unroll
            for (int p = 0; p < 4; p++) {
                a[0][p] = code_pair<F, BF16>(row[0], j, p);
                a[1][p] = code_pair<F, BF16>(row[1], j, p);
            }
#pragma unroll
            for (int t = 0; t < TILES; t++) {
                uint4 b = read_x<F>(x[t], k + 32 * j, q, cols);
                float d[4] = {}, ones[4] = {}, later[4] = {}, later_ones[4] = {};
                matrix_unit_of<BF16>::multiply(d, {a[0][0], a[1][0], a[0][1], a[1][1]}, b.x, b.y);
                matrix_unit_of<BF16>::multiply(F::GROUP == 32 ? d : later, {a[0][2], a[1][2], a[0][3], a[1][3]}, b.z, b.w);
                if constexpr (F::MINIMA) {
                    add_up<BF16>(ones, b.x, b.y);
                    add_up<BF16>(F::GROUP == 32 ? ones : later_ones, b.z, b.w);
                }
                int at = F::GROUP == 32 ? h : 2 * h;
                scale_sums<F::MINIMA>(sum[t], d, ones, low.factor[at], high.factor[at], low.minimum[at], high.minimum[at]);
                if constexpr (F::GROUP == 16) {
                    scale_sums<F::MINIMA>(sum[t], later, later_ones, low.factor[at + 1], high.factor[at + 1],
                                          low.minimum[at + 1], high.minimum[at + 1]);
                }
            }
        }
    }
}

// As one_row, but the warps add up their sums after each tile. 9 rows and more, and codes of 8 bits, were faster with one
// buffer that is copied and half the code.
template <typename F, bool BF16, int TILES, bool WHOLE>
__global__ void __launch_bounds__(THREADS, RESIDENT)
    some_rows(const __grid_constant__ block_jobs jobs, const uint16_t *x, int64_t ldx, int n)
{
    constexpr bool ALTERNATE = TILES == 1 && F::LOW < 8;
    __shared__ float sums[2][WARPS][TILES * 8][TILE_ROWS];
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, g = lane / 4, q = lane % 4, turn = 0;
    walk<F> way(jobs, warp);
    quarter<F, false> even[2], odd[2];
    const uint16_t *rows[TILES];
    float sum[TILES][4] = {};

    overlap_begin();
#pragma unroll
    for (int t = 0; t < TILES; t++) {
        rows[t] = t * 8 + g < n ? x + (t * 8 + g) * ldx : nullptr;
    }
    auto step = [&](const quarter<F, false>(&now)[2], quarter<F, false>(&next)[2]) {
        int zero = ALTERNATE ? (int)(touched(now) & jobs.zero) : 0;
        if ((int)way.has_next() + zero > 0) {
            read_two<WHOLE>(next, way.next_tile(), way.next_unit() + zero, g, q);
        }
        if (way.has_unit()) {
            multiply_rows<F, BF16, TILES>(sum, now, rows, way.unit * UNIT, jobs.cols, q);
        }
        if (way.same_tile()) {
            way.unit += WARPS;
            return true;
        }
#pragma unroll
        for (int t = 0; t < TILES; t++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                sums[turn][warp][t * 8 + q * 2 + i % 2][g + i / 2 * 8] = sum[t][i];
                sum[t][i] = 0;
            }
        }
        __syncthreads();
        put_sums(sums[turn], n, [&](int t, int r, float all) { way.here.put(t, r, all); });
        turn ^= 1;
        return way.change_tile();
    };
    if (way.has_unit()) {
        read_two<WHOLE>(even, way.here.t, way.first, g, q);
    }
    overlap_wait();
    if constexpr (ALTERNATE) {
        while (step(even, odd) && step(odd, even)) {
        }
    } else {
        while (step(even, odd)) {
            even[0] = odd[0];
            even[1] = odd[1];
        }
    }
}

// --- F32 activations ---

// A lane takes its quarter's columns of two rows; the four quarters and the warps are added up at the end.
template <typename F, int ROWS>
__global__ void __launch_bounds__(THREADS)
    exact_rows(const __grid_constant__ block_jobs jobs, const float *x, int64_t ldx, int n)
{
    __shared__ float sums[WARPS][ROWS][TILE_ROWS];
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, g = lane / 4, q = lane % 4;
    place<F> here(jobs, (int)blockIdx.x);
    float sum[ROWS][2] = {};

    overlap_begin_and_wait();
    for (int u = jobs.first_unit + warp; u < jobs.end_unit; u += WARPS) {
        quarter<F, false> row[2];
        read_two<false>(row, here.t, u, g, q);
#pragma unroll
        for (int i = 0; i < GROUPS; i++) {
            int s = i / 2, j = group_of<F>(s, i % 2), k = u * UNIT + 32 * j;
            float w[2][8];
            elements_of(w[0], row[0], share_of(row[0], s), j);
            elements_of(w[1], row[1], share_of(row[1], s), j);
            if (F::TAILS && k >= jobs.cols) {
                continue;
            }
#pragma unroll
            for (int t = 0; t < ROWS; t++) {
                const float *at = x + min(t, n - 1) * ldx + k; // rows behind the last are not stored
                float4 a = *reinterpret_cast<const float4 *>(at + column_of<F>(q, 0)),
                       b = *reinterpret_cast<const float4 *>(at + column_of<F>(q, 4));
                float v[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
#pragma unroll
                for (int c = 0; c < 8; c++) {
                    sum[t][0] = fmaf(w[0][c], v[c], sum[t][0]);
                    sum[t][1] = fmaf(w[1][c], v[c], sum[t][1]);
                }
            }
        }
    }
#pragma unroll
    for (int t = 0; t < ROWS; t++) {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            sum[t][i] += __shfl_xor_sync(~0u, sum[t][i], 1);
            sum[t][i] += __shfl_xor_sync(~0u, sum[t][i], 2);
        }
        if (q < 2) {
            sums[warp][t][g + 8 * q] = q ? sum[t][1] : sum[t][0];
        }
    }
    __syncthreads();
    put_sums(sums, n, [&](int t, int r, float all) { here.put(t, r, all); });
}

// --- launches ---

constexpr int EXACT_SOME = 4;

template <typename F, bool BF16, bool WHOLE>
void queue_16(cudaStream_t stream, int n_sms, const block_jobs &jobs, const uint16_t *x, int64_t ldx, int n,
              const cuda_norm_input *norm)
{
    const cuda_norm_input none = {};
    int most = n_sms * RESIDENT;
    unsigned blocks = (unsigned)(jobs.tiles < most ? jobs.tiles : most);

    if (n == 1) {
        overlap_launch(stream, blocks, THREADS, norm ? norm->d * sizeof(uint16_t) : 0, one_row<F, BF16, WHOLE, block_jobs>,
                       jobs, x, norm ? *norm : none);
    } else if (n <= 8) {
        overlap_launch(stream, blocks, THREADS, 0, some_rows<F, BF16, 1, WHOLE>, jobs, x, ldx, n);
    } else {
        overlap_launch(stream, blocks, THREADS, 0, some_rows<F, BF16, 2, WHOLE>, jobs, x, ldx, n);
    }
}

template <typename F> void queue_32(cudaStream_t stream, const block_jobs &jobs, const float *x, int64_t ldx, int n)
{
    if (n == 1) {
        overlap_launch(stream, (unsigned)jobs.tiles, THREADS, 0, exact_rows<F, 1>, jobs, x, ldx, n);
    } else if (n <= EXACT_SOME) {
        overlap_launch(stream, (unsigned)jobs.tiles, THREADS, 0, exact_rows<F, EXACT_SOME>, jobs, x, ldx, n);
    } else {
        overlap_launch(stream, (unsigned)jobs.tiles, THREADS, 0, exact_rows<F, CUDA_SMALL_ROWS>, jobs, x, ldx, n);
    }
}

// A job for rows of x from row t on.
block_job block_of(const linear_job *job, int64_t t, int first_tile)
{
    int64_t size = job->type == DTYPE_F32 ? 4 : 2;

    return {static_cast<const unsigned char *>(job->w->data),
            job->bias ? job->bias + job->row0 : nullptr,
            static_cast<char *>(job->y) + t * job->ldy * size,
            job->ldy,
            (int)job->w->rows,
            (int)job->row0,
            (int)job->rows,
            first_tile,
            job->type,
            job->add};
}

// Without a job yet.
void shape_of(block_jobs &all, const linear_job *job)
{
    all.row_bytes = (int64_t)job->w->row_bytes;
    all.cols = (int)job->w->cols;
    all.first_unit = (int)(job->col0 / UNIT);
    all.end_unit = (int)ceil_div(job->cols > 0 ? job->col0 + job->cols : job->w->cols, UNIT);
}

// Up to CUDA_SMALL_ROWS rows of x from row t on, through as many jobs as one launch takes. Returns how many those were.
int queue_some(cudaStream_t stream, int n_sms, dtype act, const void *x, int64_t ldx, int64_t t, int n, const linear_job jobs[],
               int n_jobs, const cuda_norm_input *norm)
{
    const matrix *first = jobs[0].w;
    block_jobs all = {};
    bool whole = first->cols % UNIT == 0;
    int taken = 0;

    shape_of(all, jobs);
    for (; taken < n_jobs && all.n < JOBS; taken++) {
        const linear_job *job = &jobs[taken];
        if (job->rows == 0) {
            continue;
        }
        all.job[all.n++] = block_of(job, t, all.tiles);
        whole = whole && job->w->rows % TILE_ROWS == 0;
        all.tiles += (int)(ceil_div(job->row0 + job->rows, TILE_ROWS) - job->row0 / TILE_ROWS);
    }
    if (all.tiles == 0) {
        return taken;
    }
    with_format(first->type, [&](auto format) {
        using F = decltype(format);
        if (act == DTYPE_F32) {
            queue_32<F>(stream, all, static_cast<const float *>(x) + t * ldx, ldx, n);
            return;
        }
        auto *queue = whole ? queue_16<F, false, true> : queue_16<F, false, false>;
        if (act == DTYPE_BF16) {
            queue = whole ? queue_16<F, true, true> : queue_16<F, true, false>;
        }
        queue(stream, n_sms, all, static_cast<const uint16_t *>(x) + t * ldx, ldx, n, norm);
    });
    return taken;
}

template <typename F, bool BF16>
void queue_summed(cudaStream_t stream, int n_sms, const summed_blocks &jobs, const uint16_t *x)
{
    const cuda_norm_input none = {};
    int most = n_sms * RESIDENT; // all are on the card at once

    overlap_launch(stream, (unsigned)(jobs.tiles < most ? jobs.tiles : most), THREADS, 0,
                   one_row<F, BF16, true, summed_blocks>, jobs, x, none);
}

// Loads in flight need room in the first-level cache, and kernels can overlap only where the division between it and shared
// memory stays: measured, codes of 8 bits are faster with 25 % for shared memory, those of 4 bits with 50 %.
template <typename F, bool BF16, bool WHOLE> cudaError_t load_16(void)
{
    const void *const kernels[] = {(const void *)one_row<F, BF16, WHOLE, block_jobs>,
                                   (const void *)some_rows<F, BF16, 1, WHOLE>,
                                   (const void *)some_rows<F, BF16, 2, WHOLE>};

    return load_kernels(kernels, sizeof kernels / sizeof *kernels, F::LOW == 8 ? 25 : 50);
}

template <typename F> cudaError_t load_summed(void)
{
    const void *const kernels[] = {(const void *)one_row<F, true, true, summed_blocks>,
                                   (const void *)one_row<F, false, true, summed_blocks>};

    return load_kernels(kernels, sizeof kernels / sizeof *kernels, F::LOW == 8 ? 25 : 50);
}

template <typename F> cudaError_t load_32(void)
{
    const void *const kernels[] = {(const void *)exact_rows<F, 1>, (const void *)exact_rows<F, EXACT_SOME>,
                                   (const void *)exact_rows<F, CUDA_SMALL_ROWS>};

    return load_kernels(kernels, sizeof kernels / sizeof *kernels);
}

} // namespace

cudaError_t cuda_blocks_load(void)
{
    cudaError_t status = cudaSuccess;

    for (int type = 0; type < DTYPE_COUNT && status == cudaSuccess; type++) {
        with_format((dtype)type, [&](auto format) {
            using F = decltype(format);
            for (auto load : {load_16<F, true, true>, load_16<F, true, false>, load_16<F, false, true>,
                              load_16<F, false, false>, load_summed<F>, load_32<F>}) {
                status = status == cudaSuccess ? load() : status;
            }
        });
    }
    return status;
}

bool cuda_blocks_can(dtype act, const void *x, int64_t ldx, int64_t n)
{
    bool few = act == DTYPE_F32 ? n <= CUDA_SMALL_ROWS : n <= CUDA_BLOCK_ROWS;

    return few && ldx % 8 == 0 && (uintptr_t)x % 16 == 0;
}

cudaError_t cuda_blocks(cudaStream_t stream, int n_sms, dtype act, const void *x, int64_t ldx, int64_t n,
                        const linear_job jobs[], int n_jobs, const cuda_norm_input *norm)
{
    for (int64_t t = 0; t < n; t += CUDA_SMALL_ROWS) {
        int some = n - t < CUDA_SMALL_ROWS ? (int)(n - t) : CUDA_SMALL_ROWS;
        for (int from = 0; from < n_jobs;) {
            from += queue_some(stream, n_sms, act, x, ldx, t, some, jobs + from, n_jobs - from, norm);
            norm = nullptr; // the first launch leaves it at x
        }
    }
    return cudaGetLastError();
}

bool cuda_blocks_exchange(dtype act, int64_t n, const linear_job *job)
{
    return act != DTYPE_F32 && n == 1 && job->row0 == 0 && job->rows == job->w->rows && job->rows % TILE_ROWS == 0 &&
           job->w->cols % UNIT == 0;
}

cudaError_t cuda_blocks_exchanged(cudaStream_t stream, int n_sms, dtype act, const void *x, const linear_job *job,
                                  const packet_sums *sums)
{
    summed_blocks all = {};

    shape_of(all, job);
    all.job[all.n++] = block_of(job, 0, 0);
    all.tiles = (int)(job->rows / TILE_ROWS);
    all.sums = *sums;
    with_format(job->w->type, [&](auto format) {
        using F = decltype(format);
        auto *queue = act == DTYPE_BF16 ? queue_summed<F, true> : queue_summed<F, false>;
        queue(stream, n_sms, all, static_cast<const uint16_t *>(x));
    });
    return cudaGetLastError();
}
