/* Pre-tokenizer expressions: translated from Ruby's syntax into PCRE2's, compiled, searched.
   The engines differ in \s (PCRE2 counts U+180E), in the age of their Unicode tables, and in several escapes, which are
   refused.
   Rests on PCRE2 10.42 or newer, and on utf8proc. Read on in pretokenizer.c. */
#include "text/expression.h"

#include "text/unicode_newer.h"
#include "text/utf8.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum {
    MAX_PATTERN = 1 << 14,
    MAX_DEPTH = 64,
    JIT_STACK_START = 32 << 10,
    JIT_STACK_MOST = 1 << 20, /* more than published expressions need; beyond it matching runs without the JIT */
    /* A search sees a window of the text. An attempt that would look beyond it is repeated with a window twice as long, for
       its place alone, which counts as work; so does what an attempt takes beyond STEPS. Work is bounded: within a window there
       is no more of it than a constant for each byte, whatever the expression, and the places that searches pass pay for it.
       Where WORK_MOST is owed the search fails. */
    WINDOW = 256,
    SHRINK = 16, /* from one long attempt to the next, a 16th: few of them are repeated where what they need shrinks slowly */
    STEPS = 1 << 12,
    STEPS_A_VIEW_BYTE = 4, /* more, for an attempt that counts as work */
    STEPS_GROW = 8,
    WORK_MOST = 3 << 28,
    WORK_A_BYTE = 1 << 14, /* numbers of 50,000 digits whose rest is counted at every group of three are within it */
    QUOTED = 24            /* bytes of the text in a message */
};

struct expression {
    pcre2_code *code;
    bool has_jit; /* without one, on some machines, matching is slower, with the same results */
};

struct search {
    const expression *expression;
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
    uint32_t steps; /* the current limits */
    bool limited;
    size_t window;  /* somewhat less than the last long attempt had */
    uint64_t owed;  /* work */
    const char *whole; /* what failures name places of; NULL: nothing */
    size_t whole_size;
};

/* The characters of White_Space, in the syntax of a class. */
static const char white_space[] =
    "\\t-\\r\\x20\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}";

/* The characters of the script Han in Unicode 16. PCRE2's \p{Han} has other ones, those with the script as an extension. */
static const char han[] =
    "\\x{2E80}-\\x{2E99}\\x{2E9B}-\\x{2EF3}\\x{2F00}-\\x{2FD5}\\x{3005}\\x{3007}\\x{3021}-\\x{3029}\\x{3038}-\\x{303B}"
    "\\x{3400}-\\x{4DBF}\\x{4E00}-\\x{9FFF}\\x{F900}-\\x{FA6D}\\x{FA70}-\\x{FAD9}\\x{16FE2}-\\x{16FE3}\\x{16FF0}-\\x{16FF1}"
    "\\x{20000}-\\x{2A6DF}\\x{2A700}-\\x{2B739}\\x{2B740}-\\x{2B81D}\\x{2B820}-\\x{2CEA1}\\x{2CEB0}-\\x{2EBE0}"
    "\\x{2EBF0}-\\x{2EE5D}\\x{2F800}-\\x{2FA1D}\\x{30000}-\\x{3134A}\\x{31350}-\\x{323AF}";

/* Oniguruma's characters of words besides L, M, Nd, Nl and Pc: other alphabetic ones, superscripts and fractions of Latin-1. */
static const char other_word[] = "\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}\\x{24B6}-\\x{24E9}\\x{1F130}-\\x{1F149}"
                                 "\\x{1F150}-\\x{1F169}\\x{1F170}-\\x{1F189}";

/* --- translation --- */

typedef struct translator {
    const char *pattern, *at;
    buffer *out;
    bool in_class;
    int depth;            /* open groups */
    int caseless_depth;   /* the group that (?i opened, 0 if none is open */
} translator;

static lariat_status put(translator *t, const char *text)
{
    return buffer_append(t->out, text, strlen(text));
}

static lariat_status refuse(const translator *t, const char *what)
{
    return fail(LARIAT_UNSUPPORTED, "expression \"%.200s\": %s at byte %lld", t->pattern, what,
                (long long)(t->at - t->pattern));
}

/* A set of characters: within a class, or as its own class. */
static lariat_status put_set(translator *t, const char *set, bool negated)
{
    if (!t->in_class) {
        TRY(put(t, negated ? "[^" : "["));
    }
    TRY(put(t, set));
    return t->in_class ? LARIAT_OK : put(t, "]");
}

/* \p{Lu}: PCRE2's own property, and additions of newer Unicode versions. */
static lariat_status put_category(translator *t, const char *name, bool negated)
{
    char item[48];

    if (negated && t->in_class) {
        return refuse(t, "a negated property within a class is not supported");
    }
    if (t->caseless_depth && strlen(name) > 1) {
        return refuse(t, "a property within (?i: is not supported");
    }
    if (!t->in_class) {
        TRY(put(t, negated ? "[^" : "["));
    }
    snprintf(item, sizeof item, "\\p{%s}", name);
    TRY(put(t, item));
    for (size_t i = 0; i < n_unicode_newer; i++) {
        const unicode_range *r = &unicode_newer[i];
        if (strncmp(r->category, name, strlen(name)) == 0) {
            snprintf(item, sizeof item, "\\x{%X}-\\x{%X}", (unsigned)r->first, (unsigned)r->last);
            TRY(put(t, item));
        }
    }
    return t->in_class ? LARIAT_OK : put(t, "]");
}

/* \p{...}, \P{...}, \p{^...}: general categories, from PCRE2 and unicode_newer.c, and the script Han. */
static lariat_status translate_property(translator *t)
{
    static const char known[] = " L Lu Ll Lt Lm Lo M N Nd Nl No P Pc Pd Ps Pe Pi Pf Po S Sm Sc Sk So Z Zs Zl Zp ";
    bool negated = t->at[1] == 'P';
    const char *name = t->at + 3, *end = t->at[2] == '{' ? strchr(name, '}') : NULL;
    char item[8];

    if (!end || end - name > 3) {
        return refuse(t, "this property is not supported");
    }
    if (*name == '^') {
        negated = !negated;
        name++;
    }
    snprintf(item, sizeof item, " %.*s ", (int)(end - name), name);
    if (strcmp(item, " Han ") == 0 && !(negated && t->in_class)) {
        TRY(put_set(t, han, negated));
    } else if (strstr(known, item)) {
        item[end - name + 1] = '\0';
        TRY(put_category(t, item + 1, negated));
    } else {
        return refuse(t, "this property is not supported");
    }
    t->at = end + 1;
    return LARIAT_OK;
}

/* A code point written in hexadecimal: \xAB, \x{ABCD}, \uABCD. */
static lariat_status translate_code(translator *t)
{
    const char *digits = t->at + (t->at[2] == '{' ? 3 : 2);
    size_t most = t->at[2] == '{' ? 6 : t->at[1] == 'u' ? 4 : 2, n = strspn(digits, "0123456789abcdefABCDEF");
    char item[16];

    n = n > most ? most : n;
    if (n == 0 || (t->at[1] == 'u' && n != 4) || (t->at[2] == '{' && digits[n] != '}')) {
        return refuse(t, "this character is not written as \\xAB, \\x{ABCD} or \\uABCD");
    }
    if (t->at[2] != '{' && t->at[1] == 'x' && strtol((char[]){ digits[0], n > 1 ? digits[1] : '\0', '\0' }, NULL, 16) > 0x7F) {
        return refuse(t, "\\x above 7F is a byte, not a character");
    }
    snprintf(item, sizeof item, "\\x{%.*s}", (int)n, digits);
    TRY(put(t, item));
    t->at = digits + n + (t->at[2] == '{' ? 1 : 0);
    return LARIAT_OK;
}

/* \w and \W */
static lariat_status put_word(translator *t, bool negated)
{
    static const char *const categories[] = { "L", "M", "Nd", "Nl", "Pc" };
    bool within = t->in_class;

    if (negated && within) {
        return refuse(t, "\\W within a class is not supported");
    }
    TRY(put(t, within ? "" : negated ? "[^" : "["));
    t->in_class = true;
    for (size_t i = 0; i < sizeof categories / sizeof *categories; i++) {
        TRY(put_category(t, categories[i], false));
    }
    TRY(put(t, other_word));
    t->in_class = within;
    return within ? LARIAT_OK : put(t, "]");
}

/* \b: between a character of a word and another one, or the text's end; \B: anywhere else. */
static lariat_status put_boundary(translator *t, bool negated)
{
    if (t->in_class) {
        return refuse(t, "this escape is not supported");
    }
    TRY(put(t, negated ? "(?:(?<=" : "(?:(?<!"));
    TRY(put_word(t, false));
    TRY(put(t, ")(?="));
    TRY(put_word(t, false));
    TRY(put(t, negated ? ")|(?<!" : ")|(?<="));
    TRY(put_word(t, false));
    TRY(put(t, ")(?!"));
    TRY(put_word(t, false));
    return put(t, "))");
}

static lariat_status translate_escape(translator *t)
{
    char c = t->at[1];

    if (t->caseless_depth && c && strchr("wWbB", c)) {
        return refuse(t, "this escape within (?i: is not supported");
    }
    switch (c) {
    case 'w':
    case 'W':
        TRY(put_word(t, c == 'W'));
        break;
    case 'b':
    case 'B':
        TRY(put_boundary(t, c == 'B'));
        break;
    case 's':
        TRY(put_set(t, white_space, false));
        break;
    case 'S':
        /* Within a class: PCRE2's \S, and U+180E, which PCRE2 counts as space and Unicode does not. */
        TRY(t->in_class ? put(t, "\\S\\x{180E}") : put_set(t, white_space, true));
        break;
    case 'd':
    case 'D':
        TRY(put_category(t, "Nd", c == 'D'));
        break;
    case 'p':
    case 'P':
        return translate_property(t);
    case 'x':
    case 'u':
        return translate_code(t);
    case 'r':
    case 'n':
    case 't':
    case 'f':
        TRY(buffer_append(t->out, t->at, 2));
        break;
    default:
        if (c == '\0' || (unsigned char)c >= 0x80 || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
            (c >= 'a' && c <= 'z')) {
            return refuse(t, "this escape is not supported");
        }
        TRY(buffer_append(t->out, t->at, 2));
    }
    t->at += 2;
    return LARIAT_OK;
}

/* An opening parenthesis and its kind. */
static lariat_status translate_group(translator *t)
{
    static const char *const kinds[] = { "(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:" };

    if (++t->depth > MAX_DEPTH) {
        return refuse(t, "groups are nested too deeply");
    }
    if (t->at[1] != '?') {
        t->at++;
        return put(t, "(?:");
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        size_t n = strlen(kinds[i]);
        if (strncmp(t->at, kinds[i], n) == 0) {
            if (strcmp(kinds[i], "(?i:") == 0 && !t->caseless_depth) {
                t->caseless_depth = t->depth;
            }
            t->at += n;
            return put(t, kinds[i]);
        }
    }
    return refuse(t, "this kind of group is not supported");
}

/* Where case does not matter, Oniguruma lets some characters match two letters ("ss" and U+00DF), and PCRE2 does not. Beyond
   ASCII only the apostrophe U+2019 is known to behave alike. */
static bool folds_apart(const char *at)
{
    static const char *const pairs[] = { "ss", "st", "ff", "fi", "fl" };

    if ((unsigned char)*at >= 0x80) {
        return true;
    }
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        if ((at[0] | 0x20) == pairs[i][0] && (at[1] | 0x20) == pairs[i][1]) {
            return true;
        }
    }
    return false;
}

static lariat_status translate_in_class(translator *t)
{
    const char *at = t->at;

    if (*at == ']') {
        t->in_class = false;
    } else if (*at == '[' || (at[0] == '&' && at[1] == '&')) {
        return refuse(t, "a class within a class is not supported");
    }
    t->at++;
    return buffer_append(t->out, at, 1);
}

static lariat_status translate_outside(translator *t)
{
    const char *at = t->at;

    switch (*at) {
    case '(':
        return translate_group(t);
    case ')':
        if (t->depth == t->caseless_depth) {
            t->caseless_depth = 0;
        }
        t->depth--;
        break;
    case '[':
        t->in_class = true;
        t->at += at[1] == '^' ? 2 : 1;
        TRY(put(t, at[1] == '^' ? "[^" : "["));
        if (*t->at == ']') {
            return refuse(t, "an empty class is not supported");
        }
        return LARIAT_OK;
    case '{': {
        size_t n = strspn(at + 1, "0123456789,");
        bool exact = !memchr(at + 1, ',', n); /* {n}? is an optional repetition in Ruby, a lazy one in PCRE2 */
        if (n == 0 || at[1] == ',' || at[n + 1] != '}' || at[n + 2] == '+' || (exact && at[n + 2] == '?')) {
            return refuse(t, "this repetition is not supported");
        }
        t->at += n + 2;
        return buffer_append(t->out, at, n + 2);
    }
    case '^': /* the beginning and the end of a line, as in Ruby; PCRE2's ^ would not see that a window ends behind it */
        t->at++;
        return put(t, "(?:\\A|(?<=\\n)(?!\\z))");
    case '$':
        t->at++;
        return put(t, "(?m:$)");
    default:
        break;
    }
    t->at++;
    return buffer_append(t->out, at, 1);
}

lariat_status expression_translate(const char *pattern, buffer *out)
{
    static const char apostrophe[] = "\xE2\x80\x99";
    translator t = { .pattern = pattern, .at = pattern, .out = out };

    if (strlen(pattern) > MAX_PATTERN) {
        return fail(LARIAT_UNSUPPORTED, "expression: %zu bytes long, at most %d are read", strlen(pattern), MAX_PATTERN);
    }
    while (*t.at) {
        if (strncmp(t.at, apostrophe, strlen(apostrophe)) == 0) {
            TRY(put(&t, apostrophe));
            t.at += strlen(apostrophe);
            continue;
        }
        if (t.caseless_depth && folds_apart(t.at)) {
            return refuse(&t, "this text within (?i: is not supported");
        }
        if (*t.at == '\\') {
            TRY(translate_escape(&t));
        } else if (t.in_class) {
            TRY(translate_in_class(&t));
        } else {
            TRY(translate_outside(&t));
        }
    }
    return LARIAT_OK;
}

/* --- compiling and searching --- */

/* Does the expression, or a group or an alternative of it, begin with a look-ahead? PCRE2 then takes the same character for the
   first one of a match and for one that has to follow it, and leaves matches out (10.42). */
static bool begins_with_look_ahead(const char *pattern)
{
    for (const char *at = strstr(pattern, "(?="); at; at = strstr(at + 1, "(?=")) {
        if (at == pattern || strchr("(|:>)^", at[-1])) {
            return true;
        }
    }
    return false;
}

lariat_status expression_compile(const char *pattern, bool literal, expression **out)
{
    buffer translated = { 0 };
    lariat_status status =
        literal ? buffer_append(&translated, pattern, strlen(pattern)) : expression_translate(pattern, &translated);
    uint32_t options = PCRE2_UTF | PCRE2_USE_OFFSET_LIMIT | (literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C);
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    PCRE2_SIZE where = 0;
    int error = 0;

    options |= !literal && begins_with_look_ahead(pattern) ? PCRE2_NO_START_OPTIMIZE : 0;
    expression *e = calloc(1, sizeof *e);

    if (status == LARIAT_OK && (!context || !e)) {
        status = fail(LARIAT_NO_MEMORY, "expression: no memory" FREE_MEMORY);
    }
    if (status == LARIAT_OK) {
        pcre2_set_newline(context, PCRE2_NEWLINE_LF);
        e->code = pcre2_compile((PCRE2_SPTR)(translated.data ? translated.data : ""), translated.size, options, &error, &where,
                                context);
        if (!e->code) {
            PCRE2_UCHAR reason[128] = "";
            pcre2_get_error_message(error, reason, sizeof reason);
            status = fail(LARIAT_BAD_MODEL, "expression \"%.200s\": %s" FETCH_AGAIN, pattern, (const char *)reason);
        } else {
            e->has_jit = pcre2_jit_compile(e->code, PCRE2_JIT_COMPLETE | PCRE2_JIT_PARTIAL_HARD) == 0;
        }
    }
    pcre2_compile_context_free(context);
    buffer_free(&translated);
    if (status != LARIAT_OK) {
        expression_free(e);
        return status;
    }
    *out = e;
    return LARIAT_OK;
}

void expression_free(expression *e)
{
    if (e) {
        pcre2_code_free(e->code);
        free(e);
    }
}

lariat_status search_open(const expression *e, search **out)
{
    search *s = calloc(1, sizeof *s);

    if (s) {
        s->expression = e;
        s->data = pcre2_match_data_create(1, NULL);
        s->context = pcre2_match_context_create(NULL);
        s->stack = pcre2_jit_stack_create(JIT_STACK_START, JIT_STACK_MOST, NULL);
    }
    if (!s || !s->data || !s->context) {
        search_close(s);
        return fail(LARIAT_NO_MEMORY, "expression: no memory for a search" FREE_MEMORY);
    }
    /* A machine without a JIT has no stack for it. */
    if (s->stack) {
        pcre2_jit_stack_assign(s->context, NULL, s->stack);
    }
    *out = s;
    return LARIAT_OK;
}

void search_close(search *s)
{
    if (s) {
        pcre2_jit_stack_free(s->stack);
        pcre2_match_context_free(s->context);
        pcre2_match_data_free(s->data);
        free(s);
    }
}

void search_within(search *s, const char *text, size_t size)
{
    if (s) {
        s->whole = text;
        s->whole_size = size;
    }
}

static void allow_steps(search *s, uint32_t steps)
{
    if (s->steps != steps) {
        pcre2_set_match_limit(s->context, steps);
        pcre2_set_depth_limit(s->context, steps);
        s->steps = steps;
    }
}

/* A part of the text, [0, stop), in which a match may begin from `at` on; `alone`: only there. */
typedef struct view {
    const char *text;
    size_t size, at, stop;
    bool alone;
} view;

/* Too much work at the view's first place. */
static lariat_status give_up(const search *s, const view *v)
{
    const char *at = v->text + v->at;
    uintptr_t place = (uintptr_t)at - (uintptr_t)s->whole;
    size_t n = v->size - v->at;
    char where[32] = "";

    if (s->whole && place <= s->whole_size) { /* otherwise the text was rewritten */
        snprintf(where, sizeof where, "byte %llu, ", (unsigned long long)place);
    }
    for (n = n < QUOTED ? n : QUOTED; n > 0 && n < v->size - v->at && ((unsigned char)at[n] & 0xC0) == 0x80;) {
        n--;
    }
    return fail(LARIAT_UNSUPPORTED,
                "expression: the limit of steps is reached at %s\"%.*s\": this tokenizer looks at a long run of the text "
                "(digits, white space, ...) again and again there: split the run",
                where, (int)n, at);
}

static lariat_status add_work(search *s, const view *v, uint64_t work)
{
    s->owed += work;
    return s->owed <= WORK_MOST ? LARIAT_OK : give_up(s, v);
}

/* The search goes on at `at`: what it has passed pays. */
static void pass_to(search *s, view *v, size_t at)
{
    uint64_t paid = (uint64_t)(at - v->at) * WORK_A_BYTE;

    s->owed -= paid < s->owed ? paid : s->owed;
    v->at = at;
}

static int match_once(search *s, const view *v)
{
    /* The caller guarantees well-formed text: no search validates all of it again. */
    uint32_t options = PCRE2_NO_UTF_CHECK | (v->stop < v->size ? PCRE2_PARTIAL_HARD : 0);
    const pcre2_code *code = s->expression->code;

    if (v->alone || s->limited) {
        pcre2_set_offset_limit(s->context, v->alone ? v->at : PCRE2_UNSET);
        s->limited = v->alone;
    }
    if (s->expression->has_jit) {
        int n = pcre2_jit_match(code, (PCRE2_SPTR)v->text, v->stop, v->at, options, s->data, s->context);
        if (n != PCRE2_ERROR_JIT_STACKLIMIT) {
            return n;
        }
    }
    return pcre2_match(code, (PCRE2_SPTR)v->text, v->stop, v->at, options | PCRE2_NO_JIT, s->data, s->context);
}

/* *n: PCRE2's answer; PCRE2_ERROR_PARTIAL where it would look beyond the part. */
static lariat_status match_view(search *s, const view *v, int *n)
{
    uint64_t steps = STEPS + (v->alone ? (v->stop - v->at) * STEPS_A_VIEW_BYTE : 0);

    allow_steps(s, steps < UINT32_MAX ? (uint32_t)steps : UINT32_MAX);
    while ((*n = match_once(s, v)) == PCRE2_ERROR_MATCHLIMIT || *n == PCRE2_ERROR_DEPTHLIMIT) {
        steps *= STEPS_GROW;
        TRY(add_work(s, v, steps));
        allow_steps(s, steps < UINT32_MAX ? (uint32_t)steps : UINT32_MAX);
    }
    if (*n <= 0 && *n != PCRE2_ERROR_NOMATCH && *n != PCRE2_ERROR_PARTIAL) {
        PCRE2_UCHAR reason[128] = "";
        pcre2_get_error_message(*n, reason, sizeof reason);
        return fail(LARIAT_UNSUPPORTED, "expression: searching %zu bytes of text failed: %s", v->size, (const char *)reason);
    }
    return LARIAT_OK;
}

/* No match begins in the places of the view that were tried: goes on behind them. False: none is left. */
static bool go_on(search *s, view *v)
{
    bool any = v->alone ? v->at < v->size : v->stop < v->size;

    if (any) {
        pass_to(s, v, v->alone ? v->at + (size_t)utf8_length(v->text + v->at) : v->stop);
    }
    v->alone = false;
    return any;
}

lariat_status search_next(search *s, const char *text, size_t size, size_t from, bool *found, size_t *start, size_t *end)
{
    const PCRE2_SIZE *at = pcre2_get_ovector_pointer(s->data);
    view v = { .text = text, .size = size, .at = from };
    size_t window = WINDOW;

    *found = false;
    for (;;) {
        int n;
        v.stop = size - v.at > window ? v.at + window : size;
        while (v.stop < size && ((unsigned char)text[v.stop] & 0xC0) == 0x80) {
            v.stop++;
        }
        TRY(v.alone ? add_work(s, &v, v.stop - v.at) : LARIAT_OK);
        TRY(match_view(s, &v, &n));
        if (n == PCRE2_ERROR_PARTIAL && v.alone && at[0] != v.at) {
            n = PCRE2_ERROR_NOMATCH; /* PCRE2's JIT also tries one byte behind the only place */
        }
        if (n == PCRE2_ERROR_PARTIAL) { /* places before the attempt are without a match */
            pass_to(s, &v, at[0] > v.at && at[0] <= v.stop ? at[0] : v.at);
            window = window * 2 > s->window ? window * 2 : s->window;
            v.alone = true;
            continue;
        }
        s->window = v.alone ? window - window / SHRINK : s->window;
        if (n > 0) {
            *found = true;
            *start = at[0];
            *end = at[1];
            pass_to(s, &v, *end > v.at ? *end : v.at);
            return LARIAT_OK;
        }
        if (!go_on(s, &v)) {
            return LARIAT_OK;
        }
        window = WINDOW;
    }
}
