/* Files in memory.
   Rests on mmap, and on the pool of threads for copying. See file.h. */
#include "base/file.h"

#include "base/cpus.h"
#include "base/threads.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { HUGE_PAGE = 2 << 20 };

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
    /* O_NONBLOCK: opening a pipe without a writer must not block. */
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

typedef struct copying {
    const mapped_file *file;
    unsigned char *to;
} copying;

static void copy_piece(void *arg, int64_t piece, int thread)
{
    const copying *c = arg;
    size_t at = (size_t)piece * HUGE_PAGE, bytes = c->file->size - at < HUGE_PAGE ? c->file->size - at : HUGE_PAGE;
    unsigned char *from = (unsigned char *)(uintptr_t)c->file->data + at;

    (void)thread;
    memcpy(c->to + at, from, bytes);
    (void)madvise(from, bytes, MADV_DONTNEED); /* a hint: the mapped pages are no longer needed */
}

static lariat_status copy_file(const mapped_file *f, unsigned char *to)
{
    copying c = {f, to};
    pool *p;

    TRY(pool_open(cpus_available(), &p));
    pool_run(p, (int64_t)((f->size + HUGE_PAGE - 1) / HUGE_PAGE), copy_piece, &c);
    pool_close(p);
    return LARIAT_OK;
}

/* Replaces the mapping by the copy. */
static lariat_status move_pages(unsigned char *from, const mapped_file *f)
{
    void *to = (void *)(uintptr_t)f->data;
    unsigned long flags = MREMAP_MAYMOVE | MREMAP_FIXED;

    /* The system's own call: UCX, which MPICH brings, puts one that does not pass the new address on in the place of libc's. */
    if (mprotect(from, f->size, PROT_READ) != 0 ||
        syscall(SYS_mremap, from, f->size, f->size, flags, to) != (long)(uintptr_t)to) {
        return fail(LARIAT_NO_MEMORY, "%s: its %.1f MB cannot be moved: %s" FREE_MEMORY, f->path, (double)f->size / 1e6,
                    strerror(errno));
    }
    return LARIAT_OK;
}

lariat_status file_to_huge_pages(const mapped_file *f)
{
    if (f->size < HUGE_PAGE) {
        return LARIAT_OK;
    }
    size_t room = f->size + 2 * HUGE_PAGE;
    unsigned char *memory = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (memory == MAP_FAILED) {
        return fail(LARIAT_NO_MEMORY, "%s: no memory for its %.1f MB" FREE_MEMORY, f->path, (double)f->size / 1e6);
    }
    (void)madvise(memory, room, MADV_HUGEPAGE);
    /* The same offset in a huge page as the mapping's, so that whole huge pages can be moved there. */
    size_t before = ((uintptr_t)f->data - (uintptr_t)memory) % HUGE_PAGE;
    size_t page = (size_t)sysconf(_SC_PAGESIZE), end = (before + f->size + page - 1) / page * page;
    lariat_status status = copy_file(f, memory + before);
    NEXT(status, move_pages(memory + before, f));
    if (status != LARIAT_OK) {
        munmap(memory, room);
        return status;
    }
    munmap(memory, before);
    munmap(memory + end, room - end);
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
