/* From the command line to a request.
   Rests on schedule/request.h. See request_options.h. */
#include "cli/request_options.h"
#include "cli/message.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* "ID=X" */
static int add_bias(request *r, const char *given)
{
    char *sign, *end;
    errno = 0;
    long long id = strtoll(given, &sign, 10);
    float bias = *sign == '=' ? strtof(sign + 1, &end) : 0;
    if (*sign != '=' || sign == given || end == sign + 1 || *end || errno || id < 0 || id > INT32_MAX) {
        return complain_usage("--logit-bias: '%s' is no bias, give ID=X, a token's id and a number", given);
    }
    if (!(bias >= -LARIAT_BIAS_MAX && bias <= LARIAT_BIAS_MAX)) {
        return complain_usage("--logit-bias: %s is out of range, choose from -%d to %d", sign + 1, LARIAT_BIAS_MAX,
                              LARIAT_BIAS_MAX);
    }
    TRY_MEMORY(request_add_bias(r, (int32_t)id, bias), "--logit-bias");
    return 0;
}

static int add_stop(request *r, const char *given)
{
    size_t size = strlen(given);
    if (size < 1 || size > LARIAT_STOP_BYTES) {
        return complain_usage("--stop: a text of %zu bytes, give 1 to %d", size, LARIAT_STOP_BYTES);
    }
    TRY_MEMORY(request_add_stop(r, given, size), "--stop");
    return 0;
}

/* Short, as it may be typed again. */
static uint64_t draw_seed(void)
{
    uint32_t seed = 0;
    return getrandom(&seed, sizeof seed, 0) == sizeof seed ? seed : 0;
}

int request_of_options(const options *o, request *out)
{
    request_init(out);
    if (o->command != COMMAND_GENERATE && o->command != COMMAND_CHAT) {
        return 0;
    }
    out->most = o->n;
    out->samples = (int32_t)(o->samples ? o->samples : 1);
    out->logprobs = (int32_t)o->logprobs;
    out->sampling = (lariat_sampling){.temperature = (float)o->temperature,
                                      .top_k = (int32_t)o->top_k,
                                      .top_p = (float)o->top_p,
                                      .min_p = (float)o->min_p,
                                      .seed = option_is_typed(o, "seed") ? o->seed : draw_seed(),
                                      .repeat = (float)o->repeat,
                                      .frequency = (float)o->frequency,
                                      .presence = (float)o->presence};
    int rc = 0;
    for (int i = 0; rc == 0 && i < o->biases.n; i++) {
        rc = add_bias(out, o->biases.values[i]);
    }
    for (int i = 0; rc == 0 && i < o->stops.n; i++) {
        rc = add_stop(out, o->stops.values[i]);
    }
    return rc;
}
