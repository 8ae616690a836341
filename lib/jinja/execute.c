/* execute.c -- statements: what a template prints, sets and repeats. */
#include <string.h>

#include "jinja/evaluate.h"
#include "jinja/loop.h"

/* ---- variables ---- */

struct frame *frame_push(struct run *r, const struct unit *u, struct frame *up)
{
    size_t n = u->slots * sizeof(struct value);
    struct frame *f = run_get(r, sizeof *f + n);

    f->up = up;
    memset(f->slot, 0, n);
    return f;
}

void scope_clear(struct run *r, const struct scope *s)
{
    size_t i;

    for (i = 0; i < s->n; i++)
        r->frame->slot[s->name[i].slot].kind = MISSING;
}

static void set_attribute(struct run *r, const struct node *target, struct value v)
{
    struct value space = evaluate(r, target->a);

    if (space.kind != NAMESPACE)
        run_fail(r, "TemplateRuntimeError", "cannot assign attribute on non-namespace object");
    if (*target->value.s == '_')
        run_fail(r, "SecurityError",
                 "Chat templates cannot store underscore-prefixed attributes on a namespace, but got '%.*s'",
                 (int)target->value.n, target->value.s);
    dict_set(r, space.dict, target->value, v);
}

void assign(struct run *r, const struct node *target, struct value v)
{
    struct value list;
    uint32_t i;

    r->line = target->line;
    if (target->kind == N_NAME) {
        r->frame->slot[target->place->slot] = v;
        return;
    }
    if (target->kind == N_NS_NAME) {
        set_attribute(r, target, v);
        return;
    }
    if (!v_iterable(v))
        run_fail(r, "TypeError", "cannot unpack non-iterable %s object", v_type(v));
    list = v_items(r, v);
    if (list.n != target->n)
        run_fail(r, "ValueError", "%s values to unpack (expected %u, got %u)",
                 list.n < target->n ? "not enough" : "too many", target->n, list.n);
    for (i = 0; i < target->n; i++)
        assign(r, target->item[i], list.item[i]);
}

/* ---- loops ---- */

static enum flow run_loop(struct run *r, struct loop *l)
{
    const struct node *n = l->node;
    bool none = true;

    while (loop_next(r, l)) {
        enum flow flow;

        run_spend(r, 1);
        scope_clear(r, n->scope);
        r->frame->slot[n->symbol] = (struct value){.kind = LOOP, .loop = l};
        assign(r, n->target, l->current);
        flow = execute(r, n->b);
        if (flow == FLOW_BREAK)
            break;
        if (flow == FLOW_ON) /* after a continue "else" is still printed, as in Python's code of it */
            none = false;
    }
    if (none && n->c) {
        r->frame = l->frame;
        return execute(r, n->c);
    }
    return FLOW_ON;
}

static enum flow loop_over(struct run *r, const struct node *n, struct value items, struct frame *around,
                           int depth)
{
    struct loop *l = run_get(r, sizeof *l);
    enum flow flow;

    items = v_items(r, items);
    *l = (struct loop){.node = n,
                       .frame = around,
                       .item = items.item,
                       .n = items.n,
                       .tested = n->d != NULL,
                       .index0 = -1,
                       .length = -1,
                       .depth0 = depth};
    r->frame = n->recursive ? frame_push(r, n->unit, around) : around;
    flow = run_loop(r, l);
    r->frame = around;
    return flow;
}

struct value loop_again(struct run *r, struct loop *l, struct args *a)
{
    struct frame *here = r->frame;
    size_t from = r->out->n;
    struct value v;

    if (!l->node->recursive)
        run_fail(r, "TypeError", "The loop must have the 'recursive' marker to be called recursively.");
    if (a->n != 1 || a->keys)
        run_fail(r, "TypeError", "loop() takes 1 positional argument");
    if (++r->calls > 150)
        run_fail(r, "RecursionError", "maximum recursion depth exceeded");
    loop_over(r, l->node, a->at[0], l->frame, l->depth0 + 1);
    r->calls--;
    r->frame = here;
    v = v_printed(r, from);
    return v;
}

/* ---- the others ---- */

static enum flow execute_body(struct run *r, const struct node *n)
{
    enum flow flow = FLOW_ON;
    uint32_t i;

    for (i = 0; i < n->n && flow == FLOW_ON; i++)
        flow = execute(r, n->item[i]);
    return flow;
}

static enum flow execute_if(struct run *r, const struct node *n)
{
    if (v_true(evaluate(r, n->a)))
        return execute(r, n->b);
    return n->c ? execute(r, n->c) : FLOW_ON;
}

/* The text of a body in its own scope, through the filters of the tag. */
static struct value scoped_text(struct run *r, const struct node *n)
{
    size_t from = r->out->n;
    struct value v;

    scope_clear(r, n->scope);
    execute(r, n->b);
    v = v_printed(r, from);
    return n->a ? apply_filter(r, n->a, v) : v;
}

static void execute_with(struct run *r, const struct node *n)
{
    struct value *v = run_get(r, n->n / 2 * sizeof *v);
    uint32_t i;

    for (i = 0; i < n->n / 2; i++)
        v[i] = evaluate(r, n->item[2 * i + 1]);
    scope_clear(r, n->scope);
    for (i = 0; i < n->n / 2; i++)
        assign(r, n->item[2 * i], v[i]);
}

static struct value new_macro(struct run *r, const struct node *n)
{
    struct macro *m = run_get(r, sizeof *m);

    *m = (struct macro){n, r->frame};
    return (struct value){.kind = MACRO, .macro = m};
}

/* The call of a call block: its own arguments, and the caller. */
static void execute_call(struct run *r, const struct node *n)
{
    struct value callee = evaluate(r, n->a->a);
    struct keyword *key;
    struct args a;

    evaluate_args(r, n->a, &a);
    key = run_get(r, (a.keys + 1) * sizeof *key);
    if (a.keys)
        memcpy(key, a.key, a.keys * sizeof *key);
    key[a.keys++] = (struct keyword){n->value, new_macro(r, n)};
    a.key = key;
    r->line = n->line;
    print_str(r, v_call(r, callee, &a));
}

static void execute_block(struct run *r, const struct node *n)
{
    struct frame *here = r->frame;

    r->frame = frame_push(r, n->unit, n->scope->up->up ? here : r->root);
    execute(r, n->b);
    r->frame = here;
}

static enum flow statement(struct run *r, const struct node *n)
{
    switch (n->kind) {
    case N_DATA:
        str_add(r->out, n->value.s, n->value.n);
        return FLOW_ON;
    case N_OUTPUT:
        print_str(r, evaluate(r, n->a));
        return FLOW_ON;
    case N_BODY:
        return execute_body(r, n);
    case N_IF:
        return execute_if(r, n);
    case N_FOR:
        return loop_over(r, n, evaluate(r, n->a), r->frame, 0);
    case N_BREAK:
        return FLOW_BREAK;
    case N_CONTINUE:
        return FLOW_CONTINUE;
    case N_SET:
        assign(r, n->target, evaluate(r, n->a));
        return FLOW_ON;
    case N_SET_BLOCK:
        assign(r, n->target, scoped_text(r, n));
        return FLOW_ON;
    case N_MACRO:
        assign(r, n->target, new_macro(r, n));
        return FLOW_ON;
    case N_CALL_BLOCK:
        execute_call(r, n);
        return FLOW_ON;
    case N_FILTER_BLOCK:
        print_str(r, scoped_text(r, n));
        return FLOW_ON;
    case N_WITH:
        execute_with(r, n);
        return execute(r, n->b);
    case N_SCOPE:
        scope_clear(r, n->scope);
        return execute(r, n->b);
    case N_BLOCK:
        execute_block(r, n);
        return FLOW_ON;
    default:
        evaluate(r, n->a);
        run_fail(r, "TypeError", "no loader for this environment specified");
    }
}

enum flow execute(struct run *r, const struct node *n)
{
    enum flow flow;

    r->line = n->line;
    run_deeper(r);
    run_spend(r, 1);
    flow = statement(r, n);
    r->depth--;
    return flow;
}
