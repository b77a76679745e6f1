/* Opening the tokenizer of a model, from any kind of file.
   Rests on text/ and on gguf_vocabulary.c. Read on in text/tokenizer.c (tokenizer_build). */
#include "base/file.h"
#include "base/model_folder.h"
#include "base/strings.h"
#include "text/gguf_vocabulary.h"
#include "text/sentencepiece.h"
#include "text/tokenizer.h"
#include "text/tokenizer_config.h"
#include "text/tokenizer_json.h"

#include <stdlib.h>
#include <string.h>

static lariat_status read_gguf(const char *path, vocabulary *v)
{
    gguf *g;
    lariat_status status;

    TRY(vocabulary_text(v, path, strlen(path), &v->path));
    TRY(gguf_open(path, &g));
    status = gguf_vocabulary(g, v);
    gguf_close(g);
    return status;
}

/* tokenizer.json or tokenizer.model, and the configuration files of its folder. */
static lariat_status read_file(const char *path, vocabulary *v)
{
    char *folder = path_folder(path);
    lariat_status status = folder ? LARIAT_OK : fail(LARIAT_NO_MEMORY, "%s: no memory" FREE_MEMORY, path);

    NEXT(status, vocabulary_text(v, path, strlen(path), &v->path));
    NEXT(status, ends_with(path, ".json") ? tokenizer_json_read(path, v) : sentencepiece_read(path, v));
    NEXT(status, tokenizer_config_read(folder, v));
    free(folder);
    return status;
}

static lariat_status read_folder(const char *folder, vocabulary *v)
{
    static const char *const names[] = { "tokenizer.json", "tokenizer.model" };
    lariat_status model;

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *path = path_join(folder, names[i]);
        lariat_status status = path ? LARIAT_OK : fail(LARIAT_NO_MEMORY, "%s: no memory" FREE_MEMORY, folder);
        bool found = path && path_is_file(path);
        if (found) {
            status = read_file(path, v);
        }
        free(path);
        if (found || status != LARIAT_OK) {
            return status;
        }
    }
    model = model_folder_check(folder);
    if (model != LARIAT_OK) {
        return model;
    }
    return fail(LARIAT_UNSUPPORTED, "%s: has neither tokenizer.json nor tokenizer.model, fetch one of them", folder);
}

/* Reads the tokenizer in the folder of a .safetensors file. */
static lariat_status read_beside(const char *path, vocabulary *v)
{
    char *folder = path_folder(path);
    lariat_status status = folder ? read_folder(folder, v) : fail(LARIAT_NO_MEMORY, "%s: no memory" FREE_MEMORY, path);

    free(folder);
    return status;
}

static lariat_status read_vocabulary(const char *model, vocabulary *v)
{
    if (strncmp(model, "random:", 7) == 0) {
        return fail(LARIAT_UNSUPPORTED, "%s: has no tokenizer", model);
    }
    if (path_is_directory(model)) {
        return read_folder(model, v);
    }
    if (!path_is_file(model)) {
        return fail(LARIAT_IO, "%s: is neither a directory nor a file that can be read, check the path and its permissions",
                    model);
    }
    if (ends_with(model, ".gguf")) {
        return read_gguf(model, v);
    }
    if (ends_with(model, ".safetensors") || ends_with(model, ".index.json")) {
        return read_beside(model, v);
    }
    return read_file(model, v);
}

lariat_status lariat_tokenizer_open(const char *model, lariat_tokenizer **out)
{
    lariat_status status;
    vocabulary v;

    vocabulary_init(&v);
    *out = NULL;
    status = read_vocabulary(model, &v);
    if (status != LARIAT_OK) {
        vocabulary_free(&v);
        return status;
    }
    return tokenizer_build(&v, out);
}
