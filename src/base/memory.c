/* What memory this process may still use.
   Rests on /proc/meminfo and control groups, version 2. See memory.h. */
#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* The number in a file of one line, -1 for "max", an unreadable file or anything else. */
static int64_t read_number(const char *path)
{
    FILE *f = fopen(path, "re");
    int64_t value = -1;

    if (f) {
        if (fscanf(f, "%" SCNd64, &value) != 1) {
            value = -1;
        }
        fclose(f);
    }
    return value;
}

/* MemAvailable counts what can be reclaimed, such as the page cache that holds the model. */
static int64_t meminfo_available(void)
{
    FILE *f = fopen("/proc/meminfo", "re");
    char line[256];
    int64_t kib = -1;

    while (f && kib < 0 && fgets(line, sizeof line, f)) {
        if (sscanf(line, "MemAvailable: %" SCNd64 " kB", &kib) != 1) {
            kib = -1;
        }
    }
    if (f) {
        fclose(f);
    }
    return kib < 0 ? INT64_MAX : kib * 1024;
}

/* What the control group of this process leaves, INT64_MAX without a limit. */
static int64_t group_available(void)
{
    FILE *f = fopen("/proc/self/cgroup", "re");
    char line[512] = "", path[640];
    int64_t left = INT64_MAX;

    while (f && fgets(line, sizeof line, f)) {
        if (strncmp(line, "0::", 3) != 0) {
            continue;
        }
        line[strcspn(line, "\n")] = 0;
        snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.max", line + 3);
        int64_t most = read_number(path);
        snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.current", line + 3);
        int64_t now = read_number(path);
        if (most >= 0 && now >= 0) {
            left = most > now ? most - now : 0;
        }
    }
    if (f) {
        fclose(f);
    }
    return left;
}

int64_t memory_available(void)
{
    int64_t machine = meminfo_available(), group = group_available();

    return machine < group ? machine : group;
}
