/* lariat_inspect: a model's description without opening it.
   Rests on model/weights.h. See include/lariat/lariat.h. */
#include "base/fail.h"
#include "engine/model_info.h"

#include <stdlib.h>
#include <string.h>

struct lariat_inspection {
    model *model;
    lariat_model_info info;
    lariat_tensor_info *tensors; /* [model->table->n] */
};

void lariat_inspection_close(lariat_inspection *i)
{
    if (i) {
        model_close(i->model);
        free(i->tensors);
        free(i);
    }
}

static void fill_tensor(const tensor *x, lariat_tensor_info *out)
{
    *out = (lariat_tensor_info){.name = x->name, .type = x->type_name, .n_dims = x->n_dims, .bytes = (int64_t)x->bytes};
    memcpy(out->dims, x->dims, sizeof out->dims);
}

lariat_status lariat_inspect(const char *path, lariat_inspection **out)
{
    *out = NULL;
    lariat_inspection *i = calloc(1, sizeof *i);
    TRY_MEMORY(i, "%s: no memory to inspect it" FREE_MEMORY, path);
    lariat_status status = model_describe(path, &i->model);
    if (status == LARIAT_OK) {
        i->tensors = calloc((size_t)i->model->table->n + 1, sizeof *i->tensors);
        status = i->tensors ? LARIAT_OK : fail(LARIAT_NO_MEMORY, "%s: no memory to inspect it" FREE_MEMORY, path);
    }
    if (status != LARIAT_OK) {
        lariat_inspection_close(i);
        return status;
    }
    model_info_fill(i->model, &i->info);
    for (int64_t t = 0; t < i->model->table->n; t++) {
        fill_tensor(&i->model->table->list[t], &i->tensors[t]);
    }
    *out = i;
    return LARIAT_OK;
}

const lariat_model_info *lariat_inspection_model(const lariat_inspection *i)
{
    return &i->info;
}

int64_t lariat_inspection_tensor_count(const lariat_inspection *i)
{
    return i->model->table->n;
}

const lariat_tensor_info *lariat_inspection_tensor(const lariat_inspection *i, int64_t index)
{
    return index >= 0 && index < i->model->table->n ? &i->tensors[index] : NULL;
}
