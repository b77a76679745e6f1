/* The lines that a person types in a chat: with editing and history at a terminal, plainly from a pipe.
   Rests on libedit. */
#ifndef CLI_EDITOR_H
#define CLI_EDITOR_H

#include <stdbool.h>

typedef struct editor editor;

/* With editing where standard input and standard error are terminals; standard output stays untouched. */
int editor_open(editor **out);
void editor_close(editor *e);

/* Is a person typing? */
bool editor_is_interactive(const editor *e);

typedef enum line_end { LINE_READ, LINE_LAST, LINE_INTERRUPTED, LINE_FAILED } line_end;

/* The next line without its end, owned by the editor and valid until the next call; kept in the history. LINE_LAST: there is
   none. LINE_INTERRUPTED: Ctrl-C, what was typed is gone. LINE_FAILED: it cannot be read, which has been said. */
line_end editor_read(editor *e, const char **line);

#endif
