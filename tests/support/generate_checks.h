/* What lariat_generate promises, for an engine on any device: the engine's tests check it on CPUs, those of cards on GPUs.
   Rests on the public API; the tokens are compared with those of lariat_step and lariat_sample. */
#pragma once

#include "lariat/lariat.h"

/* `o` names the device and the ring; the rest is chosen here. `path` is a model. */
void check_tokens_of_steps(const char *path, lariat_options o); /* several sessions, settings and ends */
void check_turns(const char *path, lariat_options o);           /* a talk: one sampler, replies that are stopped */
void check_ends(const char *path, lariat_options o);            /* most, a full session, cancelled, nothing to make */
/* So many sequences at once, whose replies end one after another: the tokens that each has alone. */
void check_many(const char *path, lariat_options o, int32_t sequences);
