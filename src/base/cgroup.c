/* The folder of a process's group: its path in a hierarchy, relative to the group that the hierarchy's mount starts from (in
   a container, its own).
   Rests on proc(5). See cgroup.h. */
#include "base/cgroup.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_SIZE = 4096, FOLDER_SIZE = 3 * PATH_SIZE };

static FILE *open_below(const char *folder, const char *file)
{
    char path[FOLDER_SIZE];
    int n = snprintf(path, sizeof path, "%s/%s", folder, file);

    return n > 0 && (size_t)n < sizeof path ? fopen(path, "re") : NULL;
}

int64_t cgroup_number(const char *folder, const char *file)
{
    FILE *f = open_below(folder, file);
    int64_t value = -1;

    if (f) {
        if (fscanf(f, "%" SCNd64, &value) != 1) {
            value = -1;
        }
        fclose(f);
    }
    return value;
}

/* Is `word` one of the words of a list with commas? */
static bool names(const char *list, const char *word)
{
    size_t n = strlen(word);

    for (const char *at = list; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        if (strncmp(at, word, n) == 0 && (at[n] == ',' || at[n] == 0)) {
            return true;
        }
    }
    return false;
}

/* This process's path in a hierarchy: version 2's, or version 1's with the controller. Lines are NUMBER:CONTROLLERS:PATH,
   for version 2 "0::PATH". */
static bool find_path(const char *root, const char *controller, bool unified, char out[PATH_SIZE])
{
    FILE *f = open_below(root, "proc/self/cgroup");
    char line[PATH_SIZE];
    bool found = false;

    while (f && !found && fgets(line, sizeof line, f)) {
        char *list = strchr(line, ':'), *path = list ? strchr(list + 1, ':') : NULL;
        if (!path) {
            continue;
        }
        *path++ = 0;
        path[strcspn(path, "\n")] = 0;
        found = unified ? !list[1] : names(list + 1, controller);
        if (found) {
            memmove(out, path, strlen(path) + 1);
        }
    }
    if (f) {
        fclose(f);
    }
    return found;
}

/* --- mounts --- */

typedef struct mount {
    char *root, *point; /* the mounted group, and the mount point */
    bool unified;
} mount;

/* Decodes escapes such as \040 for a blank. */
static void decode(char *text)
{
    char *to = text;

    for (const char *from = text; *from; to++) {
        unsigned int code;
        if (*from == '\\' && sscanf(from + 1, "%3o", &code) == 1) {
            *to = (char)code;
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = 0;
}

/* A line: ID PARENT DEVICE ROOT POINT OPTIONS ... - TYPE SOURCE SUPER-OPTIONS. Is it a hierarchy with the controller? */
static bool is_mount(char *line, const char *controller, mount *out)
{
    char *rest = line, *word, *tail = strstr(line, " - ");
    char type[16] = "", options[PATH_SIZE] = "";

    if (!tail || sscanf(tail, " - %15s %*s %4095s", type, options) != 2) {
        return false;
    }
    out->unified = strcmp(type, "cgroup2") == 0;
    if (!out->unified && (strcmp(type, "cgroup") != 0 || !names(options, controller))) {
        return false;
    }
    for (int i = 0; i < 5; i++) {
        word = strsep(&rest, " ");
        if (!word || !rest) {
            return false;
        }
        out->root = i == 3 ? word : out->root;
        out->point = i == 4 ? word : out->point;
    }
    decode(out->root);
    decode(out->point);
    return true;
}

/* The path relative to the mounted group; NULL: the process is not below it. A path outside the namespace, "/..", counts as
   the mounted group. */
static const char *below(const mount *m, const char *path)
{
    size_t n = strcmp(m->root, "/") == 0 ? 0 : strlen(m->root);

    if (strncmp(m->root, "/..", 3) == 0 || strncmp(path, "/..", 3) == 0) {
        return "";
    }
    return strncmp(path, m->root, n) == 0 && (path[n] == '/' || path[n] == 0) ? path + n : NULL;
}

static void visit(const char *root, const mount *m, const char *path, cgroup_fn fn, void *user)
{
    char folder[FOLDER_SIZE];
    const char *rest = below(m, path);
    size_t least = strlen(root) + strlen(m->point);
    int n = rest ? snprintf(folder, sizeof folder, "%s%s%s", root, m->point, rest) : 0;

    if (n <= 0 || (size_t)n >= sizeof folder) {
        return;
    }
    for (char *end = folder + n; end && end >= folder + least; end = strrchr(folder, '/')) {
        *end = 0;
        if (end == folder + least || end[-1] != '/') { /* a path of "/" adds nothing */
            fn(user, folder, m->unified);
        }
    }
}

void cgroup_each(const char *root, const char *controller, cgroup_fn fn, void *user)
{
    FILE *f = open_below(root, "proc/self/mountinfo");
    char *line = NULL, path[PATH_SIZE];
    size_t size = 0;
    mount m = {0};

    while (f && getline(&line, &size, f) > 0) {
        line[strcspn(line, "\n")] = 0;
        if (is_mount(line, controller, &m) && find_path(root, controller, m.unified, path)) {
            visit(root, &m, path, fn, user);
        }
    }
    free(line);
    if (f) {
        fclose(f);
    }
}
