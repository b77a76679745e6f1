/* The program: parses the command line and runs the subcommand. Exit status: 0; 1 after a message; 2 for the command line;
   130 for Ctrl-C; 143 for SIGTERM; 138 for SIGUSR1; 141 for a closed pipe.
   Rests on the public interface of the library. Read on in options.h, then in generate.c; several processes: launcher.h. */
#include "cli/commands.h"
#include "cli/help.h"
#include "cli/launcher.h"
#include "cli/message.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/signals.h"
#include "lariat/status.h"

#include <langinfo.h>
#include <limits.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

/* Sets UTF-8 also without a locale in the environment; numbers keep C's format. */
static void choose_characters(void)
{
    if (!setlocale(LC_CTYPE, "") || strcmp(nl_langinfo(CODESET), "UTF-8") != 0) {
        setlocale(LC_CTYPE, "C.UTF-8");
    }
}

static int print_version(void)
{
    int rc = output_format("lariat %s\n", lariat_version());
    return rc ? rc : output_flush();
}

int main(int argc, char **argv)
{
    static int (*const commands[COMMAND_COUNT])(const options *) = {
        [COMMAND_GENERATE] = command_generate,     [COMMAND_CHAT] = command_chat,         [COMMAND_LOGITS] = command_logits,
        [COMMAND_PERPLEXITY] = command_perplexity, [COMMAND_TOKENIZE] = command_tokenize, [COMMAND_INSPECT] = command_inspect,
        [COMMAND_TEMPLATE] = command_template,     [COMMAND_BENCH] = command_bench,       [COMMAND_HELP] = command_help,
    };
    choose_characters();
    signals_install();
    launcher started_by = launcher_find();
    options o;
    TRY(options_parse(argc, argv, &o));
    if ((o.version || o.help) && started_by.number > 0) {
        return 0;
    }
    if (o.version) {
        return print_version();
    }
    if (o.help) {
        return help_print(o.command);
    }
    char model[PATH_MAX];
    TRY(launcher_find_model(&o, model));
    if (o.model) {
        signals_name_model(o.model);
    }
    int (*run)(const options *) = commands[o.command];
    int rc = launcher_concerns(&started_by, &o) ? launcher_run(&started_by, &o, run) : run(&o);
    return rc == EXIT_INTERRUPTED ? signals_status() : rc;
}
