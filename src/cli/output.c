/* Checked writing to standard output and to small files.
   Rests on stdio and message.h. */
#include "cli/output.h"
#include "cli/message.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int refused(void)
{
    if (errno == EPIPE) {
        return complain(
            "standard output: its reader went away, so the rest was not written, let it read to the end or write to a file");
    }
    return complain("standard output: %s, so the result is not whole, make room or write elsewhere", strerror(errno));
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

static int write_all(int file, const char *path, const char *text)
{
    size_t size = strlen(text);
    while (size > 0) {
        ssize_t n = write(file, text, size);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return complain("%s: cannot write: %s, make room or choose another file", path, strerror(errno));
        }
        text += n;
        size -= (size_t)n;
    }
    return 0;
}

static int write_direct(const char *path, const char *text)
{
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0) {
        return complain("%s: cannot write: %s, make room or choose another file", path, strerror(errno));
    }
    int rc = write_all(file, path, text);
    if (close(file) != 0 && rc == 0) {
        rc = complain("%s: cannot write: %s, make room or choose another file", path, strerror(errno));
    }
    return rc;
}

/* Is there something of that name that no file can take the place of? */
static bool is_special(const char *path, mode_t *mode)
{
    struct stat now;
    bool special = stat(path, &now) == 0 && !S_ISREG(now.st_mode);
    *mode = special ? now.st_mode : 0;
    return special;
}

/* A new file in the same folder, for the caller to unlink or to move to `path`; its name is for free(). -1: said why not. */
static int create_beside(const char *path, char **name)
{
    char *beside;
    if (asprintf(&beside, "%s.XXXXXX", path) < 0) {
        complain_memory(path);
        return -1;
    }
    int file = mkostemp(beside, O_CLOEXEC);
    if (file < 0) {
        complain("%s: cannot create: %s, choose another place", path, strerror(errno));
        free(beside);
        return -1;
    }
    *name = beside;
    return file;
}

int check_place(const char *path)
{
    mode_t mode;
    if (is_special(path, &mode)) {
        if (!S_ISDIR(mode) && access(path, W_OK) == 0) { /* not opened: a pipe would wait for its reader */
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

int write_file(const char *path, const char *text)
{
    mode_t kind;
    if (is_special(path, &kind)) {
        return write_direct(path, text);
    }
    char *beside = NULL;
    int file = create_beside(path, &beside);
    if (file < 0) {
        return EXIT_FAILURE;
    }
    int rc = write_all(file, path, text);
    mode_t mask = umask(0); /* mkostemp gives 0600; a result gets what any new file gets */
    umask(mask);
    bool moved = false;
    if (rc == 0) {
        moved = fchmod(file, 0666 & ~mask) == 0 && fsync(file) == 0 && rename(beside, path) == 0;
        rc = moved ? 0 : complain("%s: cannot write: %s, make room or choose another file", path, strerror(errno));
    }
    close(file);
    if (!moved) {
        unlink(beside);
    }
    free(beside);
    return rc;
}
