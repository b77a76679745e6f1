/* Grouping rows into lines, and naming the lines.
   Rests on axis.h for numbers of tokens. See panel.h. */
#include "cli/bench/panel.h"
#include "cli/bench/axis.h"
#include "cli/message.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Most prompt lengths of a panel by ranks, the longest ones: more lines would overlap. */
enum { SPEED_LENGTHS = 6, MEMORY_LENGTHS = 4 };

/* Bits of panel.told. */
enum { DEVICE = 1, KV = 2, CHUNK = 4, DEPTH = 8, BATCH = 16, REPLY = 32 };

bool panel_is_by_ranks(panel_kind kind)
{
    return kind == PANEL_MEMORY_RANKS || kind == PANEL_PREFILL_SPEED || kind == PANEL_DECODE_SPEED;
}

static bool is_by_context(panel_kind kind)
{
    return kind == PANEL_PREFILL_RATE || kind == PANEL_DECODE_RATE;
}

/* --- what a row shows --- */

static double x_of(panel_kind kind, const cell *c)
{
    return (double)(panel_is_by_ranks(kind) ? c->ranks : is_by_context(kind) ? c->depth + c->n_prompt : c->n_prompt);
}

/* amount / s; the least time is the highest rate. */
static spread over(double amount, const spread *s)
{
    return s->least > 0 ? (spread){amount / s->median, amount / s->most, amount / s->least} : (spread){0};
}

static spread each(const spread *s, int64_t n)
{
    double count = (double)n;
    return n > 0 ? (spread){s->median / count, s->least / count, s->most / count} : (spread){0};
}

static spread bytes_of(const row *r)
{
    double most = 0;
    for (int64_t i = 0; i < r->n_samples; i++) {
        double bytes = (double)r->samples[i].rank_bytes;
        most = bytes > most ? bytes : most;
    }
    return (spread){most, most, most};
}

/* `least` compares the slowest run of the ring with the fastest regular one. */
static spread speedup_of(const row_list *all, const row *r, bool decode)
{
    const spread *ring = decode ? &r->decode : &r->prefill;
    int regular = r->beside.regular;
    if (r->cell.ranks == 1 || regular < 0 || ring->least <= 0) {
        double itself = r->cell.ranks == 1 && ring->least > 0;
        return (spread){itself, itself, itself};
    }
    const spread *one = decode ? &all->rows[regular].decode : &all->rows[regular].prefill;
    return (spread){decode ? r->beside.decode_speedup : r->beside.prefill_speedup, one->least / ring->most,
                    one->most / ring->least};
}

/* median 0: unknown. */
static spread y_of(panel_kind kind, const row_list *all, const row *r)
{
    const cell *c = &r->cell;
    switch (kind) {
    case PANEL_FIRST_TOKEN:
        return r->prefill;
    case PANEL_TOKEN:
        return each(&r->decode, c->n_gen);
    case PANEL_MEMORY:
    case PANEL_MEMORY_RANKS:
        return bytes_of(r);
    case PANEL_PREFILL_SPEED:
    case PANEL_DECODE_SPEED:
        return speedup_of(all, r, kind == PANEL_DECODE_SPEED);
    case PANEL_PREFILL_RATE:
        return over((double)(c->batch * c->n_prompt), &r->prefill);
    case PANEL_DECODE_RATE:
        return over((double)(c->batch * c->n_gen), &r->decode);
    case PANEL_NONE:
        break;
    }
    return (spread){0};
}

/* --- which rows make one line --- */

/* The fields in which rings of equal size and blocks differ. */
static unsigned differences(const row_list *all)
{
    unsigned told = 0;
    for (int i = 0; i < all->n; i++) {
        const cell *a = &all->rows[i].cell, *b = &all->rows[0].cell;
        for (int j = 0; b->ranks != a->ranks || b->block != a->block; j++) {
            b = &all->rows[j].cell;
        }
        told |= (a->device != b->device ? DEVICE : 0u) | (a->kv != b->kv ? KV : 0u) | (a->chunk != b->chunk ? CHUNK : 0u) |
                (a->depth != b->depth ? DEPTH : 0u) | (a->batch != b->batch ? BATCH : 0u) | (a->n_gen != b->n_gen ? REPLY : 0u);
    }
    return told;
}

/* Where depth and prompt form the context, a line has one prompt length: prefill of 512 tokens at depth 4k differs from 4k
   tokens at depth 512. */
static cell series_of(const panel *p, const cell *c)
{
    cell s = *c;
    s.threads = 0; /* they follow from the ranks */
    if (panel_is_by_ranks(p->kind)) {
        s.ranks = 0;
        s.chunk = s.block ? 0 : s.chunk;
    } else if (is_by_context(p->kind)) {
        s.depth = 0;
        s.n_prompt = p->told & DEPTH ? s.n_prompt : 0;
    } else {
        s.n_prompt = 0;
    }
    return s;
}

static int by_field(const cell *a, const cell *b)
{
    const int64_t pairs[][2] = {{a->ranks, b->ranks}, {a->block, b->block},       {a->chunk, b->chunk}, {a->device, b->device},
                                {a->kv, b->kv},       {a->batch, b->batch},       {a->depth, b->depth}, {a->n_gen, b->n_gen},
                                {b->n_prompt, a->n_prompt}}; /* long prompts first */
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        if (pairs[i][0] != pairs[i][1]) {
            return pairs[i][0] < pairs[i][1] ? -1 : 1;
        }
    }
    return 0;
}

static int by_series(const void *a, const void *b)
{
    const point *p = a, *q = b;
    int order = by_field(&p->series, &q->series);
    return order ? order : (p->x > q->x) - (p->x < q->x);
}

static void add(panel *p, const row_list *all, const row *r, const cell *series)
{
    double x = x_of(p->kind, &r->cell);
    spread y = y_of(p->kind, all, r);
    bool missing = *r->reason && r->n_samples == 0;
    if (x >= 1 && (missing || y.median > 0)) { /* a logarithmic axis has no 0 */
        p->points[p->n++] = (point){.row = r, .series = *series, .x = x, .y = y, .missing = missing};
    }
}

static void add_all(panel *p, const row_list *all)
{
    for (int i = 0; i < all->n; i++) {
        const row *r = &all->rows[i];
        cell series = series_of(p, &r->cell);
        add(p, all, r, &series);
        if (panel_is_by_ranks(p->kind) && r->cell.ranks > 1 && r->beside.regular >= 0) {
            add(p, all, &all->rows[r->beside.regular], &series); /* the regular point begins the lines of all blocks */
        }
    }
}

/* --- lines left out --- */

/* Removes duplicate points of a line: the regular one, or repeated values of a list. */
static void keep_one_of_each(panel *p)
{
    int kept = 0;
    for (int i = 0; i < p->n; i++) {
        if (kept == 0 || by_series(&p->points[i], &p->points[kept - 1]) != 0) {
            p->points[kept++] = p->points[i];
        }
    }
    p->n = kept;
}

/* In a panel by ranks, keeps only series of at least two points. */
static void keep_lines(panel *p)
{
    int kept = 0;
    for (int begin = 0, end; begin < p->n; begin = end) {
        end = panel_series_end(p, begin);
        if (panel_measured(p, begin, end) >= 2) {
            memmove(p->points + kept, p->points + begin, (size_t)(end - begin) * sizeof *p->points);
            kept += end - begin;
        }
    }
    p->n = kept;
}

/* The largest length below `below`; 0: there is none. */
static int64_t next_length(const panel *p, int64_t below)
{
    int64_t next = 0;
    for (int i = 0; i < p->n; i++) {
        int64_t length = p->points[i].series.n_prompt;
        next = length < below && length > next ? length : next;
    }
    return next;
}

static void keep_longest(panel *p, int lengths)
{
    int64_t from = INT64_MAX;
    for (int i = 0; i < lengths; i++) {
        from = next_length(p, from);
    }
    int kept = 0;
    for (int i = 0; i < p->n; i++) {
        if (p->points[i].series.n_prompt >= from) {
            p->points[kept++] = p->points[i];
        }
    }
    p->n = kept;
}

int panel_fill(panel *p, panel_kind kind, const row_list *all)
{
    *p = (panel){.kind = kind, .told = differences(all)};
    p->points = calloc(2 * (size_t)all->n + 1, sizeof *p->points);
    if (!p->points) {
        return complain_memory("bench --plot");
    }
    add_all(p, all);
    qsort(p->points, (size_t)p->n, sizeof *p->points, by_series);
    keep_one_of_each(p);
    if (panel_is_by_ranks(kind)) {
        keep_lines(p);
        keep_longest(p, kind == PANEL_MEMORY_RANKS ? MEMORY_LENGTHS : SPEED_LENGTHS);
    }
    return 0;
}

void panel_free(panel *p)
{
    free(p->points);
    *p = (panel){.kind = PANEL_NONE};
}

/* --- reading it --- */

int panel_series_end(const panel *p, int begin)
{
    int end = begin;
    while (end < p->n && by_field(&p->points[end].series, &p->points[begin].series) == 0) {
        end++;
    }
    return end;
}

int panel_measured(const panel *p, int begin, int end)
{
    int measured = 0;
    for (int i = begin; i < end; i++) {
        measured += !p->points[i].missing;
    }
    return measured;
}

int panel_lines(const panel *p)
{
    int lines = 0;
    for (int begin = 0, end; begin < p->n; begin = end) {
        end = panel_series_end(p, begin);
        lines += panel_measured(p, begin, end) > 0;
    }
    return lines;
}

bool panel_is_worth_drawing(const panel *p)
{
    for (int begin = 0; begin < p->n; begin = panel_series_end(p, begin)) {
        if (panel_measured(p, begin, panel_series_end(p, begin)) >= 2) {
            return true;
        }
    }
    return false;
}

static void name_text(char label[LABEL_MOST], const char *before, const char *text, const char *after)
{
    size_t n = strlen(label);
    snprintf(label + n, LABEL_MOST - n, "%s%s%s", before, text, after);
}

static void name_tokens(char label[LABEL_MOST], const char *before, int64_t tokens)
{
    char value[AXIS_LABEL_MOST];
    axis_count(tokens, value);
    name_text(label, before, value, "");
}

static void name_number(char label[LABEL_MOST], const char *before, int64_t number)
{
    char value[AXIS_LABEL_MOST];
    axis_plain(number, value);
    name_text(label, before, value, "");
}

void panel_label(const panel *p, const point *of, char label[LABEL_MOST])
{
    const cell *s = &of->series;
    const lariat_plan *plan = &of->row->plan;
    *label = 0;
    if (panel_is_by_ranks(p->kind) && s->n_prompt == 0) {
        name_text(label, "no prompt", "", "");
    } else if (panel_is_by_ranks(p->kind)) {
        name_tokens(label, "prompt of ", s->n_prompt);
    } else if (s->ranks == 1) {
        name_text(label, "regular (one rank)", "", "");
    } else {
        name_number(label, "ring of ", s->ranks);
    }
    if (s->block) {
        name_tokens(label, ", blocks of ", s->block);
    }
    if (is_by_context(p->kind) && s->n_prompt) {
        name_tokens(label, ", prompts of ", s->n_prompt);
    } else if (!is_by_context(p->kind) && p->told & DEPTH) {
        name_tokens(label, ", depth ", s->depth);
    }
    if (p->told & CHUNK && s->chunk) {
        name_tokens(label, ", passes of ", s->chunk);
    }
    if (p->told & DEVICE) {
        name_text(label, ", ", plan->device == LARIAT_DEVICE_CUDA ? "GPU" : "CPU", "");
    }
    if (p->told & KV && plan->kv) {
        name_text(label, ", ", plan->kv, " cache");
    }
    if (p->told & BATCH) {
        name_number(label, ", batch of ", s->batch);
    }
    if (p->told & REPLY) {
        name_tokens(label, ", replies of ", s->n_gen);
    }
}
