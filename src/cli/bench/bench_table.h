/* The output of bench: its rows; in Markdown also the conditions, and the comparison of rings.
   Rests on record.h and cli/table.h. */
#pragma once

#include "cli/bench/rows.h"
#include "cli/table.h"

/* Writes a complete row; one that could not be run has its reason. Like the others returns 0, or 1 after a message. */
int bench_row(table *t, const row_list *all, const row *r);

/* After the rows of a Markdown table: program, model, machine, ceilings. */
int bench_conditions(const row_list *all);

/* With --compare, in Markdown: rings beside the rings of one, and the prompt length from which they are faster. */
int bench_compared(const row_list *all);
