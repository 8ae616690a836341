/* call.c -- calling macros, methods and functions. */
#include <string.h>

#include "jinja/evaluate.h"

enum { CALLS = 150 }; /* macros inside each other; Python gives up a little later */

/* The argument of that name, which is then taken; MISSING: it was not given. */
static struct value take_key(struct args *a, struct value name)
{
    uint32_t i;

    for (i = 0; i < a->keys; i++) {
        struct value k = a->key[i].name, v = a->key[i].value;

        if (k.n != name.n || memcmp(k.s, name.s, k.n) != 0 || v.kind == MISSING)
            continue;
        memmove(a->key + i, a->key + i + 1, (a->keys - i - 1) * sizeof *a->key);
        a->keys--;
        return v;
    }
    return (struct value){.kind = MISSING};
}

static void give_special(struct run *r, const struct macro *m, struct args *a, struct value *slot)
{
    const struct unit *u = m->node->unit;
    uint32_t params = m->node->n, i;

    if (u->caller >= 0 && !u->explicit_caller) {
        slot[u->caller] = take_key(a, v_text("caller"));
        if (slot[u->caller].kind == MISSING || slot[u->caller].kind == NONE)
            slot[u->caller] = v_message("No caller defined");
    }
    if (u->kwargs >= 0) {
        slot[u->kwargs] = v_dict(r, a->keys);
        for (i = 0; i < a->keys; i++)
            dict_set(r, slot[u->kwargs].dict, a->key[i].name, a->key[i].value);
    } else if (a->keys) {
        run_fail(r, "TypeError", "macro '%.*s' takes no keyword argument '%.*s'", (int)m->node->value.n,
                 m->node->value.s, (int)a->key[0].name.n, a->key[0].name.s);
    }
    if (u->varargs >= 0)
        slot[u->varargs] = (struct value){.kind = TUPLE,
                                          .n = a->n > params ? a->n - params : 0,
                                          .item = a->n > params ? a->at + params : NULL};
    else if (a->n > params)
        run_fail(r, "TypeError", "macro '%.*s' takes not more than %u argument(s)", (int)m->node->value.n,
                 m->node->value.s, params);
}

/* Parameters in their order: a default may speak of those before it. */
static void set_defaults(struct run *r, const struct node *n)
{
    uint32_t i;

    for (i = 0; i < n->n; i++) {
        struct value *v = &r->frame->slot[n->item[i]->place->slot];

        if (v->kind == MISSING)
            *v = n->item[i]->a ? evaluate(r, n->item[i]->a) : v_message("a parameter was not provided");
    }
}

struct value macro_call(struct run *r, const struct macro *m, struct args *a)
{
    struct frame *here = r->frame, *f = frame_push(r, m->node->unit, m->frame);
    size_t from = r->out->n;
    uint32_t i;

    if (++r->calls > CALLS)
        run_fail(r, "RecursionError", "maximum recursion depth exceeded");
    for (i = 0; i < m->node->n; i++)
        f->slot[m->node->item[i]->place->slot] = i < a->n ? a->at[i] : take_key(a, m->node->item[i]->value);
    give_special(r, m, a, f->slot);
    r->frame = f;
    set_defaults(r, m->node);
    execute(r, m->node->b);
    r->frame = here;
    r->calls--;
    return v_printed(r, from);
}

/* A separator that is printed from the second time on. */
static struct value join_again(struct iter *j)
{

    return j->at++ ? j->item[0] : v_str("", 0);
}

struct value v_call(struct run *r, struct value callee, struct args *a)
{
    switch (callee.kind) {
    case UNDEFINED:
        v_fail_undefined(r, callee);
    case MACRO:
        return macro_call(r, callee.macro, a);
    case METHOD:
        return builtin_call(r, callee.bound->builtin, callee.bound->self, a);
    case FUNCTION:
        return builtin_call(r, callee.builtin, v_none(), a);
    case LOOP:
        return loop_again(r, callee.loop, a);
    case JOINER:
        return join_again(callee.iter);
    default:
        run_fail(r, "TypeError", "'%s' object is not callable", v_type(callee));
    }
}
