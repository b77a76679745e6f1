/* Between the host's memory and the card's: pinned staging, the host's downloads until they land, and loading of weights.
   Rests on base/threads.h for copying, on convert.cu and block_order.cu. cuda_device.c calls it.

   Uploads pass through a few pinned buffers in turn: while the card takes one, the next is filled, and a buffer is filled again
   when the card is done with it (an event behind its last copy). Downloads stay in a landing zone until a call waits for them:
   one zone for those before a mark, the other for those behind it. Host memory of an upload has been read when the call
   returns. Large pieces are copied by a few threads. Reached by an H200 from pages in memory: 24 GB/s with four of them, 46
   with eight. */
#include "base/cpus.h"
#include "base/threads.h"
#include "device/cuda/runtime/cuda_device.h"
#include "device/cuda/runtime/kernels.h"

#include <stdlib.h>
#include <string.h>

enum {
    BUFFERS = 4,
    COPIERS = 8,
    ZONES = 2,    /* downloads before a mark, and those behind it */
    PENDING = 64, /* of a zone: so many without a wait */
};
static const size_t BUFFER_BYTES = (size_t)4 << 20, ZONE_BYTES = (size_t)4 << 20;
static const size_t SHARED_COPY = (size_t)1 << 20, COPY_PIECE = (size_t)256 << 10, ALIGN = 64;

/* A download: it stays in a landing zone, and is copied to its place in the host's memory when the stream has done it. */
typedef struct landing {
    void *to;
    size_t at, bytes;
} landing;

typedef struct landing_zone {
    unsigned char *base; /* ZONE_BYTES, pinned */
    size_t used;
    landing list[PENDING];
    int n;
    cudaEvent_t reached; /* the mark behind them, */
    bool marked;         /* if there is one */
} landing_zone;

struct cuda_staging {
    unsigned char *buffers;     /* [BUFFERS] of BUFFER_BYTES, pinned */
    cudaEvent_t taken[BUFFERS]; /* behind the last copy out of a buffer */
    int buffer;                 /* the one being filled, */
    size_t used;              /* so far */
    landing_zone zones[ZONES];
    int zone; /* that takes downloads now: the others are older */
    pool *copiers;
};

size_t cuda_staging_pinned(void)
{
    return BUFFERS * BUFFER_BYTES + ZONES * ZONE_BYTES;
}

lariat_status cuda_staging_open(cuda_device *dev)
{
    cuda_staging *s = calloc(1, sizeof *s);
    int threads = cpus_available() < COPIERS ? cpus_available() : COPIERS;

    TRY_MEMORY(s, "CUDA: card %d (%s): no memory for its staging" FREE_MEMORY, dev->ordinal, dev->name);
    dev->staging = s;
    cudaError_t status = cudaMallocHost((void **)&s->buffers, BUFFERS * BUFFER_BYTES);
    for (int i = 0; i < ZONES && status == cudaSuccess; i++) {
        status = cudaMallocHost((void **)&s->zones[i].base, ZONE_BYTES);
        if (status == cudaSuccess) {
            status = cudaEventCreateWithFlags(&s->zones[i].reached, cudaEventDisableTiming);
        }
    }
    for (int i = 0; i < BUFFERS && status == cudaSuccess; i++) {
        status = cudaEventCreateWithFlags(&s->taken[i], cudaEventDisableTiming);
    }
    if (status != cudaSuccess) {
        return cuda_failure(dev->ordinal, dev->name, "pinned memory of the host for transfers", status);
    }
    return pool_open(threads, &s->copiers);
}

void cuda_staging_close(cuda_device *dev)
{
    cuda_staging *s = dev->staging;

    if (!s) {
        return;
    }
    for (int i = 0; i < BUFFERS; i++) {
        if (s->taken[i]) {
            (void)cudaEventDestroy(s->taken[i]);
        }
    }
    for (int i = 0; i < ZONES; i++) {
        if (s->zones[i].reached) {
            (void)cudaEventDestroy(s->zones[i].reached);
        }
        (void)cudaFreeHost(s->zones[i].base);
    }
    if (s->copiers) {
        pool_close(s->copiers);
    }
    (void)cudaFreeHost(s->buffers);
    free(s);
    dev->staging = NULL;
}

/* --- up --- */

/* The next `bytes` of pinned memory, at most BUFFER_BYTES: free of earlier copies. */
static unsigned char *stage(cuda_device *dev, size_t bytes)
{
    cuda_staging *s = dev->staging;

    if (s->used + bytes > BUFFER_BYTES) {
        cuda_note(dev, cudaEventRecord(s->taken[s->buffer], dev->stream), "upload");
        s->buffer = (s->buffer + 1) % BUFFERS;
        s->used = 0;
        cuda_note(dev, cudaEventSynchronize(s->taken[s->buffer]), "upload");
    }
    unsigned char *p = s->buffers + (size_t)s->buffer * BUFFER_BYTES + s->used;
    s->used += (bytes + ALIGN - 1) / ALIGN * ALIGN;
    return p;
}

/* Rows of `bytes` each, `stride` apart, packed. */
typedef struct packing {
    unsigned char *to;
    const unsigned char *from;
    size_t bytes, stride, per_piece;
    int64_t rows;
} packing;

static void pack_piece(void *arg, int64_t piece, int thread)
{
    const packing *p = arg;
    size_t row = (size_t)piece * p->per_piece, end = row + p->per_piece;

    (void)thread;
    for (; row < end && row < (size_t)p->rows; row++) {
        memcpy(p->to + row * p->bytes, p->from + row * p->stride, p->bytes);
    }
}

static void pack(cuda_device *dev, unsigned char *to, const unsigned char *from, size_t bytes, size_t stride, int64_t rows)
{
    packing p = {to, from, bytes, stride, 1, rows};

    if (bytes == stride) { /* one row, cut as the copiers like it */
        size_t all = bytes * (size_t)rows, whole = all / COPY_PIECE * COPY_PIECE;
        if (all < SHARED_COPY) {
            memcpy(to, from, all);
            return;
        }
        p.bytes = p.stride = COPY_PIECE;
        p.rows = (int64_t)(whole / COPY_PIECE);
        memcpy(to + whole, from + whole, all - whole);
    } else if (bytes < COPY_PIECE) {
        p.per_piece = COPY_PIECE / bytes;
    }
    pool_run(dev->staging->copiers, (p.rows + (int64_t)p.per_piece - 1) / (int64_t)p.per_piece, pack_piece, &p);
}

void cuda_upload(cuda_device *dev, void *to, const void *from, size_t bytes)
{
    for (size_t at = 0; at < bytes;) {
        size_t part = bytes - at < BUFFER_BYTES ? bytes - at : BUFFER_BYTES;
        unsigned char *p = stage(dev, part);
        pack(dev, p, (const unsigned char *)from + at, part, part, 1);
        cuda_note(dev, cudaMemcpyAsync((unsigned char *)to + at, p, part, cudaMemcpyHostToDevice, dev->stream), "upload");
        at += part;
    }
}

/* --- down --- */

static void land(landing_zone *z)
{
    for (int i = 0; i < z->n; i++) {
        memcpy(z->list[i].to, z->base + z->list[i].at, z->list[i].bytes);
    }
    z->n = 0;
    z->used = 0;
    z->marked = false;
}

void cuda_land(cuda_device *dev)
{
    cuda_staging *s = dev->staging;

    for (int i = 1; i <= ZONES; i++) { /* in the order in which they were asked for */
        land(&s->zones[(s->zone + i) % ZONES]);
    }
}

void cuda_download(cuda_device *dev, void *to, const void *from, size_t bytes)
{
    landing_zone *z = &dev->staging->zones[dev->staging->zone];

    for (size_t at = 0; at < bytes;) {
        if (z->used == ZONE_BYTES || z->n == PENDING || z->marked) {
            cuda_note(dev, cudaStreamSynchronize(dev->stream), "download");
            cuda_land(dev);
        }
        size_t room = ZONE_BYTES - z->used, part = bytes - at < room ? bytes - at : room;
        z->list[z->n++] = (landing){(unsigned char *)to + at, z->used, part};
        cuda_note(dev,
                  cudaMemcpyAsync(z->base + z->used, (const unsigned char *)from + at, part, cudaMemcpyDeviceToHost,
                                  dev->stream),
                  "download");
        z->used += (part + ALIGN - 1) / ALIGN * ALIGN;
        at += part;
    }
}

void cuda_mark(cuda_device *dev)
{
    cuda_staging *s = dev->staging;
    landing_zone *z = &s->zones[s->zone];

    cuda_note(dev, cudaEventRecord(z->reached, dev->stream), "mark");
    z->marked = true;
    s->zone = (s->zone + 1) % ZONES;
}

void cuda_wait_mark(cuda_device *dev)
{
    cuda_staging *s = dev->staging;

    for (int i = 0; i < ZONES; i++) { /* the one that takes downloads next is the oldest */
        landing_zone *z = &s->zones[(s->zone + i) % ZONES];
        if (z->marked) {
            cuda_note(dev, cudaEventSynchronize(z->reached), "work of the card");
            land(z);
            return;
        }
    }
}

/* --- weights --- */

static bool is_blocks(const matrix *w)
{
    return dtype_block_elements(w->type) > 1;
}

/* Some rows, of any type: staged as they are stored, and put in place by a copy, or from the working memory: blocks in the
   card's order, plain types as others. */
static void load_rows(cuda_device *d, const matrix *to, const matrix *from, int64_t row0, int64_t rows)
{
    size_t bytes = dtype_row_bytes(from->type, from->cols), all = bytes * (size_t)rows;
    unsigned char *p = stage(d, all), *place = (unsigned char *)(uintptr_t)to->data + (size_t)row0 * to->row_bytes;

    pack(d, p, (const unsigned char *)from->data + (size_t)row0 * from->row_bytes, bytes, from->row_bytes, rows);
    if (from->type == to->type && !is_blocks(to)) {
        cuda_note(d, cudaMemcpy2DAsync(place, to->row_bytes, p, bytes, bytes, (size_t)rows, cudaMemcpyHostToDevice, d->stream),
                  "load");
    } else {
        cuda_note(d, cudaMemcpyAsync(d->scratch, p, all, cudaMemcpyHostToDevice, d->stream), "load");
        cuda_note(d,
                  is_blocks(to) ? cuda_block_order(d->stream, to, row0, rows, d->scratch)
                                : cuda_convert(d->stream, to, row0, rows, from->type, d->scratch, bytes),
                  "load");
    }
}

lariat_status cuda_load_matrix(device *dev, const matrix *to, const matrix *from)
{
    cuda_device *d = (cuda_device *)dev;
    size_t bytes = dtype_row_bytes(from->type, from->cols);

    int64_t together = is_blocks(to) ? CUDA_BLOCK_TILE : 1; /* rows that are put in place at once */
    if (bytes > BUFFER_BYTES / (size_t)together) {
        return fail(LARIAT_UNSUPPORTED, "CUDA: a matrix of %lld columns of %s: rows beyond %zu bytes cannot be loaded",
                    (long long)from->cols, dtype_name(from->type), BUFFER_BYTES / (size_t)together);
    }
    if (from->type != to->type && (is_blocks(from) || is_blocks(to))) {
        return fail(LARIAT_UNSUPPORTED, "CUDA: weights of %s cannot be loaded as %s: blocks stay what they are",
                    dtype_name(from->type), dtype_name(to->type));
    }
    if (from->rows == 0 || bytes == 0) {
        return LARIAT_OK;
    }
    cuda_enter(d);
    int64_t each = (int64_t)(BUFFER_BYTES / bytes) / together * together;
    for (int64_t row = 0; row < from->rows; row += each) {
        load_rows(d, to, from, row, from->rows - row < each ? from->rows - row : each);
    }
    return d->failed == cudaSuccess ? LARIAT_OK : dev->ops->finish(dev);
}

lariat_status cuda_make_matrix(device *dev, const matrix *to, dtype type, uint64_t seed)
{
    cuda_device *d = (cuda_device *)dev;

    cuda_enter(d);
    if (dtype_block_elements(type) == 1) {
        cuda_note(d, cuda_random(d->stream, to, type, seed), "make_random");
        return LARIAT_OK;
    }
    int64_t each = (int64_t)(d->scratch_bytes / to->row_bytes) / CUDA_BLOCK_TILE * CUDA_BLOCK_TILE;
    if (type != to->type || each == 0) {
        return fail(LARIAT_UNSUPPORTED, "CUDA: random weights of %s cannot be made as %s of %lld columns", dtype_name(type),
                    dtype_name(to->type), (long long)to->cols);
    }
    for (int64_t row = 0; row < to->rows; row += each) { /* stored blocks in the working memory, then in the card's order */
        int64_t rows = to->rows - row < each ? to->rows - row : each;
        cuda_note(d, cuda_random_blocks(d->stream, to, row, rows, seed, d->scratch), "make_random");
        cuda_note(d, cuda_block_order(d->stream, to, row, rows, d->scratch), "make_random");
    }
    return LARIAT_OK;
}
