/* Tests: "is defined", "is string" and their kind.
   Rests on jinja_rendering.h. Read on in jinja_filters.c. */
#include "text/jinja/jinja_rendering.h"

#include <string.h>

static const struct {
    const char *name, *operator; /* of a comparison, or NULL */
} tests[] = {
    {"defined", NULL},    {"undefined", NULL}, {"none", NULL},     {"boolean", NULL},  {"false", NULL},
    {"true", NULL},       {"integer", NULL},   {"float", NULL},    {"number", NULL},   {"string", NULL},
    {"mapping", NULL},    {"sequence", NULL},  {"iterable", NULL}, {"callable", NULL}, {"sameas", NULL},
    {"escaped", NULL},    {"in", "in"},        {"odd", NULL},      {"even", NULL},     {"divisibleby", NULL},
    {"lower", NULL},      {"upper", NULL},     {"filter", NULL},   {"test", NULL},     {"==", "=="},
    {"eq", "=="},         {"equalto", "=="},   {"!=", "!="},       {"ne", "!="},       {"gt", ">"},
    {"greaterthan", ">"}, {"ge", ">="},        {"lt", "<"},        {"lessthan", "<"},  {"le", "<="},
    {">", ">"},           {">=", ">="},        {"<", "<"},         {"<=", "<="},
};

static int find_test(const char *name)
{
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        if (strcmp(name, tests[i].name) == 0) {
            return (int)i;
        }
    }
    return -1;
}

bool test_is_known(const char *name)
{
    return find_test(name) >= 0;
}

/* Of the value's text, whatever it is. */
static lariat_status is_text_case(rendering *r, const value *v, const char *name, bool *out)
{
    call_arguments none = {0};
    method m = {.name = name};
    jinja_text text;
    value holds;

    TRY(value_str(r, v, &text));
    m.self = value_text(text);
    TRY(call_method(r, &m, &none, &holds));
    *out = holds.as.truth;
    return LARIAT_OK;
}

/* odd, even, divisibleby: by the operator %. */
static lariat_status test_number(rendering *r, const char *name, const value *v, const call_arguments *given, bool *out)
{
    value two = value_int(2, true), wanted = value_int(*name == 'o', true), rest;

    TRY(binary(r, "%", v, *name == 'd' ? &given->positional[0] : &two, &rest));
    return value_equal(r, &rest, &wanted, out);
}

static bool is_same(const value *a, const value *b)
{
    if (a->kind != b->kind) {
        return false;
    }
    switch (a->kind) {
    case VALUE_NONE:
        return true;
    case VALUE_BOOL:
        return a->as.truth == b->as.truth;
    case VALUE_INT:
        return a->as.integer == b->as.integer;
    case VALUE_TEXT:
        return a->as.text.text == b->as.text.text && a->as.text.size == b->as.text.size;
    default:
        return a->as.list == b->as.list;
    }
}

/* Tests of a value's type, by the test's name. */
static bool is_type(const char *name, const value *v)
{
    value_kind k = v->kind;

    switch (*name) {
    case 'b':
        return k == VALUE_BOOL;
    case 'c':
        return k == VALUE_MACRO || k == VALUE_METHOD || k == VALUE_FUNCTION || k == VALUE_UNDEFINED;
    case 'd':
        return k != VALUE_UNDEFINED;
    case 'e':
        return k == VALUE_TEXT && v->safe;
    case 'u':
        return k == VALUE_UNDEFINED;
    case 't':
        return k == VALUE_BOOL && v->as.truth;
    case 'f':
        return name[1] == 'l' ? k == VALUE_FLOAT : k == VALUE_BOOL && !v->as.truth;
    case 'n':
        return name[1] == 'o' ? k == VALUE_NONE : value_is_number(v);
    case 'm':
        return k == VALUE_DICT;
    case 's':
        return name[1] == 't' ? k == VALUE_TEXT
                              : k == VALUE_TEXT || k == VALUE_LIST || k == VALUE_TUPLE || k == VALUE_RANGE || k == VALUE_DICT ||
                                    k == VALUE_UNDEFINED;
    default:
        return name[1] == 'n'
                   ? k == VALUE_INT
                   : k == VALUE_TEXT || value_is_sequence(v) || k == VALUE_DICT || k == VALUE_UNDEFINED || k == VALUE_LOOP;
    }
}

static bool names_known(const value *v, bool (*known)(const char *name))
{
    char name[64];

    if (v->kind != VALUE_TEXT || v->as.text.size >= sizeof name) {
        return false;
    }
    memcpy(name, v->as.text.text, v->as.text.size);
    name[v->as.text.size] = '\0';
    return known(name);
}

lariat_status apply_test(rendering *r, const char *name, const value *v, const call_arguments *given, bool *out)
{
    int test = find_test(name);
    size_t wanted = test >= 0 && (tests[test].operator|| strcmp(name, "sameas") == 0 || strcmp(name, "divisibleby") == 0);

    if (test < 0) {
        return jinja_fail("there is no test '%s'", name);
    }
    if (given->n != wanted || given->n_named) {
        return jinja_fail("is %s takes %zu arguments", name, wanted);
    }
    if (tests[test].operator) {
        return compare(r, tests[test].operator, v, &given->positional[0], out);
    }
    if (strcmp(name, "sameas") == 0) {
        *out = is_same(v, &given->positional[0]);
    } else if (strcmp(name, "odd") == 0 || strcmp(name, "even") == 0 || strcmp(name, "divisibleby") == 0) {
        return test_number(r, name, v, given, out);
    } else if (strcmp(name, "lower") == 0 || strcmp(name, "upper") == 0) {
        return is_text_case(r, v, *name == 'u' ? "isupper" : "islower", out);
    } else if (strcmp(name, "filter") == 0 || strcmp(name, "test") == 0) {
        TRY(value_refuse_unhashable(r, v, 0));
        *out = names_known(v, *name == 'f' ? filter_is_known : test_is_known);
    } else {
        *out = is_type(name, v);
    }
    return LARIAT_OK;
}
