/* A plan as text and JSON.
   Rests on lariat.h. */
#pragma once

#include "cli/options.h"
#include "lariat/lariat.h"

#include <jansson.h>
#include <stdio.h>

/* The library's options for `context` positions (0: the trained length) over `sessions` sessions. */
lariat_options plan_options(const options *o, int64_t context, int32_t sessions);

/* Several lines, each indented by `indent`. */
void plan_describe(const lariat_plan *plan, const char *indent, FILE *to);
/* One line for the terminal. */
void plan_summarise(const lariat_plan *plan, FILE *to);
json_t *plan_json(const lariat_plan *plan);

/* "98.4 MB", in the buffer. */
const char *bytes_text(int64_t bytes, char buffer[static 24]);
