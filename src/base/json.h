/* Reading JSON with jansson: strict UTF-8, no duplicate keys, bounded size; typed access with messages that name file and
   field.
   Rests on jansson. */
#pragma once

#include "base/fail.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Reads a file of at most `max_bytes`; the root must be an object. */
lariat_status json_read_file(const char *path, size_t max_bytes, json_t **out);
/* The same from memory; `path` is for messages. */
lariat_status json_read(const char *path, const char *data, size_t size, json_t **out);
/* Is it only a text with NUL (\u0000) that jansson refused? */
bool json_error_is_nul(const json_error_t *error);
/* Checks jansson's result, NULL with its error, and moves `root` into *out. */
lariat_status json_check(const char *path, json_t *root, const json_error_t *error, json_t **out);

/* A field of an object into *out. A missing or null field leaves *out and returns OK if !required; a wrong type or a value out
   of [low, high] fails, naming path and field. */
lariat_status json_int(const json_t *o, const char *path, const char *field, bool required, int64_t low, int64_t high,
                       int64_t *out);
lariat_status json_number(const json_t *o, const char *path, const char *field, bool required, double *out);
lariat_status json_flag(const json_t *o, const char *path, const char *field, bool required, bool *out);
lariat_status json_text(const json_t *o, const char *path, const char *field, bool required, const char **out);
