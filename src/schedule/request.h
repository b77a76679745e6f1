/* A request: the parameters of a prompt's replies, from the command line, a line of a batch or a client.
   Rests on lariat.h, text.h and jansson. request_read knows OpenAI's names of parameters. */
#pragma once

#include "lariat/lariat.h"
#include "lariat/text.h"

#include <jansson.h>
#include <stdbool.h>

enum {
    REQUEST_WHY = 320,      /* bytes of a reason */
    REQUEST_SAMPLES = 128,  /* most samples of one prompt, as in OpenAI's API */
    REQUEST_UNBOUNDED = -1, /* most: until the model ends the reply, or its context is full */
    REQUEST_NO_LOGPROBS = -1
};

typedef struct request {
    lariat_sampling sampling; /* its bias is `bias` */
    bool seeded;              /* sampling.seed is the request's own, not one of a stream of seeds */
    int64_t most;             /* tokens of a reply, REQUEST_UNBOUNDED */
    int32_t samples;          /* replies to the prompt */
    int32_t logprobs;         /* most probable tokens listed beside each token; REQUEST_NO_LOGPROBS: not even its own */
    lariat_bias *bias;        /* [sampling.n_bias], owned */
    lariat_stop_text *stops;  /* [n_stops], owned, the bytes too */
    int32_t n_stops;
} request;

/* Nothing is changed, bounded or drawn. */
void request_init(request *r);
void request_free(request *r);
/* False: no memory. */
bool request_copy(request *to, const request *from);

/* Adds a text that ends a reply, or a bias. False: no memory, or too many texts. */
bool request_add_stop(request *r, const char *bytes, size_t size);
bool request_add_bias(request *r, int32_t token, float bias);

/* n_top of lariat_work. */
int32_t request_n_top(const request *r);
/* Does the host choose its tokens, or read their logits? Then GPUs do not replay its passes. */
bool request_is_read_by_host(const request *r);
/* The seed of sample i: the first has that of the request itself. */
uint64_t request_seed(const request *r, int32_t sample);

typedef enum request_key { REQUEST_READ, REQUEST_IGNORED, REQUEST_OTHER } request_key;

/* How request_read takes a key of that name: as a parameter; or as one of OpenAI's that changes no reply (user, metadata, ...);
   or as none that it knows. */
request_key request_knows(const char *name);

/* Sets the parameters of the object's members, by OpenAI's names, and those of llama.cpp where OpenAI has none: max_tokens,
   max_completion_tokens, temperature, top_k, top_p, min_p, seed, n, stop, presence_penalty, frequency_penalty, repeat_penalty,
   logit_bias, logprobs, top_logprobs. null is as if it were absent. A parameter of OpenAI's that is none of these is refused,
   unless it has the value that it has by default. False: why[REQUEST_WHY] says why, and *r is only to be freed. */
bool request_read(request *r, const json_t *object, char *why);
