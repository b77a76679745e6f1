/* Continuous batching: sequences start as others end, all active ones advance together, results are written in the order of
   the input.
   Rests on reply.c, which advances them. */
#include "cli/batch.h"
#include "cli/message.h"
#include "cli/output.h"
#include "cli/plan_text.h"
#include "cli/prompt.h"
#include "cli/reply.h"
#include "cli/results.h"
#include "cli/json_text.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MOST = 256 };

/* One line of the input. */
typedef struct entry {
    json_t *id;
    int64_t line; /* of the input, from 1 */
    token_list prompt;
    int64_t context; /* positions that its session reserves */
    json_t *result;  /* its line, once it has ended */
} entry;

typedef struct batch {
    invocation *inv;
    const char *input;
    line_file results;
    entry *entries;
    int64_t n, room;
    int64_t default_context;  /* 0: not computed yet, or each entry has its own */
    int64_t entered, written; /* entries that have started; whose line is written */
    int width;                /* sequences at once */
    int active;
    reply *open[REPLIES_MOST];   /* [active] */
    entry *entry_of[REPLIES_MOST];  /* [active] */
    reply replies[REPLIES_MOST]; /* storage; a free one has no session */
} batch;

/* --- reading --- */

static int read_json_tokens(const char *where, const json_t *list, token_list *out)
{
    size_t n = json_array_size(list);
    out->ids = malloc((n ? n : 1) * sizeof *out->ids);
    if (!out->ids) {
        return complain_memory(where);
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_array_get(list, i);
        json_int_t value = json_integer_value(id);
        if (!json_is_integer(id) || value < 0 || value > INT32_MAX) {
            return complain("%s: \"tokens\" holds something that is not a token id at place %zu, give whole numbers", where,
                            i + 1);
        }
        out->ids[out->n++] = (int32_t)value;
    }
    return 0;
}

static int read_entry(const invocation *inv, const char *where, int64_t line, json_t *root, entry *e)
{
    const json_t *prompt = json_object_get(root, "prompt"), *tokens = json_object_get(root, "tokens");
    json_t *id = json_object_get(root, "id");
    if (!json_is_object(root) || (prompt != NULL) == (tokens != NULL)) {
        return complain("%s: wanted an object with either \"prompt\" or \"tokens\", give it one of them", where);
    }
    if (id && !json_is_string(id) && !json_is_number(id)) {
        return complain("%s: \"id\" is neither text nor a number, make it one or leave it out", where);
    }
    e->id = id ? json_incref(id) : json_integer(line);
    if (tokens) {
        return json_is_array(tokens) ? read_json_tokens(where, tokens, &e->prompt)
                                     : complain("%s: \"tokens\" is not a list of ids, write it as [1, 2]", where);
    }
    if (!json_is_string(prompt)) {
        return complain("%s: \"prompt\" is not text, put it in quotes", where);
    }
    if (!inv->tokenizer) {
        return complain("%s: the model has no tokenizer, give \"tokens\" instead of \"prompt\"", where);
    }
    return prompt_tokens(inv, json_string_value(prompt), json_string_length(prompt), &e->prompt);
}

/* Computes the default context once, since it may warn. */
static int find_context(batch *b, const char *where, entry *e)
{
    if (b->default_context > 0 && e->prompt.n > 0 && e->prompt.n <= b->default_context) {
        e->context = b->default_context;
        return 0;
    }
    int rc = prompt_context(b->inv->options, where, e->prompt.n, &e->context);
    bool unbounded = b->inv->options->n == UNTIL_THE_END;
    b->default_context = rc == 0 && unbounded ? e->context : 0;
    return rc;
}

static int add_line(batch *b, int64_t line, const char *data, size_t size)
{
    if (b->n == b->room) {
        int64_t room = b->room ? b->room * 2 : 64;
        entry *more = realloc(b->entries, (size_t)room * sizeof *more);
        TRY_MEMORY(more, b->input);
        b->entries = more;
        b->room = room;
    }
    entry *e = &b->entries[b->n++];
    *e = (entry){.line = line};
    char where[NAME_MOST];
    snprintf(where, sizeof where, "%s:%lld", b->input, (long long)line);
    json_error_t error;
    json_t *root = json_loadb(data, size, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (!root) {
        return complain("%s: not JSON: %s, mend the line", where, error.text);
    }
    int rc = read_entry(b->inv, where, line, root, e);
    rc = rc ? rc : find_context(b, where, e);
    json_decref(root);
    return rc;
}

static int read_lines(batch *b)
{
    FILE *lines;
    int rc = open_lines(b->inv->options->prompts, &lines);
    if (rc) {
        return rc;
    }
    line_buffer line = {0};
    bool more = true;
    for (int64_t number = 1; rc == 0 && more; number++) {
        rc = next_line(lines, b->input, &line, &more);
        if (rc == 0 && more && !is_blank(line.data, line.size)) {
            rc = add_line(b, number, line.data, line.size);
        }
    }
    free(line.data);
    close_lines(lines);
    return rc ? rc : b->n > 0 ? 0 : complain("%s: no lines, give one JSON object a line", b->input);
}

/* --- room --- */

static int by_context(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

/* Slots of the `width` longest sequences together: a bound for any active set. */
static int64_t slots_of(const int64_t *longest_first, int width)
{
    int64_t sum = 0;
    for (int i = 0; i < width; i++) {
        sum += longest_first[i];
    }
    return sum;
}

/* The largest width, up to REPLIES_MOST, that fits into memory. */
static int choose_width(batch *b, const int64_t *longest_first, slot_wish *wanted)
{
    const options *o = b->inv->options;
    int width = b->n < REPLIES_MOST ? (int)b->n : REPLIES_MOST;
    for (;; width--) {
        *wanted = (slot_wish){.context = slots_of(longest_first, width), .sessions = width, .longest = longest_first[0]};
        lariat_options library = plan_options(o, wanted->context, width);
        lariat_plan plan;
        lariat_status status = lariat_plan_make(o->model, &library, &plan);
        bool fits = status == LARIAT_OK && plan.total_bytes <= plan.available_bytes;
        if (status != LARIAT_OK && width == 1) {
            return complain_library();
        }
        if (fits || width == 1) { /* a single one that does not fit is refused by the library, with figures */
            b->width = width;
            return 0;
        }
    }
}

static int open_engine(batch *b)
{
    int64_t *contexts = malloc((size_t)b->n * sizeof *contexts);
    TRY_MEMORY(contexts, b->input);
    for (int64_t i = 0; i < b->n; i++) {
        contexts[i] = b->entries[i].context;
    }
    qsort(contexts, (size_t)b->n, sizeof *contexts, by_context);
    slot_wish wanted;
    int rc = choose_width(b, contexts, &wanted);
    rc = rc ? rc : invocation_open_engine(b->inv, wanted);
    free(contexts);
    for (int64_t i = 0; i < b->n && rc == 0 && b->inv->engine; i++) {
        char where[NAME_MOST];
        snprintf(where, sizeof where, "%s:%lld", b->input, (long long)b->entries[i].line);
        rc = check_tokens(where, &b->entries[i].prompt, b->inv->model->vocab);
    }
    return rc;
}

/* --- running --- */

/* Starts the next entry. *full: the pool of slots has no room for it now. */
static int enter(batch *b, bool *full)
{
    entry *e = &b->entries[b->entered];
    lariat_session *session;
    lariat_status status = lariat_session_open(b->inv->engine, e->context, &session);
    *full = status == LARIAT_NO_MEMORY && b->active > 0;
    if (status != LARIAT_OK) {
        return *full ? 0 : complain_library();
    }
    reply *r = b->replies;
    while (r->session) {
        r++;
    }
    int rc = reply_open(r, b->inv, session, e->context, false);
    reply_begin(r, e->prompt.ids, e->prompt.n);
    b->open[b->active] = r;
    b->entry_of[b->active++] = e;
    b->entered++;
    return rc;
}

static int enter_all(batch *b)
{
    bool full = false;
    int rc = 0;
    while (rc == 0 && !full && b->active < b->width && b->entered < b->n) {
        rc = enter(b, &full);
    }
    return rc;
}

static json_t *reply_text(const reply *r)
{
    if (!r->inv->tokenizer) {
        return json_null();
    }
    char *bytes;
    size_t size;
    if (lariat_decode(r->inv->tokenizer, r->ids, r->n, r->inv->options->special, &bytes, &size) != LARIAT_OK) {
        return NULL;
    }
    json_t *result = json_from_bytes(bytes, size);
    lariat_free(bytes);
    return result;
}

static json_t *reply_ids(const reply *r)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < r->n; i++) {
        json_array_append_new(list, json_integer(r->ids[i]));
    }
    return list;
}

/* The line of a reply that has ended. */
static int make_result(entry *e, const reply *r)
{
    json_t *words = reply_text(r), *ids = reply_ids(r);

    if (!words) {
        json_decref(ids);
        return complain_library(); /* decoding says why */
    }
    e->result = json_pack("{s:O, s:o, s:o, s:s}", "id", e->id, "text", words, "tokens", ids, "stop", stop_name(r->stop));
    return e->result ? 0 : complain_memory("result");
}

/* Removes reply i from the batch and makes its line. */
static int leave(batch *b, int i)
{
    reply *r = b->open[i];
    int rc = make_result(b->entry_of[i], r);

    invocation_note_shards(b->inv, r->session);
    lariat_session_close(r->session);
    reply_close(r);
    b->active--;
    memmove(&b->open[i], &b->open[i + 1], (size_t)(b->active - i) * sizeof b->open[0]);
    memmove(&b->entry_of[i], &b->entry_of[i + 1], (size_t)(b->active - i) * sizeof b->entry_of[0]);
    return rc;
}

/* Writes the lines that are next in order. */
static int write_results(batch *b)
{
    int rc = 0;
    for (; rc == 0 && b->written < b->entered && b->entries[b->written].result; b->written++) {
        rc = results_put(&b->results, b->entries[b->written].result);
    }
    return rc;
}

/* Is it what an earlier run wrote for entry i? */
static bool is_result(void *batch_, int64_t i, const json_t *line)
{
    const batch *b = batch_;

    return i < b->n && json_equal(json_object_get(line, "id"), b->entries[i].id) &&
           json_is_array(json_object_get(line, "tokens"));
}

/* Finds how far an earlier run came; this one goes on from there. */
static int open_results(batch *b)
{
    int rc = results_open(&b->results, b->inv->options->resume, is_result, b, &b->written);

    b->entered = b->written;
    if (rc == 0 && b->written && !b->inv->options->quiet) {
        fprintf(stderr, "%lld of %lld results are in %s\n", (long long)b->written, (long long)b->n, b->results.path);
    }
    return rc;
}

/* A run ended with `rc`. Writes what it has made and not written: results behind one that is not whole, and after Ctrl-C also
   the replies that are not. A file of results gets neither: the next run makes them anew. Returns rc, or, where that is
   EXIT_INTERRUPTED, a failure. */
static int write_rest(batch *b, int rc)
{
    int wrong = 0;
    if (rc == 0 || b->results.path) {
        return rc;
    }
    while (rc == EXIT_INTERRUPTED && wrong == 0 && b->active > 0) {
        wrong = leave(b, b->active - 1);
    }
    for (; wrong == 0 && b->written < b->entered; b->written++) {
        const json_t *result = b->entries[b->written].result;
        wrong = result ? results_put(&b->results, result) : 0;
    }
    return rc == EXIT_INTERRUPTED && wrong ? wrong : rc;
}

static int go_on(batch *b)
{
    int rc = replies_go_on(b->inv, b->open, b->active);
    bool interrupted = false;
    for (int i = b->active - 1; rc == 0 && i >= 0; i--) {
        if (b->open[i]->stop == STOP_INTERRUPTED) {
            interrupted = true;
        } else if (b->open[i]->stop != STOP_NOT_YET) {
            rc = leave(b, i);
        }
    }
    rc = rc ? rc : write_results(b);
    return rc == 0 && interrupted ? EXIT_INTERRUPTED : rc;
}

static void release(batch *b)
{
    for (int i = 0; i < b->active; i++) {
        lariat_session_close(b->open[i]->session);
        reply_close(b->open[i]);
    }
    for (int64_t i = 0; i < b->n; i++) {
        json_decref(b->entries[i].id);
        json_decref(b->entries[i].result);
        lariat_free(b->entries[i].prompt.ids);
    }
    free(b->entries);
}

int generate_batch(invocation *inv)
{
    batch b = {.inv = inv, .input = input_name(inv->options->prompts)};
    int rc = read_lines(&b);
    rc = rc ? rc : open_results(&b);
    rc = rc || b.written == b.n ? rc : open_engine(&b);
    while (rc == 0 && inv->engine && b.written < b.n) {
        rc = enter_all(&b);
        rc = rc ? rc : go_on(&b);
    }
    rc = write_rest(&b, rc);
    int closed = line_file_close(&b.results);
    release(&b);
    return rc ? rc : closed;
}
