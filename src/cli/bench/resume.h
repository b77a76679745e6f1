/* The file that keeps measurements, one JSON object a line, so that a run which was stopped goes on where it was.
   Rests on rows.h and record.h. A line is {"row": identity, "sample": {...}} or {"row": identity, "check": {...}}. */
#ifndef CLI_BENCH_RESUME_H
#define CLI_BENCH_RESUME_H

#include "cli/bench/rows.h"

typedef struct keeper {
    const char *path; /* NULL: nothing is kept */
    void *file;       /* FILE *, at the end */
} keeper;

/* Opens the file, made if it is not there, and hands its samples and checks to the rows that they are of, as many as the rows
   take. Lines of other rows stay. Returns 0, or an exit status after saying why not. */
int keeper_open(const char *path, row_list *all, keeper *k);
int keeper_close(keeper *k);
/* Samples that the rows have by now. */
int64_t rows_kept(const row_list *all);

/* Adds a line, which is in the file when this returns. */
int keep_sample(const keeper *k, const row_list *all, const row *r, const sample *s);
int keep_check(const keeper *k, const row_list *all, const row *r);

#endif
