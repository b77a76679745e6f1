/* A chat: a question a line from standard input, answers as they are made. What the session holds of it is not read again.
       cc conversation.c -o chat $(pkg-config --cflags --libs lariat) && echo "Why is the sky blue?" | ./chat MODEL */
#include <lariat/lariat.h>
#include <lariat/text.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONTEXT = 4096, MESSAGES = 128, LENGTH = 1 << 15 };

static lariat_tokenizer *tokenizer;
static lariat_stream *stream;                   /* ids in, whole characters out */
static char said[MESSAGES][LENGTH];             /* questions and answers in turn, */
static char talk[MESSAGES * (6 * LENGTH + 64)]; /* and as JSON */
static int32_t held[CONTEXT + 1];               /* what the session has read, and the token that came last */
static int64_t n_held;

static void need(lariat_status status)
{
    if (status != LARIAT_OK) {
        fprintf(stderr, "chat: %s\n", lariat_error());
        exit(1);
    }
}

static void show(char *answer, const char *piece, size_t size)
{
    size_t room = LENGTH - 1 - strlen(answer);

    fwrite(piece, 1, size, stdout);
    fflush(stdout);
    strncat(answer, piece, size < room ? size : room);
}

static void add(char **at, const char *role, const char *text) /* a message as JSON */
{
    *at += sprintf(*at, "%c{\"role\": \"%s\", \"content\": \"", at[0][-1] == '}' ? ',' : ' ', role);
    for (; *text; text++) {
        *at += sprintf(*at, *text == '"' || *text == '\\' || (unsigned char)*text < ' ' ? "\\u%04x" : "%c", *text);
    }
    *at += sprintf(*at, "\"}");
}

static bool on_token(void *answer, int32_t item, int32_t id) /* with every token as it comes; false: it was the last one */
{
    const char *piece;
    size_t size;

    (void)item; /* the only one */
    if (lariat_tokenizer_is_end(tokenizer, id) || lariat_tokenizer_ends_turn(tokenizer, id)) {
        return false;
    }
    held[n_held++] = id;
    need(lariat_stream_put(stream, id, &piece, &size));
    show(answer, piece, size);
    return true;
}

int main(int argc, char **argv)
{
    lariat_engine *engine;
    lariat_session *session;
    lariat_sampler *sampler;
    const char *piece;
    size_t size;
    char *end = talk + sprintf(talk, "[");

    if (argc != 2) {
        fprintf(stderr, "usage: %s MODEL\n", argv[0]);
        return 2;
    }
    need(lariat_tokenizer_open(argv[1], &tokenizer));
    need(lariat_stream_open(tokenizer, false, &stream));
    need(lariat_engine_open(argv[1], &(lariat_options){.context = CONTEXT}, &engine)); /* zeros: automatic */
    need(lariat_session_open(engine, CONTEXT, &session)); /* 0 could give it more positions than `held` has room for */
    need(lariat_sampler_open(&(lariat_sampling){.top_p = 1}, lariat_engine_model(engine)->vocab, &sampler));
    for (int n = 0; n < MESSAGES - 1 && fgets(said[n], LENGTH, stdin); n += 2) {
        int32_t *ids;
        int64_t count, same = 0;

        said[n][strcspn(said[n], "\n")] = 0;
        add(&end, "user", said[n]);
        strcpy(end, "]");
        need(lariat_chat_encode(tokenizer, &(lariat_conversation){.messages = talk}, &ids, &count));
        while (same < lariat_session_length(session) && same < count - 1 && ids[same] == held[same]) {
            same++;
        }
        need(lariat_session_rewind(session, same)); /* the prefix that is there stays */
        lariat_reply reply = {session, ids + same, count - same, sampler, .most = CONTEXT};
        n_held = count < CONTEXT ? count : CONTEXT; /* more is refused */
        memcpy(held, ids, (size_t)n_held * sizeof *held);
        need(lariat_generate(engine, &reply, 1, on_token, said[n + 1]));
        need(lariat_stream_flush(stream, &piece, &size));
        show(said[n + 1], piece, size);
        puts("");
        lariat_free(ids);
        add(&end, "assistant", said[n + 1]);
    }
    lariat_sampler_close(sampler);
    lariat_session_close(session);
    need(lariat_engine_close(engine));
    lariat_stream_close(stream);
    lariat_tokenizer_close(tokenizer);
}
