/* Chrome's trace format: one JSON object, one line a span.
   Rests on lariat/trace.h, output.h and jansson (for names in JSON). See trace_file.h. */
#include "cli/trace_file.h"
#include "cli/message.h"
#include "cli/output.h"
#include "cli/json_text.h"
#include "lariat/trace.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Tracks of a rank: its work and its hops. */
enum { TRACKS = 2 };

static int track_of(int32_t rank, lariat_span_kind kind)
{
    return TRACKS * rank + (kind == LARIAT_SPAN_HOP);
}

static void put_name(new_file *f, const char *what, int track, const char *name)
{
    json_t *text = json_from_text(name);
    char *quoted = text ? json_dumps(text, JSON_ENCODE_ANY) : NULL;
    new_file_format(f, "{\"name\":\"%s\",\"ph\":\"M\",\"pid\":0,\"tid\":%d,\"args\":{\"name\":", what, track);
    new_file_bytes(f, quoted ? quoted : "\"\"", quoted ? strlen(quoted) : 2);
    new_file_format(f, "}},\n");
    free(quoted);
    json_decref(text);
}

static void put_names(new_file *f, const lariat_engine *engine)
{
    char name[64];
    int32_t ranks = lariat_engine_plan(engine)->ranks;
    put_name(f, "process_name", 0, lariat_engine_model(engine)->path);
    for (int32_t r = 0; r < ranks; r++) {
        snprintf(name, sizeof name, "rank %d", r);
        put_name(f, "thread_name", track_of(r, LARIAT_SPAN_PASS), name);
        if (ranks > 1) {
            snprintf(name, sizeof name, "hops to rank %d", r);
            put_name(f, "thread_name", track_of(r, LARIAT_SPAN_HOP), name);
        }
    }
}

/* Whole nanoseconds, so that nesting survives rounding. */
static void put_span(new_file *f, int32_t rank, const lariat_span *s)
{
    long long begin = llround(s->begin * 1e9), took = llround(s->end * 1e9) - begin;
    new_file_format(
        f, "{\"name\":\"%s\",\"ph\":\"X\",\"pid\":0,\"tid\":%d,\"ts\":%lld.%03lld,\"dur\":%lld.%03lld,\"args\":{\"pass\":%u",
        lariat_span_name(s->kind), track_of(rank, s->kind), begin / 1000, begin % 1000, took / 1000, took % 1000, s->pass);
    if (s->layer >= 0) {
        new_file_format(f, ",\"layer\":%d", s->layer);
    }
    if (s->owner >= 0) {
        new_file_format(f, ",\"owner\":%d", s->owner);
    }
    if (s->bytes > 0) {
        new_file_format(f, ",\"bytes\":%lld", (long long)s->bytes);
    }
    new_file_format(f, "}},\n");
}

static void warn_of_lost(const lariat_engine *engine, const char *path)
{
    int64_t lost = 0, kept = 0, n;
    for (int32_t r = 0; r < lariat_engine_plan(engine)->ranks; r++) {
        lost += lariat_trace_lost(engine, r);
        (void)lariat_trace_spans(engine, r, &n);
        kept += n;
    }
    if (lost > 0) {
        warn("%s: %lld of %lld spans found no room and are missing, trace a shorter text or reply", path, (long long)lost,
             (long long)(lost + kept));
    }
}

int trace_write(const lariat_engine *engine, const char *path)
{
    new_file f;
    TRY(new_file_open(&f, path));
    new_file_format(&f, "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n");
    put_names(&f, engine);
    for (int32_t r = 0; r < lariat_engine_plan(engine)->ranks; r++) {
        int64_t n;
        const lariat_span *spans = lariat_trace_spans(engine, r, &n);
        for (int64_t i = 0; i < n; i++) {
            put_span(&f, r, &spans[i]);
        }
    }
    /* The last entry, without a comma. */
    new_file_format(&f, "{\"name\":\"process_sort_index\",\"ph\":\"M\",\"pid\":0,\"args\":{\"sort_index\":0}}\n]}\n");
    int rc = new_file_close(&f);
    if (rc == 0) {
        warn_of_lost(engine, path);
    }
    return rc;
}
