/* Files in memory, and questions about paths.
   Rests on mmap, and on the pool of threads for copying. */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include "base/fail.h"

#include <stddef.h>

/* A file in memory, read only. */
typedef struct mapped_file {
    char *path;
    const unsigned char *data;
    size_t size;
} mapped_file;

/* Maps a regular file; refuses directories, pipes and empty files with a reason. */
lariat_status map_file(const char *path, mapped_file *out);
/* Copies the file's bytes, by all CPUs, into huge pages of this process, which take the mapping's place at the same
   addresses: the hardware reads ahead across 4 KB and finds pages with fewer steps there (docs/dev/kernels.md: up to 1.4 times
   the rate). A file that fills no huge page stays where it is. After a failure the file can only be unmapped. */
lariat_status file_to_huge_pages(const mapped_file *f);
/* Safe on a zeroed one. */
void unmap_file(mapped_file *f);

/* Does the path name a directory, or a regular file? Never fails: what cannot be looked at is neither. */
int path_is_directory(const char *path);
int path_is_file(const char *path);

/* "folder/name", allocated; NULL without memory. */
char *path_join(const char *folder, const char *name);

/* The folder that the path's file lies in, "." for a name without one; allocated; NULL without memory. */
char *path_folder(const char *path);

#endif
