/* The source of a template as tokens: text, the beginnings and ends of tags with their rules of white space, and their contents
   in tags.
   Rests on jinja_tree.h. Read on in jinja_parser.c. */
#include "text/jinja/jinja_rendering.h"

#include "text/utf8.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct lexer {
    rendering *r;
    const char *text; /* newlines are \n; terminated */
    size_t size, at;
    int line;
    bool line_begins;             /* the last tag ended with its newline */
    char open[MAX_JINJA_NESTING]; /* the closing brackets that are due */
    int n_open;
    token_list *out;
} lexer;

static lariat_status add(lexer *x, jinja_token t)
{
    t.line = x->line;
    MAKE_ROOM(x->r, x->out->items, x->out->n, x->out->capacity);
    x->out->items[x->out->n++] = t;
    return LARIAT_OK;
}

static void advance(lexer *x, size_t to)
{
    for (; x->at < to; x->at++) {
        x->line += x->text[x->at] == '\n';
    }
    x->r->line = x->line;
}

static size_t skip_spaces(const lexer *x, size_t at)
{
    int length;

    while (at < x->size && is_python_space(utf8_decode(x->text + at, x->size - at, &length))) {
        at += (size_t)length;
    }
    return at;
}

static bool is_at(const lexer *x, size_t at, const char *text)
{
    size_t n = strlen(text);

    return n <= x->size - at && memcmp(x->text + at, text, n) == 0;
}

/* Newlines become \n, and one at the end is dropped, as jinja2 does. */
static lariat_status open_source(lexer *x, const char *source, size_t size)
{
    char *text;

    if (!utf8_valid(source, size)) {
        return jinja_fail("the template is not UTF-8");
    }
    TAKE(x->r, text, size + 1);
    for (size_t i = 0; i < size; i++) {
        if (source[i] == '\0') {
            return jinja_fail("the template holds a zero byte");
        }
        if (source[i] == '\r') {
            text[x->size++] = '\n';
            i += i + 1 < size && source[i + 1] == '\n';
        } else {
            text[x->size++] = source[i];
        }
    }
    x->size -= x->size && text[x->size - 1] == '\n';
    text[x->size] = '\0';
    x->text = text;
    return LARIAT_OK;
}

/* The text before a tag, without the white space that the tag's sign, or lstrip_blocks, removes. */
static lariat_status add_data(lexer *x, size_t from, size_t to, char sign, bool variable)
{
    jinja_text text = {x->text + from, (const uint8_t *)x->text + from, to - from};

    if (sign == '-') {
        text = jinja_text_strip(text, NULL, false, true);
    } else if (sign != '+' && !variable) {
        const char *newline = memrchr(text.text, '\n', text.size);
        size_t begin = newline ? (size_t)(newline - text.text) + 1 : 0;
        jinja_text line = jinja_text_part(text, begin, text.size);
        if ((begin > 0 || x->line_begins) && jinja_text_strip(line, NULL, false, true).size == 0) {
            text.size = begin;
        }
    }
    return text.size ? add(x, (jinja_token){.type = TOKEN_DATA, .text = text.text, .size = text.size}) : LARIAT_OK;
}

/* Is this the end of a tag, "-%}" and its kind? Its length with the white space that it removes, or 0. */
static size_t end_of_tag(const lexer *x, size_t at, const char *end)
{
    bool block = *end != '}';

    if (x->text[at] == '-' && is_at(x, at + 1, end)) {
        return skip_spaces(x, at + 1 + strlen(end)) - at;
    }
    if (block && x->text[at] == '+' && is_at(x, at + 1, end)) {
        return 1 + strlen(end);
    }
    if (is_at(x, at, end)) {
        return strlen(end) + (block && x->text[at + strlen(end)] == '\n');
    }
    return 0;
}

static void close_tag(lexer *x, size_t length)
{
    advance(x, x->at + length);
    x->line_begins = x->text[x->at - 1] == '\n';
}

static lariat_status lex_comment(lexer *x)
{
    int line = x->line;

    for (size_t at = x->at; at < x->size; at++) {
        size_t length = end_of_tag(x, at, "#}");
        if (length) {
            advance(x, at);
            close_tag(x, length);
            return LARIAT_OK;
        }
    }
    x->r->line = line;
    return jinja_fail("the comment does not end");
}

/* {% raw %} at `at`: the byte behind it, or 0. */
static size_t begin_of_raw(const lexer *x, size_t at)
{
    at = skip_spaces(x, at);
    if (!is_at(x, at, "raw")) {
        return 0;
    }
    at = skip_spaces(x, at + 3);
    return is_at(x, at, "-%}") ? skip_spaces(x, at + 3) : is_at(x, at, "%}") ? at + 2 : 0;
}

static lariat_status lex_raw(lexer *x, size_t from)
{
    int line = x->line;

    x->line_begins = false;
    for (size_t at = from; at < x->size; at++) {
        if (!is_at(x, at, "{%")) {
            continue;
        }
        char sign = x->text[at + 2];
        size_t word = skip_spaces(x, at + 2 + (sign == '-' || sign == '+'));
        if (!is_at(x, word, "endraw")) {
            continue;
        }
        word = skip_spaces(x, word + 6);
        size_t length = end_of_tag(x, word, "%}");
        if (length) {
            TRY(add_data(x, from, at, sign, false));
            advance(x, word);
            close_tag(x, length);
            return LARIAT_OK;
        }
    }
    x->r->line = line;
    return jinja_fail("raw does not end: there is no endraw");
}

/* --- within tags --- */

static const char *const operators[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
                                        "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};

static lariat_status balance(lexer *x, char c)
{
    char due = c == '(' ? ')' : c == '[' ? ']' : c == '{' ? '}' : 0;

    if (due) {
        if (x->n_open == MAX_JINJA_NESTING) {
            return jinja_fail("more than %d brackets within brackets", MAX_JINJA_NESTING);
        }
        x->open[x->n_open++] = due;
    } else if (c == ')' || c == ']' || c == '}') {
        if (x->n_open == 0 || x->open[--x->n_open] != c) {
            return jinja_fail("unexpected '%c'", c);
        }
    }
    return LARIAT_OK;
}

static lariat_status lex_operator(lexer *x)
{
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++) {
        if (is_at(x, x->at, operators[i])) {
            const char *name = rendering_name(x->r, operators[i], strlen(operators[i]));
            TRY(balance(x, *operators[i]));
            TRY(name ? add(x, (jinja_token){.type = TOKEN_OPERATOR, .text = name}) : LARIAT_NO_MEMORY);
            advance(x, x->at + strlen(operators[i]));
            return LARIAT_OK;
        }
    }
    return jinja_fail("unexpected character '%.1s'", x->text + x->at);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Digits with single underscores between them, from `at` on. */
static size_t skip_digits(const lexer *x, size_t at)
{
    while (is_digit(x->text[at]) || (x->text[at] == '_' && is_digit(x->text[at + 1]) && is_digit(x->text[at - 1]))) {
        at++;
    }
    return at;
}

static lariat_status lex_number(lexer *x)
{
    size_t end = skip_digits(x, x->at), n = 0;
    jinja_token t = {.type = TOKEN_INTEGER};
    bool after_dot = x->at > 0 && x->text[x->at - 1] == '.';
    char digits[64];

    if (!after_dot && x->text[end] == '.' && is_digit(x->text[end + 1])) {
        end = skip_digits(x, end + 1);
        t.type = TOKEN_REAL;
    }
    size_t exponent = end + 1 + (x->text[end] && (x->text[end + 1] == '-' || x->text[end + 1] == '+'));
    if (!after_dot && (x->text[end] == 'e' || x->text[end] == 'E') && is_digit(x->text[exponent])) {
        end = skip_digits(x, exponent);
        t.type = TOKEN_REAL;
    }
    for (size_t i = x->at; i < end && n < sizeof digits; i++) {
        digits[n] = x->text[i];
        n += x->text[i] != '_';
    }
    if (n == sizeof digits) {
        return jinja_fail("a number of more than %zu digits", sizeof digits - 1);
    }
    digits[n] = '\0';
    errno = 0;
    t.integer = strtoll(digits, NULL, 10);
    if (t.type == TOKEN_INTEGER && errno) {
        return jinja_fail("%s: numbers of more than 64 bits are not supported", digits);
    }
    t.real = strtod(digits, NULL);
    if (t.type == TOKEN_INTEGER && *digits == '0' && (t.integer != 0 || strchr("xXoObB", x->text[end]))) {
        if (x->text[end]) {
            return jinja_fail("numbers that begin with 0 are not supported");
        }
    }
    TRY(add(x, t));
    advance(x, end);
    return LARIAT_OK;
}

static lariat_status append_code(char *out, size_t *n, long code)
{
    if (code < 0 || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
        return jinja_fail("an escape that is no character");
    }
    *n += utf8_encode((int32_t)code, out + *n);
    return LARIAT_OK;
}

/* Resolves the escape behind a backslash at text[*at]; moves *at behind it. */
static lariat_status unescape(const char *text, size_t end, size_t *at, char *out, size_t *n)
{
    static const char from[] = "abfnrtv\\'\"", to[] = "\a\b\f\n\r\t\v\\'\"";
    char c = text[*at], digits[9] = {0};
    const char *known = strchr(from, c);
    size_t wanted = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0, first = *at + 1;

    if (c == '\n') {
        ++*at;
        return LARIAT_OK;
    }
    if (known) {
        ++*at;
        out[(*n)++] = to[known - from];
        return LARIAT_OK;
    }
    if (c >= '0' && c <= '7') {
        for (first = *at, wanted = 0; wanted < 3 && text[first + wanted] >= '0' && text[first + wanted] <= '7';) {
            wanted++;
        }
    }
    if (wanted && wanted <= end - first) {
        char *stop;
        memcpy(digits, text + first, wanted);
        long code = strtol(digits, &stop, first == *at ? 8 : 16);
        if (*stop || stop == digits) {
            return jinja_fail("an escape without its %zu digits", wanted);
        }
        *at = first + wanted;
        return append_code(out, n, code);
    }
    if (wanted || c == 'N') {
        return jinja_fail("the escape \\%c is not supported, or does not end", c);
    }
    out[(*n)++] = '\\';
    if ((unsigned char)c >= 0x80) { /* jinja2 writes the character as an escape, whose backslash this one escapes */
        int length;
        int32_t code = utf8_decode(text + *at, end - *at, &length);
        *n += (size_t)sprintf(out + *n, code < 0x100 ? "x%02x" : code < 0x10000 ? "u%04x" : "U%08x", (unsigned)code);
        *at += (size_t)length;
    }
    return LARIAT_OK;
}

static lariat_status lex_string(lexer *x)
{
    char quote = x->text[x->at], *text;
    size_t from = x->at + 1, end = from, n = 0;

    while (end < x->size && x->text[end] != quote) {
        end += x->text[end] == '\\' ? 2 : 1;
    }
    if (end >= x->size) {
        return jinja_fail("the text that begins with %c does not end", quote);
    }
    TAKE(x->r, text, 2 * (end - from) + 1); /* a backslash and four bytes may become ten, and two bytes six */
    for (size_t at = from; at < end;) {
        if (x->text[at] == '\\') {
            at++;
            TRY(unescape(x->text, end, &at, text, &n));
        } else {
            text[n++] = x->text[at++];
        }
    }
    TRY(add(x, (jinja_token){.type = TOKEN_STRING, .text = text, .size = n}));
    advance(x, end + 1);
    return LARIAT_OK;
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (unsigned char)c >= 0x80;
}

static lariat_status lex_name(lexer *x)
{
    size_t end = x->at;

    while (is_letter(x->text[end]) || is_digit(x->text[end])) {
        end++;
    }
    const char *name = rendering_name(x->r, x->text + x->at, end - x->at);
    TRY(name ? add(x, (jinja_token){.type = TOKEN_NAME, .text = name}) : LARIAT_NO_MEMORY);
    advance(x, end);
    return LARIAT_OK;
}

static lariat_status lex_tag(lexer *x, const char *end, token_type end_type)
{
    int line = x->line;

    while (x->at < x->size) {
        size_t next = skip_spaces(x, x->at);
        if (next > x->at) {
            advance(x, next);
            continue;
        }
        size_t length = x->n_open == 0 ? end_of_tag(x, x->at, end) : 0;
        if (length) {
            TRY(add(x, (jinja_token){.type = end_type}));
            close_tag(x, length);
            return LARIAT_OK;
        }
        char c = x->text[x->at];
        TRY(rendering_work(x->r, 1));
        TRY(is_digit(c) ? lex_number(x) : is_letter(c) ? lex_name(x) : c == '\'' || c == '"' ? lex_string(x) : lex_operator(x));
    }
    x->r->line = line;
    return jinja_fail("the tag does not end: there is no %s", end);
}

/* The tag at `at`, behind the text that begins at x->at. */
static lariat_status lex_at_tag(lexer *x, size_t at)
{
    char kind = x->text[at + 1], sign = x->text[at + 2];
    size_t behind = at + 2 + (sign == '-' || sign == '+'), raw = kind == '%' ? begin_of_raw(x, behind) : 0, from = x->at;

    TRY(add_data(x, from, at, sign, kind == '{'));
    advance(x, raw ? raw : behind);
    if (raw) {
        return lex_raw(x, raw);
    }
    x->line_begins = false;
    if (kind == '#') {
        return lex_comment(x);
    }
    TRY(add(x, (jinja_token){.type = kind == '{' ? TOKEN_VARIABLE_BEGIN : TOKEN_BLOCK_BEGIN}));
    return kind == '{' ? lex_tag(x, "}}", TOKEN_VARIABLE_END) : lex_tag(x, "%}", TOKEN_BLOCK_END);
}

lariat_status jinja_lex(rendering *r, const char *source, size_t size, token_list *out)
{
    lexer x = {.r = r, .line = 1, .line_begins = true, .out = out};

    *out = (token_list){0};
    TRY(open_source(&x, source, size));
    while (x.at < x.size) {
        size_t at = x.at;
        while (at < x.size && !(x.text[at] == '{' && x.text[at + 1] && strchr("{%#", x.text[at + 1]))) {
            at++;
        }
        if (at == x.size) {
            TRY(add(&x, (jinja_token){.type = TOKEN_DATA, .text = x.text + x.at, .size = at - x.at}));
            advance(&x, at);
            break;
        }
        TRY(lex_at_tag(&x, at));
    }
    return add(&x, (jinja_token){.type = TOKEN_END});
}
