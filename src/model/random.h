/* Models of a named shape with random weights from a fixed seed, for benchmarks: "random:NAME[:TYPE]".
   Rests on format/tensors.h, base/threads.h. Every word of a tensor is an integer function of the tensor's index in the
   model and the word's index in the tensor: the same bits on every rank and machine. */
#pragma once

#include "base/arena.h"
#include "format/tensors.h"
#include "model/config.h"

/* Does the path name a random model? */
bool random_named(const char *path);

/* The configuration of the named shape and its tensors, without data. */
lariat_status random_describe(const char *path, model_config *c, tensors *table);

/* The seed of matrix x of a random model's table: with type and size it determines the values. */
uint64_t random_seed(const tensors *table, const tensor *x);

/* Generates the weights with all CPUs of the process. Norms get no data: they are ones. */
lariat_status random_fill(const char *path, tensors *table, arena *memory);
