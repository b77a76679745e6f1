/* The list of pictures, the notes below them, and running gnuplot.
   Rests on posix_spawn. See plot.h. */
#include "cli/bench/plot.h"
#include "cli/bench/axis.h"
#include "cli/bench/script.h"
#include "cli/folders.h"
#include "cli/message.h"
#include "cli/output.h"
#include "cli/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct {
    const char *name, *title;
    panel_kind panels[PANELS_MOST];
} pictures[] = {
    {"first-token", "Time to the first token, by prompt length", {PANEL_FIRST_TOKEN, PANEL_NONE}},
    {"token", "Time for each token after the first, by prompt length", {PANEL_TOKEN, PANEL_NONE}},
    {"memory", "Memory of a rank", {PANEL_MEMORY, PANEL_MEMORY_RANKS}},
    {"speedup", "Rings against one rank: how many times as fast", {PANEL_PREFILL_SPEED, PANEL_DECODE_SPEED}},
    {"rate", "Tokens per second, by context", {PANEL_PREFILL_RATE, PANEL_DECODE_RATE}},
};
enum { PICTURES = sizeof pictures / sizeof *pictures };

/* --- notes --- */

/* "ring of 2 at 32k, 64k; ..." of one series' rows that could not be run. */
static void note_series(FILE *f, const panel *p, int begin, int end, bool *any)
{
    bool named = false;
    for (int i = begin; i < end; i++) {
        if (p->points[i].missing) {
            char label[LABEL_MOST], length[AXIS_LABEL_MOST];
            panel_label(p, &p->points[i], label);
            axis_count((int64_t)p->points[i].x, length);
            fprintf(f, "%s%s%s%s",
                    named  ? ", "
                    : *any ? "; "
                           : "Could not be run: ",
                    named ? "" : label, named ? "" : " at ", length);
            named = *any = true;
        }
    }
}

/* One line of all rings and lengths missing in the pictures, if any. */
static int note_missing(FILE *f, const row_list *all)
{
    panel p;
    int rc = panel_fill(&p, PANEL_FIRST_TOKEN, all);
    bool any = false;
    for (int begin = 0, end; rc == 0 && begin < p.n; begin = end) {
        end = panel_series_end(&p, begin);
        note_series(f, &p, begin, end, &any);
    }
    fputs(any ? "\n" : "", f);
    panel_free(&p);
    return rc;
}

static int64_t most_samples(const row_list *all)
{
    int64_t most = 0;
    for (int i = 0; i < all->n; i++) {
        most = all->rows[i].n_samples > most ? all->rows[i].n_samples : most;
    }
    return most;
}

/* The notes below a picture, allocated; NULL: failed, with a message. */
static char *notes_of(const picture *p, const row_list *all)
{
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    int64_t runs = most_samples(all);
    if (!f) {
        complain_memory("bench --plot");
        return NULL;
    }
    if (p->panels[0].kind == PANEL_MEMORY || p->panels[0].kind == PANEL_MEMORY_RANKS) {
        bool on_gpu = all->rows[0].plan.device == LARIAT_DEVICE_CUDA;
        fprintf(f, "What the fullest rank has for itself: keys and values, activations%s.\n", on_gpu ? ", weights" : "");
    } else if (runs > 1) {
        bool bands = !panel_is_by_ranks(p->panels[0].kind);
        fprintf(f, "Points: medians of %lld runs.%s\n", (long long)runs, bands ? " Bands: from the least to the most." : "");
    }
    int rc = note_missing(f, all);
    for (int i = 0; i < p->n; i++) {
        int lines = panel_lines(&p->panels[i]);
        if (lines > LINES_MOST) {
            fprintf(f, "%d of %d lines are drawn, the others are in %s.tsv.\n", LINES_MOST, lines, p->name);
        }
    }
    if (fclose(f) != 0 && rc == 0) {
        rc = complain_memory("bench --plot");
    }
    if (rc) {
        free(text);
    }
    return rc ? NULL : text;
}

/* --- files --- */

static char *path_of(const char *folder, const char *name, const char *end)
{
    char *path;
    return asprintf(&path, "%s/%s%s", folder, name, end) < 0 ? NULL : path;
}

/* Writes and frees `text`. */
static int keep(char *text, const char *folder, const char *name, const char *end)
{
    char *path = path_of(folder, name, end);
    int rc = text && path ? write_file(path, text) : complain_memory("bench --plot");
    free(path);
    free(text);
    return rc;
}

/* Removes earlier pictures, data and scripts. */
static void forget_all(const char *folder)
{
    static const char *const ends[] = {".svg", ".png", ".tsv", ".gp"};
    for (int i = 0; i < PICTURES; i++) {
        for (size_t j = 0; j < sizeof ends / sizeof *ends; j++) {
            char *path = path_of(folder, pictures[i].name, ends[j]);
            if (path) {
                unlink(path);
            }
            free(path);
        }
    }
}

static int write_picture(const picture *p, const row_list *all, const char *folder)
{
    char *notes = notes_of(p, all);
    if (!notes) {
        return EXIT_FAILURE;
    }
    make_folder(folder);
    int rc = keep(script_data(p), folder, p->name, ".tsv");
    rc = rc ? rc : keep(script_commands(p, all, notes), folder, p->name, ".gp");
    free(notes);
    return rc;
}

/* --- gnuplot --- */

/* The environment with C's number format. */
static char **gnuplot_environment(void)
{
    static char locale[] = "LC_ALL=C";
    int n = 0, kept = 0;
    while (environ[n]) {
        n++;
    }
    char **copy = calloc((size_t)n + 2, sizeof *copy);
    for (int i = 0; copy && i < n; i++) {
        if (strncmp(environ[i], "LC_ALL=", 7) != 0) {
            copy[kept++] = environ[i];
        }
    }
    if (copy) {
        copy[kept] = locale;
    }
    return copy;
}

/* Starts gnuplot in `folder`, with its output to `said`. Returns 0 or an errno. */
static int spawn_gnuplot(const char *folder, char *script, int said, pid_t *child)
{
    char program[] = "gnuplot", defaults[] = "-d"; /* ignores the user's start-up file */
    char *arguments[] = {program, defaults, script, NULL};
    char **environment = gnuplot_environment();
    posix_spawn_file_actions_t files;
    if (!environment || posix_spawn_file_actions_init(&files) != 0) {
        free(environment);
        return ENOMEM;
    }
    int rc = posix_spawn_file_actions_adddup2(&files, said, STDERR_FILENO);
    rc = rc ? rc : posix_spawn_file_actions_adddup2(&files, said, STDOUT_FILENO);
    rc = rc ? rc : posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    rc = rc ? rc : posix_spawn_file_actions_addchdir_np(&files, folder);
    rc = rc ? rc : posix_spawnp(child, program, &files, NULL, arguments, environment);
    posix_spawn_file_actions_destroy(&files);
    free(environment);
    return rc;
}

/* Reports gnuplot's error: the last non-empty line of its output. */
static int complain_gnuplot(const char *folder, const char *script, FILE *output)
{
    char line[512], last[512] = "it ended without a word";
    rewind(output);
    while (fgets(line, sizeof line, output)) {
        line[strcspn(line, "\n")] = 0;
        if (line[strspn(line, " \t^")]) {
            snprintf(last, sizeof last, "%s", line);
        }
    }
    return complain("%s/%s: gnuplot did not draw it: %s, the data are kept", folder, script, last + strspn(last, " \t"));
}

static int run_gnuplot(const char *folder, char *script, bool *missing)
{
    FILE *output = tmpfile();
    pid_t child;
    int status = -1;
    if (!output) {
        return complain("gnuplot: no temporary file: %s, make room or set TMPDIR", strerror(errno));
    }
    int rc = spawn_gnuplot(folder, script, fileno(output), &child);
    *missing = rc == ENOENT;
    if (rc) {
        rc = *missing ? 0 : complain("gnuplot: cannot run: %s, the data are kept in %s", strerror(rc), folder);
    } else {
        while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
        }
        rc = status == 0 ? 0 : complain_gnuplot(folder, script, output);
    }
    fclose(output);
    return rc;
}

/* --- all of it --- */

/* Fills the panels of a picture that are worth drawing. */
static int fill(picture *p, int which, const row_list *all)
{
    *p = (picture){.name = pictures[which].name,
                   .title = pictures[which].title,
                   .has_parts = pictures[which].panels[1] != PANEL_NONE};
    int rc = 0;
    for (int i = 0; rc == 0 && i < PANELS_MOST && pictures[which].panels[i] != PANEL_NONE; i++) {
        rc = panel_fill(&p->panels[p->n], pictures[which].panels[i], all);
        if (rc == 0 && panel_is_worth_drawing(&p->panels[p->n])) {
            p->n++;
        } else {
            panel_free(&p->panels[p->n]);
        }
    }
    return rc;
}

static int write_all(const row_list *all, const char *folder, bool written[PICTURES])
{
    int rc = 0;
    bool any = false;
    for (int i = 0; rc == 0 && i < PICTURES; i++) {
        picture p;
        rc = fill(&p, i, all);
        written[i] = rc == 0 && p.n > 0;
        if (written[i] && !any && !signals_interrupted()) { /* an interrupted run keeps earlier pictures */
            forget_all(folder);
        }
        any = any || written[i];
        rc = written[i] ? write_picture(&p, all, folder) : rc;
        for (int j = 0; j < p.n; j++) {
            panel_free(&p.panels[j]);
        }
    }
    return rc;
}

int plots_draw(const row_list *all, const char *folder)
{
    bool written[PICTURES] = {0}, any = false, missing = false;
    int rc = write_all(all, folder, written);
    for (int i = 0; rc == 0 && !missing && i < PICTURES; i++) {
        if (written[i]) {
            char script[64];
            snprintf(script, sizeof script, "%s.gp", pictures[i].name);
            rc = run_gnuplot(folder, script, &missing);
            any = true;
        }
    }
    if (rc == 0 && missing) {
        warn("gnuplot is not here, so nothing is drawn: install the package gnuplot-nox, then run gnuplot NAME.gp in %s, where "
             "the data are",
             folder);
    } else if (rc == 0 && !any) {
        warn("--plot: no new pictures, for every line needs two points: %s",
             signals_interrupted() ? "this run was stopped before there were so many"
                                   : "give more than one length, depth or ring size");
    }
    return rc;
}
