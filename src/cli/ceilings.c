/* Measuring ceilings and keeping them: one file a machine, {"threads": {"2": {"fma_flops", "read_memory", "read_cache",
   "cache_bytes", "reads": {"98362432": bytes a second}}}}.
   Rests on measure.h and jansson. */
#include "cli/ceilings.h"
#include "cli/folders.h"
#include "cli/message.h"
#include "cli/output.h"
#include "lariat/measure.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

enum { NAME_MOST = 128 };

/* "ceilings-HOST-CPU.json" with nothing in it that a file name should not have. */
static char *ceilings_path(void)
{
    struct utsname machine = {0};
    uname(&machine);
    char processor[NAME_MOST], name[2 * NAME_MOST];
    lariat_cpu_name(processor, sizeof processor);
    snprintf(name, sizeof name, "ceilings-%.64s-%.127s.json", machine.nodename, processor);
    for (char *c = name; *c; c++) {
        bool plain = (*c >= '0' && *c <= '9') || (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || *c == '-' || *c == '.';
        *c = plain ? *c : '_';
    }
    return user_file("XDG_CACHE_HOME", ".cache", name);
}

static json_t *entry_of(json_t *root, int32_t threads)
{
    char key[16];
    snprintf(key, sizeof key, "%d", threads);
    return json_object_get(json_object_get(root, "threads"), key);
}

ceilings ceilings_of(const lariat_plan *plan)
{
    ceilings found = {0};
    int64_t weight_bytes = plan->weight_bytes;
    if (plan->cards > 0) {
        return found;
    }
    char *path = ceilings_path();
    json_t *root = path ? json_load_file(path, 0, NULL) : NULL;
    free(path);
    json_t *entry = entry_of(root, plan->threads);
    if (entry) {
        char key[24];
        snprintf(key, sizeof key, "%lld", (long long)weight_bytes);
        bool in_cache = weight_bytes <= json_integer_value(json_object_get(entry, "cache_bytes"));
        json_t *read = json_object_get(json_object_get(entry, "reads"), key);
        read = read ? read : json_object_get(entry, in_cache ? "read_cache" : "read_memory");
        found.fma_flops = json_number_value(json_object_get(entry, "fma_flops"));
        found.read_rate = json_number_value(read);
        found.known = found.fma_flops > 0 && found.read_rate > 0;
    }
    json_decref(root);
    return found;
}

/* The file's content with these figures in it; rates for other sizes of weights and other numbers of threads stay. */
static json_t *merge(json_t *root, const lariat_ceilings *c, int64_t weight_bytes, double weight_rate)
{
    char threads[16], bytes[24];
    snprintf(threads, sizeof threads, "%d", c->threads);
    snprintf(bytes, sizeof bytes, "%lld", (long long)weight_bytes);
    json_t *old = json_object_get(entry_of(root, c->threads), "reads");
    json_t *reads = json_is_object(old) ? json_deep_copy(old) : json_object();
    if (weight_bytes > 0) {
        json_object_set_new(reads, bytes, json_real(weight_rate));
    }
    json_t *entry =
        json_pack("{s:s, s:f, s:f, s:f, s:I, s:o}", "kernels", c->kernels, "fma_flops", c->fma_flops, "read_memory",
                  c->read_memory, "read_cache", c->read_cache, "cache_bytes", (json_int_t)c->cache_bytes, "reads", reads);
    if (!json_is_object(json_object_get(root, "threads"))) {
        json_object_set_new(root, "threads", json_object());
    }
    json_object_set_new(root, "cpu", json_string(c->cpu));
    json_object_set_new(json_object_get(root, "threads"), threads, entry);
    return root;
}

static int keep(const lariat_ceilings *c, int64_t weight_bytes, double weight_rate, FILE *report)
{
    char *path = ceilings_path();
    if (!path) {
        return complain("ceilings: nowhere to keep them, set HOME or XDG_CACHE_HOME");
    }
    json_t *root = json_load_file(path, 0, NULL);
    if (!json_is_object(root)) {
        json_decref(root);
        root = json_object();
    }
    char *content = json_dumps(merge(root, c, weight_bytes, weight_rate), JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    char *file = NULL;
    int rc = content && asprintf(&file, "%s\n", content) >= 0 ? write_file(path, file) : complain_memory("ceilings");
    if (rc == 0 && report) {
        fprintf(report, "kept in %s\n", path);
    }
    free(file);
    free(content);
    json_decref(root);
    free(path);
    return rc;
}

static void describe(const lariat_ceilings *c, int64_t weight_bytes, double weight_rate, FILE *report)
{
    fprintf(report, "%s, %s kernels, %d thread%s\n", c->cpu, c->kernels, c->threads, c->threads == 1 ? "" : "s");
    fprintf(report, "multiply-adds      %8.1f GFLOP/s\n", c->fma_flops / 1e9);
    fprintf(report, "reading memory     %8.1f GB/s\n", c->read_memory / 1e9);
    fprintf(report, "reading the cache  %8.1f GB/s, %lld MB\n", c->read_cache / 1e9, (long long)(c->cache_bytes / 1000000));
    if (weight_bytes > 0) {
        fprintf(report, "reading weights    %8.1f GB/s, %lld MB\n", weight_rate / 1e9, (long long)(weight_bytes / 1000000));
    }
}

int ceilings_measure(int32_t threads, int64_t weight_bytes, FILE *report)
{
    lariat_ceilings c;
    double weight_rate = 0;
    if (lariat_measure_ceilings(threads, &c) != LARIAT_OK ||
        (weight_bytes > 0 && lariat_measure_read(threads, weight_bytes, &weight_rate) != LARIAT_OK)) {
        return complain_library();
    }
    if (report) {
        describe(&c, weight_bytes, weight_rate, report);
    }
    return keep(&c, weight_bytes, weight_rate, report);
}
