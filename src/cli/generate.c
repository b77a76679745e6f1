/* lariat generate: one text continued. A batch is in batch.c.
   Rests on run.h and reply.h. */
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

static int read_input(run *r, token_list *out, const char **input)
{
    const options *o = r->options;
    *out = (token_list){0};
    if (o->tokens) {
        *input = input_name(o->tokens);
        return read_tokens(o->tokens, out);
    }
    text prompt;
    int rc = read_prompt(o, &prompt, input);
    if (rc == 0) {
        rc = prompt_tokens(r, prompt.data, prompt.size, out);
        free(prompt.data);
    }
    return rc;
}

/* Reads the prompt and opens the engine; under --plan that is all. */
static int prepare(run *r, token_list *prompt, const char **input, int64_t *context)
{
    int rc = 0;
    *context = r->options->context;
    if (!r->options->plan || names_input(r->options)) {
        rc = read_input(r, prompt, input);
        rc = rc ? rc : prompt_context(r->options, *input, prompt->n, context);
    } else if (*context == 0) {
        rc = run_default_context(r->options, 0, context);
    }
    return rc ? rc : run_open_engine(r, (slot_wish){.context = *context, .sessions = 1});
}

static int continue_prompt(run *r, const token_list *prompt, int64_t context, const char *input)
{
    int rc = check_tokens(input, prompt, r->model->vocab);
    if (rc) {
        return rc;
    }
    lariat_session *session;
    if (lariat_session_open(r->engine, context, &session) != LARIAT_OK) {
        return complain_library();
    }
    reply answer, *one = &answer;
    rc = reply_open(&answer, r, session, context, true);
    if (rc == 0) {
        reply_begin(&answer, prompt->ids, prompt->n);
        rc = replies_go_on(r, &one, 1);
        rc = rc ? rc : reply_end(&answer);
        reply_explain(&answer);
        rc = rc == 0 && answer.stop == STOP_INTERRUPTED ? EXIT_INTERRUPTED : rc;
    }
    reply_close(&answer);
    run_note_shards(r, session);
    lariat_session_close(session);
    return rc;
}

int command_generate(const options *o)
{
    run r;
    token_list prompt = {0};
    const char *input = "";
    int64_t context;
    bool reads_text = !o->tokens && !o->prompts && (!o->plan || o->prompt || o->file);
    int rc = run_open_tokenizer(&r, o, reads_text);
    if (rc == 0 && o->prompts) {
        rc = generate_batch(&r);
    } else if (rc == 0) {
        rc = prepare(&r, &prompt, &input, &context);
        rc = rc || !r.engine ? rc : continue_prompt(&r, &prompt, context, input);
    }
    lariat_free(prompt.ids);
    return run_close(&r, rc);
}
