/* Passes from jobs: admission, budget, preemption, shared beginnings, cancelling.
   Rests on lariat.h. See scheduler.h. */
#include "schedule/scheduler.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a job has in a pass. */
typedef struct part {
    job *job;
    lariat_session *session; /* another one than the job's now: it was taken back */
    int64_t count;
    bool chooses, prompt;
} part;

struct scheduler {
    scheduler_setup setup;
    int32_t width, chunk, budget, vocab;
    int64_t context; /* positions of the pool */
    int32_t ahead; /* passes under way at most: GPUs do not wait for the host, CPUs compute a pass when it is collected */
    job **jobs;    /* [n]: the first `running` run, the others wait; those before others have arrived before them */
    int32_t n, running, room;
    int32_t ending; /* jobs that have ended but for their parts in passes under way */
    bool lost;     /* a rank has failed: what ends now ends with it */
    bool full;     /* one has given its slots back: no other gets any before one has ended */
    part parts[2][SCHEDULE_WIDTH]; /* of the pass that was submitted as number i, from 0: parts[i % 2] */
    uint32_t submitted, collected;
    _Atomic(lariat_session *) open[SCHEDULE_WIDTH]; /* sessions, for scheduler_interrupt */
};

int32_t scheduler_budget(const lariat_engine *engine)
{
    const lariat_plan *plan = lariat_engine_plan(engine);
    int32_t most = plan->cards ? BUDGET_GPU : BUDGET_CPU;

    return most < plan->chunk ? most : plan->chunk;
}

scheduler *scheduler_open(const scheduler_setup *setup)
{
    scheduler *s = calloc(1, sizeof *s);
    const lariat_plan *plan = lariat_engine_plan(setup->engine);

    if (s) {
        s->setup = *setup;
        s->chunk = plan->chunk;
        s->context = plan->context;
        s->width = setup->sessions < SCHEDULE_WIDTH ? setup->sessions : SCHEDULE_WIDTH;
        s->width = s->width < s->chunk ? s->width : s->chunk;
        s->budget = setup->budget ? setup->budget : scheduler_budget(setup->engine);
        s->vocab = lariat_engine_model(setup->engine)->vocab;
        s->ahead = plan->cards ? 2 : 1;
    }
    return s;
}

int32_t scheduler_jobs(const scheduler *s)
{
    return s->n + s->ending;
}

/* --- a job --- */

static int64_t known(const job *j)
{
    return j->n_prompt + j->n_made;
}

/* Tokens that are known and not submitted; negative: the newest is still to be chosen. */
static int64_t unread(const job *j)
{
    return known(j) - (j->session ? lariat_session_length(j->session) : 0);
}

/* Of these, what a pass may take: what others share is read by itself. */
static int64_t readable(const job *j)
{
    int64_t held = lariat_session_length(j->session);

    return held < j->shared ? j->shared - held : known(j) - held;
}

/* Does it go on with one token: the one that was made last, or that a pass under way chooses? */
static bool decodes(const scheduler *s, const job *j)
{
    bool more = j->n_made + j->choosing < j->most && lariat_session_length(j->session) < j->capacity;

    return j->choosing ? s->ahead > 1 && more : unread(j) == 1;
}

int64_t scheduler_unread(const scheduler *s)
{
    int64_t sum = 0;

    for (int32_t i = 0; i < s->n; i++) {
        int64_t left = unread(s->jobs[i]);
        sum += left > 1 || !s->jobs[i]->session ? left : 0;
    }
    return sum;
}

/* Notes a session for scheduler_interrupt, in the place of another: NULL is none. */
static void note_open(scheduler *s, lariat_session *before, lariat_session *now)
{
    int i = 0;

    while (atomic_load(&s->open[i]) != before) {
        i++;
    }
    atomic_store(&s->open[i], now);
}

void scheduler_interrupt(void *scheduler_)
{
    scheduler *s = scheduler_;

    for (int i = 0; i < SCHEDULE_WIDTH; i++) {
        lariat_session *session = atomic_load(&s->open[i]);
        if (session) {
            lariat_session_cancel(session);
        }
    }
}

/* The job has no session any more. Returns it. */
static lariat_session *take_session(const scheduler *s, job *j)
{
    lariat_session *session = j->session;

    if (session && s->setup.on_close) {
        s->setup.on_close(s->setup.user, session);
    }
    j->session = NULL;
    j->choosing = 0;
    j->settled = 0;
    return session;
}

static void close_session(scheduler *s, lariat_session *session)
{
    if (session) {
        note_open(s, session, NULL);
        lariat_session_close(session);
    }
}

/* The job that waits first runs, in a session that holds `length` of its tokens. */
static void begin(scheduler *s, job *j, lariat_session *session, int64_t length)
{
    j->session = session;
    j->settled = length;
    j->began = true;
    s->running++;
}

/* The list's jobs behind it move up. */
static void remove_job(scheduler *s, const job *j)
{
    int32_t at = 0;

    while (s->jobs[at] != j) {
        at++;
    }
    s->running -= at < s->running;
    s->n--;
    memmove(&s->jobs[at], &s->jobs[at + 1], (size_t)(s->n - at) * sizeof *s->jobs);
}

static void finish(job *j)
{
    free(j->made);
    j->made = NULL;
    j->on_end(j);
}

/* --- shared beginnings --- */

/* How many of its first tokens a job can have from another one, once that has read them; 0: none that are worth it. */
static int64_t shareable(const job *from, const job *j)
{
    int64_t n = 0, most = j->n_prompt - 1;

    if (from->capacity != j->capacity) {
        return 0; /* a fork is as long as its parent, and that may change what positions stand for */
    }
    if (from->prompt == j->prompt && j->shared) {
        return from->n_prompt == j->n_prompt && from->shared == j->shared ? j->shared : 0;
    }
    most = most < from->n_prompt ? most : from->n_prompt;
    while (n < most && from->prompt[n] == j->prompt[n]) {
        n++;
    }
    return n < SHARE_LEAST ? 0 : n;
}

/* The job that runs from which most can be had; *length: so much, 0 of none. */
static const job *find_parent(const scheduler *s, const job *j, int64_t *length)
{
    const job *best = j;

    *length = 0;
    for (int32_t i = 0; i < s->running; i++) {
        int64_t n = shareable(s->jobs[i], j);
        if (n > *length) {
            *length = n;
            best = s->jobs[i];
        }
    }
    return best;
}

/* The session of a job that has ended, for the one that waits first, if it begins alike. */
static bool hand_over(scheduler *s, const job *from, lariat_session *session, int64_t settled)
{
    job *j = s->running < s->n ? s->jobs[s->running] : NULL;
    int64_t length = j && session ? shareable(from, j) : 0;

    if (length == 0 || length > settled || lariat_session_rewind(session, length) != LARIAT_OK) {
        return false;
    }
    begin(s, j, session, length);
    return true;
}

/* --- ending --- */

static void end_job(scheduler *s, job *j, job_end how, lariat_status status, const char *why)
{
    int64_t settled = j->settled;
    lariat_session *session = take_session(s, j);

    j->end = how == JOB_FAILED && s->lost ? JOB_LOST : how;
    j->status = status;
    snprintf(j->why, sizeof j->why, "%s", why);
    remove_job(s, j);
    s->full = s->full && !session;
    if (!hand_over(s, j, session, settled)) {
        close_session(s, session);
    }
    s->ending += j->under_way > 0;
    if (j->under_way == 0) { /* otherwise with its last part: its sampler is in use */
        finish(j);
    }
}

static void end_cancelled(scheduler *s)
{
    for (int32_t i = s->n - 1; i >= 0; i--) {
        if (atomic_load(&s->jobs[i]->cancelled)) {
            end_job(s, s->jobs[i], JOB_CANCELLED, LARIAT_CANCELLED, "cancelled");
        }
    }
}

bool scheduler_add(scheduler *s, job *j)
{
    if (s->n == s->room) {
        int32_t room = s->room ? 2 * s->room : 2 * SCHEDULE_WIDTH;
        job **more = realloc(s->jobs, (size_t)room * sizeof(job *));
        if (!more) {
            return false;
        }
        s->jobs = more;
        s->room = room;
    }
    s->jobs[s->n++] = j;
    for (int64_t i = 0; i < j->n_prompt; i++) {
        if (j->prompt[i] < 0 || j->prompt[i] >= s->vocab) {
            char why[JOB_WHY];
            snprintf(why, sizeof why, "id %lld of %lld is %d, the vocabulary has ids 0 to %d", (long long)i + 1,
                     (long long)j->n_prompt, j->prompt[i], s->vocab - 1);
            end_job(s, j, JOB_FAILED, LARIAT_BAD_ARGUMENT, why);
            return true;
        }
    }
    if (j->n_prompt < 1 || j->n_prompt > j->capacity) {
        end_job(s, j, JOB_FAILED, LARIAT_CONTEXT_FULL, "the prompt is empty, or longer than its context");
    }
    return true;
}

/* --- admission --- */

/* Positions that a job comes to have at most. */
static int64_t positions_of(const job *j)
{
    return j->most < j->capacity - j->n_prompt ? j->n_prompt + j->most : j->capacity;
}

/* Does the pool hold this job and those that run, however long they become? Sessions of `context` positions together always
   find slots. */
static bool fits_whole(const scheduler *s, const job *j)
{
    int64_t left = s->context - positions_of(j);

    for (int32_t i = 0; i < s->running && left >= 0; i++) {
        left -= positions_of(s->jobs[i]);
    }
    return left >= 0;
}

/* Are the free slots enough for all that this job and those that run have still to read, and for a block more each? What they
   make later may find none. */
static bool fits_for_now(const scheduler *s, const job *j, int64_t shared)
{
    int64_t sum = known(j) - shared + SHARE_LEAST;

    for (int32_t i = 0; i < s->running; i++) {
        int64_t left = unread(s->jobs[i]);
        sum += left > 1 ? left + SHARE_LEAST : 0;
    }
    return sum <= lariat_engine_room(s->setup.engine);
}

/* Gives the job that waits first a session. False: it waits on. */
static bool admit_next(scheduler *s)
{
    job *j = s->jobs[s->running];
    lariat_session *session;
    int64_t length;
    const job *parent = find_parent(s, j, &length);

    if (length > parent->settled) { /* of none both are 0 */
        return false;
    }
    if (s->running && (s->full || (!fits_whole(s, j) && !fits_for_now(s, j, length)))) {
        return false;
    }
    lariat_status status = length ? lariat_session_fork(parent->session, length, &session)
                                  : lariat_session_open(s->setup.engine, j->capacity, &session);
    if (status != LARIAT_OK) {
        end_job(s, j, JOB_FAILED, status, lariat_error());
        return true;
    }
    note_open(s, NULL, session);
    begin(s, j, session, length);
    return true;
}

static void admit(scheduler *s)
{
    while (s->running < s->n && s->running < s->width && admit_next(s)) {
    }
    s->full = s->full && s->running;
}

/* --- the next pass --- */

static void add_part(part parts[], lariat_work works[], int32_t n, job *j, int64_t count)
{
    int64_t held = lariat_session_length(j->session);
    bool chained = j->choosing > 0, last = held + count >= known(j), chooses = last && j->most > 0;

    parts[n] = (part){.job = j, .session = j->session, .count = count, .chooses = chooses,
                      .prompt = count > 1 || j->n_made + j->choosing == 0};
    works[n] = (lariat_work){.session = j->session, .count = count, .sampler = chooses ? j->sampler : NULL,
                             .n_top = chooses ? j->n_top : 0};
    if (!chained) {
        works[n].tokens = held < j->n_prompt ? j->prompt + held : j->made + (held - j->n_prompt);
    }
}

/* Tokens that a pass takes of what is left of prompts: passes of even size, as a short last one reads all weights for a few
   tokens. */
static int64_t even_size(int64_t left, int64_t most)
{
    int64_t passes = most > 0 ? (left + most - 1) / most : 0;

    return passes ? (left + passes - 1) / passes : 0;
}

/* What a pass may read of a job besides what is decoded, in one piece: its prompt lies apart from what it has made. */
static int64_t piece_of(const scheduler *s, const job *j)
{
    int64_t held = lariat_session_length(j->session), n = j->choosing || decodes(s, j) ? 0 : readable(j);

    return n && held < j->n_prompt && held + n > j->n_prompt ? j->n_prompt - held : n;
}

/* Lists every token that is decoded, then `size` of prompts. Returns the number of parts. */
static int32_t compose(const scheduler *s, int64_t size, part parts[], lariat_work works[])
{
    int32_t n = 0;

    for (int32_t i = 0; i < s->running; i++) {
        if (decodes(s, s->jobs[i])) {
            add_part(parts, works, n++, s->jobs[i], 1);
        }
    }
    for (int32_t i = 0; i < s->running && size > 0; i++) {
        int64_t piece = piece_of(s, s->jobs[i]), take = piece < size ? piece : size;
        if (take > 0) {
            add_part(parts, works, n++, s->jobs[i], take);
            size -= take;
        }
    }
    return n;
}

static int64_t size_of_next(const scheduler *s)
{
    int64_t left = 0;
    int32_t decoding = 0;

    for (int32_t i = 0; i < s->running; i++) {
        decoding += decodes(s, s->jobs[i]);
        left += piece_of(s, s->jobs[i]);
    }
    int64_t most = s->chunk - decoding;
    return even_size(left, decoding && s->budget < most ? s->budget : most);
}

/* Submits a pass of these. */
static lariat_status submit(scheduler *s, const part parts[], lariat_work works[], int32_t n)
{
    part *own = s->parts[s->submitted % 2];

    memcpy(own, parts, (size_t)n * sizeof *own);
    for (int32_t i = 0; i < n; i++) {
        works[i].user = &own[i];
    }
    lariat_status status = lariat_submit(s->setup.engine, works, n);
    for (int32_t i = 0; status == LARIAT_OK && i < n; i++) {
        own[i].job->under_way++;
        own[i].job->choosing += own[i].chooses;
    }
    s->submitted += status == LARIAT_OK;
    return status;
}

static bool is_refusal(lariat_status status)
{
    return status == LARIAT_BAD_ARGUMENT || status == LARIAT_NO_MEMORY;
}

/* Not even decoding finds slots: the youngest job that runs gives its own back, and waits first. The last one has all there
   are, and ends. False: none runs. */
static bool make_room(scheduler *s)
{
    if (s->running == 1) {
        end_job(s, s->jobs[0], JOB_FAILED, LARIAT_CONTEXT_FULL, lariat_error());
    } else if (s->running) {
        close_session(s, take_session(s, s->jobs[--s->running]));
        s->full = true;
    }
    return s->running > 0;
}

/* --- the results of a pass --- */

static bool keep_made(job *j, int32_t token)
{
    if (j->n_made == j->room) {
        int64_t room = 2 * j->room + 64;
        int32_t *more = realloc(j->made, (size_t)room * sizeof *more);
        if (!more) {
            return false;
        }
        j->made = more;
        j->room = room;
    }
    j->made[j->n_made++] = token;
    return true;
}

/* The job has got a token. */
static void take_token(scheduler *s, job *j, const lariat_result *result)
{
    if (!keep_made(j, result->token)) {
        end_job(s, j, JOB_FAILED, LARIAT_NO_MEMORY, "no memory for its tokens");
    } else if (!j->on_token(j, result)) {
        end_job(s, j, JOB_STOPPED, LARIAT_OK, "");
    } else if (j->n_made == j->most) {
        end_job(s, j, JOB_MOST, LARIAT_OK, "");
    } else if (known(j) > j->capacity) {
        end_job(s, j, JOB_FULL, LARIAT_OK, "");
    }
}

static void take_result(scheduler *s, const lariat_result *result, pass_report *out)
{
    const part *p = result->user;
    job *j = p->job;

    j->under_way--;
    if (j->end != JOB_GOES_ON) {
        if (j->under_way == 0) {
            s->ending--;
            finish(j);
        }
        return;
    }
    if (!result->session || j->session != p->session) {
        return; /* it was taken back, and will be read again */
    }
    j->choosing -= p->chooses;
    if (result->status != LARIAT_OK) {
        end_job(s, j, result->status == LARIAT_CANCELLED ? JOB_CANCELLED : JOB_FAILED, result->status, result->reason);
        return;
    }
    j->settled += p->count;
    out->tokens += p->count;
    out->prompts = out->prompts || p->prompt;
    if (p->chooses) {
        take_token(s, j, result);
    } else if (j->most == 0 && unread(j) == 0) {
        end_job(s, j, JOB_MOST, LARIAT_OK, "");
    }
}

static lariat_status collect(scheduler *s, pass_report *out)
{
    lariat_result results[SCHEDULE_WIDTH];
    int32_t n;
    lariat_status status = lariat_collect(s->setup.engine, results, SCHEDULE_WIDTH, &n);

    s->collected++;
    s->lost = status != LARIAT_OK;
    for (int32_t i = 0; i < n; i++) {
        take_result(s, &results[i], out);
    }
    return status;
}

/* --- a pass --- */

/* One of several is refused for itself: each goes alone, and what is refused ends. */
static lariat_status submit_apart(scheduler *s, const part parts[], lariat_work works[], int32_t n, pass_report *out)
{
    for (int32_t i = 0; i < n; i++) {
        lariat_status status = submit(s, &parts[i], &works[i], 1);
        if (status == LARIAT_OK) {
            status = collect(s, out);
        } else if (is_refusal(status)) {
            end_job(s, parts[i].job, JOB_FAILED, status, lariat_error());
            status = LARIAT_OK;
        }
        if (status != LARIAT_OK && status != LARIAT_CONTEXT_FULL) {
            return status;
        }
    }
    return LARIAT_OK;
}

/* Submits the next pass; where there is nothing to submit, or it waits for what is under way, it does not. */
static lariat_status submit_next(scheduler *s, pass_report *out)
{
    int64_t size = size_of_next(s);
    bool refused = false;

    for (;;) {
        part parts[SCHEDULE_WIDTH];
        lariat_work works[SCHEDULE_WIDTH];
        int32_t n = compose(s, size, parts, works);
        if (n == 0 && !refused) {
            return LARIAT_OK;
        }
        lariat_status status = n ? submit(s, parts, works, n) : LARIAT_CONTEXT_FULL;
        bool waits = status != LARIAT_OK && s->submitted != s->collected;
        if (is_refusal(status) && !waits) {
            return submit_apart(s, parts, works, n, out);
        }
        if (status != LARIAT_CONTEXT_FULL) {
            return is_refusal(status) ? LARIAT_OK : status;
        }
        refused = true;
        if (size > 0) {
            size /= 2;
        } else if (waits || !make_room(s)) {
            return LARIAT_OK;
        } else {
            size = size_of_next(s);
            refused = false;
        }
    }
}

/* A rank failed: jobs of passes under way end with it, and those that would have been of the next one. */
static lariat_status fail_all(scheduler *s, lariat_status status, pass_report *out)
{
    char why[JOB_WHY];

    s->lost = true;
    snprintf(why, sizeof why, "%s", lariat_error());
    while (s->running) {
        end_job(s, s->jobs[0], JOB_FAILED, status, why);
    }
    while (s->submitted != s->collected) {
        (void)collect(s, out);
    }
    s->lost = false;
    return status;
}

lariat_status scheduler_pass(scheduler *s, pass_report *out)
{
    lariat_status status = LARIAT_OK;
    uint32_t before;

    *out = (pass_report){0};
    end_cancelled(s);
    do {
        before = s->submitted;
        admit(s);
        status = submit_next(s, out);
    } while (status == LARIAT_OK && s->submitted != before && s->submitted - s->collected < (uint32_t)s->ahead);
    if (status == LARIAT_OK && s->submitted != s->collected) {
        status = collect(s, out);
    }
    return status == LARIAT_OK ? LARIAT_OK : fail_all(s, status, out);
}

void scheduler_close(scheduler *s)
{
    pass_report unused = {0};

    if (!s) {
        return;
    }
    while (s->n) {
        end_job(s, s->jobs[s->n - 1], JOB_CANCELLED, LARIAT_CANCELLED, "cancelled");
    }
    while (s->submitted != s->collected) {
        (void)collect(s, &unused);
    }
    free(s->jobs);
    free(s);
}
