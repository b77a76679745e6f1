/* The parser's state, shared by the parsers of expressions and of statements.
   Rests on jinja_tree.h. Read on in jinja_parser.c and jinja_expression_parser.c. */
#pragma once

#include "text/jinja/jinja_rendering.h"

typedef struct parser {
    rendering *r;
    const jinja_token *at;
    node *macro;     /* the innermost macro or call block, or NULL */
    int conditional; /* within this many ifs: unknown filters are refused when they are reached */
    int loops;       /* of which break and continue may end one */
    int nesting;
    const char *const *ends; /* the tags of which one ends the innermost body, its closing tag first; NULL: the template */
    int ends_line;           /* of the tag that wants them */
} parser;

bool parser_sees(const parser *p, const char *operator_or_name);
bool parser_skips(parser *p, const char *operator_or_name);
lariat_status parser_expect(parser *p, const char *operator_or_name);
lariat_status parser_name(parser *p, const char **out);
lariat_status parser_refuse(const parser *p);
/* Ends a nested construct that parser_enter() began. */
lariat_status parser_enter(parser *p);
void parser_leave(parser *p);
lariat_status parser_node(parser *p, node_kind kind, node **out);

lariat_status parse_expression(parser *p, node **out);
/* An expression, or several with commas: a tuple. `whole`: a if b else c may stand there. `end`: a name that ends it. */
lariat_status parse_tuple(parser *p, bool whole, const char *end, node **out);
lariat_status parse_primary(parser *p, node **out);
/* |filter|filter behind n, which may be NULL; `begins`: the first | is absent. */
lariat_status parse_filters(parser *p, node *n, bool begins, node **out);
