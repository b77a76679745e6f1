/* Pictures of the benchmark: the points in the SVG stand where the data say, nothing that a model is called reaches gnuplot as
   a command, and without gnuplot the data stay. Needs gnuplot (77 without). Rests on cli/bench/plot.h. */
#include "cli/bench/plot.h"
#include "support/reference.h"
#include "support/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROWS_MOST = 64, POINTS_MOST = 64, REPS = 3 };

static sample samples[ROWS_MOST][REPS];
static row rows[ROWS_MOST];
static options bench_options;

/* An empty list whose rows are in `rows`. */
static row_list no_rows(char *model)
{
    memset(rows, 0, sizeof rows);
    memset(samples, 0, sizeof samples);
    return (row_list){
        .options = &bench_options, .model_name = model, .weight_type = "Q4_1", .cpu = "CPU of a test", .rows = rows};
}

/* Times that no formula of the drawing could give by itself. */
static double prefill_s(int64_t ranks, int64_t prompt)
{
    return 1e-3 * (double)prompt * (1 + (double)prompt / 3000) / sqrt((double)ranks) + 0.01 * (double)ranks;
}

static double decode_s(int64_t ranks, int64_t prompt, int64_t n_gen)
{
    return (double)n_gen * (0.004 + 1e-6 * (double)prompt / (double)ranks + 1e-4 * (double)ranks);
}

static row *add(row_list *all, int64_t ranks, int64_t block, int64_t prompt, int64_t n_gen)
{
    assert_true(all->n < ROWS_MOST);
    row *r = &all->rows[all->n];
    r->cell = (cell){
        .ranks = ranks, .block = block, .chunk = block * ranks, .batch = 1, .n_prompt = prompt, .n_gen = n_gen, .cached = true};
    r->plan = (lariat_plan){.device = LARIAT_DEVICE_CPU, .kv = "f16", .threads = 2, .ranks = (int32_t)ranks};
    r->samples = samples[all->n++];
    r->n_samples = REPS;
    r->beside.regular = -1;
    for (int i = 0; i < REPS; i++) {
        r->samples[i].rank_bytes = 1000000 + 3 * prompt * 1000 / ranks;
    }
    double p = prefill_s(ranks, prompt), d = decode_s(ranks, prompt, n_gen);
    r->prefill = prompt ? (spread){p, 0.9 * p, 1.2 * p} : (spread){0};
    r->decode = n_gen ? (spread){d, 0.9 * d, 1.1 * d} : (spread){0};
    for (int i = 0; i < all->n && ranks > 1; i++) {
        const row *one = &all->rows[i];
        if (one->cell.ranks == 1 && one->cell.n_prompt == prompt) {
            r->beside.regular = i;
            r->beside.prefill_speedup = one->prefill.median / p;
            r->beside.decode_speedup = one->decode.median / d;
        }
    }
    return r;
}

/* Rings of 1, 2 and 4, prompts of 128 to 8k. */
static row_list some_rows(char *model)
{
    row_list all = no_rows(model);
    for (int64_t ranks = 1; ranks <= 4; ranks *= 2) {
        for (int64_t prompt = 128; prompt <= 8192; prompt *= 2) {
            add(&all, ranks, 0, prompt, 16);
        }
    }
    return all;
}

/* --- reading what was drawn --- */

static char *file_in(const char *folder, const char *name)
{
    char *path;
    assert_true(asprintf(&path, "%s/%s", folder, name) > 0);
    return path;
}

static char *text_of(const char *folder, const char *name)
{
    char *path = file_in(folder, name);
    size_t size;
    char *text = (char *)scratch_read(path, &size);
    free(path);
    return text;
}

static bool is_there(const char *folder, const char *name)
{
    char *path = file_in(folder, name);
    bool there = access(path, F_OK) == 0;
    free(path);
    return there;
}

typedef struct drawn {
    double x[POINTS_MOST], y[POINTS_MOST]; /* where the marks stand */
    int n;
    int pieces; /* of the line */
} drawn;

/* The line that the legend calls `label`: gnuplot writes the label, then one path, whose first piece is the legend's, then the
   marks, whose last one is the legend's. `skip`: of so many earlier panels. */
static drawn line_called(const char *svg, const char *label, int skip)
{
    char *text;
    drawn d = {0};
    assert_true(asprintf(&text, "<text>%s</text>", label) > 0);
    const char *at = strstr(svg, text);
    for (; at && skip > 0; skip--) {
        at = strstr(at + 1, text);
    }
    assert_non_null(at);
    at = strstr(at, " d='");
    assert_non_null(at);
    const char *end = strchr(at + 4, '\'');
    for (const char *c = at; c < end; c++) {
        d.pieces += *c == 'M';
    }
    d.pieces--;
    const char *group = strstr(end, "</g>");
    for (at = end; (at = strstr(at, "translate(")) && at < group; at++) {
        assert_true(d.n < POINTS_MOST);
        assert_int_equal(sscanf(at, "translate(%lf,%lf)", &d.x[d.n], &d.y[d.n]), 2); // NOLINT(cert-err34-c)
        d.n++;
    }
    d.n--;
    free(text);
    return d;
}

/* Where a label of the x axis stands. */
static double tick_at(const char *svg, const char *label)
{
    char *text;
    double x = 0;
    assert_true(asprintf(&text, "text-anchor=\"middle\">\n\t\t<text>%s</text>", label) > 0);
    const char *at = strstr(svg, text);
    assert_non_null(at);
    while (strncmp(at, "translate(", 10) != 0) {
        at--;
    }
    assert_int_equal(sscanf(at, "translate(%lf,", &x), 1);
    free(text);
    return x;
}

/* Where a label of the y axis stands: at the line beside it. `skip`: of so many earlier panels. */
static double y_tick_at(const char *svg, const char *label, int skip)
{
    char *text;
    double x, y = 0;
    assert_true(asprintf(&text, "text-anchor=\"end\">\n\t\t<text>%s</text>", label) > 0);
    const char *at = strstr(svg, text);
    for (; at && skip > 0; skip--) {
        at = strstr(at + 1, text);
    }
    assert_non_null(at);
    while (strncmp(at, " d='M", 5) != 0) {
        at--;
    }
    assert_int_equal(sscanf(at, " d='M%lf,%lf", &x, &y), 2); // NOLINT(cert-err34-c)
    free(text);
    return y;
}

/* The corners of the band that was drawn as number `which`. */
static drawn band(const char *svg, int which)
{
    drawn d = {0};
    const char *at = strstr(svg, "<polygon");
    for (; at && which > 0; which--) {
        at = strstr(at + 1, "<polygon");
    }
    assert_non_null(at);
    at = strstr(at, "points = '");
    assert_non_null(at);
    at += strlen("points = '");
    for (int n; sscanf(at, "%lf,%lf %n", &d.x[d.n], &d.y[d.n], &n) == 2; at += n) { // NOLINT(cert-err34-c)
        d.n++;
        assert_true(d.n < POINTS_MOST);
    }
    return d;
}

typedef struct scale {
    double at0, per; /* pixel = at0 + per * value */
} scale;

static scale scale_through(double v0, double p0, double v1, double p1)
{
    double per = (p1 - p0) / (v1 - v0);
    return (scale){p0 - per * v0, per};
}

/* Pixels that an SVG of gnuplot's may be off: it counts in hundredths, and rounds to its own grid before. */
static const double near = 0.25;

static void assert_on(scale s, double value, double pixel)
{
    assert_true(fabs(s.at0 + s.per * value - pixel) < near);
}

static const char *draw(const row_list *all, const char *name)
{
    static char folder[512];
    snprintf(folder, sizeof folder, "%s/%s", scratch_folder(), name);
    assert_int_equal(plots_draw(all, folder), 0);
    return folder;
}

/* What plots_draw writes to standard error, and its exit status. */
static char *said_by(const row_list *all, const char *name, int *rc)
{
    char *path = scratch_path("said"), *folder = scratch_path(name);
    int before = dup(STDERR_FILENO), file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    size_t size;
    assert_true(before >= 0 && file >= 0);
    dup2(file, STDERR_FILENO);
    *rc = plots_draw(all, folder);
    dup2(before, STDERR_FILENO);
    close(before);
    close(file);
    char *said = (char *)scratch_read(path, &size);
    free(path);
    free(folder);
    return said;
}

static int lines_in(const char *text)
{
    int lines = 0;
    for (; *text; text++) {
        lines += *text == '\n';
    }
    return lines;
}

/* A band goes along one side of its line and comes back along the other. */
static void assert_band(const drawn *d, scale x, scale y, int64_t ranks, int points)
{
    assert_int_equal(d->n, 2 * points);
    bool least_first = d->y[0] > d->y[d->n - 1]; /* pixels are counted downwards */
    for (int i = 0; i < d->n; i++) {
        bool first = i < points;
        int64_t prompt = (int64_t)128 << (first ? i : d->n - 1 - i);
        assert_on(x, log((double)prompt), d->x[i]);
        assert_on(y, log((first == least_first ? 0.9 : 1.2) * prefill_s(ranks, prompt)), d->y[i]);
    }
}

/* --- the pictures --- */

static void points_stand_at_the_logarithms_of_the_data(void **state)
{
    (void)state;
    row_list all = some_rows("model");
    char *svg = text_of(draw(&all, "logarithms"), "first-token.svg");
    drawn one = line_called(svg, "regular (one rank)", 0);
    assert_int_equal(one.n, 7);
    scale x = scale_through(log(128), one.x[0], log(8192), one.x[6]);
    scale y = scale_through(log(prefill_s(1, 128)), one.y[0], log(prefill_s(1, 8192)), one.y[6]);
    assert_true(x.per > 50 && y.per < -20); /* a picture's width, upwards */
    static const char *const labels[] = {"regular (one rank)", "ring of 2", "ring of 4"};
    for (int i = 0; i < 3; i++) {
        drawn d = line_called(svg, labels[i], 0);
        assert_int_equal(d.n, 7);
        assert_int_equal(d.pieces, 1);
        for (int j = 0; j < d.n; j++) {
            assert_on(x, log(128 << j), d.x[j]);
            assert_on(y, log(prefill_s(1 << i, 128 << j)), d.y[j]);
        }
        d = band(svg, i);
        assert_band(&d, x, y, 1 << i, 7);
    }
    assert_on(y, log(1), y_tick_at(svg, "1", 0)); /* a second */
    assert_on(x, log(128), tick_at(svg, "128"));
    assert_on(x, log(4096), tick_at(svg, "4k"));
    free(svg);
}

static void a_token_after_the_first_has_its_own_picture_from_nought(void **state)
{
    (void)state;
    row_list all = some_rows("model");
    char *svg = text_of(draw(&all, "token"), "token.svg");
    drawn d = line_called(svg, "regular (one rank)", 0);
    scale y = scale_through(decode_s(1, 128, 1), d.y[0], decode_s(1, 8192, 1), d.y[6]);
    for (int i = 0; i < 3; i++) {
        d = line_called(svg, i == 0 ? "regular (one rank)" : i == 1 ? "ring of 2" : "ring of 4", 0);
        for (int j = 0; j < 7; j++) {
            assert_on(y, decode_s(1 << i, 128 << j, 1), d.y[j]);
        }
    }
    assert_on(y, 0, y_tick_at(svg, "0", 0));
    assert_non_null(strstr(svg, "time for a token (ms)"));
    free(svg);
}

static double speed_up(int64_t ranks, int64_t prompt, bool decode)
{
    return decode ? decode_s(1, prompt, 16) / decode_s(ranks, prompt, 16) : prefill_s(1, prompt) / prefill_s(ranks, prompt);
}

static void speed_up_goes_by_ranks(void **state)
{
    (void)state;
    row_list all = some_rows("model");
    char *svg = text_of(draw(&all, "ranks"), "speedup.svg");
    for (int panel = 0; panel < 2; panel++) { /* prefill, decode */
        drawn d = line_called(svg, "prompt of 8k", panel);
        assert_int_equal(d.n, 3);
        scale x = scale_through(1, d.x[0], 4, d.x[2]);
        scale y = scale_through(1, d.y[0], speed_up(4, 8192, panel), d.y[2]);
        for (int64_t prompt = 256; prompt <= 8192; prompt *= 2) {
            char label[64];
            bool k = prompt >= 1024;
            snprintf(label, sizeof label, "prompt of %lld%s", (long long)(k ? prompt / 1024 : prompt), k ? "k" : "");
            d = line_called(svg, label, panel);
            assert_int_equal(d.n, 3);
            for (int i = 0; i < 3; i++) {
                assert_on(x, 1 << i, d.x[i]);
                assert_on(y, speed_up(1 << i, prompt, panel), d.y[i]);
            }
        }
        assert_on(y, 0, y_tick_at(svg, "0", panel));
        drawn ideal = line_called(svg, "ideal", panel);
        assert_int_equal(ideal.pieces, 1);
    }
    assert_null(strstr(svg, "<polygon")); /* bands would hide each other */
    free(svg);
}

static void memory_goes_by_length_and_by_ranks(void **state)
{
    (void)state;
    row_list all = some_rows("model");
    char *svg = text_of(draw(&all, "memory of rings"), "memory.svg");
    drawn length = line_called(svg, "ring of 4", 0), ranks = line_called(svg, "prompt of 8k", 0);
    assert_int_equal(length.n, 7);
    assert_int_equal(ranks.n, 3);
    scale y = scale_through(log(1e6 + 3e3 * 8192), ranks.y[0], log(1e6 + 3e3 * 2048), ranks.y[2]);
    assert_on(y, log(1e6 + 3e3 * 4096), ranks.y[1]);
    y = scale_through(log(1e6 + 3e3 * 32), length.y[0], log(1e6 + 3e3 * 2048), length.y[6]);
    for (int i = 1; i < 6; i++) {
        assert_on(y, log(1e6 + 3e3 * (32 << i)), length.y[i]);
    }
    assert_null(strstr(svg, "<polygon"));
    free(svg);
}

static void memory_that_differs_little_is_drawn_from_nought(void **state)
{
    (void)state;
    row_list all = no_rows("model");
    for (int64_t prompt = 1024; prompt <= 4096; prompt *= 2) {
        add(&all, 1, 0, prompt, 16);
    }
    const char *folder = draw(&all, "memory of one");
    char *svg = text_of(folder, "memory.svg"), *script = text_of(folder, "memory.gp");
    drawn d = line_called(svg, "regular (one rank)", 0);
    assert_int_equal(d.n, 3);
    scale y = scale_through(1e6 + 3e3 * 1024, d.y[0], 1e6 + 3e3 * 4096, d.y[2]);
    assert_on(y, 1e6 + 3e3 * 2048, d.y[1]);
    assert_on(y, 0, y_tick_at(svg, "0", 0));
    assert_non_null(strstr(script, "set yrange [0:"));
    free(svg);
    free(script);
}

static void rates_go_by_context_in_one_line_for_each_length_of_prompts(void **state)
{
    (void)state;
    row_list all = no_rows("model");
    for (int64_t depth = 0; depth <= 4096; depth += 1024) {
        for (int64_t prompt = 512; prompt <= 1024; prompt += 512) {
            row *r = add(&all, 1, 0, prompt, 16);
            r->cell.depth = depth;
            r->decode = (spread){16 / (100.0 + (double)depth), 16 / (100.0 + (double)depth), 16 / (100.0 + (double)depth)};
        }
    }
    char *svg = text_of(draw(&all, "rates"), "rate.svg");
    drawn d = line_called(svg, "regular (one rank), prompts of 512", 1);
    assert_int_equal(d.n, 5);
    scale x = scale_through(log(512), d.x[0], log(4096 + 512), d.x[4]);
    scale y = scale_through(log(100), d.y[0], log(4196), d.y[4]);
    d = line_called(svg, "regular (one rank), prompts of 1k", 1);
    assert_int_equal(d.n, 5);
    for (int i = 0; i < d.n; i++) {
        assert_on(x, log(i * 1024 + 1024), d.x[i]);
        assert_on(y, log(i * 1024 + 100), d.y[i]);
    }
    free(svg);
}

static void the_regular_row_begins_the_lines_of_all_blocks(void **state)
{
    (void)state;
    row_list all = no_rows("model");
    for (int64_t prompt = 512; prompt <= 4096; prompt *= 2) {
        add(&all, 1, 0, prompt, 16);
    }
    for (int64_t block = 1024; block <= 2048; block *= 2) {
        for (int64_t prompt = 512; prompt <= 4096; prompt *= 2) {
            add(&all, 2, block, prompt, 16);
        }
    }
    const char *folder = draw(&all, "blocks");
    char *svg = text_of(folder, "first-token.svg");
    assert_int_equal(line_called(svg, "regular (one rank)", 0).n, 4);
    assert_int_equal(line_called(svg, "ring of 2, blocks of 1k", 0).n, 4);
    assert_int_equal(line_called(svg, "ring of 2, blocks of 2k", 0).n, 4);
    free(svg);
    svg = text_of(folder, "speedup.svg");
    assert_int_equal(line_called(svg, "prompt of 4k, blocks of 2k", 0).n, 2);
    assert_null(strstr(svg, "<text>prompt of 4k</text>"));
    free(svg);
}

static void what_did_not_fit_is_a_gap_and_is_named(void **state)
{
    (void)state;
    row_list all = some_rows("model");
    row *r = &all.rows[7 + 3]; /* the ring of 2, 1k */
    snprintf(r->reason, sizeof r->reason, "needs more memory");
    r->n_samples = 0;
    r->prefill = r->decode = (spread){0};
    const char *folder = draw(&all, "gap");
    char *svg = text_of(folder, "first-token.svg"), *data = text_of(folder, "first-token.tsv");
    drawn d = line_called(svg, "ring of 2", 0);
    assert_int_equal(d.n, 6);
    assert_int_equal(d.pieces, 2);
    assert_non_null(strstr(svg, "Could not be run: ring of 2 at 1k"));
    assert_null(strstr(data, "ring of 2\t1024"));
    free(svg);
    free(data);
}

static void the_data_are_those_of_the_rows(void **state)
{
    (void)state;
    row_list all = some_rows("model");
    char *data = text_of(draw(&all, "data"), "first-token.tsv");
    assert_non_null(strstr(data, "line\tprompt_tokens\tmedian_s\tleast_s\tmost_s\n"));
    for (int64_t prompt = 128; prompt <= 8192; prompt *= 2) {
        char begin[64];
        double median, least, most, s = prefill_s(2, prompt);
        int n = snprintf(begin, sizeof begin, "\nring of 2\t%lld\t", (long long)prompt);
        const char *at = strstr(data, begin);
        assert_non_null(at);
        assert_int_equal(sscanf(at + n, "%lf\t%lf\t%lf", &median, &least, &most), 3);
        assert_true(fabs(median / s - 1) < 1e-8 && fabs(least / s - 0.9) < 1e-8 && fabs(most / s - 1.2) < 1e-8);
    }
    free(data);
}

static void every_picture_is_a_whole_png_too(void **state)
{
    (void)state;
    static const char *const names[] = {"first-token", "token", "memory", "speedup", "rate"};
    row_list all = some_rows("model");
    const char *folder = draw(&all, "png");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char name[64];
        size_t size;
        snprintf(name, sizeof name, "%s.png", names[i]);
        char *path = file_in(folder, name);
        unsigned char *png = scratch_read(path, &size);
        assert_true(size > 4096);
        assert_memory_equal(png, "\x89PNG\r\n\x1a\n", 8);
        assert_memory_equal(png + size - 8, "IEND", 4);
        free(png);
        free(path);
    }
}

/* Tokens are counted in 1024s, ranks and sequences are not. */
static void many_ranks_and_sequences_are_plain_numbers(void **state)
{
    (void)state;
    row_list all = no_rows("model");
    for (int64_t ranks = 1; ranks <= 1024; ranks *= 32) {
        for (int64_t batch = 1; batch <= 1024; batch *= 1024) {
            for (int64_t prompt = 1024; prompt <= 2048; prompt *= 2) {
                add(&all, ranks, 0, prompt, 16)->cell.batch = batch;
            }
        }
    }
    const char *folder = draw(&all, "many");
    char *svg = text_of(folder, "first-token.svg");
    assert_int_equal(line_called(svg, "ring of 1,024, batch of 1,024", 0).n, 2);
    assert_true(tick_at(svg, "2k") > tick_at(svg, "1k"));
    free(svg);
    svg = text_of(folder, "memory.svg");
    assert_int_equal(line_called(svg, "prompt of 1k, batch of 1,024", 0).n, 3);
    assert_true(tick_at(svg, "1,024") > tick_at(svg, "512"));
    free(svg);
}

/* --- what else may come --- */

static void two_points_and_equal_or_extreme_values_can_be_drawn(void **state)
{
    (void)state;
    static const double factors[] = {1, 1e-9, 1e9};
    for (int i = 0; i < 3; i++) {
        row_list all = no_rows("model");
        for (int64_t prompt = 1000; prompt <= 1001; prompt++) {
            row *r = add(&all, 1, 0, prompt, 0);
            r->prefill = (spread){factors[i], factors[i], factors[i]};
        }
        const char *folder = draw(&all, "two");
        char *svg = text_of(folder, "first-token.svg");
        drawn d = line_called(svg, "regular (one rank)", 0);
        assert_int_equal(d.n, 2);
        assert_true(d.x[1] > d.x[0] && d.y[1] == d.y[0]);
        assert_false(is_there(folder, "token.gp"));
        free(svg);
    }
}

static void what_has_no_line_is_not_drawn(void **state)
{
    (void)state;
    row_list all = no_rows("model");
    int rc;
    add(&all, 1, 0, 512, 16);
    char *said = said_by(&all, "none", &rc);
    assert_int_equal(rc, 0);
    assert_int_equal(lines_in(said), 1);
    assert_non_null(strstr(said, "two points"));
    assert_false(is_there(scratch_folder(), "none"));
    free(said);
}

static int files_of(const char *folder, const char *picture)
{
    static const char *const ends[] = {"svg", "png", "tsv", "gp"};
    int n = 0;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s.%s", picture, ends[i]);
        n += is_there(folder, name);
    }
    return n;
}

static void pictures_of_an_earlier_run_stay_only_where_nothing_new_is_drawn(void **state)
{
    (void)state;
    int rc;
    row_list all = some_rows("model");
    const char *folder = draw(&all, "earlier");
    scratch_write_text("earlier/notes.txt", "of the user");
    assert_int_equal(files_of(folder, "speedup"), 4);
    all = no_rows("model");
    add(&all, 1, 0, 512, 0);
    add(&all, 1, 0, 1024, 0);
    draw(&all, "earlier");
    assert_int_equal(files_of(folder, "first-token"), 4);
    assert_int_equal(files_of(folder, "token"), 0);
    assert_int_equal(files_of(folder, "speedup"), 0);
    all.n = 1;
    free(said_by(&all, "earlier", &rc));
    assert_int_equal(rc, 0);
    assert_int_equal(files_of(folder, "first-token"), 4); /* one point draws nothing */
    assert_true(is_there(folder, "notes.txt"));
}

static void names_are_text_whatever_stands_in_them(void **state)
{
    (void)state;
    char model[] = "a'b\"c\\ `touch ../BAD` {/=40 x} } \n!touch ../BAD\n' ; system('touch ../BAD') # @x <&> $HOME %d";
    row_list all = some_rows(model);
    const char *folder = draw(&all, "it's `touch BAD`; \"odd\"/and new");
    char *svg = text_of(folder, "first-token.svg");
    assert_non_null(strstr(svg, "a'b\"c\\ `touch ../BAD` {/=40 x} } ?!touch ../BAD?' ; syst"));
    assert_false(is_there(folder, "../BAD"));
    assert_false(is_there(folder, "../../BAD"));
    assert_false(is_there(".", "BAD"));
    free(svg);
}

static void the_script_draws_again(void **state)
{
    (void)state;
    row_list all = some_rows("it's");
    const char *folder = draw(&all, "again");
    char *before = text_of(folder, "rate.svg"), *path = file_in(folder, "rate.svg"), *line;
    unlink(path);
    assert_true(asprintf(&line, "cd '%s' && LC_ALL=C gnuplot rate.gp", folder) > 0);
    assert_int_equal(system(line), 0); // NOLINT(cert-env33-c)
    char *after = text_of(folder, "rate.svg");
    assert_string_equal(before, after);
    free(before);
    free(after);
    free(path);
    free(line);
}

/* --- without gnuplot --- */

/* Calls plots_draw with `folder` as the only one in PATH. */
static char *said_with_path(const char *path, const char *name, int *rc)
{
    const char *now = getenv("PATH");
    char *before = strdup(now ? now : "");
    row_list all = some_rows("model");
    setenv("PATH", path, 1);
    char *said = said_by(&all, name, rc);
    setenv("PATH", before, 1);
    free(before);
    return said;
}

static void without_gnuplot_one_line_says_where_it_is_and_the_data_are_kept(void **state)
{
    (void)state;
    int rc;
    char *folder = scratch_path("without"), *said;
    said = said_with_path("/nowhere", "without", &rc);
    assert_int_equal(rc, 0);
    assert_int_equal(lines_in(said), 1);
    assert_non_null(strstr(said, "warning: "));
    assert_non_null(strstr(said, "gnuplot-nox"));
    assert_true(is_there(folder, "first-token.tsv") && is_there(folder, "rate.gp"));
    assert_false(is_there(folder, "first-token.svg"));
    free(said);
    free(folder);
}

static void what_gnuplot_says_is_handed_on_where_it_fails(void **state)
{
    (void)state;
    int rc;
    scratch_write_text("bin/gnuplot", "#!/bin/sh\necho 'line 7: no such terminal' >&2\nexit 3\n");
    char *bin = scratch_path("bin"), *program = scratch_path("bin/gnuplot"), *said;
    chmod(program, 0700);
    said = said_with_path(bin, "fails", &rc);
    assert_int_equal(rc, EXIT_FAILURE);
    assert_int_equal(lines_in(said), 1);
    assert_non_null(strstr(said, "line 7: no such terminal"));
    free(said);
    free(program);
    free(bin);
}

static void where_no_folder_can_be_made_that_is_said(void **state)
{
    (void)state;
    int rc;
    row_list all = some_rows("model");
    scratch_write_text("file", "");
    char *said = said_by(&all, "file/folder", &rc);
    assert_int_equal(rc, EXIT_FAILURE);
    assert_int_equal(lines_in(said), 1);
    assert_non_null(strstr(said, "file/folder"));
    free(said);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(points_stand_at_the_logarithms_of_the_data),
        cmocka_unit_test(a_token_after_the_first_has_its_own_picture_from_nought),
        cmocka_unit_test(speed_up_goes_by_ranks),
        cmocka_unit_test(memory_goes_by_length_and_by_ranks),
        cmocka_unit_test(memory_that_differs_little_is_drawn_from_nought),
        cmocka_unit_test(rates_go_by_context_in_one_line_for_each_length_of_prompts),
        cmocka_unit_test(the_regular_row_begins_the_lines_of_all_blocks),
        cmocka_unit_test(what_did_not_fit_is_a_gap_and_is_named),
        cmocka_unit_test(the_data_are_those_of_the_rows),
        cmocka_unit_test(many_ranks_and_sequences_are_plain_numbers),
        cmocka_unit_test(every_picture_is_a_whole_png_too),
        cmocka_unit_test(two_points_and_equal_or_extreme_values_can_be_drawn),
        cmocka_unit_test(what_has_no_line_is_not_drawn),
        cmocka_unit_test(pictures_of_an_earlier_run_stay_only_where_nothing_new_is_drawn),
        cmocka_unit_test(names_are_text_whatever_stands_in_them),
        cmocka_unit_test(the_script_draws_again),
        cmocka_unit_test(without_gnuplot_one_line_says_where_it_is_and_the_data_are_kept),
        cmocka_unit_test(what_gnuplot_says_is_handed_on_where_it_fails),
        cmocka_unit_test(where_no_folder_can_be_made_that_is_said),
    };
    if (system("gnuplot --version >/dev/null 2>&1") != 0) { // NOLINT(cert-env33-c)
        puts("skipped: no gnuplot here");
        return TEST_SKIPPED;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
