/* Finding the CUDA module: at LARIAT_CUDA_MODULE, beside the program or library of this code, or in its lib folder, perhaps
   one level up (Debian's lib/MACHINE).
   Rests on dlopen and dladdr. See gpu.h. */
#include "device/gpu.h"

#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The result of opening, shared by all callers. */
typedef struct opened_module {
    void *handle;
    const cuda_module *table;
    char why[512]; /* where table is NULL */
} opened_module;

static opened_module opened;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Stores the module's reasons as the program's. */
static void take_reason(const char *text)
{
    give_reason("%s", text);
}

static void take_reason_within(const char *prefix)
{
    give_reason_within("%s", prefix);
}

/* The folder of the file that this code was loaded from. */
static bool own_folder(char *out, size_t size)
{
    Dl_info info;

    if (dladdr((void *)(uintptr_t)own_folder, &info) && info.dli_fname && strchr(info.dli_fname, '/')) {
        if (realpath(info.dli_fname, out) == NULL) {
            return false;
        }
    } else {
        ssize_t n = readlink("/proc/self/exe", out, size - 1);
        if (n <= 0) {
            return false;
        }
        out[n] = 0;
    }
    char *slash = strrchr(out, '/');
    if (!slash) {
        return false;
    }
    *slash = 0;
    return true;
}

static void *open_beside(void)
{
    static const char *const places[] = {"", "/..", "/lariat", "/../lariat", "/../lib/lariat"};
    char folder[PATH_MAX], path[PATH_MAX + 64];

    if (!own_folder(folder, sizeof folder)) {
        return NULL;
    }
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        snprintf(path, sizeof path, "%s%s/liblariat_cuda.so", folder, places[i]);
        if (access(path, R_OK) == 0) {
            return dlopen(path, RTLD_NOW | RTLD_LOCAL);
        }
    }
    return NULL;
}

static void open_once(void)
{
    static const cuda_host host = {.give_reason = take_reason, .give_reason_within = take_reason_within};
    const char *named = getenv("LARIAT_CUDA_MODULE");
    cuda_module_entry entry = NULL;

    (void)dlerror();
    opened.handle = named ? dlopen(named, RTLD_NOW | RTLD_LOCAL) : open_beside();
    if (!opened.handle) {
        const char *error = dlerror();
        snprintf(opened.why, sizeof opened.why, "%s%s; build with CUDA, or name the module in LARIAT_CUDA_MODULE",
                 error ? "the CUDA module cannot be opened: "
                       : "there is no CUDA module (liblariat_cuda.so) beside this program",
                 error ? error : "");
        return;
    }
    void *symbol = dlsym(opened.handle, CUDA_MODULE_ENTRY);
    memcpy(&entry, &symbol, sizeof entry);
    opened.table = entry ? entry(&host, CUDA_MODULE_ABI) : NULL;
    if (!opened.table || opened.table->abi != CUDA_MODULE_ABI) {
        opened.table = NULL;
        snprintf(opened.why, sizeof opened.why, "the CUDA module is of another build than this program; install both together");
    }
}

lariat_status gpu_module(const cuda_module **out)
{
    pthread_once(&once, open_once);
    *out = opened.table;
    return opened.table ? LARIAT_OK : fail(LARIAT_UNSUPPORTED, "gpu: %s", opened.why);
}

bool gpu_usable(void)
{
    char before[1024]; /* no module is no failure: keeps the earlier reason */
    int n = 0;

    snprintf(before, sizeof before, "%s", lariat_error());
    pthread_once(&once, open_once);
    bool usable = opened.table && opened.table->count(&n) == LARIAT_OK && n > 0;
    give_reason("%s", before);
    return usable;
}

lariat_status gpu_symbol(const char *name, const void **out)
{
    const cuda_module *table;

    TRY(gpu_module(&table));
    *out = dlsym(opened.handle, name);
    return *out ? LARIAT_OK
                : fail(LARIAT_UNSUPPORTED, "gpu: the CUDA module has no %s; install program and module together", name);
}
