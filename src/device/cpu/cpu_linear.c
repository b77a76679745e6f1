/* Linear layers on a pool of threads: the choice of kernel, and the division of the work into pieces.
   Rests on linear_kernels.h (the kernels of an instruction set) and base/threads.h. See cpu_linear.h.

   Few rows of x (decode): reading the weights once, from memory or the last-level cache, is the cost. A piece is some rows
   of weights with all rows of x.

   Many rows (prefill): multiply-adds are the cost. A piece is a panel (strips of rows of weights) with a range of rows of x.
   Span by span of columns the panel is unpacked to fp32 in scratch that stays in L2, then multiplied by tile after tile of
   x, copied to L1.

   The order of sums of an element of y depends on the type, the columns and the number of rows of x only (prefill: within a
   span column by column, then span by span); so the division into pieces, and the number of threads, do not change bits. */
#include "device/cpu/cpu_linear.h"

#include "device/cpu/cpu_device.h"
#include "device/cpu/elementwise.h"
#include "device/cpu/linear_kernels.h"

#include <string.h>

/* Strips of a panel: with 32 rows each 128 KB of fp32, which fit an L2 of 512 KB to 2 MB beside x and y. */
enum { PANEL_STRIPS = 4 };

/* Scratch of a thread: the panel, 16 or 32 rows before interleaving, and the tile of x. */
enum {
    PANEL_FLOATS = PANEL_STRIPS * STRIP_MAX * SPAN,
    ROWS_FLOATS = STRIP_MAX * SPAN,
    TILE_FLOATS = TILE_MAX * TILE_STRIDE,
};

/* A piece of decode: bytes of weights, about 6 us of one core. Each piece starts a new memory stream: with pieces of 32 KB
   decode of F32 and Q8_0 lost a fifth of its rate. A larger piece means a longer wait for a late thread. */
enum { DOT_PIECE_BYTES = 128 * 1024 };
/* Pieces begin at multiples of this many rows of a job: kernels process up to four rows at once. */
enum { DOT_ROWS = 4 };

typedef struct linear_call {
    const cpu_device *dev;
    const linear_kernels *kernels;
    const float *x;
    int64_t ldx, n;
    const linear_job *jobs;
    int n_jobs;
    prepare_fn *prepare; /* NULL: kernels read x unprepared */
    uint64_t number;     /* of this call */
    int64_t pieces;
    int64_t work;         /* in all: bytes of weights (decode) or strips (prefill) */
    int64_t panel_strips; /* prefill: strips of a piece */
    int64_t x_rows;       /* prefill: rows of x of a piece */
    int64_t x_pieces;     /* prefill: pieces of a panel */
} linear_call;

static int64_t divide_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static int64_t min_of(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

size_t cpu_linear_scratch(void)
{
    size_t panels = sizeof(float) * (PANEL_FLOATS + ROWS_FLOATS + TILE_FLOATS);

    return panels > sizeof(prepared_row) ? panels : sizeof(prepared_row);
}

const linear_kernels *linear_kernels_of(cpu_isa isa)
{
#ifdef LARIAT_X86_SIMD
    if (isa == CPU_AVX512) {
        return &linear_avx512;
    }
    if (isa == CPU_AVX2) {
        return &linear_avx2;
    }
#endif
    (void)isa;
    return &linear_scalar;
}

/* Permutes the pieces, which are claimed in order: consecutive claims are far apart in memory, and a thread's next piece
   likely continues its last one. It reads on in a prefetched stream (decode of Q4_1: 8 % faster), and threads do not write
   to neighbouring lines of y. */
static int64_t spread(const linear_call *c, int64_t piece)
{
    int64_t threads = pool_threads(c->dev->pool), each = c->pieces / threads, rest = c->pieces % threads;
    int64_t part = piece % threads;

    return part * each + min_of(part, rest) + piece / threads;
}

static const unsigned char *matrix_row(const matrix *w, int64_t row)
{
    return (const unsigned char *)w->data + (size_t)row * w->row_bytes;
}

/* --- few rows of x --- */

/* The row of a job that contains `byte` of its weights, rounded down to a multiple of DOT_ROWS. */
static int64_t row_at(const linear_job *job, int64_t byte)
{
    int64_t row_bytes = (int64_t)job->w->row_bytes;

    if (byte <= 0) {
        return 0;
    }
    return byte >= job->rows * row_bytes ? job->rows : byte / row_bytes / DOT_ROWS * DOT_ROWS;
}

/* x prepared for the kernels, in the thread's own scratch. Preparing it once for all threads would be slower: each cache
   line would move between cores for reading, and back for the next call's writing. */
static const prepared_row *prepared_by(const linear_call *c, int thread)
{
    prepared_row *row = (prepared_row *)(void *)(c->dev->scratch + (size_t)thread * c->dev->scratch_stride);
    thread_note *note = &c->dev->notes[thread];

    if (!c->prepare) {
        return NULL;
    }
    if (note->prepared != c->number) {
        c->prepare(c->x, c->jobs[0].w->cols, row);
        note->prepared = c->number;
    }
    return row;
}

static void dot_piece(void *arg, int64_t piece, int thread)
{
    const linear_call *c = arg;
    piece = spread(c, piece);
    int64_t from = c->work * piece / c->pieces, to = c->work * (piece + 1) / c->pieces;

    const prepared_row *prepared = prepared_by(c, thread);
    for (int j = 0; j < c->n_jobs; j++) {
        const linear_job *job = &c->jobs[j];
        int64_t first = row_at(job, from), end = row_at(job, to);
        if (first < end) {
            dot_task task = {
                .type = job->w->type,
                .w = matrix_row(job->w, job->row0 + first),
                .row_bytes = job->w->row_bytes,
                .rows = end - first,
                .cols = job->w->cols,
                .x = c->x,
                .ldx = c->ldx,
                .n = c->n,
                .prepared = prepared,
                .bias = job->bias ? job->bias + job->row0 + first : NULL,
                .y = (float *)job->y + first,
                .ldy = job->ldy,
                .add = job->add,
            };
            c->kernels->dot[job->w->type](&task);
        }
        from -= job->rows * (int64_t)job->w->row_bytes;
        to -= job->rows * (int64_t)job->w->row_bytes;
    }
}

/* Jobs whose matrices have one type, for which x is prepared. */
static void linear_few(linear_call *c, int threads)
{
    dtype type = c->jobs[0].w->type;

    c->work = 0;
    for (int j = 0; j < c->n_jobs; j++) {
        c->work += c->jobs[j].rows * (int64_t)c->jobs[j].w->row_bytes;
    }
    c->prepare = c->n == 1 && c->jobs[0].w->cols <= PREPARED_COLS ? c->kernels->prepare[type] : NULL;
    /* A multiple of the threads, so that equally fast threads end together. */
    c->pieces = threads * divide_up(c->work, (int64_t)threads * DOT_PIECE_BYTES);
    c->pieces = min_of(c->pieces, divide_up(c->work, DOT_PIECE_BYTES / 4));
    pool_run(c->dev->pool, c->pieces, dot_piece, c);
}

/* --- many rows of x --- */

/* Unpacks one span of `rows` rows of weights and interleaves them into strips. */
static void fill_panel(const linear_call *c, const matrix *w, int64_t row, int64_t rows, int64_t col, int64_t depth,
                       float *panel, float *expanded)
{
    int lanes = c->kernels->strip;
    unpack_fn *unpack = c->kernels->unpack[w->type];
    size_t offset = dtype_row_bytes(w->type, col);

    for (int64_t r = 0; r < rows; r += lanes, panel += lanes * SPAN) {
        int64_t here = min_of(lanes, rows - r);
        for (int64_t i = 0; i < here; i++) {
            unpack(matrix_row(w, row + r + i) + offset, depth, expanded + i * SPAN);
        }
        if (here < lanes) {
            memset(expanded + here * SPAN, 0, (size_t)((lanes - here) * SPAN) * sizeof *expanded);
        }
        c->kernels->interleave(expanded, depth, panel);
    }
}

/* Rows [row, row + rows) of a job (a panel) for rows [t0, t1) of x. */
static void multiply_panel(const linear_call *c, const linear_job *job, int64_t row, int64_t rows, int64_t t0, int64_t t1,
                           float *scratch)
{
    float *panel = scratch, *expanded = panel + PANEL_FLOATS, *tile = expanded + ROWS_FLOATS;
    int64_t lanes = c->kernels->strip, n = t1 - t0;
    int64_t tiles = divide_up(n, c->kernels->tile);
    int64_t cols = job->w->cols;

    for (int64_t col = 0; col < cols; col += SPAN) {
        int64_t depth = min_of(SPAN, cols - col);
        fill_panel(c, job->w, job->row0 + row, rows, col, depth, panel, expanded);
        for (int64_t i = 0; i < tiles; i++) {
            int64_t t = t0 + n * i / tiles, t_end = t0 + n * (i + 1) / tiles; /* tiles of equal height */
            for (int64_t k = t; k < t_end; k++) {
                memcpy(tile + (k - t) * TILE_STRIDE, c->x + k * c->ldx + col, (size_t)depth * sizeof *tile);
            }
            for (int64_t r = 0; r < rows; r += lanes) {
                tile_task task = {
                    .x = tile,
                    .strip = panel + r * SPAN,
                    .depth = depth,
                    .x_rows = (int)(t_end - t),
                    .w_rows = (int)min_of(lanes, rows - r),
                    .bias = job->bias && col == 0 ? job->bias + job->row0 + row + r : NULL,
                    .y = (float *)job->y + t * job->ldy + row + r,
                    .ldy = job->ldy,
                    .add = job->add || col > 0,
                };
                c->kernels->multiply(&task);
            }
        }
    }
}

static void panel_piece(void *arg, int64_t piece, int thread)
{
    const linear_call *c = arg;
    piece = spread(c, piece);
    int64_t lanes = c->kernels->strip;
    int64_t t0 = piece % c->x_pieces * c->x_rows;
    int64_t panel = piece / c->x_pieces;

    for (int j = 0; j < c->n_jobs; j++) {
        const linear_job *job = &c->jobs[j];
        int64_t panels = divide_up(job->rows, c->panel_strips * lanes);
        if (panel < panels) {
            int64_t row = panel * c->panel_strips * lanes;
            multiply_panel(c, job, row, min_of(c->panel_strips * lanes, job->rows - row), t0, min_of(t0 + c->x_rows, c->n),
                           (float *)(void *)(c->dev->scratch + (size_t)thread * c->dev->scratch_stride));
            return;
        }
        panel -= panels;
    }
}

static int64_t panels_of(const linear_call *c, int64_t strips)
{
    int64_t panels = 0;

    for (int j = 0; j < c->n_jobs; j++) {
        panels += divide_up(c->jobs[j].rows, strips * c->kernels->strip);
    }
    return panels;
}

/* Chooses the pieces that minimise the load of the busiest thread. The cost of a piece, in units of one strip times one row
   of x: the products; unpacking a strip, about EXPAND rows; copying a row of x, about a COPY-th of a strip's products.
   Pieces are at most a thread's share; at equal cost more pieces are better, since a late thread delays less. */
static void choose_pieces(linear_call *c, int threads)
{
    enum { EXPAND = 8, COPY = 16, X_ROWS_MIN = 64 };
    double best = 0;

    for (int64_t strips = 1; strips <= PANEL_STRIPS; strips++) {
        int64_t panels = panels_of(c, strips);
        for (int64_t parts = 1; parts <= divide_up(c->n, X_ROWS_MIN) && (parts == 1 || panels * (parts - 1) < 4 * threads);
             parts++) {
            int64_t x_rows = divide_up(c->n, parts);
            double turns = (double)divide_up(panels * parts, threads);
            double cost = turns * ((double)(strips * (x_rows + EXPAND)) + (double)x_rows / (double)COPY);
            if (best == 0 || cost < best) {
                best = cost;
                c->panel_strips = strips;
                c->x_rows = x_rows;
                c->x_pieces = divide_up(c->n, x_rows);
                c->pieces = panels * c->x_pieces;
            }
        }
    }
}

void cpu_linear(device *dev, const void *x, int64_t ldx, int64_t n, const linear_job jobs[], int n_jobs)
{
    cpu_device *cpu = (cpu_device *)(void *)dev;
    linear_call c = {
        .dev = cpu, .kernels = linear_kernels_of(cpu->isa), .x = x, .ldx = ldx, .n = n, .jobs = jobs, .n_jobs = n_jobs};
    int threads = pool_threads(cpu->pool);

    if (n <= 0 || n_jobs == 0) { /* a rank without tokens, or without a slice */
        return;
    }
    if (n <= DOT_MAX) {
        for (int j = 0; j < n_jobs; j += c.n_jobs) {
            c.jobs = jobs + j;
            c.n_jobs = 1;
            while (j + c.n_jobs < n_jobs && c.jobs[c.n_jobs].w->type == c.jobs[0].w->type) {
                c.n_jobs++;
            }
            c.number = ++cpu->linear_calls;
            linear_few(&c, threads);
        }
    } else {
        choose_pieces(&c, threads);
        pool_run(cpu->pool, c.pieces, panel_piece, &c);
    }
}

/* --- the embedding table --- */

void cpu_embed(device *dev, float *x, const matrix *table, const int32_t *tokens, const int32_t *chosen, int64_t n,
               float scale)
{
    const cpu_device *cpu = (const cpu_device *)(const void *)dev;
    unpack_fn *unpack = linear_kernels_of(cpu->isa)->unpack[table->type];

    for (int64_t t = 0; t < n; t++) {
        int32_t id = tokens[t] < 0 ? chosen[-1 - tokens[t]] : tokens[t];
        const unsigned char *row = matrix_row(table, id < 0 ? 0 : id);
        for (int64_t c = 0; c < table->cols; c += SPAN) {
            unpack(row + dtype_row_bytes(table->type, c), min_of(SPAN, table->cols - c), x + t * table->cols + c);
        }
        if (scale != 1) {
            cpu->rows->scale(x + t * table->cols, x + t * table->cols, scale, table->cols);
        }
    }
}
