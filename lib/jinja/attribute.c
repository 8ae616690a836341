/* attribute.c -- what x.name, x[index] and x[from:to:step] are. */
#include <string.h>

#include "jinja/evaluate.h"
#include "jinja/loop.h"
#include "jinja/characters.h"

/* ---- attributes ---- */

static struct value cycler_next(struct run *r, struct value self, struct value *a)
{
    struct iter *c = self.iter;

    (void)r, (void)a;
    c->at = (c->at + 1) % c->n;
    return c->item[(c->at + c->n - 1) % c->n];
}

static struct value cycler_reset(struct run *r, struct value self, struct value *a)
{
    (void)r, (void)a;
    self.iter->at = 0;
    return v_none();
}

static const struct builtin cycler_methods[] = {
    {"next", "", cycler_next, NULL}, {"reset", "", cycler_reset, NULL}, {NULL, NULL, NULL, NULL}};

const struct builtin *method_find(struct value v, const char *name, size_t n)
{
    switch (v.kind) {
    case STR:
        return builtin_find(text_methods, name, n);
    case DICT:
        return builtin_find(dict_methods, name, n);
    case LIST:
        return builtin_find(list_methods, name, n);
    case TUPLE:
    case RANGE:
        return builtin_find(tuple_methods, name, n);
    case LOOP:
        return builtin_find(loop_methods, name, n);
    case CYCLER:
        return builtin_find(cycler_methods, name, n);
    default:
        return NULL;
    }
}

struct value v_bind(struct run *r, const struct builtin *b, struct value self)
{
    struct bound *m = run_get(r, sizeof *m);

    *m = (struct bound){b, self};
    return (struct value){.kind = METHOD, .bound = m};
}

static struct value macro_attribute(struct run *r, const struct macro *m, struct value name)
{
    struct value list;
    uint32_t i;

    if (v_is(name, "name"))
        return m->node->value;
    if (!v_is(name, "arguments"))
        return (struct value){.kind = MISSING};
    list = v_tuple(r, m->node->n);
    for (i = 0; i < list.n; i++)
        list.item[i] = m->node->item[i]->value;
    return list;
}

static struct value range_attribute(struct value v, struct value name)
{
    if (v_is(name, "start"))
        return v_int(v.range->start);
    if (v_is(name, "step"))
        return v_int(v.range->step);
    if (v_is(name, "stop"))
        return v_int(v.range->start + v.n * v.range->step);
    return (struct value){.kind = MISSING};
}

/* What Python finds as an attribute of the object itself; MISSING: nothing. */
static struct value own_attribute(struct run *r, struct value of, struct value name)
{
    const struct builtin *b = method_find(of, name.s, name.n);
    const struct value *v;

    if (b)
        return b->fn || b->any ? v_bind(r, b, of) : v_undefined(name.s, name.n, UNSAFE | of.kind);
    if (of.kind == LOOP)
        return loop_attribute(r, of.loop, name);
    if (of.kind == MACRO)
        return macro_attribute(r, of.macro, name);
    if (of.kind == RANGE)
        return range_attribute(of, name);
    if (of.kind == CYCLER && v_is(name, "current"))
        return of.iter->item[of.iter->at];
    if (of.kind == NAMESPACE && (v = dict_find(of.dict, name.s, name.n)))
        return *v;
    if (v_is(name, "__class__") || v_is(name, "__init__") || v_is(name, "__doc__") ||
        v_is(name, "__dict__") || v_is(name, "__len__") || v_is(name, "__iter__") ||
        v_is(name, "__getitem__"))
        return v_undefined(name.s, name.n, UNSAFE | of.kind);
    return (struct value){.kind = MISSING};
}

struct value v_attribute(struct run *r, struct value of, struct value name)
{
    const struct value *found;
    struct value v;

    if (of.kind == UNDEFINED)
        v_fail_undefined(r, of);
    v = own_attribute(r, of, name);
    if (v.kind != MISSING)
        return v;
    found = of.kind == DICT ? dict_find(of.dict, name.s, name.n) : NULL;
    return found ? *found : v_undefined(name.s, name.n, of.kind);
}

/* ---- subscripts ---- */

static struct value character(struct value s, uint64_t i)
{
    size_t at = utf8_at(s.s, s.n, i);
    struct value v = v_str(s.s + at, utf8_length(s.s + at, s.n - at));

    v.flags = s.flags;
    return v;
}

/* MISSING: there is no such item. */
static struct value item_at(struct run *r, struct value of, int64_t i)
{
    int64_t n = v_length(r, of);

    i += i < 0 ? n : 0;
    if (i < 0 || i >= n)
        return (struct value){.kind = MISSING};
    if (of.kind == STR)
        return character(of, (uint64_t)i);
    return of.kind == RANGE ? v_int(of.range->start + i * of.range->step) : of.item[i];
}

struct value v_subscript(struct run *r, struct value of, struct value index)
{
    struct value v = {.kind = MISSING};
    const struct value *found;

    if (of.kind == UNDEFINED)
        v_fail_undefined(r, of);
    if (of.kind == DICT && v_hashable(index)) {
        found = dict_get(r, of.dict, index);
        if (found)
            return *found;
    } else if ((of.kind == STR || of.kind == LIST || of.kind == TUPLE || of.kind == RANGE) &&
               (index.kind == INT || index.kind == BOOL)) {
        v = item_at(r, of, index.i);
    }
    if (index.kind == STR)
        v = own_attribute(r, of, index);
    if (v.kind != MISSING)
        return v;
    return index.kind == STR ? v_undefined(index.s, index.n, of.kind)
                             : v_message("there is no element of that number or name");
}

/* ---- slices ---- */

/* A bound of a slice as slice.indices() has it: within [low, high]. */
static int64_t bound(struct run *r, struct value v, int64_t missing, int64_t n, int64_t low, int64_t high)
{
    int64_t i;

    if (v.kind == NONE)
        return missing;
    if (v.kind != INT && v.kind != BOOL)
        run_fail(r, "TypeError", "slice indices must be integers or None or have an __index__ method");
    i = v.i < 0 ? v.i + n : v.i;
    return i < low ? low : i > high ? high : i;
}

static struct value text_slice(struct run *r, struct value s, int64_t from, int64_t count, int64_t step)
{
    struct value v, list;
    size_t start = r->out->n, at;
    int64_t i;

    if (step == 1) { /* shares the bytes */
        at = utf8_at(s.s, s.n, (uint64_t)from);
        v = v_str(s.s + at, utf8_at(s.s + at, s.n - at, (uint64_t)count));
    } else {
        list = v_items(r, s);
        for (i = 0; i < count; i++)
            str_add(r->out, list.item[from + i * step].s, list.item[from + i * step].n);
        v = v_printed(r, start);
    }
    v.flags = s.flags;
    return v;
}

static struct value sequence_slice(struct run *r, struct value of, int64_t from, int64_t count, int64_t step)
{
    struct value v;
    int64_t i;

    if (of.kind == RANGE)
        of = v_items(r, of);
    if (step == 1) {
        v = of;
        v.item = of.item + from;
        v.n = (uint32_t)count;
        return v;
    }
    v = of.kind == TUPLE ? v_tuple(r, (size_t)count) : v_list(r, (size_t)count);
    for (i = 0; i < count; i++)
        v.item[i] = of.item[from + i * step];
    return v;
}

struct value v_slice(struct run *r, struct value of, struct value from, struct value to, struct value step)
{
    int64_t n, s, a, b, count;

    if (of.kind == UNDEFINED)
        v_fail_undefined(r, of);
    if (of.kind == DICT)
        run_fail(r, "TypeError", "unhashable type: 'slice'");
    if (of.kind != STR && of.kind != LIST && of.kind != TUPLE && of.kind != RANGE)
        run_fail(r, "TypeError", "'%s' object is not subscriptable", v_type(of));
    s = step.kind == NONE ? 1 : bound(r, step, 1, 0, -INT32_MAX, INT32_MAX);
    if (s == 0)
        run_fail(r, "ValueError", "slice step cannot be zero");
    n = v_length(r, of);
    a = bound(r, from, s > 0 ? 0 : n - 1, n, s > 0 ? 0 : -1, s > 0 ? n : n - 1);
    b = bound(r, to, s > 0 ? n : -1, n, s > 0 ? 0 : -1, s > 0 ? n : n - 1);
    count = s > 0 ? (b - a + s - 1) / s : (a - b - s - 1) / -s;
    count = count < 0 ? 0 : count;
    a = count ? a : 0;
    return of.kind == STR ? text_slice(r, of, a, count, s) : sequence_slice(r, of, a, count, s);
}
