/* Any bytes as a chat template: it is rendered, or refused with a reason, within its bounds; and every byte has an origin.
   Rests on text/jinja/jinja.h. See fuzz.h. */
#include "fuzz/fuzz.h"
#include "text/jinja/jinja.h"

static const char messages_text[] =
    "[{\"role\": \"system\", \"content\": \" Be brief.\"}, {\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": "
    "\"a\\u00e9\"}]},"
    " {\"role\": \"assistant\", \"content\": \"<think>b</think>c\", \"ids\": [1], \"tool_calls\": [{\"type\": \"function\","
    " \"function\": {\"name\": \"f\", \"arguments\": {\"x\": [1, 2.5, null, true]}}}]}, {\"role\": \"user\", \"content\": "
    "\"d\"}]";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static json_t *messages, *variables;
    static const struct tm now = {.tm_year = 126, .tm_mon = 10, .tm_mday = 27};
    jinja_output out;

    messages = messages ? messages : json_loads(messages_text, 0, NULL);
    variables = variables ? variables : json_loads("{\"tools\": [{\"function\": {\"name\": \"f\"}}], \"n\": 3}", 0, NULL);
    CHECK(messages && variables);
    jinja_input in = {.source = (const char *)data,
                      .size = size,
                      .messages = messages,
                      .variables = variables,
                      .bos = "<s>",
                      .eos = "</s>",
                      .now = &now};
    if (was_read(jinja_render(&in, &out))) {
        CHECK(out.text.size == out.origins.size);
        for (size_t i = 0; i < out.origins.size; i++) {
            CHECK((uint8_t)out.origins.data[i] < ORIGIN_COUNT);
        }
        touch(out.text.data, out.text.size);
    }
    jinja_output_free(&out);
    return 0;
}
