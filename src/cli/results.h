/* Where the results of a batch go: standard output, or a file with which a run that was stopped goes on.
   Rests on output.h and jansson. One JSON object a line, written at once when it is complete; so a file holds the results of
   the first lines of its input, and perhaps the beginning of one more. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct json_t json_t;

typedef struct results {
    const char *path; /* NULL: standard output */
    FILE *file;
} results;

/* Opens or creates the file, at its end, and calls is_result(user, i, line) with each result i (from 0) that it has. One that
   was torn when a run was killed is dropped; one that is_result denies is refused, as is a file that is not a regular one. *n:
   how many there are. Returns 0, or an exit status after a message. */
int results_open(results *r, const char *path, bool (*is_result)(void *user, int64_t i, const json_t *line), void *user,
                 int64_t *n);

/* Writes a line. */
int results_put(const results *r, const json_t *line);
/* Also what was not opened. */
int results_close(results *r);
