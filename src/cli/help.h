/* The option table as a person reads it: --help, the manual page, completions for shells.
   Rests on options.h. help.c, manual.c and completion.c write one each. */
#ifndef CLI_HELP_H
#define CLI_HELP_H

#include "cli/options.h"

#include <stdio.h>

/* One subcommand; all of them for COMMAND_HELP. */
int help_print(command c);

void manual_print(FILE *to);
/* "bash", "zsh" or "fish"; false for another name. */
bool completion_print(const char *shell, FILE *to);

#endif
