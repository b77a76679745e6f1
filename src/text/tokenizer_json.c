/* Reading tokenizer.json into a vocabulary. The names are those of the file: model, added_tokens, normalizer, pre_tokenizer,
   post_processor, decoder. Truncation and padding are settings of training that generation does not apply, here as at
   Hugging Face.
   Rests on base/json_member.h. Read on in vocabulary.h, which documents the resulting fields. */
#include "text/tokenizer_json.h"

#include "base/file.h"
#include "base/json_member.h"

#include <string.h>

enum {
    MAX_JSON = 512 << 20, /* bytes; the largest published have 35 million */
    MAX_NESTING = 4       /* of a Sequence in a Sequence */
};

typedef struct reader {
    const char *path;
    vocabulary *v;
    json_member added;       /* added_tokens */
    const json_t *vocab;   /* of the model */
    int64_t next;          /* id of the next added token that is not in the model's vocabulary */
    bool has_template;     /* post_processor: TemplateProcessing */
    bool decodes_bytes;    /* decoder: ByteFallback */
    bool fused;            /* decoder: Fuse */
} reader;

static const char *type_of(const json_t *o)
{
    const char *type = json_string_value(json_object_get(o, "type"));

    return type ? type : "(nothing)";
}

/* Calls `one` for an object of the file, or for each member of a Sequence of them, whose list has one of two names. */
typedef lariat_status (*one_fn)(reader *r, const json_t *o);

static lariat_status each(reader *r, const json_t *o, const char *list_name, one_fn one, int depth)
{
    const json_t *list, *member;
    size_t i;

    if (!o || json_is_null(o)) {
        return LARIAT_OK;
    }
    if (!json_is_object(o) || depth > MAX_NESTING) {
        return fail(LARIAT_BAD_MODEL, "%s: %s is no object or nested too deeply" FETCH_AGAIN, r->path, list_name);
    }
    if (strcmp(type_of(o), "Sequence") != 0) {
        return one(r, o);
    }
    list = json_object_get(o, list_name);
    if (!json_is_array(list)) {
        return fail(LARIAT_BAD_MODEL, "%s: a Sequence has no list \"%s\"" FETCH_AGAIN, r->path, list_name);
    }
    json_array_foreach(list, i, member) {
        TRY(each(r, member, list_name, one, depth + 1));
    }
    return LARIAT_OK;
}

static lariat_status refuse_type(const reader *r, const char *what, const json_t *o)
{
    return fail(LARIAT_UNSUPPORTED, "%s: %s \"%.64s\" is not supported", r->path, what, type_of(o));
}

/* --- normalizer --- */

/* The plain string of a pattern: {"String": ...}; an expression is refused. */
static lariat_status plain_pattern(const reader *r, const json_t *o, const char *what, const char **out)
{
    const json_t *pattern = json_object_get(o, "pattern");

    *out = json_string_value(json_object_get(pattern, "String"));
    if (!*out || !**out) {
        return fail(LARIAT_UNSUPPORTED, "%s: %s Replace of anything but a String is not supported", r->path, what);
    }
    return LARIAT_OK;
}

/* Replace: of a plain string or an expression. */
static lariat_status read_replace(reader *r, const json_t *o)
{
    const char *expression = json_string_value(json_object_get(json_object_get(o, "pattern"), "Regex"));
    const char *pattern = expression, *content = NULL;

    TRY(json_text(o, r->path, "content", true, &content));
    if (!expression) {
        TRY(plain_pattern(r, o, "normalizer", &pattern));
    }
    return vocabulary_rule(r->v, expression ? RULE_EXPRESSION : RULE_REPLACE, pattern, content);
}

static lariat_status read_strip_rule(reader *r, const json_t *o)
{
    bool left = false, right = false;

    TRY(json_flag(o, r->path, "strip_left", true, &left));
    TRY(json_flag(o, r->path, "strip_right", true, &right));
    TRY(left ? vocabulary_rule(r->v, RULE_STRIP_LEFT, NULL, NULL) : LARIAT_OK);
    return right ? vocabulary_rule(r->v, RULE_STRIP_RIGHT, NULL, NULL) : LARIAT_OK;
}

static lariat_status one_normalizer(reader *r, const json_t *o)
{
    static const struct {
        const char *type;
        rule_kind kind;
    } plain[] = { { "NFC", RULE_NFC }, { "NFD", RULE_NFD }, { "NFKC", RULE_NFKC }, { "NFKD", RULE_NFKD },
                  { "Lowercase", RULE_LOWERCASE } };
    const char *content = NULL;

    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        if (strcmp(type_of(o), plain[i].type) == 0) {
            return vocabulary_rule(r->v, plain[i].kind, NULL, NULL);
        }
    }
    if (strcmp(type_of(o), "Prepend") == 0) {
        TRY(json_text(o, r->path, "prepend", true, &content));
        return vocabulary_rule(r->v, RULE_PREPEND, NULL, content);
    }
    if (strcmp(type_of(o), "Replace") == 0) {
        return read_replace(r, o);
    }
    if (strcmp(type_of(o), "Strip") == 0) {
        return read_strip_rule(r, o);
    }
    return refuse_type(r, "normalizer", o);
}

/* --- pre_tokenizer --- */

/* Adds a step. Behind ByteLevel it sees the alphabet of bytes. */
static lariat_status add_step(reader *r, const split_step *step)
{
    const vocabulary *v = r->v;

    if (v->n_steps && v->steps[v->n_steps - 1].kind == SPLIT_BYTE_LEVEL) {
        TRY(vocabulary_step(r->v, &(split_step){ .kind = SPLIT_SPELL }));
    }
    return vocabulary_step(r->v, step);
}

static lariat_status read_behavior(const reader *r, const json_t *o, bool wanted, split_behavior *out)
{
    static const char *const names[] = {[BEHAVIOR_ISOLATED] = "Isolated",
                                        [BEHAVIOR_REMOVED] = "Removed",
                                        [BEHAVIOR_CONTIGUOUS] = "Contiguous",
                                        [BEHAVIOR_MERGED_PREVIOUS] = "MergedWithPrevious",
                                        [BEHAVIOR_MERGED_NEXT] = "MergedWithNext"};
    const char *name = names[BEHAVIOR_ISOLATED];

    TRY(json_text(o, r->path, "behavior", wanted, &name));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) == 0) {
            *out = (split_behavior)i;
            return LARIAT_OK;
        }
    }
    return fail(LARIAT_UNSUPPORTED, "%s: pre_tokenizer %.64s with behavior \"%.64s\" is not supported", r->path, type_of(o),
                name);
}

static lariat_status read_split(reader *r, const json_t *o)
{
    const json_t *pattern = json_object_get(o, "pattern");
    const char *text = json_string_value(json_object_get(pattern, "Regex"));
    split_step step = { .kind = SPLIT_EXPRESSION, .expression = text };

    if (!text) {
        step.expression = json_string_value(json_object_get(pattern, "String"));
        step.literal = true;
    }
    if (!step.expression || !*step.expression) {
        return fail(LARIAT_BAD_MODEL, "%s: pre_tokenizer Split has no pattern" FETCH_AGAIN, r->path);
    }
    TRY(read_behavior(r, o, true, &step.behavior));
    TRY(json_flag(o, r->path, "invert", false, &step.invert));
    return add_step(r, &step);
}

static lariat_status read_byte_level(reader *r, const json_t *o)
{
    bool use_regex = true, add_prefix_space = true;

    TRY(json_flag(o, r->path, "use_regex", false, &use_regex));
    TRY(json_flag(o, r->path, "add_prefix_space", false, &add_prefix_space));
    if (r->v->byte_level) {
        return fail(LARIAT_UNSUPPORTED, "%s: pre_tokenizer ByteLevel behind another one is not supported", r->path);
    }
    r->v->byte_level = true;
    return add_step(r, &(split_step){ .kind = SPLIT_BYTE_LEVEL,
                                                .expression = use_regex ? expression_gpt2 : NULL,
                                                .prepend = add_prefix_space ? PREPEND_ALWAYS : PREPEND_NEVER });
}

/* prepend_scheme, with the older add_prefix_space: false, of a Metaspace. */
static lariat_status read_prepend(const reader *r, const json_t *o, prepend_scheme *out)
{
    const char *scheme = "always", *replacement = NULL;
    bool add_prefix_space = true;

    TRY(json_text(o, r->path, "replacement", true, &replacement));
    TRY(json_text(o, r->path, "prepend_scheme", false, &scheme));
    TRY(json_flag(o, r->path, "add_prefix_space", false, &add_prefix_space));
    if (strcmp(replacement, SPACE_MARK) != 0) {
        return fail(LARIAT_UNSUPPORTED, "%s: Metaspace with replacement \"%.64s\" is not supported", r->path, replacement);
    }
    if (!add_prefix_space || strcmp(scheme, "never") == 0) {
        *out = PREPEND_NEVER;
    } else if (strcmp(scheme, "first") == 0) {
        *out = PREPEND_FIRST;
    } else if (strcmp(scheme, "always") == 0) {
        *out = PREPEND_ALWAYS;
    } else {
        return fail(LARIAT_UNSUPPORTED, "%s: Metaspace with prepend_scheme \"%.64s\" is not supported", r->path, scheme);
    }
    return LARIAT_OK;
}

static lariat_status read_metaspace(reader *r, const json_t *o)
{
    split_step step = { .kind = SPLIT_METASPACE, .cut_at_space = true };

    if (r->v->byte_level) {
        return fail(LARIAT_UNSUPPORTED, "%s: pre_tokenizer Metaspace behind ByteLevel is not supported", r->path);
    }
    TRY(read_prepend(r, o, &step.prepend));
    TRY(json_flag(o, r->path, "split", false, &step.cut_at_space));
    return add_step(r, &step);
}

static lariat_status one_pre_tokenizer(reader *r, const json_t *o)
{
    const char *type = type_of(o);
    split_step step = { .kind = SPLIT_EXPRESSION };
    bool individual = false;

    if (strcmp(type, "Split") == 0) {
        return read_split(r, o);
    }
    if (strcmp(type, "ByteLevel") == 0) {
        return read_byte_level(r, o);
    }
    if (strcmp(type, "Metaspace") == 0) {
        return read_metaspace(r, o);
    }
    if (strcmp(type, "Digits") == 0) {
        TRY(json_flag(o, r->path, "individual_digits", false, &individual));
        step.expression = individual ? expression_digit : expression_digits;
    } else if (strcmp(type, "Punctuation") == 0) {
        TRY(read_behavior(r, o, false, &step.behavior));
        step.expression = expression_punctuation;
    } else if (strcmp(type, "Whitespace") == 0) {
        step.expression = expression_words;
        step.behavior = BEHAVIOR_REMOVED;
        step.invert = true;
    } else if (strcmp(type, "WhitespaceSplit") == 0) {
        step.expression = expression_white_space;
        step.behavior = BEHAVIOR_REMOVED;
    } else {
        return refuse_type(r, "pre_tokenizer", o);
    }
    return add_step(r, &step);
}

/* --- post_processor --- */

/* Appends the ids of a special token that a template names. */
static lariat_status template_ids(const reader *r, const json_t *o, const json_t *piece, id_list *out)
{
    const char *name = json_string_value(json_object_get(json_object_get(piece, "SpecialToken"), "id"));
    const json_t *ids = name ? json_object_get(json_object_get(json_object_get(o, "special_tokens"), name), "ids") : NULL, *id;
    size_t i;

    if (json_array_size(ids) == 0) {
        return fail(LARIAT_BAD_MODEL, "%s: post_processor: a piece of the template is neither the text nor a token that has ids"
                    FETCH_AGAIN, r->path);
    }
    json_array_foreach(ids, i, id) {
        if (!json_is_integer(id) || !vocabulary_has(r->v, json_integer_value(id))) {
            return fail(LARIAT_BAD_MODEL, "%s: post_processor: the ids of \"%.64s\" are not all ids of tokens" FETCH_AGAIN,
                        r->path, name);
        }
        TRY(id_list_append(out, (int32_t)json_integer_value(id)));
    }
    return LARIAT_OK;
}

/* The template of a single text. */
static lariat_status read_around(reader *r, const json_t *o)
{
    const json_t *single = json_object_get(o, "single"), *piece;
    bool text_seen = false;
    vocabulary *v = r->v;
    size_t i;

    json_array_foreach(single, i, piece) {
        if (!json_object_get(piece, "Sequence")) {
            TRY(template_ids(r, o, piece, text_seen ? &v->after : &v->before));
            continue;
        }
        if (text_seen) {
            return fail(LARIAT_UNSUPPORTED, "%s: post_processor: a template with the text twice is not supported", r->path);
        }
        text_seen = true;
    }
    if (!text_seen) {
        return fail(LARIAT_UNSUPPORTED, "%s: post_processor: a template without the text is not supported", r->path);
    }
    v->bos = v->before.n ? v->before.data[0] : -1;
    v->adds_bos = v->before.n || v->after.n;
    return LARIAT_OK;
}

static lariat_status one_post_processor(reader *r, const json_t *o)
{
    if (strcmp(type_of(o), "ByteLevel") == 0) {
        return LARIAT_OK; /* changes offsets only */
    }
    if (strcmp(type_of(o), "TemplateProcessing") != 0) {
        return refuse_type(r, "post_processor", o);
    }
    if (r->has_template) {
        return fail(LARIAT_UNSUPPORTED, "%s: post_processor: a TemplateProcessing behind another one is not supported",
                    r->path);
    }
    r->has_template = true;
    return read_around(r, o);
}

/* --- decoder --- */

static lariat_status read_strip(reader *r, const json_t *o)
{
    const char *content = NULL;
    int64_t start = 0, stop = 0;

    TRY(json_text(o, r->path, "content", true, &content));
    TRY(json_int(o, r->path, "start", true, 0, 1024, &start));
    TRY(json_int(o, r->path, "stop", true, 0, 1024, &stop));
    if (strcmp(content, " ") != 0 || stop != 0 || !r->fused) {
        return fail(LARIAT_UNSUPPORTED, "%s: decoder Strip of anything but spaces at the beginning of all is not supported",
                    r->path);
    }
    r->v->first = FIRST_STRIP;
    r->v->strip = (int32_t)start;
    return LARIAT_OK;
}

/* Decoders up to Fuse run token by token, so replacements must precede the decoders whose output they would otherwise see. */
static lariat_status one_decoder(reader *r, const json_t *o)
{
    const char *type = type_of(o), *pattern, *content = NULL;
    prepend_scheme prepend;

    if (strcmp(type, "ByteLevel") == 0 && r->v->byte_level) {
        return LARIAT_OK;
    }
    if (r->v->byte_level) {
        return refuse_type(r, "with a pre_tokenizer ByteLevel, a decoder", o);
    }
    if (strcmp(type, "Replace") == 0 && !r->decodes_bytes && !r->fused) {
        TRY(plain_pattern(r, o, "decoder", &pattern));
        TRY(json_text(o, r->path, "content", true, &content));
        return vocabulary_shown(r->v, pattern, content);
    }
    if (strcmp(type, "ByteFallback") == 0 && !r->fused) {
        r->decodes_bytes = true;
        return LARIAT_OK;
    }
    if (strcmp(type, "Metaspace") == 0 && !r->fused && !r->decodes_bytes) {
        TRY(read_prepend(r, o, &prepend));
        r->v->first = prepend == PREPEND_NEVER ? FIRST_AS_IS : FIRST_METASPACE;
        return vocabulary_shown(r->v, SPACE_MARK, " ");
    }
    if (strcmp(type, "Fuse") == 0) {
        r->fused = true;
        return LARIAT_OK;
    }
    if (strcmp(type, "Strip") == 0) {
        return read_strip(r, o);
    }
    return refuse_type(r, "decoder (at this place)", o);
}

/* --- model --- */

static lariat_status set_token(reader *r, int64_t id, const char *text, size_t size, token_kind kind)
{
    lariat_status status = vocabulary_set(r->v, id, text, size, kind);

    return status == LARIAT_OK ? status : fail_within(status, "%s", r->path);
}

static lariat_status read_vocab(reader *r, const json_t *vocab)
{
    buffer bytes = { 0 };
    lariat_status status = LARIAT_OK;
    const char *text;
    json_t *id;

    json_object_foreach((json_t *)vocab, text, id) {
        bool all = false;
        bytes.size = 0;
        if (!json_is_integer(id)) {
            status = fail(LARIAT_BAD_MODEL, "%s: token \"%.64s\" has no id" FETCH_AGAIN, r->path, text);
        } else if (r->v->byte_level) {
            status = append_alphabet_bytes(&bytes, text, strlen(text), &all);
        }
        if (status == LARIAT_OK) {
            /* In a byte-level vocabulary a token with characters outside the alphabet is never produced from text. */
            status = set_token(r, json_integer_value(id), all ? bytes.data : text, all ? bytes.size : strlen(text),
                               all || !r->v->byte_level ? TOKEN_NORMAL : TOKEN_CONTROL);
        }
        if (status != LARIAT_OK) {
            break;
        }
    }
    buffer_free(&bytes);
    return status;
}

static int32_t id_of(const json_t *vocab, const char *text)
{
    const json_t *id = json_object_get(vocab, text);

    return json_is_integer(id) ? (int32_t)json_integer_value(id) : -1;
}

/* The two tokens of a merge: a pair, or one string with a space between them, copied into `line` and split. */
static lariat_status merge_parts(const reader *r, const json_t *o, size_t i, buffer *line, const char **left,
                                 const char **right)
{
    char *space;

    if (json_is_array(o) && json_array_size(o) == 2) {
        *left = json_string_value(json_array_get(o, 0));
        *right = json_string_value(json_array_get(o, 1));
    } else if (json_is_string(o)) {
        line->size = 0;
        TRY(buffer_append(line, json_string_value(o), json_string_length(o) + 1));
        space = strchr(line->data, ' ');
        *left = line->data;
        *right = space && !strchr(space + 1, ' ') ? space + 1 : NULL;
        if (space) {
            *space = '\0';
        }
    }
    return *left && *right ? LARIAT_OK : fail(LARIAT_BAD_MODEL, "%s: merge %zu is not two tokens" FETCH_AGAIN, r->path, i);
}

static lariat_status read_merges(reader *r, const json_t *merges, const json_t *vocab)
{
    buffer line = { 0 }, joined = { 0 };
    lariat_status status = LARIAT_OK;
    const json_t *o;
    size_t i;

    json_array_foreach(merges, i, o) {
        const char *left = NULL, *right = NULL;
        int32_t ids[3];
        if (json_is_string(o) && strncmp(json_string_value(o), "#version", 8) == 0) {
            continue; /* the header line of a merges.txt */
        }
        joined.size = 0;
        status = merge_parts(r, o, i, &line, &left, &right);
        NEXT(status, buffer_append(&joined, left, strlen(left)));
        NEXT(status, buffer_append(&joined, right, strlen(right) + 1));
        if (status != LARIAT_OK) {
            break;
        }
        ids[0] = id_of(vocab, left);
        ids[1] = id_of(vocab, right);
        ids[2] = id_of(vocab, joined.data);
        if (ids[0] < 0 || ids[1] < 0 || ids[2] < 0) {
            status = fail(LARIAT_BAD_MODEL, "%s: merge %zu: \"%.64s\" is not in the vocabulary" FETCH_AGAIN, r->path, i,
                          ids[0] < 0 ? left : ids[1] < 0 ? right : joined.data);
        } else {
            status = vocabulary_merge(r->v, ids[0], ids[1], ids[2]);
        }
        if (status != LARIAT_OK) {
            break;
        }
    }
    buffer_free(&line);
    buffer_free(&joined);
    return status;
}

/* Finds the byte tokens, for encoding and decoding. */
static void find_bytes(reader *r)
{
    vocabulary *v = r->v;

    for (int64_t id = 0; id < v->n_tokens; id++) {
        token *t = &v->tokens[id];
        int byte = byte_of_text(t->text, t->size);
        if (v->byte_level) {
            if (t->kind == TOKEN_NORMAL && t->size == 1) {
                v->byte_ids[(unsigned char)*t->text] = (int32_t)id;
            }
            continue;
        }
        /* Encoding accepts capital hex digits only, decoding both. */
        if (byte >= 0 && t->kind == TOKEN_NORMAL && !strpbrk(t->text, "abcdef")) {
            v->byte_ids[byte] = (int32_t)id;
        }
        t->byte = (int16_t)(r->decodes_bytes ? byte : -1);
    }
}

/* Refuses settings that would change ids and are unsupported. */
static lariat_status check_model(const reader *r, const json_t *model)
{
    static const char *const affixes[] = { "continuing_subword_prefix", "end_of_word_suffix" };
    double dropout = 0;

    if (strcmp(type_of(model), "BPE") != 0) {
        return refuse_type(r, "model", model);
    }
    TRY(json_number(model, r->path, "dropout", false, &dropout));
    if (dropout != 0) {
        return fail(LARIAT_UNSUPPORTED, "%s: model: dropout %g is not supported", r->path, dropout);
    }
    for (size_t i = 0; i < sizeof affixes / sizeof *affixes; i++) {
        const char *affix = "";
        TRY(json_text(model, r->path, affixes[i], false, &affix));
        if (*affix) {
            return fail(LARIAT_UNSUPPORTED, "%s: model: %s \"%.64s\" is not supported", r->path, affixes[i], affix);
        }
    }
    return LARIAT_OK;
}

static lariat_status read_model(reader *r, const json_t *model)
{
    const json_t *vocab = json_object_get(model, "vocab"), *merges = json_object_get(model, "merges");
    const char *unknown = NULL;
    vocabulary *v = r->v;

    TRY(check_model(r, model));
    if (!json_is_object(vocab) || !json_is_array(merges)) {
        return fail(LARIAT_BAD_MODEL, "%s: model has no vocab or no merges" FETCH_AGAIN, r->path);
    }
    TRY(json_text(model, r->path, "unk_token", false, &unknown));
    TRY(json_flag(model, r->path, "fuse_unk", false, &v->fuse_unknown));
    TRY(json_flag(model, r->path, "byte_fallback", false, &v->byte_fallback));
    TRY(json_flag(model, r->path, "ignore_merges", false, &v->ignore_merges));
    v->id_limit = 2 * ((int64_t)json_object_size(vocab) + r->added.n) + 4096;
    TRY(read_vocab(r, vocab));
    TRY(read_merges(r, merges, vocab));
    if (unknown) {
        v->unknown = id_of(vocab, unknown);
        if (v->unknown < 0) {
            return fail(LARIAT_BAD_MODEL, "%s: model: unk_token \"%.64s\" is not in the vocabulary" FETCH_AGAIN, r->path,
                        unknown);
        }
    }
    return LARIAT_OK;
}

/* --- added_tokens --- */

/* Adds a token that is not in the model's vocabulary. Hugging Face numbers these in order and ignores the file's ids. */
static lariat_status number_added(reader *r, const char *content, int64_t id, int64_t *out)
{
    buffer bytes = { 0 };
    bool all = false;
    lariat_status status = r->v->byte_level ? append_alphabet_bytes(&bytes, content, strlen(content), &all) : LARIAT_OK;

    *out = r->next++;
    NEXT(status, set_token(r, *out, all ? bytes.data : content, all ? bytes.size : strlen(content), TOKEN_CONTROL));
    buffer_free(&bytes);
    if (status == LARIAT_OK && id != *out) {
        status = vocabulary_warn(r->v, "%s: added token \"%.64s\" has id %lld, its place gives it %lld, which counts", r->path,
                                 content, (long long)id, (long long)*out);
    }
    return status;
}

/* A token that is listed twice is as its last entry says, and special if one of them is. */
static void add_again(vocabulary *v, int32_t i, const added_token *a)
{
    v->added[i].special = v->added[i].special || a->special;
    v->added[i].normalized = a->normalized;
    v->added[i].lstrip = a->lstrip;
    v->added[i].rstrip = a->rstrip;
    v->added[i].single_word = a->single_word;
    v->tokens[v->added[i].id].special = v->added[i].special;
}

static lariat_status read_added(void *user, const char *key, const json_t *o)
{
    reader *r = user;
    added_token a = { .normalized = false };
    const char *content = NULL;
    int64_t id = 0, known;
    int32_t place;

    (void)key; /* a list has none */
    TRY(json_text(o, r->path, "content", true, &content));
    TRY(json_int(o, r->path, "id", true, 0, MAX_TOKENS, &id));
    TRY(json_flag(o, r->path, "special", false, &a.special));
    TRY(json_flag(o, r->path, "normalized", false, &a.normalized));
    TRY(json_flag(o, r->path, "lstrip", false, &a.lstrip));
    TRY(json_flag(o, r->path, "rstrip", false, &a.rstrip));
    TRY(json_flag(o, r->path, "single_word", false, &a.single_word));
    if (!*content) {
        return LARIAT_OK;
    }
    place = vocabulary_added_place(r->v, content);
    if (place >= 0) {
        add_again(r->v, place, &a);
        return LARIAT_OK;
    }
    known = id_of(r->vocab, content);
    if (known < 0) {
        TRY(number_added(r, content, id, &known));
    } else if (known != id) {
        TRY(vocabulary_warn(r->v, "%s: added token \"%.64s\" has id %lld, in the vocabulary it is %lld, which counts", r->path,
                            content, (long long)id, (long long)known));
    }
    a.id = (int32_t)known;
    a.size = (uint32_t)strlen(content);
    r->v->tokens[known].special = a.special;
    TRY(vocabulary_text(r->v, content, a.size, &a.text));
    return vocabulary_add(r->v, &a);
}

static lariat_status read_root(reader *r, const json_t *root)
{
    const json_t *model = json_object_get(root, "model"), *decoder = json_object_get(root, "decoder");

    if (!json_is_object(model)) {
        return fail(LARIAT_BAD_MODEL, "%s: has no model" FETCH_AGAIN, r->path);
    }
    r->vocab = json_object_get(model, "vocab");
    r->next = (int64_t)json_object_size(r->vocab);
    TRY(each(r, json_object_get(root, "normalizer"), "normalizers", one_normalizer, 0));
    TRY(each(r, json_object_get(root, "pre_tokenizer"), "pretokenizers", one_pre_tokenizer, 0));
    TRY(read_model(r, model));
    TRY(json_each(r->path, &r->added, '[', read_added, r));
    TRY(each(r, json_object_get(root, "post_processor"), "processors", one_post_processor, 0));
    TRY(each(r, decoder, "decoders", one_decoder, 0));
    r->v->spaced = !r->v->byte_level && (!decoder || json_is_null(decoder));
    find_bytes(r);
    return LARIAT_OK;
}

lariat_status tokenizer_json_parse(const char *path, const char *data, size_t size, vocabulary *v)
{
    reader r = { .path = path, .v = v };
    json_error_t error;
    json_t *root = json_load_around(data, size, "added_tokens", 0, &r.added, &error);

    TRY(json_check(path, root, &error, &root));
    lariat_status status = read_root(&r, root);
    json_decref(root);
    return status;
}

lariat_status tokenizer_json_read(const char *path, vocabulary *v)
{
    lariat_status status;
    mapped_file f;

    TRY(map_file(path, &f));
    status = f.size > MAX_JSON ? fail(LARIAT_BAD_MODEL, "%s: %zu bytes are too many for a tokenizer" FETCH_AGAIN, path, f.size)
                               : tokenizer_json_parse(path, (const char *)f.data, f.size, v);
    unmap_file(&f);
    return status;
}
