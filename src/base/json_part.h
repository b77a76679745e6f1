/* A JSON document without its largest member: a list or an object of many small values, which are read one by one and not
   kept. A tree of 65,536 small objects takes jansson longer to build and to free than the text takes to read.
   Rests on json.h. jansson reads each value, and the document around the member, and accepts what it accepts in the whole, but
   for keys that the member, an object, has twice: json_each gives both. A member whose name is written with escapes is refused.
   Lines in messages are counted without the member's; a message about a value has its index, and no line. */
#ifndef BASE_JSON_PART_H
#define BASE_JSON_PART_H

#include "base/json.h"

typedef struct json_part {
    const char *begin, *end; /* from its bracket to behind the other one, in the document; NULL: no such member */
    int64_t n;               /* values in it */
} json_part;

/* Reads the document without the root's member `name`, which is null in the tree if it is a list or an object, and in *part.
   `flags` are jansson's beside JSON_REJECT_DUPLICATES; for json_check. */
json_t *json_load_around(const char *data, size_t size, const char *name, size_t flags, json_part *part, json_error_t *error);

/* Calls `one` for each value of the part, with its key in an object and NULL in a list; nothing where it does not begin with
   `open`, '[' or '{'. Stops where `one` fails. `path` is for messages; the document is still in memory. */
typedef lariat_status (*json_value_fn)(void *user, const char *key, const json_t *value);
lariat_status json_each(const char *path, const json_part *part, char open, json_value_fn one, void *user);

#endif
