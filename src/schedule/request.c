/* Reading a request's parameters, and values derived from them.
   Rests on jansson. See request.h; reply.c of the program carries a request out. */
#include "schedule/request.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void request_init(request *r)
{
    *r = (request){.sampling = {.top_p = 1}, .most = REQUEST_UNBOUNDED, .samples = 1, .logprobs = REQUEST_NO_LOGPROBS};
}

static void drop_stops(request *r)
{
    for (int32_t i = 0; i < r->n_stops; i++) {
        free((void *)(uintptr_t)r->stops[i].bytes);
    }
    free(r->stops);
    r->stops = NULL;
    r->n_stops = 0;
}

static void drop_bias(request *r)
{
    free(r->bias);
    r->bias = NULL;
    r->sampling.bias = NULL;
    r->sampling.n_bias = 0;
}

void request_free(request *r)
{
    drop_stops(r);
    drop_bias(r);
    request_init(r);
}

bool request_add_stop(request *r, const char *bytes, size_t size)
{
    lariat_stop_text *more = r->n_stops < LARIAT_STOPS_MAX ? realloc(r->stops, (size_t)(r->n_stops + 1) * sizeof *more) : NULL;
    char *copy = malloc(size ? size : 1);

    r->stops = more ? more : r->stops;
    if (!more || !copy) {
        free(copy);
        return false;
    }
    memcpy(copy, bytes, size);
    more[r->n_stops].bytes = copy;
    more[r->n_stops++].size = size;
    return true;
}

bool request_add_bias(request *r, int32_t token, float bias)
{
    lariat_bias *more = realloc(r->bias, (size_t)(r->sampling.n_bias + 1) * sizeof *more);

    if (more) {
        more[r->sampling.n_bias++] = (lariat_bias){token, bias};
        r->bias = more;
        r->sampling.bias = more;
    }
    return more != NULL;
}

bool request_copy(request *to, const request *from)
{
    bool whole = true;

    *to = *from;
    to->stops = NULL;
    to->bias = NULL;
    to->n_stops = to->sampling.n_bias = 0;
    to->sampling.bias = NULL;
    for (int32_t i = 0; i < from->n_stops; i++) {
        whole = whole && request_add_stop(to, from->stops[i].bytes, from->stops[i].size);
    }
    for (int32_t i = 0; i < from->sampling.n_bias; i++) {
        whole = whole && request_add_bias(to, from->bias[i].token, from->bias[i].bias);
    }
    return whole;
}

int32_t request_n_top(const request *r)
{
    return r->logprobs == REQUEST_NO_LOGPROBS ? 0 : r->logprobs > 0 ? r->logprobs : 1;
}

bool request_is_read_by_host(const request *r)
{
    const lariat_sampling *s = &r->sampling;

    return request_n_top(r) > 0 || s->n_bias > 0 || (s->repeat != 0 && s->repeat != 1) || s->frequency != 0 || s->presence != 0;
}

uint64_t request_seed(const request *r, int32_t sample)
{
    return sample ? lariat_seed_of(r->sampling.seed, (uint64_t)sample) : r->sampling.seed;
}

/* --- reading --- */

typedef struct reading {
    request *request;
    char *why;
} reading;

__attribute__((format(printf, 2, 3))) static bool refuse(const reading *r, const char *format, ...)
{
    va_list list;

    va_start(list, format);
    vsnprintf(r->why, REQUEST_WHY, format, list);
    va_end(list);
    return false;
}

static bool read_whole(const reading *r, const char *name, const json_t *value, int64_t low, int64_t high, int64_t *out)
{
    double real = json_number_value(value);
    bool fits = json_is_integer(value) || fabs(real) < 0x1p63;

    if (!json_is_number(value) || real != floor(real)) {
        return refuse(r, "\"%s\" is not a whole number", name);
    }
    *out = json_is_integer(value) ? json_integer_value(value) : fits ? (int64_t)real : 0;
    if (!fits || *out < low || *out > high) {
        return refuse(r, "\"%s\" is out of range, give %lld to %lld", name, (long long)low, (long long)high);
    }
    return true;
}

static bool read_real(const reading *r, const char *name, const json_t *value, double low, double high, float *out)
{
    double real = json_number_value(value);

    if (!json_is_number(value)) {
        return refuse(r, "\"%s\" is not a number", name);
    }
    if (!(real >= low && real <= high)) {
        return refuse(r, "\"%s\" is out of range, give %g to %g", name, low, high);
    }
    *out = (float)real;
    return true;
}

/* The parameters that are one number each. */
typedef struct number {
    const char *name;
    bool whole;
    double low, high;
    size_t field; /* of a request: float, or int32_t if whole */
} number;

#define OF(member) offsetof(request, member)

static const number numbers[] = {
    {"temperature", false, 0, 100, OF(sampling.temperature)},
    {"top_p", false, 0, 1, OF(sampling.top_p)},
    {"min_p", false, 0, 1, OF(sampling.min_p)},
    {"top_k", true, -1, INT32_MAX, OF(sampling.top_k)},
    {"n", true, 1, REQUEST_SAMPLES, OF(samples)},
    {"presence_penalty", false, -LARIAT_PENALTY_MAX, LARIAT_PENALTY_MAX, OF(sampling.presence)},
    {"frequency_penalty", false, -LARIAT_PENALTY_MAX, LARIAT_PENALTY_MAX, OF(sampling.frequency)},
    {"repeat_penalty", false, 0.01, LARIAT_REPEAT_MAX, OF(sampling.repeat)},
};

enum { NUMBERS = sizeof numbers / sizeof *numbers };

static bool read_number(const reading *r, const number *n, const json_t *value)
{
    void *field = (char *)r->request + n->field;
    int64_t whole = 0;

    if (!n->whole) {
        return read_real(r, n->name, value, n->low, n->high, field);
    }
    if (!read_whole(r, n->name, value, (int64_t)n->low, (int64_t)n->high, &whole)) {
        return false;
    }
    *(int32_t *)field = whole < 0 ? 0 : (int32_t)whole; /* top_k -1: all, as in others' servers */
    return true;
}

static bool read_most(const reading *r, const char *name, const json_t *value)
{
    return read_whole(r, name, value, 0, LARIAT_CONTEXT_MAX, &r->request->most);
}

static bool read_seed(const reading *r, const char *name, const json_t *value)
{
    int64_t seed = 0;

    if (!read_whole(r, name, value, INT64_MIN, INT64_MAX, &seed)) {
        return false;
    }
    r->request->sampling.seed = (uint64_t)seed;
    r->request->seeded = true;
    return true;
}

static bool add_stop(const reading *r, const json_t *value)
{
    size_t size = json_string_length(value);

    if (!json_is_string(value) || size < 1 || size > LARIAT_STOP_BYTES) {
        return refuse(r, "\"stop\" is neither a text of 1 to %d bytes nor a list of such", LARIAT_STOP_BYTES);
    }
    if (r->request->n_stops == LARIAT_STOPS_MAX) {
        return refuse(r, "\"stop\" has more than %d texts", LARIAT_STOPS_MAX);
    }
    return request_add_stop(r->request, json_string_value(value), size) || refuse(r, "no memory");
}

static bool read_stop(const reading *r, const char *name, const json_t *value)
{
    bool read = true;

    (void)name;
    drop_stops(r->request);
    if (!json_is_array(value)) {
        return add_stop(r, value);
    }
    for (size_t i = 0; read && i < json_array_size(value); i++) {
        read = add_stop(r, json_array_get(value, i));
    }
    return read;
}

/* An id as the key of an object: digits alone. */
static bool read_id(const char *key, int32_t *out)
{
    char *end = NULL;
    errno = 0;
    long long id = strtoll(key, &end, 10);

    *out = (int32_t)id;
    return *key >= '0' && *key <= '9' && *end == 0 && errno == 0 && id <= INT32_MAX;
}

static bool read_bias(const reading *r, const char *name, const json_t *value)
{
    void *at;
    int32_t id = 0;
    float bias = 0;

    drop_bias(r->request);
    if (!json_is_object(value)) {
        return refuse(r, "\"%s\" is not an object of ids and numbers", name);
    }
    for (at = json_object_iter((json_t *)(uintptr_t)value); at; at = json_object_iter_next((json_t *)(uintptr_t)value, at)) {
        if (!read_id(json_object_iter_key(at), &id)) {
            return refuse(r, "\"%s\" has a key that is no token id", name);
        }
        if (!read_real(r, name, json_object_iter_value(at), -LARIAT_BIAS_MAX, LARIAT_BIAS_MAX, &bias)) {
            return false;
        }
        if (!request_add_bias(r->request, id, bias)) {
            return refuse(r, "no memory");
        }
    }
    return true;
}

/* Of completions a number; of chats whether, while top_logprobs has the number. */
static bool read_logprobs(const reading *r, const char *name, const json_t *value)
{
    int64_t count = REQUEST_NO_LOGPROBS;

    if (!json_is_boolean(value) && !read_whole(r, name, value, 0, LARIAT_TOP_MAX, &count)) {
        return false;
    }
    r->request->logprobs = json_is_true(value) ? 0 : (int32_t)count;
    return true;
}

static bool read_top_logprobs(const reading *r, const char *name, const json_t *value)
{
    int64_t count = 0;

    if (!read_whole(r, name, value, 0, LARIAT_TOP_MAX, &count)) {
        return false;
    }
    if (r->request->logprobs == REQUEST_NO_LOGPROBS) {
        return refuse(r, "\"top_logprobs\" goes with \"logprobs\": true");
    }
    r->request->logprobs = (int32_t)count;
    return true;
}

typedef struct parameter {
    const char *name;
    bool (*read)(const reading *r, const char *name, const json_t *value);
} parameter;

/* In the order in which they are read. */
static const parameter parameters[] = {
    {"max_tokens", read_most}, {"max_completion_tokens", read_most}, {"seed", read_seed},
    {"stop", read_stop},       {"logit_bias", read_bias},            {"logprobs", read_logprobs},
    {"top_logprobs", read_top_logprobs},
};

enum { PARAMETERS = sizeof parameters / sizeof *parameters };

/* Parameters that are not supported, with the JSON of the values that ask for nothing. What is ignored allows any: "*". */
static const char *const others[][2] = {
    {"stream", "false"},          {"stream_options", ""},      {"best_of", "1"},
    {"echo", "false"},            {"suffix", "\"\""},          {"response_format", "{\"type\":\"text\"}"},
    {"tool_choice", "\"auto\""},  {"parallel_tool_calls", "*"}, {"functions", "[]"},
    {"function_call", "\"none\""}, {"modalities", "[\"text\"]"}, {"audio", ""},
    {"prediction", ""},           {"reasoning_effort", ""},    {"verbosity", ""},
    {"web_search_options", ""},   {"repetition_penalty", "1.0"}, {"model", "*"},
    {"user", "*"},                {"metadata", "*"},           {"store", "*"},
    {"service_tier", "*"},        {"safety_identifier", "*"},  {"prompt_cache_key", "*"},
};

enum { OTHERS = sizeof others / sizeof *others };

request_key request_knows(const char *name)
{
    for (size_t i = 0; i < NUMBERS + PARAMETERS; i++) {
        if (strcmp(name, i < NUMBERS ? numbers[i].name : parameters[i - NUMBERS].name) == 0) {
            return REQUEST_READ;
        }
    }
    for (size_t i = 0; i < OTHERS; i++) {
        if (strcmp(name, others[i][0]) == 0) {
            return *others[i][1] == '*' ? REQUEST_IGNORED : REQUEST_READ;
        }
    }
    return REQUEST_OTHER;
}

static bool asks_nothing(const json_t *value, const char *harmless)
{
    json_t *same = *harmless ? json_loads(harmless, JSON_DECODE_ANY, NULL) : NULL;
    bool equal = *harmless == '*' || json_is_null(value) || (same && json_equal(same, value)) ||
                 (json_is_number(value) && json_is_number(same) && json_number_value(value) == json_number_value(same));

    json_decref(same);
    return equal;
}

static bool has_no_tools(const json_t *tools)
{
    return !tools || json_is_null(tools) || (json_is_array(tools) && json_array_size(tools) == 0);
}

/* "none" is the default of tool_choice where there are no tools. Where there are, a template shows them, and the reply may call
   one. */
static bool chooses_none_of_no_tools(const char *name, const json_t *object)
{
    const char *choice = json_string_value(json_object_get(object, name));
    const json_t *tools = json_object_get(object, "tools");
    const json_t *variable = json_object_get(json_object_get(object, "chat_template_kwargs"), "tools");

    return strcmp(name, "tool_choice") == 0 && choice && strcmp(choice, "none") == 0 && has_no_tools(tools) &&
           has_no_tools(variable);
}

static bool read_all(const reading *r, const json_t *object)
{
    const json_t *value;
    bool read = true;

    for (size_t i = 0; i < OTHERS && read; i++) {
        const char *name = others[i][0];
        value = json_object_get(object, name);
        read = !value || asks_nothing(value, others[i][1]) || chooses_none_of_no_tools(name, object) ||
               refuse(r, "\"%s\" is not supported, leave it out", name);
    }
    for (size_t i = 0; i < NUMBERS && read; i++) {
        value = json_object_get(object, numbers[i].name);
        read = !value || json_is_null(value) || read_number(r, &numbers[i], value);
    }
    for (size_t i = 0; i < PARAMETERS && read; i++) {
        value = json_object_get(object, parameters[i].name);
        read = !value || json_is_null(value) || parameters[i].read(r, parameters[i].name, value);
    }
    return read;
}

bool request_read(request *r, const json_t *object, char *why)
{
    reading now = {r, why};

    return read_all(&now, object);
}
