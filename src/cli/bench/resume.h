/* The file of measurements, one JSON object a line, with which an interrupted run continues.
   Rests on rows.h and record.h. A line is {"row": identity, "sample": {...}} or {"row": identity, "check": {...}}. */
#pragma once

#include "cli/bench/rows.h"
#include "cli/line_file.h"

/* Opens or creates the file and adds its samples and checks to their rows, up to the rows' number of repetitions. Lines of
   other rows are left in the file. Returns 0, or an exit status after a message. Close with line_file_close. */
int keeper_open(const char *path, row_list *all, line_file *f);
/* Samples that the rows have so far. */
int64_t rows_kept(const row_list *all);

/* Appends and flushes a line. */
int keep_sample(const line_file *f, const row_list *all, const row *r, const sample *s);
int keep_check(const line_file *f, const row_list *all, const row *r);
