/* Pictures of measured rows, drawn by gnuplot: SVG and PNG, each with its data and the script that made it.
   Rests on rows.h. What a picture shows is in panel.h, how gnuplot is told in script.h. */
#ifndef CLI_BENCH_PLOT_H
#define CLI_BENCH_PLOT_H

#include "cli/bench/rows.h"

/* Draws what has at least two points on some line into `folder`, which is made where it is not there. Without gnuplot there is a
   warning, and the data are kept. Returns 0, or an exit status after saying what went wrong. */
int plots_draw(const row_list *all, const char *folder);

#endif
