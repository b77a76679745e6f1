/* lariat template: a conversation in, the prompt out; and the options that it shares with chat.
   Rests on lariat_chat_render. */
#include "cli/prompt_template.h"
#include "cli/commands.h"
#include "cli/input.h"
#include "cli/message.h"
#include "cli/output.h"

#include <ctype.h>
#include <jansson.h>
#include <string.h>

int template_text(const char *name, char **out)
{
    const char *known = name ? lariat_template_by_name(name) : NULL;
    text file = {0};
    *out = NULL;
    if (known) {
        *out = strdup(known);
        TRY_MEMORY(*out, "template");
    } else if (name) {
        TRY(read_text(name, &file));
        *out = file.data;
    }
    return 0;
}

#define NAME_BYTES "_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

/* NAME=JSON into the object. */
static int add_variable(json_t *all, const char *given)
{
    size_t name_size = strspn(given, NAME_BYTES);
    const char *sign = given + name_size;
    json_error_t error;
    if (*sign != '=' || name_size == 0 || isdigit((unsigned char)*given)) {
        return complain_usage("--var: '%s' is no variable, give NAME=JSON", given);
    }
    if (name_size == strlen("messages") && strncmp(given, "messages", name_size) == 0) {
        return complain_usage("--var: the messages are no variable, they are those of --messages or the conversation");
    }
    json_t *value = json_loads(sign + 1, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &error);
    if (!value) {
        return complain_usage("--var: '%s' is not JSON (%s), quote a text: NAME='\"text\"'", sign + 1, error.text);
    }
    char *name = strndup(given, name_size);
    int failed = name ? json_object_set_new(all, name, value) : -1;
    free(name);
    return failed ? complain("--var: '%s' is not UTF-8, or memory is short", given) : 0;
}

int template_variables(const options *o, json_t **out)
{
    json_t *all = *out = json_object();
    int rc = all ? 0 : complain_memory("variables");
    for (int i = 0; rc == 0 && i < o->variables.n; i++) {
        rc = add_variable(all, o->variables.values[i]);
    }
    return rc;
}

/* `name`: of the template's file, or of the model. */
static int print_prompt(const lariat_tokenizer *t, const lariat_conversation *c, const char *name)
{
    char *prompt;
    size_t size;
    TRY(checked(lariat_chat_render(t, c, &prompt, &size)));
    if (size == 0) {
        warn("%s: makes no prompt of this conversation", name);
    }
    int rc = output_bytes(prompt, size);
    lariat_free(prompt);
    return rc ? rc : output_flush();
}

/* The library reads the time; another conversation than the given one would fail by it only. */
static int check_time(const char *now)
{
    char *nothing = NULL;
    size_t size;
    lariat_conversation c = {.chat_template = "", .messages = "[{}]", .now = now};
    lariat_status status = lariat_chat_render(NULL, &c, &nothing, &size);
    lariat_free(nothing);
    return status == LARIAT_OK ? 0 : complain_usage("--now: %s", lariat_error());
}

static int render(const options *o, const lariat_tokenizer *t)
{
    char *source = NULL, *variables;
    json_t *all = NULL;
    text messages = {0};
    int rc = template_text(o->chat_template, &source);
    if (rc == 0 && !source && !lariat_chat_template(t)) {
        rc = complain("%s: has no chat template, give one with --file", o->model);
    }
    rc = rc ? rc : template_variables(o, &all);
    rc = rc ? rc : read_text(o->messages, &messages);
    variables = all ? json_dumps(all, 0) : NULL;
    if (rc == 0) {
        lariat_conversation c = {.chat_template = source,
                                 .messages = messages.data,
                                 .variables = variables,
                                 .now = o->now,
                                 .name = o->chat_template ? input_name(o->chat_template) : NULL,
                                 .messages_name = input_name(o->messages)};
        rc = print_prompt(t, &c, c.name ? c.name : o->model);
    }
    free(source);
    free(variables);
    json_decref(all);
    free(messages.data);
    return rc;
}

int command_template(const options *o)
{
    lariat_tokenizer *t = NULL;
    TRY(o->now ? check_time(o->now) : 0);
    if (o->model) {
        TRY(checked(lariat_tokenizer_open(o->model, &t)));
        warn_of_tokenizer(t);
    }
    int rc = render(o, t);
    lariat_tokenizer_close(t);
    return rc;
}
