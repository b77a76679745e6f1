/* The table of bench's rows, and the table that compares rings with rings of one.
   Rests on record.h for the content of a row and on cli/table.h. See bench_table.h. */
#include "cli/bench/bench_table.h"
#include "cli/bench/record.h"
#include "cli/message.h"
#include "cli/output.h"
#include "cli/plan_text.h"
#include "cli/json_text.h"

#include <math.h>
#include <string.h>

enum { NAME_MOST = 64 };

/* --- the columns of the Markdown table, without uninformative ones --- */

static bool has_blocks(const row_list *all)
{
    return all->options->blocks.n > 0;
}

static bool has_kvs(const row_list *all)
{
    return all->options->kvs.n > 1;
}

static bool has_devices(const row_list *all)
{
    return all->options->devices.n > 1;
}

static bool has_rings(const row_list *all)
{
    return all->options->ring_sizes.n > 1 || all->options->ring_sizes.values[0] > 1;
}

static bool has_reasons(const row_list *all)
{
    return all->has_reasons;
}

static bool has_depths(const row_list *all)
{
    return all->options->depths.n > 1 || all->options->depths.values[0] > 0;
}

static bool has_batches(const row_list *all)
{
    return all->options->batches.n > 1 || all->options->batches.values[0] > 1;
}

typedef struct optional_column {
    table_column column;
    bool (*wanted)(const row_list *); /* NULL: always */
} optional_column;

enum { COLUMNS_MOST = 24 };

static int choose_columns(const row_list *all, const optional_column of[], int n, table_column out[static COLUMNS_MOST])
{
    int chosen = 0;
    for (int i = 0; i < n; i++) {
        if (!of[i].wanted || of[i].wanted(all)) {
            out[chosen++] = of[i].column;
        }
    }
    return chosen;
}

/* --- rows --- */

static const optional_column row_columns[] = {
    {{"model", 0}, NULL},         {{"device", 0}, has_devices}, {{"ranks", 0}, NULL},
    {{"threads", 0}, NULL},       {{"chunk", 0}, NULL},         {{"block", 0}, has_blocks},
    {{"kv", 0}, NULL},            {{"batch", 0}, has_batches},  {{"depth", 0}, has_depths},
    {{"n_prompt", 0}, NULL},      {{"n_gen", 0}, NULL},         {{"prefill_s", 4}, NULL},
    {{"prefill_tps", 1}, NULL},   {{"decode_s", 4}, NULL},      {{"decode_tps", 1}, NULL},
    {{"ceiling_share", 3}, NULL}, {{"hidden_share", 3}, has_rings}, {{"reason", 0}, has_reasons},
};

enum { ROW_COLUMNS = sizeof row_columns / sizeof row_columns[0] };

int bench_row(table *t, const row_list *all, const row *r)
{
    table_column columns[COLUMNS_MOST];
    int n = choose_columns(all, row_columns, ROW_COLUMNS, columns);
    return table_row(t, record_row(all, r), columns, n);
}

/* Prints the GPUs' ceilings. */
static int cards_text(const row_list *all)
{
    const char *work =
        all->card_dtype && strcmp(all->card_dtype, "f32") == 0 ? "fp32 multiply-adds" : "dense products on tensor cores";
    bool any = false;
    for (int i = 0; i < LARIAT_CARDS_MAX; i++) {
        const bench_ceilings *c = &all->cards[i];
        if (c->fma_flops > 0) {
            TRY(any ? 0 : output_format("; at best, by %s and reading of memory,", work));
            TRY(output_format("%s GPU %d %.1f TFLOP/s, %.0f GB/s", any ? "," : "", i, c->fma_flops / 1e12, c->read_rate / 1e9));
            any = true;
        }
    }
    return 0;
}

static int ceilings_text(const row_list *all)
{
    for (int i = 0; i < all->n_ceilings; i++) {
        const bench_ceilings *c = &all->ceilings[i];
        TRY(output_format("; at best with %d thread%s %.0f GFLOP/s, %.1f GB/s", c->threads, c->threads == 1 ? "" : "s",
                          c->fma_flops / 1e9, c->read_rate / 1e9));
    }
    return cards_text(all);
}

/* Prints the number of samples. */
static int samples_text(const row_list *all)
{
    int64_t least = INT64_MAX, most = 0;
    for (int i = 0; i < all->n; i++) {
        int64_t n = all->rows[i].n_samples;
        least = n > 0 && n < least ? n : least;
        most = n > most ? n : most;
    }
    return most == 0       ? output_format("; nothing was measured\n")
           : least == most ? output_format("; medians of %lld\n", (long long)most)
                           : output_format("; medians of %lld to %lld\n", (long long)least, (long long)most);
}

static int hidden_text(const row_list *all)
{
    double share = rows_hidden(all->rows, all->n);
    return share >= 0 ? output_format("; hops %.0f %% hidden", 100 * share) : 0;
}

/* Prints options that differ from the defaults and are not columns. */
static int options_text(const row_list *all)
{
    const options *o = all->options;
    int rc = o->no_cache ? output_format("; without a cache") : 0;
    rc = rc || o->layout == LARIAT_LAYOUT_AUTO ? rc : output_format("; --layout %s", record_layout(o));
    return rc || o->side == LARIAT_SIDE_AUTO ? rc : output_format("; --side %s", record_side(o));
}

int bench_conditions(const row_list *all)
{
    const lariat_plan *first = &all->rows[0].plan; /* there is one */
    const char *device = first->cards > 0 ? first->device_name : all->cpu;
    TRY(output_format("\nLariat %s, ", lariat_version()));
    TRY(table_text(all->model_name));
    TRY(output_format(" (%s, %016llx) on ", all->weight_type, (unsigned long long)all->fingerprint));
    TRY(table_text(device));
    TRY(options_text(all));
    TRY(ceilings_text(all));
    TRY(hidden_text(all));
    TRY(samples_text(all));
    return output_flush();
}

/* --- rings beside rings of one --- */

static const optional_column compare_columns[] = {
    {{"device", 0}, has_devices},
    {{"ranks", 0}, NULL},
    {{"chunk", 0}, NULL},
    {{"block", 0}, has_blocks},
    {{"kv", 0}, has_kvs},
    {{"batch", 0}, has_batches},
    {{"depth", 0}, has_depths},
    {{"n_prompt", 0}, NULL},
    {{"n_gen", 0}, NULL},
    {{"first token, regular, ms", 1}, NULL},
    {{"ring, ms", 1}, NULL},
    {{"faster by", 2}, NULL},
    {{"a token, regular, ms", 2}, NULL},
    {{"ring, ms a token", 2}, NULL},
    {{"faster a token by", 2}, NULL},
    {{"memory, regular", 0}, NULL},
    {{"memory, a rank", 0}, NULL},
    {{"hops hidden", 2}, NULL},
    {{"same tokens", 0}, NULL},
    {{"logits differ by", 0}, NULL},
    {{"reason", 0}, has_reasons},
};

enum { COMPARE_COLUMNS = sizeof compare_columns / sizeof compare_columns[0] };

static json_t *memory(const row *r)
{
    char text[24];
    return json_string(r->n_samples ? bytes_text(r->samples[r->n_samples - 1].rank_bytes, text) : "");
}

static json_t *tokens(const comparison *c)
{
    char text[NAME_MOST] = "";
    if (c->checked && c->first_difference < 0) {
        return json_string("all");
    }
    if (c->checked) {
        snprintf(text, sizeof text, "%lld, then others", (long long)c->first_difference);
    }
    return json_string(text);
}

static json_t *logits(const comparison *c)
{
    char text[NAME_MOST] = "";
    if (c->checked) {
        snprintf(text, sizeof text, "%.1e", c->logit_difference);
    }
    return json_string(text);
}

/* The reason of the row that could not be run. */
static json_t *reason(const row *regular, const row *ring)
{
    char text[sizeof ring->reason + NAME_MOST];
    snprintf(text, sizeof text, "%s%s", *ring->reason ? "ring: " : *regular->reason ? "regular: " : "",
             *ring->reason ? ring->reason : regular->reason);
    return json_from_text(text);
}

static json_t *compare_json(const row_list *all, const row *r)
{
    const comparison *c = &r->beside;
    const row none = {0};
    int at = rows_regular_of(all, r);
    const row *regular = at >= 0 ? &all->rows[at] : &none;
    return json_pack("{s:s, s:i, s:i, s:s, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o?, "
                     "s:I}",
                     "device", r->plan.cards > 0 ? "cuda" : "cpu", "ranks", r->plan.ranks, "chunk", r->plan.chunk, "kv",
                     r->plan.kv ? r->plan.kv : "", "batch", (json_int_t)r->cell.batch, "depth", (json_int_t)r->cell.depth,
                     "n_prompt", (json_int_t)r->cell.n_prompt, "n_gen", (json_int_t)r->cell.n_gen, "first token, regular, ms",
                     record_known(1e3 * regular->prefill.median), "ring, ms", record_known(1e3 * r->prefill.median),
                     "faster by", record_known(c->prefill_speedup), "a token, regular, ms", record_known(row_token_ms(regular)),
                     "ring, ms a token", record_known(row_token_ms(r)), "faster a token by", record_known(c->decode_speedup),
                     "memory, regular", memory(regular), "memory, a rank", memory(r), "hops hidden",
                     r->hidden_share >= 0 ? json_real(r->hidden_share) : json_null(), "same tokens", tokens(c),
                     "logits differ by", logits(c), "reason", reason(regular, r), "block", (json_int_t)r->cell.block);
}

static int crossing_text(const char *what, double crossing)
{
    if (isnan(crossing)) {
        return 0;
    }
    return isinf(crossing)   ? output_format("; %s not faster at the longest prompt that both ran", what)
           : crossing == 0   ? output_format("; %s faster at all of these prompts", what)
                             : output_format("; %s faster from about %.0f tokens on", what, ceil(crossing));
}

/* Is this the first row of its series? */
static bool begins_series(const row_list *all, const row *r)
{
    for (const row *before = all->rows; before < r; before++) {
        if (cell_same_series(&before->cell, &r->cell)) {
            return false;
        }
    }
    return true;
}

/* Prints the properties that distinguish a series. */
static int series_text(const row_list *all, const row *r)
{
    int rc = output_format("Ring of %d, passes of up to %d tokens", r->plan.ranks, r->plan.chunk);
    rc = rc || !has_devices(all) ? rc : output_format(", on %s", r->plan.cards > 0 ? "GPUs" : "CPUs");
    rc = rc || !has_kvs(all) ? rc : output_format(", %s cache", r->plan.kv);
    rc = rc || !has_batches(all) ? rc : output_format(", batch of %lld", (long long)r->cell.batch);
    rc = rc || !has_depths(all) ? rc : output_format(", behind %lld tokens", (long long)r->cell.depth);
    return rc || all->options->reply_lengths.n == 1 ? rc : output_format(", %lld made", (long long)r->cell.n_gen);
}

static int crossings(const row_list *all)
{
    TRY(output_format("\n"));
    for (int i = 0; i < all->n; i++) {
        const row *r = &all->rows[i];
        bool crosses = !isnan(r->beside.prefill_crossing) || !isnan(r->beside.decode_crossing);
        if (r->cell.ranks > 1 && crosses && begins_series(all, r)) {
            TRY(series_text(all, r));
            TRY(crossing_text("the first token is", r->beside.prefill_crossing));
            TRY(crossing_text("a token is", r->beside.decode_crossing));
            TRY(output_format(".\n"));
        }
    }
    return 0;
}

int bench_compared(const row_list *all)
{
    table t = {.format = FORMAT_MD};
    table_column columns[COLUMNS_MOST];
    int n = choose_columns(all, compare_columns, COMPARE_COLUMNS, columns);
    for (int i = 0; i < all->n; i++) {
        const row *r = &all->rows[i];
        if (r->cell.ranks > 1 && (r->n_samples || *r->reason)) {
            TRY(table_row(&t, compare_json(all, r), columns, n));
        }
    }
    return crossings(all);
}
