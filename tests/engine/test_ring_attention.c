/* Ring attention as other programs use it, against softmax in fp64: any division of the tokens over any number of ranks.
   Rests on lariat/ring_attention.h. */
#include "lariat/ring_attention.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST_RANKS = 9, MOST_RUNS = 64 };

/* A whole sequence and its division. */
typedef struct problem {
    lariat_ring_shape shape;
    int64_t tokens;
    int n_ranks;
    float *q, *k, *v; /* [tokens, heads, head_dim] */
    lariat_run runs[MOST_RANKS][MOST_RUNS];
    int32_t n_runs[MOST_RANKS];
    int64_t held[MOST_RANKS];
    bool stumbles; /* the last rank's first call names one token too many */
} problem;

typedef struct rank_args {
    const problem *p;
    lariat_ring *ring;
    int rank;
    float *o, *lse; /* of the whole sequence: a rank fills its tokens */
    lariat_status status;
} rank_args;

static float random_float(void)
{
    return (float)rand() / (float)RAND_MAX * 4 - 2;
}

static float *random_floats(int64_t n)
{
    float *x = malloc((size_t)(n + 1) * sizeof *x);

    for (int64_t i = 0; i < n; i++) {
        x[i] = random_float();
    }
    return x;
}

/* Copies a rank's tokens out of (or, with `back`, into) the whole. */
static void move_rows(const problem *p, int rank, float *whole, float *part, int64_t width, bool back)
{
    int64_t row = 0;

    for (int32_t i = 0; i < p->n_runs[rank]; i++) {
        size_t bytes = (size_t)(p->runs[rank][i].count * width) * sizeof *part;
        float *at = whole + p->runs[rank][i].first * width;
        memcpy(back ? at : part + row * width, back ? part + row * width : at, bytes);
        row += p->runs[rank][i].count;
    }
}

static void *rank_main(void *arg)
{
    rank_args *a = arg;
    const problem *p = a->p;
    const int64_t qw = (int64_t)p->shape.n_heads * p->shape.head_dim, kw = (int64_t)p->shape.n_kv_heads * p->shape.head_dim;
    int64_t n = p->held[a->rank];
    float *q = malloc((size_t)(n * qw + 1) * 4), *k = malloc((size_t)(n * kw + 1) * 4), *v = malloc((size_t)(n * kw + 1) * 4);
    float *o = malloc((size_t)(n * qw + 1) * 4), *lse = malloc((size_t)(n * p->shape.n_heads + 1) * 4);

    move_rows(p, a->rank, p->q, q, qw, false);
    move_rows(p, a->rank, p->k, k, kw, false);
    move_rows(p, a->rank, p->v, v, kw, false);
    for (int again = 0; again < 3; again++) { /* calls follow one another without a fence of the caller's */
        int64_t says = p->stumbles && again == 0 && a->rank == p->n_ranks - 1 ? n + 1 : n;
        a->status = lariat_ring_attend(a->ring, a->rank, p->runs[a->rank], p->n_runs[a->rank], says, q, k, v, o, lse);
    }
    if (a->status == LARIAT_OK) { /* of a refused call two ranks may hold the same tokens */
        move_rows(p, a->rank, a->o, o, qw, true);
        move_rows(p, a->rank, a->lse, lse, p->shape.n_heads, true);
    }
    free(q);
    free(k);
    free(v);
    free(o);
    free(lse);
    return NULL;
}

static void run_ring(const problem *p, float *o, float *lse, lariat_status status[])
{
    lariat_ring *ring;
    rank_args args[MOST_RANKS];
    pthread_t threads[MOST_RANKS];

    assert_int_equal(lariat_ring_open(p->n_ranks, 1 + rand() % 2, &p->shape, &ring), LARIAT_OK);
    for (int r = 0; r < p->n_ranks; r++) {
        args[r] = (rank_args){.p = p, .ring = ring, .rank = r, .o = o, .lse = lse};
        assert_int_equal(pthread_create(&threads[r], NULL, rank_main, &args[r]), 0);
    }
    for (int r = 0; r < p->n_ranks; r++) {
        pthread_join(threads[r], NULL);
        status[r] = args[r].status;
    }
    lariat_ring_close(ring);
}

/* One query's attention and log-sum-exp in fp64. */
static double exact(const problem *p, int64_t t, int head, double *out)
{
    int64_t hd = p->shape.head_dim, g = head / (p->shape.n_heads / p->shape.n_kv_heads);
    double most = -INFINITY, sum = 0, *s = malloc((size_t)(t + 1) * sizeof *s);
    double scale = p->shape.scale != 0 ? (double)p->shape.scale : 1 / sqrt((double)hd);
    const float *q = p->q + (t * p->shape.n_heads + head) * hd;

    for (int64_t i = 0; i <= t; i++) {
        const float *k = p->k + (i * p->shape.n_kv_heads + g) * hd;
        s[i] = 0;
        for (int64_t d = 0; d < hd; d++) {
            s[i] += (double)q[d] * (double)k[d];
        }
        s[i] *= scale;
        most = fmax(most, s[i]);
    }
    memset(out, 0, (size_t)hd * sizeof *out);
    for (int64_t i = 0; i <= t; i++) {
        const float *v = p->v + (i * p->shape.n_kv_heads + g) * hd;
        double weight = exp(s[i] - most);
        sum += weight;
        for (int64_t d = 0; d < hd; d++) {
            out[d] += weight * (double)v[d];
        }
    }
    for (int64_t d = 0; d < hd; d++) {
        out[d] /= sum;
    }
    free(s);
    return most + log(sum);
}

static void compare(const problem *p, const float *o, const float *lse)
{
    double out[512];

    for (int64_t t = 0; t < p->tokens; t++) {
        for (int h = 0; h < p->shape.n_heads; h++) {
            double l = exact(p, t, h, out);
            const float *got = o + (t * p->shape.n_heads + h) * p->shape.head_dim;
            assert_true(fabs((double)lse[t * p->shape.n_heads + h] - l) <= 2e-6 * (1 + fabs(l)));
            for (int d = 0; d < p->shape.head_dim; d++) {
                assert_true(fabs((double)got[d] - out[d]) <= 5e-6); /* scores are fp32 sums of up to 512 products of up to 4 */
            }
        }
    }
}

/* Any division: pieces of random length go to random ranks; some ranks may get nothing. */
static void divide_at_random(problem *p)
{
    int64_t at = 0;

    while (at < p->tokens) {
        int r = rand() % p->n_ranks;
        int64_t count = 1 + rand() % 40;
        count = count < p->tokens - at ? count : p->tokens - at;
        if (p->n_runs[r] == MOST_RUNS) {
            continue;
        }
        p->runs[r][p->n_runs[r]++] = (lariat_run){at, count};
        p->held[r] += count;
        at += count;
    }
}

static void make_problem(problem *p, bool zigzag)
{
    static const int32_t dims[] = {1, 16, 48, 64, 80, 128, 512};

    *p = (problem){.tokens = rand() % 300, .n_ranks = 1 + rand() % MOST_RANKS};
    p->shape.n_kv_heads = 1 + rand() % 3;
    p->shape.n_heads = p->shape.n_kv_heads * (1 + rand() % 4);
    p->shape.head_dim = dims[rand() % 7];
    p->shape.max_tokens_per_rank = p->tokens + 1;
    p->q = random_floats(p->tokens * p->shape.n_heads * p->shape.head_dim);
    p->k = random_floats(p->tokens * p->shape.n_kv_heads * p->shape.head_dim);
    p->v = random_floats(p->tokens * p->shape.n_kv_heads * p->shape.head_dim);
    if (!zigzag) {
        divide_at_random(p);
        return;
    }
    for (int r = 0; r < p->n_ranks; r++) {
        p->n_runs[r] = lariat_ring_runs(p->n_ranks, r, p->tokens, p->runs[r]);
        for (int32_t i = 0; i < p->n_runs[r]; i++) {
            p->held[r] += p->runs[r][i].count;
        }
    }
}

static void free_problem(problem *p)
{
    free(p->q);
    free(p->k);
    free(p->v);
}

static void any_division_over_any_ranks_is_exact(void **state)
{
    (void)state;
    srand(7);
    for (int round = 0; round < (TEST_QUICK ? 12 : 60); round++) {
        static problem p;
        lariat_status status[MOST_RANKS];
        make_problem(&p, round % 2);
        float *o = random_floats(p.tokens * p.shape.n_heads * p.shape.head_dim),
              *lse = random_floats(p.tokens * p.shape.n_heads);
        run_ring(&p, o, lse, status);
        for (int r = 0; r < p.n_ranks; r++) {
            assert_int_equal(status[r], LARIAT_OK);
        }
        compare(&p, o, lse);
        free(o);
        free(lse);
        free_problem(&p);
    }
}

static void positions_held_twice_are_refused_on_every_rank(void **state)
{
    (void)state;
    static problem p;
    lariat_status status[MOST_RANKS];

    srand(8);
    do {
        free_problem(&p);
        make_problem(&p, true);
    } while (p.n_ranks < 3 || p.tokens < 50);
    float *o = random_floats(p.tokens * p.shape.n_heads * p.shape.head_dim), *lse = random_floats(p.tokens * p.shape.n_heads);
    p.runs[1][0].first -= 1;
    run_ring(&p, o, lse, status);
    for (int r = 0; r < p.n_ranks; r++) {
        assert_int_equal(status[r], LARIAT_BAD_ARGUMENT);
    }
    p.runs[1][0].first += 1;
    p.held[2] += 1; /* says more tokens than its runs have: the others leave too */
    run_ring(&p, o, lse, status);
    for (int r = 0; r < p.n_ranks; r++) {
        assert_int_equal(status[r], LARIAT_BAD_ARGUMENT);
    }
    free(o);
    free(lse);
    free_problem(&p);
}

static void a_call_that_was_refused_leaves_the_ring_whole(void **state)
{
    (void)state;
    static problem p;
    lariat_status status[MOST_RANKS];

    srand(9);
    for (int round = 0; round < 4; round++) {
        make_problem(&p, true);
        p.stumbles = true;
        float *o = random_floats(p.tokens * p.shape.n_heads * p.shape.head_dim),
              *lse = random_floats(p.tokens * p.shape.n_heads);
        run_ring(&p, o, lse, status);
        for (int r = 0; r < p.n_ranks; r++) {
            assert_int_equal(status[r], LARIAT_OK);
        }
        compare(&p, o, lse);
        free(o);
        free(lse);
        free_problem(&p);
    }
}

static void zigzag_runs_cover_all_tokens_and_differ_by_two_at_most(void **state)
{
    (void)state;
    for (int n = 1; n <= 20; n++) {
        for (int64_t tokens = 0; tokens < 100; tokens++) {
            int64_t sum = 0, least = INT64_MAX, most = 0;
            for (int r = 0; r < n; r++) {
                lariat_run runs[2];
                int64_t held = 0;
                int32_t count = lariat_ring_runs(n, r, tokens, runs);
                for (int32_t i = 0; i < count; i++) {
                    held += runs[i].count;
                }
                sum += held;
                least = held < least ? held : least;
                most = held > most ? held : most;
            }
            assert_int_equal(sum, tokens);
            assert_true(most - least <= 2);
        }
    }
}

static void shapes_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    lariat_ring *ring;
    lariat_ring_shape odd = {.n_heads = 5, .n_kv_heads = 2, .head_dim = 64, .max_tokens_per_rank = 1};
    lariat_ring_shape good = {.n_heads = 4, .n_kv_heads = 2, .head_dim = 64, .max_tokens_per_rank = 1};

    assert_int_equal(lariat_ring_open(2, 1, &odd, &ring), LARIAT_BAD_ARGUMENT);
    assert_int_equal(lariat_ring_open(0, 1, &good, &ring), LARIAT_BAD_ARGUMENT);
    assert_int_equal(lariat_ring_open(2, 0, &good, &ring), LARIAT_BAD_ARGUMENT);
    const float scales[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 3; i++) {
        lariat_ring_shape endless = good;
        endless.scale = scales[i];
        assert_int_equal(lariat_ring_open(2, 1, &endless, &ring), LARIAT_BAD_ARGUMENT);
        assert_null(ring);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_division_over_any_ranks_is_exact),
        cmocka_unit_test(positions_held_twice_are_refused_on_every_rank),
        cmocka_unit_test(a_call_that_was_refused_leaves_the_ring_whole),
        cmocka_unit_test(zigzag_runs_cover_all_tokens_and_differ_by_two_at_most),
        cmocka_unit_test(shapes_that_make_no_sense_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
