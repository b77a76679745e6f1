/* Computing results from samples: medians, shares of the ceilings, speed-ups and their crossings.
   Rests on math. See rows.h. */
#include "cli/bench/rows.h"

#include <math.h>
#include <stdlib.h>

/* --- one row --- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median, least and most; sorts the values. */
static spread spread_of(double *values, int64_t n)
{
    if (n == 0) {
        return (spread){0};
    }
    qsort(values, (size_t)n, sizeof *values, by_value);
    double median = n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
    return (spread){.median = median, .least = values[0], .most = values[n - 1]};
}

static bench_ceilings cards_ceilings(const row_list *all, const lariat_plan *plan)
{
    bench_ceilings sum = {0};
    for (int32_t i = 0; i < plan->cards; i++) {
        const bench_ceilings *one = &all->cards[plan->card[i]];
        if (one->fma_flops <= 0 || one->read_rate <= 0) {
            return (bench_ceilings){0};
        }
        sum.fma_flops += one->fma_flops;
        sum.read_rate += one->read_rate;
    }
    return sum;
}

bench_ceilings rows_ceilings(const row_list *all, const row *r)
{
    for (int i = 0; r->plan.cards == 0 && i < all->n_ceilings; i++) {
        if (all->ceilings[i].threads == r->plan.threads) {
            return all->ceilings[i];
        }
    }
    return cards_ceilings(all, &r->plan);
}

static double share(double ideal_s, double taken_s)
{
    return taken_s > 0 ? ideal_s / taken_s : 0;
}

/* The time at the ceilings over the measured time, of all samples with ceilings together. Decode with a cache is bound by
   reading weights; without one it is repeated prefill. */
static void add_shares(row *r)
{
    double prefill = 0, decode = 0, prefill_s = 0, decode_s = 0;
    for (int64_t i = 0; i < r->n_samples; i++) {
        const sample *s = &r->samples[i];
        if (s->fma_flops > 0 && s->read_rate > 0) {
            prefill_s += s->prefill_s;
            decode_s += s->decode_s;
            prefill += s->prefill_flops / s->fma_flops;
            decode += r->cell.cached ? s->decode_weight_bytes / s->read_rate : s->decode_flops / s->fma_flops;
        }
    }
    r->prefill_share = share(prefill, prefill_s);
    r->decode_share = share(decode, decode_s);
    r->ceiling_share = share(prefill + decode, prefill_s + decode_s);
}

double rows_hidden(const row rows[], int n)
{
    double took = 0, waited = 0;
    int64_t hops = 0;
    for (int at = 0; at < n; at++) {
        for (int64_t i = 0; i < rows[at].n_samples; i++) {
            const sample *s = &rows[at].samples[i];
            hops += s->hops;
            took += s->hop_s;
            waited += s->hop_wait_s;
        }
    }
    return hops == 0 ? -1 : took > 0 ? 1 - waited / took : 1;
}

void row_sum_up(row *r)
{
    double values[r->n_samples + 1];
    for (int64_t i = 0; i < r->n_samples; i++) {
        values[i] = r->samples[i].prefill_s;
    }
    r->prefill = spread_of(values, r->n_samples);
    for (int64_t i = 0; i < r->n_samples; i++) {
        values[i] = r->samples[i].decode_s;
    }
    r->decode = spread_of(values, r->n_samples);
    r->hidden_share = rows_hidden(r, 1);
    add_shares(r);
}

double row_token_ms(const row *r)
{
    return r->cell.n_gen > 0 ? 1e3 * r->decode.median / (double)r->cell.n_gen : 0;
}

/* --- a ring beside the ring of one --- */

int rows_regular_of(const row_list *all, const row *ring)
{
    for (int i = 0; ring->cell.ranks > 1 && i < all->n; i++) {
        if (cell_is_regular_of(&all->rows[i].cell, &ring->cell)) {
            return i;
        }
    }
    return -1;
}

static double speedup_of(const row *r, bool decode)
{
    return decode ? r->beside.decode_speedup : r->beside.prefill_speedup;
}

/* The next longer prompt of the same series with a known speed-up; NULL: none. */
static const row *longer(const row_list *all, const row *r, int64_t than, bool decode)
{
    const row *next = NULL;
    for (int i = 0; i < all->n; i++) {
        const row *other = &all->rows[i];
        if (speedup_of(other, decode) > 0 && cell_same_series(&other->cell, &r->cell) && other->cell.n_prompt > than &&
            (!next || other->cell.n_prompt < next->cell.n_prompt)) {
            next = other;
        }
    }
    return next;
}

/* The length from which the speed-up stays at least one, interpolated between measured lengths on a logarithmic scale. */
static double crossing_of(const row_list *all, const row *r, bool decode)
{
    double crossing = NAN;
    const row *before = NULL;
    for (const row *now = longer(all, r, 0, decode); now; now = longer(all, r, now->cell.n_prompt, decode)) {
        double s = speedup_of(now, decode), last = before ? speedup_of(before, decode) : 0;
        if (s < 1) {
            crossing = INFINITY;
        } else if (!before) {
            crossing = 0;
        } else if (last < 1) {
            double part = (1 - last) / (s - last);
            crossing = exp(log((double)before->cell.n_prompt) * (1 - part) + log((double)now->cell.n_prompt) * part);
        }
        before = now;
    }
    return crossing;
}

static double speedup(double regular_s, double ring_s)
{
    return ring_s > 0 ? regular_s / ring_s : 0;
}

void rows_compare(row_list *all)
{
    for (int i = 0; i < all->n; i++) {
        row *r = &all->rows[i];
        int at = rows_regular_of(all, r);
        r->beside.regular = at >= 0 && r->n_samples && all->rows[at].n_samples ? at : -1;
        if (r->beside.regular >= 0) {
            const row *regular = &all->rows[at];
            r->beside.prefill_speedup = speedup(regular->prefill.median, r->prefill.median);
            r->beside.decode_speedup = speedup(regular->decode.median, r->decode.median);
        }
    }
    for (int i = 0; i < all->n; i++) {
        all->rows[i].beside.prefill_crossing = crossing_of(all, &all->rows[i], false);
        all->rows[i].beside.decode_crossing = crossing_of(all, &all->rows[i], true);
    }
}

/* Largest difference of two rows of logits over the standard deviation of the first. */
static double logit_difference(const float *a, const float *b, int32_t vocab)
{
    double sum = 0, squares = 0, most = 0;
    for (int32_t i = 0; i < vocab; i++) {
        double difference = fabs((double)a[i] - b[i]);
        sum += a[i];
        squares += (double)a[i] * a[i];
        most = difference > most || isnan(difference) ? difference : most;
    }
    double mean = sum / vocab, deviation = sqrt(fmax(squares / vocab - mean * mean, 0));
    return most == 0 ? 0 : most / deviation;
}

void row_check(const row *regular, row *ring, int32_t vocab)
{
    comparison *c = &ring->beside;
    int64_t a_reply = ring->cell.n_gen + 1;
    c->checked = true;
    c->first_difference = -1;
    c->logit_difference = 0;
    for (int64_t b = 0; b < ring->cell.batch; b++) {
        double difference = logit_difference(regular->logits + b * vocab, ring->logits + b * vocab, vocab);
        c->logit_difference = difference > c->logit_difference || isnan(difference) ? difference : c->logit_difference;
        for (int64_t i = 0; i < a_reply; i++) {
            bool differs = regular->ids[b * a_reply + i] != ring->ids[b * a_reply + i];
            c->first_difference = differs && (c->first_difference < 0 || i < c->first_difference) ? i : c->first_difference;
        }
    }
}
