/* Reading, and going on with, a file of results.
   Rests on jansson. See results.h. */
#include "cli/results.h"
#include "cli/message.h"
#include "cli/output.h"

#include <jansson.h>
#include <stdlib.h>

typedef struct reading {
    const char *path;
    bool (*is_result)(void *user, int64_t i, const json_t *line);
    void *user;
    int64_t *n;
} reading;

static int take_result(void *arg, int number, const char *line, size_t size)
{
    const reading *r = arg;
    json_t *object = json_loadb(line, size, JSON_ALLOW_NUL, NULL);
    bool known = object && line[size - 1] == '\n' && r->is_result(r->user, *r->n, object);

    json_decref(object);
    *r->n += known;
    return known ? 0
                 : complain("%s:%d: not the result of that line of the input, name the file that an earlier run of the same "
                            "input wrote, or a new one",
                            r->path, number);
}

int results_open(line_file *f, const char *path, bool (*is_result)(void *user, int64_t i, const json_t *line), void *user,
                 int64_t *n)
{
    reading r = {path, is_result, user, n};

    *n = 0;
    TRY(line_file_open(f, path, "results"));
    return path ? line_file_read(f, "{\"id\": ", take_result, &r) : 0;
}

int results_put(const line_file *f, const json_t *line)
{
    char *text = json_dumps(line, 0); /* reals with 17 digits, or, since jansson 2.15, as few as give the same value */
    int rc = 0;

    if (!text) {
        return complain_memory("result");
    }
    if (f->file) {
        rc = line_file_put(f, text);
    } else {
        rc = output_format("%s\n", text);
        rc = rc ? rc : output_flush();
    }
    free(text);
    return rc;
}
