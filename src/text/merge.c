/* Byte pair encoding: of all mergeable neighbours those of the lowest rank, and of these the leftmost, are merged first. By
   score, neighbours merge whose text is a token, ranked by score (SentencePiece); otherwise the list of merges gives pairs
   and ranks (Hugging Face). Three algorithms with the same result: a scan of few symbols; a heap of candidates over a linked
   list; for very long words a queue for each rank, processed in order, with the heap for late candidates
   (bench/bench_merge.c times each).
   Rests on tables.c. Read on in pretokenizer.c, which cuts text into words. */
#include "text/merge.h"

#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>

enum {
    MANY = 4096,       /* symbols from which a queue for each rank is faster than a heap */
    NO_RANK = -1,
    MAX_WORD = 1 << 30 /* bytes: indices have 32 bits */
};

void merger_free(merger *m)
{
    free(m->symbols);
    free(m->heap);
    free(m->blocks);
    free(m->heads);
    free(m->tails);
    free(m->turn);
    *m = (merger){ .t = m->t };
}

void merger_show(merger *m, const char *base, const own_symbol *symbols, int64_t n)
{
    m->base = base;
    m->shown = symbols;
    m->n_shown = n;
    m->next_shown = 0;
}

/* --- the symbols of a word before merging --- */

static lariat_status push_symbol(merger *m, symbol s)
{
    if (m->n == m->capacity) {
        GROW(m->symbols, m->capacity, m->n + 1);
    }
    m->symbols[m->n++] = s;
    return LARIAT_OK;
}

/* A character becomes the tokens of its bytes. *done is false if one of them has none. */
static lariat_status push_bytes(merger *m, const char *word, size_t at, size_t size, bool *done)
{
    const int32_t *ids = m->t->v.byte_ids;

    *done = true;
    for (size_t i = at; i < at + size; i++) {
        *done = *done && ids[(unsigned char)word[i]] >= 0;
    }
    for (size_t i = at; *done && i < at + size; i++) {
        TRY(push_symbol(m, (symbol){ .start = (uint32_t)i, .size = 1, .id = ids[(unsigned char)word[i]] }));
    }
    return LARIAT_OK;
}

/* By merges: characters (or bytes) with their tokens; unknown ones as the unknown token, fused into one where the vocabulary
   asks for it. Byte tokens of a character do not end a fused run, as in Hugging Face's tokenizers. */
static lariat_status symbols_by_merges(merger *m, const char *word, size_t size)
{
    const vocabulary *v = &m->t->v;
    symbol unknown = { .size = 0 };
    size_t length;

    for (size_t at = 0; at < size; at += length) {
        int32_t id;
        bool done = false;
        length = v->byte_level ? 1 : (size_t)utf8_length(word + at);
        id = v->byte_level ? v->byte_ids[(unsigned char)word[at]] : word_table_find(&m->t->words, v, word + at, length);
        if (id < 0 && v->byte_fallback) {
            TRY(push_bytes(m, word, at, length, &done));
        }
        if (done || (id < 0 && v->unknown < 0)) {
            continue;
        }
        if (unknown.size && (id >= 0 || !v->fuse_unknown)) {
            TRY(push_symbol(m, unknown));
            unknown.size = 0;
        }
        if (id >= 0) {
            TRY(push_symbol(m, (symbol){ .start = (uint32_t)at, .size = (uint32_t)length, .id = id }));
        } else if (unknown.size) {
            unknown.size += (uint32_t)length;
        } else {
            unknown = (symbol){ .start = (uint32_t)at, .size = (uint32_t)length, .id = v->unknown };
        }
    }
    return unknown.size ? push_symbol(m, unknown) : LARIAT_OK;
}

/* The user-defined symbol at a place of the text: the template's, otherwise the longest that ends before the next one of the
   template. .size 0: none. */
static symbol user_symbol(merger *m, const char *text, size_t size)
{
    size_t at = m->n_shown ? (size_t)(text - m->base) : 0;

    while (m->next_shown < m->n_shown && m->shown[m->next_shown].at < at) {
        m->next_shown++;
    }
    if (m->next_shown < m->n_shown) {
        const own_symbol *own = &m->shown[m->next_shown];
        if (own->at == at && own->size <= size) {
            return (symbol){ .size = own->size, .id = own->id };
        }
        size = own->at > at && own->at - at < size ? own->at - at : size;
    }
    const prefix *user = prefix_set_longest_shown(&m->t->users, text, size, m->hidden);
    return user ? (symbol){ .size = user->size, .id = user->value } : (symbol){ .size = 0 };
}

/* By score: user-defined symbols, the longest first, otherwise characters. */
static lariat_status symbols_by_score(merger *m, const char *word, size_t size)
{
    for (size_t at = 0; at < size;) {
        symbol s = user_symbol(m, word + at, size - at);
        s.start = (uint32_t)at;
        s.frozen = s.size > 0;
        if (!s.frozen) {
            s.size = (uint32_t)utf8_length(word + at);
            s.id = word_table_find(&m->t->words, &m->t->v, word + at, s.size);
        }
        TRY(push_symbol(m, s));
        at += s.size;
    }
    return LARIAT_OK;
}

/* --- merging --- */

static bool is_hidden(const merger *m, int32_t id)
{
    return m->hidden && id >= 0 && m->hidden[id];
}

/* The rank of merging two neighbours, and the result; or NO_RANK. */
static int64_t find_merge(const merger *m, const char *word, const symbol *left, const symbol *right, int32_t *result)
{
    const lariat_tokenizer *t = m->t;
    const pair_entry *entry;

    if (t->v.by_score) {
        if (left->frozen || right->frozen) {
            return NO_RANK;
        }
        *result = word_table_find(&t->words, &t->v, word + left->start, left->size + right->size);
        return *result < 0 || is_hidden(m, *result) ? NO_RANK : (int64_t)t->ranks[*result];
    }
    entry = pair_table_find(&t->pairs, left->id, right->id);
    if (!entry || is_hidden(m, entry->result)) {
        return NO_RANK;
    }
    *result = entry->result;
    return entry->rank;
}

static void merge_few(merger *m, const char *word)
{
    symbol *s = m->symbols;
    int64_t ranks[MERGE_FEW];
    int32_t results[MERGE_FEW];

    for (int64_t i = 0; i + 1 < m->n; i++) {
        ranks[i] = find_merge(m, word, &s[i], &s[i + 1], &results[i]);
    }
    for (;;) {
        int64_t best = -1;
        for (int64_t i = 0; i + 1 < m->n; i++) {
            if (ranks[i] != NO_RANK && (best < 0 || ranks[i] < ranks[best])) {
                best = i;
            }
        }
        if (best < 0) {
            return;
        }
        s[best].size += s[best + 1].size;
        s[best].id = results[best];
        m->n--;
        for (int64_t i = best + 1; i < m->n; i++) {
            s[i] = s[i + 1];
            ranks[i - 1] = ranks[i];
            results[i - 1] = results[i];
        }
        if (best > 0) {
            ranks[best - 1] = find_merge(m, word, &s[best - 1], &s[best], &results[best - 1]);
        }
        if (best + 1 < m->n) {
            ranks[best] = find_merge(m, word, &s[best], &s[best + 1], &results[best]);
        }
    }
}

static lariat_status heap_push(merger *m, candidate c)
{
    int64_t at = m->n_heap;

    if (m->n_heap == m->heap_capacity) {
        GROW(m->heap, m->heap_capacity, m->n_heap + 1);
    }
    m->n_heap++;
    while (at > 0 && c.key < m->heap[(at - 1) / 4].key) {
        m->heap[at] = m->heap[(at - 1) / 4];
        at = (at - 1) / 4;
    }
    m->heap[at] = c;
    return LARIAT_OK;
}

/* Four children a node: half the levels of a binary heap, and siblings share a cache line. */
static candidate heap_pop(merger *m)
{
    candidate top = m->heap[0], last = m->heap[--m->n_heap];
    int64_t at = 0;

    for (;;) {
        int64_t first = at * 4 + 1, best = first;
        if (first >= m->n_heap) {
            break;
        }
        for (int64_t i = first + 1; i < first + 4 && i < m->n_heap; i++) {
            best = m->heap[i].key < m->heap[best].key ? i : best;
        }
        if (last.key <= m->heap[best].key) {
            break;
        }
        m->heap[at] = m->heap[best];
        at = best;
    }
    m->heap[at] = last;
    return top;
}

/* Appends a candidate to its rank's queue. */
static lariat_status queue_push(merger *m, int64_t rank, waiting w)
{
    waiting_block *b = m->tails[rank] < 0 ? NULL : &m->blocks[m->tails[rank]];
    int i = 0;

    while (b && i < WAITING_BLOCK && b->list[i].place >= 0) {
        i++;
    }
    if (!b || i == WAITING_BLOCK) {
        int32_t at = (int32_t)m->n_blocks;
        if (m->n_blocks == m->block_capacity) {
            GROW(m->blocks, m->block_capacity, m->n_blocks + 1);
        }
        if (m->tails[rank] < 0) {
            m->heads[rank] = at;
        } else {
            m->blocks[m->tails[rank]].next = at;
        }
        m->tails[rank] = at;
        b = &m->blocks[m->n_blocks++];
        memset(b, 0xFF, sizeof *b);
        i = 0;
    }
    b->list[i] = w;
    return LARIAT_OK;
}

/* Adds two neighbours as a candidate, if they merge. */
static lariat_status propose(merger *m, const char *word, int32_t left, int32_t right)
{
    int32_t result = -1;
    int64_t rank;
    uint32_t size;

    if (left < 0 || right < 0) {
        return LARIAT_OK;
    }
    rank = find_merge(m, word, &m->symbols[left], &m->symbols[right], &result);
    if (rank == NO_RANK) {
        return LARIAT_OK;
    }
    size = m->symbols[left].size + m->symbols[right].size;
    if (rank > m->rank) {
        return queue_push(m, rank, (waiting){ .place = left, .size = size, .result = result });
    }
    return heap_push(m, (candidate){ .key = (uint64_t)rank << 32 | (uint32_t)left, .size = size, .result = result });
}

static void link_symbols(merger *m)
{
    for (int64_t i = 0; i < m->n; i++) {
        m->symbols[i].previous = (int32_t)i - 1;
        m->symbols[i].next = i + 1 < m->n ? (int32_t)i + 1 : -1;
    }
}

/* Drops the symbols that were merged into others. */
static void close_gaps(merger *m)
{
    int64_t kept = 0;

    for (int64_t i = 0; i < m->n; i++) {
        if (m->symbols[i].size) {
            m->symbols[kept++] = m->symbols[i];
        }
    }
    m->n = kept;
}

/* Merges the symbol at `place` with the next one if the candidate is not stale: symbols only grow, so an equal sum of bytes
   means unchanged. Adds the new candidates. */
static lariat_status join(merger *m, const char *word, int32_t place, uint32_t size, int32_t result)
{
    symbol *left = &m->symbols[place], *right;

    if (left->size == 0 || left->next < 0 || left->size + m->symbols[left->next].size != size) {
        return LARIAT_OK;
    }
    right = &m->symbols[left->next];
    left->size = size;
    left->id = result;
    left->next = right->next;
    right->size = 0;
    if (left->next >= 0) {
        m->symbols[left->next].previous = place;
    }
    TRY(propose(m, word, left->previous, place));
    return propose(m, word, place, left->next);
}

/* Merges the heap's candidates up to a key. */
static lariat_status drain_heap(merger *m, const char *word, uint64_t key)
{
    while (m->n_heap && m->heap[0].key <= key) {
        candidate c = heap_pop(m);
        TRY(join(m, word, (int32_t)(uint32_t)c.key, c.size, c.result));
    }
    return LARIAT_OK;
}

static lariat_status propose_all(merger *m, const char *word)
{
    for (int64_t i = 1; i < m->n; i++) {
        TRY(propose(m, word, (int32_t)i - 1, (int32_t)i));
    }
    return LARIAT_OK;
}

static lariat_status merge_by_heap(merger *m, const char *word)
{
    m->n_heap = 0;
    m->rank = INT64_MAX;
    link_symbols(m);
    TRY(propose_all(m, word));
    TRY(drain_heap(m, word, UINT64_MAX));
    close_gaps(m);
    return LARIAT_OK;
}

static int compare_places(const void *a, const void *b)
{
    const waiting *left = a, *right = b;

    return (left->place > right->place) - (left->place < right->place);
}

/* A rank's queue, sorted from left to right; it is almost sorted already. */
static lariat_status take_turn(merger *m, int64_t rank, int64_t *n)
{
    bool sorted = true;

    *n = 0;
    for (int32_t at = m->heads[rank]; at >= 0; at = m->blocks[at].next) {
        const waiting_block *b = &m->blocks[at];
        GROW(m->turn, m->turn_capacity, *n + WAITING_BLOCK);
        for (int i = 0; i < WAITING_BLOCK && b->list[i].place >= 0; i++) {
            sorted = sorted && (*n == 0 || m->turn[*n - 1].place < b->list[i].place);
            m->turn[(*n)++] = b->list[i];
        }
    }
    if (!sorted) {
        qsort(m->turn, (size_t)*n, sizeof *m->turn, compare_places);
    }
    return LARIAT_OK;
}

/* Most new candidates have later ranks and go into queues; the others are merged from the heap before the next one of this
   rank. */
static lariat_status merge_by_rank(merger *m, const char *word)
{
    enum { AHEAD = 8 }; /* prefetch distance, in merges */
    size_t bytes = m->t->n_ranks * sizeof *m->heads;

    m->heads = m->heads ? m->heads : malloc(bytes);
    m->tails = m->tails ? m->tails : malloc(bytes);
    TRY_MEMORY(m->heads && m->tails, "text: no memory for %u queues" FREE_MEMORY, m->t->n_ranks);
    memset(m->heads, 0xFF, bytes);
    memset(m->tails, 0xFF, bytes);
    m->n_blocks = m->n_heap = 0;
    m->rank = -1;
    link_symbols(m);
    TRY(propose_all(m, word));
    for (m->rank = 0; m->rank < m->t->n_ranks; m->rank++) {
        int64_t n;
        TRY(take_turn(m, m->rank, &n));
        for (int64_t i = 0; i < n; i++) {
            waiting w = m->turn[i];
            __builtin_prefetch(&m->symbols[m->turn[i + AHEAD < n ? i + AHEAD : i].place]);
            TRY(drain_heap(m, word, (uint64_t)m->rank << 32 | (uint32_t)w.place));
            TRY(join(m, word, w.place, w.size, w.result));
        }
        TRY(drain_heap(m, word, UINT64_MAX));
    }
    close_gaps(m);
    return LARIAT_OK;
}

/* --- ids of what is left --- */

/* By score: a symbol without a token becomes the tokens of its bytes, or one unknown token a run. */
static lariat_status emit_by_score(merger *m, const char *word, id_list *ids)
{
    const vocabulary *v = &m->t->v;

    for (int64_t i = 0; i < m->n; i++) {
        const symbol *s = &m->symbols[i];
        if (s->id >= 0) {
            TRY(id_list_append(ids, s->id));
        } else if (v->byte_fallback) {
            for (uint32_t k = s->start; k < s->start + s->size; k++) {
                TRY(id_list_append(ids, v->byte_ids[(unsigned char)word[k]]));
            }
        } else if (!m->after_unknown && v->unknown >= 0) {
            TRY(id_list_append(ids, v->unknown));
        }
        m->after_unknown = s->id < 0 && !v->byte_fallback;
    }
    return LARIAT_OK;
}

lariat_status merge_word(merger *m, const char *word, size_t size, id_list *ids)
{
    const vocabulary *v = &m->t->v;

    if (size > MAX_WORD) {
        return fail(LARIAT_BAD_ARGUMENT, "text: a word of %zu bytes, at most %d can be merged: cut the text", size, MAX_WORD);
    }
    if (v->ignore_merges) {
        int32_t id = word_table_find(&m->t->words, v, word, size);
        if (id >= 0 && !is_hidden(m, id)) {
            return id_list_append(ids, id);
        }
    }
    m->n = 0;
    TRY(v->by_score ? symbols_by_score(m, word, size) : symbols_by_merges(m, word, size));
    merge_way way = m->way != MERGE_BEST ? m->way : m->n <= MERGE_FEW ? MERGE_SCAN : m->n < MANY ? MERGE_HEAP : MERGE_QUEUES;
    if (way == MERGE_SCAN && m->n <= MERGE_FEW) {
        merge_few(m, word);
    } else if (way == MERGE_QUEUES && m->t->n_ranks > 0) {
        TRY(merge_by_rank(m, word));
    } else {
        TRY(merge_by_heap(m, word));
    }
    if (v->by_score) {
        return emit_by_score(m, word, ids);
    }
    for (int64_t i = 0; i < m->n; i++) {
        TRY(id_list_append(ids, m->symbols[i].id));
    }
    return LARIAT_OK;
}
