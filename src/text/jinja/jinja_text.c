/* Texts with the origin of each byte: making, searching, characters.
   Rests on utf8.h and the C library's character tables in the locale C.UTF-8. Read on in jinja_value.c. */
#include "text/jinja/jinja_run.h"

#include "text/utf8.h"

#include <string.h>
#include <wctype.h>

/* Texts with one origin share their marks. */
lariat_status marked_from(run *r, const char *text, size_t size, uint8_t mark, marked *out)
{
    if (size > r->uniform_size[mark] || !r->uniform[mark]) {
        size_t room = size > 4096 ? 2 * size : 8192;
        TAKE(r, r->uniform[mark], room);
        memset(r->uniform[mark], mark, room);
        r->uniform_size[mark] = room;
    }
    *out = (marked){text ? text : "", r->uniform[mark], size};
    return LARIAT_OK;
}

marked marked_part(marked text, size_t from, size_t to)
{
    return (marked){text.text + from, text.marks + from, to > from ? to - from : 0};
}

bool marked_is(marked text, const char *literal)
{
    return strlen(literal) == text.size && memcmp(text.text, literal, text.size) == 0;
}

void maker_open(maker *m, run *r)
{
    *m = (maker){.r = r};
}

static lariat_status maker_reserve(maker *m, size_t more)
{
    if (more > MAX_JINJA_OUTPUT - m->size) {
        return jinja_fail("the text is longer than %d MiB", MAX_JINJA_OUTPUT >> 20);
    }
    if (m->size + more > m->capacity) {
        size_t capacity = m->size + more < 64 ? 64 : 2 * (m->size + more);
        char *text;
        uint8_t *marks;
        TAKE(m->r, text, capacity);
        TAKE(m->r, marks, capacity);
        if (m->size) {
            memcpy(text, m->text, m->size);
            memcpy(marks, m->marks, m->size);
        }
        m->text = text;
        m->marks = marks;
        m->capacity = capacity;
    }
    return run_work(m->r, more / 64);
}

lariat_status maker_add(maker *m, marked text)
{
    if (text.size == 0) {
        return LARIAT_OK;
    }
    TRY(maker_reserve(m, text.size));
    memcpy(m->text + m->size, text.text, text.size);
    memcpy(m->marks + m->size, text.marks, text.size);
    m->size += text.size;
    return LARIAT_OK;
}

lariat_status maker_fill(maker *m, const char *text, size_t size, uint8_t mark)
{
    if (size == 0) {
        return LARIAT_OK;
    }
    TRY(maker_reserve(m, size));
    memcpy(m->text + m->size, text, size);
    memset(m->marks + m->size, mark, size);
    m->size += size;
    return LARIAT_OK;
}

lariat_status maker_words(maker *m, const char *text, uint8_t mark)
{
    return maker_fill(m, text, strlen(text), mark);
}

marked maker_take(maker *m)
{
    static const uint8_t none[1];
    marked out = {m->text ? m->text : "", m->marks ? m->marks : none, m->size};

    maker_open(m, m->r);
    return out;
}

/* --- characters --- */

static bool is_inner(char c)
{
    return ((unsigned char)c & 0xC0) == 0x80;
}

size_t characters(marked text)
{
    size_t n = 0;

    for (size_t i = 0; i < text.size; i++) {
        n += !is_inner(text.text[i]);
    }
    return n;
}

size_t character_offset(marked text, size_t index)
{
    size_t at = 0;

    while (at < text.size && index > 0) {
        at++;
        while (at < text.size && is_inner(text.text[at])) {
            at++;
        }
        index--;
    }
    return at;
}

bool is_python_space(int32_t code)
{
    return utf8_is_white_space(code) || (code >= 0x1C && code <= 0x1F);
}

static bool is_stripped(const char *text, size_t size, const marked *set)
{
    int length;

    if (!set) {
        return is_python_space(utf8_decode(text, size, &length));
    }
    for (size_t i = 0; i < set->size; i += (size_t)length) {
        length = utf8_length(set->text + i);
        if ((size_t)length == size && memcmp(set->text + i, text, size) == 0) {
            return true;
        }
    }
    return false;
}

marked marked_strip(marked text, const marked *set, bool left, bool right)
{
    while (left && text.size) {
        size_t length = (size_t)utf8_length(text.text);
        if (!is_stripped(text.text, length, set)) {
            break;
        }
        text = marked_part(text, length, text.size);
    }
    while (right && text.size) {
        size_t back = text.size - 1;
        while (back && is_inner(text.text[back])) {
            back--;
        }
        if (!is_stripped(text.text + back, text.size - back, set)) {
            break;
        }
        text.size = back;
    }
    return text;
}

int64_t marked_find(marked text, marked part, size_t from)
{
    const char *found;

    if (from > text.size || part.size > text.size - from) {
        return -1;
    }
    found = part.size ? memmem(text.text + from, text.size - from, part.text, part.size) : text.text + from;
    return found ? found - text.text : -1;
}

static lariat_status add_character(maker *m, int32_t code, uint8_t mark)
{
    char text[UTF8_MAX];

    return maker_fill(m, text, utf8_encode(code, text), mark);
}

/* One character becomes one by the C library's tables, but for the sharp s, which becomes two. Python differs in the other
   characters whose upper or lower case has several (ligatures, a dotted capital I) and in a final sigma. */
lariat_status marked_change_case(run *r, marked text, bool upper, marked *out)
{
    maker m;
    int length;

    maker_open(&m, r);
    for (size_t i = 0; i < text.size; i += (size_t)length) {
        int32_t code = utf8_decode(text.text + i, text.size - i, &length);
        if (upper && code == 0xDF) {
            TRY(maker_fill(&m, "SS", 2, text.marks[i]));
            continue;
        }
        if (code < 0x80) {
            code += upper && code >= 'a' && code <= 'z' ? 'A' - 'a' : !upper && code >= 'A' && code <= 'Z' ? 'a' - 'A' : 0;
        } else if (r->characters) {
            code = (int32_t)(upper ? towupper_l((wint_t)code, r->characters) : towlower_l((wint_t)code, r->characters));
        }
        TRY(add_character(&m, code, text.marks[i]));
    }
    *out = maker_take(&m);
    return LARIAT_OK;
}
