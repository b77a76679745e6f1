/* Rotary frequencies from a configuration's parameters.
   Rests on model/config.h. rope.c repeats Hugging Face's float32 arithmetic step by step: an error of one unit in the last
   place of a frequency is an error of 1e-4 in an angle at some thousand tokens. */
#pragma once

#include "model/config.h"

enum { ROPE_MAX_FACTORS = CONFIG_MAX_HEAD_DIM / 2 };

/* Zero in an optional field is "not given", as in Hugging Face's code. */
typedef struct rope_parameters {
    const char *type; /* "default", "linear", "llama3", "yarn", "longrope" */
    double theta;
    double factor;                            /* linear, llama3; yarn, longrope (not given: trained / original context) */
    int64_t original_context;                 /* llama3, yarn, longrope: the trained length before scaling */
    double low_freq_factor, high_freq_factor; /* llama3 */
    double beta_fast, beta_slow;              /* yarn: 32 and 1 if not given */
    double mscale, mscale_all_dim;            /* yarn: both or none */
    double attention_factor;                  /* yarn, longrope; negative: not given */
    bool truncate;                            /* yarn: bounds of the ramp are whole dimensions */
    float short_factor[ROPE_MAX_FACTORS], long_factor[ROPE_MAX_FACTORS]; /* longrope: one a frequency */
    int32_t n_short, n_long;
} rope_parameters;

/* All optional fields "not given", type "default". */
rope_parameters rope_parameters_default(double theta);

/* Fills rope_type, rope_factor, inv_freq and long_from of *c, whose rotary_dims and trained_context are set. Refuses unknown
   types. */
lariat_status rope_frequencies(const char *path, const rope_parameters *p, model_config *c);
