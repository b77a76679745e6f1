/* A card for tests beside the CPU's scalar definition: buffers of any type, poisoned before and compared after.
   Rests on device/gpu.h and device/cpu/cpu.h. */
#pragma once

#include "base/dtype.h"
#include "device/cpu/cpu.h"
#include "device/gpu.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "device/random_matrix.h"

static const dtype act_types[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};
enum { ACTS = 3 };

static device *cards[ACTS], *cpu; /* one device for each type of a run; the definition */

static inline void must(lariat_status status)
{
    if (status != LARIAT_OK) {
        fail_msg("%s", lariat_error());
    }
}

static inline bool is_16_bit(dtype type)
{
    return type != DTYPE_F32;
}

static inline size_t size_of(dtype type)
{
    return dtype_block_bytes(type);
}

/* The nearest value of a type. */
static inline float rounded(dtype type, float f)
{
    return type == DTYPE_F16 ? f16_to_f32(f32_to_f16(f)) : type == DTYPE_BF16 ? bf16_to_f32(f32_to_bf16(f)) : f;
}

/* By how much rounding to the type may change a value of that size. */
static inline double rounding(dtype type, double size)
{
    return type == DTYPE_BF16 ? size * 0x1p-8 : type == DTYPE_F16 ? size * 0x1p-11 + 0x1p-25 : 0;
}

static inline void put_element(dtype type, void *p, int64_t i, float f)
{
    if (type == DTYPE_F32) {
        ((float *)p)[i] = f;
    } else {
        ((uint16_t *)p)[i] = type == DTYPE_F16 ? f32_to_f16(f) : f32_to_bf16(f);
    }
}

static inline float get_element(dtype type, const void *p, int64_t i)
{
    if (type == DTYPE_F32) {
        return ((const float *)p)[i];
    }
    return type == DTYPE_F16 ? f16_to_f32(((const uint16_t *)p)[i]) : bf16_to_f32(((const uint16_t *)p)[i]);
}

/* n elements, twice: as fp32 for the CPU, and on the card in its type. The fp32 ones are values of the type. */
typedef struct buffer {
    device *dev;
    dtype type;
    int64_t n;
    float *host;
    void *data;
} buffer;

/* Writes what `host` holds to the card. */
static inline void buffer_send(buffer *b)
{
    unsigned char *bits = malloc((size_t)b->n * size_of(b->type) + 1);

    assert_non_null(bits);
    for (int64_t i = 0; i < b->n; i++) {
        put_element(b->type, bits, i, b->host[i]);
    }
    b->dev->ops->upload(b->dev, b->data, bits, (size_t)b->n * size_of(b->type));
    free(bits);
}

static inline buffer buffer_of(device *dev, dtype type, int64_t n)
{
    buffer b = {.dev = dev, .type = type, .n = n, .host = malloc((size_t)n * sizeof(float) + 1)};

    assert_non_null(b.host);
    must(dev->ops->reserve(dev, (size_t)n * size_of(type) + 16, "a test", &b.data));
    return b;
}

static inline buffer random_buffer(device *dev, dtype type, int64_t n, float size)
{
    buffer b = buffer_of(dev, type, n);

    for (int64_t i = 0; i < n; i++) {
        b.host[i] = rounded(type, size * random_float());
    }
    buffer_send(&b);
    return b;
}

static inline buffer poisoned_buffer(device *dev, dtype type, int64_t n)
{
    buffer b = buffer_of(dev, type, n);

    for (int64_t i = 0; i < n; i++) {
        b.host[i] = NAN;
    }
    buffer_send(&b);
    return b;
}

/* What the card holds, as fp32. To be freed. */
static inline float *buffer_get(const buffer *b)
{
    float *values = malloc((size_t)b->n * sizeof *values + 1);
    unsigned char *bits = malloc((size_t)b->n * size_of(b->type) + 1);

    assert_non_null(values);
    assert_non_null(bits);
    b->dev->ops->download(b->dev, bits, b->data, (size_t)b->n * size_of(b->type));
    must(b->dev->ops->finish(b->dev));
    for (int64_t i = 0; i < b->n; i++) {
        values[i] = get_element(b->type, bits, i);
    }
    free(bits);
    return values;
}

/* Any bytes in the card's memory. */
static inline void *sent(device *dev, const void *from, size_t bytes)
{
    void *to = NULL;

    must(dev->ops->reserve(dev, bytes, "a test", &to));
    dev->ops->upload(dev, to, from, bytes);
    return to;
}

static inline void buffer_free(buffer *b)
{
    b->dev->ops->release(b->dev, b->data, (size_t)b->n * size_of(b->type) + 16);
    free(b->host);
}

/* The card's values against `host`, which the CPU's op has changed: within `bound` of the size in `sizes` (NULL: the value's
   own) and the rounding of the type; NaN where nobody writes. */
static inline void assert_buffer(const buffer *b, double bound, const float *sizes, const char *what)
{
    float *got = buffer_get(b);

    for (int64_t i = 0; i < b->n; i++) {
        double want = (double)b->host[i], size = sizes ? (double)sizes[i] : fabs(want);
        bool same = isnan(want) ? isnan(got[i])
                                : fabs((double)got[i] - want) <= bound * size + rounding(b->type, fabs(want) + bound * size);
        if (!same) {
            fail_msg("%s, %s: element %lld of %lld is %.9g, wanted %.9g (size %.3g)", what, dtype_name(b->dev->act),
                     (long long)i, (long long)b->n, (double)got[i], want, size);
        }
    }
    free(got);
}

static inline void for_every_type(void (*check)(device *dev))
{
    for (int i = 0; i < ACTS; i++) {
        random_state = 1;
        check(cards[i]);
    }
}

static inline void close_cards(void)
{
    for (int i = 0; i < ACTS; i++) {
        if (cards[i]) {
            cards[i]->ops->close(cards[i]);
        }
    }
    if (cpu) {
        cpu->ops->close(cpu);
    }
}

/* 77 where this machine has no card that can be used; the reason is printed. */
static inline int open_cards(void)
{
    const cuda_module *module;
    int n;

    if (gpu_module(&module) != LARIAT_OK || module->count(&n) != LARIAT_OK) {
        printf("skipped: %s\n", lariat_error());
        return 77;
    }
    lariat_status status = cpu_device_open(1, CPU_SCALAR, &cpu);
    for (int i = 0; i < ACTS && status == LARIAT_OK; i++) {
        status = module->open(0, act_types[i], &cards[i]);
    }
    if (status != LARIAT_OK) {
        printf("%s\n", lariat_error());
        return 1;
    }
    return 0;
}
