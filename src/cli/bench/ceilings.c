/* Measuring ceilings and keeping them: one file a machine, {"threads": {"2": {"fma_flops", "read_memory", "read_cache",
   "cache_bytes", "reads": {"98362432": bytes a second}}}, "cards": {"NVIDIA H200": {"bf16": {"fma_flops", "read_memory"}}}}.
   Rests on measure.h and jansson. */
#include "cli/bench/ceilings.h"
#include "cli/folders.h"
#include "cli/message.h"
#include "cli/output.h"
#include "lariat/measure.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

enum { NAME_MOST = 128 };

/* "ceilings-HOST-CPU.json", with special characters replaced. */
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

static ceilings known(double fma_flops, double read_rate)
{
    return (ceilings){.known = fma_flops > 0 && read_rate > 0, .fma_flops = fma_flops, .read_rate = read_rate};
}

static ceilings of_threads(json_t *root, const lariat_plan *plan)
{
    char key[24];
    json_t *entry = entry_of(root, plan->threads);
    snprintf(key, sizeof key, "%lld", (long long)plan->weight_bytes);
    bool in_cache = plan->weight_bytes <= json_integer_value(json_object_get(entry, "cache_bytes"));
    json_t *read = json_object_get(json_object_get(entry, "reads"), key);
    read = read ? read : json_object_get(entry, in_cache ? "read_cache" : "read_memory");
    return known(json_number_value(json_object_get(entry, "fma_flops")), json_number_value(read));
}

/* The sum over the plan's GPUs, which may be of several kinds. */
static ceilings of_cards(json_t *root, const lariat_plan *plan)
{
    double fma_flops = 0, read_rate = 0;
    for (int32_t i = 0; i < plan->cards; i++) {
        char name[NAME_MOST];
        if (lariat_card_name(plan->card[i], name, sizeof name) != LARIAT_OK) {
            return (ceilings){0};
        }
        json_t *entry = json_object_get(json_object_get(json_object_get(root, "cards"), name), plan->dtype);
        ceilings one = known(json_number_value(json_object_get(entry, "fma_flops")),
                             json_number_value(json_object_get(entry, "read_memory")));
        if (!one.known) {
            return one;
        }
        fma_flops += one.fma_flops;
        read_rate += one.read_rate;
    }
    return known(fma_flops, read_rate);
}

ceilings ceilings_of(const lariat_plan *plan)
{
    char *path = ceilings_path();
    json_t *root = path ? json_load_file(path, 0, NULL) : NULL;
    free(path);
    ceilings found = {0};
    if (root) {
        found = plan->cards > 0 ? of_cards(root, plan) : of_threads(root, plan);
    }
    json_decref(root);
    return found;
}

/* An object in an object, created if missing. */
static json_t *object_in(json_t *object, const char *key)
{
    if (!json_is_object(json_object_get(object, key))) {
        json_object_set_new(object, key, json_object());
    }
    return json_object_get(object, key);
}

/* The file of ceilings during an update. */
typedef struct kept_file {
    char *path;
    json_t *root; /* the kept figures; initially an empty object */
} kept_file;

static int kept_open(kept_file *f)
{
    f->path = ceilings_path();
    if (!f->path) {
        return complain("ceilings: nowhere to keep them, set HOME or XDG_CACHE_HOME");
    }
    f->root = json_load_file(f->path, 0, NULL);
    if (!json_is_object(f->root)) {
        json_decref(f->root);
        f->root = json_object();
    }
    return 0;
}

/* Writes and closes the file. */
static int kept_write(kept_file *f, FILE *report)
{
    char *content = json_dumps(f->root, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    char *file = NULL;
    int rc = content && asprintf(&file, "%s\n", content) >= 0 ? write_file(f->path, file) : complain_memory("ceilings");
    if (rc == 0 && report) {
        fprintf(report, "kept in %s\n", f->path);
    }
    free(file);
    free(content);
    json_decref(f->root);
    free(f->path);
    return rc;
}

/* The higher of a rate and the kept one: other load on the machine only lowers a rate. */
static double best_of(const json_t *kept, const char *key, double rate)
{
    return fmax(json_number_value(json_object_get(kept, key)), rate);
}

/* --- CPUs --- */

/* Merges these figures; rates for other weight sizes and numbers of threads stay. */
static void merge(json_t *root, const lariat_ceilings *c, int64_t weight_bytes, double weight_rate)
{
    char threads[16], bytes[24];
    snprintf(threads, sizeof threads, "%d", c->threads);
    snprintf(bytes, sizeof bytes, "%lld", (long long)weight_bytes);
    const json_t *old = entry_of(root, c->threads), *old_reads = json_object_get(old, "reads");
    json_t *reads = json_is_object(old_reads) ? json_deep_copy(old_reads) : json_object();
    bool same_cache = json_integer_value(json_object_get(old, "cache_bytes")) == c->cache_bytes;
    if (weight_bytes > 0) {
        json_object_set_new(reads, bytes, json_real(best_of(reads, bytes, weight_rate)));
    }
    json_t *entry =
        json_pack("{s:s, s:f, s:f, s:f, s:I, s:o}", "kernels", c->kernels, "fma_flops", best_of(old, "fma_flops", c->fma_flops),
                  "read_memory", best_of(old, "read_memory", c->read_memory), "read_cache",
                  same_cache ? best_of(old, "read_cache", c->read_cache) : c->read_cache, "cache_bytes",
                  (json_int_t)c->cache_bytes, "reads", reads);
    json_object_set_new(root, "cpu", json_string(c->cpu));
    json_object_set_new(object_in(root, "threads"), threads, entry);
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
    kept_file kept = {0};
    int rc = kept_open(&kept);
    if (rc == 0) {
        merge(kept.root, &c, weight_bytes, weight_rate);
        rc = kept_write(&kept, report);
    }
    return rc;
}

/* --- GPUs --- */

static void describe_card(const lariat_card_ceilings *c, FILE *report)
{
    bool f32 = strcmp(c->dtype, "f32") == 0;
    fprintf(report, "%s, %s\n", c->card, c->dtype);
    fprintf(report, "%s     %8.1f TFLOP/s\n", f32 ? "multiply-adds " : "dense products", c->fma_flops / 1e12);
    fprintf(report, "reading memory     %8.1f GB/s, %lld MB\n", c->read_memory / 1e9, (long long)(c->bytes / 1000000));
}

static int keep_card(const lariat_card_ceilings *c, FILE *report)
{
    if (report) {
        describe_card(c, report);
    }
    kept_file kept = {0};
    int rc = kept_open(&kept);
    if (rc == 0) {
        json_t *types = object_in(object_in(kept.root, "cards"), c->card);
        const json_t *old = json_object_get(types, c->dtype);
        json_object_set_new(types, c->dtype,
                            json_pack("{s:f, s:f}", "fma_flops", best_of(old, "fma_flops", c->fma_flops), "read_memory",
                                      best_of(old, "read_memory", c->read_memory)));
        rc = kept_write(&kept, report);
    }
    return rc;
}

static bool is_among(const lariat_card_ceilings found[], int n, const char *name)
{
    for (int i = 0; i < n; i++) {
        if (strcmp(found[i].card, name) == 0) {
            return true;
        }
    }
    return false;
}

int ceilings_measure_cards(const count_list *named, const char *type, bool needed, FILE *report)
{
    lariat_card_ceilings found[LARIAT_CARDS_MAX];
    int n = 0, most = named->n ? named->n : LARIAT_CARDS_MAX, rc = 0;
    lariat_status status = LARIAT_OK;
    for (int i = 0; rc == 0 && i < most; i++) {
        int32_t card = named->n ? (int32_t)named->values[i] : i;
        char name[NAME_MOST];
        status = lariat_card_name(card, name, sizeof name);
        bool past_the_last = status == LARIAT_BAD_ARGUMENT || status == LARIAT_UNSUPPORTED;
        if (status == LARIAT_OK && is_among(found, n, name)) {
            continue;
        }
        status = status == LARIAT_OK ? lariat_measure_card(card, type, &found[n]) : status;
        if (status == LARIAT_OK) {
            rc = keep_card(&found[n++], report);
        } else if (named->n) {
            return complain_library();
        } else if (past_the_last) {
            break;
        } else {
            warn("%s", lariat_error());
        }
    }
    if (rc || n || !needed) {
        return rc;
    }
    return status == LARIAT_UNSUPPORTED ? complain_library()
                                        : complain("ceilings: no GPU could be measured, free one or use --device cpu");
}
