/* Looking beside the program or library of this code.
   Rests on dladdr. See beside.h. */
#include "base/beside.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

bool file_beside(const char *name, char path[], size_t size)
{
    static const char *const folders[] = {"", "/..", "/lariat", "/../lariat", "/../lib/lariat"};
    char folder[PATH_MAX];

    if (!own_folder(folder, sizeof folder)) {
        return false;
    }
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        int n = snprintf(path, size, "%s%s/%s", folder, folders[i], name);
        if (n > 0 && (size_t)n < size && access(path, R_OK) == 0) {
            return true;
        }
    }
    return false;
}
