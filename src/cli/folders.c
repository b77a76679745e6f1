/* Paths of the user's files, and creating folders.
   Rests on mkdir. */
#include "cli/folders.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Makes every folder of a file's path. A failure shows when the file is opened. */
static void make_folders(char *path, mode_t mode)
{
    for (char *c = path + 1; *c; c++) {
        if (*c == '/') {
            *c = 0;
            mkdir(path, mode);
            *c = '/';
        }
    }
}

char *user_file(const char *variable, const char *otherwise, const char *name)
{
    const char *folder = getenv(variable);
    const char *home = getenv("HOME");
    char *path = NULL;
    int n = -1;
    if (folder && folder[0] == '/') { /* by the specification relative ones are invalid and ignored */
        n = asprintf(&path, "%s/lariat/%s", folder, name);
    } else if (home && home[0] == '/') {
        n = asprintf(&path, "%s/%s/lariat/%s", home, otherwise, name);
    }
    if (n < 0) {
        return NULL;
    }
    make_folders(path, 0700);
    return path;
}

void make_folder(const char *path)
{
    char *copy = strdup(path);
    if (copy && *copy) {
        make_folders(copy, 0777);
        mkdir(copy, 0777);
    }
    free(copy);
}
