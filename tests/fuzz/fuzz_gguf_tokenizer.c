/* Any bytes as a GGUF file with a vocabulary. Rests on text/gguf_vocabulary.c. See fuzz_text.h. */
#include "text/gguf_vocabulary.h"
#include "fuzz/fuzz_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vocabulary v;
    gguf *g;

    if (!was_read(gguf_parse("fuzz.gguf", data, size, &g))) {
        return 0;
    }
    vocabulary_init(&v);
    build_and_use(gguf_vocabulary(g, &v), &v);
    gguf_close(g);
    return 0;
}
