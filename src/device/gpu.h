/* Opening the CUDA module: a shared library that is loaded only when a GPU is used.
   Rests on dlopen. device/cuda/runtime/module.h declares its table; comm/gpu_transport.h finds the transport in it. */
#pragma once

#include "device/cuda/runtime/module.h"

/* Finds and opens the module once a process; *out is its table. From any thread. LARIAT_UNSUPPORTED: no module, or one of
   another build; the message has advice. */
lariat_status gpu_module(const cuda_module **out);

/* Is there a module with a usable GPU? */
bool gpu_usable(void);

/* An object that the module exports by name. */
lariat_status gpu_symbol(const char *name, const void **out);
