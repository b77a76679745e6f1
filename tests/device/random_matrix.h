/* Random matrices of every stored type for tests, whose last row ends where the memory ends: the page behind them is not
   readable. Rests on base/dtype.h. */
#pragma once

#include "base/dtype.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static uint64_t random_state = 1;

static inline uint32_t random_bits(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33);
}

/* In [-1, 1). */
static inline float random_float(void)
{
    return (float)random_bits() / 1073741824.0f - 1.0f;
}

/* Memory of `bytes` that ends at a page which must not be touched. Returns NULL if there is none. */
static inline void *guarded_alloc(size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), size = (bytes + page - 1) / page * page;
    unsigned char *p = mmap(NULL, size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED || mprotect(p + size, page, PROT_NONE)) {
        return NULL;
    }
    (void)madvise(p, size, MADV_HUGEPAGE); /* as the memory is whose reading a benchmark compares with */
    return p + size - bytes;
}

static inline void guarded_free(void *p, size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), size = (bytes + page - 1) / page * page;

    munmap((unsigned char *)p + bytes - size, size + page);
}

static inline void put_half(void *at, float f)
{
    uint16_t h = f32_to_f16(f);
    memcpy(at, &h, sizeof h);
}

/* Where a block's f16 scales lie: -1 for none. */
static inline void scale_offsets(dtype type, int offsets[2])
{
    offsets[0] = 0;
    offsets[1] = -1;
    switch (type) {
    case DTYPE_Q4_1:
    case DTYPE_Q5_1:
    case DTYPE_Q4_K:
    case DTYPE_Q5_K: offsets[1] = 2; break;
    case DTYPE_Q2_K:
        offsets[0] = offsetof(block_q2_k, d);
        offsets[1] = offsetof(block_q2_k, dmin);
        break;
    case DTYPE_Q3_K: offsets[0] = offsetof(block_q3_k, d); break;
    case DTYPE_Q6_K: offsets[0] = offsetof(block_q6_k, d); break;
    default: break;
    }
}

/* Any bits as codes and small scales, any sign and several sizes as f16 scales. Free the data with guarded_free. */
static inline matrix random_matrix(dtype type, int64_t rows, int64_t cols)
{
    matrix w = {.type = type, .rows = rows, .cols = cols, .row_bytes = dtype_row_bytes(type, cols)};
    size_t bytes = (size_t)rows * w.row_bytes, step = dtype_block_bytes(type);
    unsigned char *p = guarded_alloc(bytes);
    int scales[2];

    w.data = p;
    scale_offsets(type, scales);
    for (size_t i = 0; p && i < bytes; i += step) {
        for (size_t b = 0; b < step; b++) {
            p[i + b] = (unsigned char)random_bits();
        }
        if (type == DTYPE_F32) {
            float f = random_float();
            memcpy(p + i, &f, sizeof f);
        } else if (type == DTYPE_F16) {
            put_half(p + i, random_float());
        } else if (type == DTYPE_BF16) {
            uint16_t h = f32_to_bf16(random_float());
            memcpy(p + i, &h, sizeof h);
        } else {
            for (int s = 0; s < 2 && scales[s] >= 0; s++) {
                put_half(p + i + scales[s], random_float() * (random_bits() % 8 ? 0.01f : 1e-5f));
            }
        }
    }
    return w;
}
