/* Messages on standard error: one line "lariat: what: why, and what to do".
   Rests on status.h. All errors of the program go through here. */
#pragma once

/* Each prints one line and returns its exit status: 1, or 2 for an error of the command line. Control characters are shown
   as '?'. */
int complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
int complain_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Prints the reason of the library's last failure. */
int complain_library(void);
/* Reports that memory for `what` has run out. */
int complain_memory(const char *what);

/* A warning; the run continues. */
void warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
