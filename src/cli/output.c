/* Checked writing to standard output and to small files.
   Rests on stdio, message.h and signals.h. */
#include "cli/output.h"
#include "cli/message.h"
#include "cli/options.h"
#include "cli/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINE_MOST = 1024 }; /* most bytes of a new_file_format */

/* The exit status of a run that ends without a message: a closed pipe, or a signal during the write. 0: neither. */
static int ended_silently(void)
{
    return errno == EPIPE ? EXIT_READER_GONE : errno == EINTR && signals_end_run() ? EXIT_INTERRUPTED : 0;
}

/* Reports that a write to standard output failed. */
static int refused(void)
{
    if (errno == EINTR && signals_interrupted() && !signals_end_run()) {
        clearerr(stdout); /* the rest of the stopped answer is dropped, the next one is written */
        return 0;
    }
    int silent = ended_silently();
    return silent ? silent
                  : complain("standard output: %s, so the result is not whole, make room or write elsewhere", strerror(errno));
}

int output_bytes(const char *data, size_t size)
{
    return size == 0 || fwrite(data, 1, size, stdout) == size ? 0 : refused();
}

int output_format(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int written = vprintf(format, arguments);
    va_end(arguments);
    return written >= 0 ? 0 : refused();
}

int output_flush(void)
{
    return fflush(stdout) == 0 && !ferror(stdout) ? 0 : refused();
}

static int cannot_write(const char *path)
{
    int silent = ended_silently();
    return silent ? silent : complain("%s: cannot write: %s, make room or choose another file", path, strerror(errno));
}

static int write_all(int file, const char *path, const char *text, size_t size)
{
    while (size > 0) {
        ssize_t n = write(file, text, size);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return cannot_write(path);
        }
        text += n;
        size -= (size_t)n;
    }
    return 0;
}

/* Does the path exist and is not a regular file? */
static bool is_special(const char *path, mode_t *mode)
{
    struct stat now;
    bool special = stat(path, &now) == 0 && !S_ISREG(now.st_mode);
    *mode = special ? now.st_mode : 0;
    return special;
}

/* Creates a temporary file in the same folder, which the caller unlinks or renames; *name is allocated. -1: failed, with a
   message. */
static int create_beside(const char *path, char **name)
{
    char *beside;
    if (asprintf(&beside, "%s.XXXXXX", path) < 0) {
        complain_memory(path);
        return -1;
    }
    int file = mkostemp(beside, O_CLOEXEC);
    if (file < 0) {
        complain("%s: cannot create: %s, choose another path", path, strerror(errno));
        free(beside);
        return -1;
    }
    *name = beside;
    return file;
}

int check_writable(const char *path)
{
    mode_t mode;
    if (is_special(path, &mode)) {
        if (!S_ISDIR(mode) && access(path, W_OK) == 0) { /* not opened: opening a pipe would wait for its reader */
            return 0;
        }
        return complain("%s: cannot write: %s, choose another file", path, strerror(S_ISDIR(mode) ? EISDIR : errno));
    }
    char *beside = NULL;
    int file = create_beside(path, &beside);
    if (file < 0) {
        return EXIT_FAILURE;
    }
    close(file);
    unlink(beside);
    free(beside);
    return 0;
}

int new_file_open(new_file *f, const char *path)
{
    mode_t kind;
    f->path = path;
    f->beside = NULL;
    f->rc = 0;
    f->used = 0;
    if (is_special(path, &kind)) {
        f->file = open(path, O_WRONLY | O_CLOEXEC);
        return f->file < 0 ? cannot_write(path) : 0;
    }
    f->file = create_beside(path, &f->beside);
    return f->file < 0 ? EXIT_FAILURE : 0;
}

void new_file_bytes(new_file *f, const char *data, size_t size)
{
    if (f->rc == 0 && size > sizeof f->buffer - f->used) {
        f->rc = write_all(f->file, f->path, f->buffer, f->used);
        f->used = 0;
    }
    if (f->rc == 0 && size > sizeof f->buffer) {
        f->rc = write_all(f->file, f->path, data, size);
    } else if (f->rc == 0) {
        memcpy(f->buffer + f->used, data, size);
        f->used += size;
    }
}

void new_file_format(new_file *f, const char *format, ...)
{
    char line[LINE_MOST];
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    new_file_bytes(f, line, n < 0 ? 0 : (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
}

/* Renames the complete file. */
static int name_file(const new_file *f)
{
    mode_t mask = umask(0); /* mkostemp gives 0600; a result gets the mode of any new file */
    umask(mask);
    return fchmod(f->file, 0666 & ~mask) == 0 && fsync(f->file) == 0 && rename(f->beside, f->path) == 0 ? 0
                                                                                                       : cannot_write(f->path);
}

int new_file_close(new_file *f)
{
    if (f->rc == 0) {
        f->rc = write_all(f->file, f->path, f->buffer, f->used);
    }
    if (f->rc == 0 && f->beside) {
        f->rc = name_file(f);
    }
    if (close(f->file) != 0 && f->rc == 0) {
        f->rc = cannot_write(f->path);
    }
    if (f->rc != 0 && f->beside) {
        unlink(f->beside);
    }
    free(f->beside);
    return f->rc;
}

int write_file(const char *path, const char *text)
{
    new_file f;
    int rc = new_file_open(&f, path);
    if (rc == 0) {
        new_file_bytes(&f, text, strlen(text));
        rc = new_file_close(&f);
    }
    return rc;
}
