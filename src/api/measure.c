/* The public face of the devices' ceilings.
   Rests on device/cpu/cpu_ceilings.h and device/gpu.h. See lariat/measure.h. */
#include "lariat/measure.h"

#include "base/cpus.h"
#include "base/memory.h"
#include "device/cpu/cpu_ceilings.h"
#include "device/gpu.h"
#include "engine/apart.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

/* Far larger than caches: 256 MB, or four times a last cache that is larger than 64 MB, if a quarter of the free memory
   allows it. */
static int64_t memory_buffer(int64_t cache)
{
    int64_t bytes = (int64_t)256 << 20, most = memory_available() / 4;

    bytes = 4 * cache > bytes ? 4 * cache : bytes;
    return bytes < most ? bytes : most;
}

void lariat_cpu_name(char *out, size_t size)
{
    struct utsname machine = {0};
    FILE *f = fopen("/proc/cpuinfo", "re");
    char line[256];

    uname(&machine);
    snprintf(out, size, "%s", machine.machine);
    while (f && fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && colon && strlen(colon) > 3) {
            snprintf(out, size, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
            break;
        }
    }
    if (f) {
        fclose(f);
    }
}

lariat_status lariat_measure_read(int32_t threads, int64_t bytes, double *bytes_per_s)
{
    cpus c;

    cpus_read("", &c);
    if (threads < 0 || threads > c.granted) {
        return fail(LARIAT_BAD_ARGUMENT, "ceilings: %d threads: this process may use 1 to %d, choose with -t", threads,
                    c.granted);
    }
    return cpu_measure_read(threads ? threads : cpus_default_threads(&c), CPU_BEST, bytes, bytes_per_s);
}

/* Bytes of the last cache as the system describes it for the first CPU; virtual machines tell sysconf of more than one. */
static long cache_of_a_cpu(void)
{
    FILE *f = fopen("/sys/devices/system/cpu/cpu0/cache/index3/size", "re");
    char text[32] = "";

    if (f) {
        (void)fgets(text, sizeof text, f);
        fclose(f);
    }
    char *unit;
    long size = strtol(text, &unit, 10);
    return size <= 0 || size > (1 << 30) ? 0 : *unit == 'K' ? size << 10 : *unit == 'M' ? size << 20 : size;
}

lariat_status lariat_measure_ceilings(int32_t threads, lariat_ceilings *out)
{
    long cache = sysconf(_SC_LEVEL3_CACHE_SIZE), own = cache_of_a_cpu(),
         least = own > 0 && (own < cache || cache <= 0) ? own : cache;

    cpus c;

    memset(out, 0, sizeof *out);
    cpus_read("", &c);
    threads = threads ? threads : cpus_default_threads(&c);
    out->threads = threads;
    /* A quarter of the last cache, since others use it too. */
    out->cache_bytes = least > 0 ? least / 4 : 4 << 20;
    lariat_cpu_name(out->cpu, sizeof out->cpu);
    snprintf(out->kernels, sizeof out->kernels, "%s", cpu_isa_name(cpu_isa_best()));
    TRY(lariat_measure_read(threads, out->cache_bytes, &out->read_cache));
    TRY(lariat_measure_read(threads, memory_buffer(cache), &out->read_memory));
    return cpu_measure_fma(threads, CPU_BEST, &out->fma_flops);
}

/* --- GPUs --- */

/* One card, described or measured: apart, as both make it the current one. */
typedef struct look {
    const cuda_module *module;
    int32_t card;
    dtype act;
    cuda_card described;
    cuda_ceilings measured;
} look;

static lariat_status describe(void *arg)
{
    look *l = arg;

    return l->module->describe(l->card, &l->described);
}

static lariat_status measure(void *arg)
{
    look *l = arg;

    return l->module->measure(l->card, l->act, &l->measured);
}

lariat_status lariat_card_name(int32_t card, char *out, size_t size)
{
    look l = {.card = card};

    TRY(gpu_module(&l.module));
    TRY(run_apart(describe, &l));
    snprintf(out, size, "%s", l.described.name);
    return LARIAT_OK;
}

lariat_status lariat_measure_card(int32_t card, const char *type, lariat_card_ceilings *out)
{
    static const struct {
        const char *name;
        dtype act;
    } types[] = {{"bf16", DTYPE_BF16}, {"f16", DTYPE_F16}, {"f32", DTYPE_F32}};
    look l = {.card = card};
    size_t i = 0;

    memset(out, 0, sizeof *out);
    while (i < sizeof types / sizeof *types && strcmp(types[i].name, type) != 0) {
        i++;
    }
    if (i == sizeof types / sizeof *types) {
        return fail(LARIAT_BAD_ARGUMENT, "ceilings: GPUs do not compute in '%s': use bf16, f16 or f32", type);
    }
    TRY(lariat_card_name(card, out->card, sizeof out->card));
    l.act = types[i].act;
    TRY(gpu_module(&l.module));
    TRY(run_apart(measure, &l));
    out->dtype = types[i].name;
    out->fma_flops = l.measured.flops;
    out->read_memory = l.measured.read_rate;
    out->bytes = (int64_t)l.measured.bytes;
    return LARIAT_OK;
}
