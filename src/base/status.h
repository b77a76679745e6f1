/* Errors are values: a function that can fail returns lariat_status and leaves the reason in its thread.
   Rests on include/lariat/status.h. Nothing below cli/ prints. */
#ifndef BASE_STATUS_H
#define BASE_STATUS_H

#include "lariat/status.h"

/* Stores the reason (one line, "what: why, and what to do") for this thread and returns `code`, so that a caller
   writes: return fail(LARIAT_BAD_MODEL, "%s: tensor %s has %lld rows, wanted %lld", ...);
   Control characters that came from a file are replaced, so that a message stays one harmless line. */
lariat_status fail(lariat_status code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Puts "prefix: " before the reason of a failure that is being passed on. Returns `code`. */
lariat_status fail_within(lariat_status code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Forwards a failure to the caller. */
#define TRY(call)                                  \
    do {                                           \
        lariat_status try_status_ = (call);        \
        if (try_status_ != LARIAT_OK) {            \
            return try_status_;                    \
        }                                          \
    } while (0)

#endif
