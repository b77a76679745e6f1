/* Mapped files, and helpers for paths.
   Rests on mmap, and on the pool of threads for copying. */
#pragma once

#include "base/fail.h"

#include <stddef.h>

/* A read-only file in memory. */
typedef struct mapped_file {
    char *path;
    const unsigned char *data;
    size_t size;
} mapped_file;

/* Maps a regular file; directories, pipes and empty files are errors. */
lariat_status map_file(const char *path, mapped_file *out);
/* Copies the file with all CPUs into huge pages, which replace the mapping at the same addresses: hardware prefetching
   crosses 4 KB and page walks are shorter there (docs/dev/kernels.md: up to 1.4 times the rate). A file smaller than a huge
   page stays mapped. After a failure the file can only be unmapped. */
lariat_status file_to_huge_pages(const mapped_file *f);
/* Safe on a zeroed one. */
void unmap_file(mapped_file *f);

/* Does the path name a directory, or a regular file? Never fails: an inaccessible path is neither. */
int path_is_directory(const char *path);
int path_is_file(const char *path);

/* "folder/name", allocated; NULL without memory. */
char *path_join(const char *folder, const char *name);

/* The folder of the path's file, "." for a bare name; allocated; NULL without memory. */
char *path_folder(const char *path);
