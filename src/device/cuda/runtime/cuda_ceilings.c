/* A card's peak rates: the best of many bursts of each kind of work, by the card's own clock. Rests on cuda_device.c for the
   card, gemm.c for products and cuda_ceilings.cu for two kernels. module.h defines the figures. */
#include "device/cuda/runtime/cuda_device.h"
#include "device/cuda/runtime/kernels.h"
#include "device/cuda/runtime/module.h"

#include "base/clock.h"

#include <math.h>

enum {
    SIDE = 8192,        /* of the square matrices: a product takes more than 10^12 operations, and all tiles are full */
    TIMES_THE_CACHE = 4 /* at least, are read: then hardly any byte is found there the next time */
};

static const size_t BUFFER_BYTES = (size_t)2 << 30; /* read in less than a millisecond; less where less is free */
static const double NO_BETTER_S = 0.3, BETTER = 1.01;

typedef struct measurement {
    cuda_device *dev;
    cudaEvent_t begin, end;
    char *data; /* [bytes] of random numbers; the matrices are parts of it */
    size_t bytes;
    cuda_square *square; /* NULL where activations are F32 */
    int choice;          /* of its algorithms */
} measurement;

typedef void burst_fn(const measurement *m);

/* --- bursts --- */

static void queue_read(const measurement *m)
{
    cuda_device *dev = m->dev;
    size_t turn = cuda_read_turn_bytes(dev->n_sms);

    cuda_note(dev, cuda_read_all(dev->stream, dev->n_sms, m->data, m->bytes / turn * turn, dev->scratch), "reading memory");
}

static void queue_fma(const measurement *m)
{
    cuda_device *dev = m->dev;

    cuda_note(dev, cuda_fma_burst(dev->stream, dev->n_sms, dev->scratch), "multiply-adds");
}

static size_t matrix_bytes(dtype act)
{
    return (size_t)SIDE * SIDE * dtype_block_bytes(act);
}

static void queue_product(const measurement *m)
{
    size_t each = matrix_bytes(m->dev->base.act);

    cuda_square_queue(m->dev, m->square, m->choice, m->data, m->data + each, m->data + 2 * each);
}

/* Seconds of one burst; 0 where something failed, which the device keeps. */
static double seconds_of(const measurement *m, burst_fn *queue)
{
    cuda_device *dev = m->dev;
    float ms = 0;

    cuda_note(dev, cudaEventRecord(m->begin, dev->stream), "what is measured");
    queue(m);
    cuda_note(dev, cudaEventRecord(m->end, dev->stream), "what is measured");
    cuda_note(dev, cudaEventSynchronize(m->end), "what is measured");
    if (dev->failed == cudaSuccess) {
        cuda_note(dev, cudaEventElapsedTime(&ms, m->begin, m->end), "what is measured");
    }
    return dev->failed == cudaSuccess ? (double)ms * 1e-3 : 0;
}

/* Best rate of bursts of `amount`, until none has been better for a while: a card that was idle needs some time to reach its
   highest clock, and one that is hot falls back from it. */
static double best_rate(const measurement *m, burst_fn *queue, double amount)
{
    double best = 0, since = clock_now();

    (void)seconds_of(m, queue); /* brings the kernel onto the card */
    while (m->dev->failed == cudaSuccess && clock_now() - since < NO_BETTER_S) {
        double seconds = seconds_of(m, queue), rate = seconds > 0 ? amount / seconds : 0;
        since = rate > best * BETTER ? clock_now() : since;
        best = rate > best ? rate : best;
    }
    return best;
}

/* The fastest of the algorithms that run, by a burst of each. */
static lariat_status choose_algorithm(measurement *m)
{
    device *dev = &m->dev->base;
    lariat_status status = LARIAT_UNSUPPORTED;
    double least = INFINITY;
    int fastest = 0;

    TRY(cuda_square_open(m->dev, SIDE, &m->square));
    for (m->choice = 0; m->choice < cuda_square_choices(m->square); m->choice++) {
        (void)seconds_of(m, queue_product); /* brings the kernel onto the card */
        double seconds = seconds_of(m, queue_product);
        lariat_status ran = dev->ops->finish(dev);
        status = status == LARIAT_OK ? status : ran;
        if (ran == LARIAT_OK && seconds < least) {
            least = seconds;
            fastest = m->choice;
        }
    }
    m->choice = fastest;
    return status;
}

/* --- memory --- */

/* As much as is free, from 2 GiB down by halves. */
static cudaError_t take_buffer(measurement *m)
{
    cuda_device *dev = m->dev;
    int cache = 0;
    size_t matrices = dev->base.act == DTYPE_F32 ? 0 : 3 * matrix_bytes(dev->base.act);
    void *data = NULL;
    cudaError_t status = cudaDeviceGetAttribute(&cache, cudaDevAttrL2CacheSize, dev->ordinal);

    if (status != cudaSuccess) {
        return status;
    }
    size_t least = (size_t)cache * TIMES_THE_CACHE;
    least = least > matrices ? least : matrices;
    m->bytes = BUFFER_BYTES > least ? BUFFER_BYTES : least;
    while ((status = cudaMalloc(&data, m->bytes)) == cudaErrorMemoryAllocation && m->bytes > least) {
        m->bytes = m->bytes / 2 > least ? m->bytes / 2 : least;
        (void)cudaGetLastError(); /* which the next launch would tell again */
    }
    m->data = data;
    return status;
}

/* Random numbers, as weights are: cards do sums of zeros with less power, and so faster. */
static lariat_status take_all(measurement *m)
{
    cuda_device *dev = m->dev;
    cudaError_t status = take_buffer(m);
    size_t row = SIDE * dtype_block_bytes(dev->base.act);

    if (status == cudaSuccess) {
        status = cudaEventCreate(&m->begin);
    }
    if (status == cudaSuccess) {
        status = cudaEventCreate(&m->end);
    }
    if (status != cudaSuccess) {
        return cuda_failure(dev->ordinal, dev->name, "the memory whose reading is measured", status);
    }
    matrix numbers = {.type = dev->base.act, .rows = (int64_t)(m->bytes / row), .cols = SIDE, .row_bytes = row,
                      .data = m->data};
    return dev->base.ops->make_random(&dev->base, &numbers, dev->base.act, 1);
}

static void give_back(measurement *m)
{
    cuda_square_close(m->dev, m->square);
    if (m->begin) {
        (void)cudaEventDestroy(m->begin);
    }
    if (m->end) {
        (void)cudaEventDestroy(m->end);
    }
    (void)cudaFree(m->data);
}

static lariat_status measure_all(measurement *m, cuda_ceilings *out)
{
    cuda_device *dev = m->dev;
    size_t turn = cuda_read_turn_bytes(dev->n_sms);

    TRY(take_all(m));
    out->bytes = m->bytes / turn * turn;
    out->read_rate = best_rate(m, queue_read, (double)out->bytes);
    if (dev->base.act == DTYPE_F32) {
        out->flops = best_rate(m, queue_fma, cuda_fma_burst_operations(dev->n_sms));
    } else {
        TRY(choose_algorithm(m));
        out->flops = best_rate(m, queue_product, 2.0 * SIDE * SIDE * SIDE);
    }
    return dev->base.ops->finish(&dev->base);
}

lariat_status cuda_measure(int ordinal, dtype act, cuda_ceilings *out)
{
    device *dev;

    *out = (cuda_ceilings){0};
    TRY(cuda_device_open(ordinal, act, &dev));
    measurement m = {.dev = (cuda_device *)dev};
    lariat_status status = measure_all(&m, out);
    give_back(&m);
    dev->ops->close(dev);
    return status;
}
