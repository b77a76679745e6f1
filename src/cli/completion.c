/* Completions for bash, zsh and fish.
   Rests on the tables of options.c. */
#include "cli/help.h"

#include <string.h>

/* "a|b|c" as "a b c". */
static void print_choices(FILE *to, const char *choices)
{
    for (; *choices; choices++) {
        fputc(*choices == '|' ? ' ' : *choices, to);
    }
}

/* "NAME|FILE" of a path is none: the shell completes files. */
static bool has_choices(const option *o)
{
    return o->value && o->kind != OPTION_PATH && strchr(o->value, '|') != NULL;
}

static void print_commands(FILE *to)
{
    for (int c = 0; c < COMMAND_COUNT; c++) {
        fprintf(to, "%s%s", c ? " " : "", command_texts[c].name);
    }
}

/* One branch a subcommand: the values of the preceding option, or all options. */
static void print_bash_command(FILE *to, command c)
{
    fprintf(to, "    %s)\n        case $before in\n", command_texts[c].name);
    for (const option *o = NULL; (o = option_after(o, c));) {
        if (!o->value) {
            continue;
        }
        fprintf(to, "        --%s", o->name);
        if (o->letter) {
            fprintf(to, "|-%c", o->letter);
        }
        if (has_choices(o)) {
            fputs(") COMPREPLY=($(compgen -W '", to);
            print_choices(to, o->value);
            fputs("' -- \"$word\")); return;;\n", to);
        } else {
            fprintf(to, ") %sreturn;;\n", o->kind == OPTION_PATH ? "COMPREPLY=($(compgen -f -- \"$word\")); " : "");
        }
    }
    fputs("        esac\n        names='", to);
    for (const option *o = NULL; (o = option_after(o, c));) {
        fprintf(to, "--%s ", o->name);
    }
    fputs("';;\n", to);
}

static void print_bash(FILE *to)
{
    fputs("# bash completion for lariat, made from its option table\n_lariat() {\n"
          "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} names=\n    COMPREPLY=()\n"
          "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        COMPREPLY=($(compgen -W '",
          to);
    print_commands(to);
    fputs(" --help --version' -- \"$word\"))\n        return\n    fi\n    case ${COMP_WORDS[1]} in\n", to);
    for (int c = 0; c < COMMAND_COUNT; c++) {
        print_bash_command(to, (command)c);
    }
    fputs("    esac\n    case ${COMP_WORDS[1]} in\n    help) names=\"$names ", to);
    print_commands(to);
    fputs("\";;\n    inspect) COMPREPLY=($(compgen -f -- \"$word\"));;\n    esac\n"
          "    COMPREPLY+=($(compgen -W \"$names\" -- \"$word\"))\n}\ncomplete -o filenames -F _lariat lariat\n",
          to);
}

/* For single quotes: replaces characters that end them or are special to _arguments. */
static void print_plain(FILE *to, const char *text)
{
    for (; *text; text++) {
        fputc(strchr("'[]:\\", *text) ? ' ' : *text, to);
    }
}

static void print_zsh_spec(FILE *to, const option *o, const char *dashes, const char *name)
{
    fprintf(to, " \\\n            '%s%s[", dashes, name);
    print_plain(to, o->help);
    fputc(']', to);
    if (o->value) {
        fputs(":value:", to);
        if (has_choices(o)) {
            fputc('(', to);
            print_choices(to, o->value);
            fputc(')', to);
        } else if (o->kind == OPTION_PATH) {
            fputs("_files", to);
        }
    }
    fputc('\'', to);
}

static void print_zsh(FILE *to)
{
    fputs("#compdef lariat\n# zsh completion for lariat, made from its option table\n_lariat() {\n    if (( CURRENT == 2 )); "
          "then\n        compadd ",
          to);
    print_commands(to);
    fputs(" -- --help --version\n        return\n    fi\n    local subcommand=$words[2]\n    shift words\n    (( CURRENT-- ))\n"
          "    case $subcommand in\n",
          to);
    for (int c = 0; c < COMMAND_COUNT; c++) {
        fprintf(to, "        %s) _arguments", command_texts[c].name);
        for (const option *o = NULL; (o = option_after(o, (command)c));) {
            char letter[2] = {o->letter, 0};
            print_zsh_spec(to, o, "--", o->name);
            if (o->letter) {
                print_zsh_spec(to, o, "-", letter);
            }
        }
        if (c == COMMAND_INSPECT) {
            fputs(" \\\n            '*:model:_files'", to);
        } else if (c == COMMAND_HELP) {
            fputs(" \\\n            '*:subcommand:(", to);
            print_commands(to);
            fputs(")'", to);
        }
        fputs(";;\n", to);
    }
    fputs("    esac\n}\n_lariat \"$@\"\n", to);
}

static void print_fish_option(FILE *to, command c, const option *o)
{
    fprintf(to, "complete -c lariat -n '__fish_seen_subcommand_from %s' -l %s", command_texts[c].name, o->name);
    if (o->letter) {
        fprintf(to, " -s %c", o->letter);
    }
    if (has_choices(o)) {
        fputs(" -x -a '", to);
        print_choices(to, o->value);
        fputc('\'', to);
    } else if (o->value) {
        fputs(o->kind == OPTION_PATH ? " -r -F" : " -x", to);
    }
    fputs(" -d '", to);
    print_plain(to, o->help);
    fputs("'\n", to);
}

static void print_fish(FILE *to)
{
    fputs("# fish completion for lariat, made from its option table\ncomplete -c lariat -f\n", to);
    for (int c = 0; c < COMMAND_COUNT; c++) {
        fprintf(to, "complete -c lariat -n __fish_use_subcommand -a %s -d '%s'\n", command_texts[c].name,
                command_texts[c].summary);
        for (const option *o = NULL; (o = option_after(o, (command)c));) {
            print_fish_option(to, (command)c, o);
        }
    }
    fputs("complete -c lariat -n '__fish_seen_subcommand_from inspect' -F\n", to);
}

bool completion_print(const char *shell, FILE *to)
{
    if (strcmp(shell, "bash") == 0) {
        print_bash(to);
    } else if (strcmp(shell, "zsh") == 0) {
        print_zsh(to);
    } else if (strcmp(shell, "fish") == 0) {
        print_fish(to);
    } else {
        return false;
    }
    return true;
}
