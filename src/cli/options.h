/* The command line: one table of options generates parsing, --help, environment names, the manual page and shell completion.
   Rests on nothing. The table is in options.c; parse.c and combinations.c read a command line, help.c, manual.c and
   completion.c describe it. */
#pragma once

#include "lariat/launch.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum command {
    COMMAND_GENERATE,
    COMMAND_CHAT,
    COMMAND_LOGITS,
    COMMAND_PERPLEXITY,
    COMMAND_TOKENIZE,
    COMMAND_TEMPLATE,
    COMMAND_INSPECT,
    COMMAND_BENCH,
    COMMAND_HELP,
    COMMAND_COUNT
} command;

enum {
    EXIT_BAD_USAGE = 2,     /* an invalid command line */
    EXIT_INTERRUPTED = 130, /* Ctrl-C: 128 + SIGINT, as shells report it; inside the program SIGTERM too */
    EXIT_READER_GONE = 141, /* 128 + SIGPIPE */
    EXIT_TERMINATED = 143,  /* 128 + SIGTERM */
    EXIT_WARNED = 138,      /* 128 + SIGUSR1, which batch systems send before their limit of time */
    OPTIONS_MOST = 96,      /* in the table */
    LIST_MOST = 32,         /* lengths, ring sizes or GPUs that one run may name */
    UNTIL_THE_END = -1      /* options.n: no bound on the reply but its end id and the context */
};

typedef struct count_list {
    int n;
    int64_t values[LIST_MOST];
} count_list;

typedef struct text_list {
    int n;
    const char *values[LIST_MOST];
} text_list;

typedef enum table_format { FORMAT_MD, FORMAT_CSV, FORMAT_JSON, FORMAT_JSONL } table_format;

/* The values of all options, from the command line, the environment and the defaults. Text points into argv or the
   environment. */
typedef struct options {
    command command;
    const char *subject; /* the positional argument: a model for inspect, a subcommand for help */

    const char *model, *model_dir, *prompt, *file, *tokens, *prompts;
    int64_t n;       /* tokens to generate, UNTIL_THE_END */
    int64_t context; /* 0: not given */
    double temperature, top_p, min_p;
    int64_t top_k;
    uint64_t seed;
    double presence, frequency, repeat;
    text_list stops, biases; /* ID=X */
    int64_t logprobs;        /* REQUEST_NO_LOGPROBS: not asked for */
    int64_t samples;
    bool special;

    const char *system, *chat_template, *messages, *now;
    text_list variables; /* NAME=JSON */
    bool no_stop_markers;

    const char *out;
    int64_t last; /* 0: all */

    bool bos, jsonl, decode, second_half;
    bool json;

    /* bench: the axes of its rows, measuring and output */
    count_list prompt_lengths, reply_lengths, depths, batches, ring_sizes, chunks, blocks, kvs, devices;
    int64_t rank_threads; /* 0: not given */
    int64_t reps, warm_up;
    int format; /* table_format */
    bool no_cache, compare, ceilings, hops;
    const char *resume, *plot, *timeline;

    int64_t ranks, threads, chunk; /* 0: the library's default */
    int kv, layout, side;          /* lariat_kv, lariat_layout, lariat_side */
    int device, dtype, via;        /* lariat_device, lariat_dtype, lariat_hops */
    count_list cards;              /* none: all */
    const char *mpi;               /* NULL: by the launcher */
    double timeout_s;
    lariat_processes *processes;   /* NULL: this one alone; not an option: see launcher.h */
    bool verify, no_bind, plan;
    const char *stats, *trace;
    bool quiet, verbose;

    bool man;
    const char *completion;
    bool help, version;

    bool typed[OPTIONS_MOST];        /* by index in the table: given on the command line */
    const char *given[OPTIONS_MOST]; /* its text, on the command line or in the environment; flags and others: NULL */
} options;

/* --- the table --- */

typedef enum option_kind {
    OPTION_FLAG,   /* bool */
    OPTION_TEXT,   /* const char * */
    OPTION_PATH,   /* const char *: a file or folder, never "" */
    OPTION_COUNT,  /* int64_t, with k or m for 1024 or 1048576 */
    OPTION_SEED,   /* uint64_t */
    OPTION_REAL,   /* double */
    OPTION_CHOICE, /* int: which of the names in `value` */
    OPTION_LIST,   /* count_list: numbers and ranges of them, separated by commas */
    OPTION_CHOICES, /* count_list: which of the names in `value`, separated by commas */
    OPTION_TEXTS    /* text_list: one each time that it is given */
} option_kind;

typedef struct option {
    char letter;       /* 0: none */
    const char *name;  /* without dashes */
    const char *value; /* the value's name in --help; OPTION_CHOICE and OPTION_CHOICES: the names, "a|b|c"; NULL for flags */
    unsigned commands; /* bit 1 << command */
    option_kind kind;
    size_t field;         /* offset in options */
    double low, high;     /* of COUNT, REAL and LIST */
    const char *fallback; /* the default as text, or NULL */
    const char *env;      /* name of the environment variable that sets it, or NULL */
    const char *help;
} option;

extern const option option_table[];
extern const int option_count;

typedef struct command_text {
    const char *name;
    const char *usage;   /* after "lariat NAME" */
    const char *summary; /* one line */
    const char *more;    /* paragraphs, separated by newlines */
} command_text;

extern const command_text command_texts[COMMAND_COUNT];

/* Was it given on the command line? */
bool option_is_typed(const options *o, const char *name);
/* Does the subcommand take this option? */
bool option_applies(const option *o, command c);
/* The first option of the subcommand after `o` in the table, NULL: the first of all; NULL: no more. */
const option *option_after(const option *o, command c);
/* Do all subcommands that run a model take this option? Help lists these once. */
bool option_is_common(const option *o);

/* --- reading --- */

/* Returns 0, or EXIT_BAD_USAGE after a message. With help or version set, nothing else was checked. */
int options_parse(int argc, char **argv, options *out);

/* The subcommand of that name; COMMAND_COUNT: none. */
command command_from_name(const char *name);
