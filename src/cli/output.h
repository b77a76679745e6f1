/* Standard output, which carries results only: every write is checked.
   Rests on stdio. */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <stddef.h>

/* Each returns 0, or 1 after saying why the bytes could not be written. */
int output_bytes(const char *data, size_t size);
int output_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Hands on what is buffered: after each piece of a reply, and at the end of a run. */
int output_flush(void);

/* Can write_file make that file, as far as one can tell before? Said at the start of a run, not after it. */
int check_place(const char *path);
/* A file that appears, with this text in it, only when it is whole; what is not a regular file (/dev/stdout) is written
 * directly. */
int write_file(const char *path, const char *text);

#endif
