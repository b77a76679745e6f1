/* Encoding a prompt.
   Rests on text.h. Read on in reply.c. */
#include "cli/prompt.h"
#include "cli/message.h"

lariat_status prompt_encode(const invocation *inv, const char *data, size_t size, token_list *out)
{
    *out = (token_list){0};
    int32_t bos = lariat_tokenizer_bos(inv->tokenizer);
    int flags = inv->options->special ? LARIAT_ENCODE_SPECIAL : 0;
    lariat_status status = lariat_encode(inv->tokenizer, data, size, flags, &out->ids, &out->n);
    /* A prompt that contains BOS itself (--special) gets no second one. */
    if (status != LARIAT_OK || !lariat_tokenizer_adds_bos(inv->tokenizer) ||
        (inv->options->special && out->n > 0 && out->ids[0] == bos)) {
        return status;
    }
    lariat_free(out->ids);
    *out = (token_list){0};
    return lariat_encode(inv->tokenizer, data, size, flags | LARIAT_ENCODE_BOS, &out->ids, &out->n);
}

int prompt_tokens(const invocation *inv, const char *data, size_t size, token_list *out)
{
    return checked(prompt_encode(inv, data, size, out));
}

int prompt_context(const options *o, const char *input, int64_t prompt, int64_t *out)
{
    if (prompt == 0) {
        return complain("%s: no tokens to go on from, give some text", input);
    }
    if (o->context == 0 && o->n > LARIAT_CONTEXT_MAX - prompt) {
        return complain_usage(
            "-n: %lld tokens after a prompt of %lld are more than the %d positions of any context, ask for fewer",
            (long long)o->n, (long long)prompt, LARIAT_CONTEXT_MAX);
    }
    if (o->context == 0 && o->n != UNTIL_THE_END) {
        *out = prompt + o->n;
        return 0;
    }
    *out = o->context;
    int rc = o->context ? 0 : invocation_default_context(o, 0, out);
    if (rc == 0 && prompt > *out) {
        rc = complain("%s: the prompt has %lld tokens, the context %lld: ask for more with -c or give less", input,
                      (long long)prompt, (long long)*out);
    }
    return rc;
}
