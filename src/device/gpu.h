/* Opening the CUDA module: a shared library that is loaded only where a GPU is wanted.
   Rests on dlopen. device/cuda/runtime/module.h is what it contains; comm/gpu_transport.h finds the transport in it. */
#ifndef DEVICE_GPU_H
#define DEVICE_GPU_H

#include "device/cuda/runtime/module.h"

/* Finds and opens the module, once a process, and gives its table. From any thread. A build without the module, or one that is
   of another build, is LARIAT_UNSUPPORTED with what to do. */
lariat_status gpu_module(const cuda_module **out);

/* Are there a module and a GPU that it can use? */
bool gpu_usable(void);

/* An object that the module exports by name. */
lariat_status gpu_symbol(const char *name, const void **out);

#endif
