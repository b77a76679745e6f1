/* The configuration files beside a tokenizer, all optional, as Hugging Face's library reads them.
   Rests on base/json_member.h. Read on in vocabulary.h, and chat_template.c for the template. */
#include "text/tokenizer_config.h"

#include "base/file.h"
#include "base/json_member.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_CONFIG = 128 << 20 }; /* bytes; some 200 for each added token, of which models of speech have 65,000 */

/* One of the files, while it is read. */
typedef struct config_file {
    const char *path;
    json_t *root;
    json_member added; /* added_tokens_decoder */
    vocabulary *v;
} config_file;

/* The text of a token: "text" or {"content": "text", ...}; NULL: not given. */
static const char *token_text(const json_t *o)
{
    return json_is_object(o) ? json_string_value(json_object_get(o, "content")) : json_string_value(o);
}

static lariat_status set_eos(vocabulary *v, int32_t id)
{
    if (!vocabulary_has(v, id)) {
        return LARIAT_OK;
    }
    if (v->eos < 0) {
        v->eos = id;
    }
    return vocabulary_end(v, id);
}

/* bos_token and eos_token of tokenizer_config.json and special_tokens_map.json. */
static lariat_status read_named(const json_t *root, vocabulary *v)
{
    const char *bos = token_text(json_object_get(root, "bos_token")), *eos = token_text(json_object_get(root, "eos_token"));

    if (bos && v->bos < 0) {
        v->bos = vocabulary_find(v, bos);
    }
    return eos ? set_eos(v, vocabulary_find(v, eos)) : LARIAT_OK;
}

/* Adds a token of a configuration file, or merges its second description. */
static lariat_status add_token(vocabulary *v, const char *path, int64_t id, const char *content, const json_t *o)
{
    bool known = vocabulary_has(v, id);
    added_token a = { .id = (int32_t)id, .size = (uint32_t)strlen(content) };

    if (vocabulary_added(v, content) == id || a.size == 0) {
        return LARIAT_OK;
    }
    if (vocabulary_find(v, content) != (known && v->tokens[id].kind != TOKEN_UNKNOWN ? id : -1)) {
        return fail(LARIAT_BAD_MODEL, "%s: token \"%.64s\" has id %lld here and another in the tokenizer" FETCH_AGAIN, path,
                    content, (long long)id);
    }
    TRY(json_flag(o, path, "special", false, &a.special));
    TRY(json_flag(o, path, "normalized", false, &a.normalized));
    TRY(json_flag(o, path, "lstrip", false, &a.lstrip));
    TRY(json_flag(o, path, "rstrip", false, &a.rstrip));
    TRY(json_flag(o, path, "single_word", false, &a.single_word));
    a.normalized = a.normalized && !v->by_score; /* SentencePiece has its own normalization */
    if (!known) {
        lariat_status status = vocabulary_set(v, id, content, a.size, TOKEN_CONTROL);
        if (status != LARIAT_OK) {
            return fail_within(status, "%s", path);
        }
    }
    v->tokens[id].special = v->tokens[id].special || a.special;
    TRY(vocabulary_text(v, content, a.size, &a.text));
    return vocabulary_add(v, &a);
}

/* A member of added_tokens_decoder. */
static lariat_status read_added(void *user, const char *key, const json_t *o)
{
    const config_file *f = user;
    const char *content = token_text(o);
    char *end;
    long long id = strtoll(key, &end, 10);

    if (!content || *end || end == key || id < 0 || id >= MAX_TOKENS) {
        return fail(LARIAT_BAD_MODEL, "%s: added_tokens_decoder: \"%.64s\" is not an id with its token" FETCH_AGAIN, f->path,
                    key);
    }
    return add_token(f->v, f->path, id, content, o);
}

/* added_tokens.json: {"text": id}. */
static lariat_status read_added_list(config_file *f)
{
    json_t *flags = json_object(), *id;
    lariat_status status = flags ? LARIAT_OK : fail(LARIAT_NO_MEMORY, "%s: no memory" FREE_MEMORY, f->path);
    const char *content;

    json_object_foreach(f->root, content, id) {
        if (status == LARIAT_OK &&
            (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= MAX_TOKENS)) {
            status = fail(LARIAT_BAD_MODEL, "%s: token \"%.64s\" has no id" FETCH_AGAIN, f->path, content);
        }
        NEXT(status, add_token(f->v, f->path, json_integer_value(id), content, flags));
    }
    json_decref(flags);
    return status;
}

/* A list without a template of the name "default": the names that it has. */
static lariat_status warn_of_names(const config_file *f, const json_t *list)
{
    char names[160] = "";
    const json_t *member;
    size_t i, n = 0;

    json_array_foreach(list, i, member) {
        const char *name = json_string_value(json_object_get(member, "name"));
        if (name && n < sizeof names) {
            n += (size_t)snprintf(names + n, sizeof names - n, "%s%.40s", n ? ", " : "", name);
        }
    }
    return vocabulary_warn(f->v, "%s: \"chat_template\" has none with the name default, only %s: going on without", f->path,
                           n ? names : "some without a name");
}

/* chat_template: a text, or a list of named ones of which "default" counts. */
static lariat_status read_template(const config_file *f)
{
    const json_t *o = json_object_get(f->root, "chat_template"), *found = json_is_array(o) ? NULL : o, *member;
    size_t i;

    if (!o || json_is_null(o) || f->v->chat_template) {
        return LARIAT_OK;
    }
    json_array_foreach(o, i, member) {
        const char *name = json_string_value(json_object_get(member, "name"));
        if (name && strcmp(name, "default") == 0) {
            found = json_object_get(member, "template");
        }
    }
    if (json_array_size(o) > 0 && !found) {
        return warn_of_names(f, o);
    }
    const char *text = json_string_value(found);
    return text ? vocabulary_template(f->v, text, strlen(text), f->path, "chat_template")
                : vocabulary_warn(f->v, "%s: \"chat_template\" is neither a text nor a list of named ones: going on without",
                                  f->path);
}

static lariat_status read_tokenizer_config(config_file *f)
{
    const char *class = json_string_value(json_object_get(f->root, "tokenizer_class"));

    TRY(json_each(f->path, &f->added, '{', read_added, f));
    TRY(read_named(f->root, f->v));
    if (class && strncmp(class, "LlamaTokenizer", 14) == 0) {
        f->v->adds_bos = true; /* default of the next line */
    }
    TRY(json_flag(f->root, f->path, "add_bos_token", false, &f->v->adds_bos));
    return read_template(f);
}

static lariat_status read_special_map(config_file *f)
{
    return read_named(f->root, f->v);
}

/* Is this value the id of a token? A number that is none is warned of. */
static lariat_status is_token_id(const config_file *f, const char *field, const json_t *id, bool *out)
{
    *out = json_is_integer(id) && vocabulary_has(f->v, json_integer_value(id));
    if (*out || !json_is_integer(id)) {
        return LARIAT_OK;
    }
    return vocabulary_warn(f->v, "%s: \"%s\" is %lld, which no token has: going on without", f->path, field,
                           (long long)json_integer_value(id));
}

/* eos_token_id (one or a list) and bos_token_id of generation_config.json and config.json. */
static lariat_status read_model_config(config_file *f)
{
    const json_t *eos = json_object_get(f->root, "eos_token_id"), *bos = json_object_get(f->root, "bos_token_id");
    vocabulary *v = f->v;
    size_t n = json_is_array(eos) ? json_array_size(eos) : 1;
    bool valid;

    for (size_t i = 0; eos && i < n; i++) {
        const json_t *id = json_is_array(eos) ? json_array_get(eos, i) : eos;
        if (!json_is_integer(id) && !json_is_null(id)) {
            return fail(LARIAT_BAD_MODEL, "%s: \"eos_token_id\" is neither an id nor a list of ids" FETCH_AGAIN, f->path);
        }
        TRY(is_token_id(f, "eos_token_id", id, &valid));
        TRY(valid ? set_eos(v, (int32_t)json_integer_value(id)) : LARIAT_OK);
    }
    TRY(is_token_id(f, "bos_token_id", bos, &valid));
    if (v->bos < 0 && valid) {
        v->bos = (int32_t)json_integer_value(bos);
    }
    return LARIAT_OK;
}

static lariat_status read_jinja(const char *folder, vocabulary *v)
{
    char *path = path_join(folder, "chat_template.jinja");
    lariat_status status = path ? LARIAT_OK : fail(LARIAT_NO_MEMORY, "%s: no memory" FREE_MEMORY, folder);
    mapped_file f;

    if (path && path_is_file(path)) {
        status = map_file(path, &f);
        if (status == LARIAT_OK) {
            status = f.size > MAX_CONFIG
                         ? fail(LARIAT_BAD_MODEL, "%s: %zu bytes are too many for a template" FETCH_AGAIN, path, f.size)
                     : memchr(f.data, '\0', f.size)
                         ? vocabulary_warn(v, "%s: holds a NUL byte, it is not used", path)
                         : vocabulary_template(v, (const char *)f.data, f.size, path, NULL);
            unmap_file(&f);
        }
    } else if (path && path_is_directory(path)) {
        status = vocabulary_warn(v, "%s: is a folder and no template, it is not used", path);
    }
    free(path);
    return status;
}

typedef lariat_status (*read_fn)(config_file *f);

/* Integers become real numbers where they are larger than any integer type, as in
   "model_max_length": 1000000000000000019884624838656. */
static lariat_status read_mapped(config_file *f, const mapped_file *m, read_fn read)
{
    static const char member[] = "added_tokens_decoder";
    const char *data = (const char *)m->data;
    json_error_t error;

    if (m->size > MAX_CONFIG) {
        return fail(LARIAT_BAD_MODEL, "%s: %zu bytes are too many for such a file" FETCH_AGAIN, f->path, m->size);
    }
    f->root = json_load_around(data, m->size, member, 0, &f->added, &error);
    if (!f->root && json_error_code(&error) == json_error_numeric_overflow) {
        f->root = json_load_around(data, m->size, member, JSON_DECODE_INT_AS_REAL, &f->added, &error);
    }
    TRY(json_check(f->path, f->root, &error, &f->root));
    lariat_status status = read(f);
    json_decref(f->root);
    return status;
}

/* A file of the folder, if it is there. */
static lariat_status read_config(const char *folder, const char *name, read_fn read, vocabulary *v)
{
    char *path = path_join(folder, name);
    lariat_status status = path ? LARIAT_OK : fail(LARIAT_NO_MEMORY, "%s/%s: no memory" FREE_MEMORY, folder, name);
    mapped_file m;

    if (path && path_is_file(path)) {
        status = map_file(path, &m);
        if (status == LARIAT_OK) {
            config_file f = { .path = path, .v = v };
            status = read_mapped(&f, &m, read);
            unmap_file(&m);
        }
    }
    free(path);
    return status;
}

lariat_status tokenizer_config_read(const char *folder, vocabulary *v)
{
    static const struct {
        const char *name;
        read_fn read;
    } files[] = {
        { "tokenizer_config.json", read_tokenizer_config },
        { "special_tokens_map.json", read_special_map },
        { "added_tokens.json", read_added_list },
        { "generation_config.json", read_model_config },
        { "config.json", read_model_config },
    };

    TRY(read_jinja(folder, v));
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        TRY(read_config(folder, files[i].name, files[i].read, v));
    }
    return LARIAT_OK;
}
