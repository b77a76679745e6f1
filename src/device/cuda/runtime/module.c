/* The module's entry: the table that the program gets, queries of a machine before a card is opened, and errors that land in
   the program's own lariat_error(). Rests on the CUDA runtime. module.h tells the contract; read on in cuda_device.c. */
#include "device/cuda/runtime/cuda_device.h"
#include "device/cuda/runtime/module.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { REASON_SIZE = 1024 };

/* The program that opened this module; set once, to the same, by every opening. */
static const cuda_host *_Atomic program;

/* --- base/fail.h, as the files of base/ in here and the module's own use it --- */

void give_reason(const char *format, ...)
{
    char text[REASON_SIZE];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    atomic_load(&program)->give_reason(text);
}

void give_reason_within(const char *format, ...)
{
    char text[REASON_SIZE];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    atomic_load(&program)->give_reason_within(text);
}

lariat_status cuda_failure(int ordinal, const char *name, const char *what, cudaError_t status)
{
    lariat_status code = status == cudaErrorMemoryAllocation ? LARIAT_NO_MEMORY : LARIAT_FAILED;
    const char *advice = "";

    if (status == cudaErrorNoKernelImageForDevice || status == cudaErrorUnsupportedPtxVersion) {
        advice = "; build with -DLARIAT_CUDA_ARCHS for this card";
    } else if (status == cudaErrorDevicesUnavailable) {
        advice = "; another process holds it, name others with --devices or use --device cpu";
    }
    (void)cudaGetLastError(); /* a reported failure is not reported again by the next launch */
    return fail(code, "CUDA: card %d%s%s%s: %s: %s%s", ordinal, *name ? " (" : "", name, *name ? ")" : "", what,
                cudaGetErrorString(status), advice);
}

/* --- the machine --- */

static lariat_status no_driver(cudaError_t status)
{
    int driver = 0, runtime = CUDART_VERSION;

    (void)cudaDriverGetVersion(&driver);
    if (driver == 0) {
        return fail(LARIAT_UNSUPPORTED,
                    "CUDA: no NVIDIA driver on this machine: install one for CUDA %d.%d or later, or use the CPU",
                    runtime / 1000, runtime / 10 % 100);
    }
    if (status == cudaErrorInsufficientDriver) {
        return fail(LARIAT_UNSUPPORTED,
                    "CUDA: the NVIDIA driver is for CUDA %d.%d, this build for %d.%d: install a newer driver", driver / 1000,
                    driver / 10 % 100, runtime / 1000, runtime / 10 % 100);
    }
    if (status == cudaErrorNoDevice) {
        return fail(LARIAT_UNSUPPORTED,
                    "CUDA: the NVIDIA driver shows no card (nvidia-smi and CUDA_VISIBLE_DEVICES say which there are)");
    }
    return fail(LARIAT_UNSUPPORTED, "CUDA: %s: look at nvidia-smi", cudaGetErrorString(status));
}

static int capability(int ordinal)
{
    int major = 0, minor = 0;

    (void)cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, ordinal);
    (void)cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, ordinal);
    return 10 * major + minor;
}

static lariat_status count(int *n)
{
    int found = 0, best = 0;
    cudaError_t status = cudaGetDeviceCount(&found);

    *n = 0;
    if (status != cudaSuccess || found == 0) {
        (void)cudaGetLastError();
        return no_driver(status == cudaSuccess ? cudaErrorNoDevice : status);
    }
    found = found < CUDA_CARDS_MAX ? found : CUDA_CARDS_MAX;
    for (int i = 0; i < found; i++) {
        best = capability(i) > best ? capability(i) : best;
    }
    if (best < CUDA_SM_LEAST) {
        return fail(LARIAT_UNSUPPORTED,
                    "CUDA: the best card has compute capability %d.%d, the kernels need %d.%d (Ampere) or later: use the CPU",
                    best / 10, best % 10, CUDA_SM_LEAST / 10, CUDA_SM_LEAST % 10);
    }
    *n = found;
    return LARIAT_OK;
}

static lariat_status describe(int ordinal, cuda_card *out)
{
    struct cudaDeviceProp p;
    int n = 0;
    size_t total = 0;

    *out = (cuda_card){0};
    TRY(count(&n));
    if (ordinal < 0 || ordinal >= n) {
        return fail(LARIAT_BAD_ARGUMENT, "CUDA: there is no card %d; there are %d, from 0: choose one of them", ordinal, n);
    }
    cudaError_t status = cudaGetDeviceProperties(&p, ordinal);
    if (status == cudaSuccess) {
        snprintf(out->name, sizeof out->name, "%.95s", p.name);
        status = cudaDeviceGetPCIBusId(out->bus_id, sizeof out->bus_id, ordinal);
    }
    if (status == cudaSuccess) {
        status = cudaSetDevice(ordinal);
    }
    if (status == cudaSuccess) {
        status = cudaMemGetInfo(&out->free, &total);
    }
    if (status != cudaSuccess) {
        return cuda_failure(ordinal, out->name, "cannot be looked at", status);
    }
    out->sm = 10 * p.major + p.minor;
    out->n_sms = p.multiProcessorCount;
    out->memory = total;
    for (int i = 0; i < n; i++) {
        int can = 0;
        out->can_peer[i] = i != ordinal && cudaDeviceCanAccessPeer(&can, ordinal, i) == cudaSuccess && can;
    }
    return LARIAT_OK;
}

static const cuda_module module = {
    .abi = CUDA_MODULE_ABI,
    .count = count,
    .capability = capability,
    .describe = describe,
    .memory = cuda_device_memory,
    .pinned = cuda_staging_pinned,
    .open = cuda_device_open,
    .measure = cuda_measure,
};

LARIAT_API const cuda_module *lariat_cuda_module(const cuda_host *host, int abi);

const cuda_module *lariat_cuda_module(const cuda_host *host, int abi)
{
    atomic_store(&program, host);
    return abi == CUDA_MODULE_ABI ? &module : NULL;
}
