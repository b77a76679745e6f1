/* Commands of process 0 to the other processes of a ring, as bytes: the fields of each command are listed once, for writing and
   for reading.
   Rests on placement.h and device/device.h. telling.c writes, follow.c reads; opening.c has the reports of the start.

   A message is a sequence of commands. Numbers are as this machine has them: builds are compared before any other message is
   read. Whatever the bytes are, reading stays inside them and allocates nothing. */
#pragma once

#include "device/device.h"
#include "engine/placement.h"

/* The protocol grows with every change of what stands here, in command_bytes.c or in opening.c. */
enum { COMMANDS_PROTOCOL = 5, COMMAND_TEXT_MOST = 1000 };

typedef enum command_kind {
    TOLD_OPEN = 1, /* an engine: its options */
    TOLD_VERDICT,  /* on the reports of all: LARIAT_OK, or the failure */
    TOLD_SHARES,   /* which of the ranks of its host are a process's own: see host_share */
    TOLD_SESSION_OPEN,
    TOLD_SESSION_CLOSE,
    TOLD_SESSION_REWIND,
    TOLD_SESSION_RESTORE, /* a sequence as it was before a call that failed */
    TOLD_SESSION_FORK,
    TOLD_UNSHARE,   /* a session gets a block of its own */
    TOLD_SUBMIT,    /* a pass: its sessions and tokens */
    TOLD_TAKE_BACK, /* passes of a session */
    TOLD_RUN,       /* carry out the pass */
    TOLD_RESET,     /* the pass was cancelled: make the transport usable again */
    TOLD_CONCLUDE,  /* the oldest pass has ended */
    TOLD_COUNT,     /* report your lariat_stats */
    TOLD_TRACE,     /* start tracing */
    TOLD_TRACE_STOP,
    TOLD_CLOCK,     /* report your clock */
    TOLD_SPANS,     /* report the spans of one of your ranks */
    TOLD_HOP,       /* measure hops, without an engine */
    TOLD_CLOSE,     /* the engine */
    TOLD_STOP
} command_kind;

/* A session's part of a pass. */
typedef struct told_item {
    int32_t session;
    int32_t read_by_host; /* not 0: its logits are, in process 0 */
    int64_t count, n_logits;
    int64_t chooses; /* not 0: a token, by: */
    sample_setting setting;
} told_item;

/* Fields that a kind does not have are zero. Lists stay in the message: see command_items, command_tokens. */
typedef struct command {
    command_kind kind;
    int32_t session, other; /* numbers of sessions: FORK makes `other` of `session` */
    /* SESSION_OPEN: its capacity; TRACE: spans; SPANS: the rank, from 0; HOP: bytes; otherwise positions */
    int64_t length;
    lariat_options options; /* OPEN, HOP: those that all processes have alike */
    int32_t status;         /* VERDICT: a lariat_status, and its reason; HOP: its kind */
    char text[COMMAND_TEXT_MOST + 1];
    /* SUBMIT, RUN: counted from the engine's opening; RUN: its number on the transport; HOP: repetitions */
    uint32_t pass, number;
    int64_t slices_from, decode_left; /* RESTORE: of the sequence */
    int32_t decode_rank;
    int32_t layout, side;  /* SUBMIT: as process 0 has planned it */
    int64_t n_items, n_tokens;
    const void *items;  /* SUBMIT: told_item. SHARES: host_share */
    /* int32_t. SUBMIT: all of the pass; -1 - i: the token of output i of the pass before. RUN: the first of each session, now
       that all are known */
    const void *tokens;
} command;

/* Copies a whole list of a command that was read, which is unaligned in its message: [n_items], [n_tokens]. */
void command_items(const command *c, told_item out[]);
void command_tokens(const command *c, int32_t out[]);
/* One of them. */
void command_share(const command *c, int64_t index, host_share *out);

/* A message: read from `from`, or written to `to`, where that is not NULL, up to `room` bytes. */
typedef struct command_bytes {
    unsigned char *to;
    const unsigned char *from;
    size_t room, at;
    bool bad; /* no room for a command that was written, or no command where one was read */
} command_bytes;

/* Bytes that are enough for a pass of so many tokens and sessions, submitted, taken back, carried out and concluded.
   SIZE_MAX on overflow. */
size_t command_pass_bytes(int64_t tokens, int64_t sessions);

/* Appends a command. False: there is no room, and nothing was appended. */
bool command_write(command_bytes *b, const command *c);
/* Reads the next one. False: the message has ended, or is none (`bad`). */
bool command_read(command_bytes *b, command *out);
