/* A Ctrl-C that comes while standard output takes nothing: in a chat it stops the answer only, elsewhere it ends the run.
   Rests on cli/output.h in a process of its own, whose standard output is a full pipe, and on /proc for when it waits. */
#include "cli/options.h"
#include "cli/output.h"
#include "cli/signals.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { PAGE = 4096, NOT_NOTED = 1, NOT_THERE };

/* Takes all that the pipe has, so that there is room again. */
static void empty(int reader)
{
    char bytes[PAGE];
    fcntl(reader, F_SETFL, O_NONBLOCK);
    while (read(reader, bytes, sizeof bytes) > 0) {
    }
}

/* The process: writes into the full pipe until a signal breaks that off, then, where the run goes on, into an empty one. */
static int write_twice(const int ends[2], bool chat)
{
    dup2(ends[1], STDOUT_FILENO);
    signals_install();
    signals_hold(true, chat);
    int rc = output_bytes("answer", 6);
    rc = rc ? rc : output_flush();
    if (rc) {
        return rc;
    }
    if (!signals_interrupted()) {
        return NOT_NOTED;
    }
    empty(ends[0]);
    signals_forget();
    rc = output_bytes("next", 4);
    rc = rc ? rc : output_flush();
    char got[16]; /* a C library may keep what it could not write */
    ssize_t n = rc ? 0 : read(ends[0], got, sizeof got);
    return rc ? rc : n >= 4 && memcmp(got + n - 4, "next", 4) == 0 ? 0 : NOT_THERE;
}

/* Does the process wait? It has one thread, and waits for nothing but the pipe. */
static bool waits(pid_t process)
{
    char path[64], state = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)process);
    FILE *file = fopen(path, "r");
    if (file) {
        (void)!fscanf(file, "%*d (%*[^)]) %c", &state);
        fclose(file);
    }
    return state == 'S' || state == 'Z'; /* or has ended already, which is seen by its status */
}

/* The exit status of the process after one signal. */
static int ends_with(bool chat, int signal_number)
{
    int ends[2], status;
    char page[PAGE] = {0};
    assert_int_equal(pipe(ends), 0);
    fcntl(ends[1], F_SETFL, O_NONBLOCK);
    while (write(ends[1], page, sizeof page) > 0) {
    }
    fcntl(ends[1], F_SETFL, 0);
    fflush(stdout); /* or the process has it too */
    pid_t process = fork();
    assert_true(process >= 0);
    if (process == 0) {
        _exit(write_twice(ends, chat));
    }
    while (!waits(process)) {
        usleep(1000);
    }
    kill(process, signal_number);
    assert_int_equal(waitpid(process, &status, 0), process);
    close(ends[0]);
    close(ends[1]);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void in_a_chat_the_first_interrupt_stops_the_answer_only(void **state)
{
    (void)state;
    assert_int_equal(ends_with(true, SIGINT), 0);
}

static void elsewhere_it_ends_the_run(void **state)
{
    (void)state;
    assert_int_equal(ends_with(false, SIGINT), EXIT_INTERRUPTED);
}

static void sigterm_ends_the_run_in_a_chat_too(void **state)
{
    (void)state;
    assert_int_equal(ends_with(true, SIGTERM), EXIT_INTERRUPTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_a_chat_the_first_interrupt_stops_the_answer_only),
        cmocka_unit_test(elsewhere_it_ends_the_run),
        cmocka_unit_test(sigterm_ends_the_run_in_a_chat_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
