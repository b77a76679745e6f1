/* Rotary frequencies: default, linear, llama3, yarn and longrope, in Hugging Face's float32 arithmetic.
   Rests on libm's pow and log in double precision. See rope.h. */
#include "model/rope.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const double PI = 3.14159265358979323846;

rope_parameters rope_parameters_default(double theta)
{
    return (rope_parameters){.type = "default", .theta = theta, .attention_factor = -1, .truncate = true};
}

static bool positive(double x)
{
    return isfinite(x) && x > 0;
}

/* theta^(2i / dims): the exponent is a float32 quotient, the power is rounded to float32 once. */
static float wave(const rope_parameters *p, int32_t dims, int32_t i)
{
    float exponent = (float)(2 * i) / (float)dims;
    return (float)pow((double)(float)p->theta, (double)exponent);
}

/* Divides long waves by the factor, keeps short ones, interpolates between. */
static void llama3(const rope_parameters *p, int32_t dims, float *inv_freq)
{
    double context = (double)p->original_context;
    float factor = (float)p->factor;
    float longest = (float)(context / p->low_freq_factor);
    float shortest = (float)(context / p->high_freq_factor);

    for (int32_t i = 0; i < dims / 2; i++) {
        float f = 1.0f / wave(p, dims, i);
        float wavelength = (1.0f / f) * (float)(2 * PI);
        if (wavelength > longest) {
            inv_freq[i] = f / factor;
        } else if (wavelength < shortest) {
            inv_freq[i] = f;
        } else {
            float turns = (1.0f / wavelength) * (float)context;
            float smooth = (turns - (float)p->low_freq_factor) / (float)(p->high_freq_factor - p->low_freq_factor);
            inv_freq[i] = (1.0f - smooth) * f / factor + smooth * f;
        }
    }
}

/* The dimension whose wave makes `turns` turns within the original context. */
static double yarn_dimension(const rope_parameters *p, int32_t dims, double turns)
{
    return dims * log((double)p->original_context / (turns * 2 * PI)) / (2 * log(p->theta));
}

static void yarn(const rope_parameters *p, double factor, int32_t dims, float *inv_freq)
{
    double low = yarn_dimension(p, dims, p->beta_fast != 0 ? p->beta_fast : 32);
    double high = yarn_dimension(p, dims, p->beta_slow != 0 ? p->beta_slow : 1);

    if (p->truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = low > 0 ? low : 0;
    high = high < dims - 1 ? high : dims - 1;
    if (low == high) {
        high += 0.001; /* as Hugging Face avoids a ramp of zero width */
    }
    for (int32_t i = 0; i < dims / 2; i++) {
        float w = wave(p, dims, i);
        float ramp = ((float)i - (float)low) / (float)(high - low);
        ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
        float keep = 1.0f - ramp;
        inv_freq[i] = (1.0f / ((float)factor * w)) * (1.0f - keep) + (1.0f / w) * keep;
    }
}

static double yarn_mscale(double factor, double mscale)
{
    return factor <= 1 ? 1.0 : 0.1 * mscale * log(factor) + 1.0;
}

static double yarn_attention_factor(const rope_parameters *p, double factor)
{
    if (p->attention_factor >= 0) {
        return p->attention_factor;
    }
    if (p->mscale != 0 && p->mscale_all_dim != 0) {
        return yarn_mscale(factor, p->mscale) / yarn_mscale(factor, p->mscale_all_dim);
    }
    return yarn_mscale(factor, 1);
}

static lariat_status check_llama3(const char *path, const rope_parameters *p)
{
    if (!positive(p->factor) || p->original_context < 1 || !positive(p->low_freq_factor) || !positive(p->high_freq_factor) ||
        p->high_freq_factor <= p->low_freq_factor) {
        return fail(LARIAT_BAD_MODEL,
                    "%s: rotary type llama3 wants factor, low_freq_factor < high_freq_factor and "
                    "original_max_position_embeddings, all positive" CORRECT_IT,
                    path);
    }
    return LARIAT_OK;
}

static lariat_status check_yarn(const char *path, const rope_parameters *p, double factor)
{
    bool betas = isfinite(p->beta_fast) && isfinite(p->beta_slow) && p->beta_fast >= 0 && p->beta_slow >= 0;

    if (!positive(factor) || p->original_context < 1 || p->theta <= 1 || !betas || !isfinite(p->attention_factor) ||
        !isfinite(p->mscale) || !isfinite(p->mscale_all_dim)) {
        return fail(LARIAT_BAD_MODEL,
                    "%s: rotary type yarn wants a positive factor, original_max_position_embeddings, rope_theta above 1 "
                    "and finite betas and mscales" CORRECT_IT,
                    path);
    }
    return LARIAT_OK;
}

/* Every frequency divided by a factor of its own: one list for sequences within the original context, one for longer ones. */
static lariat_status longrope(const char *path, const rope_parameters *p, model_config *c)
{
    int32_t half = c->rotary_dims / 2;
    double original = (double)p->original_context, factor = p->factor != 0 ? p->factor : (double)c->trained_context / original;
    bool sound = p->n_short == half && p->n_long == half && p->original_context > 1 && positive(factor) &&
                 isfinite(p->attention_factor);

    for (int32_t i = 0; i < half && sound; i++) {
        float w = wave(p, c->rotary_dims, i);
        sound = p->short_factor[i] > 0 && p->long_factor[i] > 0;
        c->inv_freq[i] = 1.0f / (p->short_factor[i] * w);
        c->inv_freq[half + i] = 1.0f / (p->long_factor[i] * w);
    }
    if (!sound) {
        return fail(LARIAT_BAD_MODEL,
                    "%s: rotary type longrope wants short_factor and long_factor, %d positive numbers each, and "
                    "original_max_position_embeddings" CORRECT_IT,
                    path, half);
    }
    c->long_from = p->original_context;
    c->rope_factor = (float)(p->attention_factor >= 0 ? p->attention_factor
                             : factor <= 1            ? 1
                                                      : sqrt(1 + log(factor) / log(original)));
    return LARIAT_OK;
}

static lariat_status fill_frequencies(const char *path, const rope_parameters *p, model_config *c)
{
    c->rope_factor = 1;
    if (strcmp(p->type, "longrope") == 0) {
        TRY(longrope(path, p, c));
    } else if (strcmp(p->type, "default") == 0 || strcmp(p->type, "linear") == 0) {
        bool linear = p->type[0] == 'l';
        if (linear && !positive(p->factor)) {
            return fail(LARIAT_BAD_MODEL, "%s: rotary type linear wants a positive \"factor\"" CORRECT_IT, path);
        }
        for (int32_t i = 0; i < c->rotary_dims / 2; i++) {
            float f = 1.0f / wave(p, c->rotary_dims, i);
            c->inv_freq[i] = linear ? f / (float)p->factor : f;
        }
    } else if (strcmp(p->type, "llama3") == 0) {
        TRY(check_llama3(path, p));
        llama3(p, c->rotary_dims, c->inv_freq);
    } else if (strcmp(p->type, "yarn") == 0) {
        double factor = p->factor != 0 ? p->factor : (double)c->trained_context / (double)p->original_context;
        TRY(check_yarn(path, p, factor));
        yarn(p, factor, c->rotary_dims, c->inv_freq);
        c->rope_factor = (float)yarn_attention_factor(p, factor);
    } else {
        return fail(LARIAT_UNSUPPORTED,
                    "%s: asks for the rotary type \"%s\"; Lariat computes default, linear, llama3, yarn and longrope: use "
                    "such a model",
                    path, p->type);
    }
    snprintf(c->rope_type, sizeof c->rope_type, "%s", p->type);
    return LARIAT_OK;
}

lariat_status rope_frequencies(const char *path, const rope_parameters *p, model_config *c)
{
    if (!positive(p->theta)) {
        return fail(LARIAT_BAD_MODEL, "%s: rope_theta is %g, wanted a positive number" CORRECT_IT, path, p->theta);
    }
    TRY(fill_frequencies(path, p, c));
    bool sound = isfinite(c->rope_factor) && c->rope_factor > 0;
    for (int32_t i = 0; i < c->rotary_dims / (c->long_from ? 1 : 2); i++) {
        sound = sound && isfinite(c->inv_freq[i]) && c->inv_freq[i] >= 0;
    }
    if (!sound) {
        return fail(LARIAT_BAD_MODEL,
                    "%s: its rotary parameters give frequencies or a factor that are not finite and positive" CORRECT_IT, path);
    }
    return LARIAT_OK;
}
