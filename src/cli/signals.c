/* Signal handlers. They communicate through the few variables below, the only mutable globals of cli/: a handler has no
   argument.
   Rests on lariat_session_cancel being callable from a handler. */
#include "cli/signals.h"
#include "cli/options.h"

#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

enum { LINE_MOST = 1024, NAME_MOST = 128, FOLLOW_S = 30 };

static void (*_Atomic cancel)(void *); /* cancels the running work; NULL: none runs */
static void *_Atomic cancelled;        /* for it */
static atomic_bool cancels_again, held, interrupted, terminated, warned;
static char bus_line[LINE_MOST];
static char process_name[NAME_MOST];
static atomic_bool follows, awaited;
static sem_t terminating;
static bool has_terminal;
static struct termios terminal_before;

/* Restores the terminal: an unfinished progress line or an edited line may be on it. */
static void restore_terminal(void)
{
    if (has_terminal) {
        tcsetattr(STDIN_FILENO, TCSANOW, &terminal_before);
    }
    if (isatty(STDERR_FILENO)) {
        ssize_t ignored = write(STDERR_FILENO, "\033[0m\r\033[K", 8);
        (void)ignored;
    }
}

static void on_bus(int signal_number)
{
    (void)signal_number;
    restore_terminal();
    ssize_t ignored = write(STDERR_FILENO, bus_line, strlen(bus_line));
    (void)ignored;
    _exit(EXIT_FAILURE);
}

static void cancel_all(void)
{
    void (*now)(void *) = atomic_load(&cancel);
    if (now) {
        now(atomic_load(&cancelled));
    }
}

/* Cancels the running work and sets `note`, or ends the program: without a hold, or on a second signal unless `again`. */
static void stop(atomic_bool *note, bool again, int exit_status)
{
    if (atomic_load(&follows)) {
        if (note == &terminated) { /* Ctrl-C in a chat stops an answer only */
            alarm(FOLLOW_S);
        }
        atomic_store(note, true);
        return;
    }
    if (atomic_load(&awaited) && note == &terminated && !again) {
        atomic_store(note, true);
        cancel_all();
        return;
    }
    if (!atomic_load(&held) || again) {
        restore_terminal();
        _exit(exit_status);
    }
    atomic_store(note, true);
    cancel_all();
}

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    stop(&interrupted, atomic_load(&interrupted) && !atomic_load(&cancels_again), EXIT_INTERRUPTED);
}

static void on_terminate(int signal_number)
{
    (void)signal_number;
    stop(&terminated, atomic_load(&terminated), EXIT_TERMINATED);
    if (atomic_load(&awaited)) {
        sem_post(&terminating);
    }
    if (atomic_load(&cancels_again)) {
        alarm(1);
    }
}

/* A batch system's warning: what SIGTERM does, but for its exit status. A process that follows leaves the answer to its leader.
 */
static void on_warning(int signal_number)
{
    (void)signal_number;
    if (atomic_load(&follows) || atomic_load(&warned)) {
        return;
    }
    stop(&warned, false, EXIT_WARNED);
    if (atomic_load(&cancels_again)) {
        alarm(1);
    }
}

/* Interrupts the read of a chat that was about to wait for a line when SIGTERM arrived; ends a process whose leader does
   not. */
static void on_alarm(int signal_number)
{
    (void)signal_number;
    if (atomic_load(&follows)) {
        _exit(EXIT_TERMINATED);
    }
}

static void handle(int signal_number, void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler};
    sigemptyset(&action.sa_mask);
    sigaction(signal_number, &action, NULL); /* no SA_RESTART: a read returns, so that a chat can restart it */
}

static void handle_unless_ignored(int signal_number, void (*handler)(int))
{
    struct sigaction before;
    if (sigaction(signal_number, NULL, &before) == 0 && before.sa_handler != SIG_IGN) {
        handle(signal_number, handler);
    }
}

void signals_name_model(const char *model)
{
    char line[LINE_MOST];
    int n =
        snprintf(line, sizeof line - 2,
                 "lariat: %s%s: the file shrank or could not be read while it was in use, start again when it is whole",
                 process_name, model);
    size_t size = n < 0 ? 0 : (size_t)n < sizeof line - 2 ? (size_t)n : sizeof line - 3;
    for (size_t i = 0; i < size; i++) {
        line[i] = (unsigned char)line[i] < ' ' ? '?' : line[i];
    }
    line[size] = '\n';
    line[size + 1] = 0;
    memcpy(bus_line, line, size + 2);
}

void signals_install(void)
{
    signals_name_model("the model");
    has_terminal = tcgetattr(STDIN_FILENO, &terminal_before) == 0;
    handle(SIGPIPE, SIG_IGN);
    handle(SIGXFSZ, SIG_IGN);
    handle(SIGBUS, on_bus);
    handle(SIGALRM, on_alarm);
    handle_unless_ignored(SIGINT, on_interrupt); /* a background job of a shell ignores Ctrl-C */
    handle_unless_ignored(SIGTERM, on_terminate);
    handle_unless_ignored(SIGUSR1, on_warning);
}

void signals_name_process(const char *name)
{
    snprintf(process_name, sizeof process_name, "%s", name);
}

const char *signals_process(void)
{
    return process_name;
}

void signals_follow(void)
{
    atomic_store(&follows, true);
}

void signals_await_begin(void)
{
    (void)sem_init(&terminating, 0, 0);
    atomic_store(&awaited, true);
}

terminate signals_await(void)
{
    while (sem_wait(&terminating) != 0 && errno == EINTR) {
    }
    return !atomic_load(&terminated)                          ? TERMINATE_NOT
           : atomic_load(&held) || atomic_load(&follows) ? TERMINATE_HELD
                                                              : TERMINATE_NOW;
}

void signals_await_end(void)
{
    atomic_store(&awaited, false);
    (void)sem_post(&terminating);
}

void signals_hold(bool on, bool again)
{
    atomic_store(&cancels_again, again);
    atomic_store(&held, on);
}

void signals_cancel_by(void (*by)(void *), void *what)
{
    atomic_store(&cancel, NULL);
    atomic_store(&cancelled, what);
    atomic_store(&cancel, by);
}

static void cancel_session(void *session)
{
    lariat_session_cancel(session);
}

void signals_cancel(lariat_session *session)
{
    signals_cancel_by(session ? cancel_session : NULL, session);
}

bool signals_interrupted(void)
{
    return atomic_load(&interrupted) || signals_terminated();
}

bool signals_terminated(void)
{
    return atomic_load(&terminated) || atomic_load(&warned);
}

int signals_status(void)
{
    return atomic_load(&warned) ? EXIT_WARNED : atomic_load(&terminated) ? EXIT_TERMINATED : EXIT_INTERRUPTED;
}

bool signals_end_run(void)
{
    return signals_terminated() || (atomic_load(&interrupted) && !atomic_load(&cancels_again));
}

void signals_forget(void)
{
    atomic_store(&interrupted, false);
}
