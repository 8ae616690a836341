/* expression.c -- the expressions of a template, by precedence from the weakest. */
#include <string.h>

#include "jinja/builtin.h"
#include "jinja/tree.h"

enum { DEEP = 200 }; /* expressions inside each other */

static struct node *parse_or(struct parse *p);
static struct node *parse_unary(struct parse *p, bool filters);

static void deeper(struct parse *p)
{
    if (++p->depth > DEEP)
        parse_fail(p, now(p)->line, "expressions or blocks more than %d deep", DEEP);
}

static struct node *pair(struct parse *p, enum node_kind kind, int line, struct node *a, struct node *b)
{
    struct node *n = node_new(p, kind, line);

    n->a = a;
    n->b = b;
    return n;
}

static struct node *binary(struct parse *p, enum op op, int line, struct node *a, struct node *b)
{
    struct node *n = pair(p, N_BINARY, line, a, b);

    n->op = op;
    return n;
}

struct node *parse_expression(struct parse *p)
{
    int line = now(p)->line;
    struct node *n, *test;

    deeper(p);
    n = parse_or(p);
    while (skip_name(p, "if")) {
        bool soft = p->soft;

        test = parse_or(p);
        n = pair(p, N_IF_ELSE, line, n, test);
        p->soft = true;
        n->c = skip_name(p, "else") ? parse_expression(p) : NULL;
        p->soft = soft;
    }
    p->depth--;
    return n;
}

static struct node *parse_not(struct parse *p);

static struct node *parse_and(struct parse *p)
{
    struct node *n = parse_not(p);
    int line = now(p)->line;

    while (skip_name(p, "and"))
        n = pair(p, N_AND, line, n, parse_not(p));
    return n;
}

static struct node *parse_or(struct parse *p)
{
    struct node *n = parse_and(p);
    int line = now(p)->line;

    while (skip_name(p, "or"))
        n = pair(p, N_OR, line, n, parse_and(p));
    return n;
}

static struct node *parse_sum(struct parse *p);

/* The comparison that the token at hand is, passed over; false: none. */
static bool comparison(struct parse *p, enum op *op)
{
    static const enum op of[] = {
        [T_EQ] = OP_EQ, [T_NE] = OP_NE, [T_GT] = OP_GT, [T_GE] = OP_GE, [T_LT] = OP_LT, [T_LE] = OP_LE};
    const struct token *t = now(p), *next = ahead(p);

    if (t->kind >= T_EQ && t->kind <= T_LE) {
        *op = of[t->kind];
        p->at++;
        return true;
    }
    if (skip_name(p, "in")) {
        *op = OP_IN;
        return true;
    }
    if (!is_name(p, "not") || next->kind != T_NAME || next->n != 2 || memcmp(next->s, "in", 2) != 0)
        return false;
    p->at += 2;
    *op = OP_NOT_IN;
    return true;
}

static struct node *parse_compare(struct parse *p)
{
    struct node *first = parse_sum(p), *n = NULL, *right;
    int line = now(p)->line;
    enum op op;

    while (comparison(p, &op)) {
        if (!n)
            n = pair(p, N_COMPARE, line, first, NULL);
        right = pair(p, N_OPERAND, line, parse_sum(p), NULL);
        right->op = op;
        node_add(p, n, right);
    }
    return n ? n : first;
}

static struct node *parse_not(struct parse *p)
{
    int line = now(p)->line;
    struct node *n;

    if (!skip_name(p, "not"))
        return parse_compare(p);
    deeper(p);
    n = pair(p, N_NOT, line, parse_not(p), NULL);
    p->depth--;
    return n;
}

static struct node *parse_power(struct parse *p)
{
    struct node *n = parse_unary(p, true);
    int line = now(p)->line;

    while (skip_kind(p, T_POW))
        n = binary(p, OP_POW, line, n, parse_unary(p, true));
    return n;
}

static struct node *parse_product(struct parse *p)
{
    static const enum op of[] = {
        [T_MUL] = OP_MUL, [T_DIV] = OP_DIV, [T_FLOORDIV] = OP_FLOORDIV, [T_MOD] = OP_MOD};
    struct node *n = parse_power(p);

    for (;;) {
        const struct token *t = now(p);

        if (t->kind != T_MUL && t->kind != T_DIV && t->kind != T_FLOORDIV && t->kind != T_MOD)
            return n;
        p->at++;
        n = binary(p, of[t->kind], t->line, n, parse_power(p));
    }
}

static struct node *parse_concat(struct parse *p)
{
    struct node *first = parse_product(p), *n;

    if (!is_kind(p, T_TILDE))
        return first;
    n = node_new(p, N_CONCAT, first->line);
    node_add(p, n, first);
    while (skip_kind(p, T_TILDE))
        node_add(p, n, parse_product(p));
    return n;
}

static struct node *parse_sum(struct parse *p)
{
    struct node *n = parse_concat(p);

    for (;;) {
        const struct token *t = now(p);

        if (t->kind != T_ADD && t->kind != T_SUB)
            return n;
        p->at++;
        n = binary(p, t->kind == T_ADD ? OP_ADD : OP_SUB, t->line, n, parse_concat(p));
    }
}

/* ---- what stands alone ---- */

static struct node *parse_list(struct parse *p)
{
    struct node *n = node_new(p, N_LIST, now(p)->line);

    p->at++;
    while (!is_kind(p, T_RBRACKET)) {
        if (n->n)
            expect(p, T_COMMA, ",");
        if (is_kind(p, T_RBRACKET))
            break;
        node_add(p, n, parse_expression(p));
    }
    p->at++;
    return n;
}

static struct node *parse_dict(struct parse *p)
{
    struct node *n = node_new(p, N_DICT, now(p)->line);

    p->at++;
    while (!is_kind(p, T_RBRACE)) {
        if (n->n)
            expect(p, T_COMMA, ",");
        if (is_kind(p, T_RBRACE))
            break;
        node_add(p, n, parse_expression(p));
        expect(p, T_COLON, ":");
        node_add(p, n, parse_expression(p));
    }
    p->at++;
    return n;
}

static struct node *constant(struct parse *p, int line, struct value v)
{
    struct node *n = node_new(p, N_CONST, line);

    n->value = v;
    return n;
}

/* Strings side by side are one. */
static struct node *parse_string(struct parse *p)
{
    struct node *n = constant(p, now(p)->line, now(p)->value);

    for (p->at++; is_kind(p, T_STRING); p->at++) {
        struct value more = now(p)->value;
        char *s = parse_get(p, (size_t)n->value.n + more.n + 1);

        memcpy(s, n->value.s, n->value.n);
        memcpy(s + n->value.n, more.s, more.n);
        n->value = v_str(s, (size_t)n->value.n + more.n);
    }
    return n;
}

/* The names that are values; MISSING: it is another. */
static struct value named_value(const struct token *t)
{
    static const struct {
        const char *name;
        struct value value;
    } names[] = {{"true", {.kind = BOOL, .i = 1}}, {"True", {.kind = BOOL, .i = 1}},
                 {"false", {.kind = BOOL}},        {"False", {.kind = BOOL}},
                 {"none", {.kind = NONE}},         {"None", {.kind = NONE}}};
    size_t i;

    for (i = 0; i < sizeof names / sizeof *names; i++)
        if (t->n == strlen(names[i].name) && memcmp(t->s, names[i].name, t->n) == 0)
            return names[i].value;
    return (struct value){.kind = MISSING};
}

static struct node *parse_name(struct parse *p, bool namespaces)
{
    struct token *t = now(p);
    struct value v = named_value(t);
    struct node *n;

    p->at++;
    if (v.kind != MISSING)
        return constant(p, t->line, v);
    n = name_new(p, t);
    if (!namespaces || !is_kind(p, T_DOT))
        return n;
    p->at++;
    n = pair(p, N_NS_NAME, t->line, n, NULL);
    t = expect(p, T_NAME, "name");
    n->value = v_str(t->s, t->n);
    return n;
}

static struct node *parse_primary(struct parse *p, bool namespaces)
{
    struct token *t = now(p);
    struct node *n;

    switch (t->kind) {
    case T_NAME:
        return parse_name(p, namespaces);
    case T_STRING:
        return parse_string(p);
    case T_NUMBER:
    case T_FLOAT:
        p->at++;
        return constant(p, t->line, t->value);
    case T_LPAREN:
        p->at++;
        n = parse_tuple(p, true, ")");
        expect(p, T_RPAREN, ")");
        return n;
    case T_LBRACKET:
        return parse_list(p);
    case T_LBRACE:
        return parse_dict(p);
    default:
        parse_fail(p, t->line, "unexpected '%.*s'", (int)t->n, t->s);
    }
}

static bool tuple_ends(struct parse *p, const char *end)
{
    return is_kind(p, T_PRINT_END) || is_kind(p, T_BLOCK_END) || is_kind(p, T_RPAREN) ||
           (end && is_name(p, end));
}

struct node *parse_tuple(struct parse *p, bool conditional, const char *end)
{
    struct node *n = node_new(p, N_TUPLE, now(p)->line);
    bool tuple = false;

    while (!tuple_ends(p, end)) {
        node_add(p, n, conditional ? parse_expression(p) : parse_or(p));
        if (!skip_kind(p, T_COMMA))
            break;
        tuple = true;
    }
    if (tuple)
        return n;
    if (n->n)
        return n->item[0];
    if (!end || *end != ')')
        parse_fail(p, now(p)->line, "Expected an expression, got '%.*s'", (int)now(p)->n, now(p)->s);
    return n;
}

/* Names, attributes of namespaces, and tuples of them. */
static void check_target(struct parse *p, const struct node *n)
{
    uint32_t i;

    if (n->kind != N_NAME && n->kind != N_NS_NAME && n->kind != N_TUPLE)
        parse_fail(p, n->line, "can't assign to this");
    for (i = 0; n->kind == N_TUPLE && i < n->n; i++)
        check_target(p, n->item[i]);
}

struct node *parse_target(struct parse *p, bool namespaces, const char *end)
{
    struct node *n = node_new(p, N_TUPLE, now(p)->line);
    bool tuple = false;

    while (!tuple_ends(p, end)) {
        node_add(p, n, parse_primary(p, namespaces));
        if (!skip_kind(p, T_COMMA))
            break;
        tuple = true;
    }
    if (!n->n)
        parse_fail(p, n->line, "Expected an expression, got '%.*s'", (int)now(p)->n, now(p)->s);
    n = tuple ? n : n->item[0];
    check_target(p, n);
    return n;
}

/* ---- what follows ---- */

/* A slice's part, or NULL where it is left out. */
static struct node *slice_part(struct parse *p)
{
    return is_kind(p, T_RBRACKET) || is_kind(p, T_COMMA) || is_kind(p, T_COLON) ? NULL : parse_expression(p);
}

static struct node *parse_index(struct parse *p, struct node *of, int line)
{
    struct node *n = pair(p, N_SUBSCRIPT, line, of, NULL), *first = slice_part(p);

    if (!skip_kind(p, T_COLON)) {
        n->b = first ? first : node_new(p, N_TUPLE, line); /* x[] is of an empty tuple */
        return n;
    }
    n->kind = N_SLICE;
    node_add(p, n, first);
    node_add(p, n, slice_part(p));
    node_add(p, n, skip_kind(p, T_COLON) ? slice_part(p) : NULL);
    return n;
}

static struct node *parse_subscript(struct parse *p, struct node *of)
{
    struct token *t = now(p);
    struct node *n, *tuple;

    p->at++;
    if (t->kind == T_LBRACKET) {
        n = parse_index(p, of, t->line);
        if (n->kind == N_SUBSCRIPT && is_kind(p, T_COMMA)) { /* x[1, 2] */
            tuple = node_new(p, N_TUPLE, t->line);
            node_add(p, tuple, n->b);
            while (skip_kind(p, T_COMMA))
                node_add(p, tuple, parse_expression(p));
            n->b = tuple;
        }
        expect(p, T_RBRACKET, "]");
        return n;
    }
    t = now(p);
    p->at++;
    if (t->kind == T_NUMBER)
        return pair(p, N_SUBSCRIPT, t->line, of, constant(p, t->line, t->value));
    if (t->kind != T_NAME)
        parse_fail(p, t->line, "expected name or number");
    n = pair(p, N_ATTRIBUTE, t->line, of, NULL);
    n->value = v_str(t->s, t->n);
    n->builtin = builtin_find(dict_methods, t->s, t->n);
    return n;
}

static void parse_argument(struct parse *p, struct node *call, int *stage)
{
    struct token *t = now(p);
    int this = t->kind == T_MUL                                  ? 2
               : t->kind == T_POW                                ? 3
               : t->kind == T_NAME && ahead(p)->kind == T_ASSIGN ? 1
                                                                 : 0;
    struct node *n;

    /* 0: by position, 1: by name, 2: *, 3: **; a name may follow * */
    if (*stage == 3 || (this == 0 && *stage > 0) || (this == 2 && *stage == 2))
        parse_fail(p, t->line, "invalid syntax for function call expression");
    if (this > *stage)
        *stage = this;
    if (this == 0) {
        node_add(p, call, parse_expression(p));
        return;
    }
    n = node_new(p, this == 1 ? N_KEYWORD : this == 2 ? N_ARGS : N_KWARGS, t->line);
    n->value = v_str(t->s, t->n);
    p->at += this == 1 ? 2 : 1;
    n->a = parse_expression(p);
    node_add(p, call, n);
}

void parse_arguments(struct parse *p, struct node *call)
{
    int stage = 0;

    expect(p, T_LPAREN, "(");
    while (!is_kind(p, T_RPAREN)) {
        if (call->n) {
            expect(p, T_COMMA, ",");
            if (is_kind(p, T_RPAREN))
                break;
        }
        parse_argument(p, call, &stage);
    }
    p->at++;
}

static struct node *parse_call(struct parse *p, struct node *of)
{
    struct node *n = pair(p, N_CALL, now(p)->line, of, NULL);

    parse_arguments(p, n);
    return n;
}

static struct node *parse_postfix(struct parse *p, struct node *n)
{
    int i;

    for (i = 0;; i++) {
        if (i == 10 * DEEP)
            parse_fail(p, now(p)->line, "more than %d attributes, subscripts and calls", i);
        if (is_kind(p, T_DOT) || is_kind(p, T_LBRACKET))
            n = parse_subscript(p, n);
        else if (is_kind(p, T_LPAREN))
            n = parse_call(p, n);
        else
            return n;
    }
}

/* A dotted name, as one. */
static struct value dotted(struct parse *p)
{
    struct token *first = expect(p, T_NAME, "name"), *last = first;

    while (skip_kind(p, T_DOT))
        last = expect(p, T_NAME, "name");
    return v_str(first->s, (size_t)(last->s - first->s) + last->n);
}

/* A filter or test of that name must be there, unless the tag may not be reached. */
static void find_builtin(struct parse *p, struct node *n, const struct builtin *table, const char *what)
{
    n->builtin = builtin_find(table, n->value.s, n->value.n);
    if (!n->builtin && !p->soft)
        parse_fail_as(p, n->line, "TemplateAssertionError", "No %s named '%.*s'.", what, (int)n->value.n,
                      n->value.s);
}

struct node *parse_filters(struct parse *p, struct node *of, bool inline_first)
{
    while (inline_first || is_kind(p, T_PIPE)) {
        struct node *n;

        if (!inline_first)
            p->at++;
        inline_first = false;
        n = pair(p, N_FILTER, now(p)->line, of, NULL);
        n->value = dotted(p);
        if (is_kind(p, T_LPAREN))
            parse_arguments(p, n);
        find_builtin(p, n, filters, "filter");
        of = n;
    }
    return of;
}

static struct node *parse_test(struct parse *p, struct node *of)
{
    struct node *n = pair(p, N_TEST, now(p)->line, of, NULL);
    const struct token *t;
    bool negated;

    p->at++;
    negated = skip_name(p, "not");
    n->value = dotted(p);
    t = now(p);
    if (is_name(p, "is"))
        parse_fail(p, t->line, "You cannot chain multiple tests with is");
    if (t->kind == T_LPAREN)
        parse_arguments(p, n);
    else if ((t->kind == T_NAME && !is_name(p, "else") && !is_name(p, "or") && !is_name(p, "and")) ||
             t->kind == T_STRING || t->kind == T_NUMBER || t->kind == T_FLOAT || t->kind == T_LBRACKET ||
             t->kind == T_LBRACE)
        node_add(p, n, parse_postfix(p, parse_primary(p, false)));
    find_builtin(p, n, tests, "test");
    return negated ? pair(p, N_NOT, n->line, n, NULL) : n;
}

static struct node *parse_unary(struct parse *p, bool with_filters)
{
    struct token *t = now(p);
    struct node *n;

    deeper(p);
    if (skip_kind(p, T_SUB))
        n = pair(p, N_NEGATE, t->line, parse_unary(p, false), NULL);
    else if (skip_kind(p, T_ADD))
        n = pair(p, N_PLUS, t->line, parse_unary(p, false), NULL);
    else
        n = parse_primary(p, false);
    n = parse_postfix(p, n);
    while (with_filters) {
        if (is_kind(p, T_PIPE))
            n = parse_filters(p, n, false);
        else if (is_name(p, "is"))
            n = parse_test(p, n);
        else if (is_kind(p, T_LPAREN))
            n = parse_call(p, n);
        else
            break;
    }
    p->depth--;
    return n;
}
