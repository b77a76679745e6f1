/* Continues a text: a model opened on a ring of two ranks, one session, one token after the other by lariat_generate.
   Rests on the public interface alone; read on in include/lariat/lariat.h.

       cc continue_text.c -o generate $(pkg-config --cflags --libs lariat)
       ./generate MODEL "Once upon a time"

   MODEL is whatever `lariat -m` takes: a Hugging Face directory, a .gguf file. */
#include <lariat/lariat.h>
#include <lariat/text.h>

#include <stdbool.h>
#include <stdio.h>
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
    bool failed; /* while a token was written */
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
    return ok(lariat_sampler_open(&likeliest, lariat_engine_model(w->engine)->vocab, &w->sampler));
}

/* Called with every token as it comes. False: it was the last one. */
static bool write_token(void *user, int32_t item, int32_t id)
{
    writer *w = user;
    const char *piece;
    size_t size;

    (void)item; /* the only one */
    if (lariat_tokenizer_is_end(w->tokenizer, id)) {
        return false;
    }
    w->failed = !ok(lariat_stream_put(w->stream, id, &piece, &size));
    if (w->failed) {
        return false;
    }
    fwrite(piece, 1, size, stdout);
    fflush(stdout);
    return true;
}

static bool write_reply(writer *w)
{
    lariat_reply reply = {
        .session = w->session, .tokens = w->prompt, .count = w->n_prompt, .sampler = w->sampler, .most = REPLY};
    const char *piece;
    size_t size;

    if (!ok(lariat_generate(w->engine, &reply, 1, write_token, w)) || w->failed) {
        return false;
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
    lariat_sampler_close(w.sampler);
    lariat_session_close(w.session);
    done = ok(lariat_engine_close(w.engine)) && done;
    lariat_free(w.prompt);
    lariat_stream_close(w.stream);
    lariat_tokenizer_close(w.tokenizer);
    return done ? 0 : 1;
}
