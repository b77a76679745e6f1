/* Terminal output on standard error: colours, and a progress line that is overwritten.
   Rests on stdio. Neither appears where standard error is not a terminal. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Is standard error a terminal, and NO_COLOR not set? */
bool terminal_colours(void);
/* Is standard error a terminal? */
bool terminal_errors(void);

/* Seconds since an arbitrary fixed point. */
double now_s(void);

typedef struct progress {
    bool wanted;      /* a terminal, and not -q */
    bool shown;       /* the line is on the terminal */
    const char *verb; /* "reading" */
    double began_s, drawn_s;
    int64_t before; /* tokens of earlier steps of the same work */
    int64_t total;  /* in all */
} progress;

/* Begins work of `total` tokens and shows the line at once. */
void progress_begin(progress *p, const char *verb, int64_t total);
/* Updates the line, at most ten times a second, and not in the first half second, when the speed is unknown. */
void progress_at(progress *p, int64_t done);
/* Removes the line. Call it before other output. */
void progress_end(progress *p);
