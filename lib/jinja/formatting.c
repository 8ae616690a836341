/* formatting.c -- "..." % x and "...".format(x). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jinja/evaluate.h"
#include "jinja/characters.h"
#include "jinja/integers.h"

/* What is asked for between % and its letter, or behind the colon in braces. */
struct spec {
    char fill[8]; /* a character */
    char align;   /* < > = ^, or 0 */
    char sign;    /* + or space, or 0 */
    bool alternate, zero, comma, underscore;
    int64_t width, precision; /* -1: not given */
    char type;
};

enum { WIDEST = 1 << 20 };

/* Text in a field. */
static void put_field(struct run *r, const struct spec *s, const char *text, size_t n, char align)
{
    int64_t pad = s->width - (int64_t)utf8_count(text, n), i, left;

    align = s->align ? s->align : align;
    pad = pad < 0 ? 0 : pad;
    left = align == '>' || align == '=' ? pad : align == '^' ? pad / 2 : 0;
    for (i = 0; i < left; i++)
        str_adds(r->out, *s->fill ? s->fill : " ");
    str_add(r->out, text, n);
    for (i = left; i < pad; i++)
        str_adds(r->out, *s->fill ? s->fill : " ");
}

/* Digits with a separator between each three (or four of a number to base 16, 8 or 2). */
static void put_grouped(struct str *out, const char *digits, size_t n, char separator, size_t group)
{
    size_t i;

    for (i = 0; i < n; i++) {
        str_addc(out, digits[i]);
        if ((n - 1 - i) % group == 0 && i + 1 < n)
            str_addc(out, separator);
    }
}

/* A number whose sign and digits are known: zeros go between them. */
static void put_number(struct run *r, const struct spec *s, bool negative, const char *prefix,
                       const char *digits)
{
    size_t whole = strcspn(digits, ".eE%n"), from = r->out->n, head;
    char separator = s->comma ? ',' : s->underscore ? '_' : 0;
    struct value text;
    int64_t pad;

    if (!strchr("dfFgGeEn%", s->type ? s->type : 'd'))
        whole = strlen(digits);
    str_adds(r->out, negative ? "-" : s->sign == '+' ? "+" : s->sign == ' ' ? " " : "");
    str_adds(r->out, prefix);
    head = r->out->n - from;
    if (separator)
        put_grouped(r->out, digits, whole, separator, strchr("xXob", s->type ? s->type : 'd') ? 4 : 3);
    else
        str_add(r->out, digits, whole);
    str_adds(r->out, digits + whole);
    text = v_printed(r, from);
    if (!s->zero && s->align != '=') {
        put_field(r, s, text.s, text.n, '>');
        return;
    }
    str_add(r->out, text.s, head);
    for (pad = s->width - text.n; pad > 0; pad--)
        str_adds(r->out, *s->fill ? s->fill : s->zero ? "0" : " ");
    str_add(r->out, text.s + head, text.n - head);
}

static void put_integer(struct run *r, const struct spec *s, struct value v, char type)
{
    const char *prefix = !s->alternate ? ""
                         : type == 'x' ? "0x"
                         : type == 'X' ? "0X"
                         : type == 'o' ? "0o"
                         : type == 'b' ? "0b"
                                       : "";
    char decimal[24], *digits = run_get(r, MAX_BITS + 1);
    bool negative;
    size_t i, n;

    if (v.kind != BIG)
        v = v_str(decimal, (size_t)snprintf(decimal, sizeof decimal, "%lld", (long long)v.i));
    negative = *v.s == '-';
    n = digits_convert(digits, MAX_BITS, v.s + negative, v.n - negative, 10,
                       (type | 32) == 'x' ? 16
                       : type == 'o'      ? 8
                       : type == 'b'      ? 2
                                          : 10);
    digits[n] = 0;
    for (i = 0; type == 'X' && i < n; i++)
        digits[i] = digits[i] >= 'a' ? (char)(digits[i] - 32) : digits[i];
    put_number(r, s, negative, prefix, digits);
}

static void put_double(struct run *r, const struct spec *s, double v, char type)
{
    int precision = s->precision < 0 ? 6 : (int)s->precision;
    char spec[] = "%.*f%%", digits[700];
    bool percent = type == '%';

    if (precision > 300)
        run_fail(r, "ValueError", "a precision of more than 300");
    if (!percent) {
        spec[3] = type;
        spec[4] = 0;
    }
    snprintf(digits, sizeof digits, spec, precision, percent ? v * 100 : v);
    put_number(r, s, *digits == '-', "", digits + (*digits == '-'));
}

/* ---- "..." % x ---- */

struct percent {
    struct run *r;
    struct value format, with;
    uint32_t at, used; /* in the format; of a tuple */
};

static struct value next_argument(struct percent *p)
{
    if (p->with.kind != TUPLE && p->used == 0) {
        p->used = 1;
        return p->with;
    }
    if (p->with.kind != TUPLE || p->used >= p->with.n)
        run_fail(p->r, "TypeError", "not enough arguments for format string");
    return p->with.item[p->used++];
}

static char next_char(struct percent *p)
{
    if (p->at >= p->format.n)
        run_fail(p->r, "ValueError", "incomplete format");
    return p->format.s[p->at++];
}

/* %(name): the member of that name. */
static struct value named_argument(struct percent *p)
{
    uint32_t from = p->at;
    const struct value *v;

    while (next_char(p) != ')')
        ;
    if (p->with.kind != DICT)
        run_fail(p->r, "TypeError", "format requires a mapping");
    v = dict_find(p->with.dict, p->format.s + from, p->at - 1 - from);
    if (!v)
        run_fail(p->r, "KeyError", "'%.*s'", (int)(p->at - 1 - from), p->format.s + from);
    return *v;
}

static char count_of(struct percent *p, char c, int64_t *count)
{
    if (c == '*') {
        *count = v_index(p->r, next_argument(p), "* wants int");
        c = next_char(p);
    } else {
        for (*count = 0; c >= '0' && c <= '9'; c = next_char(p))
            *count = *count * 10 + c - '0' > WIDEST ? WIDEST : *count * 10 + c - '0';
    }
    if (*count > WIDEST)
        run_fail(p->r, "MemoryError", "a field that is too wide");
    return c;
}

static char read_spec(struct percent *p, struct spec *s, char c)
{
    *s = (struct spec){.width = 0, .precision = -1};
    for (; strchr("-+ #0", c) && c; c = next_char(p)) {
        s->align = c == '-' ? '<' : s->align;
        s->sign = c == '+' || (c == ' ' && !s->sign) ? c : s->sign;
        s->alternate |= c == '#';
        s->zero |= c == '0';
    }
    s->zero = s->zero && s->align != '<';
    c = count_of(p, c, &s->width);
    if (c == '.')
        c = count_of(p, next_char(p), &s->precision);
    while (c == 'h' || c == 'l' || c == 'L')
        c = next_char(p);
    return c;
}

static void put_percent_text(struct run *r, const struct spec *s, struct value v, bool repr)
{
    size_t from = r->out->n;
    struct value text;

    if (repr)
        print_repr(r, v);
    else
        print_str(r, v);
    text = v_printed(r, from);
    if (s->precision >= 0)
        text.n = (uint32_t)utf8_at(text.s, text.n, (size_t)s->precision);
    put_field(r, s, text.s, text.n, '>');
}

static void put_percent(struct percent *p, const struct spec *s, char type, struct value v)
{
    double x;
    char utf8[8];
    struct str c = {.p = utf8, .cap = sizeof utf8};

    s = &(struct spec){.align = s->align,
                       .sign = s->sign,
                       .alternate = s->alternate,
                       .zero = s->zero,
                       .width = s->width,
                       .precision = s->precision,
                       .type = type};
    if (strchr("sra", type)) {
        put_percent_text(p->r, s, v, type != 's');
    } else if (type == 'c' && v.kind == STR && utf8_count(v.s, v.n) == 1) {
        put_field(p->r, s, v.s, v.n, '>');
    } else if (type == 'c' && v_integral(v)) {
        if (v.kind == BIG || v.i < 0 || v.i > 0x10ffff)
            run_fail(p->r, "OverflowError", "%%c arg not in range(0x110000)");
        if (v.i >= 0xd800 && v.i < 0xe000)
            run_fail(p->r, "UnicodeEncodeError", "half a character: surrogates not allowed");
        utf8_add(&c, (int32_t)v.i);
        put_field(p->r, s, c.p, c.n, '>');
    } else if (type == 'c' && v.kind == FLOAT) {
        run_fail(p->r, "TypeError", "%%c requires int or char");
    } else if (v.kind == UNDEFINED) {
        v_fail_undefined(p->r, v);
    } else if (!v_number(v, &x)) {
        run_fail(p->r, "TypeError", "%%%c format: a real number is required, not %s", type, v_type(v));
    } else if (strchr("diuxXo", type)) {
        if (v.kind == FLOAT && !strchr("diu", type))
            run_fail(p->r, "TypeError", "%%%c format: an integer is required, not float", type);
        if (v.kind == FLOAT && !isfinite(x))
            run_fail(p->r, isnan(x) ? "ValueError" : "OverflowError", "cannot convert float to integer");
        put_integer(p->r, s, v.kind == FLOAT ? v_whole(p->r, x) : v, type);
    } else if (strchr("eEfFgG", type)) {
        put_double(p->r, s, x, type);
    } else {
        run_fail(p->r, "ValueError", "unsupported format character '%c'", type);
    }
}

struct value format_percent(struct run *r, struct value format, struct value with)
{
    struct percent p = {.r = r, .format = format, .with = with};
    size_t from = r->out->n;
    bool by_name = false;
    struct value v;

    while (p.at < format.n) {
        struct spec s;
        char c = format.s[p.at++];

        if (c != '%') {
            str_addc(r->out, c);
            continue;
        }
        c = next_char(&p);
        v = (struct value){.kind = MISSING};
        if (c == '(') {
            v = named_argument(&p);
            by_name = true;
            c = next_char(&p);
        }
        c = read_spec(&p, &s, c);
        if (c == '%')
            str_addc(r->out, '%');
        else
            put_percent(&p, &s, c, v.kind == MISSING ? next_argument(&p) : v);
    }
    if (!by_name &&
        (with.kind == TUPLE ? p.used < with.n : !p.used && with.kind != DICT && with.kind != LIST))
        run_fail(r, "TypeError", "not all arguments converted during string formatting");
    v = v_printed(r, from);
    v.flags = format.flags;
    return v;
}

/* ---- "...".format(x) ---- */

static void parse_spec(struct run *r, struct spec *s, const char *p, size_t n)
{
    size_t i = 0, k = n ? utf8_length(p, n) : 0;

    *s = (struct spec){.precision = -1};
    if (k < n && strchr("<>=^", p[k])) {
        memcpy(s->fill, p, k < 5 ? k : 4);
        s->align = p[k];
        i = k + 1;
    } else if (n && strchr("<>=^", *p)) {
        s->align = p[i++];
    }
    if (i < n && strchr("+- ", p[i]))
        s->sign = p[i++];
    if (i < n && p[i] == '#')
        s->alternate = p[i++] == '#';
    if (i < n && p[i] == '0')
        s->zero = p[i++] == '0' && !s->align;
    for (; i < n && p[i] >= '0' && p[i] <= '9' && s->width < WIDEST; i++)
        s->width = s->width * 10 + p[i] - '0';
    if (i < n && (p[i] == ',' || p[i] == '_')) {
        s->comma = p[i] == ',';
        s->underscore = p[i++] == '_';
    }
    if (i < n && p[i] == '.')
        for (i++, s->precision = 0; i < n && p[i] >= '0' && p[i] <= '9' && s->precision < WIDEST; i++)
            s->precision = s->precision * 10 + p[i] - '0';
    if (i < n)
        s->type = p[i++];
    if (i < n || s->width > WIDEST)
        run_fail(r, "ValueError", "Invalid format specifier");
}

static void put_value(struct run *r, struct value v, const char *p, size_t n)
{
    struct spec s;
    double x;

    parse_spec(r, &s, p, n);
    if (!n) {
        print_str(r, v);
    } else if (v.kind == STR && (!s.type || s.type == 's')) {
        if (s.precision >= 0)
            v.n = (uint32_t)utf8_at(v.s, v.n, (size_t)s.precision);
        put_field(r, &s, v.s, v.n, '<');
    } else if (v_integral(v) && (!s.type || strchr("dxXobn", s.type)) && s.precision < 0) {
        put_integer(r, &s, v, s.type ? s.type : 'd');
    } else if (v_number(v, &x) && s.type && strchr("eEfFgGn%", s.type)) {
        put_double(r, &s, x, s.type == 'n' ? 'g' : s.type);
    } else if (v.kind == FLOAT && !s.type) {
        size_t from = r->out->n;

        if (s.precision >= 0) {
            s.type = 'g';
            put_double(r, &s, x, 'g');
            return;
        }
        print_float(r->out, x < 0 ? -x : x);
        str_addc(r->out, 0);
        put_number(r, &s, x < 0, "", v_printed(r, from).s);
    } else if (v.kind == NONE || v.kind == LIST || v.kind == DICT || v.kind == TUPLE || v.kind == UNDEFINED) {
        run_fail(r, "TypeError", "unsupported format string passed to %s.__format__", v_type(v));
    } else {
        run_fail(r, "ValueError", "Unknown format code '%c' for object of type '%s'", s.type, v_type(v));
    }
}

struct braces {
    struct run *r;
    struct args *a;
    uint32_t next; /* of {} */
};

static struct value by_position(struct braces *b, uint32_t i)
{
    if (i >= b->a->n)
        run_fail(b->r, "IndexError", "Replacement index %u out of range for positional args tuple", i);
    return b->a->at[i];
}

static struct value by_key(struct braces *b, const char *p, size_t n)
{
    uint32_t i;

    for (i = 0; i < b->a->keys; i++)
        if (b->a->key[i].name.n == n && memcmp(b->a->key[i].name.s, p, n) == 0)
            return b->a->key[i].value;
    run_fail(b->r, "KeyError", "'%.*s'", (int)n, p);
}

static bool all_digits(const char *p, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++)
        if (p[i] < '0' || p[i] > '9')
            return false;
    return n > 0 && n < 9;
}

/* The value that a field names: its first part, then .attribute and [element]. */
static struct value field_value(struct braces *b, const char *p, size_t n)
{
    size_t i = 0, k;
    struct value v;

    while (i < n && p[i] != '.' && p[i] != '[')
        i++;
    v = i == 0             ? by_position(b, b->next++)
        : all_digits(p, i) ? by_position(b, (uint32_t)strtoul(p, NULL, 10))
                           : by_key(b, p, i);
    while (i < n) {
        bool element = p[i++] == '[';

        for (k = i; k < n && (element ? p[k] != ']' : p[k] != '.' && p[k] != '['); k++)
            ;
        v = !element                   ? v_attribute(b->r, v, v_str(p + i, k - i))
            : all_digits(p + i, k - i) ? v_subscript(b->r, v, v_int(strtol(p + i, NULL, 10)))
                                       : v_subscript(b->r, v, v_str(p + i, k - i));
        i = k + element;
    }
    return v;
}

static struct value format_fields(struct braces *b, struct value f);

/* One replacement, p[0..n) between its braces. */
static void put_replacement(struct braces *b, const char *p, size_t n)
{
    const char *colon = memchr(p, ':', n), *mark = memchr(p, '!', colon ? (size_t)(colon - p) : n);
    size_t name = mark ? (size_t)(mark - p) : colon ? (size_t)(colon - p) : n, from = b->r->out->n;
    struct value v = field_value(b, p, name), spec = v_str("", 0);

    if (mark && (mark + 1 == p + n || !strchr("rsa", mark[1])))
        run_fail(b->r, "ValueError", "Unknown conversion specifier");
    if (mark) {
        if (mark[1] == 's')
            print_str(b->r, v);
        else
            print_repr(b->r, v);
        v = v_printed(b->r, from);
    }
    if (colon)
        spec = format_fields(b, v_str(colon + 1, (size_t)(p + n - colon - 1)));
    put_value(b->r, v, spec.s, spec.n);
}

static size_t closing(struct run *r, const char *p, size_t n, size_t i)
{
    int depth = 1;

    for (; i < n; i++) {
        depth += p[i] == '{' ? 1 : p[i] == '}' ? -1 : 0;
        if (!depth)
            return i;
    }
    run_fail(r, "ValueError", "expected '}' before end of string");
}

/* f with its fields filled in. */
static struct value format_fields(struct braces *b, struct value f)
{
    struct run *r = b->r;
    size_t from = r->out->n, i, end;
    struct value v;

    run_deeper(r);
    for (i = 0; i < f.n; i++) {
        char c = f.s[i];

        if ((c == '{' || c == '}') && i + 1 < f.n && f.s[i + 1] == c) {
            i++;
        } else if (c == '}') {
            run_fail(r, "ValueError", "Single '}' encountered in format string");
        } else if (c == '{') {
            end = closing(r, f.s, f.n, i + 1);
            put_replacement(b, f.s + i + 1, end - i - 1);
            i = end;
            continue;
        }
        str_addc(r->out, c);
    }
    r->depth--;
    v = v_printed(r, from);
    v.flags = f.flags;
    return v;
}

struct value format_braces(struct run *r, struct value format, struct args *a)
{
    struct braces b = {r, a, 0};

    return format_fields(&b, format);
}
