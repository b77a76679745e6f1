/* How well a model predicts given tokens: logits in pieces, so that memory stays bounded, and the loss of each next token.
   Rests on run.h. logits and perplexity are written on top of it. */
#ifndef CLI_SCORE_H
#define CLI_SCORE_H

#include "cli/run.h"

/* Losses in nats, added up. */
typedef struct score {
    double sum, sum_of_squares;
    int64_t n;
} score;

/* Gets logits [rows, vocab] of the positions from `first` on. Returns 0 or an exit status. */
typedef int (*logit_rows_fn)(void *user, const float *logits, int64_t first, int64_t rows);

/* Scores every token of a sequence but its first; each piece of logits is shown to `rows` (may be NULL). The session is emptied
   before. Returns EXIT_INTERRUPTED where Ctrl-C ended it. The caller begins and ends the line of progress. */
int score_tokens(run *r, lariat_session *session, const int32_t *ids, int64_t n, score *s, logit_rows_fn rows, void *user);

double score_mean(const score *s);
/* Standard error of the mean. */
double score_error(const score *s);

#endif
