/* Measuring one cell: random prompts and their replies, with or without the cache.
   Rests on lariat.h. See timing.h. */
#include "cli/bench/timing.h"
#include "cli/message.h"
#include "cli/plan_text.h"
#include "cli/signals.h"
#include "cli/terminal.h"

#include <stdlib.h>
#include <string.h>

enum { WARM_UP_DECODES = 4 };

/* Random ids: a linear congruential sequence, a different one for each text. */
static void fill_tokens(int32_t *ids, int64_t n, int64_t text, int32_t vocab)
{
    uint64_t state = 1 + (uint64_t)text;
    for (int64_t i = 0; i < n; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        ids[i] = (int32_t)((state >> 33) % (uint64_t)vocab);
    }
}

/* --- opening --- */

static int open_sessions(measurement *m)
{
    lariat_sampling likeliest = {.top_p = 1}; /* temperature 0 */
    int64_t each = m->cell.depth + m->cell.n_prompt + m->cell.n_gen;
    for (int64_t b = 0; b < m->cell.batch; b++) {
        if (lariat_session_open(m->engine, each, &m->sessions[b]) != LARIAT_OK ||
            lariat_sampler_open(&likeliest, m->vocab, &m->samplers[b]) != LARIAT_OK) {
            return complain_library();
        }
        fill_tokens(m->texts + b * m->stride, m->begin, b, m->vocab);
    }
    return 0;
}

static int open_texts(measurement *m)
{
    size_t batch = (size_t)m->cell.batch;
    m->begin = m->cell.depth + (m->cell.n_prompt > 0 ? m->cell.n_prompt : 1); /* decoding begins with some token */
    m->stride = m->begin + m->cell.n_gen + 1;
    m->sessions = calloc(batch, sizeof *m->sessions);
    m->samplers = calloc(batch, sizeof *m->samplers);
    m->texts = calloc(batch * (size_t)m->stride, sizeof *m->texts);
    m->generated = calloc(batch, sizeof *m->generated);
    m->replies = calloc(batch, sizeof *m->replies);
    m->items = calloc(batch, sizeof *m->items);
    return m->sessions && m->samplers && m->texts && m->generated && m->replies && m->items ? 0 : complain_memory("bench");
}

int measurement_open(const options *o, row *r, measurement *m)
{
    *m = (measurement){.options = o, .cell = r->cell};
    options one = cell_options(o, &r->cell);
    lariat_options library = plan_options(&one, cell_context(&r->cell), (int32_t)r->cell.batch);
    lariat_status status = lariat_engine_open(o->model, &library, &m->engine);
    if (status == LARIAT_NO_MEMORY) {
        snprintf(r->reason, sizeof r->reason, "%s", lariat_error());
        m->engine = NULL;
        return 0;
    }
    if (status != LARIAT_OK) {
        m->engine = NULL;
        return complain_library();
    }
    m->vocab = lariat_engine_model(m->engine)->vocab;
    r->plan = *lariat_engine_plan(m->engine);
    int rc = open_texts(m);
    rc = rc ? rc : open_sessions(m);
    signals_cancel(rc == 0 ? m->sessions[0] : NULL);
    return rc;
}

void measurement_close(measurement *m)
{
    signals_cancel(NULL);
    for (int64_t b = 0; b < m->cell.batch; b++) {
        if (m->samplers) {
            lariat_sampler_close(m->samplers[b]);
        }
        if (m->sessions) {
            lariat_session_close(m->sessions[b]);
        }
    }
    (void)lariat_engine_close(m->engine); /* which has no sessions left */
    free(m->sessions);
    free(m->samplers);
    free(m->texts);
    free(m->generated);
    free(m->replies);
    free(m->items);
    *m = (measurement){0};
}

/* --- steps --- */

/* A library status as an exit status. */
static int outcome(lariat_status status)
{
    if (status == LARIAT_CANCELLED || signals_interrupted()) {
        return EXIT_INTERRUPTED;
    }
    return status == LARIAT_OK ? 0 : complain_library();
}

static int rewind_all(measurement *m, int64_t length)
{
    for (int64_t b = 0; b < m->cell.batch; b++) {
        TRY(checked(lariat_session_rewind(m->sessions[b], length)));
    }
    return 0;
}

static bool on_token(void *user, int32_t item, int32_t id)
{
    measurement *m = user;
    m->texts[item * m->stride + m->begin + m->generated[item]++] = id;
    return true;
}

/* Reads `count` tokens of every text from `from` on, and makes `most` more. The time and the work are added to the figures. */
static int generate(measurement *m, int64_t from, int64_t count, int64_t most, double *seconds, double *flops,
                    double *weight_bytes)
{
    lariat_stats before, after;
    for (int64_t b = 0; b < m->cell.batch; b++) {
        m->replies[b] = (lariat_reply){.session = m->sessions[b],
                                       .tokens = m->texts + b * m->stride + from,
                                       .count = count,
                                       .sampler = m->samplers[b],
                                       .most = most};
    }
    if (signals_interrupted()) { /* pressed between two calls */
        return EXIT_INTERRUPTED;
    }
    lariat_engine_stats(m->engine, &before);
    double began = now_s();
    lariat_status status = lariat_generate(m->engine, m->replies, (int32_t)m->cell.batch, on_token, m);
    *seconds += now_s() - began;
    lariat_engine_stats(m->engine, &after);
    *flops += after.flops - before.flops;
    *weight_bytes += after.weight_bytes_read - before.weight_bytes_read;
    return outcome(status);
}

/* Reads a prompt of n_prompt tokens after the depth, to the first token, then decodes n_gen tokens. */
static int run_cached(measurement *m, int64_t n_prompt, int64_t n_gen, sample *out)
{
    double weight_bytes = 0; /* discarded: the share of prefill is one of operations */
    int rc = rewind_all(m, m->cell.depth);
    int64_t last = m->cell.depth; /* index of the last token */
    if (rc == 0 && n_prompt > 0) {
        rc = generate(m, m->cell.depth, n_prompt, 1, &out->prefill_s, &out->prefill_flops, &weight_bytes);
        last = m->begin;
    }
    if (rc == 0 && n_gen > 0) {
        rc = generate(m, last, 1, n_gen, &out->decode_s, &out->decode_flops, &out->decode_weight_bytes);
    }
    return rc;
}

/* Every token is the first one after a prefill of all before it. */
static int run_uncached(measurement *m, int64_t n_prompt, int64_t n_gen, sample *out)
{
    int rc = 0;
    for (int64_t i = 0; rc == 0 && i <= n_gen; i++) {
        bool first = i == 0;
        rc = rewind_all(m, 0);
        rc = rc ? rc
                : generate(m, m->begin - n_prompt, n_prompt + i, 1, first ? &out->prefill_s : &out->decode_s,
                           first ? &out->prefill_flops : &out->decode_flops, &out->decode_weight_bytes);
    }
    return rc;
}

static int run(measurement *m, int64_t n_prompt, int64_t n_gen, sample *out)
{
    *out = (sample){0};
    memset(m->generated, 0, (size_t)m->cell.batch * sizeof *m->generated);
    return m->cell.cached ? run_cached(m, n_prompt, n_gen, out) : run_uncached(m, n_prompt, n_gen, out);
}

/* --- before the clock starts --- */

/* Reads `count` tokens of every text from `from` on; with `logits` those of each last one are kept. */
static int read_texts(measurement *m, int64_t from, int64_t count, float *logits)
{
    for (int64_t b = 0; b < m->cell.batch; b++) {
        m->items[b] = (lariat_work){.session = m->sessions[b],
                                    .tokens = m->texts + b * m->stride + from,
                                    .count = count,
                                    .n_logits = logits ? 1 : 0,
                                    .logits = logits ? logits + b * m->vocab : NULL};
    }
    int rc = rewind_all(m, from);
    return rc ? rc : outcome(lariat_step(m->engine, m->items, (int32_t)m->cell.batch));
}

static int take_logits(measurement *m, row *r)
{
    free(r->logits);
    r->logits = malloc((size_t)m->cell.batch * (size_t)m->vocab * sizeof *r->logits);
    return r->logits ? read_texts(m, m->cell.depth, m->cell.n_prompt, r->logits) : complain_memory("bench");
}

int measurement_warm_up(measurement *m, row *r, bool check)
{
    const cell *c = &m->cell;
    sample unused;
    int64_t prompt = c->n_prompt < r->plan.chunk ? c->n_prompt : r->plan.chunk;
    int64_t reply = c->n_gen < WARM_UP_DECODES ? c->n_gen : WARM_UP_DECODES;
    int rc = c->depth > 0 ? read_texts(m, 0, c->depth, NULL) : 0;
    rc = rc || !check ? rc : take_logits(m, r);
    for (int64_t i = 0; rc == 0 && i < m->options->warm_up; i++) {
        rc = run(m, prompt, reply, &unused);
    }
    return rc;
}

/* --- a sample --- */

static int64_t rank_bytes(const measurement *m, const lariat_stats *s)
{
    const lariat_plan *plan = lariat_engine_plan(m->engine);
    return s->shard_bytes + s->activation_bytes + (plan->cards > 0 ? plan->weight_bytes : 0);
}

static int keep_ids(const measurement *m, row *r)
{
    size_t reply = (size_t)m->cell.n_gen + 1;
    r->ids = r->ids ? r->ids : malloc((size_t)m->cell.batch * reply * sizeof *r->ids);
    if (!r->ids) {
        return complain_memory("bench");
    }
    for (int64_t b = 0; b < m->cell.batch; b++) {
        memcpy(r->ids + (size_t)b * reply, m->texts + b * m->stride + m->begin, reply * sizeof *r->ids);
    }
    return 0;
}

int measurement_take(measurement *m, row *r, sample *out)
{
    lariat_stats before, after;
    lariat_engine_stats(m->engine, &before);
    int rc = run(m, m->cell.n_prompt, m->cell.n_gen, out);
    lariat_engine_stats(m->engine, &after);
    out->rank_bytes = rank_bytes(m, &after);
    out->hops = after.hops - before.hops;
    out->hop_s = after.hop_s - before.hop_s;
    out->hop_wait_s = after.hop_wait_s - before.hop_wait_s;
    return rc ? rc : keep_ids(m, r);
}
