/* Finds the reference data and the demo's model. Rests on the environment and the checkout's place. See reference.h. */
#include "support/reference.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* The path if something is there; otherwise it is freed and NULL comes back. */
static char *existing(char *path)
{
    struct stat s;

    if (path && stat(path, &s) != 0) {
        free(path);
        return NULL;
    }
    return path;
}

char *reference_path(const char *name)
{
    const char *root = getenv("LARIAT_REFERENCE");
    char beside[] = TEST_DATA "/../../../shared";
    char *path = NULL;

    if (asprintf(&path, "%s/%s", root ? root : beside, name) < 0) {
        return NULL;
    }
    path = existing(path);
    if (!path && asprintf(&path, "%s/%s", TEST_UNPACKED, name) < 0) {
        return NULL;
    }
    return existing(path);
}

bool reference_models_found(void)
{
    char *path = reference_path("reference/models");
    bool found = path != NULL;

    if (!found) {
        printf("skipped: no reference data; see tests/support/reference.h\n");
    }
    free(path);
    return found;
}

char *demo_model_path(void)
{
    const char *cache = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    const char *under = cache && *cache ? "" : "/.cache";
    char *path = NULL;

    if (asprintf(&path, "%s%s/lariat/SmolLM2-135M-Instruct.Q4_1.gguf", *under ? (home ? home : "") : cache, under) < 0) {
        return NULL;
    }
    return existing(path);
}
