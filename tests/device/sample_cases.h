/* Rows of logits and settings for the tests of `sample`, of the CPU and of cards.
   Rests on device/device.h and on random_matrix.h. */
#pragma once

#include "device/device.h"
#include "device/random_matrix.h"

/* How the logits of a row lie: spread evenly, bell-shaped and wide as a model's are, few values with many ties, all equal
   (zeros of both signs), and beyond what a float's differences hold. */
typedef enum logit_shape { LOGITS_EVEN, LOGITS_BELL, LOGITS_TIES, LOGITS_EQUAL, LOGITS_HUGE, LOGIT_SHAPES } logit_shape;

static inline float sample_logit(logit_shape shape)
{
    float sum = 0;

    switch (shape) {
    case LOGITS_EVEN:
        return 4 * random_float();
    case LOGITS_BELL:
        for (int i = 0; i < 12; i++) {
            sum += random_float();
        }
        return 3 * sum - 5;
    case LOGITS_TIES:
        return (float)(random_bits() % 5) - 2;
    case LOGITS_EQUAL:
        return random_bits() % 2 ? 0.0f : -0.0f;
    case LOGITS_HUGE:
    case LOGIT_SHAPES:
        break;
    }
    return 3e38f * random_float();
}

static inline void sample_row(float *logits, int64_t vocab, logit_shape shape)
{
    for (int64_t i = 0; i < vocab; i++) {
        logits[i] = sample_logit(shape);
    }
}

static const float sample_temperatures[] = {0, 1e-3f, 0.7f, 1, 2.5f, 1e6f}, sample_top_ps[] = {1, 0, 0.3f, 0.9f, 0.999f},
                   sample_min_ps[] = {0, 0.05f, 1};
static const int32_t sample_top_ks[] = {0, 1, 3, 40, 1000000};

enum { SAMPLE_SETTINGS = 6 * 5 * 3 * 5 };

/* Setting i of SAMPLE_SETTINGS, every one with every other; another number each time. */
static inline sample_setting sample_case(int i)
{
    double number = (double)random_bits() * 0x1p-31;

    return (sample_setting){.temperature = sample_temperatures[i % 6],
                            .top_k = sample_top_ks[i / 90],
                            .top_p = sample_top_ps[i / 6 % 5],
                            .min_p = sample_min_ps[i / 30 % 3],
                            .uniform = i % 7 == 0 ? 0 : i % 7 == 1 ? 1 - 0x1p-53 : number};
}
