/* The inputs of a run: texts, token ids, lines.
   Rests on stdio and text.h. */
#pragma once

#include "cli/options.h"
#include "lariat/text.h"

#include <stdio.h>

/* Bytes in memory without zeros, terminated. */
typedef struct text {
    char *data;
    size_t size;
} text;

/* Reads a whole text; "-" is standard input. A byte-order mark is skipped; anything but UTF-8 text is refused. */
int read_text(const char *path, text *out);

/* The text of -p, -f or standard input; *input names the source in messages. A terminal as standard input is refused. */
int read_prompt(const options *o, text *out, const char **input);

/* Token ids, from lariat_encode or a file. */
typedef struct token_list {
    int32_t *ids; /* lariat_free, which is free() */
    int64_t n;
} token_list;

/* Parses decimal ids separated by white space or commas; `input` is for messages. */
int parse_tokens(const char *input, const text *from, token_list *out);
int read_tokens(const char *path, token_list *out);
/* The index of the first id outside the vocabulary; -1: none is. */
int64_t find_unknown(const token_list *list, int32_t vocab);
/* Refuses ids outside the vocabulary, naming input and index. */
int check_tokens(const char *input, const token_list *list, int32_t vocab);

/* Opens a file for reading line by line; "-" is standard input. Close with close_lines. */
int open_lines(const char *path, FILE **out);
void close_lines(FILE *lines);

typedef struct line_buffer {
    char *data; /* the caller frees it after the last line */
    size_t size, room;
    bool begun; /* the first line has been read */
} line_buffer;

/* The next line with its newline; *more is false at the end of the file. `input` is for messages. A byte-order mark before
   the first line is skipped; an input that begins as UTF-16 or UTF-32 is refused. Later zero bytes are the caller's to find. */
int next_line(FILE *lines, const char *input, line_buffer *line, bool *more);
/* The path's name in messages. */
const char *input_name(const char *path);

/* Bytes of the text's byte-order mark, 0: none. */
size_t bom_size(const char *data, size_t size);
/* Refuses bytes that are not UTF-8 text: another encoding, or zero bytes. */
int check_text(const char *input, const char *data, size_t size);
int check_zeros(const char *input, const char *data, size_t size);
/* Is `data` blank? */
bool is_blank(const char *data, size_t size);
