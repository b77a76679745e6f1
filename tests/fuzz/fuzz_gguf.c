/* Any bytes as a GGUF file: refused with one line, or metadata and tensors that lie inside the file, and of them the
   configuration and the bound weights of a model.
   Rests on format/gguf.c, model/config_gguf.c and model/weights.c. See fuzz.h. */
#include "format/gguf_values.h"
#include "fuzz/fuzz.h"
#include "model/weights.h"

/* Every key, with every way to ask for it. */
static void read_keys(const gguf *g)
{
    for (int64_t i = 0; i < g->values.n; i++) {
        char *key = strndup(g->values.list[i].key, g->values.list[i].key_size);
        size_t size = 0;
        int64_t whole = 0;
        double real = 0;
        bool flag = false;
        const char *text = NULL;
        CHECK(key);
        gguf_int(g, key, &whole);
        gguf_float(g, key, &real);
        gguf_bool(g, key, &flag);
        if (gguf_string(g, key, &text, &size)) {
            touch(text, size);
        }
        const gguf_array *a = gguf_find_array(g, key);
        for (int64_t e = 0; a && e < gguf_array_size(a); e++) {
            gguf_array_int(a, e, &whole);
            gguf_array_float(a, e, &real);
            if (gguf_array_string(a, e, &text, &size)) {
                touch(text, size);
            }
        }
        free(key);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gguf *g = NULL;

    if (!was_read(gguf_parse("fuzz.gguf", data, size, &g))) {
        return 0;
    }
    read_keys(g);
    const tensors *t = gguf_tensors(g);
    for (int64_t i = 0; i < t->n; i++) {
        CHECK(tensors_find(t, t->list[i].name) == &t->list[i]);
        touch(t->list[i].data, t->list[i].bytes);
    }
    model m = {.path = (char[]){"fuzz.gguf"}, .table = t, .file = g};
    if (was_read(config_from_gguf(g, &m.config))) {
        CHECK(m.config.n_heads % m.config.n_kv_heads == 0);
        if (was_read(weights_bind(&m)) && was_read(weights_load(&m))) {
            CHECK(m.weights.final_norm && m.weight_bytes > 0);
        }
        arena_close(&m.floats);
        free(m.weights.layers);
    }
    gguf_close(g);
    return 0;
}
