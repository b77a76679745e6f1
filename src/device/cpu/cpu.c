/* Opens the CPU as a device: instruction set, threads, memory, table of operations.
   Rests on cpu_linear.h, elementwise.h, cpu_attention.h and cpu_sample.h, which have the operations. See cpu.h. */
#include "device/cpu/cpu.h"

#include "device/cpu/cpu_attention.h"
#include "device/cpu/elementwise.h"
#include "device/cpu/cpu_device.h"
#include "device/cpu/cpu_linear.h"
#include "device/cpu/cpu_sample.h"

#include <stdlib.h>
#include <string.h>

/* --- kernel families --- */

cpu_isa cpu_isa_best(void)
{
#if defined(LARIAT_X86_SIMD)
    /* These query CPUID and the system's support of the registers. */
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
        return wide ? CPU_AVX512 : CPU_AVX2;
    }
#endif
    return CPU_SCALAR;
}

const char *cpu_isa_name(cpu_isa isa)
{
    static const char *const names[] = {"scalar", "AVX2", "AVX-512", "best"};

    return names[isa];
}

static const row_kernels *row_kernels_of(cpu_isa isa)
{
#if defined(LARIAT_X86_SIMD)
    if (isa != CPU_SCALAR) {
        return isa == CPU_AVX512 ? &row_kernels_avx512 : &row_kernels_avx2;
    }
#endif
    (void)isa;
    return &row_kernels_scalar;
}

static attend_keys_fn attend_keys_of(cpu_isa isa)
{
#if defined(LARIAT_X86_SIMD)
    if (isa != CPU_SCALAR) {
        return isa == CPU_AVX512 ? attend_keys_avx512 : attend_keys_avx2;
    }
#endif
    (void)isa;
    return attend_keys_scalar;
}

/* --- the device --- */

static void cpu_close(device *dev)
{
    cpu_device *cpu = (cpu_device *)dev;

    if (cpu) {
        pool_close(cpu->pool);
        arena_close(&cpu->memory);
        free(cpu);
    }
}

/* --- memory: the host's --- */

static lariat_status cpu_reserve(device *dev, size_t bytes, const char *what, void **out)
{
    arena block;

    (void)dev;
    TRY(arena_open(&block, bytes, what));
    *out = block.base;
    return LARIAT_OK;
}

static void cpu_release(device *dev, void *block, size_t bytes)
{
    arena a = {.base = block, .size = bytes};

    (void)dev;
    arena_close(&a);
}

static void cpu_transfer(device *dev, void *to, const void *from, size_t bytes)
{
    (void)dev;
    memcpy(to, from, bytes);
}

static lariat_status cpu_finish(device *dev)
{
    (void)dev;
    return LARIAT_OK; /* each operation was done when its call returned */
}

static void cpu_poll(device *dev, void (*fn)(void *arg), void *arg)
{
    pool_poll(((cpu_device *)dev)->pool, fn, arg);
}

static const device_ops cpu_ops = {
    .name = "cpu",
    .reserve = cpu_reserve,
    .release = cpu_release,
    .upload = cpu_transfer,
    .download = cpu_transfer,
    .finish = cpu_finish,
    .poll = cpu_poll,
    .embed = cpu_embed,
    .rms_norm = cpu_rms_norm,
    .rms_norm_add = cpu_rms_norm_add,
    .linear = cpu_linear,
    .rope_angles = cpu_rope_angles,
    .rope = cpu_rope,
    .kv_store = cpu_kv_store,
    .carry_clear = cpu_carry_clear,
    .attention = cpu_attention,
    .carry_merge = cpu_carry_merge,
    .carry_finish = cpu_carry_finish,
    .silu_mul = cpu_silu_mul,
    .gelu_mul = cpu_gelu_mul,
    .copy = cpu_copy,
    .sample = cpu_sample,
    .close = cpu_close,
};

static size_t scratch_stride(void)
{
    size_t linear = cpu_linear_scratch(), attention = cpu_attention_scratch();

    return arena_need(linear > attention ? linear : attention);
}

/* Takes the buffers from the device's arena, or from one that counts. */
static void take_buffers(cpu_device *cpu, int n_threads)
{
    cpu->scratch_stride = scratch_stride();
    cpu->scratch = arena_take(&cpu->memory, cpu->scratch_stride * (size_t)n_threads);
    cpu->notes = arena_take(&cpu->memory, sizeof(thread_note) * (size_t)n_threads);
    cpu->tasks = arena_take(&cpu->memory, cpu_attention_tasks_bytes());
    cpu->partials = arena_take(&cpu->memory, cpu_attention_partials_bytes());
}

size_t cpu_device_memory(int n_threads)
{
    cpu_device counting = {0};

    arena_count(&counting.memory);
    take_buffers(&counting, n_threads);
    return counting.memory.used;
}

static lariat_status take_memory(cpu_device *cpu, int n_threads)
{
    TRY(arena_open(&cpu->memory, cpu_device_memory(n_threads), "working memory of the CPU's threads"));
    take_buffers(cpu, n_threads);
    return LARIAT_OK;
}

lariat_status cpu_device_open(int n_threads, cpu_isa isa, device **out)
{
    if (isa == CPU_BEST) {
        isa = cpu_isa_best();
    }
    if (isa > cpu_isa_best()) {
        return fail(LARIAT_UNSUPPORTED, "cpu: this machine or build has no %s kernels, only %s: ask for those",
                    cpu_isa_name(isa), cpu_isa_name(cpu_isa_best()));
    }
    cpu_device *cpu = calloc(1, sizeof *cpu);
    TRY_MEMORY(cpu, "cpu: no memory for a device" FREE_MEMORY);
    cpu->base = (device){.ops = &cpu_ops, .act = DTYPE_F32, .shares_host = true};
    cpu->isa = isa;
    cpu->rows = row_kernels_of(isa);
    cpu->attend_keys = attend_keys_of(isa);
    lariat_status status = take_memory(cpu, n_threads < 1 ? 1 : n_threads);
    NEXT(status, pool_open(n_threads, &cpu->pool));
    if (status != LARIAT_OK) {
        cpu_close(&cpu->base);
        return status;
    }
    *out = &cpu->base;
    return LARIAT_OK;
}
