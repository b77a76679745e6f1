/* Writing such folders. See fake_root.h. */
#include "support/fake_root.h"

#include "support/scratch.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_SIZE = 8192, NAME_SIZE = 256 };

static char machine[64], root[NAME_SIZE], mounts[TEXT_SIZE], paths[TEXT_SIZE];

void fake_machine(const char *name)
{
    snprintf(machine, sizeof machine, "%s", name);
    snprintf(root, sizeof root, "%s/%s", scratch_folder(), name);
    mounts[0] = paths[0] = 0;
}

const char *fake_root(void)
{
    return root;
}

void fake_file(const char *text, const char *path, ...)
{
    char rest[NAME_SIZE], name[2 * NAME_SIZE];
    va_list args;

    va_start(args, path);
    vsnprintf(rest, sizeof rest, path, args);
    va_end(args);
    snprintf(name, sizeof name, "%s/%s", machine, rest);
    scratch_write_text(name, text);
}

void fake_servers(int nodes, int cores_a_node, int threads_a_core)
{
    int cores = nodes * cores_a_node;
    char text[TEXT_SIZE];

    snprintf(text, sizeof text, "0-%d\n", cores * threads_a_core - 1);
    fake_file(text, "sys/devices/system/cpu/online");
    for (int i = 0; i < cores * threads_a_core; i++) {
        size_t n = 0;
        for (int k = 0; k < threads_a_core; k++) {
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%d", k ? "," : "", i % cores + k * cores);
        }
        snprintf(text + n, sizeof text - n, "\n");
        fake_file(text, "sys/devices/system/cpu/cpu%d/topology/core_cpus_list", i);
    }
    snprintf(text, sizeof text, "Name:\ttest\nCpus_allowed_list:\t0-%d\nMems_allowed_list:\t0\n", cores * threads_a_core - 1);
    fake_file(text, "proc/thread-self/status");
    snprintf(text, sizeof text, "0-%d\n", nodes - 1);
    fake_file(nodes > 1 ? text : "0\n", "sys/devices/system/node/online");
    for (int node = 0; node < nodes; node++) {
        size_t n = 0;
        for (int k = 0; k < threads_a_core; k++) {
            int first = k * cores + node * cores_a_node;
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%d-%d", k ? "," : "", first, first + cores_a_node - 1);
        }
        snprintf(text + n, sizeof text - n, "\n");
        fake_file(text, "sys/devices/system/node/node%d/cpulist", node);
    }
}

void fake_group(const char *controllers, const char *top, const char *point, const char *path)
{
    size_t m = strlen(mounts), p = strlen(paths);

    snprintf(mounts + m, sizeof mounts - m, "31 23 0:28 %s %s rw,relatime shared:9 - %s cgroup rw%s%s\n", top, point,
             controllers ? "cgroup" : "cgroup2", controllers ? "," : "", controllers ? controllers : "");
    snprintf(paths + p, sizeof paths - p, "%d:%s:%s\n", controllers ? 4 : 0, controllers ? controllers : "", path);
}

void fake_groups_done(void)
{
    char text[2 * TEXT_SIZE];

    snprintf(text, sizeof text, "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw\n%s", mounts);
    fake_file(text, "proc/self/mountinfo");
    fake_file(paths, "proc/self/cgroup");
}
