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

/* Page cache that a group can give back: counted in memory.current, but not in the way. */
static int64_t group_reclaimable(const char *folder)
{
    char path[640], line[128];
    int64_t sum = 0, value;

    snprintf(path, sizeof path, "%s/memory.stat", folder);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "active_file %" SCNd64, &value) == 1 || sscanf(line, "inactive_file %" SCNd64, &value) == 1) {
            sum += value;
        }
    }
    if (f) {
        fclose(f);
    }
    return sum;
}

/* What one group leaves, INT64_MAX without a limit. */
static int64_t group_left(const char *folder)
{
    char path[640];

    snprintf(path, sizeof path, "%s/memory.max", folder);
    int64_t most = read_number(path);
    snprintf(path, sizeof path, "%s/memory.current", folder);
    int64_t now = read_number(path);
    if (most < 0 || now < 0) {
        return INT64_MAX;
    }
    int64_t left = most - now + group_reclaimable(folder);
    return left > 0 ? left : 0;
}

/* What the control group of this process and all groups around it leave. */
static int64_t group_available(void)
{
    static const char root[] = "/sys/fs/cgroup";
    FILE *f = fopen("/proc/self/cgroup", "re");
    char line[512] = "", folder[600];
    int64_t least = INT64_MAX;

    while (f && fgets(line, sizeof line, f)) {
        if (strncmp(line, "0::/", 4) != 0) {
            continue;
        }
        line[strcspn(line, "\n")] = 0;
        snprintf(folder, sizeof folder, "%s%s", root, line + 3);
        for (char *end = folder + strlen(folder); end >= folder + strlen(root); end = strrchr(folder, '/')) {
            *end = 0;
            int64_t left = group_left(folder);
            least = left < least ? left : least;
        }
    }
    if (f) {
        fclose(f);
    }
    return least;
}

int64_t memory_available(void)
{
    int64_t machine = meminfo_available(), group = group_available();

    return machine < group ? machine : group;
}
