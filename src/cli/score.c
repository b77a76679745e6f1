/* The loss of given tokens.
   Rests on lariat_step, which returns logits of any number of last tokens. */
#include "cli/score.h"
#include "cli/message.h"
#include "cli/signals.h"

#include <math.h>
#include <stdlib.h>

static const int64_t buffer_bytes = 64 << 20; /* of logits in memory */

/* -ln of the probability of `id` in a row of logits. */
static double loss(const float *logits, int32_t vocab, int32_t id)
{
    int32_t best = 0;
    for (int32_t i = 1; i < vocab; i++) {
        best = logits[i] > logits[best] ? i : best;
    }
    double sum = 1; /* exp(0) of the best */
    for (int32_t i = 0; i < vocab; i++) {
        sum += i == best ? 0 : exp((double)logits[i] - (double)logits[best]);
    }
    return log(sum) + (double)logits[best] - (double)logits[id];
}

static int add_rows(score *s, const float *logits, int32_t vocab, const int32_t *ids, int64_t n, int64_t first, int64_t rows)
{
    for (int64_t i = first < s->from ? s->from - first : 0; i < rows && first + i + 1 < n; i++) {
        double l = loss(logits + i * vocab, vocab, ids[first + i + 1]);
        if (!isfinite(l)) {
            return complain("logits: not finite at token %lld, the model or its weights are broken, fetch them again",
                            (long long)(first + i + 1));
        }
        s->sum += l;
        s->sum_of_squares += l * l;
        s->n++;
    }
    return 0;
}

/* Rows of a piece: a pass, at most the buffer. */
static int64_t piece_rows(const invocation *inv, int64_t n)
{
    int64_t rows = buffer_bytes / ((int64_t)sizeof(float) * inv->model->vocab);
    int64_t chunk = lariat_engine_plan(inv->engine)->chunk;
    rows = rows > chunk ? chunk : rows;
    rows = rows > n ? n : rows;
    return rows < 1 ? 1 : rows;
}

int score_tokens(invocation *inv, lariat_session *session, const int32_t *ids, int64_t n, score *s, logit_rows_fn rows,
                 void *user)
{
    int64_t piece = piece_rows(inv, n);
    int32_t vocab = inv->model->vocab;
    float *logits = malloc((size_t)piece * (size_t)vocab * sizeof *logits);
    TRY_MEMORY(logits, "logits");
    int rc = checked(lariat_session_rewind(session, 0));
    for (int64_t first = 0; rc == 0 && first < n; first += piece) {
        int64_t count = n - first < piece ? n - first : piece;
        lariat_work item = {.session = session, .tokens = ids + first, .count = count, .n_logits = count, .logits = logits};
        bool cancelled;
        rc = invocation_step(inv, &item, 1, &cancelled);
        rc = rc == 0 && (cancelled || signals_interrupted()) ? EXIT_INTERRUPTED : rc;
        rc = rc ? rc : add_rows(s, logits, vocab, ids, n, first, count);
        rc = rc || !rows ? rc : rows(user, logits, first, count);
        inv->progress.before += count;
    }
    free(logits);
    return rc;
}

double score_mean(const score *s)
{
    return s->n > 0 ? s->sum / (double)s->n : 0;
}

double score_error(const score *s)
{
    if (s->n < 2) {
        return 0;
    }
    double n = (double)s->n, mean = score_mean(s);
    double variance = (s->sum_of_squares - n * mean * mean) / (n - 1);
    return sqrt((variance > 0 ? variance : 0) / n);
}
