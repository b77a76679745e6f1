/* The description of a model in the public interface.
   Rests on model/weights.h. Used by the engine and by api/inspection.c. */
#pragma once

#include "lariat/lariat.h"
#include "model/weights.h"

/* The strings of *out belong to the model. */
void model_info_fill(const model *m, lariat_model_info *out);
