/* Writing the rows of a table in its format.
   Rests on output.h and jansson. See table.h. */
#include "cli/table.h"
#include "cli/message.h"
#include "cli/output.h"

#include <stdlib.h>
#include <string.h>

/* --- Markdown and CSV --- */

int table_text(const char *text)
{
    for (const char *c = text; *c; c++) {
        char plain = *c == '|' || (unsigned char)*c < ' ' ? '_' : *c;
        TRY(output_bytes(&plain, 1));
    }
    return 0;
}

static int md_names(const json_t *row, const table_column columns[], int n)
{
    TRY(output_format("|"));
    for (int i = 0; i < n; i++) {
        TRY(output_format(" %s |", columns[i].name));
    }
    TRY(output_format("\n|"));
    for (int i = 0; i < n; i++) { /* numbers are right-aligned */
        TRY(output_format("%s|", json_is_string(json_object_get(row, columns[i].name)) ? "---" : "--:"));
    }
    return output_format("\n");
}

static int md_cell(const json_t *value, int decimals)
{
    if (json_is_string(value)) {
        return table_text(json_string_value(value));
    }
    if (json_is_integer(value)) {
        return output_format("%lld", (long long)json_integer_value(value));
    }
    return json_is_real(value) ? output_format("%.*f", decimals, json_real_value(value)) : 0;
}

static int md_row(const json_t *row, const table_column columns[], int n)
{
    TRY(output_format("|"));
    for (int i = 0; i < n; i++) {
        TRY(output_format(" "));
        TRY(md_cell(json_object_get(row, columns[i].name), columns[i].decimals));
        TRY(output_format(" |"));
    }
    return output_format("\n");
}

/* RFC 4180: quotes a text with a comma or quote, doubling quotes. */
static int csv_text(const char *text)
{
    if (!strpbrk(text, ",\"")) {
        return table_text(text);
    }
    TRY(output_format("\""));
    for (const char *c = text; *c; c++) {
        char plain = (unsigned char)*c < ' ' ? ' ' : *c;
        TRY(output_format("%s%c", plain == '"' ? "\"" : "", plain));
    }
    return output_format("\"");
}

static int csv_value(const json_t *value)
{
    if (json_is_string(value) || json_is_null(value)) {
        return json_is_string(value) ? csv_text(json_string_value(value)) : 0;
    }
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
    int rc = text ? output_format("%s", text) : complain_memory("table");
    free(text);
    return rc;
}

static int csv_row(json_t *row, bool names)
{
    const char *key, *between = "";
    json_t *value;
    json_object_foreach(row, key, value)
    {
        TRY(output_format("%s", between));
        TRY(names ? output_format("%s", key) : csv_value(value));
        between = ",";
    }
    return output_format("\n");
}

/* --- JSON --- */

static int json_row(const json_t *row, const char *before, const char *after)
{
    char *line = json_dumps(row, JSON_REAL_PRECISION(6));
    int rc = line ? output_format("%s%s%s", before, line, after) : complain_memory("table");
    free(line);
    return rc;
}

/* --- the table --- */

static int print_row(const table *t, json_t *row, const table_column columns[], int n)
{
    switch (t->format) {
    case FORMAT_MD:
        TRY(t->rows ? 0 : md_names(row, columns, n));
        return md_row(row, columns, n);
    case FORMAT_CSV:
        TRY(t->rows ? 0 : csv_row(row, true));
        return csv_row(row, false);
    case FORMAT_JSON:
        return json_row(row, t->rows ? ",\n " : "[\n ", "");
    case FORMAT_JSONL:
        return json_row(row, "", "\n");
    }
    return 0;
}

int table_row(table *t, json_t *row, const table_column columns[], int n)
{
    int rc = row ? print_row(t, row, columns, n) : complain_memory("table");
    json_decref(row);
    t->rows += rc == 0;
    return rc ? rc : output_flush();
}

int table_end(const table *t)
{
    int rc = t->format != FORMAT_JSON ? 0 : output_format("%s\n]\n", t->rows ? "" : "[");
    return rc ? rc : output_flush();
}
