/* Common to the files of the CUDA device: the device itself, and how a failure is kept. Rests on the CUDA runtime.
   cuda_device.c opens it; kernels.h names the launches; module.h is the program's view. For C17 and for nvcc. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "device/cuda/runtime/packets.h"
#include "device/device.h"

typedef struct cuda_staging cuda_staging; /* pinned memory between host and card: transfer.c */
typedef struct cuda_gemm cuda_gemm;       /* cublasLt and the algorithms chosen so far: gemm.c; NULL in F32 */
typedef struct cuda_square cuda_square;   /* one product by several algorithms: gemm.c */
typedef struct cuda_replay cuda_replay;   /* recordings of passes: replay.c */
typedef struct cuda_stamps cuda_stamps;   /* timestamps of its streams: stamps.c */
typedef struct attention_memo attention_memo; /* the last call of attention: cuda_attention.c */

struct cuda_ceilings; /* module.h */

/* A product's single row of x that is formed by the product itself: the RMS norm of x [d], and left at `out`. x NULL: none. */
enum { CUDA_NORM_INPUT_MOST = 4096 }; /* d, a multiple of 4 */
typedef struct cuda_norm_input {
    const float *x, *weight;
    float eps;
    int d;
    void *out; /* of the activation type, which has 16 bits */
} cuda_norm_input;

/* One card as one rank sees it. All work goes to `stream`, in order; ops do not allocate, and wait only
   where a transfer finds none of its buffers free. */
/* A product of queries, keys and values that is left to the op behind it. */
typedef struct cuda_product {
    const void *x;
    int64_t ldx, n;
    linear_job jobs[3];
    packet_links links; /* of its exchange with other ranks */
} cuda_product;

typedef struct cuda_device {
    device base; /* first, so that a device * is a cuda_device * */
    int ordinal;
    int sm;    /* compute capability, 90 for 9.0 */
    int n_sms; /* multiprocessors */
    char name[96];
    cudaStream_t stream;
    /* Free for any op of this stream, kept by none: aligned to 256 bytes, contents undefined. */
    void *scratch;
    size_t scratch_bytes;
    void *block_rows; /* CUDA_BLOCK_ROW_BYTES of the same kind: plain rows of blocks, for products of many rows of x */
    cuda_staging *staging;
    cuda_gemm *gemm;
    cuda_replay *replay;
    cuda_stamps *stamps;
    attention_memo *attention;
    /* The first failure since the last finish(), and the op that met it; finish() tells and forgets. */
    cudaError_t failed;
    const char *failed_at;
    cuda_norm_input ahead; /* of rms_norm_ahead: the next product forms it. x NULL: none */
    cuda_product product;  /* of linear_ahead: the next rope_store forms it. n 0: none */
} cuda_device;

/* Plain rows of a matrix of blocks that are there at a time: 8,192 of 4,096 columns in 16 bits, so many that a product of them
   fills a card, and so few that most are still in its second-level cache. */
enum { CUDA_BLOCK_ROW_BYTES = 64 << 20 };

/* Bytes of fresh memory: NaN in every activation type, so that reading before writing shows in every test and never gives a
   plausible result. */
enum { CUDA_UNWRITTEN = 0xFF };

/* Keeps the first failure; `op` is a literal. The status of every launch, copy or call of the runtime is noted here. */
static inline void cuda_note(cuda_device *dev, cudaError_t status, const char *op)
{
    if (status != cudaSuccess && dev->failed == cudaSuccess) {
        dev->failed = status;
        dev->failed_at = op;
    }
}

/* Makes the card the calling thread's: before anything of the runtime is called. Cheap where it is already. */
static inline void cuda_enter(cuda_device *dev)
{
    cuda_note(dev, cudaSetDevice(dev->ordinal), "cudaSetDevice");
}

/* --- module.c --- */

/* Gives the reason of a failed call of the runtime: "CUDA: card 0 (NVIDIA H200): what: out of memory". */
lariat_status cuda_failure(int ordinal, const char *name, const char *what, cudaError_t status);

/* --- cuda_device.c --- */

lariat_status cuda_device_open(int ordinal, dtype act, device **out);
size_t cuda_device_memory(void);

/* --- transfer.c --- */

lariat_status cuda_staging_open(cuda_device *dev);
void cuda_staging_close(cuda_device *dev);
/* Pinned memory that it takes. */
size_t cuda_staging_pinned(void);
void cuda_upload(cuda_device *dev, void *to, const void *from, size_t bytes);
void cuda_download(cuda_device *dev, void *to, const void *from, size_t bytes);
/* Downloads reach the host's memory: the stream is idle, no mark stands any more. */
void cuda_land(cuda_device *dev);
/* What mark and wait_mark of device.h are, but for the device's status. */
void cuda_mark(cuda_device *dev);
void cuda_wait_mark(cuda_device *dev);
/* The ops load and make_random. Blocks stay blocks, in the order of linear/blocks.cuh. */
lariat_status cuda_load_matrix(device *dev, const matrix *to, const matrix *from);
lariat_status cuda_make_matrix(device *dev, const matrix *to, dtype type, uint64_t seed);

/* --- replay.c: passes are recorded and launched --- */

enum { CUDA_LISTS = 4 }; /* of one call of attention that can be replayed */

lariat_status cuda_replay_open(cuda_device *dev);
void cuda_replay_close(cuda_device *dev);
size_t cuda_replay_memory(void);
/* See device.h. */
bool cuda_replay_begin(cuda_device *dev, uint64_t key);
bool cuda_replay_end(cuda_device *dev);
/* Ends recording without a result: the pass was given up. */
void cuda_replay_stop(cuda_device *dev);
/* Is queued work being recorded? */
bool cuda_recording(const cuda_device *dev);
/* Called instead of queueing work that cannot be recorded. */
void cuda_refuse_recording(cuda_device *dev);
/* The filled bytes of a list of attention, at most cuda_attention_list_bytes(): copied to the card now, for a launch that is
   queued next; and kept on the host until a recording is launched, in place of all that were announced with this number or a
   larger one. Returns its address on the card then. */
const void *cuda_send_list(cuda_device *dev, int number, const void *list, size_t bytes);
const void *cuda_announce_list(cuda_device *dev, int number, const void *list, size_t bytes);

/* --- stamps.c: when queued work was done --- */

lariat_status cuda_stamps_open(cuda_device *dev);
void cuda_stamps_close(cuda_device *dev);
/* See device.h. */
int64_t cuda_stamp(cuda_device *dev, cudaStream_t stream);
bool cuda_stamped(cuda_device *dev, int64_t number, double *seconds);
/* Something may be queued from here on: the next timestamp is another one. */
void cuda_stamps_pass(cuda_device *dev);

/* --- cuda_attention.c --- */

lariat_status cuda_attention_open(cuda_device *dev);
void cuda_attention_close(cuda_device *dev);
/* No call's lists are on the card any more, nor announced. */
void cuda_attention_forget(cuda_device *dev);
/* See replay_class in device.h. */
uint64_t cuda_attention_class(cuda_device *dev, const attention_shape *s, const void *q, int64_t ldq,
                              const attention_item items[], int n_items, const carry *c, const attention_ends *ends);
/* The lists of the call that cuda_attention_class was given last will be on the card when work queued now begins. */
void cuda_attention_use_announced(cuda_device *dev);
size_t cuda_attention_list_bytes(void);

/* --- gemm.c --- */

lariat_status cuda_gemm_open(cuda_device *dev);
void cuda_gemm_close(cuda_device *dev);
/* One matrix on any number of rows of a 16-bit type. */
void cuda_gemm_apply(cuda_device *dev, const void *x, int64_t ldx, int64_t n, const linear_job *job);
/* y = w x of square matrices, dense and aligned to 256 bytes, by any of the algorithms that cublasLt names for them: choices
   are numbered from 0, so many as cuda_square_choices says. */
lariat_status cuda_square_open(cuda_device *dev, int64_t side, cuda_square **out);
int cuda_square_choices(const cuda_square *s);
void cuda_square_queue(cuda_device *dev, const cuda_square *s, int choice, const void *w, const void *x, void *y);
/* NULL is allowed. */
void cuda_square_close(cuda_device *dev, cuda_square *s);

/* --- cuda_ceilings.c --- */

/* See module.h. */
lariat_status cuda_measure(int ordinal, dtype act, struct cuda_ceilings *out);

#ifdef __cplusplus
}
#endif
