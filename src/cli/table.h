/* A table of results on standard output, as Markdown, CSV, a JSON list or JSON lines, written row by row.
   Rests on output.h and jansson. */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include "cli/options.h"

#include <jansson.h>

/* A column of the Markdown table, which a person reads: the key of its values, and how many decimals a real number has. The other
   formats have all keys of the rows, in their order. */
typedef struct table_column {
    const char *name;
    int decimals;
} table_column;

/* Begins all zero but for the format. */
typedef struct table {
    table_format format;
    int64_t rows; /* so far */
} table;

/* Writes a row and takes it over; NULL is one for which there was no memory. It is on its way when the call returns. Every row has
   the same keys; null is a value that is not known, and an empty cell. Returns 0, or 1 after saying what went wrong. */
int table_row(table *t, json_t *row, const table_column columns[], int n);
/* Behind the last row. */
int table_end(const table *t);

/* Text within a line of the output: what would end the cell of a table is replaced. */
int table_text(const char *text);

#endif
