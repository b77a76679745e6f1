/* Filling a vocabulary, and the alphabet of byte-level ones.
   Rests on buffer.c for growth; strings are stored in blocks that are freed together. Read on in tokenizer_json.c and
   sentencepiece.c (readers), tables.c (lookup). */
#include "text/vocabulary.h"

#include "text/hash.h"
#include "text/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char expression_gpt2[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const char expression_llama3[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"
                                 " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
/* Hugging Face's Digits uses Rust's tables, which include Unicode 17. */
#define NUMBER "[\\p{N}\\x{11DE0}-\\x{11DE9}\\x{16FF4}-\\x{16FF6}]"
const char expression_digit[] = NUMBER, expression_digits[] = NUMBER "+";
/* Hugging Face's Punctuation uses tables of Unicode 8: characters that were no punctuation then, or no longer are. ASCII's
   symbols count. */
#define LATER_PUNCTUATION                                                                                                     \
    "\\x{61D}\\x{9FD}\\x{A76}\\x{C77}\\x{C84}\\x{1B4E}\\x{1B4F}\\x{1B7D}-\\x{1B7F}\\x{2E43}-\\x{2E7F}\\x{10D6E}"              \
    "\\x{10EAD}\\x{10ED0}-\\x{10ED8}\\x{10F55}-\\x{10F59}\\x{10F86}-\\x{10F89}\\x{113D4}-\\x{113D8}"                          \
    "\\x{1144B}-\\x{1145D}\\x{11660}-\\x{1166C}\\x{116B9}\\x{1183B}-\\x{12000}\\x{12FF1}\\x{12FF2}"                           \
    "\\x{16D6D}-\\x{16D6F}\\x{16E97}-\\x{16E9A}\\x{16FE2}\\x{1E5FF}\\x{1E95E}\\x{1E95F}"
const char expression_punctuation[] = "(?:(?![" LATER_PUNCTUATION "])[\\p{P}$+<=>^`|~\\x{166D}\\x{111C9}])";
#define WORD                                                                                                                  \
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{200C}\\x{200D}\\x{24B6}-\\x{24E9}\\x{1F130}-\\x{1F149}"                             \
    "\\x{1F150}-\\x{1F169}\\x{1F170}-\\x{1F189}"
const char expression_word[] = "[" WORD "]", expression_words[] = "[" WORD "]+|[^" WORD "\\s]+";
const char expression_white_space[] = "\\s";

/* Strings in a chain of blocks. */
typedef struct text_block {
    struct text_block *next;
    size_t used, size;
    char data[];
} text_block;

enum { TEXT_BLOCK = 1 << 16, FIRST_SLOTS = 64 };

void vocabulary_init(vocabulary *v)
{
    *v = (vocabulary){ .unknown = -1, .bos = -1, .eos = -1 };
    for (int i = 0; i < 256; i++) {
        v->byte_ids[i] = -1;
    }
}

void vocabulary_free(vocabulary *v)
{
    while (v->texts) {
        text_block *next = v->texts->next;
        free(v->texts);
        v->texts = next;
    }
    free(v->tokens);
    free(v->merges);
    free(v->added);
    free(v->token_index.entries);
    free(v->added_index.entries);
    free(v->rules);
    free(v->shown);
    id_list_free(&v->before);
    id_list_free(&v->after);
    id_list_free(&v->ends);
    vocabulary_init(v);
}

lariat_status vocabulary_text(vocabulary *v, const char *text, size_t size, const char **out)
{
    text_block *b = v->texts;
    char *copy;

    if (!b || b->size - b->used < size + 1) {
        size_t n = size + 1 > TEXT_BLOCK ? size + 1 : TEXT_BLOCK;
        b = malloc(sizeof *b + n);
        TRY_MEMORY(b, "tokenizer: no memory for %zu bytes of text" FREE_MEMORY, n);
        *b = (text_block){ .next = v->texts, .size = n };
        v->texts = b;
    }
    copy = b->data + b->used;
    if (size) {
        memcpy(copy, text, size);
    }
    copy[size] = '\0';
    b->used += size + 1;
    *out = copy;
    return LARIAT_OK;
}

static size_t free_entry(const text_index *x, uint64_t hash)
{
    size_t at = hash & (x->n_entries - 1);

    while (x->entries[at].value >= 0) {
        at = (at + 1) & (x->n_entries - 1);
    }
    return at;
}

static lariat_status index_grow(text_index *x)
{
    text_index more = { .n_entries = x->n_entries ? x->n_entries * 2 : FIRST_SLOTS, .n = x->n };

    more.entries = malloc(more.n_entries * sizeof *more.entries);
    TRY_MEMORY(more.entries, "tokenizer: no memory for an index of %zu texts" FREE_MEMORY, more.n_entries);
    memset(more.entries, 0xFF, more.n_entries * sizeof *more.entries);
    for (size_t i = 0; i < x->n_entries; i++) {
        if (x->entries[i].value >= 0) {
            more.entries[free_entry(&more, x->entries[i].hash)] = x->entries[i];
        }
    }
    free(x->entries);
    *x = more;
    return LARIAT_OK;
}

static bool token_is(const vocabulary *v, int32_t id, const char *text, size_t size)
{
    return v->tokens[id].size == size && memcmp(v->tokens[id].text, text, size) == 0;
}

static bool added_is(const vocabulary *v, int32_t place, const char *text, size_t size)
{
    return v->added[place].size == size && memcmp(v->added[place].text, text, size) == 0;
}

/* The entry of that text, or NULL. `is` says whether a value has it. */
typedef bool (*is_text_fn)(const vocabulary *v, int32_t value, const char *text, size_t size);

static text_entry *index_find(const vocabulary *v, const text_index *x, is_text_fn is, const char *text, size_t size)
{
    uint64_t hash = hash_text(text, size);

    for (size_t at = hash & (x->n_entries - 1); x->n_entries && x->entries[at].value >= 0; at = (at + 1) & (x->n_entries - 1)) {
        if (x->entries[at].hash == hash && is(v, x->entries[at].value, text, size)) {
            return &x->entries[at];
        }
    }
    return NULL;
}

/* Adds a text once, with the smallest of its values. */
static lariat_status index_add(const vocabulary *v, text_index *x, is_text_fn is, const char *text, size_t size, int32_t value)
{
    text_entry *known = index_find(v, x, is, text, size);
    uint64_t hash = hash_text(text, size);

    if (known) {
        known->value = known->value < value ? known->value : value;
        return LARIAT_OK;
    }
    if ((x->n + 1) * 2 > x->n_entries) {
        TRY(index_grow(x));
    }
    x->entries[free_entry(x, hash)] = (text_entry){ .hash = hash, .value = value };
    x->n++;
    return LARIAT_OK;
}

lariat_status vocabulary_set(vocabulary *v, int64_t id, const char *text, size_t size, token_kind kind)
{
    token *t;

    if (id < 0 || id >= v->id_limit || id >= MAX_TOKENS) {
        return fail(LARIAT_BAD_MODEL, "token \"%.*s\" has id %lld, which a vocabulary of this size cannot have" FETCH_AGAIN,
                    size < 64 ? (int)size : 64, text, (long long)id);
    }
    if (size > MAX_TOKEN_BYTES) {
        return fail(LARIAT_BAD_MODEL, "token %lld is %zu bytes long, at most %d are read" FETCH_AGAIN, (long long)id, size,
                    MAX_TOKEN_BYTES);
    }
    if (vocabulary_has(v, id)) {
        return fail(LARIAT_BAD_MODEL, "two tokens have id %lld: \"%s\" and \"%.*s\"" FETCH_AGAIN, (long long)id,
                    v->tokens[id].text, size < 64 ? (int)size : 64, text);
    }
    GROW(v->tokens, v->token_capacity, id + 1);
    while (v->n_tokens <= id) {
        v->tokens[v->n_tokens++] = (token){ .text = "", .shown = "", .kind = TOKEN_ABSENT, .byte = -1 };
    }
    t = &v->tokens[id];
    TRY(vocabulary_text(v, text, size, &t->text));
    t->size = t->shown_size = (uint32_t)size;
    t->shown = t->text;
    t->kind = kind;
    return index_add(v, &v->token_index, token_is, t->text, size, (int32_t)id);
}

lariat_status vocabulary_merge(vocabulary *v, int32_t left, int32_t right, int32_t result)
{
    GROW(v->merges, v->merge_capacity, v->n_merges + 1);
    v->merges[v->n_merges++] = (merge){ .left = left, .right = right, .result = result };
    return LARIAT_OK;
}

lariat_status vocabulary_add(vocabulary *v, const added_token *t)
{
    if (t->size > MAX_ADDED_BYTES) {
        return fail(LARIAT_UNSUPPORTED, "added token %d is %u bytes long, at most %d are looked for", t->id, t->size,
                    MAX_ADDED_BYTES);
    }
    GROW(v->added, v->added_capacity, v->n_added + 1);
    v->added[v->n_added++] = *t;
    return index_add(v, &v->added_index, added_is, t->text, t->size, (int32_t)v->n_added - 1);
}

static lariat_status add_rule(vocabulary *v, text_rule **list, int64_t *n, int64_t *capacity, text_rule rule)
{
    GROW(*list, *capacity, *n + 1);
    if (rule.pattern) {
        TRY(vocabulary_text(v, rule.pattern, strlen(rule.pattern), &rule.pattern));
    }
    if (rule.content) {
        TRY(vocabulary_text(v, rule.content, strlen(rule.content), &rule.content));
    }
    (*list)[(*n)++] = rule;
    return LARIAT_OK;
}

lariat_status vocabulary_rule(vocabulary *v, rule_kind kind, const char *pattern, const char *content)
{
    if (v->n_rules == MAX_RULES) {
        return fail(LARIAT_UNSUPPORTED, "normalizer: more than %d rules", MAX_RULES);
    }
    return add_rule(v, &v->rules, &v->n_rules, &v->rule_capacity,
                    (text_rule){ .kind = kind, .pattern = pattern, .content = content });
}

lariat_status vocabulary_shown(vocabulary *v, const char *pattern, const char *content)
{
    return add_rule(v, &v->shown, &v->n_shown, &v->shown_capacity,
                    (text_rule){ .kind = RULE_REPLACE, .pattern = pattern, .content = content });
}

lariat_status vocabulary_step(vocabulary *v, const split_step *step)
{
    split_step *s;

    if (v->n_steps == MAX_SPLIT_STEPS) {
        return fail(LARIAT_UNSUPPORTED, "pre_tokenizer: more than %d steps", MAX_SPLIT_STEPS);
    }
    s = &v->steps[v->n_steps++];
    *s = *step;
    if (step->expression) {
        TRY(vocabulary_text(v, step->expression, strlen(step->expression), &s->expression));
    }
    return LARIAT_OK;
}

lariat_status vocabulary_template(vocabulary *v, const char *text, size_t size, const char *path, const char *field)
{
    buffer name = { 0 };
    lariat_status status = buffer_append(&name, path, strlen(path));

    NEXT(status, field ? buffer_append(&name, ": ", 2) : LARIAT_OK);
    NEXT(status, field ? buffer_append(&name, field, strlen(field)) : LARIAT_OK);
    NEXT(status, vocabulary_text(v, name.data, name.size, &v->template_name));
    NEXT(status, vocabulary_text(v, text, size, &v->chat_template));
    buffer_free(&name);
    return status;
}

lariat_status vocabulary_warn(vocabulary *v, const char *format, ...)
{
    char text[512];
    va_list arguments;

    if (v->n_warnings == MAX_WARNINGS) {
        return LARIAT_OK;
    }
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return vocabulary_text(v, text, strlen(text), &v->warnings[v->n_warnings++]);
}

lariat_status vocabulary_end(vocabulary *v, int32_t id)
{
    for (int64_t i = 0; i < v->ends.n; i++) {
        if (v->ends.data[i] == id) {
            return LARIAT_OK;
        }
    }
    return id_list_append(&v->ends, id);
}

bool vocabulary_has(const vocabulary *v, int64_t id)
{
    return id >= 0 && id < v->n_tokens && v->tokens[id].kind != TOKEN_ABSENT;
}

int32_t vocabulary_added_place(const vocabulary *v, const char *text)
{
    const text_entry *found = index_find(v, &v->added_index, added_is, text, strlen(text));

    return found ? found->value : -1;
}

int32_t vocabulary_added(const vocabulary *v, const char *text)
{
    int32_t place = vocabulary_added_place(v, text);

    return place >= 0 ? v->added[place].id : -1;
}

int32_t vocabulary_find(const vocabulary *v, const char *text)
{
    int32_t added = vocabulary_added(v, text);
    const text_entry *found = added < 0 ? index_find(v, &v->token_index, token_is, text, strlen(text)) : NULL;

    return found ? found->value : added;
}

int byte_of_text(const char *text, size_t size)
{
    static const char digits[] = "0123456789ABCDEF0123456789abcdef";
    const char *high, *low;

    if (size != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>' || !text[3] || !text[4]) {
        return -1;
    }
    high = strchr(digits, text[3]);
    low = strchr(digits, text[4]);
    return high && low ? (int)((high - digits) % 16 * 16 + (low - digits) % 16) : -1;
}

/* Does the byte represent itself in the alphabet? True for printable Latin-1. */
static bool alphabet_is_plain(int byte)
{
    return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

/* The byte of a character, or -1: the other bytes are numbered from U+0100 in order. */
static int alphabet_byte(int32_t code)
{
    int32_t number = code - 0x100;

    if (code < 0x100) {
        return alphabet_is_plain(code) ? code : -1;
    }
    for (int byte = 0; number >= 0 && byte < 256; byte++) {
        if (!alphabet_is_plain(byte) && number-- == 0) {
            return byte;
        }
    }
    return -1;
}

lariat_status append_alphabet(buffer *out, unsigned char byte)
{
    int code = byte;
    char text[2];

    if (!alphabet_is_plain(byte)) {
        code = 0x100;
        for (int before = 0; before < byte; before++) {
            code += !alphabet_is_plain(before);
        }
    }
    text[0] = (char)(0xC0 | code >> 6);
    text[1] = (char)(0x80 | (code & 0x3F));
    return code < 0x80 ? buffer_append(out, (const char *)&byte, 1) : buffer_append(out, text, 2);
}

lariat_status append_alphabet_bytes(buffer *out, const char *text, size_t size, bool *all)
{
    size_t before = out->size;

    *all = true;
    TRY(buffer_reserve(out, size));
    for (size_t at = 0; at < size;) {
        int length;
        int32_t code = utf8_decode(text + at, size - at, &length);
        int byte = code < 0 ? -1 : alphabet_byte(code);
        if (byte < 0) {
            out->size = before;
            *all = false;
            return LARIAT_OK;
        }
        out->data[out->size++] = (char)byte;
        at += (size_t)length;
    }
    return LARIAT_OK;
}
