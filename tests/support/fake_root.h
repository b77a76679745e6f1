/* Folders that stand for a machine's /proc and /sys: topologies and control groups that this machine does not have.
   Rests on support/scratch.h. For cpus_read() and memory_available_in(). */
#pragma once

#include <stdint.h>

/* Begins a machine; a program gives no two the same name. Later calls are about this one. */
void fake_machine(const char *name);

/* Its folder, for the functions that take a root. */
const char *fake_root(void);

/* Writes a file of it: path is printed from the rest of the arguments. */
void fake_file(const char *text, const char *path, ...) __attribute__((format(printf, 2, 3)));

/* Sockets of one NUMA node each, of so many cores with so many threads. CPUs are numbered as on servers: the first thread of
   every core, node after node, then the second ones. All are permitted and online. */
void fake_servers(int nodes, int cores_a_node, int threads_a_core);

/* A mount of control groups, and the process's path in it: version 1 with these controllers, NULL: version 2. `top` is the
   group at `point`. Call fake_groups_done() behind the last. */
void fake_group(const char *controllers, const char *top, const char *point, const char *path);
void fake_groups_done(void);
