/* The mounted control groups of this process, versions 1 and 2.
   Rests on /proc/self/mountinfo and /proc/self/cgroup. cpus.c and memory.c read the groups' limits. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* A group's folder; `unified`: of version 2, with other file names. */
typedef void (*cgroup_fn)(void *user, const char *folder, bool unified);

/* Calls fn for the group that limits this process by `controller` ("cpu", "memory") and for each visible ancestor. In
   version 2 one group has all controllers. `root`: the folder of /proc and /sys, "" for this machine's. */
void cgroup_each(const char *root, const char *controller, cgroup_fn fn, void *user);

/* The number at the beginning of a group's file; -1: "max", or no such file. */
int64_t cgroup_number(const char *folder, const char *file);
