/* Reading the lines of a batch: Lariat's own form, and OpenAI's.
   Rests on jansson and schedule/request.h. See batch_entry.h. */
#include "cli/batch_entry.h"
#include "cli/message.h"
#include "cli/prompt.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

bool entry_refuse(entry *e, const char *format, ...)
{
    va_list list;

    if (!e->error) {
        va_start(list, format);
        e->error = vasprintf(&e->error, format, list) < 0 ? strdup("no memory") : e->error;
        va_end(list);
    }
    return false;
}

bool entry_lacks_memory(entry *e, const char *why)
{
    e->no_memory = e->no_memory || !e->error;
    return entry_refuse(e, "%s", why);
}

void entry_free(entry *e)
{
    json_decref(e->id);
    json_decref(e->others);
    json_decref(e->kept);
    json_decref(e->model);
    json_decref(e->choices);
    json_decref(e->result);
    free(e->error);
    request_free(&e->asked);
    lariat_free(e->prompt.ids);
    *e = (entry){0};
}

void entry_forget(entry *e)
{
    char *error = e->error;

    e->error = NULL;
    entry_free(e);
    e->error = error;
}

/* A member of an object; NULL: it is absent, or null, which is the same. */
static json_t *member(const json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);

    return json_is_null(value) ? NULL : value;
}

/* --- prompts --- */

static bool read_ids(entry *e, const char *name, const json_t *list)
{
    size_t n = json_array_size(list);

    e->prompt.ids = malloc((n ? n : 1) * sizeof *e->prompt.ids);
    if (!e->prompt.ids) {
        return entry_lacks_memory(e, "no memory");
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_array_get(list, i);
        json_int_t value = json_integer_value(id);
        if (!json_is_integer(id) || value < 0 || value > INT32_MAX) {
            return entry_refuse(e, "\"%s\" holds something that is not a token id at place %zu, give whole numbers", name,
                                i + 1);
        }
        e->prompt.ids[e->prompt.n++] = (int32_t)value;
    }
    return true;
}

static bool read_text_prompt(const invocation *inv, entry *e, const json_t *prompt)
{
    if (!json_is_string(prompt)) {
        return entry_refuse(e, "\"prompt\" is not text, put it in quotes");
    }
    if (!inv->tokenizer) {
        return entry_refuse(e, "\"prompt\": %s; without it only \"tokens\" can be used", inv->no_tokenizer);
    }
    lariat_status status = prompt_encode(inv, json_string_value(prompt), json_string_length(prompt), &e->prompt);
    return status == LARIAT_OK || entry_refuse(e, "\"prompt\": %s", lariat_error());
}

/* The template's variables of a conversation: chat_template_kwargs, as vLLM and llama.cpp call them, and tools. NULL:
   refused. */
static json_t *read_variables(entry *e, const json_t *object)
{
    json_t *given = member(object, "chat_template_kwargs"), *tools = member(object, "tools");
    json_t *all = given ? json_copy(given) : json_object();

    if (!all || (tools && json_object_set(all, "tools", tools) != 0)) {
        entry_lacks_memory(e, "no memory");
        json_decref(all);
        return NULL;
    }
    return all;
}

/* Are the template's variables of their types, and each given once, and is there a template to see them? */
static bool check_variables(entry *e, const json_t *object, const json_t *messages)
{
    const json_t *given = member(object, "chat_template_kwargs"), *tools = member(object, "tools");
    bool asks = json_object_size(given) > 0, asks_tools = json_array_size(tools) > 0;

    if (given && !json_is_object(given)) {
        return entry_refuse(e, "\"chat_template_kwargs\" is not an object of the template's variables");
    }
    if (tools && !json_is_array(tools)) {
        return entry_refuse(e, "\"tools\" is not a list of tools, give one or leave it out");
    }
    if (json_object_get(given, "messages")) {
        return entry_refuse(e, "\"chat_template_kwargs\": the messages are no variable, give them as \"messages\" of the line");
    }
    if (tools && json_object_get(given, "tools")) {
        return entry_refuse(e, "\"tools\" is in \"chat_template_kwargs\" too, leave one out");
    }
    return messages || !(asks || asks_tools) ||
           entry_refuse(e, "\"%s\" goes with \"messages\", leave it out", asks ? "chat_template_kwargs" : "tools");
}

static bool read_messages(const invocation *inv, entry *e, const json_t *object, const json_t *messages)
{
    if (!inv->tokenizer) {
        return entry_refuse(e, "\"messages\": %s; without it only \"tokens\" can be used", inv->no_tokenizer);
    }
    if (!lariat_chat_template(inv->tokenizer)) {
        return entry_refuse(e, "the model has no chat template, give \"prompt\" or \"tokens\" instead of \"messages\"");
    }
    if (!json_is_array(messages) || json_array_size(messages) == 0) {
        return entry_refuse(e, "\"messages\" is no list of messages, give at least one");
    }
    json_t *all = read_variables(e, object);
    char *texts[2] = {json_dumps(messages, JSON_ENCODE_ANY), all ? json_dumps(all, 0) : NULL};
    lariat_conversation c = {.messages = texts[0], .variables = texts[1]};
    bool read = all != NULL;
    if (read && !(texts[0] && texts[1])) {
        read = entry_lacks_memory(e, "no memory");
    }
    if (read && lariat_chat_encode(inv->tokenizer, &c, &e->prompt.ids, &e->prompt.n) != LARIAT_OK) {
        e->prompt = (token_list){0};
        read = entry_refuse(e, "\"messages\": %s", lariat_error());
    }
    if (read) {
        e->turn_end = lariat_chat_end(inv->tokenizer, NULL, texts[1]);
    }
    free(texts[0]);
    free(texts[1]);
    json_decref(all);
    return read;
}

static bool read_prompt_of(const invocation *inv, entry *e, const json_t *object)
{
    const json_t *prompt = member(object, "prompt"), *tokens = member(object, "tokens"), *messages = member(object, "messages");

    if (e->form != FORM_LINE && (tokens || (prompt != NULL) + (messages != NULL) != 1)) {
        return entry_refuse(e, "wanted a \"body\" with one of \"prompt\", a text or ids, and \"messages\", give it one");
    }
    if ((prompt != NULL) + (tokens != NULL) + (messages != NULL) != 1) {
        return entry_refuse(e, "wanted an object with one of \"prompt\", \"tokens\" and \"messages\", give it one of them");
    }
    if (messages ? e->form == FORM_COMPLETION : e->form == FORM_CHAT) {
        return entry_refuse(e, "\"url\" is for \"%s\", give that", messages ? "prompt" : "messages");
    }
    if (!check_variables(e, object, messages)) {
        return false;
    }
    if (messages) {
        return read_messages(inv, e, object, messages);
    }
    if (tokens) {
        return json_is_array(tokens) ? read_ids(e, "tokens", tokens)
                                     : entry_refuse(e, "\"tokens\" is not a list of ids, write it as [1, 2]");
    }
    return e->form == FORM_COMPLETION && json_is_array(prompt) ? read_ids(e, "prompt", prompt)
                                                              : read_text_prompt(inv, e, prompt);
}

/* --- the request --- */

static bool read_asked(const invocation *inv, int64_t index, entry *e, const json_t *object)
{
    char why[REQUEST_WHY];

    if (!request_copy(&e->asked, &inv->defaults)) {
        return entry_lacks_memory(e, "no memory");
    }
    e->asked.sampling.seed = lariat_seed_of(inv->defaults.sampling.seed, (uint64_t)index);
    if (object && !request_read(&e->asked, object, why)) {
        return entry_refuse(e, "%s", why);
    }
    e->bounded = e->asked.most != REQUEST_UNBOUNDED;
    e->asked.most = e->bounded ? e->asked.most : BATCH_TOKENS;
    return !e->asked.n_stops || inv->tokenizer ||
           entry_refuse(e, "\"stop\": %s; without it no text ends a reply", inv->no_tokenizer);
}

/* The positions of a session: -c at most. */
static bool find_context(const options *o, entry *e)
{
    int64_t n = e->prompt.n, all = n + e->asked.most;

    if (n == 0) {
        return entry_refuse(e, "no tokens to go on from, give some text");
    }
    e->context = o->context && o->context < all ? o->context : all;
    if (n > e->context) {
        return entry_refuse(e, "the prompt has %lld tokens, the context %lld: ask for more with -c or give less", (long long)n,
                            (long long)e->context);
    }
    return e->context <= LARIAT_CONTEXT_MAX ||
           entry_refuse(e, "%lld tokens after a prompt of %lld are more than the %d positions of any context, ask for fewer",
                        (long long)e->asked.most, (long long)n, LARIAT_CONTEXT_MAX);
}

/* --- keys --- */

static bool is_one_of(const char *key, const char *const names[])
{
    int i = 0;

    while (names[i] && strcmp(names[i], key) != 0) {
        i++;
    }
    return names[i] != NULL;
}

/* Keys of the line itself, and those that results have. */
static const char *const line_keys[] = {"id",   "prompt", "tokens", "messages", "tools", "chat_template_kwargs",
                                        "text", "index",  "error",  "choices",  NULL};
static const char *const batch_keys[] = {"id", "custom_id", "method", "url", "body", "response", "error", NULL};
static const char *const body_keys[] = {"prompt", "messages", "tools", "chat_template_kwargs", NULL};

static void copy_others(entry *e, json_t *root)
{
    const char *key;
    json_t *value;

    e->others = json_object();
    json_object_foreach(root, key, value) {
        bool known = is_one_of(key, e->form == FORM_LINE ? line_keys : batch_keys);
        if (!known && (e->form != FORM_LINE || request_knows(key) != REQUEST_READ)) {
            json_object_set(e->others, key, value);
        }
    }
}

static void copy_body(entry *e, json_t *body)
{
    const char *key;
    json_t *value;

    e->kept = json_object();
    json_object_foreach(body, key, value) {
        if (!json_is_null(value) && request_knows(key) != REQUEST_READ && !is_one_of(key, body_keys)) {
            json_object_set(e->kept, key, value);
        }
    }
    value = json_object_get(body, "model");
    e->model = json_is_string(value) ? json_incref(value) : NULL;
}

/* --- a line --- */

/* OpenAI's form: *object is its body. */
static bool read_batch_form(entry *e, json_t *root, json_t **object)
{
    json_t *id = member(root, "custom_id"), *body = member(root, "body");
    const json_t *given = member(root, "url");
    const char *url = json_string_value(given);

    e->form = member(body, "messages") ? FORM_CHAT : FORM_COMPLETION;
    json_decref(e->id);
    e->id = id ? json_incref(id) : json_null();
    if (url) {
        e->form = strcmp(url, "/v1/chat/completions") == 0 ? FORM_CHAT : FORM_COMPLETION;
    }
    copy_others(e, root);
    if (!json_is_string(id) || !json_is_object(body)) {
        return entry_refuse(e, "wanted \"custom_id\", a text, and \"body\", an object: give both");
    }
    if (given && !url) {
        return entry_refuse(e, "\"url\" is not text, put it in quotes");
    }
    if (url && e->form == FORM_COMPLETION && strcmp(url, "/v1/completions") != 0) {
        return entry_refuse(e, "\"url\" is neither /v1/completions nor /v1/chat/completions");
    }
    *object = body;
    copy_body(e, body);
    return true;
}

static bool read_line_form(entry *e, json_t *root)
{
    json_t *id = member(root, "id");

    if (!json_is_object(root)) {
        return entry_refuse(e, "wanted an object with one of \"prompt\", \"tokens\" and \"messages\", give it one of them");
    }
    copy_others(e, root);
    if (id && !json_is_string(id) && !json_is_number(id)) {
        return entry_refuse(e, "\"id\" is neither text nor a number, make it one or leave it out");
    }
    if (id) {
        json_decref(e->id);
        e->id = json_incref(id);
    }
    return true;
}

/* Is it OpenAI's form? Beside a prompt of Lariat's form custom_id, and a body that is no object, are keys like others. */
static bool is_batch_form(const json_t *root)
{
    bool has_prompt = member(root, "prompt") || member(root, "tokens") || member(root, "messages");

    return json_is_object(member(root, "body")) || (member(root, "custom_id") && !has_prompt);
}

static bool read_root(const invocation *inv, int64_t index, entry *e, json_t *root)
{
    json_t *object = root;
    bool read = is_batch_form(root) ? read_batch_form(e, root, &object) : read_line_form(e, root);

    return read && read_asked(inv, index, e, object) && read_prompt_of(inv, e, object) && find_context(inv->options, e);
}

int entry_read(const invocation *inv, int64_t index, const char *data, size_t size, entry *e)
{
    json_error_t error;
    json_t *root = json_loadb(data, size, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);

    e->id = json_integer(e->line);
    e->turn_end = -1;
    request_init(&e->asked);
    if (root) {
        (void)read_root(inv, index, e, root);
    } else {
        entry_refuse(e, "not JSON: %s, mend the line", error.text);
    }
    json_decref(root);
    TRY_MEMORY(e->id, "batch");
    return 0;
}

int entry_of_prompt(const invocation *inv, token_list prompt, entry *e)
{
    *e = (entry){.form = FORM_SAMPLES, .line = 1, .id = json_integer(1), .turn_end = -1, .prompt = prompt};
    if (read_asked(inv, 0, e, NULL)) {
        e->asked.sampling.seed = inv->defaults.sampling.seed;
        (void)find_context(inv->options, e);
    }
    TRY_MEMORY(e->id, "prompt");
    return 0;
}
