/* Files in memory, and questions about paths.
   Rests on mmap. */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include "base/status.h"

#include <stddef.h>

/* A file in memory, read only. */
typedef struct mapped_file {
    char *path;
    const unsigned char *data;
    size_t size;
} mapped_file;

/* Maps a regular file; refuses directories, pipes and empty files with a reason. */
lariat_status map_file(const char *path, mapped_file *out);
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
