/* Planning a pass: its runs, the slots that they fill, and the slots that every rank held before. All lists have their room
   from the
   beginning: planning cannot fail.
   Rests on plan.h (the division) and cache.h (sequences). plan.h defines a pass. */
#include "ring/cache.h"

#include <string.h>

/* Working lists of planning. */
struct pass_work {
    int64_t *filled, *room, *rows, *share; /* [n_ranks] */
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

/* The slots that each rank holds of a sequence before the pass, as spans of whole extents. */
static void note_spans(pass *p, int32_t part, const sequence *seq)
{
    for (int32_t r = 0; r < p->n_ranks; r++) {
        int32_t at = part * p->n_ranks + r, end = p->span_begin[at];
        int64_t left = seq->held[r].used;
        for (int32_t e = 0; left > 0; e++) {
            slot_span extent = seq->held[r].extents[e];
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
    holding *held = &seq->held[run->rank];
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
        int64_t slots = seq->held[r].room - seq->held[r].used, rows = max_rows - w->rows[r];
        w->filled[r] = seq->held[r].used;
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
        w->filled[r] = seq->held[r].used;
    }
    while (count) {
        int32_t to = seq->decode_rank;
        if (seq->decode_left == 0 || w->filled[to] == seq->held[to].room) {
            to = 0;
            for (int32_t r = 1; r < p->n_ranks; r++) {
                to = w->filled[r] < w->filled[to] ? r : to;
            }
            seq->decode_rank = to;
            seq->decode_left = DECODE_BLOCK;
        }
        int64_t take = seq->decode_left < count ? seq->decode_left : count;
        int64_t room = seq->held[to].room - w->filled[to];
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

void pass_plan(pass *p, pass_layout layout, pass_request requests[], int32_t n, int64_t max_rows)
{
    struct pass_work *w = p->work;

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
        p->parts[i] = (pass_part){.first = seq->length, .count = placed, .token = p->n_tokens, .capacity = seq->capacity};
        for (int k = 0; k < runs; k++) {
            fill_slots(p, i, seq, &w->division[k]);
        }
        seq->length += placed;
        seq->slices_from = layout == PASS_BY_TOKENS ? seq->length : seq->slices_from;
        p->n_tokens += placed;
        requests[i].count = placed;
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
