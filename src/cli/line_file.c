/* Reading a file of lines, and appending to it.
   Rests on stdio. See line_file.h. */
#include "cli/line_file.h"
#include "cli/message.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Does another open file description have it? The lock goes with the description, so a run that is killed leaves none; NFS
   knows it too. On a file system without locks a second run is not refused. */
static bool is_taken(FILE *file)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    return fcntl(fileno(file), F_OFD_SETLK, &whole) != 0 && (errno == EAGAIN || errno == EACCES);
}

int line_file_open(line_file *f, const char *path, const char *what)
{
    struct stat now;

    *f = (line_file){.path = path};
    if (!path) {
        return 0;
    }
    FILE *file = fopen(path, "a+e");
    if (!file) {
        return complain("%s: cannot open: %s, choose another file", path, strerror(errno));
    }
    f->file = file;
    if (fstat(fileno(file), &now) != 0 || !S_ISREG(now.st_mode)) {
        return complain("%s: %s are kept in a regular file, name one", path, what);
    }
    if (is_taken(file)) {
        return complain("%s: another run writes it, wait for it or give another file", path);
    }
    rewind(file);
    return 0;
}

static bool is_torn(const char *line, size_t size, const char *beginning)
{
    size_t begun = size < strlen(beginning) ? size : strlen(beginning);

    return line[size - 1] != '\n' && strncmp(line, beginning, begun) == 0;
}

int line_file_read(const line_file *f, const char *beginning,
                   int (*take)(void *user, int number, const char *line, size_t size), void *user)
{
    FILE *file = f->file;
    char *line = NULL;
    size_t room = 0;
    ssize_t size;
    off_t whole = 0;
    int number = 0, rc = 0;

    while (rc == 0 && (size = getline(&line, &room, file)) > 0) {
        if (is_torn(line, (size_t)size, beginning)) {
            rc = ftruncate(fileno(file), whole) == 0 ? 0 : complain("%s: cannot write: %s", f->path, strerror(errno));
            break;
        }
        whole += size;
        rc = take(user, ++number, line, (size_t)size);
    }
    if (rc == 0 && ferror(file)) {
        rc = complain("%s: cannot read: %s", f->path, strerror(errno));
    }
    free(line);
    return rc;
}

static int complain_write(const char *path)
{
    return complain("%s: cannot write: %s, make room or choose another file", path, strerror(errno));
}

int line_file_cut(const line_file *f, int64_t lines)
{
    FILE *file = f->file;
    char *line = NULL;
    size_t room = 0;
    ssize_t size;
    off_t whole = 0;

    rewind(file);
    for (; lines > 0 && (size = getline(&line, &room, file)) > 0; lines--) {
        whole += size;
    }
    free(line);
    if (lines > 0) {
        return complain("%s: cannot read it again, has another program changed it?", f->path);
    }
    return ftruncate(fileno(file), whole) == 0 && fseeko(file, 0, SEEK_END) == 0 ? 0 : complain_write(f->path);
}

int line_file_put(const line_file *f, const char *line)
{
    FILE *file = f->file;

    return fprintf(file, "%s\n", line) < 0 || fflush(file) != 0 ? complain_write(f->path) : 0;
}

int line_file_close(line_file *f)
{
    FILE *file = f->file;
    const char *path = f->path;

    *f = (line_file){0};
    return file && fclose(file) != 0 ? complain_write(path) : 0;
}
