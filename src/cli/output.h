/* Standard output, which carries results only: every write is checked.
   Rests on stdio. */
#pragma once

#include <stddef.h>

/* Each returns 0; 1 after a message about a failed write; or an exit status without a message: the reader has closed the
   pipe, or a signal has ended the run. */
int output_bytes(const char *data, size_t size);
int output_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Writes the buffer: after each piece of a reply, and at the end of a run. */
int output_flush(void);

/* Checks at the start of a run that the file can probably be created. */
int check_writable(const char *path);
/* A file that appears under its name only when it is complete; a path that is not a regular file (/dev/stdout) is written
   directly. A failure between open and close is reported once; close returns it. */
typedef struct new_file {
    const char *path;
    char *beside; /* its temporary name; NULL: written directly */
    int file, rc;
    size_t used;
    char buffer[1 << 14];
} new_file;
int new_file_open(new_file *f, const char *path); /* not 0: nothing to close */
void new_file_bytes(new_file *f, const char *data, size_t size);
/* At most 1,023 bytes; the rest is cut. */
void new_file_format(new_file *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
int new_file_close(new_file *f);

/* Writes a file of one text in the same way. */
int write_file(const char *path, const char *text);
