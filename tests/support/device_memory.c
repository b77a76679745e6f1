/* Blocks of a device that is made up.
   Rests on cmocka. See device_memory.h. */
#include "support/device_memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

bool memory_holds(const memory *block, const void *at, size_t bytes)
{
    uintptr_t first = (uintptr_t)at, base = (uintptr_t)block->at;

    return block->at && first >= base && first + bytes <= base + block->bytes;
}

bool device_memory_holds(const device_memory *m, const void *at, size_t bytes)
{
    bool inside = false;

    for (int i = 0; i < m->n; i++) {
        inside = inside || memory_holds(&m->blocks[i], at, bytes);
    }
    return inside;
}

lariat_status device_memory_reserve(device_memory *m, size_t bytes, void **out)
{
    assert_true(m->n < DEVICE_BLOCKS_MOST);
    *out = calloc(1, bytes);
    assert_non_null(*out);
    m->blocks[m->n++] = (memory){*out, bytes};
    return LARIAT_OK;
}

void device_memory_release(device *dev, void *block, size_t bytes)
{
    (void)dev;
    (void)bytes;
    free(block);
}
