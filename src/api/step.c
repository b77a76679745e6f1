/* lariat_step: any number of sessions forward by any number of tokens, pass after pass.
   Rests on ring/cache.h (the plan of a pass) and the ranks (engine.c), which take it through the transformer. generate.c goes on
   from here. */
#include "engine/engine.h"

/* chooses: tokens are chosen where logits are wanted, which stay on the device. */
static lariat_status check_item(const lariat_engine *e, const lariat_item *item, int32_t index, bool chooses)
{
    const sequence *seq = &item->session->seq;

    if (item->session->engine != e || item->session->in_step) {
        return fail(LARIAT_BAD_ARGUMENT,
                    "step: the session of item %d belongs to another engine or item, give each session once, to its own engine",
                    index);
    }
    if (item->count < 0 || (item->count && !item->tokens)) {
        return fail(LARIAT_BAD_ARGUMENT, "step: item %d has %lld tokens, which makes no sense, give 0 or more and their ids",
                    index, (long long)item->count);
    }
    if (item->n_logits < 0 || item->n_logits > item->count || (item->n_logits && !item->logits && !chooses)) {
        return fail(LARIAT_BAD_ARGUMENT,
                    "step: item %d wants %lld rows of logits of its %lld tokens, ask for that many at most", index,
                    (long long)item->n_logits, (long long)item->count);
    }
    if (item->count > seq->capacity - seq->length) {
        return fail(LARIAT_CONTEXT_FULL,
                    "step: %lld more tokens do not fit: the session holds %lld of %lld positions; open it larger (-c)",
                    (long long)item->count, (long long)seq->length, (long long)seq->capacity);
    }
    for (int64_t i = 0; i < item->count; i++) {
        if (item->tokens[i] < 0 || item->tokens[i] >= e->model->config.vocab) {
            return fail(
                LARIAT_BAD_ARGUMENT,
                "step: token %lld is id %d, the vocabulary has ids 0 to %d: encode the text with the model's own tokenizer",
                (long long)i, item->tokens[i], e->model->config.vocab - 1);
        }
    }
    return LARIAT_OK;
}

/* Marks the sessions of all items as in the step, so that one named twice is found. */
lariat_status step_begin(lariat_engine *e, const lariat_item items[], int32_t n, bool chooses, int64_t *total)
{
    lariat_status status = LARIAT_OK;
    int32_t marked = 0;

    *total = 0;
    while (marked < n && (status = check_item(e, &items[marked], marked, chooses)) == LARIAT_OK) {
        lariat_session *s = items[marked].session;
        s->in_step = true;
        s->before = s->seq.length;
        s->taken = 0;
        *total += items[marked++].count;
    }
    for (int32_t k = 0; k < marked; k++) { /* the others may be in the step of another engine */
        items[k].session->in_step = false;
    }
    return status;
}

/* Requests for the next `size` tokens, items in their order. Returns how many requests. */
static int32_t make_requests(lariat_engine *e, const lariat_item items[], int32_t n, int64_t size)
{
    int32_t count = 0;

    for (int32_t i = 0; i < n && size; i++) {
        int64_t left = items[i].count - items[i].session->taken;
        if (left) {
            int64_t take = left < size ? left : size;
            e->requests[count] = (pass_request){&items[i].session->seq, take};
            e->request_items[count++] = i;
            size -= take;
        }
    }
    return count;
}

/* Copies the tokens of the planned pass into its flat list. */
static void list_tokens(lariat_engine *e, const lariat_item items[])
{
    for (int32_t i = 0; i < e->pass.n_parts; i++) {
        const lariat_item *item = &items[e->request_items[i]];
        for (int64_t k = 0; k < e->pass.parts[i].count; k++) {
            e->tokens[e->pass.parts[i].token + k] = item->tokens[item->session->taken + k];
        }
    }
}

/* Notes that output `row` of the pass chooses the session's next token. */
static void add_choice(lariat_engine *e, lariat_session *s, int32_t row)
{
    flight *f = &e->flights[e->n_flights % 2];

    e->settings[row] = sampler_next(s->sampler);
    f->whose[row] = s;
    s->row = row;
    s->pending++;
}

/* Adds the rows [row, row + count) of a part, from index `from` of the item on, as far as their logits are wanted. */
static void add_outputs(lariat_engine *e, const lariat_item *item, int32_t rank, int64_t row, int64_t from, int64_t count)
{
    int64_t vocab = e->model->config.vocab, first_wanted = item->count - item->n_logits;

    for (int64_t k = from < first_wanted ? first_wanted - from : 0; k < count; k++) {
        pass_output *out = &e->outputs[e->input.n_outputs++];
        *out = (pass_output){.rank = rank, .row = row + k};
        if (item->session->sampler) {
            add_choice(e, item->session, (int32_t)(out - e->outputs));
        } else {
            out->logits = item->logits + (from + k - first_wanted) * vocab;
        }
    }
}

static void list_outputs(lariat_engine *e, const lariat_item items[])
{
    const pass *p = &e->pass;

    e->input.n_outputs = 0;
    for (int32_t i = 0; p->layout == PASS_BY_SLICES && i < p->n_parts; i++) {
        const lariat_item *item = &items[e->request_items[i]];
        add_outputs(e, item, 0, p->parts[i].token, item->session->taken, p->parts[i].count);
    }
    for (int32_t r = 0; p->layout == PASS_BY_TOKENS && r < p->n_ranks; r++) {
        for (int32_t k = p->run_begin[r]; k < p->run_begin[r + 1]; k++) {
            const pass_run *run = &p->runs[k];
            const lariat_item *item = &items[e->request_items[run->part]];
            add_outputs(e, item, r, run->row, run->first - item->session->before, run->count);
        }
    }
}

/* Bytes of the weights that a pass by slices reads, over all ranks. On GPUs matrices have the type of the run. */
static double bytes_read(const lariat_engine *e, double layer_elements)
{
    const model_config *c = &e->model->config;
    const model_weights *w = &e->model->weights;
    bool cards = e->plan.shown.cards > 0;
    dtype act = e->plan.machine.act;
    double head_bytes = (double)dtype_row_bytes(cards ? act : w->head.type, c->d_model) * c->vocab;
    double embedding_bytes = c->tied_head ? 0 : (double)dtype_row_bytes(w->embedding.type, c->d_model) * c->vocab;
    double layer_bytes = cards ? layer_elements * (double)dtype_block_bytes(act)
                               : (double)e->model->weight_bytes - head_bytes - embedding_bytes;

    return layer_bytes + (e->input.n_outputs ? head_bytes : 0);
}

/* Keys that n queries from a position on see, all of them together. */
static double keys_seen(int64_t first, int64_t n)
{
    return (double)n * (double)first + (double)n * (double)(n + 1) / 2;
}

/* Rows, and the keys that they see, which go no further than their own keys and values in the last layer. */
static void count_ended(const lariat_engine *e, double *rows, double *keys)
{
    const pass *p = &e->pass;

    *rows = *keys = 0;
    for (int32_t r = 0; r < p->n_ranks && p->layout == PASS_BY_TOKENS; r++) {
        if (pass_goes_on(&e->input, r)) {
            continue;
        }
        for (int32_t i = p->run_begin[r]; i < p->run_begin[r + 1]; i++) {
            *rows += (double)p->runs[i].count;
            *keys += keys_seen(p->runs[i].first, p->runs[i].count);
        }
    }
}

static void count_pass(lariat_engine *e)
{
    const pass *p = &e->pass;
    const model_config *c = &e->model->config;
    double head = (double)c->d_model * c->vocab;
    /* elements of a layer: what makes keys and values, and all else */
    double kv = 2.0 * c->d_model * c->head_dim * c->n_kv_heads;
    double others = 2.0 * c->d_model * c->head_dim * c->n_heads + 3.0 * c->d_model * c->d_ff;
    double keys = 0, ended, ended_keys;

    for (int32_t i = 0; i < p->n_parts; i++) {
        keys += keys_seen(p->parts[i].first, p->parts[i].count);
    }
    count_ended(e, &ended, &ended_keys);
    e->stats.flops += 2 * (kv + others) * (double)c->n_layers * (double)p->n_tokens - 2 * others * ended +
                      2 * head * (double)e->input.n_outputs +
                      4.0 * c->n_heads * c->head_dim * ((double)c->n_layers * keys - ended_keys);
    if (p->layout == PASS_BY_SLICES) {
        e->stats.passes_slices++;
        e->stats.weight_bytes_read += bytes_read(e, (double)c->n_layers * (kv + others));
        return;
    }
    e->stats.passes_tokens++;
    e->stats.passes_kv += p->side == PASS_KV;
    e->stats.passes_q += p->side == PASS_Q;
}

static pass_side side_of(const lariat_engine *e)
{
    if (e->plan.shown.pass != LARIAT_PASS_AUTO) {
        return e->plan.shown.pass == LARIAT_PASS_Q && e->plan.setup.pass_q ? PASS_Q : PASS_KV;
    }
    return plan_side(&e->plan.costs, e->pass.parts, e->pass.n_parts);
}

void flight_land(lariat_engine *e)
{
    const flight *f = &e->flights[e->n_landed++ % 2];

    for (int64_t i = 0; i < f->n; i++) {
        lariat_session *s = f->whose[i];
        if (!s->stopped) {
            s->token = f->made[i];
            s->fresh = true;
        }
    }
}

/* Lets the ranks take the planned pass; its tokens, if it chooses some, come into the next flight. */
static lariat_status run_pass(lariat_engine *e, bool chooses, bool ahead)
{
    flight *f = &e->flights[e->n_flights % 2];

    e->input.settings = chooses ? e->settings : NULL;
    e->input.made = chooses ? f->made : NULL;
    e->input.ahead = ahead;
    TRY(engine_run(e, RANK_PASS));
    count_pass(e);
    if (chooses) {
        f->n = e->input.n_outputs;
        e->n_flights++;
    }
    if (chooses && !ahead) {
        flight_land(e);
    }
    return LARIAT_OK;
}

lariat_status step_pass(lariat_engine *e, const lariat_item items[], int32_t n, int64_t size, bool ahead, int64_t *taken)
{
    int32_t count = make_requests(e, items, n, size);
    pass_layout layout = size <= e->plan.shown.slices_up_to ? PASS_BY_SLICES : PASS_BY_TOKENS;

    pass_plan(&e->pass, layout, e->requests, count, e->plan.setup.max_rows);
    e->pass.side = side_of(e);
    e->input.plan = &e->pass;
    e->input.tokens = e->tokens;
    e->input.outputs = e->outputs;
    list_tokens(e, items);
    list_outputs(e, items);
    TRY(run_pass(e, e->input.n_outputs && items[0].session->sampler, ahead));
    for (int32_t i = 0; i < count; i++) {
        items[e->request_items[i]].session->taken += e->requests[i].count;
    }
    *taken = e->pass.n_tokens;
    return *taken ? LARIAT_OK : fail(LARIAT_FAILED, "step: a pass found no room for any token, please report this");
}

lariat_status step_passes(lariat_engine *e, const lariat_item items[], int32_t n, int64_t total)
{
    int64_t done = 0, taken;

    while (done < total) {
        /* Passes of even size: a short last one would read all weights for a few tokens. */
        int64_t left = total - done, passes = (left + e->plan.shown.chunk - 1) / e->plan.shown.chunk;
        TRY(step_pass(e, items, n, (left + passes - 1) / passes, false, &taken));
        done += taken;
        if (e->progress) {
            e->progress(e->progress_user, done, total);
        }
    }
    return LARIAT_OK;
}

lariat_status lariat_step(lariat_engine *e, lariat_item items[], int32_t n)
{
    int64_t total;

    atomic_store(&e->cancel, false); /* before anything else: a cancel that comes from here on is this call's */
    TRY(step_begin(e, items, n, false, &total));
    lariat_status status = step_passes(e, items, n, total);
    for (int32_t i = 0; status != LARIAT_OK && i < n; i++) {
        sequence_rewind(&items[i].session->seq, e->plan.shown.ranks, items[i].session->before);
    }
    return status;
}
