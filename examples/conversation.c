/* A chat: a question a line from standard input, answers as they are made. What the session holds of it is not read again.
       cc conversation.c -o chat $(pkg-config --cflags --libs lariat) && echo "Why is the sky blue?" | ./chat MODEL */
#include <lariat/lariat.h>
#include <lariat/text.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static lariat_tokenizer *tokenizer;
static lariat_stream *stream; /* ids in, whole characters out */

static void need(lariat_status status)
{
    if (status != LARIAT_OK) {
        fprintf(stderr, "chat: %s\n", ferror(stdout) ? "cannot write the answer" : lariat_error());
        exit(1);
    }
}

static bool on_token(void *user, int32_t item, int32_t id) /* with each token as it is made; false: the answer is complete */
{
    bool ends = lariat_tokenizer_is_end(tokenizer, id) || lariat_tokenizer_ends_turn(tokenizer, id);
    const char *piece;
    size_t size;

    (void)user, (void)item;
    need(ends ? lariat_stream_flush(stream, &piece, &size) : lariat_stream_put(stream, id, &piece, &size));
    need(fwrite(piece, 1, size, stdout) == size && fflush(stdout) == 0 ? LARIAT_OK : LARIAT_IO);
    return !ends;
}

int main(int argc, char **argv)
{
    const char *model = argc > 1 ? argv[1] : "MODEL"; /* which the message about it names */
    char line[1 << 15], *messages = NULL;             /* the conversation so far, as JSON */
    lariat_engine *engine;
    lariat_session *session;
    lariat_sampler *sampler;
    int32_t *prompt;
    int64_t n, length;

    need(lariat_tokenizer_open(model, &tokenizer));
    need(lariat_stream_open(tokenizer, false, &stream));
    need(lariat_engine_open(model, &(lariat_options){.context = 4096}, &engine)); /* zeros: automatic */
    need(lariat_session_open(engine, 0, &session));
    need(lariat_sampler_open(&(lariat_sampling){.top_p = 1}, lariat_engine_model(engine)->vocab, &sampler));
    while (fgets(line, sizeof line, stdin)) {
        need(lariat_message_add(&messages, "user", line, strcspn(line, "\n")));
        need(lariat_chat_encode(tokenizer, &(lariat_conversation){.messages = messages}, &prompt, &n));
        int64_t kept = lariat_session_reuse(session, prompt, n); /* from the turns before; the rest is read: */
        lariat_reply reply = {session, prompt + kept, n - kept, sampler, .most = INT64_MAX};
        need(lariat_generate(engine, &reply, 1, on_token, NULL));
        need(puts("") == EOF || fflush(stdout) != 0 ? LARIAT_IO : LARIAT_OK);
        const int32_t *tokens = lariat_session_tokens(session, &length); /* the prompt's and the answer's */
        need(lariat_message_add_reply(&messages, tokenizer, tokens + n, length - n));
        lariat_free(prompt);
    }
} /* the end of the program closes everything; continue_text.c has the calls for it */
