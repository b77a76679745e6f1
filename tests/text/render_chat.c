/* Renders a conversation, for chat_test.py: the command line has no way to see the text of one.
     render_chat MODEL REPLY < MESSAGES     REPLY: 0 or 1. MESSAGES: [[role, content], ...]. Prints [text, [ids...]].
   Rests on the public API and jansson. */
#include "lariat/text.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST_MESSAGES = 32 };

static int complain(void)
{
    fprintf(stderr, "%s\n", lariat_error());
    return 1;
}

static int render(const lariat_tokenizer *t, const json_t *list, bool reply)
{
    lariat_message messages[MOST_MESSAGES];
    int32_t n = (int32_t)json_array_size(list), *ids;
    json_t *numbers = json_array(), *out;
    int64_t n_ids;
    size_t size;
    char *text;

    for (int32_t i = 0; i < n && i < MOST_MESSAGES; i++) {
        const json_t *m = json_array_get(list, (size_t)i);
        messages[i] = (lariat_message){ json_string_value(json_array_get(m, 0)), json_string_value(json_array_get(m, 1)) };
    }
    if (lariat_chat_render(t, LARIAT_TEMPLATE_AUTO, messages, n, reply, &text, &size) != LARIAT_OK ||
        lariat_chat_encode(t, LARIAT_TEMPLATE_AUTO, messages, n, reply, &ids, &n_ids) != LARIAT_OK) {
        return complain();
    }
    for (int64_t i = 0; i < n_ids; i++) {
        json_array_append_new(numbers, json_integer(ids[i]));
    }
    out = json_pack("[s#,o]", text, (int)size, numbers);
    json_dumpf(out, stdout, 0);
    json_decref(out);
    lariat_free(text);
    lariat_free(ids);
    return 0;
}

int main(int argc, char **argv)
{
    json_t *list = json_loadf(stdin, 0, NULL);
    lariat_tokenizer *t;
    int rc;

    if (argc != 3 || !list || json_array_size(list) > MOST_MESSAGES) {
        fprintf(stderr, "usage: render_chat MODEL REPLY < MESSAGES\n");
        return 2;
    }
    if (lariat_tokenizer_open(argv[1], &t) != LARIAT_OK) {
        return complain();
    }
    rc = render(t, list, atoi(argv[2]) != 0);
    lariat_tokenizer_close(t);
    json_decref(list);
    return rc;
}
