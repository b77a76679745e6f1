/* Replay: the operations of a pass are recorded as a graph the second time that its key occurs, and from then on launched at
   once. Rests on the CUDA runtime's stream capture. device.h says what a key stands for; cuda_attention.c fills the lists.

   Decoding gives a card hundreds of short operations a token, the same ones every time. Differences are in the card's
   memory: tokens, positions, slots, and the lists of attention, which go up in one copy before a recording is launched. Graphs
   take memory that no plan counts, a few MB each: where there is none left, passes go directly. */
#include "device/cuda/runtime/cuda_device.h"

#include <stdlib.h>
#include <string.h>

enum {
    RECORDINGS = 32, /* passes with different rows, and classes of attention */
    KEYS = 64        /* that are remembered of each kind */
};

typedef struct recording {
    uint64_t key, used; /* `used`: when, so that the least recently used one makes room */
    cudaGraphExec_t graph;
} recording;

/* The newest ones. */
typedef struct key_list {
    uint64_t list[KEYS];
    int n;
} key_list;

struct cuda_replay {
    bool recording; /* the stream is being captured, for */
    uint64_t key;
    bool refused;   /* an operation came that no recording can have */
    bool given_up;  /* the card or the driver has failed to record: no more recordings are made */
    uint64_t clock;
    recording kept[RECORDINGS];
    key_list seen;       /* keys that came once: what may never come again is not worth recording */
    key_list unrecorded; /* with an operation that no recording can have */
    unsigned char *host, *card; /* [CUDA_LISTS, list_bytes] of attention */
    size_t list_bytes;
    int n_lists;       /* that the next pass has announced */
    size_t last_bytes; /* of the last of these so much is filled */
};

size_t cuda_replay_memory(void)
{
    return CUDA_LISTS * cuda_attention_list_bytes();
}

lariat_status cuda_replay_open(cuda_device *dev)
{
    cuda_replay *r = calloc(1, sizeof *r);
    void *card = NULL;

    dev->replay = r;
    if (r) {
        r->list_bytes = cuda_attention_list_bytes();
        r->host = calloc(CUDA_LISTS, r->list_bytes);
    }
    TRY_MEMORY(r && r->host, "CUDA: card %d (%s): no memory for recordings" FREE_MEMORY, dev->ordinal, dev->name);
    TRY(dev->base.ops->reserve(&dev->base, cuda_replay_memory(), "lists of attention", &card));
    r->card = card;
    return LARIAT_OK;
}

static void drop(recording *r)
{
    if (r->graph) {
        (void)cudaGraphExecDestroy(r->graph);
    }
    *r = (recording){0};
}

void cuda_replay_close(cuda_device *dev)
{
    cuda_replay *r = dev->replay;

    if (!r) {
        return;
    }
    for (int i = 0; i < RECORDINGS; i++) {
        drop(&r->kept[i]);
    }
    (void)cudaFree(r->card);
    free(r->host);
    free(r);
    dev->replay = NULL;
}

/* --- while operations are issued --- */

bool cuda_recording(const cuda_device *dev)
{
    return dev->replay && dev->replay->recording;
}

void cuda_refuse_recording(cuda_device *dev)
{
    dev->replay->refused = true;
}

const void *cuda_send_list(cuda_device *dev, int number, const void *list, size_t bytes)
{
    cuda_replay *r = dev->replay;
    unsigned char *to = r->card + (size_t)(number % CUDA_LISTS) * r->list_bytes;

    cuda_upload(dev, to, list, bytes);
    return to;
}

const void *cuda_announce_list(cuda_device *dev, int number, const void *list, size_t bytes)
{
    cuda_replay *r = dev->replay;
    size_t at = (size_t)number * r->list_bytes;

    memcpy(r->host + at, list, bytes);
    r->n_lists = number + 1;
    r->last_bytes = bytes;
    return r->card + at;
}

/* --- begin and end --- */

static recording *find(cuda_replay *r, uint64_t key)
{
    for (int i = 0; i < RECORDINGS; i++) {
        if (r->kept[i].graph && r->kept[i].key == key) {
            return &r->kept[i];
        }
    }
    return NULL;
}

/* Whether a key is in a list. */
static bool has_key(const key_list *keys, uint64_t key)
{
    for (int i = 0; i < KEYS; i++) {
        if (keys->list[i] == key) {
            return true;
        }
    }
    return false;
}

static void add_key(key_list *keys, uint64_t key)
{
    keys->list[keys->n] = key;
    keys->n = (keys->n + 1) % KEYS;
}

/* Is a pass of this key to be recorded? The second time that it comes. */
static bool is_recorded(cuda_replay *r, uint64_t key)
{
    bool seen = has_key(&r->seen, key);

    if (!seen) {
        add_key(&r->seen, key);
    }
    return seen && !r->given_up && !has_key(&r->unrecorded, key);
}

static void launch(cuda_device *dev, recording *what)
{
    cuda_replay *r = dev->replay;

    what->used = ++r->clock;
    if (r->n_lists) {
        cuda_upload(dev, r->card, r->host, (size_t)(r->n_lists - 1) * r->list_bytes + r->last_bytes);
    }
    cuda_note(dev, cudaGraphLaunch(what->graph, dev->stream), "a recorded pass");
}

/* Keeps a recording, in place of the least recently used recording. NULL where that failed. */
static recording *keep(cuda_device *dev, cudaGraph_t graph)
{
    cuda_replay *r = dev->replay;
    recording *to = &r->kept[0];

    for (int i = 1; i < RECORDINGS; i++) {
        to = r->kept[i].used < to->used ? &r->kept[i] : to;
    }
    if (to->graph) {
        cuda_note(dev, cudaStreamSynchronize(dev->stream), "recording"); /* it may be at work */
    }
    drop(to);
    if (cudaGraphInstantiate(&to->graph, graph, 0) != cudaSuccess) {
        (void)cudaGetLastError();
        to->graph = NULL;
        return NULL;
    }
    to->key = r->key;
    return to;
}

static bool begin_capture(cuda_device *dev, uint64_t key)
{
    cuda_replay *r = dev->replay;

    r->recording = cudaStreamBeginCapture(dev->stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess;
    r->given_up = !r->recording;
    r->key = key;
    r->refused = false;
    if (!r->recording) {
        (void)cudaGetLastError();
    }
    return r->recording;
}

/* Ends the capture. NULL where that failed. */
static cudaGraph_t end_capture(cuda_device *dev)
{
    cudaGraph_t graph = NULL;

    dev->replay->recording = false;
    if (cudaStreamEndCapture(dev->stream, &graph) != cudaSuccess) {
        (void)cudaGetLastError();
        return NULL;
    }
    return graph;
}

bool cuda_replay_begin(cuda_device *dev, uint64_t key)
{
    cuda_replay *r = dev->replay;
    recording *known = find(r, key);

    if (known) {
        launch(dev, known);
        r->n_lists = 0;
        cuda_attention_forget(dev);
        return true;
    }
    if (is_recorded(r, key) && begin_capture(dev, key)) {
        cuda_attention_use_announced(dev);
    } else {
        r->n_lists = 0;
        cuda_attention_forget(dev);
    }
    return false;
}

bool cuda_replay_end(cuda_device *dev)
{
    cuda_replay *r = dev->replay;

    if (!r->recording) {
        return false;
    }
    cudaGraph_t graph = end_capture(dev);
    recording *kept = graph && !r->refused ? keep(dev, graph) : NULL;
    if (kept) {
        launch(dev, kept);
    }
    if (graph) {
        (void)cudaGraphDestroy(graph);
    }
    r->n_lists = 0;
    cuda_attention_forget(dev);
    if (r->refused) {
        add_key(&r->unrecorded, r->key); /* passes of this key go directly */
    } else {
        r->given_up = !kept; /* for want of memory, say: this pass goes directly, and so do all that follow */
    }
    return !kept;
}

void cuda_replay_stop(cuda_device *dev)
{
    cuda_replay *r = dev->replay;

    if (!r) {
        return;
    }
    if (r->recording) {
        cudaGraph_t graph = end_capture(dev);
        if (graph) {
            (void)cudaGraphDestroy(graph);
        }
        cuda_attention_forget(dev); /* its lists were never sent */
    }
    r->n_lists = 0;
}
