/* A device that replays and a transport that it can record, which write down the operations of a pass as words: each operation
   and all of its arguments. For tests, on a machine without either, of what passes with one key of replay have in common.
   Rests on device/device.h, comm/comm.h and cmocka. Used by model/test_replay_key.c.

   Nothing is computed. Words are what a launch on a card would be given: addresses in the device's memory, numbers, and the
   grid of attention; not what that memory holds, nor attention's items and segments, which a device keeps in its memory.
   Asserted at once: lists that differ from pass to pass lie in the device's memory; and a call of attention has the items and
   segments that were announced, at one distance. */
#pragma once

#include "comm/comm.h"
#include "device/device.h"
#include "support/device_memory.h"

enum {
    ISSUED_WORDS = 1 << 16,
    ISSUED_LIST = 256, /* items or segments of a call */
    ISSUED_SETS = 3 /* buffers of rows, as between cards: the first of a pass, then two in turn */
};

struct issued;

typedef struct issued_device {
    device base;
    struct issued *self;
} issued_device;

typedef struct issued_comm {
    comm base;
    struct issued *self;
} issued_comm;

/* One rank. */
typedef struct issued {
    issued_device dev;
    issued_comm comm;
    device_memory memory;
    unsigned char *rows, *staging;
    size_t message_bytes;
    uint32_t gathers; /* of the pass */
    bool refuses;     /* the device replays nothing */
    bool launches;    /* replay_begin says that it has launched */
    /* Of the pass so far: */
    uint64_t words[ISSUED_WORDS];
    int n_words;
    int begun, ended; /* calls of replay_begin and replay_end */
    size_t downloaded; /* bytes */
    uint64_t key;     /* of the last replay_begin */
    uint64_t grid;    /* of the last call of attention */
    int n_items, n_segments; /* that were announced */
    attention_item items[ISSUED_LIST];
    kv_segment segments[ISSUED_LIST];
} issued;

/* Rank `rank` of `setup->n_ranks`; with bf16 activations. */
void issued_open(issued *r, int rank, const comm_setup *setup);
void issued_close(issued *r);
/* A new pass begins. */
void issued_forget(issued *r);
