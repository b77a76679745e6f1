/* Helpers of all devices: arenas in their memory, the layout of a carry in one block.
   Rests on device.h. Devices are in cpu/ and cuda/. */
#include "device/device.h"

static int64_t carry_heads(const attention_shape *s, int64_t rows)
{
    return rows * s->n_heads;
}

size_t carry_bytes(const attention_shape *s, int64_t rows)
{
    return bytes_of(rows, s->n_heads, ((size_t)s->head_dim + 2) * sizeof(float));
}

carry carry_at(void *block, const attention_shape *s, int64_t rows)
{
    float *o = block, *m = o + carry_heads(s, rows) * s->head_dim;

    return (carry){.o = o, .m = m, .l = m + carry_heads(s, rows)};
}

carry carry_from(const carry *c, const attention_shape *s, int64_t row)
{
    int64_t heads = carry_heads(s, row);

    return (carry){.o = c->o + heads * s->head_dim, .m = c->m + heads, .l = c->l + heads};
}

bool attention_stretch(const attention_item items[], int n_items, int *i, int64_t *row, int64_t *count)
{
    if (*i >= n_items) {
        return false;
    }
    *row = items[*i].row;
    *count = 0;
    while (*i < n_items && items[*i].row == *row + *count) {
        *count += items[(*i)++].count;
    }
    return true;
}

lariat_status device_arena_open(device *dev, arena *a, size_t size, const char *what)
{
    void *block = NULL;

    *a = (arena){0};
    size = size ? size : ARENA_ALIGN;
    TRY(dev->ops->reserve(dev, size, what, &block));
    *a = (arena){.base = block, .size = size};
    return LARIAT_OK;
}

void device_arena_close(device *dev, arena *a)
{
    if (a->base) {
        dev->ops->release(dev, a->base, a->size);
    }
    *a = (arena){0};
}
