/* Renders and encodes conversations, for chat_test.py: the command line prints the text only.
     render_chat MODEL < LINES     Each line: {"messages": [...], "variables": {...}}. Prints [text, [ids...]], a line each.
   Rests on the public API and jansson. */
#include "lariat/text.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static int complain(void)
{
    fprintf(stderr, "%s\n", lariat_error());
    return 1;
}

static int render(const lariat_tokenizer *t, const json_t *line)
{
    char *messages = json_dumps(json_object_get(line, "messages"), 0),
         *variables = json_dumps(json_object_get(line, "variables"), 0);
    lariat_conversation c = {.messages = messages, .variables = variables};
    json_t *numbers = json_array(), *out;
    int32_t *ids = NULL;
    int64_t n_ids;
    size_t size;
    char *text = NULL;

    if (lariat_chat_render(t, &c, &text, &size) != LARIAT_OK || lariat_chat_encode(t, &c, &ids, &n_ids) != LARIAT_OK) {
        return complain();
    }
    for (int64_t i = 0; i < n_ids; i++) {
        json_array_append_new(numbers, json_integer(ids[i]));
    }
    out = json_pack("[s#,o]", text, (int)size, numbers);
    json_dumpf(out, stdout, 0);
    puts("");
    json_decref(out);
    lariat_free(text);
    lariat_free(ids);
    free(messages);
    free(variables);
    return 0;
}

int main(int argc, char **argv)
{
    lariat_tokenizer *t;
    json_t *line;
    int rc = 0;

    if (argc != 2) {
        fprintf(stderr, "usage: render_chat MODEL < LINES\n");
        return 2;
    }
    if (lariat_tokenizer_open(argv[1], &t) != LARIAT_OK) {
        return complain();
    }
    while (rc == 0 && (line = json_loadf(stdin, JSON_DISABLE_EOF_CHECK, NULL)) != NULL) {
        rc = render(t, line);
        json_decref(line);
    }
    lariat_tokenizer_close(t);
    return rc;
}
