/* What bulk tensor copies must be told of memory: tensor maps for the queries and for each segment of keys and values.
   Rests on attention.h and on the driver's cuTensorMapEncodeTiled, which is asked for at run time. Read on in
   attention_hopper.cu, whose producer uses them. */
#include "device/cuda/attention/cuda_attention.h"

#include <string.h>

cudaError_t tensor_map_make(map_encoder encoder, dtype type, const tensor *t, CUtensorMap *map)
{
    static const cuuint32_t step[3] = {1, 1, 1};
    CUtensorMapSwizzle swizzle = t->box[0] == 64 ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_64B;
    CUresult result = encoder(map, type == DTYPE_F16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3,
                              (void *)(uintptr_t)t->at, t->size, t->stride, t->box, step, CU_TENSOR_MAP_INTERLEAVE_NONE,
                              swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);

    return result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

cudaError_t attention_maps_open(map_encoder *out)
{
    void *found = NULL;
    enum cudaDriverEntryPointQueryResult how;
    cudaError_t status = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault, &how);

    if (status == cudaSuccess && how != cudaDriverEntryPointSuccess) {
        status = cudaErrorCallRequiresNewerDriver;
    }
    memcpy(out, &found, sizeof found);
    return status;
}

cudaError_t attention_maps_make(map_encoder encoder, const attention_launch *a, const attention_lists *lists, int64_t rows,
                                attention_maps *out)
{
    const hopper_form f = attention_hopper_form(a->head_dim);
    const uint64_t width = (uint64_t)a->head_dim * 2; /* bytes of a row */
    const tensor q = {.at = a->q,
                      .size = {(uint64_t)a->head_dim, (uint64_t)(a->n_kv_heads * a->group), (uint64_t)rows},
                      .stride = {width, (uint64_t)a->ldq * 2},
                      .box = {(uint32_t)f.panel, (uint32_t)a->group, (uint32_t)(a->tile_rows / a->group)}};
    cudaError_t status = tensor_map_make(encoder, a->act, &q, &out->q);

    for (int32_t i = 0; i < lists->n_keys && status == cudaSuccess; i++) {
        const attention_keys *s = &lists->keys[i];
        tensor t = {.at = s->k,
                    .size = {(uint64_t)a->head_dim, (uint64_t)s->count, (uint64_t)a->n_kv_heads},
                    .stride = {width, (uint64_t)s->head_stride * width},
                    .box = {(uint32_t)f.panel, (uint32_t)f.keys, 1}};
        status = tensor_map_make(encoder, a->act, &t, &out->k[i]);
        t.at = s->v;
        status = status ? status : tensor_map_make(encoder, a->act, &t, &out->v[i]);
    }
    return status;
}
