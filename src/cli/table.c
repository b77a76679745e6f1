/* Writing the rows of a table in its format.
   Rests on output.h and jansson. See table.h. */
#include "cli/table.h"
#include "cli/message.h"
#include "cli/output.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- Markdown and CSV --- */

/* What would end a cell is replaced. */
static int print_text(const char *text)
{
    int rc = 0;
    for (const char *c = text; rc == 0 && *c; c++) {
        char plain = strchr("|,\"\n\r", *c) ? '_' : *c;
        rc = output_bytes(&plain, 1);
    }
    return rc;
}

static int print_cell(const cell *c)
{
    switch (c->kind) {
    case CELL_TEXT:
        return print_text(c->text);
    case CELL_COUNT:
        return output_format("%lld", (long long)c->count);
    case CELL_REAL:
        return isnan(c->real) ? 0 : output_format("%.*f", c->decimals, c->real);
    }
    return 0;
}

static int print_names(const cell cells[], int n, const char *open, const char *between, const char *close)
{
    int rc = 0;
    for (int i = 0; rc == 0 && i < n; i++) {
        rc = output_format("%s%s", i ? between : open, cells[i].name);
    }
    return rc ? rc : output_format("%s\n", close);
}

static int print_cells(const cell cells[], int n, const char *open, const char *between, const char *close)
{
    int rc = 0;
    for (int i = 0; rc == 0 && i < n; i++) {
        rc = output_format("%s", i ? between : open);
        rc = rc ? rc : print_cell(&cells[i]);
    }
    return rc ? rc : output_format("%s\n", close);
}

/* Numbers stand to the right. */
static int print_rule(const cell cells[], int n)
{
    int rc = output_format("|");
    for (int i = 0; rc == 0 && i < n; i++) {
        rc = output_format("%s|", cells[i].kind == CELL_TEXT ? "---" : "--:");
    }
    return rc ? rc : output_format("\n");
}

/* --- JSON --- */

static json_t *cell_json(const cell *c)
{
    switch (c->kind) {
    case CELL_TEXT:
        return json_string(c->text);
    case CELL_COUNT:
        return json_integer((json_int_t)c->count);
    case CELL_REAL:
        return isnan(c->real) ? json_null() : json_real(c->real);
    }
    return NULL;
}

static int print_object(const cell cells[], int n, const char *before, const char *after)
{
    json_t *object = json_object();
    bool whole = object != NULL;
    for (int i = 0; whole && i < n; i++) {
        whole = json_object_set_new(object, cells[i].name, cell_json(&cells[i])) == 0;
    }
    char *line = whole ? json_dumps(object, JSON_REAL_PRECISION(6)) : NULL;
    int rc = line ? output_format("%s%s%s", before, line, after) : complain_memory("table");
    free(line);
    json_decref(object);
    return rc;
}

/* --- the table --- */

int table_row(table *t, const cell cells[], int n)
{
    int rc = 0;
    switch (t->format) {
    case FORMAT_MD:
        if (t->rows == 0) {
            rc = print_names(cells, n, "| ", " | ", " |");
            rc = rc ? rc : print_rule(cells, n);
        }
        rc = rc ? rc : print_cells(cells, n, "| ", " | ", " |");
        break;
    case FORMAT_CSV:
        rc = t->rows ? 0 : print_names(cells, n, "", ",", "");
        rc = rc ? rc : print_cells(cells, n, "", ",", "");
        break;
    case FORMAT_JSON:
        rc = print_object(cells, n, t->rows ? ",\n " : "[\n ", "");
        break;
    case FORMAT_JSONL:
        rc = print_object(cells, n, "", "\n");
        break;
    }
    t->rows++;
    return rc ? rc : output_flush();
}

int table_end(const table *t)
{
    int rc = t->format != FORMAT_JSON ? 0 : output_format("%s\n]\n", t->rows ? "" : "[");
    return rc ? rc : output_flush();
}
