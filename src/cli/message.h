/* Messages on standard error: one line "lariat: what: why, and what to do".
   Rests on text.h. All errors of the program go through here. */
#pragma once

#include "lariat/text.h"

#include <stdlib.h>

/* Each prints one line and returns its exit status: 1, or 2 for an error of the command line. Control characters are shown
   as '?'. */
int complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
int complain_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Prints the reason of the library's last failure. */
int complain_library(void);
/* Reports that memory for `what` has run out. */
int complain_memory(const char *what);

/* The exit status of a call of the library: 0, or that of complain_library. */
int checked(lariat_status status);

/* Returns a failure's exit status to the caller. */
#define TRY(call)              \
    do {                       \
        int try_rc_ = (call);  \
        if (try_rc_) {         \
            return try_rc_;    \
        }                      \
    } while (0)

/* Returns the exit status of a lack of memory for `what` to the caller, unless the allocation succeeded. */
#define TRY_MEMORY(there, what)          \
    do {                                 \
        if (!(there)) {                  \
            (void)complain_memory(what); \
            return EXIT_FAILURE;         \
        }                                \
    } while (0)

/* Warns of the faults in a tokenizer's files that were put right. */
void warn_of_tokenizer(const lariat_tokenizer *t);
/* A warning; the run continues. */
void warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
