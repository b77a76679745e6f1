/* Planning a pass: its runs, the slots that they fill, and what every rank held before.
   Rests on plan.h (the division) and cache.h (sequences). See plan.h for what a pass is. */
#include "ring/cache.h"

#include <stdlib.h>
#include <string.h>

/* Working arrays of planning, [n_ranks] each but for the last. */
struct pass_work {
    int64_t *filled, *room, *rows, *share;
    plan_run *division; /* [division_room] of the part that is planned: in order of position */
    size_t division_room;
    pass_run *unsorted; /* [run_room]: by part; sorted by rank in the end */
    int32_t *unsorted_rank;
    size_t n_unsorted;
};

lariat_status pass_open(pass *p, int32_t n_ranks)
{
    size_t n = (size_t)n_ranks;

    *p = (pass){.n_ranks = n_ranks};
    p->run_begin = calloc(n + 1, sizeof *p->run_begin);
    p->rows = calloc(n, sizeof *p->rows);
    p->work = calloc(1, sizeof *p->work);
    if (p->work) {
        p->work->filled = calloc(4 * n, sizeof *p->work->filled);
    }
    if (!p->run_begin || !p->rows || !p->work || !p->work->filled) {
        pass_close(p);
        return fail(LARIAT_NO_MEMORY, "ring: no memory to plan over %d ranks" FREE_MEMORY, n_ranks);
    }
    p->work->room = p->work->filled + n;
    p->work->rows = p->work->filled + 2 * n;
    p->work->share = p->work->filled + 3 * n;
    return LARIAT_OK;
}

void pass_close(pass *p)
{
    if (p->work) {
        free(p->work->filled);
        free(p->work->division);
        free(p->work->unsorted);
        free(p->work->unsorted_rank);
    }
    free(p->work);
    free(p->parts);
    free(p->runs);
    free(p->run_begin);
    free(p->spans);
    free(p->span_begin);
    free(p->rows);
    *p = (pass){0};
}

/* Lets an array have room for `need` elements; nothing to do once it has grown to the largest pass. */
static lariat_status grow(void **array, size_t *room, size_t need, size_t size)
{
    if (need <= *room) {
        return LARIAT_OK;
    }
    size_t want = need + need / 2;
    void *larger = realloc(*array, want * size);
    if (!larger) {
        return fail(LARIAT_NO_MEMORY, "ring: no memory for the plan of a pass" FREE_MEMORY);
    }
    *array = larger;
    *room = want;
    return LARIAT_OK;
}

/* Room for whatever these requests can become. */
static lariat_status make_room(pass *p, const pass_request requests[], int32_t n)
{
    struct pass_work *w = p->work;
    size_t ranks = (size_t)p->n_ranks, extents = 0, blocks = 0, most = 0, room;

    for (int32_t i = 0; i < n; i++) {
        for (int32_t r = 0; r < p->n_ranks; r++) {
            extents += (size_t)requests[i].seq->parts[r].n_extents;
        }
        /* Runs of a part: 2 a rank by zigzag, or one each DECODE_BLOCK tokens and one that was begun. */
        size_t runs = 2 * ranks + (size_t)requests[i].count / DECODE_BLOCK + 2;
        blocks += runs;
        most = runs > most ? runs : most;
    }
    size_t runs = blocks + extents; /* a run is cut where an extent ends */
    room = p->run_room;
    TRY(grow((void **)&w->unsorted, &room, runs, sizeof *w->unsorted));
    room = p->run_room;
    TRY(grow((void **)&w->unsorted_rank, &room, runs, sizeof *w->unsorted_rank));
    TRY(grow((void **)&p->runs, &p->run_room, runs, sizeof *p->runs));
    TRY(grow((void **)&w->division, &w->division_room, most, sizeof *w->division));
    TRY(grow((void **)&p->spans, &p->span_room, extents, sizeof *p->spans));
    room = p->part_room;
    TRY(grow((void **)&p->span_begin, &room, (size_t)n, (ranks + 1) * sizeof *p->span_begin));
    return grow((void **)&p->parts, &p->part_room, (size_t)n, sizeof *p->parts);
}

/* The slots that each rank holds of a sequence before the pass, as spans of whole extents. */
static void note_spans(pass *p, int32_t part, const sequence *seq)
{
    for (int32_t r = 0; r < p->n_ranks; r++) {
        int32_t at = part * p->n_ranks + r, end = p->span_begin[at];
        int64_t left = seq->parts[r].used;
        for (int32_t e = 0; left > 0; e++) {
            slot_span extent = seq->parts[r].extents[e];
            int64_t count = extent.count < left ? extent.count : left;
            p->spans[end++] = (slot_span){extent.slot, count};
            left -= count;
        }
        p->span_begin[at + 1] = end;
    }
}

/* Fills the next slots of a rank's part with a run and notes it, cut where extents end. */
static void fill_slots(pass *p, int32_t part, sequence *seq, const plan_run *run)
{
    sequence_part *held = &seq->parts[run->rank];
    struct pass_work *w = p->work;
    int64_t skip = held->used, first = run->first, left = run->count;

    for (int32_t e = 0; left > 0; e++) {
        slot_span extent = held->extents[e];
        if (skip >= extent.count) {
            skip -= extent.count;
            continue;
        }
        int64_t count = extent.count - skip < left ? extent.count - skip : left;
        w->unsorted[w->n_unsorted] = (pass_run){.part = part, .first = first, .count = count, .slot = extent.slot + skip};
        w->unsorted_rank[w->n_unsorted++] = run->rank;
        for (int64_t i = 0; i < count; i++) {
            held->positions[held->used++] = (int32_t)(first + i);
        }
        first += count;
        left -= count;
        skip = 0;
    }
}

/* By tokens: shares that fill the ranks evenly, in zigzag. Returns the number of runs; *placed tokens found room. */
static int divide_by_tokens(pass *p, const sequence *seq, int64_t count, int64_t max_rows, int64_t *placed)
{
    struct pass_work *w = p->work;

    for (int32_t r = 0; r < p->n_ranks; r++) {
        int64_t slots = seq->parts[r].room - seq->parts[r].used, rows = max_rows - w->rows[r];
        w->filled[r] = seq->parts[r].used;
        w->room[r] = slots < rows ? slots : rows;
    }
    *placed = plan_shares(p->n_ranks, w->filled, w->room, w->rows, count, w->share);
    for (int32_t r = 0; r < p->n_ranks; r++) {
        w->rows[r] += w->share[r];
    }
    return plan_zigzag(p->n_ranks, w->share, seq->length, w->division);
}

/* By slices: a block of tokens to one rank, the next to the least-filled one. */
static int divide_by_slices(pass *p, sequence *seq, int64_t count)
{
    struct pass_work *w = p->work;
    int64_t first = seq->length;
    int n = 0;

    for (int32_t r = 0; r < p->n_ranks; r++) {
        w->filled[r] = seq->parts[r].used;
    }
    while (count) {
        int32_t to = seq->decode_rank;
        if (seq->decode_left == 0 || w->filled[to] == seq->parts[to].room) {
            to = 0;
            for (int32_t r = 1; r < p->n_ranks; r++) {
                to = w->filled[r] < w->filled[to] ? r : to;
            }
            seq->decode_rank = to;
            seq->decode_left = DECODE_BLOCK;
        }
        int64_t take = seq->decode_left < count ? seq->decode_left : count;
        int64_t room = seq->parts[to].room - w->filled[to];
        take = take < room ? take : room;
        w->division[n++] = (plan_run){to, first, take};
        w->filled[to] += take;
        seq->decode_left -= take;
        first += take;
        count -= take;
    }
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

lariat_status pass_plan(pass *p, pass_layout layout, pass_request requests[], int32_t n, int64_t max_rows)
{
    struct pass_work *w = p->work;

    TRY(make_room(p, requests, n));
    p->number++;
    p->layout = layout;
    p->n_parts = n;
    p->n_tokens = 0;
    p->span_begin[0] = 0;
    w->n_unsorted = 0;
    memset(w->rows, 0, (size_t)p->n_ranks * sizeof *w->rows);
    for (int32_t i = 0; i < n; i++) {
        sequence *seq = requests[i].seq;
        int64_t placed = requests[i].count;
        note_spans(p, i, seq);
        int runs = layout == PASS_BY_TOKENS ? divide_by_tokens(p, seq, placed, max_rows, &placed)
                                            : divide_by_slices(p, seq, placed);
        p->parts[i] = (pass_part){.first = seq->length, .count = placed, .token = p->n_tokens};
        for (int k = 0; k < runs; k++) {
            fill_slots(p, i, seq, &w->division[k]);
        }
        seq->length += placed;
        p->n_tokens += placed;
        requests[i].count = placed;
    }
    sort_runs(p);
    return LARIAT_OK;
}
