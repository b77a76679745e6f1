/* Work that comes again: operations are noted, recorded as a graph the second time that the same ones come, and from then on
   repeated by one launch.
   Rests on the CUDA runtime's stream capture. device.c and attention.c ask cuda_heard() before they queue anything.

   Decoding gives a card hundreds of short operations a token, the same ones every time. Three states:
   - direct: an operation is queued when it is called;
   - listening: its arguments are only mixed into a number. Where the number has a recording, again() launches that;
   - recording: it is queued on a stream that is captured, and again() launches what was recorded.
   What differs from token to token lies in device memory: tokens, positions, slots, and the lists of attention, which go to a
   table of this file and reach the card in one copy before the launch. All else is part of the number, so that a recording can
   only stand for the very operations that it was made of. Graphs take memory that no plan counts, a few MB each: where there is
   none left, passes go directly. */
#include "device/cuda/runtime/cuda_device.h"

#include <stdlib.h>
#include <string.h>

enum {
    RECORDINGS = 16, /* batches of different sizes, and steps of attention's split over the keys */
    SEEN = 32,       /* numbers that came once: what may never come again is not worth recording */
    MISSES = 4,      /* passes in turn that cannot be repeated, before ... */
    REST = 60,       /* ... so many go directly, as the next ones hardly can */
    TABLE_SLOTS = 32
};

typedef enum record_state { DIRECT, LISTENING, RECORDING } record_state;

typedef struct recording {
    uint64_t number, used; /* `used`: when, to let the one go that was not wanted for longest */
    cudaGraphExec_t graph;
} recording;

struct cuda_record {
    record_state state, next; /* next: what listen() begins */
    uint64_t number, wanted;  /* of the operations so far; of those that are being recorded */
    bool possible;
    bool given_up; /* the card or the driver has refused a recording: no more are made */
    int misses, rest; /* passes in turn that could not be repeated; passes that are not listened to */
    uint64_t clock;
    recording kept[RECORDINGS];
    uint64_t seen[SEEN];
    int n_seen;
    unsigned char *host, *card; /* [TABLE_SLOTS, slot_bytes] */
    size_t slot_bytes;
    int n_slots;
};

size_t cuda_record_memory(void)
{
    return TABLE_SLOTS * cuda_table_slot_bytes();
}

lariat_status cuda_record_open(cuda_device *dev)
{
    cuda_record *r = calloc(1, sizeof *r);
    void *card = NULL;

    if (!r) {
        return fail(LARIAT_NO_MEMORY, "CUDA: card %d (%s): no memory for recordings" FREE_MEMORY, dev->ordinal, dev->name);
    }
    dev->record = r;
    r->next = LISTENING;
    r->slot_bytes = cuda_table_slot_bytes();
    r->host = calloc(TABLE_SLOTS, r->slot_bytes);
    if (!r->host) {
        return fail(LARIAT_NO_MEMORY, "CUDA: card %d (%s): no memory for recordings" FREE_MEMORY, dev->ordinal, dev->name);
    }
    TRY(dev->base.ops->reserve(&dev->base, TABLE_SLOTS * r->slot_bytes, "lists of attention", &card));
    r->card = card;
    return LARIAT_OK;
}

static void forget(recording *r)
{
    if (r->graph) {
        (void)cudaGraphExecDestroy(r->graph);
    }
    *r = (recording){0};
}

void cuda_record_close(cuda_device *dev)
{
    cuda_record *r = dev->record;

    if (!r) {
        return;
    }
    for (int i = 0; i < RECORDINGS; i++) {
        forget(&r->kept[i]);
    }
    (void)cudaFree(r->card);
    free(r->host);
    free(r);
    dev->record = NULL;
}

/* --- while operations come --- */

bool cuda_heard(cuda_device *dev, const uint64_t words[], int n)
{
    cuda_record *r = dev->record;

    if (r->state == DIRECT) {
        return false;
    }
    for (int i = 0; i < n; i++) { /* a round of multiplying and folding for each */
        uint64_t x = (r->number ^ words[i]) * 0x9E3779B97F4A7C15u;
        r->number = (x ^ x >> 29) * 0xBF58476D1CE4E5B9u;
        r->number ^= r->number >> 32;
    }
    return r->state == LISTENING;
}

bool cuda_repeats(const cuda_device *dev)
{
    return dev->record->state != DIRECT;
}

void cuda_not_repeated(cuda_device *dev)
{
    dev->record->possible = false;
}

const void *cuda_table(cuda_device *dev, const void *from, size_t bytes)
{
    cuda_record *r = dev->record;

    if (r->state == DIRECT) {
        cuda_upload(dev, r->card, from, bytes);
        return r->card;
    }
    if (r->n_slots == TABLE_SLOTS) {
        r->possible = false;
        return r->card;
    }
    size_t at = (size_t)r->n_slots++ * r->slot_bytes;
    memcpy(r->host + at, from, bytes);
    return r->card + at;
}

/* --- begin and end --- */

void cuda_listen(cuda_device *dev)
{
    cuda_record *r = dev->record;

    r->state = r->next;
    r->next = LISTENING;
    if (r->state == LISTENING && (r->given_up || r->rest > 0)) {
        r->rest -= r->rest > 0;
        r->state = DIRECT;
    }
    r->number = 0;
    r->possible = true;
    r->n_slots = 0;
    cuda_attention_forget(dev); /* its list may lie in a slot that is used anew */
    if (r->state == RECORDING && cudaStreamBeginCapture(dev->stream, cudaStreamCaptureModeThreadLocal) != cudaSuccess) {
        (void)cudaGetLastError();
        r->given_up = true;
        r->state = DIRECT;
    }
}

static recording *find(cuda_record *r, uint64_t number)
{
    for (int i = 0; i < RECORDINGS; i++) {
        if (r->kept[i].graph && r->kept[i].number == number) {
            return &r->kept[i];
        }
    }
    return NULL;
}

/* Whether a number has come before; it has from now on. */
static bool seen(cuda_record *r, uint64_t number)
{
    for (int i = 0; i < SEEN; i++) {
        if (r->seen[i] == number) {
            return true;
        }
    }
    r->seen[r->n_seen++ % SEEN] = number;
    return false;
}

static void launch(cuda_device *dev, recording *what)
{
    cuda_record *r = dev->record;

    what->used = ++r->clock;
    if (r->n_slots) {
        cuda_upload(dev, r->card, r->host, (size_t)r->n_slots * r->slot_bytes);
    }
    cuda_note(dev, cudaGraphLaunch(what->graph, dev->stream), "a recorded pass");
}

/* Ends what is being captured. NULL where that failed. */
static cudaGraph_t end_capture(cuda_device *dev)
{
    cudaGraph_t graph = NULL;

    if (cudaStreamEndCapture(dev->stream, &graph) != cudaSuccess) {
        (void)cudaGetLastError();
        return NULL;
    }
    return graph;
}

/* Keeps what was recorded, in place of the recording that was not wanted for longest. */
static recording *keep(cuda_device *dev, cudaGraph_t graph)
{
    cuda_record *r = dev->record;
    recording *to = &r->kept[0];

    for (int i = 1; i < RECORDINGS; i++) {
        to = r->kept[i].used < to->used ? &r->kept[i] : to;
    }
    if (to->graph) {
        cuda_note(dev, cudaStreamSynchronize(dev->stream), "recording"); /* it may be at work */
    }
    forget(to);
    if (cudaGraphInstantiate(&to->graph, graph, 0) != cudaSuccess) {
        (void)cudaGetLastError();
        to->graph = NULL;
        return NULL;
    }
    to->number = r->wanted;
    return to;
}

/* Launches what was recorded. Where there was no recording it, for want of memory, say, the pass goes directly, and so do all that
   follow: false. */
static bool finish_recording(cuda_device *dev)
{
    cuda_record *r = dev->record;
    cudaGraph_t graph = end_capture(dev);
    recording *made = graph && r->number == r->wanted ? keep(dev, graph) : NULL;

    if (made) {
        launch(dev, made);
    }
    if (graph) {
        (void)cudaGraphDestroy(graph);
    }
    r->given_up = !made;
    return made != NULL;
}

bool cuda_again(cuda_device *dev)
{
    cuda_record *r = dev->record;
    record_state ended = r->state;
    recording *known = ended == LISTENING && r->possible ? find(r, r->number) : NULL;

    r->state = DIRECT;
    cuda_attention_forget(dev);
    if (ended == RECORDING) {
        r->next = DIRECT;
        if (!finish_recording(dev)) {
            return true;
        }
        r->next = LISTENING;
    } else if (known) {
        launch(dev, known);
    } else if (ended == LISTENING) {
        r->wanted = r->number;
        r->next = r->possible && seen(r, r->number) ? RECORDING : DIRECT;
        r->misses = r->possible ? 0 : r->misses + 1;
        r->rest = r->misses >= MISSES ? REST : 0;
        return true;
    }
    return false;
}

void cuda_record_stop(cuda_device *dev)
{
    cuda_record *r = dev->record;

    if (r && r->state == RECORDING) {
        cudaGraph_t graph = end_capture(dev);
        if (graph) {
            (void)cudaGraphDestroy(graph);
        }
    }
    if (r && r->state != DIRECT) {
        cuda_attention_forget(dev); /* its list was never sent */
        r->state = DIRECT;
    }
    if (r) {
        r->next = LISTENING;
    }
}
