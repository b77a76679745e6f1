/* A row as JSON: what it is, and what was measured. All written forms of a row are made from it.
   Rests on rows.h and jansson. */
#ifndef CLI_BENCH_RECORD_H
#define CLI_BENCH_RECORD_H

#include "cli/bench/rows.h"

#include <jansson.h>

/* What a row is: program, model, machine, ring, options. Two runs measured the same if these are equal. NULL without memory. */
json_t *record_identity(const row_list *all, const row *r);

/* The whole row: the keys that matter most come first, then figures, then the rest of its identity. Keys and their order are the
   same for all rows of a run; null: not known. NULL without memory. */
json_t *record_row(const row_list *all, const row *r);

/* A figure; null where it is not known. */
json_t *record_known(double value);

/* What --layout and --pass say. */
const char *record_layout(const options *o);
const char *record_pass(const options *o);

#endif
