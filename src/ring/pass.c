/* Planning a pass: its runs, the slots that they fill, and what every rank held before. All lists have their room from the
   beginning: planning takes no memory.
   Rests on plan.h (the division) and cache.h (sequences). See plan.h for what a pass is. */
#include "ring/cache.h"

#include <string.h>

/* Working lists of planning. */
struct pass_work {
    int64_t *filled, *room, *rows, *share; /* [n_ranks] */
    int64_t *n_spans, most_spans;          /* [n_ranks] of all parts so far; at most, each */
    plan_run *division;                    /* [runs] of the part that is planned: in order of position */
    pass_run *unsorted;                    /* [runs]: by part; sorted by rank in the end */
    int32_t *unsorted_rank;
    size_t n_unsorted;
};

/* Takes the lists of a plan from its arena, or from one that counts. */
static void take_lists(pass *p, const pass_limits *most)
{
    arena *a = &p->memory;
    int64_t n = p->n_ranks;

    p->run_begin = arena_take(a, bytes_of(n + 1, 1, sizeof *p->run_begin));
    p->rows = arena_take(a, bytes_of(n, 1, sizeof *p->rows));
    p->parts = arena_take(a, bytes_of(most->parts, 1, sizeof *p->parts));
    p->runs = arena_take(a, bytes_of(most->runs, 1, sizeof *p->runs));
    p->spans = arena_take(a, bytes_of(most->extents, n, sizeof *p->spans));
    p->span_begin = arena_take(a, bytes_of(most->parts + 1, n, sizeof *p->span_begin));
    p->work = arena_take(a, sizeof *p->work);
    struct pass_work work = {
        .filled = arena_take(a, bytes_of(n, 1, sizeof *work.filled)),
        .room = arena_take(a, bytes_of(n, 1, sizeof *work.room)),
        .rows = arena_take(a, bytes_of(n, 1, sizeof *work.rows)),
        .share = arena_take(a, bytes_of(n, 1, sizeof *work.share)),
        .n_spans = arena_take(a, bytes_of(n, 1, sizeof *work.n_spans)),
        .most_spans = most->extents,
        .division = arena_take(a, bytes_of(most->runs, 1, sizeof *work.division)),
        .unsorted = arena_take(a, bytes_of(most->runs, 1, sizeof *work.unsorted)),
        .unsorted_rank = arena_take(a, bytes_of(most->runs, 1, sizeof *work.unsorted_rank)),
    };
    if (p->work) {
        *p->work = work;
    }
}

size_t pass_bytes(int32_t n_ranks, const pass_limits *most)
{
    pass p = {.n_ranks = n_ranks};

    arena_count(&p.memory);
    take_lists(&p, most);
    return p.memory.used;
}

lariat_status pass_open(pass *p, int32_t n_ranks, const pass_limits *most)
{
    *p = (pass){.n_ranks = n_ranks};
    TRY(arena_open(&p->memory, pass_bytes(n_ranks, most), "plan of a pass"));
    take_lists(p, most);
    return LARIAT_OK;
}

void pass_close(pass *p)
{
    arena_close(&p->memory);
    *p = (pass){0};
}

/* The slots that each rank holds of a sequence before the pass. False: there is no room for so many spans. */
static bool note_spans(pass *p, const cache *c, int32_t part, const sequence *seq)
{
    struct pass_work *w = p->work;
    bool fits = true;

    for (int32_t r = 0; r < p->n_ranks; r++) {
        int32_t at = part * p->n_ranks + r, begin = p->span_begin[at];
        int32_t n = fits ? sequence_spans(c, seq, r, p->spans + begin, w->most_spans - w->n_spans[r]) : 0;
        fits = n >= 0;
        n = fits ? n : 0;
        p->span_begin[at + 1] = begin + n;
        w->n_spans[r] += n;
    }
    return fits;
}

/* Fills a rank's next slots with a run and notes it, cut where slots do not follow one another. */
static void fill_slots(pass *p, cache *c, int32_t part, sequence *seq, const plan_run *run)
{
    struct pass_work *w = p->work;
    pass_run *now = NULL;

    for (int64_t i = 0; i < run->count; i++) {
        int64_t slot = sequence_append(c, seq, run->rank, run->first + i);
        if (now && now->slot + now->count == slot) {
            now->count++;
            continue;
        }
        now = &w->unsorted[w->n_unsorted];
        *now = (pass_run){.part = part, .first = run->first + i, .count = 1, .slot = slot};
        w->unsorted_rank[w->n_unsorted++] = run->rank;
    }
}

/* By tokens: shares that fill the ranks evenly, in zigzag. Returns the number of runs; *placed tokens found room. */
static int divide_by_tokens(pass *p, const cache *c, const sequence *seq, int64_t count, int64_t max_rows, int64_t *placed)
{
    struct pass_work *w = p->work;

    for (int32_t r = 0; r < p->n_ranks; r++) {
        int64_t slots = sequence_room(c, seq, r), rows = max_rows - w->rows[r];
        w->filled[r] = seq->held[r].used;
        w->room[r] = slots < rows ? slots : rows;
    }
    *placed = plan_shares(p->n_ranks, w->filled, w->room, w->rows, count, w->share);
    for (int32_t r = 0; r < p->n_ranks; r++) {
        w->rows[r] += w->share[r];
    }
    return plan_zigzag(p->n_ranks, w->share, seq->length, w->division);
}

/* The rank that has least of those that have room; -1: none has. */
static int32_t least_filled(const pass *p)
{
    const struct pass_work *w = p->work;
    int32_t to = -1;

    for (int32_t r = 0; r < p->n_ranks; r++) {
        to = w->room[r] > 0 && (to < 0 || w->filled[r] < w->filled[to]) ? r : to;
    }
    return to;
}

/* By slices: a block of tokens to one rank, the next to the least-filled one. Returns and gives as divide_by_tokens. */
static int divide_by_slices(pass *p, const cache *c, sequence *seq, int64_t count, int64_t *placed)
{
    struct pass_work *w = p->work;
    int64_t left = count;
    int n = 0;

    for (int32_t r = 0; r < p->n_ranks; r++) {
        w->filled[r] = seq->held[r].used;
        w->room[r] = sequence_room(c, seq, r);
    }
    while (left) {
        int32_t to = seq->decode_rank;
        if (seq->decode_left == 0 || w->room[to] == 0) {
            to = least_filled(p);
            if (to < 0) {
                break;
            }
            seq->decode_rank = to;
            seq->decode_left = DECODE_BLOCK;
        }
        int64_t take = seq->decode_left < left ? seq->decode_left : left;
        take = take < w->room[to] ? take : w->room[to];
        w->division[n++] = (plan_run){to, seq->length + count - left, take};
        w->filled[to] += take;
        w->room[to] -= take;
        seq->decode_left -= take;
        left -= take;
    }
    *placed = count - left;
    return n;
}

/* Sorts the runs by rank, keeping their order, and gives them their rows. */
static void sort_runs(pass *p)
{
    struct pass_work *w = p->work;
    int32_t n = 0;

    for (int32_t r = 0; r < p->n_ranks; r++) {
        int64_t row = 0;
        p->run_begin[r] = n;
        for (size_t i = 0; i < w->n_unsorted; i++) {
            if (w->unsorted_rank[i] != r) {
                continue;
            }
            pass_run run = w->unsorted[i];
            const pass_part *part = &p->parts[run.part];
            run.row = p->layout == PASS_BY_TOKENS ? row : part->token + run.first - part->first;
            row += run.count;
            p->runs[n++] = run;
        }
        p->rows[r] = p->layout == PASS_BY_TOKENS ? row : p->n_tokens;
    }
    p->run_begin[p->n_ranks] = n;
}

/* The next part. Returns how many of its tokens were placed. */
static int64_t plan_part(pass *p, cache *c, int32_t part, const pass_request *asked, int64_t max_rows)
{
    sequence *seq = asked->seq;
    int64_t placed = 0;
    int runs = 0;

    if (note_spans(p, c, part, seq)) {
        runs = p->layout == PASS_BY_TOKENS ? divide_by_tokens(p, c, seq, asked->count, max_rows, &placed)
                                           : divide_by_slices(p, c, seq, asked->count, &placed);
    }
    p->parts[part] = (pass_part){.first = seq->length, .count = placed, .token = p->n_tokens, .capacity = seq->capacity};
    for (int k = 0; k < runs; k++) {
        fill_slots(p, c, part, seq, &p->work->division[k]);
    }
    seq->length += placed;
    seq->slices_from = p->layout == PASS_BY_TOKENS ? seq->length : seq->slices_from;
    return placed;
}

void pass_plan(pass *p, cache *c, pass_layout layout, pass_request requests[], int32_t n, int64_t max_rows)
{
    struct pass_work *w = p->work;

    p->layout = layout;
    p->n_parts = n;
    p->n_tokens = 0;
    p->span_begin[0] = 0;
    w->n_unsorted = 0;
    memset(w->rows, 0, (size_t)p->n_ranks * sizeof *w->rows);
    memset(w->n_spans, 0, (size_t)p->n_ranks * sizeof *w->n_spans);
    for (int32_t i = 0; i < n; i++) {
        requests[i].count = plan_part(p, c, i, &requests[i], max_rows);
        p->n_tokens += requests[i].count;
    }
    sort_runs(p);
}

void pass_from_runs(pass *p, const plan_run runs[], int32_t n)
{
    int32_t at = 0;

    p->layout = PASS_BY_TOKENS;
    p->side = PASS_KV;
    p->n_parts = 1;
    p->n_tokens = 0;
    for (int32_t r = 0; r < p->n_ranks; r++) {
        p->run_begin[r] = at;
        p->span_begin[r] = 0;
        p->rows[r] = 0;
        for (; at < n && runs[at].rank == r; at++) {
            p->runs[at] = (pass_run){
                .first = runs[at].first, .count = runs[at].count, .row = p->rows[r], .slot = p->rows[r]};
            p->rows[r] += runs[at].count;
        }
        p->n_tokens += p->rows[r];
    }
    p->run_begin[p->n_ranks] = at;
    p->span_begin[p->n_ranks] = 0;
    p->parts[0] = (pass_part){.count = p->n_tokens};
}
