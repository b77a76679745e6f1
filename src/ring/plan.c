/* The division of a pass over the ranks, and the predictions that choose its layout and which side travels.
   Rests on nothing. See plan.h. */
#include "ring/plan.h"

#include <math.h>

/* Tokens that fit below a common level of filling. */
static int64_t below_level(int n, const int64_t filled[], const int64_t room[], int64_t level)
{
    int64_t sum = 0;

    for (int r = 0; r < n; r++) {
        int64_t share = level - filled[r];
        sum += share < 0 ? 0 : share < room[r] ? share : room[r];
    }
    return sum;
}

/* The highest level that `tokens` reach everywhere. */
static int64_t find_level(int n, const int64_t filled[], const int64_t room[], int64_t tokens)
{
    int64_t low = 0, high = tokens;

    for (int r = 0; r < n; r++) {
        high = filled[r] + tokens > high ? filled[r] + tokens : high;
    }
    while (low < high) {
        int64_t middle = low + (high - low + 1) / 2;
        if (below_level(n, filled, room, middle) <= tokens) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    return low;
}

int64_t plan_shares(int n, const int64_t filled[], const int64_t room[], const int64_t rows[], int64_t tokens, int64_t share[])
{
    int64_t level = find_level(n, filled, room, tokens), placed = 0;

    for (int r = 0; r < n; r++) {
        int64_t s = level - filled[r];
        share[r] = s < 0 ? 0 : s < room[r] ? s : room[r];
        placed += share[r];
    }
    while (placed < tokens) { /* fewer than n are left, one for each rank that stands at the level */
        int best = -1;
        for (int r = 0; r < n; r++) {
            bool can = share[r] < room[r] && filled[r] + share[r] == level;
            if (can && (best < 0 || rows[r] + share[r] < rows[best] + share[best])) {
                best = r;
            }
        }
        if (best < 0) {
            break;
        }
        share[best]++;
        placed++;
    }
    return placed;
}

/* Adds the next block to the runs; a neighbour of the same rank grows. Returns how many runs there are. */
static int add_block(plan_run runs[], int n_runs, int rank, int64_t first, int64_t size)
{
    if (size == 0) {
        return n_runs;
    }
    if (n_runs && runs[n_runs - 1].rank == rank) {
        runs[n_runs - 1].count += size;
        return n_runs;
    }
    runs[n_runs] = (plan_run){rank, first, size};
    return n_runs + 1;
}

int plan_zigzag(int n, const int64_t share[], int64_t first, plan_run runs[])
{
    int n_runs = 0;

    for (int r = 0; r < n; r++) { /* there ... */
        int64_t size = share[r] - share[r] / 2;
        n_runs = add_block(runs, n_runs, r, first, size);
        first += size;
    }
    for (int r = n - 1; r >= 0; r--) { /* ... and back */
        n_runs = add_block(runs, n_runs, r, first, share[r] / 2);
        first += share[r] / 2;
    }
    return n_runs;
}

int64_t plan_slices_up_to(const plan_costs *c, int64_t most)
{
    /* By tokens every rank reads all weights; by slices 1/n of them, but rows travel. */
    double saved = c->weight_bytes * (1 - 1.0 / c->n_ranks) / c->read_bytes_per_s;
    double speed = c->hop_bytes_per_s > 0 ? c->hop_bytes_per_s : c->read_bytes_per_s;
    double tokens = saved / (c->row_bytes / speed);

    return c->n_ranks == 1 || tokens > (double)most ? most : tokens < 1 ? 1 : (int64_t)tokens;
}

/* Seconds that the hops of a layer take beyond the attention that they hide under. */
static double shown(const plan_costs *c, double bytes_a_hop, double compute_a_hop)
{
    double hop = c->hop_latency_s + bytes_a_hop / c->hop_bytes_per_s;

    return fmax(0, hop - compute_a_hop) * (c->n_ranks - 1);
}

pass_side plan_side(const plan_costs *c, const pass_part parts[], int32_t n)
{
    double keys = 0, queries = 0, pairs = 0; /* of one rank, in one hop */

    if (c->n_ranks == 1 || c->hop_bytes_per_s <= 0) {
        return PASS_KV;
    }
    for (int32_t i = 0; i < n; i++) {
        double held = (double)(parts[i].first + parts[i].count) / c->n_ranks, asking = (double)parts[i].count / c->n_ranks;
        keys += held;
        queries += asking;
        pairs += asking * held;
    }
    double compute = pairs * c->qk_flops / c->flops;

    return shown(c, keys * c->kv_bytes, compute) <= shown(c, queries * c->q_bytes, compute) ? PASS_KV : PASS_Q;
}

int64_t plan_q_from(const plan_costs *c, int64_t tokens, int64_t most)
{
    /* Both sides grow with the prefix in a straight line, so the answer changes once at most. */
    int64_t low = 0, high = most + 1;

    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        const pass_part all = {.first = middle, .count = tokens};
        if (plan_side(c, &all, 1) == PASS_Q) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low > most ? -1 : low;
}
