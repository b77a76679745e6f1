/* What a trace of a ring must be, on any device: the engine's tests check it on CPUs, those of cards on GPUs.
   Rests on the public API and on a tiny model of the reference. */
#ifndef SUPPORT_TRACE_CHECKS_H
#define SUPPORT_TRACE_CHECKS_H

#include "lariat/lariat.h"

/* `where` names the device, its cards and types; the rest is chosen here. */
void check_spans_of_layers(lariat_options where);    /* all that a layer of a pass does and nothing twice; spans nest */
void check_times_and_counters(lariat_options where); /* both tell the same times */
void check_bits_of_traced(lariat_options where);     /* a traced run has the bits of one that is not */
void check_full_buffer(lariat_options where);        /* counts what it loses */
void check_cancelled_pass(lariat_options where);     /* leaves no spans */
void check_long_run(lariat_options where);           /* more moments than a device remembers */
void check_start_and_stop(lariat_options where);     /* and again */

#endif
