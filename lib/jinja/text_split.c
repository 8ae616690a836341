/* text_split.c -- the methods of strings that take them apart. */
#include <string.h>

#include "jinja/text_methods.h"
#include "jinja/characters.h"

struct value text_like(struct value v, struct value model)
{
    v.flags = model.flags;
    return v;
}

struct value text_need(struct run *r, struct value v)
{
    if (v.kind == UNDEFINED && (v.flags & UNSAFE))
        v_fail_undefined(r, v);
    if (v.kind != STR)
        run_fail(r, "TypeError", "must be str, not %s", v_type(v));
    return v;
}

struct value text_part(struct value s, size_t from, size_t to)
{
    return text_like(v_str(s.s + from, to - from), s);
}

/* ---- splitting ---- */

struct pieces {
    struct run *r;
    struct value self, list;
    uint32_t cap;
};

static void add_piece(struct pieces *p, size_t from, size_t to)
{
    struct value grown;

    if (p->list.n == p->cap) {
        p->cap = p->cap ? 2 * p->cap : 8;
        grown = v_list(p->r, p->cap);
        if (p->list.n)
            memcpy(grown.item, p->list.item, p->list.n * sizeof grown);
        grown.n = p->list.n;
        p->list = grown;
    }
    p->list.item[p->list.n++] = text_part(p->self, from, to);
}

static void split_space(struct pieces *p, int64_t most)
{
    struct value s = p->self;
    size_t i = 0, from;

    for (;;) {
        while (i < s.n && uni_space(utf8_get(s.s + i, s.n - i)))
            i += utf8_length(s.s + i, s.n - i);
        if (i == s.n)
            return;
        from = i;
        if (most >= 0 && p->list.n >= most) {
            add_piece(p, from, s.n);
            return;
        }
        while (i < s.n && !uni_space(utf8_get(s.s + i, s.n - i)))
            i += utf8_length(s.s + i, s.n - i);
        add_piece(p, from, i);
    }
}

static void split_at(struct pieces *p, struct value separator, int64_t most)
{
    struct value s = p->self;
    const char *k;
    size_t from = 0;

    while ((most < 0 || p->list.n < most) &&
           (k = utf8_find(s.s + from, s.n - from, separator.s, separator.n))) {
        add_piece(p, from, (size_t)(k - s.s));
        from = (size_t)(k - s.s) + separator.n;
    }
    add_piece(p, from, s.n);
}

static struct value need_separator(struct run *r, struct value v)
{
    text_need(r, v);
    if (!v.n)
        run_fail(r, "ValueError", "empty separator");
    return v;
}

struct value text_split(struct run *r, struct value self, struct value *a)
{
    struct pieces p = {.r = r, .self = self, .list = {.kind = LIST}};
    int64_t most = arg_int(r, a[1], -1);

    run_spend(r, self.n / 64);
    if (a[0].kind == MISSING || a[0].kind == NONE)
        split_space(&p, most);
    else
        split_at(&p, need_separator(r, a[0]), most);
    return p.list;
}

/* The last place of what in s[0..n), or NULL. */
const char *text_find_last(struct value s, size_t n, struct value what)
{
    size_t i;

    for (i = n + 1; i-- > 0;)
        if (i + what.n <= n && memcmp(s.s + i, what.s, what.n) == 0)
            return s.s + i;
    return NULL;
}

/* From the right, as a list from the left. */
struct value text_split_right(struct run *r, struct value self, struct value *a)
{
    struct pieces p = {.r = r, .self = self, .list = {.kind = LIST}};
    int64_t most = arg_int(r, a[1], -1);
    size_t end = self.n;
    const char *k;
    uint32_t i;

    if (most < 0)
        return text_split(r, self, a);
    if (a[0].kind == MISSING || a[0].kind == NONE)
        run_fail(r, "NotImplementedError", "rsplit of white space with a limit is not supported");
    need_separator(r, a[0]);
    while (p.list.n < most && (k = text_find_last(self, end, a[0]))) {
        add_piece(&p, (size_t)(k - self.s) + a[0].n, end);
        end = (size_t)(k - self.s);
    }
    add_piece(&p, 0, end);
    for (i = 0; i < p.list.n / 2; i++) {
        struct value v = p.list.item[i];

        p.list.item[i] = p.list.item[p.list.n - 1 - i];
        p.list.item[p.list.n - 1 - i] = v;
    }
    return p.list;
}

static bool line_end(int32_t c)
{
    return (c >= 10 && c <= 13) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

struct value text_split_lines(struct run *r, struct value self, struct value *a)
{
    struct pieces p = {.r = r, .self = self, .list = {.kind = LIST}};
    bool keep = arg_true(a[0], false);
    size_t i, from = 0, n;

    for (i = 0; i < self.n; i += n) {
        int32_t c = utf8_get(self.s + i, self.n - i);

        n = utf8_length(self.s + i, self.n - i);
        if (!line_end(c))
            continue;
        if (c == '\r' && i + 1 < self.n && self.s[i + 1] == '\n')
            n++;
        add_piece(&p, from, keep ? i + n : i);
        from = i + n;
    }
    if (from < self.n)
        add_piece(&p, from, self.n);
    return p.list;
}

static struct value three(struct run *r, struct value self, const char *k, struct value separator, bool right)
{
    struct value v = v_tuple(r, 3);
    size_t at = k ? (size_t)(k - self.s) : right ? 0 : self.n;

    v.item[0] = text_part(self, 0, at);
    v.item[1] = k ? text_part(self, at, at + separator.n) : text_like(v_str("", 0), self);
    v.item[2] = text_part(self, k ? at + separator.n : at, self.n);
    return v;
}

struct value text_partition(struct run *r, struct value self, struct value *a)
{
    need_separator(r, a[0]);
    return three(r, self, utf8_find(self.s, self.n, a[0].s, a[0].n), a[0], false);
}

struct value text_partition_right(struct run *r, struct value self, struct value *a)
{
    need_separator(r, a[0]);
    return three(r, self, text_find_last(self, self.n, a[0]), a[0], true);
}
