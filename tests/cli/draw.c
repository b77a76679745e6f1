/* For timeline.sh: traces the reading of some tokens and draws a layer of it.
   Rests on the public API and on cli/bench/timeline.h. Usage: draw MODEL RANKS kv|q TOKENS SPANS FILE.svg */
#include "cli/bench/timeline.h"
#include "lariat/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 60 };

static void must(lariat_status status)
{
    if (status != LARIAT_OK) {
        fprintf(stderr, "draw: %s\n", lariat_error());
        exit(EXIT_FAILURE);
    }
}

int main(int argc, char **argv)
{
    lariat_engine *e;
    lariat_session *s;

    if (argc != 7) {
        return 2;
    }
    int32_t ranks = atoi(argv[2]);
    int64_t count = atol(argv[4]);
    int32_t *tokens = calloc((size_t)count, sizeof *tokens);
    lariat_options o = {.device = LARIAT_DEVICE_CPU, .ranks = ranks, .threads = ranks, .chunk = CHUNK, .context = count,
                        .layout = LARIAT_LAYOUT_TOKENS, .side = strcmp(argv[3], "q") == 0 ? LARIAT_SIDE_Q : LARIAT_SIDE_KV};
    lariat_work item = {.tokens = tokens, .count = count, .n_logits = count}; /* so that all rows go through the last layer */
    if (!tokens) {
        return EXIT_FAILURE;
    }
    must(lariat_engine_open(argv[1], &o, &e));
    item.logits = calloc((size_t)(count * lariat_engine_model(e)->vocab), sizeof *item.logits);
    if (!item.logits) {
        return EXIT_FAILURE;
    }
    must(lariat_session_open(e, 0, &s));
    must(lariat_trace_start(e, atol(argv[5])));
    item.session = s;
    must(lariat_step(e, &item, 1));
    int rc = timeline_draw(e, argv[6]);
    lariat_session_close(s);
    lariat_engine_close(e);
    free(item.logits);
    free(tokens);
    return rc;
}
