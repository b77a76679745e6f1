/* Continues a text: a model opened on a ring of two ranks, one session, one token after the other.
   Rests on the public interface alone; read on in include/lariat/lariat.h.

       cc generate.c -o generate $(pkg-config --cflags --libs lariat)
       ./generate MODEL "Once upon a time"

   MODEL is whatever `lariat -m` takes: a Hugging Face directory, a .gguf file. */
#include <lariat/lariat.h>
#include <lariat/sample.h>
#include <lariat/text.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RANKS = 2, REPLY = 64 }; /* REPLY: most tokens */

/* All that has to be closed in the end, in the order in which it is opened. */
typedef struct writer {
    lariat_tokenizer *tokenizer;
    lariat_stream *stream; /* ids in, whole characters out */
    int32_t *prompt;
    int64_t n_prompt;
    lariat_engine *engine;
    lariat_session *session;
    lariat_sampler *sampler;
    float *logits; /* [vocab] */
} writer;

static bool ok(lariat_status status)
{
    if (status != LARIAT_OK) {
        fprintf(stderr, "generate: %s\n", lariat_error());
    }
    return status == LARIAT_OK;
}

static bool open_text(writer *w, const char *model, const char *text)
{
    if (!ok(lariat_tokenizer_open(model, &w->tokenizer)) || !ok(lariat_stream_open(w->tokenizer, false, &w->stream))) {
        return false;
    }
    int flags = lariat_tokenizer_adds_bos(w->tokenizer) ? LARIAT_ENCODE_BOS : 0;
    return ok(lariat_encode(w->tokenizer, text, strlen(text), flags, &w->prompt, &w->n_prompt));
}

static bool open_ring(writer *w, const char *model)
{
    lariat_options options;
    lariat_sampling likeliest = {.top_p = 1}; /* temperature 0 */

    lariat_options_default(&options);
    options.ranks = RANKS;
    options.context = w->n_prompt + REPLY; /* all memory is taken now, none for a token later */
    if (!ok(lariat_engine_open(model, &options, &w->engine)) || !ok(lariat_session_open(w->engine, 0, &w->session))) {
        return false;
    }
    int32_t vocab = lariat_engine_model(w->engine)->vocab;
    w->logits = malloc((size_t)vocab * sizeof *w->logits);
    if (!w->logits) {
        perror("generate");
    }
    return w->logits && ok(lariat_sampler_open(&likeliest, vocab, &w->sampler));
}

static bool write_reply(writer *w)
{
    const int32_t *next = w->prompt; /* first the whole prompt, then the token that was made last */
    int64_t count = w->n_prompt;
    const char *piece;
    size_t size;
    int32_t id;

    for (int i = 0; i < REPLY; i++) {
        lariat_item item = {.session = w->session, .tokens = next, .count = count, .n_logits = 1, .logits = w->logits};
        if (!ok(lariat_step(w->engine, &item, 1)) || !ok(lariat_sample(w->sampler, w->logits, &id))) {
            return false;
        }
        if (lariat_tokenizer_is_end(w->tokenizer, id)) {
            break;
        }
        if (!ok(lariat_stream_put(w->stream, id, &piece, &size))) {
            return false;
        }
        fwrite(piece, 1, size, stdout);
        fflush(stdout);
        next = &id;
        count = 1;
    }
    if (!ok(lariat_stream_flush(w->stream, &piece, &size))) {
        return false;
    }
    fwrite(piece, 1, size, stdout);
    return putchar('\n') != EOF && fflush(stdout) == 0;
}

int main(int argc, char **argv)
{
    writer w = {0};

    if (argc != 3) {
        fprintf(stderr, "usage: %s MODEL PROMPT\n", argv[0]);
        return 2;
    }
    bool done = open_text(&w, argv[1], argv[2]) && open_ring(&w, argv[1]) && write_reply(&w);
    free(w.logits);
    lariat_sampler_close(w.sampler);
    lariat_session_close(w.session);
    lariat_engine_close(w.engine);
    lariat_free(w.prompt);
    lariat_stream_close(w.stream);
    lariat_tokenizer_close(w.tokenizer);
    return done ? 0 : 1;
}
