/* Any bytes as tokenizer.json. Rests on text/tokenizer_json.c. See fuzz_text.h. */
#include "fuzz/fuzz_text.h"
#include "text/tokenizer_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vocabulary v;

    vocabulary_init(&v);
    build_and_use(tokenizer_json_parse("fuzz.json", (const char *)data, size, &v), &v);
    return 0;
}
