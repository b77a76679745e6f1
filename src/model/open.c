/* Opening a model: recognises the kind of path.
   Rests on format/, config.c, config_gguf.c, random.c and weights.c. See weights.h. */
#include "base/file.h"
#include "base/model_folder.h"
#include "base/memory.h"
#include "base/strings.h"
#include "model/random.h"
#include "model/weights.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CONFIG_FILE_LIMIT = 16 << 20 };

static const char INDEX[] = "model.safetensors.index.json";

static lariat_status no_memory(const char *path)
{
    return fail(LARIAT_NO_MEMORY, "%s: no memory to open it" FREE_MEMORY, path);
}

static bool pickled(const char *name)
{
    return ends_with(name, ".pth") || ends_with(name, ".pt") || ends_with(name, ".bin") || ends_with(name, ".ckpt");
}

static lariat_status refuse_pickle(const char *path)
{
    return fail(LARIAT_UNSUPPORTED,
                "%s: is a Python pickle, which runs code when it is read: convert the model to safetensors, for example "
                "with Hugging Face transformers (convert_llama_weights_to_hf.py for Meta's consolidated files, otherwise "
                "save_pretrained)",
                path);
}

/* --- Hugging Face's layout --- */

/* Reads folder/config.json and, if it exists, folder/generation_config.json. */
static lariat_status read_configuration(const char *folder, model_config *out)
{
    char *path = path_join(folder, "config.json");
    char *generation_path = path_join(folder, "generation_config.json");
    json_t *config = NULL;
    json_t *generation = NULL;
    lariat_status status = LARIAT_OK;

    if (!path || !generation_path) {
        status = no_memory(folder);
    } else if (!path_is_file(path)) {
        status = fail(LARIAT_BAD_MODEL, "%s: has no config.json: fetch it, a Hugging Face directory has one beside its weights",
                      folder);
    }
    NEXT(status, json_read_file(path, CONFIG_FILE_LIMIT, &config));
    if (status == LARIAT_OK && path_is_file(generation_path)) {
        status = json_read_file(generation_path, CONFIG_FILE_LIMIT, &generation);
    }
    NEXT(status, config_from_json(path, config, generation_path, generation, out));
    json_decref(config);
    json_decref(generation);
    free(path);
    free(generation_path);
    return status;
}

/* Refuses a folder without safetensors and names its other weights. */
static lariat_status refuse_folder(const char *folder)
{
    DIR *d = opendir(folder);
    char pickle[256] = "";
    char gguf_name[256] = "";

    for (const struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
        if (pickled(e->d_name)) {
            snprintf(pickle, sizeof pickle, "%s", e->d_name);
        }
        if (ends_with(e->d_name, ".gguf") && (!*gguf_name || strcmp(e->d_name, gguf_name) < 0)) {
            snprintf(gguf_name, sizeof gguf_name, "%s", e->d_name);
        }
    }
    if (d) {
        closedir(d);
    }
    if (*gguf_name) {
        return fail(LARIAT_BAD_ARGUMENT, "%s: is a directory with GGUF files: name the file, for example %s", folder,
                    gguf_name);
    }
    if (*pickle) {
        char *path = path_join(folder, pickle);
        lariat_status status = refuse_pickle(path ? path : pickle);
        free(path);
        return status;
    }
    return fail(LARIAT_BAD_MODEL, "%s: has neither model.safetensors nor %s: fetch the weights", folder, INDEX);
}

static lariat_status open_folder(const char *folder, model *m)
{
    char *single = path_join(folder, "model.safetensors");
    char *index = path_join(folder, INDEX);
    lariat_status status = model_folder_check(folder);

    if (!single || !index) {
        status = no_memory(folder);
    } else if (status == LARIAT_OK && !path_is_file(single) && !path_is_file(index)) {
        status = refuse_folder(folder);
    }
    NEXT(status, read_configuration(folder, &m->config));
    NEXT(status, path_is_file(single) ? safetensors_open(single, &m->own_table) : safetensors_open_index(index, &m->own_table));
    free(single);
    free(index);
    return status;
}

/* A single safetensors file with config.json beside it. */
static lariat_status open_single(const char *path, model *m)
{
    const char *slash = strrchr(path, '/');
    char *folder = path_folder(path);
    lariat_status status = LARIAT_OK;

    if (!folder) {
        return no_memory(path);
    }
    char *index = path_join(folder, INDEX);
    if (!index) {
        status = no_memory(path);
    } else if (strstr(slash ? slash : path, "-of-") && path_is_file(index)) {
        status = fail(LARIAT_BAD_ARGUMENT, "%s: is one shard of several: name its directory, %s", path, folder);
    }
    NEXT(status, model_folder_check(folder)); /* it may be an adapter's */
    NEXT(status, read_configuration(folder, &m->config));
    NEXT(status, safetensors_open(path, &m->own_table));
    free(index);
    free(folder);
    return status;
}

/* --- any path --- */

/* Reads the first bytes of a model file. */
static lariat_status begins_with(const char *path, const char *magic, size_t size, bool *out)
{
    mapped_file f;

    TRY(map_file(path, &f));
    *out = f.size >= size && memcmp(f.data, magic, size) == 0;
    unmap_file(&f);
    return LARIAT_OK;
}

static lariat_status open_file(const char *path, model *m)
{
    bool is_gguf = false;

    if (access(path, R_OK) != 0) { /* before messages about its kind or its folder */
        return fail(LARIAT_IO, "%s: cannot be opened: %s, check the path and its permissions", path, strerror(errno));
    }
    if (pickled(path)) {
        return refuse_pickle(path);
    }
    if (ends_with(path, ".safetensors")) {
        return open_single(path, m);
    }
    TRY(begins_with(path, "GGUF", 4, &is_gguf));
    if (!is_gguf && !ends_with(path, ".gguf")) {
        return fail(LARIAT_BAD_MODEL,
                    "%s: is neither a GGUF nor a safetensors file: name one, a Hugging Face directory or random:NAME", path);
    }
    TRY(gguf_open(path, &m->file));
    return config_from_gguf(m->file, &m->config);
}

static lariat_status open_any(const char *path, model *m)
{
    m->table = &m->own_table;
    if (random_named(path)) {
        TRY(random_describe(path, &m->config, &m->own_table));
    } else if (path_is_directory(path)) {
        TRY(open_folder(path, m));
    } else {
        TRY(open_file(path, m));
    }
    if (m->file) {
        m->table = gguf_tensors(m->file);
    }
    return weights_bind(m);
}

lariat_status model_describe(const char *path, model **out)
{
    model *m = calloc(1, sizeof *m);

    *out = NULL;
    if (!m || !(m->path = strdup(path))) {
        free(m);
        return no_memory(path);
    }
    lariat_status status = open_any(path, m);
    if (status != LARIAT_OK) {
        model_close(m);
        return status;
    }
    *out = m;
    return LARIAT_OK;
}

/* At most a quarter of the free memory for all processes of a run on this host: the page cache keeps the file too, and other
   programs may copy it as well. */
static bool files_are_small(const tensors *table, int32_t processes)
{
    int64_t most = memory_available() / 4 / processes;

    for (int32_t i = 0; i < table->n_files; i++) {
        if (table->files[i].size > (size_t)most) {
            return false;
        }
        most -= (int64_t)table->files[i].size;
    }
    return true;
}

lariat_status model_load(model *m, bool device_makes, int32_t processes)
{
    bool in_place = device_makes || !files_are_small(m->table, processes);

    if (random_named(m->path) && !device_makes) {
        TRY(random_fill(m->path, &m->own_table, &m->random));
    }
    for (int32_t i = 0; !in_place && i < m->table->n_files; i++) {
        TRY(file_to_huge_pages(&m->table->files[i]));
    }
    return weights_load(m);
}

void model_close(model *m)
{
    if (m) {
        gguf_close(m->file);
        tensors_close(&m->own_table);
        arena_close(&m->floats);
        arena_close(&m->random);
        free(m->weights.layers);
        free(m->path);
        free(m);
    }
}
