/* Fills the public description of a model.
   Rests on model/weights.h. See model_info.h. */
#include "engine/model_info.h"

void model_info_fill(const model *m, lariat_model_info *out)
{
    const model_config *c = &m->config;

    *out = (lariat_model_info){
        .architecture = c->family->name,
        .path = m->path,
        .n_layers = c->n_layers,
        .d_model = c->d_model,
        .n_heads = c->n_heads,
        .n_kv_heads = c->n_kv_heads,
        .head_dim = c->head_dim,
        .d_ff = c->d_ff,
        .vocab = c->vocab,
        .trained_context = c->trained_context,
        .parameters = m->parameters,
        .weight_bytes = m->weight_bytes,
        .weight_type = dtype_name(m->weight_type),
        .rope = c->rope_type,
        .fingerprint = m->fingerprint,
    };
}
