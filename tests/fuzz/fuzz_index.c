/* Any bytes as model.safetensors.index.json beside two sound shards, a.safetensors (tensor "a") and b.safetensors (tensor "b"):
   refused with one line, or exactly what the shards hold.
   Rests on format/safetensors.c. See fuzz.h. */
#include "format/tensors.h"
#include "fuzz/fuzz.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[256], index_path[300], shard_path[2][300];

int LLVMFuzzerInitialize(int *argc, char ***argv);

static void write_file(const char *path, const void *data, size_t size)
{
    int f = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, S_IRUSR | S_IWUSR);

    CHECK(f >= 0 && write(f, data, size) == (ssize_t)size && close(f) == 0);
}

static void remove_folder(void)
{
    unlink(index_path);
    unlink(shard_path[0]);
    unlink(shard_path[1]);
    rmdir(folder);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const char *temporary = getenv("TMPDIR");

    (void)argc, (void)argv;
    snprintf(folder, sizeof folder, "%s/index.XXXXXX", temporary ? temporary : P_tmpdir);
    CHECK(mkdtemp(folder) && atexit(remove_folder) == 0);
    snprintf(index_path, sizeof index_path, "%s/model.safetensors.index.json", folder);
    for (int i = 0; i < 2; i++) {
        const tensor_spec spec = {i ? "b" : "a", DTYPE_F32, 1, {1}};
        safetensors_writer *w = NULL;
        snprintf(shard_path[i], sizeof shard_path[i], "%s/%s.safetensors", folder, spec.name);
        CHECK(was_read(safetensors_create(shard_path[i], &spec, 1, &w)));
        CHECK(was_read(safetensors_write(w, &(float){1}, sizeof(float))) && was_read(safetensors_finish(w)));
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tensors t;

    write_file(index_path, data, size);
    if (was_read(safetensors_open_index(index_path, &t))) {
        CHECK(t.n >= 1 && t.n <= 2 && t.n_files == t.n);
        tensors_close(&t);
    }
    return 0;
}
