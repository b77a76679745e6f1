/* Files in memory.
   Rests on mmap. See file.h. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static lariat_status map_descriptor(const char *path, int fd, mapped_file *out)
{
    struct stat s;

    if (fstat(fd, &s) != 0) {
        return fail(LARIAT_IO, "%s: cannot be looked at: %s, check the path and its permissions", path, strerror(errno));
    }
    if (S_ISDIR(s.st_mode)) {
        return fail(LARIAT_IO, "%s: is a directory, a file is wanted: name a file in it", path);
    }
    if (!S_ISREG(s.st_mode)) {
        return fail(LARIAT_IO, "%s: is not a regular file: copy it to a disk first", path);
    }
    if (s.st_size == 0) {
        return fail(LARIAT_BAD_MODEL, "%s: is empty: fetch it again", path);
    }
    size_t size = (size_t)s.st_size;
    void *data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) {
        return fail(LARIAT_IO, "%s: cannot be mapped: %s, copy it to a disk of this machine", path, strerror(errno));
    }
    out->data = data;
    out->size = size;
    return LARIAT_OK;
}

lariat_status map_file(const char *path, mapped_file *out)
{
    *out = (mapped_file){0};
    /* O_NONBLOCK: opening a pipe that nobody writes to must not wait. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return fail(LARIAT_IO, "%s: cannot be opened: %s, check the path and its permissions", path, strerror(errno));
    }
    lariat_status status = map_descriptor(path, fd, out);
    close(fd);
    if (status != LARIAT_OK) {
        return status;
    }
    out->path = strdup(path);
    if (!out->path) {
        unmap_file(out);
        return fail(LARIAT_NO_MEMORY, "%s: no memory for its name" FREE_MEMORY, path);
    }
    return LARIAT_OK;
}

void unmap_file(mapped_file *f)
{
    if (f->data) {
        munmap((void *)(uintptr_t)f->data, f->size);
    }
    free(f->path);
    *f = (mapped_file){0};
}

int path_is_directory(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 && S_ISDIR(s.st_mode);
}

int path_is_file(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 && S_ISREG(s.st_mode);
}

char *path_join(const char *folder, const char *name)
{
    size_t length = strlen(folder);
    const char *between = length > 0 && folder[length - 1] == '/' ? "" : "/";
    char *path = NULL;

    if (asprintf(&path, "%s%s%s", folder, between, name) < 0) {
        return NULL;
    }
    return path;
}

char *path_folder(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
}
