/* Attention on the CPU: divides a call into tasks, runs them on the pool, merges the results of split items.
   Rests on cpu_attention.h for the kernels and elementwise.h for rows of numbers. Read on in attention_simd.h.

   Budget of a task: rows * keys * 4 * head_dim operations against keys * 4 * head_dim bytes (16-bit K and V), so that
   prefill is bound by arithmetic and decode, with few rows, by memory.

   Every task starts from an empty carry, and its result is merged. So sums have three levels: a tile's keys, the tiles of a
   task, the tasks. A key of small weight after many others, or after one of large weight, is then not lost to rounding:
   added one by one, 7,000 such keys are an error of 2e-5 of a result. The ring starts with a rank's own keys, mostly those
   of largest weight.

   The tasks depend on the item alone: its queries, heads and ranges of its segments. So do the bits of its result. */
#include "device/cpu/cpu_attention.h"

#include "device/cpu/elementwise.h"

#include <math.h>
#include <string.h>

enum {
    /* Items with fewer queries are split over their keys: queries and heads alone would not occupy all threads... */
    FEW_QUERIES = 16,
    FEW_TASKS = 16,
    /* ...in pieces of 256 slots: 64 KB of a head's K and V, some microseconds; larger pieces for larger partial results, so
       that storing and merging them stays a hundredth of the work. */
    SPLIT_RANGES = 256 / KEY_RANGE,
    SPLIT_ROWS = 24,
    /* Otherwise a task has up to this many elements of keys a row, about a millisecond: a bound on waiting for a preempted
       thread. */
    SPAN_ELEMENTS = 4096 * 64,
    TASKS_MAX = 2048,
    PARTIALS_FLOATS = 2 << 20,
    /* Multiply-adds that one thread completes before another has woken up. */
    WORK_ALONE = 100000,
    WALKS = 64, /* items that go span by span together: two of a session in a pass */
};

/* A place in an item's list of ranges: a segment, and how many ranges lie before it. */
typedef struct range_place {
    int32_t segment;
    int64_t before;
} range_place;

/* An item that goes span by span, and where its next span begins. */
typedef struct item_walk {
    const attention_item *item;
    int64_t ranges;
    range_place place;
} item_walk;

struct attention_task {
    const attention_item *item;
    int32_t kv_head;
    int32_t first_row, rows; /* of the stack */
    int64_t from, to;        /* ranges of the item's list */
    range_place place;       /* of `from`: lists of many segments are not walked from their start by each task */
    float *partial; /* for the result: o [rows, ld], m [rows], l [rows]; NULL: merged into the carry */
};

typedef struct attention_call {
    cpu_device *cpu;
    const attention_shape *shape;
    const float *q;
    int64_t ldq;
    const carry *c;
    int32_t group, ld;
    int64_t n_tasks, partials_used, work;
} attention_call;

static int64_t divide_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

size_t cpu_attention_scratch(void)
{
    size_t floats = (size_t)ROWS_MAX * (2 * HEAD_DIM_MAX + ALIGN_ROW + LANES_MAX) + 2 * (size_t)KEY_TILE * HEAD_DIM_MAX +
                    SCORES_MAX;

    return floats * sizeof(float);
}

size_t cpu_attention_tasks_bytes(void)
{
    return TASKS_MAX * sizeof(attention_task);
}

size_t cpu_attention_partials_bytes(void)
{
    return PARTIALS_FLOATS * sizeof(float);
}

/* --- a task --- */

static void block_lay_out(attention_block *b, float *scratch)
{
    b->q = scratch;
    b->o = b->q + (int64_t)b->rows * b->ld;
    b->l = b->o + (int64_t)b->rows * b->ld;
    b->k = b->l + (int64_t)b->rows * LANES_MAX;
    b->v = b->k + (int64_t)b->head_dim * KEY_TILE;
    b->p = b->v + (int64_t)KEY_TILE * b->ld;
    b->m = b->p + SCORES_MAX;
}

/* The row of the whole call, in units of heads, of row i of a task. */
static int64_t head_row(const attention_call *a, const attention_task *t, int32_t i)
{
    int32_t stacked = t->first_row + i;

    return (t->item->row + (int64_t)(stacked / a->group)) * a->shape->n_heads + t->kv_head * a->group + stacked % a->group;
}

static void block_load(const attention_call *a, const attention_task *t, const attention_block *b)
{
    const row_kernels *rows = a->cpu->rows;
    int32_t d = b->head_dim, pad = b->ld - d;

    for (int32_t i = 0; i < b->rows; i++) {
        float *q = b->q + (int64_t)i * b->ld, *o = b->o + (int64_t)i * b->ld, *l = b->l + (int64_t)i * LANES_MAX;
        int64_t at = head_row(a, t, i), row = at / a->shape->n_heads, head = at % a->shape->n_heads;
        rows->scale(q, a->q + row * a->ldq + head * d, a->shape->scale, d);
        memset(q + d, 0, (size_t)pad * sizeof(float));
        memset(o, 0, (size_t)b->ld * sizeof(float));
        memset(l, 0, LANES_MAX * sizeof(float));
        b->m[i] = -INFINITY;
    }
}

static void block_store(const attention_call *a, const attention_task *t, const attention_block *b)
{
    for (int32_t i = 0; i < b->rows; i++) {
        const float *o = b->o + (int64_t)i * b->ld, *lanes = b->l + (int64_t)i * LANES_MAX;
        float l = 0;
        for (int j = 0; j < LANES_MAX; j++) {
            l += lanes[j];
        }
        if (t->partial) {
            memcpy(t->partial + (int64_t)i * b->ld, o, (size_t)b->ld * sizeof(float));
            t->partial[(int64_t)b->rows * b->ld + i] = b->m[i];
            t->partial[(int64_t)b->rows * (b->ld + 1) + i] = l;
        } else {
            int64_t at = head_row(a, t, i);
            a->cpu->rows->merge(a->c->o + at * b->head_dim, &a->c->m[at], &a->c->l[at], o, b->m[i], l, b->head_dim);
        }
    }
}

/* Causal bound of query i in a segment, not clipped to its slots. */
static int64_t visible_to(const attention_item *item, const kv_segment *s, int64_t i)
{
    return s->first == KV_ALL_VISIBLE ? INT32_MAX : item->first + i - s->first + 1;
}

/* Slots of the segment that any query of the item sees. */
static int64_t visible_to_any(const attention_item *item, const kv_segment *s)
{
    int64_t n = visible_to(item, s, item->count - 1);

    return n < 0 ? 0 : n < s->count ? n : s->count;
}

static int64_t segment_ranges(const attention_item *item, int32_t segment)
{
    return divide_up(visible_to_any(item, &item->segments[segment]), KEY_RANGE);
}

static int64_t item_ranges(const attention_item *item)
{
    int64_t n = 0;

    for (int32_t i = 0; i < item->n_segments; i++) {
        n += segment_ranges(item, i);
    }
    return n;
}

/* The place of a range, which does not lie before `at`. */
static range_place find_range(const attention_item *item, range_place at, int64_t range)
{
    for (int64_t n; at.segment < item->n_segments; at.segment++, at.before += n) {
        n = segment_ranges(item, at.segment);
        if (range < at.before + n) {
            break;
        }
    }
    return at;
}

/* Range `index` of a segment, clipped to the keys that the block's last row sees; false: none. */
static bool range_of(const attention_call *a, const attention_task *t, const kv_segment *s, int64_t index, key_range *out)
{
    size_t row_bytes = dtype_row_bytes(a->shape->kv_type, a->shape->head_dim);
    int64_t slot = index * KEY_RANGE;
    int64_t last = (t->first_row + t->rows - 1) / a->group;
    int64_t seen = visible_to(t->item, s, last), count = (seen < s->count ? seen : s->count) - slot;

    if (count <= 0) {
        return false;
    }
    int64_t row = t->kv_head * s->head_stride + slot;
    bool scaled = a->shape->kv_type == DTYPE_I8;
    *out = (key_range){
        .k = (const unsigned char *)s->k + (size_t)row * row_bytes,
        .v = (const unsigned char *)s->v + (size_t)row * row_bytes,
        .k_scales = scaled ? s->k_scales + row : NULL,
        .v_scales = scaled ? s->v_scales + row : NULL,
        .count = count < KEY_RANGE ? (int32_t)count : KEY_RANGE,
        .visible = visible_to(t->item, s, 0) - slot,
    };
    return true;
}

/* Stores a row that has seen no key. */
static void store_nothing(const attention_call *a, const attention_task *t)
{
    for (int32_t i = 0; i < t->rows; i++) {
        t->partial[(int64_t)t->rows * a->ld + i] = -INFINITY;
        t->partial[(int64_t)t->rows * (a->ld + 1) + i] = 0;
    }
}

static void run_task(void *arg, int64_t piece, int thread)
{
    const attention_call *a = arg;
    const attention_task *t = &a->cpu->tasks[piece];
    attention_block b = {
        .rows = t->rows,
        .head_dim = a->shape->head_dim,
        .ld = a->ld,
        .first_row = t->first_row,
        .group = a->group,
        .kv_type = a->shape->kv_type,
    };
    bool loaded = false;
    int64_t base = t->place.before;

    block_lay_out(&b, (float *)(void *)(a->cpu->scratch + (size_t)thread * a->cpu->scratch_stride));
    for (int32_t i = t->place.segment; i < t->item->n_segments && base < t->to; i++) {
        const kv_segment *s = &t->item->segments[i];
        int64_t n = segment_ranges(t->item, i);
        int64_t from = t->from > base ? t->from - base : 0, to = t->to - base < n ? t->to - base : n;
        key_range range;
        for (int64_t j = from; j < to && range_of(a, t, s, j, &range); j++) {
            if (!loaded) {
                block_load(a, t, &b);
                loaded = true;
            }
            a->cpu->attend_keys(&b, &range);
        }
        base += n;
    }
    if (loaded) {
        block_store(a, t, &b);
    } else if (t->partial) {
        store_nothing(a, t);
    }
}

/* Merges the partial results of one KV head into the carry, in the order of the tasks, which is that of the keys. */
static void merge_head(void *arg, int64_t kv_head, int thread)
{
    const attention_call *a = arg;

    (void)thread;
    for (int64_t i = 0; i < a->n_tasks; i++) {
        const attention_task *t = &a->cpu->tasks[i];
        if (t->kv_head != kv_head || !t->partial) {
            continue;
        }
        const float *m = t->partial + (int64_t)t->rows * a->ld, *l = m + t->rows;
        for (int32_t j = 0; j < t->rows; j++) {
            int64_t at = head_row(a, t, j);
            a->cpu->rows->merge(a->c->o + at * a->shape->head_dim, &a->c->m[at], &a->c->l[at], t->partial + (int64_t)j * a->ld,
                                m[j], l[j], a->shape->head_dim);
        }
    }
}

static void run_pieces(attention_call *a, int64_t n, int64_t work, pool_fn fn)
{
    if (work > WORK_ALONE) {
        pool_run(a->cpu->pool, n, fn, a);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        fn(a, i, 0);
    }
}

/* Runs the tasks noted so far and merges their partial results. */
static void flush(attention_call *a)
{
    run_pieces(a, a->n_tasks, a->work, run_task);
    if (a->partials_used) {
        run_pieces(a, a->shape->n_kv_heads, a->partials_used, merge_head);
    }
    a->n_tasks = a->partials_used = a->work = 0;
}

/* --- which tasks --- */

static void add_task(attention_call *a, attention_task t, bool split)
{
    int64_t floats = split ? divide_up(t.rows * ((int64_t)a->ld + 2), ALIGN_ROW) * ALIGN_ROW : 0;

    if (a->n_tasks == TASKS_MAX || a->partials_used + floats > PARTIALS_FLOATS) {
        flush(a);
    }
    t.partial = split ? a->cpu->partials + a->partials_used : NULL;
    a->cpu->tasks[a->n_tasks++] = t;
    a->partials_used += floats;
    a->work += t.rows * (t.to - t.from) * KEY_RANGE * 2 * a->ld;
}

/* Rows of an item's tasks: equal up to a grain. */
static int32_t task_rows(const attention_call *a, const attention_item *item)
{
    int64_t stack = (int64_t)item->count * a->group;

    return (int32_t)divide_up(divide_up(stack, divide_up(stack, ROWS_MAX)), ROW_GRAIN) * ROW_GRAIN;
}

/* Tasks of all rows of an item over ranges [from, to), the last rows first: under a causal mask they are the longest. */
static void add_tasks(attention_call *a, const attention_item *item, int64_t from, int64_t to, range_place place, bool split)
{
    int32_t stack = item->count * a->group, step = task_rows(a, item);

    for (int32_t first = (stack - 1) / step * step; first >= 0; first -= step) {
        int32_t rows = stack - first < step ? stack - first : step;
        for (int32_t g = 0; g < a->shape->n_kv_heads; g++) {
            add_task(a, (attention_task){.item = item, .kv_head = g, .first_row = first, .rows = rows, .from = from, .to = to,
                                         .place = place},
                     split);
        }
    }
}

/* Few queries, or few tasks: the keys are split among tasks. */
static bool item_is_split(const attention_call *a, const attention_item *item)
{
    int64_t stack = (int64_t)item->count * a->group;

    return item->count <= FEW_QUERIES || divide_up(stack, ROWS_MAX) * a->shape->n_kv_heads < FEW_TASKS;
}

static void add_split_item(attention_call *a, const attention_item *item, int64_t ranges)
{
    int32_t rows = task_rows(a, item);
    int64_t step = rows < SPLIT_ROWS ? SPLIT_RANGES : SPLIT_RANGES * rows / SPLIT_ROWS;
    range_place place = {0};

    for (int64_t at = 0; at < ranges; at += step) {
        place = find_range(item, place, at);
        add_tasks(a, item, at, at + step < ranges ? at + step : ranges, place, ranges > step);
    }
}

/* Of items that are not split, a span of ranges at a time into their carries, all items together. */
static void walk_spans(attention_call *a, item_walk walks[], int n)
{
    int64_t span = SPAN_ELEMENTS / a->ld / KEY_RANGE, longest = 0;

    for (int i = 0; i < n; i++) {
        longest = walks[i].ranges > longest ? walks[i].ranges : longest;
    }
    for (int64_t at = 0; at < longest; at += span) {
        for (int i = 0; i < n; i++) {
            item_walk *w = &walks[i];
            if (at < w->ranges) {
                w->place = find_range(w->item, w->place, at);
                add_tasks(a, w->item, at, at + span < w->ranges ? at + span : w->ranges, w->place, false);
            }
        }
        flush(a);
    }
}

/* Accumulates all items into their carries. */
static void attend_items(device *dev, const attention_shape *s, const void *q, int64_t ldq, const attention_item items[],
                         int n_items, const carry *c)
{
    attention_call a = {
        .cpu = (cpu_device *)dev,
        .shape = s,
        .q = q,
        .ldq = ldq,
        .c = c,
        .group = s->n_heads / s->n_kv_heads,
        .ld = (int32_t)divide_up(s->head_dim, ALIGN_ROW) * ALIGN_ROW,
    };
    item_walk walks[WALKS];
    int n = 0;

    for (int i = 0; i < n_items; i++) {
        if (items[i].count > 0 && item_is_split(&a, &items[i])) {
            add_split_item(&a, &items[i], item_ranges(&items[i]));
        }
    }
    flush(&a);
    for (int i = 0; i < n_items; i++) {
        if (items[i].count > 0 && !item_is_split(&a, &items[i])) {
            walks[n++] = (item_walk){&items[i], item_ranges(&items[i]), {0, 0}};
        }
        if (n == WALKS || (n && i == n_items - 1)) {
            walk_spans(&a, walks, n);
            n = 0;
        }
    }
}

void cpu_attention(device *dev, const attention_shape *s, const void *q, int64_t ldq, const attention_item items[], int n_items,
                   const carry *c, const attention_ends *ends)
{
    int64_t row, count;

    for (int i = 0; ends->is_first && attention_stretch(items, n_items, &i, &row, &count);) {
        carry rows = carry_from(c, s, row);
        cpu_carry_clear(dev, &rows, s, count);
    }
    attend_items(dev, s, q, ldq, items, n_items, c);
    for (int i = 0; ends->out && attention_stretch(items, n_items, &i, &row, &count);) {
        carry rows = carry_from(c, s, row);
        cpu_carry_finish(dev, &rows, s, count, act_at(dev, ends->out, row * ends->ldo), ends->ldo);
    }
}
