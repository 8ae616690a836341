/*
 * tree.h -- a parsed template: its tokens while it is being parsed, then the tree of statements and
 * expressions, in which every name is already known as a slot of a frame.
 *
 * Jinja decides by the text alone where a name lives. A scope is a stretch of it in which a name that is set
 * belongs to it: the template, the body of a for, of a block set, ... A unit is what is called and so has
 * variables of its own at each call: the template, a macro, a caller, a recursive loop, a block. The
 * variables of all scopes of a unit are slots of one frame; a scope's are cleared when it is entered.
 */
#ifndef MOE_JINJA_TREE_H
#define MOE_JINJA_TREE_H

#include "base/map.h"
#include "jinja/value.h"

/* ---- tokens ---- */

enum token_kind {
    T_END,
    T_DATA,
    T_PRINT, /* {{ */
    T_PRINT_END,
    T_BLOCK, /* {% */
    T_BLOCK_END,
    T_NAME,
    T_STRING,
    T_NUMBER, /* an integer */
    T_FLOAT,
    T_ADD,
    T_SUB,
    T_DIV,
    T_FLOORDIV,
    T_MUL,
    T_MOD,
    T_POW,
    T_TILDE,
    T_LBRACKET,
    T_RBRACKET,
    T_LPAREN,
    T_RPAREN,
    T_LBRACE,
    T_RBRACE,
    T_EQ,
    T_NE,
    T_GT,
    T_GE,
    T_LT,
    T_LE,
    T_ASSIGN,
    T_DOT,
    T_COLON,
    T_PIPE,
    T_COMMA,
    T_SEMICOLON,
};

struct token {
    enum token_kind kind;
    int line;
    const char *s; /* the text of it; of a string what it means */
    uint32_t n;
    struct value value; /* of a constant */
};

/* ---- the tree ---- */

enum node_kind {
    /* expressions */
    N_CONST,
    N_NAME,
    N_LIST,
    N_TUPLE,
    N_DICT, /* items: key, value, key, ... */
    N_NOT,
    N_NEGATE,
    N_PLUS, /* unary */
    N_BINARY,
    N_AND,
    N_OR,
    N_COMPARE, /* a, then items: right sides; each with its op */
    N_OPERAND,
    N_CONCAT,
    N_IF_ELSE, /* a if b else c */
    N_ATTRIBUTE,
    N_SUBSCRIPT,
    N_SLICE, /* of a: items from, to, step, each may be NULL */
    N_CALL,
    N_FILTER, /* a may be NULL: of a block */
    N_TEST,
    N_KEYWORD,
    N_ARGS,    /* *a */
    N_KWARGS,  /* **a */
    N_NS_NAME, /* target: a is the name, value the attribute */
    /* statements */
    N_DATA,
    N_OUTPUT,
    N_BODY,
    N_IF,  /* a: test, b: body, c: else or the next if */
    N_FOR, /* a: over, b: body, c: else, d: test, target, test_target */
    N_BREAK,
    N_CONTINUE,
    N_SET,        /* target = a */
    N_SET_BLOCK,  /* target, b: body, a: filter */
    N_MACRO,      /* target: its name, items: parameters, b: body; value: its name */
    N_CALL_BLOCK, /* a: the call, macro: the caller */
    N_FILTER_BLOCK,
    N_WITH,  /* items: target, value, target, ... b: body */
    N_SCOPE, /* b: body */
    N_BLOCK,
    N_LOAD, /* include, import, extends: a is the name */
};

enum op {
    OP_ADD,
    OP_SUB,
    OP_MUL,
    OP_DIV,
    OP_FLOORDIV,
    OP_MOD,
    OP_POW,
    OP_EQ,
    OP_NE,
    OP_LT,
    OP_LE,
    OP_GT,
    OP_GE,
    OP_IN,
    OP_NOT_IN,
};

/* Where a name may be: hops frames up. */
struct place {
    uint16_t hops, slot;
};

struct node {
    enum node_kind kind;
    int line;
    enum op op;
    struct value value; /* of a constant; the name of an attribute, filter, test, keyword or macro */
    struct node *a, *b, *c, *d, *target, *test_target;
    struct node **item;
    uint32_t n;
    const struct builtin *builtin; /* of a filter or test; NULL: there is none of that name */
    int symbol;                    /* of a name */
    struct scope *scope;           /* of a name: in which it is used; else: that it opens */
    struct place *place;           /* of a name: innermost first, then it is global */
    uint32_t places;
    struct unit *unit; /* that it opens */
    bool recursive, plain_text;
    struct node *next_name; /* while parsing */
};

struct binding {
    int symbol;
    uint16_t slot;
};
struct scope {
    struct scope *up;
    struct unit *unit;
    struct binding *name;
    size_t n, cap;
};
struct unit {
    struct unit *up;
    uint32_t slots;
    int loop;                    /* slot of "loop" in a recursive loop */
    int caller, kwargs, varargs; /* slots, for those that its body uses; else -1 */
    bool explicit_caller;
};

struct jinja {
    struct arena arena;
    struct map symbols;
    struct node *body;
    struct unit *root;
    bool surrogates; /* a string of it has an escape of half a character, which no UTF-8 can print */
};

/* ---- parsing ---- */

struct parse {
    struct jinja *t;
    const char *text; /* normalised */
    size_t n;
    struct token *token;
    size_t tokens, tokens_cap, at;
    struct scope *scope;
    struct node *names; /* all uses, to be given their places */
    int loops;          /* around, in this unit */
    bool soft;          /* in an if: unknown filters are only told when they are used */
    int depth;
    int line;
    struct err *e;
    jmp_buf leave;
};

void parse_fail(struct parse *p, int line, const char *fmt, ...)
    __attribute__((noreturn, format(printf, 3, 4)));
/* what: Python's name of the exception, where it is not TemplateSyntaxError. */
void parse_fail_as(struct parse *p, int line, const char *what, const char *fmt, ...)
    __attribute__((noreturn, format(printf, 4, 5)));
void *parse_get(struct parse *p, size_t n); /* zeroed, of the template's arena */
void lex(struct parse *p);                  /* fills p->token */
/* A number's value or a string's, from what stands in the template. */
struct value lex_number(struct parse *p, const char *s, size_t n, bool real);
struct value lex_string(struct parse *p, const char *s, size_t n);

/* the token at hand */
struct token *now(struct parse *p);
struct token *ahead(struct parse *p); /* the one after it */
bool is_kind(struct parse *p, enum token_kind kind);
bool is_name(struct parse *p, const char *name);
bool skip_kind(struct parse *p, enum token_kind kind);
bool skip_name(struct parse *p, const char *name);
struct token *expect(struct parse *p, enum token_kind kind, const char *what);

struct node *node_new(struct parse *p, enum node_kind kind, int line);
void node_add(struct parse *p, struct node *parent, struct node *child);
struct node *parse_expression(struct parse *p);
/* One expression or several separated by commas; ends are names that end it. */
struct node *parse_tuple(struct parse *p, bool conditional, const char *end);
struct node *parse_filters(struct parse *p, struct node *of, bool inline_first);
void parse_arguments(struct parse *p, struct node *call);
struct node *parse_target(struct parse *p, bool namespaces, const char *end);
void parse_template(struct parse *p);

/* scope.c */
struct scope *scope_push(struct parse *p, bool unit);
void scope_pop(struct parse *p, struct scope *s);
int symbol_of(struct parse *p, const char *s, uint32_t n);
int scope_declare(struct parse *p, struct scope *s, int symbol); /* its slot */
struct node *name_new(struct parse *p, const struct token *t);
/* Declares what the target sets, in the scope at hand. */
void target_declare(struct parse *p, struct node *target);
struct node *target_copy(struct parse *p, const struct node *target);
void names_resolve(struct parse *p);

#endif
