/* The memory of a device that is made up: blocks on the host, which know what lies in them.
   Rests on device/device.h and cmocka. Used by support/issued.c and support/recorder.c. */
#pragma once

#include "device/device.h"

typedef struct memory {
    unsigned char *at;
    size_t bytes;
} memory;

enum { DEVICE_BLOCKS_MOST = 4 };

typedef struct device_memory {
    memory blocks[DEVICE_BLOCKS_MOST];
    int n;
} device_memory;

/* Do these bytes lie inside the block; inside one of the blocks? */
bool memory_holds(const memory *block, const void *at, size_t bytes);
bool device_memory_holds(const device_memory *m, const void *at, size_t bytes);

/* The ops: a new block of zeros; its end. */
lariat_status device_memory_reserve(device_memory *m, size_t bytes, void **out);
void device_memory_release(device *dev, void *block, size_t bytes);
