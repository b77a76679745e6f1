/* Where the results of a batch go: standard output, or a file with which a run that was stopped goes on.
   Rests on line_file.h, output.h and jansson. One JSON object a line, in the order of the input: a file holds the results of
   the first lines of its input. */
#pragma once

#include "cli/line_file.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct json_t json_t;

/* Opens or creates the file (NULL: none, standard output), and calls is_result(user, i, line) with each result i, from 0, that
   it has. One that is_result denies is refused. *n: how many there are. Returns 0, or an exit status after a message. Close
   with line_file_close. */
int results_open(line_file *f, const char *path, bool (*is_result)(void *user, int64_t i, const json_t *line), void *user,
                 int64_t *n);

/* Writes a line. */
int results_put(const line_file *f, const json_t *line);
