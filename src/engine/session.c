/* Sessions: sequences of an engine, and their slots.
   Rests on ring/cache.h, and engine/pass_queue.c for passes under way. See lariat/lariat.h. */
#include "engine/engine.h"

#include <stdlib.h>
#include <string.h>

/* A session without a sequence. */
static lariat_status new_session(lariat_engine *e, lariat_session **out)
{
    *out = NULL;
    if (e->n_sessions == e->plan.sessions) {
        return fail(LARIAT_BAD_ARGUMENT, "session: the engine was opened for %d at once; close one, or open it for more",
                    e->plan.sessions);
    }
    lariat_session *s = calloc(1, sizeof *s);
    TRY_MEMORY(s, "session: no memory" FREE_MEMORY);
    s->engine = e;
    s->row = s->token = -1;
    *out = s;
    return LARIAT_OK;
}

/* Only process 0 is asked for them. */
static lariat_status add_ids(lariat_session *s)
{
    const lariat_processes *p = s->engine->processes;

    if (p && processes_number(p->others) != 0) {
        return LARIAT_OK;
    }
    s->ids = malloc(bytes_of(s->seq.capacity, 1, sizeof *s->ids));
    TRY_MEMORY(s->ids, "session: no memory for %lld ids" FREE_MEMORY, (long long)s->seq.capacity);
    return LARIAT_OK;
}

/* It is open, if it has got its sequence. */
static lariat_status finish_session(lariat_status status, lariat_session **out)
{
    lariat_session *s = *out;

    status = status == LARIAT_OK ? add_ids(s) : status;
    if (status == LARIAT_OK) {
        s->engine->n_sessions++;
        telling_add(s);
        return LARIAT_OK;
    }
    sequence_close(&s->engine->cache, &s->seq);
    free(s);
    *out = NULL;
    return status;
}

lariat_status lariat_session_open(lariat_engine *e, int64_t max_tokens, lariat_session **out)
{
    *out = NULL;
    if (max_tokens < 0) {
        return fail(LARIAT_BAD_ARGUMENT, "session: %lld positions make no sense, ask for 1 or more", (long long)max_tokens);
    }
    TRY(new_session(e, out));
    int64_t capacity = max_tokens ? max_tokens : cache_most(&e->cache);
    TRY(finish_session(sequence_open(&e->cache, capacity, &(*out)->seq), out));
    tell(e, &(command){.kind = TOLD_SESSION_OPEN, .session = (*out)->number, .length = capacity});
    return LARIAT_OK;
}

void lariat_session_close(lariat_session *s)
{
    if (!s) {
        return;
    }
    lariat_engine *e = s->engine;
    session_take_back(s, 0, LARIAT_CANCELLED, "session: closed before the pass was collected");
    for (int i = 0; i < 2; i++) {
        for (int32_t k = 0; k < e->passes[i].n; k++) {
            pass_entry *x = &e->passes[i].entries[k];
            x->session = x->session == s ? NULL : x->session;
        }
    }
    telling_remove(s);
    sequence_close(&e->cache, &s->seq);
    e->n_sessions--;
    free(s->ids);
    free(s);
}

int64_t lariat_session_length(const lariat_session *s)
{
    return s->seq.length;
}

int64_t lariat_session_capacity(const lariat_session *s)
{
    return s->seq.capacity;
}

int64_t lariat_engine_room(const lariat_engine *e)
{
    return cache_room(&e->cache);
}

int64_t lariat_session_shard(const lariat_session *s, int32_t rank)
{
    return rank < 0 || rank >= s->engine->ranks.ring ? 0 : s->seq.held[rank].used;
}

void lariat_session_cancel(lariat_session *s)
{
    atomic_store(&s->cancelled, true);
}

const lariat_top *lariat_session_top(const lariat_session *s, float *logprob)
{
    bool known = s->token >= 0 && s->logprob.n_top;

    *logprob = known ? s->logprob.logprob : 0;
    return known ? s->logprob.top : NULL;
}

/* Does a pass under way begin before `at` and end behind it? */
static bool is_inside_a_pass(const lariat_session *s, int64_t at)
{
    const lariat_engine *e = s->engine;

    for (uint32_t i = e->n_collected; i != e->n_submitted; i++) {
        const pending_pass *p = &e->passes[i % 2];
        for (int32_t k = 0; k < p->n; k++) {
            const pass_entry *x = &p->entries[k];
            int64_t begin = x->before.length;
            if (x->session == s && x->status == LARIAT_OK && begin < at && at < begin + p->plan.parts[k].count) {
                return true;
            }
        }
    }
    return false;
}

sequence session_settled(const lariat_session *s)
{
    const lariat_engine *e = s->engine;

    for (uint32_t i = e->n_collected; i != e->n_submitted; i++) { /* the oldest first */
        const pending_pass *p = &e->passes[i % 2];
        for (int32_t k = 0; k < p->n; k++) {
            if (p->entries[k].session == s && p->entries[k].status == LARIAT_OK) {
                return p->entries[k].before;
            }
        }
    }
    return s->seq;
}

lariat_status lariat_session_rewind(lariat_session *s, int64_t length)
{
    if (length < 0 || length > s->seq.length) {
        return fail(LARIAT_BAD_ARGUMENT, "session: cannot rewind to %lld, it is %lld long, choose from 0 to that",
                    (long long)length, (long long)s->seq.length);
    }
    if (is_inside_a_pass(s, length)) {
        return fail(LARIAT_BAD_ARGUMENT, "session: cannot rewind to %lld, inside a pass that is under way; collect it first",
                    (long long)length);
    }
    session_take_back(s, length, LARIAT_CANCELLED, "session: rewound before the pass was collected");
    if (s->seq.length > length) {
        tell(s->engine, &(command){.kind = TOLD_SESSION_REWIND, .session = s->number, .length = length});
        sequence_rewind(&s->engine->cache, &s->seq, length);
        s->token = -1;
    }
    return LARIAT_OK;
}

const int32_t *lariat_session_tokens(const lariat_session *s, int64_t *n)
{
    *n = session_settled(s).length;
    return s->ids;
}

int64_t lariat_session_reuse(lariat_session *s, const int32_t *tokens, int64_t count)
{
    int64_t settled = session_settled(s).length, kept = 0;

    while (kept < settled && kept < count - 1 && s->ids[kept] == tokens[kept]) {
        kept++;
    }
    (void)lariat_session_rewind(s, kept); /* which cannot fail: no pass under way begins before */
    return kept;
}

void session_restore(lariat_session *s, const sequence *before)
{
    if (s->seq.length > before->length) {
        tell(s->engine, &(command){.kind = TOLD_SESSION_RESTORE, .session = s->number, .length = before->length,
                                   .slices_from = before->slices_from, .decode_rank = before->decode_rank,
                                   .decode_left = before->decode_left});
        sequence_restore(&s->engine->cache, &s->seq, before);
    }
}

lariat_status lariat_session_fork(lariat_session *s, int64_t length, lariat_session **out)
{
    lariat_engine *e = s->engine;
    int64_t most = session_settled(s).length;

    *out = NULL;
    if (length < 0 || length > most) {
        return fail(LARIAT_BAD_ARGUMENT,
                    "session: cannot fork %lld positions, it has %lld without passes under way, choose from 0 to that",
                    (long long)length, (long long)most);
    }
    TRY(session_copy(s, length, out));
    memcpy((*out)->ids, s->ids, (size_t)length * sizeof *s->ids);
    tell(e, &(command){.kind = TOLD_SESSION_FORK, .session = s->number, .other = (*out)->number, .length = length});
    return LARIAT_OK;
}

lariat_status session_copy(const lariat_session *s, int64_t length, lariat_session **out)
{
    TRY(new_session(s->engine, out));
    return finish_session(sequence_fork(&s->engine->cache, &s->seq, length, &(*out)->seq), out);
}
