/* The options of chat templates, as the library takes them.
   Rests on options.h. */
#pragma once

#include "cli/options.h"

#include <jansson.h>

/* The template of a name or of a file; NULL for NULL: the model's own. Allocated. */
int template_text(const char *name, char **out);

/* The JSON object of --var. */
int template_variables(const options *o, json_t **out);
