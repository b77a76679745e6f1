/* Parsing the command line: defaults, then the environment, then the arguments.
   Rests on the table in options.c, values.c for values and combinations.c for options that exclude or need one another. Read on
   in main.c. */
#include "cli/combinations.h"
#include "cli/message.h"
#include "cli/options.h"
#include "cli/values.h"
#include "schedule/request.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MOST = 64 }; /* bytes of a name that are compared for similarity */

command command_from_name(const char *name)
{
    for (int c = 0; c < COMMAND_COUNT; c++) {
        if (strcmp(command_texts[c].name, name) == 0) {
            return (command)c;
        }
    }
    return COMMAND_COUNT;
}

/* --- the nearest known name --- */

static int smallest(int a, int b, int c)
{
    int ab = a < b ? a : b;
    return ab < c ? ab : c;
}

/* Single-letter edits (Levenshtein) that turn a into b. */
static int edits(const char *a, const char *b)
{
    int row[NAME_MOST + 1];
    int n = (int)strnlen(b, NAME_MOST);
    for (int j = 0; j <= n; j++) {
        row[j] = j;
    }
    for (int i = 1; a[i - 1] && i <= NAME_MOST; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= n; j++) {
            int above = row[j];
            row[j] = smallest(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
            diagonal = above;
        }
    }
    return row[n];
}

/* Most edits of a typing mistake: one, and one more for every four letters typed. */
static int edits_of_a_slip(const char *typed)
{
    return 1 + (int)strnlen(typed, NAME_MOST) / 4;
}

/* Like edits, but a prefix or an extension of a name counts as one edit: "temperature" for "temp". */
static int name_edits(const char *typed, const char *name)
{
    size_t a = strlen(typed), b = strlen(name), shared = a < b ? a : b;
    return shared >= 3 && a != b && strncmp(typed, name, shared) == 0 ? 1 : edits(typed, name);
}

/* A single letter: no edits to the other case of an option's letter, one to names that begin with it. */
static int letter_edits(char typed, const option *o)
{
    return tolower((unsigned char)typed) == o->letter ? 0 : typed == o->name[0] ? 1 : 2;
}

/* NULL: none is near. */
static const option *nearest_option(command c, const char *typed, int size)
{
    char name[NAME_MOST + 1];
    int dashes = typed[1] == '-' ? 2 : 1;
    snprintf(name, sizeof name, "%.*s", size - dashes, typed + dashes);
    const option *best = NULL;
    int best_edits = edits_of_a_slip(name) + 1;
    for (const option *o = NULL; (o = option_after(o, c));) {
        int e = name[0] && !name[1] ? letter_edits(name[0], o) : name_edits(name, o->name);
        best = e < best_edits ? o : best;
        best_edits = e < best_edits ? e : best_edits;
    }
    return best;
}

/* NULL: none is near. */
static const char *nearest_command(const char *typed)
{
    const char *best = NULL;
    int best_edits = edits_of_a_slip(typed) + 1;
    for (int c = 0; c < COMMAND_COUNT; c++) {
        int e = name_edits(typed, command_texts[c].name);
        best = e < best_edits ? command_texts[c].name : best;
        best_edits = e < best_edits ? e : best_edits;
    }
    return best;
}

static int refuse_command(const char *typed)
{
    const char *near = nearest_command(typed);
    return near ? complain_usage("'%s': no such subcommand, the nearest is %s (all: lariat --help)", typed, near)
                : complain_usage("'%s': no such subcommand, lariat --help lists them", typed);
}

/* --- the three sources --- */

/* The defaults, then the environment, which is empty for options without a variable. */
static int set_unasked(options *values)
{
    int rc = 0;
    *values = (options){.command = values->command, .n = UNTIL_THE_END, .logprobs = REQUEST_NO_LOGPROBS};
    for (const option *o = NULL; rc == 0 && (o = option_after(o, values->command));) {
        rc = o->fallback ? value_set(values, o, o->name, o->fallback) : 0;
        const char *text = o->env ? getenv(o->env) : NULL;
        if (rc == 0 && text && *text) {
            values->given[o - option_table] = text;
            rc = value_set(values, o, o->env, text);
        }
    }
    return rc;
}

static bool is_named(const option *o, const char *name, size_t size, bool by_letter)
{
    return by_letter ? size == 1 && o->letter == name[0] : strlen(o->name) == size && strncmp(o->name, name, size) == 0;
}

/* The option typed as name[0..size). If none applies, *elsewhere is the first of another subcommand; bench, which uses
   letters differently, is last in the table. */
static const option *find(command c, const char *name, size_t size, bool by_letter, const option **elsewhere)
{
    *elsewhere = NULL;
    for (int i = 0; i < option_count; i++) {
        const option *o = &option_table[i];
        if (is_named(o, name, size, by_letter)) {
            if (option_applies(o, c)) {
                return o;
            }
            *elsewhere = *elsewhere ? *elsewhere : o;
        }
    }
    return NULL;
}

/* Are these several flags after one dash? */
static bool is_joined_flags(command c, const char *typed, int size)
{
    for (int i = 1; i < size; i++) {
        const option *elsewhere, *o = find(c, typed + i, 1, true, &elsewhere);
        if (!o || o->kind != OPTION_FLAG) {
            return false;
        }
    }
    return true;
}

static int refuse_unknown(command c, const char *typed, int size)
{
    const char *name = command_texts[c].name;
    if (is_joined_flags(c, typed, size)) {
        return complain_usage("%.*s: no such option, give each letter a dash of its own: -%c -%c", size, typed, typed[1],
                              typed[2]);
    }
    const option *near = nearest_option(c, typed, size);
    if (near) {
        return complain_usage("%.*s: no such option, the nearest of lariat %s is --%s (all: lariat %s --help)", size, typed,
                              name, near->name, name);
    }
    const option *elsewhere;
    const option *joined = typed[1] != '-' ? find(c, typed + 1, 1, true, &elsewhere) : NULL;
    if (joined && joined->value) {
        return complain_usage("%.*s: no such option, if a value of -%c is meant put a blank before it", size, typed,
                              joined->letter);
    }
    return complain_usage("%.*s: no such option, lariat %s --help lists all", size, typed, name);
}

static int refuse_elsewhere(command c, const char *typed, int size, const option *elsewhere)
{
    const char *name = command_texts[c].name;
    int other = 0;
    while (!option_applies(elsewhere, (command)other)) {
        other++;
    }
    return complain_usage("%.*s: lariat %s has no use for it, lariat %s has (lariat %s --help lists what applies)", size, typed,
                          name, command_texts[other].name, name);
}

/* Parses the option at argv[*at] and advances *at to its last word. */
static int read_option(int argc, char **argv, int *at, options *values)
{
    const char *typed = argv[*at];
    bool by_letter = typed[1] != '-';
    const char *name = typed + (by_letter ? 1 : 2);
    const char *equals = by_letter ? NULL : strchr(name, '=');
    size_t size = equals ? (size_t)(equals - name) : strlen(name);
    int shown = (int)(name - typed) + (int)size;
    const option *elsewhere;
    const option *o = find(values->command, name, size, by_letter, &elsewhere);
    if (!o) {
        return elsewhere ? refuse_elsewhere(values->command, typed, shown, elsewhere)
                         : refuse_unknown(values->command, typed, shown);
    }
    bool *typed_before = &values->typed[o - option_table], twice = *typed_before;
    *typed_before = true;
    if (o->kind == OPTION_FLAG) {
        return equals ? complain_usage("%.*s: takes no value, leave out '%s'", shown, typed, equals)
                      : value_set(values, o, typed, NULL);
    }
    if (!equals && *at + 1 >= argc) {
        return complain_usage("%.*s: no value, give one: %s", shown, typed, o->value);
    }
    if (twice && o->kind != OPTION_TEXTS) {
        return complain_usage("%.*s: given twice, leave one out", shown, typed);
    }
    const char *text = equals ? equals + 1 : argv[++*at];
    char where[NAME_MOST];
    snprintf(where, sizeof where, "%.*s", shown, typed);
    values->given[o - option_table] = text;
    return value_set(values, o, where, text);
}

static int read_words(int argc, char **argv, options *values)
{
    bool takes_subject = values->command == COMMAND_INSPECT || values->command == COMMAND_HELP;
    for (int at = 2; at < argc; at++) {
        int rc = 0;
        if (argv[at][0] == '-' && argv[at][1]) {
            rc = read_option(argc, argv, &at, values);
        } else if (takes_subject && !values->subject) {
            values->subject = argv[at];
        } else {
            rc = complain_usage(
                "'%s': lariat %s takes no such argument, texts and files are given with options (lariat %s --help)", argv[at],
                command_texts[values->command].name, command_texts[values->command].name);
        }
        if (rc || values->help || values->version) {
            return rc;
        }
    }
    return 0;
}

static int check_help(const options *v)
{
    if (v->man && v->completion) {
        return complain_usage("--man: goes alone, leave out --completion");
    }
    if (v->subject && (v->man || v->completion)) {
        return complain_usage("%s: is about all subcommands, leave out '%s'", v->man ? "--man" : "--completion", v->subject);
    }
    if (v->subject && command_from_name(v->subject) == COMMAND_COUNT) {
        return refuse_command(v->subject);
    }
    if (v->subject && command_from_name(v->subject) == COMMAND_HELP) {
        return complain_usage("'%s': lariat help alone describes it, leave it out", v->subject);
    }
    return 0;
}

int options_parse(int argc, char **argv, options *out)
{
    *out = (options){.command = COMMAND_HELP};
    if (argc < 2) {
        return complain_usage("no subcommand, lariat --help lists them");
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        out->version = strcmp(argv[1], "--version") == 0;
        out->help = !out->version;
        return argc == 2
                   ? 0
                   : complain_usage("'%s': nothing goes behind lariat %s, leave it out (lariat SUBCOMMAND --help describes "
                                    "one)",
                                    argv[2], argv[1]);
    }
    out->command = command_from_name(argv[1]);
    if (out->command == COMMAND_COUNT) {
        if (argv[1][0] == '-') {
            return complain_usage("'%s': no subcommand before it, lariat --help lists them", argv[1]);
        }
        return refuse_command(argv[1]);
    }
    int rc = set_unasked(out);
    rc = rc ? rc : read_words(argc, argv, out);
    if (rc || out->help || out->version) {
        return rc;
    }
    rc = options_check(out);
    return rc || out->command != COMMAND_HELP ? rc : check_help(out);
}
