/* Finds the reference data. Rests on the environment and the checkout's place. See reference.h. */
#include "support/reference.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

char *reference_path(const char *name)
{
    const char *root = getenv("LARIAT_REFERENCE");
    char beside[] = TEST_DATA "/../../../shared";
    char *path = NULL;
    struct stat s;

    if (asprintf(&path, "%s/%s", root ? root : beside, name) < 0) {
        return NULL;
    }
    if (stat(path, &s) != 0) {
        free(path);
        return NULL;
    }
    return path;
}
