/* The reason of a failure, one line a thread; and the version.
   Rests on nothing. See status.h. */
#include "base/fail.h"

#include <commit.h> /* of the build: cmake/commit.cmake */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { REASON_SIZE = 1024 };

static _Thread_local char reason[REASON_SIZE] = "no failure";

const char *lariat_error(void)
{
    return reason;
}

const char *lariat_version(void)
{
    return LARIAT_VERSION LARIAT_COMMIT;
}

/* Control characters of a malicious file must not reach the terminal. */
static void make_harmless(char *text)
{
    for (char *c = text; *c; c++) {
        if ((unsigned char)*c < 0x20 || (unsigned char)*c == 0x7f) {
            *c = '?';
        }
    }
}

void give_reason(const char *format, ...)
{
    char text[REASON_SIZE]; /* arguments may point into `reason` */
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    make_harmless(text);
    memcpy(reason, text, sizeof reason);
}

void give_reason_within(const char *format, ...)
{
    char text[2 * REASON_SIZE];
    va_list args;

    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n >= 0 && n < REASON_SIZE) {
        snprintf(text + n, sizeof text - (size_t)n, ": %s", reason);
    }
    text[REASON_SIZE - 1] = 0;
    make_harmless(text);
    memcpy(reason, text, sizeof reason);
}
