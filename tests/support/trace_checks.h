/* What a trace of a ring must be, on any device: the engine's tests check it on CPUs, those of cards on GPUs.
   Rests on the public API and on a tiny model of the reference. */
#pragma once

#include "lariat/lariat.h"

/* Runs all checks as cmocka's tests, each in all n places: they name a device, its cards and types, the rest is chosen here.
   Returns what main shall. */
int run_trace_checks(const lariat_options where[], int n);
