/* What goes to standard error as one line "lariat: what: why, and what to do".
   Rests on status.h. Nothing else of the program writes errors. */
#ifndef CLI_MESSAGE_H
#define CLI_MESSAGE_H

/* Each prints one line and returns the exit status that it stands for: 1, or 2 where the command line is to blame.
   Control characters, which can come from a file, are shown as '?'. */
int complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
int complain_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The reason of the library's last failure. */
int complain_library(void);
/* That memory has run out, for what. */
int complain_memory(const char *what);

/* A warning: the run goes on. */
void warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
