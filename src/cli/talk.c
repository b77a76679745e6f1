/* Turns of a conversation. Each turn encodes the whole conversation, keeps the session's common prefix, and prefills the
   rest: usually the end of turn and the user's message.
   Rests on lariat_message_add, lariat_chat_encode and lariat_session_reuse. */
#include "cli/talk.h"
#include "cli/message.h"
#include "cli/prompt_template.h"

#include <stdlib.h>
#include <string.h>

void talk_reset(talk *t)
{
    lariat_free(t->messages);
    t->messages = NULL;
}

int talk_open(talk *t, invocation *inv, int64_t capacity, const char *document)
{
    const options *o = inv->options;
    *t = (talk){.inv = inv, .capacity = capacity};
    TRY(template_text(o->chat_template, &t->chat_template));
    TRY(template_variables(o, &t->variables));
    if (!t->chat_template && !lariat_chat_template(inv->tokenizer)) {
        return complain("%s: has no chat template, choose one with --template", o->model);
    }
    t->document = document ? strdup(document) : NULL;
    TRY_MEMORY(t->document || !document, "conversation");
    TRY(checked(lariat_session_open(inv->engine, capacity, &t->session)));
    int rc = checked(reply_open(&t->answer, inv, &inv->defaults, 0, t->session, capacity, true));
    char *variables = json_dumps(t->variables, 0);
    t->answer.turn_end = lariat_chat_end(inv->tokenizer, t->chat_template, variables);
    free(variables);
    return rc;
}

void talk_close(talk *t)
{
    if (t->session) {
        invocation_note_shards(t->inv, t->session);
        lariat_session_close(t->session);
    }
    reply_close(&t->answer);
    lariat_free(t->messages);
    free(t->chat_template);
    json_decref(t->variables);
    free(t->document);
    *t = (talk){0};
}

static int add_message(char **messages, const char *role, const char *content)
{
    return checked(lariat_message_add(messages, role, content, strlen(content)));
}

/* The conversation and the user's next message; before the first one, the system message and the document. */
static int add_user(const talk *t, const char *line, char **messages)
{
    const char *system = t->inv->options->system;
    char *content = NULL;
    *messages = NULL;
    if (t->messages) {
        *messages = strdup(t->messages);
        TRY_MEMORY(*messages, "conversation");
        return add_message(messages, "user", line);
    }
    TRY(system ? add_message(messages, "system", system) : 0);
    TRY_MEMORY(asprintf(&content, "%s%s%s", t->document ? t->document : "", t->document ? "\n\n" : "", line) >= 0,
               "conversation");
    int rc = add_message(messages, "user", content);
    free(content);
    return rc;
}

static int encode(const talk *t, const char *messages, bool for_answer, int32_t **ids, int64_t *n)
{
    json_t *asked = json_copy(t->variables);
    if (!for_answer) {
        json_object_set_new(asked, "add_generation_prompt", json_false());
    }
    char *variables = json_dumps(asked, 0);
    lariat_conversation c = {.chat_template = t->chat_template,
                             .messages = messages,
                             .variables = variables,
                             .name = t->inv->options->chat_template};
    int rc = variables ? checked(lariat_chat_encode(t->inv->tokenizer, &c, ids, n)) : complain_memory("conversation");
    free(variables);
    json_decref(asked);
    return rc;
}

/* Prefills what the session does not hold yet. */
static int read_ids(talk *t, const int32_t *ids, int64_t n)
{
    int64_t kept = lariat_session_reuse(t->session, ids, n);
    lariat_work item = {.session = t->session, .tokens = ids + kept, .count = n - kept};
    bool cancelled = false;
    progress_begin(&t->inv->progress, "reading", n - kept);
    int rc = invocation_step(t->inv, &item, 1, &cancelled);
    progress_end(&t->inv->progress);
    return rc ? rc : cancelled ? EXIT_INTERRUPTED : 0;
}

int talk_read_document(talk *t, const char *name)
{
    char *messages = NULL;
    int32_t *ids = NULL;
    int64_t n = 0;
    int rc = add_user(t, "", &messages);
    rc = rc ? rc : encode(t, messages, false, &ids, &n);
    if (rc == 0 && n >= t->capacity) {
        rc = complain("%s: the document has %lld tokens, the context %lld: ask for more with -c or give less", name,
                      (long long)n, (long long)t->capacity);
    }
    rc = rc ? rc : read_ids(t, ids, n);
    lariat_free(messages);
    lariat_free(ids);
    return rc;
}

/* The answer keeps its ids: its text as other ids would have to be read again. One that was cut before a text has none. */
static int add_answer(const talk *t, char **messages)
{
    const reply *r = &t->answer;
    return checked(r->stop == STOP_TEXT ? lariat_message_add(messages, "assistant", r->size ? r->text : "", r->size)
                                        : lariat_message_add_reply(messages, t->inv->tokenizer, r->ids, r->n));
}

/* Answers a conversation, which the talk then has, with the answer; or, if Ctrl-C came during prefill, has not. */
static int answer(talk *t, char **messages, const int32_t *ids, int64_t n)
{
    t->inv->figures.first_s = 0;
    reply_begin(&t->answer, ids, n, lariat_session_reuse(t->session, ids, n));
    int rc = reply_go_on(&t->answer);
    rc = rc ? rc : reply_end(&t->answer);
    if (rc || lariat_session_length(t->session) < n) {
        return rc;
    }
    reply_explain(&t->answer);
    TRY(add_answer(t, messages));
    talk_reset(t);
    t->messages = *messages;
    *messages = NULL;
    return 0;
}

/* The conversation does not fit with its last message. */
static int refuse_turn(const talk *t, int64_t n, bool goes_on)
{
    static const char why[] = "context: with this the talk has %lld tokens and the context %lld, so it was not said; -c makes "
                              "room for more";
    if (!goes_on) {
        return complain(why, (long long)n, (long long)t->capacity);
    }
    warn(why, (long long)n, (long long)t->capacity);
    return 0;
}

int talk_turn(talk *t, const char *line, bool goes_on)
{
    char *messages = NULL;
    int32_t *ids = NULL;
    int64_t n = 0;
    int rc = add_user(t, line, &messages);
    rc = rc ? rc : encode(t, messages, true, &ids, &n);
    if (rc == 0 && n == 0) {
        rc = complain("%s: makes no prompt of this conversation, choose another template with --template",
                      t->inv->options->chat_template ? t->inv->options->chat_template : t->inv->options->model);
    } else if (rc == 0 && n > t->capacity) {
        rc = refuse_turn(t, n, goes_on);
    } else if (rc == 0) {
        rc = answer(t, &messages, ids, n);
    }
    lariat_free(messages);
    lariat_free(ids);
    return rc;
}
