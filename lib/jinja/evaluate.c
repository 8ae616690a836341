/* evaluate.c -- expressions to values. */
#include "jinja/evaluate.h"

#include <string.h>

#include "jinja/characters.h"

enum { DEPTH = 3000 }; /* of evaluation, each taking some hundred bytes of the C stack */

void run_deeper(struct run *r)
{
    if (++r->depth > DEPTH)
        run_fail(r, "RecursionError", "maximum recursion depth exceeded");
}

static struct value name_value(struct run *r, const struct node *n)
{
    const struct frame *f = r->frame;
    uint32_t i, hops = 0;

    for (i = 0; i < n->places; i++) {
        for (; hops < n->place[i].hops; hops++)
            f = f->up;
        if (f->slot[n->place[i].slot].kind != MISSING)
            return f->slot[n->place[i].slot];
    }
    r->read[n->symbol] = true;
    if (r->global[n->symbol].kind != MISSING)
        return r->global[n->symbol];
    return v_undefined(n->value.s, n->value.n, OF_NAME);
}

static struct value items(struct run *r, const struct node *n)
{
    struct value v = n->kind == N_LIST ? v_list(r, n->n) : v_tuple(r, n->n);
    uint32_t i;

    for (i = 0; i < n->n; i++)
        v.item[i] = evaluate(r, n->item[i]);
    return v;
}

static struct value dict(struct run *r, const struct node *n)
{
    struct value v = v_dict(r, n->n / 2), key;
    uint32_t i;

    for (i = 0; i < n->n; i += 2) {
        key = evaluate(r, n->item[i]);
        dict_set(r, v.dict, key, evaluate(r, n->item[i + 1]));
    }
    return v;
}

static struct value compare(struct run *r, const struct node *n)
{
    struct value left = evaluate(r, n->a), right;
    uint32_t i;

    for (i = 0; i < n->n; i++, left = right) {
        right = evaluate(r, n->item[i]->a);
        if (!v_relation(r, n->item[i]->op, left, right))
            return v_bool(false);
    }
    return v_bool(true);
}

static struct value concat(struct run *r, const struct node *n)
{
    size_t from = r->out->n;
    uint32_t i;

    for (i = 0; i < n->n; i++)
        print_str(r, evaluate(r, n->item[i]));
    return v_printed(r, from);
}

static struct value if_else(struct run *r, const struct node *n)
{
    if (v_true(evaluate(r, n->b)))
        return evaluate(r, n->a);
    if (n->c)
        return evaluate(r, n->c);
    return v_message("the inline if-expression evaluated to false and no else section was defined");
}

static struct value slice(struct run *r, const struct node *n)
{
    struct value of = evaluate(r, n->a), part[3];
    int i;

    for (i = 0; i < 3; i++)
        part[i] = n->item[i] ? evaluate(r, n->item[i]) : v_none();
    return v_slice(r, of, part[0], part[1], part[2]);
}

/* ---- calls ---- */

static void spread_list(struct run *r, struct args *a, struct value v)
{
    struct value list = v_items(r, v), all = v_list(r, (size_t)a->n + list.n);

    if (a->n)
        memcpy(all.item, a->at, a->n * sizeof *a->at);
    if (list.n)
        memcpy(all.item + a->n, list.item, list.n * sizeof *a->at);
    a->at = all.item;
    a->n = all.n;
}

static void spread_dict(struct run *r, struct args *a, struct value v)
{
    struct keyword *key;
    uint32_t i;

    if (v.kind != DICT)
        run_fail(r, "TypeError", "argument after ** must be a mapping, not %s", v_type(v));
    key = run_get(r, (a->keys + v.dict->n) * sizeof *key);
    if (a->keys)
        memcpy(key, a->key, a->keys * sizeof *key);
    for (i = 0; i < v.dict->n; i++) {
        if (v.dict->entry[i].key.kind != STR)
            run_fail(r, "TypeError", "keywords must be strings");
        key[a->keys++] = (struct keyword){v.dict->entry[i].key, v.dict->entry[i].value};
    }
    a->key = key;
}

void evaluate_args(struct run *r, const struct node *n, struct args *a)
{
    uint32_t i;

    *a = (struct args){.n = 0};
    if (!n->n)
        return;
    a->at = run_get(r, n->n * sizeof *a->at);
    for (i = 0; i < n->n && n->item[i]->kind < N_KEYWORD; i++)
        a->at[a->n++] = evaluate(r, n->item[i]);
    if (i == n->n)
        return;
    a->key = run_get(r, n->n * sizeof *a->key);
    for (; i < n->n; i++) {
        const struct node *k = n->item[i];
        struct value v = evaluate(r, k->a);

        if (k->kind == N_ARGS)
            spread_list(r, a, v);
        else if (k->kind == N_KWARGS)
            spread_dict(r, a, v);
        else
            a->key[a->keys++] = (struct keyword){k->value, v};
    }
}

/* A method is called without being made a value first. */
static struct value call(struct run *r, const struct node *n)
{
    struct value of, callee;
    const struct builtin *b;
    struct args a;

    if (n->a->kind != N_ATTRIBUTE) {
        callee = evaluate(r, n->a);
        evaluate_args(r, n, &a);
        r->line = n->line;
        return v_call(r, callee, &a);
    }
    of = evaluate(r, n->a->a);
    b = of.kind == DICT ? n->a->builtin : method_find(of, n->a->value.s, n->a->value.n);
    if (b && (b->fn || b->any)) {
        evaluate_args(r, n, &a);
        r->line = n->line;
        return builtin_call(r, b, of, &a);
    }
    callee = v_attribute(r, of, n->a->value);
    evaluate_args(r, n, &a);
    r->line = n->line;
    return v_call(r, callee, &a);
}

struct value apply_filter(struct run *r, const struct node *n, struct value self)
{
    struct args a;

    if (n->a)
        self = n->a->kind == N_FILTER ? apply_filter(r, n->a, self) : evaluate(r, n->a);
    evaluate_args(r, n, &a);
    r->line = n->line;
    if (!n->builtin)
        run_fail(r, "TemplateRuntimeError", "No filter named '%.*s'.", (int)n->value.n, n->value.s);
    return builtin_call(r, n->builtin, self, &a);
}

static struct value apply_test(struct run *r, const struct node *n)
{
    struct value self = evaluate(r, n->a);
    struct args a;

    evaluate_args(r, n, &a);
    r->line = n->line;
    if (!n->builtin)
        run_fail(r, "TemplateRuntimeError", "No test named '%.*s'.", (int)n->value.n, n->value.s);
    return v_bool(v_true(builtin_call(r, n->builtin, self, &a)));
}

/* ---- all ---- */

static struct value arithmetic(struct run *r, const struct node *n)
{
    struct value a = evaluate(r, n->a), b = evaluate(r, n->b);

    r->line = n->line;
    return n->op == OP_ADD ? v_add(r, a, b) : v_arithmetic(r, n->op, a, b);
}

static struct value attribute(struct run *r, const struct node *n)
{
    struct value of = evaluate(r, n->a);
    const struct value *found;

    r->line = n->line;
    if (of.kind == DICT && !n->builtin && (found = dict_find(of.dict, n->value.s, n->value.n)))
        return *found;
    return v_attribute(r, of, n->value);
}

static struct value subscript(struct run *r, const struct node *n)
{
    struct value of = evaluate(r, n->a), index = evaluate(r, n->b);

    r->line = n->line;
    return v_subscript(r, of, index);
}

static struct value unary(struct run *r, const struct node *n)
{
    struct value v = evaluate(r, n->a);

    if (n->kind == N_NOT)
        return v_bool(!v_true(v));
    v = n->kind == N_NEGATE ? v_negate(r, v) : v_negate(r, v_negate(r, v));
    return v;
}

static struct value value_of(struct run *r, const struct node *n)
{
    struct value v;

    switch (n->kind) {
    case N_NAME:
        return name_value(r, n);
    case N_LIST:
    case N_TUPLE:
        return items(r, n);
    case N_DICT:
        return dict(r, n);
    case N_NOT:
    case N_NEGATE:
    case N_PLUS:
        return unary(r, n);
    case N_BINARY:
        return arithmetic(r, n);
    case N_AND:
        v = evaluate(r, n->a);
        return v_true(v) ? evaluate(r, n->b) : v;
    case N_OR:
        v = evaluate(r, n->a);
        return v_true(v) ? v : evaluate(r, n->b);
    case N_COMPARE:
        return compare(r, n);
    case N_CONCAT:
        return concat(r, n);
    case N_IF_ELSE:
        return if_else(r, n);
    case N_ATTRIBUTE:
        return attribute(r, n);
    case N_SUBSCRIPT:
        return subscript(r, n);
    case N_SLICE:
        return slice(r, n);
    case N_CALL:
        return call(r, n);
    case N_FILTER:
        return apply_filter(r, n, v_none());
    case N_TEST:
        return apply_test(r, n);
    default:
        run_fail(r, "TemplateRuntimeError", "no expression");
    }
}

struct value evaluate(struct run *r, const struct node *n)
{
    struct value v;

    if (n->kind == N_CONST)
        return n->value;
    r->line = n->line;
    run_deeper(r);
    run_spend(r, 1);
    v = value_of(r, n);
    r->depth--;
    return v;
}
