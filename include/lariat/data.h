/* Writing named tensors to a safetensors file.
   Rests on status.h. `lariat logits` writes its result with it. */
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

/* Begins a file of these tensors. It appears under `path` only when _finish has completed it. */
LARIAT_API lariat_status lariat_tensor_file_create(const char *path, const lariat_tensor_spec specs[], int32_t n,
                                                   lariat_tensor_file **out);
/* Appends data: the tensors one after the other, in pieces of any size. The result is never in memory as a whole. */
LARIAT_API lariat_status lariat_tensor_file_write(lariat_tensor_file *f, const void *data, size_t bytes);
/* Moves the file into place and frees f, also on failure. LARIAT_FAILED: the bytes written are not the size of the tensors. */
LARIAT_API lariat_status lariat_tensor_file_finish(lariat_tensor_file *f);
/* Removes the unfinished file and frees f. NULL is allowed. */
LARIAT_API void lariat_tensor_file_discard(lariat_tensor_file *f);

#ifdef __cplusplus
}
#endif
#endif
