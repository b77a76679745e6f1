/* gnuplot's input for a picture: a table of data, and the commands.
   Rests on panel.h. */
#pragma once

#include "cli/bench/panel.h"

enum {
    PANELS_MOST = 2,
    LINES_MOST = 14 /* distinguishable lines of a panel; further ones are in the data only */
};

typedef struct picture {
    const char *name;  /* of its files, without extension */
    const char *title;
    panel panels[PANELS_MOST]; /* from top to bottom */
    int n;
    bool has_parts; /* panels have titles of their own, even a single one */
} picture;

/* Each returns an allocated text, or NULL without memory. `notes`: lines below the picture, each ending with a newline. */
char *script_data(const picture *p);
char *script_commands(const picture *p, const row_list *all, const char *notes);
