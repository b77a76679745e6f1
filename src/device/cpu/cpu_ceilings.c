/* The two measured loops: multiply-adds in registers, and loads.
   Rests on base/threads.h. See cpu_ceilings.h. */
#include "device/cpu/cpu_ceilings.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/threads.h"
#include "device/cpu/cpu_device.h"

#include <string.h>
#ifdef LARIAT_X86_SIMD
#include <immintrin.h>
#endif

/* Independent sums: more than the latency of a multiply-add times how many begin in a cycle (4 or 5 times 2). */
enum { SUMS = 12 };

/* --- multiply-adds --- */

/* `rounds` of SUMS multiply-adds on each lane; returns a value that depends on all of them. */
typedef float fma_loop(int64_t rounds);

static float fma_scalar(int64_t rounds)
{
    /* Four lanes: every baseline has them. Without fused multiply-adds a multiplication and an addition. */
    typedef float v4 __attribute__((vector_size(16)));
    v4 sum[SUMS], a = {0.5f, 0.5f, 0.5f, 0.5f}, b = {1, 2, 3, 4};

    for (int i = 0; i < SUMS; i++) {
        sum[i] = b;
    }
    for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 12
        for (int i = 0; i < SUMS; i++) {
            sum[i] = sum[i] * a + b;
        }
    }
    for (int i = 1; i < SUMS; i++) {
        sum[0] += sum[i];
    }
    return sum[0][0] + sum[0][1] + sum[0][2] + sum[0][3];
}

#ifdef LARIAT_X86_SIMD
#define DEFINE_FMA(NAME, VECTOR, SIMD)                                 \
    static float NAME(int64_t rounds)                                  \
    {                                                                  \
        VECTOR sum[SUMS], a = SIMD##_set1_ps(0.5f), b = SIMD##_set1_ps(1); \
        for (int i = 0; i < SUMS; i++) {                               \
            sum[i] = b;                                                \
        }                                                              \
        for (int64_t r = 0; r < rounds; r++) {                         \
            _Pragma("GCC unroll 12")                                   \
            for (int i = 0; i < SUMS; i++) {                           \
                sum[i] = SIMD##_fmadd_ps(sum[i], a, b);                \
            }                                                          \
        }                                                              \
        for (int i = 1; i < SUMS; i++) {                               \
            sum[0] = SIMD##_add_ps(sum[0], sum[i]);                    \
        }                                                              \
        return SIMD##_cvtss_f32(sum[0]);                               \
    }
__attribute__((target("avx2,fma"))) DEFINE_FMA(fma_avx2, __m256, _mm256)
__attribute__((target("avx512f"))) DEFINE_FMA(fma_avx512, __m512, _mm512)
#endif

/* --- loads --- */

enum { READ_STEP = 256 }; /* bytes of one turn of the loop: four cache lines */

/* A checksum of `bytes`, a multiple of READ_STEP. */
typedef uint64_t read_loop(const unsigned char *p, int64_t bytes);

/* Four names, not an array: an array is kept on the stack, and the loop waits for its own stores instead of for memory. */
#define DEFINE_READ(NAME, BYTES)                                                             \
    static uint64_t NAME(const unsigned char *p, int64_t bytes)                              \
    {                                                                                        \
        typedef uint64_t words __attribute__((vector_size((BYTES)), aligned(8), may_alias)); \
        words a = {0}, b = {0}, c = {0}, d = {0};                                            \
        for (int64_t at = 0; at < bytes; at += 4 * (BYTES)) {                                \
            a ^= *(const words *)(const void *)(p + at);                                     \
            b ^= *(const words *)(const void *)(p + at + (BYTES));                           \
            c ^= *(const words *)(const void *)(p + at + 2 * (BYTES));                       \
            d ^= *(const words *)(const void *)(p + at + 3 * (BYTES));                       \
        }                                                                                    \
        a ^= b ^ c ^ d;                                                                      \
        return a[0] ^ a[1];                                                                  \
    }
DEFINE_READ(read_scalar, 16)
#ifdef LARIAT_X86_SIMD
__attribute__((target("avx2"))) DEFINE_READ(read_avx2, 32)
__attribute__((target("avx512f"))) DEFINE_READ(read_avx512, 64)
#endif

/* --- on all threads --- */

enum { READ_PIECE = 256 * 1024, FMA_PIECES = 8 /* a thread */, FMA_ROUNDS = 20000 /* about 0.1 ms */ };

typedef struct measurement {
    fma_loop *fma;
    read_loop *read;
    const unsigned char *data;
    int64_t bytes;
    _Atomic uint64_t keep; /* keeps the results used */
} measurement;

static measurement loops_of(cpu_isa isa)
{
    measurement m = {.fma = fma_scalar, .read = read_scalar};

#ifdef LARIAT_X86_SIMD
    if (isa == CPU_AVX2) {
        m.fma = fma_avx2;
        m.read = read_avx2;
    } else if (isa == CPU_AVX512) {
        m.fma = fma_avx512;
        m.read = read_avx512;
    }
#endif
    (void)isa;
    return m;
}

static int lanes_of(cpu_isa isa)
{
    return isa == CPU_AVX512 ? 16 : isa == CPU_AVX2 ? 8 : 4;
}

static void fma_piece(void *arg, int64_t piece, int thread)
{
    measurement *m = arg;

    (void)piece;
    (void)thread;
    m->keep ^= (uint64_t)m->fma(FMA_ROUNDS);
}

static void read_piece(void *arg, int64_t piece, int thread)
{
    measurement *m = arg;
    int64_t from = piece * READ_PIECE, to = from + READ_PIECE < m->bytes ? from + READ_PIECE : m->bytes;

    (void)thread;
    m->keep ^= m->read(m->data + from, to - from);
}

/* The best rate of rounds of `amount`, until none has been better for a while: threads that have just started may share a
   CPU for a tenth of a second, at half their speed. */
static double best_rate(pool *p, int64_t pieces, pool_fn fn, measurement *m, double amount)
{
    static const double no_better_s = 0.3, better = 1.02;
    double best = 0, since = clock_now();

    for (int round = 0; round < 3 || clock_now() - since < no_better_s; round++) {
        double start = clock_now();
        pool_run(p, pieces, fn, m);
        double now = clock_now(), rate = amount / (now - start);
        since = rate > best * better ? now : since;
        best = rate > best ? rate : best;
    }
    return best;
}

lariat_status cpu_measure_fma(int threads, cpu_isa isa, double *flops)
{
    pool *p;

    isa = isa == CPU_BEST ? cpu_isa_best() : isa;
    measurement m = loops_of(isa);
    TRY(pool_open(threads, &p));
    double amount = 2.0 * lanes_of(isa) * (double)SUMS * (double)FMA_ROUNDS * (double)FMA_PIECES * threads;
    *flops = best_rate(p, (int64_t)FMA_PIECES * threads, fma_piece, &m, amount);
    pool_close(p);
    return LARIAT_OK;
}

lariat_status cpu_measure_read(int threads, cpu_isa isa, int64_t bytes, double *bytes_per_s)
{
    arena memory;
    pool *p;
    measurement m = loops_of(isa == CPU_BEST ? cpu_isa_best() : isa);

    m.bytes = bytes / READ_STEP * READ_STEP;
    if (m.bytes <= 0) {
        return fail(LARIAT_BAD_ARGUMENT, "read rate: a buffer of %lld bytes is too small, take at least %d", (long long)bytes,
                    READ_STEP);
    }
    TRY(arena_open(&memory, arena_need((size_t)m.bytes), "the buffer whose reading is measured"));
    unsigned char *data = arena_take(&memory, (size_t)m.bytes);
    memset(data, 1, (size_t)m.bytes); /* unwritten pages would all map to one zero page */
    m.data = data;
    lariat_status status = pool_open(threads, &p);
    if (status == LARIAT_OK) {
        *bytes_per_s = best_rate(p, (m.bytes + READ_PIECE - 1) / READ_PIECE, read_piece, &m, (double)m.bytes);
        pool_close(p);
    }
    arena_close(&memory);
    return status;
}

uint64_t cpu_read(device *dev, const void *at, int64_t bytes)
{
    const cpu_device *cpu = (const cpu_device *)dev;
    int64_t whole = bytes / READ_STEP * READ_STEP;
    _Alignas(64) unsigned char rest[READ_STEP] = {0};
    measurement m = loops_of(cpu->isa);

    m.data = at;
    m.bytes = whole;
    pool_run(cpu->pool, (whole + READ_PIECE - 1) / READ_PIECE, read_piece, &m);
    memcpy(rest, m.data + whole, (size_t)(bytes - whole));
    return m.keep ^ m.read(rest, READ_STEP);
}
