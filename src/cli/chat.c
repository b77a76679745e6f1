/* lariat chat: lines in, answers out.
   Rests on talk.h (the conversation) and editor.h (the lines). */
#include "cli/commands.h"
#include "cli/editor.h"
#include "cli/message.h"
#include "cli/output.h"
#include "cli/signals.h"
#include "cli/stats.h"
#include "cli/talk.h"

#include <stdlib.h>
#include <string.h>

static const char help_text[] = "/help   this list\n"
                                "/reset  begin anew; the document, if there is one, stays read\n"
                                "/stats  what reading and answering took so far\n"
                                "/exit   end (as does Ctrl-D)\n"
                                "Ctrl-C stops an answer. A line that begins with a blank is always said, never a command.\n";

typedef enum what_next { NEXT_LINE, NEXT_END } what_next;

static what_next obey(talk *t, const char *line)
{
    if (strcmp(line, "/exit") == 0) {
        return NEXT_END;
    }
    if (strcmp(line, "/help") == 0) {
        fputs(help_text, stderr);
    } else if (strcmp(line, "/reset") == 0) {
        talk_reset(t);
    } else if (strcmp(line, "/stats") == 0) {
        stats_print(t->inv);
    } else {
        warn("%s: no such command, /help lists them; put a blank in front to say it", line);
    }
    return NEXT_LINE;
}

/* A single, non-interactive turn: a refused or interrupted one is a failure. A signal may also have arrived after the answer
   was complete. */
static int only_turn(talk *t, const char *line)
{
    int rc = talk_turn(t, line, false);
    return rc == 0 && signals_interrupted() ? EXIT_INTERRUPTED : rc;
}

/* Handles one line. *ends: the talk is over. */
static int take_line(talk *t, const char *line, bool interactive, bool *ends)
{
    if (line[0] == '/') {
        *ends = obey(t, line) == NEXT_END;
        return 0;
    }
    if (is_blank(line, strlen(line))) {
        return 0;
    }
    return interactive ? talk_turn(t, line, true) : only_turn(t, line);
}

static int take_lines(talk *t, editor *e)
{
    bool interactive = editor_is_interactive(e), ends = false;
    int rc = 0;
    while (rc == 0 && !ends) {
        const char *line;
        if (signals_terminated()) {
            return EXIT_INTERRUPTED;
        }
        signals_forget();
        switch (editor_read(e, &line)) {
        case LINE_READ:
            rc = take_line(t, line, interactive, &ends);
            break;
        case LINE_LAST:
            ends = true;
            break;
        case LINE_INTERRUPTED:
            if (!interactive || signals_terminated()) {
                return EXIT_INTERRUPTED;
            }
            fputs("Ctrl-D or /exit ends the talk\n", stderr);
            break;
        case LINE_FAILED:
            return EXIT_FAILURE;
        }
    }
    return rc;
}

static int talk_by_lines(talk *t)
{
    const options *o = t->inv->options;
    editor *e;
    int rc = editor_open(&e);
    if (rc == 0 && o->file) {
        rc = talk_read_document(t, o->file);
    }
    if (rc == 0 && editor_is_interactive(e) && !o->quiet) {
        fputs("Type, or /help. Ctrl-C stops an answer, Ctrl-D ends.\n", stderr);
    }
    rc = rc ? rc : take_lines(t, e);
    editor_close(e);
    return rc;
}

/* Refuses a blank message. */
static int check_said(const char *input, const char *data, size_t size)
{
    return is_blank(data, size) ? complain("%s: holds nothing to say, give some text", input) : 0;
}

static int read_document(const char *path, text *out)
{
    int rc = read_text(path, out);
    return rc ? rc : check_said(input_name(path), out->data, out->size);
}

static int chat(invocation *inv)
{
    const options *o = inv->options;
    text document = {0};
    int64_t capacity = o->context;
    if (o->file && strcmp(o->file, "-") == 0 && !o->prompt) {
        return complain_usage("-f: the document takes standard input, so there are no turns left: say one with -p, or "
                              "name a file");
    }
    int rc = o->prompt ? check_said("-p", o->prompt, strlen(o->prompt)) : 0;
    rc = rc || !o->file ? rc : read_document(o->file, &document);
    if (rc == 0 && capacity == 0) {
        rc = invocation_default_context(o, 0, &capacity);
    }
    rc = rc ? rc : invocation_open_engine(inv, (slot_wish){.context = capacity, .sessions = 1});
    if (rc == 0 && inv->engine) {
        talk t;
        rc = talk_open(&t, inv, capacity, document.data);
        if (rc == 0) {
            rc = o->prompt ? only_turn(&t, o->prompt) : talk_by_lines(&t);
        }
        talk_close(&t);
    }
    free(document.data);
    return rc;
}

int command_chat(const options *o)
{
    invocation inv;
    int rc = invocation_open_tokenizer(&inv, o, !o->plan);
    rc = rc ? rc : chat(&inv);
    return invocation_close(&inv, rc);
}
