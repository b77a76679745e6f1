/* The option table as text: --help (help.c), the manual page (manual.c), shell completions (completion.c).
   Rests on options.h. */
#pragma once

#include "cli/options.h"

#include <stdio.h>

/* The help of one subcommand; COMMAND_HELP: the overview. */
int help_print(command c);

void manual_print(FILE *to);
/* "bash", "zsh" or "fish"; false: an unknown shell. */
bool completion_print(const char *shell, FILE *to);
