/* Normal forms and lower case: utf8proc's tables, with the differences in age to those of Hugging Face's tokenizers, whose
   normal forms are of Unicode 9 and whose case is of Unicode 17.
   Rests on utf8proc (Unicode 15 or newer). Read on in normalizer.c. */
#include "text/unicode_forms.h"

#include "text/utf8.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

typedef struct code_range {
    int32_t first, last;
} code_range;

/* Characters newer than Unicode 9 that its later versions compose, decompose or reorder, with neighbours that they leave
   alone. In Unicode 9 they are unassigned: nothing crosses them. */
static const code_range newer[] = {
    { 0x7FD, 0x7FD },     { 0x897, 0x89F },     { 0x8CA, 0x8D3 },     { 0x9FE, 0x9FE },     { 0xC3C, 0xC3C },
    { 0xD3B, 0xD3C },     { 0xEBA, 0xEBA },     { 0x1715, 0x1715 },   { 0x1ABF, 0x1AFF },   { 0x1DF6, 0x1DFA },
    { 0x32FF, 0x32FF },   { 0xA7CB, 0xA7F4 },   { 0xA82C, 0xA82C },   { 0xAB69, 0xAB69 },   { 0x105C0, 0x105FF },
    { 0x10781, 0x107BA }, { 0x10D24, 0x10D6D }, { 0x10EAB, 0x10EFF }, { 0x10F46, 0x10F50 }, { 0x10F82, 0x10F85 },
    { 0x11070, 0x11070 }, { 0x1133B, 0x1133B }, { 0x11380, 0x113FF }, { 0x1145E, 0x1145E }, { 0x11839, 0x1183A },
    { 0x11930, 0x11930 }, { 0x11938, 0x11943 }, { 0x119E0, 0x119E0 }, { 0x11A34, 0x11A34 }, { 0x11A47, 0x11A47 },
    { 0x11A99, 0x11A99 }, { 0x11B60, 0x11B67 }, { 0x11D42, 0x11D45 }, { 0x11D97, 0x11D97 }, { 0x11DB0, 0x11DEF },
    { 0x11F41, 0x11F42 }, { 0x16100, 0x1613F }, { 0x16D40, 0x16D7F }, { 0x16FF0, 0x16FF1 }, { 0x1CCD6, 0x1CCF9 },
    { 0x1E030, 0x1E08F }, { 0x1E130, 0x1E136 }, { 0x1E2AE, 0x1E2AE }, { 0x1E2EC, 0x1E2EF }, { 0x1E4EC, 0x1E4EF },
    { 0x1E5EE, 0x1E5EF }, { 0x1E6C0, 0x1E6FF }, { 0x1F16C, 0x1F16C }, { 0x1FBF0, 0x1FBF9 },
};

/* Small letters of capitals from Unicode 16 and 17, by their distance; only every `step`-th is a capital. */
static const struct {
    int32_t first, last, step, distance;
} newer_capitals[] = {
    { 0x1C89, 0x1C89, 1, 1 },   { 0xA7CB, 0xA7CB, 1, 0x264 - 0xA7CB }, { 0xA7CC, 0xA7CE, 2, 1 },    { 0xA7D2, 0xA7D4, 2, 1 },
    { 0xA7DA, 0xA7DA, 1, 1 },   { 0xA7DC, 0xA7DC, 1, 0x19B - 0xA7DC }, { 0x10D50, 0x10D65, 1, 32 },
    { 0x16EA0, 0x16EB8, 1, 27 },
};

static bool is_newer(int32_t code)
{
    size_t low = 0, high = sizeof newer / sizeof *newer;

    while (low < high) {
        size_t middle = (low + high) / 2;
        if (newer[middle].last < code) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < sizeof newer / sizeof *newer && newer[low].first <= code;
}

/* A character with its class: how it is ordered among combining marks. */
typedef struct mark {
    int32_t code, class;
    int32_t change; /* 1: not the first of its decomposition; less 1 for each character that it was composed with */
} mark;

/* Stable, in one pass per class: a run of marks has few classes, whatever its length. utf8proc's own ordering exchanges
   neighbours, which takes the square of a run. */
static void order_run(mark *run, size_t n, mark *room)
{
    size_t place[256 + 1] = { 0 };

    for (size_t i = 0; i < n; i++) {
        place[run[i].class + 1]++;
    }
    for (size_t i = 0; i < 256; i++) {
        place[i + 1] += place[i];
    }
    for (size_t i = 0; i < n; i++) {
        room[place[run[i].class]++] = run[i];
    }
    memcpy(run, room, n * sizeof *run);
}

static void order_marks(mark *marks, size_t n, mark *room)
{
    for (size_t at = 0; at < n;) {
        size_t end = at, falls = 0;
        while (end < n && marks[end].class) {
            falls += end > at && marks[end].class < marks[end - 1].class;
            end++;
        }
        if (falls) {
            order_run(marks + at, end - at, room);
        }
        at = end > at ? end : at + 1;
    }
}

/* Decomposes every character on its own, in the text's order. *n counts the places of `marks` that are taken. */
static lariat_status decompose(const char *text, size_t size, int options, buffer *marks, size_t *n)
{
    int length;

    *n = 0;
    for (size_t at = 0; at < size; at += (size_t)length) {
        utf8proc_int32_t parts[64] = { utf8_decode(text + at, size - at, &length) };
        int boundary = 0;
        bool whole = is_newer(*parts);
        utf8proc_ssize_t count = whole ? 1
                                       : utf8proc_decompose_char(*parts, parts, sizeof parts / sizeof *parts,
                                                                 (utf8proc_option_t)options, &boundary);
        if (count < 0 || (size_t)count > sizeof parts / sizeof *parts) {
            return fail(LARIAT_UNSUPPORTED, "text: normalizing %zu bytes: %s", size,
                        utf8proc_errmsg(count < 0 ? count : UTF8PROC_ERROR_OVERFLOW));
        }
        for (utf8proc_ssize_t i = 0; i < count; i++) {
            mark m = { parts[i], whole ? 0 : utf8proc_get_property(parts[i])->combining_class, i > 0 };
            TRY(buffer_append(marks, (const char *)&m, sizeof m));
        }
        *n += (size_t)count;
    }
    return LARIAT_OK;
}

/* Composes and encodes what is in order. */
static lariat_status append_ordered(buffer *out, const mark *marks, size_t n, int32_t *codes, int options)
{
    for (size_t i = 0; i < n; i++) {
        codes[i] = marks[i].code;
    }
    utf8proc_ssize_t left = utf8proc_normalize_utf32(codes, (utf8proc_ssize_t)n, (utf8proc_option_t)options);
    for (utf8proc_ssize_t i = 0; i < left; i++) {
        utf8proc_uint8_t bytes[4];
        TRY(buffer_append(out, (const char *)bytes, (size_t)utf8proc_encode_char(codes[i], bytes)));
    }
    return left < 0 ? fail(LARIAT_UNSUPPORTED, "text: normalizing: %s", utf8proc_errmsg(left)) : LARIAT_OK;
}

static const int form_options[] = {
    [FORM_NFC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE,
    [FORM_NFD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE,
    [FORM_NFKC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
    [FORM_NFKD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT,
};

static lariat_status append_mapped(buffer *out, const char *text, size_t size, unicode_form form)
{
    buffer marks = { 0 };
    size_t n;
    lariat_status status = decompose(text, size, form_options[form], &marks, &n);
    mark *room = status == LARIAT_OK ? malloc((n + 1) * sizeof *room) : NULL;

    if (status == LARIAT_OK && !room) {
        status = fail(LARIAT_NO_MEMORY, "text: no memory to normalize %zu bytes" FREE_MEMORY, size);
    }
    if (status == LARIAT_OK && n) {
        mark *all = (mark *)(void *)marks.data;
        order_marks(all, n, room);
        status = append_ordered(out, all, n, (int32_t *)room, form_options[form]);
    }
    free(room);
    buffer_free(&marks);
    return status;
}

/* Text is cut where nothing can compose or be reordered across: before ASCII characters, and around newer ones. */
lariat_status append_form(buffer *out, const char *text, size_t size, unicode_form form)
{
    size_t done = 0, at = 0; /* end of what is appended, and of what is seen */
    bool ascii = true;       /* all between them */

    while (at < size) {
        int length;
        int32_t code = utf8_decode(text + at, size - at, &length);
        if ((code < 0x80 && !ascii) || is_newer(code)) {
            TRY(append_mapped(out, text + done, at - done, form));
            done = at;
            ascii = true;
        }
        if (is_newer(code)) {
            TRY(buffer_append(out, text + at, (size_t)length));
            done = at + (size_t)length;
        } else if (code >= 0x80 && ascii && at > done) {
            /* the last ASCII character may compose */
            TRY(buffer_append(out, text + done, at - 1 - done));
            done = at - 1;
            ascii = false;
        } else {
            ascii = ascii && code < 0x80;
        }
        at += (size_t)length;
    }
    return ascii ? buffer_append(out, text + done, size - done) : append_mapped(out, text + done, size - done, form);
}

/* --- what stands for the beginning of a text --- */

size_t form_end(const char *text, size_t size, size_t at)
{
    int length;

    while (at < size) {
        int32_t code = utf8_decode(text + at, size - at, &length);
        const utf8proc_property_t *p = utf8proc_get_property(code);
        bool joins = p->combining_class || (p->category >= UTF8PROC_CATEGORY_MN && p->category <= UTF8PROC_CATEGORY_ME);
        bool jamo = code >= 0x1160 && code <= 0x11FF;
        if (is_newer(code) || !(joins || jamo)) {
            break;
        }
        at += (size_t)length;
    }
    return at;
}

static bool compose_two(mark *first, const mark *second, int options)
{
    int32_t codes[2] = { first->code, second->code };

    if (is_newer(first->code) || utf8proc_normalize_utf32(codes, 2, (utf8proc_option_t)options) != 1) {
        return false;
    }
    first->code = codes[0];
    first->change += second->change - 1;
    return true;
}

/* Composes marks in order; returns how many are left. */
static size_t compose_marks(mark *all, size_t n, int options)
{
    size_t kept = 0, starter = n; /* n: none */
    int32_t last = -1;            /* class of the last mark kept behind the starter; -1: none */

    for (size_t i = 0; i < n; i++) {
        if (starter < n && last < all[i].class && compose_two(&all[starter], &all[i], options)) {
            continue;
        }
        last = all[i].class ? all[i].class : -1;
        starter = all[i].class ? starter : kept;
        all[kept++] = all[i];
    }
    return kept;
}

/* Of the characters in order: the first of each decomposition stands for the next character of the text, the others for the
   same one. Returns the bytes that stand for its first `count` characters. */
static size_t bytes_of_first(const mark *all, size_t n, int64_t count)
{
    size_t bytes = 0;
    int64_t taken = 0;

    for (size_t i = 0; i < n && (all[i].change > 0 || taken < count); i++) {
        utf8proc_uint8_t scratch[4];
        taken += all[i].change > 0 ? 0 : 1 - all[i].change;
        bytes += (size_t)utf8proc_encode_char(all[i].code, scratch);
    }
    return bytes;
}

lariat_status form_origin(const char *text, size_t size, size_t *origin, unicode_form form)
{
    size_t end = form_end(text, size, *origin), n;
    int64_t count = 0;
    buffer marks = { 0 };
    lariat_status status = decompose(text, end, form_options[form], &marks, &n);
    mark *room = status == LARIAT_OK ? malloc((n + 1) * sizeof *room) : NULL;

    for (size_t at = 0; at < *origin; at++) {
        count += ((unsigned char)text[at] & 0xC0) != 0x80;
    }
    if (status == LARIAT_OK && !room) {
        status = fail(LARIAT_NO_MEMORY, "text: no memory to normalize %zu bytes" FREE_MEMORY, size);
    }
    if (status == LARIAT_OK && n) {
        mark *all = (mark *)(void *)marks.data;
        order_marks(all, n, room);
        n = form == FORM_NFC || form == FORM_NFKC ? compose_marks(all, n, form_options[form]) : n;
        *origin = bytes_of_first(all, n, count);
    }
    free(room);
    buffer_free(&marks);
    return status;
}

/* --- lower case --- */

static int32_t lower(int32_t code)
{
    for (size_t i = 0; i < sizeof newer_capitals / sizeof *newer_capitals; i++) {
        int32_t first = newer_capitals[i].first;
        if (code >= first && code <= newer_capitals[i].last && (code - first) % newer_capitals[i].step == 0) {
            return code + newer_capitals[i].distance;
        }
    }
    return utf8proc_tolower(code);
}

lariat_status append_lowercase(buffer *out, const char *text, size_t size)
{
    static const char dotted[] = "i\xCC\x87"; /* U+0130 becomes two characters */
    int length;

    for (size_t at = 0; at < size; at += (size_t)length) {
        int32_t code = utf8_decode(text + at, size - at, &length);
        utf8proc_uint8_t bytes[4];
        if (code == 0x130) {
            TRY(buffer_append(out, dotted, sizeof dotted - 1));
        } else if (code < 0x80) {
            char small = (char)(code >= 'A' && code <= 'Z' ? code + 32 : code);
            TRY(buffer_append(out, &small, 1));
        } else {
            TRY(buffer_append(out, (const char *)bytes, (size_t)utf8proc_encode_char(lower(code), bytes)));
        }
    }
    return LARIAT_OK;
}
