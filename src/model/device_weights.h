/* A model's weights as a device has them: where the host has them, or a copy in the device's memory and type.
   Rests on weights.h and device/device.h. The transformer reads all weights through this. */
#pragma once

#include "device/device.h"
#include "model/weights.h"

typedef struct device_weights {
    model_weights weights;
    device *dev;
    arena memory;          /* the device's; empty where it shares the host's memory */
    layer_weights *layers; /* of the copy */
} device_weights;

/* Bytes of a device's own copy: blocks as they are stored, plain matrices in its type, norms and the biases that there may be
   in F32. SIZE_MAX on overflow. */
size_t device_weights_bytes(const model *m, dtype type);
/* The type that a device of `type` has a matrix in. */
dtype device_weights_type(dtype stored, dtype type);

/* The model and the device stay the caller's and must live as long. device_weights_close is safe on a zeroed one. */
lariat_status device_weights_open(device_weights *p, const model *m, device *dev);
void device_weights_close(device_weights *p);
