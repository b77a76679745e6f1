/* The table of hops: kinds, sizes and rings, with the share of plain reading.
   Rests on measure.h, which defines the measurement. */
#include "cli/bench/hops.h"
#include "cli/message.h"
#include "cli/plan_text.h"
#include "cli/signals.h"
#include "cli/table.h"
#include "cli/json_text.h"
#include "lariat/measure.h"

#include <math.h>
#include <stdio.h>

/* Sizes from one token's row, or the keys of a short passage, to more than a layer's keys of a long text, in powers of 4. */
enum { KEYS_LEAST = 4 << 10, GATHER_LEAST = 1 << 10, BYTES_MOST = 64 << 20, STEP = 4 };

static const char *const kind_names[] = {[LARIAT_HOP_KEYS] = "keys", [LARIAT_HOP_GATHER] = "gather"};

/* The path of the bytes: shared memory, messages, the link between cards, or the host's memory. */
static const char *way_of(const lariat_hop *h)
{
    return h->processes > 1 ? "mpi" : h->cards == 0 ? "memory" : h->through_host ? "host" : "cards";
}

/* The share of the rate at which one rank's threads alone read a buffer of the same size; NAN: unknown. */
static double share_of(const lariat_hop *h)
{
    double rate;
    if (h->cards > 0 || h->processes > 1 ||
        lariat_measure_read(h->threads / h->ranks, h->bytes, &rate) != LARIAT_OK || rate <= 0) {
        return NAN;
    }
    return h->busbw / rate;
}

static const table_column columns[] = {
    {"version", 0}, {"machine", 0}, {"via", 0},       {"cards", 0},     {"threads", 0},
    {"reps", 0},    {"kind", 0},    {"ranks", 0},     {"bytes", 0},     {"time_us", 2},
    {"min_us", 2},  {"max_us", 2},  {"algbw_gbs", 3}, {"busbw_gbs", 3}, {"share", 3},
    {"processes", 0}, {"mpi_us", 2},  {"ping_us", 2}, {"of_mpi", 3},
};

/* A figure that only a ring of several processes has. */
static json_t *of_processes(const lariat_hop *h, double value)
{
    return h->processes > 1 ? json_real(value) : json_null();
}

static int print_hop(table *t, const lariat_hop *h)
{
    double share = share_of(h);
    json_t *row =
        json_pack("{s:s, s:o?, s:s, s:i, s:i, s:i, s:s, s:i, s:I, s:f, s:f, s:f, s:f, s:f, s:o, s:i, s:o, s:o, s:o}",
                  "version", lariat_version(), "machine", json_from_text(h->machine), "via", way_of(h), "cards", h->cards,
                  "threads", h->threads, "reps", h->reps, "kind", kind_names[h->kind], "ranks", h->ranks, "bytes",
                  (json_int_t)h->bytes, "time_us", h->seconds * 1e6, "min_us", h->min_s * 1e6, "max_us", h->max_s * 1e6,
                  "algbw_gbs", h->algbw / 1e9, "busbw_gbs", h->busbw / 1e9, "share",
                  isnan(share) ? json_null() : json_real(share), "processes", h->processes, "mpi_us",
                  of_processes(h, h->mpi_s * 1e6), "ping_us", of_processes(h, h->ping_s * 1e6), "of_mpi",
                  h->kind == LARIAT_HOP_KEYS ? of_processes(h, h->mpi_s / h->seconds) : json_null());
    return table_row(t, row, columns, (int)(sizeof columns / sizeof columns[0]));
}

/* All sizes of one kind on one ring; stops at the first size that does not fit. */
static int measure_sizes(const options *o, const lariat_options *ring, int64_t ranks, lariat_hop_kind kind, table *t)
{
    int64_t least = kind == LARIAT_HOP_KEYS ? KEYS_LEAST : GATHER_LEAST;
    while (kind == LARIAT_HOP_GATHER && least < ranks * (int64_t)sizeof(float)) {
        least *= STEP; /* at least a float a rank */
    }
    for (int64_t bytes = least; bytes <= BYTES_MOST; bytes *= STEP) {
        lariat_hop hop;
        if (signals_interrupted()) {
            return EXIT_INTERRUPTED;
        }
        lariat_status status = lariat_measure_hop(ring, kind, bytes, (int32_t)o->reps, &hop);
        if (status == LARIAT_NO_MEMORY && bytes > least) {
            warn("%s", lariat_error());
            return 0;
        }
        int rc = status == LARIAT_OK ? print_hop(t, &hop) : complain_library();
        if (rc) {
            return rc;
        }
    }
    return 0;
}

static int measure_rings(const options *o, table *t)
{
    options one = *o;
    if (o->devices.n > 0) { /* check_hops allows one device */
        one.device = (int)o->devices.values[0];
    }
    int rc = 0;
    for (int i = 0; rc == 0 && i < o->ring_sizes.n; i++) {
        one.ranks = o->ring_sizes.values[i];
        lariat_options ring = plan_options(&one, 0, 1);
        rc = measure_sizes(o, &ring, one.ranks, LARIAT_HOP_KEYS, t);
        rc = rc ? rc : measure_sizes(o, &ring, one.ranks, LARIAT_HOP_GATHER, t);
    }
    return rc;
}

int hops_table(const options *o)
{
    table t = {.format = (table_format)o->format};
    signals_hold(true, false);
    int rc = measure_rings(o, &t);
    int ended = ferror(stdout) ? 0 : table_end(&t); /* completes the table; a write error was reported already */
    signals_hold(false, false);
    return rc ? rc : ended;
}
