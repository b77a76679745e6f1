/* lariat logits: the logits of given tokens as a safetensors file.
   Rests on score.h and data.h. */
#include "cli/commands.h"
#include "cli/message.h"
#include "cli/score.h"
#include "lariat/data.h"

#include <stdlib.h>

/* The destination of rows. */
typedef struct logit_file {
    lariat_tensor_file *file;
    int64_t first_row; /* rows before it are not written */
    int32_t vocab;
} logit_file;

static int write_rows(void *user, const float *logits, int64_t first, int64_t rows)
{
    logit_file *out = user;
    int64_t skip = out->first_row > first ? out->first_row - first : 0;
    if (skip >= rows) {
        return 0;
    }
    size_t bytes = (size_t)(rows - skip) * (size_t)out->vocab * sizeof *logits;
    return checked(lariat_tensor_file_write(out->file, logits + skip * out->vocab, bytes));
}

static int create(const invocation *inv, int64_t n, logit_file *out)
{
    const options *o = inv->options;
    int64_t rows = o->last ? o->last : n;
    *out = (logit_file){.first_row = n - rows, .vocab = inv->model->vocab};
    lariat_tensor_spec specs[] = {{.name = "logits", .type = "F32", .n_dims = 2, .dims = {rows, inv->model->vocab}},
                                  {.name = "nll", .type = "F64", .n_dims = 1, .dims = {1}}};
    return checked(lariat_tensor_file_create(o->out, specs, 2, &out->file));
}

static int write_logits(invocation *inv, const token_list *ids, lariat_session *session)
{
    logit_file out;
    TRY(create(inv, ids->n, &out));
    score s = {0};
    progress_begin(&inv->progress, "reading", ids->n);
    int rc = score_tokens(inv, session, ids->ids, ids->n, &s, write_rows, &out);
    progress_end(&inv->progress);
    double mean = score_mean(&s);
    if (rc == 0 && lariat_tensor_file_write(out.file, &mean, sizeof mean) != LARIAT_OK) {
        rc = complain_library();
    }
    if (rc) {
        lariat_tensor_file_discard(out.file);
        return rc;
    }
    return checked(lariat_tensor_file_finish(out.file));
}

static int score_session(invocation *inv, const token_list *ids)
{
    lariat_session *session;
    TRY(check_tokens(input_name(inv->options->tokens), ids, inv->model->vocab));
    TRY(checked(lariat_session_open(inv->engine, ids->n, &session)));
    int rc = write_logits(inv, ids, session);
    invocation_note_shards(inv, session);
    lariat_session_close(session);
    return rc;
}

int command_logits(const options *o)
{
    invocation inv = {.options = o};
    token_list ids;
    int rc = read_tokens(o->tokens, &ids);
    if (rc == 0 && ids.n == 0) {
        rc = complain("%s: no ids, give at least one", input_name(o->tokens));
    }
    if (rc == 0 && o->context > 0 && ids.n > o->context) {
        rc = complain("%s: %lld ids, the context is %lld: ask for more with -c", input_name(o->tokens), (long long)ids.n,
                      (long long)o->context);
    }
    if (rc == 0 && o->last > ids.n) {
        rc = complain_usage("--last: %lld rows of %lld ids, ask for fewer or leave it out for all", (long long)o->last,
                            (long long)ids.n);
    }
    slot_wish wanted = {.context = o->context ? o->context : ids.n, .sessions = 1, .longest = ids.n};
    rc = rc ? rc : invocation_open_engine(&inv, wanted);
    if (rc == 0 && inv.engine) {
        rc = score_session(&inv, &ids);
    }
    lariat_free(ids.ids);
    return invocation_close(&inv, rc);
}
