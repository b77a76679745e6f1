/* The check of config.json's fields: one that would change the result and is unsupported is refused by name.
   Rests on base/json.h. Read on in config.c, which reads the implemented ones. */
#pragma once

#include "base/json.h"
#include "base/fail.h"
#include "model/family.h"

#include <stdbool.h>

/* Refuses an object with a field that changes the result or may: one that this member does not read, or an unknown one, that is
   not neutral. Windows are not looked at. */
lariat_status config_check_fields(const char *path, const json_t *config, const family *f);

/* Is the value NULL, null, false, empty or the number `neutral` (NAN: no number is neutral)? */
bool config_field_is_neutral(const json_t *value, double neutral);

/* Fails with a message that the field's value would change the result. */
lariat_status config_refuse_field(const char *path, const char *field, const json_t *value);
