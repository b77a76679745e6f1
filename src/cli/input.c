/* Reading texts, ids and lines.
   Rests on stdio. Read on in invocation.c. */
#include "cli/input.h"
#include "cli/message.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A text of 1 GiB is about 250 million tokens, more than any context: certainly the wrong file. */
static const size_t most_bytes = (size_t)1 << 30;
enum { FIRST_BYTES = 65536, FIRST_IDS = 1024, SHOWN = 24 };
enum { SIGNATURE = 4 }; /* JSON of UTF-16 or UTF-32 has a zero among its first 4 bytes (RFC 4627, section 3) */

const char *input_name(const char *path)
{
    return strcmp(path, "-") == 0 ? "standard input" : path;
}

int open_lines(const char *path, FILE **out)
{
    *out = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    return *out ? 0 : complain("%s: cannot open: %s, check the path and its permissions", path, strerror(errno));
}

void close_lines(FILE *lines)
{
    if (lines && lines != stdin) {
        fclose(lines);
    }
}

size_t bom_size(const char *data, size_t size)
{
    static const char bom[] = "\xEF\xBB\xBF"; /* U+FEFF */
    size_t length = sizeof bom - 1;
    return size >= length && memcmp(data, bom, length) == 0 ? length : 0;
}

/* Detects UTF-16 and UTF-32, the default of some editors; check_zeros finds them without a byte-order mark. */
static const char *wide_encoding(const char *data, size_t size)
{
    if (size >= 4 && (memcmp(data, "\xFF\xFE\0\0", 4) == 0 || memcmp(data, "\0\0\xFE\xFF", 4) == 0)) {
        return "UTF-32";
    }
    return size >= 2 && (memcmp(data, "\xFF\xFE", 2) == 0 || memcmp(data, "\xFE\xFF", 2) == 0) ? "UTF-16" : NULL;
}

static int check_encoding(const char *input, const char *data, size_t size)
{
    const char *wide = wide_encoding(data, size);
    return wide ? complain("%s: is %s, convert it to UTF-8 first (iconv -f %s -t UTF-8)", input, wide, wide) : 0;
}

int check_zeros(const char *input, const char *data, size_t size)
{
    return memchr(data, 0, size) ? complain("%s: holds zero bytes, so it is not a text, convert it to text first", input) : 0;
}

int check_text(const char *input, const char *data, size_t size)
{
    int rc = check_encoding(input, data, size);
    return rc ? rc : check_zeros(input, data, size);
}

/* Not getline: it allocates without bound until a newline, and does not report why it failed. */
int next_line(FILE *lines, const char *input, line_buffer *line, bool *more)
{
    int c = 0;
    *more = false;
    for (line->size = 0; c != '\n'; line->data[line->size++] = (char)c) {
        if (line->size == line->room) {
            size_t room = line->room ? line->room * 2 : FIRST_BYTES;
            char *grown = line->size < most_bytes ? realloc(line->data, room) : NULL;
            if (!grown) {
                return line->size < most_bytes ? complain_memory(input)
                                               : complain("%s: a line longer than 1 GiB, give shorter ones", input);
            }
            line->data = grown;
            line->room = room;
        }
        c = getc_unlocked(lines);
        if (c == EOF) {
            break;
        }
    }
    if (ferror(lines)) {
        return complain("%s: cannot read: %s, name a file with text", input, strerror(errno));
    }
    *more = line->size > 0;
    if (line->begun) {
        return 0;
    }
    line->begun = true;
    size_t bom = bom_size(line->data, line->size);
    line->size -= bom;
    memmove(line->data, line->data + bom, line->size);
    TRY(check_encoding(input, line->data, line->size));
    return check_zeros(input, line->data, line->size < SIGNATURE ? line->size : SIGNATURE);
}

/* Keeps `data`, without a byte-order mark, as *out. */
static int keep_text(const char *path, char *data, size_t size, text *out)
{
    size_t bom = bom_size(data, size);
    int rc = check_text(input_name(path), data, size);
    if (rc) {
        free(data);
        return rc;
    }
    memmove(data, data + bom, size - bom);
    data[size - bom] = 0;
    *out = (text){data, size - bom};
    return 0;
}

static int read_stream(FILE *file, const char *path, text *out)
{
    size_t room = FIRST_BYTES, size = 0;
    char *data = malloc(room + 1);
    while (data) {
        size += fread(data + size, 1, room - size, file);
        if (size < room) {
            break;
        }
        if (room >= most_bytes) {
            free(data);
            return complain("%s: longer than 1 GiB, which no context holds, give a shorter text", input_name(path));
        }
        room *= 2;
        char *more = realloc(data, room + 1);
        if (!more) {
            free(data);
        }
        data = more;
    }
    TRY_MEMORY(data, input_name(path));
    if (ferror(file)) {
        free(data);
        return complain("%s: cannot read: %s, name a file with text", input_name(path), strerror(errno));
    }
    return keep_text(path, data, size, out);
}

int read_text(const char *path, text *out)
{
    *out = (text){0};
    FILE *file;
    int rc = open_lines(path, &file);
    if (rc == 0) {
        rc = read_stream(file, path, out);
        close_lines(file);
    }
    return rc;
}

int read_prompt(const options *o, text *out, const char **input)
{
    *out = (text){0};
    if (o->prompt) {
        *input = "-p";
        out->data = strdup(o->prompt);
        out->size = strlen(o->prompt);
        return out->data ? 0 : complain_memory("-p");
    }
    if (!o->file && isatty(STDIN_FILENO)) {
        *input = "standard input";
        return complain_usage("%s: no text, give one with -p or -f (-f - reads what you type)",
                              command_texts[o->command].name);
    }
    *input = input_name(o->file ? o->file : "-");
    return read_text(o->file ? o->file : "-", out);
}

static bool is_separator(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == ',' || c == '\v' || c == '\f';
}

bool is_blank(const char *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (data[i] == ',' || !is_separator(data[i])) {
            return false;
        }
    }
    return true;
}

/* Parses the number at data[*at] and advances *at; -1: none, or out of int32. */
static int64_t take_number(const text *from, size_t *at)
{
    int64_t value = 0;
    size_t i = *at;
    while (i < from->size && !is_separator(from->data[i])) {
        char c = from->data[i++];
        value = c < '0' || c > '9' || value < 0 ? -1 : value * 10 + (c - '0');
        value = value > INT32_MAX ? -1 : value;
    }
    *at = i;
    return value;
}

static bool make_room(token_list *list, int64_t *room)
{
    if (list->n < *room) {
        return true;
    }
    int64_t wanted = *room ? *room * 2 : FIRST_IDS;
    int32_t *ids = realloc(list->ids, (size_t)wanted * sizeof *ids);
    if (ids) {
        list->ids = ids;
        *room = wanted;
    }
    return ids != NULL;
}

int parse_tokens(const char *input, const text *from, token_list *out)
{
    *out = (token_list){0};
    token_list list = {0};
    int64_t room = 0;
    for (size_t at = 0;;) {
        int commas = 0;
        for (; at < from->size && is_separator(from->data[at]); at++) {
            commas += from->data[at] == ',' && commas < 2;
        }
        if (commas > 1) {
            free(list.ids);
            return complain("%s: number %lld is missing between two commas, write it or leave one of them out", input,
                            (long long)list.n + 1);
        }
        if (at >= from->size) {
            break;
        }
        size_t begin = at;
        int64_t id = take_number(from, &at);
        if (id < 0) {
            free(list.ids);
            int shown = (int)(at - begin < SHOWN ? at - begin : SHOWN);
            return complain("%s: number %lld ('%.*s') is not a token id, give whole numbers separated by white space or commas",
                            input, (long long)list.n + 1, shown, from->data + begin);
        }
        if (!make_room(&list, &room)) {
            free(list.ids);
            return complain_memory(input);
        }
        list.ids[list.n++] = (int32_t)id;
    }
    *out = list;
    return 0;
}

int read_tokens(const char *path, token_list *out)
{
    *out = (token_list){0};
    text from;
    int rc = read_text(path, &from);
    if (rc == 0) {
        rc = parse_tokens(input_name(path), &from, out);
        free(from.data);
    }
    return rc;
}

int64_t find_unknown(const token_list *list, int32_t vocab)
{
    int64_t i = 0;
    while (i < list->n && list->ids[i] >= 0 && list->ids[i] < vocab) {
        i++;
    }
    return i < list->n ? i : -1;
}

int check_tokens(const char *input, const token_list *list, int32_t vocab)
{
    int64_t i = find_unknown(list, vocab);
    return i < 0 ? 0
                 : complain("%s: id %lld of %lld is %d, the model's vocabulary ends at %d, use ids of this model's tokenizer",
                            input, (long long)i + 1, (long long)list->n, list->ids[i], vocab - 1);
}
