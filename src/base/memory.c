/* Memory that this process may still use.
   Rests on /proc/meminfo and control groups. See memory.h. */
#include "base/memory.h"

#include "base/cgroup.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* MemAvailable includes reclaimable pages, such as the page cache of the model. */
static int64_t meminfo_available(const char *root)
{
    char path[4096], line[256];
    int64_t kib = -1;

    snprintf(path, sizeof path, "%s/proc/meminfo", root);
    FILE *f = fopen(path, "re");
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

/* A group's reclaimable page cache, which its usage includes. Version 1 has sums over descendants beside the group's own
   figures. */
static int64_t group_reclaimable(const char *folder, bool unified)
{
    const char *active = unified ? "active_file" : "total_active_file";
    const char *inactive = unified ? "inactive_file" : "total_inactive_file";
    char path[4096], line[128], name[64];
    int64_t sum = 0, value;

    snprintf(path, sizeof path, "%s/memory.stat", folder);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "%63s %" SCNd64, name, &value) == 2 && (strcmp(name, active) == 0 || strcmp(name, inactive) == 0)) {
            sum += value;
        }
    }
    if (f) {
        fclose(f);
    }
    return sum;
}

/* Takes the minimum of the groups' remaining limits. No limit is "max" in version 2, a huge number in version 1. */
static void take_least(void *user, const char *folder, bool unified)
{
    static const int64_t no_limit = INT64_C(1) << 60;
    int64_t *least = user, most = cgroup_number(folder, unified ? "memory.max" : "memory.limit_in_bytes");
    int64_t now = cgroup_number(folder, unified ? "memory.current" : "memory.usage_in_bytes");

    if (most < 0 || most >= no_limit || now < 0) {
        return;
    }
    int64_t left = most - now + group_reclaimable(folder, unified);
    left = left > 0 ? left : 0;
    *least = left < *least ? left : *least;
}

int64_t memory_available_in(const char *root)
{
    int64_t least = meminfo_available(root);

    cgroup_each(root, "memory", take_least, &least);
    return least;
}

int64_t memory_available(void)
{
    return memory_available_in("");
}
