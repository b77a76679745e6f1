/* Hops that several processes measure together. See measure_hop.c.
   Rests on engine/engine.h. */
#pragma once

#include "engine/engine.h"

/* What another process than 0 does: see hop_fn. */
lariat_status hop_follow(const lariat_options *o, const command *c);
