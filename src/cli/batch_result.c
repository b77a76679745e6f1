/* The results of a batch's entries: Lariat's lines, and OpenAI's.
   Rests on jansson. See batch_entry.h. */
#include "cli/batch_entry.h"
#include "cli/json_text.h"
#include "cli/message.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NO_MEMORY_CODE "server_error"
#define REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD */

/* --- log-probabilities --- */

static json_t *number(float x)
{
    return json_real((double)x);
}

/* The text of a token, and its bytes, as OpenAI's clients want both; NULL: it is part of a character, whose bytes decoding does
   not give. Without a tokenizer the id is its text. */
static json_t *token_text(const reply *r, int32_t id, json_t **bytes)
{
    char *shown = NULL;
    size_t size = 0;

    *bytes = NULL;
    if (!r->inv->tokenizer) {
        return json_sprintf("%d", id);
    }
    if (lariat_decode(r->inv->tokenizer, &id, 1, true, &shown, &size) != LARIAT_OK) {
        return json_null();
    }
    *bytes = strstr(shown, REPLACEMENT) ? NULL : json_array();
    for (size_t i = 0; *bytes && i < size; i++) {
        json_array_append_new(*bytes, json_integer((unsigned char)shown[i]));
    }
    json_t *result = json_from_bytes(shown, size);
    lariat_free(shown);
    return result;
}

/* A token and its log-probability. */
static json_t *one_logprob(const reply *r, const lariat_top *t, bool as_text)
{
    json_t *bytes;

    if (!as_text) {
        return json_pack("{s:i, s:o?}", "token", t->token, "logprob", number(t->logprob));
    }
    json_t *shown = token_text(r, t->token, &bytes);
    return json_pack("{s:o?, s:o?, s:o?}", "token", shown, "logprob", number(t->logprob), "bytes", bytes ? bytes : json_null());
}

/* A list of tokens, each with the most probable ones in its place. */
static json_t *list_logprobs(const reply *r, bool as_text)
{
    json_t *list = json_array();

    for (int64_t i = 0; i < r->n; i++) {
        const lariat_top *at = reply_tops(r, i);
        json_t *one = one_logprob(r, &at[0], as_text), *top = json_array();
        for (int32_t k = 1; k <= r->asked->logprobs; k++) {
            json_array_append_new(top, one_logprob(r, &at[k], as_text));
        }
        json_object_set_new(one, as_text ? "top_logprobs" : "top", top);
        json_array_append_new(list, one);
    }
    return list;
}

/* As OpenAI's completions have them: lists side by side. */
static json_t *completion_logprobs(const reply *r)
{
    json_t *tokens = json_array(), *values = json_array(), *tops = json_array();

    for (int64_t i = 0; i < r->n; i++) {
        const lariat_top *at = reply_tops(r, i);
        json_t *top = json_object();
        for (int32_t k = 0; k <= r->asked->logprobs; k++) {
            json_t *bytes, *shown = token_text(r, at[k].token, &bytes);
            json_decref(bytes);
            if (k == 0) {
                json_array_append(tokens, shown);
                json_array_append_new(values, number(at[k].logprob));
            } else if (json_is_string(shown)) {
                json_object_set_new(top, json_string_value(shown), number(at[k].logprob));
            }
            json_decref(shown);
        }
        json_array_append_new(tops, top);
    }
    return json_pack("{s:o?, s:o?, s:o?}", "tokens", tokens, "token_logprobs", values, "top_logprobs", tops);
}

/* --- replies --- */

static json_t *reply_ids(const reply *r)
{
    json_t *list = json_array();

    for (int64_t i = 0; i < r->n; i++) {
        json_array_append_new(list, json_integer(r->ids[i]));
    }
    return list;
}

static json_t *reply_words(const reply *r)
{
    return r->inv->tokenizer ? json_from_bytes(r->text ? r->text : "", r->size) : json_null();
}

static json_t *line_choice(const reply *r)
{
    json_t *choice = json_pack("{s:o?, s:o?, s:s}", "text", reply_words(r), "tokens", reply_ids(r), "stop", stop_name(r->stop));

    if (choice && r->asked->logprobs != REQUEST_NO_LOGPROBS) {
        json_object_set_new(choice, "logprobs", list_logprobs(r, false));
    }
    return choice;
}

static json_t *openai_choice(const entry *e, const reply *r, int32_t sample)
{
    bool wanted = r->asked->logprobs != REQUEST_NO_LOGPROBS;
    const char *why = r->stop == STOP_END || r->stop == STOP_TEXT ? "stop" : "length";
    json_t *logprobs = json_null();

    if (e->form == FORM_COMPLETION) {
        logprobs = wanted ? completion_logprobs(r) : logprobs;
        return json_pack("{s:i, s:o?, s:o?, s:s}", "index", sample, "text", reply_words(r), "logprobs", logprobs,
                         "finish_reason", why);
    }
    logprobs = wanted ? json_pack("{s:o?}", "content", list_logprobs(r, true)) : logprobs;
    return json_pack("{s:i, s:{s:s, s:o?}, s:o?, s:s}", "index", sample, "message", "role", "assistant", "content",
                     reply_words(r), "logprobs", logprobs, "finish_reason", why);
}

int entry_add(entry *e, const reply *r, int32_t sample)
{
    bool openai = e->form == FORM_COMPLETION || e->form == FORM_CHAT;
    json_t *choice = openai ? openai_choice(e, r, sample) : line_choice(r);

    e->choices = e->choices ? e->choices : json_array();
    while (choice && (int32_t)json_array_size(e->choices) <= sample && json_array_append_new(e->choices, json_null()) == 0) {
    }
    if (!choice || json_array_set(e->choices, (size_t)sample, choice) != 0) {
        json_decref(choice);
        return EXIT_FAILURE;
    }
    if (e->form == FORM_SAMPLES || (e->form == FORM_LINE && e->asked.samples > 1)) {
        json_object_set_new(choice, "index", json_integer(sample));
    }
    json_decref(choice);
    e->made += r->n;
    e->interrupted = e->interrupted || r->stop == STOP_INTERRUPTED;
    return 0;
}

/* --- results --- */

/* Keys of an object behind those that are there. */
static void append_keys(json_t *to, json_t *from)
{
    if (from) {
        json_object_update(to, from);
    }
}

static json_t *line_result(entry *e)
{
    json_t *result = json_pack("{s:O}", "id", e->id);

    append_keys(result, e->others);
    if (e->error) {
        json_object_set_new(result, "error", json_from_text(e->error));
        if (e->no_memory) {
            json_object_set_new(result, "code", json_string(NO_MEMORY_CODE));
        }
    } else if (e->asked.samples > 1) {
        json_object_set(result, "choices", e->choices);
    } else {
        append_keys(result, json_array_get(e->choices, 0));
    }
    return result;
}

static json_t *openai_body(const invocation *inv, const entry *e)
{
    bool chat = e->form == FORM_CHAT;
    char id[48];

    snprintf(id, sizeof id, "%s-%lld", chat ? "chatcmpl" : "cmpl", (long long)e->line);
    json_t *body = json_pack("{s:s, s:s, s:I, s:o?, s:O, s:{s:I, s:I, s:I}}", "id", id, "object",
                     chat ? "chat.completion" : "text_completion", "created", (json_int_t)time(NULL), "model",
                     e->model ? json_incref(e->model) : json_from_text(inv->model->path), "choices", e->choices, "usage",
                     "prompt_tokens", (json_int_t)e->prompt.n, "completion_tokens", (json_int_t)e->made, "total_tokens",
                     (json_int_t)(e->prompt.n + e->made));
    if (body && e->kept) {
        json_object_update_missing(body, e->kept);
    }
    return body;
}

static json_t *openai_result(const invocation *inv, const entry *e)
{
    char id[48];
    json_t *response = json_null(), *error = json_null();

    snprintf(id, sizeof id, "batch_req_%lld", (long long)e->line);
    if (e->error) {
        error = json_pack("{s:s, s:o?}", "code", e->no_memory ? NO_MEMORY_CODE : "invalid_request_error", "message",
                          json_from_text(e->error));
    } else if (e->interrupted) { /* no finish_reason says so, and half a reply must not pass for a whole one */
        error = json_pack("{s:s, s:s}", "code", "interrupted", "message", "the run was interrupted, give the line again");
    } else {
        response = json_pack("{s:i, s:s, s:o?}", "status_code", 200, "request_id", id, "body", openai_body(inv, e));
    }
    json_t *result = json_pack("{s:s, s:O, s:o?, s:o?}", "id", id, "custom_id", e->id, "response", response, "error", error);
    append_keys(result, e->others);
    return result;
}

int entry_finish(const invocation *inv, entry *e)
{
    e->interrupted = e->interrupted || (!e->error && e->ended < e->asked.samples);
    for (size_t i = json_array_size(e->choices); i-- > 0;) { /* after Ctrl-C some are missing */
        if (json_is_null(json_array_get(e->choices, i))) {
            json_array_remove(e->choices, i);
        }
    }
    if (e->form == FORM_SAMPLES && !e->error) {
        e->result = json_incref(e->choices);
    } else {
        e->result = e->form == FORM_COMPLETION || e->form == FORM_CHAT ? openai_result(inv, e) : line_result(e);
    }
    TRY_MEMORY(e->result, "result");
    return 0;
}

found_result entry_find(const entry *e, const json_t *line)
{
    const json_t *error = json_object_get(line, "error");
    bool openai = e->form == FORM_COMPLETION || e->form == FORM_CHAT, failed = error && !json_is_null(error);
    const char *code = json_string_value(json_object_get(openai ? error : line, "code"));
    bool is = openai ? json_equal(json_object_get(line, "custom_id"), e->id) && json_object_get(line, "response")
                     : json_equal(json_object_get(line, "id"), e->id) &&
                           (failed || json_is_array(json_object_get(line, "tokens")) ||
                            json_is_array(json_object_get(line, "choices")));

    return !is                                         ? FOUND_OTHER
           : !failed                                   ? FOUND_REPLIES
           : code && strcmp(code, NO_MEMORY_CODE) == 0 ? FOUND_NO_MEMORY
                                                       : FOUND_ERROR;
}
