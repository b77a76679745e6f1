/* Reading values: numbers with units, lists and ranges of them, choices.
   Rests on the table in options.c. See values.h. */
#include "cli/values.h"
#include "cli/message.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE_MOST = 64 }; /* bytes of one value in a list */

/* "128k" is 131072; false: not a whole number. Beyond int64 the result saturates, which every range refuses. */
static bool read_count(const char *text, int64_t *out)
{
    char *end = NULL;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text) {
        return false;
    }
    int64_t unit = 1;
    if (*end == 'k' || *end == 'K') {
        unit = 1024;
        end++;
    } else if (*end == 'm' || *end == 'M') {
        unit = 1024 * 1024;
        end++;
    }
    if (errno == ERANGE || __builtin_mul_overflow((int64_t)value, unit, out)) {
        *out = value < 0 ? INT64_MIN : INT64_MAX;
    }
    return *end == 0;
}

static int set_count(const option *o, const char *where, const char *text, int64_t *out)
{
    int64_t value;
    if (!read_count(text, &value)) {
        return complain_usage("%s: '%s' is not a whole number, give one such as 512 or 128k", where, text);
    }
    if ((double)value < o->low || (double)value > o->high) {
        return complain_usage("%s: %s is out of range, choose from %.0f to %.0f", where, text, o->low, o->high);
    }
    *out = value;
    return 0;
}

static int set_real(const option *o, const char *where, const char *text, double *out)
{
    char *end = NULL;
    double value = strtod(text, &end);
    if (end == text || *end || !isfinite(value)) {
        return complain_usage("%s: '%s' is not a number, give one such as 0.7", where, text);
    }
    if (value < o->low || value > o->high) {
        return complain_usage("%s: %s is out of range, choose from %g to %g", where, text, o->low, o->high);
    }
    *out = value;
    return 0;
}

static int set_seed(const char *where, const char *text, uint64_t *out)
{
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (end == text || *end || errno || strchr(text, '-')) {
        return complain_usage("%s: '%s' is no seed, give a whole number from 0 to 18446744073709551615", where, text);
    }
    *out = value;
    return 0;
}

/* Index of the first `size` bytes of text among the names of `o`; -1: none. */
static int choice_of(const option *o, const char *text, size_t size)
{
    int which = 0;
    for (const char *name = o->value; name; which++) {
        const char *end = strchr(name, '|');
        if (size == (end ? (size_t)(end - name) : strlen(name)) && strncmp(name, text, size) == 0) {
            return which;
        }
        name = end ? end + 1 : NULL;
    }
    return -1;
}

static int set_choice(const option *o, const char *where, const char *text, int *out)
{
    int which = choice_of(o, text, strlen(text));
    if (which < 0) {
        return complain_usage("%s: '%s' is unknown, choose from %s", where, text, o->value);
    }
    *out = which;
    return 0;
}

static int add_value(const char *where, int64_t value, count_list *list)
{
    if (list->n == LIST_MOST) {
        return complain_usage("%s: more than %d values, give fewer", where, LIST_MOST);
    }
    list->values[list->n++] = value;
    return 0;
}

/* FIRST..LAST*FACTOR or FIRST..LAST+STEP: the values from FIRST to LAST. `dots` points to the two dots. */
static int add_range(const option *o, const char *where, char *text, char *dots, count_list *list)
{
    char *last = dots + 2, *sign = strpbrk(last, "*+");
    int64_t from = 0, to = 0, by = 0;
    *dots = 0;
    if (!sign) {
        return complain_usage("%s: %s..%s: a range needs its step, give %s..%s*2 or %s..%s+%s", where, text, last, text, last,
                              text, last, text);
    }
    bool factor = *sign == '*';
    *sign = 0;
    int rc = set_count(o, where, text, &from);
    rc = rc ? rc : set_count(o, where, last, &to);
    if (rc) {
        return rc;
    }
    if (!read_count(sign + 1, &by) || by < (factor ? 2 : 1) || (factor && from == 0) || from > to) {
        return complain_usage("%s: %s..%s%c%s: no range, give one that grows such as 1k..64k*2 or 1k..8k+1k", where, text, last,
                              factor ? '*' : '+', sign + 1);
    }
    /* Values are at most 2^40 and there are few of them, so that steps end before anything overflows. */
    for (int64_t value = from; rc == 0 && value <= to; ) {
        rc = add_value(where, value, list);
        if (__builtin_mul_overflow(value, factor ? by : 1, &value) || __builtin_add_overflow(value, factor ? 0 : by, &value)) {
            break;
        }
    }
    return rc;
}

static int add_piece(const option *o, const char *where, char *piece, count_list *list)
{
    char *dots = strstr(piece, "..");
    int64_t value = 0;
    int which = 0, rc;
    if (o->kind == OPTION_CHOICES) {
        rc = set_choice(o, where, piece, &which);
        value = which;
    } else if (dots) {
        return add_range(o, where, piece, dots, list);
    } else {
        rc = set_count(o, where, piece, &value);
    }
    return rc ? rc : add_value(where, value, list);
}

static int set_list(const option *o, const char *where, const char *text, count_list *out)
{
    count_list list = {0};
    char piece[PIECE_MOST];
    for (const char *at = text;;) {
        size_t size = strcspn(at, ",");
        if (size >= sizeof piece) {
            return complain_usage("%s: '%.*s...' is no value, give shorter ones", where, PIECE_MOST / 2, at);
        }
        snprintf(piece, sizeof piece, "%.*s", (int)size, at);
        TRY(add_piece(o, where, piece, &list));
        if (!at[size]) {
            break;
        }
        at += size + 1;
    }
    *out = list;
    return 0;
}

static int add_text(const char *where, const char *text, text_list *list)
{
    if (list->n == LIST_MOST) {
        return complain_usage("%s: more than %d of them, give fewer", where, LIST_MOST);
    }
    list->values[list->n++] = text;
    return 0;
}

int value_set(options *values, const option *o, const char *where, const char *text)
{
    void *field = (char *)values + o->field;
    switch (o->kind) {
    case OPTION_FLAG:
        *(bool *)field = true;
        return 0;
    case OPTION_TEXT:
        *(const char **)field = text;
        return 0;
    case OPTION_PATH:
        *(const char **)field = text;
        return *text ? 0 : complain_usage("%s: an empty name, give one: %s", where, o->value);
    case OPTION_COUNT:
        return set_count(o, where, text, field);
    case OPTION_SEED:
        return set_seed(where, text, field);
    case OPTION_REAL:
        return set_real(o, where, text, field);
    case OPTION_CHOICE:
        return set_choice(o, where, text, field);
    case OPTION_LIST:
    case OPTION_CHOICES:
        return set_list(o, where, text, field);
    case OPTION_TEXTS:
        return add_text(where, text, field);
    }
    return 0;
}
