/* loop.c -- a for at work: the items that pass its test, one at a time, and what "loop" says of it. */
#include "jinja/loop.h"

#include "jinja/builtin.h"
#include "jinja/evaluate.h"

/* The test is asked as late as in Python: a body may change what it depends on. */
static bool loop_take(struct run *r, struct loop *l, struct value *v)
{
    struct frame *frame = r->frame;

    while (l->at < l->n) {
        struct value item = l->item[l->at++];
        bool good = true;

        if (l->tested) {
            r->frame = l->frame;
            assign(r, l->node->test_target, item);
            good = v_true(evaluate(r, l->node->d));
            r->frame = frame;
        }
        if (good) {
            *v = item;
            return true;
        }
    }
    return false;
}

static bool peek(struct run *r, struct loop *l)
{
    return l->after.kind != MISSING || loop_take(r, l, &l->after);
}

bool loop_next(struct run *r, struct loop *l)
{
    if (!peek(r, l))
        return false;
    l->before = l->current;
    l->current = l->after;
    l->after = (struct value){.kind = MISSING};
    l->index0++;
    return true;
}

/* All that is left is tested now. */
static void drain(struct run *r, struct loop *l)
{
    struct value rest, v;
    uint32_t n = 0;

    if (!l->tested)
        return;
    rest = v_list(r, l->n - l->at);
    while (loop_take(r, l, &v))
        rest.item[n++] = v;
    l->item = rest.item;
    l->n = n;
    l->at = 0;
    l->tested = false;
}

int64_t loop_length(struct run *r, struct loop *l)
{
    if (l->length < 0) {
        drain(r, l);
        l->length = l->n - l->at + l->index0 + 1 + (l->after.kind != MISSING);
    }
    return l->length;
}

struct value loop_rest(struct run *r, struct loop *l)
{
    struct value list;

    drain(r, l);
    list = (struct value){.kind = LIST, .n = l->n - l->at, .item = l->item + l->at};
    l->at = l->n;
    return list;
}

static struct value cycle(struct run *r, struct value self, struct args *a)
{
    if (!a->n)
        run_fail(r, "TypeError", "no items for cycling given");
    return a->at[self.loop->index0 % a->n];
}

static struct value changed(struct run *r, struct value self, struct args *a)
{
    struct value now = {.kind = TUPLE, .n = a->n, .item = a->at};

    if (v_equal(r, self.loop->changed, now))
        return v_bool(false);
    self.loop->changed = now;
    return v_bool(true);
}

const struct builtin loop_methods[] = {
    {"cycle", NULL, NULL, cycle}, {"changed", NULL, NULL, changed}, {NULL, NULL, NULL, NULL}};

struct value loop_attribute(struct run *r, struct loop *l, struct value name)
{
    if (v_is(name, "index0"))
        return v_int(l->index0);
    if (v_is(name, "first"))
        return v_bool(l->index0 == 0);
    if (v_is(name, "last"))
        return v_bool(!peek(r, l));
    if (v_is(name, "index"))
        return v_int(l->index0 + 1);
    if (v_is(name, "length"))
        return v_int(loop_length(r, l));
    if (v_is(name, "revindex"))
        return v_int(loop_length(r, l) - l->index0);
    if (v_is(name, "revindex0"))
        return v_int(loop_length(r, l) - l->index0 - 1);
    if (v_is(name, "previtem"))
        return l->index0 == 0 ? v_message("there is no previous item") : l->before;
    if (v_is(name, "nextitem"))
        return peek(r, l) ? l->after : v_message("there is no next item");
    if (v_is(name, "depth"))
        return v_int(l->depth0 + 1);
    if (v_is(name, "depth0"))
        return v_int(l->depth0);
    return (struct value){.kind = MISSING};
}
