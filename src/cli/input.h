/* What a run reads: texts, token ids, lines.
   Rests on stdio and text.h. */
#ifndef CLI_INPUT_H
#define CLI_INPUT_H

#include "cli/options.h"
#include "lariat/text.h"

#include <stdio.h>

/* Bytes in memory without zeros, terminated. */
typedef struct text {
    char *data;
    size_t size;
} text;

/* Reads a whole text; "-" is standard input. A byte-order mark before it is left out; what is no text is refused. */
int read_text(const char *path, text *out);

/* The text that -p, -f or standard input gives. `input` says which in messages. Refuses to wait for a person's terminal. */
int read_prompt(const options *o, text *out, const char **input);

/* Token ids, as lariat_encode gives them or read from a file. */
typedef struct token_list {
    int32_t *ids; /* lariat_free, which is free() */
    int64_t n;
} token_list;

/* Ids from decimal numbers separated by white space or commas; `input` is for messages. */
int parse_tokens(const char *input, const text *from, token_list *out);
int read_tokens(const char *path, token_list *out);
/* Refuses ids that the vocabulary lacks, naming input and position. */
int check_tokens(const char *input, const token_list *list, int32_t vocab);

/* Opens a file for reading line by line; "-" is standard input. Close with close_lines. */
int open_lines(const char *path, FILE **out);
void close_lines(FILE *lines);

typedef struct line_buffer {
    char *data; /* the caller frees it after the last line */
    size_t size, room;
    bool begun; /* the first line has been read */
} line_buffer;

/* The next line with the newline that ends it; *more is false where there is none. `input` names it in complaints. A byte-order
   mark before the first is left out; what is no text is refused. */
int next_line(FILE *lines, const char *input, line_buffer *line, bool *more);
/* How messages call that path. */
const char *input_name(const char *path);

/* Bytes of the byte-order mark that a text begins with, 0 if it has none. */
size_t mark_size(const char *data, size_t size);
/* Refuses what is no text in UTF-8: another encoding, or zeros, which would end what is said. */
int check_text(const char *input, const char *data, size_t size);
/* Is `data` blank? */
bool is_blank(const char *data, size_t size);

#endif
