/* filters_list.c -- filters that go through lists. */
#include "jinja/filters_list.h"

#include <stdlib.h>
#include <string.h>

/* ---- attributes by their path ---- */

static bool all_digits(const char *s, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++)
        if (s[i] < '0' || s[i] > '9')
            return false;
    return n > 0 && n < 10;
}

struct value attribute_path(struct run *r, struct value v, struct value path, struct value missing)
{
    const char *p, *end, *dot;

    if (path.kind == MISSING || path.kind == NONE)
        return v;
    if (path.kind != STR)
        return v_subscript(r, v, path);
    for (p = path.s, end = p + path.n;; p = dot + 1) {
        size_t n;

        dot = p < end ? memchr(p, '.', (size_t)(end - p)) : NULL;
        n = dot ? (size_t)(dot - p) : (size_t)(end - p);
        v = v_subscript(r, v, all_digits(p, n) ? v_int(strtol(p, NULL, 10)) : v_str(p, n));
        if (v.kind == UNDEFINED && missing.kind != MISSING && missing.kind != NONE)
            v = missing;
        if (!dot)
            return v;
    }
}

/* ---- whole lists ---- */

struct value filter_length(struct run *r, struct value self, struct value *a)
{
    (void)a;
    return v_int(v_length(r, self));
}

struct value filter_items(struct run *r, struct value self, struct value *a)
{
    (void)a;
    if (self.kind == UNDEFINED)
        return v_iter(r, v_list(r, 0));
    if (self.kind != DICT)
        run_fail(r, "TypeError", "Can only get item pairs from a mapping.");
    self.kind = ITEMS;
    return v_iter(r, v_items(r, self));
}

struct value filter_list(struct run *r, struct value self, struct value *a)
{
    (void)a;
    return v_items(r, self);
}

struct value filter_first(struct run *r, struct value self, struct value *a)
{
    struct value list, v;

    (void)a;
    if (self.kind == ITER && self.iter->at < self.iter->n)
        return self.iter->item[self.iter->at++];
    if (self.kind == STR)
        return self.n ? v_subscript(r, self, v_int(0)) : v_message("No first item, sequence was empty.");
    list = v_items(r, self);
    v = list.n ? list.item[0] : v_message("No first item, sequence was empty.");
    return v;
}

struct value filter_last(struct run *r, struct value self, struct value *a)
{
    struct value list;

    (void)a;
    if (!v_iterable(self) || self.kind == ITER || self.kind == LOOP)
        run_fail(r, "TypeError", "'%s' object is not reversible", v_type(self));
    if (self.kind == STR && self.n)
        return v_subscript(r, self, v_int(-1));
    list = v_items(r, self);
    return list.n ? list.item[list.n - 1] : v_message("No last item, sequence was empty.");
}

struct value filter_reverse(struct run *r, struct value self, struct value *a)
{
    struct value list, v;
    uint32_t i;

    (void)a;
    if (self.kind == STR)
        return v_slice(r, self, v_none(), v_none(), v_int(-1));
    if (!v_iterable(self))
        run_fail(r, "FilterArgumentError", "argument must be iterable");
    list = v_items(r, self);
    v = v_list(r, list.n);
    for (i = 0; i < list.n; i++)
        v.item[i] = list.item[list.n - 1 - i];
    return v_iter(r, v);
}

struct value filter_join(struct run *r, struct value self, struct value *a)
{
    struct value by = a[0].kind == MISSING ? v_str("", 0) : v_to_text(r, a[0]), list = v_items(r, self), v;
    size_t from = r->out->n;
    uint32_t i;

    for (i = 0; i < list.n; i++) {
        if (i)
            str_add(r->out, by.s, by.n);
        print_str(r, attribute_path(r, list.item[i], a[1], v_none()));
    }
    v = v_printed(r, from);
    return v;
}

struct value filter_sum(struct run *r, struct value self, struct value *a)
{
    struct value v = a[1].kind == MISSING ? v_int(0) : a[1], list = v_items(r, self);
    uint32_t i;

    if (v.kind == STR)
        run_fail(r, "TypeError", "sum() can't sum strings [use ''.join(seq) instead]");
    for (i = 0; i < list.n; i++)
        v = v_add(r, v, attribute_path(r, list.item[i], a[0], v_none()));
    return v;
}

struct value filter_batch(struct run *r, struct value self, struct value *a)
{
    struct value list = v_items(r, self), all, row;
    int64_t size = v_index(r, a[0], "linecount");
    bool fill = a[1].kind != MISSING && a[1].kind != NONE;
    uint32_t rows, i, k, n;

    if (size < 1)
        run_fail(r, "ValueError", "batch: a size below 1");
    size = size > list.n && !fill ? (list.n ? list.n : 1) : size;
    rows = (uint32_t)((list.n + size - 1) / size);
    all = v_list(r, rows);
    for (i = 0; i < rows; i++) {
        n = (uint32_t)(list.n - i * size < size ? list.n - i * size : size);
        row = v_list(r, fill ? (size_t)size : n);
        for (k = 0; k < row.n; k++)
            row.item[k] = k < n ? list.item[i * size + k] : a[1];
        all.item[i] = row;
    }
    return v_iter(r, all);
}

struct value filter_slice(struct run *r, struct value self, struct value *a)
{
    struct value list = v_items(r, self), all, row;
    int64_t slices = v_index(r, a[0], "slices"), i;
    bool fill = a[1].kind != MISSING && a[1].kind != NONE;
    uint32_t at = 0, n, k;

    if (slices == 0)
        run_fail(r, "ZeroDivisionError", "integer division or modulo by zero");
    all = v_list(r, slices > 0 ? (size_t)slices : 0);
    for (i = 0; i < all.n; i++, at += n) {
        n = (uint32_t)(list.n / slices + (i < list.n % slices));
        row = v_list(r, n + (fill && i >= list.n % slices));
        for (k = 0; k < row.n; k++)
            row.item[k] = k < n ? list.item[at + k] : a[1];
        all.item[i] = row;
    }
    return v_iter(r, all);
}

/* ---- by a filter or a test ---- */

static struct value map_attribute(struct run *r, struct value self, struct args *a)
{
    struct value missing = {.kind = MISSING}, path = missing, list = v_items(r, self), out;
    uint32_t i;

    for (i = 0; i < a->keys; i++)
        if (v_is(a->key[i].name, "attribute"))
            path = a->key[i].value;
        else if (v_is(a->key[i].name, "default"))
            missing = a->key[i].value;
        else
            run_fail(r, "FilterArgumentError", "Unexpected keyword argument '%.*s'", (int)a->key[i].name.n,
                     a->key[i].name.s);
    if (path.kind == MISSING)
        run_fail(r, "FilterArgumentError", "map requires a filter argument");
    out = v_list(r, list.n);
    for (i = 0; i < list.n; i++)
        out.item[i] = attribute_path(r, list.item[i], path, missing);
    return v_iter(r, out);
}

struct value filter_map(struct run *r, struct value self, struct args *a)
{
    struct args rest = {a->at + 1, a->n - 1, a->key, a->keys};
    struct value list, out;
    uint32_t i;

    if (!v_true(self))
        return v_iter(r, v_list(r, 0));
    if (!a->n)
        return map_attribute(r, self, a);
    list = v_items(r, self);
    out = v_list(r, list.n);
    for (i = 0; i < list.n; i++)
        out.item[i] = filter_named(r, a->at[0], list.item[i], &rest);
    return v_iter(r, out);
}

static struct value filter_by_test(struct run *r, struct value self, struct args *a, bool attribute,
                                   bool want)
{
    struct args rest = {.key = a->key, .keys = a->keys};
    struct value list, out;
    uint32_t i, n = 0, used = attribute ? 2 : 1;

    if (!v_true(self))
        return v_iter(r, v_list(r, 0));
    if (attribute && !a->n)
        run_fail(r, "FilterArgumentError", "Missing parameter for attribute name");
    if (a->n > used) {
        rest.at = a->at + used;
        rest.n = a->n - used;
    }
    list = v_items(r, self);
    out = v_list(r, list.n);
    for (i = 0; i < list.n; i++) {
        struct value v = attribute ? attribute_path(r, list.item[i], a->at[0], v_none()) : list.item[i];
        bool good = a->n < used ? v_true(v) : test_named(r, a->at[used - 1], v, &rest);

        if (good == want)
            out.item[n++] = list.item[i];
    }
    out.n = n;
    return v_iter(r, out);
}

struct value filter_select(struct run *r, struct value self, struct args *a)
{
    return filter_by_test(r, self, a, false, true);
}

struct value filter_reject(struct run *r, struct value self, struct args *a)
{
    return filter_by_test(r, self, a, false, false);
}

struct value filter_select_attribute(struct run *r, struct value self, struct args *a)
{
    return filter_by_test(r, self, a, true, true);
}

struct value filter_reject_attribute(struct run *r, struct value self, struct args *a)
{
    return filter_by_test(r, self, a, true, false);
}
