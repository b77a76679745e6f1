/* Building a tokenizer from a vocabulary: checks, tables, the chat template.
   Rests on vocabulary.h, tables.h. Read on in encode.c. */
#include "text/tokenizer.h"

#include "text/normalizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static lariat_status check_ids(const vocabulary *v)
{
    if (v->n_tokens == 0) {
        return fail(LARIAT_BAD_MODEL, "the vocabulary is empty" FETCH_AGAIN);
    }
    for (int64_t i = 0; i < v->n_merges; i++) {
        const merge *m = &v->merges[i];
        if (!vocabulary_has(v, m->left) || !vocabulary_has(v, m->right) || !vocabulary_has(v, m->result)) {
            return fail(LARIAT_BAD_MODEL, "merge %lld names a token that is not there" FETCH_AGAIN, (long long)i);
        }
        if (v->tokens[m->left].size == 0 || v->tokens[m->right].size == 0) {
            return fail(LARIAT_BAD_MODEL, "merge %lld joins an empty token: it would never end" FETCH_AGAIN, (long long)i);
        }
    }
    for (int64_t i = 0; i < v->n_added; i++) {
        if (!vocabulary_has(v, v->added[i].id)) {
            return fail(LARIAT_BAD_MODEL, "added token \"%.64s\" has id %d, which no token has" FETCH_AGAIN, v->added[i].text,
                        v->added[i].id);
        }
    }
    for (int64_t i = 0; v->by_score && i < v->n_tokens; i++) {
        if (!isfinite(v->tokens[i].score)) {
            return fail(LARIAT_BAD_MODEL, "token %lld has a score that is no finite number" FETCH_AGAIN, (long long)i);
        }
    }
    for (int i = 0; v->by_score && v->byte_fallback && i < 256; i++) {
        if (v->byte_ids[i] < 0) {
            return fail(LARIAT_BAD_MODEL, "byte %d has no token although unknown characters are to become bytes" FETCH_AGAIN,
                        i);
        }
    }
    if ((v->unknown >= 0 && !vocabulary_has(v, v->unknown)) || (v->bos >= 0 && !vocabulary_has(v, v->bos))) {
        return fail(LARIAT_BAD_MODEL, "the unknown or the beginning token has an id that no token has" FETCH_AGAIN);
    }
    return LARIAT_OK;
}

/* Has no token a space mark after another character, and is the mark itself a token, which ends a run of unknown characters? */
static bool words_end_at_space(const lariat_tokenizer *t)
{
    const vocabulary *v = &t->v;

    if (v->byte_level || word_table_find(&t->words, v, SPACE_MARK, SPACE_MARK_SIZE) < 0) {
        return false;
    }
    for (int64_t id = 0; id < v->n_tokens; id++) {
        const token *k = &v->tokens[id];
        size_t at = 0;
        while (k->size - at >= SPACE_MARK_SIZE && memcmp(k->text + at, SPACE_MARK, SPACE_MARK_SIZE) == 0) {
            at += SPACE_MARK_SIZE;
        }
        if (memmem(k->text + at, k->size - at, SPACE_MARK, SPACE_MARK_SIZE)) {
            return false;
        }
    }
    return true;
}

typedef struct scored {
    float score;
    int32_t id;
} scored;

static int compare_scores(const void *a, const void *b)
{
    const scored *left = a, *right = b;

    return left->score != right->score ? (left->score < right->score) - (left->score > right->score)
                                       : (left->id > right->id) - (left->id < right->id);
}

static lariat_status rank_scores(lariat_tokenizer *t)
{
    const vocabulary *v = &t->v;
    scored *order = malloc((size_t)v->n_tokens * sizeof *order);

    t->ranks = calloc((size_t)v->n_tokens, sizeof *t->ranks);
    if (!t->ranks || !order) {
        free(order);
        return fail(LARIAT_NO_MEMORY, "tokenizer: no memory for %lld scores" FREE_MEMORY, (long long)v->n_tokens);
    }
    for (int64_t id = 0; id < v->n_tokens; id++) {
        order[id] = (scored){ .score = v->tokens[id].score, .id = (int32_t)id };
    }
    qsort(order, (size_t)v->n_tokens, sizeof *order, compare_scores);
    for (int64_t i = 1; i < v->n_tokens; i++) {
        t->ranks[order[i].id] = t->ranks[order[i - 1].id] + (order[i].score == order[i - 1].score ? 0 : 1);
    }
    t->n_ranks = t->ranks[order[v->n_tokens - 1].id] + 1;
    free(order);
    return LARIAT_OK;
}

/* A token of normalized text is normalized itself, and decodes to that. */
static lariat_status normalize_added(vocabulary *v, normalizer *n, added_token *a)
{
    token *k = &v->tokens[a->id];

    TRY(normalize(n, a->text, a->size, 0));
    if (n->text.size == a->size && memcmp(n->text.data, a->text, a->size) == 0) {
        return LARIAT_OK;
    }
    TRY(vocabulary_text(v, n->text.data, n->text.size, &k->text));
    k->size = (uint32_t)n->text.size;
    n->bare = true;
    lariat_status status = normalize(n, a->text, a->size, 0);
    n->bare = false;
    size_t bare = n->text.size;
    if (status == LARIAT_OK && bare < k->size && memcmp(k->text + k->size - bare, n->text.data, bare) == 0) {
        a->lead = k->size - (uint32_t)bare;
    }
    a->text = k->text;
    a->size = k->size;
    return status;
}

static lariat_status build_added(lariat_tokenizer *t)
{
    vocabulary *v = &t->v;
    normalizer n;
    lariat_status status = normalizer_open(&n, t);

    for (int64_t i = 0; i < v->n_added && status == LARIAT_OK; i++) {
        added_token *a = &v->added[i];
        a->written = a->text;
        a->written_size = a->size;
        if (!a->normalized) {
            status = prefix_set_add(&t->added, a->text, a->size, (int32_t)i);
            continue;
        }
        status = normalize_added(v, &n, a);
        t->lead = a->lead > t->lead ? a->lead : t->lead;
        NEXT(status, prefix_set_add(&t->added_normalized, a->text, a->size, (int32_t)i));
    }
    normalizer_close(&n);
    TRY(status);
    TRY(prefix_set_finish(&t->added));
    return prefix_set_finish(&t->added_normalized);
}

/* Computes the decoded text of every token. */
static lariat_status build_shown(vocabulary *v)
{
    buffer text = { 0 }, other = { 0 };
    lariat_status status = LARIAT_OK;

    for (int64_t id = 0; id < v->n_tokens && status == LARIAT_OK; id++) {
        token *k = &v->tokens[id];
        k->shown = k->text;
        k->shown_size = k->size;
        if (v->n_shown == 0 || k->byte >= 0) {
            continue;
        }
        text.size = 0;
        status = buffer_append(&text, k->text, k->size);
        for (int64_t i = 0; i < v->n_shown && status == LARIAT_OK; i++) {
            buffer swap = text;
            other.size = 0;
            status = append_replaced(&other, text.data, text.size, v->shown[i].pattern, v->shown[i].content);
            text = other;
            other = swap;
        }
        if (status == LARIAT_OK && (text.size != k->size || memcmp(text.data, k->text, k->size) != 0)) {
            status = vocabulary_text(v, text.data, text.size, &k->shown);
            k->shown_size = (uint32_t)text.size;
        }
    }
    buffer_free(&text);
    buffer_free(&other);
    return status;
}

/* Does the vocabulary have both tokens with which a channel of several messages ends? Then <|end|> ends one of them only. */
static bool has_channels(const vocabulary *v)
{
    return vocabulary_find(v, "<|return|>") >= 0 && vocabulary_find(v, "<|call|>") >= 0;
}

static lariat_status add_turn_marker(lariat_tokenizer *t, int32_t id)
{
    const token *k = &t->v.tokens[id];

    for (int64_t i = 0; i < t->v.n_added; i++) {
        if (t->v.added[i].id == id) {
            return LARIAT_OK;
        }
    }
    return k->size && k->size <= MAX_ADDED_BYTES ? prefix_set_add(&t->turn_markers, k->text, k->size, id) : LARIAT_OK;
}

/* Finds the tokens that end a turn by their text: many files name only </s>. */
static lariat_status find_turn_ends(lariat_tokenizer *t)
{
    static const char *const texts[] = {
        "<|im_end|>", "<|eot_id|>",      "<|eom_id|>",           "<end_of_turn>",       "<|end|>", "<|endoftext|>",
        "<|return|>", "<|call|>",        "<|eot|>",              "<|end_of_text|>",     "<turn|>", "<|endofturn|>",
        "<EOT>",      "<|end_of_turn|>", "<|END_OF_TURN_TOKEN|>", "<end_of_utterance>",
        ("<\xEF\xBD\x9C" "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>"),
    };

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        int32_t id = vocabulary_find(&t->v, texts[i]);
        if (id < 0 || (strcmp(texts[i], "<|end|>") == 0 && has_channels(&t->v))) {
            continue;
        }
        TRY(id_list_append(&t->turn_ends, id));
        TRY(add_turn_marker(t, id));
    }
    for (int64_t i = 0; i < t->v.ends.n; i++) {
        TRY(tokenizer_ends_turn(t, t->v.ends.data[i]) ? LARIAT_OK : add_turn_marker(t, t->v.ends.data[i]));
    }
    if (t->v.bos >= 0 && !lariat_tokenizer_is_end(t, t->v.bos) && !tokenizer_ends_turn(t, t->v.bos)) {
        TRY(add_turn_marker(t, t->v.bos));
    }
    return prefix_set_finish(&t->turn_markers);
}

static lariat_status build_expressions(lariat_tokenizer *t)
{
    const vocabulary *v = &t->v;

    for (int i = 0; i < v->n_steps; i++) {
        if (v->steps[i].expression) {
            TRY(expression_compile(v->steps[i].expression, v->steps[i].literal, &t->expressions[i]));
        }
        t->words_in_alphabet = t->words_in_alphabet || v->steps[i].kind == SPLIT_SPELL;
    }
    for (int64_t i = 0; i < v->n_rules; i++) {
        if (v->rules[i].kind == RULE_EXPRESSION) {
            TRY(expression_compile(v->rules[i].pattern, false, &t->rule_expressions[i]));
        }
    }
    for (int64_t i = 0; i < v->n_added && !t->word; i++) {
        if (v->added[i].single_word) {
            TRY(expression_compile(expression_word, false, &t->word));
        }
    }
    return LARIAT_OK;
}

static lariat_status build_tables(lariat_tokenizer *t)
{
    vocabulary *v = &t->v;

    TRY(check_ids(v));
    TRY(word_table_make(v, &t->words));
    TRY(pair_table_make(v, &t->pairs));
    t->n_ranks = (uint32_t)v->n_merges;
    if (v->by_score) {
        TRY(rank_scores(t));
    }
    for (int64_t id = 0; v->by_score && id < v->n_tokens; id++) {
        if (v->tokens[id].kind == TOKEN_USER) {
            if (v->tokens[id].size > MAX_ADDED_BYTES) {
                return fail(LARIAT_UNSUPPORTED, "symbol %lld is %u bytes long, at most %d are looked for", (long long)id,
                            v->tokens[id].size, MAX_ADDED_BYTES);
            }
            TRY(prefix_set_add(&t->users, v->tokens[id].text, v->tokens[id].size, (int32_t)id));
        }
    }
    TRY(prefix_set_finish(&t->users));
    TRY(build_expressions(t));
    TRY(find_turn_ends(t)); /* by the file's texts: build_added normalizes them */
    TRY(build_added(t));
    TRY(build_shown(v));
    t->words_end_at_space = words_end_at_space(t);
    return LARIAT_OK;
}

const char *tokenizer_path(const lariat_tokenizer *t)
{
    return t->v.path ? t->v.path : "tokenizer";
}

lariat_status tokenizer_build(vocabulary *v, lariat_tokenizer **out)
{
    lariat_tokenizer *t = calloc(1, sizeof *t);

    if (!t) {
        vocabulary_free(v);
        return fail(LARIAT_NO_MEMORY, "tokenizer: no memory" FREE_MEMORY);
    }
    t->v = *v;
    vocabulary_init(v);
    lariat_status status = build_tables(t);
    if (status != LARIAT_OK) {
        status = fail_within(status, "%s", tokenizer_path(t));
        lariat_tokenizer_close(t);
        return status;
    }
    *out = t;
    return LARIAT_OK;
}

void lariat_tokenizer_close(lariat_tokenizer *t)
{
    if (!t) {
        return;
    }
    for (int i = 0; i < MAX_SPLIT_STEPS; i++) {
        expression_free(t->expressions[i]);
    }
    for (int i = 0; i < MAX_RULES; i++) {
        expression_free(t->rule_expressions[i]);
    }
    expression_free(t->word);
    word_table_free(&t->words);
    pair_table_free(&t->pairs);
    prefix_set_free(&t->added);
    prefix_set_free(&t->added_normalized);
    prefix_set_free(&t->users);
    prefix_set_free(&t->turn_markers);
    id_list_free(&t->turn_ends);
    vocabulary_free(&t->v);
    free(t->ranks);
    free(t);
}

int32_t lariat_tokenizer_size(const lariat_tokenizer *t)
{
    return (int32_t)t->v.n_tokens;
}

int32_t lariat_tokenizer_bos(const lariat_tokenizer *t)
{
    return t->v.bos;
}

bool lariat_tokenizer_adds_bos(const lariat_tokenizer *t)
{
    return t->v.adds_bos && (t->v.bos >= 0 || t->v.before.n || t->v.after.n);
}

const char *lariat_tokenizer_warning(const lariat_tokenizer *t, int32_t i)
{
    return i >= 0 && i < t->v.n_warnings ? t->v.warnings[i] : NULL;
}

bool lariat_tokenizer_is_end(const lariat_tokenizer *t, int32_t id)
{
    for (int64_t i = 0; i < t->v.ends.n; i++) {
        if (t->v.ends.data[i] == id) {
            return true;
        }
    }
    return false;
}

bool tokenizer_ends_turn(const lariat_tokenizer *t, int32_t id)
{
    for (int64_t i = 0; i < t->turn_ends.n; i++) {
        if (t->turn_ends.data[i] == id) {
            return true;
        }
    }
    return false;
}

bool lariat_tokenizer_ends_turn(const lariat_tokenizer *t, int32_t id)
{
    return tokenizer_ends_turn(t, id);
}

void lariat_free(void *p)
{
    free(p);
}
