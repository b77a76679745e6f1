/* One coordinate system of a picture: lines of points, from the rows.
   Rests on rows.h. */
#pragma once

#include "cli/bench/rows.h"

typedef enum panel_kind {
    PANEL_FIRST_TOKEN,    /* seconds by prompt length */
    PANEL_TOKEN,          /* seconds for each token after the first, by prompt length */
    PANEL_MEMORY,         /* bytes of the fullest rank by prompt length */
    PANEL_MEMORY_RANKS,   /* and by ring size, for the longest prompts */
    PANEL_PREFILL_SPEED,  /* speed-up over the ring of one, by ring size */
    PANEL_DECODE_SPEED,
    PANEL_PREFILL_RATE,   /* tokens/s by context */
    PANEL_DECODE_RATE,
    PANEL_NONE            /* ends a list */
} panel_kind;

typedef struct point {
    const row *row; /* the row of this point, or the first of its series */
    cell series;    /* common to the points of one line: the row's cell with 0 in the field of x */
    double x;
    spread y;
    bool missing; /* the row could not be run: a gap in the line */
} point;

typedef struct panel {
    panel_kind kind;
    unsigned told; /* fields in which the series differ: see panel_label */
    point *points; /* by series, then by x; regular attention before the rings */
    int n;
} panel;

enum { LABEL_MOST = 160 };

/* Returns 0, or an exit status after a message about memory. */
int panel_fill(panel *p, panel_kind kind, const row_list *all);
void panel_free(panel *p);

/* Is x the number of ranks? */
bool panel_is_by_ranks(panel_kind kind);

/* Does it have a line of at least two points? */
bool panel_is_worth_drawing(const panel *p);

/* One past the last point of the series that begins at `begin`. */
int panel_series_end(const panel *p, int begin);

/* Measured points in [begin, end). */
int panel_measured(const panel *p, int begin, int end);

/* Number of series with a measured point. */
int panel_lines(const panel *p);

/* The legend's label of the point's series. */
void panel_label(const panel *p, const point *of, char label[LABEL_MOST]);
