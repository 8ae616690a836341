/* sorting.c -- filters that compare the items of a list: stable sorts, least and greatest, groups. */
#include <string.h>

#include "jinja/filters_list.h"

struct keyed {
    struct value key, value;
};

/* Strings in lower case, unless the case counts. */
static struct value key_of(struct run *r, struct value v, bool cased)
{
    struct args none = {.n = 0};

    return cased || v.kind != STR ? v : builtin_call(r, builtin_find(text_methods, "lower", 5), v, &none);
}

/* Merges sorted halves; of equal items the one from the left comes first. */
static void merge(struct run *r, struct keyed *to, const struct keyed *from, uint32_t half, uint32_t n,
                  bool reverse)
{
    uint32_t i = 0, k = half, at;

    for (at = 0; at < n; at++) {
        bool right = i == half;

        if (i < half && k < n) {
            int c = v_compare(r, from[k].key, from[i].key, "<");

            right = reverse ? c == 1 : c < 0;
        }
        to[at] = right ? from[k++] : from[i++];
    }
}

static void sort(struct run *r, struct keyed *a, uint32_t n, bool reverse)
{
    struct keyed *copy;

    if (n < 2)
        return;
    sort(r, a, n / 2, reverse);
    sort(r, a + n / 2, n - n / 2, reverse);
    copy = run_get(r, n * sizeof *copy);
    memcpy(copy, a, n * sizeof *copy);
    merge(r, a, copy, n / 2, n, reverse);
}

static struct keyed *with_keys(struct run *r, struct value list, struct value attribute, bool cased)
{
    struct keyed *k = run_get(r, list.n * sizeof *k);
    uint32_t i;

    for (i = 0; i < list.n; i++)
        k[i] = (struct keyed){key_of(r, attribute_path(r, list.item[i], attribute, v_none()), cased),
                              list.item[i]};
    return k;
}

/* ---- sort, dictsort ---- */

/* "a,b": a tuple of both. */
static struct value several_keys(struct run *r, struct value v, struct value attribute, bool cased)
{
    const char *p = attribute.s, *end = p + attribute.n, *comma;
    struct value list = v_list(r, attribute.n + 1);
    uint32_t n = 0;

    for (;; p = comma + 1) {
        comma = memchr(p, ',', (size_t)(end - p));
        list.item[n++] =
            key_of(r, attribute_path(r, v, v_str(p, (size_t)((comma ? comma : end) - p)), v_none()), cased);
        if (!comma)
            break;
    }
    list.n = n;
    return list;
}

struct value filter_sort(struct run *r, struct value self, struct value *a)
{
    struct value list = v_items(r, self), out = v_list(r, list.n);
    bool cased = arg_true(a[1], false), several = a[2].kind == STR && memchr(a[2].s, ',', a[2].n);
    struct keyed *k = with_keys(r, list, several ? v_none() : a[2], cased);
    uint32_t i;

    for (i = 0; several && i < list.n; i++)
        k[i].key = several_keys(r, list.item[i], a[2], cased);
    sort(r, k, list.n, arg_true(a[0], false));
    for (i = 0; i < list.n; i++)
        out.item[i] = k[i].value;
    return out;
}

struct value filter_dictsort(struct run *r, struct value self, struct value *a)
{
    bool cased = arg_true(a[0], false), by_value = false;
    struct value list;
    struct keyed *k;
    uint32_t i;

    if (self.kind == UNDEFINED)
        v_fail_undefined(r, self);
    if (self.kind != DICT)
        run_fail(r, "AttributeError", "'%s' object has no attribute 'items'", v_type(self));
    if (a[1].kind != MISSING && !v_is(a[1], "key")) {
        by_value = v_is(a[1], "value");
        if (!by_value)
            run_fail(r, "FilterArgumentError", "You can only sort by either \"key\" or \"value\"");
    }
    self.kind = ITEMS;
    list = v_items(r, self);
    k = with_keys(r, list, v_int(by_value), cased);
    sort(r, k, list.n, arg_true(a[2], false));
    for (i = 0; i < list.n; i++)
        list.item[i] = k[i].value;
    return list;
}

const struct entry *entries_sorted(struct run *r, const struct dict *d)
{
    struct keyed *k = run_get(r, d->n * sizeof *k);
    struct entry *e = run_get(r, d->n * sizeof *e);
    uint32_t i;

    for (i = 0; i < d->n; i++)
        k[i] = (struct keyed){d->entry[i].key, d->entry[i].value};
    sort(r, k, d->n, false);
    for (i = 0; i < d->n; i++)
        e[i] = (struct entry){.key = k[i].key, .value = k[i].value};
    return e;
}

/* ---- unique, min, max, groupby ---- */

struct value filter_unique(struct run *r, struct value self, struct value *a)
{
    struct value list = v_items(r, self), out = v_list(r, list.n), seen = v_dict(r, 0);
    struct keyed *k = with_keys(r, list, a[1], arg_true(a[0], false));
    uint32_t i, n = 0;

    for (i = 0; i < list.n; i++) {
        if (dict_get(r, seen.dict, k[i].key))
            continue;
        dict_set(r, seen.dict, k[i].key, v_none());
        out.item[n++] = k[i].value;
    }
    out.n = n;
    return v_iter(r, out);
}

static struct value extreme(struct run *r, struct value self, struct value *a, bool greatest)
{
    struct value list = v_items(r, self);
    struct keyed *k;
    uint32_t i, best = 0;

    if (!list.n)
        return v_message("No aggregated item, sequence was empty.");
    k = with_keys(r, list, a[1], arg_true(a[0], false));
    for (i = 1; i < list.n; i++) {
        int c = v_compare(r, k[i].key, k[best].key, greatest ? ">" : "<");

        if (greatest ? c > 0 : c < 0)
            best = i;
    }
    return k[best].value;
}

struct value filter_min(struct run *r, struct value self, struct value *a)
{
    return extreme(r, self, a, false);
}

struct value filter_max(struct run *r, struct value self, struct value *a)
{
    return extreme(r, self, a, true);
}

/* Pairs of a key, as the first item has it, and the list of those that have it. */
struct value filter_groupby(struct run *r, struct value self, struct value *a)
{
    struct value list = v_items(r, self), out = v_list(r, list.n), group;
    bool cased = arg_true(a[2], false);
    struct keyed *k = run_get(r, list.n * sizeof *k);
    uint32_t i, j, n = 0;

    for (i = 0; i < list.n; i++)
        k[i] = (struct keyed){key_of(r, attribute_path(r, list.item[i], a[0], a[1]), cased), list.item[i]};
    sort(r, k, list.n, false);
    for (i = 0; i < list.n; i = j) {
        for (j = i + 1; j < list.n && v_equal(r, k[i].key, k[j].key); j++)
            ;
        group = v_list(r, j - i);
        for (group.n = 0; group.n < j - i; group.n++)
            group.item[group.n] = k[i + group.n].value;
        out.item[n] = v_tuple(r, 2);
        out.item[n].item[0] = attribute_path(r, k[i].value, a[0], a[1]);
        out.item[n++].item[1] = group;
    }
    out.n = n;
    return out;
}
