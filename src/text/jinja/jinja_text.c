/* Texts with the origin of each byte: making, searching, characters.
   Rests on utf8.h, the C library's character tables in the locale C.UTF-8 (cases) and utf8proc's (categories). Read on in
   jinja_value.c. */
#include "text/jinja/jinja_rendering.h"

#include "text/utf8.h"

#include <string.h>
#include <utf8proc.h>
#include <wctype.h>

/* Texts with one origin throughout share that list of origins. */
lariat_status jinja_text_from(rendering *r, const char *text, size_t size, uint8_t origin, jinja_text *out)
{
    if (size > r->uniform_size[origin] || !r->uniform[origin]) {
        size_t room = size > 4096 ? 2 * size : 8192;
        TAKE(r, r->uniform[origin], room);
        memset(r->uniform[origin], origin, room);
        r->uniform_size[origin] = room;
    }
    *out = (jinja_text){text ? text : "", r->uniform[origin], size};
    return LARIAT_OK;
}

jinja_text jinja_text_part(jinja_text text, size_t from, size_t to)
{
    return (jinja_text){text.text + from, text.origins + from, to > from ? to - from : 0};
}

bool jinja_text_is(jinja_text text, const char *literal)
{
    return strlen(literal) == text.size && memcmp(text.text, literal, text.size) == 0;
}

void maker_open(maker *m, rendering *r)
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
        uint8_t *origins;
        TAKE(m->r, text, capacity);
        TAKE(m->r, origins, capacity);
        if (m->size) {
            memcpy(text, m->text, m->size);
            memcpy(origins, m->origins, m->size);
        }
        m->text = text;
        m->origins = origins;
        m->capacity = capacity;
    }
    return rendering_work(m->r, more / 64);
}

lariat_status maker_add(maker *m, jinja_text text)
{
    if (text.size == 0) {
        return LARIAT_OK;
    }
    TRY(maker_reserve(m, text.size));
    memcpy(m->text + m->size, text.text, text.size);
    memcpy(m->origins + m->size, text.origins, text.size);
    m->size += text.size;
    return LARIAT_OK;
}

lariat_status maker_fill(maker *m, const char *text, size_t size, uint8_t origin)
{
    if (size == 0) {
        return LARIAT_OK;
    }
    TRY(maker_reserve(m, size));
    memcpy(m->text + m->size, text, size);
    memset(m->origins + m->size, origin, size);
    m->size += size;
    return LARIAT_OK;
}

lariat_status maker_words(maker *m, const char *text, uint8_t origin)
{
    return maker_fill(m, text, strlen(text), origin);
}

jinja_text maker_take(maker *m)
{
    static const uint8_t none[1];
    jinja_text out = {m->text ? m->text : "", m->origins ? m->origins : none, m->size};

    maker_open(m, m->r);
    return out;
}

/* --- characters --- */

static bool is_inner(char c)
{
    return ((unsigned char)c & 0xC0) == 0x80;
}

size_t characters(jinja_text text)
{
    size_t n = 0;

    for (size_t i = 0; i < text.size; i++) {
        n += !is_inner(text.text[i]);
    }
    return n;
}

size_t character_offset(jinja_text text, size_t index)
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

bool is_python_printable(int32_t code)
{
    switch (utf8proc_category(code)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return false;
    case UTF8PROC_CATEGORY_ZS:
        return code == ' ';
    default:
        return true;
    }
}

bool is_python_letter(int32_t code)
{
    utf8proc_category_t category = utf8proc_category(code);

    return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

bool is_title_case(int32_t code)
{
    return utf8proc_category(code) == UTF8PROC_CATEGORY_LT;
}

typedef struct code_range {
    int32_t first, last;
} code_range;

/* Characters of Numeric_Type Digit, and of Numeric_Type Numeric that are letters (Unicode 14). */
static const code_range digits[] = {
    {0xB2, 0xB3}, {0xB9, 0xB9}, {0x1369, 0x1371}, {0x19DA, 0x19DA}, {0x2070, 0x2070}, {0x2074, 0x2079}, {0x2080, 0x2089},
    {0x2460, 0x2468}, {0x2474, 0x247C}, {0x2488, 0x2490}, {0x24EA, 0x24EA}, {0x24F5, 0x24FD}, {0x24FF, 0x24FF},
    {0x2776, 0x277E}, {0x2780, 0x2788}, {0x278A, 0x2792}, {0x10A40, 0x10A43}, {0x10E60, 0x10E68}, {0x11052, 0x1105A},
    {0x1F100, 0x1F10A}};
static const code_range numerals[] = {
    {0x3405, 0x3405}, {0x3483, 0x3483}, {0x382A, 0x382A}, {0x3B4D, 0x3B4D}, {0x4E00, 0x4E00}, {0x4E03, 0x4E03},
    {0x4E07, 0x4E07}, {0x4E09, 0x4E09}, {0x4E5D, 0x4E5D}, {0x4E8C, 0x4E8C}, {0x4E94, 0x4E94}, {0x4E96, 0x4E96},
    {0x4EBF, 0x4EC0}, {0x4EDF, 0x4EDF}, {0x4EE8, 0x4EE8}, {0x4F0D, 0x4F0D}, {0x4F70, 0x4F70}, {0x5104, 0x5104},
    {0x5146, 0x5146}, {0x5169, 0x5169}, {0x516B, 0x516B}, {0x516D, 0x516D}, {0x5341, 0x5341}, {0x5343, 0x5345},
    {0x534C, 0x534C}, {0x53C1, 0x53C4}, {0x56DB, 0x56DB}, {0x58F1, 0x58F1}, {0x58F9, 0x58F9}, {0x5E7A, 0x5E7A},
    {0x5EFE, 0x5EFF}, {0x5F0C, 0x5F0E}, {0x5F10, 0x5F10}, {0x62FE, 0x62FE}, {0x634C, 0x634C}, {0x67D2, 0x67D2},
    {0x6F06, 0x6F06}, {0x7396, 0x7396}, {0x767E, 0x767E}, {0x8086, 0x8086}, {0x842C, 0x842C}, {0x8CAE, 0x8CAE},
    {0x8CB3, 0x8CB3}, {0x8D30, 0x8D30}, {0x9621, 0x9621}, {0x9646, 0x9646}, {0x964C, 0x964C}, {0x9678, 0x9678},
    {0x96F6, 0x96F6}, {0xF96B, 0xF96B}, {0xF973, 0xF973}, {0xF978, 0xF978}, {0xF9B2, 0xF9B2}, {0xF9D1, 0xF9D1},
    {0xF9D3, 0xF9D3}, {0xF9FD, 0xF9FD}, {0x20001, 0x20001}, {0x20064, 0x20064}, {0x200E2, 0x200E2}, {0x20121, 0x20121},
    {0x2092A, 0x2092A}, {0x20983, 0x20983}, {0x2098C, 0x2098C}, {0x2099C, 0x2099C}, {0x20AEA, 0x20AEA},
    {0x20AFD, 0x20AFD}, {0x20B19, 0x20B19}, {0x22390, 0x22390}, {0x22998, 0x22998}, {0x23B1B, 0x23B1B},
    {0x2626D, 0x2626D}, {0x2F890, 0x2F890}};

static bool is_in(const code_range *ranges, size_t n, int32_t code)
{
    for (size_t i = 0; i < n && ranges[i].first <= code; i++) {
        if (code <= ranges[i].last) {
            return true;
        }
    }
    return false;
}

number_kind python_number_kind(int32_t code)
{
    utf8proc_category_t category = utf8proc_category(code);

    if (category == UTF8PROC_CATEGORY_ND) {
        return NUMBER_DECIMAL;
    }
    if (is_in(digits, sizeof digits / sizeof *digits, code)) {
        return NUMBER_DIGIT;
    }
    return category == UTF8PROC_CATEGORY_NL || category == UTF8PROC_CATEGORY_NO ||
                   is_in(numerals, sizeof numerals / sizeof *numerals, code)
               ? NUMBER_NUMERIC
               : NUMBER_NONE;
}

int decimal_digit(int32_t code)
{
    int32_t zero = code;

    if (utf8proc_category(code) != UTF8PROC_CATEGORY_ND) {
        return -1;
    }
    while (utf8proc_category(zero - 1) == UTF8PROC_CATEGORY_ND) {
        zero--;
    }
    return (code - zero) % 10; /* digits of one script follow each other, the mathematical ones in five tens */
}

static bool is_stripped(const char *text, size_t size, const jinja_text *set)
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

jinja_text jinja_text_strip(jinja_text text, const jinja_text *set, bool left, bool right)
{
    while (left && text.size) {
        size_t length = (size_t)utf8_length(text.text);
        if (!is_stripped(text.text, length, set)) {
            break;
        }
        text = jinja_text_part(text, length, text.size);
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

int64_t jinja_text_find(jinja_text text, jinja_text part, size_t from)
{
    const char *found;

    if (from > text.size || part.size > text.size - from) {
        return -1;
    }
    found = part.size ? memmem(text.text + from, text.size - from, part.text, part.size) : text.text + from;
    return found ? found - text.text : -1;
}

static lariat_status add_character(maker *m, int32_t code, uint8_t origin)
{
    char text[UTF8_MAX];

    return maker_fill(m, text, utf8_encode(code, text), origin);
}

/* One character becomes one by the C library's tables, but for the sharp s, which becomes two. Python differs in the other
   characters whose upper or lower case has several (ligatures, a dotted capital I) and in a final sigma. */
lariat_status jinja_text_change_case(rendering *r, jinja_text text, bool upper, jinja_text *out)
{
    maker m;
    int length;

    maker_open(&m, r);
    for (size_t i = 0; i < text.size; i += (size_t)length) {
        int32_t code = utf8_decode(text.text + i, text.size - i, &length);
        if (upper && code == 0xDF) {
            TRY(maker_fill(&m, "SS", 2, text.origins[i]));
            continue;
        }
        if (code < 0x80) {
            code += upper && code >= 'a' && code <= 'z' ? 'A' - 'a' : !upper && code >= 'A' && code <= 'Z' ? 'a' - 'A' : 0;
        } else if (r->characters) {
            code = (int32_t)(upper ? towupper_l((wint_t)code, r->characters) : towlower_l((wint_t)code, r->characters));
        }
        TRY(add_character(&m, code, text.origins[i]));
    }
    *out = maker_take(&m);
    return LARIAT_OK;
}
