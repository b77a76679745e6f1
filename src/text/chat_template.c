/* Chat templates: recognised by characteristic words, rendered like their Jinja programs, except that contents cannot become
   markers.
   Rests on encode.h. Read on in encode.c. */
#include "text/encode.h"

#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* --- recognising --- */

/* The Jinja string literal that begins at `text` and ends before `end`, with escapes resolved. False: it does not end there. */
static bool literal_until(const char *text, const char *end, buffer *out, lariat_status *status)
{
    size_t n = strlen(end);

    for (; *text && *status == LARIAT_OK; text++) {
        char c = *text;
        if (strncmp(text, end, n) == 0) {
            *status = buffer_terminate(out);
            return true;
        }
        if (c == '\'' || c == '"') {
            return false;
        }
        if (c == '\\' && text[1]) {
            text++;
            c = *text == 'n' ? '\n' : *text == 't' ? '\t' : *text;
        }
        *status = buffer_append(out, &c, 1);
    }
    return false;
}

/* The default system message of a ChatML template. */
static lariat_status find_default_system(vocabulary *v, const char **out)
{
    static const char opening[] = "<|im_start|>system";
    lariat_status status = LARIAT_OK;
    buffer text = { 0 };

    *out = NULL;
    for (const char *at = v->chat_template; !*out && status == LARIAT_OK && (at = strstr(at, opening)) != NULL;) {
        at += strlen(opening);
        at += *at == '\n' ? 1 : strncmp(at, "\\n", 2) == 0 ? 2 : 0;
        text.size = 0;
        if (literal_until(at, "<|im_end|>", &text, &status)) {
            status = vocabulary_text(v, text.data, text.size, out);
        }
    }
    buffer_free(&text);
    return status;
}

/* The default date of a template: {% set date_string = "26 Jul 2024" %}. */
static lariat_status find_date(vocabulary *v, const char **out)
{
    static const char opening[] = "set date_string = \"";
    const char *at = strstr(v->chat_template, opening), *end;

    at = at ? at + strlen(opening) : "26 Jul 2024\"";
    end = strchr(at, '"');
    return vocabulary_text(v, at, end ? (size_t)(end - at) : strlen(at), out);
}

lariat_status chat_recognize(vocabulary *v, chat_style *out)
{
    /* Words of templates with further processing: removing thoughts from answers, rewriting messages. */
    static const char *const foreign[] = { "think", "reasoning", "thought", "macro", "namespace(", "selectattr" };
    const char *text = v->chat_template;

    *out = (chat_style){ .family = LARIAT_TEMPLATE_AUTO };
    for (size_t i = 0; text && i < sizeof foreign / sizeof *foreign; i++) {
        text = strstr(text, foreign[i]) ? NULL : text;
    }
    if (!text) {
        return LARIAT_OK;
    }
    out->begins = strstr(text, "bos_token") || strstr(text, "<|begin_of_text|>");
    out->trims = strstr(text, "trim") || strstr(text, "strip()");
    if (strstr(text, "[INST]") && strstr(text, "<<SYS>>")) {
        out->family = LARIAT_TEMPLATE_LLAMA2;
    } else if (strstr(text, "<|start_header_id|>") && strstr(text, "<|eot_id|>")) {
        out->family = LARIAT_TEMPLATE_LLAMA3;
        if (strstr(text, "Cutting Knowledge Date: December 2023")) {
            TRY(find_date(v, &out->date));
            out->today = strstr(text, "strftime_now") != NULL;
        }
    } else if (strstr(text, "<|im_start|>") && strstr(text, "<|im_end|>")) {
        out->family = LARIAT_TEMPLATE_CHATML;
        TRY(find_default_system(v, &out->default_system));
    }
    return LARIAT_OK;
}

lariat_status lariat_chat_template(const lariat_tokenizer *t, lariat_template *out)
{
    if (!t->v.chat_template) {
        return fail(LARIAT_UNSUPPORTED, "chat: the model has no chat template: choose one with --template");
    }
    if (t->chat.family == LARIAT_TEMPLATE_AUTO) {
        return fail(
            LARIAT_UNSUPPORTED,
            "chat: the model's template is none of llama2, llama3, chatml: choose one with --template; it begins: %.160s",
            t->v.chat_template);
    }
    *out = t->chat.family;
    return LARIAT_OK;
}

/* --- a conversation as markers and text --- */

/* The output of rendering: text, or ids. */
typedef struct chat {
    const lariat_tokenizer *t;
    chat_style style;
    buffer text;      /* all text; for ids, the text since the last marker */
    encoder *encoder; /* NULL: output is text */
} chat;

static lariat_status put_text(chat *c, const char *text, size_t size)
{
    return buffer_append(&c->text, text, size);
}

static lariat_status put(chat *c, const char *text)
{
    return put_text(c, text, strlen(text));
}

static lariat_status flush(chat *c)
{
    if (c->encoder) {
        TRY(encoder_text(c->encoder, c->text.data, c->text.size));
        c->text.size = 0;
    }
    return LARIAT_OK;
}

static lariat_status put_id(chat *c, int32_t id, const char *name)
{
    const vocabulary *v = &c->t->v;

    if (id < 0) {
        return fail(LARIAT_UNSUPPORTED,
                    "chat: the tokenizer has no token %s, which this template needs: choose another with --template", name);
    }
    if (c->encoder) {
        TRY(flush(c));
        return encoder_id(c->encoder, id);
    }
    return put_text(c, v->tokens[id].text, v->tokens[id].size);
}

static lariat_status put_marker(chat *c, const char *name)
{
    return put_id(c, vocabulary_added(&c->t->v, name), name);
}

/* Does Python's strip() remove the character? */
static bool is_stripped(int32_t code)
{
    return utf8_is_white_space(code) || (code >= 0x1C && code <= 0x1F);
}

static void strip_right(const char *text, size_t *size)
{
    int length;

    while (*size) {
        size_t back = *size - 1;
        while (back && ((unsigned char)text[back] & 0xC0) == 0x80) {
            back--;
        }
        if (!is_stripped(utf8_decode(text + back, *size - back, &length)) || back + (size_t)length != *size) {
            return;
        }
        *size = back;
    }
}

static lariat_status put_stripped(chat *c, const char *text)
{
    size_t size = strlen(text);
    int length;

    while (size && is_stripped(utf8_decode(text, size, &length))) {
        text += length;
        size -= (size_t)length;
    }
    strip_right(text, &size);
    return put_text(c, text, size);
}

static lariat_status put_content(chat *c, const char *text)
{
    return c->style.trims ? put_stripped(c, text) : put(c, text);
}

static bool is_role(const lariat_message *m, const char *role)
{
    return strcmp(m->role, role) == 0;
}

static lariat_status put_llama2(chat *c, const lariat_message messages[], int32_t n)
{
    int32_t first = is_role(&messages[0], "system") ? 1 : 0;

    for (int32_t i = first; i < n; i++) {
        bool user = (i - first) % 2 == 0;
        if (!is_role(&messages[i], user ? "user" : "assistant")) {
            return fail(
                LARIAT_BAD_ARGUMENT,
                "chat: message %d is by %s: with template llama2 user and assistant take turns, say it in another order", i,
                messages[i].role);
        }
        if (!user) {
            TRY(put(c, " "));
            TRY(put_content(c, messages[i].content));
            TRY(put(c, " "));
            TRY(put_id(c, c->t->v.eos, "that ends a text"));
            continue;
        }
        TRY(put_id(c, c->t->v.bos, "that begins a text"));
        TRY(put(c, "[INST] "));
        if (i == 1 && first == 1) {
            /* System message and question are stripped as one. */
            size_t size = strlen(messages[i].content);
            if (c->style.trims) {
                strip_right(messages[i].content, &size);
            }
            TRY(put(c, "<<SYS>>\n"));
            TRY(put(c, messages[0].content));
            TRY(put(c, size || !c->style.trims ? "\n<</SYS>>\n\n" : "\n<</SYS>>"));
            TRY(put_text(c, messages[i].content, size));
        } else {
            TRY(put_content(c, messages[i].content));
        }
        TRY(put(c, " [/INST]"));
    }
    return LARIAT_OK;
}

static lariat_status put_llama3_header(chat *c, const char *role)
{
    TRY(put_marker(c, "<|start_header_id|>"));
    TRY(put(c, role));
    TRY(put_marker(c, "<|end_header_id|>"));
    return put(c, "\n\n");
}

/* "26 Jul 2024", in English whatever the locale. */
static lariat_status put_today(chat *c)
{
    static const char months[][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
    time_t now = time(NULL);
    struct tm day = { .tm_mday = 1 };
    char text[16];

    localtime_r(&now, &day);
    strftime(text, sizeof text, "%d ", &day);
    TRY(put(c, text));
    TRY(put(c, months[day.tm_mon]));
    strftime(text, sizeof text, " %Y", &day);
    return put(c, text);
}

static lariat_status put_llama3(chat *c, const lariat_message messages[], int32_t n, bool reply)
{
    bool system = is_role(&messages[0], "system");
    const char *date = c->style.date;
    int32_t i = 0;

    if (c->style.begins) {
        TRY(put_id(c, c->t->v.bos, "that begins a text"));
    }
    if (date) {
        TRY(put_llama3_header(c, "system"));
        TRY(put(c, "Cutting Knowledge Date: December 2023\nToday Date: "));
        TRY(c->style.today ? put_today(c) : put(c, date));
        TRY(put(c, "\n\n"));
        if (system) {
            TRY(put_content(c, messages[i++].content));
        }
        TRY(put_marker(c, "<|eot_id|>"));
    }
    for (; i < n; i++) {
        TRY(put_llama3_header(c, messages[i].role));
        TRY(put_content(c, messages[i].content));
        TRY(put_marker(c, "<|eot_id|>"));
    }
    return reply ? put_llama3_header(c, "assistant") : LARIAT_OK;
}

static lariat_status put_chatml_turn(chat *c, const char *role, const char *content)
{
    TRY(put_marker(c, "<|im_start|>"));
    TRY(put(c, role));
    TRY(put(c, "\n"));
    TRY(put_content(c, content));
    TRY(put_marker(c, "<|im_end|>"));
    return put(c, "\n");
}

static lariat_status put_chatml(chat *c, const lariat_message messages[], int32_t n, bool reply)
{
    if (c->style.begins) {
        TRY(put_id(c, c->t->v.bos, "that begins a text"));
    }
    if (c->style.default_system && !is_role(&messages[0], "system")) {
        TRY(put_chatml_turn(c, "system", c->style.default_system));
    }
    for (int32_t i = 0; i < n; i++) {
        TRY(put_chatml_turn(c, messages[i].role, messages[i].content));
    }
    if (reply) {
        TRY(put_marker(c, "<|im_start|>"));
        TRY(put(c, "assistant\n"));
    }
    return LARIAT_OK;
}

static lariat_status put_conversation(chat *c, lariat_template which, const lariat_message messages[], int32_t n, bool reply)
{
    if (which == LARIAT_TEMPLATE_AUTO) {
        TRY(lariat_chat_template(c->t, &which));
    }
    /* The model's own style if it is of the requested family; otherwise the family's first published one. */
    c->style =
        (chat_style){.family = which, .begins = which != LARIAT_TEMPLATE_CHATML, .trims = which != LARIAT_TEMPLATE_CHATML};
    if (which == c->t->chat.family) {
        c->style = c->t->chat;
    }
    if (n <= 0) {
        return fail(LARIAT_BAD_ARGUMENT, "chat: a conversation without messages: give at least one");
    }
    for (int32_t i = 0; i < n; i++) {
        if (!is_role(&messages[i], "system") && !is_role(&messages[i], "user") && !is_role(&messages[i], "assistant")) {
            return fail(LARIAT_BAD_ARGUMENT,
                        "chat: message %d is by \"%.64s\": system, user and assistant are known, use one of them", i,
                        messages[i].role);
        }
    }
    switch (which) {
    case LARIAT_TEMPLATE_LLAMA2:
        TRY(put_llama2(c, messages, n));
        break;
    case LARIAT_TEMPLATE_LLAMA3:
        TRY(put_llama3(c, messages, n, reply));
        break;
    default:
        TRY(put_chatml(c, messages, n, reply));
    }
    return flush(c);
}

lariat_status lariat_chat_encode(const lariat_tokenizer *t, lariat_template which, const lariat_message messages[], int32_t n,
                                 bool reply, int32_t **ids, int64_t *n_ids)
{
    encoder e;
    chat c = { .t = t, .encoder = &e };
    lariat_status status = encoder_open(&e, t, 0);

    NEXT(status, put_conversation(&c, which, messages, n, reply));
    NEXT(status, encoder_take(&e, ids, n_ids));
    encoder_close(&e);
    buffer_free(&c.text);
    return status;
}

lariat_status lariat_chat_render(const lariat_tokenizer *t, lariat_template which, const lariat_message messages[], int32_t n,
                                 bool reply, char **text, size_t *size)
{
    chat c = { .t = t };
    lariat_status status = put_conversation(&c, which, messages, n, reply);

    NEXT(status, buffer_terminate(&c.text));
    if (status != LARIAT_OK) {
        buffer_free(&c.text);
        return status;
    }
    *text = c.text.data;
    *size = c.text.size;
    return LARIAT_OK;
}
