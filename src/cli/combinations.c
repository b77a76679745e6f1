/* Combinations of options: which exclude one another, which are needed.
   Rests on the table in options.c. See combinations.h. */
#include "cli/combinations.h"
#include "cli/message.h"
#include "lariat/measure.h"

#include <stdio.h>
#include <string.h>

enum { NAME_MOST = 64 }; /* bytes of a GPU's name, and of a list of options in a message */

static int check_model(options *values)
{
    command c = values->command;
    if (c == COMMAND_INSPECT && values->subject) {
        values->model = values->subject;
        if (!*values->subject) {
            return complain_usage("lariat inspect: an empty name, give one: MODEL");
        }
    }
    bool wants_model = c != COMMAND_HELP && !(c == COMMAND_BENCH && (values->ceilings || values->hops)) &&
                       !(c == COMMAND_TEMPLATE && values->chat_template);
    if (wants_model && !values->model) {
        return complain_usage("-m: no model named, give a Hugging Face directory, a .gguf file or random:NAME");
    }
    return 0;
}

static int check_inputs(const options *v)
{
    int inputs = (v->prompt != NULL) + (v->file != NULL) + (v->tokens != NULL) + (v->prompts != NULL);
    if (v->command != COMMAND_CHAT && inputs > 1) {
        return complain_usage("%s: more than one input, give one of %s", command_texts[v->command].name,
                              v->command == COMMAND_GENERATE     ? "-p, -f, --tokens and --prompts"
                              : v->command == COMMAND_PERPLEXITY ? "-f and --tokens"
                                                                 : "-p and -f");
    }
    if (v->prompts && v->samples > 1) {
        return complain_usage("--samples: is of a single prompt, a line of a batch says \"n\"");
    }
    if (v->command == COMMAND_GENERATE && v->resume && !v->prompts) {
        return complain_usage("--resume: keeps the results of a batch, give one with --prompts");
    }
    if (v->command == COMMAND_LOGITS && !v->tokens) {
        return complain_usage("--tokens: no ids named, give a file of token ids");
    }
    if (v->command == COMMAND_LOGITS && !v->out && !v->plan) {
        return complain_usage("--out: no file named, give one for the result");
    }
    if (v->command == COMMAND_PERPLEXITY && !v->file && !v->tokens && !v->plan) {
        return complain_usage("-f: no text named, give a file");
    }
    if (v->command == COMMAND_TEMPLATE && !v->messages) {
        return complain_usage("--messages: no conversation named, give a JSON file");
    }
    if (v->jsonl && v->decode) {
        return complain_usage("--jsonl: goes with text only, leave out --decode");
    }
    if (v->decode && v->bos) {
        return complain_usage("--bos: goes with text only, leave out --decode");
    }
    return 0;
}

/* One line for all such options. A typed temperature of 0 is intended, and lines of a batch may have their own. */
static void warn_of_sampling(const options *v)
{
    static const char *const names[] = {"top-k", "top-p", "min-p", "seed"};
    char said[NAME_MOST] = "";
    if (v->temperature > 0 || v->prompts || option_is_typed(v, "temp")) {
        return;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (option_is_typed(v, names[i])) {
            size_t used = strlen(said);
            snprintf(said + used, sizeof said - used, "%s--%s", used ? ", " : "", names[i]);
        }
    }
    if (*said) {
        warn("%s: without a temperature the likeliest token is always taken, give one such as --temp 0.7", said);
    }
}

/* The first typed option that is not among the names, which end with NULL; NULL: none. */
static const char *typed_beside(const options *v, const char *const names[])
{
    for (int i = 0; i < option_count; i++) {
        int at = 0;
        while (names[at] && strcmp(names[at], option_table[i].name) != 0) {
            at++;
        }
        if (v->typed[i] && !names[at]) {
            return option_table[i].name;
        }
    }
    return NULL;
}

/* Checks the options of --hops; -m may be from the environment, and --plan has a message of its own. */
static int check_hops(const options *v)
{
    static const char *const used[] = {"hops", "ranks",  "threads", "no-bind",  "device", "devices", "dtype",   "via",
                                       "reps", "format", "model",   "ceilings", "plan",   "quiet",   "verbose", NULL};
    const char *beside = typed_beside(v, used);
    if (beside) {
        return complain_usage("--hops: measures hops alone, leave out --%s", beside);
    }
    if (v->devices.n > 1) {
        return complain_usage("--device: hops are measured on one kind of device, name one");
    }
    for (int i = 0; i < v->ring_sizes.n; i++) {
        if (v->ring_sizes.values[i] == 1) {
            return complain_usage("--hops: a ring of one has no hops, name larger ones with --ranks");
        }
    }
    return v->plan ? complain_usage("--plan: hops have no plan, leave out --hops") : 0;
}

/* Is --device exactly `device`? */
static bool only_on(const options *v, lariat_device device)
{
    return v->devices.n == 1 && v->devices.values[0] == (int64_t)device;
}

/* Is --dtype given where GPUs are measured if present, and none is? */
static bool type_of_no_card(const options *v)
{
    char name[NAME_MOST];
    return option_is_typed(v, "dtype") && only_on(v, LARIAT_DEVICE_AUTO) && v->cards.n == 0 &&
           lariat_card_name(0, name, sizeof name) == LARIAT_UNSUPPORTED;
}

/* Ceilings alone: the allowed options depend on the measured devices. */
static int check_ceilings(const options *v)
{
    static const char *const all[] = {"ceilings", "device", "quiet", "verbose", "threads", "devices", "dtype", NULL};
    static const char *const cpus[] = {"ceilings", "device", "quiet", "verbose", "threads", NULL};
    static const char *const cards[] = {"ceilings", "device", "quiet", "verbose", "devices", "dtype", NULL};
    bool no_cards = only_on(v, LARIAT_DEVICE_CPU), no_cpus = only_on(v, LARIAT_DEVICE_CUDA);
    const char *beside = typed_beside(v, no_cards ? cpus : no_cpus ? cards : all);
    if (!beside && type_of_no_card(v)) {
        return complain_usage("--dtype: ceilings of CPUs do not depend on it, and no GPU can be used here: leave it out");
    }
    return beside
               ? complain_usage("--%s: ceilings%s do not depend on it, leave it out or name a model to measure with -m", beside,
                                no_cards  ? " of CPUs"
                                : no_cpus ? " of GPUs"
                                          : "")
               : 0;
}

/* The largest value, at least `most`. */
static int64_t largest(const count_list *list, int64_t most)
{
    for (int i = 0; i < list->n; i++) {
        most = list->values[i] > most ? list->values[i] : most;
    }
    return most;
}

static bool has_zero(const count_list *list)
{
    for (int i = 0; i < list->n; i++) {
        if (list->values[i] == 0) {
            return true;
        }
    }
    return false;
}

static int check_axes(const options *v)
{
    if (has_zero(&v->prompt_lengths) && has_zero(&v->reply_lengths)) {
        return complain_usage("-p: a row of no tokens at all, leave out 0 or -n 0");
    }
    if (has_zero(&v->prompt_lengths) && (v->compare || v->no_cache)) {
        return complain_usage("-p: 0: there is no prompt to compare or to read again, give prompts of one token or more");
    }
    int64_t prompt = largest(&v->prompt_lengths, 0), depth = largest(&v->depths, 0), reply = largest(&v->reply_lengths, 0);
    int64_t batch = largest(&v->batches, 1);
    if (largest(&v->blocks, 0) > LARIAT_CHUNK_MAX / largest(&v->ring_sizes, 1)) {
        return complain_usage("--block: %lld tokens for each of %lld ranks are more than the %d of any pass, give fewer",
                              (long long)largest(&v->blocks, 0), (long long)largest(&v->ring_sizes, 1), LARIAT_CHUNK_MAX);
    }
    if (prompt + depth + reply > LARIAT_CONTEXT_MAX / batch) {
        return complain_usage("-p: %lld tokens and -n %lld%s are more than the %d positions of any context, give fewer",
                              (long long)prompt, (long long)reply,
                              depth || batch > 1 ? ", with --depth and --batch," : "", LARIAT_CONTEXT_MAX);
    }
    return 0;
}

static bool same_file(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

static int check_bench(options *v)
{
    if (same_file(v->trace, v->timeline) || same_file(v->trace, v->resume) || same_file(v->timeline, v->resume)) {
        return complain_usage("'%s': one file for two results, give each its own", v->trace ? v->trace : v->timeline);
    }
    if (v->ceilings && !option_is_typed(v, "model")) {
        v->model = NULL; /* a model of the environment does not ask for a run */
    }
    if (v->ceilings && !v->hops && !v->model) {
        return check_ceilings(v);
    }
    if (v->ring_sizes.n == 0) {
        v->ring_sizes = (count_list){.n = 1, .values = {v->compare || v->hops ? 2 : 1}};
    }
    if (v->hops) {
        return check_hops(v);
    }
    if (v->blocks.n && v->chunks.n) {
        return complain_usage("--block: says how many tokens of a pass each rank takes, leave out --chunk");
    }
    if (v->rank_threads && v->threads) {
        return complain_usage("--rank-threads: says how many threads each rank has, leave out -t");
    }
    if (v->timeline && v->layout == LARIAT_LAYOUT_SLICES) {
        return complain_usage("--timeline: is of a pass by tokens, leave out --layout slices");
    }
    if (v->no_cache && largest(&v->depths, 0) > 0) {
        return complain_usage("--depth: nothing is in a cache with --no-cache, leave one out");
    }
    if (v->compare && largest(&v->ring_sizes, 0) == 1) {
        return complain_usage("--ranks: a ring of one is what --compare measures the others against, give a larger one");
    }
    return check_axes(v);
}

int options_check(options *values)
{
    int rc = check_model(values);
    rc = rc ? rc : check_inputs(values);
    if (rc == 0 && (values->command == COMMAND_GENERATE || values->command == COMMAND_CHAT)) {
        warn_of_sampling(values);
    }
    return rc || values->command != COMMAND_BENCH ? rc : check_bench(values);
}
