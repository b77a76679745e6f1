/* Scoring given tokens: logits in pieces of bounded size, and the loss of each next token.
   Rests on invocation.h. logits and perplexity use it. */
#pragma once

#include "cli/invocation.h"

/* Sums of losses in nats. */
typedef struct score {
    int64_t from; /* of a sequence: the first position whose next token is scored */
    double sum, sum_of_squares;
    int64_t n;
} score;

/* Receives logits [rows, vocab] of the positions from `first` on. Returns 0 or an exit status. */
typedef int (*logit_rows_fn)(void *user, const float *logits, int64_t first, int64_t rows);

/* Scores the tokens of a sequence behind position s->from, after emptying the session; calls `rows` (may be NULL) with each
   piece of logits. EXIT_INTERRUPTED: Ctrl-C. The caller begins and ends the progress line. */
int score_tokens(invocation *inv, lariat_session *session, const int32_t *ids, int64_t n, score *s, logit_rows_fn rows,
                 void *user);

double score_mean(const score *s);
/* Standard error of the mean. */
double score_error(const score *s);
