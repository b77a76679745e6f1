/* Looks into safetensors files for the scripts beside it: reference data, and what `lariat logits` wrote.
     tensors ids FILE NAME                    the values of an I32 tensor on one line
     tensors close FILE NAME FILE NAME BOUND  fails where the last rows that both have differ by more than BOUND standard
                                              deviations of the second (of a single value: by more than BOUND)
   Rests on format/tensors.h. */
#include "format/tensors.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const tensor *find(const char *path, const char *name, tensors *file)
{
    const tensor *t = NULL;

    if (safetensors_open(path, file) != LARIAT_OK) {
        fprintf(stderr, "%s\n", lariat_error());
    } else if (!(t = tensors_find(file, name))) {
        fprintf(stderr, "%s: no tensor %s\n", path, name);
    }
    return t;
}

static int print_ids(const char *path, const char *name)
{
    tensors file = {0};
    const tensor *t = find(path, name, &file);

    if (!t || t->type != DTYPE_I32) {
        return 1;
    }
    for (int64_t i = 0; i < t->dims[0]; i++) {
        int32_t id;
        memcpy(&id, (const char *)t->data + (size_t)i * sizeof id, sizeof id);
        printf("%s%d", i ? " " : "", id);
    }
    printf("\n");
    tensors_close(&file);
    return 0;
}

static int64_t elements(const tensor *t)
{
    int64_t n = 1;

    for (int32_t i = 0; i < t->n_dims; i++) {
        n *= t->dims[i];
    }
    return n;
}

static double value(const tensor *t, int64_t i)
{
    float f;
    double d;

    if (t->type == DTYPE_F64) {
        memcpy(&d, (const char *)t->data + (size_t)i * sizeof d, sizeof d);
        return d;
    }
    memcpy(&f, (const char *)t->data + (size_t)i * sizeof f, sizeof f);
    return (double)f;
}

static double deviation(const tensor *t)
{
    int64_t n = elements(t);
    double sum = 0, squares = 0;

    for (int64_t i = 0; i < n; i++) {
        sum += value(t, i);
        squares += value(t, i) * value(t, i);
    }
    return n > 1 ? sqrt(squares / (double)n - sum / (double)n * (sum / (double)n)) : 1;
}

static int compare(const tensor *a, const tensor *b, double bound)
{
    int64_t n_a = elements(a), n_b = elements(b), n = n_a < n_b ? n_a : n_b;
    double largest = 0, scale = deviation(b);

    if (a->type != b->type || a->n_dims != b->n_dims || a->dims[a->n_dims - 1] != b->dims[b->n_dims - 1]) {
        fprintf(stderr, "%s and %s differ in type or shape\n", a->name, b->name);
        return 1;
    }
    for (int64_t i = 1; i <= n; i++) {
        double d = fabs(value(a, n_a - i) - value(b, n_b - i));
        largest = d > largest || !isfinite(d) ? d : largest;
    }
    if (!(largest <= bound * scale)) {
        fprintf(stderr, "%s differs from %s by %.3g, more than %.3g\n", a->name, b->name, largest, bound * scale);
        return 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "ids") == 0) {
        return print_ids(argv[2], argv[3]);
    }
    if (argc == 7 && strcmp(argv[1], "close") == 0) {
        tensors file_a = {0}, file_b = {0};
        const tensor *a = find(argv[2], argv[3], &file_a), *b = find(argv[4], argv[5], &file_b);
        int rc = a && b ? compare(a, b, strtod(argv[6], NULL)) : 1;
        tensors_close(&file_a);
        tensors_close(&file_b);
        return rc;
    }
    fprintf(stderr, "usage: tensors ids FILE NAME | close FILE NAME FILE NAME BOUND\n");
    return 2;
}
