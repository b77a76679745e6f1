/* Splitting text into words, depth first: each piece passes through the following steps at once, so no list of pieces is
   kept. Text that steps behind ByteLevel split is spelt in its alphabet, and becomes bytes again as a word.
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
    for (int i = 0; i < MAX_SPLIT_STEPS; i++) {
        buffer_free(&s->scratch[i]);
    }
    buffer_free(&s->bytes);
    merger_free(&s->merger);
}

static lariat_status next_step(splitter *s, int step, const char *text, size_t size, size_t origin);

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
    if (s->t->words_in_alphabet) {
        bool all;
        s->bytes.size = 0;
        TRY(append_alphabet_bytes(&s->bytes, text, size, &all));
        text = s->bytes.data;
        size = s->bytes.size;
    }
    while (s->t->words_end_at_space && size) {
        size_t n = word_before_space(text, size);
        TRY(merge_word(&s->merger, text, n, &s->ids));
        text += n;
        size -= n;
    }
    return size ? merge_word(&s->merger, text, size, &s->ids) : LARIAT_OK;
}

/* --- splitting at matches --- */

/* A piece of text that further matches may still extend. */
typedef struct piece {
    splitter *s;
    int step;
    const char *text;
    size_t origin;     /* of the whole text */
    size_t start, end;
    bool open;         /* there is one */
    bool match;        /* its last part is a match */
} piece;

static lariat_status end_piece(piece *p)
{
    size_t origin = p->start < p->origin ? p->origin - p->start : 0;
    bool some = p->open && p->end > p->start;

    p->open = false;
    return some ? next_step(p->s, p->step + 1, p->text + p->start, p->end - p->start, origin) : LARIAT_OK;
}

/* Does this part continue the piece before it? */
static bool continues(const piece *p, split_behavior how, bool match)
{
    return p->open && (how == BEHAVIOR_CONTIGUOUS        ? match == p->match
                       : how == BEHAVIOR_MERGED_PREVIOUS ? match && !p->match
                       : how == BEHAVIOR_MERGED_NEXT     ? !match && p->match
                                                         : false);
}

/* Takes the next part of the text: a match, or what is between two. */
static lariat_status add_part(piece *p, size_t start, size_t end, bool match)
{
    const split_step *how = &p->s->t->v.steps[p->step];

    match = match != how->invert;
    if (!continues(p, how->behavior, match)) {
        TRY(end_piece(p));
        p->start = start;
    }
    p->open = !(match && how->behavior == BEHAVIOR_REMOVED);
    p->end = end;
    p->match = match;
    return LARIAT_OK;
}

/* Matches are searched for as Oniguruma's iterator does: an empty one counts unless it follows another match at once. */
static lariat_status split_at_matches(splitter *s, int step, const char *text, size_t size, size_t origin)
{
    piece p = { .s = s, .step = step, .text = text, .origin = origin };
    size_t from = 0, done = 0; /* start of the search, and end of the last match */
    bool found = true, any = false;

    while (from <= size) {
        size_t start = size, end = size;
        lariat_status status = search_next(s->searches[step], text, size, from, &found, &start, &end);
        if (status != LARIAT_OK) {
            return fail_within(status, "%s", tokenizer_path(s->t));
        }
        if (!found) {
            break;
        }
        if (start == end && any && end == done) {
            from = end < size ? end + (size_t)utf8_length(text + end) : size + 1;
            continue;
        }
        TRY(start > done ? add_part(&p, done, start, false) : LARIAT_OK);
        TRY(add_part(&p, start, end, true));
        any = true;
        from = done = end;
    }
    TRY(done < size ? add_part(&p, done, size, false) : LARIAT_OK);
    return end_piece(&p);
}

/* --- rewriting --- */

/* Prepends `before` and replaces spaces by `space`. The result is in the step's scratch buffer. *origin follows. */
static lariat_status rewrite(splitter *s, int step, const char *text, size_t size, const char *before, const char *space,
                             size_t *origin)
{
    buffer *out = &s->scratch[step];
    size_t kept = *origin, space_size = strlen(space);

    out->size = 0;
    if (before) {
        TRY(buffer_append(out, before, strlen(before)));
        *origin += kept ? strlen(before) : 0;
    }
    for (size_t at = 0; at < size;) {
        const char *next = memchr(text + at, ' ', size - at);
        size_t end = next ? (size_t)(next - text) : size;
        TRY(buffer_append(out, text + at, end - at));
        if (next) {
            TRY(buffer_append(out, space, space_size));
            *origin += end < kept ? space_size - 1 : 0;
        }
        at = end + 1;
    }
    return LARIAT_OK;
}

/* Writes every byte as its character of the alphabet, for the steps behind. */
static lariat_status spell(splitter *s, int step, const char *text, size_t size, size_t origin)
{
    buffer *out = &s->scratch[step];
    size_t spelt = 0;

    out->size = 0;
    for (size_t at = 0; at < size; at++) {
        TRY(append_alphabet(out, (unsigned char)text[at]));
        spelt = at + 1 == origin ? out->size : spelt;
    }
    return next_step(s, step + 1, out->data, out->size, spelt);
}

static lariat_status split_byte_level(splitter *s, int step, const char *text, size_t size, size_t origin)
{
    if (s->t->v.steps[step].prepend == PREPEND_ALWAYS && text[0] != ' ') {
        TRY(rewrite(s, step, text, size, " ", " ", &origin));
        text = s->scratch[step].data;
        size = s->scratch[step].size;
    }
    return s->searches[step] ? split_at_matches(s, step, text, size, origin) : next_step(s, step + 1, text, size, origin);
}

static lariat_status split_metaspace(splitter *s, int step, const char *text, size_t size, size_t origin)
{
    const split_step *how = &s->t->v.steps[step];
    bool begun = text[0] == ' ' || (size >= SPACE_MARK_SIZE && memcmp(text, SPACE_MARK, SPACE_MARK_SIZE) == 0);
    bool prepend = !begun && (how->prepend == PREPEND_ALWAYS || (how->prepend == PREPEND_FIRST && origin));

    TRY(rewrite(s, step, text, size, prepend ? SPACE_MARK : NULL, SPACE_MARK, &origin));
    text = s->scratch[step].data;
    size = s->scratch[step].size;
    while (size) {
        const char *next = how->cut_at_space ? memmem(text + 1, size - 1, SPACE_MARK, SPACE_MARK_SIZE) : NULL;
        size_t n = next ? (size_t)(next - text) : size;
        TRY(next_step(s, step + 1, text, n, origin));
        text += n;
        size -= n;
        origin -= n < origin ? n : origin;
    }
    return LARIAT_OK;
}

static lariat_status next_step(splitter *s, int step, const char *text, size_t size, size_t origin)
{
    if (step == s->t->v.n_steps) {
        return take_word(s, text, size);
    }
    switch (s->t->v.steps[step].kind) {
    case SPLIT_EXPRESSION:
        return split_at_matches(s, step, text, size, origin);
    case SPLIT_BYTE_LEVEL:
        return split_byte_level(s, step, text, size, origin);
    case SPLIT_METASPACE:
        return split_metaspace(s, step, text, size, origin);
    case SPLIT_SPELL:
        return spell(s, step, text, size, origin);
    }
    return LARIAT_OK;
}

lariat_status split_text(splitter *s, const char *text, size_t size, size_t origin)
{
    s->merger.after_unknown = false;
    return size ? next_step(s, 0, text, size, origin) : LARIAT_OK;
}
