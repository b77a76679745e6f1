/* Writing measurements to a file, and reading them back into rows.
   Rests on jansson. See resume.h. */
#include "cli/bench/resume.h"
#include "cli/bench/record.h"
#include "cli/message.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- samples and checks as JSON --- */

static json_t *sample_json(const sample *s)
{
    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:I, s:f, s:f, s:f, s:f, s:I}", "prefill_s", s->prefill_s, "decode_s",
                     s->decode_s, "prefill_flops", s->prefill_flops, "decode_flops", s->decode_flops, "decode_weight_bytes",
                     s->decode_weight_bytes, "hops", (json_int_t)s->hops, "hop_s", s->hop_s, "hop_wait_s", s->hop_wait_s,
                     "fma_flops", s->fma_flops, "read_rate", s->read_rate, "rank_bytes", (json_int_t)s->rank_bytes);
}

static bool sample_from(json_t *object, sample *out)
{
    json_int_t bytes, hops;
    if (json_unpack(object, "{s:F, s:F, s:F, s:F, s:F, s:I, s:F, s:F, s:F, s:F, s:I}", "prefill_s", &out->prefill_s, "decode_s",
                    &out->decode_s, "prefill_flops", &out->prefill_flops, "decode_flops", &out->decode_flops,
                    "decode_weight_bytes", &out->decode_weight_bytes, "hops", &hops, "hop_s", &out->hop_s, "hop_wait_s",
                    &out->hop_wait_s, "fma_flops", &out->fma_flops, "read_rate", &out->read_rate, "rank_bytes", &bytes) != 0) {
        return false;
    }
    out->rank_bytes = bytes;
    out->hops = hops;
    return out->prefill_s >= 0 && out->decode_s >= 0 && bytes >= 0;
}

/* A check as JSON; a NaN difference is null. */
static json_t *check_json(const comparison *c)
{
    return json_pack("{s:I, s:o}", "first_difference", (json_int_t)c->first_difference, "logit_difference",
                     isfinite(c->logit_difference) ? json_real(c->logit_difference) : json_null());
}

static bool check_from(json_t *object, comparison *out)
{
    json_t *difference = json_object_get(object, "logit_difference");
    json_int_t first;
    if (json_unpack(object, "{s:I}", "first_difference", &first) != 0 ||
        !(json_is_number(difference) || json_is_null(difference))) {
        return false;
    }
    out->first_difference = first;
    out->logit_difference = json_is_null(difference) ? NAN : json_number_value(difference);
    out->checked = true;
    return true;
}

/* --- reading --- */

/* The row of a line; among identical rows one that still needs a sample or a check. NULL: none. */
static row *row_of(row_list *all, json_t *const identities[], const json_t *identity, bool takes_samples)
{
    for (int i = 0; i < all->n; i++) {
        row *r = &all->rows[i];
        bool wants = takes_samples ? r->n_samples < all->options->reps : !r->beside.checked;
        if (wants && json_equal(identities[i], identity)) {
            return r;
        }
    }
    return NULL;
}

/* Adds a line's measurement to its row, if the row is of this run and needs it. False: an invalid line. */
static bool take_line(row_list *all, json_t *const identities[], json_t *line)
{
    json_t *identity = json_object_get(line, "row"), *kept = json_object_get(line, "sample");
    json_t *check = json_object_get(line, "check");
    row *r = row_of(all, identities, identity, kept != NULL);
    sample s;
    comparison c = {0};
    if (!json_is_object(identity) || !kept == !check || (kept && !sample_from(kept, &s)) || (check && !check_from(check, &c))) {
        return false;
    }
    if (r && kept) {
        r->samples[r->n_samples++] = s;
    } else if (r && check) {
        c.regular = -1;
        r->beside = c;
    }
    return true;
}

/* Lines of a file, for these rows. */
typedef struct reading {
    const char *path;
    row_list *all;
    json_t **identities; /* [all->n] */
} reading;

static int read_line(void *arg, int number, const char *line, size_t size)
{
    const reading *r = arg;
    json_t *object = json_loadb(line, size, 0, NULL);
    bool taken = take_line(r->all, r->identities, object);
    json_decref(object);
    return taken ? 0
                 : complain("%s: line %d is no measurement of lariat bench, name another file or take the line out", r->path,
                            number);
}

static int read_file_for(row_list *all, const line_file *f)
{
    json_t **identities = calloc((size_t)all->n, sizeof(json_t *)); /* NOLINT(bugprone-sizeof-expression): of pointers */
    TRY_MEMORY(identities, f->path);
    int rc = 0;
    for (int i = 0; rc == 0 && i < all->n; i++) {
        identities[i] = record_identity(all, &all->rows[i]);
        rc = identities[i] ? 0 : complain_memory(f->path);
    }
    rc = rc ? rc : line_file_read(f, "{\"row\":", read_line, &(reading){f->path, all, identities});
    for (int i = 0; i < all->n; i++) {
        json_decref(identities[i]);
    }
    free((void *)identities);
    return rc;
}

int keeper_open(const char *path, row_list *all, line_file *f)
{
    TRY(line_file_open(f, path, "measurements"));
    return path ? read_file_for(all, f) : 0;
}

int64_t rows_kept(const row_list *all)
{
    int64_t kept = 0;
    for (int i = 0; i < all->n; i++) {
        kept += all->rows[i].n_samples;
    }
    return kept;
}

/* --- writing --- */

static int keep_line(const line_file *f, const row_list *all, const row *r, const char *name, json_t *what)
{
    if (!f->file) {
        json_decref(what);
        return 0;
    }
    json_t *object = json_pack("{s:o?, s:o?}", "row", record_identity(all, r), name, what);
    char *line = json_is_object(json_object_get(object, "row")) && what ? json_dumps(object, JSON_COMPACT) : NULL;
    int rc = 0;
    if (!line) {
        rc = complain_memory(f->path);
    } else {
        rc = line_file_put(f, line);
    }
    free(line);
    json_decref(object);
    return rc;
}

int keep_sample(const line_file *f, const row_list *all, const row *r, const sample *s)
{
    return keep_line(f, all, r, "sample", sample_json(s));
}

int keep_check(const line_file *f, const row_list *all, const row *r)
{
    return keep_line(f, all, r, "check", check_json(&r->beside));
}
