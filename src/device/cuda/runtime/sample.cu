// From logits to a token, one block of threads a row: the likeliest set, its weight, the token drawn from it.
// Rests on device/sampling.h for order and weights, element.cuh for loading. device/cpu/cpu_sample.c is the definition and
// tells the method: where a leading part ends is found digit by digit of the ordered image.
//
// Budget: a row of 128K logits is 512 KB, which L2 holds and are read once for temperature 0, up to ten times where everything
// is asked for. Sums are of whole numbers: exact, so that the order in which threads add does not show.
#include "device/cuda/runtime/element.cuh"
#include "device/cuda/runtime/kernels.h"
#include "device/cuda/runtime/overlap.cuh"
#include "device/sampling.h"

namespace
{

constexpr int THREADS = 1024, WARP = 32, WARPS = THREADS / WARP, DIGIT = 11, DIGITS = 1 << DIGIT;
constexpr int AT_ONCE = 16; // logits that a thread asks for before it looks at the first
constexpr unsigned ALL_LANES = 0xffffffff;
static_assert(DIGITS == 2 * THREADS, "each thread looks at two digits");

struct workspace {
    uint32_t low[DIGITS], high[DIGITS]; // of what each digit brings: cards add 32 bits at a time
    uint64_t warps[WARPS];              // one number from each warp
    uint64_t left;                      // results of one thread for all
    uint32_t digit;
    int found;
};

// One row, and what its tokens weigh.
struct row {
    const float *logits;
    int vocab;
    float best, scale;

    __device__ uint64_t weight(float logit) const
    {
        return sampling_weight(best, logit, scale);
    }
};

// --- sums over the block; ids are dealt out to warps in runs, so that a walk in their order can begin at its warp ---

__device__ uint64_t warp_sum(uint64_t value)
{
    for (int by = WARP / 2; by > 0; by /= 2) {
        value += __shfl_xor_sync(ALL_LANES, value, by);
    }
    return value;
}

// Of this lane and those before it.
__device__ uint64_t warp_scan(uint64_t value)
{
    int lane = threadIdx.x % WARP;

    for (int by = 1; by < WARP; by *= 2) {
        uint64_t other = __shfl_up_sync(ALL_LANES, value, by);
        value += lane >= by ? other : 0;
    }
    return value;
}

// Of all warps before this one, by their numbers in the workspace.
__device__ uint64_t before_warp(const workspace &w)
{
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;

    return warp_sum(lane < warp ? w.warps[lane] : 0);
}

__device__ int warp_begin(const row &r)
{
    int steps = (r.vocab + THREADS - 1) / THREADS;

    return (int)(threadIdx.x / WARP) * steps * WARP;
}

// The sum of measure(id, image, logit) over the row. Leaves that of each warp's run in the workspace.
template <typename measure> __device__ uint64_t sum_of(workspace &w, const row &r, measure of)
{
    int begin = warp_begin(r), end = min(begin + (r.vocab + THREADS - 1) / THREADS * WARP, r.vocab);
    uint64_t sum = 0;

    for (int i = begin + threadIdx.x % WARP; i < end; i += WARP) {
        sum += of(i, sampling_image(r.logits[i]), r.logits[i]);
    }
    sum = warp_sum(sum);
    __syncthreads(); // the earlier values have been read
    if (threadIdx.x % WARP == 0) {
        w.warps[threadIdx.x / WARP] = sum;
    }
    __syncthreads();
    return warp_sum(w.warps[threadIdx.x % WARP]);
}

// Behind sum_of: the first id that takes the sum beyond `passed`, which is less than all of it.
template <typename measure> __device__ int find(workspace &w, const row &r, measure of, uint64_t passed)
{
    uint64_t before = before_warp(w), here = w.warps[threadIdx.x / WARP];

    if (before <= passed && passed < before + here) { // true for one warp
        unsigned reached = 0;
        for (int i = warp_begin(r) + threadIdx.x % WARP; !reached; i += WARP) {
            float logit = i < r.vocab ? r.logits[i] : 0;
            uint64_t upto = before + warp_scan(i < r.vocab ? of(i, sampling_image(logit), logit) : 0);
            reached = __ballot_sync(ALL_LANES, upto > passed);
            if (reached && (int)(threadIdx.x % WARP) == __ffs((int)reached) - 1) {
                w.found = i;
            }
            before = __shfl_sync(ALL_LANES, upto, WARP - 1);
        }
    }
    __syncthreads();
    return w.found;
}

// --- the end of a leading part ---

__device__ void bring(workspace &w, uint32_t digit, uint64_t value)
{
    uint32_t low = (uint32_t)value, high = (uint32_t)(value >> 32);

    high += atomicAdd(&w.low[digit], low) > ~low; // what overflows
    if (high) {
        atomicAdd(&w.high[digit], high);
    }
}

__device__ uint64_t brought(const workspace &w, uint32_t digit)
{
    return (uint64_t)w.high[digit] << 32 | w.low[digit];
}

// The weights of a set's tokens, by one digit of their images, where the digits above it are known.
template <bool BY_WEIGHT>
__device__ void count_digits(workspace &w, const row &r, sampling_set of, uint32_t image, uint32_t known, int shift)
{
    for (int i = threadIdx.x; i < DIGITS; i += THREADS) {
        w.low[i] = w.high[i] = 0;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < r.vocab; i += THREADS) {
        uint32_t here = sampling_image(r.logits[i]);
        if ((here & known) == image && sampling_holds(of, here, i)) {
            bring(w, here >> shift & (DIGITS - 1), BY_WEIGHT ? r.weight(r.logits[i]) : 1);
        }
    }
    __syncthreads();
}

// The digit, from the largest on, with which the sum reaches `wanted`, and the rest that is wanted of that digit.
__device__ uint32_t end_digit(workspace &w, uint64_t &wanted)
{
    uint32_t first = DIGITS - 1 - 2 * threadIdx.x;
    uint64_t one = brought(w, first), two = brought(w, first - 1), upto = warp_scan(one + two);

    if (threadIdx.x % WARP == WARP - 1) {
        w.warps[threadIdx.x / WARP] = upto;
    }
    __syncthreads();
    upto += before_warp(w);
    uint64_t before = upto - one - two;
    if (before < wanted && wanted <= upto) { // true for one thread
        bool second = wanted > before + one;
        w.digit = first - second;
        w.left = wanted - before - (second ? one : 0);
    }
    __syncthreads();
    wanted = w.left;
    return w.digit;
}

// The smallest leading part of a set that brings `wanted` together, which is at least 1 and no more than all of it brings.
template <bool BY_WEIGHT> __device__ sampling_set leading(workspace &w, const row &r, sampling_set of, uint64_t wanted)
{
    uint32_t image = 0, known = 0;

    for (int shift = 32 - DIGIT; known != UINT32_MAX; shift = shift > DIGIT ? shift - DIGIT : 0) {
        count_digits<BY_WEIGHT>(w, r, of, image, known, shift);
        image |= end_digit(w, wanted) << shift;
        known |= (uint32_t)(DIGITS - 1) << shift;
    }
    uint64_t each = BY_WEIGHT ? r.weight(sampling_logit(image)) : 1;
    auto tie = [=](int i, uint32_t here, float) -> uint64_t { return here == image && sampling_holds(of, here, i); };
    sum_of(w, r, tie);
    return {image, find(w, r, tie, (wanted + each - 1) / each - 1)};
}

// --- the choice ---

// The best, -1 if one is not finite.
__device__ int find_best(workspace &w, const float *logits, int vocab)
{
    uint64_t best = 0; // image, then the complement of the id: the lower of equals is larger
    bool finite = true;

    for (int from = threadIdx.x; from < vocab; from += THREADS * AT_ONCE) {
        float some[AT_ONCE];
#pragma unroll
        for (int j = 0; j < AT_ONCE; j++) { // those behind the last are the last again
            some[j] = logits[min(from + j * THREADS, vocab - 1)];
        }
#pragma unroll
        for (int j = 0; j < AT_ONCE; j++) {
            int i = min(from + j * THREADS, vocab - 1);
            uint64_t here = (uint64_t)sampling_image(some[j]) << 32 | (uint32_t)~i;
            finite = finite && isfinite(some[j]);
            best = here > best ? here : best;
        }
    }
    for (int by = WARP / 2; by > 0; by /= 2) {
        uint64_t other = __shfl_xor_sync(ALL_LANES, best, by);
        best = other > best ? other : best;
    }
    if (threadIdx.x % WARP == 0) {
        w.warps[threadIdx.x / WARP] = best;
    }
    if (!__syncthreads_and(finite)) {
        return -1;
    }
    for (int i = 0; i < WARPS; i++) {
        best = w.warps[i] > best ? w.warps[i] : best;
    }
    return (int)~(uint32_t)best;
}

__device__ int choose(workspace &w, row &r, const sample_setting &s)
{
    int best = find_best(w, r.logits, r.vocab);

    if (best < 0 || s.temperature == 0) {
        return best;
    }
    r.best = r.logits[best];
    r.scale = sampling_scale(s.temperature);
    sampling_set kept = sampling_all();
    uint64_t least = 0;
    auto weight = [&](int i, uint32_t image, float logit) -> uint64_t {
        uint64_t all = sampling_holds(kept, image, i) ? r.weight(logit) : 0;
        return all >= least ? all : 0;
    };
    if (s.top_k > 0 && s.top_k < r.vocab) {
        kept = leading<false>(w, r, kept, (uint64_t)s.top_k);
    }
    if (s.top_p < 1) {
        uint64_t wanted = sampling_share((double)s.top_p, sum_of(w, r, weight));
        kept = leading<true>(w, r, kept, wanted ? wanted : 1);
    }
    least = sampling_share((double)s.min_p, SAMPLING_ONE);
    uint64_t sum = sum_of(w, r, weight), passed = sampling_share(s.uniform, sum);
    return find(w, r, weight, passed < sum ? passed : sum - 1);
}

__global__ __launch_bounds__(THREADS) void sample_rows(int32_t *tokens, const float *logits, int64_t ld, int vocab,
                                                       const sample_setting *settings)
{
    __shared__ workspace w;
    row r = {logits + blockIdx.x * ld, vocab, 0, 0};

    overlap_begin_and_wait();
    int token = choose(w, r, settings[blockIdx.x]);

    if (threadIdx.x == 0) {
        tokens[blockIdx.x] = token;
    }
}

} // namespace

cudaError_t cuda_sample_load(void)
{
    const void *const kernels[] = {(const void *)sample_rows};

    return load_kernels(kernels, 1);
}

cudaError_t cuda_sample(cudaStream_t stream, int32_t *tokens, const float *logits, int64_t ld, int64_t n, int64_t vocab,
                        const sample_setting *settings)
{
    if (n == 0) {
        return cudaSuccess;
    }
    overlap_launch(stream, (unsigned)n, THREADS, 0, sample_rows, tokens, logits, ld, (int)vocab, settings);
    return cudaGetLastError();
}
