/* Writes a safetensors file piece by piece, so that results of any size never lie in memory.
   Rests on base/. A regular file is written beside its place and moved into it when it is whole; anything else that is
   already there (a pipe, /dev/null) is written to as it is. See tensors.h. */
#include "format/tensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct safetensors_writer {
    FILE *file;
    char *path, *partial; /* partial: NULL where the place is written to directly */
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

/* The header as text, padded with spaces so that data begin at a multiple of 8. */
static char *header_text(const tensor_spec specs[], int n, size_t *length, uint64_t *data_bytes)
{
    char *text = NULL;
    FILE *f = open_memstream(&text, length);
    uint64_t at = 0;

    if (!f) {
        return NULL;
    }
    fputc('{', f);
    for (int i = 0; i < n; i++) {
        uint64_t elements = 1;
        fprintf(f, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", i ? "," : "", specs[i].name, dtype_name(specs[i].type));
        for (int d = 0; d < specs[i].n_dims; d++) {
            fprintf(f, "%s%lld", d ? "," : "", (long long)specs[i].dims[d]);
            elements *= (uint64_t)specs[i].dims[d];
        }
        uint64_t bytes = elements * dtype_block_bytes(specs[i].type);
        fprintf(f, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)at, (unsigned long long)(at + bytes));
        at += bytes;
    }
    fputc('}', f);
    for (long end = ftell(f); end % 8 != 0; end++) {
        fputc(' ', f);
    }
    *data_bytes = at;
    if (fclose(f) != 0) {
        free(text);
        return NULL;
    }
    return text;
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
        return fail(LARIAT_IO, "%s: cannot be written: %s, choose another place or make room", w->path, strerror(why));
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
        return fail(LARIAT_IO, "%s: cannot be written: %s, choose another place or make room", w->path, strerror(errno));
    }
    return LARIAT_OK;
}

static lariat_status put_header(safetensors_writer *w, const tensor_spec specs[], int n)
{
    size_t length = 0;
    char *text = header_text(specs, n, &length, &w->wanted);
    unsigned char size[8];

    if (!text) {
        return fail(LARIAT_NO_MEMORY, "%s: no memory for its header" FREE_MEMORY, w->path);
    }
    for (int i = 0; i < 8; i++) {
        size[i] = (unsigned char)((uint64_t)length >> (8 * i));
    }
    lariat_status status = put(w, size, sizeof size);
    if (status == LARIAT_OK) {
        status = put(w, text, length);
    }
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
    if (status == LARIAT_OK) {
        status = put_header(w, specs, n);
    }
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
        status = fail(LARIAT_IO, "%s: cannot be written: %s, choose another place or make room", w->path, strerror(errno));
    }
    if (status == LARIAT_OK && w->partial && rename(w->partial, w->path) != 0) {
        status = fail(LARIAT_IO, "%s: cannot be put into its place: %s, choose another place", w->path, strerror(errno));
    }
    if (status != LARIAT_OK) {
        safetensors_discard(w);
        return status;
    }
    free_writer(w);
    return LARIAT_OK;
}
