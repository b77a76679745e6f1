/* The options of replies as a request.
   Rests on options.h and schedule/request.h. */
#pragma once

#include "cli/options.h"
#include "schedule/request.h"

/* Also for subcommands without replies. Draws a seed where none is given. Returns 0, or an exit status after a message. */
int request_of_options(const options *o, request *out);
