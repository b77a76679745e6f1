/* Statements, and the parser's steps.
   Rests on jinja_parser.h and jinja_lexer.c. Read on in jinja_statements.c. */
#include "text/jinja/jinja_parser.h"

#include <string.h>

static lariat_status parse_body(parser *p, const char *const *ends, node_list *out);

bool parser_sees(const parser *p, const char *operator_or_name)
{
    return (p->at->type == TOKEN_NAME || p->at->type == TOKEN_OPERATOR) && strcmp(p->at->text, operator_or_name) == 0;
}

bool parser_skips(parser *p, const char *operator_or_name)
{
    bool sees = parser_sees(p, operator_or_name);

    p->at += sees;
    return sees;
}

lariat_status parser_refuse(const parser *p)
{
    const jinja_token *t = p->at;

    p->r->line = t->line;
    switch (t->type) {
    case TOKEN_NAME:
    case TOKEN_OPERATOR:
        return jinja_fail("unexpected '%s'", t->text);
    case TOKEN_STRING:
        return jinja_fail("unexpected text '%.*s'", t->size < 40 ? (int)t->size : 40, t->text);
    case TOKEN_INTEGER:
    case TOKEN_REAL:
        return jinja_fail("unexpected number");
    case TOKEN_END:
        return jinja_fail("the template ends within a construct");
    default:
        return jinja_fail("the tag ends within an expression");
    }
}

lariat_status parser_expect(parser *p, const char *operator_or_name)
{
    return parser_skips(p, operator_or_name) ? LARIAT_OK : parser_refuse(p);
}

lariat_status parser_name(parser *p, const char **out)
{
    if (p->at->type != TOKEN_NAME) {
        return parser_refuse(p);
    }
    *out = (p->at++)->text;
    return LARIAT_OK;
}

lariat_status parser_enter(parser *p)
{
    p->r->line = p->at->line;
    if (++p->nesting > MAX_JINJA_NESTING) {
        return jinja_fail("more than %d constructs within constructs", MAX_JINJA_NESTING);
    }
    return rendering_work(p->r, 1);
}

void parser_leave(parser *p)
{
    p->nesting--;
}

lariat_status parser_node(parser *p, node_kind kind, node **out)
{
    TAKE(p->r, *out, 1);
    (*out)->kind = kind;
    (*out)->line = p->r->line = p->at->line;
    return LARIAT_OK;
}

lariat_status node_list_add(rendering *r, node_list *l, node *n)
{
    MAKE_ROOM(r, l->items, l->n, l->capacity);
    l->items[l->n++] = n;
    return LARIAT_OK;
}

static lariat_status expect_type(parser *p, token_type type)
{
    if (p->at->type != type) {
        return parser_refuse(p);
    }
    p->at++;
    return LARIAT_OK;
}

/* --- targets --- */

static lariat_status parse_target_name(parser *p, bool attributes, node **out)
{
    TRY(parser_node(p, NODE_NAME, out));
    TRY(parser_name(p, &(*out)->name));
    if (strcmp((*out)->name, "true") == 0 || strcmp((*out)->name, "false") == 0 || strcmp((*out)->name, "none") == 0) {
        return jinja_fail("'%s' cannot be set", (*out)->name);
    }
    if (attributes && parser_skips(p, ".")) {
        (*out)->kind = NODE_TARGET_ATTRIBUTE;
        return parser_name(p, &(*out)->attribute);
    }
    return LARIAT_OK;
}

/* A name, ns.name, or several of them with commas, perhaps in parentheses. */
static lariat_status parse_target(parser *p, bool attributes, node **out)
{
    bool parentheses = parser_skips(p, "(");
    node *n, *tuple = NULL;

    TRY(parse_target_name(p, attributes, out));
    while (parser_skips(p, ",")) {
        if (!tuple) {
            TRY(parser_node(p, NODE_TUPLE, &tuple));
            TRY(node_list_add(p->r, &tuple->items, *out));
            *out = tuple;
        }
        if (p->at->type != TOKEN_NAME || parser_sees(p, "in")) {
            break;
        }
        TRY(parse_target_name(p, attributes, &n));
        TRY(node_list_add(p->r, &tuple->items, n));
    }
    return parentheses ? parser_expect(p, ")") : LARIAT_OK;
}

/* --- statements --- */

static lariat_status end_tag(parser *p)
{
    return expect_type(p, TOKEN_BLOCK_END);
}

/* The body up to {% end %}, whose tag stays open. */
static lariat_status parse_block(parser *p, const char *const *ends, node_list *out)
{
    TRY(end_tag(p));
    return parse_body(p, ends, out);
}

static lariat_status parse_for(parser *p, node *n)
{
    static const char *const ends[] = {"endfor", "else", NULL}, *const last[] = {"endfor", NULL};

    n->kind = NODE_FOR;
    TRY(parse_target(p, false, &n->a));
    TRY(parser_expect(p, "in"));
    TRY(parse_tuple(p, false, "recursive", &n->b));
    if (parser_skips(p, "if")) {
        TRY(parse_expression(p, &n->c));
    }
    if (parser_sees(p, "recursive")) {
        return jinja_fail("a recursive loop is not supported");
    }
    p->loops++;
    TRY(parse_block(p, ends, &n->body));
    p->loops--;
    if (parser_skips(p, "else")) {
        TRY(parse_block(p, last, &n->otherwise));
    }
    return parser_expect(p, "endfor");
}

/* elif is an if within else. */
static lariat_status parse_if(parser *p, node *n)
{
    static const char *const ends[] = {"endif", "elif", "else", NULL}, *const last[] = {"endif", NULL};
    bool more = true;

    p->conditional++;
    for (int deep = 0; more; deep++) {
        node *next = NULL;
        if (deep > MAX_JINJA_DEPTH / 2) {
            return jinja_fail("more than %d branches", deep);
        }
        n->kind = NODE_IF;
        TRY(parse_tuple(p, false, NULL, &n->a));
        TRY(parse_block(p, ends, &n->body));
        more = parser_sees(p, "elif");
        if (more) {
            TRY(parser_node(p, NODE_IF, &next));
            p->at++;
            TRY(node_list_add(p->r, &n->otherwise, next));
            n = next;
        } else if (parser_skips(p, "else")) {
            TRY(parse_block(p, last, &n->otherwise));
        }
    }
    p->conditional--;
    return parser_expect(p, "endif");
}

static lariat_status parse_set(parser *p, node *n)
{
    static const char *const ends[] = {"endset", NULL};

    n->kind = NODE_SET;
    TRY(parse_target(p, true, &n->a));
    if (parser_skips(p, "=")) {
        return parse_tuple(p, true, NULL, &n->b);
    }
    n->kind = NODE_SET_BLOCK;
    TRY(parse_filters(p, NULL, false, &n->b));
    TRY(parse_block(p, ends, &n->body));
    return parser_expect(p, "endset");
}

/* (a, b=1) */
static lariat_status parse_signature(parser *p, node *n)
{
    size_t capacity = 0;
    bool defaults = false;
    node *fallback;

    TRY(parser_expect(p, "("));
    while (!parser_skips(p, ")")) {
        if (n->items.n) {
            TRY(parser_expect(p, ","));
        }
        MAKE_ROOM(p->r, n->names, n->items.n, capacity);
        TRY(parser_name(p, &n->names[n->items.n]));
        fallback = NULL;
        if (parser_skips(p, "=")) {
            defaults = true;
            TRY(parse_expression(p, &fallback));
        } else if (defaults) {
            return jinja_fail("a parameter without a default behind one that has one");
        }
        TRY(node_list_add(p->r, &n->items, fallback));
    }
    return LARIAT_OK;
}

/* The body of a macro or call block: loops outside of it are not its own. */
static lariat_status parse_macro_body(parser *p, node *n, const char *const *ends)
{
    node *outer = p->macro;
    int loops = p->loops;

    p->macro = n;
    p->loops = 0;
    TRY(parse_block(p, ends, &n->body));
    p->macro = outer;
    p->loops = loops;
    return parser_expect(p, *ends);
}

static lariat_status parse_macro(parser *p, node *n)
{
    static const char *const ends[] = {"endmacro", NULL};

    n->kind = NODE_MACRO;
    TRY(parser_name(p, &n->name));
    TRY(parse_signature(p, n));
    return parse_macro_body(p, n, ends);
}

static lariat_status parse_call_block(parser *p, node *n)
{
    static const char *const ends[] = {"endcall", NULL};

    n->kind = NODE_CALL_BLOCK;
    n->name = rendering_name(p->r, "caller", 6);
    if (!n->name) {
        return LARIAT_NO_MEMORY;
    }
    if (parser_sees(p, "(")) {
        TRY(parse_signature(p, n));
    }
    TRY(parse_expression(p, &n->a));
    if (n->a->kind != NODE_CALL) {
        return jinja_fail("a call block without a call");
    }
    return parse_macro_body(p, n, ends);
}

static lariat_status parse_filter_block(parser *p, node *n)
{
    static const char *const ends[] = {"endfilter", NULL};

    n->kind = NODE_FILTER_BLOCK;
    TRY(parse_filters(p, NULL, true, &n->b));
    TRY(parse_block(p, ends, &n->body));
    return parser_expect(p, "endfilter");
}

static lariat_status parse_with(parser *p, node *n)
{
    static const char *const ends[] = {"endwith", NULL};
    node *target, *content;

    n->kind = NODE_WITH;
    while (p->at->type != TOKEN_BLOCK_END) {
        if (n->items.n) {
            TRY(parser_expect(p, ","));
        }
        TRY(parse_target_name(p, false, &target));
        TRY(parser_expect(p, "="));
        TRY(parse_expression(p, &content));
        TRY(node_list_add(p->r, &n->items, target));
        TRY(node_list_add(p->r, &n->items, content));
    }
    TRY(parse_block(p, ends, &n->body));
    return parser_expect(p, "endwith");
}

static lariat_status parse_generation(parser *p, node *n)
{
    static const char *const ends[] = {"endgeneration", NULL};
    int loops = p->loops;

    n->kind = NODE_BLOCK;
    p->loops = 0; /* a call block in Hugging Face's library, out of which no jump leads */
    TRY(parse_block(p, ends, &n->body));
    p->loops = loops;
    return parser_expect(p, "endgeneration");
}

static lariat_status parse_jump(parser *p, node *n)
{
    if (p->loops == 0) {
        return jinja_fail("break or continue outside of a loop");
    }
    n->kind = strcmp(p->at[-1].text, "break") == 0 ? NODE_BREAK : NODE_CONTINUE;
    return LARIAT_OK;
}

static lariat_status parse_print(parser *p, node *n)
{
    n->kind = NODE_OUTPUT;
    return parse_tuple(p, true, NULL, &n->a);
}

static lariat_status refuse_tag(const parser *p, const char *name)
{
    bool is_end = strncmp(name, "end", 3) == 0 || strcmp(name, "else") == 0 || strcmp(name, "elif") == 0;
    const char *const *e = p->ends;

    if (!is_end || !e) {
        return jinja_fail("the tag '%s' is not known here", name);
    }
    bool second = e[1], third = second && e[2];
    return jinja_fail("the tag '%s' is not known here: line %d wants '%s%s%s%s%s'", name, p->ends_line, e[0],
                      second ? "', '" : "", second ? e[1] : "", third ? "', '" : "", third ? e[2] : "");
}

static lariat_status parse_statement(parser *p, node **out)
{
    static const struct {
        const char *name;
        lariat_status (*parse)(parser *p, node *n);
    } statements[] = {{"for", parse_for},         {"if", parse_if},
                      {"set", parse_set},         {"macro", parse_macro},
                      {"call", parse_call_block}, {"filter", parse_filter_block},
                      {"with", parse_with},       {"generation", parse_generation},
                      {"break", parse_jump},      {"continue", parse_jump},
                      {"print", parse_print}};
    const char *name = "";

    TRY(parser_node(p, NODE_BLOCK, out));
    TRY(parser_name(p, &name));
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++) {
        if (strcmp(name, statements[i].name) == 0) {
            int outer = p->ends_line;
            TRY(parser_enter(p));
            p->ends_line = (*out)->line;
            TRY(statements[i].parse(p, *out));
            p->ends_line = outer;
            parser_leave(p);
            return end_tag(p);
        }
    }
    p->r->line = (*out)->line;
    return refuse_tag(p, name);
}

static bool is_end(const parser *p, const char *const *ends)
{
    for (; ends && *ends; ends++) {
        if (parser_sees(p, *ends)) {
            return true;
        }
    }
    return false;
}

static lariat_status parse_part(parser *p, node **out)
{
    if (p->at->type == TOKEN_DATA) {
        jinja_text text;
        TRY(parser_node(p, NODE_TEXT, out));
        TRY(jinja_text_from(p->r, p->at->text, p->at->size, ORIGIN_TEMPLATE, &text));
        (*out)->constant = value_text(text);
        p->at++;
        return LARIAT_OK;
    }
    p->at++;
    if (p->at[-1].type == TOKEN_BLOCK_BEGIN) {
        return parse_statement(p, out);
    }
    TRY(parser_node(p, NODE_OUTPUT, out));
    TRY(parse_tuple(p, true, NULL, &(*out)->a));
    return expect_type(p, TOKEN_VARIABLE_END);
}

/* Up to {% and one of the names, which is the next token; NULL: up to the end. */
static lariat_status parse_body(parser *p, const char *const *ends, node_list *out)
{
    const char *const *outer = p->ends;

    p->ends = ends;
    while (p->at->type != TOKEN_END) {
        node *n;
        if (p->at->type == TOKEN_BLOCK_BEGIN && p->at[1].type == TOKEN_NAME) {
            p->at++;
            if (is_end(p, ends)) {
                p->ends = outer;
                return LARIAT_OK;
            }
            p->at--;
        }
        TRY(parse_part(p, &n));
        TRY(node_list_add(p->r, out, n));
    }
    return ends ? jinja_fail("the template ends without the '%s' that line %d wants", *ends, p->ends_line) : LARIAT_OK;
}

lariat_status jinja_parse(rendering *r, const char *source, size_t size, node_list *out)
{
    token_list tokens;
    parser p = {.r = r};

    *out = (node_list){0};
    TRY(jinja_lex(r, source, size, &tokens));
    p.at = tokens.items;
    return parse_body(&p, NULL, out);
}
