/* A transport whose ranks exchange messages only, as over a network with two sides (MPI): for tests, whose ranks are threads.
   Rests on comm/comm.h. tests/CMakeLists.txt links suites a second time with this transport in the place of the one between
   threads; docs/dev/adding-a-transport.md says what that proves.

   - An offer is one message to each rank that it names. Its bytes leave the owner's memory inside a later call of the owner:
   soon, after some calls, or, as with a rendezvous, after the receiver has asked. They arrive in memory of their own, which is
   freed when the hop is released.
   - Progress is made inside calls and comm_poll only.
   - A message can be seen by its receiver after some calls or some time: messages overtake one another. It is matched by pass,
     region and step.
   - In one pass in four these delays are drawn at random; in the others a message leaves in the next call, and is seen at once.
   - Columns of an all-gather that are empty are not sent: nobody waits for them.
   - What is not valid is overwritten with NaN: a hop that was released, rows of an all-gather before the last.

   A schedule that breaks the rules of comm.h ends the program with what, which rank and the seed: pieces or columns of other
   sizes than the receiver expects, more bytes than planned, an offer that is not taken before the receiver begins another pass,
   a pass that begins before the offers of the last one have left, columns of another rank that were written, and a wait of a
   minute. */
#pragma once

#include "comm/comm.h"

/* Each group has the next seed; the first is the environment's MESSAGES_SEED, or 1. A program that ends in a failure prints its
   last one. */
lariat_status messages_open(const comm_setup *s, comm_group **out);

/* The ranks of several processes: one group, of which each process has a view. The group ends with the last of its views. */
typedef struct messages_group messages_group;

/* Where the processes of a group meet to reset it: returns in all of them after the last to come has called fn(group), or
   not at all where a process failed. NULL: there is one process. And what is called when the group ends. */
typedef struct messages_meeting {
    void (*meet)(void *arg, void (*fn)(void *group), void *group);
    void (*ended)(void *arg);
    void *arg;
} messages_meeting;

messages_group *messages_group_open(const comm_setup *s);
comm_group *messages_group_view(messages_group *g, const comm_setup *s, const messages_meeting *meeting);
void messages_group_cancel(messages_group *g);

/* A network: hops cost something, so that queries travel where that is less. */
comm_speed messages_speed(void);
