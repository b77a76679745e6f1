/* --help, and the subcommand help.
   Rests on the tables of options.c. */
#include "cli/help.h"
#include "cli/commands.h"
#include "cli/message.h"
#include "cli/output.h"

#include <ctype.h>
#include <string.h>

enum { WIDTH = 100, INDENT = 28 };

/* Prints words from column `column` on, in lines of WIDTH indented by `indent`. */
static void print_words(const char *text, int column, int indent)
{
    while (*text) {
        if (*text == '\n') {
            printf("\n");
            text++;
            column = 0;
        }
        int size = (int)strcspn(text, " \n");
        if (column > indent && column + 1 + size > WIDTH) {
            printf("\n");
            column = 0;
        }
        if (column > indent) {
            column += printf(" ");
        } else if (column < indent) {
            column += printf("%*s", indent - column, "");
        }
        column += printf("%.*s", size, text);
        text += size;
        text += *text == ' ';
    }
    printf("\n");
}

static void print_option(const option *o)
{
    char label[128], help[1024];
    int column = snprintf(label, sizeof label, "  %c%c%s --%s%s%s", o->letter ? '-' : ' ', o->letter ? o->letter : ' ',
                          o->letter ? "," : " ", o->name, o->value ? " " : "", o->value ? o->value : "");
    snprintf(help, sizeof help, "%s%s%s%s%s%s%s", o->help, o->fallback ? " (default: " : "", o->fallback ? o->fallback : "",
             o->fallback ? ")" : "", o->env ? " [$" : "", o->env ? o->env : "", o->env ? "]" : "");
    printf("%s", label);
    if (column >= INDENT) {
        printf("\n");
        column = 0;
    }
    print_words(help, column, INDENT);
}

static void print_options(command c, bool common, const char *title)
{
    bool titled = false;
    for (const option *o = NULL; (o = option_after(o, c));) {
        if (option_is_common(o) == common) {
            printf("%s", titled ? "" : title);
            titled = true;
            print_option(o);
        }
    }
}

static void print_command(command c)
{
    const command_text *t = &command_texts[c];
    printf("Usage: lariat %s %s\n\n", t->name, t->usage);
    printf("%c%s.\n", toupper((unsigned char)t->summary[0]), t->summary + 1);
    if (t->more) {
        printf("\n");
        print_words(t->more, 0, 0);
    }
    print_options(c, false, "\nOptions:\n");
    print_options(c, true, "\nCommon options:\n");
}

static void print_overview(void)
{
    printf("Usage: lariat SUBCOMMAND [options]\n\nLLaMA inference on a ring of devices.\n\nSubcommands:\n");
    for (int c = 0; c < COMMAND_COUNT; c++) {
        printf("  %-12s %s\n", command_texts[c].name, command_texts[c].summary);
    }
    printf("\nlariat SUBCOMMAND --help describes one of them; lariat --version prints the version.\n"
           "lariat help --man writes the manual page, lariat help --completion SHELL its completions.\n");
}

int help_print(command c)
{
    if (c == COMMAND_HELP) {
        print_overview();
    } else {
        print_command(c);
    }
    return output_flush();
}

int command_help(const options *o)
{
    if (o->man) {
        manual_print(stdout);
        return output_flush();
    }
    if (o->completion) {
        return completion_print(o->completion, stdout)
                   ? output_flush()
                   : complain_usage("--completion: '%s' is unknown, choose from bash, zsh and fish", o->completion);
    }
    return help_print(o->subject ? command_from_name(o->subject) : COMMAND_HELP);
}
