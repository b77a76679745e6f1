/* Expressions, by recursive descent with jinja2's precedences.
   Rests on jinja_parser.h. Read on in jinja_expressions.c. */
#include "text/jinja/jinja_parser.h"

#include <string.h>

typedef lariat_status (*parse_fn)(parser *p, node **out);

static lariat_status parse_unary(parser *p, bool filters, node **out);

static lariat_status one_of(parser *p, const char *const *names, const char **out)
{
    *out = NULL;
    for (; *names && !*out; names++) {
        const char *text = p->at->text;
        *out = parser_skips(p, *names) ? text : NULL;
    }
    return LARIAT_OK;
}

/* Operators of one precedence, from the left. */
static lariat_status parse_left(parser *p, node_kind kind, const char *const *names, parse_fn operand, node **out)
{
    const char *name;
    int deep = 0;

    TRY(operand(p, out));
    for (;;) {
        int line = p->at->line;
        node *n;
        TRY(one_of(p, names, &name));
        if (!name) {
            return LARIAT_OK;
        }
        if (++deep > MAX_JINJA_DEPTH / 2) {
            return jinja_fail("more than %d operators in a row", MAX_JINJA_DEPTH / 2);
        }
        TRY(parser_node(p, kind, &n));
        n->line = line;
        n->name = name;
        n->a = *out;
        TRY(operand(p, &n->b));
        *out = n;
    }
}

static lariat_status parse_whole_unary(parser *p, node **out)
{
    return parse_unary(p, true, out);
}

static lariat_status parse_power(parser *p, node **out)
{
    static const char *const names[] = {"**", NULL};

    return parse_left(p, NODE_BINARY, names, parse_whole_unary, out);
}

static lariat_status parse_product(parser *p, node **out)
{
    static const char *const names[] = {"*", "/", "//", "%", NULL};

    return parse_left(p, NODE_BINARY, names, parse_power, out);
}

static lariat_status parse_concat(parser *p, node **out)
{
    node *first, *n;

    TRY(parse_product(p, &first));
    *out = first;
    if (!parser_sees(p, "~")) {
        return LARIAT_OK;
    }
    TRY(parser_node(p, NODE_CONCAT, out));
    TRY(node_list_add(p->r, &(*out)->items, first));
    while (parser_skips(p, "~")) {
        TRY(parse_product(p, &n));
        TRY(node_list_add(p->r, &(*out)->items, n));
    }
    return LARIAT_OK;
}

static lariat_status parse_sum(parser *p, node **out)
{
    static const char *const names[] = {"+", "-", NULL};

    return parse_left(p, NODE_BINARY, names, parse_concat, out);
}

/* The operator of a comparison, or NULL. */
static lariat_status comparison(parser *p, const char **out)
{
    static const char *const names[] = {"==", "!=", "<", "<=", ">", ">=", "in", NULL};

    TRY(one_of(p, names, out));
    if (!*out && parser_sees(p, "not") && p->at[1].type == TOKEN_NAME && strcmp(p->at[1].text, "in") == 0) {
        p->at += 2;
        *out = rendering_name(p->r, "not in", 6);
        return *out ? LARIAT_OK : LARIAT_NO_MEMORY;
    }
    return LARIAT_OK;
}

static lariat_status parse_comparison(parser *p, node **out)
{
    node *first, *n = NULL, *right;
    size_t capacity = 0;
    const char *name;

    TRY(parse_sum(p, &first));
    *out = first;
    for (;;) {
        TRY(comparison(p, &name));
        if (!name) {
            return LARIAT_OK;
        }
        if (!n) {
            TRY(parser_node(p, NODE_COMPARE, &n));
            n->a = first;
            *out = n;
        }
        MAKE_ROOM(p->r, n->names, n->items.n, capacity);
        n->names[n->items.n] = name;
        TRY(parse_sum(p, &right));
        TRY(node_list_add(p->r, &n->items, right));
    }
}

static lariat_status parse_not(parser *p, node **out)
{
    if (!parser_sees(p, "not")) {
        return parse_comparison(p, out);
    }
    TRY(parser_enter(p));
    TRY(parser_node(p, NODE_NOT, out));
    p->at++;
    TRY(parse_not(p, &(*out)->a));
    parser_leave(p);
    return LARIAT_OK;
}

static lariat_status parse_and(parser *p, node **out)
{
    static const char *const names[] = {"and", NULL};

    return parse_left(p, NODE_AND, names, parse_not, out);
}

static lariat_status parse_or(parser *p, node **out)
{
    static const char *const names[] = {"or", NULL};

    return parse_left(p, NODE_OR, names, parse_and, out);
}

lariat_status parse_expression(parser *p, node **out)
{
    TRY(parser_enter(p));
    p->conditional++; /* what stands before "if" is known only behind it */
    const jinja_token *begin = p->at;
    TRY(parse_or(p, out));
    p->conditional--;
    if (!parser_sees(p, "if") && p->conditional == 0) { /* again, with unknown filters refused */
        p->at = begin;
        TRY(parse_or(p, out));
    }
    while (parser_skips(p, "if")) {
        node *n;
        TRY(parser_node(p, NODE_IF_ELSE, &n));
        n->b = *out;
        p->conditional++;
        TRY(parse_or(p, &n->a));
        if (parser_skips(p, "else")) {
            TRY(parse_expression(p, &n->c));
        }
        p->conditional--;
        *out = n;
    }
    parser_leave(p);
    return LARIAT_OK;
}

static bool ends_tuple(const parser *p, const char *end)
{
    return p->at->type == TOKEN_VARIABLE_END || p->at->type == TOKEN_BLOCK_END || parser_sees(p, ")") ||
           (end && parser_sees(p, end));
}

lariat_status parse_tuple(parser *p, bool whole, const char *end, node **out)
{
    node *tuple = NULL, *n;

    TRY(whole ? parse_expression(p, out) : parse_or(p, out));
    while (parser_skips(p, ",")) {
        if (!tuple) {
            TRY(parser_node(p, NODE_TUPLE, &tuple));
            TRY(node_list_add(p->r, &tuple->items, *out));
            *out = tuple;
        }
        if (ends_tuple(p, end)) {
            break;
        }
        TRY(whole ? parse_expression(p, &n) : parse_or(p, &n));
        TRY(node_list_add(p->r, &tuple->items, n));
    }
    return LARIAT_OK;
}

/* --- operands --- */

static lariat_status parse_string(parser *p, node *n)
{
    maker m;

    maker_open(&m, p->r);
    for (; p->at->type == TOKEN_STRING; p->at++) {
        TRY(maker_fill(&m, p->at->text, p->at->size, ORIGIN_TEMPLATE));
    }
    n->constant = value_text(maker_take(&m));
    return LARIAT_OK;
}

static lariat_status parse_name(parser *p, node *n)
{
    static const struct {
        const char *name;
        value_kind kind;
        bool truth;
    } words[] = {{"true", VALUE_BOOL, true},   {"True", VALUE_BOOL, true},  {"false", VALUE_BOOL, false},
                 {"False", VALUE_BOOL, false}, {"none", VALUE_NONE, false}, {"None", VALUE_NONE, false}};

    n->name = (p->at++)->text;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(n->name, words[i].name) == 0) {
            n->constant = words[i].kind == VALUE_BOOL ? value_bool(words[i].truth) : value_none();
            return LARIAT_OK;
        }
    }
    n->kind = NODE_NAME;
    if (p->macro) {
        p->macro->uses_rest = p->macro->uses_rest || strcmp(n->name, "varargs") == 0;
        p->macro->uses_others = p->macro->uses_others || strcmp(n->name, "kwargs") == 0;
        p->macro->uses_caller = p->macro->uses_caller || strcmp(n->name, "caller") == 0;
    }
    return LARIAT_OK;
}

/* Elements up to the closing bracket; of a dictionary, keys and values in turn. */
static lariat_status parse_elements(parser *p, const char *close, bool pairs, node *list)
{
    node *n;

    while (!parser_skips(p, close)) {
        if (list->items.n) {
            TRY(parser_expect(p, ","));
            if (parser_skips(p, close)) {
                break;
            }
        }
        TRY(parse_expression(p, &n));
        TRY(node_list_add(p->r, &list->items, n));
        if (pairs) {
            TRY(parser_expect(p, ":"));
            TRY(parse_expression(p, &n));
            TRY(node_list_add(p->r, &list->items, n));
        }
    }
    return LARIAT_OK;
}

lariat_status parse_primary(parser *p, node **out)
{
    const jinja_token *t = p->at;

    TRY(parser_node(p, NODE_CONST, out));
    if (t->type == TOKEN_NAME) {
        return parse_name(p, *out);
    }
    if (t->type == TOKEN_STRING) {
        return parse_string(p, *out);
    }
    if (t->type == TOKEN_INTEGER || t->type == TOKEN_REAL) {
        p->at++;
        (*out)->constant = t->type == TOKEN_INTEGER ? value_int(t->integer, true) : value_float(t->real, true);
        return LARIAT_OK;
    }
    if (parser_skips(p, "(")) {
        if (parser_skips(p, ")")) {
            (*out)->kind = NODE_TUPLE;
            return LARIAT_OK;
        }
        TRY(parse_tuple(p, true, NULL, out));
        return parser_expect(p, ")");
    }
    if (parser_skips(p, "[")) {
        (*out)->kind = NODE_LIST;
        return parse_elements(p, "]", false, *out);
    }
    if (parser_skips(p, "{")) {
        (*out)->kind = NODE_DICT;
        return parse_elements(p, "}", true, *out);
    }
    return parser_refuse(p);
}

/* One argument of a call. */
static lariat_status parse_argument(parser *p, argument_list *list, size_t *capacity)
{
    node *n;

    if (parser_skips(p, "*")) {
        return list->rest || list->others ? parser_refuse(p) : parse_expression(p, &list->rest);
    }
    if (parser_skips(p, "**")) {
        return list->others ? parser_refuse(p) : parse_expression(p, &list->others);
    }
    if (p->at->type == TOKEN_NAME && p->at[1].type == TOKEN_OPERATOR && strcmp(p->at[1].text, "=") == 0) {
        const char *name = p->at->text;
        p->at += 2;
        TRY(parse_expression(p, &n));
        MAKE_ROOM(p->r, list->names, list->named.n, *capacity);
        list->names[list->named.n] = name;
        return node_list_add(p->r, &list->named, n);
    }
    if (list->named.n || list->rest || list->others) {
        return parser_refuse(p);
    }
    TRY(parse_expression(p, &n));
    return node_list_add(p->r, &list->positional, n);
}

static lariat_status parse_arguments(parser *p, argument_list *list)
{
    size_t capacity = 0;
    bool first = true;

    TRY(parser_expect(p, "("));
    while (!parser_skips(p, ")")) {
        if (!first) {
            TRY(parser_expect(p, ","));
            if (parser_skips(p, ")")) {
                break;
            }
        }
        first = false;
        TRY(parse_argument(p, list, &capacity));
    }
    return LARIAT_OK;
}

static lariat_status parse_slice(parser *p, node **out)
{
    node *from = NULL, *n;

    if (!parser_sees(p, ":")) {
        TRY(parse_expression(p, &from));
        if (!parser_sees(p, ":")) {
            *out = from;
            return LARIAT_OK;
        }
    }
    TRY(parser_node(p, NODE_SLICE, out));
    TRY(node_list_add(p->r, &(*out)->items, from));
    for (int i = 0; i < 2; i++) {
        n = NULL;
        if (parser_skips(p, ":") && !parser_sees(p, ":") && !parser_sees(p, "]") && !parser_sees(p, ",")) {
            TRY(parse_expression(p, &n));
        }
        TRY(node_list_add(p->r, &(*out)->items, n));
    }
    return LARIAT_OK;
}

static lariat_status parse_subscript(parser *p, node *n)
{
    node *index, *tuple;

    TRY(parse_slice(p, &n->b));
    if (!parser_sees(p, ",")) {
        return parser_expect(p, "]");
    }
    TRY(parser_node(p, NODE_TUPLE, &tuple));
    TRY(node_list_add(p->r, &tuple->items, n->b));
    while (parser_skips(p, ",")) {
        TRY(parse_slice(p, &index));
        TRY(node_list_add(p->r, &tuple->items, index));
    }
    n->b = tuple;
    return parser_expect(p, "]");
}

static lariat_status parse_attribute(parser *p, node *n)
{
    if (p->at->type == TOKEN_INTEGER) {
        n->kind = NODE_ITEM;
        TRY(parser_node(p, NODE_CONST, &n->b));
        n->b->constant = value_int((p->at++)->integer, true);
        return LARIAT_OK;
    }
    return parser_name(p, &n->name);
}

static lariat_status parse_call(parser *p, node *what, node **out)
{
    TRY(parser_node(p, NODE_CALL, out));
    (*out)->a = what;
    return parse_arguments(p, &(*out)->arguments);
}

static lariat_status parse_postfix(parser *p, node **out)
{
    for (int deep = 0; deep < MAX_JINJA_DEPTH / 4; deep++) {
        node *n;
        if (parser_sees(p, "(")) {
            TRY(parse_call(p, *out, &n));
        } else if (parser_sees(p, ".") || parser_sees(p, "[")) {
            bool dot = parser_sees(p, ".");
            TRY(parser_node(p, dot ? NODE_ATTRIBUTE : NODE_ITEM, &n));
            p->at++;
            n->a = *out;
            TRY(dot ? parse_attribute(p, n) : parse_subscript(p, n));
        } else {
            return LARIAT_OK;
        }
        *out = n;
    }
    return jinja_fail("more than %d attributes and calls in a row", MAX_JINJA_DEPTH / 4);
}

static lariat_status check_known(const parser *p, const char *what, const char *name, bool known)
{
    return known || p->conditional ? LARIAT_OK : jinja_fail("there is no %s '%s'", what, name);
}

lariat_status parse_filters(parser *p, node *n, bool begins, node **out)
{
    *out = n;
    for (int deep = 0; begins || parser_skips(p, "|"); deep++) {
        begins = false;
        if (deep == MAX_JINJA_DEPTH / 4) {
            return jinja_fail("more than %d filters in a row", deep);
        }
        TRY(parser_node(p, NODE_FILTER, &n));
        n->a = *out;
        TRY(parser_name(p, &n->name));
        TRY(check_known(p, "filter", n->name, filter_is_known(n->name)));
        if (parser_sees(p, "(")) {
            TRY(parse_arguments(p, &n->arguments));
        }
        *out = n;
    }
    return LARIAT_OK;
}

/* Does an argument without parentheses follow, as in "is divisibleby 3"? */
static bool begins_argument(const parser *p)
{
    return p->at->type == TOKEN_STRING || p->at->type == TOKEN_INTEGER || p->at->type == TOKEN_REAL || parser_sees(p, "[") ||
           parser_sees(p, "{") ||
           (p->at->type == TOKEN_NAME && !parser_sees(p, "else") && !parser_sees(p, "or") && !parser_sees(p, "and"));
}

static lariat_status parse_test(parser *p, node *what, node **out)
{
    bool negative = parser_skips(p, "not");
    node *n, *argument;

    TRY(parser_node(p, NODE_TEST, &n));
    n->a = what;
    TRY(parser_name(p, &n->name));
    TRY(check_known(p, "test", n->name, test_is_known(n->name)));
    if (parser_sees(p, "(")) {
        TRY(parse_arguments(p, &n->arguments));
    } else if (begins_argument(p)) {
        if (parser_sees(p, "is")) {
            return parser_refuse(p);
        }
        TRY(parse_primary(p, &argument));
        TRY(parse_postfix(p, &argument));
        TRY(node_list_add(p->r, &n->arguments.positional, argument));
    }
    *out = n;
    if (negative) {
        TRY(parser_node(p, NODE_NOT, out));
        (*out)->a = n;
    }
    return LARIAT_OK;
}

static lariat_status parse_filters_and_tests(parser *p, node **out)
{
    for (int deep = 0; deep < MAX_JINJA_DEPTH / 4; deep++) {
        if (parser_sees(p, "|")) {
            TRY(parse_filters(p, *out, false, out));
        } else if (parser_skips(p, "is")) {
            TRY(parse_test(p, *out, out));
        } else if (parser_sees(p, "(")) {
            TRY(parse_call(p, *out, out));
        } else {
            return LARIAT_OK;
        }
    }
    return jinja_fail("more than %d tests and calls in a row", MAX_JINJA_DEPTH / 4);
}

static lariat_status parse_unary(parser *p, bool filters, node **out)
{
    TRY(parser_enter(p));
    if (parser_sees(p, "-") || parser_sees(p, "+")) {
        TRY(parser_node(p, parser_sees(p, "-") ? NODE_NEGATIVE : NODE_POSITIVE, out));
        p->at++;
        TRY(parse_unary(p, false, &(*out)->a));
    } else {
        TRY(parse_primary(p, out));
    }
    TRY(parse_postfix(p, out));
    if (filters) {
        TRY(parse_filters_and_tests(p, out));
    }
    parser_leave(p);
    return LARIAT_OK;
}
