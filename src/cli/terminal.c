/* Colours and the line of progress.
   Rests on ANSI escapes: carriage return, erase to the end of the line. */
#include "cli/terminal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static const double quiet_s = 0.5;   /* before that the speed is unknown */
static const double between_s = 0.1; /* between two updates */

bool terminal_errors(void)
{
    return isatty(STDERR_FILENO) != 0;
}

bool terminal_colours(void)
{
    const char *refused = getenv("NO_COLOR");
    return terminal_errors() && !(refused && *refused);
}

double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void progress_begin(progress *p, const char *verb, int64_t total)
{
    p->verb = verb;
    p->total = total;
    p->before = 0;
    p->began_s = p->drawn_s = now_s();
    if (p->wanted && total > 0) {
        fprintf(stderr, "\r%s 0 of %lld tokens\033[K", verb, (long long)total);
        p->shown = true;
    }
}

void progress_at(progress *p, int64_t done)
{
    double now = now_s();
    double spent = now - p->began_s;
    if (!p->wanted || p->total == 0 || spent < quiet_s || now - p->drawn_s < between_s) {
        return;
    }
    done += p->before;
    double speed = (double)done / spent;
    long long left = speed > 0 ? llround((double)(p->total - done) / speed) : 0;
    fprintf(stderr, "\r%s %lld of %lld tokens, %.0f tokens/s, %lld:%02lld left\033[K", p->verb, (long long)done,
            (long long)p->total, speed, left / 60, left % 60);
    p->drawn_s = now;
    p->shown = true;
}

void progress_end(progress *p)
{
    p->total = 0;
    if (p->shown) {
        fputs("\r\033[K", stderr);
        p->shown = false;
    }
}
