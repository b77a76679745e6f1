/* What the program does about signals: Ctrl-C, SIGTERM, a reader that goes away, a mapped file that shrinks.
   Rests on lariat.h. */
#ifndef CLI_SIGNALS_H
#define CLI_SIGNALS_H

#include "lariat/lariat.h"

/* SIGPIPE and SIGXFSZ become a failed write; SIGBUS, which means that a mapped file lost its end, becomes one line and exit 1;
   Ctrl-C and SIGTERM stop a step, or the program where none can run. */
void signals_install(void);

/* The model that a SIGBUS is about. */
void signals_name_model(const char *model);

/* While on, Ctrl-C is noted for callers of signals_interrupted: what a run has come to is still to be written. The second one
   ends the program, unless `again` (a chat, where each stops one answer). SIGTERM does the same, and its second one always
   ends it. */
void signals_hold(bool on, bool again);

/* The session whose call of the library they cancel, or NULL: it may be closed then. One of several sessions is enough. */
void signals_cancel(lariat_session *session);

/* Has Ctrl-C been pressed since the last call of signals_forget, or has SIGTERM come? That one is not forgotten: the run is to
   end. */
bool signals_interrupted(void);
bool signals_terminated(void);
/* Does what was noted end the run? Ctrl-C in a chat stops an answer only. */
bool signals_end_run(void);
void signals_forget(void);

#endif
