// Instructions of compute capability 9.0a: barriers in shared memory, bulk tensor copies, and products of a warpgroup.
// Rests on PTX ISA 8.0 (mbarrier, cp.async.bulk, wgmma, setmaxnreg, clusters). attention_hopper.cu and linear/many_rows.cu use
// them.
//
// Only a build for sm_90a has these instructions: every function that uses one of them is empty in the others.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <stdint.h>

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define HOPPER_CODE 1
#else
#define HOPPER_CODE 0
#endif

namespace hopper
{

// --- barriers in shared memory: a phase ends when all arrivals and all expected bytes are there ---

static __device__ __forceinline__ void barrier_init(uint32_t barrier, int arrivals)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

// What barrier_init wrote is visible to bulk copies.
static __device__ __forceinline__ void barriers_ready()
{
#if HOPPER_CODE
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#endif
}

static __device__ __forceinline__ void arrive(uint32_t barrier)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

// Arrives, and the phase waits for so many bytes of bulk copies as well.
static __device__ __forceinline__ void arrive_expecting(uint32_t barrier, uint32_t bytes)
{
#if HOPPER_CODE
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
#endif
}

// Whether the phase of this parity has ended; looks for a while. The phase before the first counts as one of parity 1 that has.
static __device__ __forceinline__ bool ended(uint32_t barrier, uint32_t parity)
{
    uint32_t done = 0;
#if HOPPER_CODE
    asm volatile("{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
                 : "=r"(done)
                 : "r"(barrier), "r"(parity)
                 : "memory");
#endif
    return done != 0;
}

// Until it has. The loop is the instruction's own: the compiler would prepare for threads that go apart.
static __device__ __forceinline__ void wait(uint32_t barrier, uint32_t parity)
{
#if HOPPER_CODE
    asm volatile(
        "{\n.reg .pred p;\nagain:\nmbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n@!p bra again;\n}" ::"r"(barrier),
        "r"(parity)
        : "memory");
#endif
}

// --- barriers of a part of the block, by number: `threads` are those that wait and those that only arrive ---

static __device__ __forceinline__ void turn_wait(int number, int threads)
{
    asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory");
}

static __device__ __forceinline__ void turn_arrive(int number, int threads)
{
    asm volatile("bar.arrive %0, %1;" ::"r"(number), "r"(threads) : "memory");
}

// --- bulk tensor copies ---

// Hints for the second-level cache: what stays, and what is read once.
static __device__ __forceinline__ uint64_t policy_keep()
{
    uint64_t policy;
    asm("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;" : "=l"(policy));
    return policy;
}

static __device__ __forceinline__ uint64_t policy_pass()
{
    uint64_t policy;
    asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
    return policy;
}

// A box of a tensor of three dimensions from (x, y, z) on to shared memory; what is outside of the tensor becomes zeros.
static __device__ __forceinline__ void copy_box(uint32_t to, const void *map, uint32_t barrier, int x, int y, int z,
                                                uint64_t policy)
{
#if HOPPER_CODE
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
                 "[%0], [%1, {%3, %4, %5}], [%2], %6;" ::"r"(to),
                 "l"(map), "r"(barrier), "r"(x), "r"(y), "r"(z), "l"(policy)
                 : "memory");
#endif
}

// Bytes side by side: a multiple of 16, at addresses that are.
static __device__ __forceinline__ void copy_bytes(uint32_t to, const void *from, uint32_t bytes, uint32_t barrier,
                                                  uint64_t policy)
{
#if HOPPER_CODE
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
                 "[%0], [%1], %2, [%3], %4;" ::"r"(to),
                 "l"(from), "r"(bytes), "r"(barrier), "l"(policy)
                 : "memory");
#endif
}

// --- a cluster: blocks that see each other's shared memory ---

// By all threads of all its blocks; what was written before is seen by all behind it.
static __device__ __forceinline__ void cluster_wait()
{
#if HOPPER_CODE
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
#endif
}

// What block `rank` of the cluster has at this address of its shared memory.
static __device__ __forceinline__ float4 load_of_block(uint32_t at, int rank)
{
    float4 v = {};
#if HOPPER_CODE
    asm volatile("{\n.reg .b32 there;\nmapa.shared::cluster.u32 there, %4, %5;\n"
                 "ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [there];\n}"
                 : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
                 : "r"(at), "r"(rank));
#endif
    return v;
}

// --- registers, from one warpgroup to another ---

template <int N> static __device__ __forceinline__ void take_registers()
{
#if HOPPER_CODE
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
#endif
}

template <int N> static __device__ __forceinline__ void give_registers()
{
#if HOPPER_CODE
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
#endif
}

// --- products of a warpgroup: d[64, N] (+)= a[64, 16] b[16, N], d in fp32 registers ---
//
// Thread t of the warpgroup has of row 16 (t / 32) + t % 32 / 4 (+ 8) the columns 8 j + 2 (t % 4) + {0, 1} as d[4 j + {0, 1}]
// (+ 2).

static __device__ __forceinline__ void products_begin()
{
#if HOPPER_CODE
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
}

static __device__ __forceinline__ void products_commit()
{
#if HOPPER_CODE
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#endif
}

template <int PENDING> static __device__ __forceinline__ void products_wait()
{
#if HOPPER_CODE
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
#endif
}

// The compiler may not move uses of d over this.
template <int N> static __device__ __forceinline__ void pin(float (&d)[N])
{
#pragma unroll
    for (int i = 0; i < N; i++) {
        asm volatile("" : "+f"(d[i])::"memory");
    }
}

// A matrix in shared memory in panels of 128-byte rows (64 of 16 bits) or 64-byte rows (32), swizzled as bulk tensor copies do
// it. Descriptor: bits 0 to 13 the address, 16 to 29 the leading offset, 32 to 45 the stride, each in units of 16 bytes, 62 and
// 63 the swizzle. PANEL: elements of a panel's row. Rows are the matrix's, so that products run along them (q and k): the
// stride is that from 8 rows to the next 8. Only the address changes, so the upper half stays a constant of the code.
struct descriptor {
    uint32_t low, high;

    // So many bytes further.
    __device__ __forceinline__ uint64_t at(int bytes) const
    {
        return (uint64_t)high << 32 | (low + (uint32_t)(bytes >> 4));
    }
};

template <int PANEL> static __device__ __forceinline__ descriptor describe_rows(uint32_t at)
{
    return {at >> 4 | 1u << 16, (uint32_t)(PANEL * 2 * 8 >> 4) | (PANEL == 64 ? 1u : 2u) << 30};
}

// Rows are what products sum over (v): the leading offset is that from one panel to the next.
template <int PANEL> static __device__ __forceinline__ descriptor describe_columns(uint32_t at, int panel_bytes)
{
    return {at >> 4 | (uint32_t)(panel_bytes >> 4) << 16, (uint32_t)(PANEL * 2 * 8 >> 4) | (PANEL == 64 ? 1u : 2u) << 30};
}

template <typename T, int N> struct product;

// The registers of d, and their names in the text of an instruction, for N columns: N / 2 of them.
#define D_8(i)                                                                                                                 \
    "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
#define D_OF_32 D_8(0), D_8(8)
#define D_OF_64 D_OF_32, D_8(16), D_8(24)
#define D_OF_80 D_OF_64, D_8(32)
#define D_OF_96 D_OF_80, D_8(40)
#define D_OF_128 D_OF_96, D_8(48), D_8(56)
#define D_OF_160 D_OF_128, D_8(64), D_8(72)
#define D_OF_256 D_OF_160, D_8(80), D_8(88), D_8(96), D_8(104), D_8(112), D_8(120)
#define NAMES_OF_32 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define NAMES_OF_64                                                                                                            \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, " \
    "%26, %27, %28, %29, %30, %31"
#define NAMES_OF_80 NAMES_OF_64 ", %32, %33, %34, %35, %36, %37, %38, %39"
#define NAMES_OF_96 NAMES_OF_80 ", %40, %41, %42, %43, %44, %45, %46, %47"
#define NAMES_OF_128 NAMES_OF_96 ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define NAMES_OF_160 NAMES_OF_128 ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"
#define NAMES_OF_256                                                                                                           \
    NAMES_OF_160                                                                                                               \
        ", %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, %101, "   \
        "%102, %103, %104, %105, %106, %107, "                                                                                 \
        "%108, %109, %110, %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, "         \
        "%126, %127"

// rows: a and b in shared memory, a row of b for each column of d; with `add` 0 d is replaced.
// columns: a in registers, a column of b for each column of d, which is added to. registers: the same by rows of b.
// X0 and so on: the names of the operands that follow d's.
#if HOPPER_CODE
#define PRODUCT(TYPE, TEXT, N, X0, X1, X2, X3, X4)                                                                             \
    template <> struct product<TYPE, N> {                                                                                      \
        static __device__ __forceinline__ void rows(float (&d)[N / 2], uint64_t a, uint64_t b, int add)                        \
        {                                                                                                                      \
            asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " X2 ", 0;\n"                                                       \
                         "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TEXT "." TEXT " {" NAMES_OF_##N                     \
                         "}, " X0 ", " X1 ", p, 1, 1, 0, 0;\n}"                                                                \
                         : D_OF_##N                                                                                            \
                         : "l"(a), "l"(b), "r"(add));                                                                          \
        }                                                                                                                      \
        static __device__ __forceinline__ void columns(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b)                  \
        {                                                                                                                      \
            asm volatile("{\n.reg .pred p;\nsetp.eq.b32 p, 0, 0;\n"                                                            \
                         "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TEXT "." TEXT " {" NAMES_OF_##N                     \
                         "}, {" X0 ", " X1 ", " X2 ", " X3 "}, " X4 ", p, 1, 1, 1;\n}"                                         \
                         : D_OF_##N                                                                                            \
                         : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));                                                \
        }                                                                                                                      \
        static __device__ __forceinline__ void registers(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b)                \
        {                                                                                                                      \
            asm volatile("{\n.reg .pred p;\nsetp.eq.b32 p, 0, 0;\n"                                                            \
                         "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TEXT "." TEXT " {" NAMES_OF_##N                     \
                         "}, {" X0 ", " X1 ", " X2 ", " X3 "}, " X4 ", p, 1, 1, 0;\n}"                                         \
                         : D_OF_##N                                                                                            \
                         : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));                                                \
        }                                                                                                                      \
    };
#else
#define PRODUCT(TYPE, TEXT, N, X0, X1, X2, X3, X4)                                                                             \
    template <> struct product<TYPE, N> {                                                                                      \
        static __device__ __forceinline__ void rows(float (&)[N / 2], uint64_t, uint64_t, int)                                 \
        {                                                                                                                      \
        }                                                                                                                      \
        static __device__ __forceinline__ void columns(float (&)[N / 2], const uint32_t (&)[4], uint64_t)                      \
        {                                                                                                                      \
        }                                                                                                                      \
        static __device__ __forceinline__ void registers(float (&)[N / 2], const uint32_t (&)[4], uint64_t)                    \
        {                                                                                                                      \
        }                                                                                                                      \
    };
#endif
#define PRODUCTS(N, X0, X1, X2, X3, X4)                                                                                        \
    PRODUCT(__nv_bfloat16, "bf16", N, X0, X1, X2, X3, X4)                                                                      \
    PRODUCT(__half, "f16", N, X0, X1, X2, X3, X4)

PRODUCTS(32, "%16", "%17", "%18", "%19", "%20")
PRODUCTS(64, "%32", "%33", "%34", "%35", "%36")
PRODUCTS(80, "%40", "%41", "%42", "%43", "%44")
PRODUCTS(96, "%48", "%49", "%50", "%51", "%52")
PRODUCTS(128, "%64", "%65", "%66", "%67", "%68")
PRODUCTS(160, "%80", "%81", "%82", "%83", "%84")
PRODUCTS(256, "%128", "%129", "%130", "%131", "%132")

#undef PRODUCTS
#undef PRODUCT
#undef NAMES_OF_256
#undef NAMES_OF_160
#undef NAMES_OF_128
#undef NAMES_OF_96
#undef NAMES_OF_80
#undef NAMES_OF_64
#undef NAMES_OF_32
#undef D_OF_256
#undef D_OF_160
#undef D_OF_128
#undef D_OF_96
#undef D_OF_80
#undef D_OF_64
#undef D_OF_32
#undef D_8

} // namespace hopper
