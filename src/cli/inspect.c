/* lariat inspect: a model's description and its memory.
   Rests on lariat_inspect and lariat_plan_make: no weight is read. */
#include "cli/commands.h"
#include "cli/message.h"
#include "cli/output.h"
#include "cli/plan_text.h"
#include "cli/json_text.h"
#include "lariat/text.h"

#include <string.h>

#include <stdlib.h>

enum { SHAPE_MOST = 96 };

/* The description of a model. */
typedef struct findings {
    const lariat_inspection *inspection;
    const lariat_model_info *model;
    lariat_tokenizer *tokenizer; /* NULL: none */
    lariat_plan plan;
    const options *options;
} findings;

/* --- as text --- */

static const char *shape_text(const lariat_tensor_info *t, char buffer[static SHAPE_MOST])
{
    size_t used = 0;
    buffer[0] = 0;
    for (int i = 0; i < t->n_dims; i++) {
        used += (size_t)snprintf(buffer + used, SHAPE_MOST - used, "%s%lld", i ? " x " : "", (long long)t->dims[i]);
    }
    return buffer;
}

static int print_tensors(const lariat_inspection *inspection)
{
    int64_t n = lariat_inspection_tensor_count(inspection);
    TRY(output_format("tensors      %lld\n", (long long)n));
    for (int64_t i = 0; i < n; i++) {
        const lariat_tensor_info *t = lariat_inspection_tensor(inspection, i);
        char shape[SHAPE_MOST], bytes[24];
        TRY(output_format("  %-48s %-7s %-20s %s\n", t->name, t->type, shape_text(t, shape), bytes_text(t->bytes, bytes)));
    }
    return 0;
}

static int print_tokenizer(const lariat_tokenizer *t)
{
    if (!t) {
        return output_format("tokenizer    none\n");
    }
    const char *source = lariat_chat_template(t);
    TRY(output_format("tokenizer    vocabulary %d", lariat_tokenizer_size(t)));
    if (lariat_tokenizer_bos(t) >= 0) {
        TRY(output_format(", texts begin with %d%s", lariat_tokenizer_bos(t),
                          lariat_tokenizer_adds_bos(t) ? "" : " where asked to"));
    }
    return source ? output_format("\ntemplate     %zu bytes of Jinja\n", strlen(source))
                  : output_format("\ntemplate     none\n");
}

static int print_text(const findings *f)
{
    const lariat_model_info *m = f->model;
    char bytes[24];
    TRY(output_format("model        %s\n", m->path));
    TRY(output_format("architecture %s: %d layers, width %d, feed-forward %d, vocabulary %d\n", m->architecture, m->n_layers,
                      m->d_model, m->d_ff, m->vocab));
    TRY(output_format("attention    heads %d of %d values, KV heads %d, rope %s, trained for %lld positions\n", m->n_heads,
                      m->head_dim, m->n_kv_heads, m->rope, (long long)m->trained_context));
    TRY(output_format("parameters   %lld\n", (long long)m->parameters));
    TRY(output_format("weights      %s, mostly %s\n", bytes_text(m->weight_bytes, bytes), m->weight_type));
    TRY(output_format("fingerprint  %016llx\n", (unsigned long long)m->fingerprint));
    TRY(print_tokenizer(f->tokenizer));
    TRY(output_format("memory\n"));
    plan_describe(&f->plan, "  ", stdout);
    TRY(print_tensors(f->inspection));
    return output_flush();
}

/* --- as JSON --- */

static json_t *tensor_json(const lariat_tensor_info *t)
{
    json_t *shape = json_array();
    for (int i = 0; i < t->n_dims; i++) {
        json_array_append_new(shape, json_integer(t->dims[i]));
    }
    return json_pack("{s:o, s:s, s:o, s:I}", "name", json_from_text(t->name), "type", t->type, "shape", shape, "bytes",
                     (json_int_t)t->bytes);
}

static json_t *tensors_json(const lariat_inspection *inspection)
{
    json_t *list = json_array();
    int64_t n = lariat_inspection_tensor_count(inspection);
    for (int64_t i = 0; i < n; i++) {
        json_array_append_new(list, tensor_json(lariat_inspection_tensor(inspection, i)));
    }
    return list;
}

static json_t *tokenizer_json(const lariat_tokenizer *t)
{
    if (!t) {
        return json_null();
    }
    int32_t bos = lariat_tokenizer_bos(t);
    return json_pack("{s:i, s:o, s:b, s:o}", "vocab", lariat_tokenizer_size(t), "bos",
                     bos >= 0 ? json_integer(bos) : json_null(), "adds_bos", (int)lariat_tokenizer_adds_bos(t), "template",
                     json_from_text(lariat_chat_template(t)));
}

static int print_json(const findings *f)
{
    const lariat_model_info *m = f->model;
    char fingerprint[17];
    snprintf(fingerprint, sizeof fingerprint, "%016llx", (unsigned long long)m->fingerprint);
    json_t *root = json_pack("{s:o, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:I, s:s, s:I, s:I, s:s, s:s, s:o, s:o, s:o}",
                             "model", json_from_text(m->path), "architecture", m->architecture, "n_layers", m->n_layers,
                             "d_model", m->d_model, "n_heads", m->n_heads, "n_kv_heads", m->n_kv_heads, "head_dim", m->head_dim,
                             "d_ff", m->d_ff, "vocab", m->vocab, "trained_context", (json_int_t)m->trained_context, "rope",
                             m->rope, "parameters", (json_int_t)m->parameters, "weight_bytes", (json_int_t)m->weight_bytes,
                             "weight_type", m->weight_type, "fingerprint", fingerprint, "tokenizer",
                             tokenizer_json(f->tokenizer), "plan", plan_json(&f->plan), "tensors", tensors_json(f->inspection));
    char *text = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
    int rc = text ? output_format("%s\n", text) : complain_memory("inspect");
    free(text);
    json_decref(root);
    return rc ? rc : output_flush();
}

static int tell(findings *f)
{
    const options *o = f->options;
    f->model = lariat_inspection_model(f->inspection);
    lariat_options library = plan_options(o, o->context, 1);
    TRY(checked(lariat_plan_make(o->model, &library, &f->plan)));
    lariat_status status = lariat_tokenizer_open(o->model, &f->tokenizer);
    if (status != LARIAT_OK) {
        f->tokenizer = NULL;
        if (status != LARIAT_UNSUPPORTED) {
            warn("%s", lariat_error()); /* the rest is still described */
        }
    } else {
        warn_of_tokenizer(f->tokenizer);
    }
    int rc = o->json ? print_json(f) : print_text(f);
    lariat_tokenizer_close(f->tokenizer);
    return rc;
}

int command_inspect(const options *o)
{
    lariat_inspection *inspection;
    TRY(checked(lariat_inspect(o->model, &inspection)));
    findings f = {.inspection = inspection, .options = o};
    int rc = tell(&f);
    lariat_inspection_close(inspection);
    return rc;
}
