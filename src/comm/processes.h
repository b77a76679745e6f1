/* The processes of a run that a launcher has started (mpirun, srun), numbered from 0: messages of process 0 to the others,
   their reports to it, failures, and the transport of a ring whose ranks are theirs.
   Rests on comm.h; no header of MPI. comm/mpi is the implementation over MPI.

       process 0            process 1            process 2
       ranks 0, 1           rank 2               ranks 3, 4, 5         [first_rank, first_rank + n_ranks), in order
          |---- tell ---------->|---------------------->|              a stream of messages, in order, none is lost
          |<--- collect --------|-----------------------|
          |==== transport: all-gathers and hops ========|

   Failure is a state: once a process has died, failed (processes_fail) or missed its beats for `timeout_s`, all calls return
   LARIAT_FAILED with one line, "rank R (HOST): has died while PHASE", "...: stopped answering while PHASE" or "...: its
   reason", in all processes alike; R is the process's first rank where no rank is to blame. In the transport all waits and
   calls return LARIAT_CANCELLED then, as after any failure of another rank (comm.h), and processes_check has the line;
   comm_reset and comm_group_close wait for no process then. So nothing waits for a process that is gone.

   One thread at a time calls tell, hear, collect, swap and transport; all other calls are safe from any thread. */
#pragma once

#include "comm/comm.h"

typedef struct processes processes; /* from start until end, usually as long as the program runs */

typedef struct process_info {
    char host[64];    /* its name, without a domain */
    uint64_t host_id; /* 0: not known, shared with none */
    int32_t pid, first_rank, n_ranks;
} process_info;

typedef struct process_bytes {
    const void *at;
    size_t n;
} process_bytes;

/* Loads the module for this MPI, starts MPI, and learns who else there is. `which`: "openmpi", "mpich", the path of a module,
   or NULL: by the launcher. local_ranks: of this process, 1 or more. timeout_s: silence of a process that ends the run; beats
   are counted, never computation. Collective: all processes call it. LARIAT_UNSUPPORTED: no such module, or one of another
   build. */
lariat_status processes_start(const char *which, int32_t local_ranks, double timeout_s, processes **out);
/* Ends MPI: collective after success; `failed`, or after a failure, it does not wait. All transports are closed. NULL is
   allowed. The memory that messages under way may still reach stays after a failure: the program ends. */
void processes_end(processes *p, bool failed);

int32_t processes_number(const processes *p); /* of this process */
int32_t processes_count(const processes *p);
const process_info *processes_of(const processes *p, int32_t number);
/* Are both on one host: the same running system, process numbers and host name? Then they share CPUs, memory and the page
   cache, and can see each other end. A container with a name of its own is a host, as for MPI. */
bool processes_share_host(const processes *p, int32_t a, int32_t b);
const char *processes_library(const processes *p); /* name and version of the MPI that is used, for people */

enum { PROCESSES_MESSAGE_MAX = 1 << 30 }; /* bytes of one message of tell or collect */

/* Process 0 to all others. The bytes are the caller's again afterwards. */
lariat_status processes_tell(processes *p, const void *bytes, size_t n);
/* Another process: waits for the next message of process 0, as long as it takes. Valid until the next call. */
lariat_status processes_hear(processes *p, process_bytes *out);
/* All processes call it: process 0 gets the bytes of each, out[count], valid until its next call; out[0] is `mine`. In the
   others `out` is not used, NULL is allowed. In the order of calls; tells and collects may alternate. */
lariat_status processes_collect(processes *p, process_bytes mine, process_bytes out[]);

/* Sends `bytes` to one process and receives as many from one, -1: none, by the plainest calls of the MPI: for measuring these.
   The others call it accordingly; PROCESSES_SWAP_MAX bytes at most. */
enum { PROCESSES_SWAP_MAX = 64 << 20 };
lariat_status processes_swap(processes *p, int32_t to, const void *out, int32_t from, void *in, size_t bytes);

/* This process's phase from now on, which the others report if it stops answering: "loading the model". Text that stays. */
void processes_phase(processes *p, const char *text);
/* Sends all others the failure of this process (one line, without rank and host), so that they end too. rank -1: the process.
   Takes a second at most. Only the first failure of a run counts. */
void processes_fail(processes *p, int32_t rank, const char *reason);

/* LARIAT_OK, or the failure that is known. wait_s > 0: waits up to that long for a beat from the process whose beats this one
   receives, and for the others' news; one that is silent for most of that time has failed, unless it is on this host and runs.
   For a program that its launcher ends (SIGTERM): 0.6 s are three beats. */
lariat_status processes_check(processes *p, double wait_s);
/* From now on fn(arg, reason) is called once, as soon as a failure of another process is known, in a thread of the
   implementation's: for a program that is inside a long computation, or waits for its user. At once where one is known
   already. */
void processes_watch(processes *p, void (*fn)(void *arg, const char *reason), void *arg);

/* The transport of a ring over all ranks of all processes, on CPUs: s->n_ranks, first and n_local are those of the processes.
   Collective: it fails in all processes if it fails in one. So are comm_group_close and comm_reset, which no rank may be inside
   of in any process; comm_cancel reaches all processes. One at a time. */
lariat_status processes_transport(processes *p, const comm_setup *s, comm_group **out);
size_t processes_transport_memory(processes *p, const comm_setup *s); /* of this process, SIZE_MAX on overflow */
/* A constant: of shared memory, or of a network where there are several hosts. */
comm_speed processes_speed(const processes *p);

/* --- for implementations --- */

typedef struct processes_ops {
    void (*end)(processes *p, bool failed);
    lariat_status (*tell)(processes *p, const void *bytes, size_t n);
    lariat_status (*hear)(processes *p, process_bytes *out);
    lariat_status (*collect)(processes *p, process_bytes mine, process_bytes out[]);
    lariat_status (*swap)(processes *p, int32_t to, const void *out, int32_t from, void *in, size_t bytes);
    void (*phase)(processes *p, const char *text);
    void (*announce)(processes *p, int32_t rank, const char *reason);
    lariat_status (*check)(processes *p, double wait_s);
    void (*watch)(processes *p, void (*fn)(void *arg, const char *reason), void *arg);
    lariat_status (*transport)(processes *p, const comm_setup *s, comm_group **out);
    size_t (*transport_memory)(processes *p, const comm_setup *s);
    comm_speed (*speed)(const processes *p);
} processes_ops;

/* Every implementation's struct begins with this. */
struct processes {
    const processes_ops *ops;
    int32_t number, count;
    const process_info *list; /* [count] */
    const char *library;
};
