/* Reads what the oracle said and holds the engine against it.
   Rests on format/tensors.h. See oracle.h. */
#include "support/oracle.h"
#include "support/reference.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const tensor *find(const oracle *o, const char *prefix, int i, const char *what)
{
    char name[64];

    snprintf(name, sizeof name, "%scase%d.%s", prefix, i, what);
    return tensors_find(&o->expected, name);
}

static double deviation_of(const float *x, int64_t n)
{
    double sum = 0, squares = 0;

    for (int64_t i = 0; i < n; i++) {
        sum += (double)x[i];
        squares += (double)x[i] * (double)x[i];
    }
    return sqrt(squares / (double)n - sum * sum / (double)n / (double)n);
}

void oracle_open(oracle *o, const char *file, const char *prefix)
{
    *o = (oracle){0};
    if (safetensors_open(file, &o->expected) != LARIAT_OK) {
        fail_msg("%s", lariat_error());
    }
    for (const tensor *tokens; o->n < ORACLE_MAX_CASES && (tokens = find(o, "", o->n, "tokens")); o->n++) {
        oracle_case *c = &o->cases[o->n];
        const tensor *logits = find(o, prefix, o->n, "logits"), *nll = find(o, prefix, o->n, "nll");
        const tensor *greedy = find(o, prefix, o->n, "greedy"), *gap = find(o, prefix, o->n, "greedy_gap");
        assert_non_null(logits);
        *c = (oracle_case){.tokens = tokens->data, .length = tokens->dims[0], .logits = logits->data, .rows = logits->dims[0],
                           .nll = NAN};
        if (nll) {
            memcpy(&c->nll, nll->data, sizeof c->nll);
        }
        if (greedy && gap) {
            c->greedy = greedy->data;
            c->gap = gap->data;
            c->n_greedy = greedy->dims[0];
        }
        o->vocab = logits->dims[1];
        c->deviation = deviation_of(c->logits, c->rows * o->vocab);
    }
    assert_true(o->n > 0);
}

void oracle_open_demo(oracle *o, char **path)
{
    char *expected = reference_path("reference/smollm2/expected.safetensors");
    const char *why = TEST_QUICK  ? "this build is a slow one"
                      : !expected ? "reference/smollm2 is not on this machine"
                                  : "the demo's model is not on this machine, scripts/fetch-model.sh fetches it";

    *path = demo_model_path();
    if (TEST_QUICK || !expected || !*path) {
        print_message("skipped: %s\n", why);
        free(expected);
        free(*path);
        skip();
        return;
    }
    oracle_open(o, expected, "");
    free(expected);
}

void oracle_close(oracle *o)
{
    tensors_close(&o->expected);
}

/* Loss of the tokens that follow rows [0, n) of logits. */
static double loss_of(const float *logits, int64_t vocab, const int32_t *next, int64_t n)
{
    double total = 0;

    for (int64_t t = 0; t < n; t++) {
        const float *row = logits + t * vocab;
        double most = (double)row[0], sum = 0;
        for (int64_t i = 1; i < vocab; i++) {
            most = fmax(most, (double)row[i]);
        }
        for (int64_t i = 0; i < vocab; i++) {
            sum += exp((double)row[i] - most);
        }
        total += most + log(fmax(sum, 1)) - (double)row[next[t]];
    }
    return total;
}

double oracle_prefill(const oracle *o, const oracle_case *c, lariat_engine *e, lariat_session *s, float *last,
                      double *nll_error)
{
    /* All rows where the loss is asked for, otherwise only those that are compared. */
    int64_t rows = isnan(c->nll) ? c->rows : c->length;
    float *logits = malloc((size_t)(rows * o->vocab) * sizeof *logits);
    lariat_work item = {.session = s, .tokens = c->tokens, .count = c->length, .n_logits = rows, .logits = logits};
    const float *compared = logits + (rows - c->rows) * o->vocab;
    double worst = 0;

    assert_non_null(logits);
    if (lariat_step(e, &item, 1) != LARIAT_OK) {
        fail_msg("%s", lariat_error());
    }
    for (int64_t i = 0; i < c->rows * o->vocab; i++) {
        double difference = fabs((double)compared[i] - (double)c->logits[i]);
        worst = difference <= worst ? worst : difference;
    }
    *nll_error = 0;
    if (!isnan(c->nll)) {
        double loss = c->length > 1 ? loss_of(logits, o->vocab, c->tokens + 1, c->length - 1) / (double)(c->length - 1) : 0;
        *nll_error = fabs(loss - c->nll);
    }
    memcpy(last, logits + (rows - 1) * o->vocab, (size_t)o->vocab * sizeof *last);
    free(logits);
    return worst / c->deviation;
}

int oracle_greedy(const oracle *o, const oracle_case *c, lariat_engine *e, lariat_session *s, float *last, float gap)
{
    int i;

    for (i = 0; i < c->n_greedy && c->gap[i] > gap; i++) {
        int32_t best = 0;
        for (int32_t k = 1; k < o->vocab; k++) {
            best = last[k] > last[best] ? k : best;
        }
        assert_int_equal(best, c->greedy[i]);
        lariat_work item = {.session = s, .tokens = &best, .count = 1, .n_logits = 1, .logits = last};
        assert_int_equal(lariat_step(e, &item, 1), LARIAT_OK);
    }
    return i;
}

lariat_engine *open_or_fail(const char *path, lariat_options options)
{
    lariat_engine *e = NULL;

    if (options.device == LARIAT_DEVICE_AUTO) {
        options.device = LARIAT_DEVICE_CPU; /* tests of GPUs name them */
    }
    if (lariat_engine_open(path, &options, &e) != LARIAT_OK) {
        fail_msg("%s", lariat_error());
    }
    return e;
}

const char *const reference_names[REFERENCE_MODELS] = {"mha-bf16", "gqa-llama3-fp16-sharded", "mqa-bias-headdim-fp32",
                                                       "gqa-yarn-bf16"};

void reference_open(reference *r, const char *name)
{
    char part[128], file[1024];

    snprintf(part, sizeof part, "reference/models/%s", name);
    r->folder = reference_path(part);
    assert_non_null(r->folder);
    snprintf(file, sizeof file, "%s/expected.safetensors", r->folder);
    oracle_open(&r->said, file, "");
    assert_int_equal(r->said.n, 6);
}

void reference_close(reference *r)
{
    oracle_close(&r->said);
    free(r->folder);
}

double reference_run(const reference *r, lariat_options options, int64_t longest, bool exact)
{
    const oracle *o = &r->said;
    float *last = malloc((size_t)o->vocab * sizeof *last);
    double worst = 0, nll_error;

    options.context = 1100;
    lariat_engine *e = open_or_fail(r->folder, options);
    for (int i = 0; i < o->n; i++) {
        const oracle_case *c = &o->cases[i];
        lariat_session *s;
        if (c->length > longest) {
            continue;
        }
        assert_int_equal(lariat_session_open(e, c->length + ORACLE_GREEDY, &s), LARIAT_OK);
        double error = oracle_prefill(o, c, e, s, last, &nll_error);
        worst = error <= worst ? worst : error;
        if (exact) {
            /* The mean over many tokens; a single one's loss may be off by twice what its logits are. */
            if (!(nll_error < 1e-5 + 2 * error * c->deviation)) {
                fail_msg("%s, %d ranks, chunk %d, case of %lld tokens: the mean loss is off by %.1e, logits by %.1e of the "
                         "deviation",
                         r->folder, options.ranks, options.chunk, (long long)c->length, nll_error, error);
            }
            oracle_greedy(o, c, e, s, last, 1e-3f);
        }
        lariat_session_close(s);
    }
    free(last);
    lariat_engine_close(e);
    return worst;
}

const char *const oracle_gguf_types[ORACLE_GGUF_TYPES] = {"F32",  "F16",  "BF16",   "Q8_0",   "Q4_0",   "Q4_1", "Q5_0",
                                                          "Q5_1", "Q2_K", "Q3_K_S", "Q4_K_S", "Q5_K_S", "Q6_K"};

void oracle_check_file(const oracle *o, const char *path, lariat_options options, float gap, int64_t longest)
{
    float *last = malloc((size_t)o->vocab * sizeof *last);
    double nll_error;

    lariat_engine *e = open_or_fail(path, options);
    for (int i = 0; i < o->n; i++) {
        const oracle_case *c = &o->cases[i];
        lariat_session *s;
        if (c->length > longest || (TEST_QUICK && c->length > 500)) {
            continue;
        }
        assert_int_equal(lariat_session_open(e, c->length + c->n_greedy, &s), LARIAT_OK);
        double error = oracle_prefill(o, c, e, s, last, &nll_error);
        print_message("%s, %d ranks, chunk %d, case %d: %.1e of the deviation\n", lariat_engine_model(e)->weight_type,
                      options.ranks, options.chunk, i, error);
        if (!(error <= BOUND_F32 && nll_error < 1e-5)) {
            fail_msg("%s, %d ranks, chunk %d, case %d of %lld tokens: logits %.2e of the deviation off, mean loss %.1e", path,
                     options.ranks, options.chunk, i, (long long)c->length, error, nll_error);
        }
        oracle_greedy(o, c, e, s, last, gap);
        lariat_session_close(s);
    }
    free(last);
    lariat_engine_close(e);
}

const char *const oracle_members[ORACLE_MEMBERS] = {"qwen2-tied-bf16", "qwen3-hd64-bf16", "granite-bf16",       "phi3-bf16",
                                                    "smollm3-bf16",    "olmo2-bf16",      "phi4-longrope-bf16", "gemma-bf16",
                                                    "glm4-bf16"};

char *oracle_member_path(const char *member, const char *file)
{
    char *path = NULL;

    assert_true(asprintf(&path, "%s/family/%s%s", TEST_UNPACKED, member, file) > 0);
    return path;
}

/* oracle_check_file for a member, as a folder (file "") or a file in it. */
static void check_member(const char *member, const char *file, lariat_options options, int64_t longest)
{
    char *expected = oracle_member_path(member, "/expected.safetensors"), *path = oracle_member_path(member, file);
    oracle o;

    options.context = 1100;
    oracle_open(&o, expected, "");
    oracle_check_file(&o, path, options, 1e-3f, longest);
    oracle_close(&o);
    free(expected);
    free(path);
}

typedef struct way {
    const char *file;
    int64_t longest;
    lariat_options options;
} way;

static void check_family(lariat_options on, const way ways[], int n, int32_t ranks)
{
    for (int m = 0; m < ORACLE_MEMBERS; m++) {
        for (int i = 0; i < n; i++) {
            lariat_options o = ways[i].options;
            o.ranks = ranks ? ranks : o.ranks;
            o.device = on.device;
            o.dtype = on.dtype;
            o.kv = on.kv;
            o.threads = o.device == LARIAT_DEVICE_CUDA ? 0 : o.ranks < 2 ? 2 : o.ranks;
            check_member(oracle_members[m], ways[i].file, o, ways[i].longest);
        }
    }
}

void oracle_check_family_on_ring(lariat_options on, int32_t ranks)
{
    static const way ways[] = {
        {"", INT64_MAX, {0}},
        {"", 300, {.chunk = 61, .layout = LARIAT_LAYOUT_TOKENS}},
        {"", 300, {.chunk = 200, .layout = LARIAT_LAYOUT_SLICES}},
    };

    check_family(on, ways, sizeof ways / sizeof *ways, ranks);
}

void oracle_check_family_by_tokens_and_queries(lariat_options on)
{
    static const way ways[] = {
        {"", 300, {.ranks = 3, .chunk = 100, .layout = LARIAT_LAYOUT_TOKENS, .side = LARIAT_SIDE_Q}},
        {"", 64, {.ranks = 1, .chunk = 1}},
        {"", 64, {.ranks = 2, .chunk = 1}},
    };

    check_family(on, ways, sizeof ways / sizeof *ways, 0);
}

void oracle_check_family_as_gguf(lariat_options on)
{
    static const way ways[] = {
        {"/model.gguf", 300, {.ranks = 1}},
        {"/model.gguf", 300, {.ranks = 3, .chunk = 61}},
    };

    check_family(on, ways, sizeof ways / sizeof *ways, 0);
}
