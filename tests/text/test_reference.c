/* The tokenizers of released models, against what Hugging Face's library made of 191 texts with them. Needs shared/tokenizers
   or the demo's model (77 without either). Rests on support/reference.h. */
#include "lariat/text.h"
#include "support/reference.h"
#include "support/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

/* Opens a tokenizer and its list of cases. False if one of them is not on this machine. */
static bool open_case(char *model, const char *name, lariat_tokenizer **t, json_t **cases)
{
    char *path = reference_path(name);
    bool there = model && path;

    if (there) {
        assert_accepted(lariat_tokenizer_open(model, t));
        *cases = json_load_file(path, JSON_ALLOW_NUL, NULL);
        assert_non_null(*cases);
        assert_true(json_array_size(*cases) > 0);
    }
    if (!there) {
        print_message("skipped: %s, or the tokenizer that it is of, is not on this machine\n", name);
    }
    free(model);
    free(path);
    return there;
}

static void ids_are(const int32_t *ids, int64_t n, const json_t *wanted, const char *text)
{
    bool same = n == (int64_t)json_array_size(wanted);

    for (int64_t i = 0; same && i < n; i++) {
        same = ids[i] == json_integer_value(json_array_get(wanted, (size_t)i));
    }
    if (!same) {
        fail_msg("other ids for \"%.100s\"", text);
    }
}

static void encodes_to(const lariat_tokenizer *t, const json_t *text, int flags, const json_t *wanted)
{
    int32_t *ids;
    int64_t n;

    assert_accepted(lariat_encode(t, json_string_value(text), json_string_length(text), flags, &ids, &n));
    ids_are(ids, n, wanted, json_string_value(text));
    lariat_free(ids);
}

/* At once, and as ids come: no piece ends within a character. */
static void decodes_to(const lariat_tokenizer *t, const json_t *ids, const json_t *wanted)
{
    size_t n = json_array_size(ids), size, at = 0;
    int32_t *list = malloc((n + 1) * sizeof *list);
    lariat_stream *stream;
    char *text;

    assert_non_null(list);
    for (size_t i = 0; i < n; i++) {
        list[i] = (int32_t)json_integer_value(json_array_get(ids, i));
    }
    assert_accepted(lariat_decode(t, list, (int64_t)n, true, &text, &size));
    assert_int_equal(size, json_string_length(wanted));
    assert_memory_equal(text, json_string_value(wanted), size);
    assert_accepted(lariat_stream_open(t, true, &stream));
    for (size_t i = 0; i <= n; i++) {
        const char *piece;
        size_t piece_size;
        assert_accepted(i < n ? lariat_stream_put(stream, list[i], &piece, &piece_size)
                              : lariat_stream_flush(stream, &piece, &piece_size));
        assert_true(piece_size <= size - at);
        assert_memory_equal(piece, text + at, piece_size);
        at += piece_size;
        assert_true(at == size || ((unsigned char)text[at] & 0xC0) != 0x80);
    }
    assert_int_equal(at, size);
    lariat_stream_close(stream);
    lariat_free(text);
    free(list);
}

static void check(char *model, const char *name)
{
    lariat_tokenizer *t;
    json_t *cases, *one;
    size_t i;

    if (!open_case(model, name, &t, &cases)) {
        skip();
        return;
    }
    json_array_foreach(cases, i, one) {
        const json_t *with_bos = json_object_get(one, "ids_with_bos");
        encodes_to(t, json_object_get(one, "text"), LARIAT_ENCODE_SPECIAL, json_object_get(one, "ids"));
        if (with_bos) {
            assert_true(lariat_tokenizer_adds_bos(t));
            encodes_to(t, json_object_get(one, "text"), LARIAT_ENCODE_SPECIAL | LARIAT_ENCODE_BOS, with_bos);
        }
        decodes_to(t, json_object_get(one, "ids"), json_object_get(one, "decoded"));
    }
    json_decref(cases);
    lariat_tokenizer_close(t);
}

static void llama2_gives_the_references_ids_and_text(void **state)
{
    (void)state;
    check(reference_path("tokenizers/llama2"), "reference/tokenizers/llama2.json");
}

static void llama3_gives_the_references_ids_and_text(void **state)
{
    (void)state;
    check(reference_path("tokenizers/llama3.1"), "reference/tokenizers/llama3.1.json");
}

static void the_demos_gguf_gives_the_references_ids_and_text(void **state)
{
    (void)state;
    check(demo_model_path(), "reference/smollm2/tokenizer.json");
}

/* --- llama.cpp's vocabularies, each with texts and the ids that the models' own tokenizers give them --- */

/* The ids of a line: numbers with spaces between them. */
static void line_is(const int32_t *ids, int64_t n, const char *line, size_t size, const char *text)
{
    char *copy = strndup(line, size), *at = copy, *end;
    int64_t seen = 0;
    bool same = true;

    assert_non_null(copy);
    for (long id = strtol(at, &end, 10); end != at; id = strtol(at, &end, 10)) {
        same = same && seen < n && ids[seen] == id;
        seen++;
        at = end;
    }
    free(copy);
    if (!same || seen != n) {
        fail_msg("other ids for \"%.100s\"", text);
    }
}

static void check_vocabulary(const char *name)
{
    static const char mark[] = "\n__ggml_vocab_test__\n";
    char path[128];
    unsigned char *files[2];
    size_t sizes[2];
    lariat_tokenizer *t;
    int lines = 0;

    snprintf(path, sizeof path, "reference/vocab/ggml-vocab-%s.gguf", name);
    char *model = reference_path(path);
    assert_accepted(lariat_tokenizer_open(model, &t));
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "reference/vocab/ggml-vocab-%s.gguf.%s", name, i ? "out" : "inp");
        char *file = reference_path(path);
        files[i] = scratch_read(file, &sizes[i]);
        free(file);
    }
    const char *text = (const char *)files[0], *stop = text + sizes[0], *line = (const char *)files[1];
    for (const char *last = line + sizes[1]; line < last; lines++) {
        const char *next = memmem(text, (size_t)(stop - text), mark, strlen(mark));
        const char *end = memchr(line, '\n', (size_t)(last - line));
        int32_t *ids;
        int64_t n;
        assert_non_null(next);
        end = end ? end : last;
        assert_accepted(lariat_encode(t, text, (size_t)(next - text), 0, &ids, &n));
        line_is(ids, n, line, (size_t)(end - line), text);
        lariat_free(ids);
        text = next + strlen(mark);
        line = end + 1;
    }
    assert_true(lines > 40);
    lariat_tokenizer_close(t);
    free(files[0]);
    free(files[1]);
    free(model);
}

static void llama_cpps_vocabularies_give_the_references_ids(void **state)
{
    static const char *const names[] = {"deepseek-llm", "gpt-2", "phi-3", "qwen2", "starcoder"};
    char *folder = reference_path("reference/vocab");

    (void)state;
    if (!folder) {
        print_message("skipped: reference/vocab is not on this machine\n");
        skip();
        return;
    }
    free(folder);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        check_vocabulary(names[i]);
    }
}

static void llama3_chats_are_the_references(void **state)
{
    lariat_tokenizer *t;
    json_t *cases, *one;
    size_t i;

    (void)state;
    if (!open_case(reference_path("tokenizers/llama3.1"), "reference/tokenizers/llama3.1-chat.json", &t, &cases)) {
        skip();
        return;
    }
    json_array_foreach(cases, i, one) {
        bool reply = json_is_true(json_object_get(one, "add_generation_prompt"));
        lariat_conversation c = {
            .messages = json_dumps(json_object_get(one, "messages"), 0),
            .variables = reply ? NULL : "{\"add_generation_prompt\": false}",
        };
        int32_t *ids;
        int64_t n_ids;
        size_t size;
        char *text;
        assert_non_null(c.messages);
        assert_accepted(lariat_chat_render(t, &c, &text, &size));
        assert_string_equal(text, json_string_value(json_object_get(one, "text")));
        assert_accepted(lariat_chat_encode(t, &c, &ids, &n_ids));
        ids_are(ids, n_ids, json_object_get(one, "ids"), text);
        free((char *)c.messages);
        lariat_free(text);
        lariat_free(ids);
    }
    json_decref(cases);
    lariat_tokenizer_close(t);
}

int main(void)
{
    char *licensed = reference_path("tokenizers/llama2"), *demo = demo_model_path();
    bool nothing = !licensed && !demo;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llama2_gives_the_references_ids_and_text),
        cmocka_unit_test(llama3_gives_the_references_ids_and_text),
        cmocka_unit_test(the_demos_gguf_gives_the_references_ids_and_text),
        cmocka_unit_test(llama_cpps_vocabularies_give_the_references_ids),
        cmocka_unit_test(llama3_chats_are_the_references),
    };

    free(licensed);
    free(demo);
    if (nothing) {
        puts("skipped: neither the released tokenizers nor the demo's model are on this machine");
        return TEST_SKIPPED;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
