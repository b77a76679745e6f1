/* Errors are values: a function that can fail returns lariat_status and stores the reason for its thread.
   Rests on include/lariat/status.h. Nothing below cli/ prints. */
#pragma once

#include "lariat/status.h"

/* Stores the reason (one line, "what: why, and what to do") for this thread and returns `code`, so that a caller writes:
   return fail(LARIAT_BAD_MODEL, "%s: tensor %s has %lld rows, wanted %lld", ...); Control characters from files are
   replaced: a message is one harmless line. */
#define fail(code, ...) (give_reason(__VA_ARGS__), failed_with(code))

/* Prepends "prefix: " to the reason of a failure that is passed on. Returns `code`. */
#define fail_within(code, ...) (give_reason_within(__VA_ARGS__), failed_with(code))

/* Advice that several reasons share. */
#define FREE_MEMORY ", end other programs or ask for less"
#define FETCH_AGAIN ": the file is damaged, fetch it again"
#define CORRECT_IT ": correct the file, or fetch it again"

/* Implementation of the two macros, which let compilers and analyzers see that the result is `code`. */
void give_reason(const char *format, ...) __attribute__((format(printf, 1, 2)));
void give_reason_within(const char *format, ...) __attribute__((format(printf, 1, 2)));
static inline lariat_status failed_with(lariat_status code)
{
    return code;
}

/* Returns a failure to the caller. */
#define TRY(call)                                  \
    do {                                           \
        lariat_status try_status_ = (call);        \
        if (try_status_ != LARIAT_OK) {            \
            return try_status_;                    \
        }                                          \
    } while (0)

/* Returns LARIAT_NO_MEMORY with this reason to the caller, unless the allocation succeeded. */
#define TRY_MEMORY(there, ...) TRY((there) ? LARIAT_OK : fail(LARIAT_NO_MEMORY, __VA_ARGS__))

/* A step of a sequence that frees something at its end: carried out unless one before it failed. */
#define NEXT(status, call)             \
    do {                               \
        if ((status) == LARIAT_OK) {   \
            (status) = (call);         \
        }                              \
    } while (0)
