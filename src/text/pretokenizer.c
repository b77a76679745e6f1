/* Splitting text into words, depth first: each piece passes through the following steps at once, so no list of pieces is
   kept.
   Rests on expression.c. Read on in merge.c, where words become ids. */
#include "text/pretokenizer.h"

#include "text/utf8.h"

#include <string.h>

lariat_status splitter_open(splitter *s, const lariat_tokenizer *t)
{
    *s = (splitter){ .t = t, .merger = { .t = t } };
    for (int i = 0; i < t->v.n_steps; i++) {
        if (t->expressions[i]) {
            TRY(search_open(t->expressions[i], &s->searches[i]));
        }
    }
    return LARIAT_OK;
}

void splitter_close(splitter *s)
{
    for (int i = 0; i < MAX_SPLIT_STEPS; i++) {
        search_close(s->searches[i]);
    }
    buffer_free(&s->scratch);
    merger_free(&s->merger);
}

static lariat_status next_step(splitter *s, int step, const char *text, size_t size, bool first);

/* The length of the first word: up to the first space mark after another character. */
static size_t word_before_space(const char *text, size_t size)
{
    bool marks = true; /* only space marks so far */

    for (size_t at = 0; at < size;) {
        bool mark = size - at >= SPACE_MARK_SIZE && memcmp(text + at, SPACE_MARK, SPACE_MARK_SIZE) == 0;
        if (mark && !marks) {
            return at;
        }
        marks = mark;
        at += mark ? SPACE_MARK_SIZE : (size_t)utf8_length(text + at);
    }
    return size;
}

/* A word of the file's steps. Where no token spans a space it is split there too, which changes only the time. */
static lariat_status take_word(splitter *s, const char *text, size_t size)
{
    while (s->t->words_end_at_space && size) {
        size_t n = word_before_space(text, size);
        TRY(merge_word(&s->merger, text, n, &s->ids));
        text += n;
        size -= n;
    }
    return size ? merge_word(&s->merger, text, size, &s->ids) : LARIAT_OK;
}

/* Splits at every match: matches and gaps are pieces, as far as the step keeps them. */
static lariat_status split_at_matches(splitter *s, int step, const char *text, size_t size, bool first)
{
    const split_step *how = &s->t->v.steps[step];
    size_t from = 0, done = 0; /* start of the search, and end of the passed pieces */
    bool found = true;

    while (from <= size) {
        size_t start = size, end = size;
        TRY(search_next(s->searches[step], text, size, from, &found, &start, &end));
        start = found ? start : size;
        if (start > done && !how->drop_gaps) {
            TRY(next_step(s, step + 1, text + done, start - done, first && done == 0));
        }
        if (!found) {
            break;
        }
        if (end > start && !how->drop_matches) {
            TRY(next_step(s, step + 1, text + start, end - start, first && start == 0));
        }
        done = end;
        /* An empty match splits; the search continues after the next character. */
        from = end > start ? end : end < size ? end + (size_t)utf8_length(text + end) : size + 1;
    }
    return LARIAT_OK;
}

/* Prepends `before` unless the text begins with it, and replaces spaces by `space`. The result is in the scratch buffer. */
static lariat_status rewrite(splitter *s, const char *text, size_t size, const char *before, const char *space,
                             size_t space_size)
{
    const char *end = text + size;

    s->scratch.size = 0;
    if (before) {
        TRY(buffer_append(&s->scratch, before, strlen(before)));
    }
    while (text < end) {
        const char *next = memchr(text, ' ', (size_t)(end - text));
        TRY(buffer_append(&s->scratch, text, (size_t)((next ? next : end) - text)));
        if (next) {
            TRY(buffer_append(&s->scratch, space, space_size));
        }
        text = next ? next + 1 : end;
    }
    return LARIAT_OK;
}

static lariat_status split_byte_level(splitter *s, int step, const char *text, size_t size)
{
    const split_step *how = &s->t->v.steps[step];

    if (how->prepend == PREPEND_ALWAYS && text[0] != ' ') {
        TRY(rewrite(s, text, size, " ", " ", 1));
        text = s->scratch.data;
        size = s->scratch.size;
    }
    return s->searches[step] ? split_at_matches(s, step, text, size, false) : take_word(s, text, size);
}

static lariat_status split_metaspace(splitter *s, int step, const char *text, size_t size, bool first)
{
    const split_step *how = &s->t->v.steps[step];
    bool begun = text[0] == ' ' || (size >= SPACE_MARK_SIZE && memcmp(text, SPACE_MARK, SPACE_MARK_SIZE) == 0);
    bool prepend = !begun && (how->prepend == PREPEND_ALWAYS || (how->prepend == PREPEND_FIRST && first));

    TRY(rewrite(s, text, size, prepend ? SPACE_MARK : NULL, SPACE_MARK, SPACE_MARK_SIZE));
    text = s->scratch.data;
    size = s->scratch.size;
    if (!how->cut_at_space) {
        return take_word(s, text, size);
    }
    while (size) {
        const char *next = memmem(text + 1, size - 1, SPACE_MARK, SPACE_MARK_SIZE);
        size_t n = next ? (size_t)(next - text) : size;
        TRY(take_word(s, text, n));
        text += n;
        size -= n;
    }
    return LARIAT_OK;
}

static lariat_status next_step(splitter *s, int step, const char *text, size_t size, bool first)
{
    if (step == s->t->v.n_steps) {
        return take_word(s, text, size);
    }
    switch (s->t->v.steps[step].kind) {
    case SPLIT_EXPRESSION:
        return split_at_matches(s, step, text, size, first);
    case SPLIT_BYTE_LEVEL:
        return split_byte_level(s, step, text, size);
    case SPLIT_METASPACE:
        return split_metaspace(s, step, text, size, first);
    }
    return LARIAT_OK;
}

lariat_status split_text(splitter *s, const char *text, size_t size, bool first)
{
    s->merger.after_unknown = false;
    return size ? next_step(s, 0, text, size, first) : LARIAT_OK;
}
