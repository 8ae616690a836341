/* text_methods.c -- the methods of strings. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jinja/text_methods.h"
#include "jinja/characters.h"

/* ---- stripping ---- */

static bool strippable(struct value chars, const char *s, uint32_t n)
{
    return chars.kind == STR ? utf8_find(chars.s, chars.n, s, n) != NULL : uni_space(utf8_get(s, n));
}

static struct value strip(struct run *r, struct value s, struct value chars, bool left, bool right)
{
    size_t from = 0, to = s.n;
    uint32_t n;

    if (chars.kind != MISSING && chars.kind != NONE)
        text_need(r, chars);
    for (; left && from < to; from += n) {
        n = utf8_length(s.s + from, to - from);
        if (!strippable(chars, s.s + from, n))
            break;
    }
    for (; right && from < to; to -= n) {
        n = utf8_last(s.s + from, to - from);
        if (!strippable(chars, s.s + to - n, n))
            break;
    }
    return text_part(s, from, to);
}

static struct value strip_both(struct run *r, struct value self, struct value *a)
{
    return strip(r, self, a[0], true, true);
}

static struct value strip_left(struct run *r, struct value self, struct value *a)
{
    return strip(r, self, a[0], true, false);
}

static struct value strip_right(struct run *r, struct value self, struct value *a)
{
    return strip(r, self, a[0], false, true);
}

static bool begins(struct value s, struct value with)
{
    return with.n <= s.n && memcmp(s.s, with.s, with.n) == 0;
}

static bool ends(struct value s, struct value with)
{
    return with.n <= s.n && memcmp(s.s + s.n - with.n, with.s, with.n) == 0;
}

static struct value remove_prefix(struct run *r, struct value self, struct value *a)
{
    return begins(self, text_need(r, a[0])) ? text_part(self, a[0].n, self.n) : self;
}

static struct value remove_suffix(struct run *r, struct value self, struct value *a)
{
    return ends(self, text_need(r, a[0])) ? text_part(self, 0, self.n - a[0].n) : self;
}

/* ---- finding ---- */

/* The bytes of s[start:end], from which characters are counted. */
static struct value searched(struct run *r, struct value s, struct value start, struct value end,
                             int64_t *before)
{
    int64_t n = (int64_t)utf8_count(s.s, s.n), from = 0, to = n;
    size_t at, stop;

    if (start.kind != MISSING && start.kind != NONE)
        from = v_index(r, start, "start");
    if (end.kind != MISSING && end.kind != NONE)
        to = v_index(r, end, "end");
    from = from < 0 ? (from + n < 0 ? 0 : from + n) : from;
    to = to < 0 ? (to + n < 0 ? 0 : to + n) : to > n ? n : to;
    *before = from;
    if (from > to)
        return (struct value){.kind = MISSING};
    at = utf8_at(s.s, s.n, (uint64_t)from);
    stop = at + utf8_at(s.s + at, s.n - at, (uint64_t)(to - from));
    return text_part(s, at, stop);
}

static int64_t text_find(struct run *r, struct value self, struct value *a, bool last)
{
    int64_t before;
    struct value in = searched(r, self, a[1], a[2], &before);
    const char *k;

    text_need(r, a[0]);
    if (in.kind == MISSING)
        return -1;
    k = last ? text_find_last(in, in.n, a[0]) : utf8_find(in.s, in.n, a[0].s, a[0].n);
    return k ? before + (int64_t)utf8_count(in.s, (size_t)(k - in.s)) : -1;
}

static struct value find_first(struct run *r, struct value self, struct value *a)
{
    return v_int(text_find(r, self, a, false));
}

static struct value find_right(struct run *r, struct value self, struct value *a)
{
    return v_int(text_find(r, self, a, true));
}

static struct value found(struct run *r, int64_t i)
{
    if (i < 0)
        run_fail(r, "ValueError", "substring not found");
    return v_int(i);
}

static struct value index_first(struct run *r, struct value self, struct value *a)
{
    return found(r, text_find(r, self, a, false));
}

static struct value index_right(struct run *r, struct value self, struct value *a)
{
    return found(r, text_find(r, self, a, true));
}

static struct value text_count(struct run *r, struct value self, struct value *a)
{
    int64_t before, n = 0;
    struct value in = searched(r, self, a[1], a[2], &before);
    const char *k;
    size_t at = 0;

    text_need(r, a[0]);
    if (in.kind == MISSING)
        return v_int(0);
    if (!a[0].n)
        return v_int((int64_t)utf8_count(in.s, in.n) + 1);
    for (; (k = utf8_find(in.s + at, in.n - at, a[0].s, a[0].n)); n++)
        at = (size_t)(k - in.s) + a[0].n;
    return v_int(n);
}

/* x.startswith(y), y being a string or a tuple of them. */
static struct value affix(struct run *r, struct value self, struct value *a,
                          bool (*is)(struct value, struct value))
{
    int64_t before;
    struct value in = searched(r, self, a[1], a[2], &before);
    uint32_t i;

    if (a[0].kind != TUPLE)
        return v_bool(is(in, text_need(r, a[0])) && in.kind != MISSING);
    for (i = 0; i < a[0].n; i++)
        if (is(in, text_need(r, a[0].item[i])) && in.kind != MISSING)
            return v_bool(true);
    return v_bool(false);
}

static struct value starts_with(struct run *r, struct value self, struct value *a)
{
    return affix(r, self, a, begins);
}

static struct value ends_with_text(struct run *r, struct value self, struct value *a)
{
    return affix(r, self, a, ends);
}

/* ---- changing ---- */

static struct value cased(struct run *r, struct value self, enum uni_case how)
{
    size_t from = r->out->n;

    uni_add_case(r->out, self.s, self.n, how);
    return text_like(v_printed(r, from), self);
}

static struct value text_upper(struct run *r, struct value self, struct value *a)
{
    (void)a;
    return cased(r, self, TO_UPPER);
}

static struct value text_lower(struct run *r, struct value self, struct value *a)
{
    (void)a;
    return cased(r, self, TO_LOWER);
}

static struct value fold(struct run *r, struct value self, struct value *a)
{
    (void)a;
    return cased(r, self, TO_FOLD);
}

static struct value swap_case(struct run *r, struct value self, struct value *a)
{
    (void)a;
    return cased(r, self, TO_SWAPPED);
}

/* Each word's first letter, or the text's, in title case, the rest lower. */
static struct value titled(struct run *r, struct value self, bool words)
{
    size_t from = r->out->n, i;
    bool inside = false;

    for (i = 0; i < self.n; i += utf8_length(self.s + i, self.n - i)) {
        int32_t c = utf8_get(self.s + i, self.n - i);

        if (inside)
            uni_add_lower(r->out, self.s, self.n, i);
        else
            uni_add_title(r->out, c);
        inside = words ? uni_cased(c) : true;
    }
    return text_like(v_printed(r, from), self);
}

static struct value title(struct run *r, struct value self, struct value *a)
{
    (void)a;
    return titled(r, self, true);
}

static struct value capitalize(struct run *r, struct value self, struct value *a)
{
    (void)a;
    return titled(r, self, false);
}

static struct value text_replace(struct run *r, struct value self, struct value *a)
{
    int64_t most = arg_int(r, a[2], -1), done;
    size_t start = r->out->n, at = 0, n;
    struct value with;
    const char *k;

    text_need(r, a[0]);
    with = self.flags & SAFE ? v_escape(r, a[1]) : text_need(r, a[1]);
    run_spend(r, self.n / 64);
    for (done = 0; most < 0 || done < most; done++) {
        k = utf8_find(self.s + at, self.n - at, a[0].s, a[0].n);
        if (!k)
            break;
        if (!done && !most)
            break;
        str_add(r->out, self.s + at, (size_t)(k - self.s) - at);
        str_add(r->out, with.s, with.n);
        at = (size_t)(k - self.s) + a[0].n;
        if (a[0].n)
            continue;
        if (at == self.n) /* between all characters, and at both ends */
            break;
        n = utf8_length(self.s + at, self.n - at);
        str_add(r->out, self.s + at, n);
        at += n;
    }
    if (!done && !at)
        return self;
    str_add(r->out, self.s + at, self.n - at);
    return text_like(v_printed(r, start), self);
}

static struct value join(struct run *r, struct value self, struct value *a)
{
    size_t from = r->out->n;
    struct value list, v;
    uint32_t i;

    if (!v_iterable(a[0]))
        run_fail(r, "TypeError", "can only join an iterable");
    list = v_items(r, a[0]);
    for (i = 0; i < list.n; i++) {
        v = list.item[i];
        if (!(self.flags & SAFE) && v.kind != STR)
            run_fail(r, "TypeError", "sequence item %u: expected str instance, %s found", i, v_type(v));
        if (i)
            str_add(r->out, self.s, self.n);
        v = self.flags & SAFE ? v_escape(r, v) : v;
        str_add(r->out, v.s, v.n);
    }
    return text_like(v_printed(r, from), self);
}

static struct value pad(struct run *r, struct value self, struct value *a, int left, int right)
{
    int64_t n = v_index(r, a[0], "width") - (int64_t)utf8_count(self.s, self.n), before, i;
    struct value fill = a[1].kind == MISSING ? v_str(" ", 1) : text_need(r, a[1]);
    size_t from = r->out->n;

    if (utf8_count(fill.s, fill.n) != 1)
        run_fail(r, "TypeError", "The fill character must be exactly one character long");
    n = n < 0 ? 0 : n;
    before = left && right ? n / 2 + (n & (v_index(r, a[0], "width") & 1)) : left ? n : 0;
    for (i = 0; i < n; i++) {
        if (i == before)
            str_add(r->out, self.s, self.n);
        run_spend(r, 1);
        str_add(r->out, fill.s, fill.n);
    }
    if (before == n)
        str_add(r->out, self.s, self.n);
    return text_like(v_printed(r, from), self);
}

static struct value pad_left(struct run *r, struct value self, struct value *a)
{
    return pad(r, self, a, 0, 1);
}

static struct value pad_right(struct run *r, struct value self, struct value *a)
{
    return pad(r, self, a, 1, 0);
}

static struct value center(struct run *r, struct value self, struct value *a)
{
    return pad(r, self, a, 1, 1);
}

static struct value zero_fill(struct run *r, struct value self, struct value *a)
{
    int64_t n = v_index(r, a[0], "width") - (int64_t)utf8_count(self.s, self.n);
    size_t from = r->out->n, sign = self.n && (*self.s == '-' || *self.s == '+');

    str_add(r->out, self.s, sign);
    for (; n > 0; n--) {
        run_spend(r, 1);
        str_addc(r->out, '0');
    }
    str_add(r->out, self.s + sign, self.n - sign);
    return text_like(v_printed(r, from), self);
}

static struct value format(struct run *r, struct value self, struct args *a)
{
    return format_braces(r, self, a);
}

/* ---- asking ---- */

static struct value all_are(struct value self, bool (*is)(int32_t c))
{
    size_t i;

    for (i = 0; i < self.n; i += utf8_length(self.s + i, self.n - i))
        if (!is(utf8_get(self.s + i, self.n - i)))
            return v_bool(false);
    return v_bool(self.n > 0);
}

static bool alnum(int32_t c)
{
    return uni_alpha(c) || uni_numeric(c);
}

static bool ascii(int32_t c)
{
    return c < 0x80;
}

#define ASKS(name, what)                                                                                     \
    static struct value name(struct run *r, struct value self, struct value *a)                              \
    {                                                                                                        \
        (void)r, (void)a;                                                                                    \
        return all_are(self, what);                                                                          \
    }
ASKS(is_space, uni_space)
ASKS(is_alpha, uni_alpha)
ASKS(is_alnum, alnum)
ASKS(is_digit, uni_digit)
ASKS(is_decimal, uni_decimal)
ASKS(is_numeric, uni_numeric)

static struct value is_ascii(struct run *r, struct value self, struct value *a)
{
    (void)r, (void)a;
    return v_bool(!self.n || v_true(all_are(self, ascii)));
}

/* Some letter has the case, none has the other. */
static struct value all_cased(struct value self, bool up)
{
    bool some = false;
    size_t i;

    for (i = 0; i < self.n; i += utf8_length(self.s + i, self.n - i)) {
        int32_t c = utf8_get(self.s + i, self.n - i);

        if (uni_title(c) || (up ? uni_lower(c) : uni_upper(c)))
            return v_bool(false);
        some |= up ? uni_upper(c) : uni_lower(c);
    }
    return v_bool(some);
}

static struct value is_upper(struct run *r, struct value self, struct value *a)
{
    (void)r, (void)a;
    return all_cased(self, true);
}

static struct value is_lower(struct run *r, struct value self, struct value *a)
{
    (void)r, (void)a;
    return all_cased(self, false);
}

static struct value is_title(struct run *r, struct value self, struct value *a)
{
    (void)a;
    return v_bool(v_equal(r, self, titled(r, self, true)) && (v_true(all_cased(self, true)) || self.n));
}

const struct builtin text_methods[] = {{"split", "sep? maxsplit?", text_split, NULL},
                                       {"strip", "/chars?", strip_both, NULL},
                                       {"lstrip", "/chars?", strip_left, NULL},
                                       {"rstrip", "/chars?", strip_right, NULL},
                                       {"startswith", "/prefix start? end?", starts_with, NULL},
                                       {"endswith", "/suffix start? end?", ends_with_text, NULL},
                                       {"replace", "/old new count?", text_replace, NULL},
                                       {"format", NULL, NULL, format},
                                       {"join", "/items", join, NULL},
                                       {"find", "/what start? end?", find_first, NULL},
                                       {"rfind", "/what start? end?", find_right, NULL},
                                       {"index", "/what start? end?", index_first, NULL},
                                       {"rindex", "/what start? end?", index_right, NULL},
                                       {"count", "/what start? end?", text_count, NULL},
                                       {"upper", "/", text_upper, NULL},
                                       {"lower", "/", text_lower, NULL},
                                       {"title", "/", title, NULL},
                                       {"capitalize", "/", capitalize, NULL},
                                       {"casefold", "/", fold, NULL},
                                       {"swapcase", "/", swap_case, NULL},
                                       {"rsplit", "sep? maxsplit?", text_split_right, NULL},
                                       {"splitlines", "keepends?", text_split_lines, NULL},
                                       {"partition", "/sep", text_partition, NULL},
                                       {"rpartition", "/sep", text_partition_right, NULL},
                                       {"removeprefix", "/prefix", remove_prefix, NULL},
                                       {"removesuffix", "/suffix", remove_suffix, NULL},
                                       {"ljust", "/width fill?", pad_left, NULL},
                                       {"rjust", "/width fill?", pad_right, NULL},
                                       {"center", "/width fill?", center, NULL},
                                       {"zfill", "/width", zero_fill, NULL},
                                       {"isspace", "/", is_space, NULL},
                                       {"isalpha", "/", is_alpha, NULL},
                                       {"isalnum", "/", is_alnum, NULL},
                                       {"isdigit", "/", is_digit, NULL},
                                       {"isdecimal", "/", is_decimal, NULL},
                                       {"isnumeric", "/", is_numeric, NULL},
                                       {"isascii", "/", is_ascii, NULL},
                                       {"isupper", "/", is_upper, NULL},
                                       {"islower", "/", is_lower, NULL},
                                       {"istitle", "/", is_title, NULL},
                                       {NULL, NULL, NULL, NULL}};
