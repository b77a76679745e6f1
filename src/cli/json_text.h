/* Arbitrary bytes as JSON strings, which must be UTF-8.
   Rests on jansson. */
#pragma once

#include <jansson.h>
#include <stddef.h>

/* A JSON string of these bytes, with U+FFFD for each maximal ill-formed part, as in lariat_encode. NULL without memory. */
json_t *json_from_bytes(const char *data, size_t size);
/* The same of a terminated string; JSON null for NULL. */
json_t *json_from_text(const char *data);
