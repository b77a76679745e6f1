/* The control groups that this process is in, of version 1 and 2, as far as they are mounted.
   Rests on /proc/self/mountinfo and /proc/self/cgroup. cpus.c and memory.c read what the groups grant. */
#ifndef BASE_CGROUP_H
#define BASE_CGROUP_H

#include <stdbool.h>
#include <stdint.h>

/* A group's folder; `unified`: of version 2, which names its files otherwise. */
typedef void (*cgroup_fn)(void *user, const char *folder, bool unified);

/* Calls fn for the group that limits this process by `controller` ("cpu", "memory") and for every group around it that can
   be seen. In version 2 one group has all controllers. `root`: where /proc and /sys are, "" for this machine's own. */
void cgroup_each(const char *root, const char *controller, cgroup_fn fn, void *user);

/* The number that a group's file begins with; -1 for "max", or where there is none. */
int64_t cgroup_number(const char *folder, const char *file);

#endif
