/* Reading the lines of a chat: with editing and history at a terminal, plainly from a pipe.
   Rests on libedit. */
#pragma once

#include <stdbool.h>

typedef struct editor editor;

/* Editing is on where standard input and standard error are terminals; nothing is written to standard output. */
int editor_open(editor **out);
void editor_close(editor *e);

/* Is editing on? */
bool editor_is_interactive(const editor *e);

typedef enum line_end { LINE_READ, LINE_LAST, LINE_INTERRUPTED, LINE_FAILED } line_end;

/* The next line without its newline, added to the history; owned by the editor, valid until the next call. LINE_LAST: end of
   input. LINE_INTERRUPTED: Ctrl-C, the typed text is discarded. LINE_FAILED: a read error, already reported. */
line_end editor_read(editor *e, const char **line);
