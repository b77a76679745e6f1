/* A conversation as text and as ids: reads messages and variables, renders, and hands the result to chat_ids.c.
   Rests on jinja/jinja.h. Read on in chat_ids.c. */
#include "text/chat_template.h"

#include "base/json.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>

/* A conversation while it is rendered. */
typedef struct chat {
    const char *source;
    json_t *messages, *variables;
    struct tm now;
    jinja_output rendered;
} chat;

const char *lariat_template_by_name(const char *name)
{
    for (const named_template *n = named_templates; n->name; n++) {
        if (strcmp(n->name, name) == 0) {
            return n->source;
        }
    }
    return NULL;
}

const char *lariat_chat_template(const lariat_tokenizer *t)
{
    return t->v.chat_template;
}

/* --- messages --- */

/* A JSON string, with U+FFFD in place of bytes that are not UTF-8. NULL: no memory. */
static json_t *lossy_string(const char *text, size_t size)
{
    buffer clean = {0};
    bool made = utf8_append_lossy(&clean, text, size) == LARIAT_OK;
    json_t *string = made ? json_stringn_nocheck(clean.data ? clean.data : "", clean.size) : NULL;

    buffer_free(&clean);
    return string;
}

static lariat_status read_json(const char *what, const char *text, bool list, json_t **out)
{
    json_error_t error;

    *out = json_loads(text, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &error);
    if (!*out) {
        return fail(LARIAT_BAD_ARGUMENT, "%s: line %d is not JSON: %s", what, error.line, error.text);
    }
    if (list && json_is_array(json_object_get(*out, "messages"))) { /* as a request to a server has it */
        return fail(LARIAT_BAD_ARGUMENT, "%s: an object, wanted a list of messages: give the value of its \"messages\" alone",
                    what);
    }
    if (list ? !json_is_array(*out) : !json_is_object(*out)) {
        return fail(LARIAT_BAD_ARGUMENT, "%s: no JSON %s", what, list ? "list" : "object");
    }
    return LARIAT_OK;
}

/* Appends a message, which may be NULL: no memory, and is freed. */
static lariat_status append_message(char **messages, json_t *message)
{
    json_t *list = NULL;
    lariat_status status = read_json("messages", *messages ? *messages : "[]", true, &list);
    bool added = json_array_append_new(list, message) == 0; /* without a list it frees the message, too */
    char *text = added ? json_dumps(list, JSON_COMPACT) : NULL;

    json_decref(list);
    NEXT(status, text ? LARIAT_OK : fail(LARIAT_NO_MEMORY, "chat: no memory for a message" FREE_MEMORY));
    if (status == LARIAT_OK) {
        free(*messages);
        *messages = text;
        return LARIAT_OK;
    }
    free(text);
    return status;
}

lariat_status lariat_message_add(char **messages, const char *role, const char *content, size_t size)
{
    return append_message(messages, json_pack("{s:o, s:o}", "role", lossy_string(role, strlen(role)), "content",
                                              lossy_string(content, size)));
}

lariat_status lariat_message_add_reply(char **messages, const lariat_tokenizer *t, const int32_t *ids, int64_t n)
{
    json_t *list = json_array();
    bool listed = list != NULL;
    char *content;
    size_t size;

    for (int64_t i = 0; i < n && listed; i++) {
        listed = json_array_append_new(list, json_integer(ids[i])) == 0;
    }
    lariat_status status = listed ? LARIAT_OK : fail(LARIAT_NO_MEMORY, "chat: no memory for the ids of a reply" FREE_MEMORY);
    NEXT(status, lariat_decode(t, ids, n, false, &content, &size));
    if (status != LARIAT_OK) {
        json_decref(list);
        return status;
    }
    json_t *message = json_pack("{s:s, s:o, s:o}", "role", "assistant", "content", lossy_string(content, size), "ids", list);
    free(content);
    return append_message(messages, message);
}

/* --- reading and rendering --- */

/* "2026-11-27T12:34:56", or with a blank in place of T. */
static lariat_status read_time(const char *text, struct tm *out)
{
    const char *end = strptime(text, "%Y-%m-%d", out);

    end = end && (*end == 'T' || *end == ' ') ? strptime(end + 1, "%H:%M:%S", out) : end;
    struct tm real = *out;
    (void)timegm(&real); /* a day that is not in the calendar becomes another */
    if (!end || *end || real.tm_mday != out->tm_mday || real.tm_hour != out->tm_hour || real.tm_sec != out->tm_sec) {
        return fail(LARIAT_BAD_ARGUMENT, "\"%.40s\" is no time: write it like 2026-11-27T12:34:56", text);
    }
    return LARIAT_OK;
}

static void chat_close(chat *c)
{
    json_decref(c->messages);
    json_decref(c->variables);
    jinja_output_free(&c->rendered);
}

static lariat_status read_conversation(const lariat_tokenizer *t, const lariat_conversation *given, chat *c)
{
    c->source = given->chat_template ? given->chat_template : t ? t->v.chat_template : NULL;
    if (!c->source) {
        return fail(LARIAT_UNSUPPORTED, "the model has no chat template: name one");
    }
    const char *name = given->messages_name ? given->messages_name : "messages";
    TRY(read_json(name, given->messages, true, &c->messages));
    if (given->variables) {
        TRY(read_json("variables", given->variables, false, &c->variables));
    }
    if (json_array_size(c->messages) == 0) {
        return fail(LARIAT_BAD_ARGUMENT, "%s: no messages, a conversation has at least one", name);
    }
    return given->now ? read_time(given->now, &c->now) : LARIAT_OK;
}

static const char *token_text(const lariat_tokenizer *t, int32_t id)
{
    return t && id >= 0 ? t->v.tokens[id].text : NULL;
}

static const char *template_name(const lariat_tokenizer *t, const lariat_conversation *given)
{
    return given->name ? given->name : given->chat_template || !t ? "template" : t->v.template_name;
}

/* Close it also after a failure. */
static lariat_status chat_render(const lariat_tokenizer *t, const lariat_conversation *given, chat *c)
{
    *c = (chat){0};
    TRY(read_conversation(t, given, c));
    jinja_input in = {.source = c->source,
                      .size = strlen(c->source),
                      .messages = c->messages,
                      .variables = c->variables,
                      .bos = token_text(t, t ? t->v.bos : -1),
                      .eos = token_text(t, t ? t->v.eos : -1),
                      .now = given->now ? &c->now : NULL};
    lariat_status status = jinja_render(&in, &c->rendered);
    return status == LARIAT_OK ? status : fail_within(status, "%s", template_name(t, given));
}

lariat_status lariat_chat_encode(const lariat_tokenizer *t, const lariat_conversation *given, int32_t **ids, int64_t *n)
{
    chat c;
    lariat_status status = chat_render(t, given, &c);

    NEXT(status, chat_ids(t, c.source, &c.rendered, c.messages, ids, n));
    chat_close(&c);
    return status;
}

lariat_status lariat_chat_render(const lariat_tokenizer *t, const lariat_conversation *given, char **text, size_t *size)
{
    chat c;
    lariat_status status = chat_render(t, given, &c);

    if (status == LARIAT_OK) {
        *text = c.rendered.text.data;
        *size = c.rendered.text.size;
        c.rendered.text = (buffer){0};
    }
    chat_close(&c);
    return status;
}

/* The variables of a rendering that ends with the reply; NULL where they are no JSON object. */
static char *without_prompt(const char *variables)
{
    json_t *all = variables ? json_loads(variables, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, NULL) : json_object();
    bool set = all && json_object_set_new(all, "add_generation_prompt", json_false()) == 0;
    char *text = set ? json_dumps(all, 0) : NULL;

    json_decref(all);
    return text;
}

int32_t lariat_chat_end(const lariat_tokenizer *t, const char *chat_template, const char *variables)
{
    char *own = without_prompt(variables);
    lariat_conversation asked = {.chat_template = chat_template,
                                 .messages = "[{\"role\": \"user\", \"content\": \"a\"},"
                                             " {\"role\": \"assistant\", \"content\": \"b\", \"ids\": []}]",
                                 .variables = own};
    chat c = {0};
    int32_t end = own && chat_render(t, &asked, &c) == LARIAT_OK ? chat_end_of_reply(t, c.source, &c.rendered) : -1;

    chat_close(&c);
    free(own);
    return end;
}
