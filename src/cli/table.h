/* A table of results on standard output, as Markdown, CSV, a JSON list or JSON lines, written row by row.
   Rests on output.h and jansson. */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include "cli/options.h"

typedef enum cell_kind { CELL_TEXT, CELL_COUNT, CELL_REAL } cell_kind;

/* One value of a row, under the name of its column. A real number has so many decimals, in JSON six digits that count; NAN is one
   that is not known: an empty cell, JSON null. */
typedef struct cell {
    const char *name;
    cell_kind kind;
    const char *text; /* UTF-8 */
    int64_t count;
    double real;
    int decimals;
} cell;

/* Begins all zero but for the format. */
typedef struct table {
    table_format format;
    int64_t rows; /* so far */
} table;

/* Each returns 0, or 1 after saying what went wrong. A row is on its way when the call returns; every row has the same columns. */
int table_row(table *t, const cell cells[], int n);
/* Behind the last row. */
int table_end(const table *t);

#endif
