/* Process 0 of a ring over several: commands to the others, for each change of sessions and passes.
   Rests on comm/processes.h and command_bytes.h. follow.c is the other side.

   Commands are buffered and sent when the others' ranks have something to do: for a decoded token, the end of the pass before,
   the next pass and its start are one message. */
#include "engine/engine.h"

#include <stdio.h>
#include <string.h>

enum { NOTES = 4096 }; /* bytes for sessions between two passes; with more they are sent earlier */

bool is_told(const lariat_engine *e)
{
    return e->told.to != NULL;
}

static size_t message_room(const engine_plan *plan)
{
    const size_t pieces[] = {command_pass_bytes(plan->shown.chunk, plan->limits.parts), NOTES};

    return arena_sum(pieces, sizeof pieces / sizeof *pieces);
}

void telling_take(lariat_engine *e, arena *a)
{
    const engine_plan *plan = &e->plan;

    e->numbered = arena_take(a, bytes_of(plan->sessions, 1, sizeof(lariat_session *)));
    e->told_items = arena_take(a, bytes_of(plan->limits.parts, 1, sizeof *e->told_items));
    e->told_tokens = arena_take(a, bytes_of(plan->shown.chunk, 1, sizeof *e->told_tokens));
    unsigned char *room = arena_take(a, message_room(plan));
    bool leads = e->processes && processes_number(e->processes->others) == 0;
    e->told = (command_bytes){.to = leads ? room : NULL, .room = message_room(plan)};
}

/* --- one message --- */

/* What the others are not told they cannot do: the run ends, and all later calls say why. */
static lariat_status end_if_lost(lariat_engine *e, lariat_status status)
{
    return status == LARIAT_OK ? LARIAT_OK : tell_failure(e->processes->others, NULL, status);
}

lariat_status tell_now(lariat_engine *e)
{
    size_t n = e->told.at;

    e->told.at = 0;
    return n ? end_if_lost(e, processes_tell(e->processes->others, e->told.to, n)) : LARIAT_OK;
}

void tell(lariat_engine *e, const command *c)
{
    if (!is_told(e) || command_write(&e->told, c)) {
        return;
    }
    e->told.bad = false;
    (void)tell_now(e); /* a failure stays one: the next call that needs the others finds it */
    if (!command_write(&e->told, c)) {
        e->told.bad = false;
        (void)end_if_lost(e, fail(LARIAT_FAILED, "processes: an order that is longer than its message, please report this"));
    }
}

lariat_status tell_alone(processes *others, const command *c)
{
    unsigned char room[COMMAND_TEXT_MOST + 64];
    command_bytes b = {.to = room, .room = sizeof room};

    (void)command_write(&b, c);
    return processes_tell(others, room, b.at);
}

lariat_status telling_open(const lariat_options *options)
{
    const lariat_processes *p = options->processes;

    if (!p || processes_count(p->others) == 1) {
        return LARIAT_OK;
    }
    if (processes_number(p->others) != 0) {
        return fail(LARIAT_BAD_ARGUMENT, "processes: process 0 opens engines, the others follow it");
    }
    TRY(engine_check_options(options));
    return tell_alone(p->others, &(command){.kind = TOLD_OPEN, .options = *options});
}

lariat_status telling_stop(lariat_processes *p)
{
    return tell_alone(p->others, &(command){.kind = TOLD_STOP});
}

void telling_phase(const lariat_engine *e, const char *text)
{
    if (e->processes) {
        processes_phase(e->processes->others, text);
    }
}

/* --- sessions --- */

void telling_add(lariat_session *s)
{
    lariat_engine *e = s->engine;

    for (s->number = 0; e->numbered && e->numbered[s->number]; s->number++) {
    }
    if (e->numbered) {
        e->numbered[s->number] = s;
    }
}

void telling_remove(lariat_session *s)
{
    lariat_engine *e = s->engine;

    if (e->numbered) {
        e->numbered[s->number] = NULL;
        tell(e, &(command){.kind = TOLD_SESSION_CLOSE, .session = s->number});
    }
}

/* --- passes --- */

void tell_submit(lariat_engine *e, const pending_pass *p)
{
    if (!is_told(e)) {
        return;
    }
    for (int32_t i = 0; i < p->n; i++) {
        const pass_entry *x = &p->entries[i];
        told_item *item = &e->told_items[i];
        memset(item, 0, sizeof *item); /* padding is sent too */
        item->session = x->session->number;
        item->count = p->plan.parts[i].count;
        item->n_logits = x->n_logits;
        item->chooses = x->output >= 0;
        if (x->output >= 0) {
            item->setting = p->settings[x->output];
            item->read_by_host = p->logprobs[x->output].n_top || p->logprobs[x->output].sampler;
        }
    }
    tell(e, &(command){.kind = TOLD_SUBMIT, .pass = e->n_submitted, .layout = (int32_t)p->plan.layout,
                       .side = (int32_t)p->plan.side, .items = e->told_items, .n_items = p->n, .tokens = p->tokens,
                       .n_tokens = p->plan.n_tokens});
}

lariat_status tell_run(lariat_engine *e, const pending_pass *p)
{
    if (!is_told(e)) {
        return LARIAT_OK;
    }
    for (int32_t i = 0; i < p->n; i++) {
        e->told_tokens[i] = p->tokens[p->plan.parts[i].token];
    }
    tell(e, &(command){.kind = TOLD_RUN, .pass = p == &e->passes[e->n_collected % 2] ? e->n_collected : e->n_collected + 1,
                       .number = p->plan.number, .tokens = e->told_tokens, .n_tokens = p->n});
    telling_phase(e, "computing a pass");
    return tell_now(e);
}

lariat_status tell_failure(processes *others, const local_ranks *ranks, lariat_status status)
{
    const local_rank *failed = ranks ? ranks_failed(ranks) : NULL;
    bool of_rank = failed && failed->status == status && status != LARIAT_CANCELLED; /* not of an older function */
    const process_info *own = processes_of(others, processes_number(others));
    char reason[COMMAND_TEXT_MOST];

    snprintf(reason, sizeof reason, "%s", lariat_error());
    TRY(processes_check(others, 0)); /* ranks that are cancelled do not know why */
    processes_fail(others, of_rank ? failed->number : -1, of_rank ? failed->reason : reason);
    return fail(status, "rank %d (%s): %s", of_rank ? failed->number : own->first_rank, own->host,
                of_rank ? failed->reason : reason);
}

lariat_status tell_outcome(lariat_engine *e, lariat_status status)
{
    if (!is_told(e)) {
        return status;
    }
    processes *others = e->processes->others;
    if (status != LARIAT_CANCELLED) {
        return tell_failure(others, &e->ranks, status);
    }
    TRY(processes_check(others, 0)); /* ranks that are cancelled do not know why */
    tell(e, &(command){.kind = TOLD_RESET});
    TRY(tell_now(e));
    placement_reset_transport(&e->plan.placement, e->comm);
    TRY(processes_check(others, 0)); /* another one's rank had failed: its reason arrives after its cancel */
    return fail(LARIAT_CANCELLED, "session: cancelled");
}
