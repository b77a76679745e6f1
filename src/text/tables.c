/* Hash tables with open addressing, at most half full, and a sorted list of prefixes.
   Rests on vocabulary.c. Read on in merge.c and encode.c, which use them. */
#include "text/tables.h"

#include "text/hash.h"

#include <stdlib.h>
#include <string.h>

/* A hash table of n entries at half load: a power of two of entries with all bits set, free. *mask: their number less 1. */
static void *new_entries(int64_t n, size_t entry_bytes, const char *what, size_t *mask)
{
    size_t entries = 16;

    while (entries < (size_t)n * 2) {
        entries *= 2;
    }
    void *out = malloc(entries * entry_bytes);
    if (!out) {
        (void)fail(LARIAT_NO_MEMORY, "tokenizer: no memory for a table of %zu %s" FREE_MEMORY, entries, what);
        return NULL;
    }
    *mask = entries - 1;
    return memset(out, 0xFF, entries * entry_bytes);
}

static bool is_word(const token *t)
{
    return (t->kind == TOKEN_NORMAL || t->kind == TOKEN_USER) && t->size > 0;
}

lariat_status word_table_make(const vocabulary *v, word_table *out)
{
    out->entries = new_entries(v->n_tokens, sizeof *out->entries, "words", &out->mask);
    if (!out->entries) {
        return LARIAT_NO_MEMORY;
    }
    out->longest = 0;
    for (int64_t id = 0; id < v->n_tokens; id++) {
        const token *t = &v->tokens[id];
        size_t at = hash_text(t->text, t->size) & out->mask;
        if (!is_word(t)) {
            continue;
        }
        while (out->entries[at] >= 0) {
            const token *other = &v->tokens[out->entries[at]];
            if (other->size == t->size && memcmp(other->text, t->text, t->size) == 0) {
                return fail(LARIAT_BAD_MODEL, "tokens %d and %lld are both \"%.64s\"" FETCH_AGAIN, out->entries[at],
                            (long long)id, t->text);
            }
            at = (at + 1) & out->mask;
        }
        out->entries[at] = (int32_t)id;
        out->longest = t->size > out->longest ? t->size : out->longest;
    }
    return LARIAT_OK;
}

void word_table_free(word_table *w)
{
    free(w->entries);
    *w = (word_table){ 0 };
}

int32_t word_table_find(const word_table *w, const vocabulary *v, const char *text, size_t size)
{
    size_t at;

    if (size == 0 || size > w->longest) {
        return -1;
    }
    for (at = hash_text(text, size) & w->mask; w->entries[at] >= 0; at = (at + 1) & w->mask) {
        const token *t = &v->tokens[w->entries[at]];
        if (t->size == size && memcmp(t->text, text, size) == 0) {
            return w->entries[at];
        }
    }
    return -1;
}

static uint64_t pair_of(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

lariat_status pair_table_make(const vocabulary *v, pair_table *out)
{
    out->entries = new_entries(v->n_merges, sizeof *out->entries, "merges", &out->mask);
    if (!out->entries) {
        return LARIAT_NO_MEMORY;
    }
    for (int64_t rank = 0; rank < v->n_merges; rank++) {
        const merge *m = &v->merges[rank];
        uint64_t pair = pair_of(m->left, m->right);
        size_t at = hash_mix(pair) & out->mask;
        while (out->entries[at].pair != UINT64_MAX && out->entries[at].pair != pair) {
            at = (at + 1) & out->mask;
        }
        out->entries[at] = (pair_entry){ .pair = pair, .rank = (uint32_t)rank, .result = m->result };
    }
    return LARIAT_OK;
}

void pair_table_free(pair_table *p)
{
    free(p->entries);
    *p = (pair_table){ 0 };
}

const pair_entry *pair_table_find(const pair_table *p, int32_t left, int32_t right)
{
    uint64_t pair = pair_of(left, right);
    size_t at = hash_mix(pair) & p->mask;

    while (p->entries[at].pair != pair) {
        if (p->entries[at].pair == UINT64_MAX) {
            return NULL;
        }
        at = (at + 1) & p->mask;
    }
    return &p->entries[at];
}

lariat_status prefix_set_add(prefix_set *s, const char *text, uint32_t size, int32_t value)
{
    unsigned char first = size ? (unsigned char)*text : 0;

    if (size == 0) {
        return LARIAT_OK; /* an empty text is never found */
    }
    GROW(s->list, s->capacity, s->n + 1);
    s->list[s->n++] = (prefix){ .text = text, .size = size, .value = value };
    s->first[first / 64] |= UINT64_C(1) << first % 64;
    return LARIAT_OK;
}

static int compare_prefixes(const void *a, const void *b)
{
    const prefix *left = a, *right = b;
    uint32_t shorter = left->size < right->size ? left->size : right->size;
    int order = memcmp(left->text, right->text, shorter);

    return order ? order : (left->size > right->size) - (left->size < right->size);
}

lariat_status prefix_set_finish(prefix_set *s)
{
    int64_t kept = 0;

    if (s->n == 0) {
        return LARIAT_OK;
    }
    qsort(s->list, (size_t)s->n, sizeof *s->list, compare_prefixes);
    for (int64_t i = 1; i < s->n; i++) {
        if (compare_prefixes(&s->list[kept], &s->list[i]) != 0) {
            s->list[++kept] = s->list[i];
        } else if (s->list[kept].value != s->list[i].value) {
            return fail(LARIAT_BAD_MODEL, "tokens %d and %d are both \"%.*s\"" FETCH_AGAIN, s->list[kept].value,
                        s->list[i].value, s->list[i].size < 64 ? (int)s->list[i].size : 64, s->list[i].text);
        }
    }
    s->n = kept + 1;
    return LARIAT_OK;
}

void prefix_set_free(prefix_set *s)
{
    free(s->list);
    *s = (prefix_set){ 0 };
}

/* The first of [low, high) whose byte at `depth` is at least `byte`; all have the same bytes before `depth`, texts of that
   length sort first. */
static int64_t bound(const prefix_set *s, int64_t low, int64_t high, uint32_t depth, unsigned byte)
{
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        const prefix *p = &s->list[middle];
        if (p->size <= depth || (unsigned char)p->text[depth] < byte) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool may_begin(const prefix_set *s, const char *text, size_t size)
{
    unsigned char first = size ? (unsigned char)*text : 0;

    return size && s->first[first / 64] >> first % 64 & 1;
}

/* Narrows [*low, *high) to the texts that go on with text[depth]; returns the one that ends there, or NULL. */
static const prefix *descend(const prefix_set *s, const char *text, uint32_t depth, int64_t *low, int64_t *high)
{
    unsigned byte = (unsigned char)text[depth];

    *low = bound(s, *low, *high, depth, byte);
    *high = bound(s, *low, *high, depth, byte + 1);
    return *low < *high && s->list[*low].size == depth + 1 ? &s->list[*low] : NULL;
}

const prefix *prefix_set_longest(const prefix_set *s, const char *text, size_t size)
{
    return prefix_set_longest_shown(s, text, size, NULL);
}

const prefix *prefix_set_longest_shown(const prefix_set *s, const char *text, size_t size, const bool *hidden)
{
    const prefix *best = NULL;
    int64_t low = 0, high = s->n;

    if (!may_begin(s, text, size)) {
        return NULL;
    }
    for (uint32_t depth = 0; depth < size && low < high; depth++) {
        const prefix *p = descend(s, text, depth, &low, &high);
        best = p && !(hidden && hidden[p->value]) ? p : best;
    }
    return best;
}

size_t prefix_set_begin(const prefix_set *s, const char *text, size_t size)
{
    size_t at = 0;

    while (at < size && !(s->first[(unsigned char)text[at] / 64] >> (unsigned char)text[at] % 64 & 1)) {
        at++;
    }
    return at;
}

void prefix_set_mark(const prefix_set *s, const char *text, size_t size, bool *found)
{
    int64_t low = 0, high = may_begin(s, text, size) ? s->n : 0;

    for (uint32_t depth = 0; depth < size && low < high; depth++) {
        const prefix *p = descend(s, text, depth, &low, &high);
        if (p) {
            found[p->value] = true;
        }
    }
}
