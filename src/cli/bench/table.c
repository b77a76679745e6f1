/* The rows of bench for a table, and a table of rings beside rings of one.
   Rests on record.h for the content of a row and on cli/table.h. See table.h. */
#include "cli/bench/table.h"
#include "cli/bench/record.h"
#include "cli/output.h"
#include "cli/plan.h"

#include <math.h>

enum { CELL_MOST = 64 };

/* --- rows --- */

/* Does a row differ from "nothing special" in this? Columns that say nothing are left out. */
static bool any(const row_list *all, bool (*special)(const row *))
{
    for (int i = 0; i < all->n; i++) {
        if (special(&all->rows[i])) {
            return true;
        }
    }
    return false;
}

static bool has_depth(const row *r)
{
    return r->cell.depth > 0;
}

static bool has_batch(const row *r)
{
    return r->cell.batch > 1;
}

static bool has_block(const row *r)
{
    return r->cell.block > 0;
}

static bool has_reason(const row *r)
{
    return *r->reason || r->plan.total_bytes > r->plan.available_bytes;
}

typedef struct optional_column {
    table_column column;
    bool (*wanted)(const row *); /* NULL: always */
} optional_column;

static const optional_column md_columns[] = {
    {{"model", 0}, NULL},       {{"ranks", 0}, NULL},       {{"threads", 0}, NULL},   {{"chunk", 0}, NULL},
    {{"block", 0}, has_block},  {{"kv", 0}, NULL},          {{"batch", 0}, has_batch}, {{"depth", 0}, has_depth},
    {{"n_prompt", 0}, NULL},    {{"n_gen", 0}, NULL},       {{"prefill_s", 4}, NULL}, {{"prefill_tps", 1}, NULL},
    {{"decode_s", 4}, NULL},    {{"decode_tps", 1}, NULL},  {{"ceiling_share", 3}, NULL}, {{"reason", 0}, has_reason},
};

enum { MD_COLUMNS = sizeof md_columns / sizeof md_columns[0] };

int bench_row(table *t, const row_list *all, const row *r)
{
    table_column columns[MD_COLUMNS];
    int n = 0;
    for (int i = 0; i < MD_COLUMNS; i++) {
        if (!md_columns[i].wanted || any(all, md_columns[i].wanted)) {
            columns[n++] = md_columns[i].column;
        }
    }
    return table_row(t, record_row(all, r), columns, n);
}

static int md_ceilings(const row_list *all)
{
    int rc = 0;
    for (int i = 0; rc == 0 && i < all->n_ceilings; i++) {
        const bench_ceilings *c = &all->ceilings[i];
        rc = output_format("; at best with %d thread%s %.0f GFLOP/s, %.1f GB/s", c->threads, c->threads == 1 ? "" : "s",
                           c->fma_flops / 1e9, c->read_rate / 1e9);
    }
    return rc;
}

int bench_conditions(const row_list *all)
{
    const row *r = all->n ? &all->rows[0] : NULL;
    const char *device = r && r->plan.cards > 0 ? r->plan.device_name : all->cpu;
    int rc = output_format("\nLariat %s, ", lariat_version());
    rc = rc ? rc : table_text(all->model_name);
    rc = rc ? rc : output_format(" (%s, %016llx) on ", all->weight_type, (unsigned long long)all->fingerprint);
    rc = rc ? rc : table_text(device);
    rc = rc ? rc : md_ceilings(all);
    rc = rc ? rc : output_format("; medians of %lld\n", (long long)all->options->reps);
    return rc ? rc : output_flush();
}

/* --- rings beside rings of one --- */

/* "12.3", or nothing where it is not known. */
static const char *number(char out[static CELL_MOST], double value, int digits)
{
    out[0] = 0;
    if (isfinite(value) && value > 0) {
        snprintf(out, CELL_MOST, "%.*f", digits, value);
    }
    return out;
}

static double token_ms(const row *r)
{
    return r->cell.n_gen > 0 ? 1e3 * r->decode.median / (double)r->cell.n_gen : 0;
}

static const char *memory(char out[static 24], const row *r)
{
    return r->n_samples ? bytes_text(r->samples[r->n_samples - 1].rank_bytes, out) : "";
}

static const char *tokens_text(char out[static CELL_MOST], const comparison *c)
{
    if (!c->checked) {
        return "";
    }
    if (c->first_difference < 0) {
        return "all";
    }
    snprintf(out, CELL_MOST, "%lld, then others", (long long)c->first_difference);
    return out;
}

static int compare_row(const row_list *all, const row *r)
{
    char a[CELL_MOST], b[CELL_MOST], c[CELL_MOST], d[CELL_MOST], e[CELL_MOST], f[CELL_MOST], same[CELL_MOST], m1[24], m2[24];
    const comparison *beside = &r->beside;
    const row none = {0}, *regular = beside->regular >= 0 ? &all->rows[beside->regular] : &none;
    int rc = output_format("| %d | %d | %lld | %lld | ", r->plan.ranks, r->plan.chunk, (long long)r->cell.n_prompt,
                           (long long)r->cell.n_gen);
    if (rc == 0 && *r->reason) {
        rc = table_text(r->reason);
        return rc ? rc : output_format(" | | | | | | | | | |\n");
    }
    rc = rc ? rc
            : output_format("%s | %s | %s | %s | %s | %s | %s | %s | %s |", number(a, 1e3 * regular->prefill.median, 1),
                            number(b, 1e3 * r->prefill.median, 1), number(c, beside->prefill_speedup, 2),
                            number(d, token_ms(regular), 2), number(e, token_ms(r), 2), number(f, beside->decode_speedup, 2),
                            memory(m1, regular), memory(m2, r), tokens_text(same, beside));
    return rc ? rc : beside->checked ? output_format(" %.1e |\n", beside->logit_difference) : output_format(" |\n");
}

static int crossing_text(const char *what, double crossing)
{
    if (isnan(crossing)) {
        return 0;
    }
    return isinf(crossing)   ? output_format("; %s not faster at the longest of these prompts", what)
           : crossing == 0   ? output_format("; %s faster at all of these prompts", what)
                             : output_format("; %s faster from about %.0f tokens on", what, ceil(crossing));
}

/* Is this the first row of its ring and chunk? */
static bool begins_series(const row_list *all, const row *r)
{
    for (const row *before = all->rows; before < r; before++) {
        if (before->cell.ranks == r->cell.ranks && before->cell.chunk == r->cell.chunk && before->cell.depth == r->cell.depth &&
            before->cell.batch == r->cell.batch && before->cell.n_gen == r->cell.n_gen && before->cell.kv == r->cell.kv &&
            before->cell.device == r->cell.device) {
            return false;
        }
    }
    return true;
}

static int crossings(const row_list *all)
{
    int rc = output_format("\n");
    for (int i = 0; rc == 0 && i < all->n; i++) {
        const row *r = &all->rows[i];
        if (r->cell.ranks > 1 && begins_series(all, r)) {
            rc = output_format("Ring of %d, passes of up to %d tokens", r->plan.ranks, r->plan.chunk);
            rc = rc ? rc : crossing_text("the first token is", r->beside.prefill_crossing);
            rc = rc ? rc : crossing_text("a token is", r->beside.decode_crossing);
            rc = rc ? rc : output_format(".\n");
        }
    }
    return rc;
}

int bench_compared(const row_list *all)
{
    int rc = output_format("| ranks | chunk | n_prompt | n_gen | first token, regular, ms | ring | speed-up | a token, regular, ms | "
                           "ring | speed-up | memory, regular | a rank | same tokens | logits differ by |\n"
                           "|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|--:|\n");
    for (int i = 0; rc == 0 && i < all->n; i++) {
        const row *r = &all->rows[i];
        if (r->cell.ranks > 1 && (r->n_samples || *r->reason)) {
            rc = compare_row(all, r);
        }
    }
    return rc ? rc : crossings(all);
}
