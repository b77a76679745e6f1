/* Models of a named shape with weights from a fixed seed, for benchmarks: "random:NAME[:TYPE]".
   Rests on format/tensors.h, base/threads.h. Every word of a tensor is a function of the tensor's place in the model and of the
   word's place in the tensor, by integer arithmetic alone: the same bits on every rank and machine. */
#ifndef MODEL_RANDOM_H
#define MODEL_RANDOM_H

#include "base/arena.h"
#include "format/tensors.h"
#include "model/config.h"

/* Does the path name a random model? */
bool random_named(const char *path);

/* The configuration of the named shape and its tensors, without data. */
lariat_status random_describe(const char *path, model_config *c, tensors *table);

/* Can a device make the weights itself? Those of plain types it can; blocks are made on the host. */
bool random_plain(const tensors *table);

/* The seed of matrix x of a random model's table: the values of a tensor follow from it, its type and its size. */
uint64_t random_seed(const tensors *table, const tensor *x);

/* Makes the weights, by all CPUs that the process may use. Norms get no data: they are ones. */
lariat_status random_fill(const char *path, tensors *table, arena *memory);

#endif
