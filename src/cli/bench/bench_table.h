/* What bench writes: its rows, and as Markdown what they have in common and how rings compare.
   Rests on record.h and cli/table.h. */
#ifndef CLI_BENCH_BENCH_TABLE_H
#define CLI_BENCH_BENCH_TABLE_H

#include "cli/bench/rows.h"
#include "cli/table.h"

/* Writes a row that is complete; one that could not be run says why. Returns 0, or 1 after saying why the output failed, as the
   others do. */
int bench_row(table *t, const row_list *all, const row *r);

/* Behind the rows of a Markdown table: program, model, machine, ceilings. */
int bench_conditions(const row_list *all);

/* With --compare, as Markdown: the rings beside the rings of one, and from where on they are faster. */
int bench_compared(const row_list *all);

#endif
