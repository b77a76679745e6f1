/* Binding of weights: every tensor of the reference models in its place; what is missing, left over, of a wrong shape or type,
   or not a number is refused by the tensor's name; and what a path may name. Rests on model/weights.h. */
#include "model/device_weights.h"
#include "model/weights.h"
#include "lariat/lariat.h"
#include "support/gguf_image.h"
#include "support/reference.h"
#include "support/scratch.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* --- the reference models --- */

/* Describes a model and loads its values; NULL where either is refused. */
static lariat_status load(const char *path, model **out)
{
    TRY(model_describe(path, out));
    lariat_status status = model_load(*out, false, 1);
    if (status != LARIAT_OK) {
        model_close(*out);
        *out = NULL;
    }
    return status;
}

static model *load_reference(const char *name)
{
    char *path = reference_path(name);
    model *m = NULL;

    assert_non_null(path);
    assert_accepted(load(path, &m));
    free(path);
    return m;
}

/* The matrix is that tensor of the file, byte by byte in place. */
static void is_tensor(const model *m, const matrix *w, const char *name)
{
    const tensor *x = tensors_find(m->table, name);

    assert_non_null(x);
    assert_ptr_equal(w->data, x->data);
    assert_int_equal(w->type, x->type);
    assert_int_equal(w->rows, x->dims[0]);
    assert_int_equal(w->cols, x->dims[1]);
    assert_int_equal((int64_t)w->row_bytes * w->rows, (int64_t)x->bytes);
}

static void is_vector(const model *m, const float *values, const char *name)
{
    const tensor *x = tensors_find(m->table, name);

    assert_non_null(x);
    assert_non_null(values);
    for (int64_t i = 0; i < x->dims[0]; i++) {
        uint16_t half;
        memcpy(&half, (const char *)x->data + 2 * i, 2);
        float wanted = x->type == DTYPE_F32   ? ((const float *)x->data)[i]
                       : x->type == DTYPE_F16 ? f16_to_f32(half)
                                              : bf16_to_f32(half);
        assert_true(values[i] == wanted);
    }
}

static void a_sharded_checkpoint_with_a_tied_head_is_bound(void **state)
{
    model *m = load_reference("reference/models/gqa-llama3-fp16-sharded");

    (void)state;
    assert_int_equal(m->table->n_files, 7);
    is_tensor(m, &m->weights.embedding, "model.embed_tokens.weight");
    assert_ptr_equal(m->weights.head.data, m->weights.embedding.data);
    is_vector(m, m->weights.final_norm, "model.norm.weight");
    is_tensor(m, &m->weights.layers[2].q, "model.layers.2.self_attn.q_proj.weight");
    is_tensor(m, &m->weights.layers[2].down, "model.layers.2.mlp.down_proj.weight");
    is_vector(m, m->weights.layers[1].ffn_norm, "model.layers.1.post_attention_layernorm.weight");
    is_vector(m, m->weights.layers[1].attn_norm, "model.layers.1.input_layernorm.weight");
    assert_null(m->weights.layers[0].bias_q);
    assert_int_equal(m->parameters, 657280); /* total_parameters and total_size of the index */
    assert_int_equal(m->weight_bytes, 1314560);
    assert_int_equal(m->weight_type, DTYPE_F16);
    model_close(m);
}

static void biases_are_bound_where_the_configuration_announces_them(void **state)
{
    model *m = load_reference("reference/models/mqa-bias-headdim-fp32");
    const layer_weights *l = &m->weights.layers[1];

    (void)state;
    is_tensor(m, &m->weights.head, "lm_head.weight");
    is_vector(m, l->bias_q, "model.layers.1.self_attn.q_proj.bias");
    is_vector(m, l->bias_k, "model.layers.1.self_attn.k_proj.bias");
    is_vector(m, l->bias_v, "model.layers.1.self_attn.v_proj.bias");
    is_vector(m, l->bias_o, "model.layers.1.self_attn.o_proj.bias");
    is_vector(m, l->bias_gate, "model.layers.1.mlp.gate_proj.bias");
    is_vector(m, l->bias_up, "model.layers.1.mlp.up_proj.bias");
    is_vector(m, l->bias_down, "model.layers.1.mlp.down_proj.bias");
    is_tensor(m, &l->k, "model.layers.1.self_attn.k_proj.weight");
    is_tensor(m, &l->o, "model.layers.1.self_attn.o_proj.weight");
    model_close(m);
}

static void a_quantised_file_is_bound_in_place(void **state)
{
    model *m = load_reference("reference/gguf/Q4_K_S.gguf");
    const layer_weights *l = &m->weights.layers[1];

    (void)state;
    is_tensor(m, &m->weights.embedding, "token_embd.weight");
    is_tensor(m, &l->q, "blk.1.attn_q.weight");
    is_tensor(m, &l->k, "blk.1.attn_k.weight");
    is_tensor(m, &l->v, "blk.1.attn_v.weight");
    is_tensor(m, &l->o, "blk.1.attn_output.weight");
    is_tensor(m, &l->gate, "blk.1.ffn_gate.weight");
    is_tensor(m, &l->up, "blk.1.ffn_up.weight");
    is_tensor(m, &l->down, "blk.1.ffn_down.weight");
    is_vector(m, l->attn_norm, "blk.1.attn_norm.weight");
    is_vector(m, l->ffn_norm, "blk.1.ffn_norm.weight");
    is_vector(m, m->weights.final_norm, "output_norm.weight");
    assert_int_equal(m->config.rope, ROPE_PAIRS);
    assert_int_equal(m->weight_type, DTYPE_Q4_K);
    model_close(m);
}

static void a_description_says_the_same_and_converts_nothing(void **state)
{
    static const char *const names[] = {"reference/models/mha-bf16", "reference/models/gqa-yarn-bf16",
                                        "reference/gguf/Q6_K.gguf"};
    uint64_t seen = 0;

    (void)state;
    for (int i = 0; i < 3; i++) {
        model *whole = load_reference(names[i]);
        model *described;
        assert_accepted(model_describe(whole->path, &described));
        assert_true(described->fingerprint == whole->fingerprint && whole->fingerprint != seen);
        assert_int_equal(described->weight_bytes, whole->weight_bytes);
        assert_int_equal(described->parameters, whole->parameters);
        assert_null(described->weights.final_norm);
        seen = whole->fingerprint;
        model_close(described);
        model_close(whole);
    }
}

static void inspection_shows_the_model_and_every_tensor(void **state)
{
    char *path = reference_path("reference/gguf/Q5_0.gguf");
    lariat_inspection *i;

    (void)state;
    assert_accepted(lariat_inspect(path, &i));
    const lariat_model_info *info = lariat_inspection_model(i);
    assert_string_equal(info->architecture, "llama");
    assert_string_equal(info->weight_type, "Q5_0");
    assert_string_equal(info->path, path);
    assert_int_equal(info->head_dim, 64);
    assert_int_equal(lariat_inspection_tensor_count(i), 20);
    assert_string_equal(lariat_inspection_tensor(i, 0)->name, "blk.0.attn_k.weight");
    assert_int_equal(lariat_inspection_tensor(i, 0)->dims[0], 128);
    assert_null(lariat_inspection_tensor(i, 20));
    assert_null(lariat_inspection_tensor(i, -1));
    lariat_inspection_close(i);
    assert_refused(lariat_inspect("/nonexistent/x.gguf", &i), LARIAT_IO, "/nonexistent/x.gguf: cannot be opened");
    free(path);
}

/* --- a small checkpoint with any fault --- */

static const char CONFIG[] =
    "{\"model_type\":\"llama\",\"num_hidden_layers\":1,\"hidden_size\":8,\"intermediate_size\":12,\"vocab_size\":10,"
    "\"num_attention_heads\":2,\"num_key_value_heads\":1%s}";

typedef struct fault {
    const char *config; /* more fields of config.json */
    const char *name;   /* of the tensor to which the rest applies; one that is not in the list is added */
    bool missing;
    dtype type;         /* F32 is 0: as it is */
    int64_t rows, cols; /* 0: as they are; rows of an added one: 0 makes a vector */
    float value;        /* of all its elements; 0: as they are, one by one different */
} fault;

typedef struct entry {
    const char *name;
    int64_t rows, cols;
} entry;

static const entry entries[] = {
    {"lm_head.weight", 10, 8},
    {"model.embed_tokens.weight", 10, 8},
    {"model.layers.0.input_layernorm.weight", 0, 8},
    {"model.layers.0.mlp.down_proj.weight", 8, 12},
    {"model.layers.0.mlp.gate_proj.weight", 12, 8},
    {"model.layers.0.mlp.up_proj.weight", 12, 8},
    {"model.layers.0.post_attention_layernorm.weight", 0, 8},
    {"model.layers.0.self_attn.k_proj.weight", 4, 8},
    {"model.layers.0.self_attn.o_proj.weight", 8, 8},
    {"model.layers.0.self_attn.q_proj.weight", 8, 8},
    {"model.layers.0.self_attn.v_proj.weight", 4, 8},
    {"model.norm.weight", 0, 8},
};
enum { ENTRIES = sizeof entries / sizeof *entries };

static void put_tensor(safetensors_writer *w, const tensor_spec *s, float value)
{
    int64_t n = s->dims[0] * (s->n_dims == 2 ? s->dims[1] : 1);

    for (int64_t i = 0; i < n; i++) {
        float f = value != 0 ? value : (float)(i + 1) / 16;
        uint16_t half = s->type == DTYPE_F16 ? f32_to_f16(f) : f32_to_bf16(f);
        double d = (double)f;
        const void *at = s->type == DTYPE_F32   ? (const void *)&f
                         : s->type == DTYPE_F64 ? (const void *)&d
                                                : (const void *)&half;
        assert_accepted(safetensors_write(w, at, dtype_block_bytes(s->type)));
    }
}

/* Writes folder `name` and returns its path. */
static char *write_checkpoint(const char *name, const fault *f)
{
    tensor_spec specs[ENTRIES + 1];
    float values[ENTRIES + 1] = {0};
    char file[128], text[512];
    int n = 0;
    bool met = false;

    for (int i = 0; i <= ENTRIES; i++) {
        bool it = f->name && (i == ENTRIES ? !met : strcmp(entries[i].name, f->name) == 0);
        met = met || it;
        if (i == ENTRIES ? !it : it && f->missing) {
            continue;
        }
        int64_t rows = it && f->cols ? f->rows : entries[i].rows;
        int64_t cols = it && f->cols ? f->cols : entries[i].cols;
        specs[n] = (tensor_spec){
            it ? f->name : entries[i].name, it ? f->type : DTYPE_F32, rows ? 2 : 1, {rows ? rows : cols, rows ? cols : 0}};
        values[n] = it ? f->value : 0;
        n++;
    }
    snprintf(text, sizeof text, CONFIG, f->config ? f->config : "");
    snprintf(file, sizeof file, "%s/config.json", name);
    scratch_write_text(file, text);
    snprintf(file, sizeof file, "%s/model.safetensors", name);
    char *path = scratch_path(file);
    safetensors_writer *w;
    assert_accepted(safetensors_create(path, specs, n, &w));
    for (int i = 0; i < n; i++) {
        put_tensor(w, &specs[i], values[i]);
    }
    assert_accepted(safetensors_finish(w));
    free(path);
    return scratch_path(name);
}

static void refuses(fault f, lariat_status code, const char *part)
{
    char *path = write_checkpoint("faulty", &f);
    model *m;
    assert_refused(load(path, &m), code, part);
    assert_null(m);
    free(path);
}

static void accepts(fault f)
{
    char *path = write_checkpoint("sound", &f);
    model *m;
    assert_accepted(load(path, &m));
    model_close(m);
    free(path);
}

static void each_missing_tensor_is_named(void **state)
{
    (void)state;
    accepts((fault){0});
    for (int i = 0; i < ENTRIES; i++) {
        char part[128];
        snprintf(part, sizeof part, "tensor %s is missing", entries[i].name);
        refuses((fault){.name = entries[i].name, .missing = true}, LARIAT_BAD_MODEL, part);
    }
    refuses((fault){.name = "lm_head.weight", .missing = true}, LARIAT_BAD_MODEL, "say \"tie_word_embeddings\": true");
    refuses((fault){.config = ",\"attention_bias\":true"}, LARIAT_BAD_MODEL,
            "tensor model.layers.0.self_attn.q_proj.bias is missing");
    refuses((fault){.config = ",\"mlp_bias\":true"}, LARIAT_BAD_MODEL, "tensor model.layers.0.mlp.gate_proj.bias is missing");
}

static void each_wrong_shape_is_named(void **state)
{
    (void)state;
    for (int i = 0; i < ENTRIES; i++) {
        char part[160];
        if (entries[i].rows) {
            snprintf(part, sizeof part, "tensor %s has the shape [%d, %d], wanted [%d, %d]", entries[i].name,
                     (int)entries[i].cols + 1, (int)entries[i].rows, (int)entries[i].rows, (int)entries[i].cols);
            refuses((fault){.name = entries[i].name, .rows = entries[i].cols + 1, .cols = entries[i].rows}, LARIAT_BAD_MODEL,
                    part);
        } else {
            snprintf(part, sizeof part, "tensor %s has the shape [1, 8], wanted [8]", entries[i].name);
            refuses((fault){.name = entries[i].name, .rows = 1, .cols = 8}, LARIAT_BAD_MODEL, part);
        }
    }
    refuses((fault){.name = "model.norm.weight", .cols = 7}, LARIAT_BAD_MODEL,
            "tensor model.norm.weight has the shape [7], wanted [8]");
}

static void types_may_be_mixed_but_not_any(void **state)
{
    (void)state;
    accepts((fault){.name = "lm_head.weight", .type = DTYPE_BF16});
    accepts((fault){.name = "model.norm.weight", .type = DTYPE_F16});
    refuses((fault){.name = "lm_head.weight", .type = DTYPE_F64}, LARIAT_UNSUPPORTED, "tensor lm_head.weight has the type F64");
    refuses((fault){.name = "model.norm.weight", .type = DTYPE_F64}, LARIAT_UNSUPPORTED,
            "tensor model.norm.weight has the type F64");
}

static void a_norm_that_is_not_finite_is_named(void **state)
{
    const char *norm = "model.layers.0.input_layernorm.weight";

    (void)state;
    refuses((fault){.name = norm, .value = NAN}, LARIAT_BAD_MODEL,
            "tensor model.layers.0.input_layernorm.weight holds nan at 0");
    refuses((fault){.name = norm, .value = INFINITY}, LARIAT_BAD_MODEL, "holds inf at 0");
    refuses((fault){.name = norm, .value = -INFINITY, .type = DTYPE_F16}, LARIAT_BAD_MODEL, "holds -inf at 0");
    refuses((fault){.name = "model.norm.weight", .value = NAN, .type = DTYPE_BF16}, LARIAT_BAD_MODEL,
            "tensor model.norm.weight holds nan at 0");
}

static void what_is_left_over_is_refused_unless_it_cannot_matter(void **state)
{
    (void)state;
    refuses((fault){.name = "model.layers.0.self_attn.q_norm.weight", .cols = 8}, LARIAT_UNSUPPORTED,
            "tensor model.layers.0.self_attn.q_norm.weight has no place");
    refuses((fault){.name = "model.layers.1.self_attn.q_proj.weight", .rows = 8, .cols = 8}, LARIAT_UNSUPPORTED,
            "has no place");
    refuses((fault){.name = "model.layers.0.self_attn.q_proj.bias", .cols = 8}, LARIAT_UNSUPPORTED,
            "tensor model.layers.0.self_attn.q_proj.bias has no place");
    accepts((fault){
        .name = "model.layers.0.self_attn.q_proj.bias", .cols = 8, .value = 1e-30f, .type = DTYPE_F16}); /* rounds to zeros */
    accepts((fault){.name = "model.layers.0.self_attn.rotary_emb.inv_freq", .cols = 2});
}

static void a_tied_head_may_be_stored_twice_but_not_differ(void **state)
{
    (void)state;
    accepts((fault){.config = ",\"tie_word_embeddings\":true", .name = "lm_head.weight", .missing = true});
    accepts((fault){.config = ",\"tie_word_embeddings\":true"});
    refuses((fault){.config = ",\"tie_word_embeddings\":true", .name = "lm_head.weight", .value = 1}, LARIAT_BAD_MODEL,
            "ties the head to the embedding, but tensor lm_head.weight differs");
}

static void tensors_at_odd_addresses_keep_their_values(void **state)
{
    char *path = write_checkpoint("odd", &(fault){0});
    char *file = scratch_path("odd/model.safetensors");
    size_t size;
    unsigned char *data = scratch_read(file, &size);
    bytes b = {0};
    model *even, *odd;

    (void)state;
    assert_accepted(load(path, &even));
    uint64_t header = data[0] + 256u * data[1];
    bytes_u64(&b, header + 1);
    bytes_put(&b, data + 8, header);
    bytes_put(&b, " ", 1);
    bytes_put(&b, data + 8 + header, size - 8 - header);
    scratch_write("odd/model.safetensors.new", b.data, b.size);
    char *new = scratch_path("odd/model.safetensors.new");
    assert_int_equal(rename(new, file), 0);
    assert_accepted(load(path, &odd));
    assert_int_equal((uintptr_t)odd->weights.head.data % 2, 1);
    assert_memory_equal(odd->weights.head.data, even->weights.head.data, 320);
    assert_memory_equal(odd->weights.layers[0].attn_norm, even->weights.layers[0].attn_norm, 32);
    model_close(even);
    model_close(odd);
    bytes_free(&b);
    free(data);
    free(path);
    free(file);
    free(new);
}

/* --- what a path may name --- */

static void refuses_path(const char *name, lariat_status code, const char *part)
{
    char *path = scratch_path(name);
    model *m;
    assert_refused(model_describe(path, &m), code, part);
    free(path);
}

static void pickles_are_refused_with_the_way_out(void **state)
{
    (void)state;
    scratch_write_text("meta/consolidated.00.pth", "PK");
    scratch_write_text("meta/params.json", "{}");
    refuses_path("meta", LARIAT_UNSUPPORTED, "consolidated.00.pth: is a Python pickle");
    refuses_path("meta/consolidated.00.pth", LARIAT_UNSUPPORTED, "convert the model to safetensors");
    scratch_write_text("old/pytorch_model.bin", "PK");
    scratch_write_text("old/config.json", "{}");
    refuses_path("old", LARIAT_UNSUPPORTED, "pytorch_model.bin: is a Python pickle");
}

static void a_folder_without_a_model_says_what_it_lacks(void **state)
{
    (void)state;
    scratch_write_text("nothing/readme", "x");
    refuses_path("nothing", LARIAT_BAD_MODEL, "has neither model.safetensors nor model.safetensors.index.json");
    scratch_write_text("quantised/b.gguf", "x");
    scratch_write_text("quantised/a.gguf", "x");
    refuses_path("quantised", LARIAT_BAD_ARGUMENT, "name the file, for example a.gguf");
    refuses_path("quantised/a.gguf", LARIAT_BAD_MODEL, "truncated");
    scratch_write_text("bare/model.safetensors", "x");
    refuses_path("bare", LARIAT_BAD_MODEL, "has no config.json");
    scratch_write_text("text.txt", "hello world");
    refuses_path("text.txt", LARIAT_BAD_MODEL, "is neither a GGUF nor a safetensors file");
    refuses_path("absent", LARIAT_IO, "absent: cannot be opened: No such file");
    model *m;
    assert_refused(model_describe("", &m), LARIAT_IO, "cannot be opened");
}

static void what_is_around_a_model_or_belongs_to_one_says_what_to_name(void **state)
{
    (void)state;
    scratch_write_text("models--org--name/refs/main", "abc");
    refuses_path("models--org--name", LARIAT_BAD_MODEL, "has neither");
    scratch_write_text("models--org--name/snapshots/abc/config.json", "{}");
    scratch_write_text("models--org--name/snapshots/aaa/config.json", "{}");
    refuses_path("models--org--name", LARIAT_BAD_ARGUMENT, "models--org--name/snapshots/abc");
    scratch_write_text("models--org--name/refs/main", "gone\n");
    refuses_path("models--org--name", LARIAT_BAD_ARGUMENT, "models--org--name/snapshots/aaa");
    scratch_write_text("lora/adapter_config.json", "{\"base_model_name_or_path\":\"org/base\"}");
    scratch_write_text("lora/adapter_model.safetensors", "x");
    refuses_path("lora", LARIAT_UNSUPPORTED, "merge it into org/base");
    refuses_path("lora/adapter_model.safetensors", LARIAT_UNSUPPORTED, "merge it into org/base");
    scratch_write_text("lora/adapter_config.json", "{");
    refuses_path("lora", LARIAT_UNSUPPORTED, "merge it into its base model");
}

static void a_single_file_beside_its_configuration_is_a_model(void **state)
{
    char *folder = write_checkpoint("single", &(fault){0});
    char *file = scratch_path("single/model.safetensors");
    model *m;

    (void)state;
    assert_accepted(model_describe(file, &m));
    model_close(m);
    scratch_copy(file, "single/model-00001-of-00002.safetensors");
    scratch_write_text("single/model.safetensors.index.json", "{}");
    refuses_path("single/model-00001-of-00002.safetensors", LARIAT_BAD_ARGUMENT, "is one shard of several: name its directory");
    free(folder);
    free(file);
}

/* --- faults of GGUF files that only binding sees --- */

/* A model of one layer, its attn_q, under the name, of that type number, with one more vector if `extra` names it. */
static char *write_gguf_with(const char *attn_q, uint32_t attn_q_type, const char *extra)
{
    const struct {
        const char *name;
        uint64_t rows;
    } list[] = {{"token_embd.weight", 10},    {"output_norm.weight", 0},         {"blk.0.attn_norm.weight", 0},
                {"blk.0.ffn_norm.weight", 0}, {attn_q, 256},                     {"blk.0.attn_k.weight", 256},
                {"blk.0.attn_v.weight", 256}, {"blk.0.attn_output.weight", 256}, {"blk.0.ffn_gate.weight", 256},
                {"blk.0.ffn_up.weight", 256}, {"blk.0.ffn_down.weight", 256}};
    gguf_image i = {0};
    uint64_t at = 0;

    gguf_image_string(&i, "general.architecture", "llama");
    gguf_image_u32(&i, "llama.block_count", 1);
    gguf_image_u32(&i, "llama.embedding_length", 256);
    gguf_image_u32(&i, "llama.feed_forward_length", 256);
    gguf_image_u32(&i, "llama.attention.head_count", 4);
    gguf_image_u32(&i, "llama.context_length", 4096);
    gguf_image_f32(&i, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    for (size_t t = 0; t < sizeof list / sizeof *list; t++) {
        uint32_t type = list[t].name == attn_q ? attn_q_type : 0;
        gguf_image_tensor(&i, list[t].name, list[t].rows ? 2 : 1, (uint64_t[]){256, list[t].rows}, type, at);
        at += (list[t].rows ? list[t].rows : 1) * 1024;
    }
    if (extra) {
        gguf_image_tensor(&i, extra, 1, (uint64_t[]){256}, 0, at);
        at += 1024;
    }
    bytes b = gguf_image_done(&i, 3, 32, at);
    if (extra) {
        memcpy(b.data + b.size - 1024, &(float){0.5f}, sizeof(float));
    }
    scratch_write("made.gguf", b.data, b.size);
    bytes_free(&b);
    return scratch_path("made.gguf");
}

static char *write_gguf(uint32_t attn_q_type, const char *extra)
{
    return write_gguf_with("blk.0.attn_q.weight", attn_q_type, extra);
}

static void fused_queries_keys_and_values_of_other_rows_are_refused_by_their_shape(void **state)
{
    (void)state;
    free(write_gguf_with("blk.0.attn_qkv.weight", 0, NULL));
    refuses_path("made.gguf", LARIAT_BAD_MODEL, "tensor blk.0.attn_qkv.weight has the shape [256, 256]");
}

static void a_gguf_file_with_an_unknown_type_or_tensor_is_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        uint32_t type;
        const char *part;
    } others[] = {{16, "type IQ2_XXS, which Lariat does not compute with: fetch the same model as Q2_K"},
                  {21, "type IQ3_S, which Lariat does not compute with: fetch the same model as Q3_K_M"},
                  {23, "tensor blk.0.attn_q.weight has the type IQ4_XS, which Lariat does not compute with: fetch the "
                       "same model as Q4_K_M"},
                  {39, "type MXFP4, which Lariat does not compute with: fetch the same model as Q4_K_M"}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        free(write_gguf(others[i].type, NULL));
        refuses_path("made.gguf", LARIAT_UNSUPPORTED, others[i].part);
    }
    free(write_gguf(0, "blk.0.attn_q_norm.weight"));
    refuses_path("made.gguf", LARIAT_UNSUPPORTED, "tensor blk.0.attn_q_norm.weight has no place");
}

static void a_bias_in_a_gguf_file_is_announced_by_being_there(void **state)
{
    char *path = write_gguf(0, "blk.0.attn_q.bias");
    model *m;

    (void)state;
    assert_accepted(load(path, &m));
    assert_non_null(m->weights.layers[0].bias_q);
    assert_true(m->weights.layers[0].bias_q[0] == 0.5f && m->weights.layers[0].bias_q[255] == 0);
    assert_null(m->weights.layers[0].bias_k);
    model_close(m);
    free(path);
}

/* --- a copy for a device --- */

static lariat_status copy_reserve(device *dev, size_t size, const char *what, void **out)
{
    (void)dev;
    (void)what;
    *out = aligned_alloc(ARENA_ALIGN, (size + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN);
    assert_non_null(*out);
    return LARIAT_OK;
}

static void copy_release(device *dev, void *block, size_t size)
{
    (void)dev;
    (void)size;
    free(block);
}

static void copy_upload(device *dev, void *to, const void *from, size_t size)
{
    (void)dev;
    memcpy(to, from, size);
}

static lariat_status copy_load(device *dev, const matrix *to, const matrix *from)
{
    assert_int_equal(to->type, from->type);
    copy_upload(dev, (void *)(uintptr_t)to->data, from->data, (size_t)to->rows * to->row_bytes);
    return LARIAT_OK;
}

static lariat_status copy_finish(device *dev)
{
    (void)dev;
    return LARIAT_OK;
}

/* A device with memory of its own, in F32. */
static const device_ops copying = {
    .reserve = copy_reserve, .release = copy_release, .upload = copy_upload, .load = copy_load, .finish = copy_finish};

static void is_copied(const matrix *copy, const matrix *w)
{
    assert_ptr_not_equal(copy->data, w->data);
    assert_memory_equal(copy->data, w->data, (size_t)w->rows * w->row_bytes);
}

static void a_copy_for_a_device_has_every_bias_of_a_gguf_file(void **state)
{
    char *path = write_gguf(0, "blk.0.attn_q.bias");
    device dev = {.ops = &copying, .act = DTYPE_F32};
    device_weights w;
    model *m;

    (void)state;
    assert_accepted(model_describe(path, &m));
    size_t planned = device_weights_bytes(m, DTYPE_F32);
    assert_accepted(model_load(m, false, 1));
    assert_accepted(device_weights_open(&w, m, &dev));
    const layer_weights *l = &w.weights.layers[0];
    assert_non_null(l->bias_q);
    assert_memory_equal(l->bias_q, m->weights.layers[0].bias_q, 256 * sizeof(float));
    assert_null(l->bias_k);
    is_copied(&l->down, &m->weights.layers[0].down);
    is_copied(&w.weights.head, &m->weights.head);
    assert_true(w.memory.used <= planned && w.memory.size == planned);
    device_weights_close(&w);
    model_close(m);
    free(path);
}

/* The device's own type is for plain weights: a quarter of the memory is what blocks are for. */
static void a_copy_for_a_device_leaves_blocks_what_they_are(void **state)
{
    model *m = load_reference("reference/gguf/Q4_K_S.gguf");
    device dev = {.ops = &copying, .act = DTYPE_BF16};
    device_weights w;

    (void)state;
    assert_accepted(device_weights_open(&w, m, &dev));
    is_copied(&w.weights.layers[1].q, &m->weights.layers[1].q);
    is_copied(&w.weights.layers[0].down, &m->weights.layers[0].down);
    is_copied(&w.weights.embedding, &m->weights.embedding);
    assert_int_equal(w.weights.layers[1].q.type, DTYPE_Q4_K);
    assert_true(device_weights_bytes(m, DTYPE_BF16) < (size_t)m->weight_bytes * 3 / 2);
    device_weights_close(&w);
    model_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copy_for_a_device_leaves_blocks_what_they_are),
        cmocka_unit_test(a_sharded_checkpoint_with_a_tied_head_is_bound),
        cmocka_unit_test(biases_are_bound_where_the_configuration_announces_them),
        cmocka_unit_test(a_quantised_file_is_bound_in_place),
        cmocka_unit_test(a_description_says_the_same_and_converts_nothing),
        cmocka_unit_test(inspection_shows_the_model_and_every_tensor),
        cmocka_unit_test(each_missing_tensor_is_named),
        cmocka_unit_test(each_wrong_shape_is_named),
        cmocka_unit_test(types_may_be_mixed_but_not_any),
        cmocka_unit_test(a_norm_that_is_not_finite_is_named),
        cmocka_unit_test(what_is_left_over_is_refused_unless_it_cannot_matter),
        cmocka_unit_test(a_tied_head_may_be_stored_twice_but_not_differ),
        cmocka_unit_test(tensors_at_odd_addresses_keep_their_values),
        cmocka_unit_test(pickles_are_refused_with_the_way_out),
        cmocka_unit_test(a_folder_without_a_model_says_what_it_lacks),
        cmocka_unit_test(what_is_around_a_model_or_belongs_to_one_says_what_to_name),
        cmocka_unit_test(a_single_file_beside_its_configuration_is_a_model),
        cmocka_unit_test(fused_queries_keys_and_values_of_other_rows_are_refused_by_their_shape),
        cmocka_unit_test(a_gguf_file_with_an_unknown_type_or_tensor_is_refused_by_name),
        cmocka_unit_test(a_bias_in_a_gguf_file_is_announced_by_being_there),
        cmocka_unit_test(a_copy_for_a_device_has_every_bias_of_a_gguf_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
