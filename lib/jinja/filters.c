/* filters.c -- filters of one value. Those of lists are in filters_list.c. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jinja/filters_list.h"
#include "jinja/characters.h"
#include "jinja/integers.h"
#include "jinja/tree.h"

static struct value method(struct run *r, const char *name, struct value self, struct value *a, uint32_t n)
{
    struct args args = {.at = a, .n = n};

    return builtin_call(r, builtin_find(text_methods, name, strlen(name)), v_to_text(r, self), &args);
}

/* ---- text ---- */

static struct value filter_upper(struct run *r, struct value self, struct value *a)
{
    return method(r, "upper", self, a, 0);
}

static struct value filter_lower(struct run *r, struct value self, struct value *a)
{
    return method(r, "lower", self, a, 0);
}

static struct value capitalize(struct run *r, struct value self, struct value *a)
{
    return method(r, "capitalize", self, a, 0);
}

static struct value trim(struct run *r, struct value self, struct value *a)
{
    return method(r, "strip", self, a, a->kind != MISSING);
}

static struct value center(struct run *r, struct value self, struct value *a)
{
    struct value width = a->kind == MISSING ? v_int(80) : *a;

    return method(r, "center", self, &width, 1);
}

/* Words begin behind white space and - ( { [ <. */
static struct value title(struct run *r, struct value self, struct value *a)
{
    struct value s = v_to_text(r, self);
    size_t from = r->out->n, i, n;
    bool inside = false;

    (void)a;
    for (i = 0; i < s.n; i += n) {
        int32_t c = utf8_get(s.s + i, s.n - i);

        n = utf8_length(s.s + i, s.n - i);
        if (inside)
            uni_add_lower(r->out, s.s, s.n, i);
        else
            uni_add_case(r->out, s.s + i, n, TO_UPPER);
        inside = !(uni_space(c) || (c < 0x80 && strchr("-({[<", c)));
    }
    return v_printed(r, from);
}

/* Without what marks it safe: str(). */
static struct value plain(struct run *r, struct value v)
{
    v = v_to_text(r, v);
    v.flags = 0;
    return v;
}

static struct value filter_replace(struct run *r, struct value self, struct value *a)
{
    struct value with[3] = {plain(r, a[0]), plain(r, a[1]), a[2]};

    return method(r, "replace", plain(r, self), with, a[2].kind == MISSING || a[2].kind == NONE ? 2 : 3);
}

static struct value string(struct run *r, struct value self, struct value *a)
{
    (void)a;
    return v_to_text(r, self);
}

static struct value safe(struct run *r, struct value self, struct value *a)
{
    struct value v = v_to_text(r, self);

    (void)a;
    v.flags = SAFE;
    return v;
}

static struct value filter_escape(struct run *r, struct value self, struct value *a)
{
    (void)a;
    return v_escape(r, self);
}

static struct value force_escape(struct run *r, struct value self, struct value *a)
{
    (void)a;
    return v_escape(r, plain(r, self));
}

static struct value format(struct run *r, struct value self, struct args *a)
{
    struct value with = {.kind = TUPLE, .n = a->n, .item = a->at};
    uint32_t i;

    if (a->n && a->keys)
        run_fail(r, "FilterArgumentError", "can't handle positional and keyword arguments at the same time");
    if (a->keys) {
        with = v_dict(r, a->keys);
        for (i = 0; i < a->keys; i++)
            dict_set(r, with.dict, a->key[i].name, a->key[i].value);
    }
    return format_percent(r, v_to_text(r, self), with);
}

/* Each line but the first, and not the empty ones, behind width spaces or the text given. */
static struct value indent(struct run *r, struct value self, struct value *a)
{
    bool first = arg_true(a[1], false), blank = arg_true(a[2], false);
    struct value by = a[0], lines;
    size_t from = r->out->n;
    uint32_t i;

    if (self.kind == UNDEFINED)
        v_fail_undefined(r, self);
    if (self.kind != STR)
        run_fail(r, "TypeError", "unsupported operand type(s) for +=: '%s' and 'str'", v_type(self));
    if (by.kind != STR)
        by = v_multiply(r, v_str(" ", 1), by.kind == MISSING ? v_int(4) : by);
    lines = method(r, "splitlines", v_add(r, self, v_str("\n", 1)), NULL, 0);
    for (i = 0; i < lines.n; i++) {
        str_adds(r->out, i ? "\n" : "");
        if (i ? blank || lines.item[i].n : first)
            str_add(r->out, by.s, by.n);
        str_add(r->out, lines.item[i].s, lines.item[i].n);
    }
    lines = v_printed(r, from);
    lines.flags = self.flags;
    return lines;
}

static struct value truncate(struct run *r, struct value self, struct value *a)
{
    struct value end = a[2].kind == STR ? a[2] : v_text("..."), cut;
    int64_t length = arg_int(r, a[0], 255), leeway = a[3].kind == NONE ? 5 : arg_int(r, a[3], 5);
    int64_t kept = length - (int64_t)utf8_count(end.s, end.n);
    uint32_t i;

    if (kept < 0 || leeway < 0)
        run_fail(r, "AssertionError", "truncate: a length of %lld is too short", (long long)length);
    if (v_length(r, self) <= length + leeway)
        return self;
    cut = v_slice(r, self, v_none(), v_int(kept), v_none());
    if (cut.kind != STR)
        run_fail(r, "AttributeError", "'%s' object has no attribute 'rsplit'", v_type(cut));
    if (arg_true(a[1], false))
        return v_add(r, cut, end);
    for (i = cut.n; i > 0 && cut.s[i - 1] != ' '; i--)
        ;
    cut.n = i ? i - 1 : cut.n;
    return v_add(r, cut, end);
}

static struct value word_count(struct run *r, struct value self, struct value *a)
{
    struct value s = v_to_text(r, self);
    bool inside = false;
    int64_t words = 0;
    size_t i;

    (void)a;
    for (i = 0; i < s.n; i += utf8_length(s.s + i, s.n - i)) {
        bool word = uni_word(utf8_get(s.s + i, s.n - i));

        words += word && !inside;
        inside = word;
    }
    return v_int(words);
}

static bool letter_or_digit(unsigned char c)
{
    return ((c | 32) >= 'a' && (c | 32) <= 'z') || (c >= '0' && c <= '9');
}

static void put_quoted(struct run *r, struct value v, bool query)
{
    uint32_t i;

    v = v_to_text(r, v);
    for (i = 0; i < v.n; i++) {
        unsigned char c = (unsigned char)v.s[i];

        if (letter_or_digit(c) || (c < 0x80 && strchr(query ? "-_.~" : "-_.~/", c) && c))
            str_addc(r->out, (char)c);
        else if (query && c == ' ')
            str_addc(r->out, '+');
        else
            str_addf(r->out, "%%%02X", c);
    }
}

static struct value url_encode(struct run *r, struct value self, struct value *a)
{
    size_t from = r->out->n;
    struct value list, pair;
    uint32_t i;

    (void)a;
    if (self.kind == STR || !v_iterable(self)) {
        put_quoted(r, self, false);
        return v_printed(r, from);
    }
    if (self.kind == DICT)
        self.kind = ITEMS;
    list = v_items(r, self);
    for (i = 0; i < list.n; i++) {
        pair = v_items(r, list.item[i]);
        if (pair.n != 2)
            run_fail(r, "ValueError", "not enough values to unpack (expected 2, got %u)", pair.n);
        str_adds(r->out, i ? "&" : "");
        put_quoted(r, pair.item[0], true);
        str_addc(r->out, '=');
        put_quoted(r, pair.item[1], true);
    }
    return v_printed(r, from);
}

/* ---- numbers ---- */

/* What float() reads; false: it is no number. */
static bool read_float(struct run *r, struct value v, double *out)
{
    struct value s;
    char text[400], *end;

    if (v_number(v, out))
        return true;
    if (v.kind != STR)
        return false;
    s = method(r, "strip", v, NULL, 0);
    if (!s.n || s.n >= sizeof text || memchr(s.s, 'x', s.n) || memchr(s.s, 'X', s.n))
        return false;
    memcpy(text, s.s, s.n);
    text[s.n] = 0;
    *out = strtod(text, &end);
    return *end == 0;
}

static int base_of_prefix(char c)
{
    return (c | 32) == 'x' ? 16 : (c | 32) == 'o' ? 8 : (c | 32) == 'b' ? 2 : 0;
}

/* What int(text, base) reads; false: no integer. */
static bool read_int(struct run *r, struct value v, int64_t base, struct value *out)
{
    struct value s = method(r, "strip", v, NULL, 0);
    char *digits = run_get(r, s.n + 1), decimal[MAX_DIGITS];
    uint32_t i = s.n && (*s.s == '-' || *s.s == '+'), n = 0, from = i;
    int prefix = s.n - i > 2 && s.s[i] == '0' ? base_of_prefix(s.s[i + 1]) : 0;
    bool by_prefix = base == 0;

    if (prefix && (base == prefix || by_prefix)) {
        base = prefix;
        i += 2;
        i += s.s[i] == '_';
    } else if (by_prefix) {
        base = 10;
    }
    if (base < 2 || base > 36 || i == s.n)
        return false;
    for (; i < s.n; i++) {
        int c = (unsigned char)s.s[i], d = c <= '9' ? c - '0' : (c | 32) - 'a' + 10;

        if (c == '_' && n && i + 1 < s.n && s.s[i - 1] != '_')
            continue;
        if (d < 0 || d >= base)
            return false;
        digits[n++] = s.s[i];
    }
    n = (uint32_t)digits_convert(decimal, MAX_DIGITS, digits, n, (int)base, 10);
    if (!n || (by_prefix && !prefix && s.s[from] == '0' && (n > 1 || *decimal != '0')))
        return false;
    *out = v_integer(r, *s.s == '-', decimal, n);
    return true;
}

static struct value to_int(struct run *r, struct value self, struct value *a)
{
    struct value v;
    double x;

    if (self.kind == UNDEFINED)
        v_fail_undefined(r, self);
    if (self.kind == INT || self.kind == BIG)
        return self;
    if (self.kind == FLOAT && isinf(self.f))
        run_fail(r, "OverflowError", "cannot convert float infinity to integer");
    if (self.kind == STR && read_int(r, self, arg_int(r, a[1], 10), &v))
        return v;
    if (read_float(r, self, &x) && isfinite(x))
        return v_whole(r, x);
    return a[0].kind == MISSING ? v_int(0) : a[0];
}

static struct value to_float(struct run *r, struct value self, struct value *a)
{
    double x;

    if (self.kind == UNDEFINED)
        v_fail_undefined(r, self);
    if (read_float(r, self, &x))
        return v_float(x);
    return a[0].kind == MISSING ? v_float(0) : a[0];
}

static struct value absolute(struct run *r, struct value self, struct value *a)
{
    double x;

    (void)a;
    if (!v_number(self, &x))
        run_fail(r, "TypeError", "bad operand type for abs(): '%s'", v_type(self));
    if (self.kind == BOOL)
        return v_int(self.i);
    return x < 0 || (self.kind == FLOAT && signbit(x)) ? v_negate(r, self) : self;
}

/* To the even one of two that are as near: through decimal digits, as Python does it. */
static struct value round_common(struct run *r, double x, int64_t digits)
{
    char text[400];
    double scale;

    if (digits > 22 || !isfinite(x))
        return v_float(x);
    if (digits < 0) {
        scale = pow(10, (double)-digits);
        return v_float(nearbyint(x / scale) * scale);
    }
    if (fabs(x) > 1e300)
        return v_float(x);
    if (snprintf(text, sizeof text, "%.*f", (int)digits, x) >= (int)sizeof text)
        run_fail(r, "OverflowError", "a number that is too long");
    return v_float(strtod(text, NULL));
}

/* The same of an integer. */
static struct value round_whole(struct run *r, struct value v, int64_t digits)
{
    struct value unit, half, quotient, rest;
    int c;

    v = v_add(r, v, v_int(0)); /* of a BOOL too */
    if (digits >= 0)
        return v;
    if (digits < -MAX_DIGITS)
        return v_int(0);
    unit = integers_power(r, v_int(10), (uint64_t)-digits);
    integers_divide(r, v, unit, &quotient, &rest);
    integers_divide(r, unit, v_int(2), &half, NULL);
    c = integers_compare(r, rest, half);
    if (c > 0 || (c == 0 && v_true(v_arithmetic(r, OP_MOD, quotient, v_int(2)))))
        quotient = v_add(r, quotient, v_int(1));
    return v_multiply(r, quotient, unit);
}

static struct value round_number(struct run *r, struct value self, struct value *a)
{
    int64_t digits = arg_int(r, a[0], 0);
    double x, scale;

    if (a[1].kind != MISSING && !v_is(a[1], "common") && !v_is(a[1], "ceil") && !v_is(a[1], "floor"))
        run_fail(r, "FilterArgumentError", "method must be common, ceil or floor");
    if (!v_number(self, &x))
        run_fail(r, "TypeError", "type %s doesn't define __round__ method", v_type(self));
    if (a[1].kind == MISSING || v_is(a[1], "common"))
        return self.kind == FLOAT ? round_common(r, x, digits) : round_whole(r, self, digits);
    if (self.kind != FLOAT && digits >= 0)
        return v_float(x);
    scale = pow(10, (double)digits);
    return v_float((v_is(a[1], "ceil") ? ceil(x * scale) : floor(x * scale)) / scale);
}

static struct value file_size(struct run *r, struct value self, struct value *a)
{
    static const char *const unit[] = {"k", "M", "G", "T", "P", "E", "Z", "Y"};
    bool binary = arg_true(a[0], false);
    double x, base = binary ? 1024 : 1000;
    size_t from = r->out->n;
    int i;

    if (self.kind == UNDEFINED)
        v_fail_undefined(r, self);
    if (!read_float(r, self, &x))
        run_fail(r, self.kind == STR ? "ValueError" : "TypeError", "could not convert to float");
    if (x == 1)
        return v_text("1 Byte");
    if (x < base) {
        print_str(r, v_whole(r, x));
        str_adds(r->out, " Bytes");
        return v_printed(r, from);
    }
    for (i = 0; i < 7 && x >= pow(base, i + 2); i++)
        ;
    str_addf(r->out, "%.1f %s%sB", base * x / pow(base, i + 2), binary && i == 0 ? "K" : unit[i],
             binary ? "i" : "");
    return v_printed(r, from);
}

/* ---- the others ---- */

static struct value fall_back(struct run *r, struct value self, struct value *a)
{
    (void)r;
    if (self.kind == UNDEFINED || (arg_true(a[1], false) && !v_true(self)))
        return a[0].kind == MISSING ? v_str("", 0) : a[0];
    return self;
}

static struct value attribute(struct run *r, struct value self, struct value *a)
{
    if (a[0].kind != STR)
        run_fail(r, "TypeError", "attribute name must be string, not '%s'", v_type(a[0]));
    if (self.kind == DICT && !method_find(self, a[0].s, a[0].n))
        return v_undefined(a[0].s, a[0].n, DICT);
    return v_attribute(r, self, a[0]);
}

static struct value to_json(struct run *r, struct value self, struct value *a)
{
    struct json_style style = {.ascii = arg_true(a[0], false),
                               .sorted = arg_true(a[3], false),
                               .indented = a[1].kind != MISSING && a[1].kind != NONE,
                               .item = v_text(", "),
                               .key = v_text(": ")};
    size_t from = r->out->n;

    if (style.indented) {
        style.indent = a[1].kind == STR ? a[1] : v_multiply(r, v_str(" ", 1), v_int(arg_int(r, a[1], 0)));
        style.item = v_text(",");
    }
    if (a[2].kind != MISSING && a[2].kind != NONE) {
        struct value pair = v_items(r, a[2]);

        if (pair.n != 2 || pair.item[0].kind != STR || pair.item[1].kind != STR)
            run_fail(r, "ValueError", "separators are not two strings");
        style.item = pair.item[0];
        style.key = pair.item[1];
    }
    print_json(r, self, &style);
    return v_printed(r, from);
}

static struct value strip_tags(struct run *r, struct value self, struct value *a)
{
    struct value s = plain(r, self);
    size_t from = r->out->n;
    const char *p = s.s, *end = s.s + s.n, *open, *close;

    (void)a;
    while ((open = utf8_find(p, (size_t)(end - p), "<", 1))) {
        bool comment = end - open >= 4 && memcmp(open, "<!--", 4) == 0;

        close = utf8_find(open, (size_t)(end - open), comment ? "-->" : ">", comment ? 3 : 1);
        if (!close)
            break;
        str_add(r->out, p, (size_t)(open - p));
        p = close + (comment ? 3 : 1);
    }
    str_add(r->out, p, (size_t)(end - p));
    s = method(r, "split", v_printed(r, from), NULL, 0);
    return method(r, "join", v_str(" ", 1), &s, 1);
}

/* Members as attributes of an XML element. */
static struct value xml_attributes(struct run *r, struct value self, struct value *a)
{
    size_t from = r->out->n;
    uint32_t i, k;

    if (self.kind == UNDEFINED)
        v_fail_undefined(r, self);
    if (self.kind != DICT)
        run_fail(r, "AttributeError", "'%s' object has no attribute 'items'", v_type(self));
    for (i = 0; i < self.dict->n; i++) {
        const struct entry *e = &self.dict->entry[i];

        if (e->value.kind == NONE || e->value.kind == UNDEFINED)
            continue;
        if (e->key.kind != STR)
            run_fail(r, "TypeError", "expected string or bytes-like object, got '%s'", v_type(e->key));
        for (k = 0; k < e->key.n; k += utf8_length(e->key.s + k, e->key.n - k))
            if (strchr("/>=", e->key.s[k]) || uni_space(utf8_get(e->key.s + k, e->key.n - k)))
                run_fail(r, "ValueError", "Invalid character in attribute name: '%.*s'", (int)e->key.n,
                         e->key.s);
        str_adds(r->out, r->out->n > from || arg_true(a[0], true) ? " " : "");
        print_str(r, v_escape(r, e->key));
        str_adds(r->out, "=\"");
        print_str(r, v_escape(r, e->value));
        str_addc(r->out, '"');
    }
    return v_printed(r, from);
}

/* Of jinja2's, what has no place in a prompt: of pages, of debugging, and what differs from run to run. */
static struct value left_out(struct run *r, struct value self, struct args *a)
{
    (void)self, (void)a;
    run_fail(r, "NotImplementedError",
             "of the filters of jinja2, pprint, random, urlize and wordwrap are not supported");
}

const struct builtin filters[] = {{"default", "default_value? boolean?", fall_back, NULL},
                                  {"d", "default_value? boolean?", fall_back, NULL},
                                  {"tojson", "ensure_ascii? indent? separators? sort_keys?", to_json, NULL},
                                  {"trim", "chars?", trim, NULL},
                                  {"length", "/", filter_length, NULL},
                                  {"count", "/", filter_length, NULL},
                                  {"string", "/", string, NULL},
                                  {"upper", "", filter_upper, NULL},
                                  {"lower", "", filter_lower, NULL},
                                  {"join", "d? attribute?", filter_join, NULL},
                                  {"safe", "", safe, NULL},
                                  {"items", "", filter_items, NULL},
                                  {"list", "", filter_list, NULL},
                                  {"first", "", filter_first, NULL},
                                  {"last", "", filter_last, NULL},
                                  {"map", NULL, NULL, filter_map},
                                  {"select", NULL, NULL, filter_select},
                                  {"reject", NULL, NULL, filter_reject},
                                  {"selectattr", NULL, NULL, filter_select_attribute},
                                  {"rejectattr", NULL, NULL, filter_reject_attribute},
                                  {"replace", "old new count?", filter_replace, NULL},
                                  {"indent", "width? first? blank?", indent, NULL},
                                  {"int", "default? base?", to_int, NULL},
                                  {"float", "default?", to_float, NULL},
                                  {"round", "precision? method?", round_number, NULL},
                                  {"abs", "/", absolute, NULL},
                                  {"title", "", title, NULL},
                                  {"capitalize", "", capitalize, NULL},
                                  {"center", "width?", center, NULL},
                                  {"truncate", "length? killwords? end? leeway?", truncate, NULL},
                                  {"wordcount", "", word_count, NULL},
                                  {"format", NULL, NULL, format},
                                  {"escape", "/", filter_escape, NULL},
                                  {"e", "/", filter_escape, NULL},
                                  {"forceescape", "", force_escape, NULL},
                                  {"striptags", "", strip_tags, NULL},
                                  {"urlencode", "", url_encode, NULL},
                                  {"filesizeformat", "binary?", file_size, NULL},
                                  {"attr", "name", attribute, NULL},
                                  {"dictsort", "case_sensitive? by? reverse?", filter_dictsort, NULL},
                                  {"sort", "reverse? case_sensitive? attribute?", filter_sort, NULL},
                                  {"unique", "case_sensitive? attribute?", filter_unique, NULL},
                                  {"min", "case_sensitive? attribute?", filter_min, NULL},
                                  {"max", "case_sensitive? attribute?", filter_max, NULL},
                                  {"sum", "attribute? start?", filter_sum, NULL},
                                  {"reverse", "", filter_reverse, NULL},
                                  {"groupby", "attribute default? case_sensitive?", filter_groupby, NULL},
                                  {"batch", "linecount fill_with?", filter_batch, NULL},
                                  {"slice", "slices fill_with?", filter_slice, NULL},
                                  {"xmlattr", "autospace?", xml_attributes, NULL},
                                  {"pprint", NULL, NULL, left_out},
                                  {"random", NULL, NULL, left_out},
                                  {"urlize", NULL, NULL, left_out},
                                  {"wordwrap", NULL, NULL, left_out},
                                  {NULL, NULL, NULL, NULL}};
