// Columns of some rows from one rank's memory to the same place of another's. Rests on gather.h.
//
// Budget: rows of decode have a few KB. Pushing takes one way over the link (about a microsecond), pulling would take the way
// there and back. A packet of 16 bytes carries its number beside its data and is written and read at once, so that no fence and
// no word behind the data costs a way more. Rows of one token are one or two packets a thread of one block.
#include "comm/cuda/gather.h"
#include "device/cuda/runtime/element.cuh"
#include "device/cuda/runtime/overlap.cuh"
#include "device/cuda/runtime/packets.cuh"

namespace
{

constexpr int THREADS = 1024;
constexpr int LINE = 16; // bytes of a load or a store of copies
constexpr uint32_t BLOCKS = 32; // of a launch that waits: all of them are on the card at once

// --- the bytes of a rank's columns, one row behind the other ---

struct columns {
    uint32_t begin, width, bytes; // of a row; of all rows
};

__device__ __forceinline__ columns columns_of(const gather_push &p, int rank)
{
    const uint32_t begin = (uint32_t)p.begin[rank], width = (uint32_t)p.begin[rank + 1] - begin;
    return {begin, width, (uint32_t)p.rows * width};
}

// Byte i of the columns, counted in its rows.
__device__ __forceinline__ size_t place_of(const columns &c, uint32_t i, size_t stride)
{
    const uint32_t row = i / c.width;
    return row * stride + c.begin + (i - row * c.width);
}

// Packets are whole words of 8 bytes where nothing is narrower than that.
__device__ __forceinline__ bool by_words(const columns &c, const void *base, size_t stride)
{
    return ((uintptr_t)base | stride | c.begin | c.width) % PACKET_BYTES == 0;
}

__device__ __forceinline__ uint64_t load_bytes(const unsigned char *rows, size_t stride, const columns &c, uint32_t i)
{
    uint64_t data = 0;

    if (by_words(c, rows, stride)) {
        return *(const uint64_t *)(rows + place_of(c, i, stride));
    }
    for (uint32_t j = 0; j < PACKET_BYTES && i + j < c.bytes; j++) {
        data |= (uint64_t)rows[place_of(c, i + j, stride)] << 8 * j;
    }
    return data;
}

__device__ __forceinline__ void store_bytes(unsigned char *rows, size_t stride, const columns &c, uint32_t i, uint64_t data)
{
    if (by_words(c, rows, stride)) {
        *(uint64_t *)(rows + place_of(c, i, stride)) = data;
        return;
    }
    for (uint32_t j = 0; j < PACKET_BYTES && i + j < c.bytes; j++) {
        rows[place_of(c, i + j, stride)] = (unsigned char)(data >> 8 * j);
    }
}

// The value to which a packet is added. It is read before the packet has arrived.
__device__ __forceinline__ uint64_t before(const gather_push &p, const columns &c, uint32_t i)
{
    return p.add && p.rows > 0 ? load_bytes(p.into, p.into_stride, c, i) : 0;
}

__device__ __forceinline__ void deliver(const gather_push &p, const columns &c, uint32_t i, uint64_t there, uint64_t data)
{
    if (p.add) {
        const float low = __uint_as_float((uint32_t)there) + __uint_as_float((uint32_t)data);
        const float high = __uint_as_float((uint32_t)(there >> 32)) + __uint_as_float((uint32_t)(data >> 32));
        data = (uint64_t)__float_as_uint(high) << 32 | __float_as_uint(low);
    }
    store_bytes(p.into, p.into_stride, c, i, data);
}

__host__ __device__ __forceinline__ uint32_t packets_of(const gather_push &p, int rank)
{
    const uint32_t bytes = (uint32_t)p.rows * (uint32_t)(p.begin[rank + 1] - p.begin[rank]);
    return p.rows > 0 ? (bytes + PACKET_BYTES - 1) / PACKET_BYTES : 1; // without rows ranks wait for one another
}

// This rank's packets, from thread `first` of `step` threads on.
__device__ __forceinline__ void push_own(const gather_push &p, uint64_t number, uint32_t first, uint32_t step)
{
    const columns own = columns_of(p, p.links.rank);

    for (uint32_t k = first; k < packets_of(p, p.links.rank); k += step) {
        const uint64_t data = p.rows > 0 ? load_bytes(p.mine, p.stride, own, k * PACKET_BYTES) : 0;
        push_packet(p.links, p.first[p.links.rank] + k, data, number);
    }
}

__global__ void __launch_bounds__(THREADS) push_columns(const __grid_constant__ gather_push p)
{
    overlap_begin_and_wait();
    const uint64_t number = number_of(p.links);
    const uint32_t first = blockIdx.x * THREADS + threadIdx.x, step = gridDim.x * THREADS;

    push_own(p, number, first, step);
    for (uint32_t k = first, r = 0; k < p.first[p.links.n]; k += step) { // of all ranks, each thread its own ones
        while (k >= p.first[r + 1]) {
            r++;
        }
        const columns theirs = columns_of(p, (int)r);
        const uint32_t at = (k - p.first[r]) * PACKET_BYTES;
        if ((int)r == p.links.rank) {
            if (p.rows > 0 && p.into != p.mine) {
                deliver(p, theirs, at, before(p, theirs, at), load_bytes(p.mine, p.stride, theirs, at));
            }
            continue;
        }
        const uint64_t there = before(p, theirs, at), data = await_packet(p.links, k, number);
        if (p.rows > 0) {
            deliver(p, theirs, at, there, data);
        }
    }
}

// --- sums ---

__global__ void __launch_bounds__(THREADS) push_parts(const __grid_constant__ packet_sums s, const float *parts)
{
    overlap_begin_and_wait();
    const uint32_t first = blockIdx.x * THREADS + threadIdx.x, step = gridDim.x * THREADS;
    const uint32_t all = (uint32_t)(s.rows * s.width);
    const uint64_t number = number_of(s.links);

    for (uint32_t at = first; at < all; at += step) {
        sums_push(s, number, at, parts[at]);
    }
    for (uint32_t at = first; at < all; at += step) {
        float *y = s.y + at / (uint32_t)s.width * s.ldy + at % (uint32_t)s.width;
        *y = sums_await(s, number, at, parts[at], *y);
    }
}

// --- partial results of attention ---

// Two numbers of the result a thread; of each head one has m and l as well.
__global__ void __launch_bounds__(THREADS)
    push_carries(const __grid_constant__ packet_carries c, const float *mine, dtype act)
{
    overlap_begin_and_wait();
    const int first = (int)(blockIdx.x * THREADS + threadIdx.x), step = (int)(gridDim.x * THREADS);
    const int numbers = c.heads * c.head_dim;
    const uint64_t number = number_of(c.links);

#pragma unroll 1
    for (int o = 2 * first; o < numbers; o += 2 * step) {
        const int head = o / c.head_dim;
        push_packet(c.links, pair_packet(c, c.links.rank, o), packed(mine[o], mine[o + 1]), number);
        if (o % c.head_dim == 0) {
            const float *m = mine + numbers + head;
            push_packet(c.links, head_packet(c, c.links.rank, head), packed(m[0], m[c.heads]), number);
        }
    }
#pragma unroll 1
    for (int o = 2 * first; o < numbers; o += 2 * step) {
        const int head = o / c.head_dim;
        const float *m = mine + numbers + head;
        carried_part<2> x = {m[0], m[c.heads], {mine[o], mine[o + 1]}};
        carries_await(c, number, head, o, x);
        const int64_t at = head / c.n_heads * c.ldo + head % c.n_heads * c.head_dim + o % c.head_dim;
        element_store(act, c.out, at, x.o[0]);
        element_store(act, c.out, at + 1, x.o[1]);
    }
}

// Lines that a row's columns may touch.
__host__ __device__ __forceinline__ uint32_t lines_of(size_t begin, size_t end)
{
    return (uint32_t)((end - begin + 2 * (LINE - 1)) / LINE);
}

// A row of blocks for each rank whose columns are copied.
__global__ void __launch_bounds__(THREADS) copy_columns(const __grid_constant__ gather_copy c)
{
    const unsigned char *from = c.from[blockIdx.y];
    const uint32_t lines = lines_of(c.begin[blockIdx.y], c.end[blockIdx.y]);

    for (uint32_t i = blockIdx.x * THREADS + threadIdx.x; i < (uint32_t)c.rows * lines; i += gridDim.x * THREADS) {
        const size_t row = i / lines * c.stride, begin = row + c.begin[blockIdx.y], end = row + c.end[blockIdx.y];
        const size_t at = begin / LINE * LINE + (size_t)(i % lines) * LINE;
        if (at >= begin && at + LINE <= end) {
            *(uint4 *)(c.to + at) = *(const uint4 *)(from + at);
            continue;
        }
        for (size_t j = at < begin ? begin : at; j < at + LINE && j < end; j++) {
            c.to[j] = from[j];
        }
    }
}

} // namespace

cudaError_t cuda_gather_load(void)
{
    const void *const kernels[] = {(const void *)push_columns, (const void *)push_parts, (const void *)push_carries,
                                   (const void *)copy_columns};

    return load_kernels(kernels, sizeof kernels / sizeof *kernels);
}

cudaError_t cuda_gather_copy(cudaStream_t stream, const gather_copy *c)
{
    // More than so many gain nothing: the link binds.
    uint32_t most = 0;

    for (int i = 0; i < c->n; i++) {
        const uint32_t lines = (uint32_t)c->rows * lines_of(c->begin[i], c->end[i]), blocks = (lines + THREADS - 1) / THREADS;
        most = blocks > most ? blocks : most;
    }
    if (most > 0) {
        copy_columns<<<dim3(most < BLOCKS ? most : BLOCKS, (unsigned)c->n), THREADS, 0, stream>>>(*c);
    }
    return cudaGetLastError();
}

// Numbers the packets. Returns how many blocks push them, 0: there is no room.
static unsigned count_packets(gather_push *p)
{
    p->first[0] = 0;
    for (int r = 0; r < p->links.n; r++) {
        p->first[r + 1] = p->first[r] + packets_of(*p, r);
    }
    const uint32_t blocks = p->first[p->links.n] / THREADS + 1;
    return p->first[p->links.n] > p->room ? 0 : blocks < BLOCKS ? blocks : BLOCKS;
}

cudaError_t cuda_gather_push(cudaStream_t stream, gather_push *p)
{
    const unsigned blocks = count_packets(p);

    return blocks == 0 ? cudaErrorInvalidValue : overlap_launch(stream, blocks, THREADS, 0, push_columns, *p);
}

cudaError_t cuda_gather_sums(cudaStream_t stream, const packet_sums *s, const float *parts)
{
    const uint32_t blocks = (uint32_t)(s->rows * s->width) / THREADS + 1;

    return overlap_launch(stream, blocks < BLOCKS ? blocks : BLOCKS, THREADS, 0, push_parts, *s, parts);
}

cudaError_t cuda_gather_carries(cudaStream_t stream, const packet_carries *c, const float *mine, dtype act)
{
    const uint32_t blocks = (uint32_t)(c->heads * c->head_dim / 2 + THREADS - 1) / THREADS;

    return overlap_launch(stream, blocks < BLOCKS ? blocks : BLOCKS, THREADS, 0, push_carries, *c, mine, act);
}
