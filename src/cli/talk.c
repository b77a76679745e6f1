/* Turns of a conversation. Each turn encodes the whole conversation, keeps the session's common prefix, and prefills the
   rest: usually the end of turn and the user's message.
   Rests on lariat_chat_encode and lariat_session_rewind. */
#include "cli/talk.h"
#include "cli/json_text.h"
#include "cli/message.h"
#include "cli/prompt_template.h"

#include <stdlib.h>
#include <string.h>

/* Adds a message. */
static int add_message(talk *t, const char *role, json_t *content)
{
    json_t *message = content ? json_pack("{s:s, s:o}", "role", role, "content", content) : NULL;
    TRY_MEMORY(message && json_array_append_new(t->messages, message) == 0, "conversation");
    return 0;
}

static size_t message_count(const talk *t)
{
    return json_array_size(t->messages);
}

static void drop_message(talk *t)
{
    json_array_remove(t->messages, message_count(t) - 1);
}

void talk_reset(talk *t)
{
    size_t kept = t->inv->options->system ? 1 : 0;
    while (message_count(t) > kept) {
        drop_message(t);
    }
}

int talk_open(talk *t, invocation *inv, int64_t capacity, const char *document)
{
    const options *o = inv->options;
    *t = (talk){.inv = inv, .capacity = capacity, .messages = json_array()};
    TRY(template_text(o->chat_template, &t->chat_template));
    TRY(template_variables(o, &t->variables));
    if (!t->chat_template && !lariat_chat_template(inv->tokenizer)) {
        return complain("%s: has no chat template, choose one with --template", o->model);
    }
    t->held = malloc((size_t)capacity * sizeof *t->held);
    t->document = document ? strdup(document) : NULL;
    if (!t->messages || !t->held || (document && !t->document)) {
        return complain_memory("conversation");
    }
    if (o->system) {
        TRY(add_message(t, "system", json_from_text(o->system)));
    }
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
    json_decref(t->messages);
    free(t->chat_template);
    json_decref(t->variables);
    free(t->document);
    free(t->held);
    *t = (talk){0};
}

/* Adds the user's message, after the document if it is the first. */
static int add_user(talk *t, const char *line)
{
    bool first = message_count(t) == (t->inv->options->system ? 1 : 0);
    char *content = NULL;
    int n = first && t->document ? asprintf(&content, "%s\n\n%s", t->document, line) : asprintf(&content, "%s", line);
    TRY_MEMORY(n >= 0, "conversation");
    int rc = add_message(t, "user", json_from_text(content));
    free(content);
    return rc;
}

/* Encodes the conversation and rewinds the session to the *common first ids. At least one id is left. */
static int encode(talk *t, bool for_answer, int32_t **ids, int64_t *n, int64_t *common)
{
    json_t *asked = json_copy(t->variables);
    if (!for_answer) {
        json_object_set_new(asked, "add_generation_prompt", json_false());
    }
    char *messages = json_dumps(t->messages, 0), *variables = json_dumps(asked, 0);
    lariat_conversation c = {.chat_template = t->chat_template,
                             .messages = messages,
                             .variables = variables,
                             .name = t->inv->options->chat_template};
    int rc = messages && variables ? checked(lariat_chat_encode(t->inv->tokenizer, &c, ids, n))
                                   : complain_memory("conversation");
    free(messages);
    free(variables);
    json_decref(asked);
    if (rc) {
        *ids = NULL;
        return rc;
    }
    int64_t same = 0;
    while (same < t->n_held && same < *n - 1 && t->held[same] == (*ids)[same]) {
        same++;
    }
    *common = same;
    return 0;
}

static int rewind_to(talk *t, int64_t length)
{
    TRY(checked(lariat_session_rewind(t->session, length)));
    t->n_held = length;
    return 0;
}

/* Records the ids by which the session has grown. */
static void hold(talk *t, const int32_t *ids, int64_t n)
{
    int64_t grown = lariat_session_length(t->session) - t->n_held;
    n = grown < n ? grown : n;
    if (n > 0) {
        memcpy(t->held + t->n_held, ids, (size_t)n * sizeof *ids);
        t->n_held += n;
    }
}

int talk_read_document(talk *t, const char *name)
{
    int32_t *ids;
    int64_t n = 0, common = 0;
    bool cancelled = false;
    TRY(add_user(t, ""));
    int rc = encode(t, false, &ids, &n, &common);
    drop_message(t);
    if (rc == 0 && n >= t->capacity) {
        rc = complain("%s: the document has %lld tokens, the context %lld: ask for more with -c or give less", name,
                      (long long)n, (long long)t->capacity);
    }
    rc = rc ? rc : rewind_to(t, common);
    if (rc == 0) {
        lariat_work item = {.session = t->session, .tokens = ids + common, .count = n - common};
        progress_begin(&t->inv->progress, "reading", n - common);
        rc = invocation_step(t->inv, &item, 1, &cancelled);
        progress_end(&t->inv->progress);
        hold(t, ids + common, n - common);
    }
    lariat_free(ids);
    return rc ? rc : cancelled ? EXIT_INTERRUPTED : 0;
}

/* The answer keeps its ids: its text as other ids would have to be read again. One that was cut before a text has none. */
static int add_answer(talk *t)
{
    const reply *r = &t->answer;
    json_t *ids = json_array();
    for (int64_t i = 0; i < r->n; i++) {
        json_array_append_new(ids, json_integer(r->ids[i]));
    }
    int rc = add_message(t, "assistant", json_from_bytes(r->size ? r->text : "", r->size));
    if (rc == 0 && r->stop != STOP_TEXT) {
        json_object_set(json_array_get(t->messages, message_count(t) - 1), "ids", ids);
    }
    json_decref(ids);
    return rc;
}

static int answer(talk *t, const int32_t *ids, int64_t n, int64_t common)
{
    TRY(rewind_to(t, common));
    t->inv->figures.first_s = 0;
    reply_begin(&t->answer, ids, n, common);
    int rc = reply_go_on(&t->answer);
    rc = rc ? rc : reply_end(&t->answer);
    if (rc) {
        return rc;
    }
    hold(t, ids + common, n - common);
    hold(t, t->answer.ids, t->answer.n);
    if (t->n_held < n) { /* Ctrl-C during prefill: the turn is dropped */
        drop_message(t);
        return 0;
    }
    reply_explain(&t->answer);
    return add_answer(t);
}

/* Removes the last message: it does not fit. */
static int refuse_turn(talk *t, int64_t n, bool goes_on)
{
    static const char why[] = "context: with this the talk has %lld tokens and the context %lld, so it was not said; -c makes "
                              "room for more";
    drop_message(t);
    if (!goes_on) {
        return complain(why, (long long)n, (long long)t->capacity);
    }
    warn(why, (long long)n, (long long)t->capacity);
    return 0;
}

int talk_turn(talk *t, const char *line, bool goes_on)
{
    int32_t *ids;
    int64_t n = 0, common = 0;
    TRY(add_user(t, line));
    int rc = encode(t, true, &ids, &n, &common);
    if (rc == 0 && n == 0) {
        rc = complain("%s: makes no prompt of this conversation, choose another template with --template",
                      t->inv->options->chat_template ? t->inv->options->chat_template : t->inv->options->model);
    } else if (rc == 0 && n > t->capacity) {
        rc = refuse_turn(t, n, goes_on);
    } else if (rc == 0) {
        rc = answer(t, ids, n, common);
    }
    lariat_free(ids);
    return rc;
}
