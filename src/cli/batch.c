/* Continuous batching: sequences start as others end, all active ones advance together, results are written in the order of
   the input. A line that is bad has an error as its result.
   Rests on batch_entry.h for the lines, schedule/scheduler.h, which advances the sequences, and reply.c for their tokens. */
#include "cli/batch.h"
#include "cli/batch_entry.h"
#include "cli/message.h"
#include "cli/output.h"
#include "cli/plan_text.h"
#include "cli/results.h"
#include "cli/signals.h"

#include <stdlib.h>
#include <string.h>

/* Twice as many as run: when one ends, the next is there, which may go on in its session. */
enum { SEATS = 2 * SCHEDULE_WIDTH };

#define NO_MEMORY_FOR_REPLY "no memory for the reply, ask for fewer tokens"

/* A reply that the scheduler has. */
typedef struct seat {
    struct batch *batch;
    reply reply;
    job job;
    entry *of; /* NULL: it is free */
    int32_t sample;
} seat;

typedef struct batch {
    invocation *inv;
    const char *input;
    line_file results;
    entry *entries;
    int64_t n, room;
    int64_t entered, written; /* entries of which all replies have started; whose line is written */
    int64_t failed;           /* whose line has an error, as far as written */
    int64_t found, again;     /* results of an earlier run in the file; of these, for which it had no memory */
    int width;                /* sequences at once */
    scheduler *scheduler;
    seat seats[SEATS];
    bool reads;               /* there is a line of progress, */
    int64_t read;             /* and so many tokens were read since */
    int rc;                   /* of the calls that a pass makes for its jobs */
} batch;

/* --- reading --- */

/* Adds an entry; NULL: no memory. */
static entry *add_entry(batch *b)
{
    if (b->n == b->room) {
        int64_t room = b->room ? b->room * 2 : 64;
        entry *more = realloc(b->entries, (size_t)room * sizeof *more);
        if (!more) {
            return NULL;
        }
        b->entries = more;
        b->room = room;
    }
    b->entries[b->n] = (entry){0};
    return &b->entries[b->n++];
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
            entry *e = add_entry(b);
            rc = e ? 0 : complain_memory(b->input);
            if (e) {
                e->line = number;
                rc = entry_read(b->inv, b->n - 1, line.data, line.size, e);
            }
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

/* Positions of every reply, the longest first. NULL: no memory. */
static int64_t *list_contexts(const batch *b, int64_t *n)
{
    int64_t *contexts = NULL;
    *n = 0;
    for (int64_t i = 0; i < b->n; i++) {
        *n += b->entries[i].error ? 0 : b->entries[i].asked.samples;
    }
    contexts = malloc((size_t)(*n ? *n : 1) * sizeof *contexts);
    for (int64_t i = 0, at = 0; contexts && i < b->n; i++) {
        for (int32_t k = 0; !b->entries[i].error && k < b->entries[i].asked.samples; k++) {
            contexts[at++] = b->entries[i].context;
        }
    }
    if (contexts) {
        qsort(contexts, (size_t)*n, sizeof *contexts, by_context);
    }
    return contexts;
}

/* Entries that memory does not hold even alone have an error. Where not even a short one fits, the library says it. */
static int refuse_too_long(batch *b, int64_t longest)
{
    lariat_options library = plan_options(b->inv->options, longest, 1);
    lariat_plan plan;
    if (lariat_plan_make(b->inv->options->model, &library, &plan) != LARIAT_OK) {
        return complain_library();
    }
    bool fits = plan.total_bytes <= plan.available_bytes || b->inv->options->plan;
    for (int64_t i = 0; !fits && plan.fits_context > 0 && i < b->n; i++) {
        entry *e = &b->entries[i];
        if (!e->error && !e->result && e->context > plan.fits_context) {
            entry_refuse(e, "%lld positions for prompt and reply do not fit into memory, %lld would: ask for fewer tokens",
                         (long long)e->context, (long long)plan.fits_context);
        }
    }
    return 0;
}

/* The largest width, up to SCHEDULE_WIDTH, that fits into memory: with slots for all that they may become, or, where memory
   has fewer, with these, as long as the longest finds room alone. */
static int choose_width(batch *b, const int64_t *longest_first, int64_t n, slot_wish *wanted)
{
    const options *o = b->inv->options;
    int width = n < SCHEDULE_WIDTH ? (int)n : SCHEDULE_WIDTH;
    for (;; width--) {
        *wanted = (slot_wish){.context = slots_of(longest_first, width), .sessions = width, .longest = longest_first[0]};
        lariat_options library = plan_options(o, wanted->context, width);
        lariat_plan plan;
        lariat_status status = lariat_plan_make(o->model, &library, &plan);
        bool fits = status == LARIAT_OK && plan.total_bytes <= plan.available_bytes;
        int64_t most = status == LARIAT_OK ? plan.fits_context - plan.fits_context / 8 : 0; /* others take memory meanwhile */
        if (!fits && !o->plan && most >= longest_first[0] && most < wanted->context) {
            wanted->context = most;
            fits = true;
        }
        if (status != LARIAT_OK && width == 1) {
            return complain_library();
        }
        if (fits || width == 1) { /* a single one that does not fit is refused by the library, with figures */
            b->width = width;
            return 0;
        }
    }
}

static void say_bound(const batch *b)
{
    bool unbounded = false;
    for (int64_t i = 0; i < b->n; i++) {
        unbounded = unbounded || (!b->entries[i].error && !b->entries[i].bounded);
    }
    if (unbounded && !b->inv->options->quiet) {
        fprintf(stderr, "replies end after %d tokens at most where %s not say how many\n", BATCH_TOKENS,
                b->inv->options->prompts ? "-n and max_tokens do" : "-n does");
    }
}

/* Refuses ids that the model does not have, of prompts and of biases. */
static int check_entries(batch *b)
{
    int32_t vocab = b->inv->model->vocab;
    for (int64_t i = 0; i < b->n; i++) {
        entry *e = &b->entries[i];
        if (e->error || e->result) {
            continue;
        }
        int64_t at = find_unknown(&e->prompt, vocab);
        if (at >= 0) {
            entry_refuse(e, "id %lld of %lld is %d, the model's vocabulary ends at %d, use ids of this model's tokenizer",
                         (long long)at + 1, (long long)e->prompt.n, e->prompt.ids[at], vocab - 1);
        }
        lariat_sampler *tried;
        lariat_status status = lariat_sampler_open(&e->asked.sampling, vocab, &tried);
        lariat_sampler_close(tried);
        if (status == LARIAT_BAD_ARGUMENT) {
            entry_refuse(e, "%s", lariat_error());
        } else {
            TRY(checked(status));
        }
    }
    return 0;
}

/* Leaves the engine NULL where no entry needs it. */
static int open_engine(batch *b)
{
    int64_t n;
    int64_t *contexts = list_contexts(b, &n);
    TRY_MEMORY(contexts, b->input);
    int rc = n ? refuse_too_long(b, contexts[0]) : 0;
    free(contexts);
    TRY(rc);
    contexts = list_contexts(b, &n);
    TRY_MEMORY(contexts, b->input);
    slot_wish wanted;
    rc = n ? choose_width(b, contexts, n, &wanted) : 0;
    if (rc == 0 && n) {
        say_bound(b);
        rc = invocation_open_engine(b->inv, wanted);
    }
    free(contexts);
    if (rc == 0 && b->inv->engine) {
        rc = check_entries(b);
    }
    return rc;
}

/* --- running --- */

static void end_progress(batch *b)
{
    progress_end(&b->inv->progress);
    b->reads = false;
}

static bool on_token(job *j, const lariat_result *made)
{
    seat *s = j->user;
    batch *b = s->batch;
    end_progress(b);
    if (b->rc == 0 && signals_interrupted()) {
        s->reply.stop = STOP_INTERRUPTED;
    } else if (b->rc == 0 && reply_take(&s->reply, made->token, made->logprob, made->top) != 0) {
        entry_lacks_memory(s->of, NO_MEMORY_FOR_REPLY);
    }
    return b->rc == 0 && s->reply.stop == STOP_NOT_YET && !s->of->error;
}

/* Why a reply ended that did not end by itself. */
static stop_reason stop_of(const job *j)
{
    return j->end == JOB_MOST ? STOP_LENGTH : j->end == JOB_FULL ? STOP_CONTEXT : STOP_INTERRUPTED;
}

static void refuse_for(entry *e, lariat_status status, const char *why)
{
    if (status == LARIAT_NO_MEMORY) {
        entry_lacks_memory(e, why);
    } else {
        entry_refuse(e, "%s", why);
    }
}

/* The entry gets the reply, and has its result when it has all. */
static int leave(batch *b, seat *s)
{
    entry *e = s->of;
    reply *r = &s->reply;
    r->stop = r->stop == STOP_NOT_YET ? stop_of(&s->job) : r->stop;
    if (s->job.end == JOB_FAILED) {
        refuse_for(e, s->job.status, s->job.why);
    }
    if (r->stop == STOP_INTERRUPTED && b->results.path && !e->error) {
        return 0; /* the next run makes it anew */
    }
    if (!e->error && (reply_end(r) != 0 || entry_add(e, r, s->sample) != 0)) {
        entry_lacks_memory(e, NO_MEMORY_FOR_REPLY);
    }
    e->ended++;
    return e->ended == e->asked.samples ? entry_finish(b->inv, e) : 0;
}

static void on_end(job *j)
{
    seat *s = j->user;
    batch *b = s->batch;
    end_progress(b);
    if (b->rc == 0 && j->end != JOB_LOST && (j->began || j->end == JOB_FAILED)) { /* otherwise it is not half a reply */
        b->rc = leave(b, s);
    }
    reply_close(&s->reply);
    s->of = NULL;
}

/* Of an entry that has failed, the replies that have not started are not made. */
static int leave_out_rest(batch *b, entry *e)
{
    e->ended += e->asked.samples - e->started;
    e->started = e->asked.samples;
    b->entered++;
    return e->ended == e->asked.samples ? entry_finish(b->inv, e) : 0;
}

/* A seat for the entry's next reply, unless that cannot be opened: then the entry has an error. */
static int sit_down(batch *b, seat *s, entry *e)
{
    reply *r = &s->reply;
    lariat_status status = reply_open(r, b->inv, &e->asked, e->started, NULL, e->context, false);
    if (status != LARIAT_OK) {
        refuse_for(e, status, lariat_error());
        reply_close(r);
        return 0;
    }
    r->turn_end = e->turn_end;
    reply_begin(r, e->prompt.ids, e->prompt.n, 0);
    *s = (seat){.batch = b, .reply = *r, .of = e, .sample = e->started++};
    s->job = (job){.prompt = e->prompt.ids, .n_prompt = e->prompt.n,
                   .shared = e->asked.samples > 1 ? e->prompt.n - 1 : 0, .capacity = e->context,
                   .most = e->asked.most == REQUEST_UNBOUNDED ? INT64_MAX : e->asked.most, .sampler = r->sampler,
                   .n_top = request_n_top(&e->asked), .on_token = on_token, .on_end = on_end, .user = s};
    b->entered += e->started == e->asked.samples;
    TRY_MEMORY(scheduler_add(b->scheduler, &s->job), b->input);
    return b->rc;
}

/* Gives the next replies the seats that are free. */
static int enter_all(batch *b)
{
    int rc = 0;
    for (seat *s = b->seats; rc == 0 && b->entered < b->n && s < b->seats + SEATS;) {
        entry *e = &b->entries[b->entered];
        if (e->result) { /* of an earlier run */
            b->entered++;
        } else if (e->error) {
            rc = leave_out_rest(b, e);
        } else if (s->of) {
            s++;
        } else {
            rc = sit_down(b, s, e);
        }
    }
    return rc;
}

/* Writes a result, and frees the entry. Of samples each is a line; why there are none is for standard error. */
static int put_result(batch *b, entry *e)
{
    bool samples = e->form == FORM_SAMPLES;
    int rc = samples ? 0 : results_put(&b->results, e->result);

    b->failed += e->error != NULL;
    for (size_t i = 0; rc == 0 && samples && i < json_array_size(e->result); i++) {
        rc = results_put(&b->results, json_array_get(e->result, i));
    }
    entry_forget(e);
    return rc;
}

/* Are all lines there that replace those of the file, from the first one on for which there was no memory? */
static bool is_made_again(const batch *b)
{
    bool is = b->entered >= b->found;
    for (int64_t i = b->written; is && i < b->found; i++) {
        is = b->entries[i].result != NULL;
    }
    return is;
}

/* Writes the lines that are next in order. */
static int write_results(batch *b)
{
    if (b->again && !is_made_again(b)) {
        return 0;
    }
    int rc = b->again ? line_file_cut(&b->results, b->written) : 0;
    b->again = 0;
    for (; rc == 0 && b->written < b->entered && b->entries[b->written].result; b->written++) {
        rc = put_result(b, &b->entries[b->written]);
    }
    return rc;
}

/* Is it what an earlier run wrote for entry i? Behind the first line that is made again, results are kept here too: they are
   written behind it. */
static bool is_result(void *batch_, int64_t i, const json_t *line)
{
    batch *b = batch_;
    found_result found = i < b->n ? entry_find(&b->entries[i], line) : FOUND_OTHER;

    if (found == FOUND_NO_MEMORY) {
        b->written = b->again++ ? b->written : i;
    } else if (found != FOUND_OTHER && b->again) {
        b->entries[i].result = json_deep_copy(line); /* NULL: no memory, so it is made again */
        if (found == FOUND_ERROR) {
            entry_refuse(&b->entries[i], "an earlier run could not carry it out");
        }
    } else {
        b->failed += found == FOUND_ERROR;
    }
    return found != FOUND_OTHER;
}

/* Finds how far an earlier run came; this one goes on from there. */
static int open_results(batch *b)
{
    int rc = results_open(&b->results, b->inv->options->resume, is_result, b, &b->found);

    b->written = b->again ? b->written : b->found;
    b->entered = b->written;
    if (rc == 0 && b->found && !b->inv->options->quiet) {
        fprintf(stderr, "%lld of %lld results are in %s\n", (long long)(b->found - b->again), (long long)b->n, b->results.path);
    }
    return rc;
}

/* A run ended with `rc`. Writes results not written yet: results behind one that is not whole, and after Ctrl-C also the
   replies that are not. A file of results gets neither: the next run makes them anew. Returns rc, or, where that is
   EXIT_INTERRUPTED, a failure. */
static int write_rest(batch *b, int rc)
{
    int wrong = 0;
    if (rc == 0 || b->results.path) {
        return rc;
    }
    if (rc == EXIT_INTERRUPTED) {
        b->rc = 0;
        scheduler_close(b->scheduler);
        b->scheduler = NULL;
        wrong = b->rc;
    }
    for (; wrong == 0 && b->written < b->n; b->written++) {
        entry *e = &b->entries[b->written];
        if (rc == EXIT_INTERRUPTED && !e->result && e->choices) {
            wrong = entry_finish(b->inv, e);
        }
        wrong = e->result && wrong == 0 ? put_result(b, e) : wrong;
    }
    return rc == EXIT_INTERRUPTED && wrong ? wrong : rc;
}

/* One pass of the open replies. The line of progress stands while prompts are read and no reply gets a token. */
static int go_on(batch *b)
{
    progress *p = &b->inv->progress;
    pass_report report;
    bool interrupted = false;
    int rc = 0;
    if (b->scheduler && scheduler_jobs(b->scheduler)) {
        if (!b->reads && scheduler_unread(b->scheduler)) {
            progress_begin(p, "reading", scheduler_unread(b->scheduler));
            b->reads = true;
            b->read = 0;
        }
        rc = invocation_pass(b->inv, b->scheduler, &report, &interrupted);
        b->read += report.tokens;
        if (b->reads) {
            progress_at(p, b->read);
        }
    }
    rc = rc ? rc : b->rc;
    rc = rc ? rc : write_results(b);
    return rc == 0 && interrupted ? EXIT_INTERRUPTED : rc;
}

static void note_shards(void *inv, const lariat_session *session)
{
    invocation_note_shards(inv, session);
}

static int open_scheduler(batch *b)
{
    if (b->inv->engine) {
        b->scheduler = scheduler_open(&(scheduler_setup){
            .engine = b->inv->engine, .sessions = b->width, .on_close = note_shards, .user = b->inv});
        TRY_MEMORY(b->scheduler, b->input);
    }
    return 0;
}

static void release(batch *b)
{
    b->rc = EXIT_FAILURE; /* open jobs end without a result */
    scheduler_close(b->scheduler);
    for (int64_t i = 0; i < b->n; i++) {
        entry_free(&b->entries[i]);
    }
    free(b->entries);
}

/* Carries out the lines read. */
static int run(batch *b)
{
    int rc = b->written == b->n ? 0 : open_engine(b);
    rc = rc ? rc : open_scheduler(b);
    while (rc == 0 && b->written < b->n && !(b->inv->options->plan && !b->inv->engine)) {
        rc = enter_all(b);
        rc = rc ? rc : go_on(b);
    }
    return write_rest(b, rc);
}

/* Lines that the plan is not for. */
static int finish_plan(const batch *b)
{
    const entry *first = NULL;
    int64_t bad = 0;
    for (int64_t i = b->n - 1; i >= b->written; i--) {
        first = b->entries[i].error ? &b->entries[i] : first;
        bad += b->entries[i].error != NULL;
    }
    if (b->written == b->n) {
        warn("%s: all results are in %s, so there is nothing to plan", b->input, b->results.path);
    } else if (bad && bad < b->n - b->written) {
        warn("%s: %lld of %lld lines cannot be carried out, the plan is for the others; line %lld: %s", b->input,
             (long long)bad, (long long)b->n, (long long)first->line, first->error);
    }
    return bad == 0 || bad < b->n - b->written
               ? 0
               : complain("%s: no line can be carried out, so there is nothing to plan; line %lld: %s", b->input,
                          (long long)first->line, first->error);
}

/* A run that came to its end. Returns its exit status: lines whose results are errors make it 1. */
static int finish(batch *b)
{
    const options *o = b->inv->options;
    if (o->plan) {
        return finish_plan(b);
    }
    if (!b->inv->engine && (o->stats || o->trace)) {
        warn("%s: no line was left to run, so %s not written", b->input,
             !o->trace ? "--stats is" : !o->stats ? "--trace is" : "--stats and --trace are");
    }
    if (!b->failed) {
        return 0;
    }
    b->inv->lines_failed = true;
    return complain("%s: %lld of %lld lines could not be carried out, their results have the \"error\"", b->input,
                    (long long)b->failed, (long long)b->n);
}

int generate_batch(invocation *inv)
{
    batch b = {.inv = inv, .input = input_name(inv->options->prompts)};
    int rc = read_lines(&b);
    rc = rc ? rc : open_results(&b);
    rc = rc ? rc : run(&b);
    int closed = line_file_close(&b.results);
    rc = rc ? rc : closed ? closed : finish(&b);
    release(&b);
    return rc;
}

int generate_samples(invocation *inv, token_list *prompt, const char *input)
{
    batch b = {.inv = inv, .input = input};
    entry *e = add_entry(&b);
    TRY_MEMORY(e, input);
    int rc = entry_of_prompt(inv, *prompt, e);
    *prompt = (token_list){0};
    rc = rc || !e->error ? rc : complain("%s: %s", input, e->error);
    rc = rc ? rc : run(&b);
    rc = rc || !b.failed ? rc : complain("%s: %s", input, b.entries[0].error);
    release(&b);
    return rc;
}
