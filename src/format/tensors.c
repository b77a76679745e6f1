/* The list of a checkpoint's tensors: growing, sorting, finding, and the check against overlap.
   Rests on base/. See tensors.h. */
#include "format/tensors.h"

#include <stdlib.h>
#include <string.h>

static int by_name(const void *a, const void *b)
{
    return strcmp(((const tensor *)a)->name, ((const tensor *)b)->name);
}

const tensor *tensors_find(const tensors *t, const char *name)
{
    int64_t low = 0;
    int64_t high = t->n;

    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        int order = strcmp(t->list[middle].name, name);
        if (order == 0) {
            return &t->list[middle];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

void tensors_close(tensors *t)
{
    for (int64_t i = 0; i < t->n; i++) {
        free(t->list[i].name);
    }
    free(t->list);
    for (int32_t i = 0; i < t->n_files; i++) {
        unmap_file(&t->files[i]);
    }
    free(t->files);
    *t = (tensors){0};
}

lariat_status tensors_add(tensors *t, const char *path, const tensor *x, const char *name, size_t length)
{
    if (length == 0 || memchr(name, 0, length)) {
        return fail(LARIAT_BAD_MODEL, "%s: tensor %lld has no name, or one with a zero byte in it" FETCH_AGAIN, path,
                    (long long)t->n);
    }
    if (t->n == t->capacity) { /* by doubling: allocations follow the bytes read, never a count in the file */
        int64_t capacity = t->capacity ? 2 * t->capacity : 64;
        tensor *list = realloc(t->list, (size_t)capacity * sizeof *list);
        TRY_MEMORY(list, "%s: no memory for a list of %lld tensors" FREE_MEMORY, path, (long long)capacity);
        t->list = list;
        t->capacity = capacity;
    }
    char *copy = strndup(name, length);
    TRY_MEMORY(copy, "%s: no memory for a tensor's name" FREE_MEMORY, path);
    t->list[t->n] = *x;
    t->list[t->n].name = copy;
    t->n++;
    return LARIAT_OK;
}

lariat_status tensors_sort(tensors *t, const char *path)
{
    if (t->n > 1) {
        qsort(t->list, (size_t)t->n, sizeof *t->list, by_name);
    }
    for (int64_t i = 1; i < t->n; i++) {
        const tensor *a = &t->list[i - 1];
        const tensor *b = &t->list[i];
        if (strcmp(a->name, b->name) == 0) {
            if (a->file != b->file && a->file < t->n_files && b->file < t->n_files) {
                return fail(LARIAT_BAD_MODEL, "%s: tensor %s is in %s and in %s: remove the file that is too many", path,
                            a->name, t->files[a->file].path, t->files[b->file].path);
            }
            return fail(LARIAT_BAD_MODEL, "%s: tensor %s is there twice" FETCH_AGAIN, path, a->name);
        }
    }
    return LARIAT_OK;
}

static int by_place(const void *a, const void *b)
{
    const tensor *x = *(const tensor *const *)a;
    const tensor *y = *(const tensor *const *)b;

    if (x->data != y->data) {
        return (uintptr_t)x->data < (uintptr_t)y->data ? -1 : 1;
    }
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes; /* empty ones first */
}

lariat_status tensors_check_layout(const tensors *t, const char *path, int64_t first, const unsigned char *data, size_t size,
                                   bool holes)
{
    int64_t n = t->n - first;
    const tensor **order = malloc((size_t)(n + 1) * sizeof *order);

    TRY_MEMORY(order, "%s: no memory to look at %lld tensors" FREE_MEMORY, path, (long long)n);
    for (int64_t i = 0; i < n; i++) {
        order[i] = &t->list[first + i];
    }
    qsort(order, (size_t)n, sizeof *order, by_place);

    lariat_status status = LARIAT_OK;
    const unsigned char *end = data;
    for (int64_t i = 0; i < n && status == LARIAT_OK; i++) {
        const unsigned char *start = order[i]->data;
        if (start < end) {
            status = fail(LARIAT_BAD_MODEL, "%s: tensors %s and %s overlap: the file is damaged, fetch it again", path,
                          order[i - 1]->name, order[i]->name);
        } else if (start > end && !holes) {
            status = fail(LARIAT_BAD_MODEL,
                          "%s: %zu bytes before tensor %s belong to no tensor: the file is damaged, fetch it again", path,
                          (size_t)(start - end), order[i]->name);
        }
        end = start + order[i]->bytes;
    }
    if (status == LARIAT_OK && !holes && end != data + size) {
        status = fail(LARIAT_BAD_MODEL, "%s: %zu bytes after the last tensor: the file is damaged, fetch it again", path,
                      (size_t)(data + size - end));
    }
    free(order);
    return status;
}
