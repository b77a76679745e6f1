/* A device with streams and a transport that do nothing but write down what they were asked, in order: for tests of a schedule
   on a machine without either.
   Rests on device/device.h, comm/comm.h and cmocka. ring/test_schedule.c replays what was written down.

   Activations are BF16, so that a row counted in floats lands beside its place. What travels is packed, piece by piece, into
   one of two places of staging memory of its region; the rows of all-gathers are memory of all ranks. Nothing is computed and
   nothing is copied. What can be told at once is asserted at once: shapes and types, memory that is the device's own, rows of
   which a rank writes its own columns, two open hops of a region at most, none of them changed meanwhile, none larger than was
   planned. */
#pragma once

#include "comm/comm.h"
#include "device/device.h"
#include "support/device_memory.h"

enum {
    EVENTS_MOST = 512,
    LIST_MOST = 8192 /* items, segments or pieces of one record */
};

/* WRITE is the test's own: new rows of activations, of the next layer. */
typedef enum deed { WRITE, STORE, CLEAR, ATTEND, MERGE, FINISH, OFFER, ASK, TAKE, RELEASE, GATHER } deed;

typedef struct event {
    deed what;
    int layer; /* that the rank was in, -1 before the first */
    /* STORE: slots [slot, slot + rows) of `at`, head_stride apart, from rows ld apart. CLEAR: `at`. ATTEND: q at `from`, ld
       apart, into `at`. MERGE: `from` into `at`. FINISH: `from` to `at`, ld apart. A carry is where it begins. */
    const void *at, *from;
    const float *scales; /* STORE into I8 */
    int64_t ld, slot, head_stride, rows;
    const attention_item *items; /* copies, as are segments and pieces: lists are the caller's when a call has returned */
    int n_items;
    comm_region region; /* of OFFER and of hops */
    uint32_t step;      /* of OFFER and of hops; the number of a GATHER */
    int owner, to;      /* of hops; of OFFER */
    const comm_hop *hop;
    const comm_piece *pieces;
    int n_pieces, staging;
    int asker, holder; /* ATTEND: whose queries, whose keys: for the replay to set; -1 before */
} event;

struct recorder;

typedef struct recording_device {
    device base;
    struct recorder *self;
} recording_device;

typedef struct recording_comm {
    comm base;
    struct recorder *self;
} recording_comm;

/* One rank's record. */
typedef struct recorder {
    attention_shape shape;
    size_t message_bytes;
    recording_device dev;
    recording_comm comm;
    int layer;
    device_memory memory;
    memory region[COMM_REGIONS], staging[COMM_REGIONS][COMM_OPEN_HOPS];
    unsigned char *gathered; /* [2, message_bytes]: rows of all ranks */
    memory written;          /* of the rows of the next all-gather */
    uint32_t gathers;
    event events[EVENTS_MOST];
    int n_events;
    event *open[COMM_REGIONS][COMM_OPEN_HOPS]; /* by staging: an ASK that was not released */
    attention_item items[LIST_MOST];
    kv_segment segments[LIST_MOST];
    comm_piece pieces[LIST_MOST];
    int n_items, n_segments, n_pieces;
} recorder;

/* Rank `rank` of `setup->n_ranks`; `gathered` is the caller's. */
void recorder_open(recorder *r, int rank, const attention_shape *shape, const comm_setup *setup, unsigned char *gathered);
void recorder_close(recorder *r);

/* Begins a new record. */
void recorder_forget(recorder *r);
/* Says that rows of `layer` lie in the activations from now on. */
void recorder_write(recorder *r, int layer);

size_t hop_bytes(const event *hop);
/* Does an OFFER or a hop have the region, the step and the pieces of p? */
bool same_pieces(const event *e, const comm_pieces *p);
