/* Every operation of the CUDA device but attention against the scalar definition on the CPU: odd shapes, rows that stand apart,
   outputs poisoned with NaN, in every type of a run.
   Rests on card.h. Bounds: fp32's last places for the arithmetic, and one rounding to the type of the result.
   An argument is a pattern of tests to leave out. */
#include "cuda/card.h"

static const int64_t widths[] = {1, 2, 7, 8, 31, 33, 64, 100, 576, 1028, 4096};
static const int64_t heights[] = {1, 3, 17, 70};
enum { WIDTHS = sizeof widths / sizeof *widths, HEIGHTS = sizeof heights / sizeof *heights };

static const double LAST_PLACES = 5e-7; /* four of them, of a value near 1 */
static float *const no_scales[2];

/* --- embed, norms --- */

static void check_embed(device *dev)
{
    for (int i = 0; i < WIDTHS; i++) {
        int64_t d = widths[i], vocab = 37, n = i == 3 ? 2500 : 19;
        buffer table = random_buffer(dev, dev->act, vocab * d, 1), x = poisoned_buffer(dev, DTYPE_F32, n * d);
        int32_t *tokens = malloc((size_t)n * sizeof *tokens);
        matrix w = {.type = dev->act, .rows = vocab, .cols = d, .data = table.data, .row_bytes = (size_t)d * size_of(dev->act)};

        assert_non_null(tokens);
        static const int32_t chosen[] = {5, 36, -1};
        for (int64_t t = 0; t < n; t++) { /* every fifth is one that the card has chosen, or could not choose */
            int32_t id = (int32_t)(random_bits() % (uint32_t)vocab), place = id % 3;
            tokens[t] = t % 5 ? id : -1 - place;
            id = t % 5 ? id : place == 2 ? 0 : chosen[place];
            memcpy(x.host + t * d, table.host + id * d, (size_t)d * sizeof(float));
        }
        void *ids = sent(dev, tokens, (size_t)n * sizeof *tokens), *made = sent(dev, chosen, sizeof chosen);
        dev->ops->embed(dev, x.data, &w, ids, made, n, 1);
        free(tokens); /* read by now */
        assert_buffer(&x, 0, NULL, "embed");
        dev->ops->release(dev, ids, (size_t)n * sizeof *tokens);
        dev->ops->release(dev, made, sizeof chosen);
        buffer_free(&x);
        buffer_free(&table);
    }
}

static void embedding_takes_rows_of_the_table(void **state)
{
    (void)state;
    for_every_type(check_embed);
}

static void check_norm(device *dev)
{
    for (int i = 0; i < WIDTHS * HEIGHTS; i++) {
        int64_t d = widths[i % WIDTHS], n = heights[i / WIDTHS];
        buffer x = random_buffer(dev, DTYPE_F32, n * d, 3), w = random_buffer(dev, DTYPE_F32, d, 1);
        buffer out = poisoned_buffer(dev, dev->act, n * d);

        cpu->ops->rms_norm(cpu, out.host, x.host, w.host, 1e-5f, n, d);
        dev->ops->rms_norm(dev, out.data, x.data, w.data, 1e-5f, n, d);
        assert_buffer(&out, 2 * LAST_PLACES, NULL, "rms_norm");
        buffer_free(&x);
        buffer_free(&w);
        buffer_free(&out);
    }
}

static void norms_agree(void **state)
{
    (void)state;
    for_every_type(check_norm);
}

/* --- linear --- */

/* Three matrices on the same x, one of them a slice, with bias, added or of another type: as one call. */
typedef struct linear_case {
    int64_t rows, cols, n;
} linear_case;

static const linear_case linear_cases[] = {
    {1, 8, 1}, {16, 32, 1}, {5, 100, 2}, {40, 576, 8}, {33, 4096, 1}, {100, 136, 9}, {64, 1000, 16}, {24, 33, 3}, {64, 256, 17},
    {7, 576, 40}, {130, 72, 33}, {96, 1536, 64}, {65, 129, 65}, {256, 64, 70}, {512, 768, 130}, {48, 7, 20}, {300, 2048, 33},
};
enum { LINEAR_CASES = sizeof linear_cases / sizeof *linear_cases };

/* sum |w| |x| + |bias| + |y|: what an fp32 sum's error is measured by. */
static void sizes_of(const linear_job *job, const float *x, int64_t ldx, int64_t n, float *sizes, const float *old)
{
    const float *w = job->w->data;

    for (int64_t t = 0; t < n; t++) {
        for (int64_t r = 0; r < job->rows; r++) {
            double sum = job->bias ? fabs((double)job->bias[job->row0 + r]) : 0;
            for (int64_t c = 0; c < job->w->cols; c++) {
                sum += fabs((double)w[(job->row0 + r) * job->w->cols + c] * (double)x[t * ldx + c]);
            }
            sizes[t * job->ldy + r] = (float)(sum + (job->add ? fabs((double)old[t * job->ldy + r]) : 0));
        }
    }
}

enum { JOBS = 3 };

typedef struct linear_trial {
    buffer w[JOBS], bias[JOBS], y[JOBS];
    float *sizes[JOBS];
    matrix on_card[JOBS], on_cpu[JOBS];
    linear_job card_jobs[JOBS], cpu_jobs[JOBS];
} linear_trial;

static void make_trial(linear_trial *l, device *dev, const linear_case *c, const buffer *x, int64_t ldx)
{
    for (int j = 0; j < JOBS; j++) {
        int64_t all_rows = c->rows + (j == 1 ? 21 : 0), ldy = c->rows + 3 * j;
        dtype type = j == 0 ? dev->act : DTYPE_F32;
        l->w[j] = random_buffer(dev, dev->act, all_rows * c->cols, 1);
        l->bias[j] = random_buffer(dev, DTYPE_F32, all_rows, 1);
        l->y[j] = j == 2 ? random_buffer(dev, type, c->n * ldy, 1) : poisoned_buffer(dev, type, c->n * ldy);
        l->sizes[j] = calloc((size_t)(c->n * ldy), sizeof(float));
        assert_non_null(l->sizes[j]);
        size_t size = size_of(dev->act);
        l->on_card[j] = (matrix){
            .type = dev->act, .rows = all_rows, .cols = c->cols, .data = l->w[j].data, .row_bytes = (size_t)c->cols * size};
        l->on_cpu[j] = (matrix){
            .type = DTYPE_F32, .rows = all_rows, .cols = c->cols, .data = l->w[j].host, .row_bytes = (size_t)c->cols * 4};
        linear_job job = {.row0 = j == 1 ? 13 : 0, .rows = c->rows, .type = type, .ldy = ldy, .add = j == 2};
        bool biased = j == 1 || (j == 0 && c->rows % 2 == 0);
        l->card_jobs[j] = l->cpu_jobs[j] = job;
        l->card_jobs[j].w = &l->on_card[j];
        l->card_jobs[j].y = l->y[j].data;
        l->card_jobs[j].bias = biased ? l->bias[j].data : NULL;
        l->cpu_jobs[j].w = &l->on_cpu[j];
        l->cpu_jobs[j].y = l->y[j].host;
        l->cpu_jobs[j].type = DTYPE_F32;
        l->cpu_jobs[j].bias = biased ? l->bias[j].host : NULL;
        sizes_of(&l->cpu_jobs[j], x->host, ldx, c->n, l->sizes[j], l->y[j].host);
    }
}

static void free_trial(linear_trial *l)
{
    for (int j = 0; j < JOBS; j++) {
        buffer_free(&l->w[j]);
        buffer_free(&l->bias[j]);
        buffer_free(&l->y[j]);
        free(l->sizes[j]);
    }
}

static void check_linear(device *dev)
{
    for (int i = 0; i < LINEAR_CASES; i++) {
        const linear_case *c = &linear_cases[i];
        int64_t ldx = c->cols + (i % 3) * 8;
        buffer x = random_buffer(dev, dev->act, c->n * ldx, 1);
        linear_trial l;
        char what[64];

        for (int64_t t = 0; t < c->n; t++) { /* between the rows */
            for (int64_t k = c->cols; k < ldx; k++) {
                x.host[t * ldx + k] = NAN;
            }
        }
        buffer_send(&x);
        make_trial(&l, dev, c, &x, ldx);
        cpu->ops->linear(cpu, x.host, ldx, c->n, l.cpu_jobs, JOBS);
        dev->ops->linear(dev, x.data, ldx, c->n, l.card_jobs, JOBS);
        for (int j = 0; j < JOBS; j++) {
            snprintf(what, sizeof what, "linear %d of %lld x %lld on %lld", j, (long long)c->rows, (long long)c->cols,
                     (long long)c->n);
            assert_buffer(&l.y[j], 2 * LAST_PLACES, l.sizes[j], what);
        }
        free_trial(&l);
        buffer_free(&x);
    }
}

static void linear_layers_agree(void **state)
{
    (void)state;
    for_every_type(check_linear);
}

/* A row's sum is the same bits alone, in a slice, beside other jobs, and with other rows of x. */
static void check_slices(device *dev)
{
    int64_t rows = 75, cols = 1000, n = 16;
    buffer w = random_buffer(dev, dev->act, rows * cols, 1), x = random_buffer(dev, dev->act, n * cols, 1);
    buffer whole = poisoned_buffer(dev, DTYPE_F32, n * rows), part = poisoned_buffer(dev, DTYPE_F32, n * rows);
    matrix m = {.type = dev->act, .rows = rows, .cols = cols, .data = w.data, .row_bytes = (size_t)cols * size_of(dev->act)};
    linear_job all = {.w = &m, .rows = rows, .type = DTYPE_F32, .y = whole.data, .ldy = rows}, jobs[12];
    int n_jobs = 0;

    dev->ops->linear(dev, x.data, cols, n, &all, 1);
    for (int64_t row = 0; row < rows; n_jobs++) {
        int64_t few = 1 + n_jobs * 3 < rows - row && n_jobs < 11 ? 1 + n_jobs * 3 : rows - row;
        jobs[n_jobs] =
            (linear_job){.w = &m, .row0 = row, .rows = few, .type = DTYPE_F32, .y = (float *)part.data + row, .ldy = rows};
        row += few;
    }
    dev->ops->linear(dev, x.data, cols, 5, jobs, n_jobs);
    float *a = buffer_get(&whole), *b = buffer_get(&part);
    assert_memory_equal(a, b, (size_t)(5 * rows) * sizeof *a);
    dev->ops->linear(dev, x.data, cols, n, jobs, n_jobs);
    free(b);
    b = buffer_get(&part);
    assert_memory_equal(a, b, (size_t)(n * rows) * sizeof *a);
    free(a);
    free(b);
    buffer_free(&w);
    buffer_free(&x);
    buffer_free(&whole);
    buffer_free(&part);
}

static void rows_of_a_slice_have_the_same_bits(void **state)
{
    (void)state;
    for_every_type(check_slices);
}

static void check_twice(device *dev)
{
    int64_t rows = 512, cols = 2048, n = 200;
    buffer w = random_buffer(dev, dev->act, rows * cols, 1), x = random_buffer(dev, dev->act, n * cols, 1);
    buffer y[2] = {poisoned_buffer(dev, dev->act, n * rows), poisoned_buffer(dev, dev->act, n * rows)};
    matrix m = {.type = dev->act, .rows = rows, .cols = cols, .data = w.data, .row_bytes = (size_t)cols * size_of(dev->act)};
    float *got[2];

    for (int i = 0; i < 2; i++) {
        linear_job job = {.w = &m, .rows = rows, .type = dev->act, .y = y[i].data, .ldy = rows};
        dev->ops->linear(dev, x.data, cols, n, &job, 1);
        got[i] = buffer_get(&y[i]);
    }
    assert_memory_equal(got[0], got[1], (size_t)(n * rows) * sizeof(float));
    for (int i = 0; i < 2; i++) {
        free(got[i]);
        buffer_free(&y[i]);
    }
    buffer_free(&w);
    buffer_free(&x);
}

static void products_have_the_same_bits_twice(void **state)
{
    (void)state;
    for_every_type(check_twice);
}

/* linear_gated against its definition, linear and silu_mul: the same bits. Slices of both matrices, with and without bias. */
static void check_gated(device *dev)
{
    for (int i = 0; i < LINEAR_CASES; i++) {
        const linear_case *c = &linear_cases[i];
        int64_t ldy = c->rows + i % 3 * 4, all_rows = c->rows + 21;
        buffer x = random_buffer(dev, dev->act, c->n * c->cols, 1), w[2], bias[2], y[4];
        matrix m[2];
        linear_job jobs[4];

        for (int j = 0; j < 2; j++) {
            w[j] = random_buffer(dev, dev->act, all_rows * c->cols, 0.3f);
            bias[j] = random_buffer(dev, DTYPE_F32, all_rows, 1);
            m[j] = (matrix){.type = dev->act,
                            .rows = all_rows,
                            .cols = c->cols,
                            .data = w[j].data,
                            .row_bytes = (size_t)c->cols * size_of(dev->act)};
        }
        for (int j = 0; j < 4; j++) {
            y[j] = poisoned_buffer(dev, dev->act, c->n * ldy);
            jobs[j] = (linear_job){.w = &m[j % 2],
                                   .row0 = 7,
                                   .rows = c->rows,
                                   .type = dev->act,
                                   .y = y[j].data,
                                   .ldy = ldy,
                                   .bias = i % 2 ? bias[j % 2].data : NULL};
        }
        dev->ops->linear(dev, x.data, c->cols, c->n, jobs, 2);
        dev->ops->silu_mul(dev, y[0].data, ldy, y[1].data, ldy, c->n, c->rows);
        dev->ops->linear_gated(dev, x.data, c->cols, c->n, &jobs[2], &jobs[3]);
        float *want = buffer_get(&y[0]), *got = buffer_get(&y[2]);
        assert_memory_equal(got, want, (size_t)(c->n * ldy) * sizeof *got);
        free(want);
        free(got);
        for (int j = 0; j < 4; j++) {
            buffer_free(&y[j]);
            if (j < 2) {
                buffer_free(&w[j]);
                buffer_free(&bias[j]);
            }
        }
        buffer_free(&x);
    }
}

static void gated_products_have_the_bits_of_their_two_ops(void **state)
{
    (void)state;
    for_every_type(check_gated);
}

/* --- rope, slots --- */

static void angles_agree(void **state)
{
    enum { N = 1001 };
    static const int64_t halves[] = {1, 8, 64, 128};
    static int64_t positions[N];
    device *dev = cards[0];

    (void)state;
    for (int i = 0; i < N; i++) {
        positions[i] = i < 500 ? i : (int64_t)(random_bits() % 1048576);
    }
    void *places = sent(dev, positions, sizeof positions);
    for (int h = 0; h < 4; h++) {
        int64_t half = halves[h];
        buffer freq = random_buffer(dev, DTYPE_F32, half, 1), cosines = poisoned_buffer(dev, DTYPE_F32, N * half);
        buffer sines = poisoned_buffer(dev, DTYPE_F32, N * half), ones = random_buffer(dev, DTYPE_F32, N * half, 1);

        cpu->ops->rope_angles(cpu, cosines.host, sines.host, positions, N, freq.host, half, 1.25f);
        dev->ops->rope_angles(dev, cosines.data, sines.data, places, N, freq.data, half, 1.25f);
        for (int64_t i = 0; i < N * half; i++) {
            ones.host[i] = 1;
        }
        assert_buffer(&cosines, LAST_PLACES, ones.host, "cos");
        assert_buffer(&sines, LAST_PLACES, ones.host, "sin");
        buffer_free(&freq);
        buffer_free(&cosines);
        buffer_free(&sines);
        buffer_free(&ones);
    }
    dev->ops->release(dev, places, sizeof positions);
}

static void check_rope(device *dev)
{
    static const int32_t dims[] = {2, 16, 48, 64, 128, 256};

    for (int i = 0; i < 12; i++) {
        int32_t head_dim = dims[i / 2], heads = 1 + i % 5;
        int64_t n = 1 + i * 7, ldx = heads * head_dim + i;
        rope_style style = i % 2 ? ROPE_PAIRS : ROPE_HALVES;
        buffer x = random_buffer(dev, dev->act, n * ldx, 2), sizes = random_buffer(dev, DTYPE_F32, n * ldx, 1);
        buffer c = random_buffer(dev, DTYPE_F32, n * head_dim / 2, 1), s = random_buffer(dev, DTYPE_F32, n * head_dim / 2, 1);

        for (int64_t k = 0; k < n * ldx; k++) {
            sizes.host[k] = 4;
        }
        rotation rows = {.x = x.host, .ld = ldx, .heads = heads, .dims = head_dim, .cos = c.host, .sin = s.host,
                         .style = style};
        cpu->ops->rope(cpu, &rows, n, head_dim);
        rows.x = x.data;
        rows.cos = c.data;
        rows.sin = s.data;
        dev->ops->rope(dev, &rows, n, head_dim);
        assert_buffer(&x, LAST_PLACES, sizes.host, "rope");
        buffer_free(&x);
        buffer_free(&sizes);
        buffer_free(&c);
        buffer_free(&s);
    }
}

/* A norm of heads or whole sides, or a rotation of a part of each head. */
static void check_heads(device *dev)
{
    enum { QUERIES = 5, KEYS = 2, HEADS = QUERIES + KEYS, D = 48, N = 9, LD = HEADS * D + 4 };

    for (int i = 0; i < 4; i++) {
        int32_t dims = i % 2 ? 18 : 36;
        bool norm = i < 2, whole = i == 1;
        buffer x = random_buffer(dev, dev->act, N * LD, 2), sizes = random_buffer(dev, DTYPE_F32, N * LD, 1);
        buffer c = random_buffer(dev, DTYPE_F32, N * dims / 2, 1), s = random_buffer(dev, DTYPE_F32, N * dims / 2, 1);
        buffer w = random_buffer(dev, DTYPE_F32, HEADS * D, 1);
        rotation host = {.x = x.host, .ld = LD, .heads = HEADS, .kv_heads = KEYS, .dims = dims, .cos = norm ? NULL : c.host,
                         .sin = s.host, .style = i % 2 ? ROPE_PAIRS : ROPE_HALVES, .q_norm = norm ? w.host : NULL,
                         .k_norm = norm ? w.host + QUERIES * D : NULL, .eps = 1e-5f, .whole = whole};
        rotation card = host;
        card.x = x.data;
        card.cos = norm ? NULL : c.data;
        card.sin = s.data;
        card.q_norm = norm ? w.data : NULL;
        card.k_norm = norm ? (const float *)w.data + QUERIES * D : NULL;
        for (int64_t k = 0; k < N * LD; k++) {
            sizes.host[k] = 4;
        }
        cpu->ops->rope(cpu, &host, N, D);
        dev->ops->rope(dev, &card, N, D);
        assert_buffer(&x, LAST_PLACES, sizes.host, "rope of heads");
        buffer_free(&x);
        buffer_free(&sizes);
        buffer_free(&c);
        buffer_free(&s);
        buffer_free(&w);
    }
}

static void norms_of_heads_and_partial_rotations_agree(void **state)
{
    (void)state;
    for_every_type(check_heads);
}

static void check_norm_add(device *dev)
{
    for (int i = 0; i < WIDTHS * HEIGHTS; i++) {
        int64_t d = widths[i % WIDTHS], n = heights[i / WIDTHS];
        buffer x = random_buffer(dev, DTYPE_F32, n * d, 2), y = random_buffer(dev, dev->act, n * d, 2);
        buffer w = random_buffer(dev, DTYPE_F32, d, 1), out = random_buffer(dev, dev->act, n * d, 1);
        buffer sizes = random_buffer(dev, DTYPE_F32, n * d, 1);

        for (int64_t k = 0; k < n * d; k++) {
            sizes.host[k] = 8;
            out.host[k] = rounded(dev->act, x.host[k]);
        }
        dev->ops->narrow(dev, out.data, x.data, n * d);
        cpu->ops->rms_norm_add(cpu, x.host, y.host, w.host, 1e-5f, n, d);
        dev->ops->rms_norm_add(dev, x.data, y.data, w.data, 1e-5f, n, d);
        assert_buffer(&x, LAST_PLACES, sizes.host, "rms_norm_add");
        assert_buffer(&out, LAST_PLACES, NULL, "narrow");
        buffer_free(&x);
        buffer_free(&y);
        buffer_free(&w);
        buffer_free(&out);
        buffer_free(&sizes);
    }
}

static void norms_that_are_added_agree(void **state)
{
    (void)state;
    for_every_type(check_norm_add);
}

static void rotations_agree(void **state)
{
    (void)state;
    for_every_type(check_rope);
}

/* Slots around the ones that are stored keep their NaN. */
static void check_kv_store(device *dev)
{
    static const int32_t dims[] = {1, 6, 16, 64, 128};

    for (int i = 0; i < 10; i++) {
        int32_t head_dim = dims[i / 2], heads = 1 + i % 3;
        int64_t n = 1 + i * 9, ldx = heads * head_dim + i % 4 * 4, slot = i, stride = n + i + 5, skipped = i % (n + 1),
                slots[1 + 9 * 9];
        dtype type = dev->act == DTYPE_F32 ? act_types[i % ACTS] : dev->act;
        buffer x = random_buffer(dev, dev->act, n * ldx, 1), cache = poisoned_buffer(dev, type, heads * stride * head_dim);

        for (int64_t t = 0; t < n; t++) {
            slots[t] = t == skipped ? -1 : slot + n - 1 - t; /* in any order */
            for (int64_t e = 0; e < heads * head_dim && t != skipped; e++) {
                int64_t at = (e / head_dim * stride + slots[t]) * head_dim + e % head_dim;
                cache.host[at] = rounded(type, x.host[t * ldx + e]);
            }
        }
        void *on_card = sent(dev, slots, (size_t)n * sizeof *slots);
        dev->ops->kv_store(dev, cache.data, NULL, type, stride, on_card, x.data, ldx, n, heads, head_dim);
        float *got = buffer_get(&cache);
        for (int64_t k = 0; k < cache.n; k++) {
            assert_true(got[k] == cache.host[k] || (isnan(got[k]) && isnan(cache.host[k])));
        }
        free(got);
        dev->ops->release(dev, on_card, (size_t)n * sizeof *slots);
        buffer_free(&x);
        buffer_free(&cache);
    }
}

static void slots_hold_what_was_stored(void **state)
{
    (void)state;
    for_every_type(check_kv_store);
}

/* rope_store against its definition, rope and kv_store: the same bits, of queries in place and of the cache. */
static void check_rope_store(device *dev)
{
    static const int32_t dims[] = {2, 16, 48, 64, 128, 256};

    for (int i = 0; i < 12; i++) {
        int32_t d = dims[i / 2], q_heads = i % 4 == 3 ? 0 : 1 + i % 5, kv = 1 + i % 3, width = (q_heads + 2 * kv) * d;
        int64_t n = 1 + i * 7, ld = width + i % 3, stride = n + 4, slots[1 + 11 * 7];
        dtype type = dev->act == DTYPE_F32 ? act_types[i % ACTS] : dev->act;
        buffer c = random_buffer(dev, DTYPE_F32, n * d / 2, 1), s = random_buffer(dev, DTYPE_F32, n * d / 2, 1), x[2], side[4];

        for (int64_t t = 0; t < n; t++) {
            slots[t] = t % 5 == 4 ? -1 : t + 2;
        }
        void *places = sent(dev, slots, (size_t)n * sizeof *slots);
        for (int j = 0; j < 4; j++) {
            side[j] = poisoned_buffer(dev, type, kv * stride * d);
        }
        for (int j = 0; j < 2; j++) {
            random_state = 99;
            x[j] = random_buffer(dev, dev->act, n * ld, 2);
        }
        rotation rows = {.x = x[0].data, .ld = ld, .heads = q_heads + kv, .kv_heads = kv, .dims = d, .cos = c.data,
                         .sin = s.data, .style = i % 2 ? ROPE_PAIRS : ROPE_HALVES};
        dev->ops->rope(dev, &rows, n, d);
        rows.x = x[1].data;
        for (int j = 0; j < 2; j++) {
            void *from = act_at(dev, x[0].data, (q_heads + j * kv) * d);
            dev->ops->kv_store(dev, side[j].data, NULL, type, stride, places, from, ld, n, kv, d);
        }
        dev->ops->rope_store(dev, &rows, (void *const[]){side[2].data, side[3].data}, no_scales, type, stride, places, n, d);
        for (int j = 0; j < 3; j++) {
            float *want = buffer_get(j < 2 ? &side[j] : &x[0]), *got = buffer_get(j < 2 ? &side[2 + j] : &x[1]);
            for (int64_t k = 0; k < (j < 2 ? side[j].n : n * ld); k++) {
                bool asked = j < 2 || k % ld < q_heads * d;
                assert_true(!asked || memcmp(&want[k], &got[k], sizeof *got) == 0);
            }
            free(want);
            free(got);
        }
        dev->ops->release(dev, places, (size_t)n * sizeof *slots);
        for (int j = 0; j < 6; j++) {
            buffer_free(j < 4 ? &side[j] : &x[j - 4]);
        }
        buffer_free(&c);
        buffer_free(&s);
    }
}

static void rows_are_rotated_and_stored_at_once(void **state)
{
    (void)state;
    for_every_type(check_rope_store);
}

/* A product that is left to rope_store: the bits of both ops, with and without bias and a norm that was left to the product. */
typedef struct ahead_side { buffer h, x, k, v; } ahead_side;

static void project_and_store(device *dev, ahead_side *side, bool ahead, const buffer *in, const buffer *norm, matrix m[3],
                              const buffer *bias, rotation rows, int64_t n, const int64_t *places, int64_t stride)
{
    int64_t d = m[0].cols, at = 0;
    linear_job jobs[3];

    for (int j = 0; j < 3; at += m[j++].rows) {
        jobs[j] = (linear_job){.w = &m[j], .rows = m[j].rows, .bias = bias ? (float *)bias->data + at : NULL, .type = dev->act,
                               .y = act_at(dev, side->x.data, at), .ldy = rows.ld};
    }
    rows.x = side->x.data;
    (ahead ? dev->ops->rms_norm_ahead : dev->ops->rms_norm)(dev, side->h.data, in->data, norm->data, 1e-5f, n, d);
    (ahead ? dev->ops->linear_ahead : dev->ops->linear)(dev, side->h.data, d, n, jobs, 3);
    dev->ops->rope_store(dev, &rows, (void *const[]){side->k.data, side->v.data}, no_scales, side->k.type, stride, places, n,
                         rows.dims);
}

static void assert_same_side(ahead_side *want, ahead_side *got, int64_t ld, int64_t queries)
{
    buffer *a[] = {&want->x, &want->k, &want->v}, *b[] = {&got->x, &got->k, &got->v};

    for (int j = 0; j < 3; j++) {
        float *x = buffer_get(a[j]), *y = buffer_get(b[j]);
        for (int64_t e = 0; e < a[j]->n; e++) {
            assert_true((j == 0 && e % ld >= queries) || memcmp(&x[e], &y[e], sizeof *x) == 0);
        }
        free(x);
        free(y);
    }
}

static void check_linear_ahead(device *dev)
{
    static const int32_t dims[] = {16, 48, 64, 128, 24};

    for (int i = 0; i < 20; i++) {
        int32_t d = dims[i % 5], q_heads = 1 + i % 4, kv = 1 + i % 3, width = (q_heads + 2 * kv) * d;
        int64_t n = i < 10 ? 1 : 1 + i, cols = 64 + i % 3 * 200, ld = width + i % 2 * 8, stride = n + 4, slots[32];
        dtype type = dev->act == DTYPE_F32 ? act_types[i % ACTS] : dev->act;
        buffer in = random_buffer(dev, DTYPE_F32, n * cols, 1), norm = random_buffer(dev, DTYPE_F32, cols, 1);
        buffer w = random_buffer(dev, dev->act, width * cols, 1), bias = random_buffer(dev, DTYPE_F32, width, 1);
        buffer c = random_buffer(dev, DTYPE_F32, n * d / 2, 1), s = random_buffer(dev, DTYPE_F32, n * d / 2, 1);
        const int32_t heads[] = {q_heads, kv, kv};
        ahead_side side[2];
        matrix m[3];

        for (int64_t j = 0, at = 0; j < 3; at += heads[j++] * d) {
            m[j] = (matrix){.type = dev->act, .rows = heads[j] * d, .cols = cols, .row_bytes = dtype_row_bytes(dev->act, cols),
                            .data = act_at(dev, w.data, at * cols)};
        }
        for (int64_t t = 0; t < n; slots[t] = t % 5 == 4 ? -1 : t + 2, t++) {
        }
        int64_t *places = sent(dev, slots, (size_t)n * sizeof *slots);
        rotation rows = {.ld = ld, .heads = q_heads + kv, .kv_heads = kv, .dims = d, .cos = c.data, .sin = s.data,
                         .style = i / 5 % 2 ? ROPE_PAIRS : ROPE_HALVES};
        for (int k = 0; k < 2; k++) {
            side[k] = (ahead_side){poisoned_buffer(dev, dev->act, n * cols), poisoned_buffer(dev, dev->act, n * ld),
                                   poisoned_buffer(dev, type, kv * stride * d), poisoned_buffer(dev, type, kv * stride * d)};
            project_and_store(dev, &side[k], k, &in, &norm, m, i % 4 == 3 ? &bias : NULL, rows, n, places, stride);
        }
        assert_same_side(&side[0], &side[1], ld, q_heads * d);
        dev->ops->release(dev, places, (size_t)n * sizeof *slots);
        buffer *all[] = {&in,        &norm,      &w,         &bias,      &c,         &s,        &side[0].h,
                         &side[0].x, &side[0].k, &side[0].v, &side[1].h, &side[1].x, &side[1].k, &side[1].v};
        for (size_t k = 0; k < sizeof all / sizeof *all; buffer_free(all[k++])) {
        }
    }
}

static void a_product_left_to_rope_store_has_the_bits_of_both(void **state)
{
    (void)state;
    for_every_type(check_linear_ahead);
}

/* --- carries --- */

typedef struct carry_trial {
    buffer block;
    carry host, card;
} carry_trial;

static carry_trial make_carry(device *dev, const attention_shape *s, int64_t rows, bool random)
{
    carry_trial c;
    int64_t n = (int64_t)(carry_bytes(s, rows) / sizeof(float)), heads = rows * s->n_heads;

    c.block = poisoned_buffer(dev, DTYPE_F32, n);
    c.host = carry_at(c.block.host, s, rows);
    c.card = carry_at(c.block.data, s, rows);
    for (int64_t i = 0; random && i < heads; i++) {
        bool empty = random_bits() % 4 == 0;
        for (int32_t e = 0; e < s->head_dim; e++) {
            c.host.o[i * s->head_dim + e] = empty ? 0 : 10 * random_float();
        }
        c.host.m[i] = empty ? -INFINITY : (random_bits() % 2 ? 1e6f : 5) * random_float();
        c.host.l[i] = empty ? 0 : 1 + (float)(random_bits() % 100);
    }
    buffer_send(&c.block);
    return c;
}

static void check_carry(device *dev)
{
    static const int32_t dims[] = {1, 16, 48, 64, 96, 128, 256};

    for (int i = 0; i < 7; i++) {
        attention_shape s = {.n_heads = 1 + i % 4, .n_kv_heads = 1, .head_dim = dims[i], .scale = 1, .kv_type = dev->act};
        int64_t rows = 1 + i * 11, ldo = s.n_heads * s.head_dim + i;
        carry_trial into = make_carry(dev, &s, rows, true), from = make_carry(dev, &s, rows, true),
                    none = make_carry(dev, &s, rows, false);
        buffer out = poisoned_buffer(dev, dev->act, rows * ldo), sizes = random_buffer(dev, DTYPE_F32, into.block.n, 1);

        cpu->ops->carry_clear(cpu, &none.host, &s, rows);
        dev->ops->carry_clear(dev, &none.card, &s, rows);
        float *got = buffer_get(&none.block);
        assert_memory_equal(got, none.block.host, (size_t)none.block.n * sizeof *got);
        free(got);

        for (int64_t k = 0; k < into.block.n; k++) { /* differences cancel: by the size of what is added */
            sizes.host[k] = k < rows * s.n_heads * s.head_dim ? 20 : fabsf(into.block.host[k]) + fabsf(from.block.host[k]);
        }
        cpu->ops->carry_merge(cpu, &into.host, &from.host, &s, rows);
        dev->ops->carry_merge(dev, &into.card, &from.card, &s, rows);
        for (int64_t k = 0; k < rows * s.n_heads; k++) { /* the largest score is one of the two: -inf is met by being equal */
            if (isinf(into.host.m[k])) {
                into.host.m[k] = NAN;
            }
        }
        got = buffer_get(&into.block);
        for (int64_t k = 0; k < into.block.n; k++) {
            float want = into.block.host[k];
            bool same = isnan(want) ? isinf(got[k]) && got[k] < 0
                                    : fabs((double)got[k] - (double)want) <= LAST_PLACES * (double)sizes.host[k];
            assert_true(same);
        }
        free(got);

        /* Merging nothing, or into nothing, changes no bit. */
        float *before = buffer_get(&into.block);
        dev->ops->carry_merge(dev, &into.card, &none.card, &s, rows);
        got = buffer_get(&into.block);
        assert_memory_equal(got, before, (size_t)into.block.n * sizeof *got);
        free(got);
        dev->ops->carry_merge(dev, &none.card, &into.card, &s, rows);
        got = buffer_get(&none.block);
        assert_memory_equal(got, before, (size_t)into.block.n * sizeof *got);
        memcpy(into.block.host, before, (size_t)into.block.n * sizeof *got);
        free(got);
        free(before);

        cpu->ops->carry_finish(cpu, &into.host, &s, rows, out.host, ldo);
        dev->ops->carry_finish(dev, &into.card, &s, rows, out.data, ldo);
        assert_buffer(&out, LAST_PLACES, NULL, "carry_finish");
        buffer_free(&out);
        buffer_free(&sizes);
        buffer_free(&into.block);
        buffer_free(&from.block);
        buffer_free(&none.block);
    }
}

static void carries_agree(void **state)
{
    (void)state;
    for_every_type(check_carry);
}

/* A norm that is left to the product behind it: the bits of both, and the row itself. Two matrices, as gate and up. */
static void check_ahead(device *dev)
{
    static const int64_t wide[] = {8, 64, 264, 2048, 3072, 4096, 4104};

    for (int i = 0; i < 14; i++) {
        int64_t d = wide[i % 7], rows = 1 + i * 37, n = 1 + i / 7;
        buffer x = random_buffer(dev, DTYPE_F32, n * d, 1), weight = random_buffer(dev, DTYPE_F32, d, 1);
        buffer w = random_buffer(dev, dev->act, 2 * rows * d, 1), h[2], y[2];
        matrix m[2];
        for (int k = 0; k < 2; k++) {
            m[k] = (matrix){.type = dev->act, .rows = rows, .cols = d, .row_bytes = dtype_row_bytes(dev->act, d),
                            .data = act_at(dev, w.data, k * rows * d)};
            h[k] = poisoned_buffer(dev, dev->act, n * d);
            y[k] = poisoned_buffer(dev, dev->act, n * 2 * rows);
        }
        for (int k = 0; k < 2; k++) {
            const linear_job jobs[] = {{.w = &m[0], .rows = rows, .type = dev->act, .y = y[k].data, .ldy = 2 * rows},
                                       {.w = &m[1], .rows = rows, .type = dev->act, .y = act_at(dev, y[k].data, rows),
                                        .ldy = 2 * rows}};
            (k ? dev->ops->rms_norm_ahead : dev->ops->rms_norm)(dev, h[k].data, x.data, weight.data, 1e-5f, n, d);
            if (i % 2) {
                dev->ops->linear_gated(dev, h[k].data, d, n, &jobs[0], &jobs[1]);
            } else {
                dev->ops->linear(dev, h[k].data, d, n, jobs, 2);
            }
        }
        for (int k = 0; k < 2; k++) {
            buffer *of = k ? y : h;
            float *want = buffer_get(&of[0]);
            memcpy(of[1].host, want, (size_t)of[1].n * sizeof *want);
            int64_t width = k && i % 2 ? rows : of[1].n / n; /* up's place is undefined */
            for (int64_t e = 0; e < of[1].n && k; e++) {
                of[1].host[e] = e % (2 * rows) < width ? of[1].host[e] : NAN;
            }
            float *got = buffer_get(&of[1]);
            for (int64_t e = 0; e < of[1].n; e++) {
                assert_true(isnan(of[1].host[e]) || got[e] == of[1].host[e]);
            }
            free(got);
            free(want);
        }
        for (int k = 0; k < 2; k++) {
            buffer_free(&h[k]);
            buffer_free(&y[k]);
        }
        buffer_free(&w);
        buffer_free(&weight);
        buffer_free(&x);
    }
}

static void norms_left_to_products_have_the_same_bits(void **state)
{
    (void)state;
    for_every_type(check_ahead);
}

/* --- silu, copy --- */

static void check_silu(device *dev)
{
    for (int i = 0; i < WIDTHS * HEIGHTS; i++) {
        int64_t d = widths[i % WIDTHS], n = heights[i / WIDTHS], ldg = d + i % 3 * 4, ldu = d + i % 2 * 8;
        buffer g = random_buffer(dev, dev->act, n * ldg, 30), u = random_buffer(dev, dev->act, n * ldu, 3);

        cpu->ops->silu_mul(cpu, g.host, ldg, u.host, ldu, n, d);
        dev->ops->silu_mul(dev, g.data, ldg, u.data, ldu, n, d);
        assert_buffer(&g, LAST_PLACES, NULL, "silu_mul");
        buffer_free(&g);
        buffer_free(&u);
    }
}

static void check_gelu(device *dev)
{
    for (int i = 0; i < WIDTHS * HEIGHTS; i++) {
        int64_t d = widths[i % WIDTHS], n = heights[i / WIDTHS], ldg = d + i % 3 * 4, ldu = d + i % 2 * 8;
        buffer g = random_buffer(dev, dev->act, n * ldg, 2), u = random_buffer(dev, dev->act, n * ldu, 3);

        cpu->ops->gelu_mul(cpu, g.host, ldg, u.host, ldu, n, d);
        dev->ops->gelu_mul(dev, g.data, ldg, u.data, ldu, n, d);
        /* The exponent reaches 10: its own last place is that of its exponential ten times. */
        assert_buffer(&g, 4 * LAST_PLACES, NULL, "gelu_mul");
        buffer_free(&g);
        buffer_free(&u);
    }
}

static void gelu_gates_agree(void **state)
{
    (void)state;
    for_every_type(check_gelu);
}

static void gates_agree(void **state)
{
    (void)state;
    for_every_type(check_silu);
}

static void check_copy(device *dev)
{
    for (int i = 0; i < WIDTHS * HEIGHTS; i++) {
        int64_t width = widths[i % WIDTHS], n = heights[i / WIDTHS], ldy = width + i % 5, ldx = width + i % 3 * 4;
        bool add = i % 2;
        dtype type = add ? DTYPE_F32 : dev->act;
        buffer x = random_buffer(dev, type, n * ldx, 1),
               y = add ? random_buffer(dev, type, n * ldy, 1) : poisoned_buffer(dev, type, n * ldy);

        cpu->ops->copy(cpu, DTYPE_F32, y.host, ldy, x.host, ldx, n, width, add);
        dev->ops->copy(dev, type, y.data, ldy, x.data, ldx, n, width, add);
        assert_buffer(&y, 0, NULL, "copy");
        buffer_free(&x);
        buffer_free(&y);
    }
}

static void rows_are_copied_or_added(void **state)
{
    (void)state;
    for_every_type(check_copy);
}

/* Nothing to do is done without a launch that fails. */
static void check_nothing(device *dev)
{
    buffer x = random_buffer(dev, DTYPE_F32, 64, 1);
    matrix w = {.type = dev->act, .rows = 8, .cols = 8, .data = x.data, .row_bytes = 8 * size_of(dev->act)};
    attention_shape s = {.n_heads = 1, .n_kv_heads = 1, .head_dim = 8, .scale = 1, .kv_type = dev->act};
    carry c = carry_at(x.data, &s, 1);
    linear_job job = {.w = &w, .rows = 0, .type = DTYPE_F32, .y = x.data, .ldy = 8};
    int32_t token = 0;
    int64_t position = 0;

    dev->ops->embed(dev, x.data, &w, &token, NULL, 0, 1);
    dev->ops->rms_norm(dev, x.data, x.data, x.data, 1, 0, 8);
    dev->ops->linear(dev, x.data, 8, 4, &job, 1);
    dev->ops->linear(dev, x.data, 8, 40, &job, 1);
    dev->ops->linear(dev, x.data, 8, 0, &job, 1);
    dev->ops->linear(dev, x.data, 8, 1, NULL, 0);
    dev->ops->rope_angles(dev, x.data, x.data, &position, 0, x.data, 4, 1);
    dev->ops->rope(dev, &(rotation){.x = x.data, .ld = 8, .heads = 1, .dims = 8, .cos = x.data, .sin = x.data}, 0, 8);
    dev->ops->kv_store(dev, x.data, NULL, dev->act, 1, x.data, x.data, 8, 0, 1, 8);
    dev->ops->carry_clear(dev, &c, &s, 0);
    dev->ops->carry_merge(dev, &c, &c, &s, 0);
    dev->ops->carry_finish(dev, &c, &s, 0, x.data, 8);
    dev->ops->silu_mul(dev, x.data, 8, x.data, 8, 0, 8);
    dev->ops->copy(dev, DTYPE_F32, x.data, 8, x.data, 8, 4, 0, false);
    dev->ops->copy(dev, DTYPE_F32, x.data, 8, x.data, 8, 0, 8, false);
    dev->ops->upload(dev, x.data, &position, 0);
    dev->ops->download(dev, &position, x.data, 0);
    must(dev->ops->finish(dev));
    assert_buffer(&x, 0, NULL, "nothing");
    buffer_free(&x);
}

static void nothing_to_do_is_no_failure(void **state)
{
    (void)state;
    for_every_type(check_nothing);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(embedding_takes_rows_of_the_table),
        cmocka_unit_test(norms_agree),
        cmocka_unit_test(linear_layers_agree),
        cmocka_unit_test(rows_of_a_slice_have_the_same_bits),
        cmocka_unit_test(products_have_the_same_bits_twice),
        cmocka_unit_test(gated_products_have_the_bits_of_their_two_ops),
        cmocka_unit_test(angles_agree),
        cmocka_unit_test(rotations_agree),
        cmocka_unit_test(norms_of_heads_and_partial_rotations_agree),
        cmocka_unit_test(norms_that_are_added_agree),
        cmocka_unit_test(slots_hold_what_was_stored),
        cmocka_unit_test(rows_are_rotated_and_stored_at_once),
        cmocka_unit_test(a_product_left_to_rope_store_has_the_bits_of_both),
        cmocka_unit_test(carries_agree),
        cmocka_unit_test(norms_left_to_products_have_the_same_bits),
        cmocka_unit_test(gates_agree),
        cmocka_unit_test(gelu_gates_agree),
        cmocka_unit_test(rows_are_copied_or_added),
        cmocka_unit_test(nothing_to_do_is_no_failure),
    };
    int opened = open_cards();

    if (argc > 1) {
        cmocka_set_skip_filter(argv[1]);
    }
    int failed = opened ? opened : cmocka_run_group_tests(tests, NULL, NULL);
    close_cards();
    return failed;
}
