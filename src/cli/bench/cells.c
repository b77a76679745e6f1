/* Combining lists of values into cells.
   Rests on options.h. See cells.h. */
#include "cli/bench/cells.h"
#include "cli/message.h"
#include "lariat/launch.h"

#include <stdlib.h>

/* The axes, the outermost loop first. */
enum { DEVICE, KV, CHUNK, RANKS, BATCH, DEPTH, PROMPT, REPLY, AXES };

typedef struct axes {
    count_list lists[AXES];
} axes;

/* An axis that was not given has one value, 0: the library's default. */
static count_list or_one(const count_list *list)
{
    return list->n ? *list : (count_list){.n = 1};
}

static axes axes_of(const options *o)
{
    axes a;
    a.lists[DEVICE] = or_one(&o->devices);
    a.lists[KV] = or_one(&o->kvs);
    a.lists[CHUNK] = or_one(o->blocks.n ? &o->blocks : &o->chunks);
    a.lists[RANKS] = o->ring_sizes;
    a.lists[BATCH] = o->batches;
    a.lists[DEPTH] = o->depths;
    a.lists[PROMPT] = o->prompt_lengths;
    a.lists[REPLY] = o->reply_lengths;
    return a;
}

/* Number of cells; -1: too many. */
static int count_cells(const axes *a)
{
    enum { MOST = 1 << 16 };
    int64_t count = 1;
    for (int i = 0; i < AXES; i++) {
        count *= a->lists[i].n;
        if (count > MOST) {
            return -1;
        }
    }
    return (int)count;
}

static cell cell_at(const options *o, const axes *a, const int at[AXES])
{
    int64_t value[AXES];
    for (int i = 0; i < AXES; i++) {
        value[i] = a->lists[i].values[at[i]];
    }
    bool blocks = o->blocks.n > 0;
    return (cell){.device = (int)value[DEVICE],
                  .kv = (int)value[KV],
                  .ranks = value[RANKS],
                  .threads = o->rank_threads ? o->rank_threads * value[RANKS] : o->threads,
                  .chunk = blocks ? value[CHUNK] * value[RANKS] : value[CHUNK],
                  .block = blocks ? value[CHUNK] : 0,
                  .depth = value[DEPTH],
                  .batch = value[BATCH],
                  .n_prompt = value[PROMPT],
                  .n_gen = value[REPLY],
                  .cached = !o->no_cache};
}

/* Moves to the next combination, the last axis first; false after the last one. */
static bool step(const axes *a, int at[AXES])
{
    for (int i = AXES - 1; i >= 0; i--) {
        if (++at[i] < a->lists[i].n) {
            return true;
        }
        at[i] = 0;
    }
    return false;
}

static void add_all(const options *o, const axes *a, cell_list *out)
{
    int at[AXES] = {0};
    do {
        out->cells[out->n++] = cell_at(o, a, at);
    } while (step(a, at));
}

/* Axes of the rings of one: regular attention has no blocks. */
static axes regular_axes(const options *o, const axes *all)
{
    axes a = *all;
    a.lists[RANKS] = (count_list){.n = 1, .values = {1}};
    if (o->blocks.n) {
        a.lists[CHUNK] = (count_list){.n = 1};
    }
    return a;
}

/* Axes of the rings; --compare adds the rings of one separately. */
static axes ring_axes(const options *o, const axes *all)
{
    axes a = *all;
    a.lists[RANKS].n = 0;
    for (int i = 0; i < o->ring_sizes.n; i++) {
        if (o->ring_sizes.values[i] > 1) {
            a.lists[RANKS].values[a.lists[RANKS].n++] = o->ring_sizes.values[i];
        }
    }
    return a;
}

int cells_list(const options *o, cell_list *out)
{
    axes all = axes_of(o), regular = regular_axes(o, &all);
    options no_blocks = *o;
    *out = (cell_list){0};
    no_blocks.blocks.n = 0;
    if (o->compare) {
        all = ring_axes(o, &all);
    }
    int count = count_cells(&all), beside = o->compare ? count_cells(&regular) : 0;
    if (count < 0 || beside < 0) {
        return complain_usage("lariat bench: the lists have more combinations than can be measured, give shorter ones");
    }
    out->cells = calloc((size_t)(count + beside), sizeof *out->cells);
    if (!out->cells) {
        return complain_memory("bench");
    }
    if (o->compare) {
        add_all(&no_blocks, &regular, out);
    }
    add_all(o, &all, out);
    return 0;
}

void cells_free(cell_list *list)
{
    free(list->cells);
    *list = (cell_list){0};
}

options cell_options(const options *o, const cell *c)
{
    options one = *o;
    one.device = c->device;
    one.kv = c->kv;
    one.ranks = c->ranks;
    one.threads = c->threads;
    one.chunk = c->chunk;
    if (o->processes && c->ranks == 1) { /* of --compare: process 0 alone, with the threads of all */
        one.processes = NULL;
        one.threads *= lariat_processes_count(o->processes);
    }
    return one;
}

int64_t cell_context(const cell *c)
{
    return c->batch * (c->depth + c->n_prompt + c->n_gen);
}

bool cell_same_series(const cell *a, const cell *b)
{
    return a->device == b->device && a->kv == b->kv && a->ranks == b->ranks && a->threads == b->threads &&
           a->chunk == b->chunk && a->block == b->block && a->depth == b->depth && a->batch == b->batch &&
           a->n_gen == b->n_gen && a->cached == b->cached;
}

bool cell_is_regular_of(const cell *c, const cell *ring)
{
    return c->ranks == 1 && c->device == ring->device && c->kv == ring->kv && (ring->block || c->chunk == ring->chunk) &&
           c->depth == ring->depth && c->batch == ring->batch && c->n_prompt == ring->n_prompt && c->n_gen == ring->n_gen;
}
