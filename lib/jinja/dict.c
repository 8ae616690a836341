/* dict.c -- dictionaries in the order of insertion, equality, order and membership of values. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "jinja/characters.h"
#include "jinja/integers.h"
#include "jinja/value.h"

enum { INDEXED = 12 }; /* so many members are found by hash, fewer by comparing all */

/* ---- equality and order ---- */

bool v_number(struct value v, double *out)
{
    char digits[MAX_DIGITS + 2];

    switch (v.kind) {
    case BOOL:
    case INT:
        *out = (double)v.i;
        return true;
    case FLOAT:
        *out = v.f;
        return true;
    case BIG:
        if (v.n >= sizeof digits) {
            *out = *v.s == '-' ? -INFINITY : INFINITY;
            return true;
        }
        memcpy(digits, v.s, v.n);
        digits[v.n] = 0;
        *out = strtod(digits, NULL);
        return true;
    default:
        return false;
    }
}

static bool same_text(struct value a, struct value b)
{
    return a.n == b.n && memcmp(a.s, b.s, a.n) == 0;
}

static bool same_items(struct run *r, struct value a, struct value b)
{
    uint32_t i;

    if (a.n != b.n)
        return false;
    for (i = 0; i < a.n; i++)
        if (!v_equal(r, a.item[i], b.item[i]))
            return false;
    return true;
}

static bool same_dict(struct run *r, const struct dict *a, const struct dict *b)
{
    uint32_t i;

    if (a->n != b->n)
        return false;
    for (i = 0; i < a->n; i++) {
        const struct value *v = dict_get(r, b, a->entry[i].key);

        if (!v || !v_equal(r, a->entry[i].value, *v))
            return false;
    }
    return true;
}

/* Exactly; UNORDERED where one is NaN. */
static int order_numbers(struct run *r, struct value a, struct value b)
{
    if (v_integral(a) && v_integral(b))
        return integers_compare(r, a, b);
    if ((a.kind == FLOAT && isnan(a.f)) || (b.kind == FLOAT && isnan(b.f)))
        return UNORDERED;
    if (a.kind == FLOAT && b.kind == FLOAT)
        return a.f < b.f ? -1 : a.f > b.f;
    return a.kind == FLOAT ? -integers_compare_real(r, b, a.f) : integers_compare_real(r, a, b.f);
}

static bool is_number(struct value v)
{
    return v.kind >= BOOL && v.kind <= FLOAT;
}

bool v_equal(struct run *r, struct value a, struct value b)
{
    run_spend(r, 1);
    if (a.kind != b.kind)
        return is_number(a) && is_number(b) && order_numbers(r, a, b) == 0;
    switch (a.kind) {
    case MISSING:
    case UNDEFINED:
    case NONE:
        return true;
    case BOOL:
    case INT:
        return a.i == b.i;
    case FLOAT:
        return a.f == b.f;
    case BIG:
    case STR:
        return same_text(a, b);
    case LIST:
    case TUPLE:
        return same_items(r, a, b);
    case DICT:
        return same_dict(r, a.dict, b.dict);
    case RANGE:
        return a.n == b.n &&
               (!a.n || (a.range->start == b.range->start && (a.n == 1 || a.range->step == b.range->step)));
    case KEYS:
        return same_items(r, v_items(r, a), v_items(r, b));
    default:
        return a.item == b.item;
    }
}

static int compare_items(struct run *r, struct value a, struct value b, const char *op)
{
    uint32_t i;

    for (i = 0; i < a.n && i < b.n; i++)
        if (!v_equal(r, a.item[i], b.item[i]))
            return v_compare(r, a.item[i], b.item[i], op);
    return a.n < b.n ? -1 : a.n > b.n;
}

int v_compare(struct run *r, struct value a, struct value b, const char *op)
{
    int c;

    run_spend(r, 1);
    if (a.kind == UNDEFINED)
        v_fail_undefined(r, a);
    if (b.kind == UNDEFINED)
        v_fail_undefined(r, b);
    if (a.kind == INT && b.kind == INT)
        return a.i < b.i ? -1 : a.i > b.i;
    if (is_number(a) && is_number(b))
        return order_numbers(r, a, b);
    if (a.kind == STR && b.kind == STR) {
        c = memcmp(a.s, b.s, a.n < b.n ? a.n : b.n);
        return c < 0 ? -1 : c > 0 ? 1 : a.n < b.n ? -1 : a.n > b.n;
    }
    if (a.kind == b.kind && (a.kind == LIST || a.kind == TUPLE))
        return compare_items(r, a, b, op);
    run_fail(r, "TypeError", "'%s' not supported between instances of '%s' and '%s'", op, v_type(a),
             v_type(b));
}

/* ---- hashing ---- */

bool v_hashable(struct value v)
{
    uint32_t i;

    for (i = 0; v.kind == TUPLE && i < v.n; i++)
        if (!v_hashable(v.item[i]))
            return false;
    return v.kind != LIST && v.kind != DICT && v.kind != KEYS && v.kind != ITEMS;
}

static uint32_t hash_bytes(const void *p, size_t n)
{
    const unsigned char *s = p;
    uint32_t h = 2166136261u; /* FNV-1a */

    for (; n > 0; n--)
        h = (h ^ *s++) * 16777619u;
    return h;
}

static uint32_t hash_of(struct value v)
{
    uint32_t h = 17, i;
    double x;

    if (v.kind == STR)
        return hash_bytes(v.s, v.n);
    if (v_number(v, &x)) /* equal numbers of any kind are one key */
        return x == 0 ? 1 : hash_bytes(&x, sizeof x);
    for (i = 0; v.kind == TUPLE && i < v.n; i++)
        h = h * 31 + hash_of(v.item[i]);
    return v.kind == TUPLE ? h : v.kind;
}

static void index_entry(struct dict *d, uint32_t i)
{
    uint32_t k = d->entry[i].hash & d->mask;

    while (d->slot[k])
        k = (k + 1) & d->mask;
    d->slot[k] = i + 1;
}

static void index_all(struct run *r, struct dict *d)
{
    uint32_t size = 4 * INDEXED, i;

    while (size < 4 * d->n)
        size *= 2;
    d->slot = run_get(r, size * sizeof *d->slot);
    memset(d->slot, 0, size * sizeof *d->slot);
    d->mask = size - 1;
    for (i = 0; i < d->n; i++) {
        d->entry[i].hash = hash_of(d->entry[i].key);
        index_entry(d, i);
    }
}

const struct value *dict_get(struct run *r, const struct dict *d, struct value key)
{
    uint32_t i, k, h;

    if (!v_hashable(key))
        run_fail(r, "TypeError", "unhashable type: '%s'", v_type(key));
    if (key.kind == STR && !d->slot)
        return dict_find(d, key.s, key.n);
    if (!d->slot) {
        for (i = 0; i < d->n; i++)
            if (v_equal(r, d->entry[i].key, key))
                return &d->entry[i].value;
        return NULL;
    }
    h = hash_of(key);
    for (k = h & d->mask; d->slot[k]; k = (k + 1) & d->mask) {
        const struct entry *e = &d->entry[d->slot[k] - 1];

        if (e->hash == h && v_equal(r, e->key, key))
            return &e->value;
    }
    return NULL;
}

const struct value *dict_find(const struct dict *d, const char *key, uint32_t n)
{
    uint32_t i, k, h;

    if (!d->slot) {
        for (i = 0; i < d->n; i++)
            if (d->entry[i].key.n == n && d->entry[i].key.kind == STR &&
                memcmp(d->entry[i].key.s, key, n) == 0)
                return &d->entry[i].value;
        return NULL;
    }
    h = hash_bytes(key, n);
    for (k = h & d->mask; d->slot[k]; k = (k + 1) & d->mask) {
        const struct entry *e = &d->entry[d->slot[k] - 1];

        if (e->hash == h && e->key.kind == STR && e->key.n == n && memcmp(e->key.s, key, n) == 0)
            return &e->value;
    }
    return NULL;
}

static void grow(struct run *r, struct dict *d)
{
    uint32_t cap = d->cap ? 2 * d->cap : 4;
    struct entry *e;

    if (cap > UINT32_MAX / 2 / sizeof *e)
        run_fail(r, "MemoryError", "a dict of %u members", cap);
    e = run_get(r, cap * sizeof *e);
    if (d->n)
        memcpy(e, d->entry, d->n * sizeof *e);
    d->entry = e;
    d->cap = cap;
}

void dict_set(struct run *r, struct dict *d, struct value key, struct value v)
{
    const struct value *old = dict_get(r, d, key);

    if (old) {
        d->entry[(const struct entry *)((const char *)old - offsetof(struct entry, value)) - d->entry].value =
            v;
        return;
    }
    if (d->n == d->cap)
        grow(r, d);
    d->entry[d->n++] = (struct entry){.key = key, .value = v};
    if (d->slot && 2 * d->n < d->mask) {
        d->entry[d->n - 1].hash = hash_of(key);
        index_entry(d, d->n - 1);
    } else if (d->n >= INDEXED) {
        index_all(r, d);
    }
}

/* ---- membership ---- */

static bool in_text(struct run *r, struct value item, struct value in)
{
    if (item.kind != STR)
        run_fail(r, "TypeError", "'in <string>' requires string as left operand, not %s", v_type(item));
    run_spend(r, in.n / 256);
    return utf8_find(in.s, in.n, item.s, item.n) != NULL;
}

bool v_in(struct run *r, struct value item, struct value in)
{
    uint32_t i;

    if (in.kind == STR)
        return in_text(r, item, in);
    if (in.kind == DICT || in.kind == KEYS)
        return dict_get(r, in.dict, item) != NULL;
    if (!v_iterable(in))
        run_fail(r, "TypeError", "argument of type '%s' is not iterable", v_type(in));
    in = v_items(r, in);
    for (i = 0; i < in.n; i++)
        if (v_equal(r, in.item[i], item))
            return true;
    return false;
}
