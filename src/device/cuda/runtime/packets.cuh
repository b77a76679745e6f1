// Packets between cards, as kernels write and await them. Rests on packets.h and carry.cuh.
//
// Where a block waits for packets, all blocks of its grid have written theirs, or will whatever it waits for: there is room for
// them on the card beside those that wait. So ranks never wait for one another in a circle. Loops are not unrolled: code that a
// block runs once has to be fetched.
#pragma once

#include "device/cuda/runtime/carry.cuh"
#include "device/cuda/runtime/packets.h"

namespace
{

constexpr int PACKET_LOOKS = 256; // at packets, before one at the host's word, which is far
constexpr int PACKETS_AHEAD = 4;  // ranks whose packets are asked for at once

__device__ __forceinline__ uint32_t read_acquire(const uint32_t *word)
{
    uint32_t x;
    asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(x) : "l"(word) : "memory");
    return x;
}

// Behind the kernel's wait.
__device__ __forceinline__ uint64_t number_of(const packet_links &l)
{
    return (uint64_t)*l.pass << 32 | l.index;
}

// One access of 16 bytes: a reader sees all of it or nothing.
__device__ __forceinline__ void write_packet(gather_packet *to, uint64_t data, uint64_t number)
{
    asm volatile("{\n.reg .b128 x;\nmov.b128 x, {%1, %2};\nst.relaxed.sys.global.b128 [%0], x;\n}" ::"l"(to), "l"(data),
                 "l"(number)
                 : "memory");
}

__device__ __forceinline__ bool read_packet(const gather_packet *from, uint64_t number, uint64_t *data)
{
    uint64_t there;
    asm volatile("{\n.reg .b128 x;\nld.relaxed.sys.global.b128 x, [%2];\nmov.b128 {%0, %1}, x;\n}"
                 : "=l"(*data), "=l"(there)
                 : "l"(from)
                 : "memory");
    return there == number;
}

// After so many looks: is the pass lost? Any value is returned then.
__device__ __forceinline__ bool gives_up(const packet_links &l, int looks)
{
    return looks % PACKET_LOOKS == 0 && read_acquire(l.stop) != 0;
}

__device__ __forceinline__ uint64_t await_packet(const packet_links &l, uint32_t at, uint64_t number)
{
    uint64_t data;

    for (int looks = 1; !read_packet(l.incoming + at, number, &data) && !gives_up(l, looks); looks++) {
    }
    return data;
}

// To all other ranks.
__device__ __forceinline__ void push_packet(const packet_links &l, uint32_t at, uint64_t data, uint64_t number)
{
#pragma unroll 1
    for (int r = 0; r < l.n; r++) {
        if (r != l.rank) {
            write_packet(l.to[r] + at, data, number);
        }
    }
}

__device__ __forceinline__ uint64_t packed(float low, float high)
{
    return (uint64_t)__float_as_uint(high) << 32 | __float_as_uint(low);
}

__device__ __forceinline__ float low_of(uint64_t data)
{
    return __uint_as_float((uint32_t)data);
}

__device__ __forceinline__ float high_of(uint64_t data)
{
    return __uint_as_float((uint32_t)(data >> 32));
}

// --- sums ---

__device__ __forceinline__ void sums_push(const packet_sums &s, uint64_t number, uint32_t at, float part)
{
    push_packet(s.links, (uint32_t)(s.links.rank * s.rows * s.width) + at, packed(part, 0), number);
}

// `sum` and the parts of all ranks, of which `part` is this one's.
__device__ __forceinline__ float sums_await(const packet_sums &s, uint64_t number, uint32_t at, float part, float sum)
{
    const packet_links &l = s.links;
    const uint32_t stride = (uint32_t)(s.rows * s.width);

#pragma unroll 1
    for (int r = 0; r < l.n; r += PACKETS_AHEAD) {
        uint64_t parts[PACKETS_AHEAD];
        bool there = false;
#pragma unroll 1
        for (int looks = 1; !there; looks++) {
            there = true;
#pragma unroll
            for (int j = 0; j < PACKETS_AHEAD; j++) {
                parts[j] = packed(part, 0);
                if (r + j < l.n && r + j != l.rank) {
                    there &= read_packet(l.incoming + ((uint32_t)(r + j) * stride + at), number, &parts[j]);
                }
            }
            there |= gives_up(l, looks);
        }
#pragma unroll
        for (int j = 0; j < PACKETS_AHEAD; j++) {
            sum = r + j < l.n ? sum + low_of(parts[j]) : sum;
        }
    }
    return sum;
}

// --- partial results of attention ---

// V numbers of O of a head, and its m and l; V is even.
template <int V> struct carried_part {
    float m, l, o[V];
};

__device__ __forceinline__ uint32_t carries_stride(const packet_carries &c)
{
    return (uint32_t)(c.heads * (c.head_dim / 2 + 1));
}

// Of rank r's packets, the one of numbers o and o + 1 of O (of all heads; o is even), and that of a head's m and l.
__device__ __forceinline__ uint32_t pair_packet(const packet_carries &c, int r, int o)
{
    return (uint32_t)r * carries_stride(c) + (uint32_t)o / 2;
}

__device__ __forceinline__ uint32_t head_packet(const packet_carries &c, int r, int head)
{
    return (uint32_t)r * carries_stride(c) + (uint32_t)(c.heads * (c.head_dim / 2) + head);
}

// All or nothing: rank r's packets of such numbers have arrived.
template <int V>
__device__ __forceinline__ bool read_carried(const packet_carries &c, int r, uint64_t number, int head, int o,
                                             carried_part<V> &part)
{
    uint64_t data;
    bool there = read_packet(c.links.incoming + head_packet(c, r, head), number, &data);

    part.m = low_of(data);
    part.l = high_of(data);
#pragma unroll
    for (int i = 0; i < V; i += 2) {
        there &= read_packet(c.links.incoming + pair_packet(c, r, o + i), number, &data);
        part.o[i] = low_of(data);
        part.o[i + 1] = high_of(data);
    }
    return there;
}

// From the parts of all ranks, of which `own` is this one's, numbers o, o + 1, ... of the result, in own.o: as by merged() of
// each.
template <int V>
__device__ __forceinline__ void carries_await(const packet_carries &c, uint64_t number, int head, int o, carried_part<V> &own)
{
    const packet_links &l = c.links;
    carried_part<V> all = {-INFINITY, 0, {}};

#pragma unroll 1
    for (int r = 0; r < l.n; r += PACKETS_AHEAD) {
        carried_part<V> part[PACKETS_AHEAD];
        bool there = false;
#pragma unroll 1
        for (int looks = 1; !there; looks++) {
            there = true;
#pragma unroll
            for (int j = 0; j < PACKETS_AHEAD; j++) {
                part[j] = own;
                if (r + j < l.n && r + j != l.rank) {
                    there &= read_carried(c, r + j, number, head, o, part[j]);
                }
            }
            there |= gives_up(l, looks);
        }
#pragma unroll
        for (int j = 0; j < PACKETS_AHEAD; j++) {
            if (r + j < l.n) {
                const carried_weights w = weights_of(all.m, all.l, part[j].m, part[j].l);
#pragma unroll
                for (int i = 0; i < V; i++) {
                    all.o[i] = merged_number(w, all.o[i], part[j].o[i]);
                }
                all.m = w.m;
                all.l = w.l;
            }
        }
    }
    const float by = all.l == 0 ? 1 : all.l; // who saw no key has O = 0
#pragma unroll
    for (int i = 0; i < V; i++) {
        own.o[i] = all.o[i] / by;
    }
}

} // namespace
