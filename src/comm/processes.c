/* The calls of processes.h, each handed to the implementation.
   Rests on the table at the end of processes.h. processes_start is in mpi/mpi_start.c. */
#include "comm/processes.h"

void processes_end(processes *p, bool failed)
{
    if (p) {
        p->ops->end(p, failed);
    }
}

int32_t processes_number(const processes *p)
{
    return p->number;
}

int32_t processes_count(const processes *p)
{
    return p->count;
}

const process_info *processes_of(const processes *p, int32_t number)
{
    return &p->list[number];
}

bool processes_share_host(const processes *p, int32_t a, int32_t b)
{
    return a == b || (p->list[a].host_id && p->list[a].host_id == p->list[b].host_id);
}

const char *processes_library(const processes *p)
{
    return p->library;
}

lariat_status processes_tell(processes *p, const void *bytes, size_t n)
{
    return p->ops->tell(p, bytes, n);
}

lariat_status processes_hear(processes *p, process_bytes *out)
{
    return p->ops->hear(p, out);
}

lariat_status processes_collect(processes *p, process_bytes mine, process_bytes out[])
{
    return p->ops->collect(p, mine, out);
}

lariat_status processes_swap(processes *p, int32_t to, const void *out, int32_t from, void *in, size_t bytes)
{
    return p->ops->swap(p, to, out, from, in, bytes);
}

void processes_phase(processes *p, const char *text)
{
    p->ops->phase(p, text);
}

void processes_fail(processes *p, int32_t rank, const char *reason)
{
    p->ops->announce(p, rank, reason);
}

lariat_status processes_check(processes *p, double wait_s)
{
    return p->ops->check(p, wait_s);
}

void processes_watch(processes *p, void (*fn)(void *arg, const char *reason), void *arg)
{
    p->ops->watch(p, fn, arg);
}

lariat_status processes_transport(processes *p, const comm_setup *s, comm_group **out)
{
    return p->ops->transport(p, s, out);
}

size_t processes_transport_memory(processes *p, const comm_setup *s)
{
    return p->ops->transport_memory(p, s);
}

comm_speed processes_speed(const processes *p)
{
    return p->ops->speed(p);
}
