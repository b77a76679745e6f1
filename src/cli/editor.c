/* Reading lines with libedit, or with getline.
   Rests on libedit reading characters through our function, so that Ctrl-C ends a line without another handler. */
#include "cli/editor.h"
#include "cli/folders.h"
#include "cli/input.h"
#include "cli/message.h"
#include "cli/signals.h"

#include <errno.h>
#include <histedit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

enum { HISTORY_LINES = 1000 };

struct editor {
    EditLine *edit; /* NULL: from a pipe */
    History *history;
    char *history_path; /* NULL: not kept */
    char *line;
    size_t room;
    bool begun; /* the first line has been read */
};

static char *prompt(EditLine *edit)
{
    (void)edit;
    static char sign[] = "> ";
    return sign;
}

/* Reads one character from the terminal; -1: a signal, which ends the line. Invalid bytes are skipped. */
static int read_character(EditLine *edit, wchar_t *out)
{
    (void)edit;
    mbstate_t state = {0};
    for (;;) {
        char byte;
        ssize_t n = read(STDIN_FILENO, &byte, 1);
        if (n <= 0) {
            return (int)n;
        }
        size_t got = mbrtowc(out, &byte, 1, &state);
        if (got == (size_t)-1) {
            memset(&state, 0, sizeof state);
        } else if (got != (size_t)-2) {
            return 1;
        }
    }
}

static int open_terminal(editor *e)
{
    e->edit = el_init("lariat", stdin, stderr, stderr);
    e->history = history_init();
    if (!e->edit || !e->history) {
        return complain_memory("line editing");
    }
    HistEvent event;
    history(e->history, &event, H_SETSIZE, HISTORY_LINES);
    history(e->history, &event, H_SETUNIQUE, 1);
    e->history_path = user_file("XDG_STATE_HOME", ".local/state", "history");
    if (e->history_path) {
        history(e->history, &event, H_LOAD, e->history_path);
    }
    el_set(e->edit, EL_PROMPT, prompt);
    el_set(e->edit, EL_EDITOR, "emacs");
    el_set(e->edit, EL_HIST, history, e->history);
    el_set(e->edit, EL_GETCFN, read_character);
    el_source(e->edit, NULL); /* the user's ~/.editrc */
    return 0;
}

int editor_open(editor **out)
{
    *out = calloc(1, sizeof **out);
    TRY_MEMORY(*out, "line editing");
    bool terminal = isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
    return terminal ? open_terminal(*out) : 0;
}

void editor_close(editor *e)
{
    if (!e) {
        return;
    }
    if (e->edit) {
        el_end(e->edit);
    }
    if (e->history) {
        history_end(e->history);
    }
    free(e->history_path);
    free(e->line);
    free(e);
}

bool editor_is_interactive(const editor *e)
{
    return e->edit != NULL;
}

/* Saved after each line, since a talk may end abruptly. */
static void remember(editor *e, const char *line)
{
    HistEvent event;
    history(e->history, &event, H_ENTER, line);
    if (e->history_path) {
        history(e->history, &event, H_SAVE, e->history_path);
    }
}

static line_end failed_read(void)
{
    complain("standard input: cannot read: %s, give lines from a terminal, a pipe or a file", strerror(errno));
    return LINE_FAILED;
}

static line_end read_edited(editor *e, const char **line)
{
    int n = 0;
    const char *typed = el_gets(e->edit, &n);
    if (signals_interrupted()) {
        fputc('\n', stderr);
        return LINE_INTERRUPTED;
    }
    if (!typed || n <= 0) {
        fputc('\n', stderr);
        return n < 0 ? failed_read() : LINE_LAST;
    }
    free(e->line);
    e->line = strndup(typed, strcspn(typed, "\n"));
    if (!e->line) {
        return failed_read();
    }
    if (e->line[0]) {
        remember(e, typed);
    }
    *line = e->line;
    return LINE_READ;
}

line_end editor_read(editor *e, const char **line)
{
    if (e->edit) {
        return read_edited(e, line);
    }
    ssize_t size = getline(&e->line, &e->room, stdin);
    if (signals_interrupted()) {
        return LINE_INTERRUPTED;
    }
    if (size < 0) {
        return feof(stdin) ? LINE_LAST : failed_read();
    }
    if (check_text("standard input", e->line, (size_t)size)) {
        return LINE_FAILED;
    }
    e->line[strcspn(e->line, "\n")] = 0;
    *line = e->line + (e->begun ? 0 : bom_size(e->line, (size_t)size));
    e->begun = true;
    return LINE_READ;
}
