/* Files of a test's own. Rests on cmocka. See scratch.h. */
#include "support/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[256];

static int remove_entry(const char *path, const struct stat *s, int type, struct FTW *where)
{
    (void)s, (void)type, (void)where;
    return remove(path);
}

static void remove_folder(void)
{
    nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

const char *scratch_folder(void)
{
    if (!*folder) {
        const char *temporary = getenv("TMPDIR");
        snprintf(folder, sizeof folder, "%s/lariat.XXXXXX", temporary ? temporary : P_tmpdir);
        assert_non_null(mkdtemp(folder));
        atexit(remove_folder);
    }
    return folder;
}

char *scratch_path(const char *name)
{
    char *path = NULL;
    assert_true(asprintf(&path, "%s/%s", scratch_folder(), name) > 0);
    return path;
}

void scratch_write(const char *name, const void *data, size_t size)
{
    char *path = scratch_path(name);

    for (char *slash = strchr(path + strlen(folder) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(path, 0777);
        *slash = '/';
    }
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
    free(path);
}

void scratch_write_text(const char *name, const char *text)
{
    scratch_write(name, text, strlen(text));
}

unsigned char *scratch_read(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    long length = ftell(f);
    assert_true(length >= 0);
    rewind(f);
    unsigned char *data = malloc((size_t)length + 1);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, (size_t)length, f), (size_t)length);
    data[length] = 0;
    fclose(f);
    *size = (size_t)length;
    return data;
}

void scratch_copy(const char *path, const char *name)
{
    size_t size;
    unsigned char *data = scratch_read(path, &size);
    scratch_write(name, data, size);
    free(data);
}

void assert_refused(lariat_status status, lariat_status code, const char *part)
{
    if (status != code || !strstr(lariat_error(), part)) {
        fail_msg("status %d, reason \"%s\"; wanted status %d and \"%s\"", status, lariat_error(), code, part);
    }
    assert_null(strchr(lariat_error(), '\n'));
}

void assert_accepted(lariat_status status)
{
    if (status != LARIAT_OK) {
        fail_msg("status %d, reason \"%s\"", status, lariat_error());
    }
}

void bytes_put(bytes *b, const void *data, size_t size)
{
    if (b->size + size > b->capacity) {
        b->capacity = 2 * (b->size + size);
        b->data = realloc(b->data, b->capacity);
        assert_non_null(b->data);
    }
    memcpy(b->data + b->size, data, size);
    b->size += size;
}

void bytes_u32(bytes *b, uint32_t value)
{
    for (int i = 0; i < 4; i++) {
        bytes_put(b, &(unsigned char){(unsigned char)(value >> (8 * i))}, 1);
    }
}

void bytes_u64(bytes *b, uint64_t value)
{
    bytes_u32(b, (uint32_t)value);
    bytes_u32(b, (uint32_t)(value >> 32));
}

void bytes_free(bytes *b)
{
    free(b->data);
    *b = (bytes){0};
}

uint64_t fnv1a(const void *data, size_t size)
{
    const unsigned char *p = data;
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < size; i++) {
        h = (h ^ p[i]) * UINT64_C(0x100000001b3);
    }
    return h;
}
