/* Any bytes as tokenizer.model. Rests on text/sentencepiece.c. See fuzz_text.h. */
#include "fuzz/fuzz_text.h"
#include "text/sentencepiece.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vocabulary v;

    vocabulary_init(&v);
    build_and_use(sentencepiece_parse("fuzz.model", data, size, &v), &v);
    return 0;
}
