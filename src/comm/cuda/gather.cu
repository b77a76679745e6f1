// Columns of some rows from one rank's memory to the same place of another's. Rests on gather.h.
//
// Budget: rows of decode have a few KB. Pushing takes one way over the link (about a microsecond), pulling would take the way
// there and back. A packet of 16 bytes carries its number beside its data and is written and read at once, so that no fence and
// no word behind the data costs a way more. Rows of one token are one or two packets a thread of one block.
#include "comm/cuda/gather.h"
#include "device/cuda/runtime/overlap.cuh"

namespace
{

constexpr int THREADS = 1024;
constexpr int LINE = 16;   // bytes of a load or a store of copies
constexpr int LOOKS = 256; // at the word, before one at the host's, which is far

__device__ __forceinline__ uint32_t read_acquire(const uint32_t *word)
{
    uint32_t x;
    asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(x) : "l"(word) : "memory");
    return x;
}

// --- packets ---

// One access of 16 bytes: a reader sees all of it or nothing.
__device__ __forceinline__ void write_packet(gather_packet *to, uint64_t data, uint32_t number)
{
    asm volatile("{\n.reg .b128 x;\nmov.b128 x, {%1, %2};\nst.relaxed.sys.global.b128 [%0], x;\n}" ::"l"(to), "l"(data),
                 "l"((uint64_t)number)
                 : "memory");
}

__device__ __forceinline__ bool read_packet(const gather_packet *from, uint32_t number, uint64_t *data)
{
    uint64_t there;
    asm volatile("{\n.reg .b128 x;\nld.relaxed.sys.global.b128 x, [%2];\nmov.b128 {%0, %1}, x;\n}"
                 : "=l"(*data), "=l"(there)
                 : "l"(from)
                 : "memory");
    return (uint32_t)there == number;
}

// Whatever lies there once the pass is lost.
__device__ __forceinline__ uint64_t await_packet(const gather_packet *from, uint32_t number, const uint32_t *stop)
{
    uint64_t data;

    for (int looks = 1; !read_packet(from, number, &data); looks++) {
        if (looks % LOOKS == 0 && read_acquire(stop) != 0) {
            break;
        }
    }
    return data;
}

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

__device__ __forceinline__ void add_floats(unsigned char *rows, size_t stride, const columns &c, uint32_t i, uint64_t data)
{
    const float low = __uint_as_float((uint32_t)data), high = __uint_as_float((uint32_t)(data >> 32));

    if (by_words(c, rows, stride)) {
        float2 *to = (float2 *)(rows + place_of(c, i, stride)), before = *to;
        *to = make_float2(before.x + low, before.y + high);
        return;
    }
    *(float *)(rows + place_of(c, i, stride)) += low;
    if (i + sizeof low < c.bytes) {
        *(float *)(rows + place_of(c, i + (uint32_t)sizeof low, stride)) += high;
    }
}

__device__ __forceinline__ void deliver(const gather_push &p, const columns &c, uint32_t i, uint64_t data)
{
    if (p.add) {
        add_floats(p.into, p.into_stride, c, i, data);
    } else {
        store_bytes(p.into, p.into_stride, c, i, data);
    }
}

__host__ __device__ __forceinline__ uint32_t packets_of(const gather_push &p, int rank)
{
    const uint32_t bytes = (uint32_t)p.rows * (uint32_t)(p.begin[rank + 1] - p.begin[rank]);
    return p.rows > 0 ? (bytes + PACKET_BYTES - 1) / PACKET_BYTES : 1; // without rows ranks wait for one another
}

__global__ void __launch_bounds__(THREADS) push_columns(const __grid_constant__ gather_push p)
{
    overlap_begin_and_wait();
    const uint32_t number = *p.count + 1, first = blockIdx.x * THREADS + threadIdx.x, step = gridDim.x * THREADS;
    const columns own = columns_of(p, p.rank);

    for (uint32_t k = first; k < packets_of(p, p.rank); k += step) {
        const uint64_t data = p.rows > 0 ? load_bytes(p.mine, p.stride, own, k * PACKET_BYTES) : 0;
        for (int r = 0; r < p.n; r++) {
            if (r != p.rank) {
                write_packet(p.to[r] + p.first[p.rank] + k, data, number);
            }
        }
        if (p.rows > 0 && p.into != p.mine) {
            deliver(p, own, k * PACKET_BYTES, data);
        }
    }
    for (int i = 1; i < p.n; i++) {
        const int r = (p.rank + i) % p.n;
        const columns theirs = columns_of(p, r);
        for (uint32_t k = first; k < packets_of(p, r); k += step) {
            const uint64_t data = await_packet(p.come + p.first[r] + k, number, p.stop);
            if (p.rows > 0) {
                deliver(p, theirs, k * PACKET_BYTES, data);
            }
        }
    }
    __syncthreads(); // all of the block have read the count
    if (threadIdx.x == 0 && atomicInc(p.count + 1, gridDim.x - 1) == gridDim.x - 1) {
        *p.count = number; // of the last block that has
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
    cudaFuncAttributes unused;
    cudaError_t status = cudaFuncGetAttributes(&unused, push_columns);

    return status ? status : cudaFuncGetAttributes(&unused, copy_columns);
}

cudaError_t cuda_gather_copy(cudaStream_t stream, const gather_copy *c)
{
    constexpr uint32_t BLOCKS = 32; // more gain nothing: the link binds
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

cudaError_t cuda_gather_push(cudaStream_t stream, gather_push *p)
{
    constexpr uint32_t BLOCKS = 32, EACH = 2; // blocks at most: all are on the card at once, as they wait; packets a thread
    uint32_t most = 0;

    p->first[0] = 0;
    for (int r = 0; r < p->n; r++) {
        const uint32_t packets = packets_of(*p, r);
        p->first[r + 1] = p->first[r] + packets;
        most = packets > most ? packets : most;
    }
    const uint32_t blocks = (most + EACH * THREADS - 1) / (EACH * THREADS);
    if (p->first[p->n] > p->room) {
        return cudaErrorInvalidValue; // planned for rows of less
    }
    return overlap_launch(stream, blocks < BLOCKS ? blocks : BLOCKS, THREADS, 0, push_columns, *p);
}
