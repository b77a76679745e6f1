/* Common to lariat_step and lariat_generate: calls that take sessions through pass after pass.
   Rests on engine/engine.h. step.c has the functions. */
#pragma once

#include "engine/engine.h"

/* Begins a call that owns all passes until call_end: none may be under way. */
lariat_status call_begin(lariat_engine *e, const lariat_work work[], int32_t n, int64_t *total);
void call_end(lariat_engine *e);
/* After a failure: a session, its token and its sampler go back to where they were at `before`. */
void call_take_back(lariat_session *s, lariat_sampler *sampler);
/* All of the items, pass after pass. */
lariat_status read_passes(lariat_engine *e, const lariat_work items[], int32_t n, int64_t total);
