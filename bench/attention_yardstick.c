/* The CUDA device's attention for a program that has its own stream and tensors: bench_attention_cuda.py calls this through
   ctypes. Rests on device/cuda. */
#include "device/cuda/runtime/cuda_device.h"
#include "device/cuda/runtime/kernels.h"
#include "device/cuda/runtime/module.h"

#include <math.h>
#include <stdio.h>

/* Causal attention of `rows` queries, the last of `keys` positions, and what the carry needs before and after. */
typedef struct bench_call {
    int32_t n_heads, n_kv_heads, head_dim, rows;
    int64_t keys;
    const void *q, *k, *v; /* [rows, n_heads, head_dim]; [n_kv_heads, keys, head_dim] */
    void *out;             /* [rows, n_heads, head_dim] of the activation type */
    void *carry;           /* carry_bytes() */
} bench_call;

#define EXPORT __attribute__((visibility("default")))

EXPORT void *bench_open(int ordinal, int bf16);
EXPORT int bench_attention(void *opened, void *stream, const bench_call *call, int only);
EXPORT void bench_close(void *opened);

const cuda_module *lariat_cuda_module(const cuda_host *host, int abi);

static void tell(const char *reason)
{
    fprintf(stderr, "%s\n", reason);
}

/* NULL where the card cannot be opened. */
void *bench_open(int ordinal, int bf16)
{
    static const cuda_host host = {.give_reason = tell, .give_reason_within = tell};
    device *dev = NULL;

    (void)lariat_cuda_module(&host, CUDA_MODULE_ABI);
    return cuda_device_open(ordinal, bf16 ? DTYPE_BF16 : DTYPE_F16, &dev) == LARIAT_OK ? dev : NULL;
}

/* only: the attention op by itself, on from the carry as it is. The first failure, 0 for none. */
int bench_attention(void *opened, void *stream, const bench_call *call, int only)
{
    cuda_device *d = opened;
    cudaStream_t own = d->stream;
    attention_shape s = {.n_heads = call->n_heads, .n_kv_heads = call->n_kv_heads, .head_dim = call->head_dim,
                         .scale = 1 / sqrtf((float)call->head_dim), .kv_type = d->base.act};
    kv_segment segment = {.k = call->k, .v = call->v, .head_stride = call->keys, .count = (int32_t)call->keys};
    attention_item item = {0, call->rows, call->keys - call->rows, &segment, 1};
    carry c = carry_at(call->carry, &s, call->rows);
    int64_t width = (int64_t)s.n_heads * s.head_dim;

    d->stream = stream;
    cuda_attention(d, &s, call->q, width, &item, 1, &c,
                   only ? &(attention_ends){0} : &(attention_ends){.is_first = true, .out = call->out, .ldo = width});
    d->stream = own;
    return (int)d->failed;
}

void bench_close(void *opened)
{
    device *dev = opened;

    dev->ops->close(dev);
}
