/* Standard output, which carries results only: every write is checked.
   Rests on stdio. */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <stddef.h>

/* Each returns 0, 1 after saying why the bytes could not be written, or an exit status for which nothing is said: the reader has
   gone away, or a signal has ended the run. */
int output_bytes(const char *data, size_t size);
int output_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Hands on what is buffered: after each piece of a reply, and at the end of a run. */
int output_flush(void);

/* Can write_file make that file, as far as one can tell before? Said at the start of a run, not after it. */
int check_place(const char *path);
/* A file that appears under its name only when it is whole; what is not a regular file (/dev/stdout) is written directly. What
   fails between open and close is said once, and close returns it. */
typedef struct new_file {
    const char *path;
    char *beside; /* its name until it is whole, NULL: written directly */
    int file, rc;
    size_t used;
    char buffer[1 << 14];
} new_file;
int new_file_open(new_file *f, const char *path); /* not 0: there is nothing to close */
void new_file_bytes(new_file *f, const char *data, size_t size);
/* At most 1,023 bytes; more are cut. */
void new_file_format(new_file *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
int new_file_close(new_file *f);

/* The same with one text. */
int write_file(const char *path, const char *text);

#endif
