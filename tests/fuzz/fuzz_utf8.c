/* Any bytes as text: the lossy reading is well-formed and a fixed point, and through a byte-level tokenizer it comes back
   whole.
   Rests on text/utf8.c and text/encode.c. See fuzz_text.h. */
#include "fuzz/fuzz_text.h"
#include "text/utf8.h"

/* One token for every byte, none merges. */
static lariat_tokenizer *bytes_only(void)
{
    lariat_tokenizer *t;
    vocabulary v;

    vocabulary_init(&v);
    v.byte_level = true;
    v.id_limit = 256;
    for (int i = 0; i < 256; i++) {
        char byte = (char)i;
        CHECK(vocabulary_set(&v, i, &byte, 1, TOKEN_NORMAL) == LARIAT_OK);
        v.byte_ids[i] = i;
    }
    CHECK(vocabulary_step(&v, &(split_step){ .kind = SPLIT_EXPRESSION, .expression = expression_llama3 }) == LARIAT_OK);
    CHECK(vocabulary_step(&v, &(split_step){ .kind = SPLIT_BYTE_LEVEL }) == LARIAT_OK);
    CHECK(tokenizer_build(&v, &t) == LARIAT_OK);
    return t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static lariat_tokenizer *t;
    const char *text = (const char *)data;
    buffer lossy = { 0 }, twice = { 0 };
    int32_t *ids;
    int64_t n;
    char *back;
    size_t back_size;

    t = t ? t : bytes_only();
    CHECK(utf8_append_lossy(&lossy, text, size) == LARIAT_OK);
    CHECK(utf8_valid(lossy.data, lossy.size));
    CHECK(utf8_append_lossy(&twice, lossy.data, lossy.size) == LARIAT_OK);
    CHECK(twice.size == lossy.size && (size == 0 || memcmp(twice.data, lossy.data, lossy.size) == 0));
    CHECK(utf8_valid(text, size) == (lossy.size == size && (size == 0 || memcmp(text, lossy.data, size) == 0)));

    CHECK(lariat_encode(t, text, size, 0, &ids, &n) == LARIAT_OK);
    CHECK(n == (int64_t)lossy.size);
    CHECK(lariat_decode(t, ids, n, false, &back, &back_size) == LARIAT_OK);
    CHECK(back_size == lossy.size && (size == 0 || memcmp(back, lossy.data, back_size) == 0));
    check_decoding(t, ids, n, false);

    lariat_free(ids);
    lariat_free(back);
    buffer_free(&lossy);
    buffer_free(&twice);
    return 0;
}
