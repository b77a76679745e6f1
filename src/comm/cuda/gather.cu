// Columns of some rows from one rank's memory to the same place of another's. Rests on gather.h.
//
// Budget: rows of decode have a few KB. Pushing takes one way over the link (about a microsecond), pulling would take the way
// there and back. A packet of 16 bytes carries its number beside its data and is written and read at once, so that no fence and
// no word behind the data costs a way more. Rows of one token are one or two packets a thread of one block.
#include "comm/cuda/gather.h"
#include "device/cuda/runtime/carry.cuh"
#include "device/cuda/runtime/element.cuh"
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

// Returns any value once the pass is lost.
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

// All threads of all blocks call it, with the values read. The last block that has read the count raises it, while packets
// are on their way.
__device__ __forceinline__ void raise_count(const gather_push &p, uint32_t number)
{
    __syncthreads(); // all of the block have read it
    if (threadIdx.x == 0 && (gridDim.x == 1 || atomicInc(p.count + 1, gridDim.x - 1) == gridDim.x - 1)) {
        *p.count = number;
    }
}

// This rank's packets, from thread `first` of `step` threads on.
__device__ __forceinline__ void push_own(const gather_push &p, uint32_t number, uint32_t first, uint32_t step)
{
    const columns own = columns_of(p, p.rank);

    for (uint32_t k = first; k < packets_of(p, p.rank); k += step) {
        const uint64_t data = p.rows > 0 ? load_bytes(p.mine, p.stride, own, k * PACKET_BYTES) : 0;
        for (int r = 0; r < p.n; r++) {
            if (r != p.rank) {
                write_packet(p.to[r] + p.first[p.rank] + k, data, number);
            }
        }
    }
}

__global__ void __launch_bounds__(THREADS) push_columns(const __grid_constant__ gather_push p)
{
    overlap_begin_and_wait();
    const uint32_t number = *p.count + 1, first = blockIdx.x * THREADS + threadIdx.x, step = gridDim.x * THREADS;

    push_own(p, number, first, step);
    raise_count(p, number);
    for (uint32_t k = first, r = 0; k < p.first[p.n]; k += step) { // of all ranks, each thread its own ones
        while (k >= p.first[r + 1]) {
            r++;
        }
        const columns theirs = columns_of(p, (int)r);
        const uint32_t at = (k - p.first[r]) * PACKET_BYTES;
        if ((int)r == p.rank) {
            if (p.rows > 0 && p.into != p.mine) {
                deliver(p, theirs, at, before(p, theirs, at), load_bytes(p.mine, p.stride, theirs, at));
            }
            continue;
        }
        const uint64_t there = before(p, theirs, at), data = await_packet(p.incoming + k, number, p.stop);
        if (p.rows > 0) {
            deliver(p, theirs, at, there, data);
        }
    }
}

// --- partial results of attention ---

constexpr int AHEAD = 4; // ranks whose numbers are asked for before the first is merged

// m, l and two numbers of O of a head, of one rank.
struct rank_part {
    float m, l;
    float2 o;
};

__device__ __forceinline__ float half_of(uint64_t data, int64_t i)
{
    return __uint_as_float((uint32_t)(i % 2 ? data >> 32 : data));
}

// Numbers o, o + 1 (o is even) and those of its head. False: not all have arrived.
__device__ __forceinline__ bool read_part(const gather_push &p, int r, uint32_t number, int64_t o, int64_t m, int64_t l,
                                          rank_part &part)
{
    if (r == p.rank) {
        const float *mine = (const float *)(p.mine + p.begin[r]);
        part = {mine[m], mine[l], *(const float2 *)(mine + o)};
        return true;
    }
    const gather_packet *from = p.incoming + p.first[r];
    uint64_t pair, of_m, of_l;
    const bool has_pair = read_packet(from + o / 2, number, &pair), has_m = read_packet(from + m / 2, number, &of_m);
    const bool has_l = read_packet(from + l / 2, number, &of_l);

    part = {half_of(of_m, m), half_of(of_l, l), {half_of(pair, 0), half_of(pair, 1)}};
    return has_pair & has_m & has_l;
}

// Two numbers of the result a thread.
__global__ void __launch_bounds__(THREADS) push_carries(const __grid_constant__ gather_push p, const gather_merge m)
{
    overlap_begin_and_wait();
    const uint32_t number = *p.count + 1, first = blockIdx.x * THREADS + threadIdx.x, step = gridDim.x * THREADS;
    const int64_t numbers = m.heads * m.head_dim;

    push_own(p, number, first, step);
    raise_count(p, number);
    for (int64_t o = 2 * (int64_t)first; o < numbers; o += 2 * (int64_t)step) {
        const int64_t head = o / m.head_dim, at_m = numbers + head, at_l = at_m + m.heads;
        carried low = {-INFINITY, 0, 0}, high = low;
        for (int r = 0; r < p.n; r += AHEAD) {
            rank_part part[AHEAD];
            bool there = false;
            for (int looks = 1; !there; looks++) {
                there = true;
#pragma unroll
                for (int j = 0; j < AHEAD; j++) {
                    there &= r + j >= p.n || read_part(p, r + j, number, o, at_m, at_l, part[j]);
                }
                there |= looks % LOOKS == 0 && read_acquire(p.stop) != 0;
            }
#pragma unroll
            for (int j = 0; j < AHEAD; j++) {
                if (r + j < p.n) {
                    low = merged(low, {part[j].m, part[j].l, part[j].o.x});
                    high = merged(high, {part[j].m, part[j].l, part[j].o.y});
                }
            }
        }
        // Who saw no key has O = 0; that over 1 stays 0.
        const float l = low.l == 0 ? 1 : low.l;
        const int64_t at = head / m.n_heads * m.ldo + head % m.n_heads * m.head_dim + o % m.head_dim;
        element_store(m.act, m.out, at, low.o / l);
        element_store(m.act, m.out, at + 1, high.o / l);
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
    const void *const kernels[] = {(const void *)push_columns, (const void *)push_carries, (const void *)copy_columns};

    return load_kernels(kernels, sizeof kernels / sizeof *kernels);
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

// Numbers the packets. Returns how many blocks push them, 0: there is no room.
static unsigned count_packets(gather_push *p)
{
    constexpr uint32_t BLOCKS = 32; // all of them are on the card at once, as they wait

    p->first[0] = 0;
    for (int r = 0; r < p->n; r++) {
        p->first[r + 1] = p->first[r] + packets_of(*p, r);
    }
    const uint32_t blocks = p->first[p->n] / THREADS + 1;
    return p->first[p->n] > p->room ? 0 : blocks < BLOCKS ? blocks : BLOCKS;
}

cudaError_t cuda_gather_push(cudaStream_t stream, gather_push *p)
{
    const unsigned blocks = count_packets(p);

    return blocks == 0 ? cudaErrorInvalidValue : overlap_launch(stream, blocks, THREADS, 0, push_columns, *p);
}

cudaError_t cuda_gather_merge(cudaStream_t stream, gather_push *p, const gather_merge *m)
{
    const unsigned blocks = count_packets(p);

    return blocks == 0 ? cudaErrorInvalidValue : overlap_launch(stream, blocks, THREADS, 0, push_carries, *p, *m);
}
