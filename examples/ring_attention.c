/* Exact attention over ranks of one's own: each thread makes the queries, keys and values of its own tokens and gets the
   attention of its queries over the keys of all. Then it checks its rows against softmax in double precision.
   Rests on the public interface alone; read on in include/lariat/ring_attention.h.

       cc ring_attention.c -o ring_attention $(pkg-config --cflags --libs lariat) -pthread -lm
       ./ring_attention
*/
#include <lariat/ring_attention.h>

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Three ranks, so that the number is no power of two; 601 tokens, so that nothing divides evenly. */
enum { RANKS = 3, TOKENS = 601, HEADS = 8, KV_HEADS = 2, HEAD_DIM = 64 };

/* Results are of size one, and single precision has 24 bits: some 1e-7. */
static const double bound = 1e-6;

typedef enum what { QUERY, KEY, VALUE } what;

typedef struct member {
    lariat_ring *ring;
    int32_t rank;
    pthread_t thread;
    int64_t tokens; /* that it holds */
    double error;   /* largest of its rows; infinite where the call failed */
} member;

/* Element i of a head at a position: some number in [-1, 1) that depends on nothing else. */
static float element(what w, int64_t position, int head, int i)
{
    uint64_t x = (((uint64_t)position * HEADS + (uint64_t)head) * HEAD_DIM + (uint64_t)i) * 3 + (uint64_t)w;

    x = (x ^ (x >> 31)) * UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 29)) * UINT64_C(0xd6e8feb86659fd93);
    return (float)(x >> 40) / (float)(1 << 23) - 1;
}

/* Rows of this rank's tokens, [tokens, heads, HEAD_DIM]; NULL without memory. */
static float *make_rows(what w, const lariat_run runs[], int32_t n_runs, int64_t tokens, int heads)
{
    float *rows = malloc((size_t)(tokens * heads * HEAD_DIM + 1) * sizeof *rows), *at = rows;

    for (int32_t r = 0; rows && r < n_runs; r++) {
        for (int64_t p = runs[r].first; p < runs[r].first + runs[r].count; p++) {
            for (int j = 0; j < heads * HEAD_DIM; j++) {
                *at++ = element(w, p, j / HEAD_DIM, j % HEAD_DIM);
            }
        }
    }
    return rows;
}

/* One query's attention in double precision; returns the largest difference from what the ring gave. */
static double error_of(int64_t position, int head, const float *got)
{
    double sum = 0, worst = 0, out[HEAD_DIM] = {0};
    int kv_head = head / (HEADS / KV_HEADS);

    for (int64_t p = 0; p <= position; p++) { /* scores are below 8 * 8 / 8: exp needs no running maximum here */
        double score = 0;
        for (int i = 0; i < HEAD_DIM; i++) {
            score += (double)element(QUERY, position, head, i) * (double)element(KEY, p, kv_head, i);
        }
        double weight = exp(score / sqrt(HEAD_DIM));
        sum += weight;
        for (int i = 0; i < HEAD_DIM; i++) {
            out[i] += weight * (double)element(VALUE, p, kv_head, i);
        }
    }
    for (int i = 0; i < HEAD_DIM; i++) {
        double error = fabs(out[i] / sum - (double)got[i]);
        worst = error <= worst ? worst : error; /* a NaN is the worst */
    }
    return worst;
}

static double error_of_rows(const lariat_run runs[], int32_t n_runs, const float *o)
{
    double worst = 0;

    for (int32_t r = 0; r < n_runs; r++) {
        for (int64_t p = runs[r].first; p < runs[r].first + runs[r].count; p++) {
            for (int head = 0; head < HEADS; head++, o += HEAD_DIM) {
                double error = error_of(p, head, o);
                worst = error <= worst ? worst : error;
            }
        }
    }
    return worst;
}

static void *rank_main(void *arg)
{
    member *m = arg;
    lariat_run runs[2]; /* any division will do; this one gives all ranks the same work under a causal mask */
    int32_t n_runs = lariat_ring_runs(RANKS, m->rank, TOKENS, runs);

    for (int32_t r = 0; r < n_runs; r++) {
        m->tokens += runs[r].count;
    }
    float *q = make_rows(QUERY, runs, n_runs, m->tokens, HEADS);
    float *k = make_rows(KEY, runs, n_runs, m->tokens, KV_HEADS);
    float *v = make_rows(VALUE, runs, n_runs, m->tokens, KV_HEADS);
    float *o = malloc((size_t)(m->tokens * HEADS * HEAD_DIM + 1) * sizeof *o);
    if (!q || !k || !v || !o) {
        perror("ring_attention");
        exit(1); /* the other ranks would wait for this one */
    }
    if (lariat_ring_attend(m->ring, m->rank, runs, n_runs, m->tokens, q, k, v, o, NULL) == LARIAT_OK) {
        m->error = error_of_rows(runs, n_runs, o);
    } else {
        fprintf(stderr, "ring_attention: %s\n", lariat_error());
    }
    free(q);
    free(k);
    free(v);
    free(o);
    return NULL;
}

int main(void)
{
    const lariat_ring_shape shape = {
        .n_heads = HEADS, .n_kv_heads = KV_HEADS, .head_dim = HEAD_DIM, .max_tokens_per_rank = TOKENS};
    member members[RANKS];
    lariat_ring *ring;
    double worst = 0;

    if (lariat_ring_open(RANKS, 1, &shape, &ring) != LARIAT_OK) {
        fprintf(stderr, "ring_attention: %s\n", lariat_error());
        return 1;
    }
    for (int32_t r = 0; r < RANKS; r++) {
        members[r] = (member){.ring = ring, .rank = r, .error = INFINITY};
        int error = pthread_create(&members[r].thread, NULL, rank_main, &members[r]);
        if (error) {
            fprintf(stderr, "ring_attention: cannot start rank %d: %s\n", r, strerror(error));
            exit(1);
        }
    }
    for (int32_t r = 0; r < RANKS; r++) {
        pthread_join(members[r].thread, NULL);
        printf("rank %d: %lld of %d tokens, largest error %.1e\n", r, (long long)members[r].tokens, TOKENS, members[r].error);
        worst = members[r].error <= worst ? worst : members[r].error;
    }
    lariat_ring_close(ring);
    return worst <= bound ? 0 : 1;
}
