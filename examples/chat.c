/* A chat: a question a line from standard input, answers as they are made. What the session holds of it is not read again.
       cc chat.c -o chat $(pkg-config --cflags --libs lariat) && echo "Why is the sky blue?" | ./chat MODEL */
#include <lariat/lariat.h>
#include <lariat/text.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONTEXT = 4096, MESSAGES = 128, LENGTH = 1 << 15 };
static lariat_tokenizer *tokenizer;
static lariat_stream *stream; /* ids in, whole characters out */
static int32_t held[CONTEXT + 1], n_held; /* what the session has read, and the answer's tokens */
static char said[MESSAGES][LENGTH]; /* questions and answers in turn */

static void need(lariat_status status)
{
    if (status != LARIAT_OK) { fprintf(stderr, "chat: %s\n", lariat_error()); exit(1); }
}
static void show(char *answer, const char *piece, size_t size)
{
    fwrite(piece, 1, size, stdout); fflush(stdout);
    strncat(answer, piece, size < LENGTH - 1 - strlen(answer) ? size : LENGTH - 1 - strlen(answer));
}

static bool on_token(void *answer, int32_t item, int32_t id) /* with every token as it comes; false: it was the last one */
{
    const char *piece; size_t size;
    if (lariat_tokenizer_is_end(tokenizer, id)) { return item > 0; } /* there is one item only */
    held[n_held++] = id;
    need(lariat_stream_put(stream, id, &piece, &size));
    show(answer, piece, size);
    return true;
}

int main(int argc, char **argv)
{
    lariat_engine *engine; lariat_session *session; lariat_sampler *sampler;
    lariat_message messages[MESSAGES]; lariat_options options = {.context = CONTEXT}; /* zeros: automatic */
    if (argc != 2) { return fprintf(stderr, "usage: %s MODEL\n", argv[0]) < 0 ? 1 : 2; }
    need(lariat_tokenizer_open(argv[1], &tokenizer)); need(lariat_stream_open(tokenizer, false, &stream));
    need(lariat_engine_open(argv[1], &options, &engine)); need(lariat_session_open(engine, 0, &session));
    need(lariat_sampler_open(&(lariat_sampling){.top_p = 1}, lariat_engine_model(engine)->vocab, &sampler));
    for (int n = 0; n < MESSAGES - 1 && fgets(said[n], LENGTH, stdin); n += 2) {
        int32_t *ids; int64_t count, same = 0; const char *piece; size_t size = strcspn(said[n], "\n");
        said[n][size] = 0;
        messages[n] = (lariat_message){"user", said[n]}; messages[n + 1] = (lariat_message){"assistant", said[n + 1]};
        need(lariat_chat_encode(tokenizer, LARIAT_TEMPLATE_AUTO, messages, n + 1, true, &ids, &count));
        while (same < lariat_session_length(session) && same < count - 1 && ids[same] == held[same]) { same++; }
        need(lariat_session_rewind(session, same)); /* the prefix that is there stays */
        lariat_reply reply = {.session = session, .tokens = ids + same, .count = count - same, .sampler = sampler, .most = CONTEXT};
        n_held = count < CONTEXT ? (int32_t)count : CONTEXT;
        memcpy(held, ids, (size_t)n_held * sizeof *held); /* more is refused below */
        need(lariat_generate(engine, &reply, 1, on_token, said[n + 1]));
        need(lariat_stream_flush(stream, &piece, &size)); show(said[n + 1], piece, size);
        puts(""); lariat_free(ids);
    }
    lariat_sampler_close(sampler); lariat_session_close(session); need(lariat_engine_close(engine));
    lariat_stream_close(stream); lariat_tokenizer_close(tokenizer);
}
