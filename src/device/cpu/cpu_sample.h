/* Choosing tokens on the CPU.
   Rests on device.h, which defines the choice; cpu.h has the function for one row. */
#pragma once

#include "device/cpu/cpu_device.h"

void cpu_sample(device *dev, int32_t *tokens, const float *logits, int64_t ld, int64_t n, int64_t vocab,
                const sample_setting *settings);
