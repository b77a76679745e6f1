/* Any bytes as a .safetensors file: refused with one line, or tensors that lie inside the file.
   Rests on format/safetensors.c. See fuzz.h. */
#include "format/tensors.h"
#include "fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tensors t = {0};

    if (was_read(safetensors_parse("fuzz.safetensors", data, size, 0, &t))) {
        for (int64_t i = 0; i < t.n; i++) {
            CHECK(tensors_find(&t, t.list[i].name) == &t.list[i]);
            touch(t.list[i].data, t.list[i].bytes);
        }
    }
    tensors_close(&t);
    return 0;
}
