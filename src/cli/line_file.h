/* A file of lines that grows while a run goes on, and with which a run that was stopped is continued.
   Rests on stdio. Each line is written at once when it is complete; so a file that a run left behind holds whole lines, and
   perhaps the beginning of one more. bench/resume.h and results.h define the lines. */
#pragma once

#include <stddef.h>
#include <stdint.h>

typedef struct line_file {
    const char *path; /* NULL: no file */
    void *file;       /* FILE *, positioned at its end */
} line_file;

/* Opens or creates it, and locks it against other runs; without a path nothing is done. Only a regular file is taken; the
   message about another kind names its content, `what`. Returns 0, or an exit status after a message. */
int line_file_open(line_file *f, const char *path, const char *what);

/* Calls take(user, number, line, size) with each line, its end included, from number 1 on, until one returns an exit status. A
   last line without an end that begins as every line does, with `beginning`, was torn when a run was killed: it is cut off. */
int line_file_read(const line_file *f, const char *beginning,
                   int (*take)(void *user, int number, const char *line, size_t size), void *user);

/* Cuts off all but its first `lines` lines. */
int line_file_cut(const line_file *f, int64_t lines);

/* Appends and flushes a line. */
int line_file_put(const line_file *f, const char *line);
/* Also a file that was not opened. */
int line_file_close(line_file *f);
