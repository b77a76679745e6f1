/* The commands of a picture: the layout is in pixels, so that labels never overlap.
   Rests on axis.h, and on gnuplot 5.4 or later. See script.h. */
#include "cli/bench/script.h"
#include "cli/bench/axis.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Pixels. LETTER is the average width in the widest fonts of `sans`. */
enum {
    WIDTH = 1000,
    PLOT_WIDTH = 560, /* minimum; a wider picture than WIDTH if necessary */
    PLOT_HEIGHT = 400,
    HEAD = 84,       /* title and subtitle */
    PANEL_HEAD = 34, /* its own title */
    PANEL_FOOT = 76, /* ticks, and the name of the axis */
    NOTE = 20,
    LETTER = 9,
    TICK_ROOM = 60, /* left of the plot, beside the ticks' letters */
    KEY_ROOM = 84,  /* right of it, beside the labels' */
    KEY_LINE = 23
};

/* The texts of each kind of panel. */
typedef struct wording {
    const char *title;    /* in pictures with parts */
    const char *x, *y;    /* the axes */
    quantity of_x, of_y;
    const char *columns;  /* of the data */
} wording;

static const wording wordings[] = {
    [PANEL_FIRST_TOKEN] = {"First token", "prompt length (tokens)", "time to the first token", OF_TOKENS, OF_SECONDS,
                           "prompt_tokens\tmedian_s\tleast_s\tmost_s"},
    [PANEL_TOKEN] = {"Each token after the first", "prompt length (tokens)", "time for a token", OF_TOKENS, OF_SECONDS,
                     "prompt_tokens\tmedian_s\tleast_s\tmost_s"},
    [PANEL_MEMORY] = {"By prompt length", "prompt length (tokens)", "memory of the fullest rank", OF_TOKENS, OF_BYTES,
                      "prompt_tokens\tbytes\tbytes\tbytes"},
    [PANEL_MEMORY_RANKS] = {"By ring size", "ranks of the ring", "memory of the fullest rank", OF_RANKS, OF_BYTES,
                            "ranks\tbytes\tbytes\tbytes"},
    [PANEL_PREFILL_SPEED] = {"First token", "ranks of the ring", "times as fast as one rank", OF_RANKS, OF_SPEED,
                             "ranks\tmedians\tleast\tmost"},
    [PANEL_DECODE_SPEED] = {"Each token after the first", "ranks of the ring", "times as fast as one rank", OF_RANKS, OF_SPEED,
                            "ranks\tmedians\tleast\tmost"},
    [PANEL_PREFILL_RATE] = {"Reading the prompt (prefill)", "context: all tokens before it, the prompt included", "tokens/s",
                            OF_TOKENS, OF_RATE, "context_tokens\tmedian\tleast\tmost"},
    [PANEL_DECODE_RATE] = {"Writing the reply (decode)", "context: all tokens before it, the prompt included", "tokens/s",
                           OF_TOKENS, OF_RATE, "context_tokens\tmedian\tleast\tmost"},
};

/* Closes a text in memory; NULL: out of memory. */
static char *finish(FILE *f, char **text)
{
    bool whole = !ferror(f);
    whole = fclose(f) == 0 && whole;
    if (!whole) {
        free(*text);
    }
    return whole ? *text : NULL;
}

/* --- the data --- */

/* A blank line is a gap in gnuplot's line, two begin the next series: so gaps are written between points only. */
static void put_series(FILE *f, const panel *p, int begin, int end)
{
    char label[LABEL_MOST];
    panel_label(p, &p->points[begin], label);
    bool gap = false, any = false;
    for (int i = begin; i < end; i++) {
        const point *at = &p->points[i];
        if (!at->missing) {
            fprintf(f, "%s%s\t%.0f\t%.9g\t%.9g\t%.9g\n", gap && any ? "\n" : "", label, at->x, at->y.median, at->y.least,
                    at->y.most);
            any = true;
        }
        gap = at->missing;
    }
    fputs("\n\n", f);
}

char *script_data(const picture *p)
{
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    if (!f) {
        return NULL;
    }
    for (int i = 0; i < p->n; i++) {
        const panel *one = &p->panels[i];
        fprintf(f, "# %s: line\t%s\n", wordings[one->kind].title, wordings[one->kind].columns);
        for (int begin = 0, end; begin < one->n; begin = end) {
            end = panel_series_end(one, begin);
            if (panel_measured(one, begin, end) > 0) {
                put_series(f, one, begin, end);
            }
        }
    }
    return finish(f, &text);
}

/* --- texts --- */

/* In single quotes gnuplot substitutes nothing. Names from elsewhere are written outside of blocks, whose ends gnuplot finds
   in strings too. */
static void put_text(FILE *f, const char *text)
{
    fputc('\'', f);
    for (const char *c = text; *c; c++) {
        bool control = (unsigned char)*c < ' ' || *c == 0x7f;
        fputs(*c == '\'' ? "'" : "", f);
        fputc(control ? '?' : *c, f);
    }
    fputc('\'', f);
}

/* The first `most` characters of UTF-8, with an ellipsis if there are more. */
static void cut(const char *text, int most, char *out, size_t size)
{
    size_t n = 0, keep = 0;
    int letters = 0;
    for (; text[n] && n + sizeof "…" < size; n++) {
        bool begins = ((unsigned char)text[n] & 0xc0) != 0x80;
        letters += begins;
        keep = begins && letters <= most ? n : keep;
    }
    bool whole = !text[n] && letters <= most;
    snprintf(out, size, "%.*s%s", (int)(whole ? n : keep), text, whole ? "" : "…");
}

/* --- the place of everything --- */

typedef struct layout {
    int width, height, left, right; /* of the picture; beside the plots */
    int n_notes;
    axis x[PANELS_MOST], y[PANELS_MOST];
} layout;

/* The extent of the drawn points. */
typedef struct extent {
    double least_x, most_x, least_y, most_y;
    int n_lines, longest_label;
    bool spread; /* some point has a spread */
} extent;

static void widen(extent *e, const point *p)
{
    bool first = e->most_x == 0;
    e->least_x = first || p->x < e->least_x ? p->x : e->least_x;
    e->most_x = p->x > e->most_x ? p->x : e->most_x;
    e->least_y = first || p->y.least < e->least_y ? p->y.least : e->least_y;
    e->most_y = p->y.most > e->most_y ? p->y.most : e->most_y;
    e->spread = e->spread || p->y.most > p->y.least;
}

static extent extent_of(const panel *p)
{
    extent e = {0};
    for (int begin = 0, end; begin < p->n && e.n_lines < LINES_MOST; begin = end) {
        end = panel_series_end(p, begin);
        char label[LABEL_MOST];
        panel_label(p, &p->points[begin], label);
        int length = (int)strlen(label);
        for (int i = begin; i < end; i++) {
            if (!p->points[i].missing) {
                widen(&e, &p->points[i]);
            }
        }
        if (panel_measured(p, begin, end) > 0) {
            e.n_lines++;
            e.longest_label = length > e.longest_label ? length : e.longest_label;
        }
    }
    return e;
}

static bool is_speed(panel_kind kind)
{
    return kind == PANEL_PREFILL_SPEED || kind == PANEL_DECODE_SPEED;
}

static void lay_axes(const panel *p, const extent *e, axis *x, axis *y)
{
    const wording *w = &wordings[p->kind];
    *x = axis_of(w->of_x, e->least_x, e->most_x);
    double least = e->least_y, most = e->most_y;
    if (is_speed(p->kind)) { /* includes the ideal line without compressing the others */
        double seen = x->logarithmic || e->most_x < 2 * most ? e->most_x : 2 * most;
        least = least < 1 ? least : 1;
        most = most > seen ? most : seen;
    }
    *y = axis_of(w->of_y, least, most);
}

static int longest_tick(const axis *a)
{
    int longest = 0;
    for (int i = 0; i < a->n_ticks; i++) {
        int length = (int)strlen(a->ticks[i].label);
        longest = length > longest ? length : longest;
    }
    return longest;
}

static layout lay_out(const picture *p, const extent extents[], const char *notes)
{
    layout l = {.height = HEAD};
    for (int i = 0; i < p->n; i++) {
        lay_axes(&p->panels[i], &extents[i], &l.x[i], &l.y[i]);
        int left = TICK_ROOM + LETTER * longest_tick(&l.y[i]), right = KEY_ROOM + LETTER * extents[i].longest_label;
        l.left = left > l.left ? left : l.left;
        l.right = right > l.right ? right : l.right;
        l.height += (p->has_parts ? PANEL_HEAD : 0) + PLOT_HEIGHT + PANEL_FOOT;
    }
    for (const char *c = notes; *c; c++) {
        l.n_notes += *c == '\n';
    }
    l.height += (l.n_notes + 1) * NOTE;
    int least = l.left + PLOT_WIDTH + l.right;
    l.width = least > WIDTH ? least : WIDTH;
    return l;
}

/* --- the commands --- */

/* Okabe and Ito's colours, without yellow, which is invisible on white. */
static const char *const colours[] = {"#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"};
static const int marks[] = {7, 5, 9, 13, 11, 15, 6}; /* circle, square, triangle, diamond ... */
enum { COLOURS = sizeof colours / sizeof *colours };

static double across(const layout *l, int pixels)
{
    return (double)pixels / l->width;
}

/* Pixels from the top; gnuplot counts from the bottom. */
static double down(const layout *l, int pixels)
{
    return 1 - (double)pixels / l->height;
}

static void put_axis(FILE *f, char name, const axis *a, const char *what)
{
    bool plain = !*a->unit;
    fprintf(f, "  %s logscale %c\n  set %crange [%.9g:%.9g]\n", a->logarithmic ? "set" : "unset", name, name, a->low, a->high);
    fprintf(f, "  set %clabel '%s%s%s%s'\n  set %ctics nomirror (", name, what, plain ? "" : " (", a->unit, plain ? "" : ")",
            name);
    for (int i = 0; i < a->n_ticks; i++) {
        const tick *t = &a->ticks[i];
        fprintf(f, "%s'%s' %.9g%s", i ? ", " : "", t->label, t->at, *t->label ? "" : " 1");
    }
    fputs(")\n", f);
}

/* Bands first, below every line. `index`: the first series' index in the data. */
static void put_bands(FILE *f, const picture *p, const extent *e, double scale, int index)
{
    for (int i = 0; i < e->n_lines; i++) {
        fprintf(f,
                "'%s.tsv' index %d using 2:($4*%.9g):($5*%.9g) with filledcurves linecolor rgb '%s' fillstyle transparent "
                "solid 0.2 noborder notitle, \\\n",
                p->name, index + i, scale, scale, colours[i % COLOURS]);
    }
}

static void put_lines(FILE *f, const picture *p, const panel *one, double scale, int index)
{
    int i = 0;
    for (int begin = 0, end; begin < one->n && i < LINES_MOST; begin = end) {
        end = panel_series_end(one, begin);
        if (panel_measured(one, begin, end) > 0) {
            char label[LABEL_MOST];
            panel_label(one, &one->points[begin], label);
            fprintf(f,
                    "%s    '%s.tsv' index %d using 2:($3*%.9g) with linespoints linecolor rgb '%s' dashtype %d linewidth 2 "
                    "pointtype %d pointsize size title '%s'",
                    i ? ", \\\n" : "", p->name, index + i, scale, colours[i % COLOURS], 1 + i / COLOURS, marks[i % COLOURS],
                    label);
            i++;
        }
    }
    if (is_speed(one->kind)) {
        fputs(", \\\n    (x >= 1 ? x : NaN) with lines linecolor rgb '#808080' dashtype 3 linewidth 2 title 'ideal'", f);
    }
    fputc('\n', f);
}

static void put_panels(FILE *f, const picture *p, const layout *l, const extent extents[])
{
    int top = HEAD, index = 0;
    for (int i = 0; i < p->n; i++) {
        const panel *one = &p->panels[i];
        const wording *w = &wordings[one->kind];
        top += p->has_parts ? PANEL_HEAD : 0;
        fprintf(f, "\n  set lmargin at screen %.5f\n  set rmargin at screen %.5f\n", across(l, l->left),
                across(l, l->width - l->right));
        fprintf(f, "  set tmargin at screen %.5f\n  set bmargin at screen %.5f\n", down(l, top), down(l, top + PLOT_HEIGHT));
        if (p->has_parts) {
            fprintf(f, "  set label 3 '%s' at screen %.5f, %.5f left font ',15'\n", w->title, across(l, l->left),
                    down(l, top - PANEL_HEAD / 2));
        }
        fprintf(f, "  set key at screen %.5f, %.5f left top Left reverse vertical samplen 3 spacing 1.3 noautotitle\n",
                across(l, l->width - l->right + NOTE), down(l, top));
        put_axis(f, 'x', &l->x[i], w->x);
        put_axis(f, 'y', &l->y[i], w->y);
        fputs("  plot \\\n", f);
        if (extents[i].spread &&
            !is_speed(one->kind)) { /* a line for each length of prompt: their bands would hide each other */
            put_bands(f, p, &extents[i], l->y[i].scale, index);
        }
        put_lines(f, p, one, l->y[i].scale, index);
        fputs("  unset for [i = 1:99] label i\n", f);
        index += panel_lines(one);
        top += PLOT_HEIGHT + PANEL_FOOT;
    }
}

/* The threads of every row; 0: they differ. */
static int32_t threads_of(const row_list *all)
{
    for (int i = 1; i < all->n; i++) {
        if (all->rows[i].plan.threads != all->rows[0].plan.threads) {
            return 0;
        }
    }
    return all->rows[0].plan.threads;
}

/* The texts as variables: the title, the conditions, the notes. */
static void put_words(FILE *f, const picture *p, const row_list *all, const char *notes)
{
    enum { NAME_LETTERS = 60, NOTE_LETTERS = 145, TEXT_MOST = 512 };
    char name[TEXT_MOST], machine[TEXT_MOST], line[3 * TEXT_MOST];
    const lariat_plan *plan = &all->rows[0].plan;
    bool on_gpu = plan->device == LARIAT_DEVICE_CUDA;
    int32_t threads = on_gpu ? 0 : threads_of(all);
    cut(all->model_name, NAME_LETTERS, name, sizeof name);
    cut(on_gpu ? plan->device_name : all->cpu, NAME_LETTERS, machine, sizeof machine);
    int n = snprintf(line, sizeof line, "%s, %s, on %s", name, all->weight_type, machine);
    if (threads) {
        n += snprintf(line + n, sizeof line - (size_t)n, ", %d thread%s", threads, threads > 1 ? "s" : "");
    }
    if (all->options->rank_threads) {
        n += snprintf(line + n, sizeof line - (size_t)n, ", %lld thread%s a rank", (long long)all->options->rank_threads,
                      all->options->rank_threads > 1 ? "s" : "");
    }
    if (!all->rows[0].cell.cached) {
        snprintf(line + n, sizeof line - (size_t)n, ", without a KV cache");
    }
    fputs("title = ", f);
    put_text(f, p->title);
    fputs("\nmeasured = ", f);
    put_text(f, line);
    int i = 0;
    for (const char *at = notes, *end; (end = strchr(at, '\n')); at = end + 1) {
        snprintf(line, sizeof line, "%.*s", (int)(end - at), at);
        cut(line, NOTE_LETTERS, name, sizeof name);
        fprintf(f, "\nnote%d = ", ++i);
        put_text(f, name);
    }
    fputc('\n', f);
}

static void place_words(FILE *f, const layout *l)
{
    double x = across(l, NOTE);
    fprintf(f, "  set label 1 title at screen %.5f, %.5f left font ',18'\n", x, down(l, HEAD / 3));
    fprintf(f, "  set label 2 measured at screen %.5f, %.5f left font ',13'\n", x, down(l, 2 * HEAD / 3));
    for (int i = 1; i <= l->n_notes; i++) {
        fprintf(f, "  set label %d note%d at screen %.5f, %.5f left font ',12' textcolor rgb '#505050'\n", 10 + i, i, x,
                down(l, l->height - (l->n_notes - i + 1) * NOTE));
    }
}

static void put_commands(FILE *f, const picture *p, const row_list *all, const char *notes)
{
    extent extents[PANELS_MOST];
    for (int i = 0; i < p->n; i++) {
        extents[i] = extent_of(&p->panels[i]);
    }
    layout l = lay_out(p, extents, notes);
    fprintf(f,
            "# Draws %s.svg and %s.png from %s.tsv:  gnuplot %s.gp\n"
            "set encoding utf8\nset datafile separator tab\n",
            p->name, p->name, p->name, p->name);
    put_words(f, p, all, notes);
    fprintf(f,
            "do for [kind in 'svg png'] {\n"
            "  if (kind eq 'svg') {\n"
            "    set terminal svg size %d,%d noenhanced font 'sans,14' background rgb '#ffffff'\n"
            "  } else { if (strstrt(GPVAL_TERMINALS, 'pngcairo') > 0) {\n"
            "    set terminal pngcairo size %d,%d noenhanced font 'sans,14' fontscale 0.75 background rgb '#ffffff'\n"
            "  } else {\n"
            "    set terminal png truecolor size %d,%d noenhanced medium background rgb '#ffffff'\n"
            "  } }\n"
            "  size = kind eq 'svg' ? 0.8 : 1.2\n"
            "  set output '%s.' . kind\n"
            "  set multiplot\n"
            "  set border 3\n"
            "  set tics nomirror\n"
            "  set grid linetype 1 linecolor rgb '#e0e0e0' linewidth 1\n",
            l.width, l.height, l.width, l.height, l.width, l.height, p->name);
    place_words(f, &l);
    put_panels(f, p, &l, extents);
    fputs("  unset multiplot\n  unset output\n}\n", f);
}

char *script_commands(const picture *p, const row_list *all, const char *notes)
{
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    if (!f) {
        return NULL;
    }
    put_commands(f, p, all, notes);
    return finish(f, &text);
}
