/* Which fields of a config.json may stand there: what would change the result and is not computed is refused by name.
   Rests on base/json.h. Read on in config.c, which reads the others. */
#ifndef MODEL_CONFIG_FIELDS_H
#define MODEL_CONFIG_FIELDS_H

#include "base/json.h"
#include "base/fail.h"

#include <stdbool.h>

/* Refuses an object that has a field whose value changes the result, or may: one that is unknown and not off. `mistral`: a
   missing sliding_window has a meaning there. */
lariat_status config_check_fields(const char *path, const json_t *config, bool mistral);

/* Is the value null, false, empty or the number that changes nothing (NAN: there is none)? Also true for NULL. */
bool config_field_is_neutral(const json_t *value, double neutral);

/* Fails, naming field and value as something that changes the result. */
lariat_status config_refuse_field(const char *path, const char *field, const json_t *value);

#endif
