/* A table of results on standard output, as Markdown, CSV, a JSON list or JSON lines, written row by row.
   Rests on output.h and jansson. */
#pragma once

#include "cli/options.h"

#include <jansson.h>

/* A column of the Markdown table: the key of its values, and the decimals of real numbers. The other formats have all keys
   of the rows, in their order. */
typedef struct table_column {
    const char *name;
    int decimals;
} table_column;

/* Initialise to zero but for the format. */
typedef struct table {
    table_format format;
    int64_t rows; /* so far */
} table;

/* Writes and flushes a row, and frees it; NULL: creating it failed for lack of memory. All rows have the same keys; null:
   unknown, an empty cell. Returns 0, or 1 after a message. */
int table_row(table *t, json_t *row, const table_column columns[], int n);
/* After the last row. */
int table_end(const table *t);

/* Writes text within a line; characters that would end a table cell are replaced. */
int table_text(const char *text);
