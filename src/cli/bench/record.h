/* A row as JSON: its identity and its figures. All output formats are made from it.
   Rests on rows.h and jansson. */
#pragma once

#include "cli/bench/rows.h"

#include <jansson.h>

/* The identity of a row: program, model, machine, ring, options. Equal identities are the same measurement. NULL without
   memory. */
json_t *record_identity(const row_list *all, const row *r);

/* The whole row: the most important keys first, then figures, then the rest of its identity. Keys and their order are the
   same for all rows of a run; null: unknown. NULL without memory. */
json_t *record_row(const row_list *all, const row *r);

/* A figure; null: unknown. */
json_t *record_known(double value);

/* The values of --layout and --side. */
const char *record_layout(const options *o);
const char *record_side(const options *o);
