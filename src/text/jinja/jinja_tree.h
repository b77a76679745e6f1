/* A template as a tree. Names are interned: equal names have one address.
   Rests on jinja_value.h. Read on in jinja_parser.c. */
#pragma once

#include "text/jinja/jinja_value.h"

typedef enum node_kind {
    /* expressions */
    NODE_CONST,
    NODE_NAME,
    NODE_LIST,
    NODE_TUPLE,
    NODE_DICT,      /* items: key, value, ... */
    NODE_ATTRIBUTE, /* a.name */
    NODE_ITEM,      /* a[b] */
    NODE_SLICE,     /* items: from, to, step, each may be NULL; the b of NODE_ITEM */
    NODE_CALL,      /* a(arguments) */
    NODE_FILTER,    /* a|name(arguments); a NULL: a filter block's body */
    NODE_TEST,      /* a is name(arguments) */
    NODE_IF_ELSE,   /* b if a else c; c may be NULL */
    NODE_AND,
    NODE_OR,
    NODE_NOT,
    NODE_NEGATIVE,
    NODE_POSITIVE,
    NODE_BINARY,  /* a name b */
    NODE_CONCAT,  /* items joined by ~ */
    NODE_COMPARE, /* a, then items; names of operators in names */
    /* statements */
    NODE_OUTPUT,           /* an expression */
    NODE_TEXT,             /* constant */
    NODE_FOR,              /* for a in b if c: body; else otherwise */
    NODE_IF,               /* if a: body; else otherwise */
    NODE_SET,              /* set a = b */
    NODE_SET_BLOCK,        /* set a|filters: body; b is the chain of filters or NULL */
    NODE_TARGET_ATTRIBUTE, /* the target ns.name: `name` and `attribute` */
    NODE_MACRO,            /* macro name(names = defaults): body */
    NODE_CALL_BLOCK,       /* call(names = defaults) a: body */
    NODE_FILTER_BLOCK,     /* filter b: body */
    NODE_WITH,             /* items: target, value, ... */
    NODE_BLOCK,            /* body in a scope of its own: generation */
    NODE_BREAK,
    NODE_CONTINUE
} node_kind;

typedef struct node_list {
    node **items;
    size_t n, capacity;
} node_list;

typedef struct argument_list {
    node_list positional; /* by position */
    node_list named;     /* by name */
    const char **names;  /* of `named` */
    node *rest, *others; /* *rest, **others */
} argument_list;

struct node {
    node_kind kind;
    int line;
    const char *name, *attribute; /* interned */
    node *a, *b, *c;
    value constant;
    node_list items;           /* operands, or defaults of a macro (NULL: none) */
    const char **names;        /* of a macro's parameters, [items.n]; of a comparison's operators */
    node_list body, otherwise; /* statements */
    argument_list arguments;
    bool uses_rest, uses_others, uses_caller; /* MACRO: names varargs, kwargs, caller */
};

/* --- tokens --- */

typedef enum token_type {
    TOKEN_END,
    TOKEN_DATA, /* text outside of tags */
    TOKEN_BLOCK_BEGIN,
    TOKEN_BLOCK_END,
    TOKEN_VARIABLE_BEGIN,
    TOKEN_VARIABLE_END,
    TOKEN_NAME,
    TOKEN_STRING,
    TOKEN_INTEGER,
    TOKEN_REAL,
    TOKEN_OPERATOR
} token_type;

typedef struct jinja_token {
    token_type type;
    int line;
    const char *text; /* NAME, OPERATOR: interned */
    size_t size;      /* DATA, STRING */
    int64_t integer;
    double real;
} jinja_token;

typedef struct token_list {
    jinja_token *items;
    size_t n, capacity;
} token_list;

lariat_status jinja_lex(rendering *r, const char *source, size_t size, token_list *out);
/* The body of the template. */
lariat_status jinja_parse(rendering *r, const char *source, size_t size, node_list *out);
lariat_status node_list_add(rendering *r, node_list *l, node *n);
