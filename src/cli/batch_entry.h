/* A line of a batch: its request, and its result.
   Rests on invocation.h and schedule/request.h. batch.c carries entries out, batch_result.c writes their results; docs/files.md
   has the form of both. */
#pragma once

#include "cli/reply.h"

#include <jansson.h>

enum { BATCH_TOKENS = 512 }; /* of a reply where neither -n nor the line says how many */

typedef enum entry_form {
    FORM_LINE,       /* Lariat's own */
    FORM_SAMPLES,    /* of a single prompt: a line for each reply */
    FORM_COMPLETION, /* OpenAI's batches: /v1/completions, */
    FORM_CHAT        /* /v1/chat/completions */
} entry_form;

typedef struct entry {
    entry_form form;
    int64_t line;    /* of the input, from 1 */
    json_t *id;      /* OpenAI's custom_id */
    json_t *others;  /* an object: keys of the line that go to its result */
    json_t *kept;    /* an object: keys of OpenAI's body that go to the body of its result */
    json_t *model;   /* as OpenAI's body names it; NULL: it does not */
    char *error;     /* NULL: none */
    bool no_memory;  /* the error is that memory ran out: another run may find some */
    request asked;
    bool bounded;    /* by -n or by the line itself, not by BATCH_TOKENS */
    token_list prompt;
    int32_t turn_end; /* see reply */
    int64_t context;  /* positions that each of its sessions reserves */
    int32_t started, ended; /* replies */
    json_t *choices;  /* [asked.samples]: replies that have ended, otherwise null */
    int64_t made;     /* tokens of these */
    bool interrupted; /* Ctrl-C ended one of them, or prevented the last one */
    json_t *result;   /* its line, once all have */
} entry;

/* Reads a line, the index-th of the batch. A line that is bad has an error; a failure is that of memory. */
int entry_read(const invocation *inv, int64_t index, const char *data, size_t size, entry *e);
/* The only entry of a batch of samples. Takes the prompt. */
int entry_of_prompt(const invocation *inv, token_list prompt, entry *e);
void entry_free(entry *e);
/* Frees all of an entry but its error: its line is written. */
void entry_forget(entry *e);

/* Records why the entry has no result but an error. Returns false. */
bool entry_refuse(entry *e, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same, where memory ran out. */
bool entry_lacks_memory(entry *e, const char *why);

/* --- batch_result.c --- */

/* Adds a reply that has ended; `sample` is its number, from 0. A failure is that of memory, without a message. */
int entry_add(entry *e, const reply *r, int32_t sample);
/* Makes the result of the replies that have ended, or of the error. */
int entry_finish(const invocation *inv, entry *e);
typedef enum found_result {
    FOUND_OTHER, /* not the entry's result */
    FOUND_REPLIES,
    FOUND_ERROR,
    FOUND_NO_MEMORY /* the error that another run may not have */
} found_result;

/* What a line of an earlier run is to the entry. */
found_result entry_find(const entry *e, const json_t *line);
