/* Signal handling: Ctrl-C, SIGTERM, a closed pipe, a mapped file that shrinks.
   Rests on lariat.h. */
#pragma once

#include "lariat/lariat.h"

/* SIGPIPE and SIGXFSZ become failed writes; SIGBUS (a mapped file was truncated) becomes one message and exit 1; Ctrl-C,
   SIGTERM and SIGUSR1 cancel the session, or end the program where none is set. */
void signals_install(void);

/* The model to name in the message of a SIGBUS. */
void signals_name_model(const char *model);

/* A name that messages of this process begin with, where it is not the only one, and does not lead: "rank 2 (host): ". */
void signals_name_process(const char *name);
const char *signals_process(void);

/* A process that follows another: Ctrl-C and SIGTERM are that one's to answer; SIGTERM ends this one after half a minute. */
void signals_follow(void);

/* From begin to end the first SIGTERM ends nothing itself: a thread that awaits it does. await returns when it has arrived,
   or with end. */
typedef enum terminate {
    TERMINATE_NOT,
    TERMINATE_HELD, /* the run ends by signals_terminated */
    TERMINATE_NOW   /* nothing is held: the caller ends the program */
} terminate;
void signals_await_begin(void);
terminate signals_await(void);
void signals_await_end(void);

/* While on, the first Ctrl-C only sets signals_interrupted, so that results are still written. A second one ends the program,
   unless `again` (chat, where each one stops an answer). SIGTERM does the same, and its second one always ends the program. */
void signals_hold(bool on, bool again);

/* The session that Ctrl-C and SIGTERM cancel, one of several is enough; NULL before it is closed. */
void signals_cancel(lariat_session *session);
/* As signals_cancel, by a function that the handler calls with `what`; set NULL before `what` is freed. */
void signals_cancel_by(void (*by)(void *), void *what);

/* Has Ctrl-C been pressed since the last signals_forget, or SIGTERM or SIGUSR1 arrived? These are never forgotten: they end the
 * run. */
bool signals_interrupted(void);
bool signals_terminated(void); /* by SIGTERM or SIGUSR1 */
/* The exit status of a run that was ended by a signal. */
int signals_status(void);
/* Does the signal end the run? Ctrl-C in a chat stops an answer only. */
bool signals_end_run(void);
void signals_forget(void);
