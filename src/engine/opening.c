/* The start of several processes: their descriptions, and the phases in which they open an engine together.
   Rests on comm/processes.h: everybody reports to process 0, which tells its verdict. See engine.h.

   A failure of one process is a failure of all, before anybody waits for its ranks. Each report has what must be the same
   everywhere: silently wrong answers would follow from a different model, build or plan. */
#include "engine/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "rank 2 (host)": its first rank. */
typedef struct process_name {
    char text[96];
} process_name;

static process_name name_of(const processes *others, int32_t number)
{
    const process_info *info = processes_of(others, number);
    process_name name;

    snprintf(name.text, sizeof name.text, "rank %d (%s)", info->first_rank, info->host);
    return name;
}

/* --- the verdict --- */

/* A message that could not be sent or read is this process's failure, unless another's is known: others wait for it. */
static lariat_status carried(processes *others, lariat_status status)
{
    if (status != LARIAT_OK && processes_check(others, 0) == LARIAT_OK) {
        processes_fail(others, -1, lariat_error());
    }
    return status;
}

static lariat_status tell_verdict(processes *others, lariat_status status)
{
    command c = {.kind = TOLD_VERDICT, .status = (int32_t)status};

    snprintf(c.text, sizeof c.text, "%s", status == LARIAT_OK ? "" : lariat_error());
    TRY(carried(others, tell_alone(others, &c)));
    return status == LARIAT_OK ? LARIAT_OK : fail(status, "%s", c.text);
}

static lariat_status hear_command(processes *others, command_kind kind, command *out)
{
    process_bytes message;

    TRY(carried(others, processes_hear(others, &message)));
    command_bytes b = {.from = message.at, .room = message.n};
    if (!command_read(&b, out) || out->kind != kind) {
        return carried(others,
                       fail(LARIAT_FAILED, "processes: an order from process 0 that makes no sense, please report this"));
    }
    return LARIAT_OK;
}

static lariat_status hear_verdict(processes *others)
{
    command c;

    TRY(hear_command(others, TOLD_VERDICT, &c));
    return c.status == LARIAT_OK ? LARIAT_OK : fail((lariat_status)c.status, "%s", c.text);
}

/* --- the hello --- */

enum { BUILD_MOST = 96, AGREED_MOST = 4096 };

typedef struct hello {
    int32_t protocol;
    char build[BUILD_MOST];
    cpu_set cpus;
    char agreed[AGREED_MOST];
} hello;

static void say_hello(const char *agreed, hello *out)
{
    cpus c;

    memset(out, 0, sizeof *out);
    out->protocol = COMMANDS_PROTOCOL;
    snprintf(out->build, sizeof out->build, "%s", lariat_version());
    snprintf(out->agreed, sizeof out->agreed, "%s", agreed ? agreed : "");
    cpus_read("", &c);
    for (int32_t i = 0; i < c.n; i++) {
        (void)cpu_set_add(&out->cpus, c.list[i].number);
    }
}

/* A hello that was received; of another build only its first two fields are. */
static bool read_hello(process_bytes given, hello *out)
{
    memset(out, 0, sizeof *out);
    memcpy(out, given.at, given.n < sizeof *out ? given.n : sizeof *out);
    out->build[BUILD_MOST - 1] = 0;
    out->agreed[AGREED_MOST - 1] = 0;
    return given.n == sizeof *out;
}

/* The line of a text that begins with `name`, up to the blank: its value, NULL if there is none. */
static const char *value_of(const char *text, const char *name, size_t size)
{
    while (*text && !(strncmp(text, name, size) == 0 && text[size] == ' ')) {
        text += strcspn(text, "\n");
        text += *text == '\n';
    }
    return *text ? text + size + 1 : NULL;
}

/* The first line of `a` that `b` has not, or has otherwise. `swapped`: for the order of the sentence. */
static lariat_status compare_lines(const char *a, const char *b, const char *name_a, const char *name_b, bool swapped)
{
    for (const char *line = a; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        size_t size = strcspn(line, " ");
        const char *mine = line + size + 1, *other = value_of(b, line, size);
        int n = (int)strcspn(mine, "\n"), m = other ? (int)strcspn(other, "\n") : 0;
        if (!other) {
            return fail(LARIAT_BAD_ARGUMENT, "%.*s: %s has %.*s, %s was not given it: start all processes alike", (int)size,
                        line, name_a, n, mine, name_b);
        }
        if (!swapped && (n != m || strncmp(mine, other, (size_t)n) != 0)) {
            return fail(LARIAT_BAD_ARGUMENT, "%.*s: %s has %.*s, %s has %.*s: start all processes alike", (int)size, line,
                        name_a, n, mine, name_b, m, other);
        }
    }
    return LARIAT_OK;
}

static lariat_status compare_hello(const processes *others, const hello *mine, process_bytes given, int32_t number)
{
    hello his;
    process_name a = name_of(others, 0), b = name_of(others, number);
    bool whole = read_hello(given, &his);

    if (strcmp(his.build, mine->build) != 0) {
        return fail(LARIAT_UNSUPPORTED, "build: %s has version %s, %s has %s: install the same on all hosts", a.text,
                    mine->build, b.text, his.build);
    }
    if (his.protocol != mine->protocol || !whole) {
        return fail(LARIAT_UNSUPPORTED, "protocol: %s has number %d, %s has %d: install the same build on all hosts", a.text,
                    mine->protocol, b.text, his.protocol);
    }
    TRY(compare_lines(mine->agreed, his.agreed, a.text, b.text, false));
    return compare_lines(his.agreed, mine->agreed, b.text, a.text, true);
}

static bool share_cpus(const cpu_set *a, const cpu_set *b)
{
    uint64_t common = 0;

    for (size_t i = 0; i < sizeof a->bits / sizeof *a->bits; i++) {
        common |= a->bits[i] & b->bits[i];
    }
    return common != 0;
}

/* Who else is on the host of a process, and may use its CPUs. */
static host_share share_of(const lariat_processes *p, int32_t number)
{
    host_share share = {0};
    hello own, his;

    (void)read_hello(p->given[number], &own);
    for (int32_t i = 0; i < processes_count(p->others); i++) {
        const process_info *other = processes_of(p->others, i);
        if (!processes_share_host(p->others, i, number)) {
            continue;
        }
        share.processes++;
        (void)read_hello(p->given[i], &his);
        if (i == number || share_cpus(&own.cpus, &his.cpus)) {
            share.sharing++;
            share.ranks += other->n_ranks;
            share.first += i < number ? other->n_ranks : 0;
        }
    }
    return share;
}

static lariat_status judge_hellos(const lariat_processes *p, const hello *mine)
{
    int32_t count = processes_count(p->others);
    const process_info *last = processes_of(p->others, count - 1);

    for (int32_t i = 1; i < count; i++) {
        TRY(compare_hello(p->others, mine, p->given[i], i));
    }
    if (last->first_rank + last->n_ranks > LARIAT_RANKS_MAX) {
        return fail(LARIAT_BAD_ARGUMENT, "ranks: all processes have %d together, a ring has %d at most: start fewer",
                    last->first_rank + last->n_ranks, LARIAT_RANKS_MAX);
    }
    return LARIAT_OK;
}

static lariat_status tell_shares(const lariat_processes *p)
{
    int32_t count = processes_count(p->others);
    command c = {.kind = TOLD_SHARES, .items = p->shares, .n_items = count};
    size_t size = (size_t)count * sizeof *p->shares + 64;
    arena memory;

    for (int32_t i = 0; i < count; i++) {
        p->shares[i] = share_of(p, i);
    }
    TRY(arena_open(&memory, arena_need(size), "processes"));
    command_bytes b = {.to = arena_take(&memory, size), .room = size};
    (void)command_write(&b, &c);
    lariat_status status = processes_tell(p->others, b.to, b.at);
    arena_close(&memory);
    return status;
}

static lariat_status exchange_hellos(lariat_processes *p, const char *agreed)
{
    hello mine;
    int32_t number = processes_number(p->others), count = processes_count(p->others);
    command c;

    processes_phase(p->others, "starting");
    say_hello(agreed, &mine);
    TRY(processes_collect(p->others, (process_bytes){&mine, sizeof mine}, p->given));
    if (number == 0) {
        TRY(tell_verdict(p->others, judge_hellos(p, &mine)));
        TRY(carried(p->others, tell_shares(p)));
        p->share = p->shares[0];
        return LARIAT_OK;
    }
    TRY(hear_verdict(p->others));
    TRY(hear_command(p->others, TOLD_SHARES, &c));
    if (c.n_items != count) {
        return carried(p->others, fail(LARIAT_FAILED, "processes: shares of %lld, there are %d, please report this",
                                       (long long)c.n_items, count));
    }
    command_share(&c, number, &p->share);
    return LARIAT_OK;
}

static lariat_status greet(lariat_processes *p, const char *agreed)
{
    size_t count = (size_t)processes_count(p->others);

    p->given = calloc(count, sizeof *p->given);
    p->shares = calloc(count, sizeof *p->shares);
    TRY_MEMORY(p->given && p->shares, "processes: no memory for %zu of them" FREE_MEMORY, count);
    return exchange_hellos(p, agreed);
}

void processes_disown(lariat_processes *p)
{
    free(p->given);
    free(p->shares);
    opening_forget(&p->verified);
    free(p);
}

lariat_status processes_adopt(processes *others, const char *agreed, lariat_processes **out)
{
    lariat_processes *p = calloc(1, sizeof *p);

    *out = NULL;
    TRY_MEMORY(p, "processes: no memory" FREE_MEMORY);
    p->others = others;
    lariat_status status = greet(p, agreed);
    if (status != LARIAT_OK) {
        processes_disown(p);
        return status;
    }
    *out = p;
    return LARIAT_OK;
}

/* --- opening an engine --- */

enum { FACTS = 10 };

typedef struct opening_report {
    int32_t status;
    char reason[COMMAND_TEXT_MOST];
    uint64_t fingerprint;
    int64_t facts[FACTS];
} opening_report;

static const char *const fact_names[FACTS] = {"ranks",       "chunk",  "context",       "slots",        "sessions",
                                              "slices up to", "layers", "queries travel", "message bytes", "key bytes"};

/* The inputs of the plan of a pass. */
static void list_facts(const lariat_engine *e, opening_report *out)
{
    const lariat_plan *p = &e->plan.shown;
    const int64_t facts[FACTS] = {p->ranks,
                                  p->chunk,
                                  p->context,
                                  p->slots_per_rank,
                                  e->plan.sessions,
                                  p->slices_up_to,
                                  e->model->config.n_layers,
                                  p->pass_q_from,
                                  (int64_t)e->plan.transport.message_bytes,
                                  (int64_t)e->plan.transport.hop_bytes[COMM_KV]};

    out->fingerprint = e->model->fingerprint;
    memcpy(out->facts, facts, sizeof facts);
}

static lariat_status compare_reports(const processes *others, const opening_report *mine, const opening_report *his,
                                     int32_t number)
{
    process_name a = name_of(others, 0), b = name_of(others, number);

    if (his->fingerprint != mine->fingerprint) {
        return fail(LARIAT_BAD_MODEL,
                    "model: %s has one of fingerprint %016llx, %s one of %016llx: give all processes the same", a.text,
                    (unsigned long long)mine->fingerprint, b.text, (unsigned long long)his->fingerprint);
    }
    for (int i = 0; i < FACTS; i++) {
        if (his->facts[i] != mine->facts[i]) {
            return fail(LARIAT_FAILED, "plan: %s has %lld %s, %s has %lld, please report this", a.text,
                        (long long)mine->facts[i], fact_names[i], b.text, (long long)his->facts[i]);
        }
    }
    return LARIAT_OK;
}

/* The first failure, in order of processes; otherwise the first difference. */
static lariat_status judge_reports(const lariat_processes *p, lariat_status mine)
{
    opening_report own, his;

    if (mine != LARIAT_OK) {
        return mine;
    }
    memcpy(&own, p->given[0].at, sizeof own);
    for (int32_t i = 1; i < processes_count(p->others); i++) {
        if (p->given[i].n != sizeof his) {
            return fail(LARIAT_FAILED, "processes: %s has reported something else, please report this",
                        name_of(p->others, i).text);
        }
        memcpy(&his, p->given[i].at, sizeof his);
        his.reason[sizeof his.reason - 1] = 0;
        if (his.status != LARIAT_OK) {
            return fail((lariat_status)his.status, "%s: %s", name_of(p->others, i).text, his.reason);
        }
        TRY(compare_reports(p->others, &own, &his, i));
    }
    return LARIAT_OK;
}

/* `e` NULL: nothing but the status. */
static lariat_status agree(lariat_processes *p, const lariat_engine *e, lariat_status mine)
{
    opening_report report;

    memset(&report, 0, sizeof report);
    report.status = (int32_t)mine;
    if (mine != LARIAT_OK) {
        snprintf(report.reason, sizeof report.reason, "%s", lariat_error());
    } else if (e) {
        list_facts(e, &report);
    }
    TRY(carried(p->others, processes_collect(p->others, (process_bytes){&report, sizeof report}, p->given)));
    if (processes_number(p->others) != 0) {
        return hear_verdict(p->others);
    }
    if (mine != LARIAT_OK) {
        return tell_verdict(p->others, fail(mine, "%s", report.reason));
    }
    return tell_verdict(p->others, judge_reports(p, mine));
}

lariat_status opening_agree_alone(lariat_processes *p, lariat_status mine)
{
    return p ? agree(p, NULL, mine) : mine;
}

lariat_status opening_agree(lariat_engine *e, lariat_status mine)
{
    return e->processes ? agree(e->processes, e, mine) : mine;
}

/* --- comparing all values --- */

/* All of process `number` against process 0's: the first tensor that differs. */
static lariat_status compare_hashes(const lariat_processes *p, const tensors *table, int32_t number)
{
    process_name a = name_of(p->others, 0), b = name_of(p->others, number);
    size_t bytes = (size_t)table->n * sizeof(uint64_t);
    uint64_t mine, his;

    if (p->given[number].n != bytes) {
        return fail(LARIAT_FAILED, "processes: %s has hashes of another model, please report this", b.text);
    }
    for (size_t at = 0; at < bytes; at += sizeof mine) {
        memcpy(&mine, (const unsigned char *)p->given[0].at + at, sizeof mine);
        memcpy(&his, (const unsigned char *)p->given[number].at + at, sizeof his);
        if (mine != his) {
            return fail(LARIAT_BAD_MODEL,
                        "model: tensor %s has other values: %s has some with the hash %016llx, %s with %016llx: give all "
                        "processes the same", table->list[at / sizeof mine].name, a.text, (unsigned long long)mine, b.text,
                        (unsigned long long)his);
        }
    }
    return LARIAT_OK;
}

static lariat_status exchange_hashes(lariat_processes *p, const tensors *table, const uint64_t hashes[])
{
    size_t bytes = (size_t)table->n * sizeof *hashes;
    lariat_status status = LARIAT_OK;

    TRY(carried(p->others, processes_collect(p->others, (process_bytes){hashes, bytes}, p->given)));
    if (processes_number(p->others) != 0) {
        return hear_verdict(p->others);
    }
    for (int32_t i = 1; status == LARIAT_OK && i < processes_count(p->others); i++) {
        status = compare_hashes(p, table, i);
    }
    return tell_verdict(p->others, status);
}

void opening_forget(model_hashes *h)
{
    free(h->path);
    free(h->list);
    *h = (model_hashes){0};
}

/* Hashes the model, with this process's threads, unless that was done before. */
static lariat_status hash_once(const lariat_engine *e, model_hashes *h)
{
    const model *m = e->model;

    if (h->path && h->fingerprint == m->fingerprint && strcmp(h->path, m->path) == 0) {
        return LARIAT_OK;
    }
    opening_forget(h);
    h->list = calloc((size_t)m->table->n + 1, sizeof *h->list);
    TRY_MEMORY(h->list, "%s: no memory for its hashes" FREE_MEMORY, m->path);
    TRY(model_hash(m, e->plan.threads.threads, h->list));
    h->path = strdup(m->path);
    TRY_MEMORY(h->path, "%s: no memory for its hashes" FREE_MEMORY, m->path);
    h->fingerprint = m->fingerprint;
    return LARIAT_OK;
}

lariat_status opening_verify(lariat_engine *e)
{
    lariat_processes *p = e->processes;

    if (!p) {
        return LARIAT_OK;
    }
    TRY(agree(p, NULL, hash_once(e, &p->verified)));
    return exchange_hashes(p, e->model->table, p->verified.list);
}
