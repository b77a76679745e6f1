/* An axis of a picture: its range, scale, unit and ticks.
   Rests on nothing. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

typedef enum quantity { OF_TOKENS, OF_RANKS, OF_SECONDS, OF_BYTES, OF_SPEED, OF_RATE } quantity;

enum { AXIS_LABEL_MOST = 32, AXIS_TICKS_MOST = 64 };

typedef struct tick {
    double at;
    char label[AXIS_LABEL_MOST]; /* "": a minor tick */
} tick;

/* All values in `unit`: a quantity times `scale`. */
typedef struct axis {
    bool logarithmic;
    double low, high;
    double scale;
    const char *unit; /* "ms" */
    tick ticks[AXIS_TICKS_MOST];
    int n_ticks;
} axis;

/* The axis for values from `least` to `most`, both above 0. */
axis axis_of(quantity q, double least, double most);

/* A label of tokens: 512, 1,000, 1k, 1M; multiples of 1024 are shortened. */
void axis_count(int64_t count, char label[AXIS_LABEL_MOST]);
/* A label of other counts: 512, 1,000, 1,024. */
void axis_plain(int64_t count, char label[AXIS_LABEL_MOST]);
