/* functions.c -- what templates can call by name. */
#include <string.h>

#include "jinja/evaluate.h"

enum { LONGEST = 100000 }; /* range, as the sandbox has it */

static struct value range(struct run *r, struct value self, struct value *a)
{
    struct range *range = run_get(r, sizeof *range);
    int64_t start = 0, stop = v_index(r, a[0], "range"), step = 1, n;

    (void)self;
    if (a[1].kind != MISSING) {
        start = stop;
        stop = v_index(r, a[1], "range");
        step = arg_int(r, a[2], 1);
    }
    if (step == 0)
        run_fail(r, "ValueError", "range() arg 3 must not be zero");
    if (stop > INT32_MAX || stop < -INT32_MAX || start > INT32_MAX || start < -INT32_MAX ||
        step > INT32_MAX || step < -INT32_MAX)
        run_fail(r, "OverflowError", "Range too big.");
    n = step > 0 ? (stop - start + step - 1) / step : (start - stop - step - 1) / -step;
    n = n < 0 ? 0 : n;
    if (n > LONGEST)
        run_fail(r, "OverflowError", "Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).",
                 LONGEST);
    *range = (struct range){start, step};
    return (struct value){.kind = RANGE, .n = (uint32_t)n, .range = range};
}

static void add_pairs(struct run *r, struct dict *d, struct value from)
{
    struct value list, pair;
    uint32_t i;

    if (from.kind == DICT)
        from.kind = ITEMS;
    list = v_items(r, from);
    for (i = 0; i < list.n; i++) {
        if (!v_iterable(list.item[i]))
            run_fail(r, "TypeError", "cannot convert dictionary update sequence element #%u to a sequence",
                     i);
        pair = v_items(r, list.item[i]);
        if (pair.n != 2)
            run_fail(r, "ValueError", "dictionary update sequence element #%u has length %u; 2 is required",
                     i, pair.n);
        dict_set(r, d, pair.item[0], pair.item[1]);
    }
}

static struct value dict(struct run *r, struct value self, struct args *a)
{
    struct value d = v_dict(r, a->keys);
    uint32_t i;

    (void)self;
    if (a->n > 1)
        run_fail(r, "TypeError", "dict expected at most 1 argument, got %u", a->n);
    if (a->n)
        add_pairs(r, d.dict, a->at[0]);
    for (i = 0; i < a->keys; i++)
        dict_set(r, d.dict, a->key[i].name, a->key[i].value);
    return d;
}

static struct value namespace(struct run *r, struct value self, struct args *a)
{
    struct value d = dict(r, self, a);
    uint32_t i;

    for (i = 0; i < d.dict->n; i++) {
        struct value key = d.dict->entry[i].key;

        if (key.kind == STR && key.n && *key.s == '_')
            run_fail(
                r, "SecurityError",
                "Chat templates cannot store underscore-prefixed attributes on a namespace, but got '%.*s'",
                (int)key.n, key.s);
    }
    d.kind = NAMESPACE;
    return d;
}

static struct value cycler(struct run *r, struct value self, struct args *a)
{
    struct value v;

    (void)self;
    if (!a->n)
        run_fail(r, "RuntimeError", "at least one item has to be provided");
    v = v_iter(r, (struct value){.kind = LIST, .n = a->n, .item = a->at});
    v.kind = CYCLER;
    return v;
}

static struct value joiner(struct run *r, struct value self, struct value *a)
{
    struct value list = v_list(r, 1), v;

    (void)self;
    list.item[0] = a[0].kind == MISSING ? v_text(", ") : a[0];
    v = v_iter(r, list);
    v.kind = JOINER;
    return v;
}

static struct value raise_exception(struct run *r, struct value self, struct value *a)
{
    struct value text = v_to_text(r, a[0]);

    (void)self;
    run_fail(r, "TemplateError", "%.*s", (int)text.n, text.s);
}

static struct value strftime_now(struct run *r, struct value self, struct value *a)
{
    size_t from = r->out->n;

    (void)self;
    if (!r->now)
        run_fail_kind(r, ERR_USAGE, "DateError",
                      "the template prints the date of the day, and none is given");
    print_moment(r, r->now, a[0]);
    return v_printed(r, from);
}

const struct builtin functions[] = {{"range", "/start stop? step?", range, NULL},
                                    {"dict", NULL, NULL, dict},
                                    {"namespace", NULL, NULL, namespace},
                                    {"cycler", NULL, NULL, cycler},
                                    {"joiner", "sep?", joiner, NULL},
                                    {"raise_exception", "message", raise_exception, NULL},
                                    {"strftime_now", "format", strftime_now, NULL},
                                    {NULL, NULL, NULL, NULL}};
