/* What the fuzz targets of tokenizers do with one that was accepted: texts in, ids out, and back.
   Rests on text/tokenizer.h and fuzz/fuzz.h. */
#pragma once

#include "fuzz/fuzz.h"
#include "text/tokenizer.h"

/* Decoding at once and as ids come give the same, well-formed text. */
static inline void check_decoding(const lariat_tokenizer *t, const int32_t *ids, int64_t n, bool special)
{
    lariat_stream *stream;
    char *text;
    size_t size, at = 0;

    CHECK(lariat_decode(t, ids, n, special, &text, &size) == LARIAT_OK);
    CHECK(lariat_stream_open(t, special, &stream) == LARIAT_OK);
    for (int64_t i = 0; i <= n; i++) {
        const char *piece;
        size_t piece_size;
        CHECK((i < n ? lariat_stream_put(stream, ids[i], &piece, &piece_size)
                     : lariat_stream_flush(stream, &piece, &piece_size)) == LARIAT_OK);
        CHECK(piece_size <= size - at && memcmp(piece, text + at, piece_size) == 0);
        at += piece_size;
    }
    CHECK(at == size && text[size] == '\0');
    lariat_stream_close(stream);
    lariat_free(text);
}

static inline void check_encoding(const lariat_tokenizer *t, const char *text, size_t size)
{
    const int flags[] = { 0, LARIAT_ENCODE_SPECIAL | (lariat_tokenizer_bos(t) >= 0 ? LARIAT_ENCODE_BOS : 0) };

    for (int f = 0; f < 2; f++) {
        int32_t *ids;
        int64_t n;
        if (!was_read(lariat_encode(t, text, size, flags[f], &ids, &n))) {
            continue; /* an expression without end */
        }
        for (int64_t i = 0; i < n; i++) {
            CHECK(ids[i] >= 0 && ids[i] < lariat_tokenizer_size(t));
        }
        check_decoding(t, ids, n, f);
        lariat_free(ids);
    }
}

/* Text of several kinds, one of them long enough for the heap; then a chat, and every id. */
static inline void use_tokenizer(const lariat_tokenizer *t)
{
    static const char text[] =
        "Hello  world, don't \n\n 1234 <s></s><|im_end|> \xE2\x96\x81 \xC3\xA9\xF0\x9F\x98\x80 \xFF\xE0\x80 x";
    const lariat_conversation chat = {
        .chat_template = lariat_chat_template(t) ? NULL : lariat_template_by_name("chatml"),
        .messages = "[{\"role\": \"system\", \"content\": \" be <|im_end|> brief\"},"
                    " {\"role\": \"user\", \"content\": \"a \\n\"},"
                    " {\"role\": \"assistant\", \"content\": \"\"}, {\"role\": \"user\", \"content\": \"b\"}]" };
    char many[400];
    int32_t *ids;
    int64_t n;

    for (size_t i = 0; i < sizeof many; i++) {
        many[i] = text[i * 7 % (i < 200 ? 5 : sizeof text - 1)];
    }
    check_encoding(t, text, sizeof text - 1);
    check_encoding(t, many, sizeof many);
    if (was_read(lariat_chat_encode(t, &chat, &ids, &n))) {
        lariat_free(ids);
    }
    n = lariat_tokenizer_size(t);
    ids = malloc((size_t)n * sizeof *ids);
    CHECK(ids);
    for (int32_t id = 0; id < n; id++) {
        ids[id] = (int32_t)n - 1 - id;
    }
    check_decoding(t, ids, n, true);
    free(ids);
}

/* Builds the tokenizer of a vocabulary that was read, or lets go of what was read of it. */
static inline void build_and_use(lariat_status read, vocabulary *v)
{
    lariat_tokenizer *t;

    if (!was_read(read)) {
        vocabulary_free(v);
        return;
    }
    if (was_read(tokenizer_build(v, &t))) {
        use_tokenizer(t);
        lariat_tokenizer_close(t);
    }
}
