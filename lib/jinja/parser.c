/* parser.c -- the statements of a template: tokens to a tree. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jinja/jinja.h"
#include "jinja/tree.h"
#include "jinja/characters.h"

/* ---- tokens and nodes ---- */

static void parse_say(struct parse *p, int line, const char *what, const char *fmt, va_list ap)
{
    char text[700];

    vsnprintf(text, sizeof text, fmt, ap);
    text[utf8_whole(text, strlen(text))] = 0;
    err_set(p->e, ERR_INPUT, "line %d: %s: %s", line, what, text);
}

void parse_fail(struct parse *p, int line, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    parse_say(p, line, "TemplateSyntaxError", fmt, ap);
    va_end(ap);
    longjmp(p->leave, 1);
}

void parse_fail_as(struct parse *p, int line, const char *what, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    parse_say(p, line, what, fmt, ap);
    va_end(ap);
    longjmp(p->leave, 1);
}

void *parse_get(struct parse *p, size_t n)
{
    void *m = arena_get(&p->t->arena, n);

    if (!m) {
        err_set(p->e, ERR_NOMEM, "out of memory: a chat template");
        longjmp(p->leave, 1);
    }
    return memset(m, 0, n);
}

struct token *now(struct parse *p)
{
    return &p->token[p->at < p->tokens ? p->at : p->tokens - 1];
}

struct token *ahead(struct parse *p)
{
    return &p->token[p->at + 1 < p->tokens ? p->at + 1 : p->tokens - 1];
}

bool is_kind(struct parse *p, enum token_kind kind)
{
    return now(p)->kind == kind;
}

bool is_name(struct parse *p, const char *name)
{
    const struct token *t = now(p);

    return t->kind == T_NAME && t->n == strlen(name) && memcmp(t->s, name, t->n) == 0;
}

bool skip_kind(struct parse *p, enum token_kind kind)
{
    if (!is_kind(p, kind))
        return false;
    p->at++;
    return true;
}

bool skip_name(struct parse *p, const char *name)
{
    if (!is_name(p, name))
        return false;
    p->at++;
    return true;
}

struct token *expect(struct parse *p, enum token_kind kind, const char *what)
{
    struct token *t = now(p);

    if (t->kind != kind)
        parse_fail(p, t->line, "expected token '%s', got '%.*s'", what, (int)t->n, t->s);
    p->at++;
    return t;
}

struct node *node_new(struct parse *p, enum node_kind kind, int line)
{
    struct node *n = parse_get(p, sizeof *n);

    n->kind = kind;
    n->line = line;
    return n;
}

void node_add(struct parse *p, struct node *parent, struct node *child)
{
    uint32_t n = parent->n;

    if ((n & (n - 1)) == 0) { /* full: 0, 1, 2, 4, 8, ... */
        struct node **grown = parse_get(p, (n ? 2 * (size_t)n : 1) * sizeof *grown);

        if (n)
            memcpy(grown, parent->item, n * sizeof *grown);
        parent->item = grown;
    }
    parent->item[parent->n++] = child;
}

/* ---- bodies ---- */

static struct node *parse_statement(struct parse *p);

/* Up to a tag that begins with one of ends (separated by spaces), which is then at hand; NULL: to the end. */
static struct node *parse_until(struct parse *p, const char *ends);

/* The rest of a tag, then a body. */
static struct node *parse_body(struct parse *p, const char *ends)
{
    skip_kind(p, T_COLON);
    expect(p, T_BLOCK_END, "end of statement block");
    return parse_until(p, ends);
}

static bool at_end(struct parse *p, const char *ends)
{
    const struct token *t = now(p);
    const char *e;

    if (t->kind != T_NAME)
        return false;
    for (e = ends; e; e = strchr(e, ' ') ? strchr(e, ' ') + 1 : NULL)
        if (strncmp(e, t->s, t->n) == 0 && (e[t->n] == ' ' || e[t->n] == 0))
            return true;
    return false;
}

static struct node *parse_print(struct parse *p)
{
    struct node *n = node_new(p, N_OUTPUT, now(p)->line);

    p->at++;
    n->a = parse_tuple(p, true, NULL);
    expect(p, T_PRINT_END, "end of print statement");
    return n;
}

static struct node *parse_until(struct parse *p, const char *ends)
{
    struct node *body = node_new(p, N_BODY, now(p)->line), *n;

    if (++p->depth > 200)
        parse_fail(p, now(p)->line, "blocks more than 200 deep");
    for (;;) {
        struct token *t = now(p);

        if (t->kind == T_END && ends)
            parse_fail(p, t->line, "Unexpected end of template. Jinja was looking for one of: %s", ends);
        if (t->kind == T_END)
            break;
        if (t->kind == T_DATA) {
            n = node_new(p, N_DATA, t->line);
            n->value = v_str(t->s, t->n);
            p->at++;
        } else if (t->kind == T_PRINT) {
            n = parse_print(p);
        } else {
            p->at++;
            if (at_end(p, ends))
                break;
            n = parse_statement(p);
            expect(p, T_BLOCK_END, "end of statement block");
        }
        node_add(p, body, n);
    }
    p->depth--;
    return body;
}

/* A body in a scope of its own, from which the loops around cannot be left. */
static void parse_scoped(struct parse *p, struct node *n, bool unit, const char *end)
{
    int loops = p->loops;
    bool soft = p->soft;

    n->scope = scope_push(p, unit);
    n->unit = n->scope->unit;
    p->loops = 0;
    p->soft = false;
    n->b = parse_body(p, end);
    p->at++;
    p->loops = loops;
    p->soft = soft;
    scope_pop(p, n->scope);
}

/* ---- statements ---- */

static struct node *parse_if(struct parse *p)
{
    struct node *n = node_new(p, N_IF, now(p)->line);
    bool soft = p->soft;

    p->at++;
    p->soft = true;
    n->a = parse_tuple(p, false, NULL);
    n->b = parse_body(p, "elif else endif");
    if (is_name(p, "elif")) {
        n->c = parse_if(p);
    } else if (skip_name(p, "else")) {
        n->c = parse_body(p, "endif");
        p->at++;
    } else {
        p->at++;
    }
    p->soft = soft;
    return n;
}

static void no_loop_target(struct parse *p, const struct node *target)
{
    uint32_t i;

    if (target->kind == N_NAME && v_is(target->value, "loop"))
        parse_fail_as(p, target->line, "TemplateAssertionError",
                      "Can't assign to special loop variable in for-loop target");
    for (i = 0; target->kind == N_TUPLE && i < target->n; i++)
        no_loop_target(p, target->item[i]);
}

static void parse_loop_test(struct parse *p, struct node *n)
{
    struct scope *s;

    n->test_target = target_copy(p, n->target);
    s = scope_push(p, false);
    target_declare(p, n->test_target);
    n->d = parse_expression(p);
    scope_pop(p, s);
}

static void parse_loop_body(struct parse *p, struct node *n)
{
    struct token loop = {.kind = T_NAME, .line = n->line, .s = "loop", .n = 4};
    int loops = p->loops;

    n->scope = scope_push(p, n->recursive);
    n->unit = n->scope->unit;
    p->loops = n->recursive ? 1 : loops + 1;
    target_declare(p, n->target);
    n->symbol = scope_declare(p, n->scope, symbol_of(p, loop.s, loop.n));
    n->b = parse_body(p, "endfor else");
    p->loops = n->recursive ? 0 : loops;
    scope_pop(p, n->scope);
    if (skip_name(p, "else")) {
        struct node *other = node_new(p, N_SCOPE, now(p)->line);

        other->scope = scope_push(p, false);
        other->b = parse_body(p, "endfor");
        scope_pop(p, other->scope);
        n->c = other;
    }
    p->loops = loops;
    p->at++;
}

static struct node *parse_for(struct parse *p)
{
    struct node *n = node_new(p, N_FOR, now(p)->line);
    bool soft = p->soft;

    p->at++;
    n->target = parse_target(p, false, "in");
    no_loop_target(p, n->target);
    if (!skip_name(p, "in"))
        parse_fail(p, now(p)->line, "expected token 'in', got '%.*s'", (int)now(p)->n, now(p)->s);
    n->a = parse_tuple(p, false, "recursive");
    p->soft = false;
    if (skip_name(p, "if"))
        parse_loop_test(p, n);
    n->recursive = skip_name(p, "recursive");
    parse_loop_body(p, n);
    p->soft = soft;
    return n;
}

static struct node *parse_set(struct parse *p)
{
    struct node *n = node_new(p, N_SET, now(p)->line);

    p->at++;
    n->target = parse_target(p, true, NULL);
    if (skip_kind(p, T_ASSIGN)) {
        n->a = parse_tuple(p, true, NULL);
    } else {
        n->kind = N_SET_BLOCK;
        n->a = parse_filters(p, NULL, false);
        parse_scoped(p, n, false, "endset");
    }
    target_declare(p, n->target);
    return n;
}

/* ( name, name=default, ... ): items are names, each with its default in a. */
static void parse_signature(struct parse *p, struct node *n)
{
    bool defaults = false;

    expect(p, T_LPAREN, "(");
    while (!is_kind(p, T_RPAREN)) {
        struct node *arg;

        if (n->n)
            expect(p, T_COMMA, ",");
        arg = name_new(p, expect(p, T_NAME, "name"));
        target_declare(p, arg);
        if (skip_kind(p, T_ASSIGN)) {
            defaults = true;
            arg->a = parse_expression(p);
        } else if (defaults) {
            parse_fail(p, now(p)->line, "non-default argument follows default argument");
        }
        node_add(p, n, arg);
    }
    p->at++;
}

/* Slots 0, 1 and 2 of every macro are what callers may give beside the parameters. */
static void parse_macro_body(struct parse *p, struct node *n, bool signature, const char *end)
{
    static const char *const special[] = {"caller", "kwargs", "varargs"};
    int loops = p->loops, i;
    bool soft = p->soft;
    uint32_t k;

    n->scope = scope_push(p, true);
    n->unit = n->scope->unit;
    for (i = 0; i < 3; i++)
        scope_declare(p, n->scope, symbol_of(p, special[i], (uint32_t)strlen(special[i])));
    p->loops = 0;
    p->soft = false;
    if (signature)
        parse_signature(p, n);
    for (k = 0; k < n->n; k++)
        n->unit->explicit_caller |= v_is(n->item[k]->value, "caller");
    if (n->kind == N_CALL_BLOCK) { /* the call itself is evaluated outside */
        p->scope = n->scope->up;
        n->a = parse_expression(p);
        p->scope = n->scope;
        if (n->a->kind != N_CALL)
            parse_fail(p, n->line, "expected call");
    }
    n->b = parse_body(p, end);
    p->at++;
    p->loops = loops;
    p->soft = soft;
    scope_pop(p, n->scope);
}

static struct node *parse_macro(struct parse *p)
{
    struct node *n = node_new(p, N_MACRO, now(p)->line);

    p->at++;
    n->target = name_new(p, expect(p, T_NAME, "name"));
    n->value = n->target->value;
    target_declare(p, n->target);
    parse_macro_body(p, n, true, "endmacro");
    return n;
}

static struct node *parse_call_block(struct parse *p)
{
    struct node *n = node_new(p, N_CALL_BLOCK, now(p)->line);

    p->at++;
    n->value = v_text("caller");
    parse_macro_body(p, n, is_kind(p, T_LPAREN), "endcall");
    return n;
}

static struct node *parse_filter_block(struct parse *p)
{
    struct node *n = node_new(p, N_FILTER_BLOCK, now(p)->line);

    p->at++;
    n->a = parse_filters(p, NULL, true);
    parse_scoped(p, n, false, "endfilter");
    return n;
}

static struct node *parse_with(struct parse *p)
{
    struct node *n = node_new(p, N_WITH, now(p)->line);
    struct scope *s = scope_push(p, false);

    p->at++;
    while (!is_kind(p, T_BLOCK_END)) {
        if (n->n)
            expect(p, T_COMMA, ",");
        node_add(p, n, parse_target(p, false, NULL));
        expect(p, T_ASSIGN, "=");
        p->scope = s->up;
        node_add(p, n, parse_expression(p));
        p->scope = s;
        target_declare(p, n->item[n->n - 2]);
    }
    n->scope = s;
    n->b = parse_body(p, "endwith");
    p->at++;
    scope_pop(p, s);
    return n;
}

static struct node *parse_generation(struct parse *p)
{
    struct node *n = node_new(p, N_SCOPE, now(p)->line);

    p->at++;
    parse_scoped(p, n, false, "endgeneration");
    return n;
}

/* Sees the variables of the template, not those of loops around it. */
static struct node *parse_block(struct parse *p)
{
    struct node *n = node_new(p, N_BLOCK, now(p)->line);
    struct scope *here = p->scope, *root = here;
    struct token *name;

    p->at++;
    name = expect(p, T_NAME, "name");
    while (root->up)
        root = root->up;
    p->scope = skip_name(p, "scoped") ? here : root;
    skip_name(p, "required");
    parse_scoped(p, n, true, "endblock");
    p->scope = here;
    if (now(p)->kind == T_NAME && now(p)->n == name->n && memcmp(now(p)->s, name->s, name->n) == 0)
        p->at++;
    return n;
}

static struct node *parse_output_tag(struct parse *p)
{
    struct node *n = node_new(p, N_BODY, now(p)->line), *out;

    p->at++;
    while (!is_kind(p, T_BLOCK_END)) {
        if (n->n)
            expect(p, T_COMMA, ",");
        out = node_new(p, N_OUTPUT, now(p)->line);
        out->a = parse_expression(p);
        node_add(p, n, out);
    }
    return n;
}

static struct node *parse_leave(struct parse *p)
{
    struct node *n = node_new(p, is_name(p, "break") ? N_BREAK : N_CONTINUE, now(p)->line);

    if (!p->loops)
        parse_fail_as(p, n->line, "SyntaxError", "'%.*s' outside loop", (int)now(p)->n, now(p)->s);
    p->at++;
    return n;
}

/* Other files: what the tag says is parsed and, there being none, is an error when it is reached. */
static struct node *parse_load(struct parse *p)
{
    struct node *n = node_new(p, N_LOAD, now(p)->line);

    p->at++;
    n->a = parse_expression(p);
    while (!is_kind(p, T_BLOCK_END) && !is_kind(p, T_END))
        p->at++;
    return n;
}

static struct node *parse_statement(struct parse *p)
{
    static const struct {
        const char *name;
        struct node *(*parse)(struct parse *p);
    } statement[] = {{"if", parse_if},           {"for", parse_for},
                     {"set", parse_set},         {"macro", parse_macro},
                     {"call", parse_call_block}, {"filter", parse_filter_block},
                     {"with", parse_with},       {"generation", parse_generation},
                     {"block", parse_block},     {"print", parse_output_tag},
                     {"break", parse_leave},     {"continue", parse_leave},
                     {"include", parse_load},    {"import", parse_load},
                     {"from", parse_load},       {"extends", parse_load}};
    const struct token *t = now(p);
    size_t i;

    if (t->kind != T_NAME)
        parse_fail(p, t->line, "tag name expected");
    for (i = 0; i < sizeof statement / sizeof *statement; i++)
        if (is_name(p, statement[i].name))
            return statement[i].parse(p);
    parse_fail(p, t->line, "Encountered unknown tag '%.*s'.", (int)t->n, t->s);
}

void parse_template(struct parse *p)
{
    struct scope *s = scope_push(p, true);

    lex(p);
    p->t->root = s->unit;
    p->t->body = parse_until(p, NULL);
    names_resolve(p);
}
