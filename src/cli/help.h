/* The option table as text: --help (help.c), the manual page (manual.c), shell completions (completion.c).
   Rests on options.h. */
#ifndef CLI_HELP_H
#define CLI_HELP_H

#include "cli/options.h"

#include <stdio.h>

/* The help of one subcommand; COMMAND_HELP: the overview. */
int help_print(command c);

void manual_print(FILE *to);
/* "bash", "zsh" or "fish"; false: an unknown shell. */
bool completion_print(const char *shell, FILE *to);

#endif
