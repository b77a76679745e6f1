/* Results as named tensors in a file that other programs read (safetensors).
   Rests on status.h. `lariat logits` writes with it. */
#ifndef LARIAT_DATA_H
#define LARIAT_DATA_H

#include "lariat/status.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lariat_tensor_file lariat_tensor_file;

typedef struct lariat_tensor_spec {
    const char *name;
    const char *type; /* "F32", "F64", "F16", "BF16", "I32", "I64", "U8" */
    int32_t n_dims;
    int64_t dims[4];  /* slowest first */
} lariat_tensor_spec;

/* Begins a file of these tensors. It appears under `path` only when _finish has made it whole. */
LARIAT_API lariat_status lariat_tensor_file_create(const char *path, const lariat_tensor_spec specs[], int32_t n,
                                                   lariat_tensor_file **out);
/* Appends data: the tensors one after the other, in pieces of any size, so that a result never has to lie in memory. */
LARIAT_API lariat_status lariat_tensor_file_write(lariat_tensor_file *f, const void *data, size_t bytes);
/* Moves the file into place and closes it, also where that fails. Other bytes than the tensors take are LARIAT_FAILED. */
LARIAT_API lariat_status lariat_tensor_file_finish(lariat_tensor_file *f);
/* Closes it and leaves nothing behind. NULL is allowed. */
LARIAT_API void lariat_tensor_file_discard(lariat_tensor_file *f);

#ifdef __cplusplus
}
#endif
#endif
