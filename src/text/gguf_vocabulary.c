/* Reading tokenizer.ggml.*: "gpt2" (byte-level, with merges, split as gguf_pre.c says) and "llama" (SentencePiece, by score).
   Rests on format/gguf.h.
   Read on in text/vocabulary.h. */
#include "text/gguf_vocabulary.h"

#include "base/strings.h"
#include "text/gguf_pre.h"
#include "text/tables.h"

#include <stdlib.h>
#include <string.h>

enum { TYPE_NORMAL = 1, TYPE_UNKNOWN, TYPE_CONTROL, TYPE_USER, TYPE_UNUSED, TYPE_BYTE };

typedef struct reader {
    const gguf *g;
    vocabulary *v;
    const gguf_array *tokens, *types, *scores;
} reader;

/* The split steps of a byte-level vocabulary by tokenizer.ggml.pre. */
static lariat_status set_pre(reader *r)
{
    const char *name = "default";
    size_t size = strlen(name);
    const gguf_pre *pre;
    vocabulary *v = r->v;

    if (!gguf_string(r->g, "tokenizer.ggml.pre", &name, &size)) {
        TRY(vocabulary_warn(v, "%s: tokenizer.ggml.pre is missing, words are cut by its default and ids may not be the "
                               "model's: fetch a newer conversion", gguf_path(r->g)));
    }
    pre = gguf_pre_find(name, size);
    if (!pre) {
        return fail(LARIAT_UNSUPPORTED, "%s: pre-tokenizer \"%.*s\" is not supported, only byte-level ones by their names in "
                    "llama.cpp", gguf_path(r->g), size < 64 ? (int)size : 64, name);
    }
    v->byte_level = true;
    v->ignore_merges = pre->ignore_merges;
    v->adds_bos = pre->adds_bos; /* unless the file says otherwise */
    for (int i = 0; i < MAX_PRE_STEPS && pre->expressions[i]; i++) {
        TRY(vocabulary_step(v, &(split_step){ .kind = SPLIT_EXPRESSION, .expression = pre->expressions[i] }));
    }
    return vocabulary_step(v, &(split_step){ .kind = SPLIT_BYTE_LEVEL, .prepend = PREPEND_NEVER });
}

/* SentencePiece's normalization, with the file's settings. */
static lariat_status set_spaces(reader *r)
{
    vocabulary *v = r->v;

    v->by_score = true;
    v->escape_spaces = v->dummy_prefix = v->adds_bos = true;
    gguf_bool(r->g, "tokenizer.ggml.add_space_prefix", &v->dummy_prefix);
    gguf_bool(r->g, "tokenizer.ggml.remove_extra_whitespaces", &v->remove_extra_spaces);
    if (gguf_array_length(r->g, "tokenizer.ggml.precompiled_charsmap") > 0) {
        return fail(LARIAT_UNSUPPORTED, "%s: a table of normalized characters is not supported, only identity",
                    gguf_path(r->g));
    }
    v->first = v->remove_extra_spaces ? FIRST_SPACES : v->dummy_prefix ? FIRST_DUMMY : FIRST_AS_IS;
    return vocabulary_shown(v, SPACE_MARK, " ");
}

/* Adds a token that is found by its literal text: control tokens are special, the others are Hugging Face's added tokens. */
static lariat_status add_whole(reader *r, int64_t id, const char *text, size_t size, bool special)
{
    added_token a = { .id = (int32_t)id, .size = (uint32_t)size, .special = special };

    r->v->tokens[id].special = special;
    if (size == 0) {
        return LARIAT_OK;
    }
    TRY(vocabulary_text(r->v, text, size, &a.text));
    return vocabulary_add(r->v, &a);
}

static lariat_status read_byte(reader *r, int64_t id)
{
    token *t = &r->v->tokens[id];
    int byte = byte_of_text(t->text, t->size);

    if (byte < 0 || r->v->byte_ids[byte] >= 0) {
        return fail(LARIAT_BAD_MODEL, "%s: byte token %lld is not written <0xAB>, or there are two of a byte" FETCH_AGAIN,
                    gguf_path(r->g), (long long)id);
    }
    t->byte = (int16_t)byte;
    r->v->byte_ids[byte] = (int32_t)id;
    return LARIAT_OK;
}

static lariat_status read_token(reader *r, int64_t id, buffer *bytes)
{
    const char *text;
    size_t size;
    int64_t type = TYPE_NORMAL;
    double score = 0;
    bool all = false;
    token_kind kind = TOKEN_NORMAL;

    if (!gguf_array_string(r->tokens, id, &text, &size) || (r->types && !gguf_array_int(r->types, id, &type)) ||
        (r->scores && !gguf_array_float(r->scores, id, &score))) {
        return fail(LARIAT_BAD_MODEL, "%s: token %lld has no text, type or score" FETCH_AGAIN, gguf_path(r->g), (long long)id);
    }
    if (type < TYPE_NORMAL || type > TYPE_BYTE) {
        return fail(LARIAT_BAD_MODEL, "%s: token %lld is of unknown type %lld" FETCH_AGAIN, gguf_path(r->g), (long long)id,
                    (long long)type);
    }
    bytes->size = 0;
    if (r->v->byte_level) {
        TRY(append_alphabet_bytes(bytes, text, size, &all));
        kind = all ? TOKEN_NORMAL : TOKEN_CONTROL;
    }
    kind = type == TYPE_BYTE && r->v->by_score ? TOKEN_BYTE
           : type == TYPE_UNKNOWN              ? TOKEN_UNKNOWN
           : type == TYPE_NORMAL               ? kind
                                               : TOKEN_CONTROL;
    lariat_status status = vocabulary_set(r->v, id, all ? bytes->data : text, all ? bytes->size : size, kind);
    if (status != LARIAT_OK) {
        return fail_within(status, "%s", gguf_path(r->g));
    }
    r->v->tokens[id].score = (float)score;
    if (kind == TOKEN_BYTE) {
        return read_byte(r, id);
    }
    if (kind == TOKEN_NORMAL && r->v->byte_level && all && bytes->size == 1) {
        r->v->byte_ids[(unsigned char)*bytes->data] = (int32_t)id;
    }
    if (type == TYPE_CONTROL || type == TYPE_USER || type == TYPE_UNKNOWN) {
        return add_whole(r, id, text, size, type != TYPE_USER);
    }
    return LARIAT_OK;
}

static lariat_status read_tokens(reader *r)
{
    int64_t n = gguf_array_size(r->tokens);
    buffer bytes = { 0 };
    lariat_status status = LARIAT_OK;

    if ((r->types && gguf_array_size(r->types) != n) || (r->scores && gguf_array_size(r->scores) != n)) {
        return fail(LARIAT_BAD_MODEL, "%s: the lists of tokens, their types and scores differ in length" FETCH_AGAIN,
                    gguf_path(r->g));
    }
    if (n > MAX_TOKENS) {
        return fail(LARIAT_BAD_MODEL, "%s: %lld tokens are too many" FETCH_AGAIN, gguf_path(r->g), (long long)n);
    }
    r->v->id_limit = n;
    for (int64_t id = 0; id < n && status == LARIAT_OK; id++) {
        status = read_token(r, id, &bytes);
    }
    buffer_free(&bytes);
    return status;
}

/* The id of a token by its bytes, for reading merges: a separate table, since the vocabulary has none yet. */
static lariat_status find_bytes(const reader *r, const word_table *words, buffer *bytes, const char *text, size_t size,
                                int32_t *out)
{
    bool all = false;

    TRY(append_alphabet_bytes(bytes, text, size, &all));
    *out = all ? word_table_find(words, r->v, bytes->data, bytes->size) : -1;
    return LARIAT_OK;
}

static lariat_status read_merge(reader *r, const word_table *words, buffer *bytes, const char *text, size_t size, int64_t i)
{
    const char *space = memchr(text, ' ', size);
    size_t left_size = space ? (size_t)(space - text) : 0;
    int32_t left = -1, right = -1, result = -1;

    if (space) {
        bytes->size = 0;
        TRY(find_bytes(r, words, bytes, text, left_size, &left));
        bytes->size = 0;
        TRY(find_bytes(r, words, bytes, space + 1, size - left_size - 1, &right));
    }
    if (left >= 0 && right >= 0) {
        bytes->size = 0;
        TRY(buffer_append(bytes, r->v->tokens[left].text, r->v->tokens[left].size));
        TRY(buffer_append(bytes, r->v->tokens[right].text, r->v->tokens[right].size));
        result = word_table_find(words, r->v, bytes->data, bytes->size);
    }
    if (result < 0) {
        return fail(LARIAT_BAD_MODEL, "%s: merge %lld, \"%.*s\", is not of two tokens that make a third" FETCH_AGAIN,
                    gguf_path(r->g), (long long)i, size < 64 ? (int)size : 64, text);
    }
    return vocabulary_merge(r->v, left, right, result);
}

static lariat_status read_merges(reader *r)
{
    const gguf_array *merges = gguf_find_array(r->g, "tokenizer.ggml.merges");
    word_table words = { 0 };
    buffer bytes = { 0 };
    lariat_status status;

    if (!merges) {
        return fail(LARIAT_BAD_MODEL, "%s: a byte-level vocabulary without tokenizer.ggml.merges" FETCH_AGAIN, gguf_path(r->g));
    }
    status = word_table_make(r->v, &words);
    for (int64_t i = 0; i < gguf_array_size(merges) && status == LARIAT_OK; i++) {
        const char *text;
        size_t size;
        status = gguf_array_string(merges, i, &text, &size)
                     ? read_merge(r, &words, &bytes, text, size, i)
                     : fail(LARIAT_BAD_MODEL, "%s: merge %lld is not a text" FETCH_AGAIN, gguf_path(r->g), (long long)i);
    }
    word_table_free(&words);
    buffer_free(&bytes);
    return status;
}

/* The id of a special token; where its key is missing, or names no token, the default (-1: none). */
static lariat_status special_id(reader *r, const char *key, int64_t otherwise, int32_t *out)
{
    int64_t id = -1;
    bool given = gguf_int(r->g, key, &id) && vocabulary_has(r->v, id);

    otherwise = vocabulary_has(r->v, otherwise) ? otherwise : -1;
    *out = (int32_t)(given ? id : otherwise);
    if (given || !gguf_has(r->g, key)) {
        return LARIAT_OK;
    }
    return otherwise < 0 ? vocabulary_warn(r->v, "%s: %s is %lld, which no token has: going on without", gguf_path(r->g), key,
                                           (long long)id)
                         : vocabulary_warn(r->v, "%s: %s is %lld, which no token has: going on with the default, %lld",
                                           gguf_path(r->g), key, (long long)id, (long long)otherwise);
}

/* SentencePiece's first ids are unknown, beginning and end; byte-level vocabularies have no common ones. */
static lariat_status read_ends(reader *r)
{
    static const char *const turns[] = { "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id" };
    vocabulary *v = r->v;
    const char *text;
    bool adds_eos = false;
    size_t size;

    TRY(special_id(r, "tokenizer.ggml.bos_token_id", v->by_score ? 1 : -1, &v->bos));
    TRY(special_id(r, "tokenizer.ggml.eos_token_id", v->by_score ? 2 : -1, &v->eos));
    if (v->eos >= 0) {
        TRY(vocabulary_end(v, v->eos));
    }
    for (size_t i = 0; i < sizeof turns / sizeof *turns; i++) {
        int32_t id;
        TRY(special_id(r, turns[i], -1, &id));
        if (id >= 0) {
            TRY(vocabulary_end(v, id));
        }
    }
    gguf_bool(r->g, "tokenizer.ggml.add_bos_token", &v->adds_bos);
    gguf_bool(r->g, "tokenizer.ggml.add_eos_token", &adds_eos);
    if (adds_eos && v->eos >= 0) {
        TRY(v->adds_bos && v->bos >= 0 ? id_list_append(&v->before, v->bos) : LARIAT_OK);
        TRY(id_list_append(&v->after, v->eos));
    }
    if (gguf_string(r->g, "tokenizer.chat_template", &text, &size)) {
        if (memchr(text, '\0', size)) {
            return vocabulary_warn(v, "%s: tokenizer.chat_template holds a NUL byte, it is not used", gguf_path(r->g));
        }
        return vocabulary_template(v, text, size, gguf_path(r->g), "tokenizer.chat_template");
    }
    return LARIAT_OK;
}

/* Sets the unknown token, also in files without scores, types or byte tokens. */
static lariat_status set_unknown(reader *r)
{
    vocabulary *v = r->v;

    v->byte_fallback = v->by_score;
    for (int i = 0; i < 256; i++) {
        v->byte_fallback = v->byte_fallback && v->byte_ids[i] >= 0;
    }
    return v->by_score ? special_id(r, "tokenizer.ggml.unknown_token_id", 0, &v->unknown) : LARIAT_OK;
}

/* --- markers that the file does not mark --- */

static bool is_between(const char *text, size_t size, const char *open, const char *close)
{
    size_t first = strlen(open), last = strlen(close);

    return size > first + last && memcmp(text, open, first) == 0 && memcmp(text + size - last, close, last) == 0;
}

/* Is it written like a marker of a template? */
static bool is_marker_text(const char *text, size_t size)
{
    static const char *const known[] = { "<s>",    "</s>",  "<start_of_turn>", "<end_of_turn>", "<end_of_utterance>", "<EOT>",
                                         "_<EOT>", "[EOT]", "[INST]",          "[/INST]" };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (text_is(text, size, known[i])) {
            return true;
        }
    }
    return is_between(text, size, "<|", "|>") || is_between(text, size, "<\xEF\xBD\x9C", "\xEF\xBD\x9C>");
}

/* Does the template write a text in brackets? */
static bool is_of_template(const vocabulary *v, const char *text, size_t size)
{
    return v->chat_template && (is_between(text, size, "<", ">") || is_between(text, size, "[", "]")) &&
           memmem(v->chat_template, strlen(v->chat_template), text, size);
}

/* Do two shorter tokens make up a text? In a vocabulary that merges by score it is an ordinary token then. */
static bool is_made_of_two(const vocabulary *v, const word_table *words, const char *text, size_t size)
{
    for (size_t i = 1; i < size && v->n_merges == 0; i++) {
        if (word_table_find(words, v, text, i) >= 0 && word_table_find(words, v, text + i, size - i) >= 0) {
            return true;
        }
    }
    return false;
}

/* A normal token that is written like a marker, also by the template, or is named as a special one, and that no merge makes,
   is a control token. */
static lariat_status find_markers(reader *r)
{
    vocabulary *v = r->v;
    bool *merged = calloc((size_t)v->n_tokens, sizeof *merged);
    word_table words = { 0 };

    TRY_MEMORY(merged || v->n_tokens == 0, "%s: no memory for %lld tokens" FREE_MEMORY, gguf_path(r->g),
               (long long)v->n_tokens);
    lariat_status status = v->n_merges == 0 && v->chat_template ? word_table_make(v, &words) : LARIAT_OK;
    for (int64_t i = 0; i < v->n_merges; i++) {
        merged[v->merges[i].left] = merged[v->merges[i].right] = merged[v->merges[i].result] = true;
    }
    for (int64_t id = 0; id < v->n_tokens && status == LARIAT_OK; id++) {
        const char *text;
        size_t size;
        int64_t type = TYPE_NORMAL;
        if (merged[id] || !gguf_array_string(r->tokens, id, &text, &size) || size < 3 ||
            (r->types && gguf_array_int(r->types, id, &type) && type != TYPE_NORMAL)) {
            continue;
        }
        bool is_written = is_of_template(v, text, size) && !is_made_of_two(v, &words, text, size);
        if (is_marker_text(text, size) || is_written || id == v->bos || id == v->eos) {
            v->tokens[id].kind = TOKEN_CONTROL;
            status = add_whole(r, id, text, size, true);
        }
    }
    word_table_free(&words);
    free(merged);
    return status;
}

lariat_status gguf_vocabulary(const gguf *g, vocabulary *v)
{
    reader r = { .g = g, .v = v, .tokens = gguf_find_array(g, "tokenizer.ggml.tokens") };
    const char *model = "";
    size_t model_size = 0;

    if (!gguf_string(g, "tokenizer.ggml.model", &model, &model_size) || !r.tokens) {
        return fail(LARIAT_UNSUPPORTED, "%s: has no tokenizer", gguf_path(g));
    }
    r.types = gguf_find_array(g, "tokenizer.ggml.token_type");
    if (text_is(model, model_size, "gpt2")) {
        TRY(set_pre(&r));
        TRY(read_tokens(&r));
        TRY(read_merges(&r));
    } else if (text_is(model, model_size, "llama")) {
        r.scores = gguf_find_array(g, "tokenizer.ggml.scores");
        if (!r.scores) {
            return fail(LARIAT_BAD_MODEL, "%s: a llama vocabulary without tokenizer.ggml.scores" FETCH_AGAIN, gguf_path(g));
        }
        TRY(set_spaces(&r));
        TRY(read_tokens(&r));
    } else {
        return fail(LARIAT_UNSUPPORTED, "%s: tokenizer \"%.*s\" is not supported, only gpt2 and llama", gguf_path(g),
                    model_size < 64 ? (int)model_size : 64, model);
    }
    TRY(set_unknown(&r));
    TRY(read_ends(&r));
    return find_markers(&r);
}
