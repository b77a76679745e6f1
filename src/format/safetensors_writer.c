/* Writes a safetensors file in pieces, so that results of any size need no memory.
   Rests on base/ and jansson. A regular file is written under a temporary name and renamed when complete; an existing path
   of another kind (a pipe, /dev/null) is written directly. See tensors.h. */
#include "format/tensors.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct safetensors_writer {
    FILE *file;
    char *path, *partial; /* partial: the temporary name; NULL: written directly */
    uint64_t wanted, written;
};

static void free_writer(safetensors_writer *w)
{
    free(w->path);
    free(w->partial);
    free(w);
}

void safetensors_discard(safetensors_writer *w)
{
    if (!w) {
        return;
    }
    if (w->file) {
        fclose(w->file);
    }
    if (w->partial) {
        unlink(w->partial);
    }
    free_writer(w);
}

/* The header's entry of one tensor with data at *at; advances *at. NULL: no memory, or sizes too large for a file. */
static json_t *entry_of(const tensor_spec *spec, int64_t *at)
{
    json_t *shape = json_array();
    int64_t bytes = (int64_t)dtype_block_bytes(spec->type), end;
    bool sane = shape != NULL;

    for (int d = 0; d < spec->n_dims; d++) {
        sane = sane && !__builtin_mul_overflow(bytes, spec->dims[d], &bytes) &&
               json_array_append_new(shape, json_integer(spec->dims[d])) == 0;
    }
    if (!sane || __builtin_add_overflow(*at, bytes, &end)) {
        json_decref(shape);
        return NULL;
    }
    json_t *entry = json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtype_name(spec->type), "shape", shape, "data_offsets",
                              (json_int_t)*at, (json_int_t)end);
    *at = end;
    return entry;
}

/* The header as JSON text. */
static lariat_status header_text(const char *path, const tensor_spec specs[], int n, char **text, uint64_t *data_bytes)
{
    json_t *header = json_object();
    lariat_status status = LARIAT_OK;
    int64_t at = 0;

    for (int i = 0; i < n && status == LARIAT_OK; i++) {
        const char *name = specs[i].name;
        json_t *entry = entry_of(&specs[i], &at);
        if (!entry) {
            status = fail(LARIAT_NO_MEMORY, "%s: tensor %s is too large to be described, write less", path, name);
        } else if (json_object_get(header, name) || strcmp(name, "__metadata__") == 0) {
            json_decref(entry);
            status = fail(LARIAT_BAD_ARGUMENT, "%s: the name %s of a tensor is taken, choose another", path, name);
        } else if (json_object_set_new(header, name, entry) != 0) {
            status = fail(LARIAT_BAD_ARGUMENT, "%s: the name %s of a tensor is not UTF-8, choose another", path, name);
        }
    }
    *data_bytes = (uint64_t)at;
    *text = status == LARIAT_OK ? json_dumps(header, JSON_COMPACT) : NULL;
    json_decref(header);
    return status == LARIAT_OK && !*text ? fail(LARIAT_NO_MEMORY, "%s: no memory for its header" FREE_MEMORY, path) : status;
}

static lariat_status open_place(safetensors_writer *w)
{
    struct stat s;
    const char *name = w->path;
    int flags = O_WRONLY | O_CLOEXEC;

    if (stat(w->path, &s) != 0 || S_ISREG(s.st_mode)) {
        if (asprintf(&w->partial, "%s.%ld.partial", w->path, (long)getpid()) < 0) {
            w->partial = NULL;
            return fail(LARIAT_NO_MEMORY, "%s: no memory to write it" FREE_MEMORY, w->path);
        }
        name = w->partial;
        flags |= O_CREAT | O_TRUNC | O_NOFOLLOW;
    }
    int fd = open(name, flags, 0666);
    if (fd < 0) {
        int why = errno;
        free(w->partial); /* not made: nothing to remove */
        w->partial = NULL;
        return fail(LARIAT_IO, "%s: cannot be written: %s, choose another path or make room", w->path, strerror(why));
    }
    w->file = fdopen(fd, "wb");
    if (!w->file) {
        close(fd);
        return fail(LARIAT_NO_MEMORY, "%s: no memory to write it" FREE_MEMORY, w->path);
    }
    return LARIAT_OK;
}

static lariat_status put(safetensors_writer *w, const void *data, size_t bytes)
{
    if (fwrite(data, 1, bytes, w->file) != bytes) {
        return fail(LARIAT_IO, "%s: cannot be written: %s, choose another path or make room", w->path, strerror(errno));
    }
    return LARIAT_OK;
}

/* Length and header, padded with spaces so that the data begin at a multiple of 8. */
static lariat_status put_header(safetensors_writer *w, const tensor_spec specs[], int n)
{
    unsigned char size[8];
    char *text;

    TRY(header_text(w->path, specs, n, &text, &w->wanted));
    size_t length = strlen(text), padding = (8 - length % 8) % 8;
    for (int i = 0; i < 8; i++) {
        size[i] = (unsigned char)((uint64_t)(length + padding) >> (8 * i));
    }
    lariat_status status = put(w, size, sizeof size);
    status = status == LARIAT_OK ? put(w, text, length) : status;
    status = status == LARIAT_OK ? put(w, "       ", padding) : status;
    free(text);
    return status;
}

lariat_status safetensors_create(const char *path, const tensor_spec specs[], int n, safetensors_writer **out)
{
    safetensors_writer *w = calloc(1, sizeof *w);

    *out = NULL;
    if (!w || !(w->path = strdup(path))) {
        free(w);
        return fail(LARIAT_NO_MEMORY, "%s: no memory to write it" FREE_MEMORY, path);
    }
    lariat_status status = open_place(w);
    NEXT(status, put_header(w, specs, n));
    if (status != LARIAT_OK) {
        safetensors_discard(w);
        return status;
    }
    *out = w;
    return LARIAT_OK;
}

lariat_status safetensors_write(safetensors_writer *w, const void *data, size_t bytes)
{
    w->written += bytes;
    return put(w, data, bytes);
}

lariat_status safetensors_finish(safetensors_writer *w)
{
    lariat_status status = LARIAT_OK;

    if (w->written != w->wanted) {
        status = fail(LARIAT_FAILED, "%s: %llu bytes were written where its header says %llu: please report this", w->path,
                      (unsigned long long)w->written, (unsigned long long)w->wanted);
    }
    int closed = fclose(w->file);
    w->file = NULL;
    if (status == LARIAT_OK && closed != 0) {
        status = fail(LARIAT_IO, "%s: cannot be written: %s, choose another path or make room", w->path, strerror(errno));
    }
    if (status == LARIAT_OK && w->partial && rename(w->partial, w->path) != 0) {
        status = fail(LARIAT_IO, "%s: cannot be replaced: %s, choose another path", w->path, strerror(errno));
    }
    if (status != LARIAT_OK) {
        safetensors_discard(w);
        return status;
    }
    free_writer(w);
    return LARIAT_OK;
}
