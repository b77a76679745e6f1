/* One coordinate system of a picture: lines of points, from the rows.
   Rests on rows.h. */
#ifndef CLI_BENCH_PANEL_H
#define CLI_BENCH_PANEL_H

#include "cli/bench/rows.h"

typedef enum panel_kind {
    PANEL_FIRST_TOKEN,    /* seconds by prompt length */
    PANEL_TOKEN,          /* seconds for each token after the first, by prompt length */
    PANEL_MEMORY,         /* bytes of the fullest rank by prompt length */
    PANEL_MEMORY_RANKS,   /* and by ring size, for the longest prompts */
    PANEL_PREFILL_SPEED,  /* times as fast as the ring of one, by ring size */
    PANEL_DECODE_SPEED,
    PANEL_PREFILL_RATE,   /* tokens/s by context */
    PANEL_DECODE_RATE,
    PANEL_NONE            /* ends a list */
} panel_kind;

typedef struct point {
    const row *row; /* of this point, or for its series the first one */
    cell series;    /* what the points of one line have in common: the row's cell, but 0 in what x stands for */
    double x;
    spread y;
    bool missing; /* that row could not be run: the line has a gap here */
} point;

typedef struct panel {
    panel_kind kind;
    unsigned told; /* which fields of a series tell it from others: see panel_label */
    point *points; /* by series, then by x; the regular ones before the rings */
    int n;
} panel;

enum { LABEL_MOST = 160 };

/* Returns 0, or an exit status after saying that memory has run out. */
int panel_fill(panel *p, panel_kind kind, const row_list *all);
void panel_free(panel *p);

/* x is the number of ranks. */
bool panel_is_by_ranks(panel_kind kind);

/* Is there a line in it? */
bool panel_is_worth_drawing(const panel *p);

/* One past the last point of the series that begins at `begin`. */
int panel_series_end(const panel *p, int begin);

/* How many of the points begin .. end were measured. */
int panel_measured(const panel *p, int begin, int end);

/* The series with a point that was measured. */
int panel_lines(const panel *p);

/* What a legend calls the series of that point. */
void panel_label(const panel *p, const point *of, char label[LABEL_MOST]);

#endif
