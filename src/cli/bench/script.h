/* What gnuplot is given for a picture: the data as a table, and the commands that draw it.
   Rests on panel.h. */
#ifndef CLI_BENCH_SCRIPT_H
#define CLI_BENCH_SCRIPT_H

#include "cli/bench/panel.h"

enum {
    PANELS_MOST = 2,
    LINES_MOST = 14 /* of a panel that the eye still tells apart; what is more is in the data only */
};

typedef struct picture {
    const char *name;  /* of its files, without what follows the point */
    const char *title;
    panel panels[PANELS_MOST]; /* one above the other */
    int n;
    bool has_parts; /* the title tells too little of a panel, even where only one is worth drawing */
} picture;

/* Each returns a text for free(), or NULL where memory has run out. `notes`: lines below the picture, each ended by a newline. */
char *script_data(const picture *p);
char *script_commands(const picture *p, const row_list *all, const char *notes);

#endif
