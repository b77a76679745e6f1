/* The picture: two lanes a rank, its work above its hops, on one time axis.
   Rests on lariat/trace.h, output.h and jansson (for valid UTF-8). See timeline.h. */
#include "cli/bench/timeline.h"
#include "cli/message.h"
#include "cli/output.h"
#include "cli/plan_text.h"
#include "cli/json_text.h"
#include "lariat/trace.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Pixels. */
enum {
    WIDTH = 1200,
    LEFT = 150,   /* for the labels of the lanes */
    RIGHT = 30,
    TOP = 76,     /* for title and subtitle */
    WORK = 36,    /* height of a lane of work */
    HOPS = 20,    /* of hops */
    GAP = 18,     /* between ranks */
    AXIS = 54,    /* ticks and the name of the axis */
    LEGEND = 40,
    GLYPH = 7,    /* room for a character of a label in 12 px, wide fonts included */
    NAME_MOST = 60
};

/* Okabe and Ito's colours, distinguishable with colour blindness. Other kinds are not drawn. */
static const struct look {
    const char *fill, *legend;
    bool dark; /* text on it is white */
} looks[LARIAT_SPAN_KINDS] = {
    [LARIAT_SPAN_PROJECTIONS] = {"#0072B2", "projections", true},
    [LARIAT_SPAN_ATTENTION] = {"#E69F00", "attention, and to whose keys", false},
    [LARIAT_SPAN_MERGE] = {"#CC79A7", "merge", false},
    [LARIAT_SPAN_FEED_FORWARD] = {"#009E73", "feed-forward", true},
    [LARIAT_SPAN_WAIT] = {"#D55E00", "wait", true},
    [LARIAT_SPAN_HOP] = {"#56B4E9", "hop: from asking to there", false},
};

/* The drawn layer. */
typedef struct scene {
    const lariat_engine *engine;
    int32_t ranks, layer;
    uint32_t pass;
    double begin, end;    /* of the first and last rank in this layer */
    double took, waited;  /* of all hops */
    int64_t hops, bytes;  /* number; bytes of the largest */
    new_file file;
} scene;

static bool is_seen(const scene *s, const lariat_span *span)
{
    return span->pass == s->pass && span->layer == s->layer;
}

static double overlap(const lariat_span *a, const lariat_span *b)
{
    double begin = fmax(a->begin, b->begin), end = fmin(a->end, b->end);
    return end > begin ? end - begin : 0;
}

/* Chooses the pass: the last one with hops, in a ring of one the longest. False: none. */
static bool choose_pass(scene *s)
{
    int64_t n;
    const lariat_span *spans = lariat_trace_spans(s->engine, 0, &n);
    double longest = -1;
    for (int64_t i = 0; i < n; i++) {
        const lariat_span *span = &spans[i];
        if (s->ranks > 1 ? span->kind == LARIAT_SPAN_HOP
                         : span->kind == LARIAT_SPAN_PASS && span->end - span->begin > longest) {
            longest = span->end - span->begin;
            s->pass = span->pass;
        }
    }
    return longest >= 0;
}

/* Adds a hop's time, and its rank's waiting during it. */
static void add_hop(scene *s, const lariat_span *hop, const lariat_span spans[], int64_t n)
{
    s->hops++;
    s->took += hop->end - hop->begin;
    s->bytes = hop->bytes > s->bytes ? hop->bytes : s->bytes;
    for (int64_t i = 0; i < n; i++) {
        if (is_seen(s, &spans[i]) && spans[i].kind == LARIAT_SPAN_WAIT && spans[i].owner == hop->owner) {
            s->waited += overlap(hop, &spans[i]);
        }
    }
}

/* Measures the layer's begin and end, and its hops. False: a rank did not record it. */
static bool measure(scene *s)
{
    for (int32_t r = 0; r < s->ranks; r++) {
        int64_t n;
        const lariat_span *spans = lariat_trace_spans(s->engine, r, &n);
        bool found = false;
        for (int64_t i = 0; i < n; i++) {
            if (is_seen(s, &spans[i]) && spans[i].kind == LARIAT_SPAN_LAYER) {
                s->begin = s->end > 0 ? fmin(s->begin, spans[i].begin) : spans[i].begin;
                s->end = fmax(s->end, spans[i].end);
                found = true;
            } else if (is_seen(s, &spans[i]) && spans[i].kind == LARIAT_SPAN_HOP) {
                add_hop(s, &spans[i], spans, n);
            }
        }
        if (!found) {
            return false;
        }
    }
    return s->end > s->begin;
}

/* Do queries travel, and so partial results? */
static bool queries_travel(const scene *s)
{
    return s->hops > (int64_t)s->ranks * (s->ranks - 1);
}

static double x_of(const scene *s, double time)
{
    return LEFT + (time - s->begin) / (s->end - s->begin) * (WIDTH - LEFT - RIGHT);
}

static int rank_height(const scene *s)
{
    return WORK + GAP + (s->ranks > 1 ? HOPS : 0);
}

static int axis_y(const scene *s)
{
    return TOP + s->ranks * rank_height(s);
}

/* The model's path as text: valid UTF-8, short, escaped for XML. */
static void put_name(new_file *f, const char *path)
{
    const char *slash = strrchr(path, '/');
    json_t *text = json_from_text(slash && slash[1] ? slash + 1 : path);
    const char *name = text ? json_string_value(text) : "";
    size_t size = strlen(name), cut = size < NAME_MOST ? size : NAME_MOST;
    while (cut < size && ((unsigned char)name[cut] & 0xC0) == 0x80) { /* not within a character */
        cut--;
    }
    for (size_t i = 0; i < cut; i++) {
        unsigned char c = (unsigned char)name[i];
        if (c < ' ' || c == '&' || c == '<' || c == '>') {
            new_file_format(f, "&#%d;", c < ' ' ? '?' : c);
        } else {
            new_file_bytes(f, name + i, 1);
        }
    }
    new_file_format(f, cut < size ? "..." : "");
    json_decref(text);
}

static void put_head(scene *s)
{
    new_file *f = &s->file;
    int height = axis_y(s) + AXIS + LEGEND;
    char bytes[24];
    new_file_format(f,
                    "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" "
                    "font-family=\"DejaVu Sans, Verdana, sans-serif\" font-size=\"12\">\n"
                    "<rect width=\"%d\" height=\"%d\" fill=\"#FFFFFF\"/>\n",
                    WIDTH, height, WIDTH, height, WIDTH, height);
    new_file_format(
        f,
        "<text x=\"%d\" y=\"30\" font-size=\"17\">One layer of a prefill on a ring of %d: layer %d (of 0 to %d), pass %u"
        "</text>\n",
        16, s->ranks, s->layer, lariat_engine_model(s->engine)->n_layers - 1, s->pass);
    new_file_format(f, "<text x=\"16\" y=\"54\" fill=\"#444444\">");
    put_name(f, lariat_engine_model(s->engine)->path);
    if (s->hops == 0) {
        new_file_format(f, "; nothing travels");
    } else {
        new_file_format(f, "; a hop brings %s; hops %.0f %% hidden", bytes_text(s->bytes, bytes),
                        s->took > 0 ? 100 * (1 - s->waited / s->took) : 100);
    }
    new_file_format(f, "</text>\n");
}

/* 1, 2 or 5 times a power of ten, so that ticks are ten at most. */
static double tick_of(double length)
{
    double power = pow(10, floor(log10(length / 10)));
    return length / power <= 10 ? power : length / power <= 20 ? 2 * power : length / power <= 50 ? 5 * power : 10 * power;
}

static void put_axis(scene *s)
{
    new_file *f = &s->file;
    double length = (s->end - s->begin) * 1e3, tick = tick_of(length);
    int y = axis_y(s);
    for (int i = 0; i * tick <= length; i++) {
        double x = x_of(s, s->begin + i * tick / 1e3);
        new_file_format(f, "<line x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\" stroke=\"#DDDDDD\"/>\n", x, TOP - 6, x, y + 5);
        new_file_format(f, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%g</text>\n", x, y + 20, i * tick);
    }
    new_file_format(f, "<line x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\" stroke=\"#000000\"/>\n", LEFT, y, WIDTH - RIGHT, y);
    new_file_format(f, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">ms</text>\n", LEFT - 12, y + 20);
}

/* The text of a box, if there is room. */
static void box_text(const scene *s, const lariat_span *span, char *out, size_t size)
{
    if (span->kind == LARIAT_SPAN_ATTENTION) {
        snprintf(out, size, "%s of %d", queries_travel(s) ? "queries" : "keys", span->owner);
    } else if (span->kind == LARIAT_SPAN_HOP) {
        snprintf(out, size, "from %d", span->owner);
    } else {
        snprintf(out, size, "%s", lariat_span_name(span->kind));
    }
}

static void put_box(scene *s, int32_t rank, const lariat_span *span)
{
    const struct look *look = &looks[span->kind];
    bool hop = span->kind == LARIAT_SPAN_HOP;
    double x = x_of(s, span->begin), width = x_of(s, span->end) - x;
    int y = TOP + rank * rank_height(s) + (hop ? WORK : 0), height = hop ? HOPS - 4 : WORK;
    char label[32];
    if (!look->fill) {
        return;
    }
    new_file_format(&s->file,
                    "<rect class=\"%s\" x=\"%.2f\" y=\"%d\" width=\"%.2f\" height=\"%d\" fill=\"%s\"%s>"
                    "<title>%s, %.3f ms</title></rect>\n",
                    lariat_span_name(span->kind), x, y + (hop ? 2 : 0), width, height, look->fill,
                    width > 3 ? " stroke=\"#FFFFFF\" stroke-width=\"0.6\"" : "", lariat_span_name(span->kind),
                    (span->end - span->begin) * 1e3);
    box_text(s, span, label, sizeof label);
    if (span->kind == LARIAT_SPAN_ATTENTION && (double)(GLYPH * strlen(label)) > width) {
        snprintf(label, sizeof label, "%d", span->owner);
    }
    if ((double)(GLYPH * strlen(label)) <= width) {
        new_file_format(&s->file, "<text x=\"%.2f\" y=\"%d\" text-anchor=\"middle\" fill=\"%s\">%s</text>\n", x + width / 2,
                        y + (hop ? 2 : 0) + height / 2 + 4, look->dark ? "#FFFFFF" : "#000000", label);
    }
}

static void put_rank(scene *s, int32_t rank)
{
    int64_t n;
    const lariat_span *spans = lariat_trace_spans(s->engine, rank, &n);
    int y = TOP + rank * rank_height(s);
    new_file_format(&s->file, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">rank %d</text>\n", LEFT - 12, y + WORK / 2 + 4,
                    rank);
    if (s->ranks > 1) {
        new_file_format(&s->file, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\" fill=\"#444444\">hops to rank %d</text>\n",
                        LEFT - 12, y + WORK + HOPS / 2 + 4, rank);
    }
    for (int64_t i = 0; i < n; i++) {
        if (is_seen(s, &spans[i])) {
            put_box(s, rank, &spans[i]);
        }
    }
}

static const char *legend_of(const scene *s, lariat_span_kind kind)
{
    if (kind == LARIAT_SPAN_ATTENTION && queries_travel(s)) {
        return "attention, of whose queries";
    }
    if (kind == LARIAT_SPAN_HOP && lariat_engine_plan(s->engine)->cards > 0) {
        return "hop: from setting out to there";
    }
    return looks[kind].legend;
}

static void put_legend(scene *s)
{
    int x = LEFT, y = axis_y(s) + AXIS;
    for (int kind = 0; kind < LARIAT_SPAN_KINDS; kind++) {
        bool travels = kind == LARIAT_SPAN_HOP || kind == LARIAT_SPAN_WAIT;
        if (!looks[kind].fill || (travels && s->ranks == 1)) {
            continue;
        }
        const char *text = legend_of(s, (lariat_span_kind)kind);
        new_file_format(&s->file, "<rect x=\"%d\" y=\"%d\" width=\"14\" height=\"14\" fill=\"%s\"/>\n", x, y, looks[kind].fill);
        new_file_format(&s->file, "<text x=\"%d\" y=\"%d\">%s</text>\n", x + 20, y + 12, text);
        x += 20 + GLYPH * (int)strlen(text) + 24;
    }
}

int timeline_draw(const lariat_engine *engine, const char *path)
{
    scene s = {
        .engine = engine, .ranks = lariat_engine_plan(engine)->ranks, .layer = lariat_engine_model(engine)->n_layers / 2};
    if (!choose_pass(&s) || !measure(&s)) {
        return complain(
            "%s: nothing to draw, for no pass by tokens was traced as a whole: read a longer prompt (short ones go by slices)",
            path);
    }
    TRY(new_file_open(&s.file, path));
    put_head(&s);
    put_axis(&s);
    for (int32_t r = 0; r < s.ranks; r++) {
        put_rank(&s, r);
    }
    put_legend(&s);
    new_file_format(&s.file, "</svg>\n");
    return new_file_close(&s.file);
}
