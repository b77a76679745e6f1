/* What tracing costs: prefill and decode with and without, in turns, in one process.
   Rests on the public API. Usage: bench_trace MODEL [PAIRS [gpu]]
   Prints the median time of each and the median of the ratios of neighbours: a machine that others use too drifts less between
   two neighbours than over the whole run. */
#define BENCH "bench_trace"
#include "bench/bench.h"

#include "base/clock.h"
#include "lariat/trace.h"

enum {
    PROMPT = 512,
    PAIRS = 41, /* of prefill; ten times as many of decode */
    PAIRS_MOST = 2000,
    ROOM = 1000 /* spans: more than one pass has; fresh memory costs a little, and runs have one start for many passes */
};

static double median(const double *values, int n)
{
    double sorted[PAIRS_MOST];

    memcpy(sorted, values, (size_t)n * sizeof *sorted);
    return median_of(sorted, (size_t)n);
}

static double step(lariat_engine *e, lariat_session *s, const int32_t *tokens, int64_t count, float *logits)
{
    lariat_work item = {.session = s, .tokens = tokens, .count = count, .n_logits = 1, .logits = logits};
    double began = clock_now();

    demand(lariat_step(e, &item, 1));
    return clock_now() - began;
}

/* One step from a session of `from` positions, traced or not. */
static double timed(lariat_engine *e, lariat_session *s, int64_t from, int64_t count, bool traced, float *logits)
{
    static int32_t tokens[PROMPT];

    for (int i = 0; i < PROMPT; i++) {
        tokens[i] = (i * 7919) % lariat_engine_model(e)->vocab;
    }
    demand(lariat_session_rewind(s, from));
    demand(lariat_trace_start(e, ROOM)); /* either way: what is between two steps is the same */
    if (!traced) {
        lariat_trace_stop(e);
    }
    double spent = step(e, s, tokens, count, logits);
    lariat_trace_stop(e);
    return spent;
}

/* The same step over and over, either way first every other time. */
static void compare(const char *what, lariat_engine *e, lariat_session *s, int64_t from, int64_t count, int pairs,
                    float *logits)
{
    double spent[2][PAIRS_MOST], ratios[PAIRS_MOST];

    for (int i = 0; i < pairs; i++) {
        for (int turn = 0; turn < 2; turn++) {
            bool traced = (turn + i) & 1;
            spent[traced][i] = timed(e, s, from, count, traced, logits);
        }
        ratios[i] = spent[1][i] / spent[0][i];
    }
    printf("ring of %d, %s: off %.2f ms, on %.2f ms; on over off, median of %d pairs: %.4f\n", lariat_engine_plan(e)->ranks,
           what, 1e3 * median(spent[0], pairs), 1e3 * median(spent[1], pairs), pairs, median(ratios, pairs));
}

static void bench_ring(const char *path, lariat_device kind, int32_t ranks, int pairs)
{
    lariat_options o = {.device = kind, .ranks = ranks, .context = PROMPT + 1};
    lariat_engine *e;
    lariat_session *s;

    demand(lariat_engine_open(path, &o, &e));
    demand(lariat_session_open(e, 0, &s));
    float *logits = malloc((size_t)lariat_engine_model(e)->vocab * sizeof *logits);
    if (logits) {
        (void)timed(e, s, 0, PROMPT, false, logits); /* warms up */
        compare("decode of 1 at 512", e, s, PROMPT, 1, 10 * pairs < PAIRS_MOST ? 10 * pairs : PAIRS_MOST, logits);
        compare("prefill of 512", e, s, 0, PROMPT, pairs, logits);
    }
    free(logits);
    lariat_session_close(s);
    demand(lariat_engine_close(e));
}

int main(int argc, char **argv)
{
    int pairs = argc > 2 ? atoi(argv[2]) : PAIRS;
    bool on_gpus = argc == 4 && strcmp(argv[3], "gpu") == 0;
    lariat_device kind = on_gpus ? LARIAT_DEVICE_CUDA : LARIAT_DEVICE_CPU;

    if (argc < 2 || argc > 4 || (argc == 4 && !on_gpus) || pairs < 1 || pairs > PAIRS_MOST) {
        fprintf(stderr, "usage: bench_trace MODEL [PAIRS [gpu]]\n");
        return 2;
    }
    bench_ring(argv[1], kind, 1, pairs);
    bench_ring(argv[1], kind, 2, pairs);
    return 0;
}
