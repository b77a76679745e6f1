/* A JSON document whose largest member, a list or an object of many small values, is read value by value and not kept:
   jansson needs longer to build and free a tree of 65,536 small objects than to parse its text.
   Rests on json.h. jansson parses each value, and the document around the member. Accepted is what jansson accepts in a
   whole document, except that duplicate keys of the member are both passed on, and a member whose name is written with
   escapes is refused. Line numbers in messages do not count the member's lines; a message about a value has its index and no
   line. */
#pragma once

#include "base/json.h"

typedef struct json_member {
    const char *begin, *end; /* in the document, brackets included; NULL: no such member */
    int64_t n;               /* number of values */
} json_member;

/* Parses the document without the root's member `name`: if it is a list or an object, it is null in the tree and described
   by *m. `flags`: jansson's, beside JSON_REJECT_DUPLICATES. The result is for json_check. */
json_t *json_load_around(const char *data, size_t size, const char *name, size_t flags, json_member *m, json_error_t *error);

/* Calls `one` for each value of the member, with its key in an object, NULL in a list. Does nothing where the member does not
   begin with `open`, '[' or '{'. Stops when `one` fails. `path` is for messages. The document must still be in memory. */
typedef lariat_status (*json_value_fn)(void *user, const char *key, const json_t *value);
lariat_status json_each(const char *path, const json_member *m, char open, json_value_fn one, void *user);
