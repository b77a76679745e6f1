/* Choosing devices, and opening them.
   Rests on device/cpu/cpu.h, device/gpu.h, comm/gpu_transport.h. See placement.h. */
#include "engine/placement.h"

#include "device/cpu/cpu.h"
#include "device/gpu.h"
#include "engine/apart.h"

#include <stdio.h>

/* --- CPUs --- */

static lariat_status choose_cpu(const lariat_options *o, placement *out)
{
    if (o->n_cards) {
        return fail(LARIAT_BAD_ARGUMENT, "devices: CPUs have no numbers; name GPUs only, or leave --devices out");
    }
    if (o->dtype != LARIAT_DTYPE_AUTO && o->dtype != LARIAT_DTYPE_F32) {
        return fail(LARIAT_BAD_ARGUMENT, "dtype: CPUs compute in f32 from the weights as they are stored; leave --dtype out");
    }
    *out = (placement){.kind = LARIAT_DEVICE_CPU, .act = DTYPE_F32};
    snprintf(out->name, sizeof out->name, "CPU");
    return LARIAT_OK;
}

/* --- GPUs --- */

static dtype activation_type(const lariat_options *o, dtype weight_type)
{
    switch (o->dtype) {
    case LARIAT_DTYPE_BF16:
        return DTYPE_BF16;
    case LARIAT_DTYPE_F16:
        return DTYPE_F16;
    case LARIAT_DTYPE_F32:
        return DTYPE_F32;
    case LARIAT_DTYPE_AUTO:
        break;
    }
    return weight_type == DTYPE_F16 ? DTYPE_F16 : DTYPE_BF16;
}

static lariat_status check_kv(const lariat_options *o, dtype act)
{
    static const dtype types[] = {[LARIAT_KV_F16] = DTYPE_F16, [LARIAT_KV_BF16] = DTYPE_BF16, [LARIAT_KV_F32] = DTYPE_F32};

    if (o->kv == LARIAT_KV_AUTO || o->kv == LARIAT_KV_Q8 || types[o->kv] == act) {
        return LARIAT_OK;
    }
    return fail(LARIAT_BAD_ARGUMENT,
                "kv: on GPUs the cache has the type of activations, %s, or q8; leave --kv out, or say --dtype",
                dtype_name(act));
}

/* With more ranks than cards several share one; with fewer, the last cards stay out. */
static int32_t cards_used(const lariat_options *o, int32_t n)
{
    return o->ranks && o->ranks < n ? o->ranks : n;
}

/* Those that are named, all of which must be there: their descriptions go to `seen`. */
static lariat_status take_named_cards(const lariat_options *o, int n, placement *out, cuda_card seen[])
{
    for (int32_t i = 0; i < o->n_cards; i++) {
        out->cards[i] = o->cards[i];
        if (out->cards[i] < 0 || out->cards[i] >= n) {
            return fail(LARIAT_BAD_ARGUMENT,
                        "devices: there is no GPU %d; this machine has %d, numbered from 0: choose among them", out->cards[i],
                        n);
        }
        for (int32_t k = 0; k < i; k++) {
            if (out->cards[k] == out->cards[i]) {
                return fail(LARIAT_BAD_ARGUMENT, "devices: GPU %d is named twice; --ranks lays several ranks on a card",
                            out->cards[i]);
            }
        }
    }
    out->n_cards = cards_used(o, o->n_cards);
    for (int32_t i = 0; i < out->n_cards; i++) {
        TRY(out->cuda->describe(out->cards[i], &seen[i]));
    }
    return LARIAT_OK;
}

/* The first that can be used: neither an old card beside a good one nor one that another process holds is a reason to stop.
   Cards that no rank needs are not looked at, since that opens a context on them. */
static lariat_status take_usable_cards(const lariat_options *o, int n, placement *out, cuda_card seen[])
{
    int32_t wanted = cards_used(o, LARIAT_CARDS_MAX), found = 0;
    lariat_status refused = LARIAT_UNSUPPORTED; /* of the first that was */
    char reason[512] = "";

    for (int i = 0; i < n && found < wanted; i++) {
        if (out->cuda->capability(i) < CUDA_SM_LEAST) {
            continue;
        }
        lariat_status status = out->cuda->describe(i, &seen[found]);
        if (status == LARIAT_OK) {
            out->cards[found++] = i;
        } else if (!*reason) {
            refused = status;
            snprintf(reason, sizeof reason, "%s", lariat_error());
        }
    }
    out->n_cards = found;
    return found ? LARIAT_OK : fail(refused, "%s", reason);
}

/* Their free memory, and whether they can read one another's. */
static void note_cards(placement *m, const cuda_card seen[])
{
    for (int32_t i = 0; i < m->n_cards; i++) {
        m->card_free[i] = (int64_t)seen[i].free;
        m->card_node[i] = pci_node("", seen[i].bus_id);
        for (int32_t k = 0; k < m->n_cards; k++) {
            m->through_host = m->through_host || (k != i && !seen[i].can_peer[m->cards[k]]);
        }
    }
    snprintf(m->name, sizeof m->name, "%s", seen[0].name);
}

/* The arguments of choose_gpus. */
typedef struct choice {
    const lariat_options *o;
    dtype weight_type;
    placement *out;
} choice;

static lariat_status choose_gpus(void *arg)
{
    const choice *c = arg;
    const lariat_options *o = c->o;
    placement *out = c->out;
    cuda_card seen[LARIAT_CARDS_MAX];
    int n;

    *out = (placement){
        .kind = LARIAT_DEVICE_CUDA, .act = activation_type(o, c->weight_type), .through_host = o->hops == LARIAT_HOPS_HOST};
    TRY(gpu_module(&out->cuda));
    TRY(comm_gpu_find(&out->transport));
    TRY(out->cuda->count(&n));
    TRY(check_kv(o, out->act));
    TRY(o->n_cards ? take_named_cards(o, n, out, seen) : take_usable_cards(o, n, out, seen));
    note_cards(out, seen);
    return LARIAT_OK;
}

lariat_status placement_choose(const lariat_options *o, dtype weight_type, placement *out)
{
    if (o->n_cards < 0 || o->n_cards > LARIAT_CARDS_MAX) {
        return fail(LARIAT_BAD_ARGUMENT, "devices: %d are out of range, name up to %d", o->n_cards, LARIAT_CARDS_MAX);
    }
    /* Where nothing was asked for, a machine without GPUs is an ordinary one. */
    bool gpus = o->device == LARIAT_DEVICE_CUDA || (o->device == LARIAT_DEVICE_AUTO && (o->n_cards || gpu_usable()));

    choice c = {o, weight_type, out};

    return gpus ? run_apart(choose_gpus, &c) : choose_cpu(o, out);
}

int32_t placement_card(const placement *m, int32_t n_ranks, int32_t rank)
{
    return (int32_t)((int64_t)rank * m->n_cards / n_ranks);
}

void placement_nodes(const placement *m, const cpus *c, int32_t n_ranks, int32_t threads, int32_t node[])
{
    if (!on_cards(m)) {
        cpus_assign_nodes(c, n_ranks, threads, node);
        return;
    }
    for (int32_t r = 0; r < n_ranks; r++) {
        node[r] = cpus_node(c, m->card_node[placement_card(m, n_ranks, r)]);
    }
}

/* --- their rates --- */

double placement_read_rate(const placement *m)
{
    return on_cards(m) ? 3e12 : 10e9; /* an H100; a server CPU's core */
}

double placement_flops(const placement *m)
{
    return on_cards(m) ? 500e12 : 60e9;
}

comm_speed placement_speed(const placement *m)
{
    if (on_cards(m)) {
        return m->transport->speed(m->through_host);
    }
    return m->others ? processes_speed(m->others) : comm_threads_speed();
}

/* --- their memory --- */

size_t placement_device_bytes(const placement *m, int32_t threads)
{
    return on_cards(m) ? m->cuda->memory() : cpu_device_memory(threads);
}

size_t placement_endpoint_bytes(const placement *m, const comm_setup *s)
{
    return on_cards(m) ? m->transport->memory(s, m->through_host) : 0;
}

size_t placement_shared_bytes(const placement *m, const comm_setup *s)
{
    if (!on_cards(m)) {
        return m->others ? processes_transport_memory(m->others, s) : comm_threads_memory(s);
    }
    const size_t a_rank[] = {m->transport->pinned(s, m->through_host), m->cuda->pinned()};
    return bytes_of(s->n_ranks, 1, arena_sum(a_rank, sizeof a_rank / sizeof *a_rank));
}

/* --- opening --- */

lariat_status placement_open_device(const placement *m, int32_t n_ranks, int32_t rank, int32_t threads, device **out)
{
    if (on_cards(m)) {
        return m->cuda->open(m->cards[placement_card(m, n_ranks, rank)], m->act, out);
    }
    return cpu_device_open(threads, CPU_BEST, out);
}

/* --- the transport --- */

typedef struct transport_opening {
    const placement *m;
    const comm_setup *s;
    comm_group **out;
} transport_opening;

static lariat_status open_between_cards(void *arg)
{
    const transport_opening *t = arg;
    int32_t ordinals[LARIAT_RANKS_MAX], n = t->s->n_ranks;

    for (int32_t r = 0; r < n; r++) {
        ordinals[r] = t->m->cards[placement_card(t->m, n, r)];
    }
    return t->m->transport->open(t->s, ordinals, t->m->through_host, t->out);
}

lariat_status placement_open_transport(const placement *m, const comm_setup *s, comm_group **out)
{
    transport_opening t = {m, s, out};

    if (on_cards(m)) {
        return run_apart(open_between_cards, &t);
    }
    return m->others ? processes_transport(m->others, s, out) : comm_threads_open(s, out);
}

static lariat_status reset(void *g)
{
    comm_reset(g);
    return LARIAT_OK;
}

static lariat_status close_group(void *g)
{
    comm_group_close(g);
    return LARIAT_OK;
}

/* Without memory for a thread it is done here all the same: leaving it open would be worse. */
static void apart_if_cards(const placement *m, lariat_status (*fn)(void *g), comm_group *g)
{
    if (!on_cards(m) || run_apart(fn, g) != LARIAT_OK) {
        (void)fn(g);
    }
}

void placement_reset_transport(const placement *m, comm_group *g)
{
    apart_if_cards(m, reset, g);
}

void placement_close_transport(const placement *m, comm_group *g)
{
    if (g) {
        apart_if_cards(m, close_group, g);
    }
}
