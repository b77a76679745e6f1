/* lariat tokenize: text to ids and back.
   Rests on text.h alone: no engine is opened. */
#include "cli/commands.h"
#include "cli/input.h"
#include "cli/message.h"
#include "cli/output.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MOST = 256 };

static int flags_of(const options *o)
{
    return (o->special ? LARIAT_ENCODE_SPECIAL : 0) | (o->bos ? LARIAT_ENCODE_BOS : 0);
}

static int print_ids(const int32_t *ids, int64_t n, const char *open, const char *between, const char *close)
{
    TRY(output_format("%s", open));
    for (int64_t i = 0; i < n; i++) {
        TRY(output_format("%s%d", i ? between : "", ids[i]));
    }
    return output_format("%s\n", close);
}

static int encode(const lariat_tokenizer *t, const options *o, const char *data, size_t size, bool as_json)
{
    int32_t *ids;
    int64_t n;
    TRY(checked(lariat_encode(t, data, size, flags_of(o), &ids, &n)));
    int rc = as_json ? print_ids(ids, n, "[", ",", "]") : print_ids(ids, n, "", " ", "");
    lariat_free(ids);
    return rc;
}

/* Warns of ids outside the vocabulary, which decoding would silently drop. */
static void warn_of_strangers(const lariat_tokenizer *t, const char *input, const token_list *list)
{
    int32_t size = lariat_tokenizer_size(t);
    for (int64_t i = 0; i < list->n; i++) {
        if (list->ids[i] >= size) {
            warn("%s: id %lld of %lld is %d, the tokenizer's end at %d: such ids are no text", input, (long long)i + 1,
                 (long long)list->n, list->ids[i], size - 1);
            return;
        }
    }
}

static int decode(const lariat_tokenizer *t, const options *o, const char *input, const text *from)
{
    token_list list;
    int rc = parse_tokens(input, from, &list);
    char *bytes = NULL;
    size_t size = 0;
    if (rc == 0) {
        warn_of_strangers(t, input, &list);
    }
    if (rc == 0 && lariat_decode(t, list.ids, list.n, o->special, &bytes, &size) != LARIAT_OK) {
        rc = complain_library();
    }
    rc = rc ? rc : output_bytes(bytes, size);
    lariat_free(bytes);
    lariat_free(list.ids);
    return rc;
}

static int encode_line(const lariat_tokenizer *t, const options *o, const char *where, const char *line, size_t size)
{
    json_error_t error;
    json_t *value = json_loadb(line, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (!value) {
        return complain("%s: not JSON: %s, mend the line", where, error.text);
    }
    int rc = json_is_string(value) ? encode(t, o, json_string_value(value), json_string_length(value), true)
                                   : complain("%s: wanted one JSON string a line, put the text in quotes", where);
    json_decref(value);
    return rc;
}

static int encode_stream(const lariat_tokenizer *t, const options *o, const char *input, FILE *lines)
{
    line_buffer line = {0};
    bool more = true;
    int rc = 0;
    for (int64_t number = 1; rc == 0 && more; number++) {
        char where[NAME_MOST];
        snprintf(where, sizeof where, "%s:%lld", input, (long long)number);
        rc = next_line(lines, input, &line, &more);
        rc = rc ? rc : check_zeros(input, line.data, line.size);
        if (rc == 0 && more && !is_blank(line.data, line.size)) {
            rc = encode_line(t, o, where, line.data, line.size);
        }
    }
    free(line.data);
    return rc;
}

static int encode_lines(const lariat_tokenizer *t, const options *o)
{
    if (o->prompt) {
        return encode_line(t, o, "-p", o->prompt, strlen(o->prompt));
    }
    const char *path = o->file ? o->file : "-";
    FILE *lines;
    int rc = open_lines(path, &lines);
    if (rc == 0) {
        rc = encode_stream(t, o, input_name(path), lines);
        close_lines(lines);
    }
    return rc;
}

static int tokenize(const lariat_tokenizer *t, const options *o)
{
    if (o->bos && lariat_tokenizer_bos(t) < 0 && !lariat_tokenizer_adds_bos(t)) {
        return complain("--bos: this tokenizer has no token that begins a text, leave it out");
    }
    if (o->jsonl) {
        return encode_lines(t, o);
    }
    text from;
    const char *input;
    int rc = read_prompt(o, &from, &input);
    if (rc == 0) {
        rc = o->decode ? decode(t, o, input, &from) : encode(t, o, from.data, from.size, false);
        free(from.data);
    }
    return rc;
}

int command_tokenize(const options *o)
{
    lariat_tokenizer *t;
    TRY(checked(lariat_tokenizer_open(o->model, &t)));
    warn_of_tokenizer(t);
    if (o->verbose) {
        fprintf(stderr, "vocabulary %d, begins with %d%s\n", lariat_tokenizer_size(t), lariat_tokenizer_bos(t),
                lariat_tokenizer_adds_bos(t) ? ", put there by itself" : "");
    }
    int rc = tokenize(t, o);
    rc = rc ? rc : output_flush();
    lariat_tokenizer_close(t);
    return rc;
}
