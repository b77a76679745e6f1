/* Finding the CUDA module: at LARIAT_CUDA_MODULE, or beside the program or library of this code.
   Rests on base/beside.h and dlopen. See gpu.h. */
#include "device/gpu.h"

#include "base/beside.h"

#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static void *open_beside(void)
{
    char path[PATH_MAX];

    return file_beside("liblariat_cuda.so", path, sizeof path) ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
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
