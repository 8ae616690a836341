/* methods.c -- the methods of dictionaries, lists and tuples. */
#include "jinja/builtin.h"

static struct value view(struct value self, enum kind kind)
{
    self.kind = (uint8_t)kind;
    return self;
}

static struct value get(struct run *r, struct value self, struct value *a)
{
    const struct value *v = dict_get(r, self.dict, a[0]);

    return v ? *v : a[1].kind == MISSING ? v_none() : a[1];
}

static struct value items(struct run *r, struct value self, struct value *a)
{
    (void)r, (void)a;
    return view(self, ITEMS);
}

static struct value keys(struct run *r, struct value self, struct value *a)
{
    (void)r, (void)a;
    return view(self, KEYS);
}

static struct value values(struct run *r, struct value self, struct value *a)
{
    (void)r, (void)a;
    return view(self, VALUES);
}

/* Nothing changes it or what it is a copy of. */
static struct value same_object(struct run *r, struct value self, struct value *a)
{
    (void)r, (void)a;
    return self;
}

static struct value from_keys(struct run *r, struct value self, struct value *a)
{
    struct value list = v_items(r, a[0]), d = v_dict(r, list.n);
    uint32_t i;

    (void)self;
    for (i = 0; i < list.n; i++)
        dict_set(r, d.dict, list.item[i], a[1].kind == MISSING ? v_none() : a[1]);
    return d;
}

static struct value position(struct run *r, struct value self, struct value *a)
{
    struct value list = v_items(r, self);
    int64_t from = arg_int(r, a[1], 0), to = arg_int(r, a[2], list.n), i;

    from = from < 0 ? (from + list.n < 0 ? 0 : from + list.n) : from;
    to = to < 0 ? to + list.n : to > list.n ? list.n : to;
    for (i = from; i < to; i++)
        if (v_equal(r, list.item[i], a[0]))
            return v_int(i);
    run_fail(r, "ValueError", "the item is not in the list");
}

static struct value count_items(struct run *r, struct value self, struct value *a)
{
    struct value list = v_items(r, self);
    int64_t n = 0;
    uint32_t i;

    for (i = 0; i < list.n; i++)
        n += v_equal(r, list.item[i], a[0]);
    return v_int(n);
}

const struct builtin dict_methods[] = {
    {"get", "/key default?", get, NULL}, {"items", "/", items, NULL},
    {"keys", "/", keys, NULL},           {"values", "/", values, NULL},
    {"copy", "/", same_object, NULL},    {"fromkeys", "/keys value?", from_keys, NULL},
    {"clear", NULL, NULL, NULL},         {"pop", NULL, NULL, NULL},
    {"popitem", NULL, NULL, NULL},       {"setdefault", NULL, NULL, NULL},
    {"update", NULL, NULL, NULL},        {NULL, NULL, NULL, NULL}};

const struct builtin list_methods[] = {{"index", "/item start? stop?", position, NULL},
                                       {"count", "/item", count_items, NULL},
                                       {"copy", "/", same_object, NULL},
                                       {"append", NULL, NULL, NULL},
                                       {"clear", NULL, NULL, NULL},
                                       {"extend", NULL, NULL, NULL},
                                       {"insert", NULL, NULL, NULL},
                                       {"pop", NULL, NULL, NULL},
                                       {"remove", NULL, NULL, NULL},
                                       {"reverse", NULL, NULL, NULL},
                                       {"sort", NULL, NULL, NULL},
                                       {NULL, NULL, NULL, NULL}};

const struct builtin tuple_methods[] = {{"index", "/item start? stop?", position, NULL},
                                        {"count", "/item", count_items, NULL},
                                        {NULL, NULL, NULL, NULL}};
