/* One line on standard error.
   Rests on text.h, and on signals.h for the name of this process among several. */
#include "cli/message.h"
#include "cli/options.h"
#include "cli/signals.h"
#include "cli/terminal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { LINE_MOST = 2000 };

static void say(const char *mark, const char *colour, const char *format, va_list arguments)
    __attribute__((format(printf, 3, 0)));

static void say(const char *mark, const char *colour, const char *format, va_list arguments)
{
    char line[LINE_MOST];
    vsnprintf(line, sizeof line, format, arguments);
    for (char *c = line; *c; c++) {
        if ((unsigned char)*c < ' ' || *c == 0x7f) {
            *c = '?';
        }
    }
    bool coloured = terminal_colours();
    fprintf(stderr, "%slariat:%s %s%s%s\n", coloured ? colour : "", coloured ? "\033[0m" : "", signals_process(), mark, line);
}

#define SAY(mark, colour)                                                                                                      \
    do {                                                                                                                       \
        va_list arguments;                                                                                                     \
        va_start(arguments, format);                                                                                           \
        say(mark, colour, format, arguments);                                                                                  \
        va_end(arguments);                                                                                                     \
    } while (0)

int complain(const char *format, ...)
{
    SAY("", "\033[1;31m");
    return EXIT_FAILURE;
}

int complain_usage(const char *format, ...)
{
    SAY("", "\033[1;31m");
    return EXIT_BAD_USAGE;
}

int complain_library(void)
{
    return complain("%s", lariat_error());
}

int checked(lariat_status status)
{
    return status == LARIAT_OK ? 0 : complain_library();
}

int complain_memory(const char *what)
{
    return complain("%s: out of memory, end other programs or ask for less", what);
}

void warn(const char *format, ...)
{
    SAY("warning: ", "\033[1;33m");
}

void warn_of_tokenizer(const lariat_tokenizer *t)
{
    const char *warning;
    for (int32_t i = 0; (warning = lariat_tokenizer_warning(t, i)) != NULL; i++) {
        warn("%s", warning);
    }
}
