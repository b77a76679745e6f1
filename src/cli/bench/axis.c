/* Ranges, units and ticks: powers of two for tokens, 1-2-5 for measured quantities.
   Rests on math. See axis.h. */
#include "cli/bench/axis.h"

#include <math.h>
#include <stdio.h>

static const double log_from = 5;  /* ratio of most to least from which the axis is logarithmic */
static const double log_room = 1.25, line_room = 1.08; /* margin beyond the outermost points */

/* --- numbers --- */

void axis_plain(int64_t count, char label[AXIS_LABEL_MOST])
{
    char digits[AXIS_LABEL_MOST];
    int n = snprintf(digits, sizeof digits, "%lld", (long long)count), k = 0;
    for (int i = 0; i < n; i++) {
        label[k++] = digits[i];
        if ((n - 1 - i) % 3 == 0 && i < n - 1) {
            label[k++] = ',';
        }
    }
    label[k] = 0;
}

void axis_count(int64_t count, char label[AXIS_LABEL_MOST])
{
    const int64_t k = 1024;
    if (count > 0 && count % (k * k) == 0) {
        snprintf(label, AXIS_LABEL_MOST, "%lldM", (long long)(count / (k * k)));
    } else if (count > 0 && count % k == 0) {
        snprintf(label, AXIS_LABEL_MOST, "%lldk", (long long)(count / k));
    } else {
        axis_plain(count, label);
    }
}

static void number(double value, char label[AXIS_LABEL_MOST])
{
    const double longest = 1e7; /* beyond it labels are powers of ten */
    if (value >= 1000 && value < longest) {
        axis_plain(llround(value), label);
    } else {
        snprintf(label, AXIS_LABEL_MOST, "%.6g", value);
    }
}

/* --- ticks --- */

static void add_tick(axis *a, quantity q, double at, bool labelled)
{
    const double rounding = 1e-9;
    if (at < a->low * (1 - rounding) || at > a->high * (1 + rounding) || a->n_ticks == AXIS_TICKS_MOST) {
        return;
    }
    tick *t = &a->ticks[a->n_ticks++];
    *t = (tick){.at = at};
    if (labelled && q == OF_TOKENS) {
        axis_count(llround(at), t->label);
    } else if (labelled) {
        number(at, t->label);
    }
}

/* 1, 2, 4, 8 ... */
static void add_powers_of_two(axis *a, quantity q)
{
    const int most = 11; /* labels beside each other */
    int first = (int)ceil(log2(a->low) - 1e-9), last = (int)floor(log2(a->high) + 1e-9), every = (last - first) / most + 1;
    for (int i = first; i <= last; i++) {
        add_tick(a, q, exp2(i), (i - first) % every == 0);
    }
}

/* 1, 2, 5, 10 ..., or 1, 10, 100 ... where these are too many. */
static void add_decades(axis *a, quantity q)
{
    const double dense = 2.5; /* most decades with ticks at 2 and 5 */
    const int most = 8;
    double decades = log10(a->high / a->low);
    int first = (int)floor(log10(a->low)), last = (int)ceil(log10(a->high)), every = (int)decades / most + 1;
    for (int i = first; i <= last; i++) {
        for (int m = 1; m < 10; m++) {
            bool labelled = m == 1 ? (i - first) % every == 0 : decades <= dense && (m == 2 || m == 5);
            if (labelled || every == 1) {
                add_tick(a, q, m * pow(10, i), labelled);
            }
        }
    }
}

/* The smallest of 1, 2, 5, 10 ... (tokens and ranks: 1, 2, 4, 8 ...) that is at least `step`. */
static double nice_step(quantity q, double step)
{
    if (q == OF_TOKENS || q == OF_RANKS) {
        return fmax(1, exp2(ceil(log2(step))));
    }
    double decade = pow(10, floor(log10(step))), part = step / decade;
    return decade * (part <= 1 ? 1 : part <= 2 ? 2 : part <= 5 ? 5 : 10);
}

static void add_steps(axis *a, quantity q)
{
    const double most = 9;
    double step = nice_step(q, (a->high - a->low) / most);
    int first = (int)ceil(a->low / step), last = (int)floor(a->high / step);
    for (int i = first; i <= last; i++) {
        add_tick(a, q, i * step, true);
    }
}

/* --- the axis --- */

typedef struct unit {
    double from, scale; /* from this value on, values times `scale` */
    const char *name;
} unit;

static unit unit_of(quantity q, double most)
{
    static const unit seconds[] = {{1, 1, "s"}, {1e-3, 1e3, "ms"}, {0, 1e6, "µs"}};
    static const unit bytes[] = {{0x1p30, 0x1p-30, "GiB"}, {0x1p20, 0x1p-20, "MiB"}, {0, 0x1p-10, "KiB"}};
    static const unit plain = {0, 1, ""};
    const unit *units = q == OF_SECONDS ? seconds : q == OF_BYTES ? bytes : &plain;
    while (most < units->from) {
        units++;
    }
    return *units;
}

static bool is_logarithmic(quantity q, double least, double most)
{
    const double few_ranks = 10; /* linear in the ranks, so that the ideal line is straight */
    return q == OF_RANKS || q == OF_SPEED ? most > few_ranks : most / least >= log_from;
}

axis axis_of(quantity q, double least, double most)
{
    unit u = unit_of(q, most);
    axis a = {.logarithmic = is_logarithmic(q, least, most), .scale = u.scale, .unit = u.name};
    least *= u.scale;
    most *= u.scale;
    if (a.logarithmic) {
        a.low = least / log_room;
        a.high = most * log_room;
    } else if (q == OF_TOKENS || q == OF_RANKS) {
        double room = fmax((most - least) * (line_room - 1), q == OF_RANKS ? 0.25 : 0);
        a.low = least - room;
        a.high = most + room;
    } else {
        a.high = most * line_room;
    }
    if (!a.logarithmic) {
        add_steps(&a, q);
    } else if (q == OF_TOKENS || q == OF_RANKS) {
        add_powers_of_two(&a, q);
    } else {
        add_decades(&a, q);
    }
    return a;
}
