/* The public face of the safetensors writer.
   Rests on format/tensors.h. See include/lariat/data.h. */
#include "lariat/data.h"
#include "format/tensors.h"

#include <stdlib.h>

enum { TENSORS_MOST = 64 };

struct lariat_tensor_file {
    safetensors_writer *writer;
};

/* The spec with its type's name looked up; a row of blocks is no result that anyone could read. */
static lariat_status translate(const lariat_tensor_spec *from, tensor_spec *to)
{
    dtype type = dtype_from_name(from->type);
    if (type == DTYPE_COUNT || dtype_block_elements(type) != 1) {
        return fail(LARIAT_BAD_ARGUMENT,
                    "tensor %s: %s is no type of a plain tensor, use F64, F32, F16, BF16 or an integer type", from->name,
                    from->type);
    }
    if (from->n_dims < 0 || from->n_dims > TENSOR_MAX_DIMS) {
        return fail(LARIAT_BAD_ARGUMENT, "tensor %s: %d dimensions, at most %d are possible, join some", from->name,
                    from->n_dims, TENSOR_MAX_DIMS);
    }
    *to = (tensor_spec){.name = from->name, .type = type, .n_dims = from->n_dims};
    for (int32_t i = 0; i < from->n_dims; i++) {
        if (from->dims[i] < 0) {
            return fail(LARIAT_BAD_ARGUMENT, "tensor %s: dimension %d is negative, give its size", from->name, i);
        }
        to->dims[i] = from->dims[i];
    }
    return LARIAT_OK;
}

lariat_status lariat_tensor_file_create(const char *path, const lariat_tensor_spec specs[], int32_t n, lariat_tensor_file **out)
{
    tensor_spec translated[TENSORS_MOST];
    *out = NULL;
    if (n < 1 || n > TENSORS_MOST) {
        return fail(LARIAT_BAD_ARGUMENT, "%s: %d tensors, a file takes 1 to %d, write several", path, n, TENSORS_MOST);
    }
    for (int32_t i = 0; i < n; i++) {
        TRY(translate(&specs[i], &translated[i]));
    }
    lariat_tensor_file *f = malloc(sizeof *f);
    TRY_MEMORY(f, "%s: no memory to write it" FREE_MEMORY, path);
    lariat_status status = safetensors_create(path, translated, n, &f->writer);
    if (status != LARIAT_OK) {
        free(f);
        return status;
    }
    *out = f;
    return LARIAT_OK;
}

lariat_status lariat_tensor_file_write(lariat_tensor_file *f, const void *data, size_t bytes)
{
    return safetensors_write(f->writer, data, bytes);
}

lariat_status lariat_tensor_file_finish(lariat_tensor_file *f)
{
    lariat_status status = safetensors_finish(f->writer);
    free(f);
    return status;
}

void lariat_tensor_file_discard(lariat_tensor_file *f)
{
    if (f) {
        safetensors_discard(f->writer);
        free(f);
    }
}
