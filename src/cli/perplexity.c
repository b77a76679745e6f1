/* lariat perplexity: exp of the mean loss over windows of a text.
   Rests on score.h. With --second-half as llama.cpp's tool: a window's last token is predicted by the one before it, the first
   that is scored is at n / 2 + 1, and the rest of the text behind the last whole window is not read. */
#include "cli/commands.h"
#include "cli/message.h"
#include "cli/output.h"
#include "cli/prompt.h"
#include "cli/score.h"

#include <math.h>
#include <stdlib.h>

static int read_input(invocation *inv, token_list *out, const char **input)
{
    const options *o = inv->options;
    *input = input_name(o->tokens ? o->tokens : o->file);
    if (o->tokens) {
        return read_tokens(o->tokens, out);
    }
    text from;
    *out = (token_list){0};
    int rc = read_text(o->file, &from);
    if (rc == 0) {
        rc = prompt_tokens(inv, from.data, from.size, out);
        free(from.data);
    }
    return rc;
}

static int print(const score *s, int64_t windows, int64_t window)
{
    double mean = score_mean(s), error = score_error(s);
    int rc = output_format("perplexity %.6g +/- %.3g\n", exp(mean), exp(mean) * error);
    rc = rc ? rc : output_format("mean loss  %.8g +/- %.3g\n", mean, error);
    rc = rc ? rc
            : output_format("tokens     %lld scored, windows %lld of up to %lld\n", (long long)s->n, (long long)windows,
                            (long long)window);
    return rc ? rc : output_flush();
}

/* A last window of one token has nothing to score and is skipped. */
static int score_windows(invocation *inv, const token_list *ids, int64_t window, lariat_session *session)
{
    const options *o = inv->options;
    score s = {.from = o->second_half ? window / 2 : 0}, whole = s;
    int64_t windows = 0, least = o->second_half ? window : 2;
    int rc = 0;
    progress_begin(&inv->progress, "scoring", ids->n);
    for (int64_t first = 0; rc == 0 && first + least <= ids->n; first += window) {
        int64_t n = ids->n - first < window ? ids->n - first : window;
        if (o->bos && ids->ids) {
            ids->ids[first] = lariat_tokenizer_bos(inv->tokenizer);
        }
        rc = score_tokens(inv, session, ids->ids + first, n, &s, NULL, NULL);
        invocation_note_shards(inv, session);
        if (rc == 0) {
            whole = s;
            windows++;
        }
    }
    progress_end(&inv->progress);
    if (rc && (rc != EXIT_INTERRUPTED || windows == 0)) {
        return rc;
    }
    if (rc) {
        warn("interrupted after %lld of %lld windows, the result is theirs", (long long)windows,
             (long long)((ids->n + window - least) / window));
    }
    int printed = print(&whole, windows, window);
    return rc ? rc : printed;
}

static int score_session(invocation *inv, const token_list *ids, int64_t window, const char *input)
{
    lariat_session *session;
    TRY(check_tokens(input, ids, inv->model->vocab));
    TRY(checked(lariat_session_open(inv->engine, window, &session)));
    int rc = score_windows(inv, ids, window, session);
    lariat_session_close(session);
    return rc;
}

/* Checks that there is something to score, and a token for --bos. */
static int check_input(const invocation *inv, const token_list *ids, const char *input)
{
    const options *o = inv->options;
    if (ids->n < 2) {
        return complain("%s: fewer than two tokens, so nothing can be scored, give more text", input);
    }
    if (o->second_half && (ids->n < 3 || (o->context && o->context < 3))) {
        return complain("%s: the second half of fewer than three tokens has nothing to score, give more text or a larger -c",
                        input);
    }
    if (o->second_half && o->context && ids->n < o->context) {
        return complain("%s: %lld tokens are no whole window of %lld, give more text or choose a shorter one with -c", input,
                        (long long)ids->n, (long long)o->context);
    }
    if (o->bos && (!inv->tokenizer || lariat_tokenizer_bos(inv->tokenizer) < 0)) {
        return complain("--bos: the model has no token that begins a text, leave it out");
    }
    return 0;
}

/* The window: -c tokens, or the trained length, at most the text's length. */
static int window_of(const options *o, int64_t tokens, int64_t *out)
{
    if (o->context == 0) {
        return invocation_default_context(o, tokens, out);
    }
    *out = tokens > 0 && tokens < o->context ? tokens : o->context;
    return 0;
}

int command_perplexity(const options *o)
{
    invocation inv;
    token_list ids = {0};
    const char *input = "";
    bool reads = o->file || o->tokens;
    int rc = invocation_open_tokenizer(&inv, o, o->file != NULL);
    if (rc == 0 && reads) {
        rc = read_input(&inv, &ids, &input);
        rc = rc ? rc : check_input(&inv, &ids, input);
    }
    int64_t window = 0;
    rc = rc ? rc : window_of(o, ids.n, &window);
    rc = rc ? rc : invocation_open_engine(&inv, (slot_wish){.context = window, .sessions = 1});
    if (rc == 0 && inv.engine) {
        rc = score_session(&inv, &ids, window, input);
    }
    lariat_free(ids.ids);
    return invocation_close(&inv, rc);
}
