/* Moments of a card's streams: events in turn, each numbered, and the seconds that they are read as. Rests on the CUDA runtime.
   device.h defines timestamps; the transport stamps streams of its own on the same card.

   The runtime gives the time between two events, in a float of milliseconds. Seconds are counted from one event, the base; once
   a timestamp is too far from it for the precision of a float, its event becomes the base. */
#include "device/cuda/runtime/cuda_device.h"

#include <math.h>
#include <stdlib.h>

struct cuda_stamps {
    cudaEvent_t events[DEVICE_STAMPS]; /* number i is events[i % DEVICE_STAMPS] */
    double seconds[DEVICE_STAMPS];     /* NAN: not read yet */
    int64_t n;                         /* timestamps so far */
    int64_t last;                      /* on the device's own stream, if nothing was asked of the device since; otherwise -1 */
    cudaEvent_t base;
    double base_s;
};

/* A float of so many milliseconds is exact to some tens of nanoseconds. */
static const double BASE_REACH_S = 0.5;

lariat_status cuda_stamps_open(cuda_device *dev)
{
    cuda_stamps *s = calloc(1, sizeof *s);
    cudaError_t status = cudaSuccess;

    TRY_MEMORY(s, "CUDA: card %d (%s): no memory for timestamps" FREE_MEMORY, dev->ordinal, dev->name);
    dev->stamps = s;
    s->last = -1;
    for (int i = 0; i < DEVICE_STAMPS && status == cudaSuccess; i++) {
        status = cudaEventCreate(&s->events[i]);
    }
    status = status == cudaSuccess ? cudaEventCreate(&s->base) : status;
    status = status == cudaSuccess ? cudaEventRecord(s->base, dev->stream) : status;
    return status == cudaSuccess ? LARIAT_OK : cuda_failure(dev->ordinal, dev->name, "events", status);
}

void cuda_stamps_close(cuda_device *dev)
{
    cuda_stamps *s = dev->stamps;

    if (!s) {
        return;
    }
    for (int i = 0; i < DEVICE_STAMPS && s->events[i]; i++) {
        (void)cudaEventDestroy(s->events[i]);
    }
    if (s->base) {
        (void)cudaEventDestroy(s->base);
    }
    free(s);
    dev->stamps = NULL;
}

void cuda_stamps_pass(cuda_device *dev)
{
    if (dev->stamps) {
        dev->stamps->last = -1;
    }
}

int64_t cuda_stamp(cuda_device *dev, cudaStream_t stream)
{
    cuda_stamps *s = dev->stamps;
    int at = (int)(s->n % DEVICE_STAMPS);

    if (cuda_recording(dev)) {
        return -1;
    }
    if (!stream && s->last >= 0) {
        return s->last;
    }
    cuda_note(dev, cudaEventRecord(s->events[at], stream ? stream : dev->stream), "a timestamp");
    s->seconds[at] = NAN;
    s->last = stream && stream != dev->stream ? -1 : s->n;
    return s->n++;
}

bool cuda_stamped(cuda_device *dev, int64_t number, double *seconds)
{
    cuda_stamps *s = dev->stamps;
    int at = (int)(number % DEVICE_STAMPS);
    float ms = 0;

    *seconds = NAN;
    if (number < 0 || number >= s->n || number < s->n - DEVICE_STAMPS) {
        return true;
    }
    if (isnan(s->seconds[at])) {
        cudaError_t status = cudaEventQuery(s->events[at]);
        if (status == cudaSuccess) {
            status = cudaEventElapsedTime(&ms, s->base, s->events[at]);
        }
        if (status != cudaSuccess) { /* the card has not reached it, or has failed: finish() returns that */
            (void)cudaGetLastError();
            return status != cudaErrorNotReady;
        }
        s->seconds[at] = s->base_s + ms / 1e3;
        if (ms / 1e3 > BASE_REACH_S) {
            cudaEvent_t old = s->base;
            s->base = s->events[at];
            s->base_s = s->seconds[at];
            s->events[at] = old;
        }
    }
    *seconds = s->seconds[at];
    return true;
}
