/* Sessions: sequences of an engine, and their slots.
   Rests on ring/cache.h. See lariat/lariat.h; step.c takes them forward. */
#include "engine/engine.h"

#include <stdlib.h>

lariat_status lariat_session_open(lariat_engine *e, int64_t max_tokens, lariat_session **out)
{
    *out = NULL;
    if (max_tokens < 0) {
        return fail(LARIAT_BAD_ARGUMENT, "session: %lld positions make no sense, ask for 1 or more", (long long)max_tokens);
    }
    if (e->n_sessions == e->plan.sessions) {
        return fail(LARIAT_BAD_ARGUMENT, "session: the engine was opened for %d at once; close one, or open it for more",
                    e->plan.sessions);
    }
    if (max_tokens == 0 && cache_room(&e->cache) == 0) {
        return fail(LARIAT_NO_MEMORY,
                    "session: the KV cache has no slot left; open the engine with a larger context (-c) or close a "
                    "session");
    }
    lariat_session *s = calloc(1, sizeof *s);
    if (!s) {
        return fail(LARIAT_NO_MEMORY, "session: no memory" FREE_MEMORY);
    }
    s->engine = e;
    lariat_status status = sequence_open(&e->cache, max_tokens ? max_tokens : cache_room(&e->cache), &s->seq);
    if (status != LARIAT_OK) {
        free(s);
        return status;
    }
    e->n_sessions++;
    *out = s;
    return LARIAT_OK;
}

void lariat_session_close(lariat_session *s)
{
    if (s) {
        sequence_close(&s->engine->cache, &s->seq);
        s->engine->n_sessions--;
        free(s);
    }
}

int64_t lariat_session_length(const lariat_session *s)
{
    return s->seq.length;
}

int64_t lariat_session_capacity(const lariat_session *s)
{
    return s->seq.capacity;
}

lariat_status lariat_session_rewind(lariat_session *s, int64_t length)
{
    if (length < 0 || length > s->seq.length) {
        return fail(LARIAT_BAD_ARGUMENT, "session: cannot rewind to %lld, it is %lld long, choose from 0 to that",
                    (long long)length, (long long)s->seq.length);
    }
    sequence_rewind(&s->seq, s->engine->plan.shown.ranks, length);
    return LARIAT_OK;
}

int64_t lariat_session_shard(const lariat_session *s, int32_t rank)
{
    return rank < 0 || rank >= s->engine->plan.shown.ranks ? 0 : s->seq.parts[rank].used;
}
