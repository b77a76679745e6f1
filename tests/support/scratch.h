/* A folder of a test's own, bytes to put into it, and what a refusal must look like.
   Rests on base/fail.h and cmocka. */
#pragma once

#include "base/fail.h"

#include <stddef.h>
#include <stdint.h>

/* Makes the folder (once a program; it goes when the program ends) and returns its path. */
const char *scratch_folder(void);

/* folder/name, allocated. */
char *scratch_path(const char *name);

/* Writes folder/name, making the folders that `name` passes through. */
void scratch_write(const char *name, const void *data, size_t size);
void scratch_write_text(const char *name, const char *text);

/* The whole file, allocated; a zero byte follows. */
unsigned char *scratch_read(const char *path, size_t *size);

/* Copies the file `path` to folder/name. */
void scratch_copy(const char *path, const char *name);

/* Fails the test unless status is `code` and the reason, one line, has `part` in it. */
void assert_refused(lariat_status status, lariat_status code, const char *part);

/* Fails the test, showing the reason, unless status is LARIAT_OK. */
void assert_accepted(lariat_status status);

/* Bytes that grow, for building files. */
typedef struct bytes {
    unsigned char *data;
    size_t size, capacity;
} bytes;

void bytes_put(bytes *b, const void *data, size_t size);
void bytes_u32(bytes *b, uint32_t value);
void bytes_u64(bytes *b, uint64_t value);
void bytes_free(bytes *b);

/* FNV-1a, 64 bits. */
uint64_t fnv1a(const void *data, size_t size);
