/* lariat generate: one text continued. A batch is in batch.c.
   Rests on invocation.h and reply.h. */
#include "cli/batch.h"
#include "cli/commands.h"
#include "cli/message.h"
#include "cli/prompt.h"
#include "cli/reply.h"

#include <stdlib.h>

static bool names_input(const options *o)
{
    return o->prompt || o->file || o->tokens;
}

/* Are replies printed as lines of JSON? */
static bool names_lines(const options *o)
{
    return o->samples > 1 || o->logprobs != REQUEST_NO_LOGPROBS;
}

static int read_input(invocation *inv, token_list *out, const char **input)
{
    const options *o = inv->options;
    *out = (token_list){0};
    if (o->tokens) {
        *input = input_name(o->tokens);
        return read_tokens(o->tokens, out);
    }
    text prompt;
    int rc = read_prompt(o, &prompt, input);
    if (rc == 0) {
        rc = prompt_tokens(inv, prompt.data, prompt.size, out);
        free(prompt.data);
    }
    return rc;
}

/* Reads the prompt and opens the engine; under --plan that is all. */
static int prepare(invocation *inv, token_list *prompt, const char **input, int64_t *context)
{
    int rc = 0;
    *context = inv->options->context;
    if (!inv->options->plan || names_input(inv->options)) {
        rc = read_input(inv, prompt, input);
        rc = rc ? rc : prompt_context(inv->options, *input, prompt->n, context);
    } else if (*context == 0) {
        rc = invocation_default_context(inv->options, 0, context);
    }
    return rc ? rc : invocation_open_engine(inv, (slot_wish){.context = *context, .sessions = 1});
}

/* A session, and its reply to the prompt. After a failure nothing is open. */
static int begin_reply(invocation *inv, const token_list *prompt, int64_t context, const char *input, reply *out)
{
    TRY(check_tokens(input, prompt, inv->model->vocab));
    lariat_session *session;
    TRY(checked(lariat_session_open(inv->engine, context, &session)));
    int rc = checked(reply_open(out, inv, &inv->defaults, 0, session, context, true));
    if (rc) {
        reply_close(out);
        lariat_session_close(session);
        return rc;
    }
    reply_begin(out, prompt->ids, prompt->n, 0);
    return 0;
}

static int finish_reply(invocation *inv, reply *r, int rc)
{
    lariat_session *session = r->session;
    rc = rc ? rc : reply_end(r);
    reply_explain(r);
    rc = rc == 0 && r->stop == STOP_INTERRUPTED ? EXIT_INTERRUPTED : rc;
    reply_close(r);
    invocation_note_shards(inv, session);
    lariat_session_close(session);
    return rc;
}

int command_generate(const options *o)
{
    invocation inv;
    token_list prompt = {0};
    const char *input = "";
    int64_t context;
    reply answer;
    bool reads_text = !o->tokens && !o->prompts && (!o->plan || o->prompt || o->file);
    int rc = invocation_open_tokenizer(&inv, o, reads_text);
    if (rc == 0 && o->prompts) {
        rc = generate_batch(&inv);
    } else if (rc == 0 && names_lines(o) && (!o->plan || names_input(o))) {
        rc = read_input(&inv, &prompt, &input);
        rc = rc ? rc : generate_samples(&inv, &prompt, input);
    } else if (rc == 0) {
        rc = prepare(&inv, &prompt, &input, &context);
        bool opened = rc == 0 && inv.engine;
        rc = opened ? begin_reply(&inv, &prompt, context, input, &answer) : rc;
        if (opened && rc == 0) {
            rc = finish_reply(&inv, &answer, reply_go_on(&answer));
        }
    }
    lariat_free(prompt.ids);
    return invocation_close(&inv, rc);
}
