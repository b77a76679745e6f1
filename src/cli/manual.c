/* The manual page, in roff with the man macros, generated from the tables of options.c. */
#include "cli/help.h"
#include "lariat/status.h"

#include <ctype.h>
#include <string.h>

/* Prints text with roff's special characters escaped. */
static void print_text(FILE *to, const char *text)
{
    static const char special[] = "-\\\"~", *const escaped[] = {"\\-", "\\e", "\\(dq", "\\(ti"};
    bool line_begins = true;
    for (; *text; text++) {
        if (line_begins && (*text == '.' || *text == '\'')) {
            fputs("\\&", to);
        }
        const char *at = strchr(special, *text);
        if (at) {
            fputs(escaped[at - special], to);
        } else {
            fputc(*text, to);
        }
        line_begins = *text == '\n';
    }
}

static void print_option(FILE *to, const option *o)
{
    fputs(".TP\n", to);
    if (o->letter) {
        fprintf(to, "\\fB\\-%c\\fR, ", o->letter);
    }
    fputs("\\fB\\-\\-", to);
    print_text(to, o->name);
    fputs("\\fR", to);
    if (o->value) {
        fputs(" \\fI", to);
        print_text(to, o->value);
        fputs("\\fR", to);
    }
    fputc('\n', to);
    print_text(to, o->help);
    if (o->fallback) {
        fputs(" (default: ", to);
        print_text(to, o->fallback);
        fputc(')', to);
    }
    fputc('\n', to);
}

static void print_command(FILE *to, command c)
{
    const command_text *t = &command_texts[c];
    fprintf(to, ".SS lariat %s\n.B lariat %s\n", t->name, t->name);
    print_text(to, t->usage);
    fprintf(to, "\n.PP\n%c", toupper((unsigned char)t->summary[0]));
    print_text(to, t->summary + 1);
    fputs(".\n", to);
    if (t->more) {
        print_text(to, t->more);
        fputc('\n', to);
    }
    for (const option *o = NULL; (o = option_after(o, c));) {
        if (!option_is_common(o)) {
            print_option(to, o);
        }
    }
}

static void print_environment(FILE *to)
{
    fputs(".SH ENVIRONMENT\n", to);
    for (int i = 0; i < option_count; i++) {
        const option *o = &option_table[i];
        if (o->env && option_is_common(o)) {
            fprintf(to, ".TP\n.B %s\nas \\fB\\-\\-", o->env);
            print_text(to, o->name);
            fputs("\\fR, which overrides it\n", to);
        }
    }
    fputs(".TP\n.B LARIAT_CUDA_MODULE\nthe module for GPUs, liblariat_cuda.so, in place of the one beside the program or in "
          "its lib folder\n"
          ".TP\n.B LARIAT_CUBLASLT\na folder to look for libcublasLt in, where the loader finds none\n"
          ".TP\n.B NO_COLOR\nif set, messages are not coloured\n",
          to);
}

static const char tail[] =
    ".SH FILES\n"
    ".TP\n.I $XDG_STATE_HOME/lariat/history\n(\\(ti/.local/state) the lines typed in chats\n"
    ".TP\n.I $XDG_CACHE_HOME/lariat/ceilings\\-HOST\\-CPU.json\n(\\(ti/.cache) results of \\fBlariat bench \\-\\-ceilings\\fR "
    "on this machine, of CPUs and of GPUs\n"
    ".SH EXIT STATUS\n"
    "0 on success (also where a reply ended because the context was full, which is said); 1 where something failed, after one "
    "line on standard error with the failure, its reason and advice; 2 where the command line makes no sense; 130 after "
    "Ctrl\\-C, 143 after SIGTERM; 141, without a word, where the reader of standard output went away.\n"
    ".SH EXAMPLES\n"
    ".TP\nA document of any length, read by two ranks, then talked about:\n.B lariat chat \\-m MODEL \\-\\-ranks 2 \\-f FILE\n"
    ".TP\nWhat a context of 128k would need, on a ring of four:\n.B lariat inspect MODEL \\-c 128k \\-\\-ranks 4\n";

void manual_print(FILE *to)
{
    fprintf(to, ".TH LARIAT 1 \"2026-11-23\" \"lariat %s\"\n.SH NAME\nlariat \\- LLaMA inference on a ring of devices\n",
            lariat_version());
    fputs(".SH SYNOPSIS\n", to);
    for (int c = 0; c < COMMAND_COUNT; c++) {
        fprintf(to, "%s.B lariat %s\n", c ? ".br\n" : "", command_texts[c].name);
        print_text(to, command_texts[c].usage);
        fputc('\n', to);
    }
    fputs(
        ".SH DESCRIPTION\nLariat lays a sequence around a ring of ranks, each a device with its part of the keys and values, "
        "so that a prompt "
        "can be longer than one device holds or finishes in time. Attention stays exact. Standard output carries results "
        "only; all else goes "
        "to standard error. Texts are UTF\\-8: a byte\\-order mark before one is read over, UTF\\-16 and files with zero bytes "
        "are refused.\n.SH SUBCOMMANDS\n",
        to);
    for (int c = 0; c < COMMAND_COUNT; c++) {
        print_command(to, (command)c);
    }
    fputs(".SH COMMON OPTIONS\n", to);
    for (int i = 0; i < option_count; i++) {
        if (option_is_common(&option_table[i])) {
            print_option(to, &option_table[i]);
        }
    }
    print_environment(to);
    fputs(tail, to);
}
