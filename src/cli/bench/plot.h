/* Plots of measured rows, drawn by gnuplot: SVG and PNG, each with its data and script.
   Rests on rows.h. panel.h selects the points of a picture, script.h writes gnuplot's commands. */
#pragma once

#include "cli/bench/rows.h"

/* Draws every picture that has a line of at least two points into `folder`, created if necessary. Without gnuplot it warns
   and keeps data and scripts. Returns 0, or an exit status after a message. */
int plots_draw(const row_list *all, const char *folder);
