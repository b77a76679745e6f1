/* What a person at a terminal sees on standard error: colours, and one line of progress that is written over.
   Rests on stdio. Neither appears where standard error is not a terminal. */
#ifndef CLI_TERMINAL_H
#define CLI_TERMINAL_H

#include <stdbool.h>
#include <stdint.h>

/* May standard error be coloured? (A terminal, and NO_COLOR is not set.) */
bool terminal_colours(void);
/* Is standard error a terminal? */
bool terminal_errors(void);

/* Seconds since some fixed point. */
double now_s(void);

typedef struct progress {
    bool wanted;      /* a terminal, and not -q */
    bool shown;       /* a line stands there now */
    const char *verb; /* "reading" */
    double began_s, drawn_s;
    int64_t before; /* tokens of steps that went before, where the work is cut into several */
    int64_t total;  /* in all */
} progress;

/* Begins a piece of work of `total` tokens, and says so at once. */
void progress_begin(progress *p, const char *verb, int64_t total);
/* So many of them are done; draws at most ten times a second, and not in the first half second, in which no speed is known. */
void progress_at(progress *p, int64_t done);
/* Takes the line away. Call before anything else is written. */
void progress_end(progress *p);

#endif
