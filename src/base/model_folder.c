/* Folders that hold a model's files without being one: a repository in Hugging Face's cache (models--ORG--NAME, with refs and
   snapshots), an adapter.
   Rests on file.c and json.c. */
#include "base/model_folder.h"

#include "base/file.h"
#include "base/json.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONFIG_LIMIT = 1 << 20, NAME_SIZE = 256 };

static bool has_model(const char *folder)
{
    static const char *const names[] = {"config.json", "model.safetensors", "model.safetensors.index.json"};
    bool found = false;

    for (size_t i = 0; i < sizeof names / sizeof *names && !found; i++) {
        char *path = path_join(folder, names[i]);
        found = path && path_is_file(path);
        free(path);
    }
    return found;
}

/* The name that sorts first in a folder, hidden ones aside; empty without one. */
static void first_name(const char *folder, char name[NAME_SIZE])
{
    DIR *d = opendir(folder);

    *name = '\0';
    for (const struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
        if (e->d_name[0] != '.' && strlen(e->d_name) < NAME_SIZE && (!*name || strcmp(e->d_name, name) < 0)) {
            snprintf(name, NAME_SIZE, "%s", e->d_name);
        }
    }
    if (d) {
        closedir(d);
    }
}

/* The snapshot of the branch main, where it is there; otherwise any. */
static void choose_snapshot(const char *folder, const char *snapshots, char name[NAME_SIZE])
{
    char *reference = path_join(folder, "refs/main"), *snapshot = NULL;
    FILE *f = reference ? fopen(reference, "r") : NULL;

    if (f && fgets(name, NAME_SIZE, f)) {
        name[strcspn(name, "/\r\n")] = '\0';
        snapshot = *name && *name != '.' ? path_join(snapshots, name) : NULL;
    }
    if (!snapshot || !path_is_directory(snapshot)) {
        first_name(snapshots, name);
    }
    if (f) {
        fclose(f);
    }
    free(reference);
    free(snapshot);
}

static lariat_status refuse_cache(const char *folder, const char *snapshots)
{
    char name[NAME_SIZE];

    choose_snapshot(folder, snapshots, name);
    return *name ? fail(LARIAT_BAD_ARGUMENT, "%s: is a folder of Hugging Face's cache around a model: name the snapshot, %s/%s",
                        folder, snapshots, name)
                 : fail(LARIAT_BAD_ARGUMENT, "%s: is a folder of Hugging Face's cache without a snapshot: fetch it again",
                        folder);
}

static lariat_status refuse_adapter(const char *folder, const char *config)
{
    json_t *o = NULL;
    const char *base = json_read_file(config, CONFIG_LIMIT, &o) == LARIAT_OK
                           ? json_string_value(json_object_get(o, "base_model_name_or_path"))
                           : NULL;
    lariat_status status = fail(LARIAT_UNSUPPORTED,
                                "%s: is an adapter without its model: merge it into %.200s (peft: merge_and_unload, then "
                                "save_pretrained) and name the merged model's folder",
                                folder, base && *base ? base : "its base model");

    json_decref(o);
    return status;
}

lariat_status model_folder_check(const char *folder)
{
    char *snapshots = path_join(folder, "snapshots"), *adapter = path_join(folder, "adapter_config.json");
    lariat_status status = LARIAT_OK;

    if (!snapshots || !adapter) {
        status = fail(LARIAT_NO_MEMORY, "%s: no memory" FREE_MEMORY, folder);
    } else if (has_model(folder)) {
        status = LARIAT_OK;
    } else if (path_is_directory(snapshots)) {
        status = refuse_cache(folder, snapshots);
    } else if (path_is_file(adapter)) {
        status = refuse_adapter(folder, adapter);
    }
    free(snapshots);
    free(adapter);
    return status;
}
