/* Reading, and going on with, a file of results.
   Rests on stdio and jansson. See results.h. */
#include "cli/results.h"
#include "cli/message.h"
#include "cli/output.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char beginning[] = "{\"id\": "; /* of every line */

/* A line without an end, which begins as a result: a run was killed while it wrote. */
static bool is_torn(const char *line, size_t size)
{
    size_t begun = size < strlen(beginning) ? size : strlen(beginning);

    return line[size - 1] != '\n' && strncmp(line, beginning, begun) == 0;
}

static int refuse_line(const char *path, int64_t number)
{
    return complain("%s:%lld: not the result of that line of the input, name the file that an earlier run of the same input "
                    "wrote, or a new one", path, (long long)number);
}

static int read_results(const results *r, bool (*is_result)(void *user, int64_t i, const json_t *line), void *user, int64_t *n)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t size;
    off_t whole = 0;
    int rc = 0;

    while (rc == 0 && (size = getline(&line, &room, r->file)) > 0) {
        if (is_torn(line, (size_t)size)) {
            rc = ftruncate(fileno(r->file), whole) == 0 ? 0 : complain("%s: cannot write: %s", r->path, strerror(errno));
            break;
        }
        json_t *object = json_loadb(line, (size_t)size, JSON_ALLOW_NUL, NULL);
        bool known = object && line[size - 1] == '\n' && is_result(user, *n, object);
        json_decref(object);
        *n += known;
        whole += size;
        rc = known ? 0 : refuse_line(r->path, *n + 1);
    }
    if (rc == 0 && ferror(r->file)) {
        rc = complain("%s: cannot read: %s", r->path, strerror(errno));
    }
    free(line);
    return rc;
}

int results_open(results *r, const char *path, bool (*is_result)(void *user, int64_t i, const json_t *line), void *user,
                 int64_t *n)
{
    struct stat now;

    *r = (results){.path = path};
    *n = 0;
    if (!path) {
        return 0;
    }
    r->file = fopen(path, "a+e");
    if (!r->file) {
        return complain("%s: cannot open: %s, choose another file", path, strerror(errno));
    }
    if (fstat(fileno(r->file), &now) != 0 || !S_ISREG(now.st_mode)) {
        return complain("%s: results are kept in a regular file, name one", path);
    }
    rewind(r->file);
    return read_results(r, is_result, user, n);
}

int results_put(const results *r, const json_t *line)
{
    char *text = json_dumps(line, JSON_REAL_PRECISION(17));
    int rc = 0;

    if (!text) {
        return complain_memory("result");
    }
    if (!r->file) {
        rc = output_format("%s\n", text);
        rc = rc ? rc : output_flush();
    } else if (fprintf(r->file, "%s\n", text) < 0 || fflush(r->file) != 0) {
        rc = complain("%s: cannot write: %s, make room or choose another file", r->path, strerror(errno));
    }
    free(text);
    return rc;
}

int results_close(results *r)
{
    FILE *file = r->file;
    const char *path = r->path;

    *r = (results){0};
    return file && fclose(file) != 0 ? complain("%s: cannot write: %s, make room or choose another file", path, strerror(errno))
                                     : 0;
}
